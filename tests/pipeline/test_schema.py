import itertools

import pytest

from pipeline.config.identity import code_version, key
from pipeline.config.schema import Config, defaults, describe, parse
from pipeline.config.tables import TABLES
from pipeline.hydra.groups import keys, row_defaults
from tasks.errors import ConfigError

ROWS = [(group, name) for group, table in TABLES.items() for name in table]


def test_the_defaults_are_those_of_the_dataclasses():
    assert parse({}) == Config()
    assert parse(defaults()) == Config()


@pytest.mark.parametrize(("group", "name"), ROWS)
def test_describing_undoes_parsing_for_every_row(group, name):
    values = defaults() | {group: {"name": name}}

    config = parse(values)

    assert describe(config)[group] == row_defaults(group, name)
    assert parse(describe(config)) == config


def test_values_are_converted_to_their_types():
    config = parse({"learning_rate": "1e-3", "batch_size": None, "steps": 20.0, "cluster": {"gpus_per_worker": 1}})

    assert config.trial.learning_rate == 0.001
    assert config.trial.batch_size is None
    assert config.trial.steps == 20
    assert config.cluster.gpus_per_worker == 1.0


def test_a_worker_can_ask_for_resources_and_labels():
    asked = {"resources": {"tpu": 1}, "labels": {"zone": "!in(a, b)", "ray.io/accelerator-type": "H100"}}

    config = parse({"cluster": asked})

    assert config.cluster.resources == {"tpu": 1.0}
    assert parse(describe(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": "abc"}, "learning_rate must be a number, got 'abc'"),
        ({"learning_rate": 0}, "learning_rate must be > 0, got 0.0"),
        ({"learning_rate": True}, "learning_rate must be"),
        ({"batch_size": -1}, "batch_size must be >= 1, or null for the full training set, got -1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number, got 2.5"),
        ({"trial": {"record_every": 0}}, "trial.record_every must be >= 1, got 0"),
        ({"trial": {"attempts": 0}}, "trial.attempts must be >= 1, got 0"),
        ({"trial": {"timeout": 0}}, "trial.timeout must be > 0, or null, got 0.0"),
        ({"trial": 3}, "trial must be a group of keys"),
        ({"sweep": {"mode": "most"}}, "sweep.mode must be one of max, min, got 'most'"),
        ({"sweep": {"metric": " "}}, "sweep.metric must not be empty, got ' '"),
        ({"sweep": {"over": ["sed"]}}, "got 'sed' (did you mean 'seed'?)"),
        ({"sweep": {"repeats": 0}}, "sweep.repeats must be >= 1, got 0"),
        ({"sweep": {"repeats": 3, "over": ["loss"]}}, "sweep.over must hold seed or data_seed for sweep.repeats=3"),
        ({"loss": {"name": "sfm"}}, f"loss must be one of {', '.join(sorted(TABLES['loss']))}, got 'sfm'"),
        ({"loss": "svm"}, "loss must be one of"),
        ({"strategy": {"name": "random", "scale": 0}}, "strategy.scale must be > 0, or null, got 0"),
        ({"strategy": {"name": "local", "initial_scale": -1}}, "strategy.initial_scale must be >= 0, or null, got -1"),
        ({"strategy": {"name": "gradient", "initial_scale": -1}}, "strategy.initial_scale must be >= 0, or null"),
        ({"strategy": {"name": "lbfgs", "initial_scale": -1}}, "strategy.initial_scale must be >= 0, or null"),
        ({"strategy": {"name": "lbfgs", "history": 0}}, "strategy.history must be >= 1, got 0"),
        ({"loss": {"name": "svm", "margn": 1}}, "did you mean 'margin'?"),
        ({"loss": {"name": "svm", "margin": "???"}}, "loss.margin must be given"),
        ({"learning_rat": 1}, "did you mean 'learning_rate'?"),
        ({"clustr": {"workers": 1}}, "did you mean 'cluster'?"),
        ({"trial": {"record_ever": 1}}, "did you mean 'record_every'?"),
        ({"engine": "rayy"}, "engine must be one of inprocess, ray, got 'rayy'"),
        ({"device": "tpu"}, "device must be one of cpu, cuda, got 'tpu'"),
        ({"cluster": {"workers": 0}}, "cluster.workers must be >= 1, got 0"),
        ({"cluster": {"cpus_per_worker": 0}}, "cluster.cpus_per_worker must be > 0, got 0.0"),
        ({"cluster": {"cpus_per_worker": 1.5}}, "cluster.cpus_per_worker must be a whole number above 1, got 1.5"),
        ({"cluster": {"gpus_per_worker": -1}}, "cluster.gpus_per_worker must be >= 0, got -1.0"),
        ({"cluster": {"gpus_per_worker": 2.5}}, "cluster.gpus_per_worker must be a whole number above 1, got 2.5"),
        ({"cluster": {"resources": ["a"]}}, "cluster.resources must be a mapping ({KEY: VALUE}), got ['a']"),
        ({"cluster": {"resources": {"tpu": 0}}}, "cluster.resources.tpu must be > 0, got 0.0"),
        ({"cluster": {"resources": {"tpu": "x"}}}, "cluster.resources.tpu must be a number, got 'x'"),
        ({"cluster": {"resources": {"CPU": 2}}}, "cluster.resources.CPU must be given as cluster.cpus_per_worker"),
        (
            {"cluster": {"resources": {"object_store_memory": 2}}},
            "cluster.resources.object_store_memory must be left out",
        ),
        ({"cluster": {"labels": {"zone": "!!a"}}}, "cluster.labels.zone must be VALUE, !VALUE, in(A,B) or !in(A,B)"),
        ({"cluster": {"labels": {"a_/b": "c"}}}, "cluster.labels must have keys NAME or PREFIX/NAME of letters"),
        ({"tracking": {"uri": " "}}, "tracking.uri must not be empty"),
        ({"sweep": {"dry_run": "maybe"}}, "sweep.dry_run must be true or false, got 'maybe'"),
    ],
)
def test_a_bad_value_is_refused_by_name_rule_and_value(values, message):
    with pytest.raises(ConfigError) as refused:
        parse(values)

    assert message in str(refused.value)


def test_the_keys_are_listed_over_all_rows():
    assert {"learning_rate", "loss.margin", "trial.record_every", "sweep.name", "strategy.scale"} <= set(keys())
    assert "loss.name" not in keys()


def test_a_parameter_that_is_not_used_takes_no_part_in_the_key():
    random = {"strategy": {"name": "random"}}

    assert key(parse(random | {"learning_rate": 0.1}), "d") == key(parse(random | {"learning_rate": 0.2}), "d")


def test_where_and_how_a_trial_is_run_takes_no_part_in_the_key():
    elsewhere = {"engine": "ray", "cluster": {"workers": 7}, "trial": {"attempts": 9}, "sweep": {"name": "x"}}

    assert key(parse({}), "d") == key(parse(elsewhere), "d")


def test_all_that_decides_the_result_makes_another_key():
    configs = [
        {},
        {"learning_rate": 0.5},
        {"seed": 1},
        {"data_seed": 1},
        {"loss": {"name": "svm", "margin": 2}},
        {"optimizer": {"name": "adam"}},
        {"trial": {"record_every": 5}},
    ]
    digests = [key(parse(values), "d") for values in configs] + [key(parse({}), "other data")]

    assert all(a != b for a, b in itertools.combinations(digests, 2))


def test_the_code_version_is_a_digest_of_the_sources():
    assert len(code_version()) == 64
