"""Claim a batch for one destination, POST it with no transaction open, write down each outcome."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, time

import structlog
from sqlalchemy import Connection, Engine

from app.core import retry
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Split, Suspended
from app.destinations.base import Destination, Payload
from app.destinations.http import Http
from app.destinations.judging import excerpt
from app.store import deliveries, health, work
from app.store.deliveries import Attempt, Leased

CLAIM = 500  # rows a time
LEASE = 40.0  # seconds; twice what one POST may last, and some
DEADLINE = 15.0  # seconds in all for one POST
FLUSH = 0.5  # seconds of outcomes that a crash may make us send again
SUSPECT = 3  # deaths of a worker with this row in hand before it is claimed alone
POISON = 2 * SUSPECT
TOO_MANY = 5  # requests in a row that took nothing, before the rest of a claim is given back
ANSWER = 500  # characters kept of what a destination answered
LANE_PAUSE = 30.0  # seconds, where a destination asked for a pause and not for how long
PROBE = 900.0  # seconds until a suspended destination is tried again

log = structlog.get_logger()


@dataclass
class Lane:
    """One destination, served by one thread."""

    engine: Engine
    destination: Destination
    http: Http
    stopping: Callable[[], bool] = lambda: False
    fenced: int = 0
    _failing: int = 0  # requests in a row that took nothing
    _unnoted: int = 0  # of these, not yet told to the breaker
    _claimed_at: datetime | None = None  # on the database's clock
    _tried: list[tuple[Leased, Outcome, Attempt]] = field(default_factory=list)
    _flushed: float = field(default_factory=monotonic)

    @property
    def name(self) -> str:
        return work.lane_of(self.destination.name)


def deliver(lane: Lane) -> bool:
    """Serve one claim of this lane; True if there may be more to do at once."""
    with lane.engine.begin() as connection:
        found = health.look(connection, lane.destination.name)
        if found.paused:
            return False
        lane._claimed_at = found.at
        limit = 1 if found.probing else CLAIM
        claimed = deliveries.claim(connection, lane.name, limit, LEASE, alone=SUSPECT)
    ends = monotonic() + LEASE
    waiting = list(_batches(lane.destination, _without_poison(lane, claimed)))
    halted = False
    while waiting and not halted:
        # A POST must end inside the lease: later ones are another worker's by then.
        if lane.stopping() or ends - monotonic() < 2 * DEADLINE:
            break
        batch = waiting.pop(0)
        outcomes = _try(lane, batch)
        waiting[:0] = _again(lane, batch, outcomes)
        halted = _halts(lane, outcomes)
        if monotonic() - lane._flushed > FLUSH:
            _flush(lane)
    _flush(lane)
    if waiting:
        with lane.engine.begin() as connection:
            unsent = {row.id: row.token for batch in waiting for row in batch}
            work.give_back(connection, lane.name, unsent)
    return bool(claimed) and not halted


def _halts(lane: Lane, outcomes: Sequence[Outcome]) -> bool:
    """Whether the rest of the claim had better wait: the destination said so, or keeps failing."""
    taken_nothing = all(isinstance(one, Retry) for one in outcomes)
    lane._failing = lane._failing + 1 if taken_nothing else 0
    lane._unnoted = lane._unnoted + 1 if taken_nothing else 0
    asked = any(
        isinstance(one, Suspended) or (isinstance(one, Retry) and one.lane) for one in outcomes
    )
    return asked or lane._failing >= TOO_MANY


def _batches(destination: Destination, rows: Sequence[Leased]) -> Iterator[list[Leased]]:
    """In the destination's limits of rows and bytes, in order."""
    batch: list[Leased] = []
    size = 0
    for row in rows:
        full = (
            len(batch) >= destination.MAX_BATCH or size + len(row.payload) > destination.MAX_BYTES
        )
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.payload) + 1
    if batch:
        yield batch


def _try(lane: Lane, batch: Sequence[Leased]) -> Sequence[Outcome]:
    """One POST; what it came to, per row, is remembered for the next flush."""
    payloads = [Payload(row.dedupe_id, row.payload) for row in batch]
    started, clock = datetime.now(UTC), monotonic()
    response = lane.http.send(lane.destination.request(payloads, time()), deadline=DEADLINE)
    latency = round((monotonic() - clock) * 1000)
    outcomes = lane.destination.judge(response, payloads)
    answer = excerpt(response.text, lane.destination.secrets(), ANSWER)
    for row, outcome in zip(batch, outcomes, strict=True):
        attempt = _attempt(row, outcome, response.status, answer, started, latency)
        lane._tried.append((row, outcome, attempt))
    return outcomes


