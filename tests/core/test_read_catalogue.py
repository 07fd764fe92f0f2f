"""Prices, plans, coupons and discounts, in the shapes of every API version."""

from datetime import UTC, datetime
from typing import Any

from app.core.facts import CatalogueItem, Reading
from app.core.reading import catalogue as read_catalogue

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
END = 1_748_736_000

PRICE: dict[str, Any] = {
    "id": "price_1",
    "object": "price",
    "active": True,
    "billing_scheme": "per_unit",
    "currency": "usd",
    "custom_unit_amount": None,
    "product": "prod_1",
    "recurring": {"interval": "year", "interval_count": 1, "meter": None, "usage_type": "licensed"},
    "tiers_mode": None,
    "transform_quantity": {"divide_by": 10, "round": "up"},
    "unit_amount": 1000,
    "unit_amount_decimal": "1000",
}
PRICE_BODY = {
    "id": "price_1",
    "product": "prod_1",
    "currency": "usd",
    "billing_scheme": "per_unit",
    "recurring": {"interval": "year", "interval_count": 1, "usage_type": "licensed"},
    "transform_quantity": {"divide_by": 10, "round": "up"},
    "unit_amount_decimal": "1000",
}
COUPON: dict[str, Any] = {
    "id": "SAVE",
    "object": "coupon",
    "amount_off": None,
    "currency": None,
    "duration": "repeating",
    "duration_in_months": 3,
    "percent_off": 12.5,
}
COUPON_BODY = {"duration": "repeating", "percent_off": "12.5"}
DISCOUNT: dict[str, Any] = {
    "id": "di_1",
    "object": "discount",
    "customer": "cus_1",
    "start": 1_740_830_400,
    "end": END,
    "subscription": "sub_1",
    "subscription_item": None,
}
DISCOUNT_BODY = {
    "coupon": "SAVE",
    "customer": "cus_1",
    "start": 1_740_830_400,
    "end": END,
    "subscription": "sub_1",
}


def said(*items: tuple[str, str, dict[str, Any]]) -> Reading:
    return Reading(
        catalogue=tuple(
            CatalogueItem(kind=kind, id=item_id, stated_at=NOON, body=body)
            for kind, item_id, body in items
        )
    )


def test_a_price_and_its_old_plan_say_the_same() -> None:
    plan = {
        "id": "price_1",
        "object": "plan",
        "amount": 1000,
        "amount_decimal": "1000.00",
        "billing_scheme": "per_unit",
        "currency": "usd",
        "interval": "year",
        "interval_count": 1,
        "product": {"id": "prod_1"},
        "tiers_mode": None,
        "transform_usage": {"divide_by": 10, "round": "up"},
        "usage_type": "licensed",
    }

    assert read_catalogue.price(PRICE, NOON, None) == said(("price", "price_1", PRICE_BODY))
    assert read_catalogue.plan(plan, NOON, None) == said(("price", "price_1", PRICE_BODY))


def test_tiers_and_currencies_are_items_of_their_own() -> None:
    whole = PRICE | {
        "billing_scheme": "tiered",
        "tiers_mode": "volume",
        "transform_quantity": None,
        "unit_amount": None,
        "unit_amount_decimal": "0.5",
        "tiers": [
            {"up_to": 5, "unit_amount": 700, "flat_amount": None, "unit_amount_decimal": "700"},
            {"up_to": "inf", "unit_amount": None, "flat_amount": 9000},
            {"up_to": None, "amount": 300},
        ],
        "currency_options": {
            "eur": {"unit_amount": 900, "tax_behavior": "exclusive"},
            "gbp": {"unit_amount": None, "tiers": [{"up_to": None, "unit_amount": 600}]},
        },
    }
    body = PRICE_BODY | {
        "billing_scheme": "tiered",
        "tiers_mode": "volume",
        "unit_amount_decimal": "0.5",
    }
    del body["transform_quantity"]
    tiers = [
        {"up_to": 5, "unit_amount_decimal": "700"},
        {"up_to": None, "flat_amount_decimal": "9000"},
        {"up_to": None, "unit_amount_decimal": "300"},
    ]
    currencies = {
        "eur": {"unit_amount_decimal": "900"},
        "gbp": {"tiers": [{"up_to": None, "unit_amount_decimal": "600"}]},
    }

    assert read_catalogue.price(whole, NOON, None) == said(
        ("price", "price_1", body),
        ("price.tiers", "price_1", {"tiers": tiers}),
        ("price.currency_options", "price_1", currencies),
    )


def test_a_coupon_says_its_products_only_on_request() -> None:
    assert read_catalogue.coupon(COUPON, NOON, None) == said(("coupon", "SAVE", COUPON_BODY))
    for given, products in (({"products": ["b", "a"]}, ["a", "b"]), (None, None)):
        assert read_catalogue.coupon(COUPON | {"applies_to": given}, NOON, None) == said(
            ("coupon", "SAVE", COUPON_BODY),
            ("coupon.applies_to", "SAVE", {"products": products}),
        )


def test_an_amount_off_has_its_currencies() -> None:
    amount = COUPON | {
        "percent_off": None,
        "amount_off": 500,
        "currency": "usd",
        "duration": "forever",
        "currency_options": {"eur": {"amount_off": 450}},
    }

    assert read_catalogue.coupon(amount, NOON, None) == said(
        ("coupon", "SAVE", {"duration": "forever", "amount_off": 500, "currency": "usd"}),
        ("coupon.currency_options", "SAVE", {"eur": {"amount_off": 450}}),
    )


def test_a_discount_says_the_same_in_both_shapes_and_the_old_one_brings_its_coupon() -> None:
    clover = DISCOUNT | {"source": {"type": "coupon", "coupon": "SAVE"}}
    basil = DISCOUNT | {"coupon": COUPON}
    expanded = DISCOUNT | {"source": {"type": "coupon", "coupon": COUPON}}
    both = said(("discount", "di_1", DISCOUNT_BODY), ("coupon", "SAVE", COUPON_BODY))

    assert read_catalogue.discount(clover, NOON, None) == said(("discount", "di_1", DISCOUNT_BODY))
    assert read_catalogue.discount(basil, NOON, None) == both
    assert read_catalogue.discount(expanded, NOON, None) == both


def test_a_discount_of_before_2020_has_no_id_but_a_coupon() -> None:
    old = {**DISCOUNT, "coupon": COUPON}
    del old["id"]

    assert read_catalogue.discount(old, NOON, None) == said(("coupon", "SAVE", COUPON_BODY))
