"""Disputes that are settled in another currency: converted back exactly, each at its own rate."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.money import exponent
from app.core.reading.dispute_amounts import in_its_currency
from app.core.reading.shapes import Missing
from tests.core.stripe_objects import CREATED, Json, a_dispute, a_transaction

# What a unit of each is worth in dollars, about: of none, two and three decimals.
WORTH = {"usd": 1.0, "eur": 1.08, "jpy": 0.0067, "krw": 0.00073, "kwd": 3.26, "idr": 0.000062}


def amounts(minor: int, currency: str, *transactions: Json) -> list[int]:
    dispute = a_dispute(*transactions, amount=minor, currency=currency)
    return list(in_its_currency(dispute).values())


def moves(of: str, *listed: tuple[int, Any]) -> list[Json]:
    """(amount, exchange rate) each, one after the other."""
    return [
        a_transaction(f"txn_{n}", minor, currency=of, exchange_rate=rate, created=CREATED + n)
        for n, (minor, rate) in enumerate(listed)
    ]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([(-9200, 0.92), (9350, 0.935)], [-10_000, 10_000]),
        ([(-9200, 0.92), (4675, 0.935)], [-10_000, 5_000]),
        ([(-9200, 0.92), (4675, 0.935), (4700, 0.94)], [-10_000, 5_000, 5_000]),
        ([(-5520, 0.92), (5610, 0.935)], [-6_000, 6_000]),
        ([(-5521, 0.92), (-3761, 0.94), (9350, 0.935)], [-6_001, -3_999, 10_000]),
        ([(-9200, 0.92), (9300, 0.93), (-9400, 0.94)], [-10_000, 10_000, -10_000]),
        ([(-9199, 0.92), (9351, 0.935)], [-10_000, 10_000]),
        ([(-9200, 0.92), (9250, 0.935)], [-10_000, 9_893]),
        ([(9350, 0.935)], [10_000]),
        ([(-9200, None), (9350, 0.935)], [-10_000, 10_000]),
        ([(-9200, 0.92), (9800, None)], [-10_000, 10_000]),
        ([(-9200, None), (7359, None)], [-10_000, 7_999]),
        ([(-9200, None), (7360, None)], [-10_000, 10_000]),
        ([(-9200, 0.92), (0, 0.93), (9300, 0)], [-10_000, 0, 10_000]),
    ],
    ids=[
        *("won", "half of it won", "won in two halves", "a part, and that won"),
        *("taken in two parts, then won", "taken again", "a cent of rounding", "nearly all won"),
        *("the withdrawal is not listed", "the first has no rate", "the second has no rate"),
        *("less than near", "just near", "nothing moved, and a rate of nothing"),
    ],
)
def test_each_is_at_its_own_rate_and_what_is_within_rounding_of_all_is_all(
    listed: list[tuple[int, Any]], expected: list[int]
) -> None:
    assert amounts(10_000, "usd", *moves("eur", *listed)) == expected


@pytest.mark.parametrize(
    ("minor", "currency", "of", "listed"),
    [
        (10_000, "usd", "jpy", [(-14_925, 1.4925), (15_000, 1.5)]),
        (10_000, "usd", "jpy", [(-14_925, 149.25), (15_000, 150)]),
        (15_000, "jpy", "usd", [(-10_050, 0.67), (10_000, 0.666667)]),
        (15_000, "jpy", "usd", [(-10_050, 0.0067), (10_000, 0.00666667)]),
        (10_000, "kwd", "jpy", [(-4_870, 0.487), (4_900, 0.49)]),
        (10_000, "kwd", "jpy", [(-4_870, 487.0), (4_900, 490.0)]),
        (900_000_000, "idr", "kwd", [(-171_000, 0.00019), (175_500, 0.000195)]),
        (900_000_000, "idr", "kwd", [(-171_000, 1.9e-05), (175_500, 1.95e-05)]),
    ],
)
def test_a_rate_is_of_minor_units_or_of_whole_ones_as_it_fits_the_dispute(
    minor: int, currency: str, of: str, listed: list[tuple[int, Any]]
) -> None:
    assert amounts(minor, currency, *moves(of, *listed)) == [-minor, minor]


def test_in_the_same_currency_amounts_are_as_they_are() -> None:
    assert amounts(900, "eur", *moves("eur", (-899, None), (13, 2))) == [-899, 13]


@pytest.mark.parametrize("rate", ["0.9e9", "one", True, float("nan"), float("inf"), [1], 1e300])
def test_a_rate_that_is_no_number_is_refused(rate: object) -> None:
    with pytest.raises(Missing, match=r"^balance_transaction.exchange_rate: expected a number$"):
        amounts(900, "usd", *moves("eur", (-828, rate)))


@given(
    currency=st.sampled_from(sorted(WORTH)),
    of=st.sampled_from(sorted(WORTH)),
    minor=st.integers(50, 10**9),
    moved=st.lists(st.integers(800, 1250), min_size=2, max_size=4),
    up=st.integers(0, 1),
    whole_units=st.booleans(),
)
def test_withdrawn_and_wholly_given_back_is_exactly_nothing_for_every_pair(
    currency: str, of: str, minor: int, moved: list[int], up: int, whole_units: bool
) -> None:
    assume(currency != of)
    places = exponent(of) - exponent(currency)
    listed: list[tuple[int, Any]] = []
    for number, permille in enumerate(moved):
        major = Decimal(str(WORTH[currency] / WORTH[of] * permille / 1000))
        rate = Decimal(f"{major.scaleb(places):.6g}")  # to six digits, and so is what is settled
        size = int(minor * rate) + up  # rounded, whichever way
        assume(size > 9)
        written = float(rate.scaleb(-places) if whole_units else rate)
        listed.append((size if number % 2 else -size, written))

    found = amounts(minor, currency, *moves(of, *listed))

    assert found == [minor if number % 2 else -minor for number in range(len(moved))]
    for number in range(len(moved)):  # an earlier webhook event lists fewer, and says the same
        assert amounts(minor, currency, *moves(of, *listed[:number])) == found[:number]
