"""Whose it is: ids in checkout metadata, and which of a Stripe object's links speaks for a fact."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.core.analytics import Identity
from app.core.facts import Link

SESSION_IDS = frozenset(
    {"session_id", "amplitude_session_id", "posthog_session_id", "ga_session_id"}
)
IDS = SESSION_IDS | {
    "user_id",
    "device_id",
    "amplitude_device_id",
    "amplitude_user_id",
    "segment_anonymous_id",
    "mixpanel_device_id",
    "posthog_distinct_id",
    "ga_client_id",
    "fbp",
    "fbc",
    "email_sha256",
    "event_id",
}
CAMPAIGN = frozenset(
    {
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_term",
        "utm_content",
        "referrer",
        "landing_page",
    }
)
NAMES = tuple(sorted(IDS | CAMPAIGN | {"consent"}))
PREFIX = "br_"
REFERENCE = "client_reference_id"  # no id of ours until a setting says what it is
CUSTOMER_METADATA, MANUAL = "customer.metadata", "linked by hand"
MAX_VALUE = 500  # Stripe's own limit of a metadata value
# What programs write for somebody they do not know, and vendors refuse as ids: it would make one
# person of many.
PLACEHOLDERS = frozenset({"0", "-1", "[]", "{}", "[object object]", str(UUID(int=0)), "lmy47d"})
PLACEHOLDERS |= {"anon", "anonymous", "guest", "n/a", "na", "nan", "nil", "none", "null", "unknown"}
PLACEHOLDERS |= {"distinct_id", "distinctid", "email", "id", "not_authenticated"}
PLACEHOLDERS |= {"true", "false", "undefined"}
# Alone, none of the others names anybody.
IDENTIFYING = IDS - SESSION_IDS - {"event_id", "fbp", "fbc", "email_sha256"}
CHECKOUT = "checkout.session."  # how the sources of its links begin


def is_placeholder(value: str) -> bool:
    """Whether this stands where an id is missing."""
    return value.strip().lower() in PLACEHOLDERS


def read_metadata(
    metadata: Mapping[str, Any],
) -> tuple[dict[str, str], dict[str, str], str | None]:
    """(ids, campaign, consent) that our names hold in this metadata, with or without `br_`.

    Metadata is hostile: anything not printable is dropped, not repaired, and so is what is too
    long, since a cut id is another id, and what stands for nobody.
    """
    if not metadata:
        return {}, {}, None
    found = {}
    for name in NAMES:
        value = metadata.get(PREFIX + name) or metadata.get(name)
        if isinstance(value, str) and 0 < len(value) <= MAX_VALUE and value.isprintable():
            found[name] = value
    ids = {
        name: value
        for name, value in found.items()
        if name in IDS and not (name in IDENTIFYING and is_placeholder(value))
    }
    campaign = {name: value for name, value in found.items() if name in CAMPAIGN}
    return ids, campaign, found.get("consent")


def link_in(
    metadata: Mapping[str, Any],
    *,
    objects: tuple[str, ...],
    customer: str | None,
    source: str,
    rank: int,
    stated_at: datetime,
    completed_at: datetime | None,
    anchor: bool = False,
    silent: bool = False,
) -> tuple[Link, ...]:
    """The link that this metadata states, or none if it holds nothing of ours.

    `silent`: one all the same, so that it is known that this object was heard.
    """
    ids, campaign, consent = read_metadata(metadata)
    if not silent and not ids and not campaign and consent is None:
        return ()
    link = Link(
        objects=objects,
        customer=customer,
        source=source,
        rank=rank,
        ids=ids,
        campaign=campaign,
        consent=consent,
        stated_at=stated_at,
        completed_at=completed_at,
        anchor=anchor,
    )
    return (link,)


def identifies(ids: Mapping[str, str]) -> bool:
    """Whether these ids name a user or a device: only then does a statement answer."""
    return any(name in ids for name in IDENTIFYING)


def with_reference(link: Link, name: str | None) -> Link:
    """The link with its Checkout Session's `client_reference_id` as the id of this name, where
    the metadata names nobody: on Payment Links it is all that a visitor can bring along.

    https://docs.stripe.com/payment-links/url-parameters
    """
    if name is None or REFERENCE not in link.ids or identifies(link.ids):
        return link
    return replace(link, ids={**link.ids, name: link.ids[REFERENCE]})


def nearest(links: Iterable[Link]) -> Link | None:
    """Of what one object says of itself at one moment, the nearest source that names somebody."""
    able = [link for link in links if identifies(link.ids)]
    return min(able, key=lambda link: (link.rank, _content(link)), default=None)


def speaking(links: Iterable[Link], at: datetime) -> Link | None:
    """Of statements made at different times, the one that speaks for a fact of this time: the
    latest not after it, else the earliest. None if that one names nobody.

    Only immutable fields decide, so the order of arrival does not.
    """

    def stated(link: Link) -> datetime:
        """The last time it was said that is not after the fact, as far as that is kept."""
        last = link.last_stated_at or link.stated_at
        return last if last <= at else link.stated_at

    said = sorted(links, key=lambda link: (stated(link), -link.rank, _content(link)))
    before = [link for link in said if link.stated_at <= at]
    one = before[-1] if before else next(iter(said), None)
    return one if one and identifies(one.ids) else None


def of_customer(links: Iterable[Link], at: datetime) -> Link | None:
    """Of a customer's links, the one that speaks for a fact of this time. What checkouts and
    subscriptions said goes before the customer's own metadata, which knows no visit."""
    able = [link for link in links if identifies(link.ids)]
    visits = [link for link in able if link.source != CUSTOMER_METADATA]
    return speaking(visits or able, at)


def _content(link: Link) -> str:
    return repr(sorted(link.ids.items()))


def identity_of(link: Link, at: datetime, session_window: timedelta) -> Identity:
    """The link's ids for a fact of this time. Those of a visit ride only near the checkout: a
    renewal with last month's session would stretch that session by a month. The browser's own
    `event_id` is no id of a person: `settle` says whose it is."""
    near = link.completed_at is not None and abs(at - link.completed_at) <= session_window
    ids = {name: value for name, value in link.ids.items() if near or name not in SESSION_IDS}
    for name in (REFERENCE, "event_id"):
        ids.pop(name, None)
    return Identity(ids=ids, source=link.source)


def fallback(customer: str | None, about: Sequence[str]) -> Identity:
    """The pseudonymous id of what nobody claimed before the hold ended: Stripe's own id."""
    return Identity(
        ids={"device_id": f"stripe:{customer or about[-1]}"}, source="fallback", fallback=True
    )
