from collections import Counter, defaultdict
from typing import Any

import pytest

from app.demo.books import VERSIONS
from app.demo.saas import Story, simulate
from tests.demo.naive import (
    NOW,
    Event,
    events,
    is_basil,
    objects,
    of_type,
    one_off_payments,
    revenue,
    story,
)

UPDATED = "customer.subscription.updated"


@pytest.fixture(scope="module")
def told() -> Story:
    return story(customers=150)


@pytest.fixture(scope="module")
def seen(told: Story) -> list[Event]:
    return events(told)


def test_the_same_seed_tells_the_same_story_to_the_byte() -> None:
    assert story(customers=30) == story(customers=30)
    assert story(seed=8, customers=30).webhooks != story(customers=30).webhooks


def test_revenue_is_what_the_webhooks_say(told: Story, seen: list[Event]) -> None:
    assert told.expected.revenue == revenue(seen)
    assert set(told.expected.revenue) == {"eur", "jpy", "usd"}


@pytest.mark.parametrize("seed", range(5))
def test_revenue_is_what_the_webhooks_say_for_any_seed(seed: int) -> None:
    other = story(seed=seed, customers=30)

    assert other.expected.revenue == revenue(events(other))


def test_payments_and_refunds_are_counted_by_object(told: Story, seen: list[Event]) -> None:
    paid = [bill for bill in objects(seen, "invoice.paid").values() if bill["amount_paid"]]

    assert told.expected.payments == len(paid) + len(one_off_payments(seen))
    assert told.expected.refunds == len(objects(seen, "refund.created"))


def test_every_kind_of_fact_happens(told: Story) -> None:
    assert set(told.expected.counts) == {
        "checkout_completed",
        "payment_failed",
        "payment_recovered",
        "payment_succeeded",
        "refund_created",
        "subscription_cancel_scheduled",
        "subscription_cancelled",
        "subscription_downgraded",
        "subscription_past_due",
        "subscription_quantity_changed",
        "subscription_reactivated",
        "subscription_renewed",
        "subscription_started",
        "subscription_uncancelled",
        "subscription_upgraded",
        "trial_cancelled",
        "trial_converted",
        "trial_started",
    }


def test_lifecycle_counts_are_what_the_webhooks_say(told: Story, seen: list[Event]) -> None:
    counts: Counter[str] = Counter()
    counts["checkout_completed"] = len(of_type(seen, "checkout.session.completed"))
    counts["subscription_started"] = len(objects(seen, "customer.subscription.created"))
    counts["payment_failed"] = len(of_type(seen, "invoice.payment_failed"))
    failed = objects(seen, "invoice.payment_failed")
    counts["payment_recovered"] = len(failed.keys() & objects(seen, "invoice.paid"))
    for event in of_type(seen, "customer.subscription.created"):
        counts["trial_started"] += event["data"]["object"]["status"] == "trialing"
    for event in of_type(seen, "customer.subscription.deleted"):
        counts[_ending(event["data"]["object"])] += 1
    for event in of_type(seen, UPDATED):
        counts.update(_changes(event["data"]["object"], event["data"]["previous_attributes"]))
    counts.update(_cycles(seen))

    assert {name: told.expected.counts[name] for name in counts} == dict(counts)


def _ending(sub: dict[str, Any]) -> str:
    within = sub["trial_end"] and sub["ended_at"] <= sub["trial_end"]
    return "trial_cancelled" if within else "subscription_cancelled"


def _changes(sub: dict[str, Any], previous: dict[str, Any]) -> list[str]:
    facts = []
    if "cancel_at" in previous:
        scheduled = previous["cancel_at"] is None
        facts.append("subscription_" + ("cancel_scheduled" if scheduled else "uncancelled"))
    if previous.get("status") == "active" and sub["status"] == "past_due":
        facts.append("subscription_past_due")
    if "items" in previous:
        [old], [new] = previous["items"]["data"], sub["items"]["data"]
        if old["price"]["id"] != new["price"]["id"]:
            dearer = new["price"]["unit_amount"] > old["price"]["unit_amount"]
            facts.append("subscription_" + ("upgraded" if dearer else "downgraded"))
        elif old["quantity"] != new["quantity"]:
            facts.append("subscription_quantity_changed")
    return facts


def _cycles(seen: list[Event]) -> Counter[str]:
    trial_ends = {key: each["trial_end"] for key, each in _subscriptions(seen).items()}
    facts: Counter[str] = Counter()
    for bill in objects(seen, "invoice.paid").values():
        if bill["billing_reason"] != "subscription_cycle" or bill["total"] <= 0:
            continue
        sub = bill.get("subscription") or bill["parent"]["subscription_details"]["subscription"]
        converts = bill["lines"]["data"][0]["period"]["start"] == trial_ends[sub]
        facts["trial_converted" if converts else "subscription_renewed"] += 1
    return facts


