"""Segment, HTTP Tracking API: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/

Segment answers 200 to nearly all and drops in silence what it cannot use, so an event is checked
here before it is sent. It drops a repeated `messageId` for about 24 hours, across all sources and
customers, not those of one source alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from app.core.analytics import AnalyticsEvent
from app.core.outcome import Outcome, Skipped
from app.destinations import track
from app.destinations.base import Destination, Payload, Request, Response
from app.destinations.settings import Key, Url

URLS = {
    "us": "https://api.segment.io/v1/batch",
    "eu": "https://events.eu1.segmentapis.com/v1/batch",
}
# The Public API: https://docs.segmentapis.com/tag/Deletion-and-Suppression
DELETION_URLS = {
    "us": "https://api.segmentapis.com/regulations",
    "eu": "https://eu1.api.segmentapis.com/regulations",
}
MAX_SUBJECTS = 5_000  # of one regulation


@dataclass(frozen=True, kw_only=True)
class Segment(Destination):
    KIND = "segment"
    TITLE = "Segment"
    NEEDS = "`user_id`, `segment_anonymous_id` or `device_id`"
    REFUNDS = "negative `revenue`; `Order Refunded` with `ORDERS=on`"
    DEDUPED_BY = "`messageId`"
    ERASURE = "by `user_id`, with a token of the Public API: `DELETE_ONLY`"
    DEDUPE_WINDOW = timedelta(hours=24)
    MAX_BATCH = 500  # of 2,500 that Segment takes
    MAX_BYTES = 490_000  # of 500 KB, with room for the envelope

    write_key: Key = field(repr=False)
    region: Literal["us", "eu"] = "us"
    url: Url = field(default="", repr=False)
    orders: Literal["off", "on"] = "off"
    analytics_category: str = "Analytics"
    ads_category: str = "Advertising"
    api_token: Key = field(default="", repr=False)
    api_url: Url = field(default="", repr=False)

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        orders = self.orders == "on"
        name = self.called(event, track.order_name(event, orders=orders))
        call = track.rendered(
            event,
            name,
            dedupe_id,
            orders=orders,
            consent=self._consent(event),
            device=_device(event),
        )
        ours = {
            "userId": track.somebody(event, "user_id"),
            "anonymousId": track.somebody(event, "segment_anonymous_id", "device_id"),
            "timestamp": track.moment(event),
            "integrations": _integrations(event),
        }
        return track.frozen(call | ours, self.TITLE)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        return track.told(body)

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        return track.request(self.url or URLS[self.region], self.write_key, batch)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        # A 400 is a size or broken JSON, nobody says whose: by_status halves the batch.
        return [track.judged(response, self.secrets())] * len(batch)

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        """A regulation of the workspace, which knows people by `userId` alone. It deletes and does
        not suppress: whether the team's other sources go on is not ours to decide."""
        users = sorted(set(ids.get("user_id", ())))[:MAX_SUBJECTS]
        if not self.api_token or not users:
            return None
        body = {"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": users}
        return track.regulation(self.api_url or DELETION_URLS[self.region], self.api_token, body)

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), track.basic(self.write_key))

    def _consent(self, event: AnalyticsEvent) -> dict[str, dict[str, bool]] | None:
        """None where nothing was said: to Segment an empty object is a refusal of everything."""
        said = track.consents(event, self.analytics_category, self.ads_category)
        return {"categoryPreferences": said} if said else None


def _device(event: AnalyticsEvent) -> dict[str, str] | None:
    """Amplitude behind Segment takes this for its device, and the `anonymousId` otherwise."""
    device = track.somebody(event, "amplitude_device_id")
    return {"id": device} if device else None


def _integrations(event: AnalyticsEvent) -> dict[str, dict[str, int]] | None:
    """Amplitude's session is its start in ms. The name is that of the destination in Segment."""
    session = track.session(event, digits="12")
    return None if session is None else {"Actions Amplitude": {"session_id": session}}
