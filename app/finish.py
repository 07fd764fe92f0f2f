"""Write down what the tries of a lane came to: ended, due again, or given back; and its health."""

import random
from collections.abc import Sequence
from time import monotonic

import structlog
from sqlalchemy import Connection

from app.core import retry
from app.core.fingerprint import fingerprint
from app.core.outcome import (
    MAY_HAVE_ARRIVED,
    Again,
    Delivered,
    Outcome,
    Rejected,
    Retry,
    Split,
    Suspended,
)
from app.destinations.base import Destination
from app.destinations.judging import cut
from app.failpoint import reach
from app.lane import Lane, written
from app.store import deliveries, health, work
from app.store.deliveries import Leased

LANE_PAUSE = 30.0  # seconds, where a destination asked for a pause and not for how long
PROBE = 900.0  # seconds until a suspended destination is tried again

log = structlog.get_logger()


def flush(lane: Lane) -> None:
    """Write the outcomes in one transaction, each guarded by its row's token."""
    tried, lane.tried, lane.flushed = lane.tried, [], monotonic()
    if not tried:
        return
    reach("deliver.before_finish")
    to = lane.destination
    ended = [(row, *end) for row, outcome, _ in tried if (end := _end(to, row, outcome))]
    kept = {row.id for row, _, _ in ended}
    again = [(row, outcome) for row, outcome, _ in tried if row.id not in kept]
    later = {row.id: (row.token, _delay(row, one)) for row, one in again if isinstance(one, Retry)}
    unburnt = {row.id: row.token for row, one in again if not isinstance(one, Retry)}
    writes = 0

    def write(connection: Connection) -> int:
        nonlocal writes
        deliveries.record(connection, [attempt for _, _, attempt in tried])
        ours = deliveries.finish(connection, lane.name, ended)
        ours += work.reschedule(connection, lane.name, later) if later else 0
        ours += work.give_back(connection, lane.name, unburnt) if unburnt else 0
        _note_health(connection, lane, [outcome for _, outcome, _ in tried])
        if ours < len(tried):
            deliveries.unsay(connection, [row.id for row, _, _ in tried])
        writes += 1  # all but its COMMIT
        return ours

    ours = written(lane, write)
    reach("deliver.after_finish")
    lane.unnoted = 0
    # What is gone at a second writing was finished by the first, whose COMMIT we never heard of.
    if (fenced := len(tried) - ours) and writes == 1:
        lane.fenced += fenced
        log.warning("deliver.fenced", destination=lane.destination.name, rows=fenced)


def given_up_at(destination: Destination) -> float:
    """Seconds of age at which a delivery to it is given up."""
    window = destination.DEDUPE_WINDOW
    return retry.gives_up_at(window.total_seconds() if window else None)


def _end(to: Destination, row: Leased, outcome: Outcome) -> tuple[str, str | None] | None:
    """(state, reason) of a delivery that ends here; None if it is tried again."""
    limit = given_up_at(to)
    match outcome:
        case Delivered():
            return "delivered", None
        case Rejected(reason) | Split(reason):
            return "dead", reason
        case Retry(reason, unclear=True) if to.at_most_once(row.payload):
            return "dead", cut(f"{MAY_HAVE_ARRIVED}: {reason}")
        case Retry(reason) if row.age >= limit:
            return "dead", f"gave up after {limit / retry.DAY:.0f} days: {reason}"
        case Retry() | Again() | Suspended():
            return None


def _delay(row: Leased, outcome: Retry) -> float:
    """Seconds until the row is due again."""
    return retry.delay(row.attempts, row.age, random.uniform, outcome.after)


def _note_health(connection: Connection, lane: Lane, outcomes: Sequence[Outcome]) -> None:
    """The breaker counts requests in a row that took nothing; a suspension stops at once."""
    name = lane.destination.name
    for outcome in outcomes:
        if isinstance(outcome, Suspended):
            pause = PROBE if outcome.after is None else outcome.after
            health.suspend(connection, name, pause, outcome.reason)
            status, _, words = outcome.reason.partition(" ")
            plain = f"{status} {fingerprint(words)}"  # a log outlives who was forgotten
            log.error("deliver.suspended", destination=name, reason=plain)
            return
        if isinstance(outcome, Retry) and outcome.lane:
            pause = LANE_PAUSE if outcome.after is None else outcome.after
            health.suspend(connection, name, pause, outcome.reason)
            return
    # Whoever refuses a row for its own sake is well.
    if lane.claimed_at and not all(isinstance(outcome, Retry) for outcome in outcomes):
        health.succeeded(connection, name, lane.claimed_at)
    if lane.unnoted:
        words = next((one.reason for one in outcomes if isinstance(one, Retry)), "")
        health.failed(connection, name, words, lane.unnoted, timed_out=lane.timed_out)
