"""price.*, plan.*, coupon.*, customer.discount.*: what subscriptions only point to by id.

What Stripe includes only on request (tiers, a coupon's products, further currencies) is a
catalogue item of its own, named by its path there, so that an event that leaves it out does not
take it away. Bodies are equal for equal things in every API version.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.core.facts import CatalogueItem, Reading
from app.core.reading import shapes
from app.core.reading.shapes import Json, mapping, rows
from app.core.worth.discounts import coupon_of

AMOUNTS = ("unit_amount", "flat_amount")


def price(obj: Json, announced: datetime, _previous: Json | None) -> Reading:
    """price.created, .updated, .deleted: a deleted price still bills who has it."""
    return Reading(catalogue=price_items(obj, announced))


def plan(obj: Json, announced: datetime, _previous: Json | None) -> Reading:
    """plan.*: a price as it was told before 2020-08-27, under the same id."""
    whole = shapes.item_price({"plan": obj})
    return Reading(catalogue=price_items(whole, announced))


def coupon(obj: Json, announced: datetime, _previous: Json | None) -> Reading:
    """coupon.*: a deleted coupon still reduces what it was put on."""
    return Reading(catalogue=coupon_items(obj, announced))


def discount(obj: Json, announced: datetime, _previous: Json | None) -> Reading:
    """customer.discount.*: also those of subscriptions and their items."""
    return Reading(catalogue=discount_items(obj, announced))


def price_items(obj: Json, stated_at: datetime) -> tuple[CatalogueItem, ...]:
    """A price, its tiers and its further currencies, as far as they are in it."""
    found: list[tuple[str, Json]] = [("price", _price(obj))]
    if isinstance(obj.get("tiers"), list):
        found.append(("price.tiers", {"tiers": _tiers(obj)}))
    if mapping(obj.get("currency_options")):
        found.append(("price.currency_options", _price_currencies(obj)))
    return _items(found, shapes.text(obj, "id"), stated_at)


def coupon_items(obj: Json, stated_at: datetime) -> tuple[CatalogueItem, ...]:
    """A coupon, its products and its further currencies, as far as they are in it."""
    body = {
        "duration": obj.get("duration"),
        "percent_off": _plain(obj.get("percent_off")),
        "amount_off": obj.get("amount_off"),
        "currency": obj.get("currency"),
    }
    found: list[tuple[str, Json]] = [("coupon", _without_nulls(body))]
    if "applies_to" in obj:
        products = mapping(obj["applies_to"]).get("products")
        said = sorted(products) if isinstance(products, list) else None
        found.append(("coupon.applies_to", {"products": said}))
    if options := mapping(obj.get("currency_options")):
        amounts = {
            name: {"amount_off": mapping(options[name]).get("amount_off")} for name in options
        }
        found.append(("coupon.currency_options", amounts))
    return _items(found, shapes.text(obj, "id"), stated_at)


def discount_items(obj: Json, stated_at: datetime) -> tuple[CatalogueItem, ...]:
    """A discount, and its coupon where that is in it."""
    coupon_in_it = coupon_of(obj)
    body = {
        "coupon": shapes.id_of(coupon_in_it),
        "start": obj.get("start"),
        "end": obj.get("end"),
        "customer": shapes.customer(obj),
        "subscription": shapes.id_of(obj.get("subscription")),
        "subscription_item": shapes.id_of(obj.get("subscription_item")),
    }
    items: tuple[CatalogueItem, ...] = ()
    if discount_id := shapes.id_of(obj):  # before 2020-08-27 a discount had none
        items = _items([("discount", _without_nulls(body))], discount_id, stated_at)
    if isinstance(coupon_in_it, str) or coupon_in_it is None:
        return items
    return items + coupon_items(coupon_in_it, stated_at)


def _items(
    found: list[tuple[str, Json]], item_id: str, stated_at: datetime
) -> tuple[CatalogueItem, ...]:
    return tuple(
        CatalogueItem(kind=kind, id=item_id, stated_at=stated_at, body=body) for kind, body in found
    )


def _price(obj: Json) -> dict[str, Any]:
    recurring = mapping(obj.get("recurring"))
    packs = mapping(obj.get("transform_quantity"))
    body = {
        "id": shapes.text(obj, "id"),
        "product": shapes.id_of(obj.get("product")),
        "currency": obj.get("currency"),
        "billing_scheme": obj.get("billing_scheme") or "per_unit",
        "tiers_mode": obj.get("tiers_mode"),
        "recurring": {
            "interval": recurring.get("interval"),
            "interval_count": recurring.get("interval_count") or 1,
            "usage_type": recurring.get("usage_type") or "licensed",
        }
        if recurring.get("interval")
        else None,
        "transform_quantity": {"divide_by": packs.get("divide_by"), "round": packs.get("round")}
        if packs
        else None,
        **_amounts(obj),
    }
    return _without_nulls(body)


def _tiers(obj: Json) -> list[Json]:
    return [{"up_to": _up_to(tier), **_amounts(tier)} for tier in rows(obj.get("tiers"))]


def _up_to(tier: Json) -> int | None:
    return None if tier.get("up_to") in (None, "inf") else int(tier["up_to"])


def _price_currencies(obj: Json) -> dict[str, Json]:
    return {
        name: {**_amounts(option), **({"tiers": _tiers(option)} if option.get("tiers") else {})}
        for name, option in mapping(obj.get("currency_options")).items()
    }


def _amounts(obj: Json) -> dict[str, str]:
    """Exact amounts in one spelling: Stripe gives an integer, a decimal, or both."""
    return {f"{name}_decimal": amount for name, amount in _spelt(obj)}


def _spelt(obj: Json) -> Iterator[tuple[str, str]]:
    for name in AMOUNTS:
        precise = obj.get(f"{name}_decimal")
        value = obj.get(name) if precise is None else precise
        if value is None and name == "unit_amount":
            value = obj.get("amount")  # of a tier, before 2018-10-31
        if value is not None:
            yield name, str(_plain(value))


def _plain(value: object) -> str | None:
    """25, 25.0 and "25.00" alike."""
    if value is None:
        return None
    shapes.exact(value)  # a number at all
    return f"{Decimal(str(value)).normalize():f}"


def _without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
