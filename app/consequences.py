"""What follows from a batch of kept webhook events: facts, identity, revenue entries, analytics
events, deliveries. It is written in the caller's transaction, or nothing of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from app.core.envelope import THIN, NotAnEvent, parse
from app.core.facts import Fact, Reading
from app.core.identity import nearest
from app.core.joins import joined
from app.core.person import Mentioned, mentioned
from app.core.reading.payment import standalone_payment
from app.core.reading.readers import READERS, read
from app.core.reading.shapes import Missing, id_of, text, time
from app.core.settle import awaited_prices
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

MOST_IDS = 2_000  # of one webhook event
ASK_AFTER = 120.0  # seconds: what speaks for a payment mostly comes with it
TWIN_WITHIN = 60.0  # seconds in which a thin event's snapshot twin mostly comes


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


def read_batch(kept: Sequence[Kept]) -> Batch:
    """What they say, without asking or writing anything. One that cannot be read is quarantined."""
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
            reading = read(event, by_hand=one.origin == webhook_events.MANUAL)
            batch.readings.append((one, _bounded(reading)))
            batch.mentions[one.id] = mentioned(event)
        except (Missing, NotAnEvent) as error:
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


def write(connection: Connection, settings: Settings, batch: Batch) -> Sequence[tuple[Kept, Fact]]:
    """Write all that follows, verdicts included; the facts. Raises Stale."""
    refs, objects = lock(connection, batch)
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


def lock(connection: Connection, batch: Batch) -> tuple[identities.Refs, set[Scoped]]:
    """Lock every id that this batch touches or that those belong to, then look again.

    Ids that appeared meanwhile are locked without waiting; if another transaction has one, all
    is begun again (Stale), since waiting out of order could deadlock.
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
