"""What we understood of Stripe's JSON, in our words: no person, exact money, a key of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.core.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened, told once whichever webhook events announce it.

    `key` comes from Stripe's object (`payment:in_1`), plus the webhook event's second where a
    change can repeat. `about` are the Stripe ids whose identity links speak for it, nearest first;
    the customer is apart, because a customer's link serves only what is not `new` (a first
    subscription or a one-off payment waits for its own). `at` and `properties` come from named
    fields of the object, never from whichever announcer came first.
    """

    key: str
    name: str
    at: datetime
    about: tuple[str, ...]
    customer: str | None = None
    new: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)
    invoice: str | None = None
    subscription: str | None = None
    money: "Entry | None" = None
    cycle_start: datetime | None = None  # of a renewal: trial or not decides its name


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The revenue entry that goes with a money fact: signed, in what the customer was charged.

    `tax_minor` and `discount_minor` are the shares of `money`, with its sign.
    """

    kind: str
    money: Money
    tax_minor: int = 0
    discount_minor: int = 0
    payment_intent: str | None = None
    charge: str | None = None
    refund: str | None = None
    out_of_band: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Ids that the checkout saved on a Stripe object, as found: `source` names the field.

    `rank` orders sources of one object (lower speaks first); `completed_at` is when the visitor
    was in the checkout, None if unknown, and bounds where the session id may ride.
    """

    objects: tuple[str, ...]
    customer: str | None
    source: str
    rank: int
    ids: Mapping[str, str]
    campaign: Mapping[str, str]
    consent: str | None
    stated_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ref:
    """`child` belongs to `parent` (a payment intent to its invoice, an invoice to its
    subscription); `customer` marks that the parent is the customer."""

    child: str
    parent: str
    customer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A subscription after one webhook event; insert-only, so history never changes."""

    subscription: str
    customer: str | None
    status: str
    started_at: datetime
    trial_start: datetime | None
    trial_end: datetime | None
    ended_at: datetime | None
    items: list[dict[str, Any]]
    discounts: list[Any]
    previous_attributes: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Captured money of a payment intent. Revenue only when known to pay no invoice."""

    payment_intent: str
    customer: str | None
    money: Money
    charge: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that one webhook event says. `ignored` is why it says nothing to us."""

    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()
    refs: tuple[Ref, ...] = ()
    snapshot: Snapshot | None = None
    payment: Payment | None = None
    standalone: tuple[str, ...] = ()  # payment intents that a Checkout Session says pay no invoice
    ignored: str | None = None
