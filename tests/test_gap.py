"""What never arrived: found in Stripe's event list and kept through the same door."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from stripe import RequestsClient
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.cli import cli
from app.core.envelope import open_envelope
from app.core.reading.readers import READERS
from app.drain import Drain
from app.history import gap
from app.history.gap import Absent, Mended, Run, mend
from app.history.gap_timer import Timer
from app.history.listing import Pace, Stopped
from app.local.stores import Stores
from app.log import configure
from app.process import process
from app.settings import Settings
from app.store.gaps import GAP_LOCK, alone
from app.store.leader import Leadership
from app.store.webhook_events import keep
from app.stripe_api import StripeApi
from tests.fake_stripe import Asked, FakeStripe, fake_stripe
from tests.test_cli import bridge
from workers.serve import look

KEY = "rk_test_plantedPLANTED0123456789"
DAY, HOUR = 86_400, 3_600
KINDS = ("invoice.paid", "charge.succeeded", "refund.created")


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's second try comes at once."""
    monkeypatch.setattr(RequestsClient, "_sleep_time_seconds", lambda *_: 0.0)


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


def event(number: int, ago: float, type_: str = "invoice.paid", **more: Any) -> dict[str, Any]:
    """One that Stripe lists, created so many seconds ago."""
    return {
        "id": f"evt_{number}",
        "object": "event",
        "api_version": "2026-03-25.dahlia",
        "created": int(time.time() - ago),
        "data": {"object": {"id": f"in_{number}", "object": "invoice", "status": "open"}},
        "livemode": False,
        "pending_webhooks": 0,
        "type": type_,
    } | more


def arrive(engine: Engine, *events: dict[str, Any]) -> list[bool]:
    """By webhook."""
    with engine.begin() as connection:
        bodies = [json.dumps(one).encode() for one in events]
        return [keep(connection, open_envelope(body), body, "webhook") for body in bodies]


def run(engine: Engine, stripe: FakeStripe, **options: Any) -> Run:
    given = {"pace": Pace(sleep=lambda _: None), **options}
    return Run(engine=engine, api=StripeApi(KEY, stripe.base), livemode=False, **given)


