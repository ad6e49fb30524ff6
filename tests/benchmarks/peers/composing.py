"""An app on this project's configs whose jobs do nothing: what stock Hydra takes to compose them."""

import hydra

from pipeline.hydra import register


@hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")
def main(config):
    """Do nothing."""


if __name__ == "__main__":
    register()
    main()
