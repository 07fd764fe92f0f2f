"""Balance transactions and ledger entries for the tests of the comparison."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.core.money import Money
from app.core.reconcile.classes import classify
from app.core.reconcile.corrected import as_corrected
from app.core.reconcile.frame import Evidence, Frame
from app.core.reconcile.match import groups, keyed
from app.core.reconcile.results import Result
from app.core.reconcile.rows import LedgerEntry, Period, StripeRow

OCTOBER = Period(start=date(2026, 10, 1), end=date(2026, 11, 1), zone=ZoneInfo("UTC"))
NOON = datetime(2026, 10, 10, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 5, tzinfo=UTC)
DAY = date(2026, 10, 10)


def row(number: int = 1, **given: Any) -> StripeRow:
    """A charge of 10.00 EUR for payment intent pi_<number>, settled as it was charged."""
    gross, fee = given.get("gross", 1000), given.get("fee", 40)
    currency = given.get("currency", "eur")
    values: dict[str, Any] = {
        "id": f"txn_{number}",
        "created": NOON,
        "category": "charge",
        "gross": gross,
        "fee": fee,
        "net": gross - fee,
        "currency": currency,
        "shown": Money(gross, currency),
        "source": f"ch_{number}",
        "charge": f"ch_{number}",
        "payment_intent": f"pi_{number}",
    }
    return StripeRow(**values | given)


def refund_row(number: int = 1, **given: Any) -> StripeRow:
    values = {"id": f"txn_r{number}", "category": "refund", "gross": -300, "fee": 0}
    return row(number, **values | {"source": f"re_{number}"} | given)


def entry(number: int = 1, **given: Any) -> LedgerEntry:
    """The entry of an invoice in_<number> of 10.00 EUR."""
    values: dict[str, Any] = {
        "key": f"payment:in_{number}",
        "kind": "payment",
        "money": Money(1000, "eur"),
        "occurred_at": NOON,
        "effective_date": DAY,
        "posting_date": DAY,
        "tax_minor": 160,
        "invoice": f"in_{number}",
    }
    return LedgerEntry(**values | given)


def refund_entry(number: int = 1, **given: Any) -> LedgerEntry:
    values: dict[str, Any] = {
        "key": f"refund:re_{number}",
        "kind": "refund",
        "money": Money(-300, "eur"),
        "refund": f"re_{number}",
        "invoice": None,
        "tax_minor": None,
    }
    return entry(number, **values | given)


def correction(of: LedgerEntry, minor: int, currency: str = "eur", **given: Any) -> LedgerEntry:
    """The first correction of an entry."""
    values: dict[str, Any] = {"key": f"correction:{of.key}:1", "kind": "correction"}
    values |= {"corrects": of.key}
    money, tax = Money(minor, currency), None
    return replace(of, **values, money=money, tax_minor=tax, origin="manual", **given)


REFS = {f"pi_{number}": [f"in_{number}"] for number in range(1, 10)}


def a_frame(
    refs: dict[str, list[str]] = REFS,
    now: datetime = NOW,
    scope: tuple[str, bool] = ("", True),
    *,
    with_key: bool = True,
    **evidence: Any,
) -> Frame:
    """October, with this evidence."""
    heard = frozenset({"invoice.paid", "refund.created"})
    account, livemode = scope
    return Frame(
        period=OCTOBER,
        now=now,
        covered=OCTOBER.bounds(),
        refs=refs,
        evidence=Evidence(**{"heard": heard, **evidence}),
        account=account,
        livemode=livemode,
        with_key=with_key,
    )


def judged(
    rows: list[StripeRow],
    entries: list[LedgerEntry],
    *,
    refs: dict[str, list[str]] | None = None,
    now: datetime = NOW,
    scope: tuple[str, bool] = ("", True),
    with_key: bool = True,
    **evidence: Any,
) -> list[Result]:
    """The results of October, with this evidence."""
    known = REFS if refs is None else refs
    frame = a_frame(known, now, scope, with_key=with_key, **evidence)
    found = groups(keyed(rows, known), as_corrected(entries), OCTOBER)
    return [result for group in found for result in classify(group, frame)]


def said(results: list[Result]) -> list[tuple[str, str, int | None, int | None, bool]]:
    """What matters of results: class, reason, both amounts, whether it is explained."""
    return [(one.kind, one.reason, one.stripe, one.ledger, one.explained) for one in results]
