"""The receiver of webhooks verifies, remembers, and refuses what is not signed for it."""

from dataclasses import replace
from decimal import Decimal
from time import time

import pytest

from app.core.analytics import AnalyticsEvent
from app.core.money import Money
from app.core.outcome import Delivered, Outcome, Rejected, Suspended
from app.destinations import build
from app.destinations.base import Payload, Response
from app.destinations.webhook import Webhook
from tests.destinations.example import an_event
from tests.vendors.webhook import OLD_SECRET, SECRET, WebhookReceiver, configured

URL = "http://127.0.0.1:9"
REFUND = replace(an_event(revenue=Money(-500, "usd")), key="refund:re_1")


def told(receiver: WebhookReceiver, event: AnalyticsEvent, at: float | None = None) -> Outcome:
    bridge = build("webhook", configured(URL), allow_local_urls=True)
    assert isinstance(bridge, Webhook)
    body = bridge.render(event, event.id)
    assert isinstance(body, bytes)
    batch = [Payload(event.id, body)]
    request = bridge.request(batch, at or time())
    path = request.url.removeprefix(URL)
    status, text = receiver.answer(path, dict(request.headers), request.body)
    [outcome] = bridge.judge(Response(status, text), batch)
    return outcome


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_what_the_bridge_sends_is_taken_by_either_secret_and_counted_once(secret: str) -> None:
    receiver = WebhookReceiver(secret)

    assert [told(receiver, one) for one in (an_event(), REFUND, an_event())] == [Delivered()] * 3
    assert (receiver.counted(), receiver.revenue()) == (2, {"usd": Decimal("7.99")})
    assert receiver.dropped == []


def test_what_is_signed_with_another_secret_or_long_ago_is_refused() -> None:
    stranger, receiver = WebhookReceiver("whsec_" + "QkJC" * 8), WebhookReceiver()

    assert isinstance(told(stranger, an_event()), Suspended)
    assert isinstance(told(receiver, an_event(), at=time() - 3_600), Suspended)
    assert (stranger.counted(), receiver.counted()) == (0, 0)


def test_what_is_too_large_is_refused() -> None:
    large = an_event(properties={"landing_page": "x" * 20_000})

    assert told(WebhookReceiver(), large) == Rejected('413 {"error": "payload too large"}')


def test_one_that_is_gone_wants_no_more() -> None:
    receiver = WebhookReceiver()
    receiver.gone = True

    assert told(receiver, an_event()) == Suspended("410")