def kept(engine: Engine) -> dict[str, str]:
    """Where each came from."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT event_id, origin FROM webhook_events"))
        return {row[0]: row[1] for row in found}


def listed(stripe: FakeStripe) -> list[Asked]:
    return [one for one in stripe.requests if one.path == "/v1/events"]


def cursors(engine: Engine) -> dict[str, datetime]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT account, covered_until FROM gap_cursors"))
        return {row[0]: row[1] for row in found}


def test_what_never_arrived_is_kept_and_what_did_is_not_kept_twice(
    engine: Engine, settings: Settings, stripe: FakeStripe
) -> None:
    events = [event(n, DAY * n, KINDS[n % 3]) for n in range(1, 7)]
    for one in events:
        stripe.add(one)
    arrive(engine, events[0], events[3])

    mended = mend(run(engine, stripe))
    again = mend(run(engine, stripe))

    assert {name: one.count for name, one in mended.missing.items()} == {
        "invoice.paid": 2,
        "refund.created": 2,
    }
    oldest = datetime.fromtimestamp(events[5]["created"], UTC)
    assert mended.missing["invoice.paid"] == Absent(2, oldest)
    assert (mended.known, mended.failures) == (2, {})
    assert again.missing == {}
    assert kept(engine) == {
        **{f"evt_{n}": "gap" for n in (2, 3, 5, 6)},
        **{f"evt_{n}": "webhook" for n in (1, 4)},
    }
    assert process(engine, settings) == 6


def test_a_webhook_that_comes_after_all_is_absorbed(engine: Engine, stripe: FakeStripe) -> None:
    late = event(1, HOUR)
    stripe.add(late)
    mend(run(engine, stripe))

    assert arrive(engine, late | {"pending_webhooks": 3}) == [False]


def test_what_stripe_could_not_deliver_is_asked_for_first(
    engine: Engine, stripe: FakeStripe
) -> None:
    mend(run(engine, stripe))

    asked = [one.params.get("delivery_success") for one in listed(stripe)]
    undelivered = asked.count("false")
    assert asked[:undelivered] == ["false"] * undelivered
    assert set(asked[undelivered:]) == {None}


def test_only_what_is_read_is_asked_for_twenty_types_a_time(
    engine: Engine, stripe: FakeStripe
) -> None:
    stripe.add(event(1, HOUR, "product.created"))
    mended = mend(run(engine, stripe))

    asked = [one.params["types"] for one in listed(stripe)]
    assert {name for types in asked for name in types} == set(READERS)
    assert max(map(len, asked)) <= 20
    assert (mended.missing, mended.known) == ({}, 0)


def test_what_may_still_be_on_its_way_is_not_missing(engine: Engine, stripe: FakeStripe) -> None:
    stripe.add(event(1, 60))

    assert mend(run(engine, stripe)).missing == {}


def test_the_next_run_begins_an_hour_before_the_end_of_the_last(
    engine: Engine, stripe: FakeStripe
) -> None:
    mend(run(engine, stripe))
    stripe.requests.clear()
    before = cursors(engine)[""]
    stripe.add(event(1, HOUR))  # listed late
    stripe.add(event(2, 3 * HOUR))

    mended = mend(run(engine, stripe))

    begins = {int(one.params["created"]["gte"]) for one in listed(stripe)}
    assert begins == {int((before - timedelta(hours=1)).timestamp())}
    assert kept(engine) == {"evt_1": "gap"}
    assert mended.since == before - timedelta(hours=1)


def test_one_that_was_stopped_goes_on_from_the_day_that_it_had_done(
    engine: Engine, stripe: FakeStripe
) -> None:
    asked = 0

    def enough() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3 + 3 * 10 + 1  # undelivered, ten days, and the first types of the next

    with pytest.raises(Stopped):
        mend(run(engine, stripe, pace=Pace(lambda _: None, enough)))
    done = datetime.now(UTC) - cursors(engine)[""]
    stripe.requests.clear()
    mended = mend(run(engine, stripe))

    assert round(done / timedelta(days=1)) == 20
    assert datetime.now(UTC) - mended.since < timedelta(days=20, hours=2)


def test_a_dry_run_keeps_nothing_and_leaves_the_cursor(engine: Engine, stripe: FakeStripe) -> None:
    stripe.add(event(1, DAY, pending_webhooks=1))

    mended = mend(run(engine, stripe, dry_run=True))

    assert mended.absent == 1  # though it is listed twice
    assert (kept(engine), cursors(engine)) == ({}, {})


def test_a_later_since_does_not_pass_over_what_lies_before(
    engine: Engine, stripe: FakeStripe
) -> None:
    mend(run(engine, stripe))
    with engine.begin() as connection:
        connection.execute(text("UPDATE gap_cursors SET covered_until = now() - interval '9 days'"))
    before = cursors(engine)
    stripe.add(event(1, 5 * DAY))

    mend(run(engine, stripe), datetime.now(UTC) - timedelta(days=2))

    assert (kept(engine), cursors(engine)) == ({}, before)


def test_connected_accounts_are_those_that_were_heard(engine: Engine, stripe: FakeStripe) -> None:
    arrive(engine, event(1, DAY, account="acct_1"), event(2, DAY, account="acct_2", livemode=True))
    stripe.add(event(3, DAY), account="acct_1")
    stripe.add(event(4, DAY), account="acct_2")
    stripe.add(event(5, DAY))

    mended = mend(run(engine, stripe))

    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT event_id, account FROM webhook_events WHERE origin = 'gap' ORDER BY 1")
        )
        assert [tuple(row) for row in found] == [("evt_3", "acct_1"), ("evt_5", "")]
    assert mended.absent == 2
    assert cursors(engine).keys() == {"", "acct_1"}


def test_an_account_that_is_refused_does_not_hold_up_the_others(
    engine: Engine, stripe: FakeStripe
) -> None:
    arrive(engine, event(1, DAY, account="acct_1"))
    stripe.add(event(2, DAY), account="acct_1")
    stripe.fail("/v1/events", 403)

    mended = mend(run(engine, stripe))

    assert list(mended.failures) == [""]
    assert KEY not in mended.failures[""]
    assert kept(engine)["evt_2"] == "gap"
    assert cursors(engine).keys() == {"acct_1"}


def test_while_stripe_is_out_of_reach_the_rest_waits(engine: Engine, stripe: FakeStripe) -> None:
    arrive(engine, event(1, DAY, account="acct_1"))
    stripe.fail("/v1/events", 500, times=999)

    mended = mend(run(engine, stripe))

    assert mended.out_of_reach
    assert {one.account for one in listed(stripe)} == {""}
    assert mended.compared == []
    assert mended.failures["acct_1"] == "not asked any more."


def test_what_is_no_event_is_left_out_and_said(engine: Engine, stripe: FakeStripe) -> None:
    stripe.add(event(1, DAY, livemode="perhaps"))
    stripe.add(event(2, DAY, data={"object": {"id": "half \ud83d", "name": "a\u0000b"}}))

    mended = mend(run(engine, stripe))

    assert (mended.absent, mended.unreadable) == (1, 1)
    assert kept(engine) == {"evt_2": "gap"}


# --- the worker's timer


@pytest.fixture
def timed(settings: Settings, stripe: FakeStripe) -> Settings:
    return replace(settings, stripe_api_key=KEY, stripe_api_base=stripe.base)


def ticked(engine: Engine, settings: Settings) -> list[dict[str, Any]]:
    """What a worker's timer says to the log."""
    configure(logging.INFO)
    timer = Timer(engine, settings, threading.Event())
    with capture_logs() as logs:
        timer.tick()
        timer.tick()
        if timer._thread:
            timer._thread.join(20)
            assert not timer._thread.is_alive()
    return [dict(one) for one in logs if one["event"].startswith("gap.")]


