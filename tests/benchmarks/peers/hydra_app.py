"""A Hydra app with an MLflow run a trial: for hydra-ray-launcher, and for stock Hydra, one trial after another."""

import hydra
import mlflow
import svm


@hydra.main(version_base="1.3", config_path=".", config_name="svm")
def main(config):
    mlflow.set_tracking_uri(config.store)
    params = {name: config[name] for name in ("learning_rate", "regularization", "batch_size", "steps")}
    with mlflow.start_run():
        mlflow.log_params(params)
        svm.train(svm.load(config.root), log=lambda metrics, step: mlflow.log_metrics(metrics, step=step), **params)


if __name__ == "__main__":
    main()
