"""A second opinion on the simulator: plain passes over the posted JSON, trusting no story."""

import json
from collections import Counter
from typing import Any

from app.demo.saas import Story, simulate

NOW = 1_790_000_000  # 2026-09-21
Event = dict[str, Any]


def story(seed: int = 7, customers: int = 60) -> Story:
    return simulate(seed=seed, customers=customers, now=NOW)


def events(told: Story) -> list[Event]:
    """Each event once, in the order of its first posting."""
    once: dict[str, Event] = {}
    for webhook in told.webhooks:
        once.setdefault(webhook.event_id, json.loads(webhook.body))
    return list(once.values())


def of_type(told: list[Event], *types: str) -> list[Event]:
    return [event for event in told if event["type"] in types]


def objects(told: list[Event], *types: str) -> dict[str, Any]:
    """The objects of these events, by id: several announcers of one object count once."""
    return {
        event["data"]["object"]["id"]: event["data"]["object"] for event in of_type(told, *types)
    }


def is_basil(event: Event) -> bool:
    return str(event["api_version"]) >= "2025-03-31"


def one_off_payments(told: list[Event]) -> dict[str, Any]:
    sessions = objects(told, "checkout.session.completed").values()
    wanted = {each["payment_intent"] for each in sessions if each["mode"] == "payment"}
    payments = objects(told, "payment_intent.succeeded")
    return {key: each for key, each in payments.items() if key in wanted}


def revenue(told: list[Event]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for bill in objects(told, "invoice.paid").values():
        sums[bill["currency"]] += bill["amount_paid"]
    for payment in one_off_payments(told).values():
        sums[payment["currency"]] += payment["amount_received"]
    for refund in objects(told, "refund.created").values():
        sums[refund["currency"]] -= refund["amount"]
    return {currency: minor for currency, minor in sorted(sums.items()) if minor}
