"""Replay: the same keys and ids again, refused where the destination would count twice."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app import process as processing
from app.core.envelope import open_envelope
from app.core.outcome import MAY_HAVE_ARRIVED
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Misbehaviour, Post, receiver
from app.demo.saas import Webhook, simulate
from app.drain import Drain
from app.history.rehearse import Rehearsal, rehearse
from app.history.replay import (
    NotFound,
    Plan,
    Unclear,
    Wanted,
    for_audit,
    plan,
    progress,
    replay,
)
from app.history.skip import choose, skip
from app.process import process
from app.settings import Settings
from app.store import browse, deliveries, ledger, owed
from app.store.schema import metadata
from app.store.sought import Deliveries
from app.store.webhook_events import keep, process_again

AMPLITUDE = frozenset({"amplitude"})  # whose dedupe window is looked at again


@pytest.fixture
def told(engine: Engine, with_destinations: Callable[..., Settings]) -> Settings:
    """A small SaaS processed for two destinations, of whose deliveries one each is dead."""
    settings = with_destinations(
        amplitude={"api_key": AMPLITUDE_KEY},
        webhook={"url": "http://127.0.0.1:9/", "secret": WEBHOOK_SECRET},
    )
    story = simulate(seed=1, customers=9, now=1_790_000_000)
    with engine.begin() as connection:
        for one in story.webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")
    while process(engine, settings):
        pass
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM work"))
        connection.execute(
            text("""
                UPDATE deliveries SET state = 'dead' WHERE id IN
                    (SELECT min(id) FROM deliveries GROUP BY destination)
            """)
        )
    return settings


def dead(engine: Engine, destination: str) -> int:
    query = text("SELECT id FROM deliveries WHERE state = 'dead' AND destination = :name")
    with engine.connect() as connection:
        found: int = connection.execute(query, {"name": destination}).scalar_one()
        return found


def everything(engine: Engine) -> list[int]:
    names = ("revenue_entries", "analytics_events", "deliveries")
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names
        ]


def test_processing_everything_again_changes_nothing(engine: Engine, told: Settings) -> None:
    before = everything(engine)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO work (lane, ref_id) SELECT 'process', id FROM webhook_events")
        )
    while process(engine, told):
        pass

    assert everything(engine) == before


def test_a_dead_delivery_inside_the_window_is_due_again(engine: Engine, told: Settings) -> None:
    number = dead(engine, "amplitude")
    with engine.begin() as connection:
        planned = plan(connection, told, Wanted(ids=[str(number)]))
        rows = replay(connection, planned, who="tests", why="", asked={})
        work = connection.execute(text("SELECT lane, ref_id FROM work")).all()

    assert planned == Plan(webhook_events=[], deliveries=[number], too_late=[], windowed=AMPLITUDE)
    assert (rows, [tuple(row) for row in work]) == (1, [("to:amplitude", number)])


def test_a_dead_delivery_past_the_window_is_refused_unless_duplicates_are_allowed(
    engine: Engine, told: Settings
) -> None:
    amplitude, webhook = dead(engine, "amplitude"), dead(engine, "webhook")
    with engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET created_at = created_at - interval '8 d'"))
        planned = plan(connection, told, Wanted(dead=True))
        allowed = plan(connection, told, Wanted(dead=True, allow_duplicates=True))

    assert planned == Plan(
        webhook_events=[], deliveries=[webhook], too_late=[amplitude], windowed=AMPLITUDE
    )
    assert sorted(allowed.deliveries) == sorted([amplitude, webhook])


def test_what_may_have_arrived_is_refused_unless_duplicates_are_allowed(
    engine: Engine, told: Settings
) -> None:
    number = dead(engine, "webhook")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE deliveries SET reason = :reason WHERE id = :id"),
            {"reason": f"{MAY_HAVE_ARRIVED}: ReadTimeout", "id": number},
        )
        planned = plan(connection, told, Wanted(ids=[str(number)]))
        allowed = plan(connection, told, Wanted(ids=[str(number)], allow_duplicates=True))

    assert planned == Plan(webhook_events=[], deliveries=[], too_late=[number])
    assert allowed == Plan(webhook_events=[], deliveries=[number], too_late=[])


def test_every_id_that_cannot_be_done_again_is_named_with_what_it_is(
    engine: Engine, told: Settings
) -> None:
    number = dead(engine, "webhook")
    run(engine, "UPDATE deliveries SET state = 'delivered' WHERE id = :id", id=number + 1)
    asked = ["evt_none", "999999", str(number), str(number + 1), "evt_none"]

    with engine.begin() as connection, pytest.raises(NotFound) as found:
        plan(connection, told, Wanted(ids=asked))

    delivered = f"{number + 1} is delivered"
    assert found.value.wrong == ["evt_none is not known", "999999 is not known", delivered]


# --- what is asked for


def selected(engine: Engine, settings: Settings, **asked: Any) -> Plan:
    with engine.connect() as connection:
        return plan(connection, settings, Wanted(**asked))


def ids(engine: Engine, where: str, **values: Any) -> list[int]:
    query = text(f"SELECT id FROM webhook_events WHERE {where} ORDER BY id")
    with engine.connect() as connection:
        return list(connection.execute(query, values).scalars())


def run(engine: Engine, *statements: str, **values: Any) -> None:
    """As a replica, which may change what the ledger's triggers guard."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            connection.execute(text(statement), values)


