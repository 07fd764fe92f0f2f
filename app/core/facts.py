"""What we understood of Stripe's JSON, in our words: no person, exact money, a key of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from app.core.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened, told once whichever webhook events announce it.

    `key` comes from Stripe's object (`payment:in_1`), plus the webhook event's second where a
    change can repeat. `about` are the Stripe ids that it concerns, nearest first: whose it is, is
    looked for from there upwards; the customer is apart, since a customer's ids are the last to be
    asked. `at` and `properties` come from named fields of the object, never from whichever
    announcer came first.
    """

    key: str
    name: str
    at: datetime
    about: tuple[str, ...]
    customer: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    invoice: str | None = None
    subscription: str | None = None
    money: "Entry | None" = None
    cycle_start: datetime | None = None  # of a renewal: trial or not decides its name
    change: "PlanChange | None" = None  # up or down: a price that we do not know yet decides
    of_payment: bool = False  # a refund or dispute: the payment on its way has the tax
    own: "Link | None" = None  # ids in the very object that announced it; `process` fills it


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A subscription's items before and after, when this webhook event does not say their worth."""

    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The revenue entry that goes with a money fact: signed, in what the customer was charged.

    `tax_minor` and `discount_minor` are the shares of `money`, with its sign; None where they are
    the payment's to say (refunds, disputes). `out_of_band` is None where the shape does not say.
    A correction `corrects` the entry of that key, and is of the same day.
    """

    kind: str
    money: Money
    tax_minor: int | None = None
    discount_minor: int | None = None
    payment_intent: str | None = None
    charge: str | None = None
    refund: str | None = None
    dispute: str | None = None
    out_of_band: bool | None = None
    corrects: str | None = None
    effective_date: date | None = None  # None: that of the fact, in the reporting zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Ids that the checkout saved on a Stripe object, as found: `source` names the field.

    `rank` orders sources of one object (lower speaks first). An `anchor` is what the object said
    of itself at the one moment when others ask it (when a subscription was created, a payment
    succeeded, an invoice was paid); an anchor without ids is silence that was heard.
    Said several times, `stated_at` is the first and `last_stated_at` the last of them.
    `completed_at` is when the visitor was in the checkout, None if unknown, and bounds where the
    session id may ride.
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
    anchor: bool = False
    last_stated_at: datetime | None = None  # None: said once


@dataclass(frozen=True, slots=True)
class Ref:
    """`child` belongs to `parent` (a payment intent to its invoice, an invoice to its
    subscription); `customer` marks that the parent is the customer."""

    child: str
    parent: str
    customer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A subscription after one webhook event; insert-only, so history never changes.

    `churn` is voluntary or involuntary, where an ended or unpaid one says why.
    """

    subscription: str
    customer: str | None
    status: str
    currency: str | None
    started_at: datetime
    trial_start: datetime | None
    trial_end: datetime | None
    ended_at: datetime | None
    paused_collection: bool
    churn: str | None
    items: list[dict[str, Any]]
    discounts: list[Any]
    previous_attributes: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueItem:
    """A price, coupon or discount that subscriptions only point to; `body` is what its worth
    needs. `kind`: price, coupon or discount; what Stripe includes only on request is an item of
    its own (`price.tiers`), so that a webhook event without it erases nothing."""

    kind: str
    id: str
    stated_at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Captured money of a payment intent (or of a charge without one), or what a payment record
    says was paid outside of Stripe, always of an invoice: `id` is Stripe's.

    Revenue only when known to pay no invoice.
    """

    id: str
    customer: str | None
    money: Money
    charge: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who says that a payment pays no invoice: a Checkout Session (`session`), which also knows
    its tax and discount, or the charge itself (before 2025-03-31)."""

    payment: str
    session: str | None = None
    tax_minor: int = 0
    discount_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that one webhook event says. `ignored` is why it says nothing to us."""

    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()
    refs: tuple[Ref, ...] = ()
    snapshot: Snapshot | None = None
    catalogue: tuple[CatalogueItem, ...] = ()
    payment: Payment | None = None
    claims: tuple[Claim, ...] = ()
    ignored: str | None = None
