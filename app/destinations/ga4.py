"""Google Analytics 4, Measurement Protocol, to Google or to a server-side Tag Manager container:
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference

Google answers 2xx to all that arrives and drops what is malformed without a word, so that is
looked for here. A web stream counts `purchase` once per `transaction_id`; anything else counts as
often as it arrives, and is therefore not sent again once it may have arrived: see `ambiguous`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent
from app.core.consent import Consent
from app.core.identity import CAMPAIGN
from app.core.outcome import Outcome, Rejected, Skipped, Split
from app.core.taxonomy import EVENTS
from app.destinations import judging
from app.destinations.base import Destination, Form, Payload, Request, Response, amount_in
from app.destinations.settings import Key, Url

HOSTS = {"us": "https://www.google-analytics.com", "eu": "https://region1.google-analytics.com"}
COLLECT = "/mp/collect"
JSON = {"Content-Type": "application/json"}
STANDARD = {"payment_succeeded": "purchase", "refund_created": "refund"}
# https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events
# under "Limitations"; what is beyond them vanishes. Inside these, no body comes near 130 kB.
MAX_PARAMS, MAX_ITEMS, MAX_TEXT, MAX_USER_ID = 25, 200, 100, 256
EVENT_NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,39}")
# https://support.google.com/analytics/answer/13316687, and the protocol's own list.
RESERVED_PREFIXES = ("firebase_", "ga_", "google_", "query_id")
RESERVED = (
    " ad_activeview ad_click ad_exposure ad_impression ad_query ad_reward adunit_exposure"
    " app_background app_clear_data app_exception app_install app_remove app_store_refund"
    " app_store_subscription_cancel app_store_subscription_renew app_update app_upgrade click"
    " dynamic_link_app_open dynamic_link_app_update dynamic_link_first_open error file_download"
    " first_open first_visit form_start form_submit in_app_purchase notification_dismiss"
    " notification_foreground notification_open notification_receive notification_send os_update"
    " page_view screen_view scroll session_start user_engagement video_progress video_start"
    " view_complete view_search_results "
)
# The number pairs themselves, or the whole cookies `_ga` and `_ga_<stream>`.
CLIENT_ID = re.compile(r"(?:GA[0-9]+\.[0-9-]+\.)?([0-9]{1,20}\.[0-9]{1,20})")
SESSION_ID = re.compile(
    r"([0-9]{1,20})|GS1\.[0-9]+\.([0-9]{1,20})(?:\..*)?|GS2\.[0-9]+\.s([0-9]{1,20})(?:\$.*)?"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MeasurementId = Annotated[
    str,
    Form(
        "G- and letters and digits, as the web stream's details show it",
        lambda text, _: re.fullmatch("G-[A-Z0-9]{4,20}", text) is not None,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Ga4(Destination):
    KIND = "ga4"
    TITLE = "Google Analytics 4"
    NEEDS = "`ga_client_id`"
    REFUNDS = (
        "`refund` with positive `value` and the payment's `transaction_id`; reversals, disputed"
        " money and corrections are events of their own with signed `value`"
    )
    DEDUPED_BY = "`transaction_id` of a `purchase`; nothing else is"
    DEDUPE_WINDOW = timedelta(hours=72)  # Google names none; nothing is sent later than that
    LATENESS = timedelta(hours=72)  # older ones are moved to that mark
    MAX_BATCH = 1  # a request is of one client
    ERASURE = "by hand: Google's User Deletion API wants a person's OAuth sign-in"

    measurement_id: MeasurementId
    api_secret: Key = field(repr=False)
    region: Literal["us", "eu"] = "us"
    url: Url = field(default="", repr=False)
    ambiguous: Literal["retry", "drop"] = "drop"  # of what is not deduped there

    def at_most_once(self, body: bytes) -> bool:
        [event] = orjson.loads(body)["events"]
        deduped = event["name"] == "purchase" and "transaction_id" in event["params"]
        return self.ambiguous == "drop" and not deduped

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        client = _parsed(CLIENT_ID, event.identity.first("ga_client_id"))
        if client is None:
            return Skipped("GA4 needs a ga_client_id of two numbers joined by a dot")
        name = self.called(event, STANDARD.get(event.name))
        if not _takes(name):
            return Skipped(judging.cut(f"GA4 takes no event name {name}"))
        transaction = _transaction(event)
        if event.name in STANDARD and not 0 < len(transaction or "") <= MAX_TEXT:
            return Skipped("GA4 needs a transaction_id: invoice_id, payment_intent_id or charge_id")
        body = {
            "client_id": client,
            "user_id": _user(event),
            "timestamp_micros": (event.occurred_at - EPOCH) // timedelta(microseconds=1),
            "consent": _consent(event.consent),
            "events": [{"name": name, "params": _params(event, transaction, dedupe_id)}],
        }
        present = {key: value for key, value in body.items() if value is not None}
        return orjson.dumps(present, option=orjson.OPT_SORT_KEYS)

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        [event] = orjson.loads(body)["events"]
        found = amount_in(event["params"], "value")
        refund = "transaction_id" in event["params"] and "items" not in event["params"]
        return (-found[0], found[1]) if found and refund else found

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        [payload] = batch
        return Request(self._keyed(self._endpoint()), JSON, payload.body)

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        outcome = judging.by_status(response, hide=self.secrets())
        if isinstance(outcome, Split):  # there is nothing to split
            outcome = Rejected(outcome.reason)
        return [outcome] * len(batch)

    def validation(self, batch: Sequence[Payload], now: float) -> Request | None:
        """What asks the validation server about the one payload of this batch: it counts nothing
        there. None: `url` is not built as Google's is. (A proxy may pass it on; a tagging server
        has none, and says so with a 4xx.)

        https://developers.google.com/analytics/devguides/collection/protocol/ga4/validating-events
        """
        [payload] = batch
        strict = b',"validation_behavior":"ENFORCE_RECOMMENDATIONS"}'
        parts = urlsplit(self._endpoint())
        if parts.path != COLLECT:
            return None
        endpoint = parts._replace(path=f"/debug{COLLECT}").geturl()
        return Request(self._keyed(endpoint), JSON, payload.body.removesuffix(b"}") + strict)

    def validation_problems(self, response: Response) -> list[str]:
        """What that server found, a line each; none: it would take the payload. It does not look
        at the API secret."""
        found = judging.json_object(response.text).get("validationMessages")
        if response.status != 200 or not isinstance(found, list):
            return [judging.reason(response, self.secrets()) or "no answer"]
        return [self._problem(one) for one in found]

    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets(), quote(self.api_secret, safe=""))  # as it is in the URL

    def warnings(self) -> list[str]:
        new = [self.prefix + max(EVENTS, key=len), *(pair.split("=", 1)[1] for pair in self.rename)]
        which = self.variable("rename" if _takes(new[0]) else "prefix")
        if all(_takes(name) for name in new):
            return []
        return [f"{which}: GA4 takes up to 40 letters, digits and _, and not its own names"]

    def _endpoint(self) -> str:
        return self.url or f"{HOSTS[self.region]}{COLLECT}"

    def _keyed(self, endpoint: str) -> str:
        """The endpoint with its keys, unless it brings a query of its own."""
        if urlsplit(endpoint).query:
            return endpoint
        keys = {"measurement_id": self.measurement_id, "api_secret": self.api_secret}
        return f"{endpoint.rstrip('?')}?{urlencode(keys, quote_via=quote)}"

    def _problem(self, message: Any) -> str:
        said = message if isinstance(message, dict) else {}
        words = [str(said.get(name, "")) for name in ("fieldPath", "description", "validationCode")]
        return judging.excerpt(" ".join(filter(None, words)) or str(message), self.secrets())


def _parsed(form: re.Pattern[str], text: str | None) -> str | None:
    found = form.fullmatch(text or "")
    return next(filter(None, found.groups()), None) if found else None


def _takes(name: str) -> bool:
    legal = EVENT_NAME.fullmatch(name) and not name.startswith(RESERVED_PREFIXES)
    return bool(legal) and f" {name} " not in RESERVED


def _user(event: AnalyticsEvent) -> str | None:
    """The user id, unless it is longer than GA4's or an e-mail address, which its terms forbid."""
    user = event.identity.first("user_id")
    return user if user and len(user) <= MAX_USER_ID and "@" not in user else None


