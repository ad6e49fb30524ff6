"""The application's command line: Hydra composes the config, the sweep runs it, errors become one message."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.types import RunMode
from omegaconf import DictConfig

from pipeline.address import redact
from pipeline.cli.error_messages import is_expected, message_of
from pipeline.config.schema import parse
from pipeline.config.tables import faults
from pipeline.entry import is_unread
from pipeline.errors import HydraBypass, Interrupted, TrialsFailedError
from pipeline.hydra import register
from pipeline.hydra.composer import plain_values
from pipeline.hydra.folders import MULTIRUN, OF_JOB, hide_credentials
from pipeline.hydra.launcher import SWEEPS
from pipeline.hydra.search_path import CONF
from pipeline.hydra.sweeper import defer_conditional_keys
from pipeline.plan.plan import Point
from pipeline.signals import StopSignals
from pipeline.sweep import run
from tasks.errors import require
from tasks.rows import is_text
from tasks.single import is_any_running

ALLOCATIONS = 20_000
"""The allocations between two garbage collections; Python's default is 700."""


def main() -> None:
    """Run the command line; exit with 1 where a trial failed, 2 on an error, 128 + N on signal N."""
    # Garbage collection would take half a second while Ray and MLflow are imported, and a second at exit.
    gc.set_threshold(ALLOCATIONS)
    atexit.register(gc.freeze)
    faulthandler.enable(file=2)  # a crash in native code prints a traceback to stderr
    logging.raiseExceptions = False  # with a full disk, every log line would print a traceback
    for fault in faults():
        print(fault, file=sys.stderr)  # noqa: T201
    register()
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    try:
        for text in (os.getcwd(), *sys.argv[1:]):  # noqa: PTH109  # the folder's name is part of the record's address
            require(is_text(text), "the working folder and the arguments", "must be text in UTF-8", text)
        sys.argv[1:] = hydra_arguments(sys.argv[1:])
        # With this variable Hydra raises errors, instead of printing them in its own way.
        with env_override({"HYDRA_FULL_ERROR": "1"}), StopSignals(), SWEEPS:
            hydra.main(config_path=CONF, config_name="config", version_base="1.3")(run_trial)()
    except BaseException as raised:  # noqa: BLE001  # printed or raised below, outside of this handler's context
        error = raised.error if isinstance(raised, HydraBypass) else raised
        error = interruption(error) or error
    else:
        return
    if isinstance(error, Interrupted):
        if error.number != signal.SIGPIPE:  # of which other tools, too, say nothing
            print(f"stopped: {error}", file=sys.stderr)  # noqa: T201
        end(128 + error.number)
    if isinstance(error, BrokenPipeError) and is_unread():
        raise error
    if full_error == "1" and isinstance(error, TrialsFailedError) and error.__cause__ is not None:
        raise error.__cause__  # a lone trial's own error, so that a debugger stops where it was raised
    if full_error == "1" or not is_expected(error):
        raise error
    print(f"error: {message_of(error)}", file=sys.stderr)  # noqa: T201
    sys.exit(1 if isinstance(error, TrialsFailedError) else 2)


def end(code: int) -> NoReturn:
    """End this process with an exit code, also where a trial's own function does not end."""
    if is_any_running():
        # Its thread may be in native code, such as PyTorch's, which aborts the process when Python finalizes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def interruption(error: BaseException | None) -> Interrupted | None:
    """Return the signal during which an error was raised, if any: a library may turn it into an error of its own."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__cause__ or error.__context__
    return error


def hydra_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments for Hydra: the overrides in one piece, in a multirun after `defer_conditional_keys`.

    >>> hydra_arguments(["seed=1,2", "--multirun", "--config-name", "mine", "steps=20"])
    ['--multirun', '--config-name', 'mine', 'seed=1,2', 'steps=20']
    >>> hydra_arguments(["seed=1", "--info"])
    ['seed=1', '--info']
    """
    try:
        from hydra._internal.utils import get_args_parser  # noqa: PLC0415  # private: Hydra itself does without us
    except ImportError:
        print("this version of Hydra has no argument parser to use here: give the overrides last", file=sys.stderr)  # noqa: T201
        return list(arguments)
    # argparse accepts the overrides only in one piece.
    given = get_args_parser().parse_intermixed_args(arguments)
    options = [argument for argument in arguments if argument not in given.overrides]
    many = given.multirun or any(text.endswith("hydra.mode=MULTIRUN") for text in given.overrides)
    overrides = defer_conditional_keys(given.overrides) if many else given.overrides
    # --info may stand without a value, and would take the first override for one.
    return [*overrides, *options] if given.info else [*options, *overrides]


def run_trial(config: DictConfig) -> float | None:
    """Run one trial and return its score, None on a dry run (Hydra's task function)."""
    job = HydraConfig.get()
    try:
        if job.mode == RunMode.MULTIRUN:
            hide_credentials(Path(job.runtime.cwd) / job.sweep.dir, [MULTIRUN])
        elif job.runtime.choices.get("experiment") and (swept := _swept(job)):
            print(f"this is one trial of the preset: with --multirun it sweeps {', '.join(swept)}")  # noqa: T201
        if job.output_subdir is not None:
            hide_credentials(Path(job.runtime.output_dir) / job.output_subdir, OF_JOB)
        overrides = tuple(map(redact, job.overrides.task))
        point = Point(index=0, overrides=overrides, config=parse(plain_values(config)))
        end = run.run_trial(point, Path(job.runtime.output_dir))
        if isinstance(end, Exception):
            raise end  # noqa: TRY301  # it goes the way of all that is raised above
    except Exception as error:
        # In a multirun Hydra's launcher must catch the error, to go on with the other jobs.
        if job.mode == RunMode.MULTIRUN:
            raise
        raise HydraBypass(error) from error
    return end


def _swept(job: HydraConf) -> list[str]:
    """Return the keys that the preset of a lone trial sweeps in a multirun and that are not given."""
    # Only a multirun checks its sweeper, which may be of any type here.
    params = job.sweeper.get("params") if isinstance(job.sweeper, Mapping) else None
    given = {override.partition("=")[0].lstrip("+") for override in job.overrides.task}
    return [key for key in params if key not in given] if isinstance(params, Mapping) else []
