"""Serve whatever is due: process, release, and every destination's lane on threads of its own.

One `Drain` lives in each worker process. Lane threads outlive the call that started them, so a
destination that hangs holds up its own lane and nothing else, even with a single worker.
"""

import threading
import traceback
from collections.abc import Callable
from time import monotonic

import structlog
from sqlalchemy import Engine

from app.ask import ask
from app.deliver import DEADLINE, deliver
from app.destinations.base import Destination, Transport
from app.destinations.transports import open_transport
from app.hydrate import hydrate
from app.lane import Lane
from app.measure import measure
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.slots import Slots
from app.store import work
from app.stripe_api import StripeApi

BUDGET = 20.0  # seconds of one call, far inside RQ's job timeout

log = structlog.get_logger()


def where(error: BaseException) -> str:
    """File and line, without the message, which may quote what a destination sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


class Drain:
    """`ring` is called when work is left that this process may not do now; once `stopping` is
    set, nothing more is begun."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        ring: Callable[[], object],
        stopping: threading.Event | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._ring = ring
        self._destinations = {work.lane_of(one.name): one for one in settings.destinations}
        self._asides = self._aside_lanes()
        self._slots = Slots(engine, settings.lane_workers)
        self._one_at_a_time = threading.Lock()
        self._guard = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._knocked: set[str] = set()
        self._stopping = stopping or threading.Event()

    @property
    def lanes(self) -> list[str]:
        return [work.PROCESS, work.RELEASE, *self._asides, *self._destinations]

    def _aside_lanes(self) -> dict[str, Callable[[], int]]:
        """What is worked out beside the stream; without an API key nothing is asked of Stripe."""
        settings, engine = self._settings, self._engine
        if not settings.stripe_api_key:
            return {
                work.MEASURE: lambda: measure(engine, settings),
                work.HYDRATE: lambda: hydrate(engine, None),
            }
        api = StripeApi(settings.stripe_api_key, settings.stripe_api_base)
        return {
            work.MEASURE: lambda: measure(engine, settings, api),
            work.HYDRATE: lambda: hydrate(engine, api),
            work.ASK: lambda: ask(engine, api),
        }

    def run(self) -> bool:
        """Serve until nothing is due that is not being served, or the budget is spent.

        False if another thread of this process is at it already.
        """
        if not self._one_at_a_time.acquire(blocking=False):
            return False
        try:
            until = monotonic() + BUDGET
            while not self._stopping.is_set() and self._round():
                if monotonic() > until:
                    self._ring()
                    break
        finally:
            self._one_at_a_time.release()
        return True

    def oldest_due(self) -> float | None:
        """Seconds that the oldest due row of any lane has waited."""
        with self._engine.connect() as connection:
            return work.oldest_due(connection, self.lanes)

    def stop(self, patience: float = DEADLINE + 5) -> None:
        """Let lane threads finish the POST in hand; they give back the rest. Seconds."""
        self._stopping.set()
        until = monotonic() + patience
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - monotonic()))

    def _round(self) -> bool:
        """One look at every lane; True if there may be more to do at once."""
        with self._engine.connect() as connection:
            due = work.due_lanes(connection, self.lanes)
        for lane in due & (self._destinations.keys() | self._asides.keys()):
            self._serve(lane)
        done = 0
        if work.RELEASE in due:
            done += release_ended_holds(self._engine, self._settings)
        if work.PROCESS in due:
            done += process(self._engine, self._settings)
        return done > 0

    def _serve(self, lane: str) -> None:
        with self._guard:
            thread = self._threads.get(lane)
            if thread is not None and thread.is_alive():
                self._knocked.add(lane)  # it looks again before it goes
                return
            thread = threading.Thread(target=self._lane, args=(lane,), name=lane, daemon=True)
            self._threads[lane] = thread
            thread.start()

    def _lane(self, lane: str) -> None:
        """A lane thread: works until nothing is due there; for a destination, holding one of
        its slots."""
        to = self._destinations.get(lane)
        local = self._settings.allow_local_urls
        transport = open_transport(to, allow_local=local) if to else None
        try:
            while True:
                with self._guard:
                    self._knocked.discard(lane)
                if to and transport:
                    self._hold_slot(to, lane, transport)
                else:
                    while not self._stopping.is_set() and self._asides[lane]():
                        pass
                with self._guard:
                    if lane not in self._knocked or self._stopping.is_set():
                        self._threads.pop(lane, None)
                        return
        except Exception as error:  # the thread's end: its rows fall due again with their lease
            log.error("lane.failed", lane=lane, error=type(error).__name__, at=where(error))
            with self._guard:
                self._threads.pop(lane, None)
        finally:
            if transport:
                transport.close()

    def _hold_slot(self, destination: Destination, lane: str, transport: Transport) -> None:
        with self._slots.hold(lane) as slot:
            if slot is None:
                return  # whoever frees one looks again
            serving = Lane(
                self._engine, destination, transport, lambda: self._stopping.is_set() or slot.lost
            )
            while not serving.stopping() and deliver(serving):
                pass
        with self._engine.connect() as connection:
            if work.due_lanes(connection, [lane]):
                self._ring()
