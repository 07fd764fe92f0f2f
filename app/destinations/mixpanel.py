"""Mixpanel, Import Events: https://docs.mixpanel.com/reference/import-events

Of what has the same event, distinct_id, time and $insert_id Mixpanel counts one, however late it
comes again. With `strict=1` a 400 names the events that failed, and the others are taken in.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent, Identity
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Skipped, Split
from app.destinations import judging
from app.destinations.base import Destination, Payload, Request, Response
from app.destinations.settings import Key, ProjectId, Url

URLS = {
    "us": "https://api.mixpanel.com/import",
    "eu": "https://api-eu.mixpanel.com/import",
    "in": "https://api-in.mixpanel.com/import",
}
# https://developer.mixpanel.com/reference/gdpr-api
DELETION_URLS = {
    "us": "https://mixpanel.com/api/app/data-deletions/v3.0/",
    "eu": "https://eu.mixpanel.com/api/app/data-deletions/v3.0/",
    "in": "https://in.mixpanel.com/api/app/data-deletions/v3.0/",
}
# Values that Mixpanel refuses as an id: they would merge strangers into one.
NOBODY = frozenset({"", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined"})
NOBODY |= {"unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}", str(UUID(int=0))}
DEVICE = "$device:"  # how the distinct_id of a device without a user begins
MAX_ID = 255 - len(DEVICE)  # Mixpanel cuts strings at 255, and a cut id is another id
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
        if not who:
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
        failed = _failed(answer, len(batch), said, self.secrets())
        imported = answer.get("num_records_imported")
        missing = type(imported) is int and imported < len(batch) - len(failed)
        rest = general
        if failed and (missing or type(imported) is not int):
            rest = Again(said)  # which ends: the named leave the batch
        elif failed:
            rest = Delivered()
        elif response.status == 200 and answer.get("code", 200) != 200:
            rest = Retry(said)
        elif response.status == 200 and missing:
            rest = Split(said)
        return [failed.get(index, rest) for index in range(len(batch))]

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        # A proxy's address says nothing of where deletions go: then it has to be told.
        url = self.delete_url or ("" if self.url else DELETION_URLS[self.region])
        named = [*_known(ids, "user_id"), *self._devices(ids)]
        if not (url and named and self.gdpr_token):
            return None
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.gdpr_token}",
        }
        body = orjson.dumps({"distinct_ids": named, "compliance_type": "GDPR"})
        return Request(_with(url, {"token": self.project_token}), headers, body)

    def warnings(self) -> list[str]:
        found = []
        if not re.fullmatch(r"[0-9a-f]{32}", self.project_token):
            found.append("project_token: Mixpanel's tokens are 32 hexadecimal characters")
        account = {"service_account", "service_secret", "project_id"}
        missing = sorted(name for name in account if not getattr(self, name))
        if 0 < len(missing) < len(account):
            found.append(f"{missing[0]}: a service account is used only with all three settings")
        warned = [f"{self.variable(name)}:{words}" for name, words in (w.split(":") for w in found)]
        reserved = any(pair.split("=", 1)[1].startswith(("$", "mp_")) for pair in self.rename)
        if reserved or self.prefix.startswith(("$", "mp_")):
            name = self.variable("rename" if reserved else "prefix")
            warned.append(f"{name}: names that begin with $ or mp_ are Mixpanel's own")
        return warned

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), self._credentials)

    @property
    def _has_account(self) -> bool:
        return bool(self.service_account and self.service_secret and self.project_id)

    @property
    def _credentials(self) -> str:
        """Basic credentials: a service account's, or the project token without a password."""
        account = f"{self.service_account}:{self.service_secret}"
        text = account if self._has_account else f"{self.project_token}:"
        return b64encode(text.encode()).decode()

    def _who(self, identity: Identity) -> dict[str, str]:
        """The ids, or nothing. Under Simplified ID Merge the first event with both of a user and
        a device joins them, and what is known of neither user is the device's:
        https://docs.mixpanel.com/docs/tracking-methods/id-management/identifying-users-simplified
        """
        ids = {name: (value,) for name, value in identity.ids.items()}
        user = next(iter(_known(ids, "user_id")), None)
        distinct = next(iter([*([user] if user else []), *self._devices(ids)]), None)
        if distinct is None or self.identity == "original":
            return {"distinct_id": distinct} if distinct else {}
        device = next((d.removeprefix(DEVICE) for d in self._devices(ids)), None)
        found = {"distinct_id": distinct, "$user_id": user, "$device_id": device}
        return {name: value for name, value in found.items() if value}

    def _devices(self, ids: Mapping[str, Sequence[str]]) -> list[str]:
        """The distinct_ids of these devices. The browser's own may have the prefix already."""
        devices = _known(ids, "mixpanel_device_id", "device_id")
        if self.identity == "original":
            return devices
        return [f"{DEVICE}{device.removeprefix(DEVICE)}" for device in devices]
