"""What is done about a fault: a group is tried again, and halved until the trial that causes it stands alone."""

from __future__ import annotations

from pipeline.engine.ledger import Doubt, Ledger
from pipeline.engine.worker import Begun, Said
from pipeline.raised import Raised
from pipeline.reports import Report
from tasks.events import Event

Answer = tuple[list[Report], list[Ledger]]
"""What is to be told of a message or a fault, and what is to be computed now."""


def after_message(ledger: Ledger, message: Begun | Said | tuple[Event, ...]) -> Answer:
    """Answer a message: a part that has come further than where the whole group raised casts the doubt off."""
    reports = list(ledger.take(message))
    if ledger.doubt is None or ledger.step() <= ledger.doubt.step:
        return reports, []
    told, again = _dispel(ledger)
    return reports + told, again


def after_end(ledger: Ledger) -> Answer:
    """Answer the end of a computation, which has told all it had to tell."""
    told, again = _dispel(ledger)
    return [*ledger.end(), *told], again


def after_loss(ledger: Ledger, why: str, detail: str, *, attempts: int) -> Answer:
    """Answer the loss of a worker, by chance or by a trial that brings it down.

    A group is tried once more as it is (unless ``attempts`` is 1), then in halves, and those in halves at
    their first loss; a trial alone has ``attempts`` before it fails.
    """
    told, again = _dispel(ledger)
    losses, error = ledger.losses + 1, f"lost with its worker ({why})"
    left = len(ledger.open())
    if left > 1 and losses >= min(2, attempts):
        reports, ledgers = _again(ledger, 2, error, losses=min(2, attempts) - 1)
    elif left and (left > 1 or losses < attempts):
        alone = (losses + 1, attempts) if left == 1 else None
        reports, ledgers = _again(ledger, 1, error, losses=losses, alone=alone)
    else:
        count = f"in attempt {ledger.attempt()}, {losses} of {attempts} alone"
        reports, ledgers = list(ledger.fail(f"{error} {count}", detail)), []
    return told + reports, again + ledgers


def after_raise(ledger: Ledger, raised: Raised) -> Answer:
    """Answer an error of the computation itself, which would come again: halve at once, fail who is alone.

    Where both halves raise the same at the same place, one trial of each is tried alone, the first and the last:
    they differ in all that is swept. If these raise it too, all do, and nothing more is tried.
    """
    doubt, left = ledger.doubt, len(ledger.open())
    if doubt is not None and doubt.same(raised, ledger.step()):
        doubt.alike.append(ledger)
        told = list(ledger.fail(raised.error, raised.traceback, raised)) if left == 1 else []
        if len(doubt.alike) < doubt.parts:
            return told, []
        reports, again = _all_alike(doubt)
        return told + reports, again
    told, again = _dispel(ledger)
    if left > 1:
        reports, ledgers = _halved(ledger, raised.as_data())
        return told + reports, again + ledgers
    return told + list(ledger.fail(raised.error, raised.traceback, raised)), again


def after_timeout(ledger: Ledger, seconds: float, *, silent: float) -> Answer:
    """Answer a group that took longer than ``seconds`` and has said nothing for the last ``silent`` ones.

    One that was getting on is too slow, and so would its halves be: it fails. One that hangs is halved.
    """
    told, again = _dispel(ledger)
    error = f"trial.timeout: took longer than {seconds} s"
    if len(ledger.open()) > 1 and silent > seconds / 2:
        reports, ledgers = _again(ledger, 2, error, losses=ledger.losses)
        return told + reports, again + ledgers
    return told + list(ledger.fail(error, "")), again


def _halved(ledger: Ledger, raised: Raised) -> Answer:
    """Have halves computed; whether all their trials raise the same is not asked of so few that it is found as soon."""
    step, many = ledger.step(), len(ledger.open()) > 3
    reports, halves = _again(ledger, 2, raised.error, losses=ledger.losses, raised=True)
    if many:
        doubt = Doubt(raised=raised, step=step, parts=len(halves))
        for half in halves:
            half.doubt = doubt
    return reports, halves


def _all_alike(doubt: Doubt) -> Answer:
    """Answer a doubt whose parts have all raised the same: try the two ends alone, or fail all where these have too."""
    raised, held = doubt.raised, [ledger for ledger in doubt.alike if ledger.open()]
    if doubt.rest or not held:
        return [report for ledger in doubt.rest for report in ledger.fail(raised.error, raised.traceback, raised)], []
    for ledger in held:
        ledger.doubt = None
    first, *others = _without(held[0], 0)
    others += held[1:]
    last, *rest = _without(others.pop(), -1)
    ends = Doubt(raised=raised, step=doubt.step, parts=2, rest=others + rest)
    reports: list[Report] = []
    again: list[Ledger] = []
    for ledger in (first, last):
        told, (alone,) = _again(ledger, 1, raised.error, losses=0, raised=True)
        alone.doubt = ends
        reports += told
        again.append(alone)
    return reports, again


def _without(ledger: Ledger, place: int) -> list[Ledger]:
    """Return a trial of a ledger, and what is left without it."""
    slots = ledger.open()
    one = slots.pop(place)
    return ledger.cut([[one], slots]) if slots else [ledger]


def _dispel(ledger: Ledger) -> Answer:
    """Cast the doubt off that a ledger is a part of: what waits for its answer is halved until who raises is alone."""
    doubt = ledger.doubt
    if doubt is None:
        return [], []
    held = [other for other in (*doubt.alike, *doubt.rest) if other.open()]
    doubt.dispelled, doubt.alike, doubt.rest, ledger.doubt = True, [], [], None
    reports: list[Report] = []
    again: list[Ledger] = []
    for other in held:
        other.doubt = None
        if len(other.open()) > 1:
            told, ledgers = _halved(other, doubt.raised)
        else:
            told, ledgers = _again(other, 1, doubt.raised.error, losses=0, raised=True)
        reports += told
        again += ledgers
    return reports, again


def _again(
    ledger: Ledger,
    parts: int,
    error: str,
    *,
    losses: int,
    alone: tuple[int, int] | None = None,
    raised: bool = False,
) -> Answer:
    retried, ledgers = ledger.again(parts, error, losses=losses, alone=alone, raised=raised)
    return [retried], ledgers
