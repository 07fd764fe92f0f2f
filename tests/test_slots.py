"""Lane slots: as many as the setting says, one where a destination hangs, none for the dead."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from app.demo.receiver import WEBHOOK_SECRET, Post, Receiver, receiver
from app.drain import Drain
from app.settings import Settings
from app.slots import Slots
from app.store import health, work
from tests.test_deliver import DELIVERED, owe, quiet, resume, sql, states, wait

pytestmark = pytest.mark.usefixtures("planted")
LANE = "to:webhook"


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def webhook(with_destinations: Callable[..., Settings], tools: Receiver) -> Settings:
    return with_destinations(webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.slots.LEASE", 0.4)
    monkeypatch.setattr("app.slots.BEAT", 0.1)


def take(engine: Engine, slots: int = 2, seconds: float = 30.0) -> tuple[int, int] | None:
    with engine.begin() as connection:
        return work.take_slot(connection, LANE, slots, seconds)


def free_all(engine: Engine) -> None:
    sql(engine, "UPDATE lane_slots SET leased_until = clock_timestamp()")


def time_out(engine: Engine) -> None:
    with engine.begin() as connection:
        health.failed(connection, "webhook", "ReadTimeout", 1, timed_out=True)


def answered(engine: Engine) -> None:
    with engine.begin() as connection:
        health.succeeded(connection, "webhook", health.look(connection, "webhook").at)


def test_workers_that_come_at_once_get_every_free_slot(engine: Engine) -> None:
    workers = 6
    barrier = threading.Barrier(workers)

    def come(_: int) -> tuple[int, int] | None:
        barrier.wait()
        return take(engine, slots=3)

    with ThreadPoolExecutor(workers) as pool:
        for round_ in range(25):
            if round_ % 5 == 0:  # the first time there are no rows yet
                sql(engine, "DELETE FROM lane_slots")
            free_all(engine)
            taken = sorted(one[0] for one in pool.map(come, range(workers)) if one)
            assert taken == [1, 2, 3]


def test_nobody_waits_for_a_slot_that_is_being_taken(engine: Engine) -> None:
    take(engine)
    free_all(engine)
    with engine.begin() as other:
        assert work.take_slot(other, LANE, 2, 30.0) == (1, 2)  # not committed yet
        assert take(engine) == (2, 1)


def test_a_lane_that_timed_out_has_one_slot_until_it_answers(engine: Engine) -> None:
    time_out(engine)
    assert [take(engine), take(engine)] == [(1, 1), None]

    answered(engine)
    assert [take(engine), take(engine)] == [(2, 1), None]


def test_whoever_holds_a_second_slot_of_a_lane_that_timed_out_loses_it(engine: Engine) -> None:
    held = [(LANE, *one) for one in (take(engine), take(engine)) if one]
    time_out(engine)

    with engine.begin() as connection:
        assert work.keep_slots(connection, held, 2, 30.0) == {(LANE, 1, 1)}


@pytest.mark.usefixtures("hurried")
def test_a_slot_is_kept_while_it_is_used_and_free_right_after(engine: Engine) -> None:
    with Slots(engine, 1).hold(LANE) as slot:
        assert slot is not None
        ends = time.monotonic() + 1.2
        while time.monotonic() < ends:
            assert take(engine, slots=1) is None
            time.sleep(0.05)
        assert not slot.lost

    assert take(engine, slots=1) == (1, 2)


@pytest.mark.usefixtures("hurried")
def test_a_slot_of_a_worker_that_is_no_more_is_soon_anothers(engine: Engine) -> None:
    take(engine, slots=1, seconds=0.4)  # and then it was killed
    began = time.monotonic()
    wait(lambda: take(engine, slots=1) is not None)

    assert 0.3 < time.monotonic() - began < 2


@pytest.mark.usefixtures("hurried")
def test_whoever_was_away_too_long_learns_that_its_slot_is_lost(engine: Engine) -> None:
    with Slots(engine, 1).hold(LANE) as slot:
        assert slot is not None
        free_all(engine)
        taken = take(engine, slots=1)
        wait(lambda: slot.lost)

    assert taken == (1, 2)
    assert take(engine, slots=1) is None, "the other one's slot was not freed"


@pytest.mark.usefixtures("hurried")
def test_a_worker_that_lost_its_slot_ends_with_the_post_in_hand(
    engine: Engine, webhook: Settings, tools: Receiver
) -> None:
    def script(_post: Post) -> None:
        free_all(engine)
        assert take(engine, slots=1)
        time.sleep(0.5)  # in which it learns of it

    tools.script = script
    owe(engine, webhook, 1, 2, 3)
    worker = Drain(engine, replace(webhook, lane_workers=1), lambda: True)
    worker.run()
    wait(quiet)

    assert states(engine) == {1: DELIVERED, 2: ("pending", None), 3: ("pending", None)}
    assert sql(engine, "SELECT ref_id, leased FROM work ORDER BY 1") == [(2, False), (3, False)]


@pytest.mark.usefixtures("hurried")
def test_a_slot_outlives_a_broken_connection(engine: Engine) -> None:
    with Slots(engine, 1).hold(LANE) as slot:
        assert slot is not None
        sql(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        time.sleep(1.0)
        assert not slot.lost
        assert take(engine, slots=1) is None


@pytest.mark.usefixtures("hurried")
def test_a_hanging_destination_is_tried_by_one_worker_and_a_mended_one_by_all(
    engine: Engine, webhook: Settings, tools: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.deliver.DEADLINE", 0.3)
    monkeypatch.setattr("app.deliver.CLAIM", 1)
    crowds: list[int] = []
    there: set[int] = set()
    hanging = True

    def script(post: Post) -> None:
        there.add(post.number)
        crowds.append(len(there))
        time.sleep(0.5 if hanging else 0.1)
        there.discard(post.number)

    tools.script = script
    owe(engine, webhook, *range(1, 31))
    workers = [Drain(engine, webhook, lambda: True) for _ in range(3)]

    def run() -> None:
        for worker in workers:
            worker.run()
        time.sleep(0.02)

    def until(done: Callable[[], bool]) -> None:
        def served() -> bool:
            run()
            return done()

        wait(served)

    until(lambda: sql(engine, "SELECT timed_out FROM destinations_health") == [(True,)])
    wait(quiet)
    time.sleep(0.6)  # what hangs at the destination ends
    crowds.clear()
    until(lambda: len(crowds) >= 4)
    # A POST that was given up hangs on at the destination's side, beside the next one.
    assert max(crowds) <= 2

    hanging = False
    wait(lambda: not there)
    crowds.clear()

    def mended() -> bool:
        resume(engine)
        make_due_unleased(engine)
        return all(one == DELIVERED for one in states(engine).values())

    until(mended)
    for worker in workers:
        worker.stop()

    assert max(crowds) == webhook.lane_workers == 2
    assert sql(engine, "SELECT timed_out FROM destinations_health") == [(False,)]


def make_due_unleased(engine: Engine) -> None:
    sql(engine, "UPDATE work SET due_at = clock_timestamp() WHERE NOT leased")
