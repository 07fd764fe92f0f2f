"""A commit shared by all who wait for one: whoever comes first writes for those behind.

There is no writer thread that could die: the first of those who wait leads, writes one batch,
and hands the lead to the first who came meanwhile.
"""

from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

BATCH = 100
PATIENCE = 10.0  # seconds; a writer that hangs must not hang all who wait


class TooLate(Exception):
    """The batch was not written in time, or its outcome is not known yet."""


class _Place(Generic[Item, Outcome]):
    __slots__ = ("called", "done", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.called = Event()  # it is done, or it is our turn to lead
        self.done: tuple[Outcome | BaseException] | None = None


class Together(Generic[Item, Outcome]):
    """`write` commits a batch and gives an outcome for each, or raises: then all of them do."""

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Outcome | Exception]]) -> None:
        self._write = write
        self._guard = Lock()
        self._waiting: list[_Place[Item, Outcome]] = []
        self._led = False

    def do(self, item: Item) -> Outcome:
        """Returns when the item's batch is committed. Raises TooLate, or what became of it."""
        place: _Place[Item, Outcome] = _Place(item)
        with self._guard:
            self._waiting.append(place)
            leads, self._led = not self._led, True
        if not leads and not place.called.wait(PATIENCE):
            raise TooLate
        if place.done is None:
            self._lead()
        assert place.done is not None
        [outcome] = place.done
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _lead(self) -> None:
        """One batch, ours among it; those who wait behind are led by their first."""
        with self._guard:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        outcomes: Sequence[Outcome | BaseException] = [SystemExit()] * len(batch)
        try:
            outcomes = self._write([place.item for place in batch])
        except BaseException as error:
            outcomes = [error] * len(batch)
        finally:
            with self._guard:
                after = self._waiting[0] if self._waiting else None
                self._led = after is not None
            if after is not None:
                after.called.set()  # before the answers: Postgres need not wait for those
            for place, outcome in zip(batch, outcomes, strict=True):
                place.done = (outcome,)
                place.called.set()
