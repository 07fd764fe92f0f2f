"""A table of your own in any Postgres: https://www.postgresql.org/docs/current/sql-insert.html

One row per analytics event, only ever added: `ON CONFLICT DO NOTHING` on the event's own id counts
each once, however late it comes again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import orjson

from app.core.analytics import SCHEMA_VERSION, AnalyticsEvent
from app.core.outcome import Outcome, Skipped, Suspended
from app.destinations import judging
from app.destinations.base import Destination, Form, Payload, Purpose, Request, Response

COLUMNS = {
    "event_id": "uuid PRIMARY KEY",
    "key": "text NOT NULL",
    "name": "text NOT NULL",
    "occurred_at": "timestamptz NOT NULL",
    "user_id": "text",
    "device_id": "text",
    "session_id": "text",
    "ids": "jsonb NOT NULL",
    "identity_fallback": "boolean NOT NULL",
    "amount": "numeric",
    "amount_minor": "bigint",
    "currency": "text",
    "customer": "text",
    "subscription": "text",
    "invoice": "text",
    "properties": "jsonb NOT NULL",
    "account": "text NOT NULL",
    "livemode": "boolean NOT NULL",
    "schema_version": "smallint NOT NULL",
}
LOADED_AT = "loaded_at timestamptz NOT NULL DEFAULT clock_timestamp()"
ENCRYPTED = ("require", "verify-ca", "verify-full")
HERE = ("", "localhost", "127.0.0.1", "::1")


def _fits_url(text: str, allow_local: bool) -> bool:
    """A database's URL, wherever that is: most are on a private network."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises if it is none
    except ValueError:
        return False
    known = parts.scheme in {"postgres", "postgresql", "postgresql+psycopg"}
    plain = re.fullmatch(r"[!-~]+", text) and not parts.fragment
    # What is left of a password that was not percent-encoded.
    return bool(known and "://" in text and plain and "@" not in parts.path + parts.query)


def _fits_table(text: str, allow_local: bool) -> bool:
    return re.fullmatch(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?", text) is not None


Database = Annotated[
    str,
    Form(
        "postgresql://user:password@host:5432/name",
        _fits_url,
        lambda text: f"postgresql:{text.partition(':')[2]}",
    ),
]
TableName = Annotated[
    str,
    Form(
        "a table's name or schema.name: lower-case letters, digits and _, not a digit first",
        _fits_table,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Warehouse(Destination):
    KIND = "warehouse"
    TITLE = "Warehouse table"
    NEEDS = "nothing"
    REFUNDS = "rows with a negative amount"
    DEDUPED_BY = "`event_id`, the primary key"
    DEDUPE_WINDOW = None
    ERASURE = "their rows are deleted"
    TRANSPORT = "postgres"
    MAX_BATCH = 500

    purpose: Purpose = "own"
    url: Database = field(repr=False)
    table: TableName = "stripe_analytics_events"

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        return orjson.dumps(translate(event, self.called(event)), option=orjson.OPT_SORT_KEYS)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        row = orjson.loads(body)
        return (Decimal(row["amount"]), row["currency"].lower()) if "amount" in row else None

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        columns = {name: type_.split()[0] for name, type_ in COLUMNS.items()}
        typed = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
        names = ", ".join(columns)
        insert = f"""INSERT INTO {self._table} ({names}) SELECT {names}
            FROM json_to_recordset(%s::json) AS r ({typed}) ON CONFLICT (event_id) DO NOTHING"""
        declared = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        make = f"CREATE TABLE IF NOT EXISTS {self._table} ({declared}, {LOADED_AT})"
        body = b"[%b]" % b",".join(payload.body for payload in batch)
        return Request(self.url, {"statement": insert, "missing": make}, body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        outcome = judging.by_status(response, hide=self.secrets())
        if response.status in (403, 404):
            said = judging.excerpt(response.text, self.secrets(), 100)
            needs = f"{self.table} needs INSERT and SELECT; to be made, CREATE on its schema"
            outcome = Suspended(judging.cut(f"{said} ({needs})"), after=judging.PROBE_AFTER)
        return [outcome] * len(batch)

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        """`ids` may have Stripe's customer ids too, under `customer`."""
        delete = f"""DELETE FROM {self._table} t USING json_each(%s::json) AS o (name, said)
            WHERE o.said::jsonb ? CASE o.name WHEN 'customer' THEN t.customer
                                       ELSE t.ids ->> o.name END"""
        known = {name: list(said) for name, said in ids.items() if said}
        pseudonyms = [f"stripe:{one}" for one in known.get("customer", ())]
        if pseudonyms:  # what nobody claimed
            known["device_id"] = [*known.get("device_id", ()), *pseudonyms]
        return Request(self.url, {"statement": delete}, orjson.dumps(known)) if known else None

    def warnings(self) -> list[str]:
        parts = urlsplit(self.url)
        mode = parse_qs(parts.query).get("sslmode", [""])[-1]
        if (parts.hostname or "") in HERE or mode in ENCRYPTED:
            return []
        return [f"{self.variable('url')}: without sslmode=verify-full others may read what is sent"]

    def secrets(self) -> tuple[str, ...]:
        password = urlsplit(self.url).password or ""
        return tuple(filter(None, (*super().secrets(), password, unquote(password))))

    @property
    def _table(self) -> str:
        return ".".join(f'"{part}"' for part in self.table.split("."))


def translate(event: AnalyticsEvent, name: str) -> dict[str, Any]:
    """One analytics event as a row; a column that is not named is NULL."""
    row: dict[str, Any] = {
        "event_id": str(event.id),
        "key": event.key,
        "name": name,
        "occurred_at": event.occurred_at.astimezone(UTC).isoformat(),
        "user_id": event.identity.first("user_id"),
        "device_id": event.identity.first("device_id"),
        "session_id": event.identity.first("session_id"),
        "ids": dict(event.identity.ids),
        "identity_fallback": event.identity.fallback,
        "customer": event.properties.get("customer_id"),
        "subscription": event.properties.get("subscription_id"),
        "invoice": event.properties.get("invoice_id"),
        "properties": dict(event.properties),
        "account": event.account,
        "livemode": event.livemode,
        "schema_version": SCHEMA_VERSION,
    }
    if event.revenue is None:
        return row
    return row | {
        "amount": f"{event.revenue.major:f}",
        "amount_minor": event.revenue.minor,
        "currency": event.revenue.currency.upper(),
    }
