"""The comparison of two records of a trial: equal bit for bit, within a tolerance, or different, and what changed."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config.packages import SOURCES
from pipeline.config.settings import flat
from pipeline.results.curves import Series
from pipeline.tracking.reader import RecordedRun
from tasks.events import Outcome

TOLERANCE = 1e-5
"""The largest relative difference that counts as rounding."""


class Equality(enum.Enum):
    """How equal two things are, from best to worst; the value is the text that is printed."""

    BITWISE = "bit for bit equal"
    TOLERANCE = f"equal within {TOLERANCE:g} relative"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference between a curve or array of the new record and that of the old one.

    ``count`` is the number of values compared, ``largest`` the largest relative difference and ``where`` its place: a
    step, an index, or the reason why the two cannot be compared (``largest`` is then infinite).
    """

    name: str
    count: int
    equality: Equality
    largest: float
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The comparison of a trial's old and new record: curve by curve, array by array, and what else changed."""

    old: RecordedRun
    new: RecordedRun
    differences: tuple[Difference, ...]
    changes: Mapping[str, tuple[str, str]]

    @property
    def lacks_arrays(self) -> bool:
        """Whether the old record has none of the arrays of the new one: their file was removed, or nobody kept any."""
        return bool(self.new.arrays) and not self.old.arrays

    @property
    def equality(self) -> Equality:
        """The worst of the equalities."""
        return worst(d.equality for d in self.differences)

    @property
    def largest(self) -> Difference | None:
        """The difference of the curve or array that differs most, None if all are bit for bit equal."""
        unequal = [d for d in self.differences if d.equality is not Equality.BITWISE]
        return max(unequal, key=lambda d: d.largest, default=None)


def worst(equalities: Iterable[Equality]) -> Equality:
    """Return the worst of some equalities."""
    return max(equalities, key=list(Equality).index, default=Equality.BITWISE)


def compare(old: RecordedRun, new: RecordedRun) -> Verdict:
    """Compare every point and array of the old record, and the outcome, with the new record; list what else changed.

    Curves and arrays that only the new record has, such as a new metric of the code, are changes, not differences.
    The arrays of a trial that diverged in both records are not compared: older records hold weights of arbitrary steps.
    """
    diverged = old.tags.get("outcome") == new.tags.get("outcome") == Outcome.DIVERGED.value
    arrays = {} if diverged else old.arrays
    outcomes = {name: (old.tags.get(name), new.tags.get(name)) for name in _OUTCOME}
    differences = (
        *(_incomparable(name, f"{a or 'none'} and {b or 'none'}") for name, (a, b) in outcomes.items() if a != b),
        *(_compare_series(name, old.curves[name], new.curves.get(name)) for name in sorted(old.curves)),
        *(_compare_arrays(name, arrays[name], new.arrays.get(name)) for name in sorted(arrays)),
    )
    before, after = dict(_circumstances(old)), dict(_circumstances(new))
    unrecorded = {name for name in after.keys() - before.keys() if name.startswith(_VERSION)}  # by an older release
    changes = {
        name: (before.get(name, "none"), after.get(name, "none"))
        for name in sorted({*before, *after} - unrecorded)
        if before.get(name) != after.get(name)
    }
    more = new.arrays.keys() - old.arrays.keys() if old.arrays else set()
    fresh = [*sorted(new.curves.keys() - old.curves.keys()), *sorted(more)]
    changes |= dict.fromkeys(fresh, ("none", "only in the new record"))
    return Verdict(old=old, new=new, differences=differences, changes=changes)


def overall(verdicts: Sequence[Verdict]) -> str:
    """Return the worst of some verdicts as text, which says what was compared if that is not all."""
    equality = worst(verdict.equality for verdict in verdicts)
    partial = equality is not Equality.DIFFERENT and any(verdict.lacks_arrays for verdict in verdicts)
    return f"{equality.value} in curves and outcome" if partial else equality.value


