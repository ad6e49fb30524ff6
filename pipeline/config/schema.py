"""The one schema of a config: typed, frozen, and validated as it is built from plain values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.tables import TABLES, wrong_choice
from pipeline.stopping import Never, Rule
from tasks.arrays.devices import DEVICES
from tasks.datasets import DATASETS
from tasks.errors import ConfigError, require, require_choice, unknown_choice
from tasks.rows import build, convert, describe_row, field_values, hints_of, parse_row
from tasks.studies.registry import TASKS
from tasks.trial import Trial

_OF_SWEEP = ("dataset", "stopping")
"""The groups that are not fields of a trial."""

ENGINES = ("inprocess", "ray")
MODES = ("max", "min")
SEEDS = ("seed", "data_seed")
"""The keys that repeats vary, by default."""

_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL = re.compile(rf"!?(?:{_NAME}|in\({_NAME}(?:, ?{_NAME})*\))")
"""A valid label selector of Ray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the Ray engine computes.

    ``workers`` is the number of groups computed at once (None: as many as fit on this machine or, on a cluster that is
    joined, on its nodes as they come and go). A worker has ``cpus_per_worker`` CPUs, ``gpus_per_worker`` GPUs and
    amounts of Ray's custom ``resources`` and ``memory`` (bytes), on nodes that its label selector ``labels`` selects.
    ``address`` is a Ray address (``auto``: of the cluster that runs on this machine; ``ray://HOST:PORT``: through
    Ray Client); None joins that cluster or starts a private one, ``local`` always starts a private one.
    """

    workers: int | None = None
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    resources: Mapping[str, float] | None = None
    labels: Mapping[str, str] | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 1, "cluster.workers", "must be >= 1", self.workers)
        require(self.cpus_per_worker > 0, "cluster.cpus_per_worker", "must be > 0", self.cpus_per_worker)
        require(self.gpus_per_worker >= 0, "cluster.gpus_per_worker", "must be >= 0", self.gpus_per_worker)
        amounts = {f"cluster.resources.{kind}": amount for kind, amount in (self.resources or {}).items()}
        for kind, amount in (self.resources or {}).items():
            own = kind not in {"CPU", "GPU"}
            require(own, f"cluster.resources.{kind}", f"must be given as cluster.{kind.lower()}s_per_worker", amount)
            rule = "must be left out: Ray gives none to a worker"
            require(kind != "object_store_memory", f"cluster.resources.{kind}", rule, amount)
            require(amount > 0, f"cluster.resources.{kind}", "must be > 0", amount)
        amounts |= {"cluster.cpus_per_worker": self.cpus_per_worker, "cluster.gpus_per_worker": self.gpus_per_worker}
        for name, amount in amounts.items():
            require(amount < 1 or amount % 1 == 0, name, "must be a whole number above 1", amount)
        for key, selector in (self.labels or {}).items():
            named = all(re.fullmatch(_NAME, part) for part in key.rsplit("/", 1))
            require(named, "cluster.labels", "must have keys NAME or PREFIX/NAME of letters, digits, _.- inside", key)
            valid = _LABEL.fullmatch(selector) is not None
            require(valid, f"cluster.labels.{key}", "must be VALUE, !VALUE, in(A,B) or !in(A,B)", selector)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """Where the record is kept: any MLflow tracking URI, and the experiment in it.

    ``register_model`` says whether the best trial of a sweep becomes a version of the registered model
    ``EXPERIMENT-DATASET``.
    """

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "descent-sweeps"
    register_model: bool = True

    def __post_init__(self) -> None:
        require(bool(self.uri.strip()), "tracking.uri", "must not be empty", self.uri)
        rule = "must be the name of an experiment (MLFLOW_EXPERIMENT_ID is not read)"
        require(bool(self.experiment.strip()), "tracking.experiment", rule, self.experiment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How a sweep is run, and what ranks its trials.

    ``dry_run`` only prints the plan, ``resume`` finishes the last sweep with the same trials and name, ``fail_fast``
    stops at the first failed trial. For more than ``job_folders`` jobs, one file replaces Hydra's files of each.

    ``metric`` ranks the trials (null: accuracy, of training if the data set has examples for that and none for
    validation, else of validation); ``mode`` says whether its max or min is best (null: min for a loss, an error or a
    number of examples or evaluations, else max). Trials that differ only in the keys ``over`` are repeats of one
    setting; ``repeats`` is how often every trial is run, with consecutive seeds.
    """

    name: str | None = None
    dry_run: bool = False
    resume: bool = False
    fail_fast: bool = False
    job_folders: int = 500
    metric: str | None = None
    mode: str | None = None
    over: tuple[str, ...] = SEEDS
    repeats: int = 1

    def __post_init__(self) -> None:
        require(self.metric is None or self.metric.strip(), "sweep.metric", "must not be empty", self.metric)
        if self.mode is not None:
            require_choice("sweep.mode", self.mode, MODES)
        for key in self.over:
            require_choice("sweep.over", key, trial_keys())
        require(self.job_folders >= 0, "sweep.job_folders", "must be >= 0", self.job_folders)
        require(self.repeats >= 1, "sweep.repeats", "must be >= 1", self.repeats)
        rule = f"must hold {' or '.join(SEEDS)} for sweep.repeats={self.repeats}"
        require(self.repeats == 1 or {*SEEDS} & {*self.over}, "sweep.over", rule, list(self.over))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a trial's attempts, and its checkpoints.

    ``attempts`` is how often a trial that is alone is tried while its worker is lost. ``timeout`` is the most seconds
    of an attempt at a group, under a stopping rule at its steps to the next rung (null: no limit). ``checkpoint_every``
    is the number of steps between two checkpoints (null: none; they are at least 2 seconds apart).
    """

    attempts: int = 3
    timeout: float | None = None
    checkpoint_every: int | None = 100

    def __post_init__(self) -> None:
        require(self.attempts >= 1, "trial.attempts", "must be >= 1", self.attempts)
        require(self.timeout is None or self.timeout > 0, "trial.timeout", "must be > 0, or null", self.timeout)
        every = self.checkpoint_every
        require(every is None or every >= 1, "trial.checkpoint_every", "must be >= 1, or null", every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A resolved config: the trial and its dataset, which decide the result, and how and where it is run.

    ``engine`` None computes a lone trial in this process, and a sweep on Ray.
    """

    trial: Trial = field(default_factory=lambda: Trial(task=TASKS["train"]()))
    dataset: Any = field(default_factory=DATASETS["digits"])
    stopping: Rule = field(default_factory=Never)
    limits: Limits = field(default_factory=Limits)
    device: str = "cpu"
    engine: str | None = None
    cluster: Cluster = field(default_factory=Cluster)
    tracking: Tracking = field(default_factory=Tracking)
    sweep: Sweep = field(default_factory=Sweep)

    def __post_init__(self) -> None:
        require_choice("device", self.device, DEVICES)
        if self.engine is not None:
            require_choice("engine", self.engine, ENGINES)


