"""Error messages: one line that names the key, the rule and the value."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import sys
import traceback
import typing
from typing import Any

from hydra.conf import HydraConf
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.address import redact
from pipeline.config.tables import TABLES, wrong_choice
from pipeline.errors import TrialsFailedError, UndrawnError
from pipeline.hydra.groups import choices_with, keys, misplaced, presets
from tasks.errors import SweepError, unknown_choice

EXPECTED = (SweepError, HydraException, OmegaConfBaseException, YAMLError, OSError, MemoryError)
"""Errors that the user can cause: they are printed without a traceback."""

_UNCHECKED = {
    "hydra.verbose": "must be true, false, a logger or a list of loggers",
    "hydra.sweeper": "must be chosen by hydra/sweeper=CHOICE",
    "hydra.launcher": "must be chosen by hydra/launcher=CHOICE",
}
"""The keys whose values Hydra uses without a check, and their rules."""

_UNREAD = re.compile("LexerNoViableAlt|no viable alternative|(mismatched|extraneous) input|missing EQUAL")
"""What Hydra's parser says, in the words of ANTLR, of an override that its grammar does not know."""

_TAKES_VALUE = re.compile("(-c|-cp|-cn|-cd|-p|--cfg|--config-(path|name|dir)|--package|--experimental-rerun)$")
"""The options of Hydra after which their value stands, which is no override."""

_OF_PLUGIN = re.compile(
    r"(unexpected keyword argument '(?P<given>\w+)'|missing \d+ required .*?: '(?P<lacking>\w+)')"
    r".*full_key: (?P<plugin>hydra\.(sweeper|launcher))$",
    re.DOTALL,
)
"""What Python says of the keys with which Hydra makes a sweeper or a launcher."""


def is_expected(error: BaseException) -> bool:
    """Return whether the user caused the error: by its type, or because Hydra raised it for an override."""
    if isinstance(error, EXPECTED):
        return True
    return isinstance(error, Exception) and _raised_in(error) in {"hydra", "omegaconf", "antlr4"}


