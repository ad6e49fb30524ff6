import pytest
import yaml

from tests.pipeline.session import session

SEARCH = ("-m", "hydra/sweeper=search", "dataset=synthetic", "engine=inprocess", "steps=20")
RATE = "learning_rate=tag(log,interval(1e-6,1e-1))"
PRESET = """# @package _global_
defaults:
  - override /optimizer: momentum
  - override /hydra/sweeper: search
  - override /hydra/sweeper/sampler: tpe
hydra:
  sweeper:
    sampler: {seed: 123, n_startup_trials: 4}
    direction: maximize
    study_name: example
    storage: null
    n_trials: 6
    n_jobs: 2
    max_failure_rate: 0.0
    params:
      learning_rate: tag(log, interval(1e-4, 1e-1))
      batch_size: choice(16, 32)
      optimizer.momentum: range(0.5, 1, step=0.1)
"""


@pytest.mark.slow
def test_a_config_of_hydras_plug_in_searches_with_one_name_changed(tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/mine.yaml").write_text(PRESET)

    ((code, err, out),), _ = session(
        tmp_path,
        ["-m", "--config-dir", "mine", "experiment=mine", "hydra.sweep.dir=out", *SEARCH[2:]],
    )

    assert code == 0, err
    results = yaml.safe_load((tmp_path / "out/optimization_results.yaml").read_text())
    assert results["name"] == "optuna"
    assert list(results["best_params"]) == ["learning_rate", "batch_size", "optimizer.momentum"]
    assert 0 < results["best_value"] <= 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.isdecimal()) == list("012345")
    overrides = yaml.safe_load((tmp_path / "out/3/.hydra/overrides.yaml").read_text())
    assert {text.partition("=")[0] for text in overrides} >= set(results["best_params"])
    assert f"{results['best_value']:.4g}" in out


def test_bad_input_is_told_before_anything_starts(tmp_path):
    bad = {
        ("learning_rate=0.1",): "hydra/sweeper=search must have a key to search over",
        (RATE, "hydra.sweeper.n_trials=0"): "hydra.sweeper.n_trials must be a whole number of at least 1, got 0",
        (RATE, "hydra.sweeper.direction=minimize"): "hydra.sweeper.direction must agree with sweep.mode",
        (RATE, "hydra.sweeper.direction=up"): "hydra.sweeper.direction must be one of maximize, minimize, got 'up'",
        (RATE, "hydra/sweeper/sampler=tpy"): "hydra/sweeper/sampler must be one of cmaes, gp, grid",
        (RATE, "hydra.sweeper.sampler.sed=1"): "hydra.sweeper.sampler.sed is no key of the sweeper that is chosen",
        (RATE, "hydra/sweeper/sampler=grid"): "learning_rate must have values that can be listed",
        ("learning_rte=interval(1,2)",): "learning_rte is no key of this config, did you mean learning_rate?",
    }

    ends, imported = session(tmp_path, *([*SEARCH, *overrides] for overrides in bad))

    assert [code for code, _, _ in ends] == [2] * len(bad)
    assert {
        overrides: message
        for (overrides, message), (_, err, _) in zip(bad.items(), ends, strict=True)
        if message not in err or err.count("\n") != 1
    } == {}
    assert "ray" not in imported
    assert not (tmp_path / "multirun").exists()
