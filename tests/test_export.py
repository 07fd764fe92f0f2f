"""The ledger as a file: the same entries make the same bytes, and no text becomes a formula."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import orjson
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from app.cli import cli
from app.finance.close import close
from app.finance.export import COLUMNS, Format, export, file_name
from app.finance.journal import AGAINST, JOURNAL
from app.finance.month import Month
from app.finance.sheets import Cell, NotAFile, Sheet, guarded, write_csv, write_xlsx
from app.settings import Settings
from app.store import exports, periods
from app.store.bulk import insert_rows
from app.store.exports import Wanted
from app.store.migrate import set_reporting_zone
from app.store.schema import analytics_events, settled_entries, settlements
from tests.books import book, entry

OCTOBER = Wanted(first=date(2025, 10, 1), last=date(2025, 11, 1), account="", livemode=True)
LATE = {"effective_date": date(2025, 9, 30)}
ENTRIES = (
    entry("payment:in_1", "2025-10-01", invoice="in_1", subscription="sub_1"),
    entry("refund:re_1", "2025-10-02", kind="refund", minor=-300, refund="re_1", customer=None),
    entry("payment:pi_1", "2025-10-01", currency="jpy", minor=900, tax_minor=0, **LATE),
    entry("payment:in_2", "2025-10-03", currency="kwd", minor=12340, out_of_band=True),
    entry("dispute:dp_1:txn_9", "2025-10-31", kind="dispute", minor=-1200, dispute="dp_1"),
)
OUTSIDE = (  # of other days, accounts and modes
    entry("payment:in_3", "2025-09-30"),
    entry("payment:in_4", "2025-11-01"),
    entry("payment:in_5", "2025-10-01", account="acct_1"),
    entry("payment:in_6", "2025-10-01", livemode=False),
)


def settlement(
    txn: str,
    gross: int,
    fee: int,
    currency: str,
    shown: tuple[int | None, str | None] = (None, None),
    **more: Any,
) -> dict[str, Any]:
    """A charge of October 1; `shown` is what the customer saw of it."""
    return {
        **dict(zip(("minor", "customer_currency"), shown, strict=True)),
        **{
            "account": "",
            "livemode": True,
            "id": txn,
            "created": datetime(2025, 10, 1, tzinfo=UTC),
        },
        **{"category": "charge", "gross": gross, "fee": fee, "net": gross - fee},
        **{"currency": currency, "exchange_rate": None, "effective_date": date(2025, 10, 1)},
        **{"posting_date": date(2025, 10, 1), **more},
    }


def settle(engine: Engine, *rows: Mapping[str, Any], **keys: str) -> None:
    """Settlements, and the key of whose entry each is, by the transaction's id."""
    pairs = [
        {"account": "", "livemode": True, "settlement": txn, "key": key}
        for txn, key in keys.items()
    ]
    with engine.begin() as connection:
        insert_rows(connection, settlements, rows)
        insert_rows(connection, settled_entries, pairs)


@pytest.fixture
def ledger(engine: Engine, planted: None) -> Engine:
    """Five entries of October, of which two are settled and one has its share of the tax."""
    book(engine, *ENTRIES, *OUTSIDE)
    settle(
        engine,
        settlement("txn_1", 1000, 59, "eur", exchange_rate="0.8333", shown=(1200, "usd")),
        settlement("txn_2", 900, 40, "jpy"),
        txn_1="payment:in_1",
        txn_2="payment:pi_1",
    )
    told = {
        **{"account": "", "livemode": True, "key": "refund:re_1", "schema_version": 1},
        **{"uuid": "00000000-0000-0000-0000-000000000001", "name": "refund_created"},
        **{"occurred_at": datetime(2025, 10, 2, tzinfo=UTC), "state": "released", "about": []},
        **{"properties": {}, "held_until": datetime(2025, 10, 2, tzinfo=UTC), "tax_minor": -50},
    }
    with engine.begin() as connection:
        insert_rows(connection, analytics_events, [told])
    return engine


