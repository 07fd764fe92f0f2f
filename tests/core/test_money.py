"""Minor units, exactly: Stripe's exponents, not ISO's, and shares rounded once."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.money import THREE_DECIMAL, ZERO_DECIMAL, Money, exponent, rounded, share

# A slow machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# As the currencies page of Stripe's documentation has them, each with one whole unit of it in
# Stripe's integers. What is written is what is charged: no library and no ISO table stands here.
ONE_UNIT = {
    # zero-decimal currencies
    **{"bif": 1, "clp": 1, "djf": 1, "gnf": 1, "jpy": 1, "kmf": 1, "krw": 1, "mga": 1},
    **{"pyg": 1, "rwf": 1, "vnd": 1, "vuv": 1, "xaf": 1, "xof": 1, "xpf": 1},
    # three-decimal currencies
    **{"bhd": 1000, "jod": 1000, "kwd": 1000, "omr": 1000, "tnd": 1000},
    # "special cases": two decimals for Stripe, though they have none (ISK, UGX), or are paid out
    # without (HUF, TWD)
    **{"isk": 100, "ugx": 100, "huf": 100, "twd": 100},
    **{"usd": 100, "eur": 100, "gbp": 100, "inr": 100, "idr": 100, "chf": 100, "brl": 100},
}


@pytest.mark.parametrize(("currency", "minor"), ONE_UNIT.items())
def test_how_many_decimals_stripes_amounts_have(currency: str, minor: int) -> None:
    assert 10 ** exponent(currency) == minor
    assert (Money(minor, currency).major, Money(minor, currency).number) == (Decimal(1), 1.0)


def test_no_other_currency_is_special() -> None:
    listed = [{code for code, minor in ONE_UNIT.items() if minor == unit} for unit in (1, 1000)]

    assert [set(ZERO_DECIMAL), set(THREE_DECIMAL)] == listed


@pytest.mark.parametrize(
    ("money", "major"),
    [
        (Money(1299, "usd"), "12.99"),
        (Money(1300, "usd"), "13.00"),
        (Money(1299, "jpy"), "1299"),
        (Money(1290, "kwd"), "1.290"),
        (Money(500, "ugx"), "5.00"),
        (Money(500, "isk"), "5.00"),
        (Money(100, "huf"), "1.00"),
        (Money(100, "twd"), "1.00"),
        (Money(-1, "usd"), "-0.01"),
        (Money(-1, "jpy"), "-1"),
        (Money(0, "usd"), "0.00"),
        (Money(9_007_199_254_740_993, "usd"), "90071992547409.93"),  # no float has it
    ],
)
def test_whole_units_have_exactly_the_currencys_decimals(money: Money, major: str) -> None:
    assert str(money.major) == major


def test_a_refund_is_the_payment_turned_round() -> None:
    assert -Money(1299, "usd") == Money(-1299, "usd")


def test_money_as_a_person_reads_it() -> None:
    assert [str(Money(minor, code)) for minor, code in [(123456789, "usd"), (-1234, "jpy")]] == [
        "1,234,567.89 USD",
        "-1,234 JPY",
    ]


@unhurried
@given(st.integers(-(10**15), 10**15), st.sampled_from(["usd", "jpy", "kwd", "isk"]))
def test_whole_units_go_back_to_the_same_minor_units(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert money.major * 10 ** exponent(currency) == minor
    assert round(Decimal(repr(money.number)) * 10 ** exponent(currency)) == minor


@pytest.mark.parametrize(
    ("part", "of", "whole", "expected"),
    [
        (190, 1190, 1190, 190),
        (190, 595, 1190, 95),
        (1, 1, 2, 1),  # a half goes away from zero, up
        (1, -1, 2, -1),  # and down
        (-1, 1, 2, -1),
        (1, 1, 3, 0),
        (2, 1, 3, 1),
        (5, 1, 10, 1),
        (15, 1, 10, 2),
        (25, 1, 10, 3),
        (0, 100, 100, 0),
        (100, 0, 100, 0),
        (100, 100, 0, 0),  # nothing has no shares
    ],
)
def test_a_share_is_rounded_half_away_from_zero(
    part: int, of: int, whole: int, expected: int
) -> None:
    assert share(part, of, whole) == expected


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        *(("0", 0), ("1/2", 1), ("-1/2", -1), ("5/2", 3), ("-5/2", -3)),
        *(("49/100", 0), ("-49/100", 0)),
        ("250000000000000000000000000001/2", 125000000000000000000000000001),
    ],
)
def test_a_half_goes_away_from_zero_however_large_the_number(exact: str, expected: int) -> None:
    assert rounded(Fraction(exact)) == expected


AMOUNTS = st.integers(0, 10**13)


@unhurried
@given(AMOUNTS, AMOUNTS, st.integers(1, 10**13))
def test_a_share_is_the_nearest_whole_number_to_the_exact_fraction(
    part: int, of: int, whole: int
) -> None:
    assert abs(share(part, of, whole) - Fraction(part * of, whole)) <= Fraction(1, 2)


@unhurried
@given(AMOUNTS, AMOUNTS, st.integers(1, 10**13))
def test_the_share_of_a_refund_mirrors_that_of_the_payment(part: int, of: int, whole: int) -> None:
    assert share(part, -of, whole) == -share(part, of, whole)


@unhurried
@given(AMOUNTS, st.integers(1, 10**13))
def test_the_whole_has_the_whole_share(part: int, whole: int) -> None:
    assert share(part, whole, whole) == part