def test_filters_of_webhook_events_combine(engine: Engine, told: Settings) -> None:
    run(
        engine,
        "UPDATE webhook_events SET verdict = 'quarantined', reason = 'charge: EXPECTED a text'"
        " WHERE id % 5 = 0",
        "UPDATE webhook_events SET received_at = received_at - interval '1 day' WHERE id % 2 = 0",
    )
    since = datetime.now(UTC) - timedelta(hours=2)
    asked = {"type": "invoice.*", "status": "quarantined", "error": "expected A", "since": since}

    planned = selected(engine, told, **asked)
    none = selected(engine, told, **{**asked, "until": since})

    where = "type LIKE 'invoice.%' AND id % 5 = 0 AND id % 2 = 1"
    assert planned == Plan(webhook_events=ids(engine, where), deliveries=[], too_late=[])
    assert planned.webhook_events
    assert none.empty


def test_a_glob_is_no_pattern_of_sql(engine: Engine, told: Settings) -> None:
    everything_ = selected(engine, told, type="*").webhook_events

    assert selected(engine, told, type="invoice_paid").empty
    assert selected(engine, told, type="%").empty
    assert selected(engine, told, type="invoice?paid").webhook_events == ids(
        engine, "type = 'invoice.paid'"
    )
    assert everything_ == ids(engine, "verdict IN ('processed', 'ignored')")


def test_a_customers_are_found_by_what_they_told_booked_and_stated(
    engine: Engine, told: Settings
) -> None:
    query = "SELECT customer FROM revenue_entries WHERE kind = 'refund' ORDER BY id LIMIT 1"
    with engine.connect() as connection:
        customer = connection.execute(text(query)).scalar_one()

    found = set(selected(engine, told, customer=customer).webhook_events)
    sent = selected(engine, told, customer=customer, dead=True, allow_duplicates=True)

    # The oracle does read the bytes.
    theirs = set(ids(engine, "position(:one IN convert_from(raw, 'UTF8')) > 0", one=customer))
    money = {"invoice.paid", "refund.created", "customer.subscription.created"}
    must = set(ids(engine, "type = ANY(:types)", types=sorted(money))) & theirs
    assert must
    assert must <= found <= theirs
    assert not set(sent.deliveries) - {dead(engine, "amplitude"), dead(engine, "webhook")}


def test_a_destination_asks_for_dead_deliveries_to_it(engine: Engine, told: Settings) -> None:
    planned = selected(engine, told, destination="webhook")

    assert planned == Plan(webhook_events=[], deliveries=[dead(engine, "webhook")], too_late=[])


