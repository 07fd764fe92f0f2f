"""Amplitude, HTTP V2: https://amplitude.com/docs/apis/analytics/http-v2, and for history
https://amplitude.com/docs/apis/analytics/batch-event-upload, which has the same form.

Amplitude drops a repeated `insert_id` of the same device for 7 days, so a retry or a replay within
a week counts nothing twice. After a week it would: see `replay`. A 400 takes nothing in and names
the bad events; the official client drops those and sends the rest at once, and so do we.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent, Identity
from app.core.outcome import Again, Outcome, Rejected, Retry, Skipped, Suspended
from app.destinations import judging
from app.destinations.base import RENAMES, Destination, Form, Payload, Request, Response, amount_in
from app.destinations.settings import Key, Url

URLS = {
    "us": "https://api2.amplitude.com/2/httpapi",
    "eu": "https://api.eu.amplitude.com/2/httpapi",
}
BATCH_URLS = {
    "us": "https://api2.amplitude.com/batch",
    "eu": "https://api.eu.amplitude.com/batch",
}
# https://amplitude.com/docs/apis/analytics/user-privacy, for one project. Its successor deletes in
# all projects of the organization.
DELETE_URLS = {
    "us": "https://amplitude.com/api/2/deletions/users",
    "eu": "https://analytics.eu.amplitude.com/api/2/deletions/users",
}
MOST_USERS = 100  # of one deletion
REQUESTER = "stripe-analytics-bridge"
USERS = ("amplitude_user_id", "user_id")
# Values that Amplitude refuses as a user or device: they would merge strangers into one.
NOBODY = frozenset({"", "{}", "0", "-1", "anonymous", "lmy47d", "n/a", "na", "nil", "none", "null"})
NOBODY |= {"undefined", "unknown", str(UUID(int=0))}
INVALID = {
    "events_with_invalid_fields": "invalid",
    "events_with_missing_fields": "missing",
    "events_with_invalid_id_lengths": "invalid length of",
}
THROTTLED = {"throttled_users": "user_id", "throttled_devices": "device_id"}
OVER_QUOTA = {
    "exceeded_daily_quota_users": "user_id",
    "exceeded_daily_quota_devices": "device_id",
}


OWN = ("[Amplitude]", "$")  # how the names that are Amplitude's own begin
NOT_OWN = "none that begins with [Amplitude] or $, which are Amplitude's own"
Renames = Annotated[
    tuple[str, ...],
    Form(
        f"{RENAMES.words}; {NOT_OWN}",
        lambda text, local: (
            RENAMES.fits(text, local)
            and not any(pair.partition("=")[2].startswith(OWN) for pair in RENAMES.value(text))
        ),
        RENAMES.value,
    ),
]
Prefix = Annotated[
    str,
    Form(
        f"printable text; {NOT_OWN}",
        lambda text, _: text.isprintable() and not text.startswith(OWN),
    ),
]


@dataclass(frozen=True, kw_only=True)
class Amplitude(Destination):
    KIND = "amplitude"
    TITLE = "Amplitude"
    NEEDS = "`user_id` or `device_id`, or Amplitude's own"
    REFUNDS = "negative `revenue`"
    DEDUPED_BY = "`insert_id`, with the device"
    DEDUPE_WINDOW = timedelta(days=7)
    ERASURE = "User Privacy API by user id, with `SECRET_KEY`"
    WANTS_PROFILE = True
    MAX_BATCH = 500  # of 2,000 that Amplitude takes, in 1 MB

    api_key: Key = field(repr=False)
    region: Literal["us", "eu"] = "us"
    url: Url = field(default="", repr=False)
    user_properties: Literal["on", "off"] = "on"
    secret_key: Key = field(default="", repr=False)  # deletes, and nothing else
    delete_url: Url = field(default="", repr=False)
    rename: Renames = ()
    prefix: Prefix = ""

    @property
    def wants_profile(self) -> bool:
        return self.user_properties == "on"

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        user = _id(event.identity, _somebody, *USERS)
        device = _id(event.identity, _somebody, "amplitude_device_id", "device_id")
        if user is None and device is None:
            return Skipped("Amplitude needs a user_id or a device_id")
        body: dict[str, Any] = {"insert_id": str(dedupe_id), "user_id": user, "device_id": device}
        body |= translate(event, self.called(event))
        if self.wants_profile and event.profile and not event.historical:
            # Of history they would overwrite what is known of the user today.
            body["user_properties"] = dict(event.profile)
        present = {name: value for name, value in body.items() if value is not None}
        return orjson.dumps(present, option=orjson.OPT_SORT_KEYS)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        return amount_in(orjson.loads(body), "revenue")

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        # Joined and not parsed again: what was frozen leaves as it is.
        events = b",".join(payload.body for payload in batch)
        key = orjson.dumps(self.api_key)
        # Our ids are as long as they are; Amplitude's default refuses those under 5 characters.
        options = b'{"min_id_length":1}'
        body = b'{"api_key":%b,"events":[%b],"options":%b}' % (key, events, options)
        historical = any(payload.historical for payload in batch)
        url = self.url or (BATCH_URLS if historical else URLS)[self.region]
        return Request(url, {"Content-Type": "application/json"}, body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        answer = judging.json_object(response.text)
        general = judging.by_status(response, hide=self.secrets())
        said = judging.reason(response, self.secrets())
        named: Mapping[int, Outcome] = {}
        match response.status:
            case 200 if answer.get("code", 200) != 200 or judging.is_page(response.text):
                general = Retry(said)
            case 400 if _refuses_the_key(answer):
                general = Suspended(said, after=judging.PROBE_AFTER)
            case 400:
                named = _bad(answer, len(batch), self.secrets())
            case 429:
                named = _slow(answer, batch, judging.throttle_wait(response), said)
            case _:
                pass
        # The rest of a batch with names goes again at once. That ends: the named leave it.
        rest = Again(said) if named else general
        return [named.get(index, rest) for index in range(len(batch))]

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        """Of users alone: Amplitude deletes by no device id."""
        # A proxy's address does not say where deletions go: then it has to be told.
        url = self.delete_url or ("" if self.url else DELETE_URLS[self.region])
        said = [each for name in USERS for each in ids.get(name, ()) if _somebody(each)]
        users = [*dict.fromkeys(said)]
        if not (url and users and self.secret_key) or len(users) > MOST_USERS:
            return None
        # Else one id that the project never saw refuses all.
        body = {"user_ids": users, "ignore_invalid_id": "True", "requester": REQUESTER}
        headers = {
            "Authorization": f"Basic {self._credentials}",
            "Content-Type": "application/json",
        }
        return Request(url, headers, orjson.dumps(body))

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), self._credentials)

    @property
    def _credentials(self) -> str:
        return b64encode(f"{self.api_key}:{self.secret_key}".encode()).decode()

    def warnings(self) -> list[str]:
        if re.fullmatch(r"[0-9a-f]{32}", self.api_key):
            return []
        return [f"{self.variable('api_key')}: Amplitude's keys are 32 hexadecimal characters"]


def translate(event: AnalyticsEvent, name: str) -> dict[str, Any]:
    """One analytics event in Amplitude's words, but for who and which. None: left out."""
    session = _id(event.identity, _start_in_ms, "amplitude_session_id", "session_id")
    body: dict[str, Any] = {
        "event_type": name,
        "time": round(event.occurred_at.timestamp() * 1000),
        "session_id": None if session is None else int(session),
        "event_properties": dict(event.properties),
    }
    if event.revenue is None:
        return body
    # No price or quantity: Amplitude would compute the revenue anew from them.
    return body | {
        "revenue": event.revenue.number,  # a refund is negative
        "currency": event.revenue.currency.upper(),
        "revenueType": event.properties.get("revenue_type"),
        "productId": event.properties.get("product_id"),
    }


