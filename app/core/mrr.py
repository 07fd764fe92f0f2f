"""What a subscription is worth a month: exact fractions of the currency's minor unit."""

from collections.abc import Iterable
from fractions import Fraction

from app.core.stripe_shapes import Json, item_price, mapping

# Averages, as Stripe's own dashboards use; no month is favoured.
PER_MONTH = {
    "day": Fraction(365, 12),
    "week": Fraction(52, 12),
    "month": Fraction(1),
    "year": Fraction(1, 12),
}


def monthly(items: Iterable[Json]) -> Fraction | None:
    """Minor units a month over all items, before discounts; None if any price is unknown here
    (tiers and custom amounts are not in webhook events). Metered items weigh nothing."""
    total = Fraction(0)
    for item in items:
        worth = item_monthly(item)
        if worth is None:
            return None
        total += worth
    return total


def item_monthly(item: Json) -> Fraction | None:
    price = item_price(item)
    recurring = mapping(price.get("recurring"))
    if recurring.get("usage_type") == "metered":
        return Fraction(0)
    unit = price.get("unit_amount_decimal") or price.get("unit_amount")
    factor = PER_MONTH.get(str(recurring.get("interval")))
    if unit is None or factor is None or price.get("billing_scheme") == "tiered":
        return None
    count = recurring.get("interval_count") or 1
    return Fraction(str(unit)) * _quantity(item, price) * factor / int(count)


def _quantity(item: Json, price: Json) -> Fraction:
    quantity = Fraction(int(item.get("quantity", 1) or 0))
    packs = mapping(price.get("transform_quantity"))
    if not packs:
        return quantity
    whole, rest = divmod(quantity, Fraction(int(packs.get("divide_by", 1))))
    return Fraction(whole + (1 if rest and packs.get("round") == "up" else 0))