def test_an_error_is_found_in_the_last_answer_too(engine: Engine, told: Settings) -> None:
    number = dead(engine, "webhook")
    run(
        engine,
        """INSERT INTO attempts (delivery_id, token, started_at, outcome, status, answer,
                latency_ms) VALUES (:id, 1, now(), 'rejected', 400, 'unknown field Colour', 3)""",
        id=number,
    )

    planned = selected(engine, told, dead=True, error="field colour")

    assert planned == Plan(webhook_events=[], deliveries=[number], too_late=[])


def test_a_limit_takes_the_oldest_and_says_that_there_are_more(
    engine: Engine, told: Settings
) -> None:
    planned = selected(engine, told, type="invoice.*", limit=3)
    everyone = ids(engine, "type LIKE 'invoice.%'")

    assert planned == Plan(webhook_events=everyone[:3], deliveries=[], too_late=[], more=True)
    assert not selected(engine, told, type="invoice.*", limit=len(everyone)).more


def test_what_cannot_be_done_again_is_counted_and_left_out(engine: Engine, told: Settings) -> None:
    run(engine, "UPDATE webhook_events SET raw = '{}', erased_at = now() WHERE id <= 2")
    fewer = replace(told, destinations=told.destinations[:1])
    [left] = [one.name for one in fewer.destinations]

    events = selected(engine, told, type="*")
    sent = selected(engine, fewer, dead=True)

    erased = tuple(one_of(engine, "webhook_events", f"id = {id_}").event_id for id_ in (1, 2))
    assert (events.erased, events.webhook_events[0]) == (erased, 3)
    assert sent == Plan(
        webhook_events=[],
        deliveries=[dead(engine, left)],
        too_late=[],
        windowed=AMPLITUDE,
        unset=(dead(engine, "webhook"),),
    )


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ids": ["evt_1"], "dead": True},
        {"destination": "webhook", "quarantined": True},
        {"status": "released"},
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(
    engine: Engine, settings: Settings, asked: dict[str, Any]
) -> None:
    with pytest.raises(Unclear):
        selected(engine, settings, **asked)


# --- put to work


def due_in(engine: Engine) -> dict[int, int]:
    """Seconds from the first, by what is due."""
    query = """
        SELECT ref_id, round(extract(epoch FROM due_at - min(due_at) OVER ())) FROM work
    """
    with engine.connect() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(text(query))}


def test_a_rate_spreads_them_and_delays_nothing_that_waits_already(
    engine: Engine, told: Settings
) -> None:
    with engine.begin() as connection:
        process_again(connection, [4])
        planned = Plan(webhook_events=[1, 2, 3, 4, 5], deliveries=[], too_late=[])
        replay(connection, planned, who="tests", why="", asked={}, rate=0.5)

    assert due_in(engine) == {1: 0, 2: 2, 3: 4, 4: 0, 5: 8}


def test_deliveries_are_spread_as_well(engine: Engine, told: Settings) -> None:
    run(engine, "UPDATE deliveries SET state = 'dead' WHERE destination = 'webhook' AND id < 20")
    planned = selected(engine, told, destination="webhook")
    with engine.begin() as connection:
        replay(connection, planned, who="tests", why="", asked={}, rate=0.1)

    assert due_in(engine) == {one: 10 * n for n, one in enumerate(planned.deliveries)}
    assert len(planned.deliveries) > 2


