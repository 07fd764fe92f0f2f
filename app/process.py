"""Kept webhook event -> facts -> identity -> revenue entries, analytics events, deliveries.

Everything that follows from a batch of webhook events is written in one transaction, or nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import uniform
from time import sleep
from typing import Any

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from app.core.envelope import THIN, NotAnEvent, parse
from app.core.facts import Fact, Reading
from app.core.identity import nearest
from app.core.joins import joined
from app.core.person import Mentioned, mentioned
from app.core.reading.payment import standalone_payment
from app.core.reading.readers import READERS, read
from app.core.reading.shapes import Missing, id_of, text, time
from app.core.settle import awaited_prices
from app.failpoint import reach
from app.privacy.erased import erase, forgotten, stripped, withhold
from app.release import release
from app.settings import Settings
from app.store import (
    analytics_events,
    catalogue,
    identities,
    ledger,
    subscriptions,
    webhook_events,
    work,
)
from app.store.analytics_events import Told
from app.store.identities import Scope, Scoped
from app.store.webhook_events import Kept, Verdict

BATCH = 150  # each takes about four join locks, of which Postgres holds some thousands
TRIES = 5
MOST_IDS = 2_000  # of one webhook event
PAUSE = 0.05  # seconds, at most, before a batch that lost a race is begun again
ASK_AFTER = 120.0  # seconds: what speaks for a payment mostly comes with it
TWIN_WITHIN = 60.0  # seconds in which a thin event's snapshot twin mostly comes
UNWRITABLE = (
    *(DBAPIError, RecursionError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)

log = structlog.get_logger()


class Stale(Exception):
    """What belongs to what changed while we waited for the locks: begin again."""


@dataclass
class Batch:
    """Webhook events read, before anything is written."""

    readings: list[tuple[Kept, Reading]] = field(default_factory=list)
    mentions: dict[int, Mentioned] = field(default_factory=dict)  # by our id
    quarantined: list[Verdict] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)  # nothing is left to read
    thin: list[tuple[Kept, str | None]] = field(default_factory=list)  # with its snapshot twin

    def objects(self) -> set[Scoped]:
        """Every Stripe id that these webhook events may be joined by."""
        return {
            (kept.account, kept.livemode, one)
            for kept, reading in self.readings
            for one in _ids(reading)
        }


class Unwritable(Exception):
    """What follows from these webhook events can never be written, however often it is tried."""

    def __init__(self, kept: Sequence[Kept], reason: str) -> None:
        super().__init__(reason)
        self.kept = kept


def process(engine: Engine, settings: Settings, limit: int = BATCH) -> int:
    """Process up to `limit` kept webhook events; how many, 0 when none was due.

    A webhook event that cannot be read is quarantined with the field that it lacks. One whose
    consequences cannot be written is found by trying each alone, and quarantined by itself.
    """
    try:
        return len(_with_retries(engine, settings, limit))
    except Unwritable as error:
        log.warning("process.one_by_one", reason=str(error))
    return _one_by_one(engine, settings, limit)


def rehearse(
    connection: Connection,
    settings: Settings,
    kept: Sequence[Kept],
    prepare: Callable[[], object],
) -> Sequence[tuple[Kept, Fact]]:
    """Write what follows from these webhook events in the caller's transaction, which is never to
    be committed; their facts. `prepare` is called once the join locks are ours, as rows are only
    locked after these everywhere. Raises Stale, and Unwritable."""
    try:
        _lock(connection, _read(kept))
        prepare()
        return _write(connection, settings, _read(kept))
    except UNWRITABLE as error:
        if _blames_a_row(error) or _too_many(error, kept):
            raise Unwritable(kept, _plainly(error)) from error
        raise


def _one_by_one(engine: Engine, settings: Settings, limit: int) -> int:
    done, after = 0, 0
    while done < limit:
        try:
            kept = _with_retries(engine, settings, 1, after)
        except Unwritable as error:
            kept = error.kept
            _quarantine(engine, kept[0], str(error))
        if not kept:
            break
        after, done = kept[0].id, done + 1
    return done


def _with_retries(engine: Engine, settings: Settings, limit: int, after: int = 0) -> Sequence[Kept]:
    """Again when a join moved under us or Postgres broke a deadlock; locks are taken anew."""
    for tries in range(1, TRIES + 1):
        kept: Sequence[Kept] = ()
        try:
            with engine.begin() as connection:
                kept = webhook_events.claim(connection, limit, after)
                if kept:
                    reach("process.after_claim")
                    _write(connection, settings, _read(kept))
                    reach("process.before_commit")
            reach("process.after_commit")
            return kept
        except UNWRITABLE as error:
            if kept and (_blames_a_row(error) or _too_many(error, kept)):
                raise Unwritable(kept, _plainly(error)) from error
            if tries == TRIES or not isinstance(error, OperationalError):
                raise
        except Stale:
            if tries == TRIES:
                raise
        sleep(uniform(0, PAUSE))
    raise AssertionError("unreachable")


def _plainly(error: Exception) -> str:
    """What Postgres refused, without its context: that quotes what customers wrote."""
    found = getattr(getattr(error, "orig", None), "diag", None)
    return f"{found.sqlstate} {found.message_primary}" if found else type(error).__name__


def _blames_a_row(error: Exception) -> bool:
    """Whether a row can never be written, and not that Postgres cannot write just now.

    What is no error of Postgres's: a text that is no UTF-8, or JSON too deep to be written.
    """
    if not isinstance(error, DBAPIError):
        return True
    too_large = str(getattr(error.orig, "sqlstate", "")).startswith("54")  # for an index
    return too_large or isinstance(error, (DataError, IntegrityError))


def _too_many(error: Exception, kept: Sequence[Kept]) -> bool:
    """Whether this batch needs more join locks than Postgres holds: fewer at a time will do."""
    no_room = str(getattr(getattr(error, "orig", None), "sqlstate", "")) == "53200"
    return no_room and len(kept) > 1


def _quarantine(engine: Engine, kept: Kept, reason: str) -> None:
    log.error("process.quarantined", webhook_event=kept.event_id, reason=reason)
    with engine.begin() as connection:
        webhook_events.decide(connection, [Verdict(kept.id, "quarantined", reason)])


def _read(kept: Sequence[Kept]) -> Batch:
    batch = Batch()
    for one in kept:
        if one.erased:
            batch.erased.append(one.id)
            continue
        try:
            event = parse(one.raw)
            if one.hydrated is not None:
                event = parse(one.hydrated)
                one = _hydrated(one, event)
            elif one.type.removeprefix("v1.") in READERS and event.get("object") == THIN:
                batch.thin.append((one, id_of(event.get("snapshot_event"))))
                continue
            batch.readings.append((one, _bounded(read(event))))
            batch.mentions[one.id] = mentioned(event)
        except (Missing, NotAnEvent) as error:
            log.error("process.quarantined", webhook_event=one.event_id, reason=str(error))
            batch.quarantined.append(Verdict(one.id, "quarantined", str(error)[:500]))
    return batch


def _bounded(reading: Reading) -> Reading:
    """Each id is a lock, of which Postgres has some thousands for everyone."""
    if len(_ids(reading)) > MOST_IDS:
        raise Missing(f"more than {MOST_IDS:,} Stripe ids in one webhook event")
    return reading


def _hydrated(one: Kept, event: Mapping[str, Any]) -> Kept:
    """As the snapshot event would have been kept, so that both say the same of the same second."""
    created = time(event, "created")
    return replace(
        one, created=created, event_id=text(event, "id"), fetched=event.get("fetched") is True
    )


def _write(connection: Connection, settings: Settings, batch: Batch) -> Sequence[tuple[Kept, Fact]]:
    refs, objects = _lock(connection, batch)
    reference = None if settings.client_reference == "none" else settings.client_reference
    gone = forgotten(connection, batch.readings, batch.mentions, refs, objects, reference)
    batch.readings = stripped(batch.readings, gone)
    _remember(connection, settings, batch)
    facts = _facts(connection, settings, batch, objects)
    ledger.book(connection, facts, settings.zone)
    told = [
        Told(id=None, scope=(kept.account, kept.livemode), fact=fact, webhook_event_id=kept.id)
        for kept, fact in facts
    ]
    woken = analytics_events.waiting_for(connection, objects)
    silent, silenced = ([one for one in group if gone.has(one)] for group in (told, woken))
    withhold(connection, silent, silenced, refs)
    told, woken = ([one for one in group if not gone.has(one)] for group in (told, woken))
    release(connection, settings, told=told, held=woken, refs=refs)
    thin = _thin(connection, batch)
    verdicts = [*map(_verdict, batch.readings), *batch.quarantined, *thin]
    webhook_events.decide(connection, verdicts)
    webhook_events.leave(connection, batch.erased)
    erase(connection, gone, silenced)
    return facts


def _thin(connection: Connection, batch: Batch) -> list[Verdict]:
    """Thin events tell nothing by themselves: the snapshot twin does, or Stripe's API."""
    if not batch.thin:
        return []
    twins = webhook_events.kept_of(
        connection, {(kept.account, kept.livemode, twin) for kept, twin in batch.thin if twin}
    )
    verdicts: list[Verdict] = []
    waiting: dict[bool, list[int]] = {True: [], False: []}
    for kept, twin in batch.thin:
        if (kept.account, kept.livemode, twin) in twins:
            reason = f"its snapshot twin {twin} tells it"
            verdicts.append(Verdict(kept.id, "ignored", reason))
        else:
            waiting[twin is not None].append(kept.id)
    webhook_events.await_objects(connection, waiting[True], TWIN_WITHIN)
    webhook_events.await_objects(connection, waiting[False])
    return verdicts


