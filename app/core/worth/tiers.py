"""What a quantity costs at a price, once per billing period, in the currency's minor unit.

https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing
"""

from collections.abc import Sequence
from fractions import Fraction

from app.core.reading.shapes import Json, exact, mapping


def decimal(obj: Json, field: str) -> Fraction | None:
    """An amount: `<field>_decimal` (up to 12 decimals) where Stripe says it, else the integer."""
    precise, whole = obj.get(f"{field}_decimal"), obj.get(field)
    value = whole if precise is None else precise
    return None if value is None else exact(value)


def flat_rate(price: Json, quantity: Fraction) -> Fraction | None:
    """Per unit, or per pack of units; None where the customer chooses the amount."""
    unit = decimal(price, "unit_amount")
    return None if unit is None else unit * _packs(price, quantity)


def tiered(price: Json, tiers: Sequence[Json], quantity: Fraction) -> Fraction | None:
    """`volume`: one tier for all units. `graduated`: each unit in the tier it falls into.

    Stripe charges the flat amount of each tier that is reached, and the first one's always.
    """
    if price.get("tiers_mode") == "volume":
        reached = (t for t in tiers if (top := _top(t)) is None or quantity <= top)
        tier = next(reached, None)
        return None if tier is None else _units(tier, quantity)
    total, below = Fraction(0), Fraction(0)
    for tier in tiers:
        top = _top(tier)
        upper = quantity if top is None else min(quantity, top)
        if below == 0 or upper > below:
            total += _units(tier, upper - below)
        if top is None or quantity <= top:
            return total
        below = top
    return None


def _units(tier: Json, units: Fraction) -> Fraction:
    """`amount` was the unit's before 2018-10-31."""
    unit = decimal(tier, "unit_amount") or decimal(tier, "amount") or Fraction(0)
    return unit * units + (decimal(tier, "flat_amount") or Fraction(0))


def _top(tier: Json) -> Fraction | None:
    """The last unit of the tier; None: no end (`inf` when it is written, null when read)."""
    top = tier.get("up_to")
    return None if top in (None, "inf") else exact(top)


def _packs(price: Json, quantity: Fraction) -> Fraction:
    packs = mapping(price.get("transform_quantity"))
    if not packs:
        return quantity
    whole, rest = divmod(quantity, exact(packs.get("divide_by", 1)))
    return Fraction(whole + (1 if rest and packs.get("round") == "up" else 0))