def test_the_audit_line_says_what_was_asked_and_no_person(engine: Engine, told: Settings) -> None:
    wanted = Wanted(
        type="invoice.*",
        customer="jane-1987",
        error="no user jane@example.com in 4711",
        since=datetime(2026, 11, 1, tzinfo=UTC),
        limit=5,
    )
    with engine.begin() as connection:
        planned = plan(connection, told, replace(wanted, customer=None, error=None))
        asked = for_audit(wanted)
        replay(connection, planned, who="ann", why="ticket 7", asked=asked)
        query = "SELECT who, action, why, filter, rows FROM audit_log"
        [line] = connection.execute(text(query)).all()

    said = {
        "type": "invoice.*",
        "customer": "sha256:c3e8875035222c25",
        "error": "no user <email> in <n>",
        "since": "2026-11-01T00:00:00+00:00",
        "limit": 5,
    }
    assert tuple(line) == ("ann", "replay", "ticket 7", said, 5)
    assert for_audit(Wanted(customer="cus_9")) == {"customer": "cus_9"}


def test_progress_says_how_far_it_got(engine: Engine, told: Settings) -> None:
    number = dead(engine, "webhook")
    planned = Plan(webhook_events=[1, 2], deliveries=[number], too_late=[])
    with engine.begin() as connection:
        replay(connection, planned, who="tests", why="", asked={}, rate=10_000)
        before = progress(connection, planned)
    while process(engine, told):
        pass
    with engine.connect() as connection:
        after = progress(connection, planned)

    assert (before.verdicts, before.states, before.left) == ({"waiting": 2}, {"pending": 1}, 3)
    assert (after.verdicts, after.left, after.failed) == ({"processed": 2}, 1, 0)


# --- deliveries, one by one


def test_a_waiting_delivery_is_sent_now_unless_a_worker_has_it(
    engine: Engine, told: Settings
) -> None:
    query = "SELECT id FROM deliveries WHERE state = 'pending' AND destination = 'webhook' LIMIT 2"
    with engine.begin() as connection:
        waiting, leased = connection.execute(text(query)).scalars()
        put = "INSERT INTO work (lane, ref_id, due_at, leased) VALUES ('to:webhook', :id, :at, :on)"
        later = datetime.now(UTC) + timedelta(hours=6)
        for one, on in ((waiting, False), (leased, True)):
            connection.execute(text(put), {"id": one, "at": later, "on": on})
        asked = Wanted(ids=[str(waiting), str(leased)], waiting=True)
        planned = plan(connection, told, replace(asked, ids=(), destination="webhook"))
        rows = replay(connection, planned, who="tests", why="", asked={})
        soon = "SELECT ref_id FROM work WHERE due_at <= clock_timestamp()"
        due = connection.execute(text(soon)).scalars().all()

    assert rows == 1
    assert due == [waiting]


def test_whoever_has_a_skipped_delivery_in_hand_is_fenced(engine: Engine, told: Settings) -> None:
    number = dead(engine, "webhook")
    pending = "SELECT min(id) FROM deliveries WHERE state = 'pending' AND destination = 'webhook'"
    with engine.begin() as connection:
        other = connection.execute(text(pending)).scalar_one()
        put = "INSERT INTO work (lane, ref_id) VALUES ('to:webhook', :id)"
        connection.execute(text(put), {"id": other})
        [row] = deliveries.claim(connection, "to:webhook", 10, 40.0)
    with engine.begin() as connection:
        numbers = choose(connection, Wanted(ids=[str(number), str(other)])).ids
        why, asked = "the tool is gone", {"ids": numbers}
        done = skip(connection, numbers, who="ann", why=why, asked=asked)
    with engine.begin() as connection:
        finished = deliveries.finish(connection, "to:webhook", [(row, "delivered", None)])
        query = "SELECT state, reason FROM deliveries WHERE id = ANY(:ids) GROUP BY 1, 2"
        states = connection.execute(text(query), {"ids": numbers}).all()
        with pytest.raises(NotFound, match=f"{number} is skipped; 999999 is not known"):
            choose(connection, Wanted(ids=[str(number), "999999"]))
        audited = connection.execute(text("SELECT action, why, filter, rows FROM audit_log")).all()

    assert (done.skipped, done.in_hand, finished) == (2, 1, 0)
    assert [tuple(one) for one in states] == [("skipped", "skipped by hand: the tool is gone")]
    assert [tuple(one) for one in audited] == [("skip", "the tool is gone", {"ids": numbers}, 2)]