def written(engine: Engine, file: Path, form: Format = "csv", wanted: Wanted = OCTOBER) -> bytes:
    with engine.connect() as connection:
        export(connection, wanted, form, file, lambda _: None)
    return file.read_bytes()


def lines(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


# --- every entry


def test_every_entry_of_the_days_is_there_once_in_both_units(
    ledger: Engine, tmp_path: Path
) -> None:
    content = written(ledger, tmp_path / "ledger.csv")
    rows = lines(content)
    assert tuple(rows[0]) == COLUMNS
    names = ("posting_date", "key", "currency", "amount", "amount_minor", "tax", "tax_minor")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("2025-10-01", "payment:in_1", "usd", "12.00", "1200", "2.00", "200"),
        ("2025-10-01", "payment:pi_1", "jpy", "900", "900", "0", "0"),
        ("2025-10-02", "refund:re_1", "usd", "-3.00", "-300", "-0.50", "-50"),
        ("2025-10-03", "payment:in_2", "kwd", "12.340", "12340", "0.200", "200"),
        ("2025-10-31", "dispute:dp_1:txn_9", "usd", "-12.00", "-1200", "", ""),
    ]
    assert [name for name in rows[1] if rows[1][name] != rows[0][name]] == [
        *("effective_date", "late", "key", "currency", "amount", "tax", "discount"),
        *("amount_minor", "tax_minor", "subscription", "invoice", "settlement_currency"),
        *("settlement_gross", "settlement_fee", "settlement_net", "settlement_gross_minor"),
        *("settlement_fee_minor", "settlement_net_minor", "exchange_rate", "settlements"),
    ]


def test_the_bytes_of_a_row_are_these(ledger: Engine, tmp_path: Path) -> None:
    [head, first, *_] = written(ledger, tmp_path / "ledger.csv").split(b"\r\n")
    assert head.startswith(b'"posting_date","effective_date","late","period","kind","key",')
    assert first.decode() == (
        '2025-10-01,2025-10-01,false,"2025-10","payment","payment:in_1","usd",12.00,2.00,0.00,'
        "1200,200,0,false,2025-10-01T12:00:00.000000Z,2025-10-01T12:00:00.000000Z,"
        '"webhook","cus_1","sub_1","in_1",,,,,"own","live","eur",10.00,0.59,9.41,1000,59,941,'
        '0.8333,"txn_1",'
    )


def test_the_order_of_booking_changes_no_byte(engine: Engine, tmp_path: Path) -> None:
    """A file is of the entries alone: not of their numbers, nor of when it is written."""
    forms: tuple[Format, ...] = ("csv", "xlsx", "journal")
    book(engine, *ENTRIES)
    book(engine, *(entry(one["key"], "2025-10-01", account="acct_1") for one in OUTSIDE))
    here = [written(engine, tmp_path / form, form) for form in forms]
    assert [written(engine, tmp_path / form, form) for form in forms] == here

    moved = [{**one, "account": "acct_2"} for one in reversed(ENTRIES)]
    book(engine, *moved)
    other = Wanted(first=OCTOBER.first, last=OCTOBER.last, account="acct_2", livemode=True)
    there = written(engine, tmp_path / "other", "csv", other)
    assert there.replace(b'"acct_2"', b'"own"') == here[0]


def test_as_closed_is_by_posting_date_and_restated_by_effective_date(
    ledger: Engine, tmp_path: Path
) -> None:
    restated = Wanted(
        **{**OCTOBER.values, "account": "", "livemode": True},
        dates="restated",
    )
    closed = {row["key"] for row in lines(written(ledger, tmp_path / "a"))}
    again = {row["key"] for row in lines(written(ledger, tmp_path / "b", wanted=restated))}
    assert closed - again == {"payment:pi_1"}
    assert again < closed


