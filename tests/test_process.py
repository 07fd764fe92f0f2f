"""Kept webhook events become verdicts, entries and analytics events: all of each, or none."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.core.envelope import open_envelope
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.store import ledger, webhook_events
from app.store.webhook_events import keep, process_again

Json = dict[str, Any]

CREATED = 1_740_830_400
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
IDS = {"user_id": "user_7", "device_id": "dev_7"}


def event(number: int, type_: str, obj: Json, **changes: Any) -> Json:
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": type_,
        "created": CREATED,
        "livemode": True,
        "data": {"object": obj},
        **changes,
    }


def an_invoice(invoice: str = "in_1", sub: str = "sub_1", **changes: Any) -> Json:
    return {
        "id": invoice,
        "object": "invoice",
        "created": CREATED,
        "customer": "cus_1",
        "currency": "eur",
        "billing_reason": "subscription_create",
        "total": 1190,
        "amount_due": 1190,
        "amount_paid": 1190,
        "attempt_count": 1,
        "status_transitions": {"paid_at": CREATED},
        "parent": {"subscription_details": {"subscription": sub}},
        **changes,
    }


def a_subscription(sub: str = "sub_1", **changes: Any) -> Json:
    recurring = {"interval": "month"}
    item = {"price": {"id": "price_1", "unit_amount": 1190, "recurring": recurring}, "quantity": 1}
    return {
        "id": sub,
        "object": "subscription",
        "start_date": CREATED,
        "customer": "cus_1",
        "status": "active",
        "items": {"data": [item]},
        **changes,
    }


def a_session(**changes: Any) -> Json:
    return {
        "id": "cs_1",
        "object": "checkout.session",
        "mode": "subscription",
        "customer": "cus_1",
        "subscription": "sub_1",
        "payment_status": "paid",
        "metadata": IDS,
        **changes,
    }


def an_intent(**changes: Any) -> Json:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "created": CREATED,
        "customer": "cus_1",
        "currency": "eur",
        "amount_received": 900,
        "latest_charge": "ch_1",
        **changes,
    }


def a_refund(**changes: Any) -> Json:
    return {
        "id": "re_1",
        "object": "refund",
        "created": CREATED,
        "amount": 250,
        "currency": "eur",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "status": "succeeded",
        **changes,
    }


def put(engine: Engine, *events: Json) -> None:
    with engine.begin() as connection:
        for one in events:
            body = json.dumps(one).encode()
            keep(connection, open_envelope(body), body, "webhook")


def processed(engine: Engine, settings: Settings, *events: Json) -> None:
    """Keep these and process them, one after the other as they come."""
    for one in events:
        put(engine, one)
        assert process(engine, settings) == 1


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def verdicts(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(engine, "SELECT event_id, verdict, reason FROM webhook_events ORDER BY id")


def booked(engine: Engine) -> list[tuple[Any, ...]]:
    return rows(
        engine,
        "SELECT account, livemode, key, minor, currency FROM revenue_entries ORDER BY 1, 2, 3",
    )


def told(engine: Engine) -> dict[str, tuple[Any, ...]]:
    """By key: state, reason, and the ids that it carries."""
    query = """SELECT key, state, reason, identity -> 'ids', identity ->> 'source'
               FROM analytics_events ORDER BY key"""
    return {row[0]: row[1:] for row in rows(engine, query)}


RELEASED = ("released", None, IDS, "checkout.session.metadata")
HELD = ("held", None, None, None)
PAYMENT = ("", True, "payment:in_1", 1190, "eur")


# Verdicts


def test_nothing_due_is_nothing_done(engine: Engine, settings: Settings) -> None:
    assert process(engine, settings) == 0


def test_every_webhook_event_ends_in_a_verdict_and_leaves_the_schedule(
    engine: Engine, settings: Settings
) -> None:
    lacking = an_invoice("in_2")
    del lacking["amount_paid"]
    put(
        engine,
        event(1, "invoice.paid", an_invoice()),
        event(2, "invoice.paid", lacking),
        event(3, "made.up", {}),
        event(4, "v1.invoice.paid", {}, object="v2.core.event", created="2025-03-01T12:00:00Z"),
        event(5, "invoice.paid", {}, data={"object": None}),
        event(6, "refund.created", a_refund(status="requires_action")),
        event(7, "customer.subscription.updated", a_subscription()),
    )

    assert process(engine, settings) == 7
    assert verdicts(engine) == [
        ("evt_1", "processed", None),
        ("evt_2", "quarantined", "invoice.amount_paid: expected an integer"),
        ("evt_3", "ignored", "type not read"),
        ("evt_4", "held", "waits for its snapshot twin, or Stripe's API"),
        ("evt_5", "quarantined", "data.object: expected an object"),
        ("evt_6", "ignored", "refund is requires_action"),
        ("evt_7", "processed", None),
    ]
    assert rows(engine, "SELECT * FROM work WHERE lane = 'process'") == []
    assert rows(engine, "SELECT * FROM webhook_events WHERE decided_at IS NULL") == []
    assert booked(engine) == [PAYMENT]


def test_a_batch_takes_no_more_than_it_was_asked_for(engine: Engine, settings: Settings) -> None:
    put(engine, *(event(n, "made.up", {}) for n in range(5)))

    assert [process(engine, settings, 2) for _ in range(4)] == [2, 2, 1, 0]


def priced(**changes: Any) -> Json:
    found = a_subscription("sub_9")
    found["items"]["data"][0]["price"].update(changes)
    return found


def deep(levels: int) -> Json:
    found: Json = {}
    for _ in range(levels):
        found = {"a": found}
    return found


UPDATED = "customer.subscription.updated"
POISON = [
    pytest.param(UPDATED, priced(nickname="a\u0000b"), id="NUL that reaches jsonb"),
    pytest.param(
        "invoice.paid", an_invoice("in_2", customer="cus\u0000"), id="NUL that reaches text"
    ),
    pytest.param(
        "invoice.paid", an_invoice("in_2", currency="euro"), id="four letters of currency"
    ),
    pytest.param("invoice.paid", an_invoice("in_2", currency="€"), id="a currency that is none"),
    pytest.param(UPDATED, priced(nickname="half \ud83d"), id="half a surrogate pair in jsonb"),
    pytest.param("invoice.paid", an_invoice("in_\ud83d"), id="half a surrogate pair in an id"),
    pytest.param(UPDATED, priced(metadata=deep(500)), id="five hundred levels"),
    pytest.param(
        "payment_intent.succeeded", {**an_intent(), "currency": "u1"}, id="two letters of currency"
    ),
    pytest.param(
        "charge.refunded",
        {"id": "ch_2", "refunds": {"data": [a_refund(id=f"re_{n}") for n in range(2_001)]}},
        id="more ids than there are locks",
    ),
    pytest.param(
        "invoice.paid",
        an_invoice("in_" + "".join(chr(0x4E00 + n * 7 % 20_000) for n in range(9_000))),
        id="an id that no index can hold",
    ),
]


@pytest.mark.parametrize(("type_", "obj"), POISON)
def test_what_postgres_refuses_is_quarantined_alone(
    engine: Engine, settings: Settings, type_: str, obj: Json
) -> None:
    put(
        engine,
        event(1, "invoice.paid", an_invoice("in_1")),
        event(2, type_, obj),
        event(3, "invoice.paid", an_invoice("in_3")),
    )

    process(engine, settings)
    process(engine, settings)
    assert [row[1] for row in verdicts(engine)] == ["processed", "quarantined", "processed"]
    assert rows(engine, "SELECT reason IS NOT NULL FROM webhook_events ORDER BY id") == [
        (False,),
        (True,),
        (False,),
    ]
    assert [row[2] for row in booked(engine)] == ["payment:in_1", "payment:in_3"]
    assert rows(engine, "SELECT * FROM work WHERE lane = 'process'") == []


def test_the_row_that_failed_is_quarantined_and_not_one_that_another_worker_took_meanwhile(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(
        engine,
        event(1, "invoice.paid", an_invoice("in_1")),
        event(2, UPDATED, priced(nickname="a\u0000b")),
    )
    really, other, calls = webhook_events.claim, engine.connect(), iter(range(99))

    def claim(*asked: Any) -> Any:
        if next(calls) == 2:  # the batch, the first alone, and now that one again
            other.execute(text("SELECT 1 FROM work WHERE ref_id = 1 FOR UPDATE"))
        found = really(*asked)
        other.rollback()
        return found

    monkeypatch.setattr(webhook_events, "claim", claim)
    with other:
        process(engine, settings)
    process(engine, settings)

    assert [row[1] for row in verdicts(engine)] == ["processed", "quarantined"]


def test_tables_that_are_not_there_yet_are_no_fault_of_the_webhook_events(
    engine: Engine, settings: Settings
) -> None:
    put(engine, event(1, "invoice.paid", an_invoice()))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE revenue_entries RENAME TO revenue_entries_later"))
    try:
        with pytest.raises(DBAPIError):
            process(engine, settings)
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE revenue_entries_later RENAME TO revenue_entries"))

    assert process(engine, settings) == 1
    assert verdicts(engine) == [("evt_1", "processed", None)]


def test_a_quarantined_webhook_event_is_processed_again_when_a_person_asks(
    engine: Engine, settings: Settings
) -> None:
    processed(engine, settings, event(1, "invoice.paid", {**an_invoice(), "total": None}))
    with engine.begin() as connection:
        assert process_again(connection, [1]) == 1

    assert process(engine, settings) == 1
    assert verdicts(engine) == [("evt_1", "quarantined", "invoice.total: expected an integer")]


def everything(engine: Engine) -> list[Any]:
    """All that processing writes, but for when it was decided."""
    tables = (
        "revenue_entries",
        "analytics_events",
        "deliveries",
        "identity_links",
        "identity_waits",
        "stripe_refs",
        "subscription_snapshots",
        "payments",
        "payment_claims",
        "work",
    )
    found: list[Any] = [rows(engine, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]
    return [*found, verdicts(engine)]


AMPLITUDE = {"api_key": "0123456789abcdef0123456789abcdef"}


def test_a_replay_of_processed_webhook_events_changes_nothing(
    engine: Engine, with_destinations: Callable[..., Settings]
) -> None:
    settings = with_destinations(amplitude=AMPLITUDE)
    story = [
        event(1, "customer.subscription.created", a_subscription()),
        event(2, "invoice.payment_failed", an_invoice(amount_paid=0)),
        event(3, "invoice.paid", an_invoice()),
        event(4, "checkout.session.completed", a_session()),
        event(5, "refund.created", a_refund()),
        event(6, "payment_intent.succeeded", an_intent(id="pi_2")),
        event(7, "made.up", {}),
    ]
    put(engine, *story)
    process(engine, settings)
    before = everything(engine)
    with engine.begin() as connection:
        assert process_again(connection, range(1, 8)) == 7

    assert process(engine, settings) == 7
    assert everything(engine) == before
    assert len(before[0]) == 2


def test_the_same_money_announced_by_several_webhook_events_is_booked_once(
    engine: Engine, settings: Settings
) -> None:
    processed(
        engine,
        settings,
        event(1, "invoice.payment_succeeded", an_invoice()),
        event(2, "invoice.paid", an_invoice(), created=CREATED + 3),
        event(3, "payment_intent.succeeded", an_intent(invoice="in_1")),
    )

    assert booked(engine) == [PAYMENT]
    assert list(told(engine)) == ["payment:in_1"]


# Identity


@pytest.mark.parametrize("hold", [900, 86_400])
def test_it_is_held_until_the_identity_comes_and_then_leaves_at_once(
    engine: Engine, with_destinations: Callable[..., Settings], hold: int
) -> None:
    settings = replace(with_destinations(amplitude=AMPLITUDE), identity_hold=hold)
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))

    assert told(engine) == {"payment:in_1": HELD}
    assert booked(engine) == [PAYMENT], "money never waits"
    assert rows(engine, "SELECT * FROM deliveries") == []
    query = "SELECT extract(epoch FROM held_until - recorded_at) FROM analytics_events"
    assert [round(row[0]) for row in rows(engine, query)] == [hold]

    processed(engine, settings, event(2, "checkout.session.completed", a_session()))

    assert told(engine) == {"payment:in_1": RELEASED, "checkout:cs_1": RELEASED}
    assert rows(engine, "SELECT destination, state FROM deliveries") == [
        ("amplitude", "pending"),
        ("amplitude", "pending"),
    ]
    assert rows(engine, "SELECT * FROM identity_waits") == []
    assert rows(engine, "SELECT * FROM work WHERE lane = 'release'") == []


def test_another_subscriptions_identity_releases_nothing_new(
    engine: Engine, settings: Settings
) -> None:
    processed(
        engine,
        settings,
        event(1, "invoice.paid", an_invoice()),
        event(2, "checkout.session.completed", a_session(subscription="sub_2")),
    )

    assert told(engine) == {"payment:in_1": HELD, "checkout:cs_1": RELEASED}


def test_an_identity_of_another_account_or_mode_is_nobodys_here(
    engine: Engine, settings: Settings
) -> None:
    session = a_session()
    processed(
        engine,
        settings,
        event(1, "invoice.paid", an_invoice(billing_reason="subscription_update")),
        event(2, "checkout.session.completed", session, account="acct_2"),
        event(3, "checkout.session.completed", session, livemode=False),
    )

    assert told(engine)["payment:in_1"] == HELD


def test_a_refund_that_waits_hears_of_its_subscription_too(
    engine: Engine, settings: Settings
) -> None:
    processed(
        engine,
        settings,
        event(1, "invoice.paid", an_invoice(customer=None, payment_intent="pi_1")),
        event(2, "refund.created", a_refund()),
    )
    assert told(engine) == {"payment:in_1": HELD, "refund:re_1": HELD}

    processed(engine, settings, event(3, "checkout.session.completed", a_session(customer=None)))
    assert told(engine) == {
        "payment:in_1": RELEASED,
        "refund:re_1": RELEASED,
        "checkout:cs_1": RELEASED,
    }


@pytest.mark.parametrize(
    ("nobody", "expected"),
    [
        ("customer", ("released", None, {"device_id": "stripe:cus_1"}, "fallback")),
        ("none", ("withheld", "no identity before the hold ended", {}, "")),
    ],
)
def test_when_the_hold_ends_it_leaves_as_the_setting_says(
    engine: Engine,
    with_destinations: Callable[..., Settings],
    nobody: Any,
    expected: tuple[Any, ...],
) -> None:
    settings = replace(
        with_destinations(amplitude=AMPLITUDE), identity_hold=3600, identity_fallback=nobody
    )
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))
    assert release_ended_holds(engine, settings) == 0, "the hold has not ended"

    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    assert release_ended_holds(engine, settings) == 1
    assert release_ended_holds(engine, settings) == 0
    assert told(engine) == {"payment:in_1": expected}
    assert len(rows(engine, "SELECT * FROM deliveries")) == (nobody == "customer")
    assert rows(engine, "SELECT * FROM identity_waits") == []


def test_what_left_under_the_fallback_does_not_leave_again(
    engine: Engine, settings: Settings
) -> None:
    at_once = replace(settings, identity_hold=0)
    processed(engine, at_once, event(1, "invoice.paid", an_invoice()))
    assert release_ended_holds(engine, at_once) == 1
    before = told(engine)
    processed(engine, at_once, event(2, "checkout.session.completed", a_session()))

    assert told(engine) == {**before, "checkout:cs_1": RELEASED}


# Joins


def failed(n: int) -> Json:
    return event(n, "invoice.payment_failed", an_invoice(f"in_{n // 10}", f"sub_{n // 10}"))


def paid(n: int) -> Json:
    return event(n, "invoice.paid", an_invoice(f"in_{n // 10}", f"sub_{n // 10}"))


def ended(n: int) -> Json:
    gone = a_subscription(f"sub_old_{n // 10}", status="canceled", ended_at=CREATED - 60)
    return event(n, "customer.subscription.deleted", {**gone, "customer": f"cus_{n // 10}"})


def began(n: int) -> Json:
    new = a_subscription(f"sub_{n // 10}", customer=f"cus_{n // 10}")
    return event(n, "customer.subscription.created", new)


def linked(n: int) -> Json:
    names = {"id": f"cs_{n // 10}", "subscription": f"sub_{n // 10}"}
    return event(n, "checkout.session.completed", a_session(**names))


HALVES = {
    "recovered:in_{}": (failed, paid),
    "reactivated:sub_{}": (ended, began),
}


@pytest.mark.parametrize("key", HALVES)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_a_join_is_made_when_its_second_half_comes_whichever_that_is(
    engine: Engine, settings: Settings, key: str, order: tuple[int, int], together: bool
) -> None:
    halves = [HALVES[key][which](10 + which) for which in order]
    put(engine, *halves)
    while process(engine, settings, 2 if together else 1):
        pass

    assert key.format(1) in told(engine)
    assert len(told(engine)) == 3


ROUNDS = 20


def both_at_once(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process with two connections, each of which holds one webhook event before either reads."""
    really, both, first = webhook_events.claim, threading.Barrier(2), threading.local()

    def claim(*asked: Any) -> Any:
        kept = really(*asked)
        if not getattr(first, "done", False):
            first.done = True
            both.wait(20)
        return kept

    monkeypatch.setattr(webhook_events, "claim", claim)
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(process, engine, settings, 1) for _ in range(2)]
        assert [one.result() for one in done] == [1, 1]
    monkeypatch.setattr(webhook_events, "claim", really)


