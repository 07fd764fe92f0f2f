"""Amplitude's servers: https://amplitude.com/docs/apis/analytics/http-v2, its /batch, and for
deletions https://amplitude.com/docs/apis/analytics/user-privacy."""

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from app.demo.strict import Verdict, amplitude

API_KEY = "0123456789abcdef0123456789abcdef"
SECRET_KEY = "fedcba9876543210fedcba9876543210"
WINDOW = 7 * 86_400  # seconds in which a repeated insert_id of a device is dropped
MOST_USERS = 100


def configured(url: str) -> dict[str, str]:
    """The settings of a destination that reaches a stand-in at this address."""
    return {
        "api_key": API_KEY,
        "secret_key": SECRET_KEY,
        "url": f"{url}/2/httpapi",
        "delete_url": f"{url}/api/2/deletions/users",
    }


class AmplitudeServer:
    """`users`: the properties of each user or device, as they were told last."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.users: dict[str, dict[str, Any]] = {}
        self._first_seen: dict[tuple[str, str], float] = {}

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if path == "/api/2/deletions/users":
            return self._delete(headers, body)
        if path not in {"/2/httpapi", "/batch"}:
            return 404, json.dumps({"code": 404, "error": "Invalid request path"})
        verdict = amplitude(body, API_KEY, time.time())
        if headers.get("content-type") != "application/json":
            verdict = Verdict(400, {"code": 400, "error": "Invalid JSON request body"})
        for seen in verdict.events:
            self._count(json.loads(seen.form, parse_float=Decimal), time.time())
        return verdict.status, json.dumps(verdict.answer)

    def revenue(self) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for event in self.events:
            if "revenue" in event:
                currency = event["currency"].lower()
                sums[currency] = sums.get(currency, Decimal(0)) + Decimal(str(event["revenue"]))
        return sums

    def counted(self) -> int:
        return len(self.events)

    def _count(self, event: dict[str, Any], now: float) -> None:
        """Once per insert_id and device; the properties of the user count all the same."""
        key = event.get("insert_id", ""), event.get("device_id", "")
        first = self._first_seen.get(key)
        if not key[0] or first is None or now - first > WINDOW:
            self._first_seen[key] = now
            self.events.append(event)
        whose = event.get("user_id") or event["device_id"]
        self.users.setdefault(whose, {}).update(event.get("user_properties", {}))

    def _delete(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        account = b64encode(f"{API_KEY}:{SECRET_KEY}".encode()).decode()
        if headers.get("authorization") != f"Basic {account}":
            return 401, json.dumps({"error": {"http_code": 401, "type": "unauthorized"}})
        asked = json.loads(body)
        users = asked.get("user_ids", [])
        unknown = [each for each in users if each not in self.users]
        lenient = asked.get("ignore_invalid_id") == "True"
        if not 0 < len(users) <= MOST_USERS or (unknown and not lenient):
            return 400, json.dumps({"error": {"http_code": 400, "type": "bad_request"}})
        self.users = {name: it for name, it in self.users.items() if name not in users}
        self.events = [event for event in self.events if event.get("user_id") not in users]
        rows = [{"user_id": each, "requester": asked.get("requester", "")} for each in users]
        job = {"day": "2026-12-01", "status": "staging", "amplitude_ids": rows}
        return 200, json.dumps([job])
