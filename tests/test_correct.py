"""bridge revenue correct: a wrong entry is undone or put right by new entries, told like any."""

import csv
import io
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from app.cli import cli
from app.cli import correct as verb
from app.core.money import Money
from app.finance.close import close
from app.finance.correct import Asked, Plan, Refused, correct, plan
from app.finance.export import Format, export
from app.finance.month import Month
from app.privacy.find import Asked as Person
from app.privacy.forget import forget
from app.process import process
from app.settings import Settings
from app.store.exports import Wanted
from app.store.webhook_events import process_again
from tests.books import book, entry
from tests.test_process import (
    CREATED,
    IDS,
    a_refund,
    a_session,
    an_intent,
    an_invoice,
    event,
    processed,
    put,
    rows,
)

MARCH = Month(date(2025, 3, 1), ZoneInfo("UTC"))
KEY = "payment:in_1"
LEDGER = """SELECT key, minor, trim(currency), tax_minor, discount_minor FROM revenue_entries
            ORDER BY id"""
HOOK = {"url": "http://127.0.0.1:1", "secret": "whsec_" + "dGVzdHMtdGVzdHMtdGVzdHMtdGVzdHM="}
Run = Callable[..., Result]


def asked(key: str = KEY, to: str | None = None, **more: Any) -> Asked:
    return Asked(**{"scope": ("", True), "key": key, "to": to, **more})


def planned(engine: Engine, settings: Settings, wanted: Asked) -> Plan:
    with engine.connect() as connection:
        return plan(connection, settings, wanted)


def said(engine: Engine, settings: Settings, wanted: Asked) -> Plan:
    """A person's correction, kept and not processed yet."""
    found = planned(engine, settings, wanted)
    with engine.begin() as connection:
        correct(connection, found, who="ada", why="it is wrong")
    return found


def corrected(engine: Engine, settings: Settings, wanted: Asked) -> Plan:
    found = said(engine, settings, wanted)
    assert process(engine, settings) == 1
    return found


@pytest.fixture
def paid(engine: Engine, settings: Settings) -> Engine:
    """An invoice of 11.90 EUR, 1.90 of it tax, that a checkout led to."""
    taxes: dict[str, Any] = {
        "total_taxes": [{"amount": 190}],
        "total_discount_amounts": [{"amount": 100}],
    }
    processed(
        engine,
        settings,
        event(1, "checkout.session.completed", a_session()),
        event(2, "invoice.paid", an_invoice(**taxes)),
    )
    assert rows(engine, LEDGER) == [(KEY, 1190, "eur", 190, 100)]
    return engine


# --- what it does to the ledger


def test_it_is_undone_by_an_entry_of_its_own_day_with_all_its_ids(
    paid: Engine, settings: Settings
) -> None:
    corrected(paid, settings, asked())

    query = "SELECT * FROM revenue_entries ORDER BY id"
    with paid.connect() as connection:
        wrong, undone = (dict(row) for row in connection.execute(text(query)).mappings())
    assert undone == {
        **wrong,
        **{"id": undone["id"], "recorded_at": undone["recorded_at"], "kind": "correction"},
        **{"key": "correction:payment:in_1:1", "corrects": KEY, "origin": "manual"},
        **{"minor": -1190, "tax_minor": -190, "discount_minor": -100},
        "webhook_event_id": undone["webhook_event_id"],
    }


@pytest.mark.parametrize(
    ("to", "added"),
    [
        ("23.80", [("correction:payment:in_1:1", 1190, "eur", 190, 100)]),
        (
            "12.90 USD",
            [
                ("correction:payment:in_1:1", -1190, "eur", -190, -100),
                ("correction:payment:in_1:1:usd", 1290, "usd", 206, 108),
            ],
        ),
        (
            "1000 JPY",
            [
                ("correction:payment:in_1:1", -1190, "eur", -190, -100),
                ("correction:payment:in_1:1:jpy", 1000, "jpy", 160, 84),
            ],
        ),
    ],
)
def test_it_counts_what_a_person_says(
    paid: Engine, settings: Settings, to: str, added: list[tuple[Any, ...]]
) -> None:
    corrected(paid, settings, asked(to=to))

    assert rows(paid, LEDGER)[1:] == added


