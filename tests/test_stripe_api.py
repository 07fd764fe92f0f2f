"""What is asked of Stripe's API, and what people read when it says no or nothing."""

import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from app import stripe_api
from app.stripe_api import (
    EndpointInfo,
    StripeApi,
    StripeMissing,
    StripeRefused,
    StripeUnavailable,
    webhook_endpoints,
)
from tests.fake_stripe import Asked, FakeStripe, fake_stripe

KEY = "rk_test_plantedPLANTED0123456789"
ENDPOINT = {
    "id": "we_1",
    "object": "webhook_endpoint",
    "api_version": "2026-10-28.endive",
    "enabled_events": ["invoice.paid", "charge.refunded"],
    "livemode": False,
    "status": "enabled",
    "url": "https://bridge.example.com/webhooks/stripe",
}
ANYTHING = ENDPOINT | {
    "id": "we_2",
    "api_version": None,
    "enabled_events": ["*"],
    "status": "disabled",
}
PRICE = {"object": "price", "id": "price_1", "created": 1, "unit_amount": 1299}
MORE = ["currency_options", "currency_options.tiers"]
TIERS = {"tiers": [{"up_to": None, "unit_amount_decimal": "0.5"}]}

Call = Callable[[StripeApi], object]


@pytest.fixture
def fake() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


@pytest.fixture
def api(fake: FakeStripe) -> StripeApi:
    return StripeApi(KEY, fake.base)


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's second try comes at once."""
    monkeypatch.setattr(stripe.RequestsClient, "_sleep_time_seconds", lambda *_: 0.0)


def refusal(message: str) -> dict[str, Any]:
    return {"error": {"type": "invalid_request_error", "message": message}}


def page(*rows: object, has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "url": "/v1/list", "has_more": has_more, "data": list(rows)}


def asked(path: str, *, account: str = "", context: str = "", **params: Any) -> Asked:
    return Asked(
        path=path, params=params, account=account, context=context, version=stripe.api_version
    )


def everything_told(error: BaseException) -> str:
    """The text of an error, of all it came from, and of the values in the frames it passed."""
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    chain = [error.__cause__, error.__context__]
    return told + repr(error) + "".join(everything_told(one) for one in chain if one)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_endpoints_are_plain_values(fake: FakeStripe) -> None:
    fake.add(ANYTHING)
    fake.add(ENDPOINT)
    first, second = webhook_endpoints(KEY, fake.base)
    assert first == EndpointInfo(
        url="https://bridge.example.com/webhooks/stripe",
        status="enabled",
        api_version="2026-10-28.endive",
        enabled_events=("invoice.paid", "charge.refunded"),
        livemode=False,
    )
    assert (second.api_version, second.enabled_events, second.status) == (None, ("*",), "disabled")
    assert fake.requests == [asked("/v1/webhook_endpoints", limit="100")]


def test_no_endpoints_is_an_answer(fake: FakeStripe) -> None:
    assert webhook_endpoints(KEY, fake.base) == []


def test_a_failure_is_tried_once_more(fake: FakeStripe) -> None:
    fake.add(ENDPOINT)
    fake.fail("/v1/webhook_endpoints", 500)
    assert len(webhook_endpoints(KEY, fake.base)) == 1
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (403, refusal(f"{KEY} has no permission"), StripeRefused, "read access to Webhook"),
        (400, refusal(KEY), StripeRefused, "refused the request (400)"),
        (404, refusal(KEY), StripeRefused, "refused the request (404)"),
        (429, refusal(KEY), StripeUnavailable, "429"),
        (500, refusal(KEY), StripeUnavailable, "is failing (500)"),
        (503, b"<h1>Maintenance</h1>", StripeUnavailable, "is failing (503)"),
        (200, b"<h1>Sign in to this network</h1>", StripeUnavailable, "is not Stripe's API"),
        (200, {"hello": "world"}, StripeUnavailable, "is not Stripe's API"),
        (200, [], StripeUnavailable, "is not Stripe's API"),
        (200, b"\xff", StripeUnavailable, "is not Stripe's API"),
        (200, page({"id": "we_1"}), StripeUnavailable, "is not Stripe's API"),
        (200, page("we_1"), StripeUnavailable, "is not Stripe's API"),
    ],
)
def test_a_refusal_is_a_sentence_without_the_key(
    fake: FakeStripe, status: int, body: object, error: type[Exception], words: str
) -> None:
    fake.fail("/v1/webhook_endpoints", status, times=2, body=body)
    with pytest.raises(error) as raised:
        webhook_endpoints(KEY, fake.base)
    assert words in str(raised.value)
    assert KEY not in str(raised.value) + repr(raised.value)
    assert raised.value.__suppress_context__


