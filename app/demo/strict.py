"""What the tools' own documents say they take, and how they refuse the rest.

Amplitude: https://amplitude.com/docs/apis/analytics/http-v2. A request with one bad event is
refused whole. Webhook: https://www.standardwebhooks.com.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from app.demo.tally import Seen

MAX_EVENTS = 2_000
MAX_BYTES = 1_000_000
NOBODY = frozenset(["anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "{}"])
NOBODY |= {"", "0", "-1", "lmy47d", "00000000-0000-0000-0000-000000000000"}
RESERVED = "[Amplitude] "
MISSING = "Request missing required field"
INVALID = "Invalid field values on some events"

Fields = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tool's own answer, and the events it took."""

    status: int
    answer: dict[str, Any]
    events: list[Seen] = field(default_factory=list)


def amplitude(body: bytes, api_key: str, now: float) -> Verdict:
    """HTTP V2's answer to a request."""
    if len(body) >= MAX_BYTES:
        return Verdict(413, {"code": 413, "error": "Payload too large"})
    try:
        request = json.loads(body, parse_float=Decimal)
    except ValueError:
        return _refusal("Invalid JSON request body" if body else "Missing request body")
    if not isinstance(request, dict):
        return _refusal("Invalid JSON request body")
    for name in ("api_key", "events"):
        if not request.get(name):
            return _refusal(MISSING, missing_field=name)
    if request["api_key"] != api_key:
        return _refusal(f"Invalid API key: {str(request['api_key'])[:6]}...")
    events = request["events"]
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return _refusal("Invalid event JSON")
    if len(events) > MAX_EVENTS:
        return Verdict(413, {"code": 413, "error": "Payload too large"})
    return _judged(events, _shortest_id(request), len(body), now)


def _judged(events: list[dict[str, Any]], shortest: int, size: int, now: float) -> Verdict:
    missing = _named(events, _missing)
    if missing:
        return _refusal(MISSING, events_with_missing_fields=missing)
    invalid = _named(events, _invalid)
    if invalid:
        return _refusal(INVALID, events_with_invalid_fields=invalid)
    short = _named(events, lambda event: _too_short(event, shortest))
    if short:
        wrong = "Invalid id length for user_id or device_id"
        return _refusal(wrong, events_with_invalid_id_lengths=short)
    taken = {
        "code": 200,
        "events_ingested": len(events),
        "payload_size_bytes": size,
        "server_upload_time": int(now * 1000),
    }
    return Verdict(200, taken, [_amplitude_event(event) for event in events])


def _refusal(error: str, **named: Any) -> Verdict:
    return Verdict(400, {"code": 400, "error": error, **named})


def _shortest_id(request: Mapping[str, Any]) -> int:
    options = request.get("options")
    shortest = options.get("min_id_length", 5) if isinstance(options, dict) else 5
    return shortest if isinstance(shortest, int) else 5


def _named(events: list[dict[str, Any]], wrong: Callable[[dict[str, Any]], list[str]]) -> Fields:
    """By field, the indexes of the events in which it is wrong."""
    fields: Fields = {}
    for index, event in enumerate(events):
        for name in wrong(event):
            fields.setdefault(name, []).append(index)
    return fields


def _missing(event: dict[str, Any]) -> list[str]:
    names = [] if event.get("event_type") else ["event_type"]
    somebody = event.get("user_id") is not None or event.get("device_id") is not None
    return names if somebody else [*names, "user_id", "device_id"]


def _invalid(event: dict[str, Any]) -> list[str]:
    present = ((name, event[name]) for name in CHECKS if event.get(name) is not None)
    return [name for name, value in present if not CHECKS[name](value)]


def _somebody(value: Any) -> bool:
    return isinstance(value, str) and value.lower() not in NOBODY


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or isinstance(value, Decimal)


def _milliseconds(value: Any) -> bool:
    """Since the epoch; what is plainly seconds or microseconds is refused, to tell it early."""
    return _whole(value) and 10**11 < value < 10**14


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "event_type": lambda value: isinstance(value, str) and not value.startswith(RESERVED),
    "user_id": _somebody,
    "device_id": _somebody,
    "time": _milliseconds,
    "session_id": lambda value: _whole(value) and (value == -1 or value > 0),
    "insert_id": lambda value: isinstance(value, str) and value != "",
    "revenue": _number,
    "price": _number,
    "quantity": _whole,
    "event_properties": lambda value: isinstance(value, dict),
    "user_properties": lambda value: isinstance(value, dict),
    "currency": lambda value: re.fullmatch("[A-Z]{3}", str(value)) is not None,
}


def _too_short(event: dict[str, Any], shortest: int) -> list[str]:
    ids = ((name, event.get(name)) for name in ("user_id", "device_id"))
    return [name for name, value in ids if value is not None and len(value) < shortest]


def _amplitude_event(event: dict[str, Any]) -> Seen:
    insert_id = event.get("insert_id") or ""
    revenue = event.get("revenue")
    if event.get("price") is not None:
        revenue = Decimal(event["price"]) * event.get("quantity", 1)
    return Seen(
        id=insert_id,
        key=(insert_id, event.get("device_id") or ""),
        name=event["event_type"],
        form=json.dumps(event, default=str).encode(),
        revenue=None if revenue is None else Decimal(revenue),
        currency=str(event.get("currency", "")).lower(),
        in_session=event.get("session_id") not in (None, -1),
    )


def signed_webhook(body: bytes, headers: Mapping[str, str], secret: str) -> Verdict:
    """Standard Webhooks' answer: verified as its own package verifies."""
    try:
        Webhook(secret).verify(body, dict(headers))
        event = json.loads(body, parse_float=Decimal)
        seen = _webhook_event(event, headers["webhook-id"], body)
    except WebhookVerificationError as error:
        return Verdict(401, {"error": str(error)})
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return Verdict(400, {"error": "not an event: type, timestamp, data"})
    return Verdict(200, {"ok": True}, [seen])


def _webhook_event(event: dict[str, Any], webhook_id: str, body: bytes) -> Seen:
    data, revenue = event["data"], event["data"].get("revenue")
    _ = event["timestamp"]
    return Seen(
        id=webhook_id,
        key=(webhook_id,),
        name=event["type"],
        form=body,
        revenue=Decimal(revenue["major"]) if revenue else None,
        currency=revenue["currency"].lower() if revenue else "",
        in_session=data.get("session_id") is not None,
    )
