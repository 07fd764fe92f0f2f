"""An analytics event whose identity and name are known, or whose hold ended, becomes deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine

from app.core.analytics import AnalyticsEvent, dedupe_id
from app.core.consent import Consent
from app.core.facts import Link
from app.core.money import Money
from app.core.outcome import Skipped
from app.core.profile import with_tenure
from app.core.settle import CONVERSIONS, Known, Rules, Settled, awaited_prices, settle
from app.core.taxonomy import allowed
from app.destinations.base import Destination
from app.settings import Settings
from app.store import (
    analytics_events,
    catalogue,
    conversions,
    deliveries,
    identities,
    ledger,
    profiles,
    subscriptions,
)
from app.store.analytics_events import Told
from app.store.identities import Refs, Scoped

BATCH = 200
HISTORICAL = timedelta(hours=48)  # told later than that, it is history: PostHog's own line
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
    events = _events(connection, settings, owed, told_by_browser)
    events = _with_profiles(connection, settings, owed, events, known)
    pairs = zip(owed, events, strict=True)
    deliveries.owe(connection, [row for pair in pairs for row in _owed(*pair, settings)])


def owed_since(
    connection: Connection, settings: Settings, to: Destination, told: Sequence[Told]
) -> list[dict[str, Any]]:
    """The deliveries of analytics events that were released before, for a destination that was not
    there then: rendered now, as history, under the same rules. They are not owed yet; only the
    browser's ids of conversions may be claimed, in the caller's transaction."""
    only, now = replace(settings, destinations=(to,)), datetime.now(UTC)
    owed = _with_conversions(connection, settings, told)
    events = _events(connection, only, owed, _conversions(connection, owed))
    rows = []
    for one, event in zip(owed, events, strict=True):
        late = to.too_late((now - event.occurred_at).total_seconds())
        skipped = {"state": "skipped", "payload": None, "reason": late} if late else {}
        rows += [row | skipped for row in _owed(one, replace(event, historical=True), only)]
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


def _owed(one: Told, event: AnalyticsEvent, settings: Settings) -> list[dict[str, Any]]:
    """A delivery per destination that takes such events: pending with its frozen payload, or
    skipped with the reason."""
    assert one.settled is not None
    rows = []
    for destination in settings.destinations:
        if not _takes(destination, event):
            continue
        dedupe = dedupe_id(destination.name, event.id)
        refusal = _refusal(destination, event.consent, settings)
        answer = refusal or _rendered(destination, event, dedupe)
        skipped = isinstance(answer, Skipped)
        rows.append(
            {
                "destination": destination.name,
                "analytics_event_id": one.id,
                "dedupe_id": dedupe,
                "state": "skipped" if skipped else "pending",
                "payload": None if isinstance(answer, Skipped) else answer,
                "reason": answer.reason if isinstance(answer, Skipped) else None,
                "historical": event.historical,
            }
        )
    return rows


def _rendered(destination: Destination, event: AnalyticsEvent, dedupe: UUID) -> bytes | Skipped:
    """A page that fails on one analytics event must not hold up all others."""
    leaving = replace(
        event,
        properties=destination.leaving(event.properties),
        profile=destination.leaving(event.profile),
    )
    try:
        return destination.render(leaving, dedupe)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        kind = type(error).__name__
        log.error("release.not_rendered", destination=destination.name, key=event.key, error=kind)
        return Skipped(f"could not be rendered: {kind}")


def _events(
    connection: Connection, settings: Settings, owed: Sequence[Told], told_by_browser: set[UUID]
) -> list[AnalyticsEvent]:
    net_of_tax = settings.revenue == "net_of_tax"
    since = datetime.now(UTC) - HISTORICAL
    return [
        replace(
            _event(one, one.settled, net_of_tax=net_of_tax),
            conversion_id=one.settled.conversion_id if one.uuid in told_by_browser else None,
            historical=one.fact.at < since,
        )
        for one in owed
        if one.settled
    ]


def _with_profiles(
    connection: Connection,
    settings: Settings,
    owed: Sequence[Told],
    events: Sequence[AnalyticsEvent],
    known: Mapping[Scoped, Known],
) -> list[AnalyticsEvent]:
    """The events, those of today with what is known of their customer, where a destination that
    takes them keeps properties of people."""
    keepers = [each for each in settings.destinations if each.wants_profile]
    whose: dict[UUID, Scoped] = {}
    for one, event in zip(owed, events, strict=True) if keepers else ():
        customers = known[(*one.scope, one.fact.key)].customers
        if customers and not event.historical and any(_takes(each, event) for each in keepers):
            whose[one.uuid] = (*one.scope, customers[0])
    found = profiles.of(connection, set(whose.values()))
    return [
        replace(event, profile=with_tenure(found[whose[one.uuid]], event.occurred_at))
        if one.uuid in whose
        else event
        for one, event in zip(owed, events, strict=True)
    ]


def _event(one: Told, settled: Settled, *, net_of_tax: bool) -> AnalyticsEvent:
    account, livemode = one.scope
    revenue = one.fact.money.money if one.fact.money else None
    if revenue and net_of_tax and settled.tax_minor:
        revenue = Money(revenue.minor - settled.tax_minor, revenue.currency)
    properties = {**one.fact.properties, **settled.properties, **settled.campaign}
    leave = allowed(settled.name)
    return AnalyticsEvent(
        key=one.fact.key,
        account=account,
        livemode=livemode,
        name=settled.name,
        occurred_at=one.fact.at,
        identity=settled.identity,
        properties={name: value for name, value in properties.items() if name in leave},
        revenue=revenue,
        consent=settled.consent,
    )


def _takes(destination: Destination, event: AnalyticsEvent) -> bool:
    mode = "live" if event.livemode else "test"
    return destination.livemode in (mode, "both") and any(
        fnmatchcase(event.name, glob) for glob in destination.events
    )


def _refusal(destination: Destination, consent: Consent, settings: Settings) -> Skipped | None:
    """Consent of the visitor for the destination's purpose. Unknown: never for ads, and for
    analytics as the setting says."""
    agreed = consent.to(destination.purpose)
    if agreed is None:
        agreed = destination.purpose == "analytics" and settings.consent_unknown == "send"
        return None if agreed else Skipped(f"consent for {destination.purpose} unknown")
    return None if agreed else Skipped(f"no consent for {destination.purpose}")
