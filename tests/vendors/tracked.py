"""What the stand-ins of Segment and RudderStack share: `track` calls, kept once by `messageId`."""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

MAX_EVENT = 32 * 1024  # bytes
MAX_MESSAGE_ID = 100


@dataclass
class Tracked:
    """Calls that were taken, by `messageId`. `dropped`: with a 2xx, and why; `deduped`: ids that
    came again, which is no loss."""

    calls: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    deduped: list[str] = field(default_factory=list)

    def take(self, call: Mapping[str, Any]) -> None:
        message_id = str(call["messageId"])
        if message_id in self.calls:
            self.deduped.append(message_id)
        else:
            self.calls[message_id] = call

    def revenue(self) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for call in self.calls.values():
            if amount := _amount(call):
                currency = str(call["properties"]["currency"]).lower()
                sums[currency] = sums.get(currency, Decimal(0)) + amount
        return sums

    def counted(self) -> int:
        return len(self.calls)


def _amount(call: Mapping[str, Any]) -> Decimal:
    """`revenue`, and of an `Order Refunded` its positive `total` as what is taken away."""
    properties = call.get("properties", {})
    if call["event"] == "Order Refunded":
        return -Decimal(properties.get("total", 0))
    return Decimal(properties.get("revenue", 0))


def parsed(body: bytes) -> Any:
    """The JSON with exact numbers. ValueError if it is none."""
    return json.loads(body, parse_float=Decimal)


def user_of(headers: Mapping[str, str]) -> str | None:
    """The user of Basic authentication whose password is empty."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    try:
        user, colon, password = b64decode(encoded, validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError):
        return None
    return user if scheme == "Basic" and colon and not password else None


def size(call: Any) -> int:
    return len(json.dumps(call, default=str, ensure_ascii=False, separators=(",", ":")).encode())


def flaw(call: Any) -> str | None:
    """What makes a call useless: the field and what is wrong. None: nothing."""
    if not isinstance(call, dict):
        return "an event is no object"
    checks = {
        "type": call.get("type") == "track",
        "userId or anonymousId": named(call, "userId") or named(call, "anonymousId"),
        "event": named(call, "event"),
        "messageId": named(call, "messageId") and len(call["messageId"]) < MAX_MESSAGE_ID,
        "timestamp": _is_time(call.get("timestamp")),
        "properties": isinstance(call.get("properties", {}), dict),
        "context": isinstance(call.get("context", {}), dict),
        "integrations": isinstance(call.get("integrations", {}), dict),
        "32 KB": size(call) <= MAX_EVENT,
    }
    return next((name for name, fine in checks.items() if not fine), None)


def named(call: Mapping[str, Any], name: str) -> bool:
    value = call.get(name)
    return isinstance(value, str) and bool(value.strip())


def _is_time(text: Any) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
