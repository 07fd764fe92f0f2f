"""What asks for whoever is on call: found, as bad as it is, and with its next command."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from app.cli import cli
from app.doctor.attention import attention_to
from app.doctor.finding import Finding, State
from app.settings import Settings
from app.store import gaps, health, work
from app.store.leader import Leadership, is_led

KEY = "rk_test_plantedPLANTED0123456789"
CALM = [
    Finding("No delivery is dead", "fine"),
    Finding("No webhook event is quarantined", "fine"),
    Finding("A worker leads", "fine"),
]


def run(engine: Engine, *queries: str) -> None:
    with engine.begin() as connection:
        for query in queries:
            connection.execute(text(query))


def found(engine: Engine, settings: Settings) -> list[Finding]:
    """What is said beside what is calm."""
    with engine.connect() as connection:
        return [one for one in attention_to(settings, connection) if one not in CALM]


def is_soon_led(engine: Engine, wanted: bool) -> bool:
    """Postgres takes a moment to see that a session has ended."""
    ends = time.monotonic() + 10
    with engine.connect() as connection:
        while is_led(connection) is not wanted and time.monotonic() < ends:
            time.sleep(0.01)
        return is_led(connection) is wanted


@pytest.fixture(autouse=True)
def _nobody_leads(engine: Engine) -> None:
    """Nor does anyone of an earlier test."""
    assert is_soon_led(engine, False)


@pytest.fixture
def led(engine: Engine) -> Iterator[Leadership]:
    leader = Leadership(engine, silence=60.0)
    assert leader.take()
    yield leader
    leader.resign()


@pytest.fixture
def ours(with_destinations: Callable[..., Settings]) -> Settings:
    return with_destinations(
        amplitude={"api_key": "k" * 32}, segment={"write_key": "k" * 32, "region": "eu"}
    )


def test_where_nothing_waits_nothing_is_asked(
    engine: Engine, ours: Settings, led: Leadership
) -> None:
    with engine.connect() as connection:
        assert list(attention_to(ours, connection)) == CALM


def test_a_long_suspension_is_wrong_and_a_short_pause_a_doubt(
    engine: Engine, ours: Settings, led: Leadership
) -> None:
    with engine.begin() as connection:
        health.suspend(connection, "amplitude", 3600, "401:\nno such key")
        health.suspend(connection, "segment", 60, "429")
        health.suspend(connection, "gone", 3600, "not set any more")
        rows = connection.execute(
            text("SELECT suspended_until FROM destinations_health ORDER BY destination")
        )
        until = [f"{row[0].astimezone(UTC):%Y-%m-%d %H:%M} UTC" for row in rows]

    advice = (
        "Deliveries wait. Mend the cause (a new key needs a restart of the workers), then"
        " `bridge destinations resume {}`."
    )
    assert found(engine, ours) == [
        Finding(
            f"Destination amplitude is suspended until {until[0]}: 401: no such key",
            "wrong",
            advice.format("amplitude"),
        ),
        Finding(
            f"Destination segment is suspended until {until[2]}: 429",
            "doubtful",
            advice.format("segment"),
        ),
    ]


def test_dead_deliveries_are_counted_by_destination(
    engine: Engine, ours: Settings, led: Leadership, planted: None
) -> None:
    run(
        engine,
        """
        INSERT INTO analytics_events (account, livemode, key, uuid, schema_version, name,
            occurred_at, state, about, properties, held_until)
        SELECT '', true, 'key:' || n, gen_random_uuid(), 1, 'planted', now(), 'released', '{}',
               '{}', now() FROM generate_series(1, 1200) AS n
        """,
        """
        INSERT INTO deliveries (destination, analytics_event_id, dedupe_id, state)
        SELECT CASE WHEN id <= 1100 THEN 'amplitude' ELSE 'gone' END, id, uuid,
               CASE WHEN id % 2 = 0 THEN 'dead' ELSE 'delivered' END FROM analytics_events
        """,
    )

    assert [(one.check, one.state) for one in found(engine, ours)] == [
        ("Deliveries to amplitude are dead: 550", "wrong"),
        ("Deliveries to gone are dead: 50", "doubtful"),
    ]
    assert found(engine, ours)[0].advice == (
        "`bridge deliveries --group --destination amplitude` says why; then"
        " `bridge replay --dead --destination amplitude`, or `bridge deliveries skip`."
    )


def test_quarantined_webhook_events_are_wrong(
    engine: Engine, ours: Settings, led: Leadership
) -> None:
    run(
        engine,
        """
        INSERT INTO webhook_events (id, received_at, account, livemode, event_id, type, created,
            origin, raw, verdict)
        SELECT n, '2026-11-20T10:00:00Z'::timestamptz + n * interval '1 hour', '', true,
               'evt_' || n, 'invoice.paid', now(), 'webhook', '',
               CASE WHEN n < 3 THEN 'quarantined' ELSE 'processed' END
        FROM generate_series(1, 3) AS n
        """,
    )

    assert found(engine, ours) == [
        Finding(
            "Webhook events are quarantined: 2, the oldest since 2026-11-20 11:00 UTC",
            "wrong",
            "What they say is neither booked nor told. `bridge events --verdict quarantined` names"
            " the reasons; then `bridge replay --quarantined`, or `bridge events ignore`.",
        )
    ]


@pytest.mark.parametrize(
    ("minutes", "without", "with_one"),
    [(1, "doubtful", None), (20, "wrong", "doubtful"), (90, "wrong", "wrong")],
)
def test_work_that_waits_is_worse_without_a_worker(
    engine: Engine, ours: Settings, minutes: int, without: str, with_one: str | None
) -> None:
    with engine.begin() as connection:
        work.put(connection, work.lane_of("amplitude"), [1], delay=-60.0 * minutes)
        work.put(connection, work.lane_of("nobody_serves"), [2], delay=-90_000)
        work.put(connection, work.PROCESS, [3], delay=60)
    alone = found(engine, ours)
    leader = Leadership(engine, silence=60.0)
    leader.take()
    led = found(engine, ours)
    leader.resign()

    waits = f"Due work waits for {minutes} min (lane to:amplitude)"
    assert [(one.check, one.state) for one in alone] == [
        (waits if minutes > 5 else "No worker leads", without)
    ]
    assert [(one.check, one.state) for one in led] == ([(waits, with_one)] if with_one else [])


def test_who_leads_is_seen_from_any_connection(engine: Engine) -> None:
    leader = Leadership(engine, silence=60.0)
    leader.take()
    with engine.connect() as connection:
        during = is_led(connection)
    leader.resign()

    assert during
    assert is_soon_led(engine, False)


@pytest.mark.parametrize(
    ("well", "state", "ago"), [("3 hours", "doubtful", "3 h ago"), ("2 days", "wrong", "2 d ago")]
)
def test_comparing_that_fails_is_worse_the_longer_it_lasts(
    engine: Engine, ours: Settings, led: Leadership, well: str, state: State, ago: str
) -> None:
    asked = replace(ours, stripe_api_key=KEY)
    with engine.begin() as connection:
        first = gaps.begin_run(connection)
        gaps.end_run(connection, first, 0, 9, None)
        connection.execute(text(f"UPDATE gap_runs SET started_at = now() - interval '{well}'"))
    calm = found(engine, asked)
    with engine.begin() as connection:
        gaps.end_run(connection, gaps.begin_run(connection), 0, 0, "403: events")
        gaps.begin_run(connection)  # under way

    assert calm == [Finding("The last comparison with Stripe's event list went well", "fine")]
    assert found(engine, asked) == [
        Finding(
            "The last comparison with Stripe's event list failed: 403: events",
            state,
            f"The last that went well: {ago}. After mending the cause, `bridge gap`.",
        )
    ]
    assert found(engine, ours) == []


def test_doctor_leaves_with_1_and_shows_each_line(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO gap_uncovered (account, livemode, compared, since, until)
                VALUES ('', true, :at, :at, :at)
            """),
            {"at": datetime(2026, 10, 1, tzinfo=UTC)},
        )
    env = {"DATABASE_URL": str(settings.database_url), "BRIDGE_NO_DOTENV": "1"}
    done = CliRunner().invoke(cli, ["doctor"], env=env)

    lines = done.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if "never compared" in line)
    assert lines[at].startswith("wrong     Webhook events of the own account (live) between ")
    assert lines[at + 1] == f"{'':10}`bridge backfill --from 2026-10-01 --to 2026-10-02`"
    assert "doubtful  No worker leads" in lines
    assert done.exit_code == 1
