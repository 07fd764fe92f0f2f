"""The snapshot event around an object: what Stripe posts, and the header it signs it with."""

import hashlib
import hmac
from dataclasses import dataclass
from random import Random

import orjson

from app.demo.books import Json, stripe_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """One webhook event of the story. `asked`: a person's API request caused it, not time."""

    id: str
    type: str
    created: int
    version: str
    livemode: bool
    object: Json
    previous: Json | None = None
    request: str | None = None
    key: str | None = None
    account: str | None = None

    def envelope(self, pending: int = 1) -> Json:
        """The event as Stripe posts it while `pending` endpoints have not answered yet."""
        data: Json = {"object": self.object}
        if self.previous is not None:
            data["previous_attributes"] = self.previous
        return {
            "id": self.id,
            "object": "event",
            **({"account": self.account} if self.account else {}),
            "api_version": self.version,
            "created": self.created,
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": pending,
            "request": {"id": self.request, "idempotency_key": self.key},
            "type": self.type,
        }

    def body(self, pending: int = 1) -> bytes:
        """The envelope's bytes, indented by two as Stripe's are."""
        return orjson.dumps(self.envelope(pending), option=orjson.OPT_INDENT_2)


def requested(rng: Random) -> tuple[str, str]:
    """The ids of an API request: of itself and of its idempotency."""
    digits = f"{rng.getrandbits(128):032x}"
    key = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return stripe_id(rng, "req_", 14), key


def previous_attributes(before: Json, after: Json) -> Json:
    """What changed, as it was: hashes by their changed keys, lists whole. Stripe's own rule."""
    changed: Json = {}
    for key, old in before.items():
        new = after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changed[key] = previous_attributes(old, new)
        else:
            changed[key] = old
    return changed


def sign(body: bytes, secret: str, timestamp: int) -> str:
    """A Stripe-Signature header over these bytes."""
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