NUMBERS = {f.name: f.name for f in dataclasses.fields(Trial) if f.name not in TABLES}
NUMBERS |= {"record_every": "trial.record_every", "evaluate_every": "trial.evaluate_every"}
"""The config key of each field of a trial that holds a number."""

_SECTIONS: Mapping[str, type] = {"cluster": Cluster, "tracking": Tracking, "sweep": Sweep}
_CHOICES: Mapping[str, Any] = {"device": str, "engine": str | None}


def trial_keys() -> set[str]:
    """Return all keys that a trial can use, flat: groups, the keys of their rows, and numbers."""
    groups = [group for group in TABLES if group not in _OF_SWEEP]
    kinds = [(group, kind) for group in groups for kind in TABLES[group].values()]
    rows = {f"{group}.{f.name}" for group, kind in kinds for f in dataclasses.fields(kind)}
    return {*groups, *rows, *NUMBERS.values()}


def parse(values: Mapping[str, Any]) -> Config:
    """Build a config from plain values; missing keys have their defaults.

    Raises
    ------
    ConfigError
        If a key is unknown or a value breaks its rule; the message names the key, the rule and the value.

    >>> parse({"learning_rate": 0.5, "trial": {"record_every": 5}}).trial.record_every
    5
    """
    inside_trial = {key.partition(".")[2] for key in NUMBERS.values() if "." in key}
    limits = {f.name for f in dataclasses.fields(Limits)}
    top = {*TABLES, *_SECTIONS, *_CHOICES, "trial", *(key for key in NUMBERS.values() if "." not in key)}
    for name, value in values.items():
        if name not in top and isinstance(value, Mapping) and (inside := sorted({*top, "hydra"} & {*value})):
            raise ConfigError(
                f"{name} is no group of keys, but holds {', '.join(inside)}: the file of {name}=CHOICE must begin with "
                "the line '# @package _global_' to set keys of the config"
            )
    _known(values, top, "a key of the config")
    _known(_section(values, "trial"), inside_trial | limits, "a key of trial")

    rows = {group: _row(group, values[group]) for group in TABLES if group in values}
    of_sweep = {group: rows.pop(group) for group in _OF_SWEEP if group in rows}
    hints = hints_of(Trial)
    flat = {**values, **{f"trial.{key}": value for key, value in _section(values, "trial").items()}}
    numbers = {name: convert(flat[key], hints[name], key) for name, key in NUMBERS.items() if key in flat}
    sections = {name: build(kind, _section(values, name), parameter=name) for name, kind in _SECTIONS.items()}
    choices = {name: convert(values[name], kind, name) for name, kind in _CHOICES.items() if name in values}
    limited = {key: value for key, value in _section(values, "trial").items() if key in limits}
    return Config(
        trial=Trial(**({"task": TASKS["train"]()} | rows | numbers)),
        limits=build(Limits, limited, parameter="trial"),
        **of_sweep,
        **sections,
        **choices,
    )