def _compare_series(name: str, old: Series, new: Series | None) -> Difference:
    if new is None:
        return _incomparable(name, "only in the old record")
    if not np.array_equal(old.steps, new.steps):
        only = np.setxor1d(old.steps, new.steps)
        return _incomparable(name, f"{len(old.steps)} points and {len(new.steps)}, step {only[0]} only in one")
    # The scale of a point is its own size: a curve falls by orders of magnitude.
    scale = np.maximum(np.abs(old.values), np.abs(new.values))
    return _difference(name, old.values, new.values, scale, [f"step {step}" for step in old.steps])


def _compare_arrays(name: str, old: np.ndarray, new: np.ndarray | None) -> Difference:
    if new is None:
        return _incomparable(name, "only in the old record")
    if old.shape != new.shape or old.dtype != new.dtype:
        return _incomparable(name, f"{old.dtype} {old.shape} and {new.dtype} {new.shape}")
    if old.dtype.kind in "SU":
        return _compare_texts(name, old, new)
    if old.dtype.kind == "c":
        old, new = (np.stack([array.real, array.imag]) for array in (old, new))
    # The scale of an array is its largest value: a single weight near zero does not matter.
    finite = np.abs(old[np.isfinite(old)]).astype(np.float64)
    scale = np.full(old.shape, finite.max(initial=0.0))
    return _difference(name, old, new, scale, None)


def _compare_texts(name: str, old: np.ndarray, new: np.ndarray) -> Difference:
    """Return the difference of arrays of texts: those that are not equal are not close either."""
    unequal = np.argwhere(old != new)
    if not len(unequal):
        return Difference(name=name, count=old.size, equality=Equality.BITWISE, largest=0.0, where="")
    place = tuple(int(i) for i in unequal[0])
    return _incomparable(name, f"at {place}: {old[place]!s} and {new[place]!s}")


def _difference(name: str, old: np.ndarray, new: np.ndarray, scale: np.ndarray, places: list[str] | None) -> Difference:
    if old.tobytes() == new.tobytes():
        return Difference(name=name, count=old.size, equality=Equality.BITWISE, largest=0.0, where="")
    old, new = old.astype(np.float64), new.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(old - new) / scale
    # Two equal infinities, two NaNs and two zeros are equal; a NaN and a number differ infinitely.
    relative[(old == new) | (np.isnan(old) & np.isnan(new))] = 0.0
    relative[np.isnan(relative)] = np.inf
    place = int(np.argmax(relative))
    largest = float(relative.flat[place])
    index = tuple(int(i) for i in np.unravel_index(place, relative.shape))
    return Difference(
        name=name,
        count=old.size,
        equality=Equality.TOLERANCE if largest <= TOLERANCE else Equality.DIFFERENT,
        largest=largest,
        where=f"{places[place] if places else f'at {index}'}: {old.flat[place]:.9g} and {new.flat[place]:.9g}",
    )


def _incomparable(name: str, why: str) -> Difference:
    return Difference(name=name, count=0, equality=Equality.DIFFERENT, largest=float("inf"), where=why)


def _circumstances(run: RecordedRun) -> Iterator[tuple[str, str]]:
    """Yield the circumstances of a run that may cause or explain a difference."""
    yield from ((f"config.{name}", str(value)) for name, value in flat(run.config))
    yield from ((name, run.tags[name]) for name in _CIRCUMSTANCES if name in run.tags)
    yield from ((name, text) for name, text in run.tags.items() if name.startswith(_KINDS))
    yield "dataset digest", run.tags.get("dataset.digest", "none")
    if run.layout is not None:
        layout = dataclasses.asdict(run.layout)
        yield from ((f"layout.{name}", str(layout[name])) for name in ("width", "threads", "device", "blas"))


_OUTCOME = ("outcome", "outcome.step")
_VERSION = "version."
_KINDS = (_VERSION, SOURCES, "environment.")
_CIRCUMSTANCES = ("key", "git.commit", "git.dirty", "python", "platform", "cpu", "blas")
