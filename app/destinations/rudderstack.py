"""RudderStack, HTTP API: https://www.rudderstack.com/docs/api/http-api/

It speaks Segment's words to a data plane of your own. It drops a repeated `messageId` for 7 days:
https://www.rudderstack.com/docs/user-guides/administrators-guide/deduplication/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from app.core.analytics import AnalyticsEvent
from app.core.outcome import Outcome, Skipped, Suspended
from app.destinations import judging, track
from app.destinations.base import LIST, Destination, Form, Payload, Request, Response
from app.destinations.settings import Key, Url

# The User Suppression API: https://www.rudderstack.com/docs/api/user-suppression-api/
DELETION_URLS = {
    "us": "https://api.rudderstack.com/v2/regulations",
    "eu": "https://api.eu.rudderstack.com/v2/regulations",
}
# Else it would take our server's address for the customer's, and place him in a data centre.
NOWHERE = "0.0.0.0"
Ids = Annotated[
    tuple[str, ...],
    Form("ids of RudderStack destinations, comma-separated", lambda text, _: True, LIST.value),
]


@dataclass(frozen=True, kw_only=True)
class RudderStack(Destination):
    KIND = "rudderstack"
    TITLE = "RudderStack"
    NEEDS = "`user_id`, `device_id` or `segment_anonymous_id`"
    REFUNDS = "negative `revenue`; `Order Refunded` with `ORDERS=on`"
    DEDUPED_BY = "`messageId`"
    ERASURE = "by `user_id`, with an access token and the destinations' ids: `suppress_with_delete`"
    DEDUPE_WINDOW = timedelta(days=7)
    MAX_BATCH = 500  # MAX_BYTES is far below the 4 MB that it takes

    write_key: Key = field(repr=False)
    url: Url = field(repr=False)
    orders: Literal["off", "on"] = "off"
    analytics_category: str = "Analytics"
    ads_category: str = "Advertising"
    region: Literal["us", "eu"] = "us"  # of the API that deletes; `url` says where events go
    api_token: Key = field(default="", repr=False)
    api_url: Url = field(default="", repr=False)
    destination_ids: Ids = ()

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        orders = self.orders == "on"
        name = self.called(event, track.order_name(event, orders=orders))
        call = track.rendered(
            event,
            name,
            dedupe_id,
            orders=orders,
            consentManagement=self._consent(event),
            # The browser SDK's own sessions are numbers of 10 digits and more; Amplitude's are ms.
            sessionId=track.session(event, digits="9,15"),
            ip=NOWHERE,
        )
        ours = {
            "channel": "server",
            "userId": track.somebody(event, "user_id"),
            "anonymousId": track.somebody(event, "device_id", "segment_anonymous_id"),
            "timestamp": track.moment(event),
            "originalTimestamp": track.moment(event),
        }
        return track.frozen(call | ours, self.TITLE)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        return track.told(body)

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        return track.request(self.url, self.write_key, batch)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        outcome = track.judged(response, self.secrets())
        if response.status == 404 and "source is disabled" in response.text.lower():
            said = judging.reason(response, self.secrets())
            outcome = Suspended(said, after=judging.PROBE_AFTER)
        return [outcome] * len(batch)

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        """Without destinations it would only stop what is to come, and delete nothing."""
        users = sorted(set(ids.get("user_id", ())))
        if not (self.api_token and self.destination_ids and users):
            return None
        body = {
            "regulationType": "suppress_with_delete",
            "destinationIds": self.destination_ids,
            "users": [{"userId": user} for user in users],
        }
        return track.regulation(self.api_url or DELETION_URLS[self.region], self.api_token, body)

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), track.basic(self.write_key))

    def warnings(self) -> list[str]:
        found = []
        if not self.url.partition("?")[0].endswith("/v1/batch"):
            found.append(f"{self.variable('url')}: a data plane takes events at /v1/batch")
        if self.api_token and not self.destination_ids:
            missing, token = self.variable("destination_ids"), self.variable("api_token")
            found.append(f"{missing}: is missing; without it {token} deletes nobody")
        return found

    def _consent(self, event: AnalyticsEvent) -> dict[str, Any] | None:
        """https://www.rudderstack.com/docs/data-governance/consent-management/passing-consent/"""
        said = track.consents(event, self.analytics_category, self.ads_category)
        if not said:
            return None
        return {
            "provider": "custom",
            "allowedConsentIds": [name for name, agreed in said.items() if agreed],
            "deniedConsentIds": [name for name, agreed in said.items() if not agreed],
        }
