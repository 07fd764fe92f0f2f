"""Nothing acknowledged is lost and everything arrives once, whatever dies, hangs or comes back.

The sums are the simulated SaaS's own; the pretend tools count by what they dedupe by, and take a
note when one id ever comes with other bytes.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Callback, Job
from rq.registry import StartedJobRegistry
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.webhook import Webhook as RqWebhook
from sqlalchemy import Engine

from app.demo.receiver import Misbehaviour, Post, Receiver, receiver
from app.demo.saas import Story, simulate
from app.local.stores import EmbeddedStores
from app.queue import BELL, JOB, QUEUE, connect, ring
from app.store import ledger
from tests.faults.bridge import Bridge, Sent, bridge, wait

MARK = "tests.faults.test_faults.mark"


@pytest.fixture
def tools() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def up(
    embedded: EmbeddedStores, engine: Engine, tools: Receiver, tmp_path: Path
) -> Iterator[Bridge]:
    with bridge(embedded.current, engine, tools, tmp_path) as running:
        yield running


@pytest.fixture
def redis(embedded: EmbeddedStores, engine: Engine) -> Redis:
    return connect(embedded.current.redis_url)


@pytest.fixture(scope="module")
def story() -> Story:
    return simulate(seed=3, customers=6, now=int(time.time()))


def check(up: Bridge, tools: Receiver, story: Story) -> None:
    """Everything that was to be told was told, to everyone, with one effect each."""
    expected = story.expected
    with up.engine.connect() as connection:
        booked = {currency: minor for currency, _, minor in ledger.totals(connection)}
    assert booked == expected.revenue
    told = sum(expected.counts.values())
    states = up.sql("SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2 ORDER BY 1")
    assert states == [("amplitude", "delivered", told), ("webhook", "delivered", told)]
    totals = tools.snapshot()
    for counted in (totals.amplitude, totals.webhook):
        assert counted.distinct == told
        assert counted.revenue_minor == expected.revenue
        assert counted.defects == {}


def p99(sent: list[Sent]) -> float:
    seconds = sorted(each for one in sent for each in one.seconds)
    return seconds[int(0.99 * (len(seconds) - 1))]


class FirstHangs:
    """The first POST to each tool hangs until `release`; then it has its effect and an answer.

    With `second`, the second POST hangs until `release_second`.
    """

    def __init__(self, *, second: bool = False) -> None:
        self.release, self.release_second = threading.Event(), threading.Event()
        if not second:
            self.release_second.set()

    def __call__(self, post: Post) -> None:
        patience = 12  # less than a worker's own with a tool
        if post.number == 1:
            self.release.wait(patience)
        elif post.number == 2:
            self.release_second.wait(patience)


def test_a_worker_killed_between_post_and_finish_loses_nothing_and_doubles_nothing(
    up: Bridge, tools: Receiver, story: Story
) -> None:
    tools.script = hangs = FirstHangs()
    up.web()
    up.post(story.webhooks)
    worker = up.worker()
    wait(lambda: min(_requests(tools)) > 0, "both tools have a POST in hand")
    worker.kill()
    hangs.release.set()
    assert up.sql("SELECT count(*) > 0 FROM work WHERE leased") == [(True,)]

    up.worker()
    up.expire_leases()
    up.wait_until_delivered()

    check(up, tools, story)
    assert tools.snapshot().amplitude.duplicates > 0, "the kill came before the finish"
    assert up.sql("SELECT max(crashes) FROM work") == [(None,)]


def _requests(tools: Receiver) -> tuple[int, int]:
    totals = tools.snapshot()
    return totals.amplitude.requests, totals.webhook.requests


def test_workers_killed_again_and_again_lose_nothing_and_double_nothing(
    up: Bridge, tools: Receiver, story: Story
) -> None:
    tools.script = lambda post: Misbehaviour(delay=0.02)
    up.web()
    with up.posting(story.webhooks) as posted:
        for _ in range(3):
            before = sum(_requests(tools))
            worker = up.worker()
            wait(lambda seen=before: sum(_requests(tools)) > seen + 5, "it delivers")  # type: ignore[misc]
            worker.kill()
            up.expire_leases()
        up.worker()
        posted.result()
    up.wait_until_delivered()

    check(up, tools, story)


def test_a_worker_told_to_stop_gives_back_what_it_has_and_nothing_is_sent_twice(
    up: Bridge, tools: Receiver, story: Story
) -> None:
    tools.script = hangs = FirstHangs()
    up.web()
    up.post(story.webhooks)
    worker = up.worker()
    up.wait_until_processed()
    wait(lambda: min(_requests(tools)) > 0, "both tools have a POST in hand")

    threading.Timer(1, hangs.release.set).start()
    assert worker.terminate() < 25

    assert worker.exit_code == 0
    assert len(worker.said("worker.stopped")) == 1
    assert up.sql("SELECT count(*) > 0 FROM work") == [(True,)], "there was more to deliver"
    assert up.sql("SELECT count(*) FROM work WHERE leased OR attempts + crashes > 0") == [(0,)]
    up.worker()
    up.wait_until_delivered()
    check(up, tools, story)
    totals = tools.snapshot()
    assert (totals.amplitude.duplicates, totals.webhook.duplicates) == (0, 0)


def test_a_worker_frozen_past_its_lease_changes_nothing_when_it_wakes(
    up: Bridge, tools: Receiver, story: Story
) -> None:
    tools.script = hangs = FirstHangs(second=True)
    up.web()
    up.post(story.webhooks)
    frozen = up.worker()
    up.wait_until_processed()  # else it holds locks that Postgres takes from it after 30 s
    wait(lambda: min(_requests(tools)) == 1, "both tools have a POST in hand")
    frozen.freeze()
    hangs.release.set()
    lost = "SELECT lane, ref_id, token FROM work WHERE leased ORDER BY 1, 2"
    before = up.sql(lost)
    up.expire_leases()
    up.worker()
    wait(lambda: min(_requests(tools)) == 2, "the other worker has the same rows in hand")
    held = up.sql(lost)
    assert {row[:2] for row in before} <= {row[:2] for row in held}

    frozen.thaw()
    wait(lambda: len(frozen.said("deliver.fenced")) >= 2, "both lanes found that they were fenced")

    assert set(held) <= set(up.sql(lost))
    hangs.release_second.set()
    up.wait_until_delivered()
    assert frozen.alive
    check(up, tools, story)


def test_a_flushed_redis_loses_nothing(
    up: Bridge, tools: Receiver, story: Story, redis: Redis
) -> None:
    up.web()
    up.worker()
    with up.posting(story.webhooks) as posted:
        for _ in range(10):
            redis.flushall()
            time.sleep(0.1)
        sent = posted.result()
    up.wait_until_delivered()

    assert {one.refused for one in sent} == {0}
    check(up, tools, story)


def test_without_redis_the_webhook_answers_as_fast_and_the_sweep_delivers(
    embedded: EmbeddedStores, up: Bridge, tools: Receiver, story: Story
) -> None:
    embedded.kill_valkey()
    try:
        up.web()
        worker = up.worker()
        sent = up.post(story.webhooks)
        up.wait_until_delivered()
        assert worker.alive
        assert worker.terminate() < 25
    finally:
        embedded.start_valkey()

    assert {one.refused for one in sent} == {0}
    assert p99(sent) < 0.5
    check(up, tools, story)


def test_with_a_hung_redis_the_webhook_answers_as_fast_and_the_sweep_delivers(
    embedded: EmbeddedStores, up: Bridge, tools: Receiver, story: Story
) -> None:
    up.web()
    worker = up.worker()
    os.kill(embedded.current.valkey_pid, signal.SIGSTOP)
    try:
        sent = up.post(story.webhooks)
        up.wait_until_delivered()
    finally:
        os.kill(embedded.current.valkey_pid, signal.SIGCONT)

    assert {one.refused for one in sent} == {0}
    assert p99(sent) < 0.5
    assert worker.alive
    check(up, tools, story)


def test_a_worker_with_nothing_in_hand_stops_within_seconds_while_redis_hangs(
    embedded: EmbeddedStores, up: Bridge
) -> None:
    worker = up.worker()
    wait_until_the_bell_is_answered(up, connect(embedded.current.redis_url))
    os.kill(embedded.current.valkey_pid, signal.SIGSTOP)
    try:
        assert worker.terminate(12) < 10
    finally:
        os.kill(embedded.current.valkey_pid, signal.SIGCONT)
    assert worker.exit_code == 0


def test_a_killed_postgres_has_all_that_was_acknowledged_when_it_is_back(
    embedded: EmbeddedStores, up: Bridge, tools: Receiver, story: Story
) -> None:
    tools.script = lambda post: Misbehaviour(delay=0.01)
    up.web()
    worker = up.worker()
    with up.posting(story.webhooks) as posted:
        wait(lambda: up.sql("SELECT count(*) > 40 FROM webhook_events") == [(True,)], "under way")
        embedded.kill_postgres()
        time.sleep(0.5)
        try:
            embedded.start_postgres()
        finally:
            up.engine.dispose()
        sent = posted.result()

    kept = {event_id for (event_id,) in up.sql("SELECT event_id FROM webhook_events")}
    assert kept == {one.event_id for one in sent}
    assert sum(one.refused for one in sent) > 0, "it was away while webhooks came"
    up.expire_leases()
    up.wait_until_delivered()
    assert worker.alive
    check(up, tools, story)


def wait_until_the_bell_is_answered(up: Bridge, redis: Redis) -> float:
    """Seconds until a worker picks up a ring. Only RQ's side of a worker silences the bell; left
    alone, it lasts two seconds."""
    began = time.monotonic()

    def answered() -> bool:
        redis.delete(BELL)
        assert ring(redis)
        rung = time.monotonic()
        while time.monotonic() - rung < 1:
            if not redis.exists(BELL):
                return True
            time.sleep(0.01)
        return False

    wait(answered, "the bell is answered")
    return time.monotonic() - began


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_same_worker_answers_the_bell_of_a_restarted_redis(
    embedded: EmbeddedStores, up: Bridge, tools: Receiver, story: Story, redis: Redis, busy: bool
) -> None:
    up.web()
    worker = up.worker()
    wait_until_the_bell_is_answered(up, redis)
    hangs = FirstHangs()
    if busy:
        tools.script = hangs
        up.post(story.webhooks[: len(story.webhooks) // 2])
        wait(lambda: min(_requests(tools)) > 0, "both tools have a POST in hand")

    embedded.kill_valkey()
    embedded.start_valkey()
    hangs.release.set()

    assert wait_until_the_bell_is_answered(up, redis) < 10
    assert worker.alive
    up.post(story.webhooks)
    up.wait_until_delivered()
    check(up, tools, story)
    assert [wait_until_the_bell_is_answered(up, redis) < 0.5 for _ in range(5)] == [True] * 5


def test_after_a_long_absence_of_redis_the_bell_is_soon_answered_again(
    embedded: EmbeddedStores, up: Bridge, redis: Redis
) -> None:
    worker = up.worker()
    wait_until_the_bell_is_answered(up, redis)
    embedded.kill_valkey()
    try:
        time.sleep(8)  # RQ doubles its pause with each look in vain
    finally:
        embedded.start_valkey()

    assert wait_until_the_bell_is_answered(up, redis) < 3
    assert worker.alive


def mark(*_args: object) -> None:
    """What an attacker would like a worker to run."""
    Path(os.environ["MARK"]).touch()


def test_nothing_that_is_planted_in_redis_runs(
    up: Bridge, tools: Receiver, redis: Redis, tmp_path: Path
) -> None:
    """That each would run under RQ's own job class is shown in test_worker_jobs.py."""
    marked = tmp_path / "marked"
    for serializer in (JSONSerializer, DefaultSerializer):
        queue = Queue(QUEUE, connection=redis, serializer=serializer)
        queue.enqueue("os.system", f"touch {marked}")
        queue.enqueue("os.nothing", on_failure=Callback(MARK))
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
    hooks = [RqWebhook(tools.webhook_url, each) for each in ("finished", "failed")]
    queue.enqueue(JOB, on_success=Callback(MARK), webhooks=hooks)
    queue.enqueue(JOB, 1, on_failure=Callback(MARK), webhooks=hooks)
    _abandon(redis)

    worker = up.worker(MARK=str(marked))
    wait(queue.is_empty, "all of it is taken")
    seconds = [wait_until_the_bell_is_answered(up, redis) for _ in range(2)]

    assert not marked.exists()
    assert tools.snapshot().webhook.requests == 0
    assert worker.alive
    assert max(seconds) < 10


def _abandon(redis: Redis) -> None:
    """A job that looks as if its worker had died: RQ's clean-up runs its failure callback."""
    job = Job.create(
        JOB,
        on_failure=Callback(MARK),
        origin=QUEUE,
        connection=redis,
        serializer=JSONSerializer,
    )
    job.save()
    registry = StartedJobRegistry(QUEUE, connection=redis, serializer=JSONSerializer)
    redis.zadd(registry.key, {f"{job.id}:execution": 1})
