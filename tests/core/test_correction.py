"""A correction: what is added so that an entry counts what is right, and the event that says so."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from app.core.correction import (
    Booked,
    Part,
    Unclear,
    amount,
    changes,
    check,
    correction_key,
    event,
    event_id,
)
from app.core.envelope import open_envelope, parse
from app.core.facts import Entry, Fact, Reading
from app.core.money import Money
from app.core.person import mentioned
from app.core.reading.readers import BY_HAND, READERS, read
from app.core.reading.shapes import Missing

AT = datetime(2026, 3, 23, 2, 1, 30, 5, tzinfo=UTC)
NOW = datetime(2026, 4, 2, tzinfo=UTC)
BOOKED = Booked(
    account="",
    livemode=True,
    key="payment:in_1",
    kind="payment",
    currency="eur",
    occurred_at=AT,
    effective_date=date(2026, 3, 23),
    out_of_band=False,
    ids={"customer": "cus_1", "subscription": "sub_1", "invoice": "in_1"},
    counts=[Part(Money(1190, "eur"), 190, 100)],
    number=0,
)
UNDONE = replace(BOOKED, counts=[], number=1)


def said(parts: list[Part]) -> list[tuple[str, int | None, int | None]]:
    return [(str(one.money), one.tax_minor, one.discount_minor) for one in parts]


# --- amounts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12.99", Money(1299, "eur")),
        ("12", Money(1200, "eur")),
        ("0", Money(0, "eur")),
        ("-5.5", Money(-550, "eur")),
        (" 12.99 USD ", Money(1299, "usd")),
        ("12.99  usd", Money(1299, "usd")),
        ("500 jpy", Money(500, "jpy")),
        ("1.234 KWD", Money(1234, "kwd")),
    ],
)
def test_an_amount_is_in_whole_units_and_exact(text: str, found: Money) -> None:
    assert amount(text, "--to", "eur") == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "12,99", "1,000.00", "1e3", "nan", "--5", "+5", ".5", "5.", "12.99EUR"),
        *("12.99 EURO", "12.99 €", "EUR 12.99", "1 2", "9" * 16, "12.99\nEUR", "0x1F"),
        "\u0661\u0662",  # digits of another script
    ],
)
def test_what_is_no_amount_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(Unclear, match=r"^--to: expected whole units such as 12\.99 or"):
        amount(text, "--to", "eur")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.000", "--to: EUR has 2 decimals, not 3."),
        ("500.0 jpy", "--to: JPY has 0 decimals, not 1."),
        ("1.2345 kwd", "--to: KWD has 3 decimals, not 4."),
    ],
)
def test_more_decimals_than_the_currency_has_are_refused(text: str, words: str) -> None:
    with pytest.raises(Unclear) as refused:
        amount(text, "--to", "eur")
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("kind", "to", "tax", "words"),
    [
        ("payment", -1, None, "--to: a payment is positive, or nothing."),
        ("refund", 500, None, "--to: a refund is negative, or nothing."),
        ("dispute_reversal", -1, None, "--to: a dispute reversal is positive, or nothing."),
        ("payment", 500, Money(501, "eur"), "--tax: it is a part of --to, with its sign."),
        ("refund", -500, Money(80, "eur"), "--tax: it is a part of --to, with its sign."),
        ("payment", 500, Money(80, "usd"), "--tax: expected in the currency of --to."),
    ],
)
def test_an_amount_that_such_an_entry_cannot_have_is_refused(
    kind: str, to: int, tax: Money | None, words: str
) -> None:
    with pytest.raises(Unclear) as refused:
        check(replace(BOOKED, kind=kind), Money(to, "eur"), tax)
    assert str(refused.value) == words


# --- what is added


def test_undoing_it_undoes_tax_and_discount() -> None:
    assert said(changes(BOOKED, Money(0, "eur"))) == [("-11.90 EUR", -190, -100)]


def test_to_another_amount_tax_and_discount_stay_the_same_part_of_it() -> None:
    assert said(changes(BOOKED, Money(119_000, "eur"))) == [("1,178.10 EUR", 18_810, 9_900)]


def test_the_tax_may_be_said() -> None:
    assert said(changes(BOOKED, Money(2380, "eur"), Money(190, "eur"))) == [("11.90 EUR", 0, 100)]
    assert said(changes(BOOKED, Money(1190, "eur"), Money(0, "eur"))) == [("0.00 EUR", -190, 0)]


def test_a_wrong_sign_turns_the_tax_as_well() -> None:
    refund = replace(BOOKED, kind="refund", counts=[Part(Money(595, "eur"), 95, None)])

    assert said(changes(refund, Money(-595, "eur"))) == [("-11.90 EUR", -190, None)]


def test_in_another_currency_it_is_undone_and_booked_anew() -> None:
    assert said(changes(BOOKED, Money(1290, "usd"))) == [
        ("-11.90 EUR", -190, -100),
        ("12.90 USD", 206, 108),
    ]


def test_what_is_not_known_stays_unknown_unless_it_is_said() -> None:
    dispute = replace(BOOKED, kind="dispute", counts=[Part(Money(-1190, "eur"))])

    assert said(changes(dispute, Money(0, "eur"))) == [("11.90 EUR", None, None)]
    assert said(changes(dispute, Money(-1000, "eur"))) == [("1.90 EUR", None, None)]
    assert said(changes(dispute, Money(-1000, "eur"), Money(-160, "eur"))) == [
        ("1.90 EUR", -160, None)
    ]


def test_what_was_undone_may_count_again() -> None:
    assert said(changes(UNDONE, Money(1190, "eur"))) == [("11.90 EUR", None, None)]


def test_nothing_is_added_to_what_is_right() -> None:
    assert changes(BOOKED, Money(1190, "eur")) == []
    assert changes(UNDONE, Money(0, "eur")) == []


# --- the event


def told(to: Money | None = None) -> dict[str, Any]:
    return event(BOOKED, 1, changes(BOOKED, to or Money(0, "eur")), NOW)


def test_two_who_correct_an_entry_as_it_stands_say_one_thing() -> None:
    assert event_id(BOOKED, 1) == event_id(replace(BOOKED, counts=[]), 1)
    others = [
        event_id(BOOKED, 2),
        event_id(replace(BOOKED, key="payment:in_2"), 1),
        event_id(replace(BOOKED, account="acct_1"), 1),
        event_id(replace(BOOKED, livemode=False), 1),
    ]
    assert len({event_id(BOOKED, 1), *others}) == 5


def test_it_is_a_fact_of_the_entrys_own_time_and_day() -> None:
    assert read(told(), by_hand=True) == Reading(
        facts=(
            Fact(
                key="correction:payment:in_1:1",
                name="revenue_corrected",
                at=AT,
                about=("in_1",),
                customer="cus_1",
                subscription="sub_1",
                invoice="in_1",
                properties={
                    "invoice_id": "in_1",
                    "customer_id": "cus_1",
                    "subscription_id": "sub_1",
                    "tax": -1.9,
                    "amount_net_of_tax": -10.0,
                    "corrected_key": "payment:in_1",
                    "corrected_kind": "payment",
                    "amount": -11.9,
                    "currency": "EUR",
                },
                money=Entry(
                    kind="correction",
                    money=Money(-1190, "eur"),
                    tax_minor=-190,
                    discount_minor=-100,
                    out_of_band=False,
                    corrects="payment:in_1",
                    effective_date=date(2026, 3, 23),
                ),
            ),
        )
    )


def test_in_two_currencies_it_is_two_facts() -> None:
    first, second = read(told(to=Money(1290, "usd")), by_hand=True).facts

    assert (first.key, second.key) == (
        "correction:payment:in_1:1",
        "correction:payment:in_1:1:usd",
    )
    assert [one.money and one.money.money for one in (first, second)] == [
        Money(-1190, "eur"),
        Money(1290, "usd"),
    ]


def test_nobody_who_posts_webhooks_can_say_it() -> None:
    assert read(told()) == Reading(ignored="type not read")
    assert READERS.keys() & BY_HAND.keys() == set()
    assert read({**told(), "type": "invoice.paid"}, by_hand=True).ignored == "type not read"


def test_whoever_is_forgotten_is_found_in_it() -> None:
    found = mentioned(told())

    assert {"cus_1", "sub_1", "in_1"} <= found.objects


@pytest.mark.parametrize(
    "value",
    [None, "x", "", -1, 0, 2**70, 1.5, [], {}, [[]], [{}], {"data": [[], {}, 7]}, "\ud800", True],
)
def test_whatever_a_field_holds_it_is_read_or_something_is_missing(value: object) -> None:
    whole = told()["data"]["object"]
    for name in whole:
        with suppress(Missing):
            read({**told(), "data": {"object": {**whole, name: value}}}, by_hand=True)
    for name in whole["parts"][0]:
        part = {**whole["parts"][0], name: value}
        with suppress(Missing):
            read({**told(), "data": {"object": {**whole, "parts": [part]}}}, by_hand=True)


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": [{"amount": 1, "currency": "eur"}, {"amount": 2, "currency": "EUR"}]},
        {"parts": [{"amount": 1.5, "currency": "eur"}]},
        {"number": 0},
        {"corrects": "correction:payment:in_1:1"},
        {"kind": "correction"},
        {"occurred_at": "yesterday"},
        {"effective_date": "2026-13-01"},
    ],
)
def test_what_is_no_correction_is_quarantined(change: dict[str, Any]) -> None:
    whole = {**told()["data"]["object"], **change}
    with pytest.raises(Missing):
        read({**told(), "data": {"object": whole}}, by_hand=True)


def test_keys_of_whatever_sort_travel_whole() -> None:
    odd = replace(BOOKED, key='payment:"in_1"\\\n\u2028=cmd')
    raw = json.dumps(event(odd, 3, BOOKED.counts, NOW)).encode()
    [fact] = read(parse(raw), by_hand=True).facts

    assert open_envelope(raw).event_id == event_id(odd, 3)
    assert fact.key == correction_key(odd.key, 3)