def test_it_may_be_corrected_again_and_again(paid: Engine, settings: Settings) -> None:
    for to in ("10.00", "12.90 USD", None, "11.90 EUR"):
        corrected(paid, settings, asked(to=to))

    assert [row[:3] for row in rows(paid, LEDGER)[1:]] == [
        ("correction:payment:in_1:1", -190, "eur"),
        ("correction:payment:in_1:2", -1000, "eur"),
        ("correction:payment:in_1:2:usd", 1290, "usd"),
        ("correction:payment:in_1:3", -1290, "usd"),
        ("correction:payment:in_1:4", 1190, "eur"),
    ]


def test_processing_it_again_changes_nothing(paid: Engine, settings: Settings) -> None:
    corrected(paid, settings, asked(to="12.90 USD"))
    before = [rows(paid, f"SELECT * FROM {name}") for name in ("revenue_entries", "deliveries")]
    ids = [one for (one,) in rows(paid, "SELECT id FROM webhook_events")]
    with paid.begin() as connection:
        process_again(connection, ids)
    assert process(paid, settings) == 3

    after = [rows(paid, f"SELECT * FROM {name}") for name in ("revenue_entries", "deliveries")]
    assert after == before


def test_a_replay_of_it_would_derive_what_is_stored(
    paid: Engine, settings: Settings, bridge: Run
) -> None:
    found = corrected(paid, settings, asked(to="12.90 USD"))
    env = {"DATABASE_URL": settings.database_url}
    words = ["replay", found.event_id, "--dry-run", "--json"]

    said = json.loads(CliRunner().invoke(cli, words, env=env).stdout)

    assert (said["webhook_events"], said["changes"], said["verdicts"]) == (1, [], [])
    assert said["same"] == {"revenue entry": 2, "analytics event": 2}


def test_two_at_once_make_one(paid: Engine, settings: Settings) -> None:
    barrier = threading.Barrier(4)

    def one(to: str) -> str:
        found = planned(paid, settings, asked(to=to))
        barrier.wait()
        try:
            with paid.begin() as connection:
                correct(connection, found, who="ada", why="it is wrong")
        except Refused as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(one, ("0", "1.00", "2.00", "2.00")))
    process(paid, settings)

    late = "Somebody else has just corrected payment:in_1: look what it counts now."
    assert sorted(done) == ["", late, late, late]
    assert [row[0] for row in rows(paid, LEDGER)] == [KEY, "correction:payment:in_1:1"]
    assert rows(paid, "SELECT count(*) FROM audit_log WHERE action = 'correct'") == [(1,)]


def test_after_the_close_it_is_posted_to_the_next_open_month(
    paid: Engine, settings: Settings
) -> None:
    with paid.begin() as connection:
        close(connection, ("", True), MARCH, who="ada", why="over", accept_breaks=True)
    found = corrected(paid, settings, asked())

    query = """SELECT effective_date::text, posting_date::text FROM revenue_entries
               WHERE kind = 'correction'"""
    assert rows(paid, query) == [("2025-03-01", "2025-04-01")]
    assert found.posting_date == date(2025, 4, 1)


def test_its_day_is_that_of_the_entry_whatever_the_time_zone_is_by_then(
    engine: Engine, settings: Settings
) -> None:
    at_night = an_invoice(status_transitions={"paid_at": CREATED + 11 * 3600})
    processed(engine, settings, event(1, "invoice.paid", at_night))
    corrected(engine, replace(settings, timezone="Asia/Tokyo"), asked())

    query = "SELECT DISTINCT effective_date::text, occurred_at FROM revenue_entries"
    [(day, _)] = rows(engine, query)
    assert day == "2025-03-01"


