"""The journal: Stripe clearing is Stripe's balance, and a closed month's stays as it is."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from app.core.money import Money
from app.core.reconcile.categories import KNOWN
from app.finance.close import close
from app.finance.export import export
from app.finance.journal import AGAINST, CLEARING, CONVERSION, FEES, TAX, UNAPPLIED, account_of
from app.finance.month import Month as Calendar
from app.finance.reconcile import reconcile
from app.settings import Settings
from app.store.exports import Dates, Wanted
from app.store.migrate import set_reporting_zone
from tests.reconcile_month import BERLIN, MARCH, NOON, Month, book, clean
from tests.test_process import an_invoice
from tests.test_reconcile import OWN, asked
from tests.test_reconcile_again import altered, filed, spoiled

Sums = dict[tuple[str, str], Decimal]
APRIL = replace(MARCH, start=MARCH.end, end=date(2025, 5, 1))
DATES: tuple[Dates, ...] = ("closed", "restated")


@pytest.fixture
def berlin(settings: Settings, engine: Engine) -> Settings:
    with engine.begin() as connection:
        set_reporting_zone(connection, "Europe/Berlin")
    return replace(settings, timezone="Europe/Berlin")


@pytest.fixture
def month(engine: Engine, berlin: Settings) -> Month:
    """The clean month: refunds, one that failed, a dispute won, other currencies, a payout, fees;
    and what is no revenue yet or never: a part of an open invoice, a reserve, taxes."""
    month = clean()
    month.paid(20, 400)
    month.linked(20, 400)
    unpaid = {"status": "open", "amount_paid": 0, "amount_due": 1190, "status_transitions": {}}
    month.tell("invoice.finalized", an_invoice("in_20", "sub_20", **unpaid))
    month.paid(21, 5000, settled={"currency": "usd", "amount": 5500, "exchange_rate": 1.1})
    for number, category in enumerate(("risk_reserved_funds", "tax", "network_cost", "topup")):
        of = {"reporting_category": category, "type": category, "created": NOON + number * 86_400}
        month.transaction(f"txn_x{number}", None, -70 - number, **of)
    instant = {"reporting_category": "payout", "type": "payout"}
    month.transaction("txn_instant", None, -3000, fee=45, **instant)
    month.live(engine, berlin)
    return month


@pytest.fixture
def runs(engine: Engine, berlin: Settings) -> Callable[[Month], None]:
    def run(month: Month) -> None:
        reconcile(engine, berlin, asked(), filed(month))

    return run


@pytest.fixture
def written(engine: Engine, tmp_path: Path) -> Callable[..., bytes]:
    def write(first: date = MARCH.start, last: date = MARCH.end, dates: Dates = "closed") -> bytes:
        wanted = Wanted(first=first, last=last, dates=dates, account="", livemode=True)
        with engine.connect() as connection:
            export(connection, wanted, "journal", tmp_path / "journal.csv", lambda _: None)
        return (tmp_path / "journal.csv").read_bytes()

    return write


def lines(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def summed(content: bytes, *names: str) -> Sums:
    """Debits less credits by these columns and by currency, without what is nothing."""
    sums: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for row in lines(content):
        amount = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
        sums[*(row[name] for name in (*names, "currency"))] += amount
    return {key: amount for key, amount in sorted(sums.items()) if amount}  # type: ignore[misc]


def clearing(content: bytes) -> dict[str, Decimal]:
    found = summed(content, "ledger_account")
    return {
        currency: amount for (account, currency), amount in found.items() if account == CLEARING
    }


def balance(month: Month, first: date = date.min, last: date = date.max) -> dict[str, Decimal]:
    """By how much Stripe's balance changed on these days of Berlin, payouts included."""
    moved: defaultdict[str, int] = defaultdict(int)
    for one in month.transactions:
        if first <= datetime.fromtimestamp(one["created"], UTC).astimezone(BERLIN).date() < last:
            moved[one["currency"]] += one["net"]
    return {name: Money(minor, name).major for name, minor in sorted(moved.items()) if minor}


@pytest.mark.parametrize("dates", DATES)
def test_stripe_clearing_moves_by_stripes_balance_on_every_day(
    month: Month, runs: Callable[[Month], None], written: Callable[..., bytes], dates: Dates
) -> None:
    runs(month)

    assert clearing(written(dates=dates)) == balance(month)
    assert len(balance(month)) == 3
    days = [MARCH.start + timedelta(days=number) for number in range(31)]
    moved = {day: balance(month, day, day + timedelta(days=1)) for day in days}
    assert {day: clearing(written(day, day + timedelta(days=1), dates)) for day in days} == moved
    assert sum(map(bool, moved.values())) > 3
    assert summed(written(dates=dates), "reference") == {}


def test_each_transaction_is_booked_against_what_it_is_of(
    month: Month, runs: Callable[[Month], None], written: Callable[..., bytes]
) -> None:
    runs(month)

    found = summed(written(), "ledger_account")

    others = {account for account, _ in found} - {CLEARING, *AGAINST.values(), TAX}
    assert {key: str(amount) for key, amount in found.items() if key[0] in others} == {
        (CONVERSION, "eur"): "100.00",
        (CONVERSION, "usd"): "-109.00",
        ("Network costs", "eur"): "0.72",
        ("Payouts", "eur"): "120.00",
        ("Reserves", "eur"): "0.70",
        (FEES, "eur"): "26.86",
        (FEES, "jpy"): "40",
        (FEES, "usd"): "0.94",
        ("Tax on Stripe fees", "eur"): "0.71",
        ("Top-ups", "eur"): "0.73",
        (UNAPPLIED, "eur"): "-54.00",  # of the open invoice, and of the payment nobody claims
    }


