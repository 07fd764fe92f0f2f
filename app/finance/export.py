"""The ledger as a file: every entry as CSV or XLSX, or a journal of debits and credits as CSV."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Connection, Row

from app.core.money import Money
from app.finance.journal import JOURNAL, journal
from app.finance.sheets import Cell, Sheet, write_csv, write_xlsx
from app.store import exports
from app.store import journal as rows
from app.store.exports import Dates, Wanted

Format = Literal["csv", "xlsx", "journal"]
Value = TypeVar("Value")

COLUMNS = (
    *("posting_date", "effective_date", "late", "period", "kind", "key", "currency"),
    *("amount", "tax", "discount", "amount_minor", "tax_minor", "discount_minor", "out_of_band"),
    *("occurred_at", "recorded_at", "origin", "customer", "subscription", "invoice"),
    *("payment_intent", "charge", "refund", "dispute", "account", "mode"),
    *("settlement_currency", "settlement_gross", "settlement_fee", "settlement_net"),
    *("settlement_gross_minor", "settlement_fee_minor", "settlement_net_minor"),
    *("exchange_rate", "settlements", "corrects"),
)
DRAFT: dict[Dates, str] = {"closed": "draft", "restated": "restated-draft"}


def file_name(wanted: Wanted, form: Format, zone: str, *, draft: bool) -> str:
    """One that says what is in it: account, mode, days, dates, time zone. `draft`: a month in it
    is open."""
    what = "journal" if form == "journal" else "ledger"
    mode = "live" if wanted.livemode else "test"
    days = f"{wanted.first}_{wanted.last}"
    ending = "xlsx" if form == "xlsx" else "csv"
    place = zone.replace("/", "-")
    dates = DRAFT[wanted.dates] if draft else wanted.dates
    return f"{what}_{wanted.account or 'own'}_{mode}_{days}_{dates}_{place}.{ending}"


def export(
    connection: Connection,
    wanted: Wanted,
    form: Format,
    file: Path,
    told: Callable[[int], None],
) -> int:
    """Write the entries of one account and mode to `file`, which is replaced; how many. `told` is
    told of every batch how many there were. Raises sheets.NotAFile."""
    if form == "journal":
        booked = _Counted(rows.booked(connection, wanted), told)
        lines = journal(booked, rows.moved(connection, wanted), wanted)
        write_csv(file, Sheet("Journal", JOURNAL, lines))
        return booked.number
    entries = _Counted(exports.entries(connection, wanted), told)
    ledger = Sheet("Ledger", COLUMNS, map(_line, entries))
    if form == "csv":
        write_csv(file, ledger)
    else:
        write_xlsx(file, "Revenue ledger", [ledger])
    return entries.number


class _Counted(Generic[Value]):
    """The rows, once, and how many they were."""

    def __init__(self, rows: Iterable[Value], told: Callable[[int], None]) -> None:
        self._rows = rows
        self._told = told
        self.number = 0

    def __iter__(self) -> Iterator[Value]:
        for row in self._rows:
            self.number += 1
            if self.number % exports.BATCH == 0:
                self._told(exports.BATCH)
            yield row
        self._told(self.number % exports.BATCH)


def _line(row: Row[Any]) -> Sequence[Cell]:
    currency, settled = row.iso, row.settled_in
    amounts = (row.minor, row.tax, row.discount_minor)
    settlement = (row.gross, row.fee, row.net) if settled else (None, None, None)
    return (
        row.posting_date,
        row.effective_date,
        row.posting_date != row.effective_date,
        f"{row.posting_date:%Y-%m}",
        row.kind,
        row.key,
        currency,
        *(_major(minor, currency) for minor in amounts),
        *amounts,
        row.all_outside,
        row.occurred_at,
        row.recorded_at,
        row.origin,
        row.customer,
        row.subscription,
        row.invoice,
        row.payment_intent,
        row.charge,
        row.refund,
        row.dispute,
        row.account or "own",
        "live" if row.livemode else "test",
        settled,
        *(_major(minor, settled) for minor in settlement),
        *settlement,
        row.rate,
        row.settlements,
        row.corrects,
    )


def _major(minor: int | None, currency: str | None) -> Decimal | None:
    return None if minor is None or currency is None else Money(minor, currency).major
