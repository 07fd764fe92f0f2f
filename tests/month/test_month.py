"""The month three ways, and with a defect of every kind: named as planted, and then repaired."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import time

import pytest
from sqlalchemy import Engine

from app.local.stores import Stores
from tests.month.bench import Bench, Finding, Said, bench, named
from tests.month.books import BERLIN, HOME, Books
from tests.month.explained import payouts_and_fees
from tests.month.lives import last_month, lived
from tests.month.plant import plant_all, plant_mendable
from tests.month.planted import (
    Planted,
    as_a_file_alone_says,
    only_one_side_has,
    readers_that_fail,
    refusing,
)
from tests.month.report import as_csv, line_of

# Two hours late, so that nothing of the month is so young that it may still settle.
TODAY = (datetime.now(BERLIN) - timedelta(hours=2)).date()
FALSIFIED = ("amount_difference", "currency_difference")
DESTINATIONS = ("amplitude", "webhook")


@pytest.fixture
def bridge(engine: Engine, stores: Stores, tmp_path: Path) -> Iterator[Bench]:
    with bench(engine, stores, tmp_path) as running:
        yield running


def goes_wrong(bridge: Bench, books: Books, planted: Planted) -> None:
    """The month as the bridge hears it."""
    books.at_stripe(bridge.stripe, int(time()), pending=planted.withheld)
    bridge.tools.script = refusing(planted.refused)
    with readers_that_fail(planted):
        bridge.hears(books, but=planted.withheld | planted.next_day | planted.late)
        bridge.hears(books, only=planted.next_day)
    bridge.tools.script = None


def follows(bridge: Bench, said: Said) -> None:
    """What the report says to do next, as far as it is a command; and whatever comes of it."""
    for words in said.commands():
        yes = ["--yes"] if words[0] in ("backfill", "replay", "revenue") else []
        done = bridge.runs(*words, *yes)
        assert done.exit_code == 0, (words, done.output)
    bridge.works()


def test_a_whole_month_is_the_same_at_stripe_in_the_ledger_and_at_every_destination(
    bridge: Bench,
) -> None:
    books, noise = lived(last_month(TODAY), customers=150), Planted()
    payouts_and_fees(books, noise)
    books.at_stripe(bridge.stripe, int(time()))
    bridge.hears(books)

    by_api = bridge.reconciles(books, code=0)
    file = bridge.file("balance.csv", as_csv(books))
    by_csv = bridge.reconciles(books, "--source", "csv", file, code=0, key=False)

    assert by_api.named == named(*noise.explained)
    assert by_csv.but("run", "source") == by_api.but("run", "source")
    assert by_api.found["verdict"] == "clean"
    month = books.of_month()
    assert by_api.sums("stripe") == by_api.sums("ledger") == month
    assert list(month) == ["eur", "jpy", "usd"]
    for name in DESTINATIONS:
        assert by_api.delivered(name) == month
    totals = bridge.tools.snapshot()
    assert totals.amplitude.revenue_minor == books.money()
    assert totals.webhook.revenue_minor == books.money() == bridge.ledger()
    assert clearing(bridge, books, "closed") == clearing(bridge, books, "restated")
    assert clearing(bridge, books, "closed") == balance(books)


def clearing(bridge: Bench, books: Books, dates: str) -> dict[str, Decimal]:
    """The journal's debits less credits of Stripe clearing in the month, by currency."""
    days = ("--from", str(books.start), "--to", str(books.end), "--as", dates)
    done = bridge.runs("revenue", "export", *days, "--format", "journal", "--out", "journal.csv")
    assert done.exit_code == 0, done.output
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    with (bridge.folder / "journal.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["ledger_account"] == "Stripe clearing":
                sums[row["currency"]] += Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
    return dict(sums)


def balance(books: Books) -> dict[str, Decimal]:
    """By how much Stripe's balance changed in the month, payouts included."""
    first, last = books.at(0, 0), books.at(books.days, 0)
    moved = [one["net"] for one in books.transactions.values() if first <= one["created"] < last]
    assert len(moved) > 10
    return {HOME: Decimal(sum(moved)).scaleb(-2)}


def closes(bridge: Bench, before: date) -> None:
    """The months with entries before this day, whatever is unproved in them."""
    month = bridge.one("SELECT min(effective_date) FROM revenue_entries").replace(day=1)
    while month < before:
        words = ("--accept-breaks", "--why", "a test", "--yes")
        done = bridge.runs("revenue", "close", f"{month:%Y-%m}", *words)
        assert done.exit_code == 0, done.output
        month = (month + timedelta(days=31)).replace(day=1)


def sum_of(findings: Iterable[Finding]) -> dict[str, int]:
    """Stripe's minor units by currency."""
    total: dict[str, int] = {}
    for one in findings:
        total[one[3]] = total.get(one[3], 0) + (one[4] or 0)
    return total


def agree_three_ways(bridge: Bench, books: Books, said: Said, *, elsewhere: dict[str, int]) -> None:
    """Stripe, the ledger and what arrived, by currency: also what is `elsewhere` than where the
    month's transactions are, in the ledger alone or in Stripe alone."""
    month = books.of_month()
    assert said.sums("stripe") == month
    assert said.sums("ledger") == {name: month[name] + elsewhere.get(name, 0) for name in month}
    for name in DESTINATIONS:
        assert said.delivered(name) == said.sums("ledger")
    totals = bridge.tools.snapshot()
    assert totals.amplitude.revenue_minor == totals.webhook.revenue_minor == bridge.ledger()


def test_what_can_be_repaired_is_by_the_steps_that_the_report_itself_names(bridge: Bench) -> None:
    books = lived(last_month(TODAY), customers=10)
    planted = plant_mendable(books)
    goes_wrong(bridge, books, planted)
    assert not bridge.tools.snapshot().webhook.defects

    before = bridge.reconciles(books, code=1)
    assert before.named == named(*planted.everything)
    assert before.differences == named(*planted.mendable, *planted.correctable)
    assert before.dead == {"webhook": 1}
    follows(bridge, before)
    after = bridge.reconciles(books, code=0)

    assert after.named == named(*planted.explained)
    assert (after.found["verdict"], after.dead) == ("clean", {})
    wrong = {one[0] for one in planted.correctable if one[1] != "duplicate_in_ledger"}
    assert after.corrected == len(wrong) > 3
    agree_three_ways(bridge, books, after, elsewhere=only_one_side_has(planted))
    closed = bridge.runs("revenue", "close", f"{books.start:%Y-%m}", "--yes")
    assert closed.exit_code == 1  # months are closed in order
    closes(bridge, before=books.start)
    closed = bridge.runs("revenue", "close", f"{books.start:%Y-%m}", "--yes")
    assert closed.exit_code == 0, closed.output  # proved by the last reconciliation


def test_a_defect_of_every_kind_is_named_as_planted_and_nothing_else_by_api_and_by_csv(
    bridge: Bench,
) -> None:
    books = lived(last_month(TODAY), customers=10)
    planted = plant_all(books)
    goes_wrong(bridge, books, planted)
    closes(bridge, before=books.end)
    bridge.hears(books, only=planted.late)
    for one in planted.corrupt:
        one(bridge)

    # As finance downloads it: the month's own file, and no API key.
    month = bridge.file("month.csv", as_csv(books, changed=planted.fees))
    alone = bridge.reconciles(books, "--source", "csv", month, code=1, key=False)
    assert alone.named == named(*as_a_file_alone_says(planted))
    assert "Give two days more" in " ".join(alone.steps.values())

    assert bridge.reconciles(books, code=1).named == named(*planted.everything, *planted.once)
    by_api = bridge.reconciles(books, code=1)
    file = bridge.file("balance.csv", as_csv(books, around=2))
    by_csv = bridge.reconciles(books, "--source", "csv", file, code=1)
    assert by_api.named == named(*planted.everything)
    assert by_csv.but("run", "source") == by_api.but("run", "source")
    assert [one for one in by_api.found["footing"] if one["foots"] is False] == []
    falsified = {one[0] for one in planted.lasting if one[1] in FALSIFIED}
    assert by_api.told_wrong == falsified
    wrong = sum(one.get("amounts_wrong", 0) for one in by_api.found["delivered"])
    assert wrong == len(falsified) * len(DESTINATIONS)

    follows(bridge, by_api)
    after = bridge.reconciles(books, code=1)
    assert after.differences == named(*planted.lasting)
    late = [one for one in after.named if one[1] == "late_adjustment"]
    explained = [one for one in planted.explained if one[1] != "late_adjustment"]
    assert after.named == named(*explained, *planted.lasting, *late)
    # What was repaired came after the close.
    assert sum_of(late) == sum_of(
        [*planted.mendable, *(one for one in planted.explained if one[1] == "late_adjustment")]
    )
    # As closed, the month has no settlement: it was closed before the first run.
    assert clearing(bridge, books, "closed") == {}
    assert clearing(bridge, books, "restated") == balance(books)


def test_a_connected_accounts_money_is_its_own(bridge: Bench) -> None:
    start = last_month(TODAY)
    own, theirs = Books(start), Books(start, seed=2, account="acct_1")
    for books in (own, theirs):
        books.renews("eur", books.at(5))
        books.noise()
        books.at_stripe(bridge.stripe, int(time()))
        bridge.hears(books)

    assert bridge.reconciles(own, code=0).sums("ledger") == own.of_month()
    said = bridge.reconciles(theirs, "--account", "acct_1", code=0)
    assert said.sums("stripe") == said.sums("ledger") == theirs.of_month()

    # A platform's report may have both accounts; the API lists one of them.
    charge = next(one for one in theirs.transactions.values() if one["created"] > own.at(0))
    line = line_of(theirs, charge) | {"connected_account_id": "acct_1"}
    file = bridge.file("platform.csv", as_csv(own, others=[line]))
    mixed = bridge.reconciles(own, "--source", "csv", file, code=1)
    [finding] = mixed.differences
    assert finding[:3] == (charge["source"], "missing_in_ledger", "connect_account")
    assert mixed.steps[finding[0]] == (
        f"bridge reconcile --account acct_1 --live --from {own.start} --to {own.end}"
    )
