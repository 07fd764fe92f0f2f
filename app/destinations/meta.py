"""Meta, Conversions API: https://developers.facebook.com/docs/marketing-api/conversions-api

Meta drops a repeated `event_name` and `event_id` for 48 hours, the Pixel's own included. It takes
a request whole or not at all, and knows no refunds: it is told conversions, and not the ledger.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent
from app.core.outcome import Delivered, Outcome, Retry, Skipped, Split, Suspended
from app.destinations import judging
from app.destinations.base import Destination, Form, Payload, Purpose, Request, Response, amount_in
from app.destinations.settings import Key, Url

HOST = "https://graph.facebook.com"
# https://developers.facebook.com/docs/meta-pixel/reference#standard-events
STANDARD = {
    "payment_succeeded": "Purchase",
    "trial_started": "StartTrial",
    "subscription_started": "Subscribe",
}
# Invoices that nobody asked for at that moment: Meta's `system_generated`.
AUTOMATIC = frozenset(
    {"subscription_cycle", "subscription_threshold", "automatic_pending_invoice_item_invoice"}
)
# https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc
COOKIE = re.compile(r"fb\.[0-9]\.[0-9]{1,20}\.[!-~]{1,500}")
SHA256 = re.compile("[0-9a-fA-F]{64}")
# https://developers.facebook.com/docs/graph-api/guides/error-handling
TRANSIENT = frozenset({1, 2})
THROTTLED = frozenset({4, 17, 32, 341, 613, *range(80_000, 80_015)})
REFUSES_US = frozenset({3, 10, 102, 190, 368, *range(200, 300)})
INVALID, UNKNOWN_PIXEL = 100, 33  # a code, and the subcode of it that is no event's fault

PixelId = Annotated[
    str,
    Form("digits, as Events Manager shows it", lambda text, _: _is(r"[0-9]{5,20}", text)),
]
Token = Annotated[
    str,
    Form(
        "1 to 500 printable ASCII characters without spaces",
        lambda text, _: _is("[!-~]{1,500}", text),
    ),
]
Version = Annotated[
    str,
    Form("a Graph API version, such as v26.0", lambda text, _: _is(r"v[0-9]{1,3}\.[0-9]", text)),
]


def _is(form: str, text: str) -> bool:
    return re.fullmatch(form, text) is not None


@dataclass(frozen=True, kw_only=True)
class Meta(Destination):
    KIND = "meta"
    TITLE = "Meta Conversions API"
    NEEDS = "`fbp` or `fbc`; or `user_id`, `email_sha256` where a setting sends them hashed"
    REFUNDS = "not sent: Meta has none"
    DEDUPED_BY = "`event_name` and `event_id`"
    DEDUPE_WINDOW = timedelta(hours=48)
    LATENESS = timedelta(days=7) - timedelta(hours=1)  # one that is older fails a whole request
    MAX_BATCH = 500  # of 1,000 that Meta takes

    purpose: Purpose = "ads"
    events: tuple[str, ...] = tuple(STANDARD)
    pixel_id: PixelId
    access_token: Token = field(repr=False)
    api_version: Version = "v26.0"  # of July 2026; each lives for two years at least
    test_event_code: Key = ""
    url: Url = field(default="", repr=False)
    send_user_id: Literal["off", "hashed"] = "off"
    send_email: Literal["off", "hashed"] = "off"
    ldu: Literal["off", "on"] = "off"

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        if event.revenue is not None and event.name != "payment_succeeded":
            return Skipped("Meta takes no refunds, disputed money or corrections")
        user = self._user_data(event.identity.ids)
        if not user:
            return Skipped("Meta needs fbp or fbc, or a user_id or email_sha256 that may be sent")
        automatic = event.properties.get("billing_reason") in AUTOMATIC
        visit = bool({"fbp", "fbc"} & user.keys()) and event.name in STANDARD and not automatic
        body = {
            "event_name": self.called(event, STANDARD.get(event.name)),
            "event_time": int(event.occurred_at.timestamp()),
            "event_id": event.conversion_id or str(dedupe_id),
            "action_source": "website" if visit else "system_generated",
            "user_data": user,
            **_worth(event),
            **(_processing(event.consent.region) if self.ldu == "on" else {}),
        }
        if visit:
            body |= _page(event.properties.get("landing_page"))
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        return amount_in(orjson.loads(body).get("custom_data", {}), "value")

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        test = b""
        if self.test_event_code:
            test = b',"test_event_code":' + orjson.dumps(self.test_event_code)
        events = b",".join(payload.body for payload in batch)
        token = orjson.dumps(self.access_token)
        body = b'{"access_token":%b,"data":[%b]%b}' % (token, events, test)
        url = self.url or f"{HOST}/{self.api_version}/{self.pixel_id}/events"
        return Request(url, {"Content-Type": "application/json"}, body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        answer = judging.json_object(response.text)
        said = judging.reason(response, self.secrets())
        outcome = _by_code(answer.get("error"), response, said)
        if outcome is None:
            outcome = judging.by_status(response, hide=self.secrets())
        if isinstance(outcome, Delivered) and answer.get("events_received") != len(batch):
            outcome = Retry(said)  # the same ids again: what it has is dropped
        return [outcome] * len(batch)

    def warnings(self) -> list[str]:
        if not self.test_event_code:
            return []
        return [f"{self.variable('test_event_code')}: all events show as test events at Meta"]

    def _user_data(self, ids: Mapping[str, str]) -> dict[str, Any]:
        """https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters"""
        user: dict[str, Any] = {
            name: ids[name] for name in ("fbp", "fbc") if COOKIE.fullmatch(ids.get(name, ""))
        }
        if self.send_user_id == "hashed" and (known := ids.get("user_id", "").strip()):
            user["external_id"] = [sha256(known.encode()).hexdigest()]
        email = ids.get("email_sha256", "")
        if self.send_email == "hashed" and SHA256.fullmatch(email):
            user["em"] = [email.lower()]
        return user


def _worth(event: AnalyticsEvent) -> dict[str, Any]:
    if event.revenue is None:
        return {}
    worth: dict[str, Any] = {
        "value": event.revenue.number,
        "currency": event.revenue.currency.upper(),
        "order_id": event.key.removeprefix("payment:"),
    }
    return {"custom_data": worth}


def _page(landing: Any) -> dict[str, str]:
    """The page is not that of the purchase, which is Stripe's, but one of the verified domain."""
    known = isinstance(landing, str) and landing.startswith(("https://", "http://"))
    return {"event_source_url": landing} if known else {}


def _processing(region: str) -> dict[str, Any]:
    """Limited Data Use for people in the United States; 0 and 0: Meta finds out in which state.

    https://developers.facebook.com/docs/marketing-apis/data-processing-options
    """
    if not region.startswith("US"):
        return {}
    return {
        "data_processing_options": ["LDU"],
        "data_processing_options_country": 0,
        "data_processing_options_state": 0,
    }


def _by_code(error: Any, response: Response, said: str) -> Outcome | None:
    """What the Graph API's own code means, whatever the status is; None: nothing that we know."""
    if not isinstance(error, dict) or response.status is None or response.status >= 429:
        return None
    match error.get("code"):
        case int(code) if code in THROTTLED:
            return Retry(said, after=judging.throttle_wait(response), lane=True)
        case int(code) if code in TRANSIENT or error.get("is_transient") is True:
            return Retry(said)
        case int(code) if code in REFUSES_US:
            return Suspended(said, after=judging.PROBE_AFTER)
        case 100 if error.get("error_subcode") == UNKNOWN_PIXEL:
            return Suspended(said, after=judging.PROBE_AFTER)
        case 100:
            return Split(said)
        case _:
            return None
