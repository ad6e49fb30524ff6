"""What the process that commands are forked from does once for all of them."""

import gc

from pipeline.config.identity import code_version
from tests.stores import empty_store

code_version()  # parses a hundred files
empty_store()
gc.freeze()  # a command need not look for garbage in what all have in common
