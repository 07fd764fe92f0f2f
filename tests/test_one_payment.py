"""One payment is announced by six webhook events: one entry and one revenue event, in any order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, text

from app.ask import ask
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.stripe_api import StripeApi
from tests.fake_stripe import fake_stripe
from tests.test_process import (
    CREATED,
    IDS,
    a_session,
    an_intent,
    an_invoice,
    event,
    put,
    rows,
)

KEY = "rk_test_plantedPLANTED0123456789"
Json = dict[str, Any]
INVOICE_PAYMENT = {
    "id": "inpay_1",
    "object": "invoice_payment",
    "created": CREATED,
    "amount_paid": 1190,
    "currency": "eur",
    "invoice": "in_1",
    "status": "paid",
    "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
}
CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "created": CREATED,
    "amount": 1190,
    "amount_captured": 1190,
    "captured": True,
    "currency": "eur",
    "customer": "cus_1",
    "paid": True,
    "payment_intent": "pi_1",
    "status": "succeeded",
}


def of_an_invoice(account: str) -> list[Json]:
    """As since 2025-03-31: nothing on the payment intent or charge says that it pays an invoice."""
    return [
        event(number, type_, obj, account=account)
        for number, (type_, obj) in enumerate(
            [
                ("checkout.session.completed", a_session(invoice="in_1")),
                ("payment_intent.succeeded", an_intent(amount_received=1190)),
                ("charge.succeeded", CHARGE),
                ("invoice.paid", an_invoice()),
                ("invoice.payment_succeeded", an_invoice()),
                ("invoice_payment.paid", INVOICE_PAYMENT),
            ]
        )
    ]


def one_off(account: str) -> list[Json]:
    """Of a Checkout Session in payment mode, announced twice over, and refunded."""
    session = a_session(mode="payment", subscription=None, payment_intent="pi_1")
    return [
        event(number, type_, obj, account=account)
        for number, (type_, obj) in enumerate(
            [
                ("checkout.session.completed", session),
                ("checkout.session.async_payment_succeeded", session),
                ("payment_intent.succeeded", an_intent(amount_received=1190)),
                ("charge.succeeded", CHARGE),
                ("charge.captured", CHARGE),
                ("charge.updated", CHARGE),
            ]
        )
    ]


def in_rounds(lives: Sequence[Sequence[Json]]) -> Iterator[list[Json]]:
    """The first webhook event of every account, then the second: all orders at once."""
    for number in range(len(lives[0])):
        yield [life[number] for life in lives]


def held_no_longer(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    while release_ended_holds(engine, settings):
        pass


def outcome(engine: Engine) -> tuple[set[Any], set[Any]]:
    """What was booked and told of money, by account: one set of each if all accounts agree."""
    entries = rows(
        engine,
        """SELECT array_agg(row(key, minor, currency, occurred_at)::text ORDER BY key)::text
           FROM revenue_entries GROUP BY account""",
    )
    told = rows(
        engine,
        """SELECT array_agg(row(key, name, occurred_at, state, identity -> 'ids', properties,
                                minor)::text ORDER BY key)::text
           FROM analytics_events WHERE minor IS NOT NULL GROUP BY account""",
    )
    return set(entries), set(told)


@pytest.mark.parametrize(
    ("announced", "key"), [(of_an_invoice, "payment:in_1"), (one_off, "payment:pi_1")]
)
def test_six_announcers_of_one_payment_make_one_entry_and_one_event_in_all_720_orders(
    engine: Engine, settings: Settings, announced: Callable[[str], list[Json]], key: str
) -> None:
    accounts = [f"acct_{number}" for number in range(720)]
    orders = permutations(range(6))
    lives = [
        [announced(account)[place] for place in order]
        for account, order in zip(accounts, orders, strict=True)
    ]
    for webhook_events in in_rounds(lives):
        put(engine, *webhook_events)
        while process(engine, settings):
            pass
    held_no_longer(engine, settings)

    assert rows(
        engine, "SELECT key, minor, currency, count(*) FROM revenue_entries GROUP BY 1, 2, 3"
    ) == [(key, 1190, "eur", 720)]
    entries, told = outcome(engine)
    assert (len(entries), len(told)) == (1, 1)
    assert rows(
        engine,
        """SELECT name, state, identity -> 'ids', count(*) FROM analytics_events
           WHERE minor IS NOT NULL GROUP BY 1, 2, 3""",
    ) == [("payment_succeeded", "released", IDS, 720)]


@pytest.mark.parametrize(
    ("announced", "key"), [(of_an_invoice, "payment:in_1"), (one_off, "payment:pi_1")]
)
def test_asking_stripe_in_between_changes_nothing(
    engine: Engine, settings: Settings, announced: Callable[[str], list[Json]], key: str
) -> None:
    accounts = [f"acct_{number}" for number in range(40)]
    orders = list(permutations(range(6)))[::18]
    lives = [
        [announced(account)[place] for place in order]
        for account, order in zip(accounts, orders, strict=True)
    ]
    with fake_stripe(KEY) as stripe:
        settings = replace(settings, stripe_api_key=KEY, stripe_api_base=stripe.base)
        api = StripeApi(KEY, stripe.base)
        for account in accounts if announced is of_an_invoice else ():
            stripe.add(INVOICE_PAYMENT, account=account)
        for webhook_events in in_rounds(lives):
            put(engine, *webhook_events)
            while process(engine, settings):
                pass
            with engine.begin() as connection:
                connection.execute(
                    text("UPDATE work SET due_at = clock_timestamp() WHERE lane = 'ask'")
                )
            while ask(engine, api):
                pass
            while process(engine, settings):
                pass
        assert stripe.requests
    held_no_longer(engine, settings)

    assert rows(engine, "SELECT key, minor, count(*) FROM revenue_entries GROUP BY 1, 2") == [
        (key, 1190, 40)
    ]
    assert rows(
        engine,
        "SELECT name, state, count(*) FROM analytics_events WHERE minor IS NOT NULL GROUP BY 1, 2",
    ) == [("payment_succeeded", "released", 40)]


@pytest.mark.parametrize(
    ("currency", "minor", "major", "number"),
    [
        ("jpy", 1500, "1500", b"1500.0"),
        ("kwd", 12340, "12.340", b"12.34"),
        ("ugx", 500000, "5000.00", b"5000.0"),
        ("isk", 129900, "1299.00", b"1299.0"),
    ],
)
def test_each_currency_arrives_at_the_destinations_in_its_own_whole_units(
    engine: Engine,
    with_destinations: Callable[..., Settings],
    currency: str,
    minor: int,
    major: str,
    number: bytes,
) -> None:
    settings = with_destinations(
        amplitude={"api_key": "0123456789abcdef0123456789abcdef"},
        webhook={"url": "https://shop.example/in", "secret": "whsec_b3JkZXItZnJlZS1vcmRlci1mcmVl"},
    )
    money: Json = {"currency": currency, "total": minor, "amount_due": minor, "amount_paid": minor}
    put(engine, event(1, "invoice.paid", an_invoice(metadata=IDS, **money)))
    process(engine, settings)

    sent = dict(rows(engine, "SELECT destination, payload FROM deliveries"))
    told = orjson.loads(sent["webhook"])["data"]
    assert told["revenue"] == {"minor": minor, "currency": currency, "major": major}
    assert b'"revenue":' + number in bytes(sent["amplitude"])
    assert orjson.loads(sent["amplitude"])["currency"] == currency.upper()
    assert told["properties"]["amount"] == float(major)


def test_a_property_that_is_not_listed_does_not_leave(
    engine: Engine, with_destinations: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_destinations(
        webhook={"url": "https://shop.example/in", "secret": "whsec_b3JkZXItZnJlZS1vcmRlci1mcmVl"}
    )
    monkeypatch.setattr("app.owe.allowed", lambda _name: frozenset({"amount"}))
    put(engine, event(1, "invoice.paid", an_invoice(metadata=IDS)))
    process(engine, settings)

    [(payload,)] = rows(engine, "SELECT payload FROM deliveries")
    assert orjson.loads(payload)["data"]["properties"] == {"amount": 11.9}
