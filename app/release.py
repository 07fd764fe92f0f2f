"""An analytics event whose identity and name are known, or whose hold ended, becomes deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine

from app.core.facts import Link
from app.core.settle import CONVERSIONS, Known, Rules, awaited_prices, settle
from app.destinations.base import Destination
from app.owe import events_of, owed_of, with_profiles
from app.settings import Settings
from app.store import (
    analytics_events,
    catalogue,
    conversions,
    deliveries,
    identities,
    ledger,
    subscriptions,
)
from app.store.analytics_events import Told
from app.store.identities import Refs, Scoped

BATCH = 200
EVENT_ID_REPEATED = "its event_id is that of an earlier conversion, so it has our own id"
Trials = set[tuple[datetime, datetime | None]]  # when it was said, and the trial's end

log = structlog.get_logger()


def release_ended_holds(engine: Engine, settings: Settings, limit: int = BATCH) -> int:
    """Tell what waited long enough, as far as it is known; how many, 0 when none was due."""
    with engine.begin() as connection:
        held = analytics_events.hold_ended(connection, limit)
        if held:
            release(connection, settings, told=[], held=held, refs=Refs(), final=True)
        return len(held)


def release(
    connection: Connection,
    settings: Settings,
    *,
    told: Sequence[Told],
    held: Sequence[Told],
    refs: Refs,
    final: bool = False,
) -> None:
    """Settle new (`told`) and waiting (`held`) analytics events, in the caller's transaction.

    What can be told leaves as deliveries, frozen; the rest waits for the ids it depends on.
    """
    if held:
        refs.merge(identities.refs_of(connection, _objects(held)))
    known = _known(connection, [*told, *held], refs)
    rules = _rules(settings)
    new = analytics_events.add(
        connection,
        [_settled(one, known, rules, final=final) for one in told],
        timedelta(seconds=settings.identity_hold),
    )
    old = [_settled(one, known, rules, final=final) for one in held]
    analytics_events.settle(connection, [one for one in old if one.settled])
    analytics_events.wait(connection, _waits([*new, *old], known))
    owed = [one for one in (*new, *old) if one.settled and not one.settled.withheld]
    told_by_browser = _conversions(connection, owed)
    events = events_of(settings, owed, told_by_browser)
    events = with_profiles(connection, settings, owed, events, known)
    pairs = zip(owed, events, strict=True)
    deliveries.owe(connection, [row for pair in pairs for row in owed_of(*pair, settings)])


def owed_since(
    connection: Connection, settings: Settings, to: Destination, told: Sequence[Told]
) -> list[dict[str, Any]]:
    """The deliveries of analytics events that were released before, for a destination that was not
    there then: rendered now, as history, under the same rules. They are not owed yet; only the
    browser's ids of conversions may be claimed, in the caller's transaction."""
    only, now = replace(settings, destinations=(to,)), datetime.now(UTC)
    owed = _with_conversions(connection, settings, told)
    events = events_of(only, owed, _conversions(connection, owed))
    rows = []
    for one, event in zip(owed, events, strict=True):
        late = to.too_late((now - event.occurred_at).total_seconds())
        skipped = {"state": "skipped", "payload": None, "reason": late} if late else {}
        rows += [row | skipped for row in owed_of(one, replace(event, historical=True), only)]
    return rows


def _with_conversions(
    connection: Connection, settings: Settings, told: Sequence[Told]
) -> list[Told]:
    """With the browser's ids of their conversions, which are kept nowhere but with the checkout."""
    asked = [one for one in told if one.fact.name in CONVERSIONS]
    known = _known(connection, asked, identities.refs_of(connection, _objects(asked)))
    rules, found = _rules(settings), {}
    for one in asked:
        again = settle(one.fact, known[(*one.scope, one.fact.key)], rules, final=True)
        found[one.uuid] = again.conversion_id if again else None
    return [
        one.as_settled(replace(one.settled, conversion_id=found.get(one.uuid)))
        for one in told
        if one.settled
    ]


