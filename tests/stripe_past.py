"""A simulated SaaS as Stripe's API has it afterwards: the objects behind its webhooks."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from app.core.reading.shapes import intent_charges
from app.demo.saas import Webhook
from tests.fake_stripe import FakeStripe

Json = dict[str, Any]


def events_of(webhooks: Iterable[Webhook]) -> list[Json]:
    """Each once, oldest first."""
    once = {one.event_id: json.loads(one.body) for one in webhooks}
    return sorted(once.values(), key=lambda event: event["created"])


def add_past(stripe: FakeStripe, events: Iterable[Json]) -> None:
    """Every object in its last state, with the charges and balance transactions that payments
    have, and the payments that invoices have."""
    for one in _objects(list(events)):
        stripe.add(one)


def _objects(events: list[Json]) -> Iterator[Json]:
    last: dict[str, Json] = {}
    payments: dict[str, list[Json]] = {}
    for event in events:
        obj = event["data"]["object"]
        last[obj["id"]] = obj
        if event["type"] == "invoice_payment.paid":
            payments.setdefault(obj["invoice"], []).append(obj)
        if event["type"] == "payment_intent.succeeded":
            yield from _money(obj, event["created"])
        if event["type"] == "refund.failed":
            back = obj["failure_balance_transaction"]
            yield {"id": back, "object": "balance_transaction", "created": event["created"]}
    coupon = next((one["id"] for one in last.values() if one["object"] == "coupon"), None)
    for obj in last.values():
        if obj["object"] == "invoice" and obj["id"] in payments:
            yield obj | {"payments": {"object": "list", "data": payments[obj["id"]]}}
        elif obj["object"] == "subscription":
            yield obj
            yield from (_discount(obj, one, coupon) for one in obj["discounts"])
        elif obj["object"] != "charge":
            yield obj


def _money(intent: Json, moved: int) -> Iterator[Json]:
    [charge] = intent_charges(intent)
    transaction = f"txn_{charge[3:]}"
    yield {
        "id": charge,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"],
        "balance_transaction": transaction,
        "captured": True,
        "created": intent["created"],
        "currency": intent["currency"],
        "customer": intent["customer"],
        "livemode": intent["livemode"],
        "payment_intent": intent["id"],
        "status": "succeeded",
    }
    yield {"id": transaction, "object": "balance_transaction", "created": moved}


def _discount(subscription: Json, discount: str, coupon: str | None) -> Json:
    return {
        "id": discount,
        "object": "discount",
        "customer": subscription["customer"],
        "end": None,
        "source": {"coupon": coupon, "type": "coupon"},
        "start": subscription["created"],
        "subscription": subscription["id"],
        "subscription_item": None,
    }
