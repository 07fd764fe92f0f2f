"""Claim a batch for one destination, POST it with no transaction open, write down each outcome."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic, sleep, time
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import retry
from app.core.consent import last_word
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
from app.destinations.base import Destination, Payload, Transport
from app.destinations.judging import cut, excerpt
from app.failpoint import reach
from app.store import deliveries, health, work
from app.store.deliveries import SUSPECT, Attempt, Leased

CLAIM = 500  # rows a time
LEASE = 40.0  # seconds; twice what one POST may last, and some
DEADLINE = 15.0  # seconds in all for one POST
FLUSH = 0.5  # seconds of outcomes that a crash may make us send again
PERSIST = 600.0  # seconds after the lease in which outcomes are still offered to Postgres
POISON = 2 * SUSPECT
TOO_MANY = 5  # requests in a row that took nothing, before the rest of a claim is given back
ANSWER = 500  # characters kept of what a destination answered
LANE_PAUSE = 30.0  # seconds, where a destination asked for a pause and not for how long
PROBE = 900.0  # seconds until a suspended destination is tried again
PROBING = 2 * DEADLINE  # seconds that nobody else probes it

log = structlog.get_logger()
Written = TypeVar("Written")


@dataclass
class Lane:
    """One destination, served by one thread."""

    engine: Engine
    destination: Destination
    transport: Transport
    stopping: Callable[[], bool] = lambda: False
    fenced: int = 0
    _ends: float = 0.0  # when the lease of what is claimed is over, on the monotonic clock
    _probing: bool = False  # the claim is a probe, which is not sent yet
    _suspect_first: bool = True  # at every other claim, so that suspects starve nowhere
    _failing: int = 0  # requests in a row that took nothing
    _unnoted: int = 0  # of these, not yet told to the breaker
    _timed_out: bool = False  # one of those
    _claimed_at: datetime | None = None  # on the database's clock
    _tried: list[tuple[Leased, Outcome, Attempt]] = field(default_factory=list)
    _flushed: float = field(default_factory=monotonic)

    @property
    def name(self) -> str:
        return work.lane_of(self.destination.name)


def deliver(lane: Lane) -> bool:
    """Serve one claim of this lane; True if there may be more to do at once."""
    claimed = _claim(lane)
    waiting = list(batches(lane.destination, _to_send(lane, claimed)))
    try:
        halted = _send(lane, waiting)
    finally:  # a page that fails on one batch keeps no other from what is known of it
        _flush(lane)
        _give_back(lane, waiting)
    return bool(claimed) and not halted


def _send(lane: Lane, waiting: list[list[Leased]]) -> bool:
    """POST one batch after the other and leave in `waiting` what is not sent; True if the rest had
    better wait."""
    while waiting:
        batch = waiting[0] = _marked(lane, waiting[0])
        reach("deliver.before_post")
        now = monotonic()
        # A POST must end inside the lease: later ones are another worker's by then.
        if lane.stopping() or lane._ends - now < 2 * DEADLINE:
            return False
        del waiting[0]
        if not batch:
            continue
        outcomes = _try(lane, batch, now + DEADLINE)
        waiting[:0] = _again(lane, batch, outcomes)
        if _halts(lane, outcomes):
            return True
        marked = any(lane.destination.at_most_once(row.payload) for row in batch)
        if marked or monotonic() - lane._flushed > FLUSH:
            _flush(lane)
    return False


def _claim(lane: Lane) -> list[Leased]:
    """What is ours for the lease's time; nothing while the destination is suspended, and a single
    row, of a single worker, to probe it after."""
    lane._ends = monotonic() + LEASE  # from before the claim: we may be frozen right after it
    lane._suspect_first = not lane._suspect_first
    with lane.engine.begin() as connection:
        found = health.look(connection, lane.destination.name)
        if found.paused:
            return []
        limit = 1 if found.probing else CLAIM
        suspect_first = lane._suspect_first and not found.probing
        rows = deliveries.claim(connection, lane.name, limit, LEASE, suspect_first=suspect_first)
        if not rows:
            return []
        if found.probing and not health.take_probe(connection, lane.destination.name, PROBING):
            work.give_back(connection, lane.name, {row.id: row.token for row in rows})
            return []
        lane._claimed_at, lane._probing = found.at, found.probing
    reach("deliver.after_claim")
    return rows


def _marked(lane: Lane, batch: list[Leased]) -> list[Leased]:
    """The batch, without those of what must arrive at most once that are no more ours; they are
    now marked, so that nobody posts them after us if we die before we know."""
    tokens = {row.id: row.token for row in batch if lane.destination.at_most_once(row.payload)}
    if not tokens:
        return batch
    ours = _written(lane, lambda connection: work.mark_posting(connection, lane.name, tokens))
    return [row for row in batch if row.id in ours or row.id not in tokens]


def _give_back(lane: Lane, waiting: Sequence[Sequence[Leased]]) -> None:
    """What was claimed and not sent is due at once, for anybody."""
    unsent = {row.id: row.token for batch in waiting for row in batch}
    name, claimed_at = lane.destination.name, lane._claimed_at
    if unsent:
        _written(lane, lambda connection: work.give_back(connection, lane.name, unsent))
    if lane._probing and claimed_at:
        _written(lane, lambda connection: health.leave_probe(connection, name, claimed_at))
        lane._probing = False


def _halts(lane: Lane, outcomes: Sequence[Outcome]) -> bool:
    """Whether the rest of the claim had better wait: the destination said so, or keeps failing."""
    taken_nothing = all(isinstance(one, Retry) for one in outcomes)
    lane._failing = lane._failing + 1 if taken_nothing else 0
    lane._unnoted = lane._unnoted + 1 if taken_nothing else 0
    lane._timed_out = lane._timed_out and taken_nothing
    asked = any(
        isinstance(one, Suspended) or (isinstance(one, Retry) and one.lane) for one in outcomes
    )
    return asked or lane._failing >= TOO_MANY


def batches(destination: Destination, rows: Sequence[Leased]) -> Iterator[list[Leased]]:
    """In the destination's limits of rows and bytes, in order."""
    batch: list[Leased] = []
    size = 0
    for row in rows:
        full = (
            len(batch) >= destination.MAX_BATCH or size + len(row.payload) > destination.MAX_BYTES
        )
        if batch and (full or row.historical != batch[0].historical):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.payload) + 1
    if batch:
        yield batch


