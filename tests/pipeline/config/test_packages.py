"""Rows that installed packages add to the tables, and what is said of those that cannot be used."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from importlib import metadata
from importlib.util import spec_from_file_location

import pytest

from pipeline.config.contract import violation
from pipeline.config.identity import key, packages_of
from pipeline.config.packages import packages
from pipeline.config.schema import describe, parse
from pipeline.config.tables import TABLES, added, faults
from pipeline.hydra.groups import keys
from pipeline.plan.plan import Point, make_plan
from pipeline.sweep.planning import plan_points
from tasks.datasets.source import load
from tasks.errors import ConfigError, DataError
from tasks.losses import LOSSES, Softmax
from tests.pipeline import commands
from tests.pipeline.config.installed import LOSS, ROW, clear_caches
from tests.pipeline.session import session

TASK = """
from dataclasses import dataclass
from tasks.single import Single

@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(Single):
    def train(self, trial, data):
        return {}
"""

WITH_COOLED = ", ".join(sorted([*LOSSES, "cooled"]))
"""The losses that there are beside the package of these tests."""


def test_a_row_of_a_package_is_a_row(site):
    site()

    config = parse({"loss": {"name": "cooled", "temperature": 3}})

    assert config.trial.loss.temperature == 3.0
    assert parse(describe(config)) == config
    assert {"loss.temperature"} <= set(keys())
    assert added() == {"warm-losses 0.1": {"loss": ["cooled"]}}
    assert faults() == []
    with pytest.raises(ConfigError, match=r"a key of loss must be one of temperature, got 'temprature'"):
        parse({"loss": {"name": "cooled", "temprature": 3}})
    with pytest.raises(ConfigError, match=rf"loss must be one of {WITH_COOLED}, got 'cooldd' \(did you mean 'cooled'"):
        parse({"loss": {"name": "cooldd"}})


BROKEN = {
    "import": ("raise OSError('no licence')", r"must be importable, got OSError: no licence"),
    "exit": ("raise SystemExit(3)", r"must be importable, got SystemExit: 3"),
    "missing": ("", r"must be importable, got AttributeError"),
    "function": ("def Cooled(): ...", r"must be a frozen dataclass, got <function"),
    "instance": (LOSS + "\nCooled = Cooled()\n", r"must be a frozen dataclass, got Cooled\("),
    "mutable": (
        LOSS.replace("frozen=True, ", "").replace("(Softmax)", ""),
        r"must be a frozen dataclass, got one that",
    ),
    "contract": (LOSS.replace("(Softmax)", ""), r"must have all of a Loss, lacks .*losses_and_gradient"),
    "field": (LOSS.replace("float = 2.0", "object = None"), r"must have fields of bool, .* got temperature"),
    "pair": (LOSS.replace("float = 2.0", "tuple[int, int] = (1, 2)"), r"must have fields of .* got temperature"),
    "keys": (
        "from collections.abc import Mapping" + LOSS.replace("float = 2.0", "Mapping[int, float] | None = None"),
        r"must have fields of .* got temperature",
    ),
    "abstract": (
        "from abc import ABC, abstractmethod"
        + LOSS.replace("(Softmax)", "(Softmax, ABC)")
        + "    @abstractmethod\n    def more(self): ...\n",
        r"must implement more",
    ),
    "name": (LOSS.replace("temperature", "name"), r"must have no field called name"),
    "annotation": (LOSS.replace(": float", ": 'flaot'"), r"must have annotations that can be read, got NameError"),
    "computed": (
        LOSS.replace("float = 2.0", "float = field(init=False, default=2.0)").replace(
            "dataclass\n", "dataclass, field\n", 1
        ),
        r"must have fields that a config gives, got temperature with init=False",
    ),
    "call": (LOSS + "    def losses(self): ...\n", r"must have losses\(self, scores.*, got losses\(self\)"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_row_that_cannot_be_used_is_named_and_the_rest_works(site, kind):
    code, cause = BROKEN[kind]

    site(code=code)

    (fault,) = faults()
    assert fault.startswith("losses 'cooled' of warm-losses (warm_losses:Cooled) is left out: must ")
    with pytest.raises(ConfigError, match=rf"^loss=cooled cannot be used: .* of warm-losses .*{cause}"):
        parse({"loss": {"name": "cooled"}})
    assert "cooled" not in TABLES["loss"]
    assert parse({"loss": {"name": "softmax"}}).trial.loss == Softmax()


def test_the_function_of_a_task_must_take_what_it_is_given(site):
    site(code=TASK, rows="[descent_sweeps.tasks]\nfit = warm_losses:Fit\n")

    (fault,) = faults()
    assert "must have train(self, trial: 'Any', data: 'Dataset', report: 'Report')" in fault
    assert fault.endswith(", got train(self, trial, data)")


NO_PAUSE = """
from dataclasses import dataclass
from tasks.studies.train import Train

