"""Analytics events: what we tell destinations, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from app.core.consent import Consent
from app.core.money import Money

NAMESPACE = UUID("6f1f0a52-9d0b-5c8e-8a3e-3f0d8e6f2b11")
SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Ids that the checkout saved, by their metadata name without the `br_` prefix.

    `source` says where they came from (`subscription.metadata`, ...); `fallback` is True for the
    pseudonymous id that stands in when nothing was found before the hold ended.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    fallback: bool = False

    def first(self, *names: str) -> str | None:
        """The first of these ids that is there: a vendor's own before the generic one."""
        return next((self.ids[name] for name in names if self.ids.get(name)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsEvent:
    """One named, identified thing that happened. `id` is made from the fact's key alone.

    `properties` holds JSON values only. `revenue` is signed, and None on everything that is not
    a movement of money. `occurred_at` is Stripe's time, aware, UTC.

    `profile`: what is known of the customer now, for destinations that keep properties of people.
    `conversion_id`: the browser's own id of this conversion, where it tells of it too.
    `historical`: it is told long after it happened.
    """

    key: str
    account: str
    livemode: bool
    name: str
    occurred_at: datetime
    identity: Identity
    properties: Mapping[str, Any]
    revenue: Money | None = None
    consent: Consent = Consent()  # noqa: RUF009 - frozen
    profile: Mapping[str, Any] = field(default_factory=dict)
    conversion_id: str | None = None
    historical: bool = False

    @property
    def id(self) -> UUID:
        return analytics_event_id(self.account, self.livemode, self.key)


@lru_cache(maxsize=4_096)
def analytics_event_id(account: str, livemode: bool, key: str) -> UUID:
    """UUIDv5 of the fact: a replay, a backfill and Stripe's duplicate all make the same one."""
    return uuid5(NAMESPACE, f"{account}|{'live' if livemode else 'test'}|{key}")


def dedupe_id(destination: str, analytics_event: UUID) -> UUID:
    """The id a destination dedupes by. It includes the destination's name: Segment dedupes
    across all of a customer's sources, so two of them must not share an id."""
    return uuid5(analytics_event, destination)
