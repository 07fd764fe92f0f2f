"""Several webhook events of one subscription in one second: which of them had the last word.

`created` counts seconds and arrival says nothing, so the order is found in what they say. Each
`updated` leads from what the subscription was (its object with `previous_attributes` laid over
it) to what it is. All of a second are one walk along such steps, and a walk ends where more steps
arrive than leave.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core.facts import Snapshot
from app.core.reading.shapes import Json, id_of, item_price, rows
from app.core.worth.discounts import listed

OVER = ("canceled", "incomplete_expired")  # nothing follows these


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A snapshot with when it was said (to the second) and by which webhook event. `hydrated`:
    asked of Stripe's API later, so it may tell of a later time."""

    snapshot: Snapshot
    at: datetime
    event_id: str
    hydrated: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """The fields that decide what a subscription is worth, in a form to compare."""

    status: str
    paused: bool
    trial_end: str
    items: tuple[Any, ...]
    discounts: tuple[Any, ...]


def last_stated(stated: Sequence[Stated]) -> Stated:
    """The snapshot that stands at the end of the second, whatever the order they are given in."""
    sent = [one for one in stated if not one.hydrated] or list(stated)
    ended = [one for one in sent if one.snapshot.status in OVER]
    return max(ended or _at_the_end(sent), key=lambda one: one.event_id)


def _at_the_end(stated: Sequence[Stated]) -> list[Stated]:
    """Those whose standing the walk ends in: several where a step is not known (yet)."""
    surplus: Counter[Standing] = Counter()
    seen: set[Standing] = set()  # said without a step, as `created` is
    for one in stated:
        after, before = _standing(one.snapshot), _before(one.snapshot)
        if before is None:
            seen.add(after)
        else:
            surplus[after] += 1
            surplus[before] -= 1
    ends = {standing for standing, steps in surplus.items() if steps > 0} or seen
    return [one for one in stated if _standing(one.snapshot) in ends] or list(stated)


def _standing(snapshot: Snapshot) -> Standing:
    return Standing(
        status=snapshot.status,
        paused=snapshot.paused_collection,
        trial_end=str(int(snapshot.trial_end.timestamp()) if snapshot.trial_end else None),
        items=_items(snapshot.items),
        discounts=_ids(snapshot.discounts),
    )


def _before(snapshot: Snapshot) -> Standing | None:
    """What it was before this webhook event; None if that does not say."""
    previous, now = snapshot.previous_attributes, _standing(snapshot)
    if previous is None:
        return None
    discounted = "discounts" in previous or "discount" in previous
    return Standing(
        status=str(previous.get("status", now.status)),
        paused=bool(previous.get("pause_collection", now.paused)),
        trial_end=str(previous.get("trial_end", now.trial_end)),
        items=_previous_items(snapshot, previous),
        discounts=_ids(listed(previous)) if discounted else now.discounts,
    )


def _previous_items(snapshot: Snapshot, previous: Json) -> tuple[Any, ...]:
    """Stripe lists the whole previous array; old events of one item may name it at the top."""
    if "items" in previous:
        return _items(rows(previous["items"]))
    items = [dict(item) for item in snapshot.items]
    if len(items) == 1 and "quantity" in previous:
        items[0]["quantity"] = previous["quantity"]
    if len(items) == 1 and previous.get("plan"):
        items[0] |= {"plan": previous["plan"], "price": None}
    return _items(items)


def _items(items: Sequence[Json]) -> tuple[Any, ...]:
    return tuple(
        sorted(
            (
                str(item.get("id")),
                str(item_price(item).get("id") or id_of(item.get("price"))),
                str(item.get("quantity")),
                _ids(listed(item)),
            )
            for item in items
        )
    )


def _ids(discounts: Sequence[object]) -> tuple[str, ...]:
    return tuple(sorted(str(id_of(one)) for one in discounts))
