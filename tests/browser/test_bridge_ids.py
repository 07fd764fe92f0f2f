"""What app/static/bridge-ids.js finds in a page, by consent, and that it never stands in the way.

Pages are answered by the test itself, at an address that a browser trusts as it trusts https.
"""

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from app.core.consent import read
from app.core.identity import NAMES
from app.web import SCRIPT

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

SHOP = "http://localhost:9"  # nobody is there: what the test does not answer fails
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOADED = """
    window.amplitude = {getDeviceId: () => 'amp-device', getSessionId: () => 1740830400123};
    window.analytics = {user: () => ({anonymousId: () => 'seg-anonymous'})};
    window.mixpanel = {get_property: (name) => ({'$device_id': 'mix-device'})[name]};
    window.posthog = {get_distinct_id: () => 'ph-person', get_session_id: () => 'ph-session'};
"""
OF_TOOLS = {
    "amplitude_device_id": "amp-device",
    "amplitude_session_id": "1740830400123",
    "segment_anonymous_id": "seg-anonymous",
    "mixpanel_device_id": "mix-device",
    "posthog_distinct_id": "ph-person",
    "posthog_session_id": "ph-session",
}
COOKIES = {
    "_ga": "GA1.1.1162820436.1749482504",
    "_ga_ABC": "GS2.1.s1747132561$o1$g0$t1747132655$j0$l0$h0",
    "_fbp": "fb.1.1740830400123.987654321",
    "_fbc": "fb.1.1740830400123.IwAR2F4-dbP0l7Mn1IawQQGCINEz7PYXQvwjNwB_qa2ofrHyiLjcbCRxTDMgk",
}
OF_COOKIES = {"ga_client_id": "1162820436.1749482504", "ga_session_id": "1747132561"}
FOR_ADS = {"fbp": COOKIES["_fbp"], "fbc": COOKIES["_fbc"]}
CAMPAIGN = {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "brand ü"}
ARRIVAL = "/start?utm_source=google&utm_medium=cpc&utm_campaign=brand+%C3%BC&email=ann@example.com"


@pytest.fixture
def shop(context: "BrowserContext") -> "BrowserContext":
    """Every address is an empty page that has the script."""

    def answer(route: "Route") -> None:
        html = f"<!doctype html><title>Shop</title><script>{SCRIPT.read_text()}</script>"
        route.fulfill(body=html, content_type="text/html; charset=utf-8")

    context.route("**/*", answer)
    return context


def cookies(shop: "BrowserContext", values: Mapping[str, str]) -> None:
    shop.add_cookies([{"name": name, "value": one, "url": SHOP} for name, one in values.items()])


def collect(page: "Page", options: str = "{}") -> dict[str, str]:
    """What the script gives, but for what differs each time, which is checked here."""
    ids: dict[str, str] = page.evaluate(f"BridgeIds.collect({options})")
    assert set(ids) <= set(NAMES)
    assert UUID.fullmatch(ids.pop("event_id"))
    at = read(ids["consent"]).at
    assert at
    assert abs(at.timestamp() - time.time()) < 60
    ids["consent"] = re.sub(",at=[0-9]+", "", ids["consent"])
    return ids


def test_an_empty_page_gives_where_it_is_and_denies_ads(shop: Any, page: "Page") -> None:
    page.goto(f"{SHOP}/pricing")

    assert collect(page) == {"consent": "ads=denied", "landing_page": f"{SHOP}/pricing"}


def test_with_consent_all_tools_cookies_and_the_campaign_are_read(shop: Any, page: "Page") -> None:
    cookies(shop, COOKIES)
    page.goto(f"{SHOP}{ARRIVAL}", referer="https://news.example/today?reader=ann#top")
    page.evaluate(LOADED)

    found = collect(
        page, "{consent: {analytics: true, ads: true, region: 'DE'}, ga: 'G-ABC', timeoutMs: 5000}"
    )

    assert found == {
        "consent": "analytics=granted,ads=granted,region=DE",
        "landing_page": f"{SHOP}/start",
        "referrer": "https://news.example/today",
        **OF_TOOLS,
        **OF_COOKIES,
        **FOR_ADS,
        **CAMPAIGN,
    }


