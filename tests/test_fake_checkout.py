"""The fake's Checkout takes what Stripe takes, refuses what it refuses, and tells of a payment."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import stripe
from stripe.params import checkout as sdk

from app.demo.receiver import Post, receiver
from tests.conftest import SECRET
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.fake_stripe.checkout import OF_LINE, OF_MADE, PARAMS

KEY = "sk_test_fake"
BASE = {"object": "price", "created": 1, "currency": "usd", "product": "prod_1"}
MONTHLY = {"id": "price_month", "type": "recurring", "unit_amount": 4900} | BASE
MONTHLY["recurring"] = {"interval": "month", "interval_count": 1}
ONCE = {"id": "price_once", "type": "one_time", "unit_amount": 2900} | BASE
ASKED: dict[str, Any] = {
    "mode": "subscription",
    "line_items[0][price]": "price_month",
    "line_items[0][quantity]": "2",
    "success_url": "https://shop.example/welcome?session={CHECKOUT_SESSION_ID}",
}


@pytest.fixture
def fake() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        running.add(MONTHLY)
        running.add(ONCE)
        yield running


def create(fake: FakeStripe, key: str = KEY, **changes: Any) -> requests.Response:
    """By plain HTTP, as a form. None leaves a parameter out."""
    sent = {name: one for name, one in (ASKED | changes).items() if one is not None}
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{fake.base}/v1/checkout/sessions"
    return requests.post(url, data=sent, headers=headers, timeout=5)


def test_a_session_is_open_and_has_a_page(fake: FakeStripe) -> None:
    answer = create(fake, **{"metadata[br_user_id]": "user_7", "client_reference_id": "order_5"})

    session = answer.json()
    shown = ("amount_total", "client_reference_id", "metadata", "mode", "status", "payment_status")
    assert answer.status_code == 200
    assert {name: session[name] for name in shown} == {
        "amount_total": 9800,
        "client_reference_id": "order_5",
        "metadata": {"br_user_id": "user_7"},
        "mode": "subscription",
        "status": "open",
        "payment_status": "unpaid",
    }
    assert session["url"] == f"{fake.base}/c/pay/{session['id']}"
    again = f"{fake.base}/v1/checkout/sessions/{session['id']}"
    assert requests.get(again, auth=(KEY, ""), timeout=5).status_code == 401  # a bearer, not basic
    bearer = {"Authorization": f"Bearer {KEY}"}
    assert requests.get(again, headers=bearer, timeout=5).json() == session


def metadata(number: int = 1, key: int = 1, value: int = 1) -> dict[str, str]:
    return {f"metadata[{str(n).rjust(key, 'k')}]": "v" * value for n in range(number)}


def test_metadata_at_its_limits_is_taken(fake: FakeStripe) -> None:
    answer = create(fake, **metadata(50, key=40, value=500))

    assert answer.json()["metadata"] == {str(n).rjust(40, "k"): "v" * 500 for n in range(50)}


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        (metadata(51), None, "metadata"),
        (metadata(key=41), None, "metadata"),
        (metadata(value=501), None, "metadata"),
        ({"metadata[a[b]]": "c"}, None, "metadata[a]"),
        ({"metadata": "text"}, None, "metadata"),
        ({"subscription_data[metadata][a]": "v" * 501}, None, "subscription_data[metadata]"),
        ({"subscription_data[colour]": "red"}, "parameter_unknown", "subscription_data[colour]"),
        ({"payment_intent_data[metadata][a]": "1"}, None, "payment_intent_data"),
        ({"client_reference_id": "a" * 201}, None, "client_reference_id"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"mode": None}, "parameter_missing", "mode"),
        ({"mode": "gift"}, None, "mode"),
        ({"success_url": None}, "parameter_missing", "success_url"),
        ({"success_url": "/welcome"}, "url_invalid", "success_url"),
        ({"line_items[0][price]": "price_9"}, "resource_missing", "line_items[0][price]"),
        ({"line_items[0][price]": "price_once"}, None, "line_items"),
        ({"line_items[0][quantity]": "0"}, None, "line_items[0][quantity]"),
        (
            {"line_items[0][quantity]": None},
            "parameter_invalid_integer",
            "line_items[0][quantity]",
        ),
        (
            {"line_items[0][price]": None, "line_items[0][quantity]": None},
            "parameter_missing",
            "line_items",
        ),
    ],
)
def test_what_stripe_would_refuse_is_refused(
    fake: FakeStripe, changes: dict[str, Any], code: str | None, param: str
) -> None:
    answer = create(fake, **changes)

    error = answer.json()["error"]
    assert (answer.status_code, error.get("code"), error["param"]) == (400, code, param)


def test_without_the_key_nothing_is_made(fake: FakeStripe) -> None:
    assert create(fake, key="sk_test_other").status_code == 401
    assert create(fake, key="").status_code == 401


@pytest.mark.parametrize(
    ("changes", "made", "types"),
    [
        (
            {"subscription_data[metadata][a]": "on the subscription"},
            {"subscription", "invoice"},
            {
                "customer.subscription.created",
                "payment_intent.succeeded",
                "invoice_payment.paid",
                "invoice.paid",
                "invoice.payment_succeeded",
                "checkout.session.completed",
            },
        ),
        (
            {
                "mode": "payment",
                "line_items[0][price]": "price_once",
                "payment_intent_data[metadata][a]": "on the payment",
            },
            {"payment_intent"},
            {"payment_intent.succeeded", "checkout.session.completed"},
        ),
    ],
)
def test_who_pays_goes_back_and_the_signed_webhooks_have_the_metadata_where_it_was_put(
    fake: FakeStripe, changes: dict[str, Any], made: set[str], types: set[str]
) -> None:
    posts: list[Post] = []
    with receiver(script=posts.append) as anybody:
        fake.checkout.webhook_url = anybody.webhook_url
        fake.checkout.webhook_secret = SECRET
        session = create(fake, **changes, **{"metadata[a]": "on the session"}).json()
        page = requests.get(session["url"], timeout=5)
        paid = requests.post(session["url"], allow_redirects=False, timeout=5)

    assert (page.status_code, "Pay" in page.text) == (200, True)
    assert paid.status_code == 303
    assert paid.headers["Location"] == f"https://shop.example/welcome?session={session['id']}"
    assert requests.post(session["url"], timeout=5).status_code == 404
    events = [
        stripe.Webhook.construct_event(post.body, post.headers["stripe-signature"], SECRET)
        for post in posts
    ]
    assert {event["type"] for event in events} == types
    found = {one["object"]: one for one in (json.loads(p.body)["data"]["object"] for p in posts)}
    details = (found.get("invoice") or {}).get("parent", {}).get("subscription_details", {})
    said = {kind: one.get("metadata") for kind, one in found.items()} | (
        {"invoice": details["metadata"]} if details else {}
    )
    (given,) = [one for name, one in changes.items() if name.endswith("[metadata][a]")]
    assert said.pop("checkout.session") == {"a": "on the session"}
    assert {kind for kind, one in said.items() if one == {"a": given}} == made
    assert all(one in ({}, None, {"a": given}) for one in said.values())


def test_every_parameter_is_one_of_stripes_own() -> None:
    assert sdk.SessionCreateParams.__annotations__.keys() >= PARAMS
    assert sdk.SessionCreateParamsLineItem.__annotations__.keys() >= OF_LINE
    for name, fields in OF_MADE.items():
        words = "".join(word.title() for word in name.split("_"))
        declared = getattr(sdk, f"SessionCreateParams{words}").__annotations__
        assert fields <= declared.keys()
