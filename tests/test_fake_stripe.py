"""The fake is as Stripe documents it: asked here by plain HTTP, without our own code."""

import inspect
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import stripe
from stripe import params as sdk_params
from stripe.params import checkout as sdk_checkout_params

from tests.fake_stripe import Asked, FakeStripe, fake_stripe, nested
from tests.fake_stripe.lists import RESOURCES
from tests.fake_stripe.shapes import REFERENCES

KEY = "sk_test_fake"
TIERS = [{"up_to": 5, "unit_amount": 900}, {"up_to": None, "unit_amount": 700}]
SDK_CLASSES = {"checkout.session": stripe.checkout.Session, "line_item": stripe.InvoiceLineItem}


@pytest.fixture
def fake() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


def ask(fake: FakeStripe, path: str, key: str = KEY, **headers: str) -> requests.Response:
    sent = {"Authorization": f"Bearer {key}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{fake.base}{path}", headers=sent, timeout=5)


def ids(fake: FakeStripe, path: str) -> list[str]:
    answer = ask(fake, path)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


def refused(answer: requests.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    return answer.status_code, error.get("code"), error.get("param")


def charge(number: int, **fields: Any) -> dict[str, Any]:
    return {"object": "charge", "id": f"ch_{number}", "created": 1000 + number} | fields


def invoice(lines: int) -> dict[str, Any]:
    data = [{"object": "line_item", "id": f"il_{n}", "discounts": []} for n in range(lines)]
    listed = {"object": "list", "url": "/v1/invoices/in_1/lines", "has_more": False, "data": data}
    return {"object": "invoice", "id": "in_1", "created": 1, "lines": listed}


def webhook_event(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    frozen = {"object": "price", "id": "price_1", "tiers": TIERS}
    base = {"object": "event", "id": f"evt_{number}", "created": 1000 + number, "type": kind}
    return base | {"pending_webhooks": 0, "data": {"object": frozen}} | fields


def test_an_object_is_answered_as_it_was_added_and_the_request_is_kept(fake: FakeStripe) -> None:
    fake.add(charge(1, amount=1299, refunded=False, outcome={"risk_score": 3}))

    answer = ask(fake, "/v1/charges/ch_1", Stripe_Version="2026-10-28.endive")

    assert answer.status_code == 200
    assert answer.headers["Request-Id"] == "req_1"
    assert answer.json() == charge(1, amount=1299, refunded=False, outcome={"risk_score": 3})
    assert fake.requests == [
        Asked(
            path="/v1/charges/ch_1",
            params={},
            account="",
            context="",
            version="2026-10-28.endive",
        )
    ]


def test_a_new_state_takes_the_place_of_the_old(fake: FakeStripe) -> None:
    fake.add(charge(1, refunded=False))
    fake.add(charge(1, refunded=True))

    assert ask(fake, "/v1/charges").json()["data"] == [charge(1, refunded=True)]


def test_parameters_are_nested_as_documented() -> None:
    query = "created[gte]=1&types[]=a&types[]=b&expand[0]=x&payment[type]=card&empty="
    assert nested(query) == {
        "created": {"gte": "1"},
        "types": ["a", "b"],
        "expand": ["x"],
        "payment": {"type": "card"},
        "empty": "",
    }


def test_a_wrong_key_is_told_so_and_not_repeated_back(fake: FakeStripe) -> None:
    fake.add(charge(1))

    answer = ask(fake, "/v1/charges/ch_1", key="sk_test_another_key")

    assert refused(answer) == (401, None, None)
    assert "another" not in answer.text
    assert refused(requests.get(f"{fake.base}/v1/charges/ch_1", timeout=5)) == (401, None, None)


def test_what_nobody_added_is_missing(fake: FakeStripe) -> None:
    fake.add(charge(1))

    assert refused(ask(fake, "/v1/charges/ch_2")) == (404, "resource_missing", "id")
    assert refused(ask(fake, "/v1/refunds/ch_1")) == (404, "resource_missing", "id")
    assert refused(ask(fake, "/v1/teapots")) == (404, None, None)
    assert refused(ask(fake, "/v1/charges/ch_1/lines")) == (404, None, None)


def test_an_object_belongs_to_its_account_alone(fake: FakeStripe) -> None:
    fake.add(charge(1), account="acct_1")

    assert ask(fake, "/v1/charges/ch_1", Stripe_Account="acct_1").json() == charge(1)
    assert ask(fake, "/v1/charges", Stripe_Account="acct_1").json()["data"] == [charge(1)]
    assert refused(ask(fake, "/v1/charges/ch_1"))[0] == 404
    assert refused(ask(fake, "/v1/charges/ch_1", Stripe_Account="acct_2"))[0] == 404
    assert ids(fake, "/v1/charges") == []


@pytest.mark.parametrize(
    ("path", "code", "param"),
    [
        ("/v1/charges?colour=red", "parameter_unknown", "colour"),
        ("/v1/charges?status=paid", "parameter_unknown", "status"),
        ("/v1/charges/ch_1?limit=1", "parameter_unknown", "limit"),
        ("/v1/charges?created[since]=1", "parameter_unknown", "created[since]"),
        ("/v1/charges?created[gte]=today", "parameter_invalid_integer", "created[gte]"),
        ("/v1/charges?limit=0", "parameter_invalid_integer", "limit"),
        ("/v1/charges?limit=101", "parameter_invalid_integer", "limit"),
        ("/v1/charges?limit=many", "parameter_invalid_integer", "limit"),
        ("/v1/charges?starting_after=ch_9", "resource_missing", "starting_after"),
        ("/v1/charges?starting_after=ch_1&ending_before=ch_1", None, None),
        ("/v1/events?type=a&types[]=b", None, None),
        ("/v1/events?delivery_success=maybe", None, "delivery_success"),
        ("/v1/events?" + "&".join(f"types[]=t{n}" for n in range(21)), None, "types"),
        ("/v1/invoices?status=settled", None, "status"),
        ("/v1/prices?active=1", None, "active"),
        ("/v1/webhook_endpoints?created=1", "parameter_unknown", "created"),
        (
            "/v1/invoice_payments?payment[payment_intent]=pi_1",
            "parameter_missing",
            "payment[type]",
        ),
        (
            "/v1/invoice_payments?payment[type]=charge&payment[charge]=ch_1",
            "parameter_unknown",
            "payment[charge]",
        ),
        ("/v1/charges?expand[]=customer", None, "expand"),
        ("/v1/charges?expand[]=data.amount", None, "expand"),
        ("/v1/charges/ch_1?expand[]=amount", None, "expand"),
        ("/v1/charges/ch_1?expand[]=metadata", None, "expand"),
        ("/v1/charges/ch_1?expand[]=colour", None, "expand"),
        ("/v1/charges/ch_1?expand[]=a.b.c.d.e", None, None),
    ],
)
def test_a_parameter_that_stripe_would_refuse_is_refused(
    fake: FakeStripe, path: str, code: str | None, param: str | None
) -> None:
    fake.add(charge(1, amount=1, metadata={}))

    assert refused(ask(fake, path)) == (400, code, param)


def test_a_list_is_newest_first_and_ten_unless_told(fake: FakeStripe) -> None:
    for number in [3, 1, *range(4, 13), 2]:
        fake.add(charge(number))
    fake.add(charge(99, created=1012))  # of the same second, added later

    answer = ask(fake, "/v1/charges").json()

    assert [row["id"] for row in answer.pop("data")] == [
        *["ch_99", "ch_12", "ch_11", "ch_10", "ch_9", "ch_8", "ch_7", "ch_6", "ch_5", "ch_4"]
    ]
    assert answer == {"object": "list", "url": "/v1/charges", "has_more": True}


def test_pages_go_both_ways_from_a_cursor(fake: FakeStripe) -> None:
    for number in range(1, 8):
        fake.add(charge(number))

    def page(query: str) -> tuple[list[str], bool]:
        answer = ask(fake, f"/v1/charges?limit=2&{query}").json()
        return [row["id"] for row in answer["data"]], answer["has_more"]

    assert page("") == (["ch_7", "ch_6"], True)
    assert page("starting_after=ch_6") == (["ch_5", "ch_4"], True)
    assert page("starting_after=ch_3") == (["ch_2", "ch_1"], False)
    assert page("starting_after=ch_1") == ([], False)
    assert page("ending_before=ch_4") == (["ch_6", "ch_5"], True)
    assert page("ending_before=ch_5") == (["ch_7", "ch_6"], False)
    # The cursor's place counts, even where a filter leaves it out.
    assert page("starting_after=ch_6&created[lt]=1004") == (["ch_3", "ch_2"], True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("created[gt]=1002", [4, 3]),
        ("created[gte]=1002&created[lt]=1004", [3, 2]),
        ("created[lte]=1001", [1]),
        ("created=1003", [3]),
        ("type=invoice.paid", [3, 1]),
        ("type=invoice.*", [3, 2, 1]),
        ("types[]=invoice.paid&types[]=price.created", [4, 3, 1]),
        ("delivery_success=false", [3]),
        ("delivery_success=true&type=invoice.*", [2, 1]),
    ],
)
def test_events_are_filtered(fake: FakeStripe, query: str, found: list[int]) -> None:
    fake.add(webhook_event(1, "invoice.paid"))
    fake.add(webhook_event(2, "invoice.voided"))
    fake.add(webhook_event(3, "invoice.paid", pending_webhooks=2))
    fake.add(webhook_event(4, "price.created"))

    assert ids(fake, f"/v1/events?{query}") == [f"evt_{number}" for number in found]


def test_what_an_event_holds_stays_as_it_was(fake: FakeStripe) -> None:
    fake.add(webhook_event(1, "price.created"))

    assert ask(fake, "/v1/events/evt_1").json() == webhook_event(1, "price.created")
    assert refused(ask(fake, "/v1/events/evt_1?expand[]=data.object"))[0] == 400


def test_subscriptions_that_are_canceled_must_be_asked_for(fake: FakeStripe) -> None:
    for number, status in enumerate(["active", "canceled", "incomplete_expired", "past_due"]):
        price = {"object": "price", "id": f"price_{number}"}
        item = {"object": "subscription_item", "id": f"si_{number}", "price": price}
        fake.add(
            {"object": "subscription", "id": status, "created": number, "status": status}
            | {"items": {"object": "list", "data": [item]}}
        )

    assert ids(fake, "/v1/subscriptions") == ["past_due", "incomplete_expired", "active"]
    assert len(ids(fake, "/v1/subscriptions?status=all")) == 4
    assert ids(fake, "/v1/subscriptions?status=ended") == ["incomplete_expired", "canceled"]
    assert ids(fake, "/v1/subscriptions?status=canceled") == ["canceled"]
    assert ids(fake, "/v1/subscriptions?price=price_3") == ["past_due"]


def test_other_lists_are_filtered_by_what_their_objects_name(fake: FakeStripe) -> None:
    refund = {"object": "refund", "created": 1, "charge": "ch_1", "payment_intent": "pi_1"}
    fake.add(refund | {"id": "re_1"})
    fake.add(refund | {"id": "re_2", "charge": {"object": "charge", "id": "ch_2"}})
    moved = {"object": "balance_transaction", "created": 1, "currency": "usd", "payout": "po_1"}
    fake.add(moved | {"id": "txn_1", "type": "charge", "source": "ch_1"})
    fake.add(moved | {"id": "txn_2", "type": "refund", "source": "re_1", "payout": None})
    under = {"subscription_details": {"subscription": "sub_1"}}
    both: list[dict[str, Any]] = [{"parent": under}, {"subscription": "sub_1"}]
    for bill, where in zip(["in_1", "in_2"], both, strict=True):
        fake.add({"object": "invoice", "id": bill, "created": 1, "status": "paid"} | where)
    for number, intent in enumerate(["pi_1", "pi_2"]):
        pays = {"type": "payment_intent", "payment_intent": intent}
        fake.add(
            {"object": "invoice_payment", "id": f"inpay_{number}", "created": number}
            | {"invoice": "in_1", "status": "paid", "payment": pays}
        )
    for price, active in [("price_1", True), ("price_2", False)]:
        fake.add({"object": "price", "id": price, "created": 1, "active": active})
    fake.add({"object": "checkout.session", "id": "cs_1", "created": 1, "subscription": "sub_1"})

    paying = "payment[type]=payment_intent&payment[payment_intent]=pi_1"
    assert ids(fake, "/v1/refunds?charge=ch_2") == ["re_2"]
    assert ids(fake, "/v1/refunds?payment_intent=pi_1") == ["re_2", "re_1"]
    assert ids(fake, "/v1/balance_transactions?payout=po_1&type=charge") == ["txn_1"]
    assert ids(fake, "/v1/balance_transactions?source=re_1") == ["txn_2"]
    assert ids(fake, "/v1/invoices?subscription=sub_1&status=paid") == ["in_2", "in_1"]
    assert ids(fake, f"/v1/invoice_payments?{paying}") == ["inpay_0"]
    assert ids(fake, "/v1/invoice_payments?invoice=in_1&status=paid") == ["inpay_1", "inpay_0"]
    assert ids(fake, "/v1/prices?active=false") == ["price_2"]
    assert ids(fake, "/v1/checkout/sessions?subscription=sub_1") == ["cs_1"]
    assert ids(fake, "/v1/checkout/sessions?subscription=sub_2") == []


def test_fields_that_must_be_asked_for_are_left_out_until_then(fake: FakeStripe) -> None:
    price = {"object": "price", "id": "price_1", "created": 1, "tiers": TIERS}
    coupon = {"object": "coupon", "id": "25 % OFF", "created": 1}
    limit = {"applies_to": {"products": ["prod_1"]}}
    fake.add(price)
    fake.add(coupon | limit)

    bare = {"object": "price", "id": "price_1", "created": 1}
    assert ask(fake, "/v1/prices/price_1").json() == bare
    assert ask(fake, "/v1/prices/price_1?expand[]=tiers").json() == price
    assert ask(fake, "/v1/prices").json()["data"] == [bare]
    assert ask(fake, "/v1/prices?expand[]=data.tiers").json()["data"] == [price]
    assert ask(fake, "/v1/coupons/25%20%25%20OFF").json() == coupon
    assert ask(fake, "/v1/coupons/25%20%25%20OFF?expand[]=applies_to").json() == coupon | limit


def test_other_objects_are_ids_until_expanded_at_every_level(fake: FakeStripe) -> None:
    coupon = {"object": "coupon", "id": "HALF", "percent_off": 50, "applies_to": None}
    discount: dict[str, Any] = {"object": "discount", "id": "di_1"}
    discount["source"] = {"type": "coupon", "coupon": coupon}
    item: dict[str, Any] = {"object": "subscription_item", "id": "si_1", "discounts": [discount]}
    fake.add({"object": "customer", "id": "cus_1", "created": 1, "email": "ann@example.com"})
    whole: dict[str, Any] = {
        "object": "subscription",
        "id": "sub_1",
        "customer": "cus_1",
        "discounts": [discount],
        "items": {"object": "list", "data": [item]},
    }
    fake.add(whole)

    def shown(*expand: str) -> Any:
        query = "&".join(f"expand[]={path}" for path in expand)
        return ask(fake, f"/v1/subscriptions/sub_1?{query}").json()

    bare = whole | {
        "discounts": ["di_1"],
        "items": {"object": "list", "data": [item | {"discounts": ["di_1"]}]},
    }
    by_id = {**discount, "source": {"type": "coupon", "coupon": "HALF"}}
    seen = {"object": "coupon", "id": "HALF", "percent_off": 50}
    assert shown() == bare
    assert shown("discounts") == bare | {"discounts": [by_id]}
    assert shown("discounts.source.coupon") == bare | {
        "discounts": [{**discount, "source": {"type": "coupon", "coupon": seen}}]
    }
    assert shown("items.data.discounts")["items"]["data"] == [item | {"discounts": [by_id]}]
    assert shown("customer")["customer"]["email"] == "ann@example.com"


def test_an_expansion_that_nobody_added_is_said_loudly(fake: FakeStripe) -> None:
    fake.add(charge(1, customer="cus_1", payment_intent=None))

    assert ask(fake, "/v1/charges/ch_1?expand[]=customer").status_code == 501
    nothing = ask(fake, "/v1/charges/ch_1?expand[]=payment_intent").json()
    assert nothing == charge(1, customer="cus_1", payment_intent=None)


def test_an_invoice_shows_ten_lines_and_lists_all(fake: FakeStripe) -> None:
    paid = {"object": "list", "data": [{"object": "invoice_payment", "id": "inpay_1"}]}
    fake.add(invoice(lines=12) | {"payments": paid})

    lines = ask(fake, "/v1/invoices/in_1").json()["lines"]
    assert [line["id"] for line in lines["data"]] == [f"il_{number}" for number in range(10)]
    assert lines["has_more"]
    assert ids(fake, "/v1/invoices/in_1/lines?limit=100") == [f"il_{n}" for n in range(12)]
    assert ids(fake, "/v1/invoices/in_1/lines?starting_after=il_9") == ["il_10", "il_11"]
    assert refused(ask(fake, "/v1/invoices/in_2/lines"))[0] == 404
    assert "payments" not in ask(fake, "/v1/invoices/in_1").json()
    assert ask(fake, "/v1/invoices/in_1?expand[]=payments").json()["payments"] == paid


def test_a_thin_event_needs_its_context_and_a_version(fake: FakeStripe) -> None:
    thin = {"object": "v2.core.event", "id": "evt_1", "type": "v1.invoice.paid", "context": "a/b"}
    fake.add(thin, account="a/b")
    path, version = "/v2/core/events/evt_1", "2026-10-28.endive"

    whole = ask(fake, path, Stripe_Version=version, Stripe_Context="a/b")
    assert whole.json() == thin
    assert refused(ask(fake, path, Stripe_Version=version))[:2] == (404, "not_found")
    by_account = ask(fake, path, Stripe_Version=version, Stripe_Account="a/b")
    assert refused(by_account)[:2] == (404, "not_found")
    assert refused(ask(fake, path, Stripe_Context="a/b"))[0] == 400
    assert refused(ask(fake, f"{path}?expand[]=data", Stripe_Version=version))[0] == 400
    assert refused(ask(fake, "/v1/events/evt_1", Stripe_Account="a/b"))[0] == 404


def test_a_planted_failure_is_answered_as_often_as_told(fake: FakeStripe) -> None:
    fake.add(charge(1))
    fake.fail("/v1/charges", 429, times=2, headers={"Retry-After": "7"})
    fake.fail("/v1/refunds", 200, body=b"<h1>Hello</h1>")

    first, second = ask(fake, "/v1/charges/ch_1"), ask(fake, "/v1/charges")
    assert (first.status_code, second.status_code) == (429, 429)
    assert first.headers["Retry-After"] == "7"
    assert first.json()["error"]["code"] == "rate_limit"
    assert ask(fake, "/v1/charges/ch_1").json() == charge(1)
    assert ask(fake, "/v1/refunds").content == b"<h1>Hello</h1>"
    assert len(fake.requests) == 4


def test_a_hanging_answer_comes_late_and_ends_with_the_fake() -> None:
    threads = threading.active_count()
    with fake_stripe(key=KEY) as fake:
        fake.add(charge(1))
        fake.hang("/v1/charges", 0.3)
        fake.hang("/v1/refunds", 60)
        began = time.monotonic()
        assert ask(fake, "/v1/charges/ch_1").json() == charge(1)
        assert time.monotonic() - began >= 0.3
        with pytest.raises(requests.Timeout):
            requests.get(f"{fake.base}/v1/refunds", timeout=0.1)
    while threading.active_count() > threads:
        assert time.monotonic() - began < 30
        time.sleep(0.01)


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_every_filter_is_a_parameter_of_stripes_own_list(name: str) -> None:
    kind = RESOURCES[name].kind
    words = "".join(word.title() for word in kind.removeprefix("checkout.").split("_"))
    where = sdk_checkout_params if kind.startswith("checkout.") else sdk_params

    known = getattr(where, f"{words}ListParams").__annotations__

    assert RESOURCES[name].filters.keys() <= known.keys()
    assert {"ending_before", "expand", "limit", "starting_after"} <= known.keys()


@pytest.mark.parametrize("kind", sorted(REFERENCES))
def test_every_reference_is_expandable_in_stripes_own_types(kind: str) -> None:
    words = "".join(word.title() for word in kind.split("_"))
    source = inspect.getsource(SDK_CLASSES.get(kind) or getattr(stripe, words))
    declared = set(re.findall(r"(\w+): [\w\[\s]*\bExpandableField\[", source))

    assert {reference.rpartition(".")[2] for reference in REFERENCES[kind]} <= declared