def test_the_timer_runs_once_an_interval_whichever_worker_leads(
    engine: Engine, timed: Settings, stripe: FakeStripe
) -> None:
    stripe.add(event(1, DAY))

    first, other = ticked(engine, timed), ticked(engine, timed)
    time.sleep(1.1)
    due = ticked(engine, replace(timed, gap_interval=1))

    assert [one["missing"] for one in first] == [{"invoice.paid": 1}]
    assert other == []
    assert [(one["event"], one["missing"]) for one in due] == [("gap.compared", {})]
    with engine.connect() as connection:
        runs = connection.execute(text("SELECT missing, known, failure FROM gap_runs ORDER BY id"))
        assert [tuple(row) for row in runs] == [(1, 0, None), (0, 0, None)]


@pytest.mark.parametrize("changes", [{"gap_interval": 0}, {"stripe_api_key": None}])
def test_without_interval_or_key_nothing_is_asked(
    engine: Engine, timed: Settings, stripe: FakeStripe, changes: dict[str, Any]
) -> None:
    assert ticked(engine, replace(timed, **changes)) == []
    assert stripe.requests == []


def test_a_failure_is_a_line_of_the_log_and_the_cursor_stays(
    engine: Engine, timed: Settings, stripe: FakeStripe
) -> None:
    stripe.fail("/v1/events", 401)

    logs = ticked(engine, timed)

    assert [one["event"] for one in logs] == ["gap.not_compared", "gap.compared"]
    assert KEY not in str(logs)
    assert cursors(engine) == {}


