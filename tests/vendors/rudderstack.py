"""A RudderStack data plane, as its documentation and its open gateway have it, and the regulations
of its control plane.

https://www.rudderstack.com/docs/api/http-api/
https://github.com/rudderlabs/rudder-server/blob/master/gateway/response/response.go
https://www.rudderstack.com/docs/api/user-suppression-api/
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.vendors.tracked import MAX_EVENT, Tracked, flaw, named, parsed, size, user_of

WRITE_KEY = "rudderstack-write-key"
API_TOKEN = "rudderstack-access-token"
DESTINATION_ID = "2FIKkByqn37FhzczP23eZmURciA"
MAX_BODY = 4_000 * 1024  # bytes of a batch


def configured(url: str) -> dict[str, str]:
    return {
        "write_key": WRITE_KEY,
        "url": f"{url}/v1/batch",
        "api_token": API_TOKEN,
        "api_url": f"{url}/v2/regulations",
        "destination_ids": DESTINATION_ID,
    }


@dataclass
class RudderStack(Tracked):
    """`suppressed`: user ids whose deletion was asked for, and whose events are dropped since."""

    suppressed: set[str] = field(default_factory=set)
    disabled: bool = False

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        match path:
            case "/v1/batch":
                return self._batch(headers, body)
            case "/v2/regulations":
                return self._regulation(headers, body)
            case _:
                return 404, "404 page not found\n"

    def _batch(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if refusal := self._refusal(headers, body):
            return refusal
        for call in parsed(body)["batch"]:
            # What the gateway lets through, the tools behind it still cannot use.
            if str(call.get("userId")) in self.suppressed:
                self.dropped.append("suppressed")
            elif wrong := flaw(call):
                self.dropped.append(wrong)
            else:
                self.take(call)
        return 200, "OK"

    def _refusal(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str] | None:
        """Why all of a request is refused: the gateway takes all of a batch or nothing."""
        user = user_of(headers)
        if user is None:
            return 401, "Failed to read writeKey from header\n"
        if user != WRITE_KEY:
            return 401, "Invalid Write Key\n"
        if self.disabled:
            return 404, "Source is disabled\n"
        if not body:
            return 400, "Request body is nil\n"
        try:
            calls = parsed(body)["batch"]
        except (ValueError, LookupError, TypeError):
            return 400, "Invalid JSON\n"
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            return 400, "Event is not a valid rudder event\n"
        if not all(named(call, "userId") or named(call, "anonymousId") for call in calls):
            return 400, "Request neither has anonymousId nor userId\n"
        if len(body) > MAX_BODY or any(size(call) > MAX_EVENT for call in calls):
            return 413, "Request size exceeds max limit\n"
        return None

    def _regulation(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if headers.get("authorization") != f"Bearer {API_TOKEN}":
            return 401, '{"message":"Unauthorized"}'
        try:
            asked = parsed(body)
            users = [str(user["userId"]) for user in asked["users"]]
        except (ValueError, LookupError, TypeError):
            return 400, '{"message":"users must hold a userId each"}'
        if not _fits(asked) or not users:
            return 400, '{"message":"a regulation needs its type, destinations and users"}'
        self.suppressed.update(users)
        return 200, json.dumps([{"regulationType": asked["regulationType"], "canceled": False}])


def _fits(asked: Mapping[str, Any]) -> bool:
    kind = asked.get("regulationType")
    return kind == "suppress" or (
        kind == "suppress_with_delete" and bool(asked.get("destinationIds"))
    )
