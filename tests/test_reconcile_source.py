"""A source that perhaps lacks days, or is of another account or mode, proves nothing."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from app.core.reconcile.rows import Period
from app.core.reconcile.table_csv import Unreadable
from app.finance.elsewhere import KnownElsewhere
from app.finance.reconcile import Incomplete, reconcile
from app.finance.snapshot import File, Snapshot, by_csv
from app.local.stores import Stores
from app.settings import Settings
from tests.reconcile_month import DAY, NOON, Month, clean
from tests.test_process import rows
from tests.test_reconcile import KEY, asked, berlin, filed, found
from tests.test_reconcile_cli import MARCH as MARCHS_DAYS
from tests.test_reconcile_cli import a_clean_file, env, here

__all__ = ["berlin", "env"]
OCTOBER = Period(start=date(2026, 10, 1), end=date(2026, 11, 1), zone=ZoneInfo("Europe/Berlin"))
LATER = datetime(2026, 11, 9, tzinfo=UTC)
HEADER = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category\n"
ACTIVITY = "reporting_category,currency,count,gross,fee,net\n"
BALANCES = "category,description,net_amount,currency\n"


def a_file(*times: str, currency: str = "eur") -> File:
    lines = (f"txn_{at},{at},{currency},1.00,0.00,1.00,charge\n" for at in times)
    return File("b.csv", (HEADER + "".join(lines)).encode())


def activity(count: int) -> File:
    line = f"charge,eur,{count},{count}.00,0.00,{count}.00\n" if count else ""
    return File("a.csv", (ACTIVITY + line).encode())


def balance(begins: str, ends: str, moved: int, currency: str = "eur") -> File:
    lines = (
        f"{name},{said},{amount}.00,{currency}\n"
        for name, said, amount in (
            ("starting_balance", f"Starting balance ({begins})", 0),
            ("activity", "Activity", moved),
            ("ending_balance", f"Ending balance ({ends})", moved),
        )
    )
    return File("s.csv", (BALANCES + "".join(lines)).encode())


def taken(file: File, *summaries: File, now: datetime = LATER) -> Snapshot:
    return by_csv(file, summaries, OCTOBER, now)


FIRST, LAST = "2026-09-30 22:00:00", "2026-10-31 22:59:59"  # of October in Berlin
NONE = "no summary proves that there are no others"


@pytest.mark.parametrize(
    ("times", "lacks"),
    [
        ([FIRST, LAST], None),
        (["2026-10-01 21:59:59", "2026-10-30 23:00:00"], None),
        (["2026-09-29 10:00:00", "2026-10-15 10:00:00", "2026-11-02 10:00:00"], None),
        (["2026-10-01 22:00:00", LAST], f"the first row of b.csv is of 2026-10-02, and {NONE}"),
        ([FIRST, "2026-10-30 22:59:59"], f"the last row of b.csv is of 2026-10-30, and {NONE}"),
        (
            ["2026-10-21 10:00:00", "2026-10-22 10:00:00"],
            f"the rows of b.csv are of 2026-10-21 to 2026-10-22 alone, and {NONE}",
        ),
        (
            ["2026-09-01 10:00:00", "2026-12-01 10:00:00"],
            f"b.csv has no row of 2026-10 (is it the right file?), and {NONE}",
        ),
        ([], f"b.csv has no row at all, and {NONE}"),
    ],
    ids=[
        *("just whole", "some hour of both days", "days more on either side", "begins late"),
        *("ends early", "a few days", "other months", "no rows"),
    ],
)
def test_a_file_whose_rows_leave_days_out_at_either_end_may_lack_them(
    times: list[str], lacks: str | None
) -> None:
    assert taken(a_file(*times)).lacks == lacks


def test_what_is_not_covered_begins_and_ends_with_the_rows() -> None:
    some = taken(a_file("2026-10-21 10:00:00", "2026-10-22 10:00:00"))
    wide = taken(a_file("2026-09-29 10:00:00", "2026-11-02 10:00:00"))
    whole = taken(a_file(FIRST, LAST))

    assert [str(at)[:19] for at in some.covered] == ["2026-10-21 10:00:00", "2026-10-22 10:00:00"]
    assert [str(at)[:19] for at in wide.covered] == ["2026-09-29 10:00:00", "2026-11-02 10:00:00"]
    assert whole.covered == OCTOBER.bounds()


def test_days_that_are_no_month_are_named() -> None:
    some = replace(OCTOBER, end=date(2026, 10, 15))

    assert by_csv(a_file("2026-11-21 10:00:00"), [], some, LATER).lacks == (
        f"b.csv has no row of 2026-10-01 up to 2026-10-15 (is it the right file?), and {NONE}"
    )


def test_a_summary_proves_that_no_row_is_missing_and_a_dated_one_of_which_days() -> None:
    late = a_file("2026-10-21 10:00:00", LAST)
    plain = taken(late, activity(2))
    dated = taken(late, balance("2026-10-01", "2026-10-31", 2))

    assert (plain.lacks, dated.lacks) == (None, None)
    assert plain.covered == dated.covered == OCTOBER.bounds()
    assert plain.rests_on == (
        "the first row of b.csv is of 2026-10-21. That there are no others rests on the summary"
        " alone, which must be of 2026-10: it does not say so itself"
    )
    assert dated.rests_on is None
    assert taken(a_file(FIRST, LAST), activity(2)).rests_on is None
    assert taken(late, activity(2), now=OCTOBER.bounds()[0]).lacks == "the period has not ended"


def test_a_balance_summary_proves_its_own_currency_and_its_own_days_alone() -> None:
    late = a_file("2026-10-21 10:00:00", LAST)
    dollars = balance("2026-10-01", "2026-10-31", 2, "usd")

    assert taken(late, dollars).lacks == f"the first row of b.csv is of 2026-10-21, and {NONE}"
    assert taken(late, dollars, balance("2026-10-01", "2026-10-31", 2)).lacks is None
    with pytest.raises(Unreadable, match=r"expected the balance of 2026-10-01 \('Starting"):
        taken(late, balance("2026-10-21", "2026-10-31", 2))
    with pytest.raises(Unreadable, match=r"^s.csv: a second summary of the same kind$"):
        taken(late, dollars, dollars)


def test_a_file_that_begins_in_mid_month_closes_nothing_and_its_summary_must_agree(
    engine: Engine, settings: Settings
) -> None:
    late = a_file("2026-10-21 10:00:00", LAST)
    this = asked(period=OCTOBER, now=LATER)

    with pytest.raises(Incomplete, match=r"^the first row of b.csv is of 2026-10-21"):
        reconcile(engine, settings, this, taken(late))
    nothing = reconcile(engine, settings, this, taken(a_file(), activity(0)))
    report = reconcile(engine, settings, this, taken(late, activity(3)))
    lies = reconcile(engine, settings, this, taken(late, activity(0)))

    def wrong(one: Any) -> list[str]:
        return [check.name for check in one.checks if check.foots is False]

    assert (report.verdict, wrong(report)) == ("differences", ["charge gross", "charge net"])
    assert report.warnings[0].startswith("The first row of b.csv is of 2026-10-21. That there")
    assert (nothing.verdict, wrong(nothing)) == ("clean", [])
    assert (lies.verdict, wrong(lies)) == ("differences", ["charge gross", "charge net"])


# --- another account or mode


@pytest.fixture
def month(engine: Engine, berlin: Settings) -> Month:
    """A clean live month of the own account."""
    made = clean()
    made.live(engine, berlin)
    return made


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (
            {"livemode": False},
            "4 of the source's 4 payments are known as live, of the own account, and none as test,"
            " of the own account: say --account own --live. Nothing was kept.",
        ),
        (
            {"account": "acct_9"},
            "4 of the source's 4 payments are known as live, of the own account, and none as live,"
            " of acct_9: say --account own --live. Nothing was kept.",
        ),
    ],
)
def test_a_source_of_another_account_or_mode_stops_and_leaves_nothing(
    engine: Engine, berlin: Settings, month: Month, scope: dict[str, Any], words: str
) -> None:
    with pytest.raises(KnownElsewhere) as stopped:
        reconcile(engine, berlin, asked(**scope), filed(month))

    assert str(stopped.value) == words
    kept = "SELECT (SELECT count(*) FROM settlements), count(*) FROM reconcile_runs"
    assert rows(engine, kept) == [(0, 0)]


def test_one_payment_that_is_known_elsewhere_says_where(
    engine: Engine, berlin: Settings, month: Month
) -> None:
    month.paid(30)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO stripe_refs (account, livemode, child, parent, customer)"
            " VALUES ('acct_9', false, 'ch_30', 'pi_30', false)"
        )
    report = reconcile(engine, berlin, asked(), filed(month))

    [other] = [one for one in report.results if not one.explained]
    assert (other.subject, other.note, other.next_step) == (
        "ch_30",
        "no webhook event told of it here; one did as test, of acct_9",
        "bridge reconcile --account acct_9 --test --from 2025-03-01 --to 2025-04-01"
        " --source csv FILE",
    )


def test_what_a_platforms_report_has_of_its_accounts_does_not_stop_it(
    engine: Engine, berlin: Settings, month: Month
) -> None:
    snapshot = filed(month)
    theirs = [replace(row, connected_account="acct_9") for row in snapshot.rows]
    platform = replace(snapshot, rows=theirs)

    report = reconcile(engine, berlin, asked(account="acct_1"), platform)

    reasons = {one.reason for one in report.results if one.part == "payments"}
    assert reasons == {"connect_account"}


def test_payments_that_are_known_nowhere_are_compared_all_the_same(
    engine: Engine, berlin: Settings
) -> None:
    month = Month()
    month.paid(1)
    month.transaction("txn_po", None, -1, reporting_category="payout", created=NOON + 21 * DAY)

    assert found(reconcile(engine, berlin, asked(), filed(month)))[0][:3] == (
        *("ch_1", "missing_in_ledger"),
        "no_event",
    )


# --- the command


@pytest.fixture
def folder(engine: Engine, settings: Settings, tmp_path: Path) -> Path:
    a_clean_file(engine, settings, tmp_path)
    return tmp_path


@pytest.mark.parametrize("account", ["foo", "acct_", "acct_1/2", "ACCT_1", "", "acct_1 "])
def test_an_account_that_is_none_is_refused(
    env: dict[str, str], tmp_path: Path, account: str
) -> None:
    done = here(*MARCHS_DAYS, "none.csv", "--account", account, env=env, cwd=tmp_path)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (f"--account is acct_ and letters and digits, or own: not {account!r}.\n")


def test_a_day_that_is_none_names_its_option_and_the_form(
    env: dict[str, str], tmp_path: Path
) -> None:
    for words in (["--from", "01.10.2026", "--to", "2026-11-01"], ["--from", "2026-10-32"]):
        done = here(*words, "none.csv", env=env, cwd=tmp_path)

        assert (done.exit_code, done.stdout) == (2, "")
        said = " ".join(done.stderr.replace("│", " ").split())
        assert f"Invalid value for '--from': {words[1]!r} is no day: write it as 2026-10-01" in said


@pytest.mark.usefixtures("stores")
def test_the_mode_of_a_file_is_that_of_the_key_if_no_option_says_it(
    engine: Engine, env: dict[str, str], folder: Path
) -> None:
    key = {"STRIPE_API_KEY": KEY.replace("live", "test"), "STRIPE_API_BASE": "http://127.0.0.1:9"}
    by_key = here(*MARCHS_DAYS, "balance.csv", env=env | key, cwd=folder)
    said = here(*MARCHS_DAYS, "--live", "balance.csv", env=env | key, cwd=folder)
    without = here(*MARCHS_DAYS, "balance.csv", env=env, cwd=folder)

    assert (by_key.exit_code, by_key.stdout) == (2, "")
    assert "are known as live, of the own account, and none as test" in by_key.stderr
    assert (said.exit_code, without.exit_code) == (0, 0)


def test_a_summary_that_fails_is_said_before_the_steps_and_in_the_verdict(
    engine: Engine, env: dict[str, str], folder: Path, stores: Stores
) -> None:
    (folder / "a.csv").write_text(f"{ACTIVITY}charge,eur,2,25.91,0.94,24.97\n")
    summary = ("--summary", "a.csv")
    done = here(*MARCHS_DAYS, *summary, "balance.csv", env=env, cwd=folder)

    *_, last = done.stdout.splitlines()
    assert done.exit_code == 1
    assert last == "The sums do not foot: charge gross: 25.91 EUR is 25.90 EUR here, and 20 more."
    assert done.stdout.index("NO  charge gross") < done.stdout.index("Footing: ")
    assert "difference" not in last
