"""Hydra's folders of a sweep and of its jobs, with the files that Hydra users look for in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write

from pipeline.plugins.composer import Composition, Job
from pipeline.recorder.address import redact
from tasks.errors import ConfigError


def claim_folder(config: DictConfig) -> None:
    """Write ``multirun.yaml`` to the sweep's folder, or to one beside it where a sweep has written its own."""
    wanted = Path(str(config.hydra.sweep.dir))
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / "multirun.yaml").open("x", encoding="utf-8")
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"hydra.sweep.dir must be a folder that can be written, got {folder}: {error}") from error
        break
    with file:
        if folder != wanted:
            print(f"hydra.sweep.dir: {wanted} holds a sweep already, so this one is in {folder}")  # noqa: T201
            with read_write(config.hydra):
                config.hydra.sweep.dir = str(folder)
                # The jobs are composed anew, from the overrides.
                quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")
        file.write(redact(OmegaConf.to_yaml(config)))


def write_folders(jobs: Sequence[Job]) -> None:
    """Write ``.hydra/config.yaml``, ``overrides.yaml`` and ``hydra.yaml`` for every job."""
    same: dict[int, dict[str, str]] = {}
    for job in jobs:
        try:
            _write(job, same)
        except OSError as error:
            raise ConfigError(
                f"hydra.sweep.dir must be a folder that can be written, got {job.folder()}: {error}"
            ) from error


def hide_credentials(folder: Path) -> None:
    """Take the credentials out of the files that Hydra itself has written for a job."""
    for file in folder.glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        if (shown := redact(text)) != text:
            file.write_text(shown, encoding="utf-8")


def _write(job: Job, same: dict[int, dict[str, str]]) -> None:
    folder = Path(job.folder())
    folder.mkdir(parents=True, exist_ok=True)
    if job.base.hydra["output_subdir"] is None:
        return
    files = folder / job.base.hydra["output_subdir"]
    files.mkdir(parents=True, exist_ok=True)
    if id(job.base) not in same:
        same[id(job.base)] = _sections(job.base)
    (files / "config.yaml").write_text(redact(OmegaConf.to_yaml(dict(job.values))), encoding="utf-8")
    (files / "overrides.yaml").write_text(redact(OmegaConf.to_yaml(list(job.overrides))), encoding="utf-8")
    (files / "hydra.yaml").write_text(redact(_hydra(job, str(folder), same[id(job.base)])), encoding="utf-8")


def _hydra(job: Job, folder: str, texts: dict[str, str]) -> str:
    # Only these three sections differ between jobs of one composition, and dumping YAML is slow.
    own: dict[str, dict[str, Any]] = {
        "overrides": {**job.base.hydra["overrides"], "task": list(job.overrides)},
        "job": {
            **job.base.hydra["job"],
            "id": str(job.number),
            "num": job.number,
            "override_dirname": job.override_dirname(),
        },
        "runtime": {**job.base.hydra["runtime"], "output_dir": folder},
    }
    sections = (OmegaConf.to_yaml({name: own[name]}) if name in own else texts[name] for name in job.base.hydra)
    return "hydra:\n" + indent("".join(sections), "  ", lambda line: bool(line.strip()))


def _sections(base: Composition) -> dict[str, str]:
    return {name: OmegaConf.to_yaml({name: section}) for name, section in base.hydra.items()}
