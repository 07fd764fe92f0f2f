"""Your own endpoint, signed by Standard Webhooks 1.0: https://www.standardwebhooks.com

`webhook-id` is the same on every try, so a receiver that remembers it counts nothing twice, for as
long as it wants to remember.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import orjson
from standardwebhooks import Webhook as Signer

from app.core.analytics import SCHEMA_VERSION, AnalyticsEvent
from app.core.outcome import Outcome, Rejected, Skipped, Split
from app.destinations import judging
from app.destinations.base import Destination, Form, Payload, Purpose, Request, Response
from app.destinations.settings import Url

PREFIX = "whsec_"
# The specification reads 502 and 504 as "slow down" too; 503 is the plainest way to say it.
THROTTLES = (429, 502, 503, 504)


def _keys(text: str) -> list[bytes]:
    """The signing keys, newest first. Raises ValueError if one is not whsec_ and base64."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.startswith(PREFIX) for part in parts):
        raise ValueError("no whsec_ secret")
    return [b64decode(part.removeprefix(PREFIX), validate=True) for part in parts]


def _fits(text: str, allow_local: bool) -> bool:
    try:
        return all(_keys(text))
    except (ValueError, NotBase64):
        return False


Secrets = Annotated[str, Form("whsec_ and base64 (several, comma-separated, to rotate)", _fits)]


@dataclass(frozen=True, kw_only=True)
class Webhook(Destination):
    KIND = "webhook"
    TITLE = "Signed webhook"
    NEEDS = "nothing"
    REFUNDS = "negative revenue"
    DEDUPED_BY = "`webhook-id`"
    DEDUPE_WINDOW = None
    MAX_BATCH = 1

    purpose: Purpose = "own"
    url: Url = field(repr=False)
    secret: Secrets = field(repr=False)

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        return orjson.dumps(translate(event, self.called(event)), option=orjson.OPT_SORT_KEYS)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        revenue = orjson.loads(body)["data"]["revenue"]
        return (Decimal(revenue["major"]), revenue["currency"]) if revenue else None

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        [payload] = batch
        key, body = str(payload.dedupe_id), payload.body.decode()
        moment = datetime.fromtimestamp(int(now), tz=UTC)
        # While secrets rotate there is a signature by each: the receiver accepts the one it knows.
        signatures = [Signer(secret).sign(key, moment, body) for secret in _keys(self.secret)]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(signatures),
        }
        return Request(self.url, headers, payload.body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        outcome = judging.by_status(response, hide=self.secrets(), throttles=THROTTLES)
        if isinstance(outcome, Split):  # 400, 413, 422: there is nothing to split
            outcome = Rejected(outcome.reason)
        return [outcome] * len(batch)

    def warnings(self) -> list[str]:
        if all(24 <= len(key) <= 64 for key in _keys(self.secret)):
            return []
        return [f"{self.variable('secret')}: Standard Webhooks asks for 24 to 64 random bytes"]


def translate(event: AnalyticsEvent, name: str) -> dict[str, Any]:
    """One analytics event with all that we know of it: it is your own endpoint."""
    occurred = event.occurred_at.astimezone(UTC).isoformat()
    data = {
        "id": str(event.id),
        "key": event.key,
        "account": event.account,
        "livemode": event.livemode,
        "user_id": event.identity.first("user_id"),
        "device_id": event.identity.first("device_id"),
        "session_id": event.identity.first("session_id"),
        "ids": dict(event.identity.ids),
        "identity_fallback": event.identity.fallback,
        "consent": str(event.consent) or None,
        "conversion_id": event.conversion_id,
        "properties": dict(event.properties),
        "revenue": _revenue(event),
        "schema_version": SCHEMA_VERSION,
    }
    return {"type": name, "timestamp": occurred.replace("+00:00", "Z"), "data": data}


def _revenue(event: AnalyticsEvent) -> dict[str, Any] | None:
    if event.revenue is None:
        return None
    minor, currency = event.revenue.minor, event.revenue.currency
    return {"minor": minor, "currency": currency, "major": f"{event.revenue.major:f}"}
