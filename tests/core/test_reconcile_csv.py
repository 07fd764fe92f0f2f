"""Stripe's balance reports as files: read exactly, or refused with the place."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import Money
from app.core.reconcile.balance_csv import Summary, itemized, summary
from app.core.reconcile.footing import Activity
from app.core.reconcile.rows import Period, StripeRow
from app.core.reconcile.table_csv import Unreadable, rows

BERLIN = ZoneInfo("Europe/Berlin")
HEADER = (
    "balance_transaction_id,created_utc,created,available_on,currency,gross,fee,net,"
    "reporting_category,source_id,description,customer_facing_amount,customer_facing_currency,"
    "charge_id,payment_intent_id,invoice_id,connected_account_id"
)
LINE = (
    "txn_1,2026-10-01 00:00:05,2026-10-01 02:00:05,2026-10-08,eur,8.80,0.30,8.50,"
    "charge,ch_1,Subscription,10.00,usd,ch_1,pi_1,in_1,"
)
ROW = StripeRow(
    id="txn_1",
    created=datetime(2026, 10, 1, 0, 0, 5, tzinfo=UTC),
    category="charge",
    gross=880,
    fee=30,
    net=850,
    currency="eur",
    shown=Money(1000, "usd"),
    source="ch_1",
    charge="ch_1",
    payment_intent="pi_1",
    invoice="in_1",
)
WAYS = ["bom", "crlf", "semicolon", "decimal comma", "tab", "blank lines", "upper case"]
WAYS += ["unknown column", "quoted", "short decimals"]
NO_REPORTS = ["empty", "other", "utf-16", "latin-1", "nul", "open quote", "long line", "long cell"]
NO_REPORTS += ["twice", "wide"]
NEEDED = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category"


def read(text: str | bytes) -> list[StripeRow]:
    content = text.encode() if isinstance(text, str) else text
    return itemized(content, "balance.csv", BERLIN)


def refusal(text: str | bytes) -> str:
    with pytest.raises(Unreadable) as refused:
        read(text)
    return str(refused.value)


def test_every_column_that_is_needed_is_read() -> None:
    assert read(f"{HEADER}\n{LINE}\n") == [ROW]


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEADER}\n{LINE}\n",
        f"{HEADER}\r\n{LINE}\r\n",
        f"{HEADER}\n{LINE}\n".replace(",", ";"),
        f"{HEADER}\n{LINE}\n".replace(",", ";").replace("8.80", "8,80").replace("10.00", "10,00"),
        f"{HEADER}\n{LINE}\n".replace(",", "\t"),
        f"{HEADER}\n{LINE}\n\n,,,\n",
        f"{HEADER.upper()}\n{LINE}\n",
        f"{HEADER},new_column\n{LINE},=cmd()\n",
        f"{HEADER}\n{LINE}\n".replace("Subscription", '"two\nlines, and ""quotes"""'),
        f"{HEADER}\n{LINE}\n".replace("8.80", '"8,80"').replace("0.30", "0.3"),
    ],
    ids=WAYS,
)
def test_any_way_to_save_the_same_file_reads_the_same(text: str) -> None:
    assert read(text) == [ROW]


def test_only_seven_columns_must_be_there() -> None:
    [found] = read(f"{NEEDED}\ntxn_1,2026-10-01 00:00:05,eur,8.80,0.30,8.50,charge\n")

    assert (found.source, found.shown, found.money) == (None, None, Money(880, "eur"))


def test_without_the_utc_column_times_are_of_the_reporting_time_zone() -> None:
    text = NEEDED.replace("created_utc", "created")
    [found] = read(f"{text}\ntxn_1,2026-10-01 00:00:05,eur,8.80,0.30,8.50,charge\n")

    assert found.created == datetime(2026, 9, 30, 22, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("currency", "written", "minor"),
    [
        ("usd", "1299.50", 129950),
        ("usd", "-0.05", -5),
        ("usd", "12", 1200),
        ("jpy", "1299", 1299),
        ("jpy", "1299.00", 1299),
        ("kwd", "1.299", 1299),
        ("kwd", "1,29", 1290),
        ("ugx", "5.00", 500),
        ("isk", "100", 10000),
        ("usd", "9999999999999.99", 999999999999999),
    ],
)
def test_amounts_become_stripes_minor_units_exactly(
    currency: str, written: str, minor: int
) -> None:
    cells = f'txn_1,2026-10-01 00:00:05,{currency},"{written}",0,"{written}",charge'

    [found] = read(f"{NEEDED}\n{cells}\n")

    assert (found.gross, found.net, found.currency) == (minor, minor, currency)


