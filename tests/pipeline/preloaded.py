"""What the process that commands are forked from does once for all of them."""

import functools
import gc

from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow.store.db import utils
from omegaconf import OmegaConf

from pipeline.config.identity import code_version
from pipeline.tracking.connection import revisions
from tests.stores import empty_store

OVERRIDES = (
    *("seed=1,2", "seed=range(0,4)", "batch_size=null", "learning_rate=tag(log,interval(1e-6,1e-1))", "+note=hello"),
    *("~schedule", "hydra/sweeper=search", "hydra.sweep.dir=out", "tracking.uri=sqlite:///mlflow.db"),
    *("sweep.over=[seed]", "sweep.name='a b'", "sweep.name=${now:%Y}", "cluster.resources={tpu: 1, other: '${seed}'}"),
)

code_version()  # parses a hundred files
revisions()  # reads seventy
# MLflow executes its seventy migrations to know the last of them, whenever a process opens a store.
utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
empty_store()
# The parsers of Hydra and OmegaConf build their tables while they parse.
OverridesParser.create().parse_overrides(list(OVERRIDES))
OmegaConf.to_container(OmegaConf.create({"seed": 1, "name": "${seed}-${oc.env:HOME,nobody}"}), resolve=True)
gc.freeze()  # a command need not look for garbage in what all have in common
