"""Webhook event -> reading: the table of contents of what we understand of Stripe."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from app.core import (
    read_catalogue,
    read_charge,
    read_checkout,
    read_credit_note,
    read_customer,
    read_dispute,
    read_invoice,
    read_payment,
    read_refund,
    read_subscription,
)
from app.core.facts import Reading
from app.core.stripe_shapes import Json, Missing, mapping, time

READERS: dict[str, Callable[[Json, datetime, Json | None], Reading]] = {
    "checkout.session.completed": read_checkout.completed,
    "checkout.session.async_payment_succeeded": read_checkout.payment_succeeded,
    "checkout.session.async_payment_failed": read_checkout.payment_failed,
    "checkout.session.expired": read_checkout.expired,
    "customer.subscription.created": read_subscription.created,
    "customer.subscription.updated": read_subscription.updated,
    "customer.subscription.deleted": read_subscription.deleted,
    "customer.subscription.trial_will_end": read_subscription.trial_will_end,
    "customer.subscription.paused": read_subscription.paused,
    "customer.subscription.resumed": read_subscription.resumed,
    "customer.subscription.pending_update_applied": read_subscription.stated,
    "customer.subscription.pending_update_expired": read_subscription.stated,
    "invoice.paid": read_invoice.paid,
    "invoice.payment_succeeded": read_invoice.paid,
    "invoice.payment_failed": read_invoice.payment_failed,
    "invoice.payment_action_required": read_invoice.payment_action_required,
    "invoice.voided": read_invoice.voided,
    "invoice.marked_uncollectible": read_invoice.uncollectible,
    "invoice.finalized": read_invoice.linked,
    "invoice.overpaid": read_invoice.linked,
    "invoice_payment.paid": read_invoice.payment_linked,
    "payment_intent.succeeded": read_payment.intent_succeeded,
    "charge.succeeded": read_charge.succeeded,
    "charge.captured": read_charge.captured,
    "charge.updated": read_charge.updated,
    "charge.refunded": read_charge.refunded,
    "charge.refund.updated": read_refund.updated,
    "refund.created": read_refund.created,
    "refund.updated": read_refund.updated,
    "refund.failed": read_refund.failed,
    "charge.dispute.created": read_dispute.opened,
    "charge.dispute.updated": read_dispute.moved,
    "charge.dispute.funds_withdrawn": read_dispute.moved,
    "charge.dispute.funds_reinstated": read_dispute.moved,
    "charge.dispute.closed": read_dispute.closed,
    "credit_note.created": read_credit_note.created,
    "customer.created": read_customer.stated,
    "customer.updated": read_customer.stated,
    "customer.discount.created": read_catalogue.discount,
    "customer.discount.updated": read_catalogue.discount,
    "customer.discount.deleted": read_catalogue.discount,
    "price.created": read_catalogue.price,
    "price.updated": read_catalogue.price,
    "price.deleted": read_catalogue.price,
    "plan.created": read_catalogue.plan,
    "plan.updated": read_catalogue.plan,
    "plan.deleted": read_catalogue.plan,
    "coupon.created": read_catalogue.coupon,
    "coupon.updated": read_catalogue.coupon,
    "coupon.deleted": read_catalogue.coupon,
}


def _at(error: BaseException) -> str:
    """The reader that gave up, without the error's words: they quote what customers wrote."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_name if trace else "unknown"


def read(event: Mapping[str, Any]) -> Reading:
    """What a snapshot event says. Raises Missing, which names the field that is not as promised."""
    if event.get("object") == "v2.core.event":
        return Reading(ignored="thin event: it carries no object")
    reader = READERS.get(str(event.get("type")))
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