@pytest.mark.parametrize("key", HALVES)
def test_two_processes_that_each_hold_one_half_make_the_join_exactly_once(
    engine: Engine, settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = HALVES[key]
    for number in range(ROUNDS):
        put(engine, one(number * 10), other(number * 10 + 1))
        both_at_once(engine, settings, monkeypatch)

    made = [name for name in told(engine) if name.startswith(key.partition(":")[0])]
    assert sorted(made) == sorted(key.format(number) for number in range(ROUNDS))


def test_two_processes_of_which_one_holds_the_identity_release_what_the_other_tells(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(ROUNDS):
        put(engine, paid(number * 10), linked(number * 10 + 1))
        both_at_once(engine, settings, monkeypatch)

    assert {key: row[0] for key, row in told(engine).items()} == {
        f"{kind}_{number}": "released"
        for kind in ("payment:in", "checkout:cs")
        for number in range(ROUNDS)
    }


# Money


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE revenue_entries SET minor = 0",
        "UPDATE revenue_entries SET customer = NULL WHERE false OR minor > 0",
        "DELETE FROM revenue_entries",
        "TRUNCATE revenue_entries",
    ],
)
def test_what_is_booked_cannot_be_changed(engine: Engine, settings: Settings, change: str) -> None:
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))

    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change))
    assert booked(engine) == [PAYMENT]