def test_failures_are_grouped_by_destination_and_error(engine: Engine, told: Settings) -> None:
    run(
        engine,
        """UPDATE deliveries SET state = 'dead', finished_at = '2026-11-01T00:00Z',
               reason = 'no such user ' || id || ' of acct_1Nv0FG' || id
           WHERE destination = 'webhook' AND id < 20""",
        """UPDATE deliveries SET finished_at = '2026-11-02T00:00Z', reason = 'too large'
           WHERE destination = 'amplitude' AND state = 'dead'""",
    )
    query = "SELECT id FROM deliveries WHERE destination = 'webhook' AND state = 'dead'"
    with engine.connect() as connection:
        numbers = sorted(connection.execute(text(query)).scalars())
        wanted = Deliveries(states=("dead", "pending"))
        first, second = map(dict, owed.failures(connection, wanted, 10))

    assert first.pop("example") in numbers
    at = datetime(2026, 11, 1, tzinfo=UTC)
    same = {"state": "dead", "status": None}
    assert first == {
        **same,
        "destination": "webhook",
        "deliveries": len(numbers),
        "first": at,
        "last": at,
        "error": "no such user <n> of <id>",
    }
    assert second == {
        **same,
        "destination": "amplitude",
        "deliveries": 1,
        "first": at + timedelta(days=1),
        "last": at + timedelta(days=1),
        "example": dead(engine, "amplitude"),
        "error": "too large",
    }


# --- what it would change


