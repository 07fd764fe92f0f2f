"""Analytics events: told once by key; held until their identity is known or the hold ends."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.core.analytics import SCHEMA_VERSION, Identity, analytics_event_id
from app.core.consent import read as read_consent
from app.core.facts import Entry, Fact, Link, PlanChange
from app.core.money import Money
from app.core.settle import NOBODY, Settled
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
            JOIN unnest(CAST(:accounts AS text[]), CAST(:livemodes AS boolean[]),
                CAST(:ids AS text[])) AS o (account, livemode, id) ON w.object_id = o.id
            JOIN analytics_events waiting ON waiting.id = w.analytics_event_id
             AND waiting.account = o.account AND waiting.livemode = o.livemode)
        ORDER BY e.id FOR UPDATE
    """)
    return [_told(row) for row in connection.execute(query, columns(objects))]


# Those about an object that nobody is known for, as far as they name it themselves.
OF_NOBODY = """
    FROM analytics_events e
    WHERE e.account = :account AND e.livemode = :livemode AND {state}
      AND (:id IN (e.customer, e.subscription, e.invoice) OR :id = ANY(e.about))
"""


def withheld_for_nobody(connection: Connection, scope: Scope, object_id: str) -> list[Told]:
    """What was withheld since no identity was known before its hold ended, locked."""
    state = f"e.state = 'withheld' AND e.reason = '{NOBODY}'"
    query = text(f"SELECT e.* {OF_NOBODY.format(state=state)} ORDER BY e.id FOR UPDATE")
    return [_told(row) for row in connection.execute(query, _about(scope, object_id))]


def released(connection: Connection, ids: Sequence[int | None]) -> int:
    """How many of these have left."""
    query = text("""
        SELECT count(*) FROM analytics_events
        WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'released'
    """)
    return int(connection.execute(query, {"ids": list(ids)}).scalar_one())


def told_of_nobody(connection: Connection, scope: Scope, object_id: str) -> int:
    """How many have left under the pseudonym of Stripe's customer."""
    state = "e.state = 'released' AND e.identity ->> 'fallback' = 'true'"
    query = text(f"SELECT count(*) {OF_NOBODY.format(state=state)}")
    return int(connection.execute(query, _about(scope, object_id)).scalar_one())


def _about(scope: Scope, object_id: str) -> dict[str, object]:
    return {"account": scope[0], "livemode": scope[1], "id": object_id}


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
        "cycle_start": fact.cycle_start,
        "change": asdict(fact.change) if fact.change else None,
        "of_payment": fact.of_payment,
        "own": asdict(fact.own) if fact.own else None,
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
            "tax_minor": one.fact.money.tax_minor if one.fact.money else None,
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
            "consent": str(settled.consent) or None,
        },
        "properties": {**properties, **settled.properties, **settled.campaign},
        "tax_minor": settled.tax_minor,
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


def warn(connection: Connection, ids: Sequence[int | None], warning: str) -> None:
    """Keep beside these analytics events what a person should know of them."""
    if ids:
        query = text("""
            UPDATE analytics_events SET warning = :warning WHERE id = ANY(CAST(:ids AS bigint[]))
        """)
        connection.execute(query, {"ids": list(ids), "warning": warning})


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


# Released in [since, until) of what happened, not owed to this destination, of nobody forgotten.
UNOWED = """
    FROM analytics_events e
    WHERE e.state = 'released' AND e.occurred_at >= :since AND e.occurred_at < :until
      AND e.reason IS DISTINCT FROM 'erased'
      AND (CAST(:account AS text) IS NULL OR e.account = :account)
      AND NOT EXISTS (SELECT 1 FROM deliveries d
                      WHERE d.analytics_event_id = e.id AND d.destination = :destination)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unowed:
    """Analytics events of this time that a destination is not owed. `account` None: of all."""

    destination: str
    since: datetime
    until: datetime
    account: str | None = None


def count_unowed(connection: Connection, of: Unowed) -> int:
    return int(connection.execute(text(f"SELECT count(*) {UNOWED}"), asdict(of)).scalar_one())


def unowed(connection: Connection, of: Unowed, after: int, limit: int) -> list[Told]:
    """Up to `limit` of them, from the id `after` on, as they were told."""
    query = text(f"SELECT e.* {UNOWED} AND e.id > :after ORDER BY e.id LIMIT :limit")
    rows = connection.execute(query, {**asdict(of), "after": after, "limit": limit})
    return [_told(row).as_settled(_as_told(row)) for row in rows]


def _as_told(row: Row[Any]) -> Settled:
    """How it was settled; its properties are all in the fact's."""
    identity = row.identity
    return Settled(
        name=row.name,
        identity=Identity(
            ids=identity["ids"], source=identity["source"], fallback=identity["fallback"]
        ),
        consent=read_consent(identity.get("consent")),
        tax_minor=row.tax_minor,
    )


def _told(row: Row[Any]) -> Told:
    return Told(
        id=row.id,
        scope=(row.account, row.livemode),
        fact=_fact(row),
        webhook_event_id=row.webhook_event_id,
    )


def _fact(row: Row[Any]) -> Fact:
    """The fact as far as joining and telling need it; its ledger entry is not read back."""
    money = None
    if row.minor is not None:
        own = Money(row.minor, row.currency)
        money = Entry(kind="", money=own, tax_minor=row.tax_minor)
    return Fact(
        key=row.key,
        name=row.name,
        at=row.occurred_at,
        about=tuple(row.about),
        customer=row.customer,
        properties=row.properties,
        invoice=row.invoice,
        subscription=row.subscription,
        money=money,
        cycle_start=row.cycle_start,
        change=PlanChange(**row.change) if row.change else None,
        of_payment=row.of_payment,
        own=_link(row.own) if row.own else None,
    )


def _link(own: dict[str, Any]) -> Link:
    """As it was written: JSON has lists for tuples, and texts for times."""
    times = {
        name: datetime.fromisoformat(own[name]) if own[name] else None
        for name in ("stated_at", "completed_at", "last_stated_at")
    }
    return Link(**{**own, **times, "objects": tuple(own["objects"])})
