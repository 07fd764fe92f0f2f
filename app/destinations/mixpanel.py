"""Mixpanel, /import: https://docs.mixpanel.com/troubleshooting/errors/400-bad-request

With `strict=1` a 400 names the events that failed, and the others are taken in. Of what has the
same event, distinct_id, time and $insert_id one is counted, however late it comes again:
https://docs.mixpanel.com/troubleshooting/errors/duplicate-events
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent, Identity
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Skipped, Split
from app.destinations import judging
from app.destinations.base import Destination, Payload, Request, Response, amount_in
from app.destinations.settings import Key, ProjectId, Url

URLS = {
    "us": "https://api.mixpanel.com/import",
    "eu": "https://api-eu.mixpanel.com/import",
    "in": "https://api-in.mixpanel.com/import",
}
# https://developer.mixpanel.com/docs/managing-personal-data
DELETION_URLS = {
    "us": "https://mixpanel.com/api/app/data-deletions/v3.0/",
    "eu": "https://eu.mixpanel.com/api/app/data-deletions/v3.0/",
    "in": "https://in.mixpanel.com/api/app/data-deletions/v3.0/",
}
# Values that Mixpanel refuses as an id: they would merge strangers into one.
NOBODY = frozenset({"", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined"})
NOBODY |= {"unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}", str(UUID(int=0))}
PREFIX = "$device:"  # how the distinct_id of a device without a user begins
MAX_ID = 255 - len(PREFIX)  # Mixpanel cuts strings at 255, and a cut id is another id
DEVICES = ("mixpanel_device_id", "device_id")
LIBRARY = "stripe-analytics-bridge"


@dataclass(frozen=True, kw_only=True)
class Mixpanel(Destination):
    KIND = "mixpanel"
    TITLE = "Mixpanel"
    NEEDS = "`user_id`, `mixpanel_device_id` or `device_id`"
    REFUNDS = "negative `revenue`"
    DEDUPED_BY = "`$insert_id`, with event, `distinct_id` and time"
    DEDUPE_WINDOW = None
    ERASURE = "data-deletions API, with `GDPR_TOKEN`"
    MAX_BATCH = 500  # of 2,000 that Mixpanel takes, in 2 MB

    project_token: Key = field(repr=False)
    service_account: Key = ""
    service_secret: Key = field(default="", repr=False)
    project_id: ProjectId = ""
    gdpr_token: Key = field(default="", repr=False)
    identity: Literal["simplified", "original"] = "simplified"
    region: Literal["us", "eu", "in"] = "us"
    url: Url = field(default="", repr=False)
    delete_url: Url = field(default="", repr=False)

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        who = self._who(event.identity)
        if who is None:
            return Skipped("Mixpanel needs a user_id or a device_id")
        properties = {
            **event.properties,
            **_money(event),
            **who,
            "$insert_id": str(dedupe_id),
            "time": round(event.occurred_at.timestamp() * 1000),
            "ip": "0",  # else our server's address would place the customer on the map
            "mp_lib": LIBRARY,
        }
        body = {"event": self.called(event), "properties": properties}
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        return amount_in(orjson.loads(body)["properties"], "revenue")

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        query = {"strict": "1"} | ({"project_id": self.project_id} if self._has_account else {})
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Basic {self._credentials}",
        }
        # Joined and not parsed again: what was frozen leaves as it is.
        body = b"[%b]" % b",".join(payload.body for payload in batch)
        return Request(_with(self.url or URLS[self.region], query), headers, body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        general = judging.by_status(response, hide=self.secrets())
        if response.status not in (200, 400):
            return [general] * len(batch)
        answer = judging.json_object(response.text)
        said = judging.reason(response, self.secrets())
        failed = _failed(answer, len(batch), response.status, self.secrets())
        imported = answer.get("num_records_imported")
        good = len(batch) - len(failed)
        rest: Outcome = general
        if failed:
            # Again where it does not say that it took the others. That ends: the named leave.
            rest = Delivered() if imported == good else Again(said)
        elif response.status == 200 and (
            answer.get("code", 200) != 200 or judging.is_page(response.text)
        ):
            rest = Retry(said)
        elif response.status == 200 and type(imported) is int and imported < good:
            rest = Split(said)
        return [failed.get(index, rest) for index in range(len(batch))]

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        # A proxy's address does not say where deletions go: then it has to be told.
        url = self.delete_url or ("" if self.url else DELETION_URLS[self.region])
        users = [each for each in ids.get("user_id", ()) if _somebody(each)]
        devices = [each for name in DEVICES for each in ids.get(name, ()) if _somebody(each)]
        named = [*dict.fromkeys([*users, *map(self._distinct, devices)])]
        if not (url and named and self.gdpr_token):
            return None
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.gdpr_token}",
        }
        body = orjson.dumps({"distinct_ids": named, "compliance_type": "GDPR"})
        return Request(_with(url, {"token": self.project_token}), headers, body)

    def warnings(self) -> list[str]:
        doubtful = []
        if not re.fullmatch(r"[0-9a-f]{32}", self.project_token):
            words = "Mixpanel's project tokens are 32 hexadecimal characters"
            doubtful.append(("project_token", words))
        account = ("service_account", "service_secret", "project_id")
        missing = [name for name in account if not getattr(self, name)]
        if 0 < len(missing) < len(account):
            words = "is missing; without it the project token signs in, not the service account"
            doubtful.append((missing[0], words))
        given = [("rename", pair.split("=", 1)[1]) for pair in self.rename]
        for setting, name in (*given, ("prefix", self.prefix)):
            if name.startswith(("$", "mp_")):
                doubtful.append((setting, "names that begin with $ or mp_ are Mixpanel's own"))
        return [f"{self.variable(setting)}: {words}" for setting, words in doubtful]

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), self._credentials)

    @property
    def _has_account(self) -> bool:
        return bool(self.service_account and self.service_secret and self.project_id)

    @property
    def _credentials(self) -> str:
        """A service account's, or the project token as a name without a password."""
        account = f"{self.service_account}:{self.service_secret}"
        text = account if self._has_account else f"{self.project_token}:"
        return b64encode(text.encode()).decode()

    def _who(self, identity: Identity) -> dict[str, str] | None:
        """The ids, or None. Under Simplified ID Merge the first event that has a user and a
        device joins them; an event of a device alone is the device's until then:
        https://docs.mixpanel.com/docs/tracking-methods/id-management/identifying-users-simplified
        """
        user, device = _usable(identity, "user_id"), _usable(identity, *DEVICES)
        distinct = user or (self._distinct(device) if device else None)
        if distinct is None:
            return None
        if self.identity == "original":
            return {"distinct_id": distinct}
        both = {"$user_id": user, "$device_id": device and device.removeprefix(PREFIX)}
        return {"distinct_id": distinct, **{name: each for name, each in both.items() if each}}

    def _distinct(self, device: str) -> str:
        """The distinct_id of a device of which no user is known. The browser's may have the prefix
        already."""
        return device if self.identity == "original" else PREFIX + device.removeprefix(PREFIX)