@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(Train):
    def run(self, trials, dataset, *, threads, start=None, checkpoint_every=None, like=None):
        return Train.run(self, trials, dataset, threads=threads, start=start, checkpoint_every=checkpoint_every)
"""


def test_a_task_that_trains_must_be_able_to_pause(site):
    site(code=NO_PAUSE, rows="[descent_sweeps.tasks]\nfit = warm_losses:Fit\n")
    (fault,) = faults()
    assert "must have run(self, trials: 'Sequence[Trial]'" in fault
    assert fault.endswith(", got run(self, trials, dataset, *, threads, start=None, checkpoint_every=None, like=None)")

    site(
        code=NO_PAUSE.replace("(Train):", "(Train):\n    trains = False"),
        rows="[descent_sweeps.tasks]\nfit = warm_losses:Fit\n",
    )
    assert faults() == []


PRODUCT = """
    def losses(self, scores, labels):
        return self.temperature * Softmax.losses(self, scores, labels)
"""


def test_a_row_that_breaks_its_protocol_is_refused_before_anything_starts(site):
    site(code=LOSS + PRODUCT)
    config = parse({"loss": {"name": "cooled"}})
    point = Point(index=0, overrides=(), config=config)

    with pytest.raises(ConfigError, match=r"^Cooled.losses must return a loss of every example, .* got \(2, 2, 4\)"):
        plan_points([point], config.dataset.load(), config)

    # and a row that trials of an earlier plan have used is not rehearsed again
    known = make_plan([point], config.dataset.load()).trials
    assert len(plan_points([dataclasses.replace(point, index=1)], config.dataset.load(), config, known).folded) == 1


def test_a_data_set_that_asks_the_process_to_exit_is_refused(site):
    code = LOSS.replace("(Softmax)", "").replace("temperature: float = 2.0", "validation: int = 10")
    code += "\n    def load(self, *, progress=None):\n        raise SystemExit(0)\n"
    site(code=code, rows="[descent_sweeps.datasets]\npair = warm_losses:Cooled\n")

    with pytest.raises(DataError, match=r"^Cooled.load must return a data set, got SystemExit: 0"):
        load(parse({"dataset": {"name": "pair"}}).dataset)


def test_what_is_no_data_set_is_refused_by_its_type(site):
    code = LOSS.replace("(Softmax)", "").replace("temperature: float = 2.0", "size: int = 10")
    code += "\n    def load(self, *, progress=None):\n        return [1], [0]\n"
    site(code=code, rows="[descent_sweeps.datasets]\npair = warm_losses:Cooled\n")
    config = parse({"dataset": {"name": "pair"}})

    with pytest.raises(ConfigError, match=r"^dataset must be loaded as a Dataset .*, got <class 'tuple'>"):
        plan_points([Point(index=0, overrides=(), config=config)], config.dataset.load(), config)


def test_two_rows_of_one_name_are_both_named(site):
    site()
    site("cold-losses", rows=ROW.replace("warm", "cold") + "svm = cold_losses:Cooled\n[descent_sweeps.loss]\na = x:Y\n")

    told = "\n".join(faults())

    assert (
        "'cooled' of cold-losses (cold_losses:Cooled) is left out: must have a name of its own, warm-losses has" in told
    )
    assert (
        "'cooled' of warm-losses (warm_losses:Cooled) is left out: must have a name of its own, cold-losses has" in told
    )
    assert (
        "'svm' of cold-losses (cold_losses:Cooled) is left out: must have a name of its own, descent-sweeps has" in told
    )
    assert "must be in one of the groups descent_sweeps.tasks, " in told
    assert "cooled" not in TABLES["loss"]


def test_the_key_of_a_trial_holds_the_version_and_the_sources_of_what_gives_it_a_row(site):
    def keyed(loss, **more):
        site(**more)
        return key(parse({"loss": {"name": loss}}), "digest")

    first = keyed("cooled")
    assert [str(package) for package in packages_of(parse({"loss": {"name": "cooled"}}).trial)] == ["warm-losses 0.1"]
    assert packages_of(parse({"loss": {"name": "svm"}}).trial) == []
    own = keyed("svm")

    assert keyed("cooled", code=LOSS + "# a remark\n") == first
    changed = keyed("cooled", code=LOSS.replace("2.0", "2.5"))
    assert changed != first
    assert keyed("cooled", files={"maths.py": "x = 1"}) not in {first, changed}
    assert keyed("svm", code=LOSS.replace("2.0", "2.5")) == own
    # nor does a random search use the row of an optimiser
    code, rows = LOSS.replace("tasks.losses import Softmax", "tasks.optimizers import Sgd as Softmax"), "optimizers]"
    site(code=code, rows=ROW.replace("losses]", rows))
    searched = {"optimizer": {"name": "cooled"}, "strategy": {"name": "random"}}
    assert packages_of(parse(searched).trial) == []


class Hook:
    """Finds a package in a folder that is on no path, as an editable installation does."""

    def __init__(self, folder):
        self._folder = folder

    def find_spec(self, name, path, target=None):
        place = self._folder / name.replace(".", "/")
        if place.is_dir():
            inside = [str(place)]
            return spec_from_file_location(name, place / "__init__.py", submodule_search_locations=inside)
        file = place.with_suffix(".py")
        return spec_from_file_location(name, file) if file.is_file() else None


def test_the_folder_of_an_editable_package_is_its_own_whatever_the_working_folder_holds(site, tmp_path, monkeypatch):
    # given a working folder with a folder of the package's name, as that of its project is
    (tmp_path / "here/warm_losses").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    rows = "[descent_sweeps.losses]\ncooled = warm_losses.inner.rows:Cooled\n"
    place = site(code="", rows=rows, files={"inner/__init__.py": "", "inner/rows.py": LOSS})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.rename(elsewhere / place.name)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook(elsewhere)])
    importlib.invalidate_caches()
    clear_caches()

    assert packages()[0].roots == (elsewhere / "warm_losses",)
    assert faults() == []


def test_a_newer_version_of_the_same_sources_is_another_key(tmp_path, site):
    site()
    first = key(parse({"loss": {"name": "cooled"}}), "digest")
    about = tmp_path / "site" / "warm_losses-0.1.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("0.1", "0.2"))
    clear_caches()

    assert key(parse({"loss": {"name": "cooled"}}), "digest") != first
    assert packages()[0].tags()["version.warm-losses"] == "0.2"


def test_every_row_of_our_own_keeps_its_contract():
    rows = [(table.contract, name, row) for table in TABLES.values() for name, row in table.own.items()]
    assert {name: cause for contract, name, row in rows if (cause := violation(row, contract))} == {}
    assert all(dataclasses.is_dataclass(row) for _, _, row in rows)


@pytest.mark.slow
def test_the_code_of_a_package_is_computed_with_by_workers_that_do_not_have_it(tmp_path, site, cluster):
    site()
    sweep = ["loss=cooled", "seed=0,1", "steps=5", "tracking.register_model=false"]

    end = commands.run(
        ["-m", "pipeline", "-m", *sweep, f"cluster.address={cluster}"],
        tmp_path,
        PYTHONPATH=f"{commands.ROOT}:{tmp_path / 'site'}",
        timeout=200,
    )

    assert end.returncode == 0, end.stderr
    assert "2/2 trials, 0 running, 0 failed" in end.stdout


PRESET = """# @package _global_
defaults: [override /loss: cooled]
learning_rate: 0.25
"""


def test_commands_know_a_package_and_its_presets(tmp_path, site):
    site(files={"conf/experiment/warm/all.yaml": PRESET}, rows=ROW + "gone = warm_losses:Gone\n")

    told, config, wrong, swept = session(
        tmp_path,
        ["--help"],
        ["experiment=warm/all", "loss.temperature=5", "--cfg", "job"],
        ["loss=gone", "engine=inprocess"],
        ["--multirun", "experiment=warm/all", "loss.temperature=5,6", "engine=inprocess", "steps=5"],
    )

    assert f"loss         {WITH_COOLED}" in told[2]
    assert "Of warm-losses 0.1: loss cooled" in told[2]
    assert "notes/strategies, warm/all" in " ".join(told[2].split())
    assert "losses 'gone' of warm-losses (warm_losses:Gone) is left out: must be importable" in told[1]
    assert "temperature: 5" in config[2]
    assert "learning_rate: 0.25" in config[2]
    assert (wrong[0], wrong[1].splitlines()[-1].partition(" of ")[0]) == (
        2,
        "error: loss=gone cannot be used: losses 'gone'",
    )
    assert swept[0] == 0, swept[1]
    assert "gradient temperature=6" in swept[2]


TASKS = """
from dataclasses import dataclass
from typing import ClassVar
from tasks.single import Single
from tasks.studies.train import Train

