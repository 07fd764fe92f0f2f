"""A reconciliation as files: CSV tables in a folder, or one XLSX workbook. The same run of the same
data gives the same bytes."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from app.core.money import Money
from app.core.reconcile.results import Result, classes, totals
from app.finance import sheets
from app.finance.reconcile import Report
from app.finance.sheets import Cell, Sheet

RESULT_COLUMNS = (
    *("class", "reason", "part", "currency", "stripe", "ledger", "difference"),
    *("stripe_minor", "ledger_minor", "difference_minor", "subject", "transactions", "entries"),
    *("stripe_date", "ledger_date", "note", "next_step"),
)
WORDS = (
    (
        "matched",
        "The same thing on both sides, to the minor unit; fx: settled in another currency.",
    ),
    ("pending_settlement", "In the ledger for less than an hour; Stripe settles within one."),
    ("missing_in_ledger", "Stripe has it and the ledger has not."),
    ("missing_in_stripe", "The ledger has it and Stripe has not."),
    ("duplicate_in_ledger", "The ledger has it twice."),
    ("amount_difference", "Both sides have it, with another amount."),
    (
        "fee_difference",
        "An earlier run had the transaction with another fee or gross, or had one that this source"
        " has not: what this run read counts from now on.",
    ),
    ("currency_difference", "Both sides have it, in another currency."),
    ("period_timezone", "The same, of another period on one side: it nets to zero over both."),
    ("late_adjustment", "The same, posted later because its month was closed."),
    ("partial_payment", "A part of an invoice: not yet fully paid, or paid on several days."),
    ("unattributed", "A captured payment that neither an invoice nor a checkout speaks for."),
    ("out_of_scope", "Payouts, transfers and the like: no revenue, shown so that totals foot."),
    ("source_incomplete", "The source may lack days of the period: nothing is proved."),
)


def tables(report: Report) -> Iterator[Sheet]:
    """Every table of the report. Amounts stand in whole units and in minor units."""
    results = report.results
    yield Sheet("Summary", ("what", "value"), _summary(report))
    yield Sheet("By part", _TOTALS, _totals(report))
    yield Sheet("By category", _CATEGORY, _categories(report))
    yield Sheet("Classes", _CLASSES, _classes(report))
    yield _lines("Differences", (one for one in results if not one.explained))
    yield _lines("Late adjustments", (one for one in results if one.kind == "late_adjustment"))
    yield _lines("Out of scope", (one for one in results if one.kind == "out_of_scope"))
    yield _lines("Explained", (one for one in results if one.explained and one.kind not in _APART))
    matched = _in_order(one for one in results if one.kind == "matched")
    yield Sheet("Matched", _MATCHED, map(_matched, matched))
    yield Sheet("Footing", _FOOTING, _footing(report))
    yield Sheet("Delivered", _DELIVERED, _delivered(report))
    yield Sheet("Wrong amounts", _WRONG, _wrong(report))
    if report.lost is not None:
        yield Sheet("Browser", _BROWSER, _browser(report))
    yield Sheet("Read me", ("class", "what it means"), WORDS)


_APART = {"late_adjustment", "out_of_scope", "matched"}  # explained, on sheets of their own
_TOTALS = ("part", "currency", "stripe", "ledger", "difference")
_CLASSES = ("class", "reason", "currency", "explained", "count", "stripe", "ledger", "difference")
_MATCHED = ("part", "reason", "currency", "amount", "entry", "transactions", "day")
_CATEGORY = ("category", "currency", "count", "gross", "fee", "net")
_FOOTING = ("sum", "currency", "expected", "found", "foots", "note")
_DELIVERED = ("destination", "currency", "state", "count", "amount")
_WRONG = ("destination", "entry", "ledger", "ledger_currency", "told", "told_currency")
_BROWSER = ("day", "channel", "ours", "browser", "lost", "lost_percent")


def _lines(name: str, results: Iterable[Result]) -> Sheet:
    return Sheet(name, RESULT_COLUMNS, map(_result, _in_order(results)))


def _in_order(results: Iterable[Result]) -> list[Result]:
    return sorted(results, key=lambda one: (one.kind, one.part, one.subject, one.currency))


def _summary(report: Report) -> Iterable[Sequence[Cell]]:
    asked = report.asked
    yield "verdict", report.verdict
    yield "account", asked.account or "own"
    yield "mode", "live" if asked.livemode else "test"
    yield "from", asked.period.start
    yield "to (excluded)", asked.period.end
    yield "time zone", asked.period.zone.key
    yield "source", report.snapshot.source
    yield "snapshot SHA-256", report.snapshot.sha256
    yield "transactions", report.transactions
    yield "ledger entries", report.entries
    yield "delivered as owed", report.told.agrees
    for warning in report.warnings:
        yield "warning", warning


def _major(minor: int | None, currency: str) -> Decimal | None:
    return None if minor is None else Money(minor, currency).major


def _totals(report: Report) -> Iterable[Sequence[Cell]]:
    for row in totals(report.results):
        amounts = (
            _major(row[name], row["currency"]) for name in ("stripe", "ledger", "difference")
        )
        yield (row["part"], row["currency"], *amounts)


def _classes(report: Report) -> Iterable[Sequence[Cell]]:
    for row in classes(report.results):
        currency = row["currency"]
        amounts = (_major(row[name], currency) for name in ("stripe", "ledger", "difference"))
        yield (row["class"], row["reason"], currency, row["explained"], row["count"], *amounts)


def _categories(report: Report) -> Iterable[Sequence[Cell]]:
    for (category, currency), one in report.activity.items():
        amounts = (_major(minor, currency) for minor in (one.gross, one.fee, one.net))
        yield (category, currency, one.count, *amounts)


def _result(one: Result) -> Sequence[Cell]:
    amounts = (one.stripe, one.ledger, one.delta)
    return (
        *(one.kind, one.reason, one.part, one.currency),
        *(_major(minor, one.currency) for minor in amounts),
        *amounts,
        *(one.subject, " ".join(one.transactions), " ".join(one.entries)),
        *(one.stripe_date, one.ledger_date, one.note, one.next_step),
    )


def _matched(one: Result) -> Sequence[Cell]:
    """The plain ones are many, so they are short."""
    amount = _major(one.stripe, one.currency)
    transactions = " ".join(one.transactions)
    return one.part, one.reason, one.currency, amount, one.subject, transactions, one.stripe_date


def _footing(report: Report) -> Iterable[Sequence[Cell]]:
    for one in report.checks:
        amounts = (_major(minor, one.currency) for minor in (one.expected, one.found))
        foots = "not checked" if one.foots is None else one.foots
        yield (one.name, one.currency, *amounts, foots, one.note)


def _delivered(report: Report) -> Iterable[Sequence[Cell]]:
    for (name, currency), place in sorted(report.told.destinations.items()):
        yield name, currency, "owed", place.owed.count, _major(place.owed.minor, currency)
        for state, one in sorted(place.states.items()):
            yield name, currency, state, one.count, _major(one.minor, currency)
        yield name, currency, "told in the payloads", place.owed.count - place.unsaid, place.told
    for (state, currency), one in sorted(report.told.untold.items()):
        yield "(no destination)", currency, state, one.count, _major(one.minor, currency)


def _wrong(report: Report) -> Iterable[Sequence[Cell]]:
    for one in report.told.wrong:
        owed = one.owed
        yield one.destination, one.key, owed.major, owed.currency, one.told, one.currency


def _browser(report: Report) -> Iterable[Sequence[Cell]]:
    for one in report.lost or ():
        percent = None if one.percent is None else Decimal(str(one.percent))
        yield one.day, one.channel, one.ours, one.browser, one.lost, percent


def write_csv(report: Report, folder: Path) -> list[Path]:
    """A file for each table, named by the account, mode and period. Raises sheets.NotAFile and
    OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = report.asked
    mode = "live" if asked.livemode else "test"
    stem = f"{asked.account or 'own'}_{mode}_{asked.period.start}_{asked.period.end}"
    written = []
    for table in tables(report):
        file = folder / f"{stem}_{table.name.lower().replace(' ', '_')}.csv"
        sheets.write_csv(file, table)
        written.append(file)
    return written


def write_xlsx(report: Report, file: Path) -> None:
    """One workbook. Raises sheets.NotAFile and OSError."""
    sheets.write_xlsx(file, "Reconciliation", tables(report))