CONSENTS: list[tuple[str, str, bool, bool]] = [  # given, stated, tools are read, ads' cookies are
    ("undefined", "ads=denied", True, False),
    ("{}", "ads=denied", True, False),
    ("{analytics: 'granted'}", "analytics=granted,ads=denied", True, False),
    ("{analytics: false}", "analytics=denied,ads=denied", False, False),
    ("{analytics: 'denied', ads: 'granted'}", "analytics=denied,ads=granted", False, True),
    ("{ads: 'perhaps'}", "ads=denied", True, False),
    ("() => ({analytics: true})", "analytics=granted,ads=denied", True, False),
    ("async () => ({ads: true})", "ads=granted", True, True),
    ("() => { throw new Error('broken') }", "ads=denied", False, False),
    ("async () => { throw new Error('broken') }", "ads=denied", False, False),
    ("() => new Promise(() => {})", "ads=denied", False, False),
    ("null", "ads=denied", False, False),
]


def test_what_is_read_is_what_was_allowed(shop: Any, page: "Page") -> None:
    cookies(shop, COOKIES)
    page.goto(SHOP)
    page.evaluate(LOADED)

    found = {
        consent: collect(page, f"{{consent: {consent}, ga: 'G-ABC', timeoutMs: 100}}")
        for consent, _, _, _ in CONSENTS
    }

    visit = {**OF_TOOLS, **OF_COOKIES, "landing_page": f"{SHOP}/"}
    assert found == {
        consent: {"consent": said, **(visit if tools else {}), **(FOR_ADS if ads else {})}
        for consent, said, tools, ads in CONSENTS
    }


def test_the_browsers_own_privacy_signal_denies_ads(shop: Any, page: "Page") -> None:
    page.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})")
    cookies(shop, COOKIES)
    page.goto(SHOP)

    found = collect(page, "{consent: {analytics: true, ads: true}}")

    assert found == {
        "consent": "analytics=granted,ads=denied",
        "landing_page": f"{SHOP}/",
        "ga_client_id": OF_COOKIES["ga_client_id"],
    }


SESSIONS = {
    "GS1.1.1690013078.2.1.1690013078.0.0.0": "1690013078",
    "GS1.2-3.1690013078.2.1": "1690013078",
    "GS2.1.o1$g0$s1747132561$t9$j0": "1747132561",
    "GS2.1.g0$t1747132655$s1747132561": "1747132561",
    "GS2.1.s1747132561": "1747132561",
    "GS2.1.o1$xs5$t9": None,
    "GS2.1.o1$s17x$t9": None,
    "GS2.1.o1$g0": None,
    "GS3.1.s1747132561$o1": None,
    "1690013078.2": None,
    "": None,
}


def test_a_google_session_is_read_by_its_version_and_never_guessed(shop: Any, page: "Page") -> None:
    cookies(shop, {"_ga_OTHER": "GS1.1.1600000000.1.0", "_ga": "GA2.1.5.6"})
    page.goto(SHOP)

    def session(cookie: str) -> str | None:
        cookies(shop, {"_ga_ABC": cookie})
        found = collect(page, "{ga: 'G-ABC'}")
        assert set(found) - {"ga_session_id"} == {"consent", "landing_page"}
        return found.get("ga_session_id")

    assert {cookie: session(cookie) for cookie in SESSIONS} == SESSIONS


def test_a_tool_that_is_still_loading_is_waited_for(shop: Any, page: "Page") -> None:
    """As the tools' own loaders do: a stub that queues, and later the tool in its place."""
    page.goto(SHOP)
    page.evaluate(
        f"""() => {{
            window.amplitude = {{
                getDeviceId: () => ({{promise: new Promise(() => {{}})}}),
                getSessionId: () => ({{promise: new Promise(() => {{}})}}),
            }};
            window.analytics = [];
            window.posthog = {{get_distinct_id: () => undefined, get_session_id: () => undefined}};
            setTimeout(() => {{ {LOADED} }}, 150);
        }}"""
    )

    found = collect(page, "{timeoutMs: 5000}")

    assert found == {
        "consent": "ads=denied",
        "landing_page": f"{SHOP}/",
        **{name: one for name, one in OF_TOOLS.items() if not name.startswith("mixpanel")},
    }


