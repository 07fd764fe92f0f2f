"""What both sides have: whether it is the same, and if not, why."""

from collections.abc import Sequence

from app.core.money import Money
from app.core.reconcile.earlier import changed
from app.core.reconcile.frame import Frame, correct, look, look_first
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
    known = frame.evidence
    other, recorded = (parts.get(entry.key, 0) for parts in (known.other_parts, known.recorded))
    if total[currency] + other + recorded == minor:
        where = "outside of Stripe" if recorded else "on other days"
        return Said("partial_payment", "paid_in_parts", True, f"the rest was paid {where}")
    reason, note = _why(group.all_rows, total[currency], entry)
    right = Money(total[currency], currency)
    return Said("amount_difference", reason, False, note, _mend(entry, frame, reason, right))


def _mend(entry: LedgerEntry, frame: Frame, reason: str, right: Money) -> str:
    """The correction to Stripe's amount. Without a cause, a person is to look first: perhaps a part
    of it was paid elsewhere; a tenth may be such a part, too."""
    tax = entry.tax_minor if reason == "tax_in_or_out" else None
    step = correct(entry, frame, f"amount_difference {reason}", right, tax)
    less, more = sorted((abs(right.minor), abs(entry.money.minor)))
    if reason == "unknown" or (reason == "unit_scale" and 10 * less == more):
        return look_first(entry, frame, f"where Stripe is right: {step}")
    return step


def _currencies(group: Group, entry: LedgerEntry, frame: Frame) -> Said:
    settled = sums(Money(row.gross, row.currency) for row in group.all_rows)
    if any(row.shown is None for row in group.all_rows):
        note = "Stripe's rows do not say what the customer was charged"
        step = "Export with customer_facing_amount and customer_facing_currency, or use the API."
        return Said("currency_difference", "customer_amount_unknown", False, note, step)
    total = sums(row.money for row in group.all_rows)
    if len(total) > 1:
        note = "its transactions are in several currencies"
        return Said("currency_difference", "unknown", False, note, look(entry, frame))
    [(currency, minor)] = total.items()
    step = correct(entry, frame, "currency_difference", Money(minor, currency))
    if settled == {entry.money.currency: entry.money.minor}:
        note = "the ledger has what was settled, not what was charged"
        return Said("currency_difference", "settled_amount", False, note, step)
    step = look_first(entry, frame, f"where Stripe is right: {step}")
    return Said("currency_difference", "unknown", False, "", step)


def _equal(group: Group, entry: LedgerEntry, frame: Frame) -> Said:
    for row in group.rows:
        if said := changed(row, frame):
            return said
    if not group.rows or not group.entries:
        days = ", ".join(str(row.day(frame.period.zone)) for row in group.all_rows)
        note = f"Stripe's day is {days}, the ledger's {entry.effective_date}"
        return Said("period_timezone", "another_period", True, note)
    if group.near_rows:
        return Said("partial_payment", "paid_in_parts", True, "a part was paid on other days")
    if entry.corrected:
        return Said("matched", "corrected", True)
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
