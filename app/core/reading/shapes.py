"""Where a field lives in Stripe's JSON, in every API version since 2018.

Read by shape, not by `api_version`: one inbox holds several versions. The big break is
2025-03-31 ("basil"): https://docs.stripe.com/changelog/basil
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from math import isfinite
from typing import Any

from app.core.money import Money

Json = Mapping[str, Any]
NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
CURRENCY = re.compile("[a-z]{3}")
RECORD = "payment_record"  # the type of an InvoicePayment that Stripe did not collect
EPOCH = datetime.fromtimestamp(0, UTC)


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


def integer_or_none(obj: Json, field: str) -> int | None:
    return None if obj.get(field) is None else integer(obj, field)


def amount_or_none(obj: Json, field: str) -> float | None:
    """An amount in whole units of the object's own currency, if Stripe gave it."""
    minor = integer_or_none(obj, field)
    return None if minor is None else Money(minor, currency(obj)).number


def time(obj: Json, field: str) -> datetime:
    """A promised time: unix seconds on the wire, aware UTC here."""
    return at(integer(obj, field), f"{obj.get('object', 'object')}.{field}")


def time_or_none(obj: Json, field: str) -> datetime | None:
    return None if obj.get(field) is None else time(obj, field)


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def exact(value: object) -> Fraction:
    """A number as Stripe writes it, up to 12 decimals. What is not one is refused unread: a text
    such as 1e99999999 would fill the memory."""
    if isinstance(value, bool) or not NUMBER.fullmatch(str(value)[:64]):
        raise Missing("expected a decimal number")
    return Fraction(str(value))


def at(seconds: int, field: str) -> datetime:
    if not 0 <= seconds < 2**33:
        raise Missing(f"{field}: expected unix seconds")
    return datetime.fromtimestamp(seconds, UTC)


def currency(obj: Json) -> str:
    """Lower-case ISO 4217."""
    found = text(obj, "currency").lower()
    if not CURRENCY.fullmatch(found):
        raise Missing(f"{obj.get('object', 'object')}.currency: expected three letters")
    return found


def given(properties: Json) -> dict[str, Any]:
    """Without those that Stripe did not give: a property is there or it is not, never null."""
    return {name: value for name, value in properties.items() if value is not None}


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


def quantity(row: Json) -> int | float | None:
    """Of an invoice's line: `quantity_decimal` (endive) has what `quantity` cuts off."""
    exact = row.get("quantity_decimal")
    if exact is None:
        return integer_or_none(row, "quantity")
    number = float(exact)
    if not isfinite(number):
        raise Missing(f"{row.get('object', 'object')}.quantity_decimal: expected a number")
    return int(number) if number.is_integer() else number


# --- invoices


def invoice_created(invoice: Json) -> datetime | None:
    """`created`; `date` before 2019-03-14."""
    return time_or_none(invoice, "created") or time_or_none(invoice, "date")


def invoice_is_paid(invoice: Json) -> bool:
    """By `status`; by the flag `paid` before 2018-11. What says neither is paid if announced so."""
    status = invoice.get("status")
    return invoice.get("paid") is not False if status is None else bool(status == "paid")


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
    """The payment intent (and charge) of an InvoicePayment (basil), or the record of a payment
    outside Stripe."""
    payment = mapping(invoice_payment.get("payment"))
    names = ("payment_intent", "charge", "payment_record")
    found = [id_of(payment.get(name)) for name in names]
    return [one for one in found if one]


def payment_record(invoice_payment: Json) -> str | None:
    """The record of a payment outside of Stripe (`pr_...`), if that is what an InvoicePayment is:
    https://docs.stripe.com/api/payment-record."""
    payment = mapping(invoice_payment.get("payment"))
    found = id_of(payment.get("payment_record")) if payment.get("type") == RECORD else None
    return found if found and found.startswith("pr_") else None


def taxes(obj: Json, *fields: str) -> int | None:
    """The sum of the first of these lists of taxes that is there, minor units."""
    for field in fields:
        if isinstance(obj.get(field), list):
            return sum(integer(row, "amount") for row in rows(obj[field]))
    return None


