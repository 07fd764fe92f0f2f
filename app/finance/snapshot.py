"""Stripe's side of a reconciliation: its balance transactions, by the API or of a CSV file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.core.reading.shapes import Missing
from app.core.reconcile.balance_csv import Summary, itemized, summary
from app.core.reconcile.footing import Activity
from app.core.reconcile.rows import Period, StripeRow, digest, from_api
from app.core.reconcile.table_csv import Unreadable
from app.history.listing import Pace, pages
from app.stripe_api import StripeApi, StripeUnavailable

AROUND = 2  # days before and after the period, so that what a time zone shifted is found


@dataclass(frozen=True, slots=True)
class File:
    """A file that was given: its name, for people, and what is in it."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`rows` are of the period and of days around it. `covered`: from when to when all are there;
    `lacks` says why perhaps they are not. `sha256` is of the period's rows alone."""

    source: str
    rows: list[StripeRow]
    covered: tuple[datetime, datetime]
    lacks: str | None
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
    stated = _summaries(summaries)
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

    A file does not say of which days it is. Where its last row is of an earlier day than the
    period's last, days may be missing; a summary proves that none are.
    """
    rows = itemized(file.content, file.name, period.zone)
    stated = _summaries(summaries)
    first, last = period.bounds()
    newest_row = max(rows, key=lambda row: row.created, default=None)
    newest_day = newest_row.day(period.zone) if newest_row else None
    lacks = None
    if now < last:
        lacks = "the period has not ended"
    elif newest_day is None or newest_day < period.end - timedelta(days=1):
        newest = f"the last row of {file.name} is of {newest_day}"
        newest = newest if newest_day else "there are no rows"
        lacks = None if stated else f"{newest}, and no summary proves that nothing came later"
    times = [row.created for row in rows]
    return Snapshot(
        source="csv",
        rows=rows,
        covered=(min([first, *times]), max([last, *times])),
        lacks=lacks,
        sha256=_sha256(rows, period),
        summary=stated,
    )


def _summaries(files: Sequence[File]) -> Summary | None:
    """What they state; None without any. Raises Unreadable."""
    activities: dict[tuple[str, str], Activity] = {}
    balances: dict[tuple[str, str], int] = {}
    for file in files:
        activity, balance = summary(file.content, file.name)
        if (activity and activities) or (balance and balances):
            raise Unreadable(f"{file.name}: a second summary of the same kind")
        activities |= activity
        balances |= balance
    return (activities, balances) if files else None


def _sha256(rows: list[StripeRow], period: Period) -> str:
    return digest(period.inside(rows))
