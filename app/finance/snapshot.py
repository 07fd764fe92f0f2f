"""Stripe's side of a reconciliation: its balance transactions, by the API or of a CSV file."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from app.core.reading.shapes import Missing
from app.core.reconcile.balance_csv import Summary, itemized, summary
from app.core.reconcile.rows import Period, StripeRow, digest, from_api
from app.core.reconcile.table_csv import Unreadable
from app.history.listing import Pace, pages
from app.stripe_api import StripeApi, StripeUnavailable

Key = TypeVar("Key")
Value = TypeVar("Value")
AROUND = 2  # days before and after the period, so that what a time zone shifted is found


@dataclass(frozen=True, slots=True)
class File:
    """A file that was given: its name, for people, and what is in it."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`rows` are of the period and of days around it. `covered`: from when to when all are there;
    `lacks` says why perhaps they are not, `rests_on` on whose word they are. `sha256` is of the
    period's rows alone."""

    source: str
    rows: list[StripeRow]
    covered: tuple[datetime, datetime]
    lacks: str | None
    rests_on: str | None = None
    sha256: str
    summary: Summary | None = None


def by_api(
    api: StripeApi,
    account: str,
    period: Period,
    pace: Pace,
    now: datetime,
    told: Callable[[int], object],
    summaries: Sequence[File] = (),
) -> Snapshot:
    """Listed newest first, paced by Retry-After; `told` hears how many more came. Raises
    Unreadable, StripeUnavailable, StripeRefused and listing's Stopped."""
    stated = _summaries(summaries, period)
    first, last = period.bounds(AROUND)
    rows = list(_listed(api, account, first, last, pace, told))
    lacks = "the period has not ended" if now < period.bounds()[1] else None
    return Snapshot(
        source="api",
        rows=rows,
        covered=(first, min(last, now)),
        lacks=lacks,
        sha256=_sha256(rows, period),
        summary=stated,
    )


def _listed(
    api: StripeApi,
    account: str,
    first: datetime,
    last: datetime,
    pace: Pace,
    told: Callable[[int], object],
) -> Iterator[StripeRow]:
    params: dict[str, Any] = {
        "created": {"gte": int(first.timestamp()), "lt": int(last.timestamp())},
        "expand": ["data.source"],
    }
    for page in pages(api, "/v1/balance_transactions", pace, account=account, **params):
        try:
            yield from map(from_api, page)
        except (ArithmeticError, Missing) as error:
            raise StripeUnavailable(f"A balance transaction cannot be read: {error}.") from None
        told(len(page))


def by_csv(file: File, summaries: Sequence[File], period: Period, now: datetime) -> Snapshot:
    """An itemized balance report. Raises Unreadable.

    A file does not say of which days it is. Where its first row is of a later day than the
    period's first, or its last of an earlier day than its last, days may be missing. That nothing
    was kept of them proves nothing. A summary proves that none are: its sums must be the rows'.
    """
    rows = itemized(file.content, file.name, period.zone)
    stated = _summaries(summaries, period)
    lacks, covered = _gaps(rows, file.name, period)
    rests_on = None
    if lacks and stated and _covers(stated, period.inside(rows)):
        if not stated.dated:
            rests_on = f"{lacks}. That there are no others rests on the summary alone, which must"
            rests_on += f" be of {_named(period)}: it does not say so itself"
        lacks, covered = None, period.bounds()
    elif lacks:
        lacks = f"{lacks}, and no summary proves that there are no others"
    if now < period.bounds()[1]:
        lacks = "the period has not ended"
    times = [row.created for row in rows]
    return Snapshot(
        source="csv",
        rows=rows,
        covered=(min([covered[0], *times]), max([covered[1], *times])),
        lacks=lacks,
        rests_on=rests_on,
        sha256=_sha256(rows, period),
        summary=stated,
    )


def _gaps(
    rows: Sequence[StripeRow], name: str, period: Period
) -> tuple[str | None, tuple[datetime, datetime]]:
    """(which days the rows may lack, from when to when they surely have all)"""
    first, last = period.bounds()
    if not rows:
        return f"{name} has no row at all", (last, last)
    if not period.inside(rows):
        return f"{name} has no row of {_named(period)} (is it the right file?)", (last, last)
    oldest, newest = min(row.created for row in rows), max(row.created for row in rows)
    begins, ends = (at.astimezone(period.zone).date() for at in (oldest, newest))
    late, early = begins > period.start, ends < period.end - timedelta(days=1)
    covered = oldest if late else first, newest if early else last
    if late and early:
        return f"the rows of {name} are of {begins} to {ends} alone", covered
    if late:
        return f"the first row of {name} is of {begins}", covered
    return (f"the last row of {name} is of {ends}" if early else None), covered


def _covers(stated: Summary, rows: Iterable[StripeRow]) -> bool:
    """Whether it says something of every currency: the activity's does, of all there are."""
    if stated.activities is not None:
        return True
    return {row.currency for row in rows} <= {currency for _, currency in stated.balances or ()}


def _named(period: Period) -> str:
    """A month as 2026-10, else its days."""
    next_month = (period.start.replace(day=1) + timedelta(days=31)).replace(day=1)
    if period.start.day == 1 and period.end == next_month:
        return f"{period.start:%Y-%m}"
    return f"{period.start} up to {period.end}"


def _summaries(files: Sequence[File], period: Period) -> Summary | None:
    """What they state together; None without any. Raises Unreadable."""
    together = Summary()
    for file in files:
        one = summary(file.content, file.name, period)
        if set(one.activities or ()) & set(together.activities or ()) or (
            set(one.balances or ()) & set(together.balances or ())
        ):
            raise Unreadable(f"{file.name}: a second summary of the same kind")
        together = Summary(
            activities=_both(together.activities, one.activities),
            balances=_both(together.balances, one.balances),
            dated=together.dated or one.dated,
        )
    return together if files else None


def _both(
    one: Mapping[Key, Value] | None, other: Mapping[Key, Value] | None
) -> Mapping[Key, Value] | None:
    """Together; None where neither was given."""
    return other if one is None else {**one, **(other or {})}


def _sha256(rows: list[StripeRow], period: Period) -> str:
    return digest(period.inside(rows))
