"""The HTML of a report: one self-contained page, with its figures embedded."""

from __future__ import annotations

import base64
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pipeline.config.settings import counted
from pipeline.results.cells import gap_text, gap_unit, interval, is_apart, outcomes, value_of, with_deviation
from pipeline.results.comparisons import against_best, between, compare, findings, single_draw
from pipeline.results.repeats import FRONT, Setting, are_repeated, on_front_of
from pipeline.results.standing import Repeat
from pipeline.tracking.reader import RecordedSweep

_ENVIRONMENT = ("command", "user", "host", "platform", "cpu", "blas", "python", "dataset", "dataset.digest")
_MOST_ROWS = 200
_MOST_COMPARED = 50

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #eee; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } td.number { white-space: nowrap; }
td:first-child { white-space: nowrap; } td.long { min-width: 22rem; }
tr.first td { font-weight: 600; background: #f4f8fb; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; border: 1px solid #eee; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } code { background: #f4f4f4; padding: .1rem .3rem; }
figcaption, .quiet { color: #666; font-size: 13px; }
@media print {
  @page { size: landscape; } body { margin: 0; max-width: none; }
  h2 { break-after: avoid; } figure { break-inside: avoid; } .wide { overflow: visible; }
  table { font-size: 9px; } th, td { padding: .15rem .3rem; } td.number { white-space: normal; }
}
"""

_LONG = 30  # characters


def sweep_page(sweep: RecordedSweep) -> str:
    """Return the report of a sweep: its trials, its figures, its best trial's figures, and its environment.

    If nothing ranks its trials, as of most tasks other than training, it has the figures of each.
    """
    return _page(
        sweep.name,
        f"<p>{escape(_summary(sweep))}</p>",
        *_settings(sweep),
        "<h2>Trials</h2>",
        _trials(sweep),
        "<h2>Figures</h2>" if sweep.figures else "",
        *(_figure(name, image) for name, image in sweep.figures.items()),
        *(_drawn(run, sweep) for run in sweep.runs if sweep.drawn.get(run.run_id)),
        "<h2>Environment</h2>",
        _table(["", ""], [[name, text] for name, text in environment(sweep.tags).items()]),
    )


def comparison_page(one: RecordedSweep, other: RecordedSweep) -> str:
    """Return the report of two sweeps, side by side: the trials of both, figures, and what differs."""
    here, there = environment(one.tags), environment(other.tags)
    names = [name for name in dict.fromkeys([*here, *there]) if here.get(name) != there.get(name)]
    changes = [[name, here.get(name, ""), there.get(name, "")] for name in names]
    figures = dict.fromkeys([*one.figures, *other.figures])
    return _page(
        f"{one.name} and {other.name}",
        f"<p>A: {escape(one.name)}: {escape(_summary(one))}<br>B: {escape(other.name)}: {escape(_summary(other))}</p>",
        *_settings_of_both(one, other),
        "<h2>Trials</h2>",
        _pairs(one, other),
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
    """Return the tags of a sweep's provenance: code, libraries, machine, data and command line."""
    first = {name: tags[name] for name in _ENVIRONMENT if name in tags}
    prefixes = ("git.", "version.", "environment.")
    return first | {name: text for name, text in sorted(tags.items()) if name.startswith(prefixes)}


def _summary(sweep: RecordedSweep) -> str:
    counts = Counter(run.outcome for run in sweep.runs)
    each = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{sweep.status.lower()}, {counted(len(sweep.runs), 'trial')} ({each}), run {sweep.run_id}"


def _drawn(run: Repeat, sweep: RecordedSweep) -> str:
    title = f"{'The best trial' if sweep.best else 'Trial'}: {run.trial}"
    head = f"<h2>{escape(title)}</h2>\n<p class=quiet>run <code>{escape(run.run_id)}</code></p>\n"
    return head + "\n".join(_figure(name, image) for name, image in sweep.drawn[run.run_id].items())


def _settings(sweep: RecordedSweep) -> list[str]:
    """Return the settings of a sweep with their statistics; without repeats, the caution about single draws."""
    settings = sweep.settings
    if not are_repeated(settings):
        return [_paragraphs(findings(settings))]
    names = sweep.criterion.columns(run.metrics for run in sweep.runs)
    verdicts = {one.other.key: one.verdict() for one in against_best(settings, most=_MOST_COMPARED)}
    front = on_front_of(settings)
    words = ["setting", "repeats", *([FRONT] if front else []), "against the best"]
    heads = [*words, *(head for name in names for head in (name, "95 % interval"))]
    rows = []
    for one in settings[:_MOST_ROWS]:
        on = [front[one.key]] if front else []
        rows.append([one.name, outcomes(one), *on, verdicts.get(one.key, ""), *_summaries(one, names)])
    table = _table(heads, rows, numbers=range(len(words), len(heads)), first=True) + _rest(settings)
    best, several = settings[0].best, len(settings[0].values(sweep.criterion.metric)) > 1
    mean = f"is at least as good as the mean of its setting, {settings[0].name}"
    of_best = f"the best repeat, {best.trial}, {mean}" if best and several else ""
    return ["<h2>Settings</h2>", _paragraphs([*findings(settings), of_best]), table]


def _settings_of_both(one: RecordedSweep, other: RecordedSweep) -> list[str]:
    """Return the settings of two sweeps side by side, and their comparison; without repeats, the comparison alone."""
    ours, theirs = (
        [dataclasses.replace(setting, name=f"{label}: {setting.name}") for setting in sweep.settings]
        for label, sweep in (("A", one), ("B", other))
    )
    if not (are_repeated(ours) or are_repeated(theirs)):
        return [_paragraphs([*between(ours, theirs), single_draw([*ours, *theirs])])]
    metric = one.criterion.metric
    known = {setting.key: setting for setting in other.settings}
    pairs: list[tuple[Setting | None, Setting | None]] = [(here, known.pop(here.key, None)) for here in one.settings]
    both = sum(there is not None and not _cut(here, there) for here, there in pairs)
    pairs += [(None, there) for there in known.values()]
    rows = []
    for here, there in pairs[:_MOST_ROWS]:
        name = next(setting.name for setting in (here, there) if setting)
        change = _change(here, there, tests=both)
        rows.append([name, *_summaries(here, [metric]), *_summaries(there, [metric]), *change])
    heads = ["setting", f"A {metric}", "95 % interval", f"B {metric}", "95 % interval", "B - A", "95 % interval", "p"]
    corrected = f"p in the table is multiplied by {both}, the number of settings that are compared in it (Bonferroni)"
    table = _table(heads, rows, numbers=range(1, len(heads))) + _rest(pairs)
    sentences = [*between(ours, theirs), corrected if both > 1 else ""]
    return ["<h2>Settings</h2>", _paragraphs(sentences), table]


def _summaries(setting: Setting | None, names: Sequence[str]) -> list[str]:
    """Return the mean with its deviation, and the interval, of each metric."""
    if setting is None:
        return [""] * (2 * len(names))
    found = [setting.summary(name) for name in names]
    return [text for one in found for text in (with_deviation(one.mean, one.deviation), interval(one))]


def _change(here: Setting | None, there: Setting | None, *, tests: int) -> list[str]:
    """Return by how much the second sweep's metric is above the first's, its interval, and p."""
    cut = _cut(here, there)
    found = None if cut or here is None or there is None else compare(there, here, tests=tests)
    if found is None or found.difference is None:
        return [cut, "", ""]
    sign, metric, one = found.best.criterion.sign, found.best.criterion.metric, found.difference
    low, high = (gap_text(end, metric) for end in sorted((sign * one.low, sign * one.high)))
    return [gap_text(sign * one.mean, metric, sign="+") + gap_unit(metric), f"{low} to {high}", f"{one.p:.2g}"]


def _cut(here: Setting | Repeat | None, there: Setting | Repeat | None) -> str:
    """Return which of the two did not run to its end, and how it ended: its value is that of an earlier step."""
    return ", ".join(f"{label}: {one.ending}" for label, one in (("A", here), ("B", there)) if one and not one.ended)


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences if sentence)


def _trials(sweep: RecordedSweep) -> str:
    """Return the table of trials, and one of those of another task, which have values in none of its columns."""
    names = sweep.criterion.columns(run.metrics for run in sweep.runs)
    runs: dict[bool, list[Repeat]] = {False: [], True: []}
    for run in sweep.runs:
        runs[is_apart(run.metrics, names)].append(run)
    first = sweep.best is not None and not are_repeated(sweep.settings)  # with repeats, no trial is the winner
    table = _runs(runs[False], sweep, first=first)
    return table + (_runs(runs[True], sweep, first=False) if runs[True] else "")


def _runs(runs: Sequence[Repeat], sweep: RecordedSweep, *, first: bool) -> str:
    measured = {name for run in runs for name in run.metrics}
    metrics = sweep.criterion.columns(run.metrics for run in runs) or sorted(measured)
    front = {} if are_repeated(sweep.settings) else on_front_of(sweep.settings)
    on = {one.repeats[0].run_id: [front[one.key]] for one in sweep.settings if front}
    rows = [
        [run.trial, *(value_of(run.metrics, name) for name in metrics), *on.get(run.run_id, []), _outcome(run)]
        for run in runs[:_MOST_ROWS]
    ]
    heads = ["trial", *metrics, *([FRONT] if front else []), "outcome"]
    return _table(heads, rows, numbers=range(1, 1 + len(metrics)), first=first) + _rest(runs)


def _outcome(run: Repeat) -> str:
    return ": ".join(filter(None, [run.ending, run.message]))


def _pairs(one: RecordedSweep, other: RecordedSweep) -> str:
    """Return the trials of two sweeps, in one row those that are the same, or else have the same name.

    A trial's name holds what its sweep varies, so the same trial may have another one in the other sweep.
    """
    metric = one.criterion.metric
    partners, left = dict[int, Repeat](), list(other.runs)
    for sameness in ("key", "trial"):
        waiting: dict[str, list[Repeat]] = {}  # names round values, so that two trials may have the same
        for run in left:
            waiting.setdefault(getattr(run, sameness), []).append(run)
        for place, run in enumerate(one.runs):
            if place not in partners and (found := waiting.get(getattr(run, sameness))):
                partners[place] = found.pop(0)
        left = [run for runs in waiting.values() for run in runs]
    pairs: list[tuple[Repeat | None, Repeat | None]] = [(run, partners.get(n)) for n, run in enumerate(one.runs)]
    pairs += [(None, run) for run in left]
    measured = {name for run in (*one.runs, *other.runs) for name in run.metrics}
    metrics = [metric, "test/accuracy"] if metric in measured else sorted(measured)
    changes = metrics[:1] if metric in measured else metrics
    rows = [_pair(here, there, metrics, changes) for here, there in pairs[:_MOST_ROWS]]
    values = [f"{label} {name}" for label in ("A", "B") for name in metrics]
    heads = ["trial", *values, *("B - A" if len(changes) == 1 else f"B - A {name}" for name in changes), "same trial"]
    return _table(heads, rows, numbers=range(1, len(heads) - 1)) + _rest(pairs)


def _pair(here: Repeat | None, there: Repeat | None, metrics: Sequence[str], changes: Sequence[str]) -> list[str]:
    name = next(run.trial for run in (here, there) if run)
    same = "" if here is None or there is None else "yes" if here.key == there.key else "no"
    values = [value_of(run.metrics if run else {}, shown) for run in (here, there) for shown in metrics]
    return [name, *values, *(_gap(here, there, metric) for metric in changes), same]


def _gap(here: Repeat | None, there: Repeat | None, metric: str) -> str:
    if cut := _cut(here, there):
        return cut
    if here is None or there is None or metric not in here.metrics or metric not in there.metrics:
        return ""
    return gap_text(there.metrics[metric] - here.metrics[metric], metric, sign="+") + gap_unit(metric)


def _rest(rows: Sequence[object]) -> str:
    """Return how many rows a table has left out."""
    return f"<p class=quiet>and {len(rows) - _MOST_ROWS} more</p>" if len(rows) > _MOST_ROWS else ""


def _figure(name: str, image: bytes | None) -> str:
    if image is None:
        return f"<figure><figcaption>{escape(name)}: none</figcaption></figure>"
    data = base64.b64encode(image).decode()
    title = escape(name.removesuffix(".png").replace("_", " "))
    return f'<figure><img alt="{title}" src="data:image/png;base64,{data}"><figcaption>{title}</figcaption></figure>'


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = (), first: bool = False
) -> str:
    right = set(numbers)

    def cell(tag: str, place: int, text: str) -> str:
        # Beside columns that fill the page a message would be a word wide. An ending in place of a number may wrap.
        is_number = place in right and ": " not in text
        kind = " class=number" if is_number else " class=long" if place and len(text) > _LONG else ""
        shown = escape(text)
        if tag == "th":  # a long name may break, so that the last column is in view
            shown = shown.replace("/", "/<wbr>").replace("_", "_<wbr>")
        return f"<{tag}{kind}>{shown}</{tag}>"

    head = "".join(cell("th", place, text) for place, text in enumerate(columns))
    lines = ["".join(cell("td", place, text) for place, text in enumerate(row)) for row in rows]
    body = "".join(f"<tr{' class=first' if first and k == 0 else ''}>{line}</tr>" for k, line in enumerate(lines))
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _page(title: str, *parts: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
