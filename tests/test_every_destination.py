"""Every destination, behind a bad wire, counts what the ledger booked: once, and all of it."""

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, text

from app.core.envelope import open_envelope
from app.core.money import Money
from app.demo.saas import Webhook, simulate
from app.drain import Drain
from app.finance.correct import Asked, correct, plan
from app.local.stores import Stores
from app.settings import Settings
from app.store.webhook_events import keep, process_again
from tests.vendors import (
    Vendor,
    amplitude,
    ga4,
    meta,
    mixpanel,
    posthog,
    rudderstack,
    segment,
    webhook,
)
from tests.vendors.serve import Fate, served
from tests.vendors.warehouse import configured as of_warehouse
from tests.vendors.warehouse import warehouse

LUCK: Sequence[Fate] = ("answered", "answer lost", "failing", "answered", "busy")
WAIT = 90.0  # seconds
A_TIME = 1_000_000_000  # above that, a number in these webhooks is unix seconds
SHRINK = 183 // 2 + 10  # half a year to less than two days


def post(engine: Engine, webhooks: list[Webhook]) -> None:
    with engine.begin() as connection:
        for one in webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")


HURRY = text("""
    UPDATE work SET due_at = clock_timestamp() WHERE (lane, ref_id) IN
        (SELECT lane, ref_id FROM work WHERE NOT leased FOR UPDATE SKIP LOCKED)
""")


def make_due(engine: Engine) -> int:
    with engine.begin() as connection:
        connection.execute(text("UPDATE destinations_health SET suspended_until = NULL"))
        connection.execute(HURRY)
        return int(connection.execute(text("SELECT count(*) FROM work")).scalar_one())


def drained(engine: Engine, settings: Settings) -> None:
    """One worker until nothing is left; no pause is waited for."""
    drain = Drain(engine, settings, lambda: True)
    until = time.monotonic() + WAIT
    while make_due(engine):
        assert time.monotonic() < until, "it was not drained in time"
        drain.run()
        time.sleep(0.05)
    drain.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    make: Callable[[], Vendor]
    options: Callable[[str], dict[str, str]]


STAND_INS = {
    "amplitude": StandIn(make=amplitude.AmplitudeServer, options=amplitude.configured),
    "ga4": StandIn(make=ga4.Ga4, options=ga4.configured),
    "meta": StandIn(make=meta.Meta, options=meta.configured),
    "mixpanel": StandIn(make=mixpanel.Mixpanel, options=mixpanel.configured),
    "posthog": StandIn(make=posthog.PostHog, options=posthog.configured),
    "rudderstack": StandIn(make=rudderstack.RudderStack, options=rudderstack.configured),
    "segment": StandIn(make=segment.Segment, options=segment.configured),
    "webhook": StandIn(make=webhook.WebhookReceiver, options=webhook.configured),
}
# What a browser's checkout saved beside the user and the device.
OF_THE_BROWSER = {
    "ga_client_id": "1162820436.1749482504",
    "fbp": "fb.1.1749482504000.1098115397",
    "consent": "granted",
}


def of_yesterday(webhook: Webhook, now: int) -> Webhook:
    """The webhook as if the half year had passed within two days, so that it is nobody's history,
    and as if the checkout had saved the browser's ids as well."""

    def rewritten(part: Any, name: str = "") -> Any:
        match part:
            case dict():
                known = {"user_id", "br_user_id"} & part.keys() if name == "metadata" else set()
                told = {key: rewritten(value, key) for key, value in part.items()}
                return {**told, **(OF_THE_BROWSER if known else {})}
            case list():
                return [rewritten(one) for one in part]
            case int() if part > A_TIME and not isinstance(part, bool):
                return now - (now - part) // SHRINK
            case _:
                return part

    event = rewritten(json.loads(webhook.body))
    return replace(webhook, body=json.dumps(event).encode())


