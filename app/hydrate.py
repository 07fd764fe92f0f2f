"""Thin events carry no object: ask Stripe for it, keep the answer, and let `process` read it."""

import json
import random
from typing import Any

import structlog
from sqlalchemy import Engine

from app.core import retry
from app.core.envelope import parse
from app.core.stripe_shapes import id_of, mapping
from app.store import webhook_events, work
from app.store.webhook_events import Thin
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

BATCH = 20
LEASE = BATCH * 40.0  # seconds: two requests for each, of at most two tries of eleven seconds
REFUSED_AGAIN = 300.0  # seconds until a key may have been given the permission that it lacks

log = structlog.get_logger()


def hydrate(engine: Engine, api: StripeApi) -> int:
    """Fetch what up to 20 thin events are about; how many, 0 when none was due.

    No transaction is open meanwhile. Stripe out of reach: it is asked again later, with growing
    pauses. An object that Stripe no longer has: the thin event is quarantined.
    """
    with engine.begin() as connection:
        due = webhook_events.lease_thin(connection, BATCH, LEASE)
    fetched: dict[int, tuple[int, bytes]] = {}
    gone: dict[int, tuple[int, str]] = {}
    later: dict[int, tuple[int, float]] = {}
    for one in due:
        try:
            fetched[one.id] = one.token, json.dumps(_snapshot(api, one)).encode()
        except StripeMissing:
            gone[one.id] = one.token, "Stripe has no such object any more"
        except StripeRefused as error:
            log.error("hydrate.refused", webhook_event=one.event_id, reason=str(error))
            later[one.id] = one.token, REFUSED_AGAIN
        except StripeUnavailable as error:
            log.warning("hydrate.unavailable", webhook_event=one.event_id, reason=str(error))
            wait = retry.delay(one.attempts, one.age, random.uniform, error.retry_after)
            later[one.id] = one.token, wait
    with engine.begin() as connection:
        webhook_events.hydrated(connection, fetched)
        webhook_events.give_up_thin(connection, gone)
        work.reschedule(connection, work.HYDRATE, later)
    return len(due)


def _snapshot(api: StripeApi, one: Thin) -> dict[str, Any]:
    """The snapshot event that says the same: Stripe's own twin with the state of that moment, or,
    where Stripe no longer has it, one around the object as it is now.

    https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events
    """
    told = mapping(parse(one.raw))
    if not id_of(told.get("snapshot_event")):
        told = api.thin_event(one.event_id, context=str(told.get("context") or ""))
    if twin := id_of(told.get("snapshot_event")):
        try:
            return api.event(twin, account=one.account)
        except StripeMissing:
            pass  # Stripe keeps events for 30 days
    related = mapping(told.get("related_object"))
    found = api.related(str(related.get("url") or ""), account=one.account)
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
