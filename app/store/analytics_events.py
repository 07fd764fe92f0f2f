"""Analytics events: told once by key; held until their identity is known or the hold ends."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.core.analytics import SCHEMA_VERSION, analytics_event_id
from app.core.facts import Entry, Fact
from app.core.money import Money
from app.core.settle import Settled
from app.store.bulk import insert_rows, update_rows
from app.store.identities import Scope, Scoped, columns
from app.store.schema import analytics_events, identity_waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A fact on its way to be told. `id` is None until it is inserted."""

    id: int | None
    scope: Scope
    fact: Fact
    webhook_event_id: int | None
    settled: Settled | None = None

    @property
    def uuid(self) -> UUID:
        return analytics_event_id(*self.scope, self.fact.key)

    def as_settled(self, settled: Settled) -> "Told":
        return replace(self, settled=settled)


def joinable(connection: Connection, objects: Collection[Scoped]) -> list[tuple[Scope, Fact]]:
    """The facts told earlier that may be one half of a join, by invoice or by customer."""
    halves = []
    for names, column in (
        ("'payment_failed', 'payment_succeeded'", "invoice"),
        ("'subscription_started', 'subscription_cancelled'", "customer"),
    ):
        # The names stand in the text, not in parameters, so that the partial index serves.
        query = text(f"""
            SELECT e.* FROM analytics_events e JOIN unnest(CAST(:accounts AS text[]),
                CAST(:livemodes AS boolean[]), CAST(:ids AS text[])) AS o (account, livemode, id)
              ON e.{column} = o.id AND e.account = o.account AND e.livemode = o.livemode
            WHERE e.name IN ({names})
        """)
        halves += list(connection.execute(query, columns(objects)))
    return [((row.account, row.livemode), _fact(row)) for row in halves]


def waiting_for(connection: Connection, objects: Collection[Scoped]) -> list[Told]:
    """The held analytics events that wait to hear of any of these Stripe ids, locked."""
    query = text("""
        SELECT e.* FROM analytics_events e WHERE e.state = 'held' AND e.id IN (
            SELECT w.analytics_event_id FROM identity_waits w
            WHERE w.object_id = ANY(CAST(:ids AS text[])))
        ORDER BY e.id FOR UPDATE
    """)
    rows = connection.execute(query, {"ids": sorted({one for _, _, one in objects})})
    return [_told(row) for row in rows]


def hold_ended(connection: Connection, limit: int) -> list[Told]:
    """Held analytics events whose hold ended, locked; others that a worker has are passed over."""
    query = text("""
        SELECT e.* FROM work w JOIN analytics_events e ON e.id = w.ref_id
        WHERE w.lane = 'release' AND w.due_at <= clock_timestamp() AND e.state = 'held'
        ORDER BY w.due_at LIMIT :limit FOR UPDATE OF e SKIP LOCKED
    """)
    return [_told(row) for row in connection.execute(query, {"limit": limit})]


def add(connection: Connection, told: Sequence[Told], hold: timedelta) -> list[Told]:
    """Insert these; those whose key was told before are left out of the answer."""
    if not told:
        return []
    now = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    rows = [
        {**_row(one), "held_until": now + hold, "released_at": now if one.settled else None}
        for one in told
    ]
    inserted = insert_rows(connection, analytics_events, rows, returning=("id", "uuid"))
    ids = {row.uuid: row.id for row in inserted}
    return [replace(one, id=ids[one.uuid]) for one in told if one.uuid in ids]


def _row(one: Told) -> dict[str, Any]:
    fact, money = one.fact, one.fact.money
    return {
        "account": one.scope[0],
        "livemode": one.scope[1],
        "key": fact.key,
        "uuid": one.uuid,
        "schema_version": SCHEMA_VERSION,
        "occurred_at": fact.at,
        "about": list(fact.about),
        "customer": fact.customer,
        "subscription": fact.subscription,
        "invoice": fact.invoice,
        "is_new": fact.new,
        "cycle_start": fact.cycle_start,
        "minor": money.money.minor if money else None,
        "currency": money.money.currency if money else None,
        "webhook_event_id": one.webhook_event_id,
        **_settled(one),
    }


def _settled(one: Told) -> dict[str, Any]:
    """The columns that settling decides; while it is held, those of the bare fact."""
    settled, properties = one.settled, dict(one.fact.properties)
    if settled is None:
        return {
            "name": one.fact.name,
            "state": "held",
            "reason": None,
            "identity": None,
            "properties": properties,
        }
    identity = settled.identity
    return {
        "name": settled.name,
        "state": "withheld" if settled.withheld else "released",
        "reason": settled.withheld,
        "identity": {
            "ids": dict(identity.ids),
            "source": identity.source,
            "fallback": identity.fallback,
            "consent": settled.consent,
        },
        "properties": {**properties, **settled.campaign},
    }


def settle(connection: Connection, told: Sequence[Told]) -> None:
    """Write down how held analytics events were settled, and take them off the waiting lists."""
    if not told:
        return
    rows = [{"id": one.id, **_settled(one)} for one in told]
    update_rows(connection, analytics_events, rows, "released_at = clock_timestamp()")
    gone = text("""
        WITH done AS (SELECT unnest(CAST(:ids AS bigint[])) AS id),
        waits AS (DELETE FROM identity_waits w USING done WHERE w.analytics_event_id = done.id)
        DELETE FROM work w USING done WHERE w.lane = 'release' AND w.ref_id = done.id
    """)
    connection.execute(gone, {"ids": [one.id for one in told]})


def wait(connection: Connection, waits: Iterable[tuple[int, str]]) -> None:
    """These analytics events wait to hear of these Stripe ids, and at the latest for their hold."""
    pairs = sorted(waits)
    rows = [{"analytics_event_id": event, "object_id": one} for event, one in pairs]
    if not rows:
        return
    insert_rows(connection, identity_waits, rows)
    schedule = text("""
        INSERT INTO work (lane, ref_id, due_at)
        SELECT 'release', e.id, e.held_until FROM analytics_events e
        WHERE e.id = ANY(CAST(:ids AS bigint[])) ON CONFLICT DO NOTHING
    """)
    connection.execute(schedule, {"ids": sorted({event for event, _ in pairs})})


def _told(row: Row[Any]) -> Told:
    return Told(
        id=row.id,
        scope=(row.account, row.livemode),
        fact=_fact(row),
        webhook_event_id=row.webhook_event_id,
    )


def _fact(row: Row[Any]) -> Fact:
    """The fact as far as joining and telling need it; its ledger entry is not read back."""
    money = Entry(kind="", money=Money(row.minor, row.currency)) if row.minor is not None else None
    return Fact(
        key=row.key,
        name=row.name,
        at=row.occurred_at,
        about=tuple(row.about),
        customer=row.customer,
        new=row.is_new,
        properties=row.properties,
        invoice=row.invoice,
        subscription=row.subscription,
        money=money,
        cycle_start=row.cycle_start,
    )
