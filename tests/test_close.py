"""Month close: what was closed stays, what comes late is posted to the next open month."""

import getpass
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner, Result

from app.cli import cli
from app.finance.close import Changed, Refused, close, preview, reopen
from app.finance.month import Month, State, states, stretches
from app.settings import Settings
from app.store import audit, periods, reconciles
from app.store.bulk import insert_rows
from app.store.migrate import set_reporting_zone
from app.store.schema import revenue_entries
from tests.books import book, entry, posting_dates

OWN = ("", True)
UTC_ZONE = ZoneInfo("UTC")
OCTOBER, SEPTEMBER, AUGUST, JULY = (
    Month(date(2025, month, 1), UTC_ZONE) for month in (10, 9, 8, 7)
)
ROUNDS = 50


def shut(engine: Engine, month: Month, scope: tuple[str, bool] = OWN, **options: Any) -> int:
    """Close over whatever is unproved; the version."""
    asked = {"who": "ada", "why": "told so", "accept_breaks": True, **options}
    with engine.begin() as connection:
        return close(connection, scope, month, **asked).version


def proof(
    engine: Engine, month: Month, *, entries: int, verdict: str = "clean", **columns: Any
) -> int:
    """A run of `bridge reconcile` of exactly this month; its id."""
    run = {
        **{"who": "ada", "period_start": month.start, "period_end": month.end},
        **{"timezone": month.zone.key, "source": "csv", "parameters": {}, "snapshot_sha256": "0"},
        **{"transactions": entries, "entries": entries, "classes": [], "totals": []},
        **{"verdict": verdict, "delivered": True, **columns},
    }
    with engine.begin() as connection:
        return reconciles.record(connection, OWN, run, [])


def total(minor: int, entries: int, late: int = 0, **more: Any) -> dict[str, Any]:
    values = {"currency": "usd", "kind": "payment", "minor": minor, "entries": entries}
    return {**values, "tax_minor": 200 * entries, "late": late, **more}


# --- the guard


