"""A receiver of signed webhooks: https://www.standardwebhooks.com"""

import json
from collections.abc import Mapping
from decimal import Decimal

from app.demo.strict import signed_webhook
from app.demo.tally import Seen

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example
OLD_SECRET = "whsec_" + "QUFB" * 8
MAX_BYTES = 20_000  # what the specification advises a payload to stay under


def configured(url: str) -> dict[str, str]:
    """The settings of a destination that reaches a stand-in at this address."""
    return {"url": f"{url}/in", "secret": f"{SECRET},{OLD_SECRET}"}


class WebhookReceiver:
    """It knows one `secret` and remembers every `webhook-id`. `gone`: it wants no more."""

    def __init__(self, secret: str = SECRET) -> None:
        self.dropped: list[str] = []
        self.secret = secret
        self.gone = False
        self.seen: dict[str, Seen] = {}

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if self.gone:
            return 410, ""
        if path != "/in":
            return 404, ""
        if len(body) >= MAX_BYTES:
            return 413, json.dumps({"error": "payload too large"})
        verdict = signed_webhook(body, headers, self.secret)
        for event in verdict.events:
            self.seen.setdefault(event.id, event)
        return verdict.status, json.dumps(verdict.answer)

    def revenue(self) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for event in self.seen.values():
            if event.revenue is not None:
                sums[event.currency] = sums.get(event.currency, Decimal(0)) + event.revenue
        return sums

    def counted(self) -> int:
        return len(self.seen)
