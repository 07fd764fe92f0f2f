"""Objects as webhook events: what they still say of the past, and nothing that they do not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.core.backfill import (
    Said,
    of_charge,
    of_coupon,
    of_dispute,
    of_invoice,
    of_refund,
    of_session,
    of_subscription,
)
from app.core.facts import Snapshot
from app.core.reading.readers import READERS, read
from app.core.reading.shapes import Missing

Json = dict[str, Any]

START, DAY = 1_740_830_400, 86_400
NOW = datetime.fromtimestamp(START + 300 * DAY, UTC)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


def told(said: Iterator[Said]) -> list[tuple[str, datetime]]:
    return [(one.type, one.at) for one in said]


def invoice(**changes: Any) -> Json:
    moments = {"paid_at": None, "voided_at": None, "finalized_at": START + 5}
    base = {"object": "invoice", "id": "in_1", "created": START, "status_transitions": moments}
    return base | changes


def charge(**changes: Any) -> Json:
    return {
        "object": "charge",
        "id": "ch_1",
        "created": START,
        "status": "succeeded",
        "captured": True,
        "payment_intent": None,
        "balance_transaction": {"id": "txn_1", "created": START + 2},
    } | changes


def subscription(**changes: Any) -> Json:
    items = {"object": "list", "data": [{"id": "si_1", "quantity": 2, "price": {"id": "price_2"}}]}
    return {
        "object": "subscription",
        "id": "sub_1",
        "customer": "cus_1",
        "created": START,
        "start_date": START,
        "status": "active",
        "currency": "usd",
        "trial_start": None,
        "trial_end": None,
        "ended_at": None,
        "cancel_at": START + 9 * DAY,
        "cancel_at_period_end": True,
        "canceled_at": None,
        "pause_collection": None,
        "items": items,
        "discounts": ["di_2"],
        "metadata": {"user_id": "u"},
    } | changes


def snapshot(**changes: Any) -> Snapshot:
    values = {
        "subscription": "sub_1",
        "customer": "cus_1",
        "status": "active",
        "currency": "usd",
        "started_at": at(0),
        "trial_start": None,
        "trial_end": None,
        "ended_at": None,
        "paused_collection": False,
        "churn": None,
        "items": [{"id": "si_1", "quantity": 1, "price": {"id": "price_1"}}],
        "discounts": [],
        "previous_attributes": None,
    }
    return Snapshot(**{**values, **changes})


def test_an_event_is_of_the_fact_so_that_it_is_kept_once() -> None:
    [said] = of_coupon({"object": "coupon", "id": "SOMMER 25 %", "created": START})

    assert said.event("acct_1", livemode=True) == {
        "id": "backfill:coupon.created:SOMMER%2025%20%25",
        "object": "event",
        "type": "coupon.created",
        "created": START,
        "livemode": True,
        "account": "acct_1",
        "data": {"object": {"object": "coupon", "id": "SOMMER 25 %", "created": START}},
    }


@pytest.mark.parametrize(
    ("status", "moments", "expected"),
    [
        ("paid", {"paid_at": START + 60}, [("invoice.paid", at(60))]),
        ("paid", {}, [("invoice.paid", at(0))]),
        ("void", {"voided_at": START + 70}, [("invoice.voided", at(70))]),
        (
            "uncollectible",
            {"marked_uncollectible_at": START + 80},
            [("invoice.marked_uncollectible", at(80))],
        ),
        ("open", {"finalized_at": START + 5}, [("invoice.finalized", at(5))]),
        ("draft", {}, []),
    ],
)
def test_an_invoice_says_what_it_came_to(
    status: str, moments: Json, expected: list[tuple[str, datetime]]
) -> None:
    assert told(of_invoice(invoice(status=status, status_transitions=moments))) == expected


def test_a_payment_that_was_given_up_does_not_pay_the_invoice() -> None:
    rows = [
        {"status": "canceled", "payment": {"payment_intent": "pi_1"}},
        {"status": "paid", "payment": {"payment_intent": "pi_2"}},
    ]
    [said] = of_invoice(invoice(status="open", payments={"data": rows}))

    assert said.object["payments"] == {"data": [rows[1]]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"payment_intent": {"id": "pi_1", "status": "succeeded"}}, "payment_intent.succeeded"),
        ({"payment_intent": {"id": "pi_1", "status": "requires_capture"}}, None),
        ({}, "charge.succeeded"),
        ({"balance_transaction": {"created": START + DAY}}, "charge.captured"),
        ({"captured": False}, None),
        ({"status": "failed"}, None),
    ],
)
def test_a_charge_is_money_only_where_it_moved(changes: Json, expected: str | None) -> None:
    assert [one.type for one in of_charge(charge(**changes))] == ([expected] if expected else [])


def test_money_is_dated_by_its_balance_transaction() -> None:
    intent = {"id": "pi_1", "status": "succeeded"}
    [captured_later] = of_charge(
        charge(payment_intent=intent, balance_transaction={"created": START + 3 * DAY})
    )
    [unknown] = of_charge(charge(payment_intent=intent, balance_transaction=None))

    assert (captured_later.at, unknown.at) == (at(3 * DAY), at(0))


@pytest.mark.parametrize(
    ("status", "back", "expected"),
    [
        ("succeeded", None, [("refund.created", at(0))]),
        ("pending", None, [("refund.created", at(0))]),
        ("failed", {"created": START + DAY}, [("refund.failed", at(DAY))]),
        ("canceled", {"created": START + DAY}, [("refund.failed", at(DAY))]),
        ("failed", None, []),
        ("requires_action", None, []),
    ],
)
def test_a_refund_says_what_it_came_to(
    status: str, back: Json | None, expected: list[tuple[str, datetime]]
) -> None:
    refund = {"object": "refund", "id": "re_1", "created": START, "status": status}

    assert told(of_refund(refund | {"failure_balance_transaction": back})) == expected


def test_each_movement_of_a_dispute_is_an_event_of_its_own() -> None:
    rows = [
        {"object": "balance_transaction", "id": f"txn_{n}", "amount": amount, "created": START + n}
        for n, amount in ((1, -500), (2, 500), (3, 0))
    ]
    dispute = {
        "object": "dispute",
        "id": "du_1",
        "created": START,
        "status": "won",
        "balance_transactions": rows,
    }

    assert [(one.type, one.about, one.at) for one in of_dispute(dispute)] == [
        ("charge.dispute.created", "du_1", at(0)),
        ("charge.dispute.funds_withdrawn", "txn_1", at(1)),
        ("charge.dispute.funds_reinstated", "txn_2", at(2)),
    ]


@pytest.mark.parametrize("status", ["complete", "open", "expired"])
def test_a_session_is_told_of_only_when_it_was_completed(status: str) -> None:
    session = {"object": "checkout.session", "id": "cs_1", "created": START, "status": status}
    expected = [("checkout.session.completed", at(0))] if status == "complete" else []

    assert told(of_session(session)) == expected


# --- subscriptions


def test_a_subscription_began_without_what_came_to_it_later() -> None:
    [said] = of_subscription(subscription(), None, NOW)

    assert (said.type, said.at) == ("customer.subscription.created", at(0))
    assert said.object == subscription(cancel_at=None, cancel_at_period_end=False) | {
        "cancellation_details": None,
        "pending_update": None,
    }


def test_one_that_ended_has_its_start_and_its_end() -> None:
    ended = subscription(status="canceled", ended_at=START + 40 * DAY)
    begun, gone = of_subscription(ended, None, NOW)

    assert (begun.type, begun.at, begun.object["status"]) == (
        "customer.subscription.created",
        at(0),
        "active",
    )
    assert gone == Said(
        type="customer.subscription.deleted", about="sub_1", at=at(40 * DAY), object=ended
    )


@pytest.mark.parametrize(
    ("changes", "converts"),
    [
        ({"status": "active"}, True),
        ({"status": "past_due"}, True),
        ({"status": "canceled", "ended_at": START + 40 * DAY}, True),
        ({"status": "trialing"}, False),
        ({"status": "paused"}, False),
        ({"status": "canceled", "ended_at": START + 14 * DAY + 60}, False),
        ({"status": "canceled", "ended_at": START + 5 * DAY}, False),
    ],
)
def test_a_trial_ends_in_paid_time_only_if_it_lived_on(changes: Json, converts: bool) -> None:
    tried = subscription(trial_start=START, trial_end=START + 14 * DAY, **changes)
    said = list(of_subscription(tried, None, NOW))

    assert said[0].object["status"] == "trialing"
    turned = [one for one in said if one.previous == {"status": "trialing"}]
    assert [(one.at, one.object["status"]) for one in turned] == (
        [(at(14 * DAY), "active")] if converts else []
    )


@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired"])
def test_one_that_was_never_paid_never_began(status: str) -> None:
    assert list(of_subscription(subscription(status=status), None, NOW)) == []


def test_how_it_stands_is_told_as_of_now_where_nobody_knows_since_when() -> None:
    _, stands = of_subscription(subscription(status="unpaid"), None, NOW)

    assert (stands.type, stands.about, stands.at) == (
        "customer.subscription.updated",
        "sub_1:unpaid",
        NOW,
    )
    assert read(stands.event("", livemode=False)).facts == ()


def test_before_the_first_that_was_heard_of_it_it_had_the_items_of_then() -> None:
    before = {"items": {"data": [{"id": "si_1", "quantity": 9}]}, "discounts": ["di_1"]}
    heard = (at(30 * DAY), snapshot(previous_attributes=before))
    [said] = of_subscription(subscription(), heard, NOW)
    [plain] = of_subscription(subscription(), (at(30 * DAY), snapshot()), NOW)

    assert said.object["items"]["data"] == [{"id": "si_1", "quantity": 9}]
    assert said.object["discounts"] == ["di_1"]
    assert plain.object["items"]["data"] == snapshot().items


def test_what_was_heard_is_not_told_again() -> None:
    """Its start is known, and the webhook events since then tell the rest."""
    from_the_start = (at(2), snapshot())
    tried = subscription(status="unpaid", trial_start=START, trial_end=START + 14 * DAY)

    assert list(of_subscription(tried, from_the_start, NOW)) == []


def test_every_type_that_is_made_is_read() -> None:
    made = [
        *of_subscription(subscription(status="canceled", ended_at=START + DAY), None, NOW),
        *of_charge(charge()),
        *of_session({"object": "s", "id": "cs_1", "created": START, "status": "complete"}),
    ]

    assert {one.type for one in made} - READERS.keys() == set()


@pytest.mark.parametrize("created", [None, "soon", -1, 2**40])
def test_an_object_without_its_time_is_named(created: object) -> None:
    with pytest.raises(Missing, match="created"):
        list(of_charge(charge(created=created)))


def test_moments_stay_whole_seconds() -> None:
    [said] = of_charge(charge())

    assert said.at + timedelta(0) == datetime.fromtimestamp(
        said.event("", livemode=True)["created"], UTC
    )
