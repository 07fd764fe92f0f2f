"""Kept webhook events processed, or dead deliveries sent, once more: the same keys and ids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from app.core.outcome import MAY_HAVE_ARRIVED
from app.settings import Settings
from app.store import audit, deliveries, webhook_events
from app.store.deliveries import Dead

NUMBER = re.compile("[0-9]{1,18}")


class NotFound(Exception):
    """An id that names neither a kept webhook event nor a dead delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for: ids (`evt_...`, or a delivery's number), or all of a kind."""

    ids: Sequence[str] = ()
    quarantined: bool = False
    dead: bool = False
    allow_duplicates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done again. `too_late`: deliveries past their destination's dedupe window, or
    dropped because they may have arrived; left out because one that did would count twice."""

    webhook_events: Sequence[int]
    deliveries: Sequence[int]
    too_late: Sequence[int]


def plan(connection: Connection, settings: Settings, wanted: Wanted) -> Plan:
    """Find it, without changing anything. Raises NotFound, naming the first unknown id."""
    numbers = [int(one) for one in wanted.ids if NUMBER.fullmatch(one)]
    named = [one for one in wanted.ids if not NUMBER.fullmatch(one)]
    events = webhook_events.find(connection, named, quarantined=wanted.quarantined)
    dead = deliveries.find_dead(connection, numbers, every=wanted.dead)
    known = {one.event_id for one in events} | {str(one.id) for one in dead}
    for one in wanted.ids:
        if one not in known:
            raise NotFound(one)
    windows = {one.name: one.DEDUPE_WINDOW for one in settings.destinations}
    late = [] if wanted.allow_duplicates else [one.id for one in dead if _may_double(one, windows)]
    return Plan(
        webhook_events=[one.id for one in events],
        deliveries=[one.id for one in dead if one.id not in late],
        too_late=late,
    )


def _may_double(dead: Dead, windows: Mapping[str, timedelta | None]) -> bool:
    if dead.reason.startswith(MAY_HAVE_ARRIVED):
        return True
    window = windows.get(dead.destination)
    return window is not None and dead.age > window.total_seconds()


def replay(connection: Connection, planned: Plan, *, who: str, why: str, asked: Any) -> int:
    """Put it to work and write the audit line, in the caller's transaction; how many rows."""
    webhook_events.process_again(connection, planned.webhook_events)
    again = deliveries.retry(connection, planned.deliveries)
    rows = len(planned.webhook_events) + again
    audit.note(connection, who, "replay", why, asked, rows)
    return rows