def test_a_wrong_key_is_refused_and_not_repeated(fake: FakeStripe) -> None:
    wrong = "sk_live_anotherPLANTED0123456789"
    fake.fail("/v1/webhook_endpoints", 401, body=refusal(f"Invalid API Key: {wrong}"))
    with pytest.raises(StripeRefused, match="does not accept STRIPE_API_KEY") as raised:
        webhook_endpoints(wrong, fake.base)
    assert wrong not in repr(raised.value)
    assert len(fake.requests) == 1


def test_nobody_listening_is_out_of_reach() -> None:
    with pytest.raises(StripeUnavailable, match="cannot be reached"):
        webhook_endpoints(KEY, f"http://127.0.0.1:{free_port()}")


def test_a_silent_peer_ends_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_api, "READ_TIMEOUT", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StripeUnavailable, match="cannot be reached"),
    ):
        webhook_endpoints(KEY, f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_the_key_is_not_logged(fake: FakeStripe, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    fake.add(ENDPOINT)
    webhook_endpoints(KEY, fake.base)
    assert caplog.records
    assert KEY not in caplog.text


def test_an_object_is_stripes_json_in_plain_dicts(fake: FakeStripe, api: StripeApi) -> None:
    fake.add(PRICE | TIERS)

    found = api.price("price_1")

    assert found == PRICE | TIERS
    assert {type(found), type(found["tiers"][0])} == {dict}
    assert fake.requests == [asked("/v1/prices/price_1", expand=["tiers", *MORE])]


def test_each_read_asks_for_what_its_answer_leaves_out(fake: FakeStripe, api: StripeApi) -> None:
    coupon: dict[str, Any] = {"object": "coupon", "id": "25 % / OFF"}
    coupon["applies_to"] = {"products": ["prod_1"]}
    discount = {"object": "discount", "id": "di_1", "end": None}
    items = {"object": "list", "data": [{"object": "subscription_item", "discounts": [discount]}]}
    subscription: dict[str, Any] = {"object": "subscription", "id": "sub_1", "items": items}
    subscription["discounts"] = [discount]
    event = {"object": "event", "id": "evt_1", "data": {"object": PRICE | TIERS}}
    for one in [coupon, subscription, event]:
        fake.add(one)

    assert api.coupon("25 % / OFF") == coupon
    assert api.subscription("sub_1") == subscription
    assert api.event("evt_1") == event
    assert fake.requests == [
        asked("/v1/coupons/25%20%25%20%2F%20OFF", expand=["applies_to", "currency_options"]),
        asked("/v1/subscriptions/sub_1", expand=["discounts", "items.data.discounts"]),
        asked("/v1/events/evt_1"),
    ]


def test_a_connected_accounts_object_is_read_in_its_account(
    fake: FakeStripe, api: StripeApi
) -> None:
    fake.add(PRICE, account="acct_1")

    assert api.price("price_1", account="acct_1") == PRICE
    with pytest.raises(StripeMissing, match=r"no /v1/prices/price_1 of acct_2 for this key \(404"):
        api.price("price_1", account="acct_2")
    with pytest.raises(StripeMissing, match=r"no /v1/prices/price_1 for this key \(404"):
        api.price("price_1")
    assert [one.account for one in fake.requests] == ["acct_1", "acct_2", ""]


def test_a_thin_event_and_what_it_names_are_read_in_its_context(
    fake: FakeStripe, api: StripeApi
) -> None:
    thin = {"object": "v2.core.event", "id": "evt_2", "changes": {"before": {}, "after": {}}}
    fake.add(thin, account="acct_0/acct_1")
    fake.add(PRICE, account="acct_0/acct_1")
    fake.add(PRICE | {"unit_amount": 1}, account="acct_1")

    assert api.thin_event("evt_2", "acct_0/acct_1") == thin
    assert api.related("/v1/prices/price_1", context="acct_0/acct_1") == PRICE
    assert api.related("/v1/prices/price_1", "acct_1")["unit_amount"] == 1
    with pytest.raises(StripeMissing):
        api.thin_event("evt_2")
    assert fake.requests[:3] == [
        asked("/v2/core/events/evt_2", context="acct_0/acct_1"),
        asked("/v1/prices/price_1", context="acct_0/acct_1"),
        asked("/v1/prices/price_1", account="acct_1"),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil",
        "https://evil/v1/prices/price_1",
        "//evil/v1/x",
        "@evil/v1/x",
        ".evil/v1/x",
        "/v1/../x",
        "/v1/..",
        "/v1/.",
        "/v1/%2e%2E/x",
        "/v1/.%2e/x",
        "/v1/x?y",
        "/v1/x#y",
        "/v1/x\\y",
        "/v1/x y",
        "/v1/x\n",
        "/v1/x%",
        "/v1/x%zz",
        "/v1//x",
        "/v1/x/",
        "/v1/",
        "/v1",
        "/v3/x",
        "/v1x/y",
        "v1/x",
        "/v1/\u00e9",
        "",
    ],
)
def test_a_hostile_related_url_is_refused_and_not_asked_for(
    fake: FakeStripe, api: StripeApi, url: str
) -> None:
    with pytest.raises(StripeRefused, match="Not a path of Stripe's API"):
        api.related(url)
    assert fake.requests == []


@pytest.mark.parametrize("url", ["/v1/prices/price_1", "/v1/prices/price%5F1", "/v1/prices/a..b"])
def test_a_plain_related_url_is_asked_for(fake: FakeStripe, api: StripeApi, url: str) -> None:
    fake.add(PRICE)
    fake.add(PRICE | {"id": "a..b"})

    assert api.related(url)["unit_amount"] == 1299


@pytest.mark.parametrize("object_id", ["", ".", ".."])
def test_an_id_that_is_no_id_never_becomes_another_path(
    fake: FakeStripe, api: StripeApi, object_id: str
) -> None:
    reads: list[Call] = [
        lambda api: api.price(object_id),
        lambda api: api.thin_event(object_id),
        lambda api: api.coupon(object_id),
    ]
    for read in reads:
        with pytest.raises(StripeRefused):
            read(api)
    assert fake.requests == []


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_pages_are_followed_to_the_end(fake: FakeStripe, api: StripeApi, count: int) -> None:
    for number in range(count):
        fake.add({"object": "event", "id": f"evt_{number}", "created": number, "type": "a.b"})
    fake.add({"object": "event", "id": "evt_early", "created": -1, "type": "a.b"})
    fake.add({"object": "event", "id": "evt_other", "created": 9, "type": "a.c"})

    found = api.pages("/v1/events", types=["a.b"], created={"gte": 0})

    assert [one["id"] for one in found] == [f"evt_{number}" for number in reversed(range(count))]
    filters: dict[str, Any] = {"types": ["a.b"], "created": {"gte": "0"}, "limit": "100"}
    cursors = [f"evt_{number}" for number in range(count - 100, 0, -100)]
    assert fake.requests == [
        asked("/v1/events", **filters),
        *[asked("/v1/events", **filters, starting_after=cursor) for cursor in cursors],
    ]


def test_a_page_is_asked_for_when_it_is_wanted(fake: FakeStripe, api: StripeApi) -> None:
    for number in range(150):
        fake.add({"object": "customer", "id": f"cus_{number}", "created": number})

    pages = api.pages("/v1/customers", account="")

    assert fake.requests == []
    assert next(pages)["id"] == "cus_149"
    assert len(fake.requests) == 1


def test_all_lines_of_an_invoice_are_read_in_its_order(fake: FakeStripe, api: StripeApi) -> None:
    lines = [{"object": "line_item", "id": f"il_{number}", "amount": 1} for number in range(130)]
    listed = {"object": "list", "data": lines}
    fake.add({"object": "invoice", "id": "in_1", "lines": listed}, account="acct_1")

    path = "/v1/invoices/in_1/lines"
    assert list(api.pages(path, account="acct_1")) == lines
    assert len(api.get("/v1/invoices/in_1", account="acct_1")["lines"]["data"]) == 10


def test_the_payments_of_a_payment_intent_are_those_alone(fake: FakeStripe, api: StripeApi) -> None:
    link = {"object": "invoice_payment", "created": 1, "status": "paid", "invoice": "in_1"}
    pays = {"type": "payment_intent", "payment_intent": "pi_1"}
    first = link | {"id": "inpay_1", "payment": pays}
    fake.add(first)
    fake.add(link | {"id": "inpay_2", "payment": pays | {"payment_intent": "pi_2"}})
    fake.add(link | {"id": "inpay_3", "payment": {"type": "charge", "charge": "ch_1"}})

    assert api.invoice_payments_of("pi_1") == [first]
    assert api.invoice_payments_of("pi_3") == []
    assert fake.requests[0] == asked("/v1/invoice_payments", payment=pays, limit="100")


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (
            401,
            refusal(f"Invalid API Key provided: {KEY}"),
            StripeRefused,
            "Stripe does not accept STRIPE_API_KEY (401): it is wrong, expired or revoked.",
        ),
        (
            403,
            refusal(f"The key {KEY} may not"),
            StripeRefused,
            "STRIPE_API_KEY lacks a permission (403): a restricted key needs read access to"
            " /v1/prices/price_1 of acct_1.",
        ),
        (
            404,
            {"error": {"code": "resource_missing", "message": KEY}},
            StripeMissing,
            "Stripe has no /v1/prices/price_1 of acct_1 for this key (404).",
        ),
        (400, refusal(KEY), StripeRefused, "refused the request (400)."),
        (404, refusal(KEY), StripeRefused, "refused the request (404)."),
        (404, f"<h1>{KEY}</h1>".encode(), StripeRefused, "refused the request (404)."),
        (429, refusal(KEY), StripeUnavailable, "is limiting our requests (429)."),
        (500, refusal(KEY), StripeUnavailable, "is failing (500)."),
        (500, {"error": KEY}, StripeUnavailable, "is not Stripe's API; see STRIPE_API_BASE."),
        (500, {"error": [KEY]}, StripeUnavailable, "is not Stripe's API; see STRIPE_API_BASE."),
        (503, KEY.encode(), StripeUnavailable, "is failing (503)."),
        (200, KEY.encode(), StripeUnavailable, "is not Stripe's API; see STRIPE_API_BASE."),
        (200, b"\xff", StripeUnavailable, "is not Stripe's API; see STRIPE_API_BASE."),
        (200, [KEY], StripeUnavailable, "is not Stripe's API; see STRIPE_API_BASE."),
    ],
)
def test_what_goes_wrong_is_a_sentence_and_nothing_in_it_holds_the_key(
    fake: FakeStripe,
    api: StripeApi,
    status: int,
    body: object,
    error: type[Exception],
    words: str,
) -> None:
    fake.fail("/v1/prices", status, times=2, body=body)

    with pytest.raises(error) as raised:
        api.price("price_1", account="acct_1")

    assert type(raised.value) is error
    assert str(raised.value).endswith(words)
    assert raised.value.__context__ is None
    raised.value.__traceback__ = _without_this_test(raised.value)
    assert KEY not in everything_told(raised.value)


