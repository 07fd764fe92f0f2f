"""A commit shared by all who wait for one; nobody waits long for a writer that hangs.

A thread of its own writes batch after batch and ends when nobody comes. Who waits longer than
the patience is turned away, and with him all who wait: the writer hangs. From then on one at a
time is let in, to see whether it still does, and everyone else is turned away at once.
"""

from collections.abc import Callable, Sequence
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

BATCH = 100
ROOM = 2 * BATCH  # who may wait for the next batches
PATIENCE = 3.2  # seconds
SLOW = 1.0  # seconds; a write that fails after these has hung, one that fails sooner has not
IDLE = 1.0  # seconds without anyone after which the thread ends


class TooLate(Exception):
    """Not written in time, or the outcome is not known yet; or there is no waiting for it."""


class _Place(Generic[Item, Outcome]):
    __slots__ = ("called", "done", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.called = Lock()  # free when done: cheaper than an Event
        self.called.acquire()
        self.done: tuple[Outcome | BaseException] | None = None

    def tell(self, outcome: Outcome | BaseException) -> None:
        """The first word counts. The guard must be held."""
        if self.done is None:
            self.done = (outcome,)
            self.called.release()


class Together(Generic[Item, Outcome]):
    """`write` commits a batch and gives an outcome for each, or raises: then all of them do.

    `write` itself must end at some time, however long after `patience` (seconds): until it does,
    the door is shut.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Outcome | Exception]],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._write = write
        self._patience = patience
        self._guard = Lock()
        self._came = Condition(self._guard)
        self._waiting: list[_Place[Item, Outcome]] = []
        self._writing: list[_Place[Item, Outcome]] = []
        self._runs = False  # the thread
        self._hung = False  # the last that is known of the writer

    def do(self, item: Item) -> Outcome:
        """Returns when the item's batch is committed. Raises TooLate, or what became of it."""
        place: _Place[Item, Outcome] = _Place(item)
        with self._guard:
            self._let_in(place)
        if not place.called.acquire(timeout=self._patience):
            with self._guard:
                self._turn_away(place)
        assert place.done is not None
        [outcome] = place.done
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _let_in(self, place: _Place[Item, Outcome]) -> None:
        if len(self._waiting) >= ROOM:
            raise TooLate
        if self._hung and (self._waiting or self._writing):
            raise TooLate
        if not self._runs:
            Thread(target=self._run, name="together", daemon=True).start()
            self._runs = True
        self._waiting.append(place)
        self._came.notify()

    def _turn_away(self, place: _Place[Item, Outcome]) -> None:
        """It lost its patience, unless it was told at the last moment; so then do all others.

        What is being written stays so: its outcome is unknown. The others are not written.
        """
        if place.done is not None:
            return
        self._hung = True
        for one in [*self._writing, *self._waiting]:
            one.tell(TooLate())
        self._waiting = []

    def _run(self) -> None:
        while batch := self._next():
            self._commit(batch)

    def _next(self) -> list[_Place[Item, Outcome]]:
        """Those whose turn it is; none if nobody came, and then the thread ends."""
        with self._guard:
            if not self._waiting:
                self._came.wait(IDLE)
            self._writing, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._runs = bool(self._writing)
            return self._writing

    def _commit(self, batch: list[_Place[Item, Outcome]]) -> None:
        began, failed = monotonic(), True
        told: list[tuple[_Place[Item, Outcome], Outcome | BaseException]]
        try:
            told = list(zip(batch, self._write([one.item for one in batch]), strict=True))
            failed = False
        except BaseException as error:
            told = [(one, error) for one in batch]
        with self._guard:
            self._writing = []
            self._hung = failed and monotonic() - began > SLOW
            for place, outcome in told:
                place.tell(outcome)