def _try(lane: Lane, batch: Sequence[Leased], until: float) -> Sequence[Outcome]:
    """One POST; what it came to, per row, is remembered for the next flush."""
    payloads = [Payload(row.dedupe_id, row.payload, row.historical) for row in batch]
    started, clock = datetime.now(UTC), monotonic()
    response = lane.transport.send(lane.destination.request(payloads, time()), until=until)
    reach("deliver.after_post")
    latency = round((monotonic() - clock) * 1000)
    lane._probing, lane._timed_out = False, lane._timed_out or response.timed_out
    judged = lane.destination.judge(response, payloads)
    outcomes = [
        replace(one, unclear=response.unclear) if isinstance(one, Retry) else one for one in judged
    ]
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


def _to_send(lane: Lane, rows: Sequence[Leased]) -> list[Leased]:
    """Those of a claim that may be sent; the others end here."""
    refused = _refused(lane, rows)
    ended = [
        (row, *end) for row in rows if (end := refused.get(row.id) or _unfit(lane.destination, row))
    ]
    if ended:
        _written(lane, lambda connection: deliveries.finish(connection, lane.name, ended))
    kept = {row.id for row, _, _ in ended}
    return [row for row in rows if row.id not in kept]


def _refused(lane: Lane, rows: Sequence[Leased]) -> dict[int, tuple[str, str]]:
    """By id, those whose visitor has refused since they were owed."""
    purpose = lane.destination.purpose
    if purpose == "own" or not rows:
        return {}
    with lane.engine.connect() as connection:
        said = deliveries.consents(connection, [row.id for row in rows])
    words = {one: last_word(each).to(purpose) for one, each in said.items()}
    end = ("skipped", f"consent for {purpose} was withdrawn")
    return {one: end for one, agreed in words.items() if agreed is False}


def _unfit(destination: Destination, row: Leased) -> tuple[str, str] | None:
    """(state, reason) of a delivery that is not sent; None if it is."""
    if row.posting and destination.at_most_once(row.payload):
        return "dead", f"{MAY_HAVE_ARRIVED}: a worker died when it was being posted"
    if row.crashes >= POISON:
        return "dead", f"poison: {POISON} workers died with it in hand"
    if (row.attempts > 1 or row.crashes) and row.age >= _limit(destination):
        # An earlier try may have arrived unseen; from here on it would count a second time.
        return "dead", f"gave up after {_limit(destination) / retry.DAY:.0f} days"
    if late := destination.too_late(row.event_age):
        return "skipped", late
    return None


def _written(lane: Lane, write: Callable[[Connection], Written]) -> Written:
    """Write in one transaction. While Postgres is out of reach, again and again: what we know and
    did not write is sent twice. Tokens guard it, however late."""
    pause = 0.1
    while True:
        try:
            with lane.engine.begin() as connection:
                return write(connection)
        except (InterfaceError, InternalError, OperationalError, PoolTimeout) as error:
            if monotonic() > lane._ends + PERSIST:
                raise
            name, kind = lane.destination.name, type(error).__name__
            log.warning("deliver.not_written", destination=name, error=kind)
        sleep(pause)
        pause = min(2 * pause, 1.0)


def _flush(lane: Lane) -> None:
    """Write the outcomes in one transaction, each guarded by its row's token."""
    tried, lane._tried, lane._flushed = lane._tried, [], monotonic()
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

    ours = _written(lane, write)
    reach("deliver.after_finish")
    lane._unnoted = 0
    # What is gone at a second writing was finished by the first, whose COMMIT we never heard of.
    if (fenced := len(tried) - ours) and writes == 1:
        lane.fenced += fenced
        log.warning("deliver.fenced", destination=lane.destination.name, rows=fenced)


def _limit(destination: Destination) -> float:
    """Seconds of age at which a delivery to it is given up."""
    window = destination.DEDUPE_WINDOW
    return retry.gives_up_at(window.total_seconds() if window else None)


def _end(to: Destination, row: Leased, outcome: Outcome) -> tuple[str, str | None] | None:
    """(state, reason) of a delivery that ends here; None if it is tried again."""
    limit = _limit(to)
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
    if lane._claimed_at and not all(isinstance(outcome, Retry) for outcome in outcomes):
        health.succeeded(connection, name, lane._claimed_at)
    if lane._unnoted:
        words = next((one.reason for one in outcomes if isinstance(one, Retry)), "")
        health.failed(connection, name, words, lane._unnoted, timed_out=lane._timed_out)