def _lock(connection: Connection, batch: Batch) -> tuple[identities.Refs, set[Scoped]]:
    """Lock every id that this batch touches or that those belong to, then look again.

    Ids that appeared meanwhile are locked without waiting; if another transaction has one, all
    is begun again, since waiting out of order could deadlock.
    """
    objects = batch.objects()
    objects |= identities.refs_of(connection, objects).ids()
    identities.lock(connection, objects)
    refs = identities.refs_of(connection, objects)
    late = refs.ids() - objects
    if late and not identities.try_lock(connection, late):
        raise Stale
    for kept, reading in batch.readings:
        for ref in reading.refs:
            refs.add((kept.account, kept.livemode), ref)
    return refs, objects | late


def _remember(connection: Connection, settings: Settings, batch: Batch) -> None:
    """Write down what later webhook events will be joined with, and what is to be worked out or
    asked apart from them."""
    scoped = [((kept.account, kept.livemode), kept, one) for kept, one in batch.readings]
    identities.add_refs(connection, ((s, ref) for s, _, one in scoped for ref in one.refs))
    identities.add_links(connection, ((s, link) for s, _, one in scoped for link in one.links))
    ledger.add_payments(connection, ((k, one.payment) for _, k, one in scoped if one.payment))
    ledger.add_claims(connection, ((s, claim) for s, _, one in scoped for claim in one.claims))
    subscriptions.add_snapshots(
        connection, ((kept, one.snapshot) for _, kept, one in scoped if one.snapshot)
    )
    catalogue.add(
        connection, ((s, kept.id, item) for s, kept, one in scoped for item in one.catalogue)
    )
    worth = [kept.id for _, kept, one in scoped if one.snapshot or one.catalogue]
    work.put(connection, work.MEASURE, worth)
    if settings.stripe_api_key and settings.standalone_payments == "hold":
        # A charge without payment intent cannot be asked about.
        intents = [k.id for _, k, one in scoped if one.payment and one.payment.id[:3] == "pi_"]
        work.put(connection, work.ASK, intents, ASK_AFTER)


