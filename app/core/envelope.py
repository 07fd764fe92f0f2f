"""The outside of a webhook event: what the door must know to keep it, and no more."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

THIN = "v2.core.event"
OWN_ACCOUNT = ""  # events of the account itself name no account; Connect events do


class NotAnEvent(ValueError):
    """The body is no Stripe event. The message names the field at fault, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """`thin` events (`object: v2.core.event`) name a change and carry no object."""

    event_id: str
    type: str
    created: datetime
    account: str
    livemode: bool
    api_version: str | None
    thin: bool


def parse(body: bytes) -> Any:
    """JSON that loses nothing Stripe could mean. Raises NotAnEvent.

    orjson is strict on lone surrogates, which a customer's text may hold: the standard library
    takes those. Neither takes NaN, and both stop at a bounded depth.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except NotAnEvent:
        raise
    except (ValueError, RecursionError) as error:
        raise NotAnEvent("the body is not JSON (UTF-8)") from error


def _refuse_constant(name: str) -> Any:
    raise NotAnEvent(f"the body holds {name}, which is not JSON")


def open_envelope(body: bytes) -> Envelope:
    """Read the envelope of a snapshot or a thin event. Raises NotAnEvent."""
    event = parse(body)
    if not isinstance(event, dict):
        raise NotAnEvent("the body is not a JSON object")
    thin = event.get("object") == THIN
    if not thin and event.get("object") != "event":
        raise NotAnEvent("object: expected 'event' or 'v2.core.event'")
    livemode = event.get("livemode")
    if not isinstance(livemode, bool):
        raise NotAnEvent("livemode: expected true or false")
    return Envelope(
        event_id=_name(event, "id"),
        type=_name(event, "type"),
        created=_iso_time(event) if thin else _unix_time(event),
        account=_context(event) if thin else _name(event, "account", optional=True) or OWN_ACCOUNT,
        livemode=livemode,
        api_version=_name(event, "api_version", optional=True),
        thin=thin,
    )


def _context(event: Mapping[str, Any]) -> str:
    """An account, or a path to one through an organisation: `org_.../acct_...`."""
    return _name(event, "context", optional=True).rpartition("/")[2] or OWN_ACCOUNT


def _name(event: Mapping[str, Any], field: str, optional: bool = False) -> str:
    value = event.get(field)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not _plain(value):
        raise NotAnEvent(f"{field}: expected a name of at most 255 printable ASCII characters")
    return value


def _plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _unix_time(event: Mapping[str, Any]) -> datetime:
    value = event.get("created")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**33:
        raise NotAnEvent("created: expected unix seconds")
    return datetime.fromtimestamp(value, UTC)


def _iso_time(event: Mapping[str, Any]) -> datetime:
    try:
        created = datetime.fromisoformat(str(event.get("created")))
        created = created if created.tzinfo else created.replace(tzinfo=UTC)
        return created.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotAnEvent("created: expected an ISO 8601 time") from error