def delivered(engine: Engine) -> dict[str, dict[str, Decimal]]:
    """By destination, what the ledger has of the analytics events that it took, in major units."""
    query = text("""
        SELECT d.destination, e.currency, sum(r.minor)::bigint AS minor
        FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
        JOIN revenue_entries r ON r.account = e.account AND r.livemode = e.livemode
         AND r.key = e.key
        WHERE d.state = 'delivered' GROUP BY 1, 2
    """)
    found: dict[str, dict[str, Decimal]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            amount = Money(row.minor, row.currency).major
            found.setdefault(row.destination, {})[row.currency] = amount
    return found


def states(engine: Engine) -> dict[tuple[str, str], int]:
    query = text("SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2")
    with engine.connect() as connection:
        return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def told_of(engine: Engine) -> set[tuple[str, str]]:
    """Destination and name of what was delivered."""
    query = text("""
        SELECT DISTINCT d.destination, e.name FROM deliveries d
        JOIN analytics_events e ON e.id = d.analytics_event_id WHERE d.state = 'delivered'
    """)
    with engine.connect() as connection:
        return {(row[0], row[1]) for row in connection.execute(query)}


def put_right(engine: Engine, settings: Settings) -> None:
    """Somebody undoes a payment, halves a refund, and says that a payment was in euros."""
    query = text(
        "SELECT key FROM revenue_entries WHERE kind = :kind ORDER BY occurred_at DESC, key"
    )
    with engine.connect() as connection:
        undone, abroad, *_ = connection.execute(query, {"kind": "payment"}).scalars()
        less, *_ = connection.execute(query, {"kind": "refund"}).scalars()
    for key, to in ((undone, None), (abroad, "7.00 EUR"), (less, "-0.50")):
        with engine.begin() as connection:
            planned = plan(connection, settings, Asked(scope=("", False), key=key, to=to))
            correct(connection, planned, who="ada", why="it is wrong")


def test_after_duplicates_retries_replays_and_corrections_each_counts_what_the_ledger_has(
    engine: Engine, with_destinations: Callable[..., Settings], stores: Stores
) -> None:
    now = int(time.time())
    story = simulate(seed=5, customers=9, now=now)
    webhooks = [of_yesterday(one, now) for one in story.webhooks]
    random.Random(5).shuffle(webhooks)
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(served(one.make())) for kind, one in STAND_INS.items()}
        table = stack.enter_context(warehouse(stores.database_url))
        settings = with_destinations(
            warehouse=of_warehouse(table.url),
            **{kind: STAND_INS[kind].options(server.url) for kind, server in servers.items()},
        )
        for server in servers.values():
            server.suffer(LUCK)
        # What may have arrived there is sent no second time: it would count twice.
        servers["ga4"].suffer(("answered", "failing", "answered", "busy"))
        post(engine, webhooks)
        drained(engine, settings)
        put_right(engine, settings)
        drained(engine, settings)
        with engine.begin() as connection:  # everything once more, read and told again
            ids = connection.execute(text("SELECT id FROM webhook_events")).scalars().all()
            process_again(connection, ids)
        post(engine, webhooks[:50])
        drained(engine, settings)

        took, counts = delivered(engine), states(engine)
        assert (table.revenue(), table.counted()) == (
            took["warehouse"],
            counts["warehouse", "delivered"],
        )
    assert {key for key in states(engine) if key[1] not in ("delivered", "skipped")} == set()
    assert {kind: server.vendor.dropped for kind, server in servers.items()} == {
        kind: [] for kind in STAND_INS
    }
    corrected = {kind for kind, name in told_of(engine) if name == "revenue_corrected"}
    assert corrected == {*STAND_INS, "warehouse"} - {"meta"}
    for kind, server in servers.items():
        assert server.vendor.revenue() == took[kind], kind
        assert server.vendor.counted() == counts[kind, "delivered"], kind
        assert server.requests > 3, kind