@dataclass(frozen=True, slots=True, kw_only=True)
class Alone(Single):
    needs_data: ClassVar[bool] = False

    def train(self, trial, data, report):
        pass

@dataclass(frozen=True, slots=True, kw_only=True)
class Again(Train):
    pass
"""


def test_a_task_of_a_package_chooses_no_data_only_where_it_needs_none(tmp_path, site):
    site(code=TASKS, rows="[descent_sweeps.tasks]\nalone = warm_losses:Alone\nagain = warm_losses:Again\n")
    asked = ["--cfg", "job", "--package", "dataset.name"]

    alone, again = session(tmp_path, ["task=alone", *asked], ["task=again", *asked])

    assert (alone[0], again[0]) == (0, 0), (alone[1], again[1])
    assert [end[2].split()[-1] for end in (alone, again)] == ["none", "digits"]


PATIENT = """
from dataclasses import dataclass
from pipeline.stopping import Never

@dataclass(frozen=True, slots=True, kw_only=True)
class Patient(Never):
    pass
"""


def test_a_rule_of_a_package_that_stops_nothing_does_with_several_metrics(tmp_path, site):
    site(code=PATIENT, rows="[descent_sweeps.stopping]\npatient = warm_losses:Patient\n")
    search = ["-m", "hydra/sweeper=search", "learning_rate=interval(1e-3,1)", "sweep.dry_run=true"]
    front = [*search, "hydra.sweeper.metrics=[val/accuracy,examples]"]

    (code, err, out), (refused, told, _) = session(tmp_path, [*front, "stopping=patient"], [*front, "stopping=asha"])

    assert code == 0, err
    assert "20 proposals to maximize val/accuracy and minimize examples" in out
    assert (refused, told) == (2, "error: stopping must be none for several hydra.sweeper.metrics, got 'asha'\n")


SHARES = """
from collections.abc import Mapping
from dataclasses import dataclass, field
from tasks.losses import Softmax

