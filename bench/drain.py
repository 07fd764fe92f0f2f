"""The drain: kept webhook events through process and deliver, alone and in a real worker."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from sqlalchemy import text

from app.core.envelope import open_envelope
from app.demo.receiver import receiver
from app.demo.saas import simulate
from app.process import process
from app.queue import connect, ring
from app.settings import load
from app.store.webhook_events import keep
from bench.room import Room, destinations, worker

PER_CUSTOMER = 12  # webhook events that a simulated customer makes at least, on average
PATIENCE = 300.0  # seconds until all must be delivered


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """One drain of all the events. CPU is Python's, of the process that drained."""

    what: str
    destinations: list[str]
    events: int  # webhook events
    deliveries: int  # that arrived at the tools
    held: int  # analytics events that still wait to learn whose they are
    seconds: float
    rate: float  # webhook events a second
    cpu_us: float  # per webhook event


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    load_average: float
    runs: list[Drained]


def measure(room: Room, *, events: int, targets: Sequence[Sequence[str]]) -> Drain:
    """For each set of destinations: process alone, then process and deliver by one worker."""
    busy = os.getloadavg()[0]
    bodies = _bodies(events)
    runs = [run(room, bodies, names) for names in targets for run in (_process_alone, _one_worker)]
    return Drain(load_average=busy, runs=runs)


def _bodies(events: int) -> list[bytes]:
    """Every webhook event of a story once, in the order in which they would be posted."""
    customers = 20 + events // PER_CUSTOMER
    story = simulate(seed=1, customers=customers, now=int(time.time()))
    return [one.body for one in story.webhooks if not one.duplicate][:events]


def _process_alone(room: Room, bodies: Sequence[bytes], names: Sequence[str]) -> Drained:
    room.empty()
    _keep(room, bodies)
    with receiver() as tools:  # for its addresses: process renders payloads and sends nothing
        settings = load(room.environment(**destinations(tools, names)))
    began, cpu = time.perf_counter(), time.process_time()
    while process(room.engine, settings):
        pass
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return _drained(room, "process", names, len(bodies), 0, seconds, cpu)


def _one_worker(room: Room, bodies: Sequence[bytes], names: Sequence[str]) -> Drained:
    room.empty()
    with receiver() as tools, worker(room, destinations(tools, names)) as alive:
        before = _cpu(alive)
        _keep(room, bodies)
        began = time.perf_counter()
        ring(connect(room.stores.redis_url))
        _wait_until_empty(room)
        seconds, cpu = time.perf_counter() - began, _cpu(alive) - before
        arrived = tools.snapshot()
    deliveries = arrived.amplitude.distinct + arrived.webhook.distinct
    return _drained(room, "worker", names, len(bodies), deliveries, seconds, cpu)


def _drained(
    room: Room,
    what: str,
    names: Sequence[str],
    events: int,
    deliveries: int,
    seconds: float,
    cpu: float,
) -> Drained:
    with room.engine.connect() as connection:
        held = connection.execute(text("SELECT count(*) FROM work WHERE lane = 'release'"))
        return Drained(
            what=what,
            destinations=list(names),
            events=events,
            deliveries=deliveries,
            held=held.scalar_one(),
            seconds=seconds,
            rate=events / seconds,
            cpu_us=cpu / events * 1e6,
        )


def _keep(room: Room, bodies: Sequence[bytes]) -> None:
    """In one commit, so that a worker finds all of them or none."""
    with room.engine.begin() as connection:
        for body in bodies:
            keep(connection, open_envelope(body), body, "webhook")


def _wait_until_empty(room: Room) -> None:
    """Until nothing is to be processed or delivered; held analytics events may wait on."""
    left = text("SELECT EXISTS (SELECT 1 FROM work WHERE lane <> 'release')")
    until = time.monotonic() + PATIENCE
    with room.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.execute(left).scalar_one():
            if time.monotonic() > until:
                raise RuntimeError("the worker did not finish")
            time.sleep(0.02)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
