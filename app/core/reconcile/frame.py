"""What every group of a comparison is judged in: the period, and what else is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from shlex import quote

from app.core.money import Money
from app.core.reconcile.rows import KeptRow, LedgerEntry, Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What else is known, of the groups that do not simply agree. Ids are Stripe's.

    `failed`: the webhook event that could not be read, by what it is about; `heard`: types of
    webhook events that were kept at all; `captured`: payments that nobody claims; `due`: what an
    invoice asks for, in minor units; `not_by_stripe`: invoices that were paid without it;
    `elsewhere`: the mode or account that an entry is really of, by its key; `credited`: minor units
    that the customer's credit paid; `other_parts`: payments of an entry on other days; `recorded`:
    what payment records say was paid of it outside of Stripe; `told_by`: the webhook event that
    made it; `told_elsewhere`: another account and livemode in which webhook events told of an id;
    `earlier`: transactions as earlier runs kept them, where this one's source says something else
    or nothing.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    heard: frozenset[str] = frozenset()
    captured: frozenset[str] = frozenset()
    due: Mapping[str, int] = field(default_factory=dict)
    not_by_stripe: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    credited: Mapping[str, int] = field(default_factory=dict)
    other_parts: Mapping[str, int] = field(default_factory=dict)
    recorded: Mapping[str, int] = field(default_factory=dict)
    told_by: Mapping[str, str] = field(default_factory=dict)
    told_elsewhere: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    earlier: Mapping[str, KeptRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every group is judged in. `covered`: the first and last moment that the snapshot has
    transactions of. `refs`: what belongs to what. `account` and `livemode`: whose it is.
    `with_key`: whether there is a key of Stripe's API, which commands need that fetch."""

    period: Period
    now: datetime
    covered: tuple[datetime, datetime]
    refs: Mapping[str, Sequence[str]]
    evidence: Evidence = Evidence()
    account: str = ""
    livemode: bool = True
    with_key: bool = True

    @property
    def mode(self) -> str:
        return "live" if self.livemode else "test"


def whose(account: str, livemode: bool) -> str:
    return f"{'live' if livemode else 'test'}, of {account or 'the own account'}"


def options(account: str, livemode: bool) -> str:
    return f"--account {quote(account or 'own')} {'--live' if livemode else '--test'}"


def again(frame: Frame, account: str, livemode: bool) -> str:
    """The command that compares the same days of another account or mode."""
    period = frame.period
    days = f"--from {period.start} --to {period.end}"
    file = "" if frame.with_key else " --source csv FILE"
    return f"bridge reconcile {options(account, livemode)} {days}{file}"


def look(entry: LedgerEntry, frame: Frame) -> str:
    event = frame.evidence.told_by.get(entry.key)
    return f"bridge events show {event}" if event else f"Look for {entry.key} in Stripe."


def look_first(entry: LedgerEntry, frame: Frame, then: str) -> str:
    """For a person: what to look at, and what to do `then`."""
    event = frame.evidence.told_by.get(entry.key)
    first = f"bridge events show {event}" if event else f"{entry.key} in Stripe"
    return f"Look first: {first}; {then}"


def correct(
    entry: LedgerEntry, frame: Frame, why: str, to: Money | None = None, tax: int | None = None
) -> str:
    """The command that makes this entry count `to` (None: nothing), `tax` minor units of it tax."""
    words = ["bridge revenue correct", quote(entry.key)]
    if to is not None and to.minor:
        words.append(f'--to "{to.major:f} {to.currency.upper()}"')
        words += [] if tax is None else [f'--tax "{Money(tax, to.currency).major:f}"']
    words += [f"--account {quote(frame.account)}"] if frame.account else []
    words += [] if frame.livemode else ["--test"]
    return " ".join([*words, f'--why "reconcile: {why}"'])
