"""Kept webhook events processed, or dead deliveries sent, once more: the same keys and ids."""

import hashlib
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.core.fingerprint import fingerprint
from app.core.outcome import MAY_HAVE_ARRIVED
from app.settings import Settings
from app.store import audit, deliveries, webhook_events
from app.store.deliveries import Found
from app.store.sought import DECIDED, Deliveries, WebhookEvents

NUMBER = re.compile("[0-9]{1,18}")
CUSTOMER = re.compile("cus_[A-Za-z0-9]+")
RATE = 100  # a second: a replay is served before what comes in, and must not take all of the time
DEAD = "dead"


class NotFound(Exception):
    """Ids that name neither a kept webhook event nor a delivery that could be sent: `wrong` says of
    each what it is."""

    def __init__(self, wrong: Sequence[str]) -> None:
        super().__init__("; ".join(wrong))
        self.wrong = wrong


class Unclear(ValueError):
    """What was asked for contradicts itself, or names nothing; the words are for the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for: ids (`evt_...`, or a delivery's number), or filters, which combine.

    `status` is a verdict, or `dead`; `quarantined` and `dead` are short for it. `destination` asks
    for dead deliveries; `type` is a glob of the webhook event's type, or of the analytics event's
    name. `limit` is of each kind, the oldest first. `waiting`: deliveries that wait for their next
    try, which is then now; by id, dead and waiting ones are taken alike.
    """

    ids: Sequence[str] = ()
    type: str | None = None
    status: str | None = None
    destination: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error: str | None = None
    quarantined: bool = False
    dead: bool = False
    waiting: bool = False
    limit: int | None = None
    allow_duplicates: bool = False

    @property
    def statuses(self) -> set[str]:
        short = {"quarantined": self.quarantined, DEAD: self.dead}
        named = {self.status} if self.status else set()
        return {name for name, on in short.items() if on} | named

    @property
    def filtered(self) -> bool:
        narrowed = (self.type, self.destination, self.customer, self.since, self.until, self.error)
        return bool(self.statuses or self.waiting) or any(one is not None for one in narrowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done again. `too_late`: deliveries past their destination's dedupe window, or
    dropped because they may have arrived; left out because one that did would count twice.
    `windowed`: destinations whose window is looked at again when each delivery's turn comes.
    `erased` webhook events (Stripe's ids) have nothing left to read; `unset` deliveries are to
    destinations that are set no more. `more`: the limit left others out."""

    webhook_events: Sequence[int]
    deliveries: Sequence[int]
    too_late: Sequence[int]
    windowed: frozenset[str] = frozenset()
    erased: Sequence[str] = ()
    unset: Sequence[int] = ()
    more: bool = False

    @property
    def empty(self) -> bool:
        return not self.webhook_events and not self.deliveries

    @property
    def left_out(self) -> bool:
        return bool(self.too_late or self.erased or self.unset)


def plan(connection: Connection, settings: Settings, wanted: Wanted) -> Plan:
    """Find it, without changing anything. Raises NotFound, which names every unfit id, and
    Unclear."""
    if wanted.ids:
        if wanted.filtered:
            raise Unclear("Name ids, or say which by filters: not both.")
        events, found = _named(connection, wanted)
        limit = None
    else:
        if not wanted.filtered:
            raise Unclear("Say what: ids, or filters such as --quarantined, --dead or --since.")
        limit = wanted.limit
        events, found = _filtered(connection, wanted, limit and limit + 1)
    more = limit is not None and max(len(events), len(found)) > limit
    events, found = events[:limit], found[:limit]
    windows = {one.name: one.DEDUPE_WINDOW for one in settings.destinations}
    set_ = [one for one in found if one.destination in windows]
    late = [] if wanted.allow_duplicates else [one.id for one in set_ if _may_double(one, windows)]
    return Plan(
        webhook_events=[one.id for one in events if not one.erased],
        deliveries=[one.id for one in set_ if one.id not in set(late)],
        too_late=late,
        windowed=frozenset() if wanted.allow_duplicates else _windowed(set_, windows),
        erased=tuple(one.event_id for one in events if one.erased),
        unset=tuple(one.id for one in found if one.destination not in windows),
        more=more,
    )


def _named(
    connection: Connection, wanted: Wanted
) -> tuple[list[webhook_events.Found], list[Found]]:
    numbers = [int(one) for one in wanted.ids if NUMBER.fullmatch(one)]
    named = [one for one in wanted.ids if not NUMBER.fullmatch(one)]
    events = webhook_events.find(connection, WebhookEvents(ids=named)) if named else []
    found = deliveries.find(connection, Deliveries(ids=numbers)) if numbers else []
    fit = [one for one in found if one.state in (DEAD, "pending")]
    known = {one.event_id for one in events} | {str(one.id) for one in fit}
    if wrong := unfit(wanted.ids, known, found):
        raise NotFound(wrong)
    return events, fit


def unfit(ids: Sequence[str], known: Set[str], found: Sequence[Found]) -> list[str]:
    """Of each of these ids that is not among `known` what it is instead: the state of a delivery
    among `found`, or unknown."""
    states = {str(one.id): one.state for one in found}
    wrong = [one for one in dict.fromkeys(ids) if one not in known and one.lstrip("0") not in known]
    return [
        f"{one} is {state}" if (state := states.get(one.lstrip("0"))) else f"{one} is not known"
        for one in wrong
    ]


def _filtered(
    connection: Connection, wanted: Wanted, limit: int | None
) -> tuple[list[webhook_events.Found], list[Found]]:
    verdicts = sorted(wanted.statuses - {DEAD})
    if unknown := set(verdicts) - set(DECIDED):
        raise Unclear(f"No such status: {', '.join(unknown)}.")
    if wanted.destination and verdicts:
        raise Unclear("--destination is of deliveries: webhook events have none.")
    of_deliveries = bool(wanted.waiting or wanted.destination or DEAD in wanted.statuses)
    same = {name: getattr(wanted, name) for name in ("customer", "since", "until", "error")}
    events: list[webhook_events.Found] = []
    found: list[Found] = []
    if verdicts or not of_deliveries:
        asked = WebhookEvents(verdicts=verdicts or DECIDED, type=wanted.type, **same)
        events = webhook_events.find(connection, asked, limit)
    if of_deliveries:
        states = {DEAD: DEAD in wanted.statuses or not wanted.waiting, "pending": wanted.waiting}
        which = Deliveries(
            states=[name for name, on in states.items() if on],
            destination=wanted.destination,
            name=wanted.type,
            **same,
        )
        found = deliveries.find(connection, which, limit)
    return events, found


def _windowed(found: Sequence[Found], windows: Mapping[str, timedelta | None]) -> frozenset[str]:
    return frozenset(one.destination for one in found if windows[one.destination])


def _may_double(dead: Found, windows: Mapping[str, timedelta | None]) -> bool:
    if dead.state != DEAD:
        return False  # its worker looks at that
    if dead.reason.startswith(MAY_HAVE_ARRIVED):
        return True
    window = windows.get(dead.destination)
    return window is not None and dead.age > window.total_seconds()


def replay(
    connection: Connection,
    planned: Plan,
    *,
    who: str,
    why: str,
    asked: Mapping[str, Any],
    rate: float = RATE,
) -> int:
    """Put it to work, so many a second of each kind, and write the audit line, in the caller's
    transaction; how many rows."""
    rows = webhook_events.process_again(connection, planned.webhook_events, rate)
    rows += deliveries.retry(connection, planned.deliveries, rate, planned.windowed)
    audit.note(connection, who, "replay", why, asked, rows)
    return rows


def for_audit(wanted: Wanted) -> dict[str, Any]:
    """What was asked, without ids of persons: a shop's own name of a customer becomes a digest,
    what an error quotes a placeholder."""
    asked = {name: getattr(wanted, name) for name in Wanted.__slots__}
    kept = {name: value for name, value in asked.items() if value not in (None, False, (), [])}
    if wanted.customer and not CUSTOMER.fullmatch(wanted.customer):
        kept["customer"] = f"sha256:{hashlib.sha256(wanted.customer.encode()).hexdigest()[:16]}"
    if wanted.error is not None:
        kept["error"] = fingerprint(wanted.error)
    for name in ("since", "until"):
        if name in kept:
            kept[name] = kept[name].isoformat()
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Webhook events by verdict and deliveries by state, of what was put to work."""

    verdicts: Mapping[str, int]
    states: Mapping[str, int]

    @property
    def left(self) -> int:
        return self.verdicts.get("waiting", 0) + self.states.get("pending", 0)

    @property
    def failed(self) -> int:
        return self.verdicts.get("quarantined", 0) + self.states.get(DEAD, 0)


def progress(connection: Connection, planned: Plan) -> Progress:
    """How far it got."""
    return Progress(
        verdicts=webhook_events.verdicts_of(connection, planned.webhook_events),
        states=deliveries.states_of(connection, planned.deliveries),
    )
