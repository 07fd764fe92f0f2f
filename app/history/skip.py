"""Deliveries that nobody wants any more: what is dead is closed, what waits is given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.history.replay import DEAD, NUMBER, NotFound, Wanted, unfit
from app.store import audit, deliveries
from app.store.deliveries import Found
from app.store.sought import Deliveries


@dataclass(frozen=True, slots=True)
class Chosen:
    """`more`: the limit left others out."""

    deliveries: Sequence[Found]
    more: bool = False

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.deliveries]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """`in_hand` were on their way just then and may arrive all the same."""

    skipped: int
    in_hand: int


def choose(connection: Connection, wanted: Wanted) -> Chosen:
    """By ids, dead or pending; else by filters the dead ones, or with `waiting` the pending, the
    oldest first. Raises NotFound, which names every id that is no such delivery."""
    if wanted.ids:
        return Chosen(_named(connection, wanted.ids))
    asked = Deliveries(
        states=["pending" if wanted.waiting else DEAD],
        destination=wanted.destination,
        name=wanted.type,
        customer=wanted.customer,
        since=wanted.since,
        until=wanted.until,
        error=wanted.error,
    )
    found = deliveries.find(connection, asked, wanted.limit and wanted.limit + 1)
    return Chosen(found[: wanted.limit], wanted.limit is not None and len(found) > wanted.limit)


def _named(connection: Connection, ids: Sequence[str]) -> list[Found]:
    numbers = {int(one) for one in ids if NUMBER.fullmatch(one)}
    found = deliveries.find(connection, Deliveries(ids=sorted(numbers)))
    fit = [one for one in found if one.state in ("pending", DEAD)]
    if wrong := unfit(ids, {str(one.id) for one in fit}, found):
        raise NotFound(wrong)
    return fit


def skip(
    connection: Connection, ids: Sequence[int], *, who: str, why: str, asked: Mapping[str, Any]
) -> Skipped:
    """Never send these deliveries, which are dead or pending; with the audit line, in the caller's
    transaction."""
    skipped, in_hand = deliveries.skip(connection, ids, f"skipped by hand: {why}"[:200])
    audit.note(connection, who, "skip", why, asked, skipped)
    return Skipped(skipped=skipped, in_hand=in_hand)
