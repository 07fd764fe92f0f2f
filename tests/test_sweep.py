"""The sweep: one leader for all workers, soon another, and nobody idle without Redis."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import Engine

from app.drain import Drain
from app.local.stores import Stores
from app.queue import connect
from app.store.leader import Leadership
from tests.test_deliver import sql, wait
from workers.serve import OVERDUE, _sweep, look

TAKES_OVER = 3.0  # seconds, where the one that led is gone or silent for one


class Resigning(Leadership):
    """For `closing`."""

    close = Leadership.resign


@pytest.fixture
def candidates(engine: Engine) -> Iterator[list[Leadership]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Resigning(engine, silence=1.0))) for _ in range(3)]


def leaders(candidates: list[Leadership]) -> list[bool]:
    return [one.take() for one in candidates]


def test_one_leads_and_goes_on_leading(candidates: list[Leadership]) -> None:
    assert [leaders(candidates) for _ in range(3)] == [[True, False, False]] * 3


def test_whoever_resigns_is_followed_as_soon_as_its_session_has_ended(engine: Engine) -> None:
    first, second = Leadership(engine), Leadership(engine)
    assert leaders([first, second]) == [True, False]
    first.resign()
    began = time.monotonic()
    wait(second.take)

    assert time.monotonic() - began < TAKES_OVER
    second.resign()


def test_whoever_loses_its_connection_has_lost_the_lead(
    engine: Engine, candidates: list[Leadership]
) -> None:
    leaders(candidates)
    sql(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
    )
    wait(candidates[1].take)

    assert leaders(candidates) == [False, True, False]


def test_whoever_is_frozen_is_followed_within_seconds(candidates: list[Leadership]) -> None:
    leaders(candidates)
    began = time.monotonic()
    wait(candidates[1].take)  # the first one says nothing meanwhile

    assert 0.5 < time.monotonic() - began < TAKES_OVER
    assert leaders(candidates) == [False, True, False]


def test_a_postgres_that_is_away_is_asked_again(
    engine: Engine, candidates: list[Leadership]
) -> None:
    leaders(candidates)
    sql(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    wait(lambda: any(leaders(candidates)))
    assert sum(leaders(candidates)) == 1


def test_no_two_advisory_locks_are_the_same() -> None:
    """Measuring would wait for the leader's end."""
    files = (Path(__file__).parents[1] / "app").rglob("*.py")
    keys = [key for file in files for key in re.findall(r"_LOCK = ([\d_]+)", file.read_text())]

    assert len(keys) >= 3
    assert len(set(keys)) == len(keys)


class Due:
    """A drain with something due for so many seconds; it counts how often it is run."""

    def __init__(self, waited: float | None) -> None:
        self.waited, self.runs = waited, 0

    def oldest_due(self) -> float | None:
        return self.waited

    def run(self) -> bool:
        self.runs += 1
        return True


@pytest.fixture
def redis(stores: Stores) -> Redis:
    return connect(stores.redis_url)


@pytest.fixture
def away() -> Redis:
    return connect("redis://127.0.0.1:1/0")


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[Redis]:
    """Every ring that Redis took."""
    rings: list[Redis] = []

    def ring(redis: Redis) -> bool:
        rings.append(redis)
        return bool(redis.ping())

    monkeypatch.setattr("workers.serve.ring", ring)
    return rings


Look = Callable[[float | None, Redis | None], tuple[int, int]]


@pytest.fixture
def looks(candidates: list[Leadership], rung: list[Redis]) -> Look:
    """How often two workers, the leader and another, ran their drains in one look each."""

    def both(waited: float | None, redis: Redis | None) -> tuple[int, int]:
        drains = [Due(waited), Due(waited)]
        for drain, candidate in zip(drains, candidates, strict=False):
            look(cast(Drain, drain), redis, candidate)
        return drains[0].runs, drains[1].runs

    return both


def test_one_rings_for_all(looks: Look, redis: Redis, rung: list[Redis]) -> None:
    assert looks(0.0, redis) == (0, 0)
    assert rung == [redis]


def test_nothing_due_is_nothing_to_do(looks: Look, away: Redis, rung: list[Redis]) -> None:
    assert (looks(None, away), rung) == ((0, 0), [])


def test_the_leader_serves_what_nobody_came_for(
    looks: Look, redis: Redis, rung: list[Redis]
) -> None:
    assert looks(OVERDUE + 1, redis) == (1, 0)
    assert rung == []


@pytest.mark.parametrize("there", [True, False])
def test_without_redis_every_worker_serves(
    looks: Look, monkeypatch: pytest.MonkeyPatch, away: Redis, there: bool
) -> None:
    monkeypatch.setattr("workers.serve.ring", lambda redis: False)

    assert looks(0.0, away if there else None) == (1, 1)


def test_a_process_that_ends_leaves_the_lead_to_another(engine: Engine, redis: Redis) -> None:
    led: list[str] = []
    stops = {name: threading.Event() for name in "ab"}

    class Watched(Leadership):
        def __init__(self, name: str) -> None:
            super().__init__(engine)
            self.name = name

        def take(self) -> bool:
            leads = super().take()
            led.extend([self.name] * leads)
            return leads

    arguments: list[tuple[Any, ...]] = [
        (Due(None), redis, Watched(name), stop) for name, stop in stops.items()
    ]
    sweeps = [threading.Thread(target=_sweep, args=each, daemon=True) for each in arguments]
    for sweep in sweeps:
        sweep.start()
    wait(lambda: len(led) >= 2)
    [first] = set(led)
    other = "b" if first == "a" else "a"
    stops[first].set()
    began = time.monotonic()
    wait(lambda: other in led)
    assert time.monotonic() - began < TAKES_OVER, "Postgres would have ended its session by itself"
    stops[other].set()
    for sweep in sweeps:
        sweep.join(10)

    assert not any(sweep.is_alive() for sweep in sweeps)
