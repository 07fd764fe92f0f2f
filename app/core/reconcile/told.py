"""The ledger against what every destination was told: how many, how much, and with which amount."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from app.core.money import Money

Key = TypeVar("Key")

MAX_NAMED = 1000  # wrong amounts that are listed one by one; all are counted


@dataclass(slots=True, kw_only=True)
class Telling:
    """One entry, and one delivery of it if there is one. `owed` is the revenue that should have
    been told. `event` is the analytics event's state, None if there is none. `told` is what the
    frozen payload says, None if nothing was frozen or the page cannot say."""

    key: str
    owed: Money
    event: str | None
    why: str | None
    destination: str | None
    state: str | None
    reason: str | None
    told: tuple[Decimal, str] | None


@dataclass(slots=True)
class Sum:
    count: int = 0
    minor: int = 0

    def add(self, money: Money) -> None:
        self.count += 1
        self.minor += money.minor


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAmount:
    """A payload that says another amount than the ledger."""

    destination: str
    key: str
    owed: Money
    told: Decimal
    currency: str


@dataclass(slots=True)
class Completeness:
    """One destination in one currency. `states`: delivered, pending, dead, and `skipped: why`.
    `unsaid`: deliveries whose payload does not say its amount."""

    owed: Sum = field(default_factory=Sum)
    states: dict[str, Sum] = field(default_factory=dict)
    told: Decimal = Decimal(0)
    unsaid: int = 0
    wrong: int = 0


@dataclass(slots=True)
class Tally:
    """All destinations, by (destination, currency); `untold` are entries that no destination was to
    hear of, by (state or reason, currency); `entries` by currency."""

    entries: dict[str, Sum] = field(default_factory=dict)
    destinations: dict[tuple[str, str], Completeness] = field(default_factory=dict)
    untold: dict[tuple[str, str], Sum] = field(default_factory=dict)
    wrong: list[WrongAmount] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Nothing is dead, nothing was told wrong, and every entry has its analytics event."""
        dead = any("dead" in one.states for one in self.destinations.values())
        lost = any(state == "no analytics event" for state, _ in self.untold)
        return not (dead or lost or any(one.wrong for one in self.destinations.values()))


def tally(tellings: Iterable[Telling]) -> Tally:
    """Counts them as they stream by, those of one entry after another."""
    found, last = Tally(), ""
    for one in tellings:
        if one.key != last:
            last = one.key
            _sum(found.entries, one.owed.currency).add(one.owed)
            if one.event != "released":
                state = one.event or "no analytics event"
                state = f"{state}: {one.why}" if one.why else state
                _sum(found.untold, (state, one.owed.currency)).add(one.owed)
        if one.destination is not None:
            _count(found, one, one.destination)
    return found


def _count(found: Tally, one: Telling, name: str) -> None:
    place = found.destinations.get((name, one.owed.currency))
    if place is None:
        place = found.destinations[name, one.owed.currency] = Completeness()
    place.owed.add(one.owed)
    state = one.state or "pending"
    if state == "skipped":
        state = f"skipped: {one.reason or 'no reason'}"
    _sum(place.states, state).add(one.owed)
    if state.startswith("skipped"):
        return
    if one.told is None:
        place.unsaid += 1
        return
    amount, currency = one.told
    if currency == one.owed.currency:
        place.told += amount
        if amount == one.owed.major:
            return
    place.wrong += 1
    if len(found.wrong) < MAX_NAMED:
        wrong = WrongAmount(
            destination=name, key=one.key, owed=one.owed, told=amount, currency=currency
        )
        found.wrong.append(wrong)


def _sum(sums: dict[Key, Sum], key: Key) -> Sum:
    if (found := sums.get(key)) is None:
        found = sums[key] = Sum()
    return found
