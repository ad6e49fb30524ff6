"""What is done about a fault: a group is tried again, and halved until the trial that causes it stands alone."""

from __future__ import annotations

from pipeline.engine.ledger import Ledger
from pipeline.engine.protocol import Report
from pipeline.engine.worker import Raised

Answer = tuple[list[Report], list[Ledger]]
"""What is to be told of a fault, and what is to be computed now."""


def after_loss(ledger: Ledger, detail: str, *, attempts: int) -> Answer:
    """Answer the loss of a worker, by chance or by a trial that brings it down.

    A group is tried once more as it is (unless ``attempts`` is 1), then in halves, and those in halves at
    their first loss; a trial alone has ``attempts`` before it fails.
    """
    losses, error = ledger.losses + 1, "lost with its worker"
    left = len(ledger.open())
    if left > 1 and losses >= min(2, attempts):
        return _again(ledger, 2, error, losses=min(2, attempts) - 1)
    if left and (left > 1 or losses < attempts):
        return _again(ledger, 1, error, losses=losses)
    return list(ledger.fail(f"{error} in {losses} of {attempts} attempts", detail)), []


def after_raise(ledger: Ledger, raised: Raised) -> Answer:
    """Answer an error of the computation itself, which would come again: halve at once, fail who is alone."""
    if len(ledger.open()) > 1:
        return _again(ledger, 2, raised.error, losses=ledger.losses)
    return list(ledger.fail(raised.error, raised.traceback)), []


def after_timeout(ledger: Ledger, seconds: float, *, silent: float) -> Answer:
    """Answer a group that took longer than ``seconds`` and has said nothing for the last ``silent`` ones.

    One that was getting on is too slow, and so would its halves be: it fails. One that hangs is halved.
    """
    error = f"trial.timeout: took longer than {seconds} s"
    if len(ledger.open()) > 1 and silent > seconds / 2:
        return _again(ledger, 2, error, losses=ledger.losses)
    return list(ledger.fail(error, "")), []


def _again(ledger: Ledger, parts: int, error: str, *, losses: int) -> Answer:
    retried, ledgers = ledger.again(parts, error, losses=losses)
    return [retried], ledgers
