"""A Hydra app that trains a two-layer network in PyTorch, with an MLflow run a trial: for hydra-ray-launcher."""

import hydra
import mlflow
import two_layer


@hydra.main(version_base="1.3", config_path=".", config_name="two_layer")
def main(config):
    mlflow.set_tracking_uri(config.store)
    names = ("hidden", "learning_rate", "regularization", "batch_size", "steps")
    params = {name: config[name] for name in names}
    with mlflow.start_run():
        mlflow.log_params(params)
        two_layer.train(
            two_layer.load(config.root), log=lambda metrics, step: mlflow.log_metrics(metrics, step=step), **params
        )


if __name__ == "__main__":
    main()
