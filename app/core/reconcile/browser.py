"""What a shop's browser counted against what the bridge counted: by day and channel."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from app.core.money import Money
from app.core.reconcile.rows import Period
from app.core.reconcile.table_csv import Unreadable, rows

NONE = "(none)"  # of no channel


@dataclass(slots=True)
class Conversions:
    """How many, and how much by currency in minor units where that was given."""

    count: int = 0
    minor: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One day and channel. `lost` is ours less the browser's: negative where it counted more."""

    day: date
    channel: str
    ours: int
    browser: int
    ours_minor: Mapping[str, int]
    browser_minor: Mapping[str, int] | None

    @property
    def lost(self) -> int:
        return self.ours - self.browser

    @property
    def percent(self) -> float | None:
        """Of ours; None where we have none."""
        return round(100 * self.lost / self.ours, 1) if self.ours else None


def channel(source: str | None, medium: str | None) -> str:
    """`google / cpc`, as the two utm parameters name it."""
    named = " / ".join(
        part.strip().lower() for part in (source or "", medium or "") if part.strip()
    )
    return named or NONE


def read(content: bytes, file: str, period: Period) -> dict[tuple[date, str], Conversions]:
    """The browser's counts by day and channel, of the period's days; the same day and channel may
    stand in several rows. Raises Unreadable."""
    found: dict[tuple[date, str], Conversions] = {}
    for cells in rows(content, file, ("date", "channel|utm_source", "conversions")):
        given = cells.text("channel")
        named = (
            given.lower() if given else channel(cells.text("utm_source"), cells.text("utm_medium"))
        )
        try:
            day = date.fromisoformat(cells.needed("date"))
        except ValueError:
            raise cells.wrong("date", "expected a day such as 2026-10-01") from None
        if not period.has(day):
            continue
        one = found.setdefault((day, named), Conversions())
        one.count += cells.whole("conversions")
        if cells.text("amount"):
            currency = cells.currency()
            one.minor = one.minor or {}
            one.minor[currency] = one.minor.get(currency, 0) + cells.minor("amount", currency)
    if not found:
        raise Unreadable(f"{file}: no conversions in this period")
    return found


def compare(
    browser: Mapping[tuple[date, str], Conversions],
    ours: Iterable[tuple[date, str, int, Money]],
) -> list[Lost]:
    """By day and channel. `ours`: (day, channel, how many, how much), a row per currency."""
    counts: dict[tuple[date, str], int] = {}
    minor: dict[tuple[date, str], dict[str, int]] = {}
    for day, named, count, money in ours:
        counts[day, named] = counts.get((day, named), 0) + count
        of = minor.setdefault((day, named), {})
        of[money.currency] = of.get(money.currency, 0) + money.minor
    nothing = Conversions()
    return [
        Lost(
            day=key[0],
            channel=key[1],
            ours=counts.get(key, 0),
            browser=browser.get(key, nothing).count,
            ours_minor=minor.get(key, {}),
            browser_minor=browser.get(key, nothing).minor,
        )
        for key in sorted({*browser, *counts})
    ]
