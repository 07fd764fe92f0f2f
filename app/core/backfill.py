"""What Stripe's objects say of the past, as the webhook events that would have said it.

The same readers read them, so the same facts have the same keys. Only what an object still says
of a moment is made: an object is as it is now, and Stripe keeps no time of many changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from app.core.facts import Snapshot
from app.core.reading import shapes
from app.core.reading.refund import BOOKED
from app.core.reading.shapes import Json, mapping

HEARD = timedelta(hours=1)  # a subscription first heard of so soon was heard from its start
SETTLES = timedelta(minutes=1)  # within which a charge's money moves, unless it was captured later
TRIAL_GRACE = timedelta(hours=1)  # Stripe finalises the invoice that follows a trial in this time


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A webhook event in the making: `about` is the id that makes its own, `at` the moment."""

    type: str
    about: str
    at: datetime
    object: Json
    previous: Json | None = None

    def event(self, account: str, livemode: bool) -> dict[str, Any]:
        """In Stripe's shape. Its id is of the fact, so it is kept once however often it is made."""
        before = {"previous_attributes": self.previous} if self.previous else {}
        return {
            "id": f"backfill:{self.type}:{quote(self.about, safe=':')}",
            "object": "event",
            "type": self.type,
            "created": int(self.at.timestamp()),
            "livemode": livemode,
            **({"account": account} if account else {}),
            "data": {"object": self.object, **before},
        }


def of_price(price: Json) -> Iterator[Said]:
    """As old as the price: whatever a webhook said of it since then stands."""
    yield _said("price.created", price, shapes.time(price, "created"))


def of_coupon(coupon: Json) -> Iterator[Said]:
    yield _said("coupon.created", coupon, shapes.time(coupon, "created"))


def of_invoice(invoice: Json) -> Iterator[Said]:
    """Paid, taken back or given up; of an open one only what belongs to it. Attempts that failed
    leave no trace with a time."""
    whole = {**invoice, "payments": _standing(invoice)}
    kinds = {
        "paid": ("invoice.paid", "paid_at"),
        "void": ("invoice.voided", "voided_at"),
        "uncollectible": ("invoice.marked_uncollectible", "marked_uncollectible_at"),
        "open": ("invoice.finalized", "finalized_at"),
    }
    if found := kinds.get(str(invoice.get("status"))):
        type_, name = found
        at = shapes.invoice_moment(invoice, name, shapes.time(invoice, "created"))
        yield _said(type_, whole, at)


def _standing(invoice: Json) -> dict[str, Any]:
    """Its payments, without those that were given up: these pay nothing."""
    listed = shapes.rows(invoice.get("payments"))
    return {"data": [row for row in listed if row.get("status") != "canceled"]}


def of_session(session: Json) -> Iterator[Said]:
    """Stripe keeps no time of its completion: it is told of when the visitor came to it."""
    if session.get("status") == "complete":
        yield _said("checkout.session.completed", session, shapes.time(session, "created"))


def of_charge(charge: Json) -> Iterator[Said]:
    """Money captured, when its balance transaction says: that is the day finance has it on. With a
    payment intent (expanded), that one tells."""
    if charge.get("status") != "succeeded" or charge.get("captured") is not True:
        return
    created = shapes.time(charge, "created")
    moved = shapes.time_or_none(mapping(charge.get("balance_transaction")), "created") or created
    intent = mapping(charge.get("payment_intent"))
    if intent:
        if intent.get("status") == "succeeded":
            yield _said("payment_intent.succeeded", intent, moved)
    elif moved - created > SETTLES:
        yield _said("charge.captured", charge, moved)
    else:
        yield _said("charge.succeeded", charge, created)


def of_refund(refund: Json) -> Iterator[Said]:
    """One that failed or was canceled under way tells both itself and its reversal, once Stripe
    says when the money came back (`failure_balance_transaction`, expanded)."""
    back = shapes.time_or_none(mapping(refund.get("failure_balance_transaction")), "created")
    if refund.get("status") in BOOKED:
        yield _said("refund.created", refund, shapes.time(refund, "created"))
    elif refund.get("status") in ("failed", "canceled") and back:
        yield _said("refund.failed", refund, back)


def of_dispute(dispute: Json) -> Iterator[Said]:
    """That it was opened, and its movements of money; not when it was closed, which it does not
    say. Each movement is an event of its own, so that a later backfill adds later ones."""
    yield _said("charge.dispute.created", dispute, shapes.time(dispute, "created"))
    for row in shapes.rows(dispute.get("balance_transactions")):
        amount = shapes.integer(row, "amount")
        if amount:
            type_ = f"charge.dispute.funds_{'withdrawn' if amount < 0 else 'reinstated'}"
            at = shapes.time(row, "created")
            yield Said(type=type_, about=shapes.text(row, "id"), at=at, object=dispute)


# --- subscriptions: an object is as it is now, and what it was may have been something else

RUNNING = ("active", "trialing")
Heard = tuple[datetime, Snapshot]  # when Stripe itself first spoke of it, and what it said


def of_subscription(subscription: Json, heard: Heard | None, now: datetime) -> Iterator[Said]:
    """Its start, the end of its trial and its own end.

    Its items before that are those of the first that was heard of it, else today's: what changed
    in between is not known. From what was heard on, the webhook events alone tell.
    """
    status = subscription.get("status")
    if status in ("incomplete", "incomplete_expired"):
        return  # it never began
    start = shapes.subscription_start(subscription)
    _, trial_end = shapes.subscription_trial(subscription)
    ended = shapes.time_or_none(subscription, "ended_at")
    until = heard[0] if heard else now
    then = {**subscription, **_AS_BEGUN, **(_as_heard(heard[1]) if heard else {})}
    tried = trial_end is not None and trial_end > start
    if until - start > HEARD or not heard:
        then["status"] = "trialing" if tried else "active"
        yield _said("customer.subscription.created", then, start)
    if trial_end and tried and _converts(status, trial_end, ended) and trial_end + HEARD < until:
        paid = {**then, "status": "active"}
        previous = {"status": "trialing"}
        yield _said("customer.subscription.updated", paid, trial_end, previous)
    if ended:
        yield _said("customer.subscription.deleted", subscription, ended)
    elif not heard and (status not in RUNNING or subscription.get("pause_collection")):
        about = f"{shapes.text(subscription, 'id')}:{status}"
        type_ = "customer.subscription.updated"  # without what it was: no change, how it stands
        yield Said(type=type_, about=about, at=now, object=subscription)


# What no subscription has when it begins.
_AS_BEGUN: Mapping[str, Any] = {
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": None,
    "ended_at": None,
    "pause_collection": None,
    "pending_update": None,
}


def _converts(status: object, trial_end: datetime, ended: datetime | None) -> bool:
    """Whether it lived on after its trial."""
    if ended:
        return ended > trial_end + TRIAL_GRACE
    return status not in ("trialing", "paused")


def _as_heard(first: Snapshot) -> dict[str, Any]:
    """Items and discounts before the first that was heard."""
    previous = first.previous_attributes or {}
    items = shapes.rows(previous["items"]) if "items" in previous else first.items
    discounts = previous.get("discounts", first.discounts)
    return {"items": {"object": "list", "data": items}, "discounts": discounts}


def _said(type_: str, obj: Json, at: datetime, previous: Json | None = None) -> Said:
    return Said(type=type_, about=shapes.text(obj, "id"), at=at, object=obj, previous=previous)
