"""Google Analytics' Measurement Protocol of a web stream, and its validation server, as documented:
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference

Whatever arrives is answered 204; what is malformed is not counted. A container of server-side Tag
Manager with a Measurement Protocol client takes the same requests.
"""

import json
import re
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

MEASUREMENT_ID, API_SECRET = "G-TEST1234", "test-Secret_of-ga4"
HOURS_72 = 72 * 3600
NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,39}")
RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
RESERVED = {"session_start", "first_visit", "first_open", "user_engagement", "in_app_purchase"}
RESERVED |= {"page_view", "click", "error", "scroll", "app_store_refund", "screen_view"}
CONSENT = {"ad_user_data", "ad_personalization"}
BODY = {"client_id", "user_id", "timestamp_micros", "consent", "events", "user_properties"}
BODY |= {"validation_behavior", "user_data", "ip_override", "user_location", "device"}
Problem = tuple[str, str, str]  # field, what is wrong, code


def configured(url: str) -> dict[str, str]:
    """The options with which the bridge reaches a stand-in served at `url`."""
    return {
        "kind": "ga4",
        "measurement_id": MEASUREMENT_ID,
        "api_secret": API_SECRET,
        "url": f"{url}/mp/collect",
    }


class Ga4:
    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.redated: list[str] = []  # counted, but at the mark of 72 hours
        self.events: list[dict[str, Any]] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        target = urlsplit(path)
        if target.path == "/debug/mp/collect":
            _, problems = read(body)
            keys = ("fieldPath", "description", "validationCode")
            told = [dict(zip(keys, each, strict=True)) for each in problems]
            return 200, json.dumps({"validationMessages": told})
        if target.path != "/mp/collect":
            return 404, ""
        self._take(parse_qs(target.query), body)
        return 204, ""

    def revenue(self) -> dict[str, Decimal]:
        """The event value by currency, refunds subtracted: what a report over `value` sums to.
        GA4's own revenue metrics leave the custom events out."""
        sums: dict[str, Decimal] = {}
        for event in self.events:
            params = event["params"]
            if "value" in params:
                value = Decimal(str(params["value"])) * (-1 if event["name"] == "refund" else 1)
                currency = params["currency"].lower()
                sums[currency] = sums.get(currency, Decimal(0)) + value
        return sums

    def counted(self) -> int:
        return len(self.events)

    def _take(self, query: Mapping[str, list[str]], body: bytes) -> None:
        keys = {"measurement_id": [MEASUREMENT_ID], "api_secret": [API_SECRET]}
        if query != keys:
            self.dropped.append("unknown measurement_id or api_secret")
            return
        sent, problems = read(body)
        if problems:
            self.dropped += [" ".join(each) for each in problems]
            return
        for event in sent["events"]:
            if event["name"] == "purchase" and event["params"]["transaction_id"] in self._known():
                continue  # a web stream counts it once
            if sent.get("timestamp_micros", 2**63) < (time.time() - HOURS_72) * 1e6:
                self.redated.append(event["name"])
            self.events.append(event)

    def _known(self) -> set[str]:
        bought = [event for event in self.events if event["name"] == "purchase"]
        return {event["params"]["transaction_id"] for event in bought}


def read(body: bytes) -> tuple[dict[str, Any], list[Problem]]:
    """A request's JSON, and all that is wrong with it."""
    try:
        sent = json.loads(body)
    except ValueError:
        return {}, [("", "no JSON", "VALUE_INVALID")]
    if not isinstance(sent, dict) or not isinstance(sent.get("events"), list):
        return {}, [("events", "is required", "VALUE_REQUIRED")]
    problems = [(name, "is unknown", "NAME_INVALID") for name in sent.keys() - BODY]
    if len(body) >= 130_000:
        problems.append(("", "the body is too long", "EXCEEDED_MAX_ENTITIES"))
    if not re.fullmatch(r"\d+\.\d+", str(sent.get("client_id"))):
        problems.append(("client_id", "must be two numbers", "VALUE_INVALID"))
    if len(str(sent.get("user_id", ""))) > 256:
        problems.append(("user_id", "is too long", "VALUE_OUT_OF_BOUNDS"))
    if not _micros(sent.get("timestamp_micros", 10**15)):
        problems.append(("timestamp_micros", "must be microseconds", "VALUE_INVALID"))
    consent = sent.get("consent", {})
    if consent.keys() - CONSENT or set(consent.values()) - {"GRANTED", "DENIED"}:
        problems.append(("consent", "must be GRANTED or DENIED", "VALUE_INVALID"))
    if not 1 <= len(sent["events"]) <= 25:
        problems.append(("events", "must be 1 to 25", "EXCEEDED_MAX_ENTITIES"))
    return sent, problems + [each for event in sent["events"] for each in _event(event)]


def _micros(value: Any) -> bool:
    return type(value) is int and 10**15 <= value < 10**16


def _event(event: Mapping[str, Any]) -> list[Problem]:
    name, params = str(event.get("name")), event.get("params", {})
    problems: list[Problem] = []
    if not NAME.fullmatch(name):
        problems.append(("events", f"invalid name [{name}]", "NAME_INVALID"))
    if name in RESERVED or name.startswith(RESERVED_PREFIXES):
        problems.append(("events", f"reserved name [{name}]", "NAME_RESERVED"))
    if len(params) > 25:
        problems.append(("events.params", "more than 25", "EXCEEDED_MAX_ENTITIES"))
    problems += [each for key, value in params.items() for each in _param(key, value)]
    required = {"purchase": {"transaction_id", "items"}, "refund": {"transaction_id"}}
    for key in required.get(name, set()) - {key for key, value in params.items() if value}:
        problems.append((f"events.params.{key}", "is required", "VALUE_REQUIRED"))
    if "value" in params and not re.fullmatch("[A-Z]{3}", str(params.get("currency"))):
        problems.append(("events.params.currency", "is required", "VALUE_REQUIRED"))
    if name in required and not params.get("value", 0) >= 0:
        problems.append(("events.params.value", "is negative", "VALUE_OUT_OF_BOUNDS"))
    return problems


def _param(key: str, value: Any) -> list[Problem]:
    where = f"events.params.{key}"
    problems: list[Problem] = []
    if not NAME.fullmatch(key) or key.startswith(RESERVED_PREFIXES):
        problems.append((where, "bad name", "NAME_INVALID"))
    if key == "session_id" and not re.fullmatch(r"\d+", str(value)):
        problems.append((where, "is no number", "VALUE_INVALID"))
    if key == "items":
        return problems + [each for item in value for each in _item(item)] + _many(where, value)
    if type(value) not in (str, int, float):
        problems.append((where, "is neither text nor number", "VALUE_INVALID"))
    if isinstance(value, str) and not 0 < len(value) <= 100:
        problems.append((where, "must have 1 to 100 characters", "VALUE_OUT_OF_BOUNDS"))
    return problems


def _many(where: str, items: list[Any]) -> list[Problem]:
    return [(where, "more than 200", "EXCEEDED_MAX_ENTITIES")] if len(items) > 200 else []


def _item(item: Mapping[str, Any]) -> list[Problem]:
    if item.get("item_id") or item.get("item_name"):
        return []
    return [("events.params.items", "item_id or item_name is required", "VALUE_REQUIRED")]