def test_an_entry_holds_the_money_the_times_and_the_ids(engine: Engine, settings: Settings) -> None:
    late = replace(settings, timezone="Pacific/Auckland")
    processed(engine, late, event(1, "invoice.paid", an_invoice(), account="acct_1"))

    query = """SELECT account, livemode, key, kind, minor, currency, tax_minor, discount_minor,
                      customer, subscription, invoice FROM revenue_entries"""
    assert rows(engine, query) == [
        ("acct_1", True, "payment:in_1", "payment", 1190, "eur", 0, 0, "cus_1", "sub_1", "in_1")
    ]
    query = """SELECT occurred_at, effective_date::text, posting_date::text, origin,
                      webhook_event_id FROM revenue_entries"""
    assert rows(engine, query) == [(NOON, "2025-03-02", "2025-03-02", "webhook", 1)]


def unattributed(engine: Engine) -> list[tuple[str, int, int]]:
    with engine.connect() as connection:
        found = ledger.unattributed(connection)
    return [(row["currency"], row["payments"], row["minor"]) for row in found]


CHECKOUT = a_session(mode="payment", payment_intent="pi_1", subscription=None)
STANDALONE = ("", True, "payment:pi_1", 900, "eur")


def test_a_payment_is_listed_and_not_booked_until_its_checkout_speaks_for_it(
    engine: Engine, settings: Settings
) -> None:
    processed(engine, settings, event(1, "payment_intent.succeeded", an_intent()))
    assert (booked(engine), unattributed(engine)) == ([], [("eur", 1, 900)])

    processed(engine, settings, event(2, "checkout.session.completed", CHECKOUT))
    assert (booked(engine), unattributed(engine)) == ([STANDALONE], [])
    assert told(engine) == {"checkout:cs_1": RELEASED, "payment:pi_1": RELEASED}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_payment_that_pays_an_invoice_is_never_booked_beside_it(
    engine: Engine, settings: Settings, order: tuple[int, ...]
) -> None:
    link = {"object": "invoice_payment", "invoice": "in_1", "payment": {"payment_intent": "pi_1"}}
    story = [
        event(1, "payment_intent.succeeded", an_intent(amount_received=1190)),
        event(2, "invoice_payment.paid", link),
        event(3, "invoice.paid", an_invoice()),
    ]
    processed(engine, settings, *(story[which] for which in order))

    assert (booked(engine), unattributed(engine)) == ([PAYMENT], [])


