"""Nothing in a config or a record is imported or run, and no folder it names is emptied."""

import pytest
import yaml

from pipeline.config.schema import parse
from pipeline.errors import RecordError
from pipeline.record import artifacts
from pipeline.sweep.checkpoints import Checkpoints
from tasks.errors import ConfigError

EVIL = "os.mkdir"


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": EVIL, "path": "evil"},
        {"loss": {"_target_": EVIL, "path": "evil"}},
        {"loss": {"name": "svm", "_target_": EVIL, "path": "evil"}},
        {"loss": {"name": EVIL}},
        {"loss": EVIL},
        {"task": {"name": "tasks.studies.train.Train"}},
        {"dataset": {"name": "os", "root": "evil"}},
        {"strategy": {"name": "random", "__class__": EVIL}},
        {"trial": {"__reduce__": [EVIL, ["evil"]]}},
        {"cluster": {"_target_": EVIL, "_args_": ["evil"]}},
        {"device": EVIL},
        {"engine": "pipeline.engine.ray_engine.RayEngine"},
    ],
    ids=str,
)
def test_a_recorded_config_that_names_code_is_refused_and_runs_nothing(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_dump(config).encode()

    with pytest.raises(ConfigError):
        parse(artifacts.read_config(content, artifacts.digest_of(content)))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"!!python/object/apply:os.mkdir [evil]", b"a: !!python/name:os.mkdir", b"!!python/module:os {}"]
)
def test_a_recorded_config_that_builds_objects_is_refused_and_builds_none(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RecordError, match="must be as it was recorded, got: could not determine"):
        artifacts.read_config(content, artifacts.digest_of(content))

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_record_names_keeps_what_is_not_a_checkpoint(tmp_path):
    # given a record that says the user's own folder holds the checkpoints
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "0123-000000000001.checkpoint").write_text("of the sweep")

    Checkpoints(tmp_path).close(done=True)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
    assert (tmp_path / "thesis" / "chapter.tex").exists()
