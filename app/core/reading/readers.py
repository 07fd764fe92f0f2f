"""Webhook event -> reading: the table of contents of what we understand of Stripe."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from app.core.facts import Reading
from app.core.reading import (
    catalogue,
    charge,
    checkout,
    correction,
    credit_note,
    customer,
    dispute,
    invoice,
    payment,
    refund,
    subscription,
)
from app.core.reading.shapes import Json, Missing, mapping, time

Reader = Callable[[Json, datetime, Json | None], Reading]
READERS: dict[str, Reader] = {
    "checkout.session.completed": checkout.completed,
    "checkout.session.async_payment_succeeded": checkout.payment_succeeded,
    "checkout.session.async_payment_failed": checkout.payment_failed,
    "checkout.session.expired": checkout.expired,
    "customer.subscription.created": subscription.created,
    "customer.subscription.updated": subscription.updated,
    "customer.subscription.deleted": subscription.deleted,
    "customer.subscription.trial_will_end": subscription.trial_will_end,
    "customer.subscription.paused": subscription.paused,
    "customer.subscription.resumed": subscription.resumed,
    "customer.subscription.pending_update_applied": subscription.stated,
    "customer.subscription.pending_update_expired": subscription.stated,
    "invoice.paid": invoice.paid,
    "invoice.payment_succeeded": invoice.paid,
    "invoice.payment_failed": invoice.payment_failed,
    "invoice.payment_action_required": invoice.payment_action_required,
    "invoice.voided": invoice.voided,
    "invoice.marked_uncollectible": invoice.uncollectible,
    "invoice.finalized": invoice.linked,
    "invoice.overpaid": invoice.linked,
    "invoice_payment.paid": invoice.payment_linked,
    "payment_intent.succeeded": payment.intent_succeeded,
    "charge.succeeded": charge.succeeded,
    "charge.captured": charge.captured,
    "charge.updated": charge.updated,
    "charge.refunded": charge.refunded,
    "charge.refund.updated": refund.updated,
    "refund.created": refund.created,
    "refund.updated": refund.updated,
    "refund.failed": refund.failed,
    "charge.dispute.created": dispute.opened,
    "charge.dispute.updated": dispute.moved,
    "charge.dispute.funds_withdrawn": dispute.moved,
    "charge.dispute.funds_reinstated": dispute.moved,
    "charge.dispute.closed": dispute.closed,
    "credit_note.created": credit_note.created,
    "credit_note.updated": credit_note.linked,
    "credit_note.voided": credit_note.linked,
    "customer.created": customer.stated,
    "customer.updated": customer.stated,
    "customer.discount.created": catalogue.discount,
    "customer.discount.updated": catalogue.discount,
    "customer.discount.deleted": catalogue.discount,
    "price.created": catalogue.price,
    "price.updated": catalogue.price,
    "price.deleted": catalogue.price,
    "plan.created": catalogue.plan,
    "plan.updated": catalogue.plan,
    "plan.deleted": catalogue.plan,
    "coupon.created": catalogue.coupon,
    "coupon.updated": catalogue.coupon,
    "coupon.deleted": catalogue.coupon,
}
# What people say by a command of ours: nobody who posts webhooks can say it.
BY_HAND: dict[str, Reader] = {correction.TYPE: correction.corrected}


def _at(error: BaseException) -> str:
    """The reader that gave up, without the error's words: they quote what customers wrote."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_name if trace else "unknown"


def read(event: Mapping[str, Any], *, by_hand: bool = False) -> Reading:
    """What a snapshot event says, `by_hand` one of our own making. Raises Missing, which names the
    field that is not as promised."""
    if event.get("object") == "v2.core.event":
        return Reading(ignored="thin event: it carries no object")
    reader = (BY_HAND if by_hand else READERS).get(str(event.get("type")))
    if reader is None:
        return Reading(ignored="type not read")
    data = mapping(event.get("data"))
    obj = data.get("object")
    if not isinstance(obj, Mapping):
        raise Missing("data.object: expected an object")
    previous = data.get("previous_attributes")
    if not isinstance(previous, Mapping):
        previous = None
    try:
        return reader(obj, time(event, "created"), previous)
    except Missing:
        raise
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        name = obj.get("object", "object")
        raise Missing(f"{name}: {_at(error)}: {type(error).__name__}") from error