def test_settlements_of_one_entry_are_summed_unless_their_currencies_differ(
    engine: Engine, tmp_path: Path
) -> None:
    book(engine, entry("payment:in_1", "2025-10-01"), entry("payment:in_2", "2025-10-01"))
    settle(
        engine,
        *(settlement("txn_1", 700, 30, "usd"), settlement("txn_2", 500, 20, "usd")),
        *(settlement("txn_3", 700, 30, "usd"), settlement("txn_4", 500, 20, "eur")),
        **{"txn_2": "payment:in_1", "txn_1": "payment:in_1"},
        **{"txn_3": "payment:in_2", "txn_4": "payment:in_2"},
    )
    names = ("settlements", "settlement_currency", "settlement_gross", "settlement_net_minor")
    rows = lines(written(engine, tmp_path / "ledger.csv"))
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("txn_1 txn_2", "usd", "12.00", "1150"),
        ("txn_3 txn_4", "", "", ""),
    ]


# --- XLSX


def cells(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(file)
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


def test_a_workbook_has_the_same_as_numbers_dates_and_texts(ledger: Engine, tmp_path: Path) -> None:
    written(ledger, tmp_path / "ledger.xlsx", "xlsx")
    [(name, rows)] = cells(tmp_path / "ledger.xlsx").items()
    first = dict(zip(rows[0], rows[1], strict=True))
    assert (name, rows[0], len(rows)) == ("Ledger", COLUMNS, 6)
    assert {name: value for name, value in first.items() if value is not None} == {
        **{"posting_date": datetime(2025, 10, 1), "effective_date": datetime(2025, 10, 1)},  # noqa: DTZ001
        **{"late": False, "period": "2025-10", "kind": "payment", "key": "payment:in_1"},
        **{"currency": "usd", "amount": 12, "tax": 2, "discount": 0},
        **{"amount_minor": 1200, "tax_minor": 200, "discount_minor": 0, "out_of_band": False},
        **{"occurred_at": datetime(2025, 10, 1, 12), "origin": "webhook"},  # noqa: DTZ001
        **{"recorded_at": datetime(2025, 10, 1, 12), "customer": "cus_1"},  # noqa: DTZ001
        **{"subscription": "sub_1", "invoice": "in_1", "account": "own", "mode": "live"},
        **{"settlement_currency": "eur", "settlement_gross": 10, "settlement_fee": 0.59},
        **{"settlement_net": 9.41, "settlement_gross_minor": 1000, "settlement_fee_minor": 59},
        **{"settlement_net_minor": 941, "exchange_rate": 0.8333, "settlements": "txn_1"},
    }
    sheet = openpyxl.load_workbook(tmp_path / "ledger.xlsx").active
    amounts = [sheet.cell(line, COLUMNS.index("amount") + 1).number_format for line in range(2, 6)]
    assert amounts == ["#,##0.00", "#,##0", "#,##0.00", "#,##0.000"]


def test_more_lines_than_a_sheet_has_go_on_in_a_further_one(tmp_path: Path) -> None:
    rows: list[tuple[Cell, ...]] = [(number,) for number in range(7)]
    write_xlsx(tmp_path / "x.xlsx", "x", [Sheet("Ledger", ("n",), rows)], most=4)
    assert cells(tmp_path / "x.xlsx") == {
        "Ledger": [("n",), (0,), (1,), (2,)],
        "Ledger 2": [("n",), (3,), (4,), (5,)],
        "Ledger 3": [("n",), (6,)],
    }


def test_numbers_that_a_workbook_would_round_are_texts(tmp_path: Path) -> None:
    exact: list[Cell] = [10**15 - 1, 10**15, -(10**15), Decimal("1234567890123.45")]
    write_xlsx(
        tmp_path / "x.xlsx",
        "x",
        [Sheet("x", ("a", "b", "c", "d", "e"), [(*exact, Decimal("12345678901234.56"))])],
    )
    [_, row] = cells(tmp_path / "x.xlsx")["x"]
    assert row == (
        *(999999999999999, "1000000000000000", "-1000000000000000", 1234567890123.45),
        "12345678901234.56",
    )


def test_a_text_that_is_too_long_for_a_cell_says_that_it_was_cut(tmp_path: Path) -> None:
    texts: list[Cell] = ["x" * 32_767, "y" * 32_768]
    write_xlsx(tmp_path / "x.xlsx", "x", [Sheet("x", ("a", "b"), [texts])])
    assert cells(tmp_path / "x.xlsx")["x"][1] == ("x" * 32_767, "y" * 32_766 + "\u2026")


# --- hostile texts

HOSTILE = (
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n1", " =1", "\u00a0=1", "  \u2003+1"),
    *("\ufeff=1", "\u200b@x", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", " \t-1", "\x00=1"),
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_begins_like_a_formula_is_guarded(text: str) -> None:
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", " ", "in_1", "a=1", " in_1", "Ünal", "\u00a0x", "1-1", "'=1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text


def test_hostile_texts_arrive_as_texts_and_split_no_line(engine: Engine, tmp_path: Path) -> None:
    texts = [
        '=HYPERLINK("https://example.com";"x")',
        'x","=1+1',
        "x;=1+1",
        "x\r\n=1+1",
        "@x",
        "https://example.com",
        "{=1}",
        "0012",
    ]
    book(
        engine,
        *(
            entry(f"payment:in_{number}", "2025-10-01", customer=text)
            for number, text in enumerate(texts)
        ),
    )
    expected = [f"'{text}" if text[0] in "=@" else text for text in texts]
    in_csv = [text.replace(";=", ";'=").replace("\n=", "\n'=") for text in expected]

    rows = lines(written(engine, tmp_path / "a.csv"))
    assert [row["customer"] for row in rows] == in_csv
    assert all(row["amount"] == "12.00" for row in rows)

    written(engine, tmp_path / "a.xlsx", "xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    column = [sheet.cell(line, COLUMNS.index("customer") + 1) for line in range(2, 10)]
    assert [cell.data_type for cell in column] == ["s"] * 8
    assert [cell.hyperlink for cell in column] == [None] * 8
    # XML has no carriage return of its own: openpyxl reads it as it was escaped.
    assert [cell.value.replace("_x000D_", "\r") for cell in column] == expected


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize(
    "text", ["{}=1+1", "x{} =1", 'x{}"=1+1{}y', "x\r\n@SUM(A1)", "x{}{}-1", "{}"]
)
def test_no_cell_becomes_a_formula_where_lines_split_by_something_else(
    tmp_path: Path, separator: str, text: str
) -> None:
    hostile = text.replace("{}", separator)
    write_csv(tmp_path / "a.csv", Sheet("x", ("day", "text"), [(date(2025, 10, 1), hostile)]))

    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter=separator) for cell in row]
    assert len(cells) > 2
    assert [cell for cell in cells if cell.strip(' "').startswith(("=", "+", "-", "@"))] == []


def test_a_negative_amount_is_a_number_and_not_guarded(ledger: Engine, tmp_path: Path) -> None:
    assert b",-3.00," in written(ledger, tmp_path / "a.csv")


# --- whole or not at all


def broken() -> Iterator[tuple[Cell, ...]]:
    yield ("one",)
    raise ConnectionError


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_file_is_replaced_once_the_new_one_is_whole(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "ledger"
    file.write_text("old")
    sheet = Sheet("x", ("a",), broken())
    with pytest.raises(ConnectionError):
        write_csv(file, sheet) if kind == "csv" else write_xlsx(file, "x", [sheet])

    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    sheet = Sheet("x", ("a",), [("b",)])
    for place in (tmp_path, Path("/dev/null"), tmp_path / "none" / "ledger.csv"):
        with pytest.raises(NotAFile):
            write_csv(place, sheet)


# --- the journal


def test_every_reference_of_the_journal_balances_in_each_currency(
    ledger: Engine, tmp_path: Path
) -> None:
    rows = lines(written(ledger, tmp_path / "journal.csv", "journal"))
    assert tuple(rows[0]) == JOURNAL
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        assert bool(row["debit"]) != bool(row["credit"])
        amount = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
        sums[row["reference"], row["currency"]] += amount
    assert set(sums.values()) == {Decimal(0)}
    assert {key for key, _ in sums} == {"txn_1", "txn_2", *(one["key"] for one in ENTRIES)}

    names = ("reference", "ledger_account", "debit", "credit", "currency", "memo")
    legs = [
        tuple(row[name] for name in names)
        for row in rows
        if row["reference"] != "dispute:dp_1:txn_9"
    ]
    assert legs == [
        ("payment:in_1", "Unapplied payments", "12.00", "", "usd", "payment"),
        ("payment:in_1", "Revenue", "", "10.00", "usd", "payment"),
        ("payment:in_1", "Tax payable", "", "2.00", "usd", "payment"),
        ("payment:pi_1", "Unapplied payments", "900", "", "jpy", "payment"),
        ("payment:pi_1", "Revenue", "", "900", "jpy", "payment"),
        ("txn_1", "Stripe clearing", "9.41", "", "eur", "charge"),
        ("txn_1", "Stripe fees", "0.59", "", "eur", "charge"),
        ("txn_1", "Currency conversion", "", "10.00", "eur", "charge"),
        ("txn_1", "Currency conversion", "12.00", "", "usd", "charge"),
        ("txn_1", "Unapplied payments", "", "12.00", "usd", "charge"),
        ("txn_2", "Stripe clearing", "860", "", "jpy", "charge"),
        ("txn_2", "Stripe fees", "40", "", "jpy", "charge"),
        ("txn_2", "Unapplied payments", "", "900", "jpy", "charge"),
        ("refund:re_1", "Unapplied payments", "", "3.00", "usd", "refund"),
        ("refund:re_1", "Refunds", "2.50", "", "usd", "refund"),
        ("refund:re_1", "Tax payable", "0.50", "", "usd", "refund"),
        ("payment:in_2", "Paid outside Stripe", "12.340", "", "kwd", "payment"),
        ("payment:in_2", "Revenue", "", "12.140", "kwd", "payment"),
        ("payment:in_2", "Tax payable", "", "0.200", "kwd", "payment"),
    ]


def test_the_journal_has_an_account_for_every_kind_of_entry() -> None:
    source = Path(__file__).parents[1] / "app" / "core" / "reading"
    files = [source / f"{name}.py" for name in ("payment", "invoice", "refund", "dispute")]
    said = re.compile(r'kind="(\w+)"(?: if \w+ else "(\w+)")?')
    found = {kind for file in files for pair in said.findall(file.read_text()) for kind in pair}
    assert found - {""} == AGAINST.keys()


# --- sums


def test_a_summary_never_adds_currencies_modes_or_accounts(ledger: Engine) -> None:
    every = Wanted(first=date(2025, 9, 1), last=date(2025, 12, 1))
    with ledger.connect() as connection:
        found = exports.summary(connection, every, None)

    def line(account: str, livemode: bool, currency: str, *sums: int) -> dict[str, Any]:
        names = ("payments", "refunds", "disputes", "corrections", "net", "tax", "entries", "late")
        of = {"account": account, "livemode": livemode, "currency": currency}
        return {**of, **dict(zip(names, sums, strict=True))}

    assert found == [
        line("", True, "jpy", 900, 0, 0, 0, 900, 0, 1, 1),
        line("", True, "kwd", 12340, 0, 0, 0, 12340, 200, 1, 0),
        line("", True, "usd", 3600, -300, -1200, 0, 2100, 550, 5, 0),
        line("", False, "usd", 1200, 0, 0, 0, 1200, 200, 1, 0),
        line("acct_1", True, "usd", 1200, 0, 0, 0, 1200, 200, 1, 0),
    ]


def test_the_totals_of_a_close_have_the_summarys_tax(ledger: Engine) -> None:
    with ledger.connect() as connection:
        found = exports.summary(connection, OCTOBER, "kind")
        totals = periods.totals(connection, ("", True), OCTOBER.first, OCTOBER.last)

    taxes = {(row["currency"], row["part"]): row["tax"] for row in found}
    assert taxes["usd", "refund"] == -50
    closed = totals["as_closed"]
    assert {(row["currency"], row["kind"]): row["tax_minor"] for row in closed} == taxes


def test_a_summary_by_day_month_and_kind_sums_to_the_same(ledger: Engine) -> None:
    every = Wanted(first=date(2025, 9, 1), last=date(2025, 12, 1), account="", livemode=True)
    with ledger.connect() as connection:
        days, months, kinds = (
            [
                (row["currency"], str(row["part"]), row["net"])
                for row in exports.summary(connection, every, part)
            ]
            for part in ("day", "month", "kind")
        )
    assert days == [
        *(("jpy", "2025-10-01", 900), ("kwd", "2025-10-03", 12340), ("usd", "2025-09-30", 1200)),
        *(("usd", "2025-10-01", 1200), ("usd", "2025-10-02", -300), ("usd", "2025-10-31", -1200)),
        ("usd", "2025-11-01", 1200),
    ]
    assert months == [
        *(("jpy", "2025-10", 900), ("kwd", "2025-10", 12340)),
        *(("usd", "2025-09", 1200), ("usd", "2025-10", -300), ("usd", "2025-11", 1200)),
    ]
    assert kinds == [
        *(("jpy", "payment", 900), ("kwd", "payment", 12340)),
        *(("usd", "dispute", -1200), ("usd", "payment", 3600), ("usd", "refund", -300)),
    ]


# --- the command line


@pytest.fixture
def bridge(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`bridge revenue ...` on these stores, in an empty folder, with days of Berlin."""
    monkeypatch.chdir(tmp_path)
    with engine.begin() as connection:
        set_reporting_zone(connection, "Europe/Berlin")
    env = {"DATABASE_URL": settings.database_url, "BRIDGE_TIMEZONE": "Europe/Berlin"}
    return lambda *words: CliRunner().invoke(cli, ["revenue", *words], env=env)


DAYS = ("--from", "2025-10-01", "--to", "2025-11-01")


def test_the_files_name_says_what_is_in_it(
    ledger: Engine, bridge: Callable[..., Result], tmp_path: Path
) -> None:
    name = "ledger_own_live_2025-10-01_2025-11-01_draft_Europe-Berlin.csv"
    done = bridge("export", *DAYS)
    open_ = "Months of account own, live mode: 2025-10 open."
    assert (done.exit_code, done.stdout, done.stderr.splitlines()) == (
        *(0, "", [f"5 revenue entries to {name}", open_]),
    )
    assert len(lines((tmp_path / name).read_bytes())) == 5

    assert bridge("export", *DAYS, "--test", "--format", "journal").exit_code == 0
    assert bridge("export", *DAYS, "--account", "acct_1", "--format", "xlsx").exit_code == 0
    journal = "journal_own_test_2025-10-01_2025-11-01_draft_Europe-Berlin.csv"
    workbook = "ledger_acct_1_live_2025-10-01_2025-11-01_draft_Europe-Berlin.xlsx"
    assert {file.name for file in tmp_path.iterdir()} == {name, journal, workbook}
    assert file_name(OCTOBER, "csv", "Europe/Berlin", draft=True) == name


def shut(engine: Engine, month: int) -> None:
    """Close a month of 2025, the first one that is closed beginning the books."""
    which = Month(date(2025, month, 1), ZoneInfo("Europe/Berlin"))
    with engine.begin() as connection:
        first = not periods.every(connection)
        scope = ("", True)
        close(connection, scope, which, who="ada", why="so", accept_breaks=True, first=first)


def test_which_months_are_closed_is_said_with_every_number(
    ledger: Engine, bridge: Callable[..., Result], tmp_path: Path
) -> None:
    shut(ledger, 10)
    final = bridge("export", *DAYS)
    name = "ledger_own_live_2025-10-01_2025-11-01_closed_Europe-Berlin.csv"
    assert final.stderr.splitlines() == [
        f"5 revenue entries to {name}",
        "Months of account own, live mode: 2025-10 closed (version 1).",
    ]
    bridge("export", *DAYS, "--as", "restated")
    quarter = ("--from", "2025-08-01", "--to", "2025-12-01")
    bridge("export", *quarter)
    bridge("export", *quarter, "--as", "restated")
    assert {file.name for file in tmp_path.iterdir()} == {
        name,
        "ledger_own_live_2025-10-01_2025-11-01_restated_Europe-Berlin.csv",
        "ledger_own_live_2025-08-01_2025-12-01_draft_Europe-Berlin.csv",
        "ledger_own_live_2025-08-01_2025-12-01_restated-draft_Europe-Berlin.csv",
    }

    told = orjson.loads(bridge("summary", *quarter, "--json").stdout)
    names = ("account", "livemode", "first_month", "last_month", "status", "version")
    assert [tuple(row[name] for name in names) for row in told["months"]] == [
        ("own", True, "2025-08", "2025-09", "locked", None),
        ("own", True, "2025-10", "2025-10", "closed", 1),
        ("own", True, "2025-11", "2025-11", "open", None),
        ("own", False, "2025-08", "2025-11", "open", None),
        ("acct_1", True, "2025-08", "2025-11", "open", None),
    ]
    assert {row["account"] for row in told["sums"]} == {"own", "acct_1"}
    assert bridge("summary", *quarter).stdout.splitlines()[-3:] == [
        "Months of account own, live mode: 2025-08 to 2025-09 locked; 2025-10 closed (version 1);"
        " 2025-11 open.",
        "Months of account own, test mode: 2025-08 to 2025-11 open.",
        "Months of account acct_1, live mode: 2025-08 to 2025-11 open.",
    ]


def test_of_what_nothing_is_known_nothing_is_written(
    ledger: Engine, bridge: Callable[..., Result], tmp_path: Path
) -> None:
    nothing = "no revenue entry, no webhook event."
    done = bridge("export", *DAYS, "--account", "acct_2")
    assert (done.exit_code, done.stderr) == (
        1,
        f"Nothing is known of account acct_2, live mode: {nothing} bridge revenue periods lists"
        " what is.\n",
    )
    done = bridge("export", *DAYS, "--account", "acct_1", "--test")
    assert (done.exit_code, done.stderr) == (
        1,
        f"Nothing is known of account acct_1, test mode: {nothing} It is known in the other mode:"
        " see --test.\n",
    )
    done = bridge("export", *DAYS, "--out", "-")
    assert (done.exit_code, done.stderr) == (
        *(2, "--out is a file, which is replaced once it is whole: not - (stdout).\n"),
    )
    assert list(tmp_path.iterdir()) == []

    empty = bridge("export", "--from", "2020-01-01", "--to", "2020-02-01")
    assert (empty.exit_code, empty.stderr.startswith("0 revenue entries to ledger_own")) == (
        *(0, True),
    )


def test_what_cannot_be_exported_is_a_sentence(
    ledger: Engine, bridge: Callable[..., Result], tmp_path: Path
) -> None:
    assert bridge("export", "--from", "2025-10-01", "--to", "2025-10-01").exit_code == 2
    refused = bridge("export", *DAYS, "--out", str(tmp_path))
    assert (refused.exit_code, refused.stderr) == (
        *(2, f"{tmp_path} cannot be written: {tmp_path} is no ordinary file.\n"),
    )


def test_the_summary_is_json_or_a_table_that_says_its_days_and_zone(
    ledger: Engine, bridge: Callable[..., Result]
) -> None:
    told = orjson.loads(bridge("summary", *DAYS, "--as", "restated", "--json").stdout)
    head = {name: told[name] for name in told if name not in ("sums", "months")}
    assert head == {
        **{"from": "2025-10-01", "to": "2025-11-01", "timezone": "Europe/Berlin"},
        **{"as": "restated", "minor_units": True},
    }
    assert [(row["currency"], row["net"]) for row in told["sums"]] == [
        *(("kwd", 12340), ("usd", -300), ("usd", 1200), ("usd", 1200)),
    ]

    shown = bridge("summary", *DAYS, "--by", "kind").stdout
    title = "Revenue 2025-10-01 until 2025-11-01 (not included), Europe/Berlin, by posting date"
    assert " ".join(shown.split()).startswith(title)
    nothing = bridge("summary", "--from", "2020-01-01", "--to", "2020-02-01")
    assert nothing.stdout.startswith("No revenue entries 2020-01-01 until 2020-02-01")
