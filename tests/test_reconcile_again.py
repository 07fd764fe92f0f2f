"""Runs after one another: what a wrong source said once, the next right run puts right."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.finance import legs
from app.finance.close import close, reopen
from app.finance.month import Month as Calendar
from app.finance.reconcile import Report, reconcile
from app.finance.snapshot import Snapshot
from app.settings import Settings
from app.store import exports
from app.store.exports import Wanted
from app.store.migrate import set_reporting_zone
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.reconcile_month import BERLIN, NOON, Month, book, clean
from tests.test_process import rows
from tests.test_reconcile import KEY, OWN, asked, found, listed
from tests.test_reconcile import filed as as_it_is

HOME = "SELECT count(*), sum(gross), sum(fee) FROM current_settlements WHERE currency = 'eur'"
KEPT = """SELECT (SELECT count(*) FROM settlements), (SELECT count(*) FROM settled_entries),
    (SELECT count(*) FROM withdrawn_settlements)"""
PAIRS = "SELECT settlement, key FROM current_settled_entries ORDER BY 1, 2"
EXPLAINED = [
    ("txn_fee", "missing_in_ledger", "not_event_driven", "eur", -500, None),
    ("txn_po", "out_of_scope", "payout", "eur", -9000, None),
]


@pytest.fixture
def berlin(settings: Settings) -> Settings:
    return replace(settings, timezone="Europe/Berlin", stripe_api_key=KEY)


@pytest.fixture
def month(engine: Engine, berlin: Settings) -> Month:
    """The clean month, heard by the bridge, which keeps Berlin's days."""
    with engine.begin() as connection:
        set_reporting_zone(connection, "Europe/Berlin")
    month = clean()
    month.live(engine, berlin)
    return month


@pytest.fixture
def right(month: Month, engine: Engine, berlin: Settings) -> Callable[[], Report]:
    """A run with the month's own file."""
    return lambda: reconcile(engine, berlin, asked(), filed(month))


def filed(month: Month) -> Snapshot:
    """The month's file, of which we know that it lacks nothing."""
    return replace(as_it_is(month), lacks=None)


def altered(month: Month, txn: str = "", **more: Any) -> Month:
    """The same month, but for what is said of one transaction."""
    wrong = deepcopy(month)
    for one in wrong.transactions:
        if one["id"] == txn:
            one |= more
            one["net"] = one["amount"] - one["fee"]
    return wrong


def spoiled(month: Month) -> Month:
    """A fee of ten times as much, a payout of less, and a row that Stripe never made."""
    wrong = altered(altered(month, "txn_1", fee=470), "txn_po", amount=-900)
    invented = {"reporting_category": "fee", "type": "stripe_fee"}
    wrong.transaction("txn_ghost", None, -50_000, **invented)
    return wrong


