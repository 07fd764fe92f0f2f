"""PostHog, capture API: https://posthog.com/docs/api/capture

PostHog merges what has the same uuid, event, timestamp and distinct_id, some time after it came.
One bad event fails a whole request, and a wrong key is answered 200 and its events are dropped: so
each event is checked before it is kept, and no bad one should ever leave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent, Identity
from app.core.outcome import Outcome, Retry, Skipped, Suspended
from app.destinations import judging
from app.destinations.base import Destination, Form, Payload, Request, Response, amount_in
from app.destinations.settings import PRINTABLE, Key, ProjectId, Url

URLS = {"us": "https://us.i.posthog.com/batch/", "eu": "https://eu.i.posthog.com/batch/"}
# https://posthog.com/docs/api/persons: deletions go to the app's host, not to that of ingestion.
APPS = {"us": "https://us.posthog.com", "eu": "https://eu.posthog.com"}
# https://posthog.com/docs/product-analytics/identify: ids that stand for nobody
NOBODY = frozenset({"", "anonymous", "guest", "distinctid", "distinct_id", "id", "email", "none"})
NOBODY |= {"not_authenticated", "undefined", "true", "false", "[object object]", "nan", "null", "0"}
IDS = ("posthog_distinct_id", "user_id", "device_id")
MAX_ID = 200  # PostHog cuts there, and a cut id is another id
MAX_EVENT = 900 * 1024  # bytes; over 1 MB PostHog discards an event after its 200
MAX_SESSION = timedelta(hours=24)  # PostHog's own limit of a session
SKEW = timedelta(hours=1)  # by which a browser's clock may be ahead of Stripe's
LIBRARY = "stripe-analytics-bridge"


def _fits(text: str, allow_local: bool) -> bool:
    return PRINTABLE.fullmatch(text) is not None and len(text) <= 64 and text[:4] != "phx_"


ProjectKey = Annotated[
    str, Form("a project API key (phc_...) of at most 64 characters, no personal one (phx_)", _fits)
]


@dataclass(frozen=True, kw_only=True)
class PostHog(Destination):
    KIND = "posthog"
    TITLE = "PostHog"
    NEEDS = "`posthog_distinct_id`, `user_id` or `device_id`"
    REFUNDS = "negative `revenue`"
    DEDUPED_BY = "`uuid`, with event, timestamp and `distinct_id`"
    DEDUPE_WINDOW = None
    WANTS_PROFILE = True
    ERASURE = "persons API, with `PERSONAL_KEY` and `PROJECT_ID`"
    MAX_BATCH = 500  # PostHog counts bytes alone: 20 MB

    api_key: ProjectKey = field(repr=False)
    personal_key: Key = field(default="", repr=False)
    project_id: ProjectId = ""
    region: Literal["us", "eu"] = "us"
    url: Url = field(default="", repr=False)
    delete_url: Url = field(default="", repr=False)

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        who = next(filter(_somebody, filter(None, map(event.identity.first, IDS))), None)
        if who is None:
            return Skipped("PostHog needs a posthog_distinct_id, a user_id or a device_id")
        body = {
            "uuid": str(dedupe_id),
            "event": self.called(event),
            "distinct_id": who,
            "timestamp": _timestamp(event, dedupe_id),
            "properties": {**event.properties, **_told(event), **self._person(event)},
        }
        rendered = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        if len(rendered) > MAX_EVENT:
            return Skipped(f"PostHog takes no event over {MAX_EVENT} bytes: {len(rendered)}")
        return rendered

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        return amount_in(orjson.loads(body)["properties"], "revenue")

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        # No sent_at: PostHog would shift every timestamp by what it thinks our clock is off.
        # Joined and not parsed again: what was frozen leaves as it is.
        body = b'{"api_key":%b,"batch":[%b],"historical_migration":%b}' % (
            orjson.dumps(self.api_key),
            b",".join(payload.body for payload in batch),
            b"true" if any(payload.historical for payload in batch) else b"false",
        )
        return Request(self.url or URLS[self.region], {"Content-Type": "application/json"}, body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        outcome = judging.by_status(response, hide=self.secrets())
        said = judging.reason(response, self.secrets())
        answer = judging.json_object(response.text) if response.status == 200 else {}
        if _over_quota(answer.get("quota_limited")):
            outcome = Suspended(said, after=judging.PROBE_AFTER)
        elif answer.get("status", 1) not in (1, "Ok", "ok") or (
            response.status == 200 and judging.is_page(response.text)
        ):
            outcome = Retry(said)
        return [outcome] * len(batch)

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        # A proxy's address does not say where deletions go: then it has to be told.
        url = self.delete_url
        if not url and not self.url and self.project_id:
            url = f"{APPS[self.region]}/api/projects/{self.project_id}/persons/bulk_delete/"
        found = dict.fromkeys(each for name in IDS for each in ids.get(name, ()) if _somebody(each))
        if not (url and found and self.personal_key):
            return None
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.personal_key}",
        }
        asked = {"distinct_ids": [*found], "delete_events": True, "delete_recordings": True}
        return Request(url, headers, orjson.dumps(asked))

    def warnings(self) -> list[str]:
        doubtful = []
        if not self.api_key.startswith("phc_"):
            doubtful.append(("api_key", "PostHog's project API keys begin with phc_"))
        if self.personal_key and not self.personal_key.startswith("phx_"):
            doubtful.append(("personal_key", "PostHog's personal API keys begin with phx_"))
        given = [("rename", pair.split("=", 1)[1]) for pair in self.rename]
        for setting, name in (*given, ("prefix", self.prefix)):
            if name.startswith("$"):
                doubtful.append((setting, "names that begin with $ are PostHog's own"))
        return [f"{self.variable(setting)}: {words}" for setting, words in doubtful]

    def _person(self, event: AnalyticsEvent) -> dict[str, Any]:
        """What the event does to the person's profile. A pseudonym gets none, and what is told
        late must not overwrite what is known since."""
        if event.identity.fallback:
            return {"$process_person_profile": False}
        profile = {} if event.historical else self.leaving(event.profile)
        return {"$set": profile} if profile else {}


def _told(event: AnalyticsEvent) -> dict[str, Any]:
    """Properties beside the event's own: money, the visit, and where it comes from."""
    told: dict[str, Any] = {"$geoip_disable": True, "$lib": LIBRARY}  # we are not where they are
    if event.revenue is not None:
        told["revenue"] = event.revenue.number  # a refund is negative
        told["currency"] = event.revenue.currency.upper()
    session = _session(event.identity, event.occurred_at)
    return told | ({"$session_id": session} if session else {})


def _timestamp(event: AnalyticsEvent, dedupe_id: UUID) -> str:
    """ISO 8601, UTC, in ms. Stripe's times are whole seconds, and PostHog may take two events of
    one name, person and time for one: movements of money get ms of their own, from their id."""
    apart = 0 if event.revenue is None else 1 + dedupe_id.int % 999
    moment = event.occurred_at.astimezone(UTC) + timedelta(milliseconds=apart)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _session(identity: Identity, at: datetime) -> str | None:
    """PostHog's own session id, a UUIDv7 of when it began, if the event may be of that session:
    https://posthog.com/docs/data/sessions"""
    text = identity.first("posthog_session_id") or ""
    try:
        session = UUID(text)
        began = datetime.fromtimestamp((session.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    fits = session.version == 7 and -SKEW <= at - began <= MAX_SESSION
    return str(session) if fits else None


def _somebody(text: str) -> bool:
    return len(text) <= MAX_ID and text.strip().strip("'\"").lower() not in NOBODY


def _over_quota(limited: Any) -> bool:
    """Whether a 200 says that our events were dropped, as they are beyond the billing limit. That
    of recordings does not concern us."""
    return limited not in (None, [], ["recordings"])