def _consent(consent: Consent) -> dict[str, str] | None:
    if consent.ads is None:
        return None  # then what the browser said holds
    word = "GRANTED" if consent.ads else "DENIED"
    return {"ad_user_data": word, "ad_personalization": word}


def _transaction(event: AnalyticsEvent) -> str | None:
    """The invoice, or the payment where there is none: the same for a payment and its refunds."""
    if event.name == "payment_succeeded":
        return event.key.removeprefix("payment:")
    names = ("invoice_id", "payment_intent_id", "charge_id")
    return next((event.properties[name] for name in names if event.properties.get(name)), None)


def _params(event: AnalyticsEvent, transaction: str | None, dedupe_id: UUID) -> dict[str, Any]:
    """GA4's own params, then our properties as far as there is room; the campaign goes first."""
    told = event.conversion_id or ""
    params: dict[str, Any] = {"event_id": told if 0 < len(told) <= MAX_TEXT else str(dedupe_id)}
    if session := _parsed(SESSION_ID, event.identity.first("ga_session_id")):
        # Both, or it shows in no session; the least time, since nobody knows how long it was.
        params |= {"session_id": session, "engagement_time_msec": 1}
    if event.revenue is not None:
        params |= _worth(event, transaction)
    rest = {
        name: word
        for name in sorted(event.properties, key=_importance)
        if name not in params and (word := _word(name, event.properties[name])) is not None
    }
    return params | dict(list(rest.items())[: MAX_PARAMS - len(params)])


