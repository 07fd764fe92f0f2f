"""Lane slots: how many batches of one destination are on their way at once, over all workers.

A slot is leased for seconds only, and one thread keeps all that this process holds: what a killed
or frozen worker held is soon another's. Slots are manners and not safety: the rows of a batch have
leases and tokens of their own.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.store import work

LEASE = 6.0  # seconds that a slot outlives its worker
BEAT = 1.5  # seconds between two extensions

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Slot:
    """One that we hold. `lost`: another worker has it now, or the lane has fewer slots."""

    lane: str
    number: int
    token: int
    lost: bool = False

    @property
    def key(self) -> tuple[str, int, int]:
        return self.lane, self.number, self.token


class Slots:
    """Those of one process; every lane has `most`."""

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine = engine
        self._most = most
        self._guard = threading.Lock()
        self._held: set[Slot] = set()
        self._beating = False

    @contextmanager
    def hold(self, lane: str) -> Iterator[Slot | None]:
        """A slot of the lane for as long as this lasts; None if all are taken."""
        with self._engine.begin() as connection:
            taken = work.take_slot(connection, lane, self._most, LEASE)
        if taken is None:
            yield None
            return
        slot = Slot(lane, *taken)
        self._keep(slot)
        try:
            yield slot
        finally:
            with self._guard:
                self._held.discard(slot)
            with self._engine.begin() as connection:
                work.free_slot(connection, *slot.key)

    def _keep(self, slot: Slot) -> None:
        with self._guard:
            self._held.add(slot)
            if self._beating:
                return
            self._beating = True
        threading.Thread(target=self._beat, name="slots", daemon=True).start()

    def _beat(self) -> None:
        """Extend what is held, until nothing is."""
        while True:
            sleep(BEAT)
            with self._guard:
                held = list(self._held)
                if not held:
                    self._beating = False
                    return
            try:
                with self._engine.begin() as connection:
                    keys = [slot.key for slot in held]
                    ours = work.keep_slots(connection, keys, self._most, LEASE)
            except SQLAlchemyError as error:  # ours still, unless somebody takes them
                log.warning("slots.not_kept", error=type(error).__name__)
                continue
            for slot in held:
                slot.lost = slot.key not in ours
