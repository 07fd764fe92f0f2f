"""Thin events: kept, given their object by Stripe's API, and told once with their twins."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import stripe
from sqlalchemy import Engine, text

from app.ask import ask
from app.hydrate import NEEDS_KEY, hydrate
from app.measure import measure
from app.process import process
from app.settings import Settings
from app.store.webhook_events import process_again
from app.stripe_api import StripeApi
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.test_process import (
    CREATED,
    IDS,
    a_session,
    a_subscription,
    an_intent,
    an_invoice,
    event,
    processed,
    put,
    rows,
)

KEY = "rk_test_plantedPLANTED0123456789"
AT = "2025-03-01T12:00:00.250Z"
Json = dict[str, Any]


@pytest.fixture
def stripe_side(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStripe]:
    monkeypatch.setattr(stripe.RequestsClient, "_sleep_time_seconds", lambda *_: 0.0)
    with fake_stripe(KEY) as fake:
        yield fake


@pytest.fixture
def api(stripe_side: FakeStripe) -> StripeApi:
    return StripeApi(KEY, stripe_side.base)


@pytest.fixture
def with_key(settings: Settings) -> Settings:
    return replace(settings, stripe_api_key=KEY)


def thin(type_: str = "v1.invoice.paid", **changes: Any) -> Json:
    return {
        "id": "evt_thin_1",
        "object": "v2.core.event",
        "type": type_,
        "created": AT,
        "livemode": True,
        "related_object": {"id": "in_1", "type": "invoice", "url": "/v1/invoices/in_1"},
        **changes,
    }


def invoice_as_stripe_has_it(**changes: Any) -> Json:
    lines = {"object": "list", "data": [], "has_more": False}
    return an_invoice(lines=lines, metadata=IDS, livemode=True, **changes)


def states(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(engine, "SELECT event_id, verdict FROM webhook_events ORDER BY id")


def told(engine: Engine) -> list[tuple[Any, ...]]:
    at = "extract(epoch FROM occurred_at)::bigint"
    return rows(engine, f"SELECT key, state, {at} FROM analytics_events ORDER BY key")


def booked(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(engine, "SELECT account, key, minor FROM revenue_entries ORDER BY 1, 2")


def due_now(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))


def fetched(engine: Engine, api: StripeApi | None) -> int:
    """`hydrate`, once what waits for a twin has waited."""
    due_now(engine)
    return hydrate(engine, api)


PAID = [("payment:in_1", "released", CREATED)]


def test_a_thin_event_waits_for_its_object_and_is_then_processed(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    stripe_side.add(invoice_as_stripe_has_it())
    stripe_side.add(thin())
    put(engine, thin())

    assert process(engine, with_key) == 1
    assert states(engine) == [("evt_thin_1", "held")]
    assert hydrate(engine, api) == 1
    assert process(engine, with_key) == 1

    assert states(engine) == [("evt_thin_1", "processed")]
    assert booked(engine) == [("", "payment:in_1", 1190)]
    assert told(engine) == PAID
    assert rows(engine, "SELECT lane FROM work WHERE lane IN ('hydrate', 'process')") == []


def test_its_snapshot_twin_is_read_where_stripe_still_has_it(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    twin = event(1, "invoice.paid", an_invoice(metadata=IDS))
    stripe_side.add(twin)
    stripe_side.add(thin(snapshot_event="evt_1"))
    put(engine, thin())

    process(engine, with_key)
    fetched(engine, api)
    process(engine, with_key)

    assert [one.path for one in stripe_side.requests] == [
        "/v2/core/events/evt_thin_1",
        "/v1/events/evt_1",
    ]
    assert told(engine) == PAID


@pytest.mark.parametrize("thin_first", [True, False])
def test_both_modes_of_one_change_are_told_once(
    engine: Engine,
    with_key: Settings,
    stripe_side: FakeStripe,
    api: StripeApi,
    thin_first: bool,
) -> None:
    changed = a_subscription(metadata=IDS, cancel_at_period_end=True)
    before = {"cancel_at_period_end": False}
    twin = event(1, "customer.subscription.updated", changed)
    twin["data"]["previous_attributes"] = before
    stripe_side.add(twin)
    notice = thin("v1.customer.subscription.updated", snapshot_event="evt_1")
    stripe_side.add(notice)
    for one in (notice, twin) if thin_first else (twin, notice):
        put(engine, one)
        process(engine, with_key)
    fetched(engine, api)
    process(engine, with_key)

    assert [key for key, *_ in told(engine)] == [f"subscription_cancel_scheduled:sub_1:{CREATED}"]
    assert [verdict for _, verdict in states(engine)] == (
        ["ignored", "processed"] if thin_first else ["processed", "ignored"]
    )
    assert stripe_side.requests == [], "the twin told it"


def test_what_changed_is_taken_from_the_thin_event_where_the_twin_is_gone(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    stripe_side.add(a_subscription(metadata=IDS, cancel_at_period_end=True, livemode=True))
    notice = thin(
        "v1.customer.subscription.updated",
        snapshot_event="evt_gone",
        related_object={"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
        changes={"before": {"cancel_at_period_end": False}},
    )
    stripe_side.add(notice)
    put(engine, notice)

    process(engine, with_key)
    fetched(engine, api)
    process(engine, with_key)

    assert [key for key, *_ in told(engine)] == [f"subscription_cancel_scheduled:sub_1:{CREATED}"]
    assert rows(engine, "SELECT hydrated FROM subscription_snapshots") == [(True,)]


def test_a_thin_event_of_a_connected_account_is_asked_for_there(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    notice = thin(context="org_1/acct_9")
    stripe_side.add(invoice_as_stripe_has_it(), account="acct_9")
    stripe_side.add(notice, account="org_1/acct_9")
    put(engine, notice)

    process(engine, with_key)
    fetched(engine, api)
    process(engine, with_key)

    assert booked(engine) == [("acct_9", "payment:in_1", 1190)]


def test_without_a_key_it_is_quarantined_and_processed_once_there_is_one(
    engine: Engine,
    settings: Settings,
    with_key: Settings,
    stripe_side: FakeStripe,
    api: StripeApi,
) -> None:
    stripe_side.add(invoice_as_stripe_has_it())
    stripe_side.add(thin())
    processed(engine, settings, thin())
    assert hydrate(engine, None) == 1
    assert rows(engine, "SELECT verdict, reason FROM webhook_events") == [
        ("quarantined", NEEDS_KEY)
    ]

    with engine.begin() as connection:
        process_again(connection, [1])
    process(engine, with_key)
    fetched(engine, api)
    process(engine, with_key)

    assert told(engine) == PAID


def test_stripe_out_of_reach_is_asked_again_and_what_it_no_longer_has_is_quarantined(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    stripe_side.fail("/v2/core/events/", 500, times=2)
    put(engine, thin())
    process(engine, with_key)

    assert hydrate(engine, api) == 1
    assert states(engine) == [("evt_thin_1", "held")]
    assert hydrate(engine, api) == 0, "not due yet"
    due_now(engine)
    assert hydrate(engine, api) == 1
    assert rows(engine, "SELECT verdict, reason FROM webhook_events") == [
        ("quarantined", "Stripe has no such object any more")
    ]
    assert rows(engine, "SELECT * FROM work WHERE lane = 'hydrate'") == []


def test_a_hostile_address_in_a_thin_event_is_never_asked(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    notice = thin(related_object={"id": "x", "type": "invoice", "url": "//evil.example/v1/x"})
    stripe_side.add(notice)
    put(engine, notice)
    process(engine, with_key)

    fetched(engine, api)

    assert [one.path for one in stripe_side.requests] == ["/v2/core/events/evt_thin_1"]
    assert rows(engine, "SELECT verdict, reason FROM webhook_events") == [
        ("quarantined", "related_object.url: not a path")
    ]


@pytest.mark.parametrize(
    "type_", ["v2.core.event_destination.ping", "v1.price.activated", "v2.money_management.x"]
)
def test_other_thin_types_are_kept_and_ignored(
    engine: Engine, with_key: Settings, type_: str
) -> None:
    processed(engine, with_key, thin(type_))

    assert states(engine) == [("evt_thin_1", "ignored")]


# Payments that nobody claims


def test_a_payment_that_pays_no_invoice_is_booked_once_stripe_says_so(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    put(engine, event(1, "payment_intent.succeeded", an_intent(metadata=IDS)))
    process(engine, with_key)
    assert ask(engine, api) == 0, "what speaks for it may come along yet"
    assert booked(engine) == []

    due_now(engine)
    assert ask(engine, api) == 1
    process(engine, with_key)

    assert booked(engine) == [("", "payment:pi_1", 900)]
    assert told(engine) == [("payment:pi_1", "released", CREATED)]
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    assert [(one.path, one.params) for one in stripe_side.requests] == [
        ("/v1/invoice_payments", {"limit": "100", "payment": payment}),
        ("/v1/checkout/sessions", {"limit": "100", "payment_intent": "pi_1"}),
    ]


@pytest.mark.parametrize("invoice_first", [True, False])
def test_a_payment_of_an_invoice_stays_that_invoices(
    engine: Engine,
    with_key: Settings,
    stripe_side: FakeStripe,
    api: StripeApi,
    invoice_first: bool,
) -> None:
    stripe_side.add(
        {
            "id": "inpay_1",
            "object": "invoice_payment",
            "created": CREATED,
            "invoice": "in_1",
            "status": "paid",
            "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
        }
    )
    both = [
        event(1, "invoice.paid", an_invoice(metadata=IDS)),
        event(2, "payment_intent.succeeded", an_intent()),
    ]
    for one in both if invoice_first else reversed(both):
        put(engine, one)
        process(engine, with_key)
        due_now(engine)
        ask(engine, api)
        process(engine, with_key)

    assert booked(engine) == [("", "payment:in_1", 1190)]
    assert told(engine) == PAID


def test_what_a_checkout_claimed_meanwhile_is_not_asked_about(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    session = a_session(mode="payment", subscription=None, payment_intent="pi_1")
    processed(engine, with_key, event(1, "payment_intent.succeeded", an_intent()))
    processed(engine, with_key, event(2, "checkout.session.completed", session))
    due_now(engine)

    assert ask(engine, api) == 1
    assert stripe_side.requests == []
    assert booked(engine) == [("", "payment:pi_1", 900)]
    assert rows(engine, "SELECT * FROM work WHERE lane = 'ask'") == []


def test_a_key_that_may_not_ask_is_said_and_asked_again(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    stripe_side.fail("/v1/invoice_payments", 403)
    processed(engine, with_key, event(1, "payment_intent.succeeded", an_intent()))
    due_now(engine)

    assert ask(engine, api) == 1
    assert booked(engine) == []
    due_now(engine)
    assert ask(engine, api) == 1
    process(engine, with_key)
    assert booked(engine) == [("", "payment:pi_1", 900)]


@pytest.mark.parametrize("session_first", [True, False])
def test_what_a_checkout_knows_of_tax_is_booked_whether_it_or_stripes_answer_comes_first(
    engine: Engine,
    with_key: Settings,
    stripe_side: FakeStripe,
    api: StripeApi,
    session_first: bool,
) -> None:
    session = a_session(
        mode="payment",
        subscription=None,
        payment_intent="pi_1",
        created=CREATED,
        total_details={"amount_tax": 160, "amount_discount": 50},
    )
    stripe_side.add(session)
    processed(engine, with_key, event(1, "payment_intent.succeeded", an_intent()))
    if session_first:
        processed(engine, with_key, event(2, "checkout.session.completed", session))
    due_now(engine)
    ask(engine, api)
    process(engine, with_key)

    assert rows(engine, "SELECT key, minor, tax_minor, discount_minor FROM revenue_entries") == [
        ("payment:pi_1", 900, 160, 50)
    ]
    query = "SELECT properties ->> 'checkout_session_id' FROM analytics_events WHERE minor > 0"
    assert rows(engine, query) == [("cs_1",)]


def test_a_checkout_that_will_make_an_invoice_keeps_its_payment_for_that(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    stripe_side.add(
        a_session(
            mode="payment",
            subscription=None,
            payment_intent="pi_1",
            created=CREATED,
            invoice_creation={"enabled": True},
        )
    )
    processed(engine, with_key, event(1, "payment_intent.succeeded", an_intent()))
    due_now(engine)

    assert ask(engine, api) == 1
    assert booked(engine) == []
    assert rows(engine, "SELECT * FROM work WHERE lane = 'ask'") == []


def test_a_canceled_link_to_an_invoice_pays_nothing(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    stripe_side.add(
        {
            "id": "inpay_1",
            "object": "invoice_payment",
            "created": CREATED,
            "invoice": "in_1",
            "status": "canceled",
            "payment": payment,
        }
    )
    processed(engine, with_key, event(1, "payment_intent.succeeded", an_intent()))
    due_now(engine)
    ask(engine, api)
    process(engine, with_key)

    assert booked(engine) == [("", "payment:pi_1", 900)]


def test_a_replay_asks_for_a_payment_that_was_kept_before_there_was_a_key(
    engine: Engine,
    settings: Settings,
    with_key: Settings,
    stripe_side: FakeStripe,
    api: StripeApi,
) -> None:
    processed(engine, settings, event(1, "payment_intent.succeeded", an_intent()))
    with engine.begin() as connection:
        process_again(connection, [1])
    process(engine, with_key)
    due_now(engine)
    ask(engine, api)
    process(engine, with_key)

    assert booked(engine) == [("", "payment:pi_1", 900)]


def test_two_webhook_events_of_one_payment_leave_no_row_to_ask_for_ever(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    for number in (1, 2):
        processed(engine, with_key, event(number, "payment_intent.succeeded", an_intent()))
    due_now(engine)
    while ask(engine, api):
        pass
    process(engine, with_key)

    assert booked(engine) == [("", "payment:pi_1", 900)]
    due_now(engine)
    while ask(engine, api):
        pass
    assert rows(engine, "SELECT * FROM work WHERE lane = 'ask'") == []


def test_while_stripe_is_out_of_reach_one_question_stands_for_all(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    for number in range(3):
        intent = an_intent(id=f"pi_{number}")
        processed(engine, with_key, event(number, "payment_intent.succeeded", intent))
    stripe_side.fail("/v1/invoice_payments", 503, times=2)  # the library asks twice
    due_now(engine)

    assert ask(engine, api) == 3
    assert len(stripe_side.requests) == 2
    assert rows(engine, "SELECT count(*) FROM work WHERE lane = 'ask'") == [(3,)]


# What a subscription was worth


def test_a_thin_event_and_its_twin_are_one_step_of_what_a_subscription_is_worth(
    engine: Engine, with_key: Settings, stripe_side: FakeStripe, api: StripeApi
) -> None:
    def updated(event_id: str, before: int, after: int) -> Json:
        def items(amount: int) -> Json:
            found = a_subscription()["items"]["data"][0]
            price = {**found["price"], "id": f"price_{amount}", "unit_amount": amount}
            return {"data": [{**found, "price": {**price, "currency": "eur"}}]}

        obj = a_subscription(items=items(after), currency="eur")
        one = event(1, "customer.subscription.updated", obj, id=event_id)
        one["data"]["previous_attributes"] = {"items": items(before)}
        return one

    first, second = updated("evt_z1", 1000, 5000), updated("evt_a2", 5000, 3000)
    notice = thin("v1.customer.subscription.updated", snapshot_event="evt_z1")
    stripe_side.add(first)
    put(engine, notice)
    process(engine, with_key)
    fetched(engine, api)
    put(engine, first, second)
    process(engine, with_key)
    measure(engine, with_key)

    assert rows(engine, "SELECT minor FROM subscription_mrr") == [(3000,)]


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_an_end_without_a_reason_of_one_that_was_not_paid_is_involuntary(
    engine: Engine, settings: Settings, status: str
) -> None:
    for hours, changed in enumerate(("active", "past_due", status, "canceled")):
        obj = a_subscription(status=changed, currency="eur")
        created = CREATED + hours * 3_600
        put(engine, event(hours, "customer.subscription.updated", obj, created=created))
    process(engine, settings)
    measure(engine, settings)

    assert rows(engine, "SELECT movement, minor FROM mrr_movements ORDER BY at") == [
        ("new", 1190),
        ("churn_involuntary", -1190),
    ]


@pytest.mark.parametrize("number", ["1e99999999", "NaN", "1_000", "9" * 21, "0x10", True, {}])
def test_a_price_that_is_no_number_is_quarantined_and_hangs_nothing(
    engine: Engine, settings: Settings, number: object
) -> None:
    hostile = a_subscription("sub_9")
    hostile["items"]["data"][0]["price"]["unit_amount_decimal"] = number
    changed = event(1, "customer.subscription.updated", hostile)
    changed["data"]["previous_attributes"] = {"quantity": 2}
    put(engine, changed, event(2, "customer.subscription.created", hostile))
    put(engine, event(3, "price.created", {"id": "price_9", "unit_amount_decimal": number}))
    while process(engine, settings):
        pass
    while measure(engine, settings):
        pass

    assert {verdict for _, verdict in states(engine)} <= {"quarantined", "processed"}
    assert rows(engine, "SELECT minor FROM subscription_states") in ([(None,)], [])
    assert rows(engine, "SELECT * FROM work WHERE lane <> 'release'") == []