def test_a_payment_whose_checkout_makes_an_invoice_is_not_booked(
    engine: Engine, settings: Settings
) -> None:
    invoiced = {**CHECKOUT, "invoice_creation": {"enabled": True}}
    processed(
        engine,
        settings,
        event(1, "payment_intent.succeeded", an_intent()),
        event(2, "checkout.session.completed", invoiced),
    )

    assert (booked(engine), unattributed(engine)) == ([], [("eur", 1, 900)])


def test_the_setting_books_payments_that_nobody_speaks_for(
    engine: Engine, settings: Settings
) -> None:
    books = replace(settings, standalone_payments="book")
    processed(engine, books, event(1, "payment_intent.succeeded", an_intent()))

    assert (booked(engine), unattributed(engine)) == ([STANDALONE], [])


def test_the_setting_books_no_payment_that_names_its_invoice(
    engine: Engine, settings: Settings
) -> None:
    books = replace(settings, standalone_payments="book")
    processed(engine, books, event(1, "payment_intent.succeeded", an_intent(invoice="in_1")))

    assert (booked(engine), unattributed(engine)) == ([], [("eur", 1, 900)])


@pytest.mark.parametrize(
    "together",
    [
        True,
        False,
    ],
)
def test_accounts_and_modes_keep_books_of_their_own(
    engine: Engine, settings: Settings, together: bool
) -> None:
    scopes: list[Json] = [{}, {"livemode": False}, {"account": "acct_1"}]
    for scope in scopes:
        put(
            engine,
            event(1, "payment_intent.succeeded", an_intent(), **scope),
            event(2, "checkout.session.completed", CHECKOUT, **scope),
            event(3, "invoice.payment_failed", an_invoice(), **scope),
            event(4, "invoice.paid", an_invoice(), **scope),
        )
    while process(engine, settings, 100 if together else 4):
        pass

    mine = [PAYMENT, STANDALONE]
    assert booked(engine) == [
        *(("", False, *row[2:]) for row in mine),
        *mine,
        *(("acct_1", True, *row[2:]) for row in mine),
    ]
    query = "SELECT account, livemode, count(*) FROM analytics_events GROUP BY 1, 2 ORDER BY 1, 2"
    assert rows(engine, query) == [("", False, 5), ("", True, 5), ("acct_1", True, 5)]


