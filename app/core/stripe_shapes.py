"""Where a field lives in Stripe's JSON, in every API version since 2018.

Read by shape, not by `api_version`: one inbox holds several versions. The big break is
2025-03-31 ("basil"): https://docs.stripe.com/changelog/basil
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]


class Missing(ValueError):
    """A field that Stripe promises is not there, or not of its kind. The message names it."""


def text(obj: Json, field: str) -> str:
    """A promised string field."""
    value = obj.get(field)
    if not isinstance(value, str) or not value:
        raise Missing(f"{obj.get('object', 'object')}.{field}: expected text")
    return value


def integer(obj: Json, field: str) -> int:
    """A promised integer field (amounts are in the currency's minor unit)."""
    value = obj.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**62:
        raise Missing(f"{obj.get('object', 'object')}.{field}: expected an integer")
    return value


def time(obj: Json, field: str) -> datetime:
    """A promised time: unix seconds on the wire, aware UTC here."""
    return at(integer(obj, field), f"{obj.get('object', 'object')}.{field}")


def time_or_none(obj: Json, field: str) -> datetime | None:
    return None if obj.get(field) is None else time(obj, field)


def at(seconds: int, field: str) -> datetime:
    if not 0 <= seconds < 2**33:
        raise Missing(f"{field}: expected unix seconds")
    return datetime.fromtimestamp(seconds, UTC)


def currency(obj: Json) -> str:
    return text(obj, "currency").lower()


def id_of(value: object) -> str | None:
    """An id, whether Stripe sent it bare or expanded the object."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def mapping(value: object) -> Json:
    """The object, or an empty one where Stripe sent null or nothing."""
    return value if isinstance(value, Mapping) else {}


def rows(value: object) -> list[Json]:
    """The rows of a list: a Stripe list object, a bare array, or nothing."""
    if isinstance(value, Mapping):
        value = value.get("data")
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def metadata(obj: object) -> Json:
    return mapping(mapping(obj).get("metadata"))


def customer(obj: Json) -> str | None:
    """`customer_account` (an acct_) stands in for `customer` since Accounts v2 (2025-09-30)."""
    return id_of(obj.get("customer")) or id_of(obj.get("customer_account"))


# --- invoices


def _subscription_details(invoice: Json) -> Json:
    """Basil moved them under `parent`; before it they stood on the invoice (since 2023-06-29)."""
    inside = mapping(mapping(invoice.get("parent")).get("subscription_details"))
    return inside or mapping(invoice.get("subscription_details"))


def invoice_subscription(invoice: Json) -> str | None:
    found = id_of(_subscription_details(invoice).get("subscription"))
    return found or id_of(invoice.get("subscription")) or next(_line_subscriptions(invoice), None)


def _line_subscriptions(invoice: Json) -> Iterator[str]:
    for line in rows(invoice.get("lines")):
        if found := line_subscription(line):
            yield found


def invoice_metadata(invoice: Json) -> list[tuple[str, Json]]:
    """What may hold ids, nearest first: the invoice's own, the subscription's snapshot, lines'."""
    lines = [("invoice.lines.metadata", metadata(line)) for line in rows(invoice.get("lines"))]
    snapshot = mapping(_subscription_details(invoice).get("metadata"))
    return [
        ("invoice.metadata", metadata(invoice)),
        ("invoice.subscription_details.metadata", snapshot),
        *lines,
    ]


def invoice_payments(invoice: Json) -> list[str]:
    """Payment intent and charge ids: on the invoice before basil, expanded payments after it."""
    found = [id_of(invoice.get("payment_intent")), id_of(invoice.get("charge"))]
    for row in rows(invoice.get("payments")):
        found += payment_ids(row)
    return [one for one in found if one]


def payment_ids(invoice_payment: Json) -> list[str]:
    """The payment intent (and charge) of an InvoicePayment (basil)."""
    payment = mapping(invoice_payment.get("payment"))
    found = [id_of(payment.get("payment_intent")), id_of(payment.get("charge"))]
    return [one for one in found if one]


def invoice_tax(invoice: Json) -> int:
    """All tax of the invoice, minor units: `total_taxes` (basil), `total_tax_amounts`, or `tax`."""
    for field in ("total_taxes", "total_tax_amounts"):
        if isinstance(invoice.get(field), list):
            return sum(integer(row, "amount") for row in rows(invoice[field]))
    return integer(invoice, "tax") if invoice.get("tax") is not None else 0


def invoice_discount(invoice: Json) -> int:
    return sum(integer(row, "amount") for row in rows(invoice.get("total_discount_amounts")))


def invoice_paid_at(invoice: Json, announced: datetime) -> datetime:
    """`status_transitions.paid_at`. Invoices of before 2019-10-17 have none, and one announcer
    (`invoice.payment_succeeded`), so its time is the fact's."""
    paid = time_or_none(mapping(invoice.get("status_transitions")), "paid_at")
    return paid or announced


def invoice_out_of_band(invoice: Json) -> bool:
    """Marked paid outside Stripe. The flag went with basil; later shapes do not say in events."""
    return invoice.get("paid_out_of_band") is True


def subscription_period_start(invoice: Json) -> datetime | None:
    """Start of the service period billed: the invoice's own period is another thing."""
    starts = [
        time(mapping(line.get("period")), "start")
        for line in rows(invoice.get("lines"))
        if line_subscription(line) and not line_proration(line)
    ]
    return max(starts, default=None)


def line_subscription(line: Json) -> str | None:
    parent = mapping(line.get("parent"))
    inside = mapping(parent.get("subscription_item_details")) or mapping(
        parent.get("invoice_item_details")
    )
    return id_of(inside.get("subscription")) or id_of(line.get("subscription"))


def line_proration(line: Json) -> bool:
    parent = mapping(line.get("parent"))
    details = ("subscription_item_details", "invoice_item_details")
    return line.get("proration") is True or any(
        mapping(parent.get(name)).get("proration") is True for name in details
    )


def line_price(line: Json) -> tuple[str | None, str | None]:
    """(price id, product id): ids under `pricing` since basil, an object (or plan) before."""
    details = mapping(mapping(line.get("pricing")).get("price_details"))
    if details:
        return id_of(details.get("price")), id_of(details.get("product"))
    price = mapping(line.get("price")) or mapping(line.get("plan"))
    return id_of(price), id_of(price.get("product"))


# --- subscriptions


def item_price(item: Json) -> Json:
    """A subscription item's price; `plan` before 2020-08-27, the same fields by other names."""
    if price := mapping(item.get("price")):
        return price
    plan = mapping(item.get("plan"))
    recurring = {name: plan.get(name) for name in ("interval", "interval_count", "usage_type")}
    return {
        **plan,
        "unit_amount": plan.get("amount"),
        "unit_amount_decimal": plan.get("amount_decimal"),
        "transform_quantity": plan.get("transform_usage"),
        "recurring": recurring,
    }


def subscription_start(subscription: Json) -> datetime:
    """`start_date`; `start` before 2019-10-17."""
    for field in ("start_date", "start"):
        if subscription.get(field) is not None:
            return time(subscription, field)
    return time(subscription, "created")


def cancel_is_scheduled(subscription: Json) -> bool:
    """Flexible billing sets `cancel_at` and leaves `cancel_at_period_end` false."""
    flag = bool(subscription.get("cancel_at_period_end"))
    return flag or subscription.get("cancel_at") is not None
