"""``python -m pipeline.backfill``, of the module `command` beside it."""

from pipeline.entry import run_command

if __name__ == "__main__":
    run_command("pipeline.backfill.command")
