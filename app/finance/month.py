"""Months of finance's calendar, and which of them are closed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo

from app.store.periods import Period

Status = Literal["closed", "open", "locked"]


@dataclass(frozen=True, slots=True)
class Month:
    """A month of finance's calendar, [start, end) in the reporting time zone."""

    start: date
    zone: ZoneInfo

    @property
    def end(self) -> date:
        return after(self.start)

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Its first moment and the first one after it, UTC."""
        first, last = (
            datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)
            for day in (self.start, self.end)
        )
        return first, last

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"


def after(month: date) -> date:
    """The first day of the month after the one that begins on this day."""
    return (month + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True, slots=True)
class State:
    """`version`: how often a month was reopened, and one; None of one that was never closed.
    A month is `locked` that is before the first one that was closed: the books begin there."""

    status: Status
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Months in a row, the first days of the first and the last, that are in one state."""

    first: date
    last: date
    state: State


def states(known: Iterable[Period]) -> Callable[[date], State]:
    """Of a month, by its first day; `known` is all of its account and mode. The rule is the
    ledger's own, posting_day."""
    those = {one.start: one for one in known}
    last = max(those, default=date.min)

    def state(month: date) -> State:
        if found := those.get(month):
            return State("closed" if found.closed else "open", found.version)
        return State("locked" if month < last else "open")

    return state


def stretches(known: Iterable[Period], first: date, last: date) -> list[Stretch]:
    """The months of the days [first, last), the earliest first."""
    found = []
    for state, months in groupby(_months(first, last), key=states(known)):
        those = list(months)
        found.append(Stretch(those[0], those[-1], state))
    return found


def _months(first: date, last: date) -> Iterator[date]:
    """Without a step beyond the last of them, which may be that of the calendar itself."""
    begin, end = (12 * day.year + day.month - 1 for day in (first, last - timedelta(days=1)))
    for number in range(begin, end + 1):
        year, month = divmod(number, 12)
        yield date(year, month + 1, 1)
