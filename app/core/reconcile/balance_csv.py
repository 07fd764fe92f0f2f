"""Stripe's balance reports as CSV files: the itemized one, and its two summaries.

Columns: https://docs.stripe.com/reports/report-types/balance. Amounts are in whole units there.
"""

from collections.abc import Iterator
from datetime import UTC
from sys import intern
from zoneinfo import ZoneInfo

from app.core.money import Money
from app.core.reconcile.categories import category
from app.core.reconcile.footing import Activity
from app.core.reconcile.rows import StripeRow
from app.core.reconcile.table_csv import Cells, Unreadable, rows

ITEMIZED = (
    *("balance_transaction_id", "created_utc|created", "currency", "gross", "fee", "net"),
    "reporting_category",
)
BALANCES = ("starting_balance", "activity", "payouts", "ending_balance")


def itemized(content: bytes, file: str, zone: ZoneInfo) -> list[StripeRow]:
    """Every transaction of an itemized balance report, as the API would give it. `zone` is that of
    the column `created`, which is read only where `created_utc` is missing."""
    found: dict[str, tuple[int, StripeRow]] = {}
    for cells in rows(content, file, ITEMIZED):
        row = _row(cells, zone)
        if row.id in found:
            raise cells.wrong("balance_transaction_id", f"is also in line {found[row.id][0]}")
        found[row.id] = cells.line, row
    return [row for _, row in found.values()]


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


Summary = tuple[dict[tuple[str, str], Activity], dict[tuple[str, str], int]]


def summary(content: bytes, file: str) -> Summary:
    """(activity by category and currency, balances by category and currency): one of them is
    empty, by which of the two summaries this is. Raises Unreadable."""
    first = content[:4096].decode("utf-8", "replace").partition("\n")[0].lower()
    if "net_amount" in first:
        return {}, dict(_balances(content, file))
    return dict(_activities(content, file)), {}


def _balances(content: bytes, file: str) -> Iterator[tuple[tuple[str, str], int]]:
    seen: dict[str, set[str]] = {}
    for cells in rows(content, file, ("category", "net_amount", "currency")):
        currency, name = cells.currency(), cells.needed("category")
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
