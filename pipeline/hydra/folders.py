"""Hydra's folders of a sweep and of its jobs, with the files that Hydra users expect in them."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, read_write

from pipeline.address import redact
from pipeline.hydra.composer import Job
from tasks.errors import ConfigError

JOBS = "jobs.yaml"
"""The file of a sweep that holds the configs of all its jobs, if they are many."""

MULTIRUN = "multirun.yaml"
"""The file of a sweep that holds its config."""

OF_JOB = ("config.yaml", "overrides.yaml", "hydra.yaml")
"""The files of a job."""


def is_true(config: DictConfig, name: str) -> bool:
    """Return whether a key of ``sweep`` is true in a sweep's config; what an environment variable holds is a text."""
    sweep = OmegaConf.select(config, "sweep")  # what it must be is checked in each job
    return isinstance(sweep, DictConfig) and str(sweep.get(name)).lower() == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sweep's folder with its `MULTIRUN`.

    ``moved`` says that it is not the folder that was asked for, ``made`` are the folders that were made for it, the
    innermost first.
    """

    folder: Path
    moved: bool
    made: tuple[Path, ...]

    def give_back(self) -> None:
        """Remove the claim of a sweep that has not begun, with all that is in a folder that was made for it.

        A folder in which another sweep has begun meanwhile is kept: it may also hold the store of that one.
        """
        if self.folder in self.made and not any(self.folder.glob(f"*/**/{MULTIRUN}")):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            (self.folder / MULTIRUN).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another sweep is in it by now
            for folder in self.made[1:]:
                folder.rmdir()


def claim_folder(config: DictConfig) -> Claim | None:
    """Write ``multirun.yaml`` to the sweep's folder, or to a new one if another sweep has written there.

    The new folder is next to it, or inside it if the working folder is the sweep's folder or below. A dry run is no
    sweep: nothing is written, and None returned.
    """
    if is_true(config, "dry_run"):
        return None
    wanted = Path(str(config.hydra.sweep.dir))
    inside = Path.cwd().is_relative_to(wanted.resolve())
    for number in itertools.count(1):
        other = wanted / f"sweep-{number}" if inside else wanted.with_name(f"{wanted.name}-{number}")
        folder = (wanted if number == 1 else other).absolute()
        with _writing(folder):
            made = tuple(one for one in (folder, *folder.parents) if not one.exists())
            folder.mkdir(parents=True, exist_ok=True)
            try:
                file = (folder / MULTIRUN).open("x", encoding="utf-8")
            except FileExistsError:
                continue
        break
    with file:
        if number > 1:
            print(f"hydra.sweep.dir: {wanted} holds a sweep already, so this one is in {other}")  # noqa: T201
            with read_write(config.hydra):
                config.hydra.sweep.dir = str(other)
                # The jobs are composed again, from the overrides.
                quoted = QuotedString(text=str(other), quote=Quote.single).with_quotes()
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted}")
        file.write(redact(OmegaConf.to_yaml(config)))
    return Claim(folder=folder, moved=number > 1, made=made)


def write_folders(jobs: Mapping[str, Job], *, together: bool = False) -> None:
    """Write ``.hydra/config.yaml``, ``overrides.yaml`` and ``hydra.yaml`` for every job, given by folder.

    If ``together``, their configs and overrides are appended to one file in the sweep's folder, `JOBS`, instead.
    """
    yaml = _Yaml()
    if together:
        _write_one_file(jobs, yaml)
        return
    for folder, job in jobs.items():
        with _writing(folder):
            _write(job, folder, yaml)


def _write_one_file(jobs: Mapping[str, Job], yaml: _Yaml) -> None:
    folders: dict[Path, list[str]] = {}
    for folder, job in jobs.items():
        if job.base.hydra["output_subdir"] is None:
            continue
        name = redact(json.dumps(Path(folder).name))
        text = f"- folder: {name}\n  overrides:\n" + indent(yaml.items(job.overrides), "  ")
        lines = folders.setdefault(Path(folder).parent, [])
        lines.append(f"{text}  config:\n" + indent(yaml.dump(job.values), "    "))
    for place, texts in folders.items():
        with _writing(place):
            place.mkdir(parents=True, exist_ok=True)
            with (place / JOBS).open("a", encoding="utf-8") as file:
                file.writelines(texts)


def make_folder(folder: str) -> None:
    """Make a job's output folder.

    Raises
    ------
    ConfigError
        If it cannot be made.
    """
    with _writing(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _writing(folder: Path | str) -> Iterator[None]:
    """Raise a fault of a folder, or of a file in it, as a `ConfigError`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"hydra.sweep.dir must be a folder that can be written, got {folder}: {error}") from error


