"""Up, down, or more of the same: what became of a subscription's items in one update."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from app.core.facts import PlanChange
from app.core.money import Money, rounded
from app.core.reading import shapes
from app.core.reading.shapes import Json
from app.core.worth.mrr import item_monthly, monthly

# What the worth of an item is worked out from.
WEIGHED = (
    *("id", "currency", "billing_scheme", "unit_amount", "unit_amount_decimal", "tiers_mode"),
    *("tiers", "transform_quantity", "custom_unit_amount", "recurring"),
)


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """`kind` is the name as far as it is known now, `plan_changed` where only the catalogue can
    tell (then `change` has both sides). `told_apart` differs for two changes of one second."""

    name: str
    kind: str
    told_apart: str
    properties: Mapping[str, Any]
    change: PlanChange | None = None


def plan_changed(subscription: Json, previous: Json) -> PlanChanged | None:
    """Other prices are an upgrade or a downgrade by what all items are worth a month at list
    price; worth the same, they are neither."""
    items, old = shapes.rows(subscription.get("items")), _previous_items(subscription, previous)
    if old is None or _contents(items) == _contents(old):
        return None  # a period roll lists the items again
    told_apart, properties = _digest(old, items), _properties(subscription, items, old)
    if _prices(items) == _prices(old):
        name = "subscription_quantity_changed"
        return PlanChanged(name, name, told_apart, properties)
    worth, before = monthly(items), monthly(old)
    if worth is None or before is None:
        change = PlanChange(_weighed(old), _weighed(items))
        return PlanChanged("subscription_upgraded", "plan_changed", told_apart, properties, change)
    if worth == before:
        return None
    name = "subscription_upgraded" if worth > before else "subscription_downgraded"
    return PlanChanged(name, name, told_apart, properties)


def _properties(subscription: Json, items: list[Json], old: list[Json]) -> dict[str, Any]:
    currency = shapes.subscription_currency(subscription)
    return {
        "previous_price_id": shapes.id_of(shapes.item_price(old[0])) if old else None,
        "previous_quantity": shapes.items_quantity(old),
        "currency": currency.upper() if currency else None,
        "monthly_amount": _monthly_amount(items, currency),
        "previous_monthly_amount": _monthly_amount(old, currency),
    }


def _monthly_amount(items: list[Json], currency: str | None) -> float | None:
    """At list price, each item rounded once to the minor unit. None if a price is unknown here, or
    is listed in another currency than this customer pays."""
    worths = [item_monthly(item) for item in items]
    known = [rounded(worth) for worth in worths if worth is not None]
    listed = {shapes.item_price(item).get("currency") or currency for item in items}
    if currency is None or len(known) < len(worths) or not listed <= {currency}:
        return None
    return Money(sum(known), currency).number


def _weighed(items: list[Json]) -> list[dict[str, Any]]:
    priced = [(item, shapes.item_price(item)) for item in items]
    return [
        {
            "price": {field: price[field] for field in WEIGHED if field in price},
            **({"quantity": item["quantity"]} if "quantity" in item else {}),
        }
        for item, price in priced
    ]


def _previous_items(subscription: Json, previous: Json) -> list[Json] | None:
    """Stripe lists the whole previous array; very old events of one-item subscriptions name only
    `plan` or `quantity` at the top."""
    if "items" in previous:
        return shapes.rows(previous["items"])
    items = shapes.rows(subscription.get("items"))
    if len(items) != 1 or not ("plan" in previous or "quantity" in previous):
        return None
    old = dict(items[0])
    if "plan" in previous:
        old |= {"plan": previous["plan"], "price": None}
    return [{**old, "quantity": previous.get("quantity", items[0].get("quantity"))}]


def _digest(old: list[Json], items: list[Json]) -> str:
    change = repr((_contents(old), _contents(items))).encode()
    return blake2b(change, digest_size=4).hexdigest()


def _contents(items: list[Json]) -> list[tuple[str, int]]:
    return sorted(
        (str(shapes.item_price(item).get("id")), shapes.items_quantity([item])) for item in items
    )


def _prices(items: list[Json]) -> list[str]:
    return sorted(str(shapes.item_price(item).get("id")) for item in items)
