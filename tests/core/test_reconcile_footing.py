"""The totals foot, whatever the two sides hold; Stripe's summaries are held against the rows."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.money import Money
from app.core.reconcile import browser, match
from app.core.reconcile.browser import Conversions
from app.core.reconcile.classes import classify, outside_results
from app.core.reconcile.footing import (
    Activity,
    activity,
    against_activity,
    against_balances,
    of_classes,
)
from app.core.reconcile.frame import Frame
from app.core.reconcile.rows import LedgerEntry, StripeRow
from app.core.reconcile.told import Completeness, Sum, Telling, tally
from tests.core.reconcile_objects import NOON, NOW, OCTOBER, entry, refund_entry, refund_row, row

CURRENCIES = st.sampled_from(["eur", "usd", "jpy"])
MINOR = st.integers(-5_000, 5_000)
NUMBER = st.integers(1, 5)
DAYS = st.integers(-15, 25)  # from 25 September to 4 November
CATEGORIES = st.sampled_from(
    ["charge", "charge_failure", "partial_capture_reversal", "payout", "fee", "news"]
)


@st.composite
def transactions(draw: Any) -> list[StripeRow]:
    found = []
    for at in range(draw(st.integers(0, 8))):
        number, gross, fee = draw(NUMBER), draw(MINOR), draw(MINOR)
        currency = draw(CURRENCIES)
        given = {
            "id": f"txn_{at}",
            "gross": gross,
            "fee": fee,
            "currency": currency,
            "created": NOON + timedelta(days=draw(DAYS)),
        }
        shown = draw(st.none() | st.builds(Money, MINOR, CURRENCIES))
        if draw(st.booleans()):
            found.append(refund_row(number, **given, shown=shown))
        else:
            found.append(row(number, **given, shown=shown, category=draw(CATEGORIES)))
    return found


@st.composite
def entries(draw: Any) -> list[LedgerEntry]:
    found: dict[str, LedgerEntry] = {}
    for _ in range(draw(st.integers(0, 8))):
        number, money = draw(NUMBER), Money(draw(MINOR), draw(CURRENCIES))
        day = date(2026, 10, 10) + timedelta(days=draw(DAYS))
        given = {"money": money, "effective_date": day, "posting_date": day}
        one = draw(
            st.sampled_from(
                [
                    entry(number, **given),
                    entry(number, key=f"payment:pi_{number}", invoice=None, **given),
                    entry(number, key=f"payment:ch_{number}", invoice=None, **given),
                    refund_entry(number, **given),
                    refund_entry(number, key=f"other:{number}", **given),
                ]
            )
        )
        found[one.key] = one
    return list(found.values())


@settings(max_examples=150, deadline=None)
@given(transactions(), entries(), st.dictionaries(NUMBER, NUMBER))
def test_every_row_and_entry_is_in_one_result_so_the_classes_foot(
    rows: list[StripeRow], booked: list[LedgerEntry], links: dict[int, int]
) -> None:
    refs = {f"pi_{child}": [f"in_{parent}"] for child, parent in links.items()}
    frame = Frame(period=OCTOBER, now=NOW, covered=OCTOBER.bounds(), refs=refs)
    found = match.groups(match.keyed(rows, refs), booked, OCTOBER)
    results = [one for group in found for one in classify(group, frame)]
    results += outside_results(match.outside(rows, OCTOBER), frame)
    ours = [one for one in booked if OCTOBER.has(one.effective_date)]
    theirs = [one for one in rows if OCTOBER.has(one.day(OCTOBER.zone))]

    checks = of_classes(theirs, ours, results)

    assert [one for one in checks if not one.foots] == []
    for money in {one.money.currency for one in theirs}:
        assert sum(one.stripe or 0 for one in results if one.currency == money) == sum(
            one.money.minor for one in theirs if one.money.currency == money
        )
    turned = match.groups(match.keyed(rows[::-1], refs), booked[::-1], OCTOBER)
    again = [one for group in turned for one in classify(group, frame)]
    assert sorted(map(repr, again)) == sorted(
        repr(one) for one in results if one.part in {group.part for group in found}
    )


def test_a_result_that_goes_missing_does_not_foot() -> None:
    [check] = of_classes([row(1), row(2)], [entry(1)], [])

    assert (check.expected, check.found, check.foots) == (1000, 0, False)


SUMS = activity(
    [row(1), row(2, fee=60), row(3, category="payout", gross=-1500, fee=0, currency="eur")]
)


def test_activity_sums_by_category_and_currency() -> None:
    found = dict(SUMS)

    assert found == {
        ("charge", "eur"): Activity(2, 2000, 100, 1900),
        ("payout", "eur"): Activity(1, -1500, 0, -1500),
    }


def test_stripes_summary_of_activity_is_held_against_the_rows() -> None:
    agrees = against_activity(SUMS, {("charge", "eur"): Activity(2, 2000, 100, 1900)})
    differs = against_activity(
        SUMS,
        {("charge", "eur"): Activity(2, 2000, 99, 1901), ("fee", "eur"): Activity(1, 0, 7, -7)},
    )

    assert [one.foots for one in agrees] == [True, True, True]
    assert [(one.name, one.expected, one.found) for one in differs if not one.foots] == [
        ("charge fee", 99, 100),
        ("charge net", 1901, 1900),
        ("fee fee", 7, 0),
        ("fee net", -7, 0),
    ]


def test_balances_roll_forward_and_the_rows_are_the_activity() -> None:
    stated = {
        ("starting_balance", "eur"): 100,
        ("activity", "eur"): 1900,
        ("payouts", "eur"): -1500,
        ("ending_balance", "eur"): 500,
    }
    without = {key: one for key, one in SUMS.items() if key[0] != "payout"}

    assert [(one.name, one.foots) for one in against_balances(SUMS, stated)] == [
        ("starting + activity + payouts", True),
        ("activity = rows", True),
        ("payouts = rows", True),
    ]
    assert [one.foots for one in against_balances(without, stated)] == [True, True, None]
    wrong = {**stated, ("ending_balance", "eur"): 501, ("activity", "eur"): 1901}
    assert [one.foots for one in against_balances(SUMS, wrong)] == [True, False, True]


def a_telling(**given: Any) -> Telling:
    values: dict[str, Any] = {
        "key": "payment:in_1",
        "owed": Money(1299, "usd"),
        "event": "released",
        "why": None,
        "destination": "amplitude",
        "state": "delivered",
        "reason": None,
        "told": (Decimal("12.99"), "usd"),
    }
    return Telling(**values | given)


def test_deliveries_are_counted_by_state_and_their_amounts_held_against_the_ledger() -> None:
    found = tally(
        [
            a_telling(),
            a_telling(destination="webhook", state="skipped", reason="no consent", told=None),
            a_telling(key="payment:in_2", told=(Decimal("1299"), "usd")),
            a_telling(key="payment:in_3", state="dead"),
            a_telling(key="payment:in_4", told=None, state="pending"),
            a_telling(key="payment:in_5", event="withheld", why="nobody", destination=None),
            a_telling(key="payment:in_6", event=None, destination=None),
        ]
    )

    assert found.entries == {"usd": Sum(6, 6 * 1299)}
    assert found.destinations == {
        ("amplitude", "usd"): Completeness(
            owed=Sum(4, 4 * 1299),
            states={"delivered": Sum(2, 2598), "dead": Sum(1, 1299), "pending": Sum(1, 1299)},
            told=Decimal("1324.98"),
            unsaid=1,
            wrong=1,
        ),
        ("webhook", "usd"): Completeness(
            owed=Sum(1, 1299), states={"skipped: no consent": Sum(1, 1299)}
        ),
    }
    assert found.untold == {
        ("withheld: nobody", "usd"): Sum(1, 1299),
        ("no analytics event", "usd"): Sum(1, 1299),
    }
    assert [(one.key, one.told, one.owed) for one in found.wrong] == [
        ("payment:in_2", Decimal(1299), Money(1299, "usd"))
    ]
    assert not found.agrees


def test_what_is_skipped_with_a_reason_or_under_way_agrees() -> None:
    skipped = a_telling(state="skipped", reason="no consent", told=None)
    waiting = a_telling(key="payment:in_2", event="held", destination=None)

    assert tally([a_telling(), skipped, waiting, a_telling(state="pending")]).agrees


def test_what_a_browser_lost_is_counted_by_day_and_channel() -> None:
    text = "date,utm_source,utm_medium,conversions,amount,currency\n"
    text += "2026-10-02,Google,cpc,2,20.00,eur\n2026-10-02,google,CPC,1,10.00,eur\n"
    text += "2026-10-03,,,1,,\n2026-09-30,google,cpc,9,,\n"
    ours = [
        (date(2026, 10, 2), "google / cpc", 4, Money(4000, "eur")),
        (date(2026, 10, 4), "(none)", 1, Money(500, "usd")),
    ]

    counted = browser.read(text.encode(), "b.csv", OCTOBER)
    lost = browser.compare(counted, ours)

    assert counted[date(2026, 10, 2), "google / cpc"] == Conversions(3, {"eur": 3000})
    assert [
        (one.day.day, one.channel, one.ours, one.browser, one.lost, one.percent) for one in lost
    ] == [
        (2, "google / cpc", 4, 3, 1, 25.0),
        (3, "(none)", 0, 1, -1, None),
        (4, "(none)", 1, 0, 1, 100.0),
    ]


def test_a_channel_column_stands_for_both_parameters() -> None:
    text = "date;channel;conversions\n2026-10-02;Google / CPC;2\n"

    assert browser.read(text.encode(), "b.csv", OCTOBER) == {
        (date(2026, 10, 2), "google / cpc"): Conversions(2)
    }