def hide_credentials(folder: Path, names: Sequence[str]) -> None:
    """Redact the credentials in files that Hydra itself, or a sweeper of its own, has written."""
    for file in (folder / name for name in names):
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8")
        if (shown := redact(text)) != text:
            file.write_text(shown, encoding="utf-8")


_PLAIN = re.compile(r"[a-z][\w.]*=-?[\w.]+", re.ASCII)
"""Overrides that YAML writes as they are; with its numbers they are most of what differs between jobs."""


class _Yaml:
    """YAML as OmegaConf writes it, without credentials, with a cache of entries.

    A sweep's jobs share most entries; to dump one is slow, and so is the search for credentials.
    """

    def __init__(self) -> None:
        self._entries: dict[str, str] = {}

    def dump(self, values: Mapping[str, Any]) -> str:
        """Return the entries of a mapping as YAML."""
        return "".join(self._entry(name, value) for name, value in values.items())

    def items(self, values: Sequence[Any]) -> str:
        """Return the items of a list as YAML."""
        return "".join(self._item(value) for value in values) or "[]\n"

    def _item(self, value: Any) -> str:
        key = repr(value)
        if key not in self._entries:
            plain = isinstance(value, str) and _PLAIN.fullmatch(value)
            self._entries[key] = redact(f"- {value}\n" if plain else OmegaConf.to_yaml([value]))
        return self._entries[key]

    def _entry(self, name: str, value: Any) -> str:
        key = repr((name, value))
        if key not in self._entries:
            if type(value) is int:
                head = self._entry(name, {}).removesuffix(" {}\n")
                self._entries[key] = f"{head} {value}\n"
            elif isinstance(value, Mapping) and value:
                head = self._entry(name, {}).removesuffix(" {}\n")
                self._entries[key] = f"{head}\n" + indent(self.dump(value), "  ", lambda line: bool(line.strip()))
            elif isinstance(value, list) and value:
                head = self._entry(name, []).removesuffix(" []\n")
                self._entries[key] = f"{head}\n" + self.items(value)
            else:
                self._entries[key] = redact(OmegaConf.to_yaml({name: value}))
        return self._entries[key]


def _write(job: Job, folder: str, yaml: _Yaml) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    if job.base.hydra["output_subdir"] is None:
        return
    files = Path(folder) / job.base.hydra["output_subdir"]
    files.mkdir(parents=True, exist_ok=True)
    (files / "config.yaml").write_text(yaml.dump(job.values), encoding="utf-8")
    (files / "overrides.yaml").write_text(yaml.items(job.overrides), encoding="utf-8")
    (files / "hydra.yaml").write_text(yaml.dump({"hydra": _hydra(job, folder)}), encoding="utf-8")


def _hydra(job: Job, folder: str) -> dict[str, Any]:
    hydra = job.base.hydra
    number = {"id": str(job.number), "num": job.number, "override_dirname": job.override_dirname()}
    return {
        **hydra,
        "overrides": {**hydra["overrides"], "task": list(job.overrides)},
        "job": {**hydra["job"], **number},
        "runtime": {**hydra["runtime"], "output_dir": folder},
    }