def _without_this_test(error: BaseException) -> Any:
    """The frames of the app: this test's own hold the key."""
    assert error.__traceback__
    return error.__traceback__.tb_next


@pytest.mark.parametrize(
    "body",
    [
        {"object": "list"},
        page(has_more=True),
        page("price_1"),
        page({"object": "price"}),
        {"object": "list", "has_more": False, "data": {"id": "price_1"}},
    ],
)
def test_a_page_that_is_none_is_not_stripes(
    fake: FakeStripe, api: StripeApi, body: dict[str, Any]
) -> None:
    fake.fail("/v1/prices", 200, body=body)

    with pytest.raises(StripeUnavailable, match="is not Stripe's API"):
        list(api.pages("/v1/prices"))
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        (None, None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_how_long_to_wait_is_what_stripe_asks(
    fake: FakeStripe, api: StripeApi, header: str | None, seconds: float | None
) -> None:
    fake.fail("/v1/prices", 429, headers={"Retry-After": header} if header else {})

    with pytest.raises(StripeUnavailable, match="429") as raised:
        api.price("price_1")

    assert raised.value.retry_after == seconds
    assert len(fake.requests) == 1


def test_an_answer_that_fails_once_is_asked_for_again(fake: FakeStripe, api: StripeApi) -> None:
    fake.add(PRICE)
    fake.fail("/v1/prices", 503)

    assert api.price("price_1") == PRICE
    assert len(fake.requests) == 2


def test_an_answer_that_does_not_come_ends_at_the_timeout(
    fake: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_api, "READ_TIMEOUT", 0.1)
    fake.hang("/v1/prices", 60, times=2)

    with pytest.raises(StripeUnavailable, match="cannot be reached") as raised:
        StripeApi(KEY, fake.base).price("price_1")

    assert raised.value.retry_after is None
    assert len(fake.requests) == 2


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\u20ac", "rk_test_wrong"])
def test_a_key_that_cannot_be_sent_or_is_wrong_is_not_told(fake: FakeStripe, key: str) -> None:
    api = StripeApi(key, fake.base)

    with pytest.raises((StripeRefused, StripeUnavailable)) as raised:
        api.event("evt_1")

    raised.value.__traceback__ = _without_this_test(raised.value)
    assert key.strip() not in everything_told(raised.value)
    assert raised.value.__context__ is None
    assert repr(api) == f"StripeApi(api_base={fake.base!r})"


def test_the_key_is_not_logged_with_a_read(
    fake: FakeStripe, api: StripeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    fake.add(PRICE)
    api.price("price_1")
    assert caplog.records
    assert KEY not in caplog.text
