import functools
import re
from importlib import resources
from pathlib import Path

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf

from pipeline.config.schema import defaults, parse
from pipeline.config.tables import TABLES
from pipeline.hydra import register
from pipeline.hydra.groups import row_defaults
from tasks.errors import ConfigError
from tasks.trial import check

CONF = Path(str(resources.files("conf")))
FILES = sorted(file.relative_to(CONF) for file in CONF.rglob("*.yaml") if "deploy" not in file.parts)


@pytest.fixture(scope="module", autouse=True)
def composing():
    register()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        yield


@functools.cache
def composed(*overrides):
    return OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)


def untuned(group, name):
    """Return the overrides that choose a row where no values are tuned: for a synthetic data set."""
    return [f"{group}={name}"] if group == "dataset" else ["dataset=synthetic", f"{group}={name}"]


def hydra_config(*overrides):
    config = hydra.compose("config", list(overrides), return_hydra_config=True)
    return OmegaConf.to_container(config.hydra, resolve=False)


def test_the_config_composes_to_the_defaults_of_the_schema():
    # No values are tuned for a synthetic data set.
    synthetic = defaults() | {"dataset": row_defaults("dataset", "synthetic")}

    assert composed("dataset=synthetic") == synthetic


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_opens_with_its_command_and_composes(file):
    comments = (line for line in (CONF / file).read_text().splitlines() if not line.startswith("# @package"))
    first = next(comments)
    choice = file.with_suffix("").as_posix()
    group, _, name = choice.partition("/")

    assert first.startswith(("# descent-sweeps ", "# python -m pipeline "))
    if group in TABLES:
        assert f"{group}={name}" in first
        assert composed(*untuned(group, name))[group] == row_defaults(group, name)
    elif group == "experiment":
        assert f"experiment={name}" in first
        parse(composed(f"experiment={name}"))
    elif group == "hydra":
        group, _, name = choice.rpartition("/")
        assert f"{group}={name}" in first
        assert "hydra_plugins.descent_sweeps." in hydra_config(f"{group}={name}")[file.parts[1]]["_target_"]
    else:
        parse(composed())


@pytest.mark.parametrize("model", TABLES["model"].own)
def test_the_file_of_a_model_names_all_its_keys(model):
    command = (CONF / f"model/{model}.yaml").read_text().splitlines()[0]

    assert set(re.findall(r"model\.(\w+)=", command)) == set(row_defaults("model", model)) - {"name"}


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("strategy", ["gradient", "random", "local"])
def test_a_small_table_needs_no_other_key(model, strategy):
    config = parse(composed("dataset=sklearn", f"model={model}", f"strategy={strategy}"))
    iris = config.dataset.load()

    check(config.trial, iris)  # that there are as many rows as a minibatch has, for one
    *_, result = config.trial.task.run([config.trial], iris, threads=1)

    assert result.metrics["val/accuracy"] >= 0.75


@pytest.mark.parametrize(("model", "valleys"), [("linear", 1), ("mlp", 2)])
def test_the_landscape_of_networks_has_a_bowl_beside_hills(model, valleys):
    # given the trial that the preset sweeps to for a model
    preset = "experiment=networks/landscape"
    params = dict(hydra_config(preset)["sweeper"]["params"]) | {"model": model}
    known = row_defaults("model", model)
    chosen = [f"{key}={value}" for key, value in params.items() if key == "model" or key.split(".")[1] in known]
    config = parse(composed(preset, "task.resolution=41", *chosen))

    *_, result = config.trial.task.run([config.trial], config.dataset.load(), threads=1)

    # then the loss of the linear model is convex along each axis, and that of the network has another valley
    loss = result.arrays["data_loss"]
    bends = [np.diff(loss, 2, axis=axis) for axis in (0, 1)]
    inside, around = loss[1:-1, 1:-1], np.lib.stride_tricks.sliding_window_view(loss, (3, 3))
    assert (min(bend.min() for bend in bends) > -1e-3) == (model == "linear")
    assert (inside == around.min(axis=(-2, -1))).sum() >= valleys


def test_every_row_has_its_file():
    rows = {Path(group, f"{name}.yaml") for group, table in TABLES.items() for name in table}

    assert rows == {file for file in FILES if file.parts[0] in TABLES}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, table in TABLES.items() for name in table])
def test_every_row_parses_as_composed_or_names_what_it_needs(group, name):
    values = composed(*([f"{group}={name}"] if group in {"model", "strategy"} else untuned(group, name)))

    if group == "dataset" and values["dataset"].get("root", "given") is None and name in ("images", "npz", "table"):
        with pytest.raises(ConfigError, match=r"dataset\.root"):
            parse(values).dataset.load()
    else:
        parse(values)
