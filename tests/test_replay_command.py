"""bridge replay and bridge deliveries, as they are typed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from app.cli import cli
from app.cli.moments import moment
from app.core.envelope import open_envelope
from app.demo.receiver import WEBHOOK_SECRET
from app.demo.saas import simulate
from app.local.stores import Stores
from app.process import process
from app.settings import Settings
from app.store.webhook_events import keep

URL = "http://127.0.0.1:9/"
Typed = Callable[..., Result]


@pytest.fixture
def typed(
    engine: Engine,
    stores: Stores,
    with_destinations: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Typed:
    """Runs a command on a small SaaS, of whose deliveries number 1 is dead and number 2 waits."""
    settings = with_destinations(webhook={"url": URL, "secret": WEBHOOK_SECRET})
    story = simulate(seed=1, customers=3, now=1_790_000_000)
    with engine.begin() as connection:
        for one in story.webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")
    while process(engine, settings):
        pass
    with engine.begin() as connection:
        for statement in (
            "DELETE FROM work WHERE lane <> 'to:webhook' OR ref_id = 1",
            "UPDATE work SET due_at = clock_timestamp() + interval '6 hours'",
            """UPDATE deliveries SET state = 'dead', reason = 'no user 17', finished_at = now()
               WHERE id = 1""",
            """INSERT INTO attempts (delivery_id, token, started_at, outcome, status, answer,
                   latency_ms) VALUES (2, 1, now(), 'retry', 503, 'busy', 7)""",
        ):
            connection.execute(text(statement))
    for name, value in {
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
        "BRIDGE_ALLOW_LOCAL_URLS": "true",
        "BRIDGE_DEST_WEBHOOK_URL": URL,
        "BRIDGE_DEST_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "BRIDGE_DEST_WEBHOOK_LIVEMODE": "both",
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_failures_are_listed_one_by_one_and_by_their_error(typed: Typed) -> None:
    one_by_one = told(typed("deliveries", "list", "--state", "dead", "--json"))
    as_before = told(typed("deliveries", "--state", "dead", "--json"))
    groups = told(typed("deliveries", "list", "--group", "--since", "1h", "--json"))
    shown = typed("deliveries", "show", "2")

    assert [row["id"] for row in one_by_one] == [row["id"] for row in as_before] == [1]
    assert [(row["state"], row["status"], row["error"]) for row in groups] == [
        ("dead", None, "no user <n>"),
        ("pending", 503, "busy"),
    ]
    assert "at once by: bridge deliveries retry 2" in shown.stdout
    assert "busy" in shown.stdout


def test_a_retry_previews_asks_and_leaves_its_line(engine: Engine, typed: Typed) -> None:
    preview = typed("deliveries", "retry", "1", "--dry-run")
    unasked = typed("deliveries", "retry", "1")
    before = rows(engine, "SELECT state FROM deliveries WHERE id = 1")
    done = told(typed("deliveries", "retry", "1", "2", "--yes", "--why", "mended", "--json"))

    assert preview.stdout == "1 delivery to send again.\n"
    assert (unasked.exit_code, before) == (2, [("dead",)])
    assert (done["deliveries"], done["again"]) == (2, 2)
    due = "SELECT ref_id FROM work WHERE due_at < clock_timestamp() + interval '1 s' ORDER BY 1"
    assert rows(engine, due) == [(1,), (2,)]
    assert rows(engine, "SELECT action, why, rows FROM audit_log") == [("replay", "mended", 2)]


def test_a_skip_needs_a_reason_and_ends_it(engine: Engine, typed: Typed) -> None:
    unsaid = typed("deliveries", "skip", "1", "--yes")
    preview = told(typed("deliveries", "skip", "1", "2", "--why", "x", "--dry-run", "--json"))
    done = told(typed("deliveries", "skip", "1", "2", "--why", "x", "--yes", "--json"))
    again = typed("deliveries", "skip", "1", "--why", "x", "--yes")

    assert (unsaid.exit_code, again.exit_code) == (2, 1)
    assert preview == {"dry_run": True, "deliveries": 2, "more": False}
    assert done == {"dry_run": False, "skipped": 2, "in_hand": 0}
    assert (
        rows(engine, "SELECT state, reason FROM deliveries WHERE id < 3")
        == [("skipped", "skipped by hand: x")] * 2
    )
    assert rows(engine, "SELECT count(*) FROM work WHERE ref_id < 3") == [(0,)]


def test_a_dry_run_says_what_todays_code_derives(engine: Engine, typed: Typed) -> None:
    [(key, told_by)] = rows(
        engine,
        """SELECT e.key, w.event_id FROM analytics_events e
           JOIN webhook_events w ON w.id = e.webhook_event_id
           WHERE e.name = 'payment_succeeded' AND e.state = 'released' ORDER BY e.id LIMIT 1""",
    )
    with engine.begin() as connection:
        change = "UPDATE analytics_events SET properties = properties || :more WHERE key = :key"
        more = '{"billing_reason": "manual"}'
        connection.execute(text(change), {"more": more, "key": key})

    found = told(typed("replay", "--type", "*", "--since", "2h", "--dry-run", "--json"))
    shown = typed("replay", told_by, "--dry-run")

    [change_] = found["changes"]
    assert (change_["change"], change_["key"], change_["webhook_event"]) == (
        "changed",
        key,
        told_by,
    )
    assert [*change_["fields"]] == ["properties.billing_reason"]
    assert "analytics events: 0 new, 1 changed, 0 gone" in shown.stdout
    assert rows(engine, "SELECT count(*) FROM audit_log") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("replay",), 2),
        (("replay", "evt_1", "--dead"), 2),
        (("replay", "evt_none", "--dry-run"), 1),
        (("replay", "--since", "yesterday"), 2),
        (("replay", "--dead", "--json"), 2),
        (("deliveries", "retry"), 2),
        (("deliveries", "retry", "evt_1"), 2),
        (("deliveries", "retry", "1", "--waiting"), 2),
        (("deliveries", "skip", "x", "--why", "y", "--yes"), 1),
        (("deliveries", "show", "99999"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_meant_has_its_exit_code(
    engine: Engine, stores: Stores, monkeypatch: pytest.MonkeyPatch, arguments: Any, code: int
) -> None:
    monkeypatch.setenv("DATABASE_URL", stores.database_url)

    done = CliRunner().invoke(cli, arguments)

    assert (done.exit_code, done.stdout) == (code, "")


def test_times_are_as_people_write_them() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    assert moment("2h", now) == now - timedelta(hours=2)
    assert moment("3d ago", now) == now - timedelta(days=3)
    assert moment("2026-11-21") == datetime(2026, 11, 21, tzinfo=UTC)
    assert moment("2026-11-21T02:10+02:00") == datetime(2026, 11, 21, 0, 10, tzinfo=UTC)
    assert moment(None) is None
    for wrong in ("", "2", "two hours", "-2h", "2026-13-01", "999999w"):
        with pytest.raises(typer.BadParameter):
            moment(wrong, now)


def test_a_filter_that_nothing_matches_says_so(typed: Typed) -> None:
    done = typed("replay", "--type", "no.such", "--yes")

    words = "Nothing matches. See: bridge events, bridge deliveries list\n"
    assert (done.exit_code, done.stdout) == (0, words)