def test_what_was_booked_and_not_yet_read_and_the_reverse_are_unapplied(
    month: Month, runs: Callable[[Month], None], written: Callable[..., bytes], engine: Engine
) -> None:
    before = summed(written(), "ledger_account")
    assert {key for key in before if key[0] not in AGAINST.values()} == {
        *((UNAPPLIED, "eur"), (UNAPPLIED, "jpy"), (TAX, "eur"), (TAX, "jpy")),
    } & before.keys()
    assert (str(before[UNAPPLIED, "eur"]), str(before[UNAPPLIED, "jpy"])) == ("69.40", "1299")
    runs(month)
    assert summed(written(), "ledger_account")[UNAPPLIED, "eur"] == Decimal("-54.00")

    book(engine, "payment:in_20", 1190, invoice="in_20")

    assert summed(written(), "ledger_account")[UNAPPLIED, "eur"] == Decimal("-42.10")
    assert clearing(written()) == balance(month)


def test_a_wrong_source_leaves_nothing_in_the_journal_of_an_open_month(
    month: Month, runs: Callable[[Month], None], written: Callable[..., bytes]
) -> None:
    wrong = altered(spoiled(month), "txn_4", created=NOON - 86_400)
    runs(wrong)
    assert clearing(written()) == balance(wrong)
    runs(month)
    repaired = [written(dates=dates) for dates in DATES]

    assert repaired[0] == repaired[1]
    assert b"txn_ghost" not in repaired[0]
    assert clearing(repaired[0]) == balance(month)
    runs(month)
    assert [written(dates=dates) for dates in DATES] == repaired


def test_a_closed_months_journal_has_the_same_bytes_whatever_is_read_later(
    engine: Engine,
    month: Month,
    runs: Callable[[Month], None],
    written: Callable[..., bytes],
) -> None:
    wrong = spoiled(month)
    wrong.transactions = [one for one in wrong.transactions if one["id"] != "txn_3"]
    runs(wrong)
    with engine.begin() as connection:
        of_march = Calendar(MARCH.start, BERLIN)
        close(connection, OWN, of_march, who="ada", why="a test", accept_breaks=True)
    closed = written()

    for source in (month, wrong, month):
        runs(source)
        assert written() == closed

    late = written(APRIL.start, APRIL.end)
    assert {(row["date"], row["reference"]) for row in lines(late)} == {
        ("2025-04-01", one) for one in ("txn_1", "txn_3", "txn_ghost", "txn_po")
    }
    assert summed(late, "reference") == {}
    both = written(MARCH.start, APRIL.end)
    assert clearing(both) == clearing(written(dates="restated")) == balance(month)
    assert summed(both, "ledger_account") == summed(written(dates="restated"), "ledger_account")
    assert [
        (row["ledger_account"], row["debit"], row["credit"], row["memo"])
        for row in lines(late)
        if row["reference"] in ("txn_1", "txn_ghost")
    ] == [
        (CLEARING, "4.23", "", "charge ch_1: as run 4 found it, not run 1"),
        (FEES, "", "4.23", "charge ch_1: as run 4 found it, not run 1"),
        (CLEARING, "500.00", "", "fee: as run 2 found it, not run 1"),
        (FEES, "", "500.00", "fee: as run 2 found it, not run 1"),
    ]


def test_a_categorys_account_is_never_that_of_something_else() -> None:
    ours = {CLEARING, UNAPPLIED, CONVERSION, TAX, *AGAINST.values(), "Paid outside Stripe"}
    hostile = ("stripe_clearing", "Revenue", "unapplied_payments", "=1+1", "")

    accounts = {one: account_of(one) for one in (*KNOWN, *hostile)}

    assert ours & set(accounts.values()) == set()
    assert accounts["transfer_reversal"] == accounts["transfer"] == "Transfers"
    assert accounts["climate_order_purchase"] == "Stripe: climate order purchase"
    assert [accounts[one] for one in hostile[:2]] == ["Stripe: stripe clearing", "Stripe: Revenue"]
    assert account_of("x" * 5_000) == "Stripe: " + "x" * 60


def test_money_of_a_customer_that_the_source_does_not_say_stays_in_the_balances_currency(
    engine: Engine, month: Month, runs: Callable[[Month], None], written: Callable[..., bytes]
) -> None:
    """A file without the columns for that: it is unapplied in both, until a source says it."""
    unsaid = {"customer_facing_amount", "customer_facing_currency"}
    lacking = _without(month, unsaid)
    runs(lacking)
    before = summed(written(), "ledger_account")

    runs(month)

    after = summed(written(), "ledger_account")
    keys = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    assert {key: (before.get(key), after.get(key)) for key in keys} == {
        (CONVERSION, "eur"): (None, Decimal("100.00")),
        (CONVERSION, "usd"): (None, Decimal("-109.00")),
        (UNAPPLIED, "eur"): (Decimal("46.00"), Decimal("-54.00")),
        (UNAPPLIED, "usd"): (Decimal("-109.00"), None),
    }
    with engine.connect() as connection:
        query = "SELECT count(*) FROM settlements WHERE run = 2"
        assert connection.execute(text(query)).scalar_one() > 5


def _without(month: Month, columns: set[str]) -> Month:
    class Lacking(Month):
        def as_csv(self) -> bytes:
            out = io.StringIO()
            rows = list(csv.DictReader(io.StringIO(month.as_csv().decode("utf-8-sig"))))
            names = [name for name in rows[0] if name not in columns]
            written = csv.DictWriter(out, names, extrasaction="ignore")
            written.writeheader()
            written.writerows(rows)
            return out.getvalue().encode()

    return Lacking()
