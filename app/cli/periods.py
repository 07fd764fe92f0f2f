"""bridge revenue periods: which months are closed, and how that came about."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any

import typer

from app.cli.books import OWN
from app.cli.room import as_json, database, listing, screen, table
from app.core.money import Money
from app.finance.month import states
from app.store import audit
from app.store.periods import Period, every, posted_months

SHOWN = ("account", "mode", "month", "status", "version", "entries", "timezone")


def add_to(verbs: typer.Typer) -> None:
    verbs.command("periods")(months)


def months(
    history: Annotated[
        bool, typer.Option("--history", help="Every close and reopening, with its totals.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Machine-readable, on stdout alone.")
    ] = False,
) -> None:
    """Every month that has revenue entries or was closed: closed, reopened, open, or locked as it
    is, being before the first one that was closed."""
    with database() as connection:
        if history:
            _history([_told(line) for line in audit.of(connection, ("close", "reopen"))], json_)
            return
        rows = list(_months(every(connection), posted_months(connection)))
    if json_:
        as_json(rows)
    elif not rows:
        screen.print("There are no revenue entries yet.")
    else:
        names = [*SHOWN[:-1], "time zone", "since (UTC)", "by", "why"]
        cells = [[*(row[name] for name in SHOWN), *_since(row)] for row in rows]
        table("Months, by posting date", names, cells)


def _months(known: list[Period], posted: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """By account, live before test, in order."""
    entries = {(row["account"], row["livemode"], row["start"]): row["entries"] for row in posted}
    closed = {(one.account, one.livemode, one.start): one for one in known}
    of = {
        scope: states(those)
        for scope, those in groupby(known, key=lambda one: (one.account, one.livemode))
    }
    nothing: dict[str, Any] = dict.fromkeys(Period.__slots__)
    keys = sorted(entries.keys() | closed.keys(), key=lambda key: (key[0], not key[1], key[2]))
    for key in keys:
        account, livemode, start = key
        state = of.get((account, livemode), states(()))(start)
        yield {
            **nothing,
            **(asdict(closed[key]) if key in closed else {"livemode": livemode, "start": start}),
            "status": state.status,
            "account": account or OWN,
            "mode": "live" if livemode else "test",
            "month": f"{start:%Y-%m}",
            "entries": entries.get(key, 0),
        }


def _since(row: dict[str, Any]) -> tuple[object, object, object]:
    """When, by whom and why it became what it is."""
    if row["status"] == "closed":
        return row["closed_at"], row["closed_by"], row["why"]
    reopened = f"reopened: {row['reopened_why'] or ''}" if row["reopened_at"] else None
    return row["reopened_at"], row["reopened_by"], reopened


def _told(line: dict[str, Any]) -> dict[str, Any]:
    """An audit line of a close or a reopening."""
    told = dict(line["filter"])
    account, livemode = told.pop("account"), told.pop("livemode")
    return {
        "at": line["at"],
        "who": line["who"],
        "action": line["action"],
        "why": line["why"],
        "account": account or OWN,
        "mode": "live" if livemode else "test",
        "livemode": livemode,
        "entries": line["rows"],
        **told,
    }


def _history(lines: list[dict[str, Any]], json_: bool) -> None:
    listing(
        lines,
        json_,
        "Closes and reopenings (UTC)",
        {
            **{name: itemgetter(name) for name in ("at", "account", "mode", "month", "action")},
            **{"version": itemgetter("version"), "by": itemgetter("who"), "why": itemgetter("why")},
            **{"net as closed": _net, "entries": itemgetter("entries")},
            "accepted": lambda row: "\n".join(row.get("breaks", ())),
        },
        "No month was closed yet.",
    )


def _net(row: Mapping[str, Any]) -> str:
    """The sum of every currency, as it was then."""
    sums: dict[str, int] = {}
    for one in row["totals"]["as_closed"]:
        sums[one["currency"]] = sums.get(one["currency"], 0) + one["minor"]
    return "\n".join(str(Money(minor, currency)) for currency, minor in sorted(sums.items()))
