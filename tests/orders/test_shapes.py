"""One life told in four API shapes gives the same facts; and its webhooks are Stripe's."""

from collections.abc import Sequence

import pytest

from app.demo.books import Json
from app.demo.envelopes import Emission
from tests.orders.expect import Entry, Event, Movement, expected
from tests.orders.history import live
from tests.orders.run import Bench
from tests.orders.shapes import webhooks
from tests.orders.story import (
    DAY,
    HOUR,
    SHAPES,
    Buy,
    Cancel,
    Change,
    Dispute,
    GiveBack,
    Life,
    Renew,
    Subscribe,
)

ACTS = (
    Subscribe(after=DAY, plan="basic", trial_days=5, saved="different"),
    Renew(paid="after a failure"),
    Change(after=2 * DAY, what="plan", billing="now", back_after=1800),
    Renew(paid="in parts"),
    GiveBack(after=3 * DAY, shares=(30, 50), settles="fails"),
    Dispute(after=DAY, which=1, ends="won"),
    Cancel(after=DAY, when="period end"),
    Buy(after=20 * DAY, amount=150, saved="nowhere"),
    GiveBack(after=HOUR, which=-1, settles="later"),
    Subscribe(after=DAY, plan="yearly", seats=2, saved="session"),
)
# Written out by hand from the acts: the oracle is held against this too.
ENTRIES = (
    ("dispute:dp_1:txn_1", "dispute", -837, "2025-04-16 11:30:12"),
    ("dispute:dp_1:txn_2", "dispute_reversal", 837, "2025-04-25 11:30:12"),
    ("payment:in_2", "payment", 2_000, "2025-03-10 11:10:12"),
    ("payment:in_3", "payment", 837, "2025-03-12 11:10:14"),
    ("payment:in_4", "payment", 2_000, "2025-04-09 11:10:12"),
    ("payment:in_5", "payment", 50_000, "2025-05-20 12:40:16"),
    ("payment:pi_5", "payment", 15_000, "2025-05-16 11:30:12"),
    ("refund:re_1", "refund", -600, "2025-04-12 11:10:12"),
    ("refund:re_1:reversed", "refund_reversal", 600, "2025-04-15 11:30:12"),
    ("refund:re_2", "refund", -1_000, "2025-04-12 11:20:12"),
    ("refund:re_2:reversed", "refund_reversal", 1_000, "2025-04-15 11:30:12"),
    ("refund:re_3", "refund", -15_000, "2025-05-16 12:30:14"),
)
# Who: a and b are the ids on the session and on what it made, + where the session id rides.
EVENTS = (
    ("2025-03-02 10:10:00", "subscription_started", "1b+"),
    ("2025-03-02 10:10:00", "trial_started", "1b+"),
    ("2025-03-02 10:10:03", "checkout_completed", "1a+"),
    ("2025-03-04 10:10:00", "trial_will_end", "1b"),
    ("2025-03-07 11:10:12", "payment_failed", "1b"),
    ("2025-03-07 11:10:12", "subscription_past_due", "1b"),
    ("2025-03-10 11:10:12", "payment_recovered", "1b"),
    ("2025-03-10 11:10:12", "payment_succeeded", "1b"),
    ("2025-03-10 11:10:12", "trial_converted", "1b"),
    ("2025-03-12 11:10:12", "subscription_upgraded", "1b"),
    ("2025-03-12 11:10:14", "payment_succeeded", "1b"),
    ("2025-03-12 11:40:12", "subscription_downgraded", "1b"),
    ("2025-04-09 11:10:12", "payment_succeeded", "1b"),
    ("2025-04-09 11:10:12", "subscription_renewed", "1b"),
    ("2025-04-12 11:10:12", "refund_created", "1b"),
    ("2025-04-12 11:20:12", "refund_created", "1b"),
    ("2025-04-15 11:30:12", "refund_reversed", "1b"),
    ("2025-04-15 11:30:12", "refund_reversed", "1b"),
    ("2025-04-16 11:30:12", "dispute_funds_withdrawn", "1b"),
    ("2025-04-16 11:30:12", "dispute_opened", "1b"),
    ("2025-04-25 11:30:12", "dispute_closed", "1b"),
    ("2025-04-25 11:30:12", "dispute_funds_reinstated", "1b"),
    ("2025-04-26 11:30:12", "subscription_cancel_scheduled", "1b"),
    ("2025-05-07 10:10:00", "subscription_cancelled", "1b"),
    ("2025-05-16 11:30:12", "payment_succeeded", "1b"),
    ("2025-05-16 11:30:14", "checkout_completed", "1b"),
    ("2025-05-16 12:30:14", "refund_created", "1b"),
    ("2025-05-20 12:40:14", "subscription_reactivated", "3a+"),
    ("2025-05-20 12:40:14", "subscription_started", "3a+"),
    ("2025-05-20 12:40:16", "payment_succeeded", "3a+"),
    ("2025-05-20 12:40:17", "checkout_completed", "3a+"),
)
MOVEMENTS = (
    ("2025-03-07 10:00:00", "new", 2_000),
    ("2025-05-07 10:00:00", "churn_voluntary", -2_000),
    ("2025-05-20 12:00:00", "reactivation", 4_167),
)