def invoice_tax(invoice: Json) -> int:
    """All tax of the invoice, minor units, inclusive tax too: `total_taxes` (basil),
    `total_tax_amounts`, or `tax`."""
    listed = taxes(invoice, "total_taxes", "total_tax_amounts")
    return (integer_or_none(invoice, "tax") or 0) if listed is None else listed


def invoice_discount(invoice: Json) -> int:
    """`total_discount_amounts`. Before 2020-08 only the totals tell: `subtotal`, less discount,
    with exclusive tax, is `total`."""
    listed = invoice.get("total_discount_amounts")
    if isinstance(listed, list):
        return sum(integer(row, "amount") for row in rows(listed))
    subtotal = integer_or_none(invoice, "subtotal")
    if subtotal is None or not mapping(invoice.get("discount")):
        return 0
    return max(0, subtotal + _exclusive_tax(invoice) - integer(invoice, "total"))


def _exclusive_tax(invoice: Json) -> int:
    listed = rows(invoice.get("total_tax_amounts"))
    if not listed:
        return invoice_tax(invoice)
    return sum(integer(row, "amount") for row in listed if row.get("inclusive") is not True)


def invoice_credit_applied(invoice: Json) -> int:
    """What the customer's credit balance settled, minor units; negative where the invoice collected
    an old debt. A balance below zero is the customer's credit, and `ending_balance` is null until
    the invoice is finalised."""
    after = integer_or_none(invoice, "ending_balance")
    return 0 if after is None else after - (integer_or_none(invoice, "starting_balance") or 0)


def invoice_moment(invoice: Json, name: str, announced: datetime) -> datetime:
    """`status_transitions.<name>`. Invoices of before 2019-10-17 have none, and one announcer of
    each kind, so its time is the fact's."""
    return time_or_none(mapping(invoice.get("status_transitions")), name) or announced


def invoice_out_of_band(invoice: Json) -> bool | None:
    """Paid outside of Stripe. The flag went with basil, and events of since then do not say (None);
    an invoice asked of the API may, by its expanded payments or `amount_paid_off_stripe`."""
    if isinstance(flag := invoice.get("paid_out_of_band"), bool):
        return flag
    off_stripe = integer_or_none(invoice, "amount_paid_off_stripe")
    if off_stripe is not None:
        return 0 < off_stripe == integer(invoice, "amount_paid")
    payments = [mapping(row.get("payment")) for row in rows(invoice.get("payments"))]
    if not payments:
        return None
    return all(payment.get("type") == RECORD for payment in payments)


def invoice_paid_minor(invoice: Json) -> int:
    """What was paid, minor units. Before basil `amount_paid` had only what Stripe collected, so of
    an invoice that was settled elsewhere, all that was due is what was paid."""
    paid = integer(invoice, "amount_paid")
    elsewhere = invoice.get("paid_out_of_band") is True
    return max(integer(invoice, "amount_due"), paid) if elsewhere else paid


def subscription_period(
    invoice: Json, *, prorations: bool
) -> tuple[datetime, datetime | None] | None:
    """(start, end) of the newest service period billed: the invoice's own period is another thing.

    `prorations`: theirs if there is no whole period.
    """
    lines = [line for line in rows(invoice.get("lines")) if line_subscription(line)]
    whole = [line for line in lines if not line_proration(line)]
    if not whole and prorations:
        whole = lines
    periods = [(start, end) for start, end in map(line_period, whole) if start]
    start = max((start for start, _ in periods), default=None)
    if start is None:
        return None
    return start, max((end for begun, end in periods if begun == start and end), default=None)


def line_period(line: Json) -> tuple[datetime | None, datetime | None]:
    period = mapping(line.get("period"))
    return time_or_none(period, "start"), time_or_none(period, "end")


def _line_details(line: Json) -> Json:
    """Basil moved them under `parent`, by the name that `parent.type` says."""
    parent = mapping(line.get("parent"))
    names = ("subscription_item_details", "invoice_item_details")
    named = mapping(parent.get(str(parent.get("type"))))
    return named or next((found for name in names if (found := mapping(parent.get(name)))), {})


