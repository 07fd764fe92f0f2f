"""bridge reconcile: its screen, its JSON, its files, and its exit codes."""

import csv
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from app.cli import cli
from app.cli.reconcile_files import write_csv, write_xlsx
from app.finance.reconcile import Report, reconcile
from app.local.stores import Stores
from app.settings import Settings
from app.store.migrate import set_reporting_zone
from tests.fake_stripe import fake_stripe
from tests.reconcile_month import book, clean, planted
from tests.test_cli import bridge
from tests.test_reconcile import KEY, asked, filed

MARCH = ("--from", "2025-03-01", "--to", "2025-04-01")
BERLIN = "Europe/Berlin"


@pytest.fixture
def env(engine: Engine, stores: Stores) -> dict[str, str]:
    with engine.begin() as connection:
        set_reporting_zone(connection, BERLIN)
    return {
        "DATABASE_URL": stores.database_url,
        "BRIDGE_TIMEZONE": BERLIN,
    }


def here(*arguments: str, env: dict[str, str], cwd: Path) -> Any:
    """The verb in this process, which spares a second: its exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        return CliRunner().invoke(cli, ["reconcile", *arguments], env=env)


def a_clean_file(engine: Engine, settings: Settings, folder: Path) -> str:
    month = clean()
    month.live(engine, replace(settings, timezone=BERLIN))
    (folder / "balance.csv").write_bytes(month.as_csv())
    return "balance.csv"


def test_a_clean_month_is_exit_code_0_and_says_so_on_one_screen(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    file = a_clean_file(engine, settings, tmp_path)

    done = bridge("reconcile", *MARCH, "--source", "csv", file, env=env, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "Reconciliation 1  own account, live, 2025-03-01 up to 2025-04-01 (Europe/Berlin)"
    )
    assert "Stripe = ledger = delivered, as far as it was owed." in lines
    assert "71.90 EUR" in done.stdout
    assert len(lines) < 60


def test_json_is_alone_on_stdout_and_counts_what_matched(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    file = a_clean_file(engine, settings, tmp_path)

    done = here(*MARCH, "--json", file, env=env, cwd=tmp_path)

    found = json.loads(done.stdout_bytes)
    assert (done.exit_code, found["verdict"], found["agrees"]) == (0, "clean", True)
    assert {
        (one["class"], one["reason"], one["currency"]): one["count"] for one in found["classes"]
    } == {
        ("matched", "", "eur"): 7,
        ("matched", "", "jpy"): 1,
        ("matched", "fx", "eur"): 1,
        ("missing_in_ledger", "not_event_driven", "eur"): 1,
        ("out_of_scope", "payout", "eur"): 1,
    }


def test_a_difference_is_exit_code_1_with_the_next_command(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    file = a_clean_file(engine, settings, tmp_path)
    book(engine, "payment:pi_1", 1190, payment_intent="pi_1")

    done = here(*MARCH, file, env=env, cwd=tmp_path)

    assert done.exit_code == 1
    assert "duplicate_in_ledger payment" in done.stdout
    assert "1 difference." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "2025-04-01", "--to", "2025-03-01"], 2, "the day after the last"),
        ([*MARCH], 2, "Set STRIPE_API_KEY"),
        ([*MARCH, "--source", "csv"], 2, "belong together"),
        ([*MARCH, "--source", "ftp"], 2, "--source is api, or csv"),
        ([*MARCH, "none.csv"], 2, "none.csv: No such file"),
        ([*MARCH, "bad.csv"], 2, "bad.csv, line 1: no column balance_transaction_id"),
        ([*MARCH, "early.csv"], 3, "--allow-partial"),
    ],
)
def test_what_cannot_be_compared_says_why(
    env: dict[str, str], tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n")
    header = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category\n"
    (tmp_path / "early.csv").write_text(f"{header}t,2025-03-02 10:00:00,eur,1,0,1,payout\n")

    done = here(*arguments, env=env, cwd=tmp_path)

    assert (done.exit_code, done.stdout) == (code, "")
    assert words in done.stderr


def test_the_api_is_asked_by_default_and_a_key_of_the_other_mode_is_refused(
    env: dict[str, str], tmp_path: Path
) -> None:
    with fake_stripe(key=KEY) as stripe:
        env |= {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": stripe.base}
        empty = here(*MARCH, "--json", env=env, cwd=tmp_path)
        other = here(*MARCH, "--test", env=env, cwd=tmp_path)
        env["STRIPE_API_KEY"] = KEY + "wrong"
        refused = here(*MARCH, env=env, cwd=tmp_path)
        asked_for = [one.path for one in stripe.requests]

    assert (empty.exit_code, json.loads(empty.stdout_bytes)["source"]) == (0, "api")
    assert (other.exit_code, other.stderr) == (2, "STRIPE_API_KEY is of the other mode.\n")
    assert (refused.exit_code, "401" in refused.stderr) == (3, True)
    assert KEY not in refused.stderr
    assert asked_for == ["/v1/balance_transactions"] * 2


# --- files


@pytest.fixture
def report(engine: Engine, settings: Settings) -> Report:
    berlin = replace(settings, timezone=BERLIN)
    month = planted(engine, berlin)
    return reconcile(engine, berlin, asked(), filed(month))


def test_a_rerun_writes_the_same_bytes(
    engine: Engine, settings: Settings, report: Report, tmp_path: Path
) -> None:
    again = replace(report, run=report.run + 1, seconds=99.0)
    for number, one in enumerate((report, again)):
        write_csv(one, tmp_path / str(number))
        write_xlsx(one, tmp_path / f"{number}.xlsx")

    files = sorted(file.name for file in (tmp_path / "0").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "1").iterdir())
    assert "own_live_2025-03-01_2025-04-01_differences.csv" in files
    for name in files:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert (tmp_path / "0.xlsx").read_bytes() == (tmp_path / "1.xlsx").read_bytes()


def test_the_tables_hold_every_difference_in_whole_and_in_minor_units(
    report: Report, tmp_path: Path
) -> None:
    write_csv(report, tmp_path)
    write_xlsx(report, tmp_path / "r.xlsx")

    stem = "own_live_2025-03-01_2025-04-01"
    with (tmp_path / f"{stem}_differences.csv").open(newline="") as file:
        lines = {line["subject"]: line for line in csv.DictReader(file)}
    book_ = openpyxl.load_workbook(tmp_path / "r.xlsx")
    sheet = [[cell.value for cell in line] for line in book_["Differences"].iter_rows()]
    header, *values = sheet
    workbook = {
        one["subject"]: one for one in (dict(zip(header, line, strict=True)) for line in values)
    }

    assert lines["payment:in_14"]["difference"] == "-1178.10"
    assert lines["payment:in_14"]["difference_minor"] == "-117810"
    assert lines["payment:in_24"]["stripe"] == ""
    assert set(workbook) == set(lines)
    assert Decimal(str(workbook["payment:in_14"]["difference"])) == Decimal("-1178.1")
    assert workbook["payment:in_14"]["stripe_date"].date() == date(2025, 3, 10)
    assert book_.sheetnames == [
        *("Summary", "By part", "By category", "Classes", "Differences", "Late adjustments"),
        *("Out of scope", "Explained", "Matched", "Footing", "Delivered", "Wrong amounts"),
        "Read me",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"),
        *(" =1+1", "\u00a0=1+1", "\ufeff=1+1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)"),
    ],
)
def test_no_text_becomes_a_formula_and_no_number_is_touched(
    report: Report, tmp_path: Path, text: str
) -> None:
    one = replace(report.results[0], subject=text, stripe=-5, note=text, next_step=text)
    hostile = replace(report, results=[one], warnings=[text])
    [file] = [one for one in write_csv(hostile, tmp_path) if "differences" in one.name]
    write_xlsx(hostile, tmp_path / "r.xlsx")
    with file.open(newline="") as lines:
        [line] = csv.DictReader(lines)
    book_ = openpyxl.load_workbook(tmp_path / "r.xlsx")
    header, shown = book_["Differences"].iter_rows()
    cells = {name.value: cell for name, cell in zip(header, shown, strict=True)}
    [warning] = [
        value for what, value in book_["Summary"].iter_rows(values_only=True) if what == "warning"
    ]

    assert [line[name] for name in ("subject", "note", "next_step")] == [f"'{text}"] * 3
    assert (line["stripe_minor"], cells["stripe_minor"].value) == ("-5", -5)
    written = f"'{text}".replace("\r", "\n")  # XML has one end of line
    for value in (*(cells[name].value for name in ("subject", "note", "next_step")), warning):
        assert value.replace("_x000D_", "\n").replace("\r", "\n") == written
    assert {cell.data_type for cell in cells.values()} <= {"s", "n", "d"}


def test_files_that_cannot_be_written_are_a_sentence_and_leave_nothing(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    file = a_clean_file(engine, settings, tmp_path)
    (tmp_path / "taken").write_text("mine")

    no_folder = here(*MARCH, "--csv", "taken", file, env=env, cwd=tmp_path)
    no_file = here(*MARCH, "--xlsx", ".", file, env=env, cwd=tmp_path)

    for done in (no_folder, no_file):
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("The run is kept, its files are not all written: ")
    assert sorted(one.name for one in tmp_path.iterdir()) == [file, "taken"]
    assert (tmp_path / "taken").read_text() == "mine"


def test_days_of_another_zone_than_the_ledgers_are_refused(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    file = a_clean_file(engine, settings, tmp_path)
    done = here(*MARCH, file, env={**env, "BRIDGE_TIMEZONE": "UTC"}, cwd=tmp_path)

    said = f"BRIDGE_TIMEZONE is UTC here, and the ledger counts days of {BERLIN}."
    assert (done.exit_code, done.stdout, done.stderr.splitlines()[0]) == (2, "", said)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM reconcile_runs")).scalar_one() == 0