def _importance(name: str) -> tuple[bool, bool, str]:
    return name in CAMPAIGN, not name.startswith("utm_"), name


def _word(name: str, value: Any) -> str | int | float | None:
    """A param's value is a number or a text of 100 characters: a campaign's is cut, and one that
    may be an id is left out, since a cut id is another id."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return value
        case str() if name in CAMPAIGN:
            return value[:MAX_TEXT] or None
        case str():
            return value if 0 < len(value) <= MAX_TEXT else None
        case _:
            return None


def _worth(event: AnalyticsEvent, transaction: str | None) -> dict[str, Any]:
    """`value` is what our revenue is, with or without tax: by that it sums to the ledger."""
    assert event.revenue is not None
    value, tax = event.revenue.number, event.properties.get("tax")
    params: dict[str, Any] = {"currency": event.revenue.currency.upper()}
    if event.name not in STANDARD:
        return params | {"value": value}
    params |= {"value": abs(value), "transaction_id": transaction}
    if isinstance(tax, (int, float)):
        params["tax"] = abs(tax)
    if event.name == "payment_succeeded":
        params["items"] = _items(event.properties, abs(value))
    return params


def _items(properties: Mapping[str, Any], value: float) -> list[dict[str, Any]]:
    """What was sold, or one item for the whole: `purchase` needs one. A credit is none."""
    lines = [line for line in properties.get("items", ()) if line.get("amount", 0) >= 0]
    items = [item for line in lines if (item := _item(line))]
    if items:
        return items[:MAX_ITEMS]
    named = _named(properties) or {"item_name": "payment"}
    return [named | {"price": value, "quantity": 1}]


def _item(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """GA4's item revenue is price times quantity, so that is what the line bills."""
    named, amount, quantity = _named(line), line.get("amount", 0), line.get("quantity")
    if named is None:
        return None
    if not isinstance(quantity, int) or quantity < 1:
        quantity = 1  # newer APIs have parts of one
    return named | {"price": amount / quantity, "quantity": quantity}


def _named(about: Mapping[str, Any]) -> dict[str, Any] | None:
    ids = (about.get(name) or "" for name in ("product_id", "price_id"))
    product, price = (each if len(each) <= MAX_TEXT else "" for each in ids)
    if not product and not price:
        return None
    return {"item_id": product or price} | ({"item_variant": price} if product and price else {})
