"""What a pretend analytics tool has counted: every event once, its money exactly, and defects."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock

EMAIL = re.compile(rb"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]*[A-Za-z]")
# Of the currencies that the demo's shop takes; an oracle does not borrow the product's table.
DECIMALS = {"jpy": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One event as a tool understood it. `key` is what the tool dedupes by, `id` what we sent.

    `form` is the event's JSON as received: the same id must always come in the same form.
    """

    id: str
    key: tuple[str, ...]
    name: str
    form: bytes
    revenue: Decimal | None = None
    currency: str = ""
    in_session: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationTotals:
    """`events` were received, `distinct` of them counted; `revenue` in major units by currency.

    `refused` are requests answered with an error of the tool's own; `defects` should be empty.
    """

    requests: int
    refused: int
    events: int
    distinct: int
    duplicates: int
    revenue: Mapping[str, Decimal]
    counts: Mapping[str, int]
    with_session: int
    defects: Mapping[str, int]

    @property
    def revenue_minor(self) -> dict[str, int]:
        """The same revenue in the currency's smallest unit, without zeros."""
        minor = {name: int(each.scaleb(decimals(name))) for name, each in self.revenue.items()}
        return {name: each for name, each in sorted(minor.items()) if each}


def decimals(currency: str) -> int:
    return DECIMALS.get(currency, 2)


class Tally:
    """Counts for one destination; safe to use from many threads."""

    def __init__(self, window: float | None) -> None:
        self._window = window
        self._lock = Lock()
        self._first_seen: dict[tuple[str, ...], float] = {}
        self._forms: dict[str, bytes] = {}
        self._exact: dict[str, Decimal] = {}
        self._counts: Counter[str] = Counter()
        self._defects: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()

    def request(self, body: bytes) -> int:
        """A request came; the answer is its number, from 1."""
        leaks = len(EMAIL.findall(body)) if b"@" in body else 0
        with self._lock:
            self._numbers["requests"] += 1
            if leaks:
                self._defects["e-mail address"] += leaks
            return self._numbers["requests"]

    def refused(self) -> None:
        """The tool answered a request with an error of its own."""
        with self._lock:
            self._numbers["refused"] += 1

    def take(self, event: Seen, now: float) -> None:
        """Count an event, unless it was counted within the window."""
        with self._lock:
            self._numbers["events"] += 1
            self._compare(event)
            first = self._first_seen.get(event.key)
            if first is not None and (self._window is None or now - first <= self._window):
                self._numbers["duplicates"] += 1
                return
            self._first_seen[event.key] = now
            self._count(event)

    def _compare(self, event: Seen) -> None:
        form = hashlib.sha256(event.form).digest()
        if not event.id:
            self._defects["no id to dedupe by"] += 1
        elif self._forms.setdefault(event.id, form) != form:
            self._defects["same id, other bytes"] += 1

    def _count(self, event: Seen) -> None:
        self._numbers["distinct"] += 1
        self._counts[event.name] += 1
        self._numbers["with_session"] += event.in_session
        if event.revenue is None:
            return
        if event.revenue != round(event.revenue, decimals(event.currency)):
            self._defects["revenue finer than its currency"] += 1
        if re.fullmatch("[a-z]{3}", event.currency) is None:
            self._defects["revenue without a currency"] += 1
        earlier = self._exact.get(event.currency, Decimal(0))
        self._exact[event.currency] = earlier + event.revenue

    def totals(self) -> DestinationTotals:
        """The counts at this moment."""
        with self._lock:
            return DestinationTotals(
                requests=self._numbers["requests"],
                refused=self._numbers["refused"],
                events=self._numbers["events"],
                distinct=self._numbers["distinct"],
                duplicates=self._numbers["duplicates"],
                revenue=dict(sorted(self._exact.items())),
                counts=dict(sorted(self._counts.items())),
                with_session=self._numbers["with_session"],
                defects=dict(sorted(self._defects.items())),
            )
