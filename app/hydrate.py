"""Thin events carry no object: their snapshot twin tells it, or Stripe's API is asked; the answer
is kept, and `process` reads it."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from app.core import retry
from app.core.envelope import parse
from app.core.reading.shapes import id_of, mapping
from app.store import webhook_events, work
from app.store.db import write
from app.store.webhook_events import Thin
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable, is_path

BATCH = 20
LEASE = BATCH * 70.0  # seconds: three requests for each, of at most two tries of eleven seconds
NEEDS_KEY = "a thin event carries no object: set STRIPE_API_KEY, then `bridge replay --quarantined`"

log = structlog.get_logger()


@dataclass
class Found:
    """What became of each, {id: (token, ...)}: told by its twin, fetched, gone, or later."""

    told: dict[int, tuple[int, str]] = field(default_factory=dict)
    fetched: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    gone: dict[int, tuple[int, str]] = field(default_factory=dict)
    later: dict[int, tuple[int, float]] = field(default_factory=dict)

    def remember(self, connection: Connection) -> None:
        webhook_events.hydrated(connection, self.fetched)
        webhook_events.end_thin(connection, self.told, "ignored")
        webhook_events.end_thin(connection, self.gone, "quarantined")
        work.reschedule(connection, work.HYDRATE, self.later)


def hydrate(engine: Engine, api: StripeApi | None) -> int:
    """Find what up to 20 thin events are about; how many, 0 when none was due.

    No transaction is open while Stripe is asked. Out of reach: asked again later, with growing
    pauses. What nobody can tell (no API, or Stripe no longer has it) is quarantined.
    """
    with engine.begin() as connection:
        due = webhook_events.lease_thin(connection, BATCH, LEASE)
        twins = webhook_events.kept_of(connection, {key for one in due if (key := _twin_key(one))})
    found = Found()
    away = 0.0  # seconds until Stripe may be in reach again
    for one in due:
        if (key := _twin_key(one)) in twins and key:
            found.told[one.id] = one.token, f"its snapshot twin {key[2]} tells it"
        elif api is None:
            found.gone[one.id] = one.token, NEEDS_KEY
        elif away:
            found.later[one.id] = one.token, away
        else:
            away = _fetch(api, one, found)
    write(engine, found.remember)
    return len(due)


def _fetch(api: StripeApi, one: Thin, found: Found) -> float:
    """Ask Stripe for one; seconds until it is worth asking again, 0 if it answered."""
    try:
        found.fetched[one.id] = one.token, json.dumps(_snapshot(api, one)).encode()
    except (StripeMissing, LookupError) as error:
        found.gone[one.id] = one.token, _why(error)
    except StripeRefused as error:
        log.error("hydrate.refused", webhook_event=one.event_id, reason=str(error))
        if one.age > retry.GIVE_UP:
            found.gone[one.id] = one.token, str(error)
        else:
            found.later[one.id] = one.token, retry.REFUSED_AGAIN
    except StripeUnavailable as error:
        log.warning("hydrate.unavailable", webhook_event=one.event_id, reason=str(error))
        wait = retry.delay(one.attempts, one.age, random.uniform, error.retry_after)
        found.later[one.id] = one.token, wait
        return wait
    return 0.0


def _twin_key(one: Thin) -> tuple[str, bool, str] | None:
    twin = id_of(mapping(parse(one.raw)).get("snapshot_event"))
    return (one.account, one.livemode, twin) if twin else None


def _why(error: Exception) -> str:
    missing = isinstance(error, StripeMissing)
    return "Stripe has no such object any more" if missing else "related_object.url: not a path"


def _snapshot(api: StripeApi, one: Thin) -> dict[str, Any]:
    """The snapshot event that says the same: Stripe's own twin with the state of that moment, or,
    where Stripe no longer has it, one around the object as it is now.

    https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events
    Raises LookupError where the thin event names nothing that could be asked for.
    """
    told = mapping(parse(one.raw))
    context = str(told.get("context") or "")
    if not id_of(told.get("snapshot_event")):
        told = api.thin_event(one.event_id, context=context)
    if twin := id_of(told.get("snapshot_event")):
        try:
            return api.event(twin, account=one.account)
        except StripeMissing:  # Stripe keeps events for 30 days; what is pushed lacks `changes`
            told = told if "changes" in told else api.thin_event(one.event_id, context=context)
    url = mapping(told.get("related_object")).get("url")
    if not isinstance(url, str) or not is_path(url):
        raise LookupError
    found = api.related(url, account=one.account)
    before = mapping(mapping(told.get("changes")).get("before"))
    data = {"object": found, **({"previous_attributes": before} if before else {})}
    return {
        "id": one.event_id,
        "object": "event",
        "type": one.type.removeprefix("v1."),
        "created": int(one.created.timestamp()),
        "livemode": one.livemode,
        "fetched": True,
        "data": data,
    }
