"""A grid search by Ray Tune, recorded by its own MLflow callback: python ray_tune.py ROOT STORE STEPS NAME=A,B ..."""

import sys
from pathlib import Path

import svm
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback


def trainable(config, data):
    svm.train(data, log=lambda metrics, step: tune.report({**metrics, "step": step}), **config)


if __name__ == "__main__":
    root, store, steps, *grid = sys.argv[1:]
    space = {"steps": int(steps)}
    for name, _, values in (text.partition("=") for text in grid):
        kind = int if name == "batch_size" else float
        space[name] = tune.grid_search([kind(value) for value in values.split(",")])
    tune.Tuner(
        tune.with_parameters(trainable, data=svm.load(root)),  # with_parameters puts the images into the store once
        param_space=space,
        run_config=tune.RunConfig(
            storage_path=str(Path("tune").absolute()),
            callbacks=[MLflowLoggerCallback(tracking_uri=store, experiment_name="Default", save_artifact=False)],
        ),
    ).fit()