def _attempt(
    row: Leased,
    outcome: Outcome,
    status: int | None,
    answer: str,
    started: datetime,
    latency: int,
) -> Attempt:
    return Attempt(
        delivery_id=row.id,
        token=row.token,
        started_at=started,
        outcome=type(outcome).__name__.lower(),
        status=status,
        answer=answer,
        latency_ms=latency,
    )


def _again(lane: Lane, batch: Sequence[Leased], outcomes: Sequence[Outcome]) -> list[list[Leased]]:
    """What to POST at once: neighbours of refused rows, and the halves of a refused batch."""
    innocent = [row for row, one in zip(batch, outcomes, strict=True) if isinstance(one, Again)]
    refused = [row for row, one in zip(batch, outcomes, strict=True) if isinstance(one, Split)]
    again = [innocent] if innocent else []
    if len(refused) > 1:
        middle = len(refused) // 2
        again += [refused[:middle], refused[middle:]]
    sent_again = {row.id for rows in again for row in rows}
    lane._tried = [item for item in lane._tried if item[0].id not in sent_again]
    return again


def _without_poison(lane: Lane, rows: Sequence[Leased]) -> list[Leased]:
    poison = [row for row in rows if row.crashes >= POISON]
    if poison:
        reason = f"poison: {POISON} workers died with it in hand"
        with lane.engine.begin() as connection:
            deliveries.finish(connection, lane.name, [(row, "dead", reason) for row in poison])
    return [row for row in rows if row.crashes < POISON]


def _flush(lane: Lane) -> None:
    """Write the outcomes in one transaction, each guarded by its row's token."""
    tried, lane._tried, lane._flushed = lane._tried, [], monotonic()
    if not tried:
        return
    limit = _limit(lane.destination)
    ended = [(row, *end) for row, outcome, _ in tried if (end := _end(row, outcome, limit))]
    kept = {row.id for row, _, _ in ended}
    again = [(row, outcome) for row, outcome, _ in tried if row.id not in kept]
    later = {row.id: (row.token, _delay(row, one)) for row, one in again if isinstance(one, Retry)}
    unburnt = {row.id: row.token for row, one in again if not isinstance(one, Retry)}
    with lane.engine.begin() as connection:
        deliveries.record(connection, [attempt for _, _, attempt in tried])
        ours = deliveries.finish(connection, lane.name, ended)
        ours += work.reschedule(connection, lane.name, later) if later else 0
        ours += work.give_back(connection, lane.name, unburnt) if unburnt else 0
        _note_health(connection, lane, [outcome for _, outcome, _ in tried])
    if fenced := len(tried) - ours:
        lane.fenced += fenced
        log.warning("deliver.fenced", destination=lane.destination.name, rows=fenced)


def _limit(destination: Destination) -> float:
    """Seconds of age at which a delivery to it is given up."""
    window = destination.DEDUPE_WINDOW
    return retry.gives_up_at(window.total_seconds() if window else None)


def _end(row: Leased, outcome: Outcome, limit: float) -> tuple[str, str | None] | None:
    """(state, reason) of a delivery that ends here; None if it is tried again."""
    match outcome:
        case Delivered():
            return "delivered", None
        case Rejected(reason) | Split(reason):
            return "dead", reason
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
            health.suspend(connection, name, outcome.after or PROBE, outcome.reason)
            log.error("deliver.suspended", destination=name, reason=outcome.reason)
            return
        if isinstance(outcome, Retry) and outcome.lane:
            health.suspend(connection, name, outcome.after or LANE_PAUSE, outcome.reason)
            return
    if lane._claimed_at and any(isinstance(outcome, Delivered) for outcome in outcomes):
        health.succeeded(connection, name, lane._claimed_at)
    if lane._unnoted:
        words = next((one.reason for one in outcomes if isinstance(one, Retry)), "")
        health.failed(connection, name, words, lane._unnoted)
        lane._unnoted = 0
