"""Delivery against pretend tools that misbehave: what is written down, and what is sent again."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, insert, text
from structlog.testing import capture_logs

from app.core.analytics import AnalyticsEvent, Identity, dedupe_id
from app.core.money import Money
from app.deliver import LEASE, deliver
from app.demo.receiver import (
    AMPLITUDE_KEY,
    WEBHOOK_SECRET,
    Destination,
    Misbehaviour,
    Post,
    Receiver,
    Script,
    receiver,
)
from app.destinations.http import Http
from app.destinations.judging import PROBE_AFTER, cut
from app.drain import Drain
from app.finish import PROBE
from app.history.replay import Wanted, plan, replay
from app.lane import Lane
from app.settings import Settings
from app.store import deliveries, health, work
from app.store.deliveries import SUSPECT
from app.store.schema import analytics_events

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
WAIT = 20.0  # seconds that a condition may take to come true
pytestmark = pytest.mark.usefixtures("planted")  # what is delivered does not matter here


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def amplitude(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(amplitude={"api_key": AMPLITUDE_KEY, "url": tools.amplitude_url})


@pytest.fixture
def webhook(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url})


@pytest.fixture
def both(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(
        amplitude={"api_key": AMPLITUDE_KEY, "url": tools.amplitude_url},
        webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url},
    )


def event(number: int) -> AnalyticsEvent:
    return AnalyticsEvent(
        key=f"payment:in_{number}",
        account="",
        livemode=False,
        name="payment_succeeded",
        occurred_at=NOW,
        identity=Identity(ids={"user_id": f"user_{number}", "device_id": f"device_{number}"}),
        properties={},
        revenue=Money(1000 + number, "usd"),
    )


def owe(engine: Engine, settings: Settings, *numbers: int) -> None:
    """Owe every destination these analytics events; with one destination, ids are 1, 2, ..."""
    with engine.begin() as connection:
        for one in map(event, numbers):
            row = {
                "account": one.account,
                "livemode": one.livemode,
                "key": one.key,
                "uuid": one.id,
                "schema_version": 2,
                "name": one.name,
                "occurred_at": one.occurred_at,
                "state": "released",
                "about": [],
                "properties": {},
                "held_until": NOW,
            }
            query = insert(analytics_events).values(row).returning(analytics_events.c.id)
            analytics_event = connection.execute(query).scalar_one()
            for destination in settings.destinations:
                dedupe = dedupe_id(destination.name, one.id)
                owed = {
                    "destination": destination.name,
                    "analytics_event_id": analytics_event,
                    "dedupe_id": dedupe,
                    "state": "pending",
                    "payload": destination.render(one, dedupe),
                    "reason": None,
                }
                deliveries.owe(connection, [owed])


def spoil(engine: Engine, delivery: int) -> None:
    """Make one frozen payload such as Amplitude refuses and names."""
    spoilt = """replace(convert_from(payload, 'UTF8'), '"USD"', '"dollars"')::bytea"""
    sql(engine, f"UPDATE deliveries SET payload = {spoilt} WHERE id = {delivery}")


def serve(engine: Engine, settings: Settings) -> Lane:
    """One claim of the one destination, as a worker's lane thread does it."""
    [destination] = settings.destinations
    with closing(Http(allow_local=True)) as http:
        lane = Lane(engine, destination, http)
        deliver(lane)
    return lane


def drain(engine: Engine, settings: Settings, until: Callable[[], bool]) -> None:
    """Run one worker's drain until that is true."""
    worker = Drain(engine, settings, lambda: True)

    def served() -> bool:
        worker.run()
        return until()

    wait(served)
    worker.stop()


def quiet() -> bool:
    """No lane is being served."""
    return not any(thread.name.startswith("to:") for thread in threading.enumerate())


