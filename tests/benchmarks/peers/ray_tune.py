"""A grid search by Ray Tune, recorded by its own MLflow callback: python ray_tune.py ROOT STORE STEPS NAME=A,B ...

With ``asha=FIRST,FACTOR`` trials are stopped by Ray Tune's ASHA, by their training accuracy.
"""

import sys
from pathlib import Path

import svm
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler


def trainable(config, data):
    svm.train(data, log=lambda metrics, step: tune.report({**metrics, "step": step}), **config)


if __name__ == "__main__":
    root, store, steps, *grid = sys.argv[1:]
    space, scheduler = {"steps": int(steps)}, None
    for name, _, values in (text.partition("=") for text in grid):
        if name == "asha":
            first, factor = map(int, values.split(","))
            budget = {"max_t": int(steps), "grace_period": first, "reduction_factor": factor}
            scheduler = ASHAScheduler(time_attr="step", metric="train/accuracy", mode="max", **budget)
            continue
        kind = int if name == "batch_size" else float
        space[name] = tune.grid_search([kind(value) for value in values.split(",")])
    tune.Tuner(
        # with_parameters puts the images into the store once
        tune.with_parameters(trainable, data=svm.load(root)),
        param_space=space,
        tune_config=tune.TuneConfig(scheduler=scheduler),
        run_config=tune.RunConfig(
            storage_path=str(Path("tune").absolute()),
            callbacks=[MLflowLoggerCallback(tracking_uri=store, experiment_name="Default", save_artifact=False)],
        ),
    ).fit()
