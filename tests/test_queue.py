"""The doorbell: rung once for many, and never in the way of an answer to Stripe."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from app.local.stores import Stores
from app.queue import BELL, BELL_LASTS, JOB, QUEUE, answers, connect, ring, silence

QUICK = 0.5  # seconds


@pytest.fixture
def redis(stores: Stores) -> Redis:
    return connect(stores.redis_url)


@pytest.fixture
def full(redis: Redis) -> Iterator[Redis]:
    """A Redis that takes no more writes."""
    redis.config_set("maxmemory", "1")
    yield redis
    redis.config_set("maxmemory", "0")


@pytest.fixture
def hung() -> Iterator[str]:
    """The URL of a Redis that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture
def refusing() -> str:
    """The URL of a Redis that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0"


def jobs(redis: Redis) -> list[tuple[str, tuple[object, ...], dict[str, object]]]:
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
    return [(job.func_name, tuple(job.args), job.kwargs) for job in queue.jobs]


def swallowed(redis: Redis) -> tuple[bool, float]:
    """What `ring` said, and the seconds that it and `silence` took at most."""
    began = time.monotonic()
    answer = ring(redis)
    rung = time.monotonic()
    silence(redis)
    return answer, max(rung - began, time.monotonic() - rung)


def test_many_rings_leave_one_job_that_says_drain_and_nothing_else(redis: Redis) -> None:
    assert [ring(redis) for _ in range(50)] == [True] * 50

    assert jobs(redis) == [(JOB, (), {})]


def test_after_silence_it_rings_again(redis: Redis) -> None:
    ring(redis)
    silence(redis)
    ring(redis)

    assert jobs(redis) == [(JOB, (), {})] * 2


def test_a_lost_wakeup_blocks_the_next_for_two_seconds_at_most(redis: Redis) -> None:
    ring(redis)

    assert 0 < redis.pttl(BELL) <= BELL_LASTS == 2000


def test_a_redis_that_was_flushed_is_rung_as_any_other(redis: Redis) -> None:
    ring(redis)
    redis.flushall()

    assert ring(redis)
    assert jobs(redis) == [(JOB, (), {})]


def test_a_redis_that_is_not_there_is_passed_over(refusing: str) -> None:
    answer, seconds = swallowed(connect(refusing))

    assert answer is False
    assert seconds < QUICK


def test_a_redis_is_there_if_it_answers_in_time(redis: Redis, hung: str, refusing: str) -> None:
    began = time.monotonic()

    assert [answers(each) for each in (redis, connect(hung), connect(refusing))] == [
        True,
        False,
        False,
    ]
    assert time.monotonic() - began < QUICK


def test_a_socket_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    answer, seconds = swallowed(connect(f"unix://{tmp_path}/nowhere"))

    assert answer is False
    assert seconds < QUICK


def test_a_redis_that_hangs_is_passed_over_in_time(hung: str) -> None:
    for _ in range(3):
        answer, seconds = swallowed(connect(hung))

        assert answer is False
        assert seconds < QUICK


def test_a_full_redis_is_passed_over_and_rung_once_there_is_room(full: Redis) -> None:
    assert swallowed(full)[0] is False

    full.config_set("maxmemory", "0")
    assert ring(full)
    assert jobs(full) == [(JOB, (), {})]


def test_a_redis_that_speaks_nonsense_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        listener.settimeout(5)

        def nonsense() -> None:
            for _ in range(2):
                with listener.accept()[0] as peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    peer.recv(4096)

        thread = Thread(target=nonsense, daemon=True)
        thread.start()
        answer, seconds = swallowed(client)
        thread.join()

    assert answer is False
    assert seconds < QUICK
