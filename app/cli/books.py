"""What the verbs of finance share: whose books, in which time zone, and which months are closed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from app.cli.room import USAGE, stop
from app.finance.month import Stretch
from app.settings import Settings
from app.store.identities import Scope
from app.store.migrate import get_reporting_zone

OWN = "own"  # the account whose id is nowhere said, in options, on the screen and in JSON


def scope_of(account: str, *, test: bool) -> Scope:
    return "" if account == OWN else account, not test


def whose(scope: Scope) -> str:
    account, livemode = scope
    return f"account {account or OWN}, {'live' if livemode else 'test'} mode"


def in_its_zone(connection: Connection, settings: Settings) -> None:
    """Leaves with 2 where this shell's days are not the ledger's."""
    theirs, ours = get_reporting_zone(connection), settings.timezone
    if theirs != ours:
        raise stop(
            USAGE,
            f"BRIDGE_TIMEZONE is {ours} here, and the ledger counts days of {theirs}.",
            f"Set BRIDGE_TIMEZONE={theirs}. Or, if every process has {ours} and new days are to be"
            " those: bridge migrate.",
        )


Months = Mapping[Scope, list[Stretch]]


def as_lines(months: Months) -> Iterator[str]:
    """One for each account and mode: which of the months are closed, locked and open."""
    for scope, stretches in months.items():
        yield f"Months of {whose(scope)}: {'; '.join(map(_stretch, stretches))}."


def _stretch(one: Stretch) -> str:
    first, last = f"{one.first:%Y-%m}", f"{one.last:%Y-%m}"
    days = first if first == last else f"{first} to {last}"
    version = one.state.version
    return f"{days} {one.state.status}{f' (version {version})' if version else ''}"


def as_rows(months: Months) -> list[dict[str, Any]]:
    """The same for JSON."""
    return [
        {
            "account": account or OWN,
            "livemode": livemode,
            "first_month": f"{one.first:%Y-%m}",
            "last_month": f"{one.last:%Y-%m}",
            "status": one.state.status,
            "version": one.state.version,
        }
        for (account, livemode), stretches in months.items()
        for one in stretches
    ]


def any_open(stretches: Iterable[Stretch]) -> bool:
    return any(one.state.status == "open" for one in stretches)