@given(
    st.integers(-(10**14), 10**14),
    st.sampled_from(["usd", "jpy", "kwd", "ugx"]),
    st.sampled_from([".", ","]),
)
def test_an_amount_survives_the_way_through_a_file(minor: int, currency: str, mark: str) -> None:
    written = f"{Money(minor, currency).major:f}".replace(".", mark)
    cells = f"txn_1;2026-10-01 00:00:05;{currency};{written};0;{written};charge"

    [found] = read(f"{NEEDED.replace(',', ';')}\n{cells}\n")

    assert found.gross == minor


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("1.000", "has more decimals than EUR, which has 2 ('1.000')"),
        ("8.805", "has more decimals than EUR, which has 2 ('8.805')"),
        ("1 000.00", "expected an amount such as 1299.50 or 1299,50 ('1 000.00')"),
        ("1.000,00", "expected an amount such as 1299.50 or 1299,50 ('1.000,00')"),
        ("1e9", "expected an amount such as 1299.50 or 1299,50 ('1e9')"),
        ("NaN", "expected an amount such as 1299.50 or 1299,50 ('NaN')"),
        ("\u0661", "expected an amount such as 1299.50 or 1299,50 ('\u0661')"),
        ("9" * 16, f"expected an amount such as 1299.50 or 1299,50 ('{'9' * 16}')"),
        ("", "is empty"),
    ],
)
def test_an_amount_that_is_not_plain_is_refused_with_its_place(written: str, words: str) -> None:
    text = f"{HEADER}\n{LINE}\n{LINE.replace('txn_1', 'txn_2')}\n".replace(
        "8.80", f'"{written}"', 2
    ).replace(f'"{written}"', "8.80", 1)

    assert refusal(text) == f"balance.csv, line 3, column gross: {words}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("8.50", "8.51", "line 2, column net: is not gross less fee ('8.51')"),
        ("eur", "euro", "line 2, column currency: expected a currency such as usd ('euro')"),
        (
            "2026-10-01 00:00:05",
            "01/10/2026",
            "line 2, column created_utc: expected a time such as 2026-10-01 13:05:59"
            " ('01/10/2026')",
        ),
        ("txn_1", "", "line 2, column balance_transaction_id: is empty"),
        (
            "txn_1",
            "\u001b[2J",
            "line 2, column balance_transaction_id: expected printable text ('\\x1b[2J')",
        ),
        (",in_1,", ",in_1,,x", "line 2: 18 cells under 17 columns"),
    ],
)
def test_what_else_is_wrong_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    text = f"{HEADER}\n{LINE.replace(old, new, 1)}\n"

    assert refusal(text).removeprefix("balance.csv, ") == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "balance.csv, line 1: no column balance_transaction_id, created_utc or created,"),
        (b"a,b\n1,2\n", "balance.csv, line 1: no column balance_transaction_id,"),
        (NEEDED.encode("utf-16"), "balance.csv: UTF-16; save it as CSV UTF-8"),
        (b"gross,\xe9\n", "balance.csv: byte 6 is no UTF-8; save it as CSV UTF-8"),
        (NEEDED.encode() + b"\n\0", "balance.csv: holds a NUL, so it is no CSV"),
        (f'{NEEDED}\n"never closed'.encode(), "balance.csv, line 2: no CSV"),
        (f"{NEEDED}\n{'x' * 2_000_000}\n".encode(), "balance.csv: a line is longer than 1,000,000"),
        (f"{NEEDED}\n{'x' * 200_000},\n".encode(), "balance.csv, line 2: no CSV (field larger"),
        (f"{NEEDED},gross\n".encode(), "balance.csv, line 1: two columns gross"),
        (("a," * 501).encode(), "balance.csv: more than 500 columns"),
    ],
    ids=NO_REPORTS,
)
def test_what_is_no_such_report_is_refused(content: bytes, words: str) -> None:
    assert refusal(content).startswith(words)


def test_a_transaction_that_stands_twice_is_refused_and_not_counted_once() -> None:
    assert refusal(f"{HEADER}\n{LINE}\n{LINE}\n") == (
        "balance.csv, line 3, column balance_transaction_id: is also in line 2 ('txn_1')"
    )


@given(st.binary(max_size=300))
def test_no_bytes_at_all_break_the_reader(content: bytes) -> None:
    try:
        said = f"any.csv: {len(list(rows(content, 'any.csv', ('a',))))} rows"
    except Unreadable as refused:
        said = str(refused)

    assert said.startswith("any.csv")


