"""What each destination is owed of an analytics event: its frozen payload, or why it is skipped."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection

from app.core.analytics import AnalyticsEvent, dedupe_id
from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Skipped
from app.core.profile import with_tenure
from app.core.settle import Known, Settled
from app.core.taxonomy import allowed
from app.destinations.base import Destination
from app.settings import Settings
from app.store import profiles
from app.store.analytics_events import Told
from app.store.identities import Scoped

HISTORICAL = timedelta(hours=48)  # told later than that, it is history: PostHog's own line

log = structlog.get_logger()


def owed_of(one: Told, event: AnalyticsEvent, settings: Settings) -> list[dict[str, Any]]:
    """A delivery per destination that takes such events: pending with its frozen payload, or
    skipped with the reason."""
    assert one.settled is not None
    rows = []
    for destination in settings.destinations:
        if not takes(destination, event.name, livemode=event.livemode):
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


def events_of(
    settings: Settings, owed: Sequence[Told], told_by_browser: set[UUID]
) -> list[AnalyticsEvent]:
    """What is told of each; those `told_by_browser` under the browser's id of the conversion."""
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


def with_profiles(
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
        taken = any(takes(each, event.name, livemode=event.livemode) for each in keepers)
        if customers and not event.historical and taken:
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


def takes(destination: Destination, name: str, *, livemode: bool) -> bool:
    """Whether analytics events of this name and mode are for it, by its settings."""
    mode = "live" if livemode else "test"
    return destination.livemode in (mode, "both") and any(
        fnmatchcase(name, glob) for glob in destination.events
    )


def _refusal(destination: Destination, consent: Consent, settings: Settings) -> Skipped | None:
    """Consent of the visitor for the destination's purpose. Unknown: never for ads, and for
    analytics as the setting says."""
    agreed = consent.to(destination.purpose)
    if agreed is None:
        agreed = destination.purpose == "analytics" and settings.consent_unknown == "send"
        return None if agreed else Skipped(f"consent for {destination.purpose} unknown")
    return None if agreed else Skipped(f"no consent for {destination.purpose}")