def _rules(settings: Settings) -> Rules:
    return Rules(
        session_window=timedelta(seconds=settings.session_window),
        fallback=settings.identity_fallback,
        reference=None if settings.client_reference == "none" else settings.client_reference,
    )


def _settled(one: Told, known: Mapping[Scoped, Known], rules: Rules, *, final: bool) -> Told:
    settled = settle(one.fact, known[(*one.scope, one.fact.key)], rules, final=final)
    return one if settled is None else one.as_settled(settled)


def _waits(told: Sequence[Told], known: Mapping[Scoped, Known]) -> list[tuple[int, str]]:
    return [
        (one.id, object_id)
        for one in told
        if one.settled is None and one.id is not None
        for around in [known[(*one.scope, one.fact.key)]]
        for object_id in {*around.way, *around.customers, *awaited_prices(one.fact)}
    ]


def _objects(told: Sequence[Told]) -> set[Scoped]:
    return {
        (*one.scope, object_id)
        for one in told
        for object_id in (*one.fact.about, *([one.fact.customer] if one.fact.customer else []))
    }


def _known(connection: Connection, told: Sequence[Told], refs: Refs) -> dict[Scoped, Known]:
    """What is known around each of these, read in a query of each kind for all of them."""
    ways = {}
    for one in told:
        way, found = refs.climb(one.scope, one.fact.about)
        customers = dict.fromkeys([*([one.fact.customer] if one.fact.customer else []), *found])
        ways[(*one.scope, one.fact.key)] = (one, way, list(customers))
    wanted = {
        (*one.scope, object_id) for one, way, own in ways.values() for object_id in (*way, *own)
    }
    links = identities.links_of(connection, wanted)
    cycles = {
        (*one.scope, one.fact.subscription)
        for one in told
        if one.fact.cycle_start and one.fact.subscription
    }
    trials = subscriptions.trial_ends(connection, cycles) if cycles else {}
    payable = {
        (*one.scope, object_id)
        for one, way, _ in ways.values()
        if one.fact.of_payment or one.fact.own is None
        for object_id in way
    }
    paid = ledger.paid(connection, payable) if payable else {}
    wanted_prices = {(*one.scope, price) for one in told for price in awaited_prices(one.fact)}
    prices = catalogue.prices(connection, wanted_prices) if wanted_prices else {}
    return {
        key: Known(
            way=way,
            customers=own,
            links=_links_in(links, one.scope),
            trial_ends=_trials_of(trials, one),
            paid=[paid[*one.scope, each] for each in way if (*one.scope, each) in paid],
            prices={
                price: prices[*one.scope, price]
                for price in awaited_prices(one.fact)
                if (*one.scope, price) in prices
            },
        )
        for key, (one, way, own) in ways.items()
    }


def _links_in(links: Mapping[Scoped, Sequence[Link]], scope: tuple[str, bool]) -> Any:
    return lambda object_id: links.get((*scope, object_id), ())


def _trials_of(trials: Mapping[Scoped, Trials], one: Told) -> Trials:
    return trials.get((*one.scope, one.fact.subscription or ""), set())


def _conversions(connection: Connection, owed: Sequence[Told]) -> set[UUID]:
    """The analytics events that have the browser's id of their conversion for themselves. The
    others are told under ours, with a warning: so both might be counted there."""
    wanted = {
        one.uuid: (one.scope, one.settled.name, one.settled.conversion_id)
        for one in owed
        if one.settled and one.settled.conversion_id
    }
    mine = conversions.claim(connection, wanted) if wanted else set()
    repeated = [one for one in owed if one.uuid in wanted and one.uuid not in mine]
    for one in repeated:
        log.warning("release.event_id_repeated", key=one.fact.key)
    analytics_events.warn(connection, [one.id for one in repeated], EVENT_ID_REPEATED)
    return mine
