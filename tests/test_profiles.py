"""What is known of a customer rides with today's events to a tool that keeps it of people."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine
from sqlalchemy import event as sqlalchemy_event

from app.measure import measure
from app.settings import Settings
from app.store import profiles
from tests.test_process import (
    a_refund,
    a_session,
    a_subscription,
    an_intent,
    an_invoice,
    event,
    processed,
    rows,
)

KEY = "0123456789abcdef0123456789abcdef"
DAY = 86_400
CUSTOMER = ("", True, "cus_1")
Json = dict[str, Any]


@pytest.fixture
def now() -> int:
    return int(time.time())


@pytest.fixture
def to_amplitude(with_destinations: Callable[..., Settings]) -> Settings:
    return with_destinations(amplitude={"api_key": KEY})


def paid(invoice: str, at: int, minor: int = 1190, **changes: Any) -> Json:
    body = an_invoice(invoice, amount_paid=minor, created=at, **changes)
    return body | {"status_transitions": {"paid_at": at}}


def subscribed(at: int, **changes: Any) -> Json:
    return a_subscription(start_date=at, currency="eur", metadata={"user_id": "user_7"}, **changes)


def told(engine: Engine) -> dict[str, Json | None]:
    """By key, the user properties that went with it."""
    query = """SELECT e.key, d.payload FROM deliveries d
               JOIN analytics_events e ON e.id = d.analytics_event_id"""
    return {key: orjson.loads(body).get("user_properties") for key, body in rows(engine, query)}


def iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def test_a_customers_life_as_it_is_known_with_each_event(
    engine: Engine, to_amplitude: Settings, now: int
) -> None:
    began, renewed = now - 30 * DAY, now - 60
    created = event(1, "customer.subscription.created", subscribed(began), created=began)
    first = paid("in_1", began, metadata={"user_id": "user_7"})
    processed(engine, to_amplitude, created, event(2, "invoice.paid", first, created=began))
    measure(engine, to_amplitude)
    second = paid("in_2", renewed, 2380, metadata={"user_id": "user_7"})
    processed(engine, to_amplitude, event(3, "invoice.paid", second, created=renewed))
    ended = subscribed(began, status="canceled", ended_at=now, canceled_at=now)
    deleted = event(4, "customer.subscription.deleted", ended, created=now)
    processed(engine, to_amplitude, deleted)
    sums = {"lifetime_revenue": 35.7, "payments": 2, "first_paid_at": iso(began)}

    assert told(engine) == {
        "started:sub_1": None,  # history, by now
        "payment:in_1": None,
        "payment:in_2": {
            "subscription_status": "active",
            "plan": "price_1",
            "mrr": 11.9,
            **sums,
            "tenure_days": 29,
        },
        "ended:sub_1": {
            "subscription_status": "canceled",
            "mrr": 0.0,
            **sums,
            "tenure_days": 30,
        },
    }


def test_a_refund_names_no_customer_and_lowers_what_its_payments_customer_brought(
    engine: Engine, to_amplitude: Settings, now: int
) -> None:
    intent = an_intent(created=now, metadata={"user_id": "user_7"})
    session = a_session(mode="payment", subscription=None, payment_intent="pi_1")
    refund = a_refund(created=now, metadata={"user_id": "user_7"})
    processed(
        engine,
        to_amplitude,
        event(1, "payment_intent.succeeded", intent, created=now),
        event(2, "checkout.session.completed", session, created=now),
        event(3, "refund.created", refund, created=now),
    )

    assert rows(engine, "SELECT key, customer, minor FROM revenue_entries ORDER BY 1") == [
        ("payment:pi_1", "cus_1", 900),
        ("refund:re_1", None, -250),
    ]
    assert told(engine)["refund:re_1"] == {
        "lifetime_revenue": 6.5,
        "payments": 1,
        "first_paid_at": iso(now),
        "tenure_days": 0,
    }


def test_an_mrr_of_another_second_is_not_told(
    engine: Engine, to_amplitude: Settings, now: int
) -> None:
    created = event(1, "customer.subscription.created", subscribed(now - 9), created=now - 9)
    processed(engine, to_amplitude, created)
    measure(engine, to_amplitude)
    item = {"price": {"id": "price_2", "unit_amount": 9900, "recurring": {"interval": "month"}}}
    dearer = subscribed(now - 9, items={"data": [item]})
    updated = event(2, "customer.subscription.updated", dearer, created=now)
    processed(engine, to_amplitude, updated)

    with engine.connect() as connection:
        before = profiles.of(connection, [CUSTOMER])
    measure(engine, to_amplitude)
    with engine.connect() as connection:
        after = profiles.of(connection, [CUSTOMER])
    standing = {"subscription_status": "active", "plan": "price_2"}
    assert before == {CUSTOMER: standing}
    assert after == {CUSTOMER: {**standing, "mrr": 99.0}}


def test_two_updates_of_one_second_are_read_in_the_order_that_they_state(
    engine: Engine, to_amplitude: Settings, now: int
) -> None:
    began = subscribed(now, status="incomplete")
    active = event(1, "customer.subscription.updated", subscribed(now), created=now)
    active["data"]["previous_attributes"] = {"status": "incomplete"}
    created = event(2, "customer.subscription.created", began, created=now)
    processed(engine, to_amplitude, active, created)

    with engine.connect() as connection:
        found = profiles.of(connection, [CUSTOMER])
    assert found[CUSTOMER]["subscription_status"] == "active"


def test_accounts_and_modes_are_apart(engine: Engine, to_amplitude: Settings, now: int) -> None:
    processed(
        engine,
        to_amplitude,
        event(1, "invoice.paid", paid("in_1", now), created=now),
        event(2, "invoice.paid", paid("in_1", now, 500), created=now, account="acct_1"),
        event(3, "invoice.paid", paid("in_1", now, 700), created=now, livemode=False),
    )
    of = [("", True, "cus_1"), ("acct_1", True, "cus_1"), ("", False, "cus_1"), ("", True, "cus_2")]

    with engine.connect() as connection:
        found = profiles.of(connection, of)
    assert [found[one].get("lifetime_revenue") for one in of] == [11.9, 5.0, 7.0, None]


@contextmanager
def counted(engine: Engine, word: str) -> Iterator[list[str]]:
    """The statements that hold this word, while it lasts."""
    seen: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if word in statement:
            seen.append(statement)

    sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    yield seen
    sqlalchemy_event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    ("options", "queries"),
    [({}, 1), ({"user_properties": "off"}, 0), ({"events": "refund_*"}, 0)],
)
def test_nothing_is_asked_where_nobody_wants_to_know(
    engine: Engine,
    with_destinations: Callable[..., Settings],
    now: int,
    options: dict[str, str],
    queries: int,
) -> None:
    settings = with_destinations(amplitude={"api_key": KEY, **options})
    fact = paid("in_1", now, metadata={"user_id": "user_7"})
    with counted(engine, "first_paid_at") as seen:
        processed(engine, settings, event(1, "invoice.paid", fact, created=now))

    assert len(seen) == queries


def test_a_property_that_may_not_leave_is_not_told_of_a_person_either(
    engine: Engine, with_destinations: Callable[..., Settings], now: int
) -> None:
    settings = with_destinations(amplitude={"api_key": KEY, "properties": "!lifetime_*,!payments"})
    fact = paid("in_1", now, metadata={"user_id": "user_7"})
    processed(engine, settings, event(1, "invoice.paid", fact, created=now))

    assert told(engine)["payment:in_1"] == {"first_paid_at": iso(now), "tenure_days": 0}