# --- whom it is told


def test_it_is_told_to_whoever_was_told_of_the_entry(
    paid: Engine, with_destinations: Callable[..., Settings]
) -> None:
    settings = with_destinations(webhook=HOOK, crm={"kind": "webhook", **HOOK, "events": "trial_*"})
    found = corrected(paid, settings, asked(to="10.00"))

    [(name, state, ids, minor, properties)] = rows(
        paid,
        """SELECT name, state, identity -> 'ids', minor, properties FROM analytics_events
           WHERE key = 'correction:payment:in_1:1'""",
    )
    assert (name, state, ids, minor) == ("revenue_corrected", "released", IDS, -190)
    assert properties == {
        **{"corrected_key": KEY, "corrected_kind": "payment", "currency": "EUR"},
        **{"amount": -1.9, "tax": -0.3, "amount_net_of_tax": -1.6},
        **{"invoice_id": "in_1", "subscription_id": "sub_1", "customer_id": "cus_1"},
    }
    [(destination, payload)] = rows(paid, "SELECT destination, payload FROM deliveries")
    assert (destination, found.told) == ("webhook", ["webhook"])
    assert json.loads(bytes(payload))["data"]["revenue"] == {
        **{"minor": -190, "currency": "eur", "major": "-1.90"}
    }


def test_net_of_tax_it_takes_back_what_was_told(
    engine: Engine, with_destinations: Callable[..., Settings]
) -> None:
    settings = replace(with_destinations(webhook=HOOK), revenue="net_of_tax")
    intent = an_intent()
    session = a_session(
        mode="payment",
        subscription=None,
        payment_intent="pi_1",
        currency="eur",
        amount_total=900,
        total_details={"amount_tax": 144},
    )
    processed(
        engine,
        settings,
        event(1, "payment_intent.succeeded", intent),
        event(2, "checkout.session.completed", session),
        event(3, "refund.created", a_refund()),
    )
    for key in ("payment:pi_1", "refund:re_1"):
        corrected(engine, settings, asked(key))

    told: dict[str, int] = defaultdict(int)
    for (payload,) in rows(engine, "SELECT payload FROM deliveries"):
        revenue = json.loads(bytes(payload))["data"]["revenue"]
        told[revenue["currency"] if revenue else "none"] += revenue["minor"] if revenue else 1
    assert told["eur"] == 0
    assert rows(engine, "SELECT sum(minor), sum(tax_minor) FROM analytics_events") == [(0, 0)]


def test_of_somebody_who_was_forgotten_the_ledger_hears_and_nobody_else(
    paid: Engine, settings: Settings, with_destinations: Callable[..., Settings]
) -> None:
    corrected(paid, settings, asked(to="10.00"))
    before = rows(paid, LEDGER)
    person = Person(customer="cus_1")
    forget(paid, settings, person, who="me", why="asked", despite_failures=False)
    assert rows(paid, LEDGER) == before

    settings = with_destinations(webhook=HOOK)
    found = corrected(paid, settings, asked())

    assert (found.told, rows(paid, "SELECT * FROM deliveries")) == ([], [])
    assert rows(paid, LEDGER)[2:] == [
        ("correction:payment:in_1:2", -1000, "eur", -160, -84),
    ]
    query = "SELECT state, reason FROM analytics_events WHERE key = 'correction:payment:in_1:2'"
    assert rows(paid, query) == [("withheld", "erased")]
    left = "SELECT count(*) FROM webhook_events WHERE encode(raw, 'escape') LIKE '%cus\\_1%'"
    assert rows(paid, left) == [(0,)]


QUARANTINE = text("""
    WITH w AS (DELETE FROM work) UPDATE webhook_events SET verdict = 'quarantined', reason = 'odd'
    WHERE origin = 'manual'
""")