@dataclass(frozen=True, slots=True, kw_only=True)
class Cooled(Softmax):
    shares: Mapping[str, float] = field(default_factory=dict)
"""


@pytest.mark.parametrize("files", [{}, {"conf/loss/cooled.yaml": "defaults: [/schema/loss/cooled@_here_]"}])
def test_a_mapping_of_a_row_is_given_as_any_other_value(tmp_path, site, files):
    site(code=SHARES, files=files)

    ends = session(
        tmp_path,
        ["loss=cooled", "loss.shares={b:2}", "--cfg", "job", "--package", "loss"],
        ["loss=cooled", "loss.shares.b=2", "--cfg", "job", "--package", "loss"],
        ["--multirun", "loss=cooled,svm", "loss.shares={b:2},{c:3}", "sweep.dry_run=true"],
        ["loss=cooled", "loss.share={b:2}"],
    )

    told = "# @package loss\nname: cooled\nshares:\n  b: 2\n"
    assert [end[0] for end in ends] == [0, 0, 0, 2], [end[1] for end in ends]
    assert [end[2] for end in ends[:2]] == [told, told]
    assert "3 trials, 1 folded" in ends[2][2]
    assert "loss.share is no key of this config, did you mean loss.shares" in ends[3][1]


def test_the_code_of_a_package_travels_with_ours_and_is_in_the_provenance(site):
    from pipeline.engine.ray_cluster import _send_code
    from pipeline.provenance import collect

    place = site()
    about = place.parent / "warm_losses-0.1.dist-info" / "METADATA"
    asked = ["hydra-core", "Rich>=13; python_version > '3'", "not.installed ~= 1.0", "pytest; extra == 'test'"]
    about.write_text(about.read_text().rstrip() + "".join(f"\nRequires-Dist: {one}" for one in asked) + "\n")

    assert str(place) in _send_code()["py_modules"]
    tags = collect().tags
    assert (tags["version.warm-losses"], len(tags["sources.warm-losses"])) == ("0.1", 64)
    assert tags["version.Rich"] == metadata.version("rich")  # a library whose version may change its results
    assert not {"version.pytest", "version.not.installed"} & tags.keys()
