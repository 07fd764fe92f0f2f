"""PostHog's servers: https://posthog.com/docs/api/capture, with the refusals of its capture
service (github.com/PostHog/posthog, rust/capture), and https://posthog.com/docs/api/persons."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

API_KEY = "phc_keyOfTheTests"
PERSONAL_KEY = "phx_keyOfTheTests"
PROJECT_ID = "4711"
MAX_BODY, MAX_EVENT, MAX_ID = 20_000_000, 1_000_000, 200
NOBODY = {"anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email"}
NOBODY |= {"undefined", "true", "false", "[object object]", "nan", "none", "null", "0", ""}
Key = tuple[str, str, str, str]  # uuid, event, timestamp, distinct_id


def configured(url: str) -> dict[str, str]:
    """The settings of a destination that reaches a stand-in at this address."""
    return {
        "api_key": API_KEY,
        "personal_key": PERSONAL_KEY,
        "project_id": PROJECT_ID,
        "url": f"{url}/batch/",
        "delete_url": f"{url}/api/projects/{PROJECT_ID}/persons/bulk_delete/",
    }


class PostHog:
    """`over_quota`: the project's billing limit is reached, so what is answered 200 is dropped.

    `profiles`: the persons that there are, by distinct_id, with their properties.
    `twins`: events of one name, time and person under two uuids. They are two by the documentation,
    and yet its deduplicator compares these three alone.
    """

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.events: dict[Key, dict[str, Any]] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.twins: list[str] = []
        self.over_quota = False

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        where = urlsplit(path).path
        if where.rstrip("/") == "/batch":
            return self._batch(body)
        if where.rstrip("/") == f"/api/projects/{PROJECT_ID}/persons/bulk_delete":
            return self._delete(headers, body)
        return 404, "not found"

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

    def _batch(self, body: bytes) -> tuple[int, str]:
        if len(body) > MAX_BODY:
            return 413, "maximum event size exceeded"
        try:
            asked = json.loads(body)
            key, events = asked["api_key"], asked["batch"]
            for event in events:
                UUID(event["uuid"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return 400, f"failed to parse request: {error}"
        refusal = _refused_key(key) or _refused_event(events)
        if refusal:
            return refusal
        if key != API_KEY:  # the edge does not look keys up
            self.dropped += [f"unknown key: {event['event']}" for event in events]
        elif self.over_quota:
            self.dropped += [f"over quota: {event['event']}" for event in events]
            return 200, '{"status":"Ok","quota_limited":["events"]}'
        else:
            for event in events:
                self._count(event, asked.get("sent_at"))
        return 200, '{"status":"Ok"}'

    def _count(self, event: dict[str, Any], sent_at: str | None) -> None:
        name, properties = event["event"], event.get("properties", {})
        distinct = str(event["distinct_id"])[:MAX_ID]
        timestamp = _moment(event.get("timestamp"), sent_at)
        key = (str(UUID(event["uuid"])), name, timestamp, distinct)
        twins = {each[0] for each in self.events if each[1:] == key[1:]}
        if len(json.dumps(event)) > MAX_EVENT:
            self.dropped.append(f"over 1 MB: {name}")
        elif distinct.strip().lower() in NOBODY:
            self.dropped.append(f"an id that is nobody's: {name}")
        else:
            self.twins += [name] * bool(twins - {key[0]})
            self.events[key] = properties
            if properties.get("$process_person_profile", True):
                self.profiles.setdefault(distinct, {}).update(properties.get("$set", {}))

    def _delete(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """Deletes persons and their events. What has no person is not found."""
        if headers.get("authorization") != f"Bearer {PERSONAL_KEY}":
            return 401, '{"type":"authentication_error","code":"authentication_failed"}'
        asked = json.loads(body)
        named = asked.get("distinct_ids", [])
        if not 0 < len(named) <= 1_000:
            return 400, '{"type":"validation_error","code":"invalid_input"}'
        found = [each for each in named if self.profiles.pop(each, None) is not None]
        if asked.get("delete_events"):
            self.events = {key: it for key, it in self.events.items() if key[3] not in found}
        answer = {"persons_found": len(found), "persons_deleted": len(found)}
        answer |= {"events_queued_for_deletion": asked.get("delete_events", False)}
        answer |= {"recordings_queued_for_deletion": asked.get("delete_recordings", False)}
        return 202, json.dumps(answer)


def _refused_key(key: Any) -> tuple[int, str] | None:
    if not isinstance(key, str):
        return 400, "failed to parse request: api_key"
    checks = [
        ("empty", key != ""),
        ("too_long", len(key) <= 64),
        ("not_ascii", key.isascii()),
        ("personal_api_key", not key.startswith("phx_")),
        ("null_byte", "\0" not in key),
    ]
    reason = next((reason for reason, fine in checks if not fine), None)
    return (401, f"API key is not valid: {reason}") if reason else None


def _refused_event(events: Any) -> tuple[int, str] | None:
    """One event that will not do fails the whole request."""
    if not events:
        return 400, "request holds no event"
    if any(not event.get("event") for event in events):
        return 400, "event submitted with an empty event name"
    if any(not event.get("distinct_id") for event in events):
        return 400, "event submitted without a distinct_id"
    return None


def _moment(timestamp: Any, sent_at: str | None) -> str:
    """When it takes an event to have happened: now, if the timestamp is none; shifted by how far
    the sender's clock is off, if it says when it sent it."""
    now = datetime.now(UTC)
    try:
        at = datetime.fromisoformat(timestamp)
    except (ValueError, TypeError):
        return now.isoformat()
    if sent_at:
        at += now - datetime.fromisoformat(sent_at)
    return at.astimezone(UTC).isoformat()
