"""An app on this project's configs whose jobs do nothing: what stock Hydra takes to compose them."""

import hydra

from pipeline import hydra as plugins
from pipeline.hydra import groups


@hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")
def main(config):
    """Do nothing."""


if __name__ == "__main__":
    groups.register()
    plugins.register()
    main()
