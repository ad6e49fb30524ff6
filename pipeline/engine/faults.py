"""Retries after a fault: a group is retried, and halved until the trial that causes the fault is alone."""

from __future__ import annotations

from pipeline.engine.ledger import Answer, CommonError, Ledger
from pipeline.engine.worker import Message
from pipeline.raised import Raised


def after_message(ledger: Ledger, message: Message) -> Answer:
    """Answer a message: a part that passes the step at which its group raised refutes the common error."""
    reports = list(ledger.reports_of(message))
    if ledger.common_error is None or ledger.step() <= ledger.common_error.step:
        return reports, []
    return _joined((reports, []), _refute(ledger))


def after_end(ledger: Ledger) -> Answer:
    """Answer the end of a computation, after all its messages."""
    return _joined(_refute(ledger), ledger.fail("the computation ended without a result for this trial", ""))


def after_lost_worker(ledger: Ledger, why: str, detail: str, *, attempts: int) -> Answer:
    """Answer the loss of a worker, by chance or by a trial that crashes it.

    A group is retried once as it is (unless ``attempts`` is 1), then in halves, which are halved at their first loss;
    a trial alone has ``attempts`` before it fails.
    """
    refuted = _refute(ledger)
    lost_workers, error = ledger.lost_workers + 1, f"lost with its worker ({why})"
    left = len(ledger.open())
    if left > 1 and lost_workers >= min(2, attempts):
        answer = ledger.again(2, error, lost_workers=min(2, attempts) - 1)
    elif left and (left > 1 or lost_workers < attempts):
        alone = (lost_workers + 1, attempts) if left == 1 else None
        answer = ledger.again(1, error, lost_workers=lost_workers, alone=alone)
    else:
        count = f"in attempt {ledger.attempt()}, {lost_workers} of {attempts} alone"
        answer = ledger.fail(f"{error} {count}", detail)
    return _joined(refuted, answer)


def after_raise(ledger: Ledger, raised: Raised) -> Answer:
    """Answer an error of the computation itself, which would recur: halve the group at once, fail a trial alone.

    Where both halves raise the same error at the same place, the first and the last trial of the group are retried
    alone: in a grid they differ most. If they raise it too, it is common to all, and nothing more is retried.
    """
    common_error, left = ledger.common_error, len(ledger.open())
    if common_error is not None and common_error.same(raised, ledger.step()):
        common_error.confirmed.append(ledger)
        failed = _fail(ledger, raised) if left == 1 else ([], [])
        if len(common_error.confirmed) < common_error.parts:
            return failed
        return _joined(failed, _confirm(common_error))
    refuted = _refute(ledger)
    return _joined(refuted, _halved(ledger, raised.as_data()) if left > 1 else _fail(ledger, raised))


def after_timeout(ledger: Ledger, seconds: float, *, silent: float) -> Answer:
    """Answer a group that took longer than ``seconds``, the last ``silent`` of them without a message.

    A group that made progress is too slow, and so would its halves be: it fails. A group that hangs is halved.
    """
    refuted, error = _refute(ledger), f"trial.timeout: took longer than {seconds} s"
    if len(ledger.open()) > 1 and silent > seconds / 2:
        return _joined(refuted, ledger.again(2, error, lost_workers=ledger.lost_workers))
    return _joined(refuted, ledger.fail(error, ""))


def _joined(*answers: Answer) -> Answer:
    return [report for reports, _ in answers for report in reports], [left for _, again in answers for left in again]


def _fail(ledger: Ledger, raised: Raised) -> Answer:
    return ledger.fail(raised.error, raised.traceback, raised)


def _halved(ledger: Ledger, raised: Raised) -> Answer:
    """Retry a group in halves; for more than three trials, test whether the error is common to all of them."""
    step, many = ledger.step(), len(ledger.open()) > 3
    reports, halves = ledger.again(2, raised.error, lost_workers=ledger.lost_workers, raised=True)
    if many:
        common_error = CommonError(raised=raised, step=step, parts=len(halves))
        for half in halves:
            half.common_error = common_error
    return reports, halves


def _confirm(common_error: CommonError) -> Answer:
    """Answer a common error that all parts have raised: retry the first and the last trial alone, or fail all."""
    raised, held = common_error.raised, [ledger for ledger in common_error.confirmed if ledger.open()]
    if common_error.rest or not held:
        return _joined(*(_fail(ledger, raised) for ledger in common_error.rest))
    for ledger in held:
        ledger.common_error = None
    first, *others = _without(held[0], 0)
    others += held[1:]
    last, *rest = _without(others.pop(), -1)
    ends = CommonError(raised=raised, step=common_error.step, parts=2, rest=others + rest)
    reports, again = _joined(*(one.again(1, raised.error, lost_workers=0, raised=True) for one in (first, last)))
    for alone in again:
        alone.common_error = ends
    return reports, again


def _without(ledger: Ledger, place: int) -> list[Ledger]:
    """Return the ledger of one trial, and that of the others, if any."""
    slots = ledger.open()
    one = slots.pop(place)
    return ledger.split_by_slots([[one], slots]) if slots else [ledger]


def _refute(ledger: Ledger) -> Answer:
    """Refute the common error that a ledger is part of: the ledgers that wait for the outcome are halved as usual."""
    common_error = ledger.common_error
    if common_error is None:
        return [], []
    held = [other for other in (*common_error.confirmed, *common_error.rest) if other.open()]
    common_error.refuted, common_error.confirmed, common_error.rest = True, [], []
    for other in (ledger, *held):
        other.common_error = None
    raised = common_error.raised
    answers = [
        _halved(one, raised) if len(one.open()) > 1 else one.again(1, raised.error, lost_workers=0, raised=True)
        for one in held
    ]
    return _joined(*answers)