OCTOBER = Period(start=date(2026, 10, 1), end=date(2026, 11, 1), zone=BERLIN)
DASHBOARD = (  # what the dashboard writes today: parts beside the four, and two dates
    ("starting_balance", "Starting balance (2026-10-01)", "10.00"),
    ("starting_balance_available", "Available balance (2026-10-01)", "0.00"),
    ("activity_gross", "Account activity before fees", "6.00"),
    ("activity_fee", "Less fees", "-0.50"),
    ("activity", "Activity", "5.50"),
    ("payouts_gross", "Payouts to bank", "-3.00"),
    ("payouts_fee", "Payout fees", "0.00"),
    ("payouts", "Total payouts", "-3.00"),
    ("ending_balance", "Ending balance (2026-10-31)", "12.50"),
)
STATED = {
    ("starting_balance", "usd"): 1000,
    ("activity", "usd"): 550,
    ("payouts", "usd"): -300,
    ("ending_balance", "usd"): 1250,
}


def balances(lines: Iterable[tuple[str, str, str]] = DASHBOARD) -> bytes:
    written = "".join(f'"{name}","{said}","{amount}","usd"\n' for name, said, amount in lines)
    return f'"category","description","net_amount","currency"\n{written}'.encode()


def test_both_summaries_are_told_apart_by_their_columns() -> None:
    plain = [(name, "", amount) for name, _, amount in DASHBOARD if (name, "usd") in STATED]
    activity = "reporting_category,currency,count,gross,fee,net\ncharge,usd,2,6.00,0.50,5.50\n"
    activity += "total,usd,2,6.00,0.50,5.50\n"

    assert summary(balances(plain), "b.csv", OCTOBER) == Summary(balances=STATED)
    assert summary(activity.encode(), "a.csv", OCTOBER) == Summary(
        activities={("charge", "usd"): Activity(2, 600, 50, 550)}
    )


def test_the_dashboards_balance_summary_says_of_which_days_it_is() -> None:
    day_after = balances().replace(b"(2026-10-31)", b"(2026-11-01)")

    assert summary(balances(), "b.csv", OCTOBER) == Summary(balances=STATED, dated=True)
    assert summary(day_after, "b.csv", OCTOBER) == Summary(balances=STATED, dated=True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"e (2026-10-01)", b"e (2026-10-21)", "line 2, column description: expected the balance"),
        (b"(2026-10-31)", b"(2026-10-30)", "line 10, column description: expected the balance"),
        (b"starting_balance", b"beginning", "line 2, column category: expected one of starting_"),
        (b"payouts_fee", b"payouts", "line 9, column category: a second one in USD"),
    ],
)
def test_a_summary_of_other_days_or_of_other_lines_is_refused(
    old: bytes, new: bytes, words: str
) -> None:
    with pytest.raises(Unreadable, match=f"^b.csv, {words}"):
        summary(balances().replace(old, new, 1), "b.csv", OCTOBER)


def test_a_summary_without_its_ends_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^b\.csv: USD has no starting or no ending balance$"):
        summary(b"category,net_amount,currency\nactivity,1.00,usd\n", "b.csv", OCTOBER)


PAYMENTS = (
    "id,Created date (UTC),Amount,Amount Refunded,Currency,Captured,Converted Amount,Fee,Status\n"
    "ch_1,2026-10-01 00:00:05,10.00,0.00,usd,true,8.80,0.30,Paid\n"
)
FETCH = "Fetch Reports > Balance > Balance change from activity, itemized, as CSV"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PAYMENTS.encode(), f"s Payments export, which lists attempts to pay.*{FETCH}"),
        (
            PAYMENTS.replace("Created date", "Created").encode("utf-8-sig"),
            f"s Payments export, which lists attempts to pay.*{FETCH}",
        ),
        (balances(), f"a summary, which goes with --summary. {FETCH}"),
        (
            b"reporting_category;currency;count;gross;fee;net\n",
            f"a summary, which goes with --summary. {FETCH}",
        ),
        (b"PK\x03\x04\x14\0", "an Excel workbook; save it as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1", "an Excel workbook; save it as CSV UTF-8"),
    ],
    ids=["payments", "old payments", "balances", "activity", "xlsx", "xls"],
)
def test_another_file_of_stripes_or_a_workbook_is_named(content: bytes, words: str) -> None:
    assert re.search(f"^balance.csv: (?:Stripe')?{words}$", refusal(content))
