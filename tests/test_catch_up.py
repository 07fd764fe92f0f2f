"""A destination that came later: what was told before is told to it, when a person says so."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.core.envelope import open_envelope
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, receiver
from app.demo.saas import Story, simulate
from app.history.catch_up import CaughtUp, catch_up
from app.history.listing import Stopped
from app.local.stores import Stores
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.store.analytics_events import Unowed
from app.store.webhook_events import Arrived, keep_all
from tests.test_cli import bridge
from tests.test_consent_and_conversions import (
    COMPLETED,
    NEXT,
    PAID,
    STARTED,
    conversions,
    listening,
    processed,
)
from tests.test_simulated_saas import drained

NOW = 1_790_000_000
EVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


def wanted(name: str, since: datetime = EVER[0], until: datetime = EVER[1]) -> Unowed:
    return Unowed(destination=name, since=since, until=until)


def sql(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        result = connection.execute(text(query))
        return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture
def lived(engine: Engine, settings: Settings) -> Story:
    """A SaaS that told nobody."""
    story = simulate(seed=5, customers=20, now=NOW)
    with engine.begin() as connection:
        arrived = [Arrived(open_envelope(one.body), one.body, "webhook") for one in story.webhooks]
        keep_all(connection, arrived)
    while process(engine, settings):
        pass
    sql(engine, "UPDATE work SET due_at = clock_timestamp()")
    while release_ended_holds(engine, settings):
        pass
    assert sql(engine, "SELECT 1 FROM deliveries") == []
    return story


def caught_up(engine: Engine, settings: Settings, of: Unowed, **options: Any) -> CaughtUp:
    [to] = settings.destinations
    return catch_up(engine, settings, to, of, **options)


def test_a_destination_added_later_ends_with_the_same_sums(
    engine: Engine, with_destinations: Callable[..., Settings], lived: Story
) -> None:
    with receiver() as tools:
        later = with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url})
        result = caught_up(engine, later, wanted("webhook"), rate=10_000)
        again = caught_up(engine, later, wanted("webhook"))
        sql(engine, "UPDATE work SET due_at = clock_timestamp()")
        drained(engine, later)
        totals = tools.snapshot()

    expected = lived.expected
    assert result.owed == totals.webhook.distinct == sum(expected.counts.values())
    assert again == CaughtUp()
    states = sql(engine, "SELECT DISTINCT state, historical FROM deliveries")
    assert states == [("delivered", True)]
    told = sql(
        engine,
        "SELECT e.currency, sum(e.minor)::bigint FROM deliveries d JOIN analytics_events e"
        " ON e.id = d.analytics_event_id WHERE e.minor IS NOT NULL GROUP BY 1 ORDER BY 1",
    )
    assert dict(told) == expected.revenue


def test_what_it_gets_is_what_it_would_have_got(
    engine: Engine, with_destinations: Callable[..., Settings], settings: Settings
) -> None:
    """But for being history, a payload is that of a destination that was there from the start."""
    story = simulate(seed=5, customers=20, now=NOW)
    there = with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": "http://127.0.0.1:9/"})
    with engine.begin() as connection:
        arrived = [Arrived(open_envelope(one.body), one.body, "webhook") for one in story.webhooks]
        keep_all(connection, arrived)
    while process(engine, there):
        pass
    sql(engine, "UPDATE work SET due_at = clock_timestamp()")
    while release_ended_holds(engine, there):
        pass
    query = "SELECT analytics_event_id, dedupe_id, state, payload FROM deliveries ORDER BY 1"
    from_the_start = sql(engine, query)
    sql(engine, "DELETE FROM deliveries")
    caught_up(engine, there, wanted("webhook"))

    assert len(from_the_start) == sum(story.expected.counts.values())
    assert sql(engine, query) == from_the_start


def test_its_filters_its_lateness_and_consent_are_kept_to(
    engine: Engine, with_destinations: Callable[..., Settings], lived: Story
) -> None:
    kinds = ("payment_succeeded", "refund_created")
    all_of_them = sum(lived.expected.counts[kind] for kind in kinds)
    base = {"secret": WEBHOOK_SECRET, "url": "http://127.0.0.1:9/", "events": ",".join(kinds)}

    live_only = with_destinations(webhook={**base, "livemode": "live"})
    late = with_destinations(webhook={**base, "max_lateness": "60"})
    ads = with_destinations(webhook={**base, "purpose": "ads"})
    results = [
        caught_up(engine, each, wanted("webhook"), dry_run=True) for each in (live_only, late, ads)
    ]

    assert [one.owed for one in results[:2]] == [0, 0]
    assert results[0].skipped == Counter()
    assert results[1].skipped == Counter({"too late": all_of_them})
    assert results[2].owed + results[2].skipped.total() == all_of_them
    assert set(results[2].skipped) == {"consent for ads unknown", "no consent for ads"}
    assert results[2].owed > 0
    assert {one.seen for one in results} == {sum(lived.expected.counts.values())}
    assert sql(engine, "SELECT 1 FROM deliveries") == []


def test_the_browsers_id_of_a_conversion_goes_to_it_as_well(
    engine: Engine, settings: Settings
) -> None:
    """It is kept nowhere but with the checkout, so it is found there again."""
    for one in (STARTED, COMPLETED, PAID, NEXT):
        processed(engine, settings, one)
    later, _ = listening(settings)
    caught_up(engine, later, wanted("listening"))

    told = conversions(engine)
    assert {name: told[name] for name in sorted(told) if told[name]} == {
        "payment_succeeded:in_1": "b7c1",
        "subscription_started:": "b7c1",
    }
    assert "payment_succeeded:in_2" in told


def test_only_what_happened_in_the_time_that_was_asked_for(
    engine: Engine, with_destinations: Callable[..., Settings], lived: Story
) -> None:
    to = with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": "http://127.0.0.1:9/"})
    since, until = (datetime.fromtimestamp(NOW - days * 86_400, UTC) for days in (90, 30))
    expected = sql(
        engine,
        "SELECT count(*) FROM analytics_events WHERE state = 'released'"
        f" AND occurred_at >= '{since}' AND occurred_at < '{until}'",
    )

    assert [(caught_up(engine, to, wanted("webhook", since, until)).owed,)] == expected


def test_it_falls_due_bit_by_bit_so_that_today_does_not_wait_behind_history(
    engine: Engine,
    with_destinations: Callable[..., Settings],
    lived: Story,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.history.catch_up.BATCH", 50)
    to = with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": "http://127.0.0.1:9/"})
    owed = caught_up(engine, to, wanted("webhook"), rate=10).owed

    [(spread,)] = sql(
        engine, "SELECT extract(epoch FROM max(due_at) - min(due_at))::float8 FROM work"
    )
    assert spread == pytest.approx((owed - 1) // 50 * 50 / 10, abs=20)
    assert spread > 20


def test_stopped_it_goes_on_with_what_is_not_owed_yet(
    engine: Engine,
    with_destinations: Callable[..., Settings],
    lived: Story,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.history.catch_up.BATCH", 50)
    to = with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": "http://127.0.0.1:9/"})
    looks = iter([False, False, True])
    with pytest.raises(Stopped):
        caught_up(engine, to, wanted("webhook"), stopping=lambda: next(looks))
    first = sql(engine, "SELECT count(*) FROM deliveries")

    rest = caught_up(engine, to, wanted("webhook"))

    assert first == [(100,)]
    assert rest.owed == sum(lived.expected.counts.values()) - 100


def test_the_command_previews_asks_and_leaves_an_audit_line(
    engine: Engine, stores: Stores, lived: Story, tmp_path: Path
) -> None:
    env = {
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
        "BRIDGE_DEST_AMPLITUDE_API_KEY": AMPLITUDE_KEY,
        "BRIDGE_DEST_AMPLITUDE_LIVEMODE": "test",
    }
    days = ("--from", "2026-01-01", "--to", "2027-01-01")
    preview = bridge(
        *("backfill", *days, "--destination", "amplitude", "--dry-run", "--json"),
        env=env,
        cwd=tmp_path,
    )
    refused = bridge("backfill", *days, "--destination", "amplitude", env=env, cwd=tmp_path)
    done = bridge(
        *("backfill", *days, "--destination", "amplitude", "--yes", "--why", "a test"),
        env=env,
        cwd=tmp_path,
    )

    assert preview.stderr == ""
    owed = json.loads(preview.stdout)["owed"]
    assert (preview.returncode, refused.returncode, done.returncode) == (0, 2, 0)
    assert owed > 0
    assert sql(engine, "SELECT action, why, rows FROM audit_log") == [("backfill", "a test", owed)]
    assert f"{owed:,} are owed, 100 a second." in done.stdout
