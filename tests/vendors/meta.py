"""Meta's Conversions API as documented:
https://developers.facebook.com/docs/marketing-api/conversions-api/using-the-api

A request is taken whole or not at all, and a refusal is a 400 in the Graph API's words.
"""

import json
import re
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

PIXEL_ID, ACCESS_TOKEN = "1234567890123456", "EAAB" + "t0k3n" * 40
DAY = 86_400
PATH = re.compile(rf"/v\d+\.\d/{PIXEL_ID}/events")
SOURCES = {"email", "website", "app", "phone_call", "chat", "physical_store", "system_generated"}
SOURCES |= {"business_messaging", "other"}
HASHED = {"em", "ph", "external_id"}
PLAIN = {"fbp": r"fb\.\d\.\d+\..+", "fbc": r"fb\.\d\.\d+\..+"}
EVENT = {"event_name", "event_time", "event_id", "action_source", "user_data", "custom_data"}
EVENT |= {"event_source_url", "opt_out", "data_processing_options"}
EVENT |= {"data_processing_options_country", "data_processing_options_state"}
Refusal = tuple[int | None, str]  # subcode where one is known, what Meta tells the user


def configured(url: str) -> dict[str, str]:
    """The options with which the bridge reaches a stand-in served at `url`."""
    return {
        "kind": "meta",
        "pixel_id": PIXEL_ID,
        "access_token": ACCESS_TOKEN,
        "url": f"{url}/v26.0/{PIXEL_ID}/events",
        "send_user_id": "hashed",
    }


class Meta:
    def __init__(self) -> None:
        self.dropped: list[str] = []  # stays empty: Meta says what it does not take
        self.degraded: list[str] = []  # taken, but perhaps of no use for ads: fields that it wants
        self.events: list[dict[str, Any]] = []
        self._seen: dict[tuple[str, str], float] = {}

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if not PATH.fullmatch(path):
            return _refused("Unsupported post request. Object does not exist", 100, 33)
        try:
            sent = json.loads(body)
        except ValueError:
            sent = None
        if not isinstance(sent, dict):
            return _refused("Invalid parameter", 100)
        if sent.get("access_token") != ACCESS_TOKEN:
            return _refused("Invalid OAuth access token - Cannot parse access token", 190)
        events = sent.get("data")
        if not isinstance(events, list) or not 1 <= len(events) <= 1000:
            return _refused("(#100) param data must be an array of 1 to 1000 events", 100)
        for event in events:
            if refusal := _wrong(event):
                return _refused("Invalid parameter", 100, *refusal)
        for event in events:
            self._take(event)
        return 200, json.dumps({"events_received": len(events), "messages": [], "fbtrace_id": "A"})

    def revenue(self) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for event in self.events:
            if worth := event.get("custom_data"):
                currency = worth["currency"].lower()
                sums[currency] = sums.get(currency, Decimal(0)) + Decimal(str(worth["value"]))
        return sums

    def counted(self) -> int:
        return len(self.events)

    def _take(self, event: dict[str, Any]) -> None:
        key, now = (event["event_name"], event.get("event_id", "")), time.time()
        if key in self._seen and now - self._seen[key] < 2 * DAY:
            return
        self._seen[key] = now
        self.events.append(event)
        if event["action_source"] == "website":
            wanted = {"event_source_url": event, "client_user_agent": event["user_data"]}
            self.degraded += [name for name, where in wanted.items() if name not in where]


def _refused(
    message: str, code: int, subcode: int | None = None, told: str = ""
) -> tuple[int, str]:
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code}
    error |= {"error_subcode": subcode} if subcode else {}
    error |= {"is_transient": False, "error_user_msg": told} if told else {}
    return 400, json.dumps({"error": error | {"fbtrace_id": "A1b2C3"}})


def _wrong(event: Any) -> Refusal | None:
    """The first thing that is wrong with an event."""
    if not isinstance(event, dict) or not event.get("event_name"):
        return None, "event_name is missing"
    if unknown := event.keys() - EVENT:
        return None, f"unknown {sorted(unknown)}"
    moment = event.get("event_time")
    if type(moment) is not int or not time.time() - 7 * DAY < moment < time.time() + 60:
        return 2804003, "The timestamp for this event is too far in the past, or no seconds"
    if event.get("action_source") not in SOURCES:
        return None, "action_source is none"
    if not event.get("event_source_url", "https://").startswith(("http://", "https://")):
        return None, "event_source_url is no URL"
    user = event.get("user_data")
    if not isinstance(user, dict) or not _identifies(user):
        return 2804050, "This event has too little customer information"
    worth = event.get("custom_data", {})
    priced = type(worth.get("value")) in (int, float) and worth["value"] >= 0
    if event["event_name"] == "Purchase" and not (priced and _currency(worth)):
        return None, "Purchase needs a value and a currency"
    return None


def _identifies(user: Mapping[str, Any]) -> bool:
    hashed = [text for name in HASHED & user.keys() for text in user[name]]
    plain = {name: form for name, form in PLAIN.items() if name in user}
    fits = all(re.fullmatch("[0-9a-f]{64}", text) for text in hashed)
    fits = fits and all(re.fullmatch(form, user[name]) for name, form in plain.items())
    return fits and bool(hashed or plain)


def _currency(worth: Mapping[str, Any]) -> bool:
    return re.fullmatch("[A-Za-z]{3}", str(worth.get("currency"))) is not None
