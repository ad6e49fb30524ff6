"""The values that a trial uses, those that are swept, the trial's setting, and the names of trials and settings."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.config.schema import NUMBERS, describe_used
from pipeline.config.tables import TABLES
from tasks.trial import Trial

_SHORT = {"learning_rate": "lr", "batch_size": "batch", "regularization": "reg"}
"""Short forms of keys, used in names only."""

_LONGEST = 80
"""The most characters of a value in a name, which is printed many times; the config holds the whole value."""


def used_values(trial: Trial) -> dict[str, Any]:
    """Return the values that a trial uses, flat, by their config keys; a row's name is under the name of its group.

    >>> from tasks.studies.train import Train
    >>> {k: v for k, v in used_values(Trial(task=Train())).items() if k in ("loss", "loss.margin", "seed")}
    {'loss': 'svm', 'loss.margin': 1.0, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in describe_used(trial).items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}".removesuffix(".name"): setting for inner, setting in value.items()}
        else:
            flat[NUMBERS.get(name, name)] = value
    return flat


def setting_values(used: Mapping[str, Any], over: Collection[str]) -> dict[str, Any]:
    """Return the values of a trial's setting: those that it uses, without the keys in ``over``, which repeats vary.

    >>> setting_values({"learning_rate": 0.5, "seed": 1}, ["seed"])
    {'learning_rate': 0.5}
    """
    varied = varied_by_repeats(used, over)
    return {name: used[name] for name in used if name not in varied}


def setting_key(used: Mapping[str, Any], over: Collection[str]) -> str:
    """Return the key of the setting of a trial that uses these values, in any sweep: a digest of the setting's own."""
    return hashlib.sha256(json.dumps(setting_values(used, over), sort_keys=True).encode()).hexdigest()[:16]


def varied_by_repeats(names: Iterable[str], over: Collection[str]) -> list[str]:
    """Return the names that repeats vary, in order: those in ``over``, and of a group in ``over`` the keys of its rows.

    >>> varied_by_repeats(["loss", "loss.margin", "optimizer", "seed"], ["loss", "seed"])
    ['loss', 'loss.margin', 'seed']
    """
    return [name for name in names if name in over or name.partition(".")[0] in over]


def setting_names(
    used: Sequence[Mapping[str, Any]], over: Collection[str], known: SweptValues | None = None
) -> list[str]:
    """Return the names of the settings of trials that use these values: strategy or task, and the values that differ.

    They may also differ from ``known``, the values of earlier settings, to which these values are added.
    """
    return _names([setting_values(one, over) for one in used], known)


class SweptValues:
    """The keys that differ between trials, each with its values, as trials are added: each trial is read once."""

    def __init__(self, used: Iterable[Mapping[str, Any]] = ()) -> None:
        self._values: dict[str, dict[str, Any]] = {}
        self._varied: set[str] = set()
        self._inside: dict[tuple[str, Any], str] = {}
        for one in used:
            self.add(one)

    def add(self, used: Mapping[str, Any]) -> None:
        """Add the values that a trial uses."""
        for name, value in used.items():
            text = str(value)
            self._values.setdefault(name, {}).setdefault(text, value)
            if self._inside.setdefault((name, used.get(name.rpartition(".")[0])), text) != text:
                self._varied.add(name)

    def values(self) -> dict[str, list[Any]]:
        """Return the keys that differ between trials, each with its values: numbers, then others as they came.

        A key that only some trials use is swept if it differs between those. A row's own key is swept if it differs
        between trials of that row, since two rows may have different defaults for parameters of the same name.
        """
        order = [*TABLES, *NUMBERS.values()]
        names = sorted(self._varied, key=lambda name: _place(name, order))
        return {name: sorted(self._values[name].values(), key=_numbers_first) for name in names}


def swept_values(used: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys that differ between trials, as `SweptValues.values` does."""
    return SweptValues(used).values()


def _names(used: Sequence[Mapping[str, Any]], known: SweptValues | None) -> list[str]:
    """Return a name for each set of used values; ``known`` are earlier values, to which these are added."""
    swept = known or SweptValues()
    for one in used:
        swept.add(one)
    varied = swept.values()
    return [_name(one, varied) for one in used]


def _numbers_first(value: Any) -> float:
    return value if isinstance(value, int | float) else math.inf


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return order.index(name if name in order else name.partition(".")[0]), name


def trial_names(
    trials: Sequence[Trial], overrides: Sequence[Sequence[str]], known: SweptValues | None = None
) -> list[str]:
    """Return the name of each trial: its strategy (for other tasks than train, its task), and the values that differ.

    They may also differ from ``known``, the values of earlier trials, to which these values are added. The name of a
    lone trial holds the values that its ``overrides`` set.
    """
    used = [used_values(trial) for trial in trials]
    if known is not None or len(trials) > 1:
        return _names(used, known)
    given = dict(text.partition("=")[::2] for text in overrides[0] if not text.startswith(("+", "~")))
    presets = [given[group] for group in ("experiment", "dataset") if given.get(group)]
    return [" ".join([_name(used[0], [key for key in used[0] if key in given]), *presets])]


def text_of(name: str, value: Any) -> str:
    """Return a value as text; a batch size of None is all examples.

    >>> text_of("learning_rate", 0.001), text_of("batch_size", None)
    ('0.001', 'all')
    """
    if value is None:
        return "all" if name == "batch_size" else "null"
    return f"{value:g}" if isinstance(value, float) else str(value)


def cell_of(name: str, used: Mapping[str, Any]) -> Any:
    """Return the value of a key as a cell of a table of results: a number stays one, None is a key that is not used."""
    value = used.get(name)
    return value if isinstance(value, int | float) or name not in used else text_of(name, value)


def param_of(value: Any) -> str:
    """Return a value of a config as a param, with all its digits, alike in the runs of a sweep and of its trials.

    >>> param_of("svm"), param_of(1.0), param_of(None)
    ('svm', '1.0', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value)


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config with their keys.

    >>> dict(flat({"strategy": {"name": "local", "scale": 0.001}, "steps": 10}))
    {'strategy.name': 'local', 'strategy.scale': 0.001, 'steps': 10}
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "group"), counted(2, "group")
    ('1 group', '2 groups')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _name(used: Mapping[str, Any], varied: Collection[str]) -> str:
    lead = "strategy" if used.get("task") == "train" else "task"
    parts = [str(used.get(lead, f"any {lead}"))]  # the repeats of a setting may vary it
    for key in varied:
        if key == lead or key not in used:
            continue
        text = in_a_line(text_of(key, used[key]))
        # A row's name needs no key.
        parts.append(text if key in TABLES else f"{_SHORT.get(key, key.rpartition('.')[2])}={text}")
    return " ".join(parts)


def in_a_line(text: str) -> str:
    """Return the text of a value as part of a name: in one line, and a long one cut, with a digest to tell it by."""
    line = escaped(text)
    if len(line) <= _LONGEST:
        return line
    digest = hashlib.sha256(line.encode(errors="backslashreplace")).hexdigest()[:6]
    return f"{line[: _LONGEST // 2]}...{line[-_LONGEST // 4 :]} ({digest})"


def escaped(text: str, kept: str = "") -> str:
    """Return a text with control characters, and characters that cannot be encoded, escaped."""
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)
