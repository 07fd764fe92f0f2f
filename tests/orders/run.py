"""Tell a life's webhooks to a bridge in some order, and compare all that it wrote.

In the order of the story by one thread; then all forgotten, and told again shuffled, duplicated
and in pieces while two threads process. Both must be the same, and what `expect` says.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from random import Random
from threading import Event as Flag
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event, text

from app.core.envelope import open_envelope
from app.demo.envelopes import Emission
from app.destinations import build
from app.destinations.base import Destination
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.store.db import make_engine
from app.store.schema import metadata
from app.store.webhook_events import Arrived, keep_all
from tests.orders.expect import Entry, Event, Expected, Movement, expected
from tests.orders.history import live
from tests.orders.shapes import webhooks
from tests.orders.story import Life

DESTINATIONS = {
    "webhook": {"url": "https://shop.example/in", "secret": "whsec_b3JkZXItZnJlZS1vcmRlci1mcmVl"},
    # What is known of a customer at a moment is no part of what every order gives alike.
    "amplitude": {"api_key": "0123456789abcdef0123456789abcdef", "user_properties": "off"},
}
AT_ONCE = 150  # webhook events, in story order
PIECES = 7  # webhook events at most that a thread takes at once, in disorder
DUPLICATES = 0.25  # share of webhooks that arrive a second time
PLAN_CHANGES = (
    "subscription_upgraded",
    "subscription_downgraded",
    "subscription_quantity_changed",
)

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that was written for one account, by table and key; `stuck` was not processed."""

    revenue_entries: Mapping[str, Row]
    analytics_events: Mapping[str, Row]
    deliveries: Mapping[str, Row]
    movements: Mapping[str, Row]
    stuck: Mapping[str, Row]

    def entries(self) -> list[Entry]:
        return [
            Entry(row["key"], row["kind"], row["minor"], row["currency"], _unix(row["occurred_at"]))
            for row in self.revenue_entries.values()
        ]

    def events(self) -> list[Event]:
        """As the `webhook` destination would get them, without those that are told to nobody."""
        rows = self.analytics_events.values()
        return [self._event(row) for row in rows if row["state"] == "released"]

    def _event(self, row: Row) -> Event:
        """A change of plan or seats has a digest at its key's end, which only tells it apart."""
        data = json.loads(self.deliveries[f"{row['key']} webhook"]["payload"])["data"]
        key = row["key"].rpartition(":")[0] if row["name"] in PLAN_CHANGES else row["key"]
        return Event(
            key=key,
            name=row["name"],
            at=_unix(row["occurred_at"]),
            ids=tuple(sorted(data["ids"].items())),
            minor=row["minor"] or 0,
            currency=row["currency"] or "",
        )

    def mrr(self) -> list[Movement]:
        return [
            Movement(_unix(row["at"]), row["movement"], row["minor"], row["currency"].strip())
            for row in self.movements.values()
        ]


def _unix(at: datetime) -> int:
    return int(at.timestamp())


@dataclass(frozen=True, kw_only=True)
class Told:
    """One life told twice. `differences` are the lines of a report, none if all is well."""

    webhooks: int
    differences: tuple[str, ...]


def with_destinations(settings: Settings) -> Settings:
    """These settings with two destinations, to which nothing is ever sent."""
    found = []
    for name, options in DESTINATIONS.items():
        one = build(name, {"livemode": "both", **options}, allow_local_urls=True)
        assert isinstance(one, Destination), one
        found.append(one)
    return replace(settings, destinations=tuple(found))


class Bench:
    """A bridge on one database, which lives are told to, each under an account of its own."""

    def __init__(self, settings: Settings) -> None:
        self._engine = make_engine(settings.database_url or "", "orders")
        event.listen(self._engine, "connect", _without_waiting)
        # Net of tax, so that what reaches the destinations depends on every share of it.
        self._settings = replace(with_destinations(settings), revenue="net_of_tax")
        self._accounts = 0
        self._measure: Callable[[Engine, Settings], int] | None = None
        if find_spec("app.measure"):
            self._measure = import_module("app.measure").measure

    @property
    def measures(self) -> bool:
        """Whether this bridge knows of MRR."""
        return self._measure is not None

    def close(self) -> None:
        self._engine.dispose()

    def tell(self, life: Life, seed: int) -> Told:
        """Tell a life in its own order and in that of the seed."""
        emissions = self.webhooks(life)
        disorder = list(shuffled(emissions, Random(seed)))
        straight = self.in_order(emissions)
        mixed = self.in_disorder(disorder, Random(seed))
        want = expected(live(life))
        said = [
            *_section("against what the story means", self.unexpected(want, straight)),
            *_section("of the two orders", differences(straight, mixed)),
        ]
        if said:
            said = [str(life), *_section("order of arrival", map(_line, disorder)), *said]
        return Told(webhooks=len(emissions), differences=tuple(said))

    def webhooks(self, life: Life) -> list[Emission]:
        """A life's webhooks, of an account that nobody had before."""
        self._accounts += 1
        return webhooks(live(life), f"acct_{self._accounts}")

    def in_order(self, emissions: Sequence[Emission]) -> Outcome:
        """One thread, and what it left, which is forgotten."""
        self._keep(emissions)
        while process(self._engine, self._settings, AT_ONCE):
            pass
        return self._finish(emissions)

    def in_disorder(self, emissions: Sequence[Emission], random: Random) -> Outcome:
        """As they come, while two threads process, and what they left, which is forgotten."""
        all_kept = Flag()
        with ThreadPoolExecutor(2) as threads:
            seeds = (random.getrandbits(32) for _ in range(2))
            working = [threads.submit(self._work, Random(seed), all_kept) for seed in seeds]
            try:
                arriving = iter(emissions)
                while piece := list(islice(arriving, random.randint(1, PIECES))):
                    self._keep(piece)
            finally:
                all_kept.set()
            for one in working:
                one.result()
        return self._finish(emissions)

    def _work(self, random: Random, all_kept: Flag) -> None:
        while True:
            last_look = all_kept.is_set()
            if process(self._engine, self._settings, random.randint(1, PIECES)):
                continue
            if last_look:
                return
            all_kept.wait(0.001)

    def _keep(self, emissions: Iterable[Emission]) -> None:
        bodies = [one.body() for one in emissions]
        arrived = [Arrived(open_envelope(body), body, "webhook") for body in bodies]
        with self._engine.begin() as connection:
            keep_all(connection, arrived)

    def _finish(self, emissions: Sequence[Emission]) -> Outcome:
        """End the holds, measure, collect, and forget this account."""
        account = emissions[0].account or ""
        with self._engine.begin() as connection:
            ended = "UPDATE work SET due_at = clock_timestamp() WHERE lane = 'release'"
            connection.execute(text(ended))
        while release_ended_holds(self._engine, self._settings):
            pass
        while self._measure and self._measure(self._engine, self._settings):
            pass
        with self._engine.begin() as connection:
            outcome = _collect(connection, account, measured=self.measures)
            _forget(connection, account)
        return outcome

    def unexpected(self, want: Expected, got: Outcome) -> Iterator[str]:
        """How what was written differs from what the story means."""
        yield from _compare("revenue entry", want.entries, got.entries())
        yield from _compare("analytics event", want.events, got.events())
        if self.measures:
            yield from _compare("MRR movement", want.movements, got.mrr())
        for row in got.stuck.values():
            yield f"not processed: {dict(row)}"


