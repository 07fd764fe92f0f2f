"""What both sides have: whether it is the same, and if not, why."""

from collections.abc import Sequence

from app.core.money import Money
from app.core.reconcile.frame import Frame, look
from app.core.reconcile.match import Group
from app.core.reconcile.results import MATCHED, Said
from app.core.reconcile.rows import LedgerEntry, StripeRow, sums


def compared(group: Group, entry: LedgerEntry, frame: Frame) -> Said:
    """Of a group with transactions and one entry."""
    if group.agrees:
        return _equal(group, entry, frame)
    total = sums(row.money for row in group.all_rows)
    currency, minor = entry.money.currency, entry.money.minor
    if set(total) != {currency}:
        return _currencies(group, entry, frame)
    if total[currency] + frame.evidence.other_parts.get(entry.key, 0) == minor:
        return Said("partial_payment", "paid_in_parts", True, "the rest was paid on other days")
    reason, note = _why(group.all_rows, total[currency], entry)
    return Said("amount_difference", reason, False, note, look(entry, frame))


def _currencies(group: Group, entry: LedgerEntry, frame: Frame) -> Said:
    settled = sums(Money(row.gross, row.currency) for row in group.all_rows)
    if any(row.shown is None for row in group.all_rows):
        note = "Stripe's rows do not say what the customer was charged"
        step = "Export with customer_facing_amount and customer_facing_currency, or use the API."
        return Said("currency_difference", "customer_amount_unknown", False, note, step)
    mixed_up = settled == {entry.money.currency: entry.money.minor}
    reason = "settled_amount" if mixed_up else "unknown"
    note = "the ledger has what was settled, not what was charged" if mixed_up else ""
    return Said("currency_difference", reason, False, note, look(entry, frame))


def _equal(group: Group, entry: LedgerEntry, frame: Frame) -> Said:
    for row in group.rows:
        was = frame.evidence.earlier.get(row.id)
        if was and not was.settled_as(row):
            had, has = Money(was.fee, was.currency), Money(row.fee, row.currency)
            note = f"{row.id}: an earlier run knew a fee of {had}, now it is {has}"
            step = (
                "Stripe never changes a transaction: one of the two sources was altered. Its API"
                " is right."
            )
            return Said("fee_difference", "changed", False, note, step)
    if not group.rows or not group.entries:
        days = ", ".join(str(row.day(frame.period.zone)) for row in group.all_rows)
        note = f"Stripe's day is {days}, the ledger's {entry.effective_date}"
        return Said("period_timezone", "another_period", True, note)
    if group.near_rows:
        return Said("partial_payment", "paid_in_parts", True, "a part was paid on other days")
    if entry.posting_date != entry.effective_date:
        note = f"of {entry.effective_date}, posted to {entry.posting_date}: that month was closed"
        return Said("late_adjustment", "closed_period", True, note)
    fx = any(row.currency != entry.money.currency for row in group.rows)
    return Said("matched", "fx", True) if fx else MATCHED


def _why(rows: Sequence[StripeRow], total: int, entry: LedgerEntry) -> tuple[str, str]:
    """(reason, note) of an amount that differs, from the plainest cause on."""
    minor, difference = entry.money.minor, entry.money.minor - total
    if minor == -total:
        return "sign", "the same amount with the other sign"
    for scale in (10, 100, 1000):
        if scale * total == minor or scale * minor == total:
            return (
                "unit_scale",
                f"{scale} times too {'much' if abs(minor) > abs(total) else 'little'}",
            )
    settled = sums(Money(row.gross, row.currency) for row in rows)
    if entry.money.currency not in settled and list(settled.values()) == [minor]:
        return "fx", "the ledger has the settled amount in the customer's currency"
    for category, reason in (
        ("partial_capture_reversal", "partial_capture"),
        ("charge_failure", "charge_failure"),
    ):
        without = [row.money for row in rows if row.category != category]
        if len(without) < len(rows) and sums(without).get(entry.money.currency) == minor:
            return reason, f"without Stripe's {category}"
    if entry.tax_minor and abs(difference) == abs(entry.tax_minor):
        return "tax_in_or_out", "the difference is the tax"
    return "unknown", f"the ledger has {Money(difference, entry.money.currency)} more"
