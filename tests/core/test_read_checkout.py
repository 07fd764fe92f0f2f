"""Checkout Sessions: identity is anchored here, and one-off payments are claimed."""

from typing import Any

import pytest

from app.core.facts import Claim, Fact, Link, Ref
from tests.core.stripe_objects import (
    ANNOUNCED,
    CREATED,
    DAY,
    IDS,
    NOON,
    SESSION,
    Json,
    a_link,
    facts,
    read,
)

PARTS = ("cs_1", "sub_1", "in_1")
EVENTS = [
    f"checkout.session.{name}"
    for name in ("completed", "async_payment_succeeded", "async_payment_failed", "expired")
]
EVERY_EVENT = pytest.mark.parametrize("type_", EVENTS)


def a_fact(name: str, key: str) -> Fact:
    return Fact(
        key=key,
        name=name,
        at=ANNOUNCED,
        about=PARTS,
        customer="cus_1",
        subscription="sub_1",
        properties={
            "checkout_session_id": "cs_1",
            "customer_id": "cus_1",
            "subscription_id": "sub_1",
            "invoice_id": "in_1",
            "mode": "subscription",
            "payment_status": "paid",
            "amount_total": 11.9,
            "currency": "EUR",
        },
    )


def a_said(*objects: str, **changes: Any) -> Link:
    values: Json = {
        "customer": "cus_1",
        "source": "checkout.session.metadata",
        "rank": 2,
        "stated_at": NOON,
        "completed_at": NOON,
    }
    return a_link(*objects, **{**values, **changes})


@pytest.mark.parametrize(
    ("type_", "told"),
    [
        (EVENTS[0], (a_fact("checkout_completed", "checkout:cs_1"),)),
        (EVENTS[1], ()),  # it completed before
        (EVENTS[2], (a_fact("checkout_payment_failed", "checkout_payment_failed:cs_1"),)),
        (EVENTS[3], (a_fact("checkout_expired", "checkout_expired:cs_1"),)),
    ],
)
def test_each_end_of_a_checkout_is_a_fact_of_its_announcement(
    type_: str, told: tuple[Fact, ...]
) -> None:
    assert facts(type_, SESSION) == told


@EVERY_EVENT
def test_a_session_anchors_identity_to_all_that_it_names_the_same_in_each_event(type_: str) -> None:
    reading = read(type_, SESSION)

    assert reading.links == (
        a_said(*PARTS, ids=IDS, campaign={"utm_source": "news"}, consent="granted"),
    )
    assert reading.refs == tuple(Ref(part, "cus_1", customer=True) for part in PARTS)


@EVERY_EVENT
@pytest.mark.parametrize("metadata", [None, {}, {"order": "7"}])
def test_a_session_without_ids_was_heard_to_be_silent(type_: str, metadata: object) -> None:
    assert read(type_, {**SESSION, "metadata": metadata}).links == (a_said(*PARTS),)


@EVERY_EVENT
@pytest.mark.parametrize(
    ("reference", "ids"),
    [
        ("visitor-7", {"client_reference_id": "visitor-7"}),
        ("x" * 200, {"client_reference_id": "x" * 200}),
        ("x" * 201, {}),
        ("a\nb", {}),
        ("", {}),
        (None, {}),
        (7, {}),
    ],
)
def test_a_client_reference_rides_along_if_it_is_fit_to(
    type_: str, reference: object, ids: Json
) -> None:
    session = {**SESSION, "client_reference_id": reference}
    (with_ids,) = read(type_, session).links
    (without,) = read(type_, {**session, "metadata": {}}).links

    assert (with_ids.ids, without.ids) == ({**IDS, **ids}, ids)


def test_a_session_was_seen_when_it_was_created_else_a_day_before_it_ends_else_now() -> None:
    def seen(**changes: Any) -> list[Any]:
        session = {**SESSION, **changes}
        return [
            (link.stated_at, link.completed_at)
            for type_ in EVENTS
            for link in read(type_, session).links
        ]

    assert seen(expires_at=CREATED + 7 * DAY) == [(NOON, NOON)] * 4
    assert seen(created=None, expires_at=CREATED + DAY) == [(NOON, NOON)] * 4
    assert seen(created=None) == [(ANNOUNCED, ANNOUNCED)] * 4


PAYING: Json = {
    "id": "cs_1",
    "object": "checkout.session",
    "created": CREATED,
    "mode": "payment",
    "payment_intent": "pi_1",
    "total_details": {"amount_tax": 190, "amount_discount": 50, "amount_shipping": 0},
}
CLAIM = Claim(payment="pi_1", session="cs_1", tax_minor=190, discount_minor=50)


@pytest.mark.parametrize("type_", EVENTS[:2])
@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({}, (CLAIM,)),
        ({"invoice_creation": {"enabled": False}}, (CLAIM,)),
        ({"total_details": None}, (Claim(payment="pi_1", session="cs_1"),)),
        ({"total_details": {"amount_tax": None}}, (Claim(payment="pi_1", session="cs_1"),)),
        ({"invoice_creation": {"enabled": True}}, ()),  # its invoice will tell
        ({"invoice": "in_1"}, ()),
        ({"mode": "subscription"}, ()),
        ({"mode": "setup"}, ()),
        ({"payment_intent": None}, ()),
    ],
)
def test_a_checkout_in_payment_mode_says_that_its_payment_pays_no_invoice(
    type_: str, changes: Json, claims: tuple[Claim, ...]
) -> None:
    assert read(type_, {**PAYING, **changes}).claims == claims


@pytest.mark.parametrize("type_", EVENTS[2:])
def test_a_checkout_that_brought_nothing_claims_nothing(type_: str) -> None:
    assert read(type_, PAYING).claims == ()


@EVERY_EVENT
def test_a_checkout_that_makes_an_invoice_says_which_payment_pays_it(type_: str) -> None:
    session = {**PAYING, "invoice": "in_1", "invoice_creation": {"enabled": True}}

    assert read(type_, session).refs == (Ref("pi_1", "in_1"),)


def test_a_guest_checkout_is_told_as_far_as_it_goes() -> None:
    session = {**PAYING, "amount_total": 900, "currency": "jpy", "payment_status": "unpaid"}

    assert facts("checkout.session.completed", session) == (
        Fact(
            key="checkout:cs_1",
            name="checkout_completed",
            at=ANNOUNCED,
            about=("cs_1", "pi_1"),
            properties={
                "checkout_session_id": "cs_1",
                "payment_intent_id": "pi_1",
                "mode": "payment",
                "payment_status": "unpaid",
                "amount_total": 900.0,
                "currency": "JPY",
            },
        ),
    )
