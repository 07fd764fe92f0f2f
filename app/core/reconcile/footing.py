"""Whether the totals foot: every row and entry counted once, and Stripe's own summaries agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.core.reconcile.categories import PAYOUTS
from app.core.reconcile.results import Result
from app.core.reconcile.rows import LedgerEntry, StripeRow, sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One sum against another, in one currency. `foots` None: it was not checked, `note` says why.
    Amounts are minor units."""

    name: str
    currency: str
    expected: int | None
    found: int | None
    foots: bool | None
    note: str = ""


def _check(name: str, currency: str, expected: int, found: int) -> Check:
    return Check(
        name=name, currency=currency, expected=expected, found=found, foots=expected == found
    )


def of_classes(
    rows: Sequence[StripeRow], entries: Sequence[LedgerEntry], results: Iterable[Result]
) -> list[Check]:
    """The classes' differences sum to Stripe's total less the ledger's. Rows and entries are the
    period's, summed here on their own."""
    theirs = sums(row.money for row in rows)
    ours = sums(entry.money for entry in entries)
    deltas: dict[str, int] = {}
    for result in results:
        deltas[result.currency] = deltas.get(result.currency, 0) + result.delta
    return [
        _check(
            "classes = Stripe - ledger",
            currency,
            theirs.get(currency, 0) - ours.get(currency, 0),
            deltas.get(currency, 0),
        )
        for currency in sorted({*theirs, *ours, *deltas})
    ]


@dataclass(frozen=True, slots=True)
class Activity:
    """A line of Stripe's summary of activity, or of ours: minor units of one currency."""

    count: int
    gross: int
    fee: int
    net: int


Activities = Mapping[tuple[str, str], Activity]  # by reporting category and currency
Balances = Mapping[tuple[str, str], int]  # by summary category and currency: net minor units


def activity(rows: Iterable[StripeRow]) -> dict[tuple[str, str], Activity]:
    """Our sums by category and currency of settlement."""
    counts: Counter[tuple[str, str]] = Counter()
    totals: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        key = (row.category, row.currency)
        counts[key] += 1
        total = totals.setdefault(key, [0, 0, 0])
        for at, amount in enumerate((row.gross, row.fee, row.net)):
            total[at] += amount
    return {key: Activity(counts[key], *totals[key]) for key in sorted(totals)}


def against_activity(ours: Activities, stated: Activities) -> list[Check]:
    """Each category's gross, fee and net as Stripe's summary has them. A category that only one
    side has is compared with zero; payouts have a summary of their own."""
    nothing = Activity(0, 0, 0, 0)
    checks = []
    for key in sorted({*ours, *stated}):
        category, currency = key
        if category in PAYOUTS and key not in stated:
            continue
        mine, theirs = ours.get(key, nothing), stated.get(key, nothing)
        checks += [
            _check(f"{category} {name}", currency, getattr(theirs, name), getattr(mine, name))
            for name in ("gross", "fee", "net")
        ]
    return checks


def against_balances(ours: Activities, stated: Balances) -> list[Check]:
    """starting + activity + payouts = ending; and the rows sum to the activity and the payouts."""
    checks = []
    for currency in sorted({currency for _, currency in stated}):
        told = {name: minor for (name, of), minor in stated.items() if of == currency}
        moved = sum(told.get(name, 0) for name in ("starting_balance", "activity", "payouts"))
        checks.append(
            _check("starting + activity + payouts", currency, told["ending_balance"], moved)
        )
        net = {True: 0, False: 0}
        for (category, of), one in ours.items():
            if of == currency:
                net[category in PAYOUTS] += one.net
        checks.append(_check("activity = rows", currency, told.get("activity", 0), net[False]))
        has_payouts = any(category in PAYOUTS and of == currency for category, of in ours)
        if has_payouts or not told.get("payouts", 0):
            checks.append(_check("payouts = rows", currency, told.get("payouts", 0), net[True]))
        else:
            note = "the source lists no payouts"
            checks.append(_not_checked("payouts = rows", currency, note))
    return checks


def _not_checked(name: str, currency: str, note: str) -> Check:
    return Check(name=name, currency=currency, expected=None, found=None, foots=None, note=note)


def not_given() -> list[Check]:
    """What is not checked for want of a summary."""
    return [
        _not_checked(
            "starting + activity + payouts = ending", "", "no balance summary (--summary)"
        ),
        _not_checked("sums by reporting category", "", "no activity summary (--summary)"),
    ]
