"""What really happened in the pretend SaaS: plans, subscriptions, invoices and their sums.

These values know nothing of Stripe's JSON and nothing of the product's code: what they add up to
is what the product has to find out from the webhooks alone.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal

Json = dict[str, Any]

VERSIONS = (
    "2020-08-27",
    "2023-10-16",
    "2024-06-20",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
)
BASIL, CLOVER, DAHLIA = "2025-03-31", "2025-09-30", "2026-03-25"
ALPHANUMERIC = string.ascii_letters + string.digits


def stripe_id(rng: Random, prefix: str, length: int = 24) -> str:
    """An id that looks like Stripe's: the prefix, then letters and digits only."""
    return prefix + "".join(rng.choices(ALPHANUMERIC, k=length))


def since(version: str, train: str) -> bool:
    """Whether an API version belongs to this release train or a later one."""
    return version[:10] >= train


def portion(amount: int, part: int, whole: int) -> int:
    """`amount * part / whole` in minor units, halves away from zero."""
    rounded = (2 * abs(amount) * part + whole) // (2 * whole)
    return rounded if amount >= 0 else -rounded


def add_months(timestamp: int, months: int) -> int:
    """The same day and time some months later, or the month's last day."""
    at = datetime.fromtimestamp(timestamp, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    first_of_next = datetime(year + (month + 1) // 12, (month + 1) % 12 + 1, 1, tzinfo=UTC)
    last = (first_of_next - datetime(year, month + 1, 1, tzinfo=UTC)).days
    return int(at.replace(year=year, month=month + 1, day=min(at.day, last)).timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One recurring price, in minor units per seat and period."""

    name: str
    price: str
    product: str
    currency: str
    amount: int
    interval: Literal["month", "year"]
    created: int

    @property
    def yearly(self) -> int:
        return self.amount * (12 if self.interval == "month" else 1)

    def after(self, start: int) -> int:
        """When a period that starts then ends."""
        return add_months(start, 1 if self.interval == "month" else 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon:
    """A percentage off every invoice, for as long as this simulation lasts."""

    id: str
    percent: int
    months: int | None
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who sat in the browser, and where the checkout page wrote that down.

    `reach` tells how far the ids travel: on the Checkout Session alone, or also on the
    subscription or payment that it makes.
    """

    user_id: str
    device_id: str
    prefix: Literal["", "br_"]
    reach: Literal["session", "everything"]
    campaign: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One paying account; all its webhooks are rendered in one API version."""

    id: str
    number: int
    version: str
    livemode: bool
    created: int
    currency: str
    country: str
    payment_method: str
    tax_rate: str | None = None
    tax_basis_points: int = 0
    coupon: Coupon | None = None
    visitor: Visitor | None = None

    def speaks(self, train: str) -> bool:
        return since(self.version, train)

    @property
    def email(self) -> str:
        return f"customer.{self.number}@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription at one moment; every change makes another value."""

    id: str
    item: str
    discount: str
    customer: Customer
    plan: Plan
    quantity: int
    status: str
    created: int
    period_start: int
    period_end: int
    trial_start: int | None = None
    trial_end: int | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    cancel_reason: str | None = None
    feedback: str | None = None
    latest_invoice: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def yearly(self) -> int:
        return self.plan.yearly * self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an invoice; a proration is negative for time not used."""

    id: str
    plan: Plan
    quantity: int
    amount: int
    start: int
    end: int
    proration: str | None = None
    discount: int = 0
    tax: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money given back of one payment."""

    id: str
    amount: int
    created: int
    status: Literal["pending", "succeeded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment intent and its charge, with what was refunded of it so far."""

    intent: str
    charge: str
    customer: Customer
    amount: int
    currency: str
    created: int
    invoice: str | None = None
    guest: bool = False
    refunds: tuple[Refund, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def refunded(self) -> int:
        return sum(refund.amount for refund in self.refunds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice of a subscription; `credit` is customer balance used up by it."""

    id: str
    number: str
    subscription: Subscription
    lines: tuple[Line, ...]
    reason: str
    created: int
    credit: int = 0
    paid_at: int | None = None
    attempts: int = 0
    next_attempt: int | None = None
    payment: Payment | None = None

    @property
    def subtotal(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def discount(self) -> int:
        return sum(line.discount for line in self.lines)

    @property
    def tax(self) -> int:
        return sum(line.tax for line in self.lines)

    @property
    def total(self) -> int:
        return self.subtotal - self.discount + self.tax

    @property
    def due(self) -> int:
        return max(0, self.total - self.credit)

    @property
    def paid(self) -> int:
        return self.due if self.paid_at else 0