def test_a_correction_that_was_erased_unread_can_be_said_again(
    paid: Engine, settings: Settings
) -> None:
    said(paid, settings, asked())
    with paid.begin() as connection:
        connection.execute(QUARANTINE)
    person = Person(customer="cus_1")
    forget(paid, settings, person, who="me", why="asked", despite_failures=False)
    assert len(rows(paid, LEDGER)) == 1

    corrected(paid, settings, asked())

    assert [row[:2] for row in rows(paid, LEDGER)[1:]] == [("correction:payment:in_1:2", -1190)]


# --- what is refused


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            asked("payment:in_9"),
            "There is no revenue entry payment:in_9 of account own, live mode. bridge reconcile"
            " and bridge revenue export have the keys.",
        ),
        (
            asked(scope=("acct_1", False)),
            "There is no revenue entry payment:in_1 of account acct_1, test mode. There is one of"
            " account own, live mode: --account and --test say which is meant.",
        ),
        (
            asked("correction:payment:in_1:1"),
            "correction:payment:in_1:1 is itself a correction. Say what the entry that it corrects"
            " is to count: bridge revenue correct payment:in_1",
        ),
        (asked(to="11.90"), "payment:in_1 counts 11.90 EUR already: there is nothing to correct."),
        (asked("'; DROP TABLE revenue_entries --"), "There is no revenue entry '; DROP TABLE"),
        (asked("payment:in_1\u2028"), "There is no revenue entry payment:in_1\u2028 of"),
    ],
)
def test_what_cannot_be_corrected_is_refused_with_what_to_do(
    paid: Engine, settings: Settings, wanted: Asked, words: str
) -> None:
    with pytest.raises(Refused) as refused:
        planned(paid, settings, wanted)
    assert str(refused.value).startswith(words)


def test_one_that_waits_is_not_corrected_a_second_time(paid: Engine, settings: Settings) -> None:
    first = said(paid, settings, asked())

    with pytest.raises(
        Refused, match=f"waits for a worker: .* bridge events show {first.event_id}"
    ):
        planned(paid, settings, asked(to="5.00"))
    with paid.begin() as connection:
        connection.execute(QUARANTINE)
    with pytest.raises(Refused) as refused:
        planned(paid, settings, asked(to="5.00"))
    assert str(refused.value) == (
        "A correction of it is quarantined (odd). To have it processed:"
        f" bridge replay {first.event_id}"
    )


def test_stripe_cannot_say_it(paid: Engine, settings: Settings) -> None:
    found = planned(paid, settings, asked())
    with paid.begin() as connection:
        correct(connection, found, who="ada", why="it is wrong")
        raw = connection.execute(text("SELECT raw FROM webhook_events WHERE origin = 'manual'"))
        body = json.loads(bytes(raw.scalar_one()))
        connection.rollback()
    put(paid, body)
    assert process(paid, settings) == 1

    assert len(rows(paid, LEDGER)) == 1
    query = "SELECT verdict, reason FROM webhook_events WHERE type = 'bridge.revenue_corrected'"
    assert rows(paid, query) == [("ignored", "type not read")]


# --- the command


