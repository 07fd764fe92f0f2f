"""What Stripe's event list has no more is named until a backfill has read it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from app.cli import cli
from app.core.uncovered import EARLIER, Uncovered, backfill_command
from app.doctor.attention import attention_to
from app.history.backfill import Backfill, backfill
from app.history.gap import OVERLAP, RETENTION, Run, mend
from app.history.listing import Pace
from app.local.stores import Stores
from app.settings import Settings
from app.store import gaps
from app.stripe_api import StripeApi
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.test_backfill import charge

KEY = "rk_test_plantedPLANTED0123456789"
COMPARED = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


def compared(engine: Engine, account: str = "", at: datetime = COMPARED) -> None:
    """As though the last comparison had been then."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO gap_cursors VALUES (:account, false, :at)"),
            {"account": account, "at": at},
        )


def run(engine: Engine, stripe: FakeStripe, **options: Any) -> Run:
    pace = Pace(sleep=lambda _: None)
    api = StripeApi(KEY, stripe.base)
    return Run(engine=engine, api=api, livemode=False, pace=pace, **options)


def filled(engine: Engine, stripe: FakeStripe, first: datetime, end: datetime, **more: Any) -> None:
    """A backfill of that time."""
    api = StripeApi(KEY, stripe.base)
    backfill(Backfill(engine=engine, api=api, livemode=False, since=first, until=end, **more))


def known(engine: Engine) -> list[Uncovered]:
    with engine.connect() as connection:
        return gaps.uncovered(connection)


def test_it_is_named_by_every_run_and_only_a_real_one_writes_it_down(
    engine: Engine, stripe: FakeStripe
) -> None:
    compared(engine)
    listed = datetime.now(UTC) - RETENTION + OVERLAP
    dry = mend(run(engine, stripe, dry_run=True))
    unwritten = known(engine)
    first, second = mend(run(engine, stripe)), mend(run(engine, stripe))

    [one] = first.uncovered
    until = one.until
    assert one == Uncovered(
        account="", livemode=False, compared=COMPARED, since=COMPARED - EARLIER, until=until
    )
    assert timedelta(seconds=-1) <= until - listed < timedelta(seconds=20)
    assert [(each.compared, each.since) for each in dry.uncovered] == [(one.compared, one.since)]
    assert unwritten == []
    assert second.uncovered == first.uncovered == known(engine)


def test_a_run_that_is_refused_has_written_it_down(engine: Engine, stripe: FakeStripe) -> None:
    compared(engine)
    stripe.fail("/v1/events", 403, times=2)
    mend(run(engine, stripe))
    [before] = known(engine)
    mend(run(engine, stripe))
    [after] = known(engine)

    assert (after.since, after.compared) == (before.since, before.compared)
    assert after.until >= before.until


def test_the_backfill_that_it_names_ends_it(engine: Engine, stripe: FakeStripe) -> None:
    compared(engine)
    mend(run(engine, stripe))
    words = backfill_command(known(engine), UTC).split()
    first, end = (
        datetime.fromisoformat(words[words.index(name) + 1]).replace(tzinfo=UTC)
        for name in ("--from", "--to")
    )

    filled(engine, stripe, first, end, dry_run=True)
    filled(engine, stripe, first, end, parts=("charges", "refunds"))
    assert len(known(engine)) == 1
    filled(engine, stripe, first, end)
    assert known(engine) == []
    assert mend(run(engine, stripe)).uncovered == []


def test_one_that_failed_does_not(engine: Engine, stripe: FakeStripe) -> None:
    compared(engine)
    mend(run(engine, stripe))
    stripe.fail("/v1/disputes", 403)
    filled(engine, stripe, COMPARED - timedelta(days=90), datetime.now(UTC))

    assert len(known(engine)) == 1


def test_what_a_backfill_leaves_stays(engine: Engine, stripe: FakeStripe) -> None:
    day = timedelta(days=1)
    compared(engine)
    compared(engine, "acct_1")
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO webhook_event_keys (account, livemode, event_id)
                VALUES ('acct_1', false, 'evt_1')
            """)
        )
    mend(run(engine, stripe))
    own, other = known(engine)

    filled(engine, stripe, COMPARED, COMPARED + 2 * day, account="")
    assert known(engine) == [
        replace(own, until=COMPARED),
        replace(own, since=COMPARED + 2 * day),
        other,
    ]
    filled(engine, stripe, own.since - day, COMPARED, account="")
    filled(engine, stripe, COMPARED + 2 * day, own.until + day, account="")
    assert known(engine) == [other]


def test_the_command_and_the_doctor_go_on_naming_it(
    engine: Engine, stripe: FakeStripe, stores: Stores, settings: Settings
) -> None:
    compared(engine)
    env = {
        "DATABASE_URL": stores.database_url,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": stripe.base,
        "BRIDGE_TIMEZONE": "Pacific/Kiritimati",
        "BRIDGE_NO_DOTENV": "1",
    }
    mend(run(engine, stripe))
    said = CliRunner().invoke(cli, ["gap"], env=env)
    plain = CliRunner().invoke(cli, ["gap", "--json"], env=env)

    [one] = known(engine)
    command = backfill_command([one], replace(settings, timezone="Pacific/Kiritimati").zone)
    what = "Webhook events of the own account (test) between 2026-01-05 12:00 and "
    assert command.startswith("bridge backfill --from 2025-12-02 --to ")
    assert (said.exit_code, plain.exit_code) == (0, 0)
    assert what in said.stderr
    assert f"Stripe lists 30 days. Next: {command}\n" in said.stderr
    [named] = json.loads(plain.stdout)["not_listed_any_more"]
    assert (named["account"], named["next"]) == ("", command)
    with engine.connect() as connection:
        findings = attention_to(replace(settings, timezone="Pacific/Kiritimati"), connection)
        [finding] = [found for found in findings if "never compared" in found.check]
    assert finding.check.startswith(what)
    assert (finding.state, finding.advice) == ("wrong", f"`{command}`")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_what_was_paid_just_before_the_list_begins_is_booked(
    engine: Engine, stripe: FakeStripe, stores: Stores, zone: str
) -> None:
    """Once, the day on which the list begins was in neither."""
    now = datetime.now(UTC)
    listed = now - RETENTION
    compared(engine, at=now - timedelta(days=40))
    paid = [now - timedelta(days=40), listed - timedelta(hours=20), listed - timedelta(seconds=1)]
    for number, at in enumerate(paid):
        stripe.add(charge(number, created=int(at.timestamp())))
    env = {
        "DATABASE_URL": stores.database_url,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": stripe.base,
        "BRIDGE_TIMEZONE": zone,
        "BRIDGE_NO_DOTENV": "1",
    }
    said = CliRunner().invoke(cli, ["gap", "--json"], env=env)
    [named] = json.loads(said.stdout)["not_listed_any_more"]
    done = CliRunner().invoke(cli, [*named["next"].split()[1:], "--yes", "--json"], env=env)

    assert json.loads(done.stdout)["kept"] == {"charge.succeeded": 3}
    assert known(engine) == []
