"""The journal: revenue entries and Stripe's balance transactions as debits and credits.

Stripe clearing is Stripe's balance: only transactions move it. What was booked goes to Unapplied
payments and comes from there with its transaction, so that each may come on its own day.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from heapq import merge
from itertools import groupby
from operator import itemgetter

from app.core.money import Money
from app.core.reconcile.categories import BOOKED
from app.finance.sheets import Cell
from app.store.exports import Wanted
from app.store.journal import Booked, Moved

JOURNAL = (
    *("date", "reference", "ledger_account", "debit", "credit", "currency", "memo"),
    *("account", "mode"),
)
CLEARING, UNAPPLIED, OUTSIDE = "Stripe clearing", "Unapplied payments", "Paid outside Stripe"
TAX, FEES, CONVERSION = "Tax payable", "Stripe fees", "Currency conversion"
# What an entry is booked against, by its kind.
AGAINST = {
    "payment": "Revenue",
    "refund": "Refunds",
    "refund_reversal": "Refunds",
    "dispute": "Disputes",
    "dispute_reversal": "Disputes",
}
# What a transaction without entries is booked against, by its category; of all others the account
# is the category in words, after "Stripe:" so that none is taken for one of these.
OF_CATEGORY = {
    "fee": FEES,
    "network_cost": "Network costs",
    "tax": "Tax on Stripe fees",
    "payout": "Payouts",
    "payout_reversal": "Payouts",
    "transfer": "Transfers",
    "transfer_reversal": "Transfers",
    "topup": "Top-ups",
    "topup_reversal": "Top-ups",
    "platform_earning": "Platform earnings",
    "platform_earning_refund": "Platform earnings",
    "connect_reserved_funds": "Reserves",
    "risk_reserved_funds": "Reserves",
}

Legs = Mapping[tuple[str, str], int]  # by account and currency: minor units, a debit is positive
Lines = tuple[date, str, Legs, str]  # a day, a reference, its legs, a memo


def journal(
    booked: Iterable[Booked], moved: Iterable[Moved], wanted: Wanted
) -> Iterator[Sequence[Cell]]:
    """A line per leg, by day and reference, as `booked` and `moved` are. The legs of a reference
    sum to zero in each currency."""
    mode = "live" if wanted.livemode else "test"
    entries = ((row.day, row.key, _of_entry(row), _about(row)) for row in booked)
    for day, reference, legs, memo in merge(entries, _moves(moved), key=itemgetter(0, 1)):
        for (account, currency), minor in legs.items():
            if minor:
                amount = Money(abs(minor), currency).major
                debit, credit = (amount, None) if minor > 0 else (None, amount)
                yield (
                    *(day, reference, account, debit, credit, currency, memo),
                    *(wanted.account or "own", mode),
                )


def _about(row: Booked) -> str:
    """What the entry is, and what it corrects."""
    return f"{row.kind} {row.corrects}" if row.corrects else row.kind


def _of_entry(row: Booked) -> Legs:
    """A correction has the accounts of what it corrects."""
    tax, outside = row.tax or 0, _outside(row)
    return {
        (OUTSIDE, row.currency): outside,
        (UNAPPLIED, row.currency): row.minor - outside,
        (AGAINST[row.corrected or row.kind], row.currency): tax - row.minor,
        (TAX, row.currency): -tax,
    }


def _outside(row: Booked) -> int:
    """What of the entry moved outside of Stripe, minor units. The correction of one that was paid
    there in part is of Stripe's part, which alone can be compared."""
    if row.all_outside:
        return row.minor
    return (row.outside or 0) if row.kind == "payment" else 0


def _moves(rows: Iterable[Moved]) -> Iterator[Lines]:
    """Of each transaction and day: what was recorded of it, less what was taken back."""
    for (day, reference), versions in groupby(rows, itemgetter(0, 1)):
        *others, last = versions
        memo = f"{last.category} {last.source}" if last.source else last.category
        if last.by_run is None and not others:  # nearly always
            yield day, reference, _of_move(last), memo
            continue
        legs: dict[tuple[str, str], int] = defaultdict(int)
        for row in (*others, last):
            for leg, minor in _of_move(row).items():
                legs[leg] += minor if row.by_run is None else -minor
        before = max((row.run for row in (*others, last) if row.by_run is not None), default=None)
        if before is not None:
            memo += f": as run {last.by_run or last.run} found it, not run {before}"
        yield day, reference, legs, memo


def _of_move(row: Moved) -> Legs:
    """What it does to Stripe's balance, and where that comes from or goes."""
    currency, shown_in, shown = row.currency, row.shown_in, row.minor
    if row.category not in BOOKED:
        account = account_of(row.category)
        if account == FEES:
            return {(CLEARING, currency): row.net, (FEES, currency): -row.net}
        other = {(account, currency): -row.gross}
    elif shown is None or shown_in is None or shown_in == currency:
        other = {(UNAPPLIED, currency): -row.gross}
    else:
        other = {
            (CONVERSION, currency): -row.gross,
            (CONVERSION, shown_in): shown,
            (UNAPPLIED, shown_in): -shown,
        }
    return {(CLEARING, currency): row.net, (FEES, currency): row.fee, **other}


def account_of(category: str) -> str:
    """The account of a category that the ledger has no entries of."""
    words = category.removesuffix("_reversal").replace("_", " ")
    return OF_CATEGORY.get(category) or f"Stripe: {words[:60]}"