def test_a_tool_that_never_answers_costs_the_given_time_and_nothing_else(
    shop: Any, page: "Page"
) -> None:
    page.goto(SHOP)
    page.evaluate(LOADED)
    page.evaluate(
        """() => {
            window.amplitude = {getDeviceId: () => { throw new Error('not yet') }};
            Object.defineProperty(window, 'mixpanel', {get: () => { throw new Error('never') }});
        }"""
    )

    took, found = page.evaluate(
        """async () => {
            const began = performance.now();
            const found = await BridgeIds.collect({timeoutMs: 200});
            const seen = JSON.stringify(found);
            await new Promise((done) => setTimeout(done, 100));
            return [performance.now() - began - 100, seen === JSON.stringify(found) && found];
        }"""
    )

    assert 190 < took < 1_000
    names = {"event_id", "consent", "landing_page", *OF_TOOLS}
    assert set(found) == {one for one in names if not one.startswith(("amplitude", "mixpanel"))}


def test_an_element_of_a_tools_name_is_not_waited_for(shop: Any, page: "Page") -> None:
    page.goto(SHOP)
    page.evaluate("document.body.innerHTML = '<section id=analytics></section>'")

    began = time.monotonic()
    found = collect(page, "{timeoutMs: 8000}")

    assert time.monotonic() - began < 4
    assert found == {"consent": "ads=denied", "landing_page": f"{SHOP}/"}


def test_a_tool_without_a_global_can_be_handed_in(shop: Any, page: "Page") -> None:
    page.goto(SHOP)

    found = collect(page, "{amplitude: {getDeviceId: () => 'own', getSessionId: () => 5}}")

    assert found["amplitude_device_id"] == "own"
    assert found["amplitude_session_id"] == "5"


def test_odd_options_break_nothing(shop: Any, page: "Page") -> None:
    page.goto(SHOP)
    bare = {"consent": "ads=denied", "landing_page": f"{SHOP}/"}

    for options in ("", "null", "5", "{ga: 5, timeoutMs: 'soon'}"):
        assert collect(page, options) == bare, options


def test_without_storage_cookies_or_a_secure_page_it_still_answers(shop: Any, page: "Page") -> None:
    page.goto(SHOP)
    page.evaluate(
        """() => {
            const broken = {get: () => { throw new DOMException('no', 'SecurityError') }};
            Object.defineProperty(document, 'cookie', broken);
            Object.defineProperty(window, 'sessionStorage', broken);
            Object.defineProperty(crypto, 'randomUUID', {value: undefined});
        }"""
    )

    found = page.evaluate(
        "BridgeIds.collect({consent: {analytics: true, ads: true, at: 1740830400}})"
    )

    assert found == {
        "consent": "analytics=granted,ads=granted,at=1740830400",
        "landing_page": f"{SHOP}/",
    }


def test_how_the_visit_began_is_kept_in_the_tab_only_where_that_is_allowed(
    shop: Any, page: "Page"
) -> None:
    began = {"landing_page": f"{SHOP}/start", **CAMPAIGN}
    here = {"landing_page": f"{SHOP}/pricing"}
    yes, no = "{consent: {analytics: true}}", "{consent: {analytics: false}}"

    def found(path: str, options: str) -> dict[str, str]:
        page.goto(f"{SHOP}{path}")
        ids = collect(page, options)
        ids.pop("consent")
        return ids

    assert found(ARRIVAL, "{}") == began
    assert found("/pricing", yes) == here  # nothing was kept without a yes
    assert found(ARRIVAL, no) == {}  # and a no forgets what was
    assert found(ARRIVAL, yes) == began
    assert found("/pricing", yes) == began
    assert page.evaluate("Object.keys(sessionStorage)") == ["bridge_ids"]
    assert found("/pricing", "{}") == here
    assert page.evaluate("sessionStorage.length") == 0


def test_each_call_is_a_conversion_of_its_own(shop: Any, page: "Page") -> None:
    page.goto(SHOP)

    one, other = (page.evaluate("BridgeIds.collect({})") for _ in range(2))

    assert one["event_id"] != other["event_id"]


def test_it_asks_nobody_and_sets_no_cookie(shop: Any, page: "Page") -> None:
    page.goto(SHOP)
    page.evaluate(LOADED)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    collect(page, "{consent: {analytics: true, ads: true}, ga: 'G-ABC'}")

    assert asked == []
    assert shop.cookies() == []
