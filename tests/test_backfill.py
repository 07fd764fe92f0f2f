"""History from Stripe's objects: the same facts as the webhooks told, each once."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.cli import cli
from app.core.envelope import open_envelope
from app.demo.saas import Story, simulate
from app.history.backfill import Backfill, Filled, backfill
from app.history.listing import FIRST, WAITS, Pace, Stopped
from app.local.stores import Stores
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.store import gaps
from app.store.schema import metadata
from app.store.webhook_events import Arrived, keep_all
from app.stripe_api import StripeApi
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.orders.history import live
from tests.orders.shapes import webhooks
from tests.orders.story import (
    DAY,
    SHAPES,
    Buy,
    Cancel,
    Dispute,
    GiveBack,
    Life,
    Renew,
    Subscribe,
)
from tests.stripe_past import add_past, events_of
from tests.test_cli import bridge

KEY = "sk_test_plantedPLANTED0123456789"
NOW = 1_790_000_000
ENTRIES = (
    "SELECT key, kind, minor, currency, tax_minor, discount_minor, customer, subscription,"
    " invoice, payment_intent, charge, refund, dispute, occurred_at, effective_date"
    " FROM revenue_entries ORDER BY key"
)
MONEY = (
    "SELECT key, uuid, name, occurred_at, properties, identity - 'consent' AS identity, minor,"
    # Without the time of the last statement: that is as of when it was told.
    " regexp_replace(identity ->> 'consent', ',at=.*', '') AS consent, currency, tax_minor, about"
    " FROM analytics_events WHERE minor IS NOT NULL AND state = 'released' ORDER BY key"
)


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


def wanted(engine: Engine, stripe: FakeStripe, **options: Any) -> Backfill:
    given = {
        "since": datetime(2020, 1, 1, tzinfo=UTC),
        "until": datetime(2030, 1, 1, tzinfo=UTC),
        "pace": Pace(sleep=lambda _: None),
        **options,
    }
    api = StripeApi(KEY, stripe.base)
    return Backfill(engine=engine, api=api, livemode=False, **given)


def rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def settled(engine: Engine, settings: Settings) -> None:
    """Process and release all that there is."""
    while process(engine, settings):
        pass
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    while release_ended_holds(engine, settings):
        pass


def emptied(engine: Engine) -> None:
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))


def told_by_webhooks(engine: Engine, story: Story) -> None:
    with engine.begin() as connection:
        arrived = [Arrived(open_envelope(one.body), one.body, "webhook") for one in story.webhooks]
        keep_all(connection, arrived)


def test_webhooks_and_objects_of_one_life_give_the_same_ledger_and_money_events(
    engine: Engine, settings: Settings, stripe: FakeStripe
) -> None:
    story = simulate(seed=3, customers=24, now=NOW)
    add_past(stripe, events_of(story.webhooks))
    told_by_webhooks(engine, story)
    settled(engine, settings)
    ledger, money = rows(engine, ENTRIES), rows(engine, MONEY)

    on_top = backfill(wanted(engine, stripe))
    settled(engine, settings)
    assert (on_top.failures, on_top.unreadable) == ({}, Counter())
    assert (rows(engine, ENTRIES), rows(engine, MONEY)) == (ledger, money)

    emptied(engine)
    alone = backfill(wanted(engine, stripe))
    settled(engine, settings)
    assert alone.kept["invoice.paid"] == on_top.kept["invoice.paid"] > 0
    assert rows(engine, ENTRIES) == ledger
    assert rows(engine, MONEY) == money
    assert {row["kind"] for row in ledger} == {"payment", "refund"}
    origins = rows(engine, "SELECT DISTINCT origin, verdict FROM webhook_events")
    assert origins == [{"origin": "backfill", "verdict": "processed"}]


ACTS = (
    Subscribe(after=DAY, plan="plus", seats=2, trial_days=5, saved="same"),
    Renew(paid="in parts"),
    Renew(paid="after a failure"),
    Buy(after=2 * DAY, amount=120, saved="object"),
    Buy(after=DAY, amount=90, saved="nowhere"),
    GiveBack(after=DAY, which=0, shares=(30, 50), settles="fails"),
    GiveBack(after=DAY, which=1, shares=(40,), settles="pends and fails"),
    GiveBack(after=DAY, which=2, shares=(100,), settles="later"),
    Dispute(after=DAY, which=0, ends="won", home=True),
    Dispute(after=DAY, which=1, ends="lost"),
    Cancel(after=DAY),
)


@pytest.mark.parametrize("shape", SHAPES)
def test_so_do_disputes_refunds_that_fail_and_payments_in_parts(
    engine: Engine, settings: Settings, stripe: FakeStripe, shape: str
) -> None:
    life = Life(shape=shape, currency="kwd", acts=ACTS, taxed=True, livemode=False)
    events = [one.envelope() for one in webhooks(live(life), account="")]
    add_past(stripe, events)
    with engine.begin() as connection:
        bodies = [json.dumps(one).encode() for one in events]
        keep_all(connection, [Arrived(open_envelope(one), one, "webhook") for one in bodies])
    settled(engine, settings)
    ledger, money = rows(engine, ENTRIES), rows(engine, MONEY)
    emptied(engine)

    filled = backfill(wanted(engine, stripe))
    settled(engine, settings)

    assert (filled.failures, filled.unreadable) == ({}, Counter())
    assert {row["kind"] for row in ledger} == {
        *("payment", "refund", "refund_reversal", "dispute", "dispute_reversal")
    }
    assert rows(engine, ENTRIES) == ledger
    assert rows(engine, MONEY) == money


def test_what_is_made_of_an_object_is_known_to_be_of_a_later_moment(
    engine: Engine, settings: Settings, stripe: FakeStripe
) -> None:
    story = simulate(seed=3, customers=3, now=NOW)
    add_past(stripe, events_of(story.webhooks))
    backfill(wanted(engine, stripe, parts=("subscriptions",)))
    settled(engine, settings)

    assert rows(engine, "SELECT DISTINCT hydrated FROM subscription_snapshots") == [
        {"hydrated": True}
    ]


def charge(number: int, **changes: Any) -> dict[str, Any]:
    """One without a payment intent, newest by number."""
    return {
        "id": f"ch_{number}",
        "object": "charge",
        "amount": 1000,
        "amount_captured": 1000,
        "balance_transaction": None,
        "captured": True,
        "created": NOW + number,
        "currency": "usd",
        "customer": None,
        "invoice": None,
        "livemode": False,
        "payment_intent": None,
        "status": "succeeded",
    } | changes


def asked(stripe: FakeStripe, path: str) -> list[str | None]:
    return [one.params.get("starting_after") for one in stripe.requests if one.path == path]


def charges(engine: Engine, stripe: FakeStripe, **options: Any) -> Filled:
    return backfill(wanted(engine, stripe, parts=("charges", "refunds"), **options))


def test_an_interrupted_one_goes_on_where_it_was(engine: Engine, stripe: FakeStripe) -> None:
    for number in range(250):
        stripe.add(charge(number))
    stripe.fail("/v1/refunds", 403)

    first = charges(engine, stripe)
    stripe.requests.clear()
    second = charges(engine, stripe)
    stripe.requests.clear()
    third = charges(engine, stripe)

    assert list(first.failures) == [""]
    assert first.kept == Counter({"charge.succeeded": 250})
    assert (second.failures, second.read) == ({}, Counter())
    assert (third.kept, third.known) == (Counter(), Counter({"charge.succeeded": 250}))


def test_in_the_middle_of_a_list_it_goes_on_after_the_last_that_is_kept(
    engine: Engine, stripe: FakeStripe
) -> None:
    for number in range(250):
        stripe.add(charge(number))
    pages = 0

    def enough() -> bool:
        nonlocal pages
        pages += 1
        return pages > 2

    with pytest.raises(Stopped):
        charges(engine, stripe, pace=Pace(lambda _: None, enough))
    stripe.requests.clear()
    rest = charges(engine, stripe)

    assert asked(stripe, "/v1/charges") == ["ch_50"]
    assert rest.kept == Counter({"charge.succeeded": 50})
    assert rows(engine, "SELECT count(*) AS n FROM webhook_events") == [{"n": 250}]
    assert rows(engine, "SELECT * FROM backfill_progress") == []


def test_stripes_retry_after_is_waited_for(engine: Engine, stripe: FakeStripe) -> None:
    stripe.add(charge(1))
    stripe.fail(
        "/v1/charges", 429, times=2, headers={"Retry-After": "7", "Stripe-Should-Retry": "false"}
    )
    waited: list[float] = []

    with capture_logs() as logs:
        filled = charges(engine, stripe, pace=Pace(waited.append))

    assert filled.kept == Counter({"charge.succeeded": 1})
    assert len(waited) == 2
    assert min(waited) >= 7
    waits = [(one["path"], one["seconds"]) for one in logs if one["event"] == "listing.waits"]
    assert waits == [("/v1/charges", round(seconds)) for seconds in waited]


def test_waiting_has_an_end(engine: Engine, stripe: FakeStripe) -> None:
    stripe.fail("/v1/refunds", 429, times=99, headers={"Stripe-Should-Retry": "false"})
    waited: list[float] = []

    filled = charges(engine, stripe, pace=Pace(waited.append))

    assert filled.out_of_reach
    assert "429" in filled.failures[""]
    assert len(waited) == WAITS


def test_without_a_first_page_it_ends_after_half_a_minute(
    engine: Engine, stripe: FakeStripe
) -> None:
    stripe.fail("/v1/charges", 429, times=99, headers={"Stripe-Should-Retry": "false"})
    waited: list[float] = []

    assert charges(engine, stripe, pace=Pace(waited.append)).out_of_reach
    assert len(waited) <= WAITS
    assert sum(waited) <= FIRST


def test_a_first_page_is_waited_for_as_long_as_stripe_asks(
    engine: Engine, stripe: FakeStripe
) -> None:
    headers = {"Retry-After": "50", "Stripe-Should-Retry": "false"}
    stripe.fail("/v1/charges", 429, times=3, headers=headers)
    waited: list[float] = []

    assert charges(engine, stripe, pace=Pace(waited.append)).failures == {}
    assert len(waited) == 3
    assert min(waited) >= 50


def test_who_is_asked_to_wait_too_long_comes_another_time(
    engine: Engine, stripe: FakeStripe
) -> None:
    headers = {"Retry-After": "3600", "Stripe-Should-Retry": "false"}
    stripe.fail("/v1/charges", 429, times=99, headers=headers)
    waited: list[float] = []

    assert charges(engine, stripe, pace=Pace(waited.append)).out_of_reach
    assert waited == []


def test_a_dry_run_says_what_would_be_kept_and_keeps_nothing(
    engine: Engine, stripe: FakeStripe
) -> None:
    stripe.add(charge(1))
    charges(engine, stripe)
    stripe.add(charge(2))

    filled = charges(engine, stripe, dry_run=True)

    assert (filled.kept.total(), filled.known.total()) == (1, 1)
    assert rows(engine, "SELECT count(*) AS n FROM webhook_events") == [{"n": 1}]


def test_an_object_that_is_not_as_promised_holds_up_no_other(
    engine: Engine, stripe: FakeStripe
) -> None:
    for broken in (
        charge(1, balance_transaction={"id": "t", "object": "x", "created": "soon"}),
        charge(2),
    ):
        stripe.add(broken)

    filled = charges(engine, stripe)

    assert filled.unreadable == Counter({"charges": 1})
    assert filled.kept == Counter({"charge.succeeded": 1})


def test_what_is_of_a_connected_account_is_kept_as_its_own(
    engine: Engine, settings: Settings, stripe: FakeStripe
) -> None:
    event = {"id": "evt_1", "object": "event", "type": "x", "created": 1, "livemode": False}
    heard = json.dumps(event | {"account": "acct_1"}).encode()
    with engine.begin() as connection:
        keep_all(connection, [Arrived(open_envelope(heard), heard, "webhook")])
    stripe.add(charge(1), account="acct_1")
    stripe.add(charge(2))

    filled = charges(engine, stripe)
    only_it = charges(engine, stripe, account="acct_1")
    settled(engine, settings)

    assert (filled.kept.total(), only_it.known.total()) == (2, 1)
    assert rows(engine, "SELECT account, key, origin FROM revenue_entries ORDER BY 1") == [
        {"account": "", "key": "payment:ch_2", "origin": "backfill"},
        {"account": "acct_1", "key": "payment:ch_1", "origin": "backfill"},
    ]


def test_objects_outside_of_the_time_are_not_read(engine: Engine, stripe: FakeStripe) -> None:
    for number in (0, 10, 20):
        stripe.add(charge(number))
    begin, end = (datetime.fromtimestamp(NOW + second, UTC) for second in (10, 20))

    assert charges(engine, stripe, since=begin, until=end).kept.total() == 1


def test_one_at_a_time(engine: Engine) -> None:
    with (
        gaps.alone(engine, gaps.BACKFILL_LOCK) as first,
        gaps.alone(engine, gaps.BACKFILL_LOCK) as second,
    ):
        assert (first, second) == (True, False)
    with gaps.alone(engine, gaps.BACKFILL_LOCK) as third:
        assert third


def test_the_command_asks_first_and_leaves_an_audit_line(
    engine: Engine, stripe: FakeStripe, stores: Stores, tmp_path: Path
) -> None:
    stripe.add(charge(1))
    env = {
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": stripe.base,
    }
    words = ("backfill", "--from", "2026-01-01", "--to", "2027-01-01", "--only", "charges,refunds")

    refused = bridge(*words, env=env, cwd=tmp_path)
    done = bridge(*words, "--yes", "--why", "a test", "--json", env=env, cwd=tmp_path)

    assert (refused.returncode, done.returncode) == (2, 0)
    assert json.loads(done.stdout) == {
        "dry_run": False,
        "read": {"charges": 1},
        "kept": {"charge.succeeded": 1},
        "known": {},
        "unreadable": {},
        "failures": {},
        "nothing_found_of": [],
    }
    assert rows(engine, "SELECT action, why, rows FROM audit_log") == [
        {"action": "backfill", "why": "a test", "rows": 1}
    ]
    assert KEY not in refused.stderr + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "2026-02-01", "--to", "2026-01-01"),
        ("--from", "2026-01-01", "--to", "2026-02-01", "--only", "teapots"),
        ("--from", "2026-01-01", "--to", "2026-02-01", "--account", "acct_\n1"),
        ("--from", "2026-01-01", "--to", "2026-02-01", "--destination", "nowhere"),
        ("--from", "2026-01-01", "--to", "2026-02-01", "--destination", "x", "--only", "refunds"),
    ],
)
def test_what_cannot_be_meant_is_refused(stores: Stores, words: tuple[str, ...]) -> None:
    env = {"DATABASE_URL": stores.database_url, "BRIDGE_NO_DOTENV": "1"}
    done = CliRunner().invoke(cli, ["backfill", *words, "--yes"], env=env)

    assert done.exit_code == 2, done.output


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("--yes", "The same command goes on from here."),
        ("--dry-run", "Nothing was kept: a dry run."),
    ],
)
def test_one_that_is_stopped_says_what_it_kept(
    engine: Engine, stores: Stores, monkeypatch: pytest.MonkeyPatch, word: str, kept: str
) -> None:
    def ended(_: Backfill) -> Filled:
        raise Stopped

    monkeypatch.setattr("app.history.backfill.backfill", ended)
    env = {"DATABASE_URL": stores.database_url, "STRIPE_API_KEY": KEY, "BRIDGE_NO_DOTENV": "1"}
    words = ["--from", "2026-01-01", "--to", "2026-02-01", word]
    done = CliRunner().invoke(cli, ["backfill", *words], env=env)

    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == f"Stopped. {kept}"


@pytest.mark.parametrize("refused", [False, True])
def test_an_account_that_nobody_knows_is_no_success(
    engine: Engine, stripe: FakeStripe, stores: Stores, refused: bool
) -> None:
    if refused:  # as Stripe does: https://docs.stripe.com/error-codes
        said = {"code": "account_invalid", "message": f"The key {KEY} has no access"}
        stripe.fail("/v1/", 403, body={"error": said})
    env = {
        "DATABASE_URL": stores.database_url,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": stripe.base,
        "BRIDGE_NO_DOTENV": "1",
    }
    words = ["--from", "2026-01-01", "--to", "2026-02-01", "--account", "acct_9", "--yes"]
    done = CliRunner().invoke(cli, ["backfill", *words], env=env)

    assert done.exit_code == 1
    assert KEY not in done.output
    said_of_it = {
        False: "Nothing was found of acct_9: Stripe lists no objects of it for this key",
        True: "acct_9 is not done: Stripe does not know the account of /v1/prices of acct_9, or",
    }
    assert said_of_it[refused] in done.stderr
    assert "If it is your own, say --account own" in done.stderr