def describe(config: Config) -> dict[str, Any]:
    """Return the plain values of a config, every key resolved: the inverse of `parse`."""
    values: dict[str, Any] = {group: plain(describe_row(TABLES[group], getattr(config, group))) for group in _OF_SWEEP}
    values |= {name: getattr(config, name) for name in _CHOICES}
    values |= {name: _fields(getattr(config, name)) for name in _SECTIONS}
    values["trial"] = _fields(config.limits)
    for name, value in describe_trial(config.trial).items():
        section, _, key = NUMBERS.get(name, name).rpartition(".")
        (values[section] if section else values)[key] = value
    return values


def defaults() -> dict[str, Any]:
    """Return the default config as plain values."""
    return describe(Config())


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Return the plain values of a trial by field name."""
    of_trial = [group for group in TABLES if group not in _OF_SWEEP]
    rows = {group: plain(describe_row(TABLES[group], getattr(trial, group))) for group in of_trial}
    return rows | {name: getattr(trial, name) for name in NUMBERS}


def describe_used(trial: Trial) -> dict[str, Any]:
    """Return those values of `describe_trial` that the trial's task or strategy uses."""
    unused = trial.task.unused(trial)
    return {name: value for name, value in describe_trial(trial).items() if name not in unused}


def _row(group: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise unknown_choice(group, value, TABLES[group])
    for name, given in value.items():
        require(given != "???", f"{group}.{name}", "must be given", None)
    if str(name := value.get("name")) not in TABLES[group]:
        raise wrong_choice(group, name, TABLES[group])
    return parse_row(TABLES[group], group, value)


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = values.get(name, {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"{name} must be a group of keys ({name}.KEY=VALUE), got {section!r}")
    return section


def _known(values: Mapping[str, Any], known: set[str], what: str) -> None:
    for name in values:
        require_choice(what, name, known)


def _fields(section: Any) -> dict[str, Any]:
    return plain(field_values(section))


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with lists for tuples and dicts for other mappings, as YAML and JSON have them."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