@pytest.fixture
def bridge(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`bridge revenue ...` on these stores, that waits for no worker."""
    monkeypatch.setattr(verb, "WAIT", 0.0)
    env = {"DATABASE_URL": settings.database_url, "BRIDGE_TIMEZONE": "UTC", "COLUMNS": "200"}
    return lambda *words: CliRunner().invoke(cli, ["revenue", *words], env=env)


def test_a_dry_run_shows_what_would_be_posted_and_changes_nothing(
    paid: Engine, bridge: Run
) -> None:
    with paid.begin() as connection:
        close(connection, ("", True), MARCH, who="ada", why="over", accept_breaks=True)

    done = bridge("correct", KEY, "--to", "10.00", "--dry-run")

    assert done.exit_code == 0, done.output
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "payment:in_1: a payment of 2025-03-01, account own, live mode",
        "It counts 11.90 EUR, and is to count 10.00 EUR",
        "To be posted",
        *done.stdout.splitlines()[3:8],
        "Posted on 2025-04-01, since its month is closed or locked",
        "Told as revenue_corrected to: nobody",
    ]
    table = " ".join(done.stdout.splitlines()[3:8])
    assert all(one in table for one in ("correction:payment:in_1:1", "-1.90 EUR", "-0.30 EUR"))
    assert len(rows(paid, LEDGER)) == 1
    assert rows(paid, "SELECT count(*) FROM webhook_events WHERE origin = 'manual'") == [(0,)]


def test_it_waits_for_a_worker_and_says_what_was_booked(
    paid: Engine, settings: Settings, bridge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "WAIT", 30.0)
    stopping = threading.Event()

    def works() -> None:
        while not stopping.wait(0.05):
            process(paid, settings)

    worker = threading.Thread(target=works)
    worker.start()
    try:
        done = bridge("correct", KEY, "--why", "twice", "--yes")
    finally:
        stopping.set()
        worker.join()

    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last == "Booked: correction:payment:in_1:1  -11.90 EUR, posted on 2025-03-01"
    query = "SELECT action, why, rows, filter FROM audit_log"
    [(action, why, number, told)] = rows(paid, query)
    assert (action, why, number) == ("correct", "twice", 1)
    assert told == {
        **{"account": "", "livemode": True, "key": KEY, "counts": ["11.90 EUR"]},
        **{"to": "0.00 EUR", "posted": ["-11.90 EUR"], "event": told["event"]},
    }


def test_without_a_worker_it_says_so(paid: Engine, settings: Settings, bridge: Run) -> None:
    done = bridge("correct", KEY, "--why", "twice", "--yes", "--json")

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == {
        **{"dry_run": False, "key": KEY, "account": "own", "livemode": True, "kind": "payment"},
        "counts": [
            {"minor": 1190, "currency": "eur", "tax_minor": 190, "discount_minor": 100},
        ],
        "to": {"minor": 0, "currency": "eur"},
        "entries": [
            {
                **{"key": "correction:payment:in_1:1", "minor": -1190, "currency": "eur"},
                **{"tax_minor": -190, "discount_minor": -100},
            }
        ],
        **{"effective_date": "2025-03-01", "posting_date": "2025-03-01", "destinations": []},
        **{"event": found["event"], "booked": None},
    }
    assert f"no worker has booked it yet: bridge events show {found['event']}" in done.stderr
    assert process(paid, settings) == 1
    shown = CliRunner().invoke(
        cli, ["events", "show", found["event"]], env={"DATABASE_URL": settings.database_url}
    )
    assert "manual" in shown.stdout
    assert "booked       correction:payment:in_1:1  -11.90 EUR" in shown.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--yes"], 2, "--why must say something."),
        (["--why", " ", "--yes"], 2, "--why must say something."),
        (["--why", "x"], 2, "Not at a terminal"),
        (["--why", "x", "--json"], 2, "With --json, say --yes or --dry-run."),
        (["--dry-run", "--to", "1,5"], 2, "--to: expected whole units such as"),
        (["--dry-run", "--to", "-1.00"], 2, "--to: a payment is positive, or nothing."),
        (["--dry-run", "--to", "9", "--tax", "10"], 2, "--tax: it is a part of --to"),
        (["--dry-run", "--tax", "1.000"], 2, "--tax: EUR has 2 decimals, not 3."),
        (["--dry-run", "--test"], 1, "There is no revenue entry payment:in_1"),
        (["--dry-run", "--to", "11.90"], 1, "there is nothing to correct."),
    ],
)
def test_what_is_asked_wrongly_changes_nothing(
    paid: Engine, bridge: Run, words: list[str], code: int, says: str
) -> None:
    done = bridge("correct", KEY, *words)

    assert (done.exit_code, says in done.stderr) == (code, True), done.output
    assert rows(paid, "SELECT count(*) FROM webhook_events WHERE origin = 'manual'") == [(0,)]


# --- files and views


WRONG = (
    entry("payment:in_1", "2025-10-01", invoice="in_1", corrects=None),
    entry("payment:in_2", "2025-10-01", invoice="in_2", out_of_band=True, corrects=None),
    entry("refund:re_1", "2025-10-02", kind="refund", minor=300, refund="re_1", corrects=None),
    entry("dispute:dp_1:txn_9", "2025-10-31", kind="dispute", minor=-1200, corrects=None),
)


@pytest.fixture
def put_right(engine: Engine, settings: Settings) -> Engine:
    """October: a payment and a dispute undone, one payment in another currency, a sign turned."""
    book(engine, *WRONG)
    for key, to in (
        ("payment:in_1", None),
        ("payment:in_2", "9.00 eur"),
        ("refund:re_1", "-3.00"),
        ("dispute:dp_1:txn_9", None),
    ):
        corrected(engine, settings, asked(key, to))
    return engine


def test_the_journal_of_corrections_balances_in_the_accounts_of_what_they_correct(
    put_right: Engine, tmp_path: Path
) -> None:
    wanted = Wanted(first=date(2025, 10, 1), last=date(2025, 11, 1), account="", livemode=True)
    forms: tuple[Format, ...] = ("csv", "journal")
    for form in forms:
        with put_right.connect() as connection:
            export(connection, wanted, form, tmp_path / form, lambda _: None)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "journal").read_text())))
    legs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    accounts: dict[str, set[str]] = defaultdict(set)
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in lines:
        amount = Decimal(line["debit"] or "0") - Decimal(line["credit"] or "0")
        legs[line["reference"], line["currency"]] += amount
        sums[line["ledger_account"], line["currency"]] += amount
        if line["reference"].startswith("correction:"):
            accounts[line["memo"]].add(line["ledger_account"])

    assert set(legs.values()) == {Decimal(0)}
    assert accounts == {
        "correction payment:in_1": {"Unapplied payments", "Revenue", "Tax payable"},
        "correction payment:in_2": {"Paid outside Stripe", "Revenue", "Tax payable"},
        "correction refund:re_1": {"Unapplied payments", "Refunds"},
        "correction dispute:dp_1:txn_9": {"Unapplied payments", "Disputes"},
    }
    assert {name: amount for name, amount in sums.items() if amount} == {
        ("Paid outside Stripe", "eur"): Decimal("9.00"),
        ("Revenue", "eur"): Decimal("-7.50"),
        ("Tax payable", "eur"): Decimal("-1.50"),
        ("Refunds", "usd"): Decimal("3.00"),
        ("Unapplied payments", "usd"): Decimal("-3.00"),
    }
    file = list(csv.DictReader(io.StringIO((tmp_path / "csv").read_text())))
    assert {row["key"]: row["corrects"] for row in file if row["corrects"]} == {
        "correction:payment:in_1:1": "payment:in_1",
        "correction:payment:in_2:1": "payment:in_2",
        "correction:payment:in_2:1:eur": "payment:in_2",
        "correction:refund:re_1:1": "refund:re_1",
        "correction:dispute:dp_1:txn_9:1": "dispute:dp_1:txn_9",
    }


def test_the_summary_has_them_in_a_column_of_their_own(put_right: Engine, bridge: Run) -> None:
    days = ("--from", "2025-10-01", "--to", "2025-11-01")
    found = json.loads(bridge("summary", *days, "--json").stdout)["sums"]

    parts = ("currency", "payments", "refunds", "disputes", "corrections", "net", "tax")
    assert [tuple(row[name] for name in parts) for row in found] == [
        ("eur", 0, 0, 0, 900, 900, 150),
        ("usd", 2400, 300, -1200, -1800, -300, 0),
    ]
    shown = bridge("summary", *days).stdout
    assert "corrections" in shown
    assert str(Money(-1800, "usd")) in shown


def test_a_close_lists_the_kind(put_right: Engine, bridge: Run) -> None:
    shown = bridge("close", "2025-10", "--dry-run")

    assert [line for line in shown.stdout.splitlines() if "correction" in line], shown.output


def test_views_count_them_to_the_plan_and_day_of_what_they_correct(put_right: Engine) -> None:
    daily = """SELECT posting_date::text, currency, payments_minor, refunds_minor, disputes_minor,
               corrections_minor, net_minor, tax_minor FROM analytics.daily_revenue ORDER BY 1, 2"""
    assert rows(put_right, daily) == [
        ("2025-10-01", "eur", 0, 0, 0, 900, 900, 150),
        ("2025-10-01", "usd", 2400, 0, 0, -2400, 0, 0),
        ("2025-10-02", "usd", 0, 300, 0, -600, -300, 0),
        ("2025-10-31", "usd", 0, 0, -1200, 1200, 0, 0),
    ]
    payments = """SELECT key, payment_key FROM analytics.revenue_allocation
                  WHERE kind = 'correction' ORDER BY 1"""
    assert rows(put_right, payments) == [
        ("correction:dispute:dp_1:txn_9:1", None),
        ("correction:payment:in_1:1", "payment:in_1"),
        ("correction:payment:in_2:1", "payment:in_2"),
        ("correction:payment:in_2:1:eur", "payment:in_2"),
        ("correction:refund:re_1:1", None),
    ]
    ledger = "SELECT currency::text, sum(minor) FROM revenue_entries GROUP BY 1 ORDER BY 1"
    for view in ("by_plan", "by_channel", "by_landing_page"):
        sums = f"""SELECT currency, sum(net_minor) FROM analytics.revenue_{view}
                   GROUP BY 1 ORDER BY 1"""
        parts = f"""SELECT sum(payments_minor + refunds_minor + disputes_minor
                    + corrections_minor - net_minor) FROM analytics.revenue_{view}"""
        assert rows(put_right, sums) == rows(put_right, ledger), view
        assert rows(put_right, parts) == [(0,)], view


def test_what_was_undone_is_no_defect_any_more(put_right: Engine) -> None:
    settled = text("""
        INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net,
            currency, minor, customer_currency, effective_date, posting_date)
        VALUES ('', true, 'txn_1', '2025-10-01', 'charge', 900, 0, 900, 'eur', 900, 'eur',
            '2025-10-01', '2025-10-01')
    """)
    pairs = text("""
        INSERT INTO settled_entries (account, livemode, settlement, key)
        VALUES ('', true, 'txn_1', 'payment:in_1'), ('', true, 'txn_1', 'payment:in_2')
    """)
    with put_right.begin() as connection:
        connection.execute(settled)
        connection.execute(pairs)
        connection.execute(
            text("""
                INSERT INTO reconcile_runs (at, who, account, livemode, period_start, period_end,
                    timezone, source, parameters, snapshot_sha256, transactions, entries, classes,
                    totals, verdict, delivered)
                VALUES (clock_timestamp() + interval '1 day', 'ada', '', true, '2025-10-01',
                    '2025-11-01', 'UTC', 'csv', '{}', '', 0, 0, '[]', '[]', 'clean', true)
            """)
        )

    query = """SELECT check_name, sample_ids FROM analytics.dq_summary
               WHERE failing_rows > 0 AND check_name <> 'untold' ORDER BY 1"""
    assert rows(put_right, query) == [
        ("orphan_refund", ["refund:re_1", "dispute:dp_1:txn_9"]),
        ("settlement_missing", ["refund:re_1"]),
        ("unallocated", ["payment:in_1", "payment:in_2"]),
    ]
