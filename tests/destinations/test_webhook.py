"""What your own endpoint is sent, how it is signed, and what its answers mean."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from standardwebhooks import Webhook as Receiver

from app.core.consent import Consent
from app.core.outcome import Delivered, Outcome, Rejected, Retry, Suspended
from app.destinations.base import Payload, Response
from app.destinations.webhook import Webhook
from tests.destinations.example import DEDUPE_ID, SECRET, an_event

URL = "https://example.com/hooks/token"
OTHER_SECRET = "whsec_" + "QUFB" * 8
WEBHOOK = Webhook(name="webhook", url=URL, secret=SECRET)
NOW = datetime.now(UTC).timestamp()


def judged(status: int | None, text: str = "", headers: Mapping[str, str] = {}) -> Outcome:
    [outcome] = WEBHOOK.judge(Response(status, text, headers), [Payload(DEDUPE_ID, b"{}")])
    return outcome


def test_everything_known_is_in_the_body() -> None:
    body = WEBHOOK.render(an_event(), DEDUPE_ID)

    assert isinstance(body, bytes)
    assert orjson.loads(body) == {
        "type": "payment_succeeded",
        "timestamp": "2025-03-01T12:00:00Z",
        "data": {
            "id": str(an_event().id),
            "key": "payment:in_1",
            "account": "acct_1",
            "livemode": True,
            "user_id": "user_7",
            "device_id": "dev_7",
            "session_id": None,
            "ids": {"user_id": "user_7", "device_id": "dev_7"},
            "identity_fallback": False,
            "consent": None,
            "conversion_id": None,
            "properties": {"product_id": "prod_pro"},
            "revenue": {"minor": 1299, "currency": "usd", "major": "12.99"},
            "schema_version": 2,
        },
    }


def test_what_the_visitor_agreed_to_and_the_browsers_own_id_go_along() -> None:
    consent = Consent(analytics=True, ads=False, region="DE")
    told = replace(an_event(), consent=consent, conversion_id="web-1")
    body = WEBHOOK.render(told, DEDUPE_ID)

    assert isinstance(body, bytes)
    data = orjson.loads(body)["data"]
    assert (data["consent"], data["conversion_id"]) == (
        "analytics=granted,ads=denied,region=DE",
        "web-1",
    )


def test_an_event_without_money_says_null() -> None:
    body = WEBHOOK.render(an_event(revenue=None), DEDUPE_ID)

    assert isinstance(body, bytes)
    assert orjson.loads(body)["data"]["revenue"] is None


def test_the_signature_is_the_specifications() -> None:
    """Computed apart from this code, by a script that also makes the specification's vector."""
    payload = Payload(UUID(int=1), b'{"test": 2432232314}')
    request = WEBHOOK.request([payload], now=1614265330.9)

    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "webhook-id": "00000000-0000-0000-0000-000000000001",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,iCxWDzOB1td6pu5wFuJotaWTEKkcYodMae2NqIIaffg=",
    }
    assert (request.url, request.body) == (URL, b'{"test": 2432232314}')


def test_while_secrets_rotate_either_receiver_accepts() -> None:
    both = Webhook(name="webhook", url=URL, secret=f"{SECRET}, {OTHER_SECRET}")
    request = both.request([Payload(DEDUPE_ID, b'{"a":"\xc3\xa9"}')], now=NOW)

    for secret in (SECRET, OTHER_SECRET):
        assert Receiver(secret).verify(request.body, dict(request.headers)) == {"a": "é"}


def test_the_id_stays_and_the_time_moves_between_tries() -> None:
    payload = Payload(DEDUPE_ID, b"{}")
    first, second = (WEBHOOK.request([payload], now).headers for now in (1.0, 2.0))

    assert first["webhook-id"] == second["webhook-id"] == str(DEDUPE_ID)
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1", "2")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert judged(status, "whatever") == Delivered()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_body_is_rejected_with_the_receivers_words(status: int) -> None:
    assert judged(status, "no such plan") == Rejected(f"{status} no such plan")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_in_trouble_slows_the_lane(status: int) -> None:
    assert judged(status) == Retry(f"{status}", after=30.0, lane=True)
    assert judged(status, headers={"retry-after": "9"}) == Retry(f"{status}", after=9.0, lane=True)


@pytest.mark.parametrize("status", [404, 405, 408, 425, 500])
def test_other_failures_are_tried_later(status: int) -> None:
    assert judged(status, "hm") == Retry(f"{status} hm")


def test_a_redirect_is_a_failure_and_says_so() -> None:
    assert judged(302) == Retry("redirect not followed: 302")


def test_no_answer_is_tried_later() -> None:
    assert judged(None, "ConnectTimeout") == Retry("ConnectTimeout")


def test_gone_waits_for_a_person_and_refused_credentials_are_probed() -> None:
    assert judged(410) == Suspended("410")
    assert judged(401) == Suspended("401", after=3600.0)
    assert judged(403) == Suspended("403", after=3600.0)


def test_an_echoed_secret_or_url_is_masked() -> None:
    echo = json.dumps({"url": URL, "secret": SECRET})

    assert judged(400, echo) == Rejected('400 {"url": "***", "secret": "***"}')
