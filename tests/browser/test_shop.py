"""One visitor of examples/shop, from the first page to the revenue that the tools are told of.

The shop, Stripe's stand-in, the bridge and the tools' stand-ins are real servers on loopback.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from sqlalchemy import Engine, text
from werkzeug.serving import make_server

from app.core.consent import read
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Post, receiver
from app.settings import Settings
from app.web import make_app
from examples.shop.shop import ShopSettings, make_shop
from tests.conftest import SECRET
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.test_simulated_saas import drained

if TYPE_CHECKING:
    from playwright.sync_api import Page

KEY = "sk_test_fake"
PRICE = {
    "object": "price",
    "active": True,
    "created": 1_740_830_400,
    "currency": "usd",
    "product": "prod_1",
}
PRO = {"id": "price_pro", "type": "recurring", "unit_amount": 4900} | PRICE
PRO["recurring"] = {"interval": "month", "interval_count": 1}
BOOK = {"id": "price_book", "type": "one_time", "unit_amount": 2900} | PRICE
CAMPAIGN = {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "spring"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """The shop's address and everybody behind it."""

    shop: str
    stripe: FakeStripe
    posts: list[Post]
    settings: Settings

    def told(self, destination: str) -> dict[str, dict[str, Any]]:
        """What a destination was told, by the name of the event, which here happens once."""
        bodies = [json.loads(post.body) for post in self.posts if post.destination == destination]
        if destination == "webhook":
            return {body["type"]: body["data"] for body in bodies}
        return {one["event_type"]: one for body in bodies for one in body["events"]}


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def street(browser: Any, with_destinations: Callable[..., Settings]) -> Iterator[Street]:
    posts: list[Post] = []
    with receiver(script=posts.append) as tools, fake_stripe(key=KEY) as stripe:
        settings = with_destinations(
            amplitude={"api_key": AMPLITUDE_KEY, "url": tools.amplitude_url},
            webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url},
        )
        for price in (PRO, BOOK):
            stripe.add(price)
        with serving(make_app(settings)) as bridge:
            stripe.checkout.webhook_url = f"{bridge}/webhooks/stripe"
            stripe.checkout.webhook_secret = SECRET
            shop = make_shop(
                ShopSettings(stripe_api_key=KEY, stripe_api_base=stripe.base, bridge_url=bridge)
            )
            with serving(shop) as address:
                yield Street(shop=address, stripe=stripe, posts=posts, settings=settings)


def buys(page: "Page", street: Street, offer: str, answer: str | None) -> dict[str, Any]:
    """Comes by a campaign's link, answers the consent question, and buys. Gives what the pretend
    tools know of this visit, and have sent."""
    page.goto(f"{street.shop}/?{urlencode(CAMPAIGN)}")
    if answer:
        page.get_by_role("button", name=answer, exact=True).click()
    page.get_by_role("link", name="See the prices").click()
    page.get_by_role("button", name=f"Buy {offer}").click()
    page.get_by_role("button", name="Pay").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    found: dict[str, Any] = page.evaluate(
        """() => ({
            device: amplitude.getDeviceId(),
            session: amplitude.getSessionId(),
            sent: JSON.parse(sessionStorage.pretend_sent),
            cookies: document.cookie,
        })"""
    )
    return found


def answered(asked: dict[str, Any]) -> tuple[bool | None, bool | None, set[str]]:
    """Consent to analytics and to ads as the session has it, and which of two ids came along."""
    said = read(asked["metadata"]["br_consent"])
    names = {"amplitude_device_id", "fbp"}
    return said.analytics, said.ads, {one for one in names if f"br_{one}" in asked["metadata"]}


def conversions_of(engine: Engine, event_id: str) -> set[str]:
    """The analytics events that are the browser's conversion of this id."""
    query = text("SELECT name FROM conversion_ids WHERE digest = :digest")
    digest = sha256(event_id.encode()).hexdigest()
    with engine.connect() as connection:
        return set(connection.execute(query, {"digest": digest}).scalars())


def session_of(stripe: FakeStripe) -> dict[str, Any]:
    """The one Checkout Session, as its creator asked for it."""
    (asked,) = [one for one in stripe.requests if one.path == "/v1/checkout/sessions"]
    return asked.params


