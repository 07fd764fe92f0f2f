"""What whoever is on call reads, and does: what waits and until when, what failed and why, what is
closed by hand."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from app.cli import cli, waits
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET
from app.history.replay import Progress
from app.local.stores import Stores
from app.settings import Settings
from app.store import health, owed
from tests.test_deliver import owe, sql

pytestmark = pytest.mark.usefixtures("planted")  # what is told does not matter here
ROOT = Path(__file__).parents[1]
URL = "http://127.0.0.1:9/"
WHY = "401 no such key"
Typed = Callable[..., Result]


@pytest.fixture
def environment(stores: Stores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    values = {
        "DATABASE_URL": stores.database_url,
        "BRIDGE_ALLOW_LOCAL_URLS": "true",
        "BRIDGE_DEST_AMPLITUDE_API_KEY": AMPLITUDE_KEY,
        "BRIDGE_DEST_WEBHOOK_URL": URL,
        "BRIDGE_DEST_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "BRIDGE_NO_BOOTSTRAP": "1",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return values


@pytest.fixture
def typed(environment: dict[str, str]) -> Typed:
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def night(engine: Engine, with_destinations: Callable[..., Settings]) -> None:
    """Of three payments: to amplitude, which is suspended for an hour, 1 was tried and 3 and 5 were
    not; to the webhook, 2 is dead, 4 delivered and 6 due in an hour."""
    both = with_destinations(
        amplitude={"api_key": AMPLITUDE_KEY},
        webhook={"url": URL, "secret": WEBHOOK_SECRET},
    )
    owe(engine, both, 1, 2, 3)
    for statement in (
        "DELETE FROM work WHERE ref_id IN (2, 4)",
        "UPDATE work SET due_at = clock_timestamp() + interval '1 h' WHERE ref_id = 6",
        """UPDATE deliveries SET state = 'dead', reason = '400 no <h1>user</h1> 17',
               finished_at = now() WHERE id = 2""",
        "UPDATE deliveries SET state = 'delivered', finished_at = now() WHERE id = 4",
        f"""INSERT INTO attempts (delivery_id, token, started_at, outcome, status, answer,
                latency_ms) VALUES (1, 1, now(), 'suspended', 401, '{WHY[4:]}', 7),
                (2, 2, now(), 'rejected', 400, 'no <h1>user</h1> 17', 7)""",
    ):
        sql(engine, statement)
    with engine.begin() as connection:
        health.suspend(connection, "amplitude", 3600, WHY)


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def until(engine: Engine) -> str:
    query = "SELECT to_char(suspended_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    [(at,)] = sql(engine, f"{query} FROM destinations_health")
    return str(at)


def suspension(engine: Engine) -> str:
    words = f"amplitude is suspended until {until(engine)} UTC ({WHY})"
    return f"{words}: bridge destinations resume amplitude"


def runs(code: str, environment: dict[str, str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", code.replace("bridge ", f"{shlex.quote(sys.executable)} -m app ")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        **more,
    )


# --- what waits


def test_the_next_try_is_not_before_a_suspension_ends(
    engine: Engine, typed: Typed, night: None
) -> None:
    untried, waiting = (told(typed("deliveries", "show", one, "--json")) for one in ("3", "6"))
    shown = typed("deliveries", "show", "3").stdout
    listed = typed("deliveries", "--state", "pending").stdout
    sql(engine, "UPDATE destinations_health SET suspended_until = clock_timestamp()")
    resumed = told(typed("deliveries", "show", "3", "--json"))

    assert untried["next_try"] == untried["suspended_until"] > untried["due_at"]
    assert (waiting["next_try"], waiting["suspended_until"]) == (waiting["due_at"], None)
    assert waiting["next"].endswith(" UTC; at once by: bridge deliveries retry 6")
    assert (resumed["next_try"], resumed["suspended_until"]) == (resumed["due_at"], None)
    assert resumed["next"].startswith("due since ")
    [next_] = [line for line in shown.splitlines() if line.startswith("Next: ")]
    assert next_.endswith(f"({WHY}): bridge destinations resume amplitude")
    assert f"Next: {listed.splitlines()[-1]}" == next_
    assert f"suspended: {WHY}" in listed


def test_a_delivery_shows_where_it_comes_from_and_what_is_next(
    engine: Engine, typed: Typed, night: None
) -> None:
    sql(
        engine,
        """UPDATE analytics_events SET customer = 'cus_7', webhook_event_id = 9
           WHERE key = 'payment:in_1'""",
    )
    sql(
        engine,
        """INSERT INTO webhook_events (id, account, livemode, event_id, type, created, origin, raw)
           VALUES (9, '', false, 'evt_9', 'invoice.paid', now(), 'webhook', '{}')""",
    )

    dead = told(typed("deliveries", "show", "2", "--json"))
    sent = told(typed("deliveries", "show", "4", "--payload", "--json"))
    shown = typed("deliveries", "show", "2", "--payload").stdout

    named = {one: dead[one] for one in ("key", "customer", "webhook_event", "next")}
    assert named == {
        "key": "payment:in_1",
        "customer": "cus_7",
        "webhook_event": "evt_9",
        "next": "mend what the reason names, then: bridge replay 2 (the same bytes);"
        " or close it: bridge deliveries skip 2 --why ...",
    }
    assert "payload" not in dead
    assert (sent["next"], json.loads(sent["payload"])["data"]["key"]) == ("nothing", "payment:in_2")
    assert '"key":"payment:in_1"' in shown
    assert "evt_9" in shown


def test_failures_count_what_waits_behind_a_suspension(typed: Typed, night: None) -> None:
    found = told(typed("deliveries", "--group", "--json"))

    names = ("destination", "state", "status", "deliveries", "error")
    assert [tuple(one[name] for name in names) for one in found] == [
        ("amplitude", "pending", None, 2, f"not tried yet: {WHY}"),
        ("amplitude", "pending", 401, 1, WHY[4:]),
        ("webhook", "dead", 400, 1, "400 no <h1>user</h1> <n>"),
    ]


def test_destinations_say_what_is_wrong_until_when_and_what_to_do(
    engine: Engine, typed: Typed, night: None
) -> None:
    listed = typed("destinations", "list").stdout
    states = {
        one["destination"]: one["state"] for one in told(typed("destinations", "list", "--json"))
    }
    shown = typed("destinations", "show", "amplitude").stdout

    assert states == {"amplitude": "suspended", "webhook": "has dead ones"}
    assert until(engine) in listed
    dead = "1 delivery is dead at webhook: bridge deliveries --group --destination webhook"
    assert listed.splitlines()[-2:] == [suspension(engine), dead]
    assert "Nothing was skipped, and nothing is dead." in shown
    [state, next_] = shown.splitlines()[-2:]
    assert state.startswith("amplitude: suspended, 3 waiting, the oldest since ")
    assert next_ == suspension(engine)


def test_a_resumption_says_what_it_sends_and_names_no_option_that_it_lacks(
    typed: Typed, night: None
) -> None:
    done = typed("destinations", "resume", "amplitude")

    assert done.exit_code == 2
    assert "One of 3 waiting deliveries is sent at once, as the probe" in done.stdout
    assert done.stderr == "Not at a terminal: say --yes.\n"


# --- sending


@pytest.mark.parametrize(
    "asked",
    [("deliveries", "retry", "--waiting"), ("replay", "3"), ("deliveries", "retry", "1", "--yes")],
    ids=" ".join,
)
def test_who_sends_to_a_suspended_destination_is_told_before(
    engine: Engine, typed: Typed, night: None, asked: tuple[str, ...]
) -> None:
    done = typed(*asked, *(() if "--yes" in asked else ("--dry-run",)))

    assert (done.exit_code, done.stderr.strip()) == (0, suspension(engine))
    assert "webhook event" not in done.stdout.partition("See:")[0]
    later = "What goes to amplitude leaves when its suspension ends."
    assert ("--yes" in asked) == (later in done.stdout)


def test_waiting_says_what_it_waits_for_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waits, "STILL", 0.0)
    monkeypatch.setattr(waits, "LOOK", 0.0)
    states = iter([{"pending": 2}] * 4 + [{"delivered": 2}])

    ended = waits.stayed(
        lambda: Progress(verdicts={}, states=next(states)), lambda _: ["amplitude"], total=2
    )

    assert ended.states == {"delivered": 2}
    assert capsys.readouterr().err == "Waiting: amplitude\n"


def test_deliveries_say_what_they_wait_for(engine: Engine, typed: Typed, night: None) -> None:
    sql(engine, "UPDATE work SET leased = true WHERE ref_id = 6")
    with engine.connect() as connection:
        words = [waits.waiting_for(row) for row in owed.waits(connection, [1, 2, 3, 6])]

    assert words == [suspension(engine), "1 delivery to webhook: a worker has 1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("deliveries", "--destination", "nope"), "There are: amplitude, old, webhook."),
        (("deliveries", "retry", "--destination", "nope"), "There are: amplitude, old, webhook."),
        (("deliveries", "skip", "--destination", "nope", "--why", "x"), "There are: amplitude, "),
        (("replay", "--destination", "nope"), "There are: amplitude, old, webhook."),
        (("replay", "--dead", "--since", "1h", "--until", "2h"), "nothing is between"),
        (("deliveries", "--since", "2026-11-02", "--until", "2026-11-01"), "nothing is between"),
        (("events", "--since", "1h", "--until", "2h"), "nothing is between"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_can_match_nothing_is_a_mistake(
    engine: Engine, typed: Typed, arguments: tuple[str, ...], words: str
) -> None:
    sql(engine, "INSERT INTO destinations_health (destination) VALUES ('old')")

    done = typed(*arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_destination_that_is_not_set_any_more_may_be_asked_for(
    engine: Engine, typed: Typed, night: None
) -> None:
    sql(engine, "UPDATE deliveries SET destination = 'old' WHERE id IN (2, 4)")

    assert [one["id"] for one in told(typed("deliveries", "--destination", "OLD", "--json"))] == [
        4,
        2,
    ]


def test_what_is_left_out_whole_is_a_failure_that_names_the_ids(
    engine: Engine, typed: Typed, night: None
) -> None:
    sql(engine, "UPDATE deliveries SET destination = 'old' WHERE id = 2")
    sql(engine, "UPDATE deliveries SET state = 'dead', reason = '' WHERE destination = 'amplitude'")
    sql(engine, "UPDATE deliveries SET created_at = created_at - interval '8 d'")

    done = typed("deliveries", "retry", "1", "2", "3", "5", "--yes")
    as_json = typed("deliveries", "retry", "1", "2", "--yes", "--json")
    partly = typed("deliveries", "retry", "1", "6", "--dry-run")

    assert (done.exit_code, done.stdout) == (1, "Nothing can be done again.\n")
    assert "--allow-duplicates sends them all the same: 1, 3, 5\n" in done.stderr
    assert "1 delivery left out, to destinations that are not set: 2\n" in done.stderr
    assert as_json.exit_code == 1
    found = json.loads(as_json.stdout)
    assert (found["too_late"], found["destination_not_set"], found["erased"]) == ([1], [2], [])
    assert (partly.exit_code, partly.stdout) == (0, "1 delivery to send again.\n")


def test_every_bad_id_is_named_and_nothing_is_done(
    engine: Engine, typed: Typed, night: None
) -> None:
    again = typed("replay", "evt_nope", "999999", "4", "2", "--yes")
    skipped = typed("deliveries", "skip", "4", "x", "2", "--why", "y", "--yes")

    words = "Nothing was done: evt_nope is not known, 999999 is not known, 4 is delivered.\n"
    assert (again.exit_code, again.stderr) == (1, words)
    words = "Nothing was done: 4 is delivered, x is not known.\n"
    assert (skipped.exit_code, skipped.stderr) == (1, words)
    assert sql(engine, "SELECT count(*) FROM audit_log") == [(0,)]
    assert sql(engine, "SELECT state FROM deliveries WHERE id = 2") == [("dead",)]


# --- closed by hand


def test_a_skip_takes_the_filters_of_a_retry(engine: Engine, typed: Typed, night: None) -> None:
    neither = typed("deliveries", "skip", "--why", "closed", "--yes")
    preview = typed("deliveries", "skip", "--waiting", "--why", "closed", "--dry-run")
    asked = ("--waiting", "--destination", "amplitude", "--error", "no such KEY")
    tried = told(typed("deliveries", "skip", *asked, "--why", "closed", "--yes", "--json"))
    dead = told(typed("deliveries", "skip", "--since", "1h", "--why", "x", "--yes", "--json"))

    assert neither.exit_code == 2
    words = ["4 deliveries never to be sent:", "  3 pending to amplitude", "  1 pending to webhook"]
    assert preview.stdout.splitlines() == words
    assert tried == dead == {"dry_run": False, "skipped": 1, "in_hand": 0}
    states = sql(engine, "SELECT id, reason FROM deliveries WHERE state = 'skipped' ORDER BY 1")
    assert states == [(1, "skipped by hand: closed"), (2, "skipped by hand: x")]
    [(action, why, filter_, rows), _] = sql(
        engine, "SELECT action, why, filter, rows FROM audit_log ORDER BY id"
    )
    assert (action, why, rows) == ("skip", "closed", 1)
    assert filter_ == {
        "destination": "amplitude",
        "error": "no such KEY",
        "waiting": True,
        "limit": 10_000,
    }


@pytest.fixture
def kept(engine: Engine) -> None:
    """Four webhook events: quarantined, held, processed, and quarantined but to be processed."""
    for id_, verdict in enumerate(("quarantined", "held", "processed", "quarantined"), 1):
        sql(
            engine,
            f"""INSERT INTO webhook_events (id, account, livemode, event_id, type, created, origin,
                    raw, verdict, reason, received_at)
                VALUES ({id_}, '', false, 'evt_{id_}', 'invoice.paid', now(), 'webhook',
                    '{{"id": "evt_{id_}"}}', '{verdict}', 'x', now() - interval '{id_} h')""",
        )
    sql(engine, "INSERT INTO work (lane, ref_id) VALUES ('hydrate', 2), ('process', 4)")


def test_a_quarantined_webhook_event_is_closed_by_hand(
    engine: Engine, typed: Typed, kept: None
) -> None:
    shown = typed("events", "show", "evt_1").stdout
    wrong = typed("events", "ignore", "evt_1", "evt_3", "evt_5", "--why", "x", "--yes")
    preview = typed("events", "ignore", "evt_1", "--why", "x", "--dry-run")
    before = sql(engine, "SELECT count(*) FROM webhook_events WHERE verdict = 'ignored'")
    done = told(typed("events", "ignore", "evt_1", "evt_2", "--why", "a bug", "--yes", "--json"))
    busy = typed("events", "ignore", "evt_4", "--why", "x", "--yes")
    again = told(typed("replay", "evt_1", "--dry-run", "--json"))

    assert "bridge replay evt_1; or close it: bridge events ignore evt_1 --why ..." in shown
    words = "Nothing was done: evt_3 is processed, evt_5 is not known.\n"
    assert (wrong.exit_code, wrong.stderr) == (1, words)
    assert preview.stdout == "1 webhook event not to be read any more.\n"
    assert (before, done) == ([(0,)], {"dry_run": False, "ignored": 2})
    assert busy.exit_code == 1
    assert sql(engine, "SELECT event_id, verdict, reason FROM webhook_events ORDER BY id") == [
        ("evt_1", "ignored", "by hand: a bug"),
        ("evt_2", "ignored", "by hand: a bug"),
        ("evt_3", "processed", "x"),
        ("evt_4", "quarantined", "x"),
    ]
    assert sql(engine, "SELECT lane, ref_id FROM work") == [("process", 4)]
    [line, _] = sql(engine, "SELECT action, why, filter, rows FROM audit_log ORDER BY id")
    assert line == ("ignore", "a bug", {"ids": ["evt_1", "evt_2"]}, 2)
    assert again["webhook_events"] == 1


def test_webhook_events_are_found_by_time_and_customer(
    engine: Engine, typed: Typed, kept: None
) -> None:
    sql(
        engine,
        """INSERT INTO payments (account, livemode, payment, customer, minor, currency, occurred_at,
               webhook_event_id) VALUES ('', false, 'pi_1', 'cus_1', 1, 'usd', now(), 3)""",
    )
    recent = told(typed("events", "--since", "150m", "--until", "90m", "--json"))
    theirs = told(typed("events", "--customer", "cus_1", "--json"))

    assert [one["event_id"] for one in recent] == ["evt_2"]
    assert [one["event_id"] for one in theirs] == ["evt_3"]


# --- streams and signals


def test_a_rehearsal_logs_no_quarantine(
    engine: Engine, environment: dict[str, str], kept: None
) -> None:
    done = runs("bridge replay evt_1 --dry-run", environment)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_or_full_stdout_is_no_traceback(environment: dict[str, str], night: None) -> None:
    closed, full, read = (
        runs(f"bridge deliveries list {how}", environment)
        for how in (">&-", "--json >/dev/full", "--json | head -c 1")
    )

    assert (closed.returncode, closed.stderr) == (0, "")
    words = "The output could not be written: No space left on device.\n"
    assert (full.returncode, full.stderr) == (1, words)
    assert (read.stdout, read.stderr) == ("[", "")


def test_an_interruption_while_the_command_line_is_imported_is_quiet(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The settings' reader is imported by all verbs: this one presses Ctrl-C."""
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # not in the background
    code = f"import os, signal\n{heard}\nos.kill(os.getpid(), {signal.SIGINT.value})"
    (tmp_path / "dotenv.py").write_text(code)

    done = runs("bridge config", {**environment, "PYTHONPATH": f"{tmp_path}:{ROOT}"})

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
