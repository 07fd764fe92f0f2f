"""The faults, each a generator: it begins, yields the seconds to wait, and ends what it began.

`Director` runs them at random moments from the main thread, which owns every process; a fault that
has begun is always ended, also when the run is interrupted.
"""

import heapq
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psutil
import psycopg
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.deliver import LEASE
from app.failpoint import KILLED
from tests.faults import load as stripe
from tests.faults.load import Load
from tests.faults.proxy import BLACKHOLE, PASS, RESET, cut
from tests.faults.stage import BETWEEN, Place, Stage, is_stopped

PAST_LEASE = LEASE + 2.0  # seconds of a stop, at least: then others may claim the same rows
TAKEN_OVER = LEASE + 40.0  # seconds of a stop, at most: others have claimed them by then
TO_BE_FENCED = 4.0  # seconds after it in which the woken worker finds out
PAST = "stopped past the lease, another worker live"
STOP_AT_MOST = 40.0  # seconds that a worker told to stop may take
TICK = 0.05

Course = Iterator[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`every`: mean seconds between two of it; `of`: what it takes, never two at a time of one."""

    name: str
    what: str
    every: float
    begin: Callable[["Director"], Course]
    of: str = ""


@dataclass(slots=True)
class Instance:
    """One time that a fault was injected, in unix time."""

    fault: str
    begin: float
    end: float = 0.0
    detail: str = ""


@dataclass(order=True, slots=True)
class _Step:
    at: float
    number: int
    act: Callable[[], None] = field(compare=False)


class Director:
    """Injects the faults, keeps every place filled, and notes what was injected when."""

    def __init__(self, stage: Stage, load: Load, faults: Sequence[Fault]) -> None:
        self.stage, self.load, self.rng = stage, load, stage.rng
        self.instances: list[Instance] = []
        self.surprises: list[str] = []  # ends of processes that no fault of ours explains
        self.notes: Counter[str] = Counter()
        self._faults = list(faults)
        self._numbers = count()
        self._agenda: list[_Step] = []
        self._running: dict[int, tuple[Course, Instance, Fault | None]] = {}
        self._busy: set[str] = set()
        self._asides: list[threading.Thread] = []
        self.ending = False

    def start(self) -> None:
        for place in self.stage.places:
            self.stage.start_worker(place)
        for fault in self._faults:
            self._plan(fault)

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until that is so."""
        while not until():
            self.tick()
            time.sleep(TICK)

    def tick(self) -> None:
        """What is due now: steps of faults, and places that fell vacant."""
        while self._agenda and self._agenda[0].at <= time.monotonic():
            heapq.heappop(self._agenda).act()
        self._look_after_web()
        for place in self.stage.places:
            self._look_after(place)

    def count(self, query: str) -> int | None:
        """A number from Postgres; None while that is at fault itself."""
        if "postgres" in self._busy:
            return None
        try:
            [(number,)] = self.stage.sql(query)
        except psycopg.OperationalError:
            return None
        return int(number)

    def end(self) -> None:
        """Inject nothing more, end at once what is under way, and have every worker make place for
        one that nothing will happen to; `tick` goes on keeping them up."""
        self._agenda, self.ending = [], True
        for number in sorted(self._running):
            for _ in self._running[number][0]:
                time.sleep(TICK)
            self._over(number)
        for thread in self._asides:
            thread.join(60)
        self.stage.quiet()
        for place in self.stage.places:
            place.leaving = True
            if place.process is not None:
                place.process.signal(signal.SIGTERM)

    # --- the courses of faults

    def _plan(self, fault: Fault) -> None:
        wait = min(2.0, max(0.3, self.rng.expovariate(1.0))) * fault.every
        self._at(wait, lambda: self._inject(fault))

    def _inject(self, fault: Fault) -> None:
        if fault.of in self._busy:
            self._at(self.rng.uniform(0.5, 2), lambda: self._inject(fault))
            return
        self.follow(fault.name, fault.begin(self), fault)
        self._plan(fault)

    def follow(
        self, name: str, course: Course, fault: Fault | None = None, detail: str = ""
    ) -> None:
        """Take the first step of a course now, and the others in their time."""
        number, instance = next(self._numbers), Instance(name, time.time(), detail=detail)
        self.instances.append(instance)
        self._running[number] = course, instance, fault
        if fault is not None and fault.of:
            self._busy.add(fault.of)
        self._step(number)

    def _step(self, number: int) -> None:
        seconds = next(self._running[number][0], None)
        if seconds is None:
            self._over(number)
        else:
            self._at(seconds, lambda: self._step(number))

    def _over(self, number: int) -> None:
        _, instance, fault = self._running.pop(number)
        instance.end = time.time()
        if fault is not None:
            self._busy.discard(fault.of)

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, _Step(time.monotonic() + seconds, next(self._numbers), act))

    def aside(self, act: Callable[[], Any]) -> None:
        """On a thread of its own: it takes a while, and starts no process."""
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        self._asides = [one for one in self._asides if one.is_alive()] + [thread]

    # --- the processes

    def _look_after_web(self) -> None:
        if not self.stage.web.alive:
            self.stage.start_web()

    def _look_after(self, place: Place) -> None:
        process = place.process
        if process is None:
            return
        if not process.alive:
            self._replace(place, process.exit_code)
        elif not place.mortal and place.works and is_stopped(process):
            place.stopped = True
            self.follow("F3", frozen(self, place), detail=place.name)

    def _replace(self, place: Place, code: int | None) -> None:
        """Once, note why it ended; then, after a moment, start another one."""
        if not place.gone_at:
            place.gone_at = time.monotonic()
            self._note_end(place, code)
        elif time.monotonic() - place.gone_at > BETWEEN:
            place.gone_at = 0.0
            self.stage.start_worker(place)

    def _note_end(self, place: Place, code: int | None) -> None:
        if code == KILLED and place.failpoint:
            now = time.time()
            self.instances.append(Instance("F1", now, now, f"at {place.failpoint}"))
        elif code != -signal.SIGKILL and not (place.leaving and code in (0, -signal.SIGTERM)):
            self.surprises.append(f"{place.name} ended with {code}")


