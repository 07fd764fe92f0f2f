"""The ledger as a file: every entry as CSV or XLSX, or a journal of debits and credits as CSV."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Row

from app.core.money import Money
from app.finance.sheets import Cell, Sheet, write_csv, write_xlsx
from app.store import exports
from app.store.exports import Wanted

Format = Literal["csv", "xlsx", "journal"]

COLUMNS = (
    *("posting_date", "effective_date", "late", "period", "kind", "key", "currency"),
    *("amount", "tax", "discount", "amount_minor", "tax_minor", "discount_minor", "out_of_band"),
    *("occurred_at", "recorded_at", "origin", "customer", "subscription", "invoice"),
    *("payment_intent", "charge", "refund", "dispute", "account", "mode"),
    *("settlement_currency", "settlement_gross", "settlement_fee", "settlement_net"),
    *("settlement_gross_minor", "settlement_fee_minor", "settlement_net_minor"),
    *("exchange_rate", "settlements"),
)
JOURNAL = (
    *("date", "reference", "ledger_account", "debit", "credit", "currency", "memo"),
    *("account", "mode"),
)
# The accounts of the journal. Money at Stripe is in a clearing account until it is paid out.
CLEARING, OUTSIDE, CONVERSION = "Stripe clearing", "Paid outside Stripe", "Currency conversion"
TAX, FEES = "Tax payable", "Stripe fees"
AGAINST = {
    "payment": "Revenue",
    "refund": "Refunds",
    "refund_reversal": "Refunds",
    "dispute": "Disputes",
    "dispute_reversal": "Disputes",
}


def file_name(wanted: Wanted, form: Format, zone: str) -> str:
    """One that says what is in it: account, mode, days, dates, time zone."""
    what = "journal" if form == "journal" else "ledger"
    mode = "live" if wanted.livemode else "test"
    days = f"{wanted.first}_{wanted.last}"
    ending = "xlsx" if form == "xlsx" else "csv"
    place = zone.replace("/", "-")
    return f"{what}_{wanted.account or 'own'}_{mode}_{days}_{wanted.dates}_{place}.{ending}"


def export(
    connection: Connection,
    wanted: Wanted,
    form: Format,
    file: Path,
    told: Callable[[int], None],
) -> int:
    """Write the entries of one account and mode to `file`, which is replaced; how many. `told` is
    told of every batch how many there were. Raises sheets.NotAFile."""
    entries = _Counted(exports.entries(connection, wanted), told)
    if form == "journal":
        write_csv(file, Sheet("Journal", JOURNAL, journal(entries, wanted)))
    elif form == "csv":
        write_csv(file, Sheet("Ledger", COLUMNS, map(_line, entries)))
    else:
        write_xlsx(file, "Revenue ledger", [Sheet("Ledger", COLUMNS, map(_line, entries))])
    return entries.number


class _Counted:
    """The rows, once, and how many they were."""

    def __init__(self, rows: Iterable[Row[Any]], told: Callable[[int], None]) -> None:
        self._rows = rows
        self._told = told
        self.number = 0

    def __iter__(self) -> Iterator[Row[Any]]:
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
        row.out_of_band,
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
    )


def _major(minor: int | None, currency: str | None) -> Decimal | None:
    return None if minor is None or currency is None else Money(minor, currency).major


Leg = tuple[str, int, str]  # account, minor units (a debit is positive), currency


def journal(entries: Iterable[Row[Any]], wanted: Wanted) -> Iterator[Sequence[Cell]]:
    """A line per leg. The legs of an entry, which is their reference, sum to zero in each
    currency."""
    column = exports.COLUMN[wanted.dates]
    for row in entries:
        for account, minor, currency in _legs(row):
            amount = Money(abs(minor), currency).major
            debit, credit = (amount, None) if minor > 0 else (None, amount)
            memo = f"{row.kind} {row.settlements}" if row.settlements else row.kind
            mode = "live" if row.livemode else "test"
            day = getattr(row, column)
            yield (
                *(day, row.key, account, debit, credit, currency, memo),
                *(row.account or "own", mode),
            )


def _legs(row: Row[Any]) -> Iterator[Leg]:
    """Of the entry, and of its settlement where that is known: the fee, and the conversion."""
    currency, tax = row.iso, row.tax or 0
    legs: list[Leg] = [
        (OUTSIDE if row.out_of_band else CLEARING, row.minor, currency),
        (AGAINST[row.kind], tax - row.minor, currency),
        (TAX, -tax, currency),
    ]
    settled = row.settled_in
    if settled and settled != currency:
        legs += [
            (CLEARING, -row.minor, currency),
            (CONVERSION, row.minor, currency),
            (CLEARING, row.gross, settled),
            (CONVERSION, -row.gross, settled),
        ]
    if settled:
        legs += [(FEES, row.fee, settled), (CLEARING, -row.fee, settled)]
    return (leg for leg in legs if leg[1])
