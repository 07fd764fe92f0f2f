"""Correct a revenue entry: it stays as it is, and new entries make it count what is right.

What a person says is kept as an event of our own and processed like Stripe's, so it is booked and
told once, by whichever worker.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from app.core.correction import (
    KIND,
    Booked,
    Part,
    amount,
    changes,
    check,
    correction_key,
    event,
    event_id,
)
from app.core.envelope import open_envelope
from app.core.money import Money
from app.owe import takes
from app.settings import Settings
from app.store import audit, corrections, erasures, identities, periods, webhook_events
from app.store.corrections import Corrected, Said
from app.store.identities import Scope
from app.store.webhook_events import MANUAL, Arrived

TOLD = "revenue_corrected"


class Refused(Exception):
    """The entry cannot be corrected, or not so: why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`to` and `tax` as a person wrote them: what the entry is to count; None: nothing, and tax in
    proportion."""

    scope: Scope
    key: str
    to: str | None = None
    tax: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be posted: `parts`, as correction `number` of the entry. `told` are the
    destinations that take such events, by their settings; none of somebody who was forgotten."""

    booked: Booked
    to: Money
    number: int
    parts: Sequence[Part]
    posting_date: date
    told: Sequence[str]

    @property
    def event_id(self) -> str:
        return event_id(self.booked, self.number)

    @property
    def keys(self) -> list[str]:
        """Of the entries, in the order of the parts."""
        key, number = self.booked.key, self.number
        currencies = [None, *(part.money.currency for part in self.parts[1:])]
        return [correction_key(key, number, one) for one in currencies]


def plan(connection: Connection, settings: Settings, asked: Asked) -> Plan:
    """What a correction would do now. Raises Refused, and Unclear for its amounts."""
    booked = _booked(connection, asked)
    to = _target(booked, asked.to)
    tax = None if asked.tax is None else amount(asked.tax, "--tax", to.currency)
    check(booked, to, tax)
    number = _next_number(connection, booked)
    parts = changes(booked, to, tax)
    if not parts:
        raise Refused(f"{asked.key} counts {to} already: there is nothing to correct.")
    return Plan(
        booked=booked,
        to=to,
        number=number,
        parts=parts,
        posting_date=periods.posted_on(connection, asked.scope, booked.effective_date),
        told=_told(connection, settings, booked),
    )


def _told(connection: Connection, settings: Settings, booked: Booked) -> list[str]:
    objects = {(*_scope(booked), one) for one in booked.ids.values()}
    forgotten, _ = erasures.known(connection, objects, set())
    if forgotten:
        return []
    livemode = booked.livemode
    return [one.name for one in settings.destinations if takes(one, TOLD, livemode=livemode)]


def _booked(connection: Connection, asked: Asked) -> Booked:
    if asked.key.startswith(f"{KIND}:"):
        of = asked.key.removeprefix(f"{KIND}:").rpartition(":")[0]
        raise Refused(
            f"{asked.key} is itself a correction. Say what the entry that it corrects is to count:"
            f" bridge revenue correct {of}"
        )
    found = corrections.booked(connection, asked.scope, asked.key)
    if found is None:
        raise Refused(_no_entry(connection, asked))
    return found


def _no_entry(connection: Connection, asked: Asked) -> str:
    said = f"There is no revenue entry {asked.key} of {_whose(asked.scope)}."
    others = corrections.scopes(connection, asked.key)
    if not others:
        return f"{said} bridge reconcile and bridge revenue export have the keys."
    known = " and ".join(_whose(one) for one in others)
    return f"{said} There is one of {known}: --account and --test say which is meant."


def _whose(scope: Scope) -> str:
    account, livemode = scope
    return f"account {account or 'own'}, {'live' if livemode else 'test'} mode"


def _target(booked: Booked, to: str | None) -> Money:
    """Without a currency: in that of what it counts now, else in the entry's own."""
    currency = booked.counts[0].money.currency if booked.counts else booked.currency
    return Money(0, currency) if to is None else amount(to, "--to", currency)


def _next_number(connection: Connection, booked: Booked) -> int:
    """That of the next correction; of one that was erased before anybody read it, the one after."""
    number = booked.number + 1
    while said := corrections.said(connection, _scope(booked), event_id(booked, number)):
        if not said.erased:
            raise Refused(_under_way(event_id(booked, number), said))
        number += 1
    return number


def _scope(booked: Booked) -> Scope:
    return booked.account, booked.livemode


def _under_way(event: str, said: Said) -> str:
    if said.verdict is None:
        return (
            f"A correction of it waits for a worker: look at it with bridge events show {event},"
            " and correct what it counts then."
        )
    why = f" ({said.reason})" if said.reason else ""
    return f"A correction of it is {said.verdict}{why}. To have it processed: bridge replay {event}"


def correct(connection: Connection, planned: Plan, *, who: str, why: str) -> None:
    """Keep the event that says so, with the audit line, in the caller's transaction. Raises Refused
    where somebody was faster."""
    booked = planned.booked
    now = identities.now(connection)
    raw = json.dumps(event(booked, planned.number, planned.parts, now)).encode()
    [new] = webhook_events.keep_all(connection, [Arrived(open_envelope(raw), raw, MANUAL)])
    if not new:
        raise Refused(f"Somebody else has just corrected {booked.key}: look what it counts now.")
    asked = {
        "account": booked.account,
        "livemode": booked.livemode,
        "key": booked.key,
        "counts": [str(part.money) for part in booked.counts],
        "to": str(planned.to),
        "posted": [str(part.money) for part in planned.parts],
        "event": planned.event_id,
    }
    audit.note(connection, who, "correct", why, asked, len(planned.parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a correction: `said` of its event, and its `entries` once it is processed."""

    said: Said
    entries: Sequence[Corrected]


def outcome(connection: Connection, planned: Plan) -> Outcome:
    scope = _scope(planned.booked)
    said = corrections.said(connection, scope, planned.event_id)
    assert said is not None
    entries = corrections.of_number(connection, scope, planned.booked.key, planned.number)
    return Outcome(said=said, entries=entries)