# --- workers


def killed(on: Director) -> Course:
    """SIGKILL at any moment."""
    victims = [place for place in on.stage.places if place.mortal and place.works]
    if victims:
        victim = on.rng.choice(victims).process
        assert victim is not None
        victim.signal(signal.SIGKILL)
    yield 0.0


def frozen(on: Director, place: Place) -> Course:
    """It stopped itself between a POST and its finish; others take over; then it wakes."""
    began, stopped_at = time.monotonic(), time.time()
    yield PAST_LEASE
    held = f"SELECT count(*) FROM work WHERE leased AND due_at < to_timestamp({stopped_at + LEASE})"
    witness = False
    while time.monotonic() - began < TAKEN_OVER and not on.ending:
        witness = witness or any(one.works for one in on.stage.places)
        if witness and on.count(held) == 0:
            break
        yield 0.5
    on.notes[PAST] += witness
    if place.process is not None:
        place.process.thaw()
    yield TO_BE_FENCED
    place.stopped = False


def deployed(on: Director) -> Course:
    """SIGTERM to a worker, now and then to the web server; each has its time to end in order."""
    places = [place for place in on.stage.places if place.mortal and place.works]
    if on.rng.random() < 0.05 or not places:
        on.stage.web.signal(signal.SIGTERM)
        yield 0.5
        return
    place = on.rng.choice(places)
    place.leaving, process, began = True, place.process, time.monotonic()
    assert process is not None
    process.signal(signal.SIGTERM)
    while process.alive and time.monotonic() - began < STOP_AT_MOST:
        yield 0.2
    if process.alive:
        on.surprises.append(f"{place.name} did not stop within {STOP_AT_MOST:.0f} s")
        process.signal(signal.SIGKILL)


# --- Redis


def _redis(on: Director) -> Redis:
    socket = str(on.stage.stores.current.run_dir / "r")
    return Redis(unix_socket_path=socket, socket_timeout=2, retry=Retry(NoBackoff(), 0))


def flushed(on: Director) -> Course:
    """FLUSHALL, in the middle of it."""
    with suppress(RedisError), _redis(on) as redis:
        redis.flushall()
    yield 0.0


def redis_killed(on: Director) -> Course:
    """SIGKILL; away for seconds, now and then for a minute."""
    on.stage.stores.kill_valkey()
    yield on.rng.choice((5, 5, 8, 12, 20, 60))
    on.stage.stores.start_valkey()


def redis_hung(on: Director) -> Course:
    """Stopped, or behind a wire that swallows all."""
    seconds = on.rng.uniform(3, 8)
    if on.rng.random() < 0.3:
        on.stage.redis_wire.mode = BLACKHOLE
        yield seconds
        on.stage.redis_wire.mode = PASS
        return
    pid = on.stage.stores.current.valkey_pid
    os.kill(pid, signal.SIGSTOP)
    yield seconds
    os.kill(pid, signal.SIGCONT)


def redis_full(on: Director) -> Course:
    """No write is taken for want of memory."""
    with suppress(RedisError), _redis(on) as redis:
        redis.config_set("maxmemory", "1mb")
    yield on.rng.uniform(5, 12)
    with suppress(RedisError), _redis(on) as redis:
        redis.config_set("maxmemory", "0")


# --- Postgres


def postgres_stopped(on: Director) -> Course:
    """Immediate stop, or SIGKILL of all of it; back after a moment, by recovery."""
    if on.rng.random() < 0.7:
        pid = on.stage.stores.current.postgres_pid
        os.kill(pid, signal.SIGQUIT)  # as `pg_ctl stop -m immediate`
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            psutil.Process(pid).wait(10)
    on.stage.stores.kill_postgres()
    yield on.rng.uniform(0.2, 2)
    on.stage.stores.start_postgres()


