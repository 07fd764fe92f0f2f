"""What a batch of webhook events says of people who were forgotten: the ledger hears it, nobody
else does, and nothing of who they were is written down again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlalchemy import Connection

from app.core.analytics import Identity
from app.core.facts import Fact, Reading
from app.core.person import ERASED, Mentioned, only_worth, personal, theirs, without_words
from app.core.settle import Settled, tax_in
from app.store import analytics_events, erasures, ledger
from app.store import erase as rows
from app.store.analytics_events import Told
from app.store.identities import Refs, Scoped
from app.store.webhook_events import Kept

Read = tuple[Kept, Reading]


@dataclass(frozen=True)
class Forgotten:
    """Of one batch: the Stripe ids of people who were forgotten, and the webhook events (by our
    id) that are theirs."""

    objects: set[Scoped] = field(default_factory=set)
    webhook_events: set[int] = field(default_factory=set)

    def has(self, one: Told) -> bool:
        """Whether this fact is theirs."""
        return any((*one.scope, object_id) in self.objects for object_id in named_by(one.fact))


def forgotten(
    connection: Connection,
    readings: Sequence[Read],
    mentions: Mapping[int, Mentioned],
    refs: Refs,
    objects: Iterable[Scoped],
    reference: str | None,
) -> Forgotten:
    """Whom of these webhook events nobody is to hear of, asked in one query.

    Theirs is what names a Stripe id of theirs, belongs to one (`refs`), or brings an id of theirs;
    then all that it names is theirs as well. `mentions` are by our id of the webhook event.
    """
    asked, ids = set(objects), set()
    for kept, reading in readings:
        scope = (kept.account, kept.livemode)
        asked |= {(*scope, one) for one in mentions[kept.id].objects}
        for said in _said(reading, mentions[kept.id]):
            ids |= {(kept.account, value) for value in personal(said, reference).values()}
    dead, values = erasures.known(connection, asked, ids)
    if not dead and not values:
        return Forgotten()
    found = Forgotten(set(dead), set())
    while new := [
        (kept, reading)
        for kept, reading in readings
        if kept.id not in found.webhook_events
        and _is_theirs(kept, reading, mentions[kept.id], refs, found, values, reference)
    ]:
        for kept, reading in new:
            found.webhook_events.add(kept.id)
            found.objects.update((kept.account, kept.livemode, one) for one in _objects(reading))
    erasures.bury(connection, found.objects - dead)
    return found


def _is_theirs(
    kept: Kept,
    reading: Reading,
    mention: Mentioned,
    refs: Refs,
    found: Forgotten,
    values: set[tuple[str, str]],
    reference: str | None,
) -> bool:
    scope = (kept.account, kept.livemode)
    known = {value for account, value in values if account == kept.account}
    if any(theirs(said, known, reference) for said in _said(reading, mention)):
        return True
    way, customers = refs.climb(scope, sorted(_objects(reading)))
    return any((*scope, one) in found.objects for one in (*way, *customers, *mention.objects))


def _said(reading: Reading, mention: Mentioned) -> list[Mapping[str, str]]:
    return [mention.ids, *(link.ids for link in reading.links)]


def _objects(reading: Reading) -> set[str]:
    """The Stripe ids that are one customer's: not prices and coupons, which many share."""
    ids = {one for ref in reading.refs for one in (ref.child, ref.parent)}
    for link in reading.links:
        ids |= {*link.objects, *([link.customer] if link.customer else [])}
    for fact in reading.facts:
        ids |= named_by(fact)
    if reading.payment:
        ids.add(reading.payment.id)
    if reading.snapshot:
        ids.add(reading.snapshot.subscription)
    return ids | {claim.payment for claim in reading.claims}


def named_by(fact: Fact) -> set[str]:
    """The Stripe ids that say whose this fact is."""
    named = (*fact.about, fact.customer, fact.subscription, fact.invoice)
    return {one for one in named if one}


def stripped(readings: Sequence[Read], found: Forgotten) -> list[Read]:
    """The readings, those of forgotten people without what says who they are."""
    return [
        (kept, _bare(reading) if kept.id in found.webhook_events else reading)
        for kept, reading in readings
    ]


def _bare(reading: Reading) -> Reading:
    snapshot = reading.snapshot
    if snapshot is None:
        return replace(reading, links=())
    bare = replace(
        snapshot,
        items=without_words(snapshot.items),
        discounts=without_words(snapshot.discounts),
        previous_attributes=only_worth(snapshot.previous_attributes),
    )
    return replace(reading, links=(), snapshot=bare)


def withhold(
    connection: Connection, told: Sequence[Told], held: Sequence[Told], refs: Refs
) -> None:
    """Write down that these facts were told to nobody, `held` ones without what they knew. Their
    tax is the tax office's all the same."""
    nobody, taxes = Identity(source=ERASED), _taxes(connection, told, refs)
    silent = [
        one.as_settled(Settled(name=one.fact.name, identity=nobody, withheld=ERASED, tax_minor=tax))
        for one, tax in zip(told, taxes, strict=True)
    ]
    analytics_events.add(connection, silent, timedelta())
    ids = [one.id for one in held if one.id is not None]
    if ids:
        rows.withhold(connection, ids)
        rows.erase(connection, rows.Rows(told=ids))


def _taxes(connection: Connection, told: Sequence[Told], refs: Refs) -> list[int | None]:
    """The tax in each of them, as far as their payments are known."""
    ways = [refs.climb(one.scope, one.fact.about)[0] for one in told]
    asked = {
        (*one.scope, each)
        for one, way in zip(told, ways, strict=True)
        if one.fact.of_payment
        for each in way
    }
    paid = ledger.paid(connection, asked) if asked else {}
    return [
        tax_in(one.fact, [paid[*one.scope, each] for each in way if (*one.scope, each) in paid])
        for one, way in zip(told, ways, strict=True)
    ]


def erase(connection: Connection, found: Forgotten, held: Sequence[Told]) -> None:
    """The bytes of what was read of them, and of what had waited to hear whose it is."""
    waited = {one.webhook_event_id for one in held if one.webhook_event_id is not None}
    if gone := found.webhook_events | waited:
        rows.erase_bytes(connection, sorted(gone))