def whole(engine: Engine) -> dict[str, list[Any]]:
    """Every row of every table."""
    with engine.connect() as connection:
        return {
            table.name: sorted(
                connection.execute(text(f"SELECT t::text FROM {table.name} t")).scalars()
            )
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("size", [20, 150])
def test_todays_code_derives_what_is_stored_and_nothing_is_written(
    engine: Engine, told: Settings, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    run(engine, "UPDATE webhook_events SET verdict = 'quarantined', reason = 'x' WHERE id = 1")
    monkeypatch.setattr(processing, "BATCH", size)
    before, every = whole(engine), ids(engine, "true")
    seen: list[int] = []

    found = rehearse(engine, told, every, seen.append)

    assert whole(engine) == before
    assert sum(seen) == len(every)
    assert found.changes == []
    assert found.same["analytics event"] == len(before["analytics_events"])
    assert found.same["revenue entry"] == len(before["revenue_entries"])
    assert [each[1:] for each in found.verdicts] == [("quarantined: x", "processed")]
    assert not found.owed


def one_of(engine: Engine, table: str, where: str) -> Any:
    with engine.connect() as connection:
        query = f"SELECT * FROM {table} WHERE {where} ORDER BY id LIMIT 1"
        return connection.execute(text(query)).one()


def differences(found: Rehearsal) -> set[tuple[Any, ...]]:
    return {(one.what, one.change, one.key, tuple(one.fields.items())) for one in found.changes}


def test_what_is_new_changed_and_gone_is_named(
    engine: Engine, told: Settings, planted: None
) -> None:
    missing = one_of(engine, "analytics_events", "name = 'checkout_completed'")
    other = one_of(engine, "analytics_events", "name = 'subscription_cancelled'")
    lost, wrong = (
        one_of(engine, "revenue_entries", f"kind = 'payment' AND id {sign} 5") for sign in "<>"
    )
    run(
        engine,
        f"DELETE FROM deliveries WHERE analytics_event_id = {missing.id}",
        f"DELETE FROM analytics_events WHERE id = {missing.id}",
        f"""UPDATE analytics_events SET name = 'subscription_ended',
                properties = properties - 'subscription_id' WHERE id = {other.id}""",
        f"DELETE FROM revenue_entries WHERE id = {lost.id}",
        f"UPDATE revenue_entries SET minor = minor + 1 WHERE id = {wrong.id}",
        *(
            f"""INSERT INTO {table} OVERRIDING SYSTEM VALUE
                    SELECT (jsonb_populate_record(t, '{{"key": "invented"}}'
                    || (CASE WHEN '{table}' = 'analytics_events' THEN
                        jsonb_build_object('uuid', gen_random_uuid()) ELSE '{{}}' END)
                    || jsonb_build_object('id', 1000000))).* FROM {table} t WHERE id = {id_}"""
            for table, id_ in (("revenue_entries", wrong.id), ("analytics_events", other.id))
        ),
    )
    before = whole(engine)

    found = rehearse(engine, told, ids(engine, "true"))

    assert whole(engine) == before
    subscription = other.properties["subscription_id"]
    assert differences(found) == {
        ("analytics event", "new", missing.key, ()),
        (
            "analytics event",
            "changed",
            other.key,
            (
                ("name", ("subscription_ended", "subscription_cancelled")),
                ("properties.subscription_id", (None, subscription)),
            ),
        ),
        ("analytics event", "gone", "invented", ()),
        ("revenue entry", "new", lost.key, ()),
        ("revenue entry", "changed", wrong.key, (("minor", (wrong.minor + 1, wrong.minor)),)),
        ("revenue entry", "gone", "invented", ()),
    }
    assert found.owed == Counter({(name, "pending"): 1 for name in ("amplitude", "webhook")})
    assert {one.webhook_event for one in found.changes if one.key == missing.key} == {
        one_of(engine, "webhook_events", f"id = {missing.webhook_event_id}").event_id
    }


def test_a_replay_adds_just_what_the_rehearsal_calls_new(engine: Engine, told: Settings) -> None:
    missing = one_of(engine, "analytics_events", "name = 'payment_succeeded'")
    run(
        engine,
        f"DELETE FROM deliveries WHERE analytics_event_id = {missing.id}",
        f"DELETE FROM analytics_events WHERE id = {missing.id}",
        f"DELETE FROM revenue_entries WHERE key = '{missing.key}'",
    )
    before = everything(engine)

    found = rehearse(engine, told, ids(engine, "true"))
    with engine.begin() as connection:
        process_again(connection, ids(engine, "true"))
    while process(engine, told):
        pass

    assert [(one.what, one.change, one.key) for one in found.changes] == [
        ("revenue entry", "new", missing.key),
        ("analytics event", "new", missing.key),
    ]
    entries, told_before, sent = before
    assert everything(engine) == [entries + 1, told_before + 1, sent + 2]


def test_what_can_be_read_no_more_is_gone_and_its_verdict_differs(
    engine: Engine, told: Settings
) -> None:
    paid = one_of(engine, "webhook_events", "type = 'refund.created'")
    query = "SELECT key FROM analytics_events WHERE webhook_event_id = :id"
    with engine.connect() as connection:
        keys = set(connection.execute(text(query), {"id": paid.id}).scalars())
    run(
        engine,
        """UPDATE webhook_events SET raw = convert_to(replace(convert_from(raw, 'UTF8'),
               '"amount"', '"amuont"'), 'UTF8') WHERE id = :id""",
        id=paid.id,
    )

    found = rehearse(engine, told, [paid.id])

    assert {(one.change, one.key) for one in found.changes} == {("gone", key) for key in keys}
    [(event_id, stored, derived)] = found.verdicts
    assert (event_id, stored) == (paid.event_id, "processed")
    assert derived.startswith("quarantined: ")


def test_a_rehearsal_gives_way_to_who_works_for_real(engine: Engine, told: Settings) -> None:
    """A worker has a delivery in hand for longer than a rehearsal waits for it."""
    query = "SELECT analytics_event_id, id FROM deliveries WHERE state = 'pending' LIMIT 1"
    held, ended = threading.Event(), []

    def work(event: int, number: int) -> None:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
            lock = text("SELECT id FROM deliveries WHERE id = :id FOR UPDATE")
            connection.execute(lock, {"id": number})
            held.set()
            time.sleep(0.8)
            other = text("SELECT id FROM analytics_events WHERE id = :id FOR UPDATE")
            ended.append(connection.execute(other, {"id": event}).scalar_one())

    with engine.connect() as connection:
        event, number = connection.execute(text(query)).one()
    worker = threading.Thread(target=work, args=(event, number))
    worker.start()
    assert held.wait(10)
    found = rehearse(engine, told, ids(engine, "true"))
    worker.join()

    assert ended == [event]
    assert found.changes == []


def test_what_waits_to_be_processed_is_left_out_of_a_rehearsal(
    engine: Engine, told: Settings
) -> None:
    with engine.begin() as connection:
        process_again(connection, [1, 2])

    found = rehearse(engine, told, [1, 2, 3])

    assert found.busy == 2


# --- during live traffic


def post(engine: Engine, webhooks: Sequence[Webhook]) -> None:
    with engine.begin() as connection:
        for one in webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")


@contextmanager
def working(engine: Engine, settings: Settings) -> Iterator[None]:
    """A worker at it, for which holds end at once."""
    stopping = threading.Event()
    drain = Drain(engine, settings, lambda: True)
    release = text("UPDATE work SET due_at = clock_timestamp() WHERE lane = 'release'")

    def work() -> None:
        while not stopping.is_set():
            drain.run()
            with engine.begin() as connection:
                connection.execute(release)
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        drain.stop()


def idle(engine: Engine) -> bool:
    with engine.connect() as connection:
        return not connection.execute(text("SELECT count(*) FROM work")).scalar_one()


def refusing(post: Post) -> Misbehaviour | None:
    """Every third request is refused for good, and nothing of it is counted."""
    if post.destination == "webhook" and post.number % 3 == 0:
        return Misbehaviour(status=400, body=b"no", effect=False)
    return None


def test_everything_replayed_five_times_during_live_traffic_has_no_further_effect(
    engine: Engine, with_destinations: Callable[..., Settings]
) -> None:
    story = simulate(seed=4, customers=15, now=1_790_000_000)
    webhooks = list(story.webhooks)
    random.Random(4).shuffle(webhooks)
    slices = [webhooks[start::6] for start in range(6)]
    replayed = []
    with receiver(script=refusing) as tools:
        settings = with_destinations(
            amplitude={"api_key": AMPLITUDE_KEY, "url": tools.amplitude_url},
            webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url},
        )

        def once_more(**asked: Any) -> int:
            with engine.begin() as connection:
                planned = plan(connection, settings, Wanted(**asked))
                return replay(connection, planned, who="tests", why="", asked=asked, rate=10_000)

        with working(engine, settings):
            post(engine, slices[0])
            for live in slices[1:]:
                posting = threading.Thread(target=post, args=(engine, live))
                posting.start()
                rehearse(engine, settings, ids(engine, "id <= 60"))
                replayed.append((once_more(type="*"), once_more(dead=True)))
                posting.join()
                time.sleep(0.3)
            tools.script = None
            until = time.monotonic() + 60
            while not idle(engine) or once_more(dead=True):
                assert time.monotonic() < until, "it was not drained in time"
                time.sleep(0.1)
        totals = tools.snapshot()

    with engine.connect() as connection:
        booked = {currency: minor for currency, _, minor in ledger.totals(connection)}
        counts = browse.counts(connection)
        told = browse.told_by_name(connection)
    expected = story.expected
    facts = sum(expected.counts.values())
    assert len(replayed) == 5
    assert all(events for events, _ in replayed[1:])
    assert sum(sent for _, sent in replayed) > 0
    assert booked == expected.revenue
    assert told == dict(expected.counts)
    assert counts.deliveries == {(name, "delivered"): facts for name in ("amplitude", "webhook")}
    for tool in (totals.amplitude, totals.webhook):
        assert (tool.distinct, tool.duplicates, tool.defects) == (facts, 0, {})
        assert tool.revenue_minor == {
            name: minor for name, minor in expected.revenue.items() if minor
        }
