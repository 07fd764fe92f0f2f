"""Write down what the tries of a lane came to: ended, due again, or given back; and its health."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import structlog
from sqlalchemy import Connection

from app.core import retry
from app.core.fingerprint import cause
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
    stopped: Stopped | None = None

    def write(connection: Connection) -> int:
        nonlocal writes, stopped
        deliveries.record(connection, [attempt for _, _, attempt in tried])
        ours = deliveries.finish(connection, lane.name, ended)
        ours += work.reschedule(connection, lane.name, later) if later else 0
        ours += work.give_back(connection, lane.name, unburnt) if unburnt else 0
        stopped = _note_health(connection, lane, [outcome for _, outcome, _ in tried])
        if ours < len(tried):
            deliveries.unsay(connection, [row.id for row, _, _ in tried])
        writes += 1  # all but its COMMIT
        return ours

    ours = written(lane, write)
    reach("deliver.after_finish")
    lane.unnoted = 0
    if stopped:
        _say_stopped(to.name, stopped)
    say_dead(to.name, [(state, reason) for _, state, reason in ended])
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


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is sent to a destination for so many seconds: it refuses us as such, asked us to
    wait, or took nothing for so long that the breaker opened."""

    how: Literal["suspended", "throttled", "breaker"]
    seconds: float
    reason: str


def _note_health(connection: Connection, lane: Lane, outcomes: Sequence[Outcome]) -> Stopped | None:
    """The breaker counts requests in a row that took nothing; a suspension stops at once."""
    name = lane.destination.name
    for outcome in outcomes:
        if isinstance(outcome, Suspended):
            pause = PROBE if outcome.after is None else outcome.after
            health.suspend(connection, name, pause, outcome.reason)
            return Stopped("suspended", pause, outcome.reason)
        if isinstance(outcome, Retry) and outcome.lane:
            pause = LANE_PAUSE if outcome.after is None else outcome.after
            health.suspend(connection, name, pause, outcome.reason)
            return Stopped("throttled", pause, outcome.reason)
    # Whoever refuses a row for its own sake is well.
    if lane.claimed_at and not all(isinstance(outcome, Retry) for outcome in outcomes):
        health.succeeded(connection, name, lane.claimed_at)
    if lane.unnoted:
        words = next((one.reason for one in outcomes if isinstance(one, Retry)), "")
        opened = health.failed(connection, name, words, lane.unnoted, timed_out=lane.timed_out)
        if opened is not None:
            return Stopped("breaker", opened, words)
    return None


# --- told to the log, which outlives who was forgotten: no addresses, ids and numbers


def _say_stopped(name: str, stopped: Stopped) -> None:
    told = {"destination": name, "reason": cause(stopped.reason), "seconds": round(stopped.seconds)}
    match stopped.how:
        case "suspended":
            log.error("deliver.suspended", **told)
        case "throttled":
            log.warning("deliver.throttled", **told)
        case "breaker":
            log.error("deliver.breaker_opened", **told)


def say_dead(name: str, ended: Sequence[tuple[str, str | None]]) -> None:
    """One line for all that died of these (state, reason), with the most frequent reason."""
    reasons = Counter(cause(reason or "") for state, reason in ended if state == "dead")
    if reasons:
        [(most, _)] = reasons.most_common(1)
        rows, kinds = reasons.total(), len(reasons)
        log.error("deliver.dead", destination=name, rows=rows, reason=most, reasons=kinds)