def test_what_a_wrong_file_said_the_next_right_run_names_and_the_one_after_is_clean(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    reconcile(engine, berlin, asked(), filed(spoiled(month)))
    [[number, gross, fees]] = rows(engine, HOME)
    repaired, again = right(), right()

    assert found(repaired) == [
        ("payment:in_1", "fee_difference", "changed", "eur", 1190, 1190),
        EXPLAINED[0],
        ("txn_ghost", "fee_difference", "withdrawn", "eur", None, None),
        ("txn_po", "fee_difference", "changed", "eur", -9000, None),
    ]
    assert (repaired.verdict, again.verdict, found(again)) == ("differences", "clean", EXPLAINED)
    assert {one.note for one in repaired.results if one.kind == "fee_difference"} == {
        "txn_1: run 1 (csv) had a fee of 4.70 EUR, this source has a fee of 0.47 EUR",
        "run 1 (csv) had it with -500.00 EUR and a fee of 0.00 EUR; this source does not have it",
        "txn_po: run 1 (csv) had -9.00 EUR and a fee of 0.00 EUR, this source has -90.00 EUR and a"
        " fee of 0.00 EUR",
    }
    assert [one for one in repaired.checks if one.foots is False] == []
    assert rows(engine, HOME) == [(number - 1, gross + 50_000 - 8_100, fees - 423)]
    assert rows(engine, KEPT) == [(13 + 2, 10 + 1, 3)]


def exported(engine: Engine) -> list[tuple[Any, ...]]:
    """The settlement columns of every entry."""
    wanted = Wanted(first=date(2025, 3, 1), last=date(2025, 4, 1), account="", livemode=True)
    with engine.connect() as connection:
        found = exports.entries(connection, wanted)
        return [(row.key, row.settlements, row.gross, row.fee, row.net) for row in found]


def test_the_views_and_exports_have_what_the_last_run_found(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    daily = "SELECT * FROM analytics.daily_settlements ORDER BY currency, day, category"
    settled = "SELECT * FROM analytics.revenue_settled ORDER BY key, settlement"
    checks = """SELECT check_name, sample_ids FROM analytics.dq_summary
                WHERE failing_rows > 0 AND severity <> 'info' ORDER BY 1"""
    queries = (daily, settled, checks)
    right()
    said = [rows(engine, query) for query in queries]
    files = exported(engine)
    moon = {"reporting_category": "moon_fee", "currency": "usd"}
    wrong = altered(altered(spoiled(month), "txn_ghost", **moon), "txn_4", source="ch_1")
    reconcile(engine, berlin, asked(), filed(wrong))
    spoilt = [rows(engine, query) for query in queries]
    assert exported(engine) != files
    right()

    assert exported(engine) == files
    assert [one for one, other in zip(said, spoilt, strict=True) if one == other] == []
    assert [rows(engine, query) for query in queries] == said
    assert rows(engine, "SELECT sum(net_minor) FROM analytics.daily_settlements") == [
        (sum(one["net"] for one in month.transactions),)
    ]


def test_a_run_that_finds_nothing_new_keeps_nothing_whatever_its_source(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    with fake_stripe(key=KEY) as stripe:
        month.at_stripe(stripe)

        def by_api(stripe: FakeStripe = stripe) -> Report:
            return reconcile(engine, berlin, asked(stripe), listed(stripe))

        right()
        first = rows(engine, KEPT)
        by_api()  # knows the exchange rate of one
        second = rows(engine, KEPT)
        for _ in range(2):
            assert (right().verdict, by_api().verdict) == ("clean", "clean")

    assert (first, second, rows(engine, KEPT)) == ([(12, 10, 0)], [(13, 11, 1)], [(13, 11, 1)])
    assert rows(engine, "SELECT id, exchange_rate::text FROM settlements WHERE run = 2") == [
        ("txn_3", "1.08")
    ]


def test_a_run_whose_source_lacks_days_leaves_no_settlement(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    lacking = replace(filed(spoiled(month)), lacks="a week is missing")

    for _ in range(2):
        report = reconcile(engine, berlin, asked(allow_partial=True), lacking)

    assert (report.verdict, rows(engine, KEPT)) == ("incomplete", [(0, 0, 0)])
    assert right().verdict == "clean"
    nothing = replace(filed(Month()), lacks="all of it is missing")
    assert reconcile(engine, berlin, asked(allow_partial=True), nothing).run == 4
    assert rows(engine, KEPT) == [(12, 10, 0)]


def test_a_run_speaks_for_its_own_days_alone(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    april = date(2025, 4, 1)
    outside = altered(spoiled(month), "txn_ghost", created=NOON + 22 * 86_400)  # on April 1
    outside.transactions = [one for one in outside.transactions if one["id"] != "txn_po"]
    period = asked().period
    around = filed(outside)

    right()
    reconcile(engine, berlin, asked(), around)
    assert rows(engine, "SELECT count(*) FROM settlements WHERE id = 'txn_ghost'") == [(0,)]
    after = replace(period, start=april, end=date(2025, 5, 1))
    lacks = "March is not this run's"
    later = replace(around, lacks=None, covered=after.bounds(), sha256=lacks)
    reconcile(engine, berlin, asked(period=after), later)

    assert rows(engine, "SELECT run, effective_date FROM settlements WHERE id = 'txn_ghost'") == [
        (3, april)
    ]
    assert rows(engine, "SELECT id FROM withdrawn_settlements ORDER BY 1") == [
        ("txn_1",),
        ("txn_po",),
    ]


def test_a_row_that_moved_to_another_month_is_there_once(
    engine: Engine, berlin: Settings, month: Month
) -> None:
    """By a file with a wrong date, whose month nobody reconciles again."""
    moved = altered(month, "txn_fee", created=NOON - 20 * 86_400)
    february = replace(asked().period, start=date(2025, 2, 1), end=date(2025, 3, 1))
    reconcile(engine, berlin, asked(period=february), filed(moved))
    kept = "SELECT id, run FROM current_settlements WHERE id <> 'txn_feb'"
    assert rows(engine, kept) == [("txn_fee", 1)]

    reconcile(engine, berlin, asked(), filed(month))

    where = "WHERE id = 'txn_fee'"
    assert rows(engine, f"SELECT run, effective_date FROM current_settlements {where}") == [
        (2, date(2025, 3, 10))
    ]
    euros = [one for one in month.transactions if one["currency"] == "eur"]
    sums = (sum(one[name] for one in euros) for name in ("amount", "fee"))
    assert rows(engine, HOME) == [(len(euros), *sums)]


# --- which entry each is of


def test_an_entry_that_came_later_is_settled_by_what_was_known_before(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    month.paid(9)
    assert ("ch_9", "missing_in_ledger") in {one[:2] for one in found(right())}
    before = rows(engine, PAIRS)
    book(engine, "payment:pi_9", 1190, payment_intent="pi_9")

    assert right().verdict == "clean"

    assert rows(engine, PAIRS) == sorted([*before, ("txn_9", "payment:pi_9")])
    assert rows(engine, "SELECT run FROM current_settlements WHERE id = 'txn_9'") == [(2,)]


def test_entries_that_a_wrong_file_gave_to_a_transaction_are_not_its_any_more(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    right()
    before = rows(engine, PAIRS)
    reconcile(engine, berlin, asked(), filed(altered(month, "txn_4", source="ch_1")))
    assert ("txn_4", "payment:in_1") in rows(engine, PAIRS)

    right()

    assert rows(engine, PAIRS) == before


def test_what_a_run_cannot_tell_of_the_same_transaction_stays_known(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    """Of two runs, the one with an API key may know which invoice a payment pays."""
    right()
    before = rows(engine, PAIRS)
    forgotten = text("DELETE FROM stripe_refs WHERE child = 'pi_3'")
    with engine.begin() as connection:
        connection.execute(forgotten)

    assert right().verdict == "differences"
    assert rows(engine, PAIRS) == before
    with fake_stripe(key=KEY) as stripe:
        month.at_stripe(stripe)
        reconcile(engine, berlin, asked(), listed(stripe))  # says more of that very transaction

    assert rows(engine, "SELECT run FROM current_settlements WHERE id = 'txn_3'") == [(3,)]
    assert rows(engine, PAIRS) == before


# --- at the same time, and after the close


def test_a_run_that_another_one_overtook_looks_again_before_it_keeps(
    engine: Engine,
    berlin: Settings,
    month: Month,
    right: Callable[[], Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right()
    before = rows(engine, HOME)
    compare = legs.destinations

    def overtaken(*args: Any) -> Any:
        monkeypatch.setattr(legs, "destinations", compare)
        reconcile(engine, berlin, asked(), filed(spoiled(month)))
        return compare(*args)

    monkeypatch.setattr(legs, "destinations", overtaken)

    assert right().run == 3

    assert rows(engine, HOME) == before


POSTED = """
    SELECT id, run, posting_date FROM settlements WHERE id IN ('txn_1', 'txn_ghost')
    UNION ALL SELECT id, -by_run, posting_date FROM withdrawn_settlements ORDER BY 1, 2
"""


def test_what_is_read_of_a_closed_month_is_posted_to_the_next_open_one(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    reconcile(engine, berlin, asked(), filed(spoiled(month)))
    march, april = date(2025, 3, 10), date(2025, 4, 1)
    of_march = Calendar(date(2025, 3, 1), BERLIN)
    with engine.begin() as connection:
        close(connection, OWN, of_march, who="ada", why="a test", accept_breaks=True)

    right()

    assert rows(engine, POSTED) == [
        *(("txn_1", -2, april), ("txn_1", 1, march), ("txn_1", 2, april)),
        *(("txn_ghost", -2, april), ("txn_ghost", 1, march), ("txn_po", -2, april)),
    ]
    assert rows(engine, "SELECT DISTINCT effective_date FROM settlements WHERE id = 'txn_1'") == [
        (march,)
    ]
    with engine.begin() as connection:
        reopen(connection, OWN, of_march, who="ada", why="a test")
    reconcile(engine, berlin, asked(), filed(altered(month, "txn_1", fee=48)))
    # It leaves where it stands: in April, which is open, too.
    assert rows(engine, f"SELECT * FROM ({POSTED}) AS p WHERE abs(run) = 3 ORDER BY 2") == [
        *(("txn_1", -3, april), ("txn_1", 3, march)),
    ]


def test_what_was_withdrawn_stays_withdrawn(
    engine: Engine, berlin: Settings, month: Month, right: Callable[[], Report]
) -> None:
    reconcile(engine, berlin, asked(), filed(spoiled(month)))
    right()

    for change in ("UPDATE {} SET by_run = 1", "DELETE FROM {}", "TRUNCATE {}"):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(change.format("withdrawn_settlements")))