def test_a_visitor_who_subscribes_is_the_same_at_the_tools_device_and_session_included(
    street: Street, page: "Page", engine: Engine
) -> None:
    visit = buys(page, street, "Pro", "Yes")
    metadata = session_of(street.stripe)["metadata"]
    event_id = metadata["br_event_id"]

    assert set(street.stripe.checkout.answers) == {200}
    first = {"device_id": visit["device"], "session_id": visit["session"]}
    assert visit["sent"][0] == ["amplitude", "page_view", first]
    bought = {"value": 49, "currency": "USD"}
    assert ["meta", "track", "Purchase", bought, {"eventID": event_id}] in visit["sent"]

    drained(engine, street.settings)
    at_amplitude = street.told("amplitude")
    payment = at_amplitude["payment_succeeded"]
    assert (payment["device_id"], payment["session_id"]) == (visit["device"], visit["session"])
    assert (payment["user_id"], payment["revenue"]) == (metadata["br_user_id"], 49)
    assert {one["device_id"] for one in at_amplitude.values()} == {visit["device"]}
    assert conversions_of(engine, event_id) == {"payment_succeeded", "subscription_started"}

    known = street.told("webhook")["payment_succeeded"]
    cookies = dict(pair.split("=", 1) for pair in visit["cookies"].split("; "))
    assert known["ids"] == {
        "user_id": metadata["br_user_id"],
        "amplitude_device_id": visit["device"],
        "amplitude_session_id": str(visit["session"]),
        "posthog_distinct_id": f"ph-{visit['device']}",
        "posthog_session_id": f"ph-{visit['session']}",
        "ga_client_id": cookies["_ga"].removeprefix("GA1.1."),
        "ga_session_id": cookies["_ga_EXAMPLE"].split("$")[0].removeprefix("GS2.1.s"),
        "fbp": cookies["_fbp"],
    }
    campaign = {name: known["properties"][name] for name in (*CAMPAIGN, "landing_page")}
    assert campaign == {**CAMPAIGN, "landing_page": f"{street.shop}/"}


def test_one_purchase_is_told_with_the_ids_of_the_visit(
    street: Street, page: "Page", engine: Engine
) -> None:
    visit = buys(page, street, "Book", "Count only")
    asked = session_of(street.stripe)

    assert asked["metadata"] == asked["payment_intent_data"]["metadata"]
    assert answered(asked) == (True, False, {"amplitude_device_id"})
    drained(engine, street.settings)
    payment = street.told("amplitude")["payment_succeeded"]
    assert (payment["device_id"], payment["session_id"]) == (visit["device"], visit["session"])
    assert payment["revenue"] == 29
    assert conversions_of(engine, asked["metadata"]["br_event_id"]) == {"payment_succeeded"}


@pytest.mark.parametrize(("answer", "analytics"), [("No", False), (None, None)])
def test_what_the_visitor_answered_travels_and_decides_which_ids_do(
    street: Street, page: "Page", answer: str | None, analytics: bool | None
) -> None:
    visit = buys(page, street, "Pro", answer)

    ids = set() if answer else {"amplitude_device_id"}
    assert answered(session_of(street.stripe)) == (analytics, False, ids)
    assert [one for one in visit["sent"] if one[0] == "meta"] == []


def test_a_blocked_script_and_no_answer_of_any_tool_still_sell(
    street: Street, page: "Page"
) -> None:
    page.route("**/bridge-ids.js", lambda route: route.abort())

    buys(page, street, "Pro", "Yes")

    asked = session_of(street.stripe)
    assert asked["metadata"].keys() == {"br_user_id"}
    assert set(street.stripe.checkout.answers) == {200}


def test_without_any_script_at_all_the_form_still_sells(street: Street, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{street.shop}/pricing")
    page.get_by_role("button", name="Buy Pro").click()
    page.get_by_role("button", name="Pay").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    context.close()

    assert session_of(street.stripe)["metadata"].keys() == {"br_user_id"}


def test_a_visitor_cannot_say_who_is_logged_in(street: Street, page: "Page") -> None:
    page.goto(f"{street.shop}/pricing")
    page.evaluate(
        "window.BridgeIds = {collect: async () => ({user_id: 'the boss', device_id: 'd'})}"
    )
    page.get_by_role("button", name="Buy Pro").click()
    page.get_by_role("button", name="Pay").wait_for()

    metadata = session_of(street.stripe)["metadata"]
    assert metadata["br_device_id"] == "d"
    assert metadata["br_user_id"].startswith("user_")
