"""The HTML of a report: one page that needs no network, its figures inside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pipeline.record.sweeps import RecordedSweep, SweptRun

_METRICS = ("val/accuracy", "train/accuracy", "test/accuracy", "train/loss", "val/loss")
_ENVIRONMENT = ("command", "user", "host", "platform", "cpu", "blas", "python", "dataset", "dataset.digest")
_MOST_ROWS = 200

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #eee; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.first td { font-weight: 600; background: #f4f8fb; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; border: 1px solid #eee; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } code { background: #f4f4f4; padding: .1rem .3rem; }
figcaption, .quiet { color: #666; font-size: 13px; }
"""


def sweep_page(sweep: RecordedSweep) -> str:
    """Return the report of a sweep: its trials, its figures, its winner's, and its environment."""
    best = sweep.runs[0]
    return _page(
        sweep.name,
        f"<p>{escape(_summary(sweep))}</p>",
        "<h2>Trials</h2>",
        _trials(sweep.runs),
        "<h2>Figures</h2>" if sweep.figures else "",
        *(_figure(name, image) for name, image in sweep.figures.items()),
        f"<h2>The best trial: {escape(best.name)}</h2>",
        f"<p class=quiet>run <code>{escape(best.run_id)}</code></p>",
        *(_figure(name, image) for name, image in sweep.winner.items()),
        "<h2>Environment</h2>",
        _table(["", ""], [[name, text] for name, text in environment(sweep.tags).items()]),
    )


def comparison_page(one: RecordedSweep, other: RecordedSweep) -> str:
    """Return the report of two sweeps: their trials of one name beside each other, their figures, what changed."""
    here, there = environment(one.tags), environment(other.tags)
    names = [name for name in dict.fromkeys([*here, *there]) if here.get(name) != there.get(name)]
    changes = [[name, here.get(name, ""), there.get(name, "")] for name in names]
    figures = dict.fromkeys([*one.figures, *other.figures])
    return _page(
        f"{one.name} and {other.name}",
        f"<p>A: {escape(_summary(one))}<br>B: {escape(_summary(other))}</p>",
        "<h2>Trials</h2>",
        _pairs(one.runs, other.runs),
        "<h2>What is different around them</h2>",
        _table(["", "A", "B"], changes) if changes else "<p>Nothing.</p>",
        "<h2>Figures</h2>" if figures else "",
        *(
            f"<div class=pair>{_figure(f'A: {name}', one.figures.get(name))}"
            f"{_figure(f'B: {name}', other.figures.get(name))}</div>"
            for name in figures
        ),
    )


def environment(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that say what a sweep came from: code, libraries, machine, data and command line."""
    first = {name: tags[name] for name in _ENVIRONMENT if name in tags}
    prefixes = ("git.", "version.", "environment.")
    return first | {name: text for name, text in sorted(tags.items()) if name.startswith(prefixes)}


def _summary(sweep: RecordedSweep) -> str:
    counts: dict[str, int] = {}
    for run in sweep.runs:
        counts[run.outcome] = counts.get(run.outcome, 0) + 1
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{sweep.name}: {sweep.status.lower()}, {len(sweep.runs)} trials ({told}), run {sweep.run_id}"


def _trials(runs: Sequence[SweptRun]) -> str:
    metrics = [name for name in _METRICS if any(name in run.metrics for run in runs)]
    rows = [[run.name, *(_value(run, name) for name in metrics), run.outcome] for run in runs[:_MOST_ROWS]]
    rest = f"<p class=quiet>and {len(runs) - _MOST_ROWS} more</p>" if len(runs) > _MOST_ROWS else ""
    numbers = range(1, 1 + len(metrics))
    return _table(["trial", *metrics, "outcome"], rows, numbers=numbers, first=True) + rest


def _pairs(ones: Sequence[SweptRun], others: Sequence[SweptRun]) -> str:
    by_name = {run.name: run for run in others}
    rows = []
    for run in ones[:_MOST_ROWS]:
        other = by_name.pop(run.name, None)
        change = ""
        if other is not None and "val/accuracy" in run.metrics and "val/accuracy" in other.metrics:
            change = f"{100 * (other.metrics['val/accuracy'] - run.metrics['val/accuracy']):+.2f} points"
        same = "" if other is None else "yes" if run.key == other.key else "no"
        theirs = [_value(other, "val/accuracy"), _value(other, "test/accuracy")]
        rows.append([run.name, _value(run, "val/accuracy"), _value(run, "test/accuracy"), *theirs, change, same])
    rows += [
        [run.name, "", "", _value(run, "val/accuracy"), _value(run, "test/accuracy"), "", ""]
        for run in by_name.values()
    ]
    columns = ["trial", "A val/accuracy", "A test/accuracy", "B val/accuracy", "B test/accuracy", "B - A", "same trial"]
    return _table(columns, rows, numbers=range(1, 6))


def _value(run: SweptRun | None, metric: str) -> str:
    return f"{run.metrics[metric]:.4g}" if run is not None and metric in run.metrics else ""


def _figure(name: str, image: bytes | None) -> str:
    if image is None:
        return f"<figure><figcaption>{escape(name)}: none</figcaption></figure>"
    data = base64.b64encode(image).decode()
    told = escape(name.removesuffix(".png").replace("_", " "))
    return f'<figure><img alt="{told}" src="data:image/png;base64,{data}"><figcaption>{told}</figcaption></figure>'


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = (), first: bool = False
) -> str:
    right = set(numbers)

    def cell(tag: str, place: int, text: str) -> str:
        kind = " class=number" if place in right else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", place, text) for place, text in enumerate(columns))
    lines = ["".join(cell("td", place, text) for place, text in enumerate(row)) for row in rows]
    body = "".join(f"<tr{' class=first' if first and k == 0 else ''}>{line}</tr>" for k, line in enumerate(lines))
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _page(title: str, *parts: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
