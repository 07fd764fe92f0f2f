"""Stripe's balance reports as CSV files: the itemized one, and its two summaries.

Columns: https://docs.stripe.com/reports/report-types/balance. Amounts are in whole units there.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from sys import intern
from zoneinfo import ZoneInfo

from app.core.money import Money
from app.core.reconcile.categories import category
from app.core.reconcile.footing import Activities, Activity, Balances
from app.core.reconcile.rows import Period, StripeRow
from app.core.reconcile.table_csv import Cells, Unreadable, rows

ITEMIZED = (
    *("balance_transaction_id", "created_utc|created", "currency", "gross", "fee", "net"),
    "reporting_category",
)
BALANCES = ("starting_balance", "activity", "payouts", "ending_balance")
DATED = re.compile(r"\(([0-9]{4}-[0-9]{2}-[0-9]{2})\)")  # "Starting balance (2026-10-01)"
WHERE = "Fetch Reports > Balance > Balance change from activity, itemized, as CSV"


def itemized(content: bytes, file: str, zone: ZoneInfo) -> list[StripeRow]:
    """Every transaction of an itemized balance report, as the API would give it. `zone` is that of
    the column `created`, which is read only where `created_utc` is missing."""
    _is_another(content, file)
    found: dict[str, tuple[int, StripeRow]] = {}
    for cells in rows(content, file, ITEMIZED):
        row = _row(cells, zone)
        if row.id in found:
            raise cells.wrong("balance_transaction_id", f"is also in line {found[row.id][0]}")
        found[row.id] = cells.line, row
    return [row for _, row in found.values()]


def _is_another(content: bytes, file: str) -> None:
    """Raises Unreadable for the files of Stripe's that are easily taken for this one."""
    names = set(re.split('[",;\\t]+', _header(content)))
    if "amount" in names and names & {"created (utc)", "created date (utc)"}:
        attempts = "which lists attempts to pay, and neither fees nor what goes back on its own day"
        raise Unreadable(f"{file}: Stripe's Payments export, {attempts}. {WHERE}")
    if "net_amount" in names or {"reporting_category", "count"} <= names:
        raise Unreadable(f"{file}: a summary, which goes with --summary. {WHERE}")


def _header(content: bytes) -> str:
    return content[:65536].decode("utf-8-sig", "replace").partition("\n")[0].strip().lower()


def _row(cells: Cells, zone: ZoneInfo) -> StripeRow:
    currency = cells.currency()
    gross, fee, net = (cells.minor(name, currency) for name in ("gross", "fee", "net"))
    if net != gross - fee:
        raise cells.wrong("net", "is not gross less fee")
    in_utc = cells.text("created_utc") is not None
    at = cells.time("created_utc", UTC) if in_utc else cells.time("created", zone)
    return StripeRow(
        id=cells.needed("balance_transaction_id"),
        created=at if in_utc else at.astimezone(UTC),
        category=intern(category(cells.needed("reporting_category"), None)),
        gross=gross,
        fee=fee,
        net=net,
        currency=currency,
        shown=_shown(cells, gross, currency),
        source=cells.text("source_id"),
        charge=cells.text("charge_id"),
        payment_intent=cells.text("payment_intent_id"),
        invoice=cells.text("invoice_id"),
        connected_account=cells.text("connected_account_id"),
    )


def _shown(cells: Cells, gross: int, currency: str) -> Money | None:
    """What the customer saw, with the sign of `gross`: Stripe gives the charge's, refund's or
    dispute's own amount."""
    if cells.text("customer_facing_currency") is None:
        return None
    theirs = cells.currency("customer_facing_currency")
    if theirs == currency:
        return Money(gross, currency)  # and right for the parts of a partial capture, too
    size = abs(cells.minor("customer_facing_amount", theirs))
    return Money(size if gross >= 0 else -size, theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What Stripe's summaries state; None: that one was not given. `dated`: whether one of them
    says that it is of just these days."""

    activities: Activities | None = None
    balances: Balances | None = None
    dated: bool = False


def summary(content: bytes, file: str, period: Period) -> Summary:
    """The one of the two summaries that this is. Raises Unreadable, also for one that says that it
    is of other days: only the balances' says of which it is, and not always."""
    if "net_amount" not in _header(content):
        return Summary(activities=dict(_activities(content, file)))
    lines = list(rows(content, file, ("category", "net_amount", "currency")))
    days = [_dated(cells, period) for cells in lines]
    return Summary(balances=dict(_balances(lines, file)), dated=any(days))


def _dated(cells: Cells, period: Period) -> bool:
    """Whether this line says a date: a right one. The end is the last day, or the day after."""
    last = period.end - timedelta(days=1)
    right = {"starting_balance": [period.start], "ending_balance": [last, period.end]}
    found = DATED.search(cells.text("description") or "")
    wanted = right.get(cells.needed("category"))
    if not found or not wanted:
        return False
    if found[1] not in map(str, wanted):
        raise cells.wrong("description", f"expected the balance of {wanted[0]}")
    return True


def _balances(lines: Iterable[Cells], file: str) -> Iterator[tuple[tuple[str, str], int]]:
    seen: dict[str, set[str]] = {}
    for cells in lines:
        currency, name = cells.currency(), cells.needed("category")
        if any(name.startswith(f"{whole}_") for whole in BALANCES):
            continue  # a part of one, such as activity_fee
        if name not in BALANCES:
            raise cells.wrong("category", f"expected one of {', '.join(BALANCES)}")
        if name in seen.setdefault(currency, set()):
            raise cells.wrong("category", f"a second one in {currency.upper()}")
        seen[currency].add(name)
        yield (name, currency), cells.minor("net_amount", currency)
    for currency, names in seen.items():
        if "ending_balance" not in names or "starting_balance" not in names:
            raise Unreadable(f"{file}: {currency.upper()} has no starting or no ending balance")
    if not seen:
        raise Unreadable(f"{file}: no balances")


def _activities(content: bytes, file: str) -> Iterator[tuple[tuple[str, str], Activity]]:
    needs = ("reporting_category", "currency", "count", "gross", "fee", "net")
    seen = set()
    for cells in rows(content, file, needs):
        currency = cells.currency()
        key = (cells.needed("reporting_category"), currency)
        if key[0] == "total":
            continue
        if key in seen:
            raise cells.wrong("reporting_category", f"a second one in {currency.upper()}")
        seen.add(key)
        amounts = [cells.minor(name, currency) for name in ("gross", "fee", "net")]
        yield key, Activity(cells.whole("count"), *amounts)
