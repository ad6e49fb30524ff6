"""What the process that commands are forked from does once for them: the digest of the sources, and its own garbage."""

import gc

from pipeline.config.identity import code_version

code_version()
gc.freeze()  # no command looks through what it has in common with all of them
