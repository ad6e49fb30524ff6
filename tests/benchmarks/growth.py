"""How time and memory grow: with the number of trials, of images, and of trials in a fused group; as figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.commands import pipeline, timed
from tests.benchmarks.growing import BATCH_SIZES, FUSED_STEPS, STEPS
from tests.benchmarks.processes import watched
from tests.benchmarks.row import Row, Settings

TRIALS = (1, 4, 16, 64, 256, 1024, 4096)
IMAGES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(slots=True)
class Line:
    """A measured line of a figure: seconds and megabytes by size."""

    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def add(self, size: int, seconds: float, megabytes: float) -> None:
        """Add a point."""
        self.sizes.append(size)
        self.seconds.append(seconds)
        self.megabytes.append(megabytes)


def trials(settings: Settings) -> Iterator[Row]:
    """Whole sweeps of 1 to 4096 trials on digits, from shell to shell."""
    line = Line()
    for count in TRIALS:
        with watched() as peaks:
            command = pipeline("-m", "strategy=gradient", f"seed=range({count})", "steps=100", "batch_size=64")
            line.add(count, timed(command, settings.folder()), peaks.total)
    labels = ("trials", "whole command (s)", "PSS of all processes (MB)")
    yield from drawn("growth-trials", {"all": line}, labels, settings)


def images(settings: Settings) -> Iterator[Row]:
    """Single trials on 1000 to 50,000 images of CIFAR-10, every step on all of them."""
    lines = {kind: Line() for kind in STEPS}
    for kind, line in lines.items():
        for count in IMAGES:
            seconds, megabytes = told(settings, kind, count)
            line.add(count, seconds / STEPS[kind], megabytes)
    labels = ("images", "time of a step (s)", "memory beside the images (MB)")
    yield from drawn("growth-images", lines, labels, settings)


def width(settings: Settings) -> Iterator[Row]:
    """Fused groups of 1 to 256 trials on CIFAR-10, one thread."""
    lines = {kind: Line() for kind in BATCH_SIZES}
    for kind, line in lines.items():
        for count in WIDTHS:
            seconds, megabytes = told(settings, kind, count)
            line.add(count, seconds / FUSED_STEPS / count, megabytes)
    labels = ("trials in the group", "time of a step of a trial (s)", "memory beside the images (MB)")
    yield from drawn("growth-width", lines, labels, settings)


def told(settings: Settings, kind: str, size: int) -> tuple[float, float]:
    """Measure in a process of its own, so that its peak of memory is of this kind and size alone."""
    folder = settings.folder()
    timed([sys.executable, "-m", "tests.benchmarks.growing", kind, str(size), str(settings.cifar10())], folder)
    point = json.loads((folder / "output.txt").read_text(encoding="utf-8").splitlines()[-1])
    return point["seconds"], point["megabytes"]


def drawn(name: str, lines: Mapping[str, Line], labels: Sequence[str], settings: Settings) -> Iterator[Row]:
    """Draw the lines, and yield for each the largest size against the smallest."""
    from matplotlib.figure import Figure  # a second that the other benchmarks need not wait

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, label, kind in zip(figure.subplots(1, 2), labels[1:], ("seconds", "megabytes"), strict=True):
        for title, line in lines.items():
            axes.plot(line.sizes, getattr(line, kind), marker="o", label=title)
        axes.set(xlabel=labels[0], ylabel=label, xscale="log", yscale="log")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
    settings.output.mkdir(parents=True, exist_ok=True)
    file = settings.output / f"{name}.png"
    figure.savefig(file, dpi=120)
    for title, line in lines.items():
        yield Row(
            name=f"{name}/{title}" if len(lines) > 1 else name,
            unit="s",
            value=line.seconds[-1],
            against=line.seconds[0],
            ratio=line.seconds[-1] / line.seconds[0],
            note=f"{line.sizes[-1]} {labels[0]} against {line.sizes[0]}; {line.megabytes[0]:.0f} to "
            f"{line.megabytes[-1]:.0f} MB; {file}",
        )