def _usable(identity: Identity, *names: str) -> str | None:
    """The first id of these names that Mixpanel would take."""
    ids = (identity.first(name) for name in names)
    return next((each for each in ids if each and _somebody(each)), None)


def _somebody(text: str) -> bool:
    return len(text) <= MAX_ID and text.removeprefix(PREFIX).strip().lower() not in NOBODY


def _money(event: AnalyticsEvent) -> dict[str, Any]:
    """Mixpanel has no word of its own for revenue: this is what its guides call it."""
    if event.revenue is None:
        return {}
    return {"revenue": event.revenue.number, "currency": event.revenue.currency.upper()}


def _with(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _failed(
    answer: Mapping[str, Any], size: int, status: int, hide: Sequence[str]
) -> dict[int, Outcome]:
    """The rows that an answer names as failed, and what it says of each: by `index`, for its name
    of the id differs from what is documented."""
    records = answer.get("failed_records")
    words: dict[int, list[str]] = {}
    for record in records if isinstance(records, list) else []:
        index = record.get("index") if isinstance(record, dict) else None
        if type(index) is int and 0 <= index < size:
            said = str(record.get("message") or record.get("field") or "failed")
            words.setdefault(index, []).append(said)
    return {
        index: Rejected(judging.excerpt(f"{status} {'; '.join(said)}", hide))
        for index, said in words.items()
    }