def test_a_payment_found_through_another_object_is_booked_in_its_own_account(
    engine: Engine, settings: Settings
) -> None:
    processed(engine, settings, event(1, "payment_intent.succeeded", an_intent()))
    books = replace(settings, standalone_payments="book")
    put(
        engine,
        event(2, "customer.subscription.updated", a_subscription(), account="acct_1"),
        event(3, "refund.created", a_refund(payment_intent=None)),
    )
    process(engine, books)

    assert booked(engine) == [STANDALONE, ("", True, "refund:re_1", -250, "eur")]


# Test clocks


def test_a_test_clocks_future_is_as_good_as_today(engine: Engine, settings: Settings) -> None:
    later = int(datetime(2031, 5, 1, tzinfo=UTC).timestamp())
    invoice = an_invoice(
        created=later, status_transitions={"paid_at": later}, metadata=IDS, test_clock="clock_1"
    )
    processed(engine, settings, event(1, "invoice.paid", invoice, created=later, livemode=False))

    assert rows(engine, "SELECT key, livemode, occurred_at FROM revenue_entries") == [
        ("payment:in_1", False, datetime(2031, 5, 1, tzinfo=UTC))
    ]
    assert told(engine)["payment:in_1"][0] == "released"


# Whose words change


def test_ids_that_came_back_are_the_ids_again(engine: Engine, settings: Settings) -> None:
    def customer(number: int, user: str) -> Json:
        obj = {"id": "cus_1", "object": "customer", "metadata": {"user_id": user}}
        return event(number, "customer.updated", obj, created=CREATED + 1_000 * number)

    told_by = [customer(0, "a"), customer(1, "b"), customer(2, "a")]
    paid_at: Json = {"status_transitions": {"paid_at": CREATED + 5_000}}
    last = event(9, "invoice.paid", an_invoice(billing_reason="subscription_cycle", **paid_at))
    for number, order in enumerate(permutations([*told_by, last])):
        account = f"acct_{number}"
        processed(engine, settings, *({**one, "account": account} for one in order))
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    while release_ended_holds(engine, settings):
        pass

    found = rows(engine, "SELECT DISTINCT key, identity -> 'ids' FROM analytics_events ORDER BY 1")
    assert found == [("cycle:in_1", {"user_id": "a"}), ("payment:in_1", {"user_id": "a"})]


@pytest.mark.parametrize("session_first", [True, False])
def test_revenue_net_of_tax_is_net_whether_it_waited_or_not(
    engine: Engine, with_destinations: Callable[..., Settings], session_first: bool
) -> None:
    settings = replace(with_destinations(amplitude=AMPLITUDE), revenue="net_of_tax")
    story = [
        event(1, "checkout.session.completed", a_session()),
        event(2, "invoice.paid", an_invoice(total_taxes=[{"amount": 190}])),
    ]
    processed(engine, settings, *(story if session_first else reversed(story)))

    assert rows(engine, "SELECT minor, tax_minor FROM analytics_events WHERE minor > 0") == [
        (1190, 190)
    ]
    query = "SELECT payload FROM deliveries ORDER BY octet_length(payload) DESC LIMIT 1"
    [(payload,)] = rows(engine, query)
    assert json.loads(payload)["revenue"] == 10.0