def _without_waiting(connection: psycopg.Connection[Any], _record: object) -> None:
    """What a crash would lose is none of this test's business, and the disk is slow."""
    connection.execute("SET synchronous_commit = off")
    connection.commit()


def shuffled(emissions: Sequence[Emission], random: Random) -> Iterator[Emission]:
    """Any order, and some of them twice."""
    again = [one for one in emissions if random.random() < DUPLICATES]
    order = [*emissions, *again]
    random.shuffle(order)
    yield from order


# --- what was written


def _collect(connection: Connection, account: str, *, measured: bool) -> Outcome:
    def rows(query: str, *key: str) -> dict[str, Row]:
        found = connection.execute(text(query), {"account": account}).mappings()
        return {" ".join(str(row[name]) for name in key): dict(row) for row in found}

    entries = rows("SELECT * FROM revenue_entries WHERE account = :account", "key")
    movements = """
        SELECT customer, currency, at, movement, minor FROM mrr_movements
        WHERE account = :account ORDER BY at
    """
    return Outcome(
        revenue_entries={
            key: _without(row, "id", "recorded_at", "webhook_event_id")
            for key, row in entries.items()
        },
        analytics_events=rows(
            """
            SELECT key, uuid, name, occurred_at, state, reason, properties,
                identity -> 'ids' AS ids, minor, currency, tax_minor
            FROM analytics_events WHERE account = :account
            """,
            "key",
        ),
        deliveries=rows(
            """
            SELECT e.key, d.destination, d.dedupe_id, d.state, d.reason, d.payload
            FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
            WHERE e.account = :account
            """,
            "key",
            "destination",
        ),
        movements=rows(movements, "customer", "currency", "at") if measured else {},
        stuck=rows(
            """
            SELECT event_id, type, verdict, reason FROM webhook_events
            WHERE account = :account AND coalesce(verdict, '') NOT IN ('processed', 'ignored')
            """,
            "event_id",
        ),
    )


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def _forget(connection: Connection, account: str) -> None:
    """As a replica, so that the ledger's own triggers let go of it."""
    told = f"(SELECT id FROM analytics_events WHERE account = '{account}')"
    queries = [
        "SET LOCAL session_replication_role = replica",
        "DELETE FROM work",  # nothing else happens on this database
        f"DELETE FROM deliveries WHERE analytics_event_id IN {told}",
        f"DELETE FROM identity_waits WHERE analytics_event_id IN {told}",
        *(
            f"DELETE FROM {table.name} WHERE account = '{account}'"
            for table in metadata.sorted_tables
            if "account" in table.columns
        ),
    ]
    connection.exec_driver_sql("; ".join(queries))


# --- telling what differs


def _compare(what: str, want: Iterable[object], got: Iterable[object]) -> Iterator[str]:
    missing, extra = Counter(want), Counter(got)
    for sign, side in (("missing", missing - extra), ("unexpected", extra - missing)):
        for one in sorted(side.elements(), key=str):
            yield f"{sign} {what}: {one}"


def differences(one: Outcome, other: Outcome) -> Iterator[str]:
    """Every row that is not the same in both, and in which columns: first as the first has it."""
    for table in ("revenue_entries", "analytics_events", "deliveries", "movements", "stuck"):
        left, right = getattr(one, table), getattr(other, table)
        for key in sorted(left.keys() | right.keys()):
            yield from _differs(f"{table} {key}", left.get(key), right.get(key))


def _differs(where: str, one: Row | None, other: Row | None) -> Iterator[str]:
    if one is None or other is None:
        yield f"{where}: only {'shuffled' if one is None else 'in order'}: {one or other}"
        return
    for name in one:
        if one[name] != other[name]:
            yield f"{where}: {name}: in order {one[name]!r}, shuffled {other[name]!r}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _line(one: Emission) -> str:
    body = one.object
    states = {name: body[name] for name in ("status", "customer") if body.get(name)}
    return f"{one.id} {one.created} {one.type} {body['id']} {states}"