def test_a_bug_of_ours_ends_no_worker(
    engine: Engine, timed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Mended:
        raise KeyError("planted")

    monkeypatch.setattr(gap, "mend", fail)

    assert [one["event"] for one in ticked(engine, timed)] == ["gap.failed"]
    with engine.connect() as connection:
        failure = connection.execute(text("SELECT failure FROM gap_runs")).scalar_one()
    assert failure == "did not end"


class Ticks(Timer):
    """A timer that only counts."""

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1


def test_only_the_worker_that_leads_looks_for_gaps(engine: Engine, settings: Settings) -> None:
    drain = Drain(engine, settings, lambda: True)
    leader, other = Leadership(engine), Leadership(engine)
    ours, theirs = Ticks(), Ticks()
    try:
        for _ in range(3):
            look(drain, None, leader, ours)
            look(drain, None, other, theirs)
    finally:
        leader.resign()
        other.resign()

    assert (ours.ticks, theirs.ticks) == (3, 0)


# --- the command


@pytest.fixture
def env(stores: Stores, stripe: FakeStripe) -> dict[str, str]:
    return {
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": stripe.base,
    }


def test_the_command_previews_repairs_and_then_finds_nothing(
    engine: Engine, stripe: FakeStripe, env: dict[str, str], tmp_path: Path
) -> None:
    stripe.add(event(1, 2 * DAY))

    preview = bridge("gap", "--dry-run", "--json", env=env, cwd=tmp_path)
    repaired = bridge("gap", env=env, cwd=tmp_path)

    assert preview.returncode == 1
    assert json.loads(preview.stdout)["missing"]["invoice.paid"]["count"] == 1
    assert repaired.returncode == 0
    assert "1 were missing: kept now" in repaired.stdout
    assert KEY not in preview.stderr + repaired.stderr


def test_the_command_needs_a_key_and_runs_alone(
    engine: Engine, env: dict[str, str], tmp_path: Path
) -> None:
    with alone(engine, GAP_LOCK):
        second = bridge("gap", env=env, cwd=tmp_path)
    del env["STRIPE_API_KEY"]
    keyless = bridge("gap", env=env, cwd=tmp_path)

    assert (second.returncode, keyless.returncode) == (4, 2)
    assert "STRIPE_API_KEY" in keyless.stderr


def test_what_was_not_compared_is_never_called_complete(
    engine: Engine, stripe: FakeStripe, env: dict[str, str]
) -> None:
    arrive(engine, event(1, DAY, account="acct_1"))
    stripe.fail("/v1/events", 403)
    part = CliRunner().invoke(cli, ["gap"], env=env)
    stripe.fail("/v1/events", 403, times=2)
    none = CliRunner().invoke(cli, ["gap"], env=env)

    refused = "STRIPE_API_KEY lacks a permission (403): a restricted key needs read access to"
    own = f"The own account was not compared: {refused} /v1/events."
    assert part.stdout.splitlines()[0].startswith("Nothing is missing of 1 of 2 accounts, ")
    assert part.stdout.splitlines()[1:] == [own]
    assert none.stdout.splitlines() == [
        "Nothing was compared.",
        own,
        f"acct_1 was not compared: {refused} /v1/events of acct_1.",
    ]
    assert (part.exit_code, none.exit_code) == (1, 1)


@pytest.mark.parametrize(
    ("since", "seconds"), [("12d", 12 * DAY), ("2d", 2 * DAY), ("2099-11-09T02:10", None)]
)
def test_since_is_a_time_as_people_write_it(
    engine: Engine,
    stripe: FakeStripe,
    env: dict[str, str],
    since: str,
    seconds: float | None,
) -> None:
    done = CliRunner().invoke(cli, ["gap", "--since", since, "--json"], env=env)

    assert done.exit_code == (0 if seconds else 2), done.output
    begins = {int(one.params["created"]["gte"]) for one in listed(stripe)}
    ago = {round((time.time() - at) / HOUR) * HOUR for at in begins}
    assert max(ago, default=None) == seconds


def test_what_may_still_be_on_its_way_cannot_be_asked_for(env: dict[str, str]) -> None:
    done = CliRunner().invoke(cli, ["gap", "--since", "4m"], env=env)

    assert done.exit_code == 2
    assert "less than 5 minutes ago" in done.stderr


def test_more_than_stripe_lists_is_said_to_be_more(
    engine: Engine, stripe: FakeStripe, env: dict[str, str]
) -> None:
    now = datetime.now(UTC)
    done = CliRunner().invoke(cli, ["gap", "--since", "45d"], env=env)

    first, end = (f"{now - timedelta(days=days):%Y-%m-%d}" for days in (45 + 35, 29))
    assert done.exit_code == 0
    assert "Stripe lists events of 30 days: compared from " in done.stderr
    assert f"bridge backfill --from {first} --to {end}" in done.stderr


@pytest.mark.parametrize(
    ("words", "kept"),
    [((), "What was found until now is kept."), (("--dry-run",), "Nothing was kept: a dry run.")],
)
def test_one_that_is_stopped_says_what_it_kept(
    engine: Engine, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, words: str, kept: str
) -> None:
    def ended(*_: object) -> Mended:
        raise Stopped

    monkeypatch.setattr(gap, "mend", ended)  # of `recorded`
    monkeypatch.setattr("app.cli.gap.mend", ended)
    done = CliRunner().invoke(cli, ["gap", *words], env=env)

    assert (done.exit_code, done.stderr) == (130, f"Stopped. {kept}\n")


def test_a_stripe_that_is_away_is_said_and_given_up(
    engine: Engine, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    monkeypatch.setattr("app.cli.gap.stop_signals", lambda: nullcontext(Stopping()))
    away = "http://127.0.0.1:9"  # where nobody listens
    done = CliRunner().invoke(cli, ["gap"], env={**env, "STRIPE_API_BASE": away})

    said = [
        f"Stripe's API at {away} cannot be reached (connection refused): again in {seconds:.0f} s;"
        " Ctrl-C stops."
        for seconds in waited
    ]
    assert done.exit_code == 3
    assert [line for line in done.stderr.splitlines() if "again in" in line] == said
    assert len(said) > 1
    assert sum(waited) <= 30
    assert done.stdout.splitlines()[0] == "Nothing was compared."