def life(shape: str) -> Life:
    return Life(shape=shape, currency="kwd", acts=ACTS)


def entries(found: Sequence[Entry]) -> tuple[tuple[str, str, int, str], ...]:
    return tuple((one.key, one.kind, one.minor, one.when) for one in sorted(found))


def events(found: Sequence[Event]) -> tuple[tuple[str, str, str], ...]:
    return tuple(sorted((one.when, one.name, _who(one)) for one in found))


def movements(found: Sequence[Movement]) -> tuple[tuple[str, str, int], ...]:
    return tuple((one.when, one.kind, one.minor) for one in found)


def _who(one: Event) -> str:
    ids = dict(one.ids)
    user, device = ids["user_id"], ids["device_id"]
    assert user.removeprefix("user_") == device.removeprefix("device_")
    return user.removeprefix("user_") + ("+" if "session_id" in ids else "")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_oracle_says_what_a_person_read_in_the_acts(shape: str) -> None:
    want = expected(live(life(shape)))

    assert entries(want.entries) == ENTRIES
    assert events(want.events) == EVENTS
    assert movements(want.movements) == MOVEMENTS


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_one_life_gives_the_same_facts(here: Bench, shape: str) -> None:
    outcome = here.in_order(here.webhooks(life(shape)))

    assert outcome.stuck == {}
    assert entries(outcome.entries()) == ENTRIES
    assert events(outcome.events()) == EVENTS
    if here.measures:
        assert movements(outcome.mrr()) == MOVEMENTS


def told(shape: str) -> list[Emission]:
    return webhooks(live(life(shape)), "acct_1")


def first(emissions: Sequence[Emission], kind: str) -> Json:
    return next(one.object for one in emissions if one.type == kind)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_renewal_is_announced_by_all_that_announce_it(shape: str) -> None:
    """Paid in parts since basil: two payments, each linked, and the invoice paid by the last."""
    paid_at = 1_744_197_012
    types = [one.type for one in told(shape) if one.created == paid_at]

    linked = [] if shape == "pre-basil" else ["invoice_payment.paid"]
    assert types == [
        "payment_intent.succeeded",
        "charge.succeeded",
        *linked,
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    links = [one for one in told(shape) if one.type == "invoice_payment.paid"]
    renewal = [one.object["amount_paid"] for one in links if one.object["invoice"] == "in_4"]
    assert renewal == ([] if shape == "pre-basil" else [666, 1_334])


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_keeps_its_fields_where_stripe_does(shape: str) -> None:
    emissions = told(shape)
    invoice, charge = first(emissions, "invoice.paid"), first(emissions, "charge.succeeded")
    intent, sub = (
        first(emissions, "payment_intent.succeeded"),
        first(emissions, "customer.subscription.created"),
    )
    old = shape == "pre-basil"

    assert {one.version for one in emissions} == {SHAPES[shape]}
    assert [("subscription" in invoice), ("parent" in invoice)] == [old, not old]
    assert ["invoice" in charge, "invoice" in intent] == [old, old]
    assert ("current_period_end" in sub) is old
    assert ("billing_mode" in sub) is (shape in ("clover", "endive"))
    assert ("customer_account" in sub) is (shape == "endive")
    assert ("customer" in first(emissions, "refund.created")) is (shape == "endive")


def test_before_basil_a_checkout_makes_a_subscription_that_waits_for_its_payment() -> None:
    acts = (Subscribe(after=DAY),)
    states = {}
    for shape in ("pre-basil", "basil"):
        emissions = webhooks(live(Life(shape=shape, currency="usd", acts=acts)), "acct_1")
        states[shape] = [
            (one.type.rpartition(".")[2], one.object["status"], one.previous)
            for one in emissions
            if one.type.startswith("customer.subscription.")
        ]

    assert states == {
        "pre-basil": [
            ("created", "incomplete", None),
            ("updated", "active", {"status": "incomplete"}),
        ],
        "basil": [("created", "active", None)],
    }


def test_a_failed_refund_is_announced_three_times_in_one_second() -> None:
    failed = [one for one in told("clover") if one.object["id"] == "re_1"]

    assert [(one.type, one.object["status"], one.previous) for one in failed] == [
        ("refund.created", "succeeded", None),
        ("refund.failed", "failed", None),
        ("refund.updated", "failed", {"status": "succeeded"}),
        ("charge.refund.updated", "failed", {"status": "succeeded"}),
    ]
    assert len({one.created for one in failed}) == 2


def test_a_dispute_lists_what_it_moved_so_far() -> None:
    disputes = [one for one in told("basil") if one.type.startswith("charge.dispute.")]
    moved = [
        (one.type.rpartition(".")[2], [row["amount"] for row in one.object["balance_transactions"]])
        for one in disputes
    ]

    assert moved == [
        ("created", [-837]),
        ("funds_withdrawn", [-837]),
        ("updated", [-837]),
        ("funds_reinstated", [-837, 837]),
        ("closed", [-837, 837]),
    ]
