"""Claim a batch for one destination, POST it with no transaction open, write down each outcome."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic, time

from app.core import retry
from app.core.consent import last_word
from app.core.outcome import MAY_HAVE_ARRIVED, Again, Outcome, Retry, Split, Suspended
from app.destinations.base import Destination, Payload
from app.destinations.judging import excerpt
from app.failpoint import reach
from app.finish import flush, given_up_at, say_dead
from app.lane import Lane, written
from app.store import deliveries, health, work
from app.store.deliveries import SUSPECT, Attempt, Leased

CLAIM = 500  # rows a time
LEASE = 40.0  # seconds; twice what one POST may last, and some
DEADLINE = 15.0  # seconds in all for one POST
FLUSH = 0.5  # seconds of outcomes that a crash may make us send again
POISON = 2 * SUSPECT
TOO_MANY = 5  # requests in a row that took nothing, before the rest of a claim is given back
ANSWER = 500  # characters kept of what a destination answered
PROBING = 2 * DEADLINE  # seconds that nobody else probes it


def deliver(lane: Lane) -> bool:
    """Serve one claim of this lane; True if there may be more to do at once."""
    claimed = _claim(lane)
    waiting = list(batches(lane.destination, _to_send(lane, claimed)))
    try:
        halted = _send(lane, waiting)
    finally:  # a page that fails on one batch keeps no other from what is known of it
        flush(lane)
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
        if lane.stopping() or lane.ends - now < 2 * DEADLINE:
            return False
        del waiting[0]
        if not batch:
            continue
        outcomes = _try(lane, batch, now + DEADLINE)
        waiting[:0] = _again(lane, batch, outcomes)
        if _halts(lane, outcomes):
            return True
        marked = any(lane.destination.at_most_once(row.payload) for row in batch)
        if marked or monotonic() - lane.flushed > FLUSH:
            flush(lane)
    return False


def _claim(lane: Lane) -> list[Leased]:
    """What is ours for the lease's time; nothing while the destination is suspended, and a single
    row, of a single worker, to probe it after."""
    lane.ends = monotonic() + LEASE  # from before the claim: we may be frozen right after it
    lane.suspect_first = not lane.suspect_first
    with lane.engine.begin() as connection:
        found = health.look(connection, lane.destination.name)
        if found.paused:
            return []
        limit = 1 if found.probing else CLAIM
        suspect_first = lane.suspect_first and not found.probing
        rows = deliveries.claim(connection, lane.name, limit, LEASE, suspect_first=suspect_first)
        if not rows:
            return []
        if found.probing and not health.take_probe(connection, lane.destination.name, PROBING):
            work.give_back(connection, lane.name, {row.id: row.token for row in rows})
            return []
        lane.claimed_at, lane.probing = found.at, found.probing
    reach("deliver.after_claim")
    return rows


def _marked(lane: Lane, batch: list[Leased]) -> list[Leased]:
    """The batch, without those of what must arrive at most once that are no more ours; they are
    now marked, so that nobody posts them after us if we die before we know."""
    tokens = {row.id: row.token for row in batch if lane.destination.at_most_once(row.payload)}
    if not tokens:
        return batch
    ours = written(lane, lambda connection: work.mark_posting(connection, lane.name, tokens))
    return [row for row in batch if row.id in ours or row.id not in tokens]


def _give_back(lane: Lane, waiting: Sequence[Sequence[Leased]]) -> None:
    """What was claimed and not sent is due at once, for anybody."""
    unsent = {row.id: row.token for batch in waiting for row in batch}
    name, claimed_at = lane.destination.name, lane.claimed_at
    if unsent:
        written(lane, lambda connection: work.give_back(connection, lane.name, unsent))
    if lane.probing and claimed_at:
        written(lane, lambda connection: health.leave_probe(connection, name, claimed_at))
        lane.probing = False


def _halts(lane: Lane, outcomes: Sequence[Outcome]) -> bool:
    """Whether the rest of the claim had better wait: the destination said so, or keeps failing."""
    taken_nothing = all(isinstance(one, Retry) for one in outcomes)
    lane.failing = lane.failing + 1 if taken_nothing else 0
    lane.unnoted = lane.unnoted + 1 if taken_nothing else 0
    lane.timed_out = lane.timed_out and taken_nothing
    asked = any(
        isinstance(one, Suspended) or (isinstance(one, Retry) and one.lane) for one in outcomes
    )
    return asked or lane.failing >= TOO_MANY


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
    lane.probing, lane.timed_out = False, lane.timed_out or response.timed_out
    judged = lane.destination.judge(response, payloads)
    outcomes = [
        replace(one, unclear=response.unclear) if isinstance(one, Retry) else one for one in judged
    ]
    answer = excerpt(response.text, lane.destination.secrets(), ANSWER)
    for row, outcome in zip(batch, outcomes, strict=True):
        attempt = _attempt(row, outcome, response.status, answer, started, latency)
        lane.tried.append((row, outcome, attempt))
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
    lane.tried = [item for item in lane.tried if item[0].id not in sent_again]
    return again


def _to_send(lane: Lane, rows: Sequence[Leased]) -> list[Leased]:
    """Those of a claim that may be sent; the others end here."""
    refused = _refused(lane, rows)
    ended = [
        (row, *end) for row in rows if (end := refused.get(row.id) or _unfit(lane.destination, row))
    ]
    if ended:
        written(lane, lambda connection: deliveries.finish(connection, lane.name, ended))
        say_dead(lane.destination.name, [(state, reason) for _, state, reason in ended])
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
    if (row.attempts > 1 or row.crashes) and row.age >= given_up_at(destination):
        # An earlier try may have arrived unseen; from here on it would count a second time.
        return "dead", f"gave up after {given_up_at(destination) / retry.DAY:.0f} days"
    if late := destination.too_late(row.event_age):
        return "skipped", late
    return None