def test_what_comes_after_the_close_is_posted_to_the_next_open_month(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-10-31"))
    shut(engine, OCTOBER)
    book(
        engine,
        entry("payment:2", "2025-10-01"),
        entry("payment:3", "2025-10-31"),
        entry("payment:4", "2025-11-07"),
        entry("payment:5", "2025-09-30"),
        entry("payment:6", "2019-01-01"),
        entry("payment:7", "2025-10-05", account="acct_1"),
        entry("payment:8", "2025-10-05", livemode=False),
    )

    assert posting_dates(engine) == {
        "payment:1": "2025-10-31",
        "payment:2": "2025-11-01",
        "payment:3": "2025-11-01",
        "payment:4": "2025-11-07",
        "payment:5": "2025-11-01",  # months before the first one that was closed are locked
        "payment:6": "2025-11-01",
        "payment:7": "2025-10-05",
        "payment:8": "2025-10-05",
    }


def test_it_goes_past_every_closed_month_but_no_further(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-08-15"))
    for month in (AUGUST, SEPTEMBER, OCTOBER):
        shut(engine, month)
    with engine.begin() as connection:
        reopen(connection, OWN, SEPTEMBER, who="ada", why="a missing invoice")
    book(engine, entry("payment:2", "2025-08-20"), entry("payment:3", "2025-10-20"))
    shut(engine, SEPTEMBER)
    book(engine, entry("payment:4", "2025-08-21"), entry("payment:5", "2025-09-30"))

    assert posting_dates(engine) == {
        "payment:1": "2025-08-15",
        "payment:2": "2025-09-01",
        "payment:3": "2025-11-01",
        "payment:4": "2025-11-01",
        "payment:5": "2025-11-01",
    }


def test_before_the_books_all_is_locked_even_while_their_first_month_is_open_again(
    engine: Engine,
) -> None:
    for month in (SEPTEMBER, OCTOBER):
        shut(engine, month)
    book(engine, entry("payment:1", "2025-08-15"))
    with engine.begin() as connection:
        reopen(connection, OWN, SEPTEMBER, who="ada", why="a missing invoice")
    book(engine, entry("payment:2", "2025-08-15"), entry("payment:3", "2025-09-15"))
    with engine.begin() as connection:
        reopen(connection, OWN, OCTOBER, who="ada", why="another one")
    book(engine, entry("payment:4", "2025-08-15"), entry("payment:5", "2025-10-15"))

    assert posting_dates(engine) == {
        "payment:1": "2025-11-01",
        "payment:2": "2025-09-01",
        "payment:3": "2025-09-15",
        "payment:4": "2025-09-01",
        "payment:5": "2025-10-15",
    }


def test_what_is_said_of_a_month_is_what_the_ledger_does(engine: Engine) -> None:
    """In every state of four months that order allows: open means that an entry stays there."""
    days = [date(2025, month, 1) for month in range(6, 13)]
    seen = set()
    for of, chosen in enumerate(product(("closed", "open", None), repeat=4)):
        row = "(:account, true, :start, (:start + interval '1 month')::date, 'UTC', :status, 1,"
        query = text(f"""
            INSERT INTO accounting_periods (account, livemode, period_start, period_end, timezone,
                status, version, closed_at, closed_by, totals)
            VALUES {row} now(), 'ada', '{{}}')
        """)
        rows = [
            {"account": f"acct_{of}", "start": day, "status": status}
            for day, status in zip(days[1:], chosen, strict=False)
            if status
        ]
        with engine.begin() as connection:
            if rows:
                connection.execute(query, rows)
            state = states(periods.of(connection, (f"acct_{of}", True)))
            for day in days:
                posted = periods.posted_on(connection, (f"acct_{of}", True), day)
                seen.add(state(day).status)
                assert (state(day).status == "open") == (posted == day), (chosen, day)
                assert state(posted).status == "open", (chosen, day)
                assert posted.day == 1
    assert seen == {"closed", "open", "locked"}


def test_months_in_one_state_are_one_stretch(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-08-15"))
    for month in (AUGUST, SEPTEMBER, OCTOBER):
        shut(engine, month)
    with engine.begin() as connection:
        reopen(connection, OWN, OCTOBER, who="ada", why="a missing invoice")
        known = periods.of(connection, OWN)

    found = stretches(known, date(2025, 5, 31), date(2025, 12, 2))
    assert [(one.first.month, one.last.month, one.state) for one in found] == [
        *((5, 7, State("locked")), (8, 9, State("closed", 1)), (10, 10, State("open", 2))),
        (11, 12, State("open")),
    ]
    [all_] = stretches([], date(2025, 5, 31), date.max)
    assert (all_.first, all_.last) == (date(2025, 5, 1), date(9999, 12, 1))
    assert stretches([], date(2025, 5, 1), date(2025, 6, 1))[0].last == date(2025, 5, 1)


def test_the_effective_date_stays_and_both_views_have_the_late_entry(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-10-10"))
    shut(engine, OCTOBER)
    book(engine, entry("payment:2", "2025-10-11"))

    with engine.connect() as connection:
        october = periods.totals(connection, OWN, OCTOBER.start, OCTOBER.end)
        november = periods.totals(connection, OWN, OCTOBER.end, date(2025, 12, 1))

    assert october == {"as_closed": [total(1200, 1)], "restated": [total(2400, 2, late=1)]}
    assert november == {"as_closed": [total(1200, 1, late=1)], "restated": []}


def test_the_ledger_still_refuses_every_change(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-10-10"))
    shut(engine, OCTOBER)
    for change in (
        "UPDATE revenue_entries SET posting_date = '2025-11-01'",
        "DELETE FROM revenue_entries",
        "TRUNCATE revenue_entries",
    ):
        with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
            connection.execute(text(change))


@pytest.fixture
def restricted(engine: Engine) -> Iterator[str]:
    """The role of docs/month-close.md, made by the SQL that stands there."""
    page = (Path(__file__).parents[1] / "docs" / "month-close.md").read_text()
    [grants] = re.findall(r"```sql\n(.*?)```", page, re.S)
    with engine.begin() as connection:
        connection.execute(text(grants))
    yield "bridge_app"
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY bridge_app; DROP ROLE bridge_app"))


def test_the_documented_role_books_and_closes_and_can_change_nothing(
    engine: Engine, restricted: str
) -> None:
    asked = {"who": "ada", "why": "told so", "accept_breaks": True}
    for _ in range(2):
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL ROLE {restricted}"))
            insert_rows(connection, revenue_entries, [entry("payment:1", "2025-10-15")])
            close(connection, OWN, OCTOBER, **asked)  # type: ignore[arg-type]
            reopen(connection, OWN, OCTOBER, who="ada", why="again")
    for change in (
        "UPDATE revenue_entries SET minor = 0",
        "DELETE FROM revenue_entries",
        "TRUNCATE revenue_entries",
        "ALTER TABLE revenue_entries DISABLE TRIGGER append_only",
        "SET session_replication_role = replica",
        "DELETE FROM accounting_periods",
        "UPDATE audit_log SET who = 'bob'",
        "DELETE FROM settlements",
        "DELETE FROM withdrawn_settlements",
        "UPDATE reconcile_runs SET verdict = 'clean'",
    ):
        with engine.connect() as connection:
            connection.execute(text(f"SET LOCAL ROLE {restricted}"))
            with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                connection.execute(text(change))

    assert posting_dates(engine) == {"payment:1": "2025-10-15"}


# --- close and post at the same time


def test_an_entry_is_inside_the_closed_totals_or_posted_after_them(engine: Engine) -> None:
    """Real threads: writers book into a month, one entry a transaction, while it is closed."""
    writers, each = 3, 4
    sides: set[str] = set()
    for number in range(ROUNDS):
        scope = (f"acct_{number}", True)
        start = threading.Barrier(writers + 1)

        def write(writer: int, scope: tuple[str, bool] = scope, start: Any = start) -> None:
            start.wait()
            for n in range(each):
                one = entry(f"payment:{writer}_{n}", "2025-10-15", account=scope[0])
                book(engine, one)

        def closing(
            scope: tuple[str, bool] = scope, start: Any = start, wait: float = number % 10 / 1000
        ) -> None:
            start.wait()
            threading.Event().wait(wait)
            shut(engine, OCTOBER, scope)

        with ThreadPoolExecutor(writers + 1) as pool:
            futures = [pool.submit(write, writer) for writer in range(writers)]
            futures.append(pool.submit(closing))
            for future in futures:
                future.result(timeout=30)

        inside, after = _split(engine, scope)
        with engine.connect() as connection:
            [period] = periods.of(connection, scope)
        closed = sum(row["entries"] for row in period.totals["as_closed"])
        assert (closed, inside + after) == (inside, writers * each)
        sides |= {name for name, count in (("inside", inside), ("after", after)) if count}
    assert sides == {"inside", "after"}  # else the rounds proved nothing


def test_an_entry_of_a_month_before_is_in_what_the_first_close_locks_or_posted_after_it(
    engine: Engine,
) -> None:
    """Real threads: writers book into August, while October is closed as the first month."""
    writers, each = 3, 4
    sides: set[str] = set()
    for number in range(ROUNDS // 2):
        scope = (f"acct_{number}", True)
        start = threading.Barrier(writers + 1)

        def write(writer: int, scope: tuple[str, bool] = scope, start: Any = start) -> None:
            start.wait()
            for n in range(each):
                book(engine, entry(f"payment:{writer}_{n}", "2025-08-15", account=scope[0]))

        def closing(
            scope: tuple[str, bool] = scope, start: Any = start, wait: float = number % 10 / 1000
        ) -> int:
            start.wait()
            threading.Event().wait(wait)
            with engine.begin() as connection:
                asked: dict[str, Any] = {"who": "ada", "why": "so", "accept_breaks": True}
                before = close(connection, scope, OCTOBER, first=True, **asked).preview.before
            assert before is not None
            return sum(row["entries"] for row in before["as_closed"])

        with ThreadPoolExecutor(writers + 1) as pool:
            futures = [pool.submit(write, writer) for writer in range(writers)]
            locked = pool.submit(closing).result(timeout=30)
            for future in futures:
                future.result(timeout=30)

        inside, after = _split(engine, scope, "2025-08-15")
        assert (locked, inside + after) == (inside, writers * each)
        sides |= {name for name, count in (("inside", inside), ("after", after)) if count}
    assert sides == {"inside", "after"}  # else the rounds proved nothing


def _split(engine: Engine, scope: tuple[str, bool], day: str = "2025-10-15") -> tuple[int, int]:
    query = text("""
        SELECT count(*) FILTER (WHERE posting_date = :day),
               count(*) FILTER (WHERE posting_date = '2025-11-01')
        FROM revenue_entries WHERE account = :account AND livemode = :livemode
    """)
    with engine.connect() as connection:
        values = {"account": scope[0], "livemode": scope[1], "day": date.fromisoformat(day)}
        row = connection.execute(query, values).one()
        return row[0], row[1]


def test_a_close_waits_for_what_is_booked_but_not_committed(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            insert_rows(connection, revenue_entries, [entry("payment:1", "2025-10-15")])
            closing = pool.submit(shut, engine, OCTOBER)
            _until_waiting(engine)
            assert not closing.done()
        closing.result(timeout=10)

    with engine.connect() as connection:
        [period] = periods.of(connection, OWN)
    assert period.totals["as_closed"] == [total(1200, 1)]


def test_what_is_booked_during_a_close_waits_and_is_posted_after_it(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            asked = {"who": "ada", "why": "told so", "accept_breaks": True}
            close(connection, OWN, OCTOBER, **asked)  # type: ignore[arg-type]
            booking = pool.submit(book, engine, entry("payment:1", "2025-10-15"))
            _until_waiting(engine)
            assert not booking.done()
        booking.result(timeout=10)

    assert posting_dates(engine) == {"payment:1": "2025-11-01"}


def test_of_two_first_closes_at_once_one_begins_the_books(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            asked: dict[str, Any] = {"who": "ada", "why": "so", "accept_breaks": True}
            close(connection, OWN, OCTOBER, first=True, **asked)
            other = pool.submit(refused, engine, AUGUST, first=True)
            _until_waiting(engine)
            assert not other.done()
        assert other.result(timeout=10).startswith("The books began with the close of 2025-10")


def _until_waiting(engine: Engine) -> None:
    """Until somebody waits for the lock of postings."""
    query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    until = datetime.now(UTC) + timedelta(seconds=10)
    while datetime.now(UTC) < until:
        with engine.connect() as connection:
            if connection.execute(query).scalar_one():
                return
    raise AssertionError("nobody waits")


# --- what may be closed


def refused(engine: Engine, month: Month, **options: Any) -> str:
    with pytest.raises(Refused) as why:
        shut(engine, month, **options)
    return str(why.value)


def test_only_a_month_that_has_ended_in_the_reporting_zone_is_closed(engine: Engine) -> None:
    # It is always tomorrow at one end of the world or yesterday at the other.
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        with engine.connect() as connection:
            today = periods.today(connection, zone)
        this = Month(today.replace(day=1), ZoneInfo(zone))
        assert refused(engine, this) == f"{this} ends on {this.end}: it is {today} in {zone}."
        before = Month((this.start - timedelta(days=1)).replace(day=1), ZoneInfo(zone))
        with engine.connect() as connection:
            assert preview(connection, OWN, before).month == before


def test_months_are_closed_in_order_and_once(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-08-15"), entry("payment:2", "2025-10-15"))

    begin = " To begin the books with 2025-10, and lock all before it as it is: --first."
    assert refused(engine, OCTOBER) == f"2025-08 is open: months are closed in order.{begin}"
    shut(engine, AUGUST)
    july = "The books began with the close of 2025-08: months before it are locked as they are."
    assert refused(engine, JULY) == july
    assert refused(engine, OCTOBER) == "2025-09 is open: months are closed in order."
    shut(engine, SEPTEMBER)  # although it is empty
    assert shut(engine, OCTOBER) == 1
    assert refused(engine, OCTOBER) == "2025-10 is closed already."
    assert shut(engine, OCTOBER, ("", False)) == 1  # the other mode has months of its own


def test_the_first_close_may_lock_all_before_it_as_it_is(engine: Engine) -> None:
    book(engine, entry("payment:1", "2024-02-15"), entry("payment:2", "2025-10-15"))
    asked: dict[str, Any] = {"first": True, "accept_breaks": False, "why": "we begin"}
    assert refused(engine, OCTOBER, **asked).startswith("No reconciliation of exactly 2025-10")
    proof(engine, OCTOBER, entries=1)
    with engine.begin() as connection:
        done = close(connection, OWN, OCTOBER, who="ada", **asked)
    book(engine, entry("payment:3", "2025-08-15"))

    locked = {"as_closed": [total(1200, 1)], "restated": [total(1200, 1)]}
    assert (done.version, done.preview.before, str(done.next_open)) == (1, locked, "2025-11")
    with engine.connect() as connection:
        [line] = audit.of(connection, ["close"])
        assert line["filter"]["before"] == [total(1200, 1)]
        assert periods.totals(connection, OWN, date(2000, 1, 1), OCTOBER.start) == {
            "as_closed": [total(1200, 1)],
            "restated": [total(2400, 2, late=1)],
        }

    books = "The books began with the close of 2025-10: months before it are locked as they are."
    for month in (SEPTEMBER, JULY):
        assert refused(engine, month) == refused(engine, month, first=True) == books
    with engine.begin() as connection:
        reopen(connection, OWN, OCTOBER, who="ada", why="again")
    assert refused(engine, OCTOBER, first=True) == books
    assert shut(engine, OCTOBER) == 2


def test_it_needs_a_clean_reconciliation_of_exactly_that_month(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-10-15"))
    command = "bridge reconcile --from 2025-10-01 --to 2025-11-01 --live --source csv FILE"
    asked: dict[str, Any] = {"accept_breaks": False, "why": ""}
    over = " To close all the same: --accept-breaks, and --why."

    none = f"No reconciliation of exactly 2025-10 in UTC: {command}"
    assert refused(engine, OCTOBER, **asked) == none + over
    proof(engine, SEPTEMBER, entries=1)
    proof(engine, Month(OCTOBER.start, ZoneInfo("Europe/Berlin")), entries=1)
    assert refused(engine, OCTOBER, **asked) == none + over
    run = proof(engine, OCTOBER, entries=1, verdict="differences")
    sums = "differences (sums that do not foot)"
    found = f"Reconciliation {run} of 2025-10 found: {sums}. Again: {command}"
    assert refused(engine, OCTOBER, **asked) == found + over
    run = proof(engine, OCTOBER, entries=0)
    old = f"Reconciliation {run} had 0 entries of 2025-10, and there is 1 now. Again: {command}"
    assert refused(engine, OCTOBER, **asked) == old + over
    assert refused(engine, OCTOBER, accept_breaks=True, why="") == old + over

    run = proof(engine, OCTOBER, entries=1)
    assert shut(engine, OCTOBER, **asked) == 1
    with engine.connect() as connection:
        [period] = periods.of(connection, OWN)
    assert (period.reconcile_run, period.why) == (run, None)


def test_the_step_is_the_form_of_the_source_that_was_used_or_can_be(engine: Engine) -> None:
    api = "bridge reconcile --from 2025-10-01 --to 2025-11-01 --live"

    def step(**asked: Any) -> str:
        with engine.connect() as connection:
            [one] = preview(connection, OWN, OCTOBER, **asked).breaks
        return one.said.partition(": bridge")[2]

    assert [step(), step(by_api=True)] == [f"{api} --source csv FILE"[6:], api[6:]]
    proof(engine, OCTOBER, entries=1, source="csv")
    assert step(by_api=True) == f"{api} --source csv FILE"[6:]
    proof(engine, OCTOBER, entries=1, source="api")
    assert [step(), step(by_api=True)] == [f"{api} --source csv FILE"[6:], api[6:]]


def test_late_entries_are_proved_by_a_reconciliation_of_their_own_month(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-09-15"), entry("payment:2", "2025-10-15"))
    proof(engine, SEPTEMBER, entries=1)
    asked: dict[str, Any] = {"accept_breaks": False, "why": ""}
    shut(engine, SEPTEMBER, **asked)
    book(engine, entry("payment:late", "2025-09-16"))
    proof(engine, OCTOBER, entries=1)

    assert refused(engine, OCTOBER, **asked).startswith(
        "Late entries in it are of 2025-09. Reconciliation 1 had 1 entry of 2025-09, and there"
        " are 2 now. Again: bridge reconcile --from 2025-09-01 --to 2025-10-01 --live"
    )
    proof(engine, SEPTEMBER, entries=2)
    assert shut(engine, OCTOBER, **asked) == 1


def test_months_of_two_time_zones_are_a_break(engine: Engine) -> None:
    shut(engine, SEPTEMBER)
    berlin = Month(OCTOBER.start, ZoneInfo("Europe/Berlin"))

    with engine.connect() as connection:
        breaks = preview(connection, OWN, berlin).breaks
    other = "Other months were closed in UTC; BRIDGE_TIMEZONE is Europe/Berlin."
    assert [one.said for one in breaks[1:]] == [other]


def test_what_is_accepted_is_in_the_audit_line(engine: Engine) -> None:
    unexplained, explained = (
        {
            **{"class": "amount_difference", "reason": "unit_scale", "currency": "usd"},
            **{"count": 2, "stripe": 1200, "ledger": 12, "difference": 1188},
            "explained": one,
        }
        for one in (False, True)
    )
    found = [unexplained, explained]
    run = proof(engine, OCTOBER, entries=0, verdict="differences", classes=found)
    shut(engine, OCTOBER)

    with engine.connect() as connection:
        [line] = audit.of(connection, ["close", "reopen"])
    step = "bridge reconcile --from 2025-10-01 --to 2025-11-01 --live --source csv FILE"
    said = f"Reconciliation {run} of 2025-10 found: differences. Again: {step}"
    assert (line["filter"]["breaks"], line["filter"]["accepted"]) == (
        *([said], [{"run": run, **unexplained}]),
    )


def test_totals_that_changed_since_they_were_shown_are_not_closed(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-10-15"))
    with engine.connect() as connection:
        shown = preview(connection, OWN, OCTOBER)
    book(engine, entry("payment:2", "2025-10-15"))

    with pytest.raises(Changed):
        shut(engine, OCTOBER, shown=shown)
    with engine.connect() as connection:
        assert periods.every(connection) == []


def test_closing_and_reopening_leave_their_traces(engine: Engine) -> None:
    book(engine, entry("payment:1", "2025-10-15"))
    shut(engine, OCTOBER, who="ada", why="the auditor waits")
    with engine.begin() as connection:
        assert reopen(connection, OWN, OCTOBER, who="bob", why="one is missing").version == 2
    book(engine, entry("payment:2", "2025-10-16"))
    assert shut(engine, OCTOBER, who="ada", why="again") == 2
    with pytest.raises(Refused, match="2025-09 is not closed"), engine.begin() as connection:
        reopen(connection, OWN, SEPTEMBER, who="bob", why="?")

    with engine.connect() as connection:
        log = connection.execute(text("SELECT who, action, why, rows, filter FROM audit_log"))
        told = [(row.who, row.action, row.why, row.rows, row.filter["version"]) for row in log]
        [period] = periods.of(connection, OWN)
    assert told == [
        ("ada", "close", "the auditor waits", 1, 1),
        ("bob", "reopen", "one is missing", 1, 2),
        ("ada", "close", "again", 2, 2),
    ]
    assert (period.status, period.closed_by, period.reopened_by, period.why) == (
        *("closed", "ada", "bob", "again"),
    )
    assert period.totals == {"as_closed": [total(2400, 2)], "restated": [total(2400, 2)]}


# --- the command line


@pytest.fixture
def bridge(settings: Settings) -> Callable[..., Result]:
    """`bridge revenue ...` on these stores, its lines not wrapped."""
    env = {"DATABASE_URL": settings.database_url, "BRIDGE_TIMEZONE": "UTC", "COLUMNS": "200"}
    return lambda *words: CliRunner().invoke(cli, ["revenue", *words], env=env)


def test_the_command_shows_the_totals_and_closes_them(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    late = {"effective_date": date(2025, 9, 30)}
    book(
        engine,
        entry("payment:1", "2025-10-15"),
        entry("refund:1", "2025-10-16", kind="refund", minor=-300),
        entry("payment:2", "2025-10-16", currency="jpy", minor=500, **late),
    )
    proof(engine, OCTOBER, entries=2)
    proof(engine, SEPTEMBER, entries=1)

    shown = bridge("close", "2025-10", "--dry-run")
    assert shown.exit_code == 0, shown.output
    words = [" ".join(line.replace("│", " ").split()) for line in shown.stdout.splitlines()]
    assert words[0] == "2025-10, account own, live mode, days of UTC"
    for line in (
        "JPY payment 500 JPY 1 1 0 JPY 0",
        "JPY net 500 JPY 1 1 0 JPY 0",
        "USD payment 12.00 USD 1 0 12.00 USD 1",
        "USD refund -3.00 USD 1 0 -3.00 USD 1",
        "USD net 9.00 USD 2 0 9.00 USD 2",
    ):
        assert line in words
    assert bridge("close", "2025-10").exit_code == 2  # not at a terminal, and no --yes
    with engine.connect() as connection:
        assert periods.every(connection) == []

    done = bridge("close", "2025-10", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-2:]) == (
        0,
        [
            "2025-10 is closed, version 1.",
            "What comes late for it, or for a month before it, is posted to 2025-11, while that is"
            " open.",
        ],
    )
    again = bridge("close", "2025-10", "--yes")
    assert (again.exit_code, again.stderr) == (
        *(1, "2025-10 is closed already.\nNothing was changed.\n"),
    )


def test_a_break_is_closed_over_only_with_a_reason(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    book(engine, entry("payment:1", "2025-10-15"))

    assert bridge("close", "2025-10", "--dry-run").exit_code == 1
    assert bridge("close", "2025-10", "--yes").exit_code == 1
    assert bridge("close", "2025-10", "--yes", "--accept-breaks").exit_code == 2
    proof(engine, OCTOBER, entries=1, verdict="differences", classes=[DOUBLE])
    done = bridge("close", "2025-10", "--yes", "--accept-breaks", "--why", "x")
    assert (done.exit_code, done.stderr.startswith("Accepted: Reconciliation 1 of 2025-10")) == (
        *(0, True),
    )
    row = "duplicate_in_ledger 3 0.00 USD 36.00 USD -36.00 USD 1"
    assert row in " ".join(done.stdout.replace("│", " ").replace(" - ", " ").split())


DOUBLE = {
    **{"class": "duplicate_in_ledger", "reason": "", "currency": "usd", "explained": False},
    **{"count": 3, "stripe": 0, "ledger": 3600, "difference": -3600},
}


def test_the_step_is_by_api_where_a_key_of_that_mode_is_set(settings: Settings) -> None:
    key = "rk_test_plantedPLANTED0123456789"
    env = {"DATABASE_URL": settings.database_url, "STRIPE_API_KEY": key, "BRIDGE_TIMEZONE": "UTC"}

    def step(*words: str) -> str:
        done = CliRunner().invoke(
            cli, ["revenue", "close", "2025-10", "--dry-run", *words], env=env
        )
        return done.stderr.splitlines()[0].partition(": ")[2]

    command = "bridge reconcile --from 2025-10-01 --to 2025-11-01"
    assert step("--test") == f"{command} --test"
    assert step() == f"{command} --live --source csv FILE"


def test_the_books_begin_with_a_month_and_a_reason(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    book(engine, entry("payment:1", "2025-03-15"), entry("payment:2", "2025-10-15"))
    proof(engine, OCTOBER, entries=1)

    assert "--first" in bridge("close", "2025-10", "--yes").stderr
    asked = ("close", "2025-10", "--first", "--yes")
    silent = bridge(*asked)
    assert (silent.exit_code, silent.stderr) == (2, "--first needs --why.\n")
    shown = bridge(*asked, "--why", "we begin", "--dry-run").stdout
    assert "Before 2025-10: locked as it is" in shown
    assert bridge(*asked, "--why", "we begin").exit_code == 0

    shut(engine, Month(date(2025, 11, 1), UTC_ZONE))
    with engine.begin() as connection:
        reopen(connection, OWN, OCTOBER, who="bob", why="one is missing")
    proof(engine, OCTOBER, entries=1)
    again = bridge("close", "2025-10", "--yes")
    assert again.stdout.splitlines()[-2:] == [
        "2025-10 is closed, version 2.",
        "What comes late for it is posted to 2025-12, while that is open.",
    ]


def test_days_of_another_zone_than_the_ledgers_are_refused(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    with engine.begin() as connection:
        set_reporting_zone(connection, "Asia/Tokyo")
    days = ("--from", "2025-10-01", "--to", "2025-11-01")
    said = (
        "BRIDGE_TIMEZONE is UTC here, and the ledger counts days of Asia/Tokyo.\n"
        "Set BRIDGE_TIMEZONE=Asia/Tokyo. Or, if every process has UTC and new days are to be"
        " those: bridge migrate.\n"
    )
    for words in (("summary", *days), ("export", *days), ("close", "2025-10", "--dry-run")):
        done = bridge(*words)
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", said)


def test_periods_lists_open_and_closed_months(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    test = {"livemode": False}
    book(
        engine,
        entry("payment:1", "2025-10-15"),
        entry("payment:2", "2025-11-15"),
        entry("payment:3", "2025-09-15"),
        entry("payment:4", "2025-08-15", **test),
        entry("payment:5", "2025-08-15", account="acct_1"),
    )
    shut(engine, OCTOBER, first=True)
    assert bridge("reopen", "2025-10", "--yes", "--why", " ").exit_code == 2
    assert bridge("reopen", "2025-10", "--why", "x", "--dry-run").exit_code == 0
    names = ("account", "mode", "month", "status", "version", "entries", "closed_by")

    def listed() -> list[tuple[object, ...]]:
        rows = orjson.loads(bridge("periods", "--json").stdout)
        return [tuple(row[name] for name in names) for row in rows]

    rest = [
        ("own", "live", "2025-11", "open", None, 1, None),
        ("own", "test", "2025-08", "open", None, 1, None),
        ("acct_1", "live", "2025-08", "open", None, 1, None),
    ]
    locked = ("own", "live", "2025-09", "locked", None, 1, None)
    assert listed() == [locked, ("own", "live", "2025-10", "closed", 1, 1, "ada"), *rest]

    assert bridge("reopen", "2025-10", "--why", "one is missing", "--yes").exit_code == 0
    assert bridge("reopen", "2025-10", "--why", "x", "--yes").exit_code == 1
    assert listed() == [locked, ("own", "live", "2025-10", "open", 2, 1, "ada"), *rest]
    lines = bridge("periods").stdout.splitlines()
    [line] = [line for line in lines if "2025-10" in line]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert (today in line, getpass.getuser() in line, "reopened: one is missing" in line) == (
        *(True, True, True),
    )


def test_the_history_has_every_close_and_reopening_with_its_totals(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    assert bridge("periods", "--history").stdout == "No month was closed yet.\n"
    book(engine, entry("payment:1", "2025-10-15"), entry("payment:2", "2025-09-15", minor=500))
    shut(engine, OCTOBER, first=True)
    with engine.begin() as connection:
        reopen(connection, OWN, OCTOBER, who="bob", why="one is missing")
    book(engine, entry("payment:3", "2025-10-16"))
    shut(engine, OCTOBER)

    rows = orjson.loads(bridge("periods", "--history", "--json").stdout)
    names = ("action", "who", "why", "account", "mode", "month", "version", "entries")
    month = ("own", "live", "2025-10")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("close", "ada", "told so", *month, 1, 1),
        ("reopen", "bob", "one is missing", *month, 2, 1),
        ("close", "ada", "told so", *month, 2, 2),
    ]
    assert [row["totals"]["as_closed"] for row in rows] == [
        *([total(1200, 1)], [total(1200, 1)], [total(2400, 2)]),
    ]
    assert [row.get("before") for row in rows] == [[total(500, 1)], None, None]
    shown = bridge("periods", "--history").stdout
    assert ("one is missing" in shown, "24.00 USD" in shown) == (True, True)


def test_what_is_missing_in_the_month_is_a_break_that_says_what_to_do(
    engine: Engine, bridge: Callable[..., Result]
) -> None:
    proof(engine, OCTOBER, entries=0)
    assert bridge("close", "2025-10", "--dry-run").exit_code == 0
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO payments
                    (account, livemode, payment, charge, minor, currency, occurred_at)
                VALUES ('', true, 'pi_1', 'ch_1', 900, 'eur', '2025-10-31 23:59:59+00'),
                    ('', true, 'pi_2', 'ch_2', 700, 'eur', '2025-11-01 00:00:00+00'),
                    ('', true, 'pi_3', 'ch_3', 700, 'jpy', '2025-10-01 00:00:00+00'),
                    ('', true, 'pi_4', 'ch_4', 800, 'jpy', '2025-10-01 00:00:00+00');
                INSERT INTO payments
                    (account, livemode, payment, charge, minor, currency, occurred_at)
                VALUES ('', true, 'pi_5', 'ch_5', 1633, 'usd', '2025-10-01 00:00:00+00');
                INSERT INTO stripe_refs (account, livemode, child, parent, customer)
                VALUES ('', true, 'pi_5', 'in_5', false);
                INSERT INTO webhook_events
                    (id, account, livemode, event_id, type, created, origin, raw, verdict)
                VALUES (1, '', true, 'evt_1', 'x', '2025-10-01', 'webhook', '', 'quarantined'),
                    (2, '', true, 'evt_2', 'x', '2025-11-01', 'webhook', '', 'quarantined'),
                    (3, '', true, 'evt_3', 'x', '2025-10-01', 'webhook', '', NULL),
                    (4, '', true, 'evt_4', 'x', '2025-10-01', 'webhook', '', 'held'),
                    (5, '', true, 'evt_5', 'x', '2025-11-01', 'webhook', '', NULL);
                INSERT INTO work (lane, ref_id) VALUES ('hydrate', 4);
            """)
        )

    shown = bridge("close", "2025-10", "--dry-run")
    assert (shown.exit_code, shown.stderr.splitlines()) == (
        1,
        [
            "Not in it: 1 part payment of 16.33 USD, of invoices that are still open: bridge"
            " revenue unattributed",
            "Not in it: 1 quarantined webhook event of until then: bridge events --verdict"
            " quarantined",
            "1 captured payment of 9.00 EUR is no revenue yet: bridge revenue unattributed says"
            " what would speak for it.",
            "2 captured payments of 1,500 JPY are no revenue yet: bridge revenue unattributed says"
            " what would speak for them.",
            "2 webhook events of until then wait to be processed: let a worker do that"
            " (bridge doctor says if one runs); bridge events --verdict waiting, or held, names"
            " them.",
        ],
    )
    assert bridge("close", "2025-10", "--yes").exit_code == 1
    with engine.connect() as connection:
        assert periods.every(connection) == []

    with engine.begin() as connection:
        connection.execute(text("DELETE FROM payments WHERE minor < 1000; DELETE FROM work"))
        connection.execute(text("UPDATE webhook_events SET verdict = 'processed' WHERE id = 3"))
    assert bridge("close", "2025-10", "--yes").exit_code == 0  # the rest is a warning
