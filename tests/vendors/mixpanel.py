"""Mixpanel's servers: https://docs.mixpanel.com/troubleshooting/errors/400-bad-request and, for
deletions, https://developer.mixpanel.com/docs/managing-personal-data. Simplified ID Merge."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROJECT_TOKEN = "0123456789abcdef0123456789abcdef"
GDPR_TOKEN = "gdprTokenOfTheTests"
MAX_EVENTS, MAX_BYTES, MAX_TEXT = 2_000, 2_097_152, 255
YEAR_1971 = 31_536_000
NOBODY = {"anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "<nil>"}
NOBODY |= {"0", "-1", "true", "false", "[]", "{}", "00000000-0000-0000-0000-000000000000"}
Key = tuple[str, str, int, str]  # event, distinct_id, time in ms, $insert_id


def configured(url: str) -> dict[str, str]:
    """The settings of a destination that reaches a stand-in at this address."""
    return {
        "project_token": PROJECT_TOKEN,
        "gdpr_token": GDPR_TOKEN,
        "url": f"{url}/import",
        "delete_url": f"{url}/api/app/data-deletions/v3.0/",
    }


class Mixpanel:
    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.events: dict[Key, dict[str, Any]] = {}
        self._users: dict[str, str] = {}  # whose a device became: for good

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        url = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path == "/import":
            return self._import(query, headers, body)
        if url.path == "/api/app/data-deletions/v3.0/":
            return self._delete(query, headers, body)
        return _said(404, "Not Found", "no such path")

    def revenue(self) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for properties in self.events.values():
            if "revenue" in properties:
                currency = properties["currency"].lower()
                amount = Decimal(str(properties["revenue"]))
                sums[currency] = sums.get(currency, Decimal(0)) + amount
        return sums

    def counted(self) -> int:
        return len(self.events)

    def people(self) -> set[str]:
        """Whose events these are, once devices are resolved to the users that they became."""
        return {self._users.get(distinct, distinct) for _, distinct, _, _ in self.events}

    def _import(
        self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str]:
        account = b64encode(f"{PROJECT_TOKEN}:".encode()).decode()
        if headers.get("authorization") != f"Basic {account}":
            return _said(401, "Unauthorized", "Invalid credentials")
        if len(body) > MAX_BYTES:
            words = f"request exceeds max limit of {MAX_BYTES} bytes"
            return _said(413, "Request Entity Too Large", words)
        try:
            events = json.loads(body)
        except ValueError:
            events = None
        is_json = headers.get("content-type") == "application/json"
        if not is_json or not isinstance(events, list) or not events:
            return _said(400, "Bad Request", "could not parse the events")
        if len(events) > MAX_EVENTS:
            return _said(413, "Request Entity Too Large", f"more than {MAX_EVENTS} events")
        return self._take(events, strict=query.get("strict") == "1")

    def _take(self, events: list[Any], *, strict: bool) -> tuple[int, str]:
        failed = []
        for index, event in enumerate(events):
            problem = _problem(event)
            if problem is None:
                self._count(event)
                continue
            field, message = problem
            name = event["properties"].get("$insert_id", "") if _is_shaped(event) else ""
            failed.append({"index": index, "insert_id": name, "field": field, "message": message})
        imported = len(events) - len(failed)
        if not failed or not strict:
            self.dropped += [f"{each['field']}: {each['message']}" for each in failed]
            return 200, json.dumps({"code": 200, "num_records_imported": imported, "status": "OK"})
        return _said(
            400,
            "Bad Request",
            "some data points in the request failed validation",
            failed_records=failed,
            num_records_imported=imported,
        )

    def _count(self, event: dict[str, Any]) -> None:
        """Strings are cut, the ids resolve to a distinct_id, and the last of equals stays."""
        properties = {name: _cut(value) for name, value in event["properties"].items()}
        user, device = properties.get("$user_id"), properties.get("$device_id")
        distinct = user or (f"$device:{device}" if device else properties["distinct_id"])
        if user and device:
            self._users.setdefault(f"$device:{device}", user)
        moment = properties["time"]
        at = moment if moment > 10**11 else moment * 1000
        self.events[event["event"], distinct, at, properties["$insert_id"]] = properties

    def _delete(
        self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str]:
        bearer = headers.get("authorization") == f"Bearer {GDPR_TOKEN}"
        if not bearer or query.get("token") != PROJECT_TOKEN:
            return _said(401, "Unauthorized", "Invalid credentials")
        asked = json.loads(body)
        named = asked["distinct_ids"]
        if asked.get("compliance_type", "GDPR") not in {"GDPR", "CCPA"} or len(named) > 1_999:
            return _said(400, "Bad Request", "no such deletion")
        self.events = {key: it for key, it in self.events.items() if key[1] not in named}
        task = {
            "status": "PENDING",
            "tracking_id": "1583792934719392965",
            "compliance_type": "gdpr",
            "distinct_id_count": len(named),
        }
        return 200, json.dumps({"status": "ok", "results": [task]})


def _said(code: int, status: str, error: str, **more: Any) -> tuple[int, str]:
    return code, json.dumps({"code": code, "error": error, "status": status, **more})


def _is_shaped(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get("properties"), dict)


def _problem(event: Any) -> tuple[str, str] | None:
    """The first thing that strict mode has against an event: the field, and in words."""
    if not _is_shaped(event) or set(event) != {"event", "properties"}:
        return "event", "an event holds event and properties, and nothing else"
    properties, name = event["properties"], event["event"]
    checks = [
        ("event", isinstance(name, str) and name != "", "must be a name"),
        ("properties.time", _is_time(properties.get("time")), "must be since epoch"),
        ("properties.distinct_id", _is_distinct(properties.get("distinct_id")), "not allowed"),
        ("properties.$insert_id", _is_insert_id(properties.get("$insert_id")), "not allowed"),
        ("properties", len(properties) < MAX_TEXT, "must have fewer than 255 properties"),
        ("properties", len(json.dumps(event)) < 1_000_000, "must be smaller than 1MB"),
        *((f"properties.{n}", _is_small(v), "fewer than 255") for n, v in properties.items()),
    ]
    return next(
        ((field, f"'{field}' is invalid: {words}") for field, fine, words in checks if not fine),
        None,
    )


def _is_time(value: Any) -> bool:
    if type(value) is not int:
        return False
    seconds = value / 1000 if value > 10**11 else value
    return YEAR_1971 <= seconds <= time.time() + 3_600


def _is_distinct(value: Any) -> bool:
    return isinstance(value, str) and value.lower() not in NOBODY


def _is_insert_id(value: Any) -> bool:
    return _is_distinct(value) and re.fullmatch("[A-Za-z0-9-]{1,36}", value) is not None


def _is_small(value: Any) -> bool:
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return len(value) < MAX_TEXT and all(map(_is_small, inner))
    return True


def _cut(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value
