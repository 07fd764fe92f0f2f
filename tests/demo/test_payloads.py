import json
import time
from random import Random
from typing import Any

import pytest
import stripe

from app.demo.books import VERSIONS
from app.demo.payloads import SAMPLES, sample, sign
from tests.demo.naive import NOW, events, of_type, story

OLD = [version for version in VERSIONS if version < "2025-03-31"]
BASIL = [version for version in VERSIONS if version >= "2025-03-31"]
CLOVER = [version for version in VERSIONS if version >= "2025-09-30"]


def asked(kind: str, version: str, **overrides: Any) -> dict[str, Any]:
    return sample(kind, now=NOW, rng=Random(3), api_version=version, overrides=overrides)[-1]


def body(kind: str, version: str) -> dict[str, Any]:
    found: dict[str, Any] = asked(kind, version)["data"]["object"]
    return found


@pytest.mark.parametrize("version", OLD)
def test_before_basil_an_invoice_points_at_everything(version: str) -> None:
    bill = body("invoice.paid", version)
    [line] = bill["lines"]["data"]

    assert bill["payment_intent"].startswith("pi_")
    assert bill["charge"].startswith("ch_")
    assert bill["subscription"] == line["subscription"]
    assert bill["subscription_details"]["metadata"] == line["metadata"]
    assert bill["paid"] is True
    assert line["price"]["recurring"]["interval"] == line["plan"]["interval"] == "month"
    assert line["type"] == "subscription"
    assert not {"parent", "total_taxes", "amount_overpaid"} & bill.keys()
    assert not {"parent", "pricing", "taxes"} & line.keys()


@pytest.mark.parametrize("version", BASIL)
def test_from_basil_on_an_invoice_has_a_parent_and_no_payment(version: str) -> None:
    bill = body("invoice.paid", version)
    [line] = bill["lines"]["data"]
    details = line["parent"]["subscription_item_details"]

    assert bill["parent"]["type"] == "subscription_details"
    assert bill["parent"]["subscription_details"]["subscription"] == details["subscription"]
    assert bill["parent"]["subscription_details"]["metadata"] == line["metadata"]
    assert line["pricing"]["price_details"]["price"].startswith("price_")
    gone = {"payment_intent", "charge", "paid", "subscription", "tax", "total_tax_amounts"}
    assert not gone & bill.keys()
    assert not {"price", "plan", "proration", "tax_amounts", "type"} & line.keys()
    assert ("subscription" in line) == version.startswith("2026")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_period_lives_on_the_subscription_or_on_its_items(version: str) -> None:
    sub = body("customer.subscription.created", version)
    [item] = sub["items"]["data"]

    assert ("current_period_end" in sub) == (version in OLD)
    assert ("current_period_end" in item) == (version in BASIL)
    assert ("plan" in sub) == ("discount" in sub) == (version in OLD)
    assert ("billing_mode" in sub) == (version in CLOVER)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upgrade_says_what_it_was_before(version: str) -> None:
    event = asked("customer.subscription.updated", version)
    previous = event["data"]["previous_attributes"]
    [was], [now] = previous["items"]["data"], event["data"]["object"]["items"]["data"]

    assert was.keys() == now.keys()
    assert was["price"]["unit_amount"] < now["price"]["unit_amount"]
    assert set(previous) - {"plan"} == {"items", "latest_invoice"}
    assert ("plan" in previous) == (version in OLD)


def test_a_period_roll_says_what_it_was_before() -> None:
    rolls = [
        (event["api_version"], event["data"]["previous_attributes"].keys())
        for event in of_type(events(story()), "customer.subscription.updated")
        if event["data"]["previous_attributes"].keys() >= {"latest_invoice"}
        and event["data"]["object"]["status"] == "active"
        and "plan" not in event["data"]["previous_attributes"]
    ]
    for version, keys in rolls:
        if version in OLD and "quantity" not in keys:
            assert keys - {"status"} == {
                "current_period_start",
                "current_period_end",
                "latest_invoice",
            }
        elif version in BASIL:
            assert keys - {"status"} == {"items", "latest_invoice"}
    assert {version for version, _ in rolls} == set(VERSIONS)