def _raised_in(error: BaseException) -> str:
    """Return the package that raised an error, or called what did in the standard library; empty for none."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    packages = [package for module in modules if (package := module.partition(".")[0]) not in sys.stdlib_module_names]
    return packages[-1] if packages else ""


def message_of(error: BaseException) -> str:
    """Return the message of an expected error, in one line, with all overrides if it names none of them.

    One with frames keeps its lines. Credentials are redacted.
    """
    if isinstance(error, TrialsFailedError | UndrawnError):
        return redact(str(error))
    if isinstance(error, OSError) and (of_folder := _output_folder_text(error)):
        return redact(of_folder)
    text = redact(" ".join(_text_of(error).split()))
    pairs = itertools.pairwise(sys.argv)
    overrides = [redact(text) for option, text in pairs if not text.startswith("-") and not _TAKES_VALUE.match(option)]
    named = [override.partition("=")[0].lstrip("+~").strip() for override in overrides]
    if isinstance(error, SweepError) or any(name and name in text for name in named):
        return text
    for name, override in zip(named, overrides, strict=True):
        value = override.partition("=")[2]
        if name in _UNCHECKED and isinstance(error, AssertionError | TypeError | InstantiationException):
            return f"{name} {_UNCHECKED[name]}, got {value}"
        if text.startswith("Config group override must be") and value not in TABLES.get(name, [value]):
            return str(wrong_choice(name, value, TABLES[name]))
    return f"{text} (the overrides were: {' '.join(map(repr, overrides))})" if overrides else text


def _text_of(error: BaseException) -> str:
    if isinstance(error, MissingConfigException) and (known := _choice_text(error)):
        return known
    if isinstance(error, HydraException):
        return _hydra_text(error)
    if isinstance(error, OmegaConfBaseException):
        return _first_line(error) + (f" (in {error.full_key})" if error.full_key else "")
    if isinstance(error, OSError):
        # An error without a file name is about a deleted working folder.
        what = f" {error.filename or 'the working folder' * isinstance(error, FileNotFoundError)}".rstrip()
        return f"cannot use{what}: {error.strerror or error}"
    if isinstance(error, SweepError | YAMLError):  # PyYAML's has several lines: what is wrong, in which file and where
        return str(error)
    return _text_of_others(error)


def _output_folder_text(error: OSError) -> str:
    """Return the message of an output folder that Hydra itself cannot write, an empty text for any other error."""
    frames = (frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__))
    job = next((names for names in frames if {"job_dir_key", "output_dir"} <= {*names}), None)  # Hydra's run_job
    if job is None or _raised_in(error) != "hydra":
        return ""
    return f"{job['job_dir_key']} must be a folder that can be written, got {job['output_dir']}: {error}"


def _text_of_others(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {_first_line(error)}"
    if isinstance(error, KeyError):  # an environment variable that hydra.job.env_copy names
        return f"{error} must be set"
    return _first_line(error) + (f": {error.__cause__}" if error.__cause__ else "")


def _choice_text(error: MissingConfigException) -> str:
    """Return the message of an unknown choice of a group, an empty text if the missing file is none."""
    missing = str(error.missing_cfg_file)
    if missing.startswith("experiment/"):  # its presets are in folders, which Hydra does not list
        known = {*presets(), *(error.options or ())}  # those of a folder of the user's, too
        return str(unknown_choice("experiment", missing.removeprefix("experiment/"), known))
    group, _, name = missing.rpartition("/")
    return str(wrong_choice(group, name, error.options)) if error.options else ""


def _hydra_text(error: HydraException) -> str:
    text = str(error)
    unread = re.match(r"(LexerNoViableAltException: )(.*)\n( *)\^", text, re.DOTALL)
    if unread and "=" in unread.group(2):
        override = unread.group(2)
        sign = override[len(unread.group(3)) - len(unread.group(1)) :][:1]
        return f"{override} cannot be read at {sign!r}: a value that holds it must be quoted, as in KEY='\"VALUE\"'"
    if isinstance(error, OverrideParseException) and _UNREAD.search(text):
        rule = "values are listed without spaces, as in KEY=A,B, and one that holds brackets or commas is quoted, as in"
        return f"{error.override} cannot be read as KEY=VALUE: {rule} KEY='\"VALUE\"'"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown.group(1).removesuffix(".")
        return _unknown_hydra_key(key) if key.startswith("hydra.") else _unknown_key(key)
    if of_file := _file_text(text):
        return of_file
    if isinstance(error.__cause__, OmegaConfBaseException) and not text:
        return message_of(error.__cause__)
    cause = error.__cause__ or error.__context__
    detail = f": {_first_line(cause)}" if isinstance(cause, OmegaConfBaseException) else ""
    if detail.endswith("Set[str]"):  # Hydra's own class of a sweep has tags
        detail = ": a mapping must hold sweeps as texts in quotes, as in {KEY: 'interval(0,1)'}"
    if "NoneType is incompatible" in text:
        detail = ": null must be listed without a function, as in KEY=null,1"
    text = text.partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("See https")]
    return "; ".join(lines) + detail


def _file_text(text: str) -> str:
    """Return the message for a key of a file that Hydra or a plug-in does not have, or lacks; empty for all else."""
    if composed := re.search(r"(In '[^']+'): ConfigKeyError raised.*full_key: (hydra\.\S+)", text, re.DOTALL):
        return f"{composed.group(1)}: {_unknown_hydra_key(composed.group(2))}"
    if (made := _OF_PLUGIN.search(text)) is None:
        return ""
    plugin, given, lacking = made["plugin"], made["given"], made["lacking"]
    return _unknown_hydra_key(f"{plugin}.{given}") if given else f"{plugin}.{lacking} must be given, got none"


def _unknown_key(key: str) -> str:
    if choices_with(key):
        return misplaced(key)
    if key in TABLES:
        return f"{key} must be one of {', '.join(sorted(TABLES[key]))} ({key}=CHOICE)"
    group, _, name = key.rpartition(".")
    beside = {known.removeprefix(f"{group}."): known for known in keys() if known.rpartition(".")[0] == group}
    if group and beside:  # keys of a group have its name in common, which would make all of them close
        close = [beside[one] for one in difflib.get_close_matches(name, beside, n=3)]
    else:
        close = difflib.get_close_matches(key, keys(), n=3)
    # A key without its group (margin for loss.margin) is not close to any full key.
    close += [known for known in keys() if known.endswith(f".{key}") and known not in close]
    hint = f", did you mean {' or '.join(close)}?" if close else ""
    return f"{key} is no key of this config{hint} (see descent-sweeps --help)"


def _unknown_hydra_key(key: str) -> str:
    """Return the message for a key that Hydra's own config does not have.

    >>> _unknown_hydra_key("hydra.sweep.dri")
    "hydra.sweep.dri is no key of Hydra's config, did you mean hydra.sweep.dir? (see --hydra-help)"
    >>> _unknown_hydra_key("hydra.job.env_set.HOME")
    "hydra.job.env_set.HOME is no key of Hydra's config yet: +hydra.job.env_set.HOME=VALUE adds it"
    >>> _unknown_hydra_key("hydra.sweeper.params")
    "hydra.sweeper.params has no such keys in Hydra's config yet: +hydra.sweeper.params=VALUE adds them"
    """
    plugin = ".".join(key.split(".")[:2])
    if key == "hydra.sweeper.params":
        return _without_keys(key)
    if plugin in {"hydra.launcher", "hydra.sweeper"} and not key.startswith("hydra.sweeper.params."):
        return f"{key} is no key of the {plugin.removeprefix('hydra.')} that is chosen (see --cfg hydra -p {plugin})"
    kind: Any = HydraConf
    above, *names = key.split(".")
    for name in names:
        if not dataclasses.is_dataclass(kind):
            return f"{key} is no key of Hydra's config yet: +{key}=VALUE adds it"
        known = [f.name for f in dataclasses.fields(kind)]
        if name not in known:
            close = " or ".join(f"{above}.{other}" for other in difflib.get_close_matches(name, known))
            hint = f", did you mean {close}?" if close else f": {above} has {', '.join(known)}"
            return f"{above}.{name} is no key of Hydra's config{hint} (see --hydra-help)"
        kind = typing.get_type_hints(kind)[name]
        above = f"{above}.{name}"
    return _without_keys(key)


def _without_keys(key: str) -> str:
    return f"{key} has no such keys in Hydra's config yet: +{key}=VALUE adds them"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