def _id(identity: Identity, fits: Callable[[str], bool], *names: str) -> str | None:
    """The first id of these names that Amplitude would take."""
    ids = (identity.first(name) for name in names)
    return next((each for each in ids if each and fits(each)), None)


def _somebody(text: str) -> bool:
    return text.strip().lower() not in NOBODY


def _start_in_ms(text: str) -> bool:
    """Amplitude's session id is the session's start in ms; any other id has no place there."""
    return re.fullmatch(r"[1-9][0-9]{12}", text) is not None


def _refuses_the_key(answer: Mapping[str, Any]) -> bool:
    error = str(answer.get("error", "")).lower()
    return "invalid api key" in error or answer.get("missing_field") == "api_key"


def _bad(answer: Mapping[str, Any], size: int, hide: Sequence[str]) -> dict[int, Outcome]:
    """The rows that a 400 names, and what it says of each."""
    words = {index: ["silenced"] for index in _rows(answer.get("silenced_events"), size)}
    for kind, verb in INVALID.items():
        named = answer.get(kind)
        for name, indexes in named.items() if isinstance(named, dict) else ():
            for index in _rows(indexes, size):
                words.setdefault(index, []).append(f"{verb} {name}")
    said = {index: judging.excerpt(f"400 {', '.join(why)}", hide) for index, why in words.items()}
    return {index: Rejected(why) for index, why in said.items()}


def _slow(
    answer: Mapping[str, Any], batch: Sequence[Payload], wait: float, said: str
) -> dict[int, Outcome]:
    """The rows that a 429 names, by index, user or device, and how long each has to wait."""
    waits = dict.fromkeys(_rows(answer.get("throttled_events"), len(batch)), wait)
    for index, payload in enumerate(batch):
        event = orjson.loads(payload.body)
        if _concerns(answer, OVER_QUOTA, event):
            waits[index] = judging.DAY
        elif _concerns(answer, THROTTLED, event):
            waits[index] = wait
    return {index: Retry(said, after=after) for index, after in waits.items()}


def _concerns(
    answer: Mapping[str, Any], kinds: Mapping[str, str], event: Mapping[str, Any]
) -> bool:
    """Whether one of these lists of ids has the event's own."""
    lists = ((answer.get(kind), event.get(who)) for kind, who in kinds.items())
    return any(own in ids for ids, own in lists if own and isinstance(ids, (dict, list)))


def _rows(indexes: Any, size: int) -> list[int]:
    """Those of an answer's indexes that are rows of the batch. It may hold anything."""
    given = indexes if isinstance(indexes, list) else []
    return [index for index in given if type(index) is int and 0 <= index < size]