def line_subscription(line: Json) -> str | None:
    return id_of(_line_details(line).get("subscription")) or id_of(line.get("subscription"))


def line_proration(line: Json) -> bool:
    return line.get("proration") is True or _line_details(line).get("proration") is True


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


def items_quantity(items: Iterable[Json]) -> int:
    """Of all items together; metered ones name none."""
    return sum(int(item.get("quantity", 1) or 0) for item in items)


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


def subscription_currency(subscription: Json) -> str | None:
    """`currency`; before 2022 only its prices had one."""
    priced = [item_price(item) for item in rows(subscription.get("items"))]
    for one in (subscription, *priced):
        if one.get("currency") is not None:
            return currency(one)
    return None


def subscription_trial(subscription: Json) -> tuple[datetime | None, datetime | None]:
    """(start, end) of the trial: the subscription's, or since endive perhaps that of its items."""
    start = time_or_none(subscription, "trial_start")
    end = time_or_none(subscription, "trial_end")
    if start or end:
        return start, end
    of_items = [mapping(item.get("current_trial")) for item in rows(subscription.get("items"))]
    starts = [found for one in of_items if (found := time_or_none(one, "start_date"))]
    ends = [found for one in of_items if (found := time_or_none(one, "end_date"))]
    return min(starts, default=None), max(ends, default=None)


def subscription_discounts(subscription: Json) -> list[Any]:
    """`discounts` (ids, unless expanded); one `discount` before 2024 or so, and both in between,
    when the object says what the id only names."""
    whole = mapping(subscription.get("discount"))
    found = subscription.get("discounts") or [whole]
    if not isinstance(found, list):
        return []
    return [whole if one == whole.get("id") else one for one in found if one]


# --- payments


def intent_charges(intent: Json) -> list[str]:
    """The charges of a payment intent, the one that succeeded first: `latest_charge`; before
    2022-11-15 a list of all attempts."""
    if latest := id_of(intent.get("latest_charge")):
        return [latest]
    attempts = sorted(
        rows(intent.get("charges")), key=lambda charge: charge.get("status") != "succeeded"
    )
    return [found for charge in attempts if (found := id_of(charge))]


def charge_minor(charge: Json) -> int:
    """What was captured, minor units: `amount_captured`; before 2020-06 what a capture left out
    counted as refunded."""
    captured = integer_or_none(charge, "amount_captured")
    if captured is not None:
        return captured
    return integer(charge, "amount") - (integer_or_none(charge, "amount_refunded") or 0)


# --- credit notes


def credit_note_tax(note: Json) -> int | None:
    """Minor units: `total_taxes` (basil) or `tax_amounts`."""
    return taxes(note, "total_taxes", "tax_amounts")


def credit_note_split(note: Json) -> tuple[int | None, int | None]:
    """(what lowered an unpaid invoice, what gives back of a paid one), minor units. Before
    2025-05-28 a credit note was either, as its `type` says."""
    parts = (
        integer_or_none(note, "pre_payment_amount"),
        integer_or_none(note, "post_payment_amount"),
    )
    if parts != (None, None):
        return parts
    whole = integer(note, "amount")
    either = {"pre_payment": (whole, 0), "post_payment": (0, whole)}
    return either.get(str(note.get("type")), (None, None))


def credit_note_refunded(note: Json) -> int | None:
    """What of it was refunded, minor units: `refunds` (basil). Before, `refund` named one without
    its amount, which is the whole where nothing went to the balance or outside of Stripe."""
    if isinstance(note.get("refunds"), list):
        return sum(integer(row, "amount_refunded") for row in rows(note["refunds"]))
    if "refund" not in note:
        return None
    if note["refund"] is None:
        return 0
    elsewhere = note.get("customer_balance_transaction") or note.get("out_of_band_amount")
    whole = note.get("type") == "post_payment" and not elsewhere
    expanded = integer_or_none(mapping(note["refund"]), "amount")
    return integer(note, "amount") if expanded is None and whole else expanded
