"""Webhook event -> reading: the table of contents of what we understand of Stripe."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from app.core import read_checkout, read_invoice, read_payment, read_subscription
from app.core.facts import Reading
from app.core.stripe_shapes import Json, Missing, mapping, time

READERS: dict[str, Callable[[Json, datetime, Json | None], Reading]] = {
    "checkout.session.completed": read_checkout.completed,
    "customer.subscription.created": read_subscription.created,
    "customer.subscription.updated": read_subscription.updated,
    "customer.subscription.deleted": read_subscription.deleted,
    "invoice.paid": read_invoice.paid,
    "invoice.payment_succeeded": read_invoice.paid,
    "invoice.payment_failed": read_invoice.payment_failed,
    "invoice_payment.paid": read_invoice.payment_linked,
    "payment_intent.succeeded": read_payment.intent_succeeded,
    "refund.created": read_payment.refund_created,
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
