"""A Hydra app with an MLflow run a trial, for Hydra's own sweeper for Optuna: it returns the validation accuracy."""

import hydra
import mlflow
import svm


@hydra.main(version_base="1.3", config_path=".", config_name="svm")
def main(config):
    mlflow.set_tracking_uri(config.store)
    params = {name: config[name] for name in ("learning_rate", "regularization", "batch_size", "steps")}
    with mlflow.start_run():
        mlflow.log_params(params)
        weights = svm.train(
            svm.load(config.root), log=lambda metrics, step: mlflow.log_metrics(metrics, step=step), **params
        )
        accuracy = svm.accuracy(weights, *svm.held_out(config.root))
        mlflow.log_metric("val/accuracy", accuracy, step=config.steps)
    return accuracy


if __name__ == "__main__":
    main()