def postgres_hung(on: Director) -> Course:
    """The server and all its children stopped, or the web server's wire swallows all."""
    seconds = on.rng.uniform(3, 8)
    if on.rng.random() < 0.4:
        on.stage.postgres_wire.mode = BLACKHOLE
        yield seconds
        on.stage.postgres_wire.mode = PASS
        return
    for process in on.stage.postgres_processes():
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    yield seconds
    for process in reversed(on.stage.postgres_processes()):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def cut_in_commit(on: Director) -> Course:
    """The next replies of Postgres to the web server, or to a worker, never arrive: the door's
    statement commits as it ends, so that its outcome is unknown."""
    on.stage.postgres_wire.mode = cut(after=0, times=on.rng.randrange(1, 4))
    yield 1.0
    on.stage.postgres_wire.mode = PASS


# --- destinations


def one_dead(on: Director) -> Course:
    """One destination refuses, swallows or hangs; the other stays as it is."""
    to = on.rng.choice(sorted(on.stage.wires))
    wire, how = on.stage.wires[to], on.rng.choice(("reset", "blackhole", "hangs"))
    on.notes[f"{to} {how}"] += 1
    if how == "hangs":
        on.stage.hang(to)
    else:
        wire.mode = RESET if how == "reset" else BLACKHOLE
    yield on.rng.uniform(8, 20)
    wire.mode = PASS
    on.stage.hang()


def answers_cut(on: Director) -> Course:
    """Answers of a destination end in the middle, after it has done its part."""
    wire = on.stage.wires[on.rng.choice(sorted(on.stage.wires))]
    wire.mode = cut(after=on.rng.randrange(60), times=3)
    yield 3.0
    wire.mode = PASS


# --- Stripe, operators, strangers


def posted_fifty_times(on: Director) -> Course:
    """The same signed bytes on fifty connections at the same moment."""
    webhook = on.load.next()
    if webhook is not None:
        on.aside(lambda: on.load.post_at_once(webhook, 50))
    yield 1.0


def replayed(on: Director) -> Course:
    """An operator sends what is dead again, and has kept events processed once more."""
    known = list(on.load.acknowledged.values())[-2_000:]
    ids = [one.event_id for one in on.rng.sample(known, min(10, len(known))) if not one.odd]
    for wanted in (ids, ["--dead"]):
        if not wanted:
            continue
        command = on.stage.command("replay", *wanted, "--why", "fault run", "--yes")
        while command.poll() is None:
            yield 0.2
        on.notes[f"replay left with {command.returncode}"] += 1


def poisoned(on: Director) -> Course:
    """The whole corpus, among the others."""
    for number in range(len(stripe.CORPUS)):
        on.load.post(stripe.poison(number, on.rng), odd=True)
    yield 1.0


def besieged(on: Director) -> Course:
    """Requests that never end, bodies too large, bodies without a length."""
    port = on.stage.port

    def note(name: str, attack: Callable[[int], int]) -> None:
        on.notes[f"{name}: {attack(port)}"] += 1

    on.aside(lambda: stripe.drip_requests(port, 6))
    on.aside(lambda: note("10 MB", stripe.post_ten_megabytes))
    on.aside(lambda: note("chunked", stripe.post_chunked))
    yield 7.0


FAULTS: tuple[Fault, ...] = (
    Fault(name="F1", what="worker SIGKILL, at random and at failpoints", every=2.3, begin=killed),
    Fault(name="F4", what="Redis FLUSHALL", every=60, begin=flushed, of="redis"),
    Fault(name="F5", what="Redis killed for 5 to 60 s", every=110, begin=redis_killed, of="redis"),
    Fault(name="F6", what="Redis hung", every=80, begin=redis_hung, of="redis"),
    Fault(name="F7", what="Redis full", every=110, begin=redis_full, of="redis"),
    Fault(
        name="F8", what="Postgres stopped at once", every=45, begin=postgres_stopped, of="postgres"
    ),
    Fault(name="F9", what="Postgres hung", every=110, begin=postgres_hung, of="postgres"),
    Fault(name="F10", what="cut during COMMIT", every=15, begin=cut_in_commit, of="postgres"),
    Fault(name="F13", what="answers cut", every=20, begin=answers_cut, of="tools"),
    Fault(name="F14", what="one destination dead", every=120, begin=one_dead, of="tools"),
    Fault(name="F15", what="one webhook 50 times at once", every=30, begin=posted_fifty_times),
    Fault(name="F17", what="replay during traffic", every=60, begin=replayed, of="operator"),
    Fault(name="F20", what="poison corpus", every=60, begin=poisoned),
    Fault(name="F21", what="SIGTERM, one after another", every=20, begin=deployed, of="deploy"),
    Fault(name="F24", what="endless, huge and chunked requests", every=60, begin=besieged),
)