def _subscriptions(seen: list[Event]) -> dict[str, Any]:
    return objects(seen, "customer.subscription.created")


def test_duplicates_are_the_same_event_with_other_bytes(told: Story, seen: list[Event]) -> None:
    posted: dict[str, list[bytes]] = defaultdict(list)
    for webhook in told.webhooks:
        assert webhook.duplicate == (webhook.event_id in posted)
        posted[webhook.event_id].append(webhook.body)
    twice = [bodies for bodies in posted.values() if len(bodies) > 1]

    assert told.expected.events == len(posted) == len(seen)
    assert told.expected.duplicates == len(twice)
    assert 0.06 < len(twice) / len(posted) < 0.10
    assert all(first != again for first, again in twice)


def test_webhooks_arrive_out_of_order(told: Story) -> None:
    first: dict[str, int] = {}
    for place, webhook in enumerate(told.webhooks):
        first.setdefault(webhook.event_id, place)
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for event in events(told):
        body = event["data"]["object"]
        if event["type"] == "checkout.session.completed" and body["invoice"]:
            places[body["invoice"]]["session"] = first[event["id"]]
        elif event["type"] == "invoice.paid":
            places[body["id"]]["paid"] = first[event["id"]]
        elif event["type"] == "customer.subscription.created":
            places[body["latest_invoice"]]["created"] = first[event["id"]]
    whole = [each for each in places.values() if len(each) == 3]

    assert any(each["paid"] < each["session"] for each in whole)
    assert any(each["paid"] < each["created"] for each in whole)
    assert any(each["session"] < each["created"] for each in whole)


def test_nothing_lies_in_the_future(told: Story) -> None:
    assert max(webhook.created for webhook in told.webhooks) <= NOW


def test_ids_are_unique_and_look_like_stripes(seen: list[Event]) -> None:
    assert len({event["id"] for event in seen}) == len(seen)
    for event in seen:
        prefix, _, rest = event["data"]["object"]["id"].rpartition("_")
        assert rest.isalnum(), event["data"]["object"]["id"]
        assert prefix in _prefixes(event["type"]), event["type"]


def _prefixes(kind: str) -> tuple[str, ...]:
    names = {
        "checkout": ("cs_test",),
        "customer.subscription": ("sub",),
        "customer": ("cus",),
        "invoice": ("in",),
        "invoice_payment": ("inpay",),
        "payment_intent": ("pi",),
        "charge": ("ch",),
        "refund": ("re",),
        "product": ("prod",),
        "price": ("price",),
        "coupon": ("",),
    }
    return next(
        names[stem] for stem in (kind.rpartition(".")[0], kind.split(".")[0]) if stem in names
    )


def test_one_customer_has_no_identity_anywhere_and_pays(told: Story, seen: list[Event]) -> None:
    sessions = of_type(seen, "checkout.session.completed")
    nameless = [
        event["data"]["object"] for event in sessions if not event["data"]["object"]["metadata"]
    ]
    assert told.expected.customers_without_identity == len(nameless) == 1
    [session] = nameless
    assert session["client_reference_id"] is None

    paid = objects(seen, "invoice.paid").values()
    assert sum(bill["amount_paid"] for bill in paid if bill["customer"] == session["customer"]) > 0
    for sub in _subscriptions(seen).values():
        if sub["customer"] == session["customer"]:
            assert sub["metadata"] == {}


def test_every_version_speaks_and_each_customer_only_one(seen: list[Event]) -> None:
    spoken: dict[str, set[str]] = defaultdict(set)
    for event in seen:
        if event["data"]["object"].get("customer"):
            spoken[event["data"]["object"]["customer"]].add(event["api_version"])

    assert all(len(versions) == 1 for versions in spoken.values())
    assert set().union(*spoken.values()) == set(VERSIONS)


def test_only_addresses_of_nobody(told: Story) -> None:
    for webhook in told.webhooks:
        assert webhook.body.count(b"@") == webhook.body.count(b"@example.com")


def test_invoice_payments_link_every_paid_invoice_from_basil_on(seen: list[Event]) -> None:
    linked = {each["invoice"] for each in objects(seen, "invoice_payment.paid").values()}
    paid = {
        event["data"]["object"]["id"]
        for event in of_type(seen, "invoice.paid")
        if is_basil(event) and event["data"]["object"]["amount_paid"]
    }
    assert linked == paid


def test_few_customers_and_none_make_a_story_too() -> None:
    assert story(customers=0).expected.payments == 0
    assert story(customers=0).expected.customers_without_identity == 0
    assert story(customers=1).expected.payments > 0


def test_livemode_is_told_everywhere() -> None:
    live = events(simulate(seed=1, customers=5, now=NOW, livemode=True))

    assert all(event["livemode"] for event in live)
    assert all(event["data"]["object"].get("livemode", True) for event in live)
