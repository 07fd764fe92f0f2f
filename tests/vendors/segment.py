"""Segment's Tracking API and its Public API's regulations, as documented.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
https://docs.segmentapis.com/tag/Deletion-and-Suppression
The documentation has no text of a 400's answer; ours says what is wrong.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.vendors.tracked import Tracked, flaw, parsed, user_of

WRITE_KEY = "segment-write-key"
API_TOKEN = "segment-api-token"
MAX_BODY = 500 * 1000  # bytes of a batch
MAX_EVENTS = 2_500  # of a batch; beyond that it answers 200 and takes none
MAX_SUBJECTS = 5_000
REGULATIONS = {"DELETE_INTERNAL", "DELETE_ONLY", "SUPPRESS_ONLY", "SUPPRESS_WITH_DELETE"}
REGULATIONS |= {"SUPPRESS_WITH_DELETE_INTERNAL", "UNSUPPRESS"}
TAKEN = '{"success":true}'


def configured(url: str) -> dict[str, str]:
    return {
        "write_key": WRITE_KEY,
        "url": f"{url}/v1/batch",
        "api_token": API_TOKEN,
        "api_url": f"{url}/regulations",
    }


@dataclass
class Segment(Tracked):
    """`regulated`: user ids whose deletion was asked for."""

    regulated: list[str] = field(default_factory=list)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        match path:
            case "/v1/batch":
                return self._batch(headers, body)
            case "/regulations":
                return self._regulation(headers, body)
            case _:
                return 404, "not found"

    def _batch(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if len(body) > MAX_BODY:
            return _refused("the batch is larger than 500 KB")
        try:
            request = parsed(body)
        except ValueError:
            return _refused("malformed JSON")
        calls = request.get("batch") if isinstance(request, dict) else None
        if not isinstance(calls, list) or headers.get("content-type") != "application/json":
            return _refused("no JSON batch")
        # All the rest is 200, whatever becomes of it.
        if user_of(headers) != WRITE_KEY and request.get("writeKey") != WRITE_KEY:
            self.dropped += ["no source has this write key"] * len(calls)
        elif len(calls) > MAX_EVENTS:
            self.dropped += ["more than 2,500 events"] * len(calls)
        else:
            for call in calls:
                self._one(call)
        return 200, TAKEN

    def _one(self, call: Any) -> None:
        if wrong := flaw(call):
            self.dropped.append(wrong)
        else:
            self.take(call)

    def _regulation(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if headers.get("authorization") != f"Bearer {API_TOKEN}":
            return 401, _errors("unauthorized")
        try:
            asked = parsed(body)
            subjects = asked["subjectIds"]
            fits = asked["regulationType"] in REGULATIONS and asked["subjectType"] == "USER_ID"
        except (ValueError, LookupError, TypeError):
            return 422, _errors("validation")
        if not fits or not isinstance(subjects, list) or not 0 < len(subjects) <= MAX_SUBJECTS:
            return 422, _errors("validation")
        self.regulated += subjects
        return 200, '{"data":{"regulateId":"2N4vZ5Xk"}}'


def _refused(why: str) -> tuple[int, str]:
    return 400, json.dumps({"success": False, "message": why})


def _errors(kind: str) -> str:
    return json.dumps({"errors": [{"type": kind}]})
