"""What a person asks for, of webhook events and of deliveries: filters that combine, as SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

DECIDED = ("processed", "ignored", "quarantined")  # verdicts that a replay may be asked of
DEPTH = 5  # refund -> payment intent -> invoice -> subscription -> customer


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvents:
    """Which webhook events; None means any. `type` is a glob; times are those of receipt, `until`
    not included; `error` is a part of the verdict's reason, in either case."""

    ids: Sequence[str] | None = None
    verdicts: Sequence[str] | None = None
    type: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """Which deliveries; None means any. `name` is a glob of the analytics event's; times are of
    when it ended, or while it is pending of when it was owed; `error` is a part of its reason or
    of the last answer, in either case."""

    ids: Sequence[int] | None = None
    states: Sequence[str] | None = None
    destination: str | None = None
    name: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """A condition, with the values of its parameters."""

    sql: str
    values: Mapping[str, Any]


def like(glob: str) -> str:
    """A pattern of LIKE for a glob: `*` any part, `?` any character."""
    for plain in ("\\", "%", "_"):
        glob = glob.replace(plain, f"\\{plain}")
    return glob.replace("*", "%").replace("?", "_")


def webhook_events(connection: Connection, wanted: WebhookEvents) -> Where:
    """A condition on `webhook_events e`. What a customer's webhook events are is known of those
    that told, booked or stated something of theirs."""
    terms: dict[str, tuple[str, Any]] = {
        "ids": ("e.event_id = ANY(CAST(:ids AS text[]))", _listed(wanted.ids)),
        "type": ("e.type LIKE :type", wanted.type and like(wanted.type)),
        "since": ("e.received_at >= :since", wanted.since),
        "until": ("e.received_at < :until", wanted.until),
        "error": (
            "position(lower(:error) IN lower(coalesce(e.reason, ''))) > 0",
            wanted.error,
        ),
        "theirs": (
            "e.id = ANY(CAST(:theirs AS bigint[]))",
            wanted.customer and _webhook_events_of(connection, wanted.customer),
        ),
    }
    return _where(terms, _one_of("coalesce(e.verdict, 'waiting')", "e.verdict", wanted.verdicts))


def deliveries(connection: Connection, wanted: Deliveries) -> Where:
    """A condition on `deliveries d`."""
    terms: dict[str, tuple[str, Any]] = {
        "ids": ("d.id = ANY(CAST(:ids AS bigint[]))", _listed(wanted.ids)),
        "destination": ("d.destination = :destination", wanted.destination),
        "since": ("coalesce(d.finished_at, d.created_at) >= :since", wanted.since),
        "until": ("coalesce(d.finished_at, d.created_at) < :until", wanted.until),
        "name": (
            """EXISTS (SELECT FROM analytics_events n
                       WHERE n.id = d.analytics_event_id AND n.name LIKE :name)""",
            wanted.name and like(wanted.name),
        ),
        "error": (
            f"""position(lower(:error) IN lower(concat_ws(' ', d.reason,
                    CASE WHEN d.state IN ('pending', 'dead') THEN {LAST_ANSWER} END))) > 0""",
            wanted.error,
        ),
        "theirs": (
            "d.analytics_event_id = ANY(CAST(:theirs AS bigint[]))",
            wanted.customer and _told_of(connection, wanted.customer),
        ),
    }
    return _where(terms, _one_of("d.state", "d.state", wanted.states))


LAST_ANSWER = """
    (SELECT concat_ws(' ', a.status, a.answer) FROM attempts a
     WHERE a.delivery_id = d.id ORDER BY a.token DESC LIMIT 1)
"""


def _listed(ids: Sequence[Any] | None) -> list[Any] | None:
    return None if ids is None else list(ids)


def _where(terms: Mapping[str, tuple[str, Any]], state: str) -> Where:
    asked = {name: (sql, value) for name, (sql, value) in terms.items() if value is not None}
    conditions = [sql for sql, _ in asked.values()] + ([state] if state else [])
    values = {name: value for name, (_, value) in asked.items()}
    return Where(" AND ".join(f"({each})" for each in conditions) or "true", values)


def _one_of(column: str, plain: str, wanted: Sequence[str] | None) -> str:
    """Written into the text, so that the partial indexes serve; the words are ours."""
    if wanted is None:
        return ""
    if not all(word.isalpha() for word in wanted):
        raise ValueError("a state is a word")
    words = ", ".join(f"'{word}'" for word in wanted)
    return f"{column if 'waiting' in wanted else plain} IN ({words})" if words else "false"


# --- a customer's


BELOW = text("""
WITH RECURSIVE below AS (
    SELECT account, livemode, child AS id, 1 AS depth FROM stripe_refs WHERE parent = :customer
    UNION
    SELECT r.account, r.livemode, r.child, b.depth + 1 FROM below b JOIN stripe_refs r
      ON r.parent = b.id AND r.account = b.account AND r.livemode = b.livemode
    WHERE b.depth < :depth
)
SELECT DISTINCT id FROM below
""")
TOLD = """
    FROM analytics_events WHERE customer = :customer OR about && CAST(:below AS text[])
       OR subscription = ANY(CAST(:below AS text[])) OR invoice = ANY(CAST(:below AS text[]))
       OR :customer = ANY(about)
"""
WEBHOOK_EVENTS_OF = text(f"""
SELECT webhook_event_id {TOLD}
UNION SELECT webhook_event_id FROM revenue_entries WHERE customer = :customer
UNION SELECT webhook_event_id FROM subscription_snapshots WHERE customer = :customer
UNION SELECT webhook_event_id FROM payments WHERE customer = :customer
""")


def _below(connection: Connection, customer: str) -> dict[str, object]:
    """The customer and the Stripe ids that belong to it, however far down."""
    found = connection.execute(BELOW, {"customer": customer, "depth": DEPTH}).scalars()
    return {"customer": customer, "below": sorted(found)}


def _webhook_events_of(connection: Connection, customer: str) -> list[int]:
    found = connection.execute(WEBHOOK_EVENTS_OF, _below(connection, customer)).scalars()
    return sorted(one for one in found if one is not None)


def _told_of(connection: Connection, customer: str) -> list[int]:
    query = text(f"SELECT id {TOLD}")
    return sorted(connection.execute(query, _below(connection, customer)).scalars())
