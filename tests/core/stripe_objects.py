"""Small Stripe objects of before and after 2025-03-31 ("basil"), and how to read them.

Both shapes must give equal facts: a bridge reads several API versions out of one inbox.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.facts import Fact, Link, Reading
from app.core.reading.readers import read as read_event

Json = dict[str, Any]

CREATED = 1_740_830_400
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
PAID = datetime(2025, 3, 1, 12, 1, tzinfo=UTC)
ANNOUNCED = datetime(2025, 3, 1, 12, 1, 30, tzinfo=UTC)
DAY = 86_400
MONTH = 31 * DAY
IDS = {"user_id": "user_7", "device_id": "dev_7"}


def event(type_: str, obj: object, previous: Json | None = None) -> Json:
    """A webhook event, announced 90 seconds after what it is about was created."""
    data: Json = {"object": obj}
    if previous is not None:
        data["previous_attributes"] = previous
    return {"object": "event", "type": type_, "created": CREATED + 90, "data": data}


def read(type_: str, obj: object, previous: Json | None = None) -> Reading:
    return read_event(event(type_, obj, previous))


def facts(type_: str, obj: object, previous: Json | None = None) -> tuple[Fact, ...]:
    return read(type_, obj, previous).facts


def a_link(*objects: str, **changes: Any) -> Link:
    """Silence; `changes` are what was said."""
    values: Json = {
        "objects": objects,
        "customer": None,
        "source": "",
        "rank": 1,
        "ids": {},
        "campaign": {},
        "consent": None,
        "stated_at": ANNOUNCED,
        "completed_at": NOON,
    }
    return Link(**{**values, **changes})


# Invoices


def bill(**changes: Any) -> Json:
    """What an invoice says in every version."""
    return {
        "id": "in_1",
        "object": "invoice",
        "created": CREATED,
        "customer": "cus_1",
        "currency": "eur",
        "status": "paid",
        "billing_reason": "subscription_create",
        "total": 1190,
        "amount_due": 1190,
        "amount_paid": 1190,
        "amount_remaining": 0,
        "status_transitions": {"paid_at": CREATED + 60},
        "total_discount_amounts": [],
        **changes,
    }


def old_line(amount: int = 1190, start: int = CREATED, **changes: Any) -> Json:
    return {
        "amount": amount,
        "quantity": 1,
        "subscription": "sub_1",
        "proration": False,
        "period": {"start": start, "end": start + MONTH},
        "price": {"id": "price_pro", "product": "prod_pro"},
        **changes,
    }


def new_line(
    amount: int = 1190, start: int = CREATED, *, proration: bool = False, **changes: Any
) -> Json:
    item = {"subscription": "sub_1", "proration": proration}
    return {
        "amount": amount,
        "quantity": 1,
        "parent": {"type": "subscription_item_details", "subscription_item_details": item},
        "period": {"start": start, "end": start + MONTH},
        "pricing": {"price_details": {"price": "price_pro", "product": "prod_pro"}},
        **changes,
    }


def old_bill(tax: int = 0, period: int = CREATED, **changes: Any) -> Json:
    values: Json = {
        "subscription": "sub_1",
        "payment_intent": "pi_1",
        "charge": "ch_1",
        "tax": tax or None,
        "total_tax_amounts": [{"amount": tax, "inclusive": False}] if tax else [],
        "paid_out_of_band": False,
        "lines": {"object": "list", "data": [old_line(1190 - tax, period)], "has_more": False},
    }
    return bill(**{**values, **changes})


def new_bill(tax: int = 0, period: int = CREATED, **changes: Any) -> Json:
    values: Json = {
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"subscription": "sub_1", "metadata": {}},
        },
        "total_taxes": [{"amount": tax, "tax_behavior": "exclusive"}] if tax else [],
        "lines": {"object": "list", "data": [new_line(1190 - tax, period)], "has_more": False},
    }
    return bill(**{**values, **changes})


INVOICES = pytest.mark.parametrize("shape", [old_bill, new_bill], ids=["old", "basil"])

# Payments

INTENT: Json = {
    "id": "pi_1",
    "object": "payment_intent",
    "created": CREATED,
    "customer": "cus_1",
    "currency": "eur",
    "amount_received": 900,
    "latest_charge": "ch_1",
    "metadata": IDS,
}


def a_charge(**changes: Any) -> Json:
    return {
        "id": "ch_1",
        "object": "charge",
        "created": CREATED,
        "customer": "cus_1",
        "currency": "eur",
        "amount": 900,
        "amount_captured": 900,
        "amount_refunded": 0,
        "captured": True,
        "status": "succeeded",
        "payment_intent": "pi_1",
        "metadata": IDS,
        **changes,
    }


def a_refund(**changes: Any) -> Json:
    return {
        "id": "re_1",
        "object": "refund",
        "created": CREATED,
        "amount": 250,
        "currency": "eur",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "reason": "requested_by_customer",
        "status": "succeeded",
        **changes,
    }


def a_transaction(name: str = "txn_1", amount: int = -900, **changes: Any) -> Json:
    return {
        "id": name,
        "object": "balance_transaction",
        "amount": amount,
        "created": CREATED + 60,
        "currency": "eur",
        "fee": 1500,
        "net": amount - 1500,
        **changes,
    }


def a_dispute(*transactions: Json, **changes: Any) -> Json:
    return {
        "id": "dp_1",
        "object": "dispute",
        "amount": 900,
        "balance_transactions": list(transactions),
        "charge": "ch_1",
        "created": CREATED,
        "currency": "eur",
        "evidence_details": {"due_by": CREATED + DAY, "has_evidence": False},
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": "needs_response",
        **changes,
    }


def a_note(**changes: Any) -> Json:
    return {
        "id": "cn_1",
        "object": "credit_note",
        "amount": 595,
        "created": CREATED,
        "currency": "eur",
        "customer": "cus_1",
        "invoice": "in_1",
        "reason": "order_change",
        "customer_balance_transaction": None,
        "out_of_band_amount": None,
        **changes,
    }


# Checkout

SESSION: Json = {
    "id": "cs_1",
    "object": "checkout.session",
    "created": CREATED,
    "mode": "subscription",
    "payment_status": "paid",
    "customer": "cus_1",
    "subscription": "sub_1",
    "invoice": "in_1",
    "amount_total": 1190,
    "currency": "eur",
    "metadata": {**IDS, "utm_source": "news", "consent": "granted", "order": "7"},
}

# Subscriptions

PRICES = {"price_basic": 1000, "price_pro": 2500, "price_other": 1000}


def price(name: str = "price_basic", **changes: Any) -> Json:
    return {
        "id": name,
        "product": "prod_1",
        "currency": "eur",
        "unit_amount": PRICES[name],
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        **changes,
    }


def plan(name: str = "price_basic") -> Json:
    """The same of before 2020-08-27."""
    recurring = {"interval": "month", "interval_count": 1, "usage_type": "licensed"}
    amount = {"amount": PRICES[name], "currency": "eur"}
    return {"id": name, "product": "prod_1", **amount, **recurring}


def subscribed(**changes: Any) -> Json:
    return {
        "id": "sub_1",
        "object": "subscription",
        "created": CREATED,
        "start_date": CREATED,
        "customer": "cus_1",
        "status": "active",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "metadata": {},
        **changes,
    }


def oldest_sub(name: str = "price_basic", quantity: int = 1, **changes: Any) -> Json:
    """Of 2018: plans, and no start_date."""
    item = {"id": "si_1", "plan": plan(name), "quantity": quantity}
    found = subscribed(start=CREATED, items={"data": [item]}, **changes)
    del found["start_date"]
    return found | {"plan": plan(name), "quantity": quantity, "current_period_start": CREATED}


def old_sub(name: str = "price_basic", quantity: int = 1, **changes: Any) -> Json:
    item = {"id": "si_1", "plan": plan(name), "price": price(name), "quantity": quantity}
    top = {"plan": plan(name), "quantity": quantity, "current_period_start": CREATED}
    return subscribed(items={"data": [item]}, **top, **changes)


def new_item(name: str = "price_basic", quantity: int = 1, start: int = CREATED) -> Json:
    return {
        "id": "si_1",
        "price": price(name),
        "quantity": quantity,
        "current_period_start": start,
        "current_period_end": start + MONTH,
    }


def new_sub(name: str = "price_basic", quantity: int = 1, **changes: Any) -> Json:
    items = {"data": [new_item(name, quantity)]}
    return subscribed(**{"currency": "eur", "items": items, **changes})


SUBSCRIPTIONS = pytest.mark.parametrize(
    "sub", [oldest_sub, old_sub, new_sub], ids=["2018", "old", "basil"]
)