def test_flexible_billing_cancels_by_a_date_and_no_flag() -> None:
    for event in of_type(events(story()), "customer.subscription.updated"):
        previous = event["data"]["previous_attributes"]
        if previous.get("cancel_at", "") is None:
            flexible = event["api_version"] in CLOVER
            assert event["data"]["object"]["cancel_at_period_end"] is not flexible
            assert ("cancel_at_period_end" in previous) is not flexible
            assert previous["canceled_at"] is None


@pytest.mark.parametrize("version", VERSIONS)
def test_payments_point_at_invoices_only_before_basil(version: str) -> None:
    intent = body("payment_intent.succeeded", version)

    assert ("invoice" in intent) == (version in OLD)
    assert ("charges" in intent) == ("latest_charge" not in intent) == (version == "2020-08-27")


def test_discounts_name_their_coupon_whole_or_by_id() -> None:
    told = of_type(events(story(customers=200)), "invoice.paid")
    discounted = [event for event in told if event["data"]["object"]["discounts"]]
    for event in discounted:
        bill = event["data"]["object"]
        assert bill["total_discount_amounts"][0]["discount"] == bill["discounts"][0]
        assert ("discount" in bill) == (event["api_version"] in OLD)
        if event["api_version"] in OLD:
            assert bill["discount"]["coupon"]["percent_off"] in (20.0, 25.0)
    assert {event["api_version"] for event in discounted} & set(BASIL)
    assert {event["api_version"] for event in discounted} & set(OLD)


def test_an_invoice_adds_up() -> None:
    for event in of_type(events(story(customers=150)), "invoice.paid", "invoice.payment_failed"):
        bill = event["data"]["object"]
        lines = bill["lines"]["data"]
        assert bill["subtotal"] == sum(line["amount"] for line in lines)
        off = sum(each["amount"] for each in bill["total_discount_amounts"])
        taxes = bill.get("total_taxes", bill.get("total_tax_amounts"))
        tax = sum(each["amount"] for each in taxes)
        assert bill["total"] == bill["subtotal"] - off + tax
        assert bill["total_excluding_tax"] == bill["total"] - tax
        assert (
            bill["amount_due"] == bill["total"] + bill["starting_balance"] - bill["ending_balance"]
        )
        assert bill["amount_remaining"] == bill["amount_due"] - bill["amount_paid"]


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_sample_ends_with_what_was_asked(kind: str, version: str) -> None:
    if kind == "invoice_payment.paid" and version in OLD:
        with pytest.raises(ValueError, match="came with"):
            asked(kind, version)
        return
    told = sample(kind, now=NOW, rng=Random(5), api_version=version)

    assert told[-1]["type"] == kind
    assert {event["api_version"] for event in told} == {version}
    assert NOW - 86_400 <= told[-1]["created"] <= NOW or kind == "invoice.payment_failed"
    assert all(event["created"] <= NOW for event in told)
    assert "checkout.session.completed" in {event["type"] for event in told}


def test_samples_differ_unless_the_draws_are_the_same() -> None:
    assert asked("invoice.paid", VERSIONS[-1]) == asked("invoice.paid", VERSIONS[-1])
    other = sample("invoice.paid", now=NOW, rng=Random(4))[-1]
    assert other["id"] != asked("invoice.paid", VERSIONS[-1])["id"]


def test_overrides_are_laid_over_the_object() -> None:
    details = {"finalized_at": 5}
    event = asked("invoice.paid", VERSIONS[-1], amount_paid=1, status_transitions=details)
    bill = event["data"]["object"]

    assert bill["amount_paid"] == 1
    assert bill["status_transitions"]["finalized_at"] == 5
    assert bill["status_transitions"]["paid_at"] > 5


def test_an_unknown_sample_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"refund\.created"):
        sample("invoice.payed", now=NOW, rng=Random(1))


def test_bodies_are_of_a_realistic_size() -> None:
    sizes = [len(json.dumps(asked(kind, VERSIONS[-1]), indent=2)) for kind in SAMPLES]

    assert all(800 < size < 12_000 for size in sizes), sizes


@pytest.mark.parametrize("secret", ["whsec_one", "whsec_" + "x" * 60])
def test_stripes_own_library_accepts_the_signature(secret: str) -> None:
    signed, now = story(customers=1).webhooks[0].body, int(time.time())

    assert stripe.WebhookSignature.verify_header(
        signed.decode(), sign(signed, secret, now), secret, 300
    )
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(
            signed.decode() + " ", sign(signed, secret, now), secret, 300
        )
