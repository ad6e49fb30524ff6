"""An exception as data: its message, its deepest frames outside libraries, and its whole traceback."""

from __future__ import annotations

import itertools
import signal
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import pipeline
import tasks
from pipeline.address import redact
from pipeline.config.packages import packages
from pipeline.config.settings import escaped

LONGEST_LINE = 300
LONGEST_TRACEBACK = 200_000
DEEPEST = 3
"""The frames that are printed: enough to see the calls that led to the error, few enough to read at a glance."""

_IN_ITS_PLACE = ("generator raised StopIteration",)
"""The arguments of the RuntimeError that a generator raises in place of a StopIteration of the code that it calls."""

_OF_NO_FILE = ("<frozen ", "<string>")
"""The names of Python's import system and of the functions that it makes, as the ``__init__`` of a dataclass."""

_STANDARD = sysconfig.get_path("stdlib")
_INSTALLED = {"site-packages", "dist-packages"}
_PIPELINE, _TASKS = pipeline.__path__[0], tasks.__path__[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An error that a computation has raised, in a form that can be sent between processes.

    ``error`` is its message in one line, ``frames`` are its deepest frames in the format of a traceback. ``place`` is
    equal for errors of the same type with the same stack. In the process that raised it, ``exception`` is the exception
    itself.
    """

    error: str
    traceback: str
    frames: str = ""
    place: str = ""
    exception: BaseException | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, exception: BaseException) -> Self:
        """Return an exception that was caught, as data."""
        cause = exception.__cause__
        told = cause if isinstance(cause, StopIteration) and exception.args == _IN_ITS_PLACE else exception
        formatted = traceback.TracebackException.from_exception(told)
        outside = [frame for frame in formatted.stack if not _inside(frame, _PIPELINE)] or formatted.stack
        places = [f"{frame.filename}:{frame.lineno}" for frame in outside]
        shown = "".join(traceback.StackSummary.from_list(_deepest(formatted.stack)).format())
        return cls(
            error=redact(_line(told)),
            traceback=escaped(redact(_middle("".join(formatted.format()), LONGEST_TRACEBACK)), kept="\n\t"),
            frames=escaped(redact(shown), kept="\n\t"),
            place=" ".join(dict.fromkeys([type(told).__qualname__, *places])),
            exception=exception,
        )

    def as_data(self) -> Self:
        """Return this without the exception, whose frames keep the computation's data alive."""
        return replace(self, exception=None)


def is_from_outside(exception: BaseException) -> bool:
    """Return whether an exception that ends the process came from outside the trial: Ray raises one at SIGTERM.

    A KeyboardInterrupt is the user's if Python's own handler is installed; while a sweep runs, it is not.
    """
    if isinstance(exception, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    *_, module = "", *(frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(exception.__traceback__))
    return isinstance(exception, SystemExit) and str(module).partition(".")[0] == "ray"


def _deepest(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Return the last few frames of code that is no library, the user's if there is any, and the very last frame."""
    alike = itertools.groupby(frames, key=lambda frame: (frame.filename, frame.lineno))
    once = [next(group) for _, group in alike]  # a recursion repeats one frame a thousand times
    users = [frame for frame in once if _is_users(frame)]
    computing, ours = ([frame for frame in once if _inside(frame, folder)] for folder in (_TASKS, _PIPELINE))
    own = (users or computing or ours)[-DEEPEST:]
    return own if once[-1:] == own[-1:] else own + once[-1:]


def _is_users(frame: traceback.FrameSummary) -> bool:
    generated = frame.filename.startswith(_OF_NO_FILE)
    library = generated or _inside(frame, _STANDARD) or not _INSTALLED.isdisjoint(Path(frame.filename).parts)
    added = any(_inside(frame, str(root)) for package in packages() for root in package.roots)
    return added or not (library or _inside(frame, _TASKS) or _inside(frame, _PIPELINE))


def _inside(frame: traceback.FrameSummary, folder: str) -> bool:
    return Path(frame.filename).is_relative_to(folder)


def _line(exception: BaseException) -> str:
    try:
        message = str(exception)
    except Exception as error:  # noqa: BLE001  # the __str__ of a user's exception may raise
        message = f"its message cannot be read: {type(error).__name__}"
    if isinstance(exception, SystemExit):
        message = f"{message} (it asked its process to exit)"
    lines = [escaped(line.strip()) for line in message.splitlines() if line.strip()]
    text = lines[0] if lines else ""
    more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
    name = type(exception).__name__
    return f"{name}: {_middle(text, LONGEST_LINE)}{more}" if text else name


def _middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... {len(text) - most} characters ... {text[-(most // 2) :]}"