def wait(until: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT
    while not until():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def sql(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        result = connection.execute(text(query))
        return [tuple(row) for row in result] if result.returns_rows else []


def make_due(engine: Engine) -> None:
    """The wait is over: retries, and the leases of workers that died."""
    sql(engine, "UPDATE work SET due_at = clock_timestamp()")


def resume(engine: Engine) -> None:
    """The suspension is over, if there is one."""
    sql(
        engine,
        "UPDATE destinations_health SET suspended_until = clock_timestamp()"
        " WHERE suspended_until > clock_timestamp()",
    )


def states(engine: Engine) -> dict[int, tuple[str, str | None]]:
    found = sql(engine, "SELECT id, state, reason FROM deliveries ORDER BY id")
    return {id_: (state, reason) for id_, state, reason in found}


def schedule(engine: Engine) -> dict[int, tuple[int, int, bool]]:
    """{delivery: (attempts, crashes, leased)} of what is not finished."""
    found = sql(engine, "SELECT ref_id, attempts, crashes, leased FROM work ORDER BY ref_id")
    return {id_: (attempts, crashes, leased) for id_, attempts, crashes, leased in found}


def due_in(engine: Engine) -> dict[int, float]:
    query = "SELECT ref_id, extract(epoch FROM due_at - clock_timestamp())::float8 FROM work"
    return dict(sql(engine, query))


def tries(engine: Engine) -> list[tuple[int, str, int | None]]:
    query = "SELECT delivery_id, outcome, status FROM attempts ORDER BY token, delivery_id"
    return [(delivery, outcome, status) for delivery, outcome, status in sql(engine, query)]


def suspended(engine: Engine) -> dict[str, float]:
    """Seconds for which each destination is still suspended."""
    query = """SELECT destination, extract(epoch FROM suspended_until - clock_timestamp())::float8
               FROM destinations_health WHERE suspended_until > clock_timestamp()"""
    return dict(sql(engine, query))


def recorded_health(engine: Engine) -> list[tuple[Any, ...]]:
    query = "SELECT destination, failures, suspended_until IS NULL, reason FROM destinations_health"
    return sql(engine, query)


def answers(*misbehaviours: Misbehaviour | None) -> Script:
    """These, one per request in order; honest after the last."""

    def script(post: Post) -> Misbehaviour | None:
        return misbehaviours[post.number - 1] if post.number <= len(misbehaviours) else None

    return script


def refusal(status: int, body: Any = b"", **headers: str) -> Misbehaviour:
    """An answer that took nothing; header names by keyword (`retry_after`)."""
    text_ = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Misbehaviour(status=status, headers=named, body=text_, effect=False)


DELIVERED = ("delivered", None)


# What a destination answers


def test_rows_that_amplitude_names_are_dead_with_its_words_and_their_neighbours_go_at_once(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    owe(engine, amplitude, 1, 2, 3, 4)
    spoil(engine, 2)

    serve(engine, amplitude)

    dead = ("dead", "400 invalid currency")
    assert states(engine) == {1: DELIVERED, 2: dead, 3: DELIVERED, 4: DELIVERED}
    assert schedule(engine) == {}
    assert sorted(tries(engine)) == [
        (1, "delivered", 200),
        (2, "rejected", 400),
        (3, "delivered", 200),
        (4, "delivered", 200),
    ]
    totals = tools.snapshot().amplitude
    assert (totals.requests, totals.distinct, totals.duplicates) == (2, 3, 0)


def test_a_400_that_names_nobody_is_halved_down_to_the_one_bad_row(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    def script(post: Post) -> Misbehaviour | None:
        bad = b"user_6" in post.body
        return refusal(400, {"code": 400, "error": "Invalid event JSON"}) if bad else None

    tools.script = script
    owe(engine, amplitude, *range(1, 9))

    serve(engine, amplitude)

    dead = ("dead", '400 {"code":400,"error":"Invalid event JSON"}')
    assert states(engine) == {id_: dead if id_ == 6 else DELIVERED for id_ in range(1, 9)}
    assert schedule(engine) == {}
    # All eight, then at each halving the bad part and its sister.
    assert tools.snapshot().amplitude.requests == 7
    assert Counter(id_ for id_, _, _ in tries(engine)) == Counter(range(1, 9))


def test_a_batch_that_is_too_large_is_halved_until_it_fits(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    def script(post: Post) -> Misbehaviour | None:
        return refusal(413) if post.body.count(b"insert_id") > 2 else None

    tools.script = script
    owe(engine, amplitude, *range(1, 8))

    serve(engine, amplitude)

    assert states(engine) == dict.fromkeys(range(1, 8), DELIVERED)
    assert tools.snapshot().amplitude.distinct == 7


def test_a_single_row_that_is_too_large_is_dead(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(413, {"code": 413, "error": "Payload too large"}))
    owe(engine, amplitude, 1)

    serve(engine, amplitude)

    assert states(engine) == {1: ("dead", '413 {"code":413,"error":"Payload too large"}')}


def test_a_throttled_device_waits_30_s_and_the_others_go_at_once(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    said = {"code": 429, "error": "Too many", "throttled_devices": {"device_2": 31}}
    tools.script = answers(refusal(429, said))
    owe(engine, amplitude, 1, 2, 3)

    serve(engine, amplitude)

    assert states(engine) == {1: DELIVERED, 2: ("pending", None), 3: DELIVERED}
    assert schedule(engine) == {2: (1, 0, False)}
    assert 25 < due_in(engine)[2] <= 30
    assert suspended(engine) == {}

    tools.script = None
    make_due(engine)
    serve(engine, amplitude)
    assert states(engine) == dict.fromkeys((1, 2, 3), DELIVERED)


def test_retry_after_makes_the_whole_lane_wait(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(429, retry_after="60"))
    owe(engine, webhook, 1, 2, 3)

    serve(engine, webhook)

    assert tools.snapshot().webhook.requests == 1
    assert schedule(engine) == {1: (1, 0, False), 2: (0, 0, False), 3: (0, 0, False)}
    assert 50 < suspended(engine)["webhook"] <= 60
    assert 50 < due_in(engine)[1] <= 60


def test_retry_after_holds_although_others_were_taken_a_moment_before(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = answers(None, None, refusal(429, retry_after="60"))
    owe(engine, webhook, 1, 2, 3, 4, 5)

    serve(engine, webhook)

    assert tools.snapshot().webhook.requests == 3
    assert 50 < suspended(engine)["webhook"] <= 60


def test_a_suspended_destination_is_left_alone_by_the_thread_that_learnt_it(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(429, retry_after="60")
    owe(engine, webhook, 1, 2, 3, 4, 5)

    drain(engine, webhook, until=quiet)

    assert tools.snapshot().webhook.requests == 1
    assert {id_: row[0] for id_, row in schedule(engine).items()} == {1: 1, 2: 0, 3: 0, 4: 0, 5: 0}


def test_refused_credentials_suspend_that_destination_and_no_other(
    engine: Engine, both: Settings, tools: Receiver
) -> None:
    def script(post: Post) -> Misbehaviour | None:
        words = b"who are you, a@b.example?"
        return refusal(401, words) if post.destination == "webhook" else None

    tools.script = script
    owe(engine, both, 1, 2, 3)

    with capture_logs() as logs:
        drain(engine, both, until=quiet)

    found = sql(engine, "SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2")
    assert sorted(found) == [("amplitude", "delivered", 3), ("webhook", "pending", 3)]
    assert tools.snapshot().webhook.requests == 1
    assert PROBE_AFTER - 10 < suspended(engine)["webhook"] <= PROBE_AFTER
    assert recorded_health(engine)[0][3] == "401 who are you, a@b.example?"
    said = [one["reason"] for one in logs if one["event"] == "deliver.suspended"]
    assert said == ["401 who are you, <email>"]


def test_a_refusal_of_our_credentials_burns_no_attempt(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(401)
    owe(engine, webhook, 1, 2)

    serve(engine, webhook)

    assert schedule(engine) == {1: (0, 0, False), 2: (0, 0, False)}


def test_a_mended_destination_is_found_by_its_probe(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(403))
    owe(engine, webhook, 1, 2)
    serve(engine, webhook)
    assert suspended(engine)["webhook"] > PROBE

    resume(engine)
    make_due(engine)
    serve(engine, webhook)
    assert sorted(states(engine).values()) == [DELIVERED, ("pending", None)]
    serve(engine, webhook)

    assert states(engine) == {1: DELIVERED, 2: DELIVERED}
    assert recorded_health(engine) == [("webhook", 0, True, None)]


@pytest.mark.parametrize("name", ["amplitude", "webhook"])
def test_errors_are_retried_with_backoff_and_the_same_bytes(
    engine: Engine, both: Settings, tools: Receiver, name: Destination
) -> None:
    bodies: list[bytes] = []

    def script(post: Post) -> Misbehaviour | None:
        bodies.append(post.body)
        return refusal(500, b"oh no") if post.number < 3 else None

    tools.script = script
    settings = only(both, name)
    owe(engine, settings, 1)
    for ceiling in (5, 10):
        serve(engine, settings)
        assert 0.5 < due_in(engine)[1] <= ceiling
        make_due(engine)
    serve(engine, settings)

    assert states(engine) == {1: DELIVERED}
    assert tries(engine) == [(1, "retry", 500), (1, "retry", 500), (1, "delivered", 200)]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1


def only(settings: Settings, name: str) -> Settings:
    wanted = tuple(one for one in settings.destinations if one.name == name)
    return replace(settings, destinations=wanted)


@pytest.mark.parametrize("name", ["amplitude", "webhook"])
def test_a_connection_that_drops_after_the_effect_makes_a_second_post_and_one_effect(
    engine: Engine, both: Settings, tools: Receiver, name: Destination
) -> None:
    tools.script = answers(Misbehaviour(drop=True))
    settings = only(both, name)
    owe(engine, settings, 1)
    serve(engine, settings)
    assert states(engine) == {1: ("pending", None)}

    make_due(engine)
    serve(engine, settings)

    totals = getattr(tools.snapshot(), name)
    assert states(engine) == {1: DELIVERED}
    assert [outcome for _, outcome, _ in tries(engine)] == ["retry", "delivered"]
    assert (totals.events, totals.distinct, totals.defects) == (2, 1, {})
    assert totals.revenue_minor == {"usd": 1001}


def test_a_200_that_is_no_json_is_taken_and_kept_to_be_read(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = answers(Misbehaviour(status=200, body=b"OK\0 \xff welcome"))
    owe(engine, amplitude, 1)

    serve(engine, amplitude)

    assert states(engine) == {1: DELIVERED}
    assert sql(engine, "SELECT status, answer FROM attempts") == [(200, "OK \ufffd welcome")]


def test_a_200_that_says_it_failed_is_tried_again(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = answers(refusal(200, {"code": 500}))
    owe(engine, amplitude, 1)
    serve(engine, amplitude)
    assert states(engine) == {1: ("pending", None)}

    make_due(engine)
    serve(engine, amplitude)

    assert states(engine) == {1: DELIVERED}


def test_an_answer_is_kept_to_500_characters_and_without_secrets(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    said = f"no such key {AMPLITUDE_KEY} " + "x" * 5_000
    tools.script = answers(refusal(500, said.encode()))
    owe(engine, amplitude, 1)

    serve(engine, amplitude)

    kept = cut("no such key *** " + "x" * 5_000, 500)
    assert sql(engine, "SELECT status, answer FROM attempts") == [(500, kept)]
    assert len(kept) == 500


def test_when_the_dedupe_window_ends_it_is_dead_with_the_last_words(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500, b"oh no")
    owe(engine, amplitude, 1, 2)
    sql(engine, "UPDATE deliveries SET created_at = created_at - interval '7 days' WHERE id = 1")

    serve(engine, amplitude)

    dead = ("dead", "gave up after 7 days: 500 oh no")
    assert states(engine) == {1: dead, 2: ("pending", None)}
    assert schedule(engine) == {2: (1, 0, False)}


def test_what_may_have_arrived_is_not_sent_again_once_the_window_ended(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500, b"oh no")
    owe(engine, amplitude, 1)
    serve(engine, amplitude)
    sql(engine, "UPDATE deliveries SET created_at = created_at - interval '7 days'")
    sql(engine, "UPDATE work SET due_at = clock_timestamp()")
    tools.script = lambda post: None

    serve(engine, amplitude)

    assert states(engine) == {1: ("dead", "gave up after 7 days")}
    assert schedule(engine) == {}
    assert tools.snapshot().amplitude.distinct == 0


def test_a_replayed_delivery_whose_turn_comes_after_the_window_is_not_sent(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    owe(engine, amplitude, 1, 2)
    sql(engine, "DELETE FROM work")
    sql(engine, "UPDATE deliveries SET state = 'dead', reason = '400 no'")
    with engine.begin() as connection:
        again = plan(connection, amplitude, Wanted(ids=["1"]))
        anyway = plan(connection, amplitude, Wanted(ids=["2"], allow_duplicates=True))
        replay(connection, again, who="tests", why="", asked={})
        replay(connection, anyway, who="tests", why="", asked={})
    sql(engine, "UPDATE deliveries SET created_at = created_at - interval '7 days'")

    serve(engine, amplitude)

    assert states(engine) == {1: ("dead", "gave up after 7 days"), 2: ("delivered", None)}
    assert tools.snapshot().amplitude.distinct == 1


# The breaker


def test_the_breaker_opens_after_20_failed_requests_and_the_first_success_closes_it(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500, b"oh no")
    owe(engine, amplitude, 1)
    pauses = []
    for _ in range(22):
        resume(engine)
        make_due(engine)
        serve(engine, amplitude)
        pauses.append(suspended(engine).get("amplitude", 0.0))

    assert [round(each / 30) for each in pauses] == [0] * 19 + [1, 2, 4]
    with engine.connect() as connection:
        assert work.due_lanes(connection, ["to:amplitude"]) == set()
    assert recorded_health(engine) == [("amplitude", 22, False, "500 oh no")]

    tools.script = None
    resume(engine)
    make_due(engine)
    serve(engine, amplitude)
    assert recorded_health(engine) == [("amplitude", 0, True, None)]
    assert states(engine) == {1: DELIVERED}


def test_the_breaker_counts_every_request_of_a_destination_that_takes_one_event_each(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500)
    owe(engine, webhook, *range(1, 41))

    drain(engine, webhook, until=quiet)

    assert tools.snapshot().webhook.requests == 20
    assert suspended(engine).keys() == {"webhook"}


def test_a_failure_now_and_then_does_not_open_the_breaker(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500) if post.number % 2 == 0 else None
    for number in range(0, 50, 2):
        owe(engine, webhook, number, number + 1)
        serve(engine, webhook)  # one is taken, the next is not
        sql(engine, "UPDATE work SET due_at = clock_timestamp() + interval '1 hour'")

    assert suspended(engine) == {}
    assert recorded_health(engine) == [("webhook", 1, True, "500")]


def test_after_the_pause_one_request_is_the_probe(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    tools.script = lambda post: refusal(500)
    owe(engine, webhook, 1, 2, 3, 4, 5)
    sql(
        engine,
        "INSERT INTO destinations_health (destination, failures, openings, suspended_until)"
        " VALUES ('webhook', 20, 1, clock_timestamp())",
    )

    drain(engine, webhook, until=quiet)

    assert tools.snapshot().webhook.requests == 1
    assert 50 < suspended(engine)["webhook"] <= 60


def test_a_post_that_began_before_a_suspension_does_not_lift_it(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    def script(_post: Post) -> None:
        with engine.begin() as connection:  # what another worker of this lane was told meanwhile
            health.suspend(connection, "webhook", 60, "429")

    tools.script = script
    owe(engine, webhook, 1)

    serve(engine, webhook)

    assert states(engine) == {1: DELIVERED}
    assert 50 < suspended(engine)["webhook"] <= 60


# Workers that die, and workers that were thought dead


def test_a_row_that_three_workers_died_with_is_sent_alone(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    sizes: list[int] = []

    def script(post: Post) -> None:
        sizes.append(post.body.count(b"insert_id"))

    tools.script = script
    owe(engine, amplitude, 1, 2, 3, 4)
    sql(engine, f"UPDATE work SET crashes = {SUSPECT} WHERE ref_id IN (2, 3)")

    for _ in range(3):
        serve(engine, amplitude)

    assert sizes == [2, 1, 1]
    assert states(engine) == dict.fromkeys((1, 2, 3, 4), DELIVERED)


def test_a_row_that_six_workers_died_with_is_dead_without_being_sent(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    owe(engine, amplitude, 1)
    for crash in range(6):
        with engine.begin() as connection:
            [row] = deliveries.claim(connection, "to:amplitude", 500, LEASE)
        assert row.crashes == crash
        make_due(engine)

    serve(engine, amplitude)

    assert states(engine) == {1: ("dead", "poison: 6 workers died with it in hand")}
    assert schedule(engine) == {}
    assert tools.snapshot().amplitude.requests == 0


def test_whoever_lost_a_lease_changes_nothing(engine: Engine, amplitude: Settings) -> None:
    owe(engine, amplitude, 1, 2, 3)
    lane = "to:amplitude"
    with engine.begin() as one, engine.begin() as other:
        stale = deliveries.claim(one, lane, 500, LEASE)
        one.commit()
        make_due(engine)
        fresh = deliveries.claim(other, lane, 500, LEASE)
        other.commit()
    before = states(engine), sql(engine, "SELECT * FROM work ORDER BY ref_id")

    with engine.begin() as one:
        finished = deliveries.finish(one, lane, [(row, "dead", "stale") for row in stale])
        moved = work.reschedule(one, lane, {row.id: (row.token, 0.0) for row in stale})
        work.give_back(one, lane, {row.id: row.token for row in stale})

    assert (finished, moved) == (0, 0)
    assert (states(engine), sql(engine, "SELECT * FROM work ORDER BY ref_id")) == before
    with engine.begin() as other:
        assert deliveries.finish(other, lane, [(row, *DELIVERED) for row in fresh]) == 3
    assert states(engine) == dict.fromkeys((1, 2, 3), DELIVERED)


def test_a_worker_whose_lease_ran_out_during_its_post_is_fenced_and_its_try_is_on_record(
    engine: Engine, amplitude: Settings, tools: Receiver
) -> None:
    def script(post: Post) -> Misbehaviour | None:
        if post.number > 1:
            return None
        make_due(engine)  # its lease falls due while it waits for the answer
        serve(engine, amplitude)
        return refusal(400, {"code": 400, "error": "Invalid event JSON"})

    tools.script = script
    owe(engine, amplitude, 1)

    lane = serve(engine, amplitude)

    assert lane.fenced == 1
    assert states(engine) == {1: DELIVERED}
    assert tries(engine) == [(1, "split", 400), (1, "delivered", 200)]


def test_what_was_claimed_and_not_sent_goes_back_with_its_attempt(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    [destination] = webhook.destinations
    owe(engine, webhook, 1, 2, 3)
    with closing(Http(allow_local=True)) as http:
        lane = Lane(engine, destination, http, lambda: tools.snapshot().webhook.requests > 0)
        deliver(lane)

    assert schedule(engine) == {2: (0, 0, False), 3: (0, 0, False)}
    assert states(engine) == {1: DELIVERED, 2: ("pending", None), 3: ("pending", None)}
    assert max(due_in(engine).values()) <= 0


# Lanes


def test_a_lane_has_so_many_slots_and_a_lost_one_stays_lost(engine: Engine) -> None:
    with engine.begin() as connection:

        def take() -> tuple[int, int] | None:
            return work.take_slot(connection, "to:webhook", 2, LEASE)

        first, second, third = take(), take(), take()
        assert (first, second, third) == ((1, 1), (2, 1), None)
        work.free_slot(connection, "to:webhook", 1, 1)
        assert take() == (1, 2)
        work.free_slot(connection, "to:webhook", 1, 1)  # no longer theirs to free
        held = [("to:webhook", *one) for one in ((1, 1), (1, 2), (2, 1))]
        assert work.keep_slots(connection, held, 2, LEASE) == set(held[1:])
        assert take() is None


def test_no_more_than_the_lanes_workers_post_at_once(
    engine: Engine, webhook: Settings, tools: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.deliver.CLAIM", 2)  # so that no one takes them all
    crowd = Crowd(0.05)
    tools.script = crowd
    owe(engine, webhook, *range(1, 41))

    workers = [Drain(engine, webhook, lambda: True) for _ in range(4)]

    def served() -> bool:
        for worker in workers:
            worker.run()
        return not schedule(engine)

    wait(served)
    for worker in workers:
        worker.stop()

    assert crowd.largest == webhook.lane_workers == 2
    assert states(engine) == dict.fromkeys(range(1, 41), DELIVERED)
    assert tools.snapshot().webhook.duplicates == 0


class Crowd:
    """A script under which each POST takes so long; `largest` were there at one time."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.largest, self._now = seconds, 0, 0
        self._lock = threading.Lock()

    def __call__(self, _post: Post) -> None:
        with self._lock:
            self._now += 1
            self.largest = max(self.largest, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1


def test_a_destination_that_hangs_does_not_delay_a_healthy_one(
    engine: Engine, both: Settings, tools: Receiver
) -> None:
    alone = _latencies(engine, only(both, "amplitude"), tools, range(1, 41))
    answered = threading.Event()

    def hang(post: Post) -> None:
        if post.destination == "webhook":
            answered.wait(WAIT)

    beside = _latencies(engine, both, tools, range(41, 81), hang, answered)

    limit = max(1.5 * _p95(alone), _p95(alone) + 0.2)
    assert _p95(beside) <= limit


def _latencies(
    engine: Engine,
    settings: Settings,
    tools: Receiver,
    numbers: range,
    script: Callable[[Post], None] = lambda post: None,
    release: threading.Event | None = None,
) -> list[float]:
    """Seconds from being owed to its POST, of each, one after the other, with one worker."""
    owed: dict[int, float] = {}
    came: dict[int, float] = {}

    def watch(post: Post) -> None:
        if post.destination == "amplitude":
            for one in orjson.loads(post.body)["events"]:
                came.setdefault(int(one["user_id"].removeprefix("user_")), time.monotonic())
        script(post)

    tools.script = watch
    worker = Drain(engine, settings, lambda: True)
    for number in numbers:
        owe(engine, settings, number)
        owed[number] = time.monotonic()
        _poll(worker, came, number)
    if release:
        assert tools.snapshot().webhook.requests <= settings.lane_workers, "it hung"
        release.set()
    worker.stop()
    return [came[number] - owed[number] for number in numbers]


def _poll(worker: Drain, came: Mapping[int, float], number: int) -> None:
    def served() -> bool:
        worker.run()
        return number in came

    wait(served)


def _p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.95 * (len(seconds) - 1))]