def _facts(
    connection: Connection, settings: Settings, batch: Batch, objects: set[Scoped]
) -> list[tuple[Kept, Fact]]:
    """The facts of these readings, and those that they complete, each key once."""
    by_scope: dict[Scope, list[tuple[Kept, Fact]]] = defaultdict(list)
    carrier: dict[Scope, Kept] = {}
    for kept, reading in batch.readings:
        scope = (kept.account, kept.livemode)
        carrier[scope] = kept
        by_scope[scope] += [(kept, _with_own(fact, reading)) for fact in reading.facts]
    book_all = settings.standalone_payments == "book"
    for scope, payment, claim in ledger.claimed_payments(connection, objects, book_all=book_all):
        kept = _named(batch, carrier[scope], payment.id)
        by_scope[scope].append((kept, standalone_payment(payment, claim)))
    earlier: dict[Scope, list[Fact]] = defaultdict(list)
    for scope, fact in analytics_events.joinable(connection, objects):
        earlier[scope].append(fact)
    found: dict[tuple[Scope, str], tuple[Kept, Fact]] = {}
    for scope, facts in by_scope.items():
        for kept, fact in facts:
            found.setdefault((scope, fact.key), (kept, fact))
    for scope in carrier:
        known = [fact for _, fact in by_scope[scope]] + earlier[scope]
        for fact in joined(known):
            kept = _named(batch, carrier[scope], *fact.about, fact.customer)
            found.setdefault((scope, fact.key), (kept, fact))
    return list(found.values())


def _with_own(fact: Fact, reading: Reading) -> Fact:
    """The fact with what the object that announced it says of itself, silence included."""
    own = [link for link in reading.links if link.objects[0] == fact.about[0]]
    if not own:
        return fact
    return replace(fact, own=nearest(own) or own[0])


def _named(batch: Batch, carrier: Kept, *ids: str | None) -> Kept:
    """The webhook event of the carrier's account and mode that speaks of one of these ids: it
    completed the fact. Else the carrier itself."""
    wanted, scope = set(ids), (carrier.account, carrier.livemode)
    return next(
        (
            kept
            for kept, reading in batch.readings
            if (kept.account, kept.livemode) == scope and wanted & _ids(reading)
        ),
        carrier,
    )


def _ids(reading: Reading) -> set[str]:
    ids = {one for ref in reading.refs for one in (ref.child, ref.parent)}
    for link in reading.links:
        ids |= {*link.objects, *([link.customer] if link.customer else [])}
    for fact in reading.facts:
        ids |= {*fact.about, *([fact.customer] if fact.customer else [])}
        ids |= awaited_prices(fact)
    if reading.payment:
        ids.add(reading.payment.id)
    if reading.snapshot:
        ids.add(reading.snapshot.subscription)
    ids |= {item.id for item in reading.catalogue}
    return ids | {claim.payment for claim in reading.claims}


def _verdict(item: tuple[Kept, Reading]) -> Verdict:
    kept, reading = item
    return Verdict(kept.id, "ignored" if reading.ignored else "processed", reading.ignored)
