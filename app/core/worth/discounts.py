"""What discounts take off a subscription's monthly worth: exact, item by item.

https://docs.stripe.com/billing/subscriptions/coupons: an item's own discounts come first, then
the subscription's, each off what the one before it left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from app.core.reading.shapes import Json, exact, id_of, mapping, time_or_none

Key = tuple[str, str]  # (kind, Stripe id) of a catalogue item


class Lookup:
    """The catalogue during one measurement: remembers what was asked of it, and what it lacks."""

    def __init__(self, known: Mapping[Key, Json]) -> None:
        self._known = known
        self.asked: set[Key] = set()
        self.missing: set[Key] = set()

    def get(self, kind: str, item_id: str | None) -> Json | None:
        if not item_id:
            return None
        found = self._known.get((kind, item_id))
        self.asked.add((kind, item_id))
        if found is None:
            self.missing.add((kind, item_id))
        return found


class Unknown(Exception):
    """It cannot be said from what is here and in the catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A subscription item: `amount` a month, `monthly` the number of its invoices a month."""

    product: str | None
    amount: Fraction
    monthly: Fraction
    reductions: tuple["Reduction", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """A discount in force. `amount` is per invoice, in the subscription's currency; `products`
    None: all. `ends_at` None: for ever."""

    percent: Fraction | None
    amount: Fraction | None
    products: frozenset[str] | None
    ends_at: datetime | None

    def is_on(self, at: datetime) -> bool:
        return self.ends_at is None or at < self.ends_at

    def takes_from(self, line: Line) -> bool:
        return line.amount > 0 and (self.products is None or line.product in self.products)


def coupon_of(discount: Json) -> Json | str | None:
    """The coupon, whole or its id: in `coupon`, since clover (2025-09-30) in `source.coupon`."""
    found = discount.get("coupon") or mapping(discount.get("source")).get("coupon")
    return found if isinstance(found, (Mapping, str)) and found else None


def reduction(
    given: object, currency: str | None, look: Lookup, *, at: datetime, products: int
) -> Reduction | None:
    """A discount (object or id) as it stands at `at`; None: it reduces nothing a month.

    Raises Unknown. `once` is an incentive and never MRR. A coupon that does not say its products
    (Stripe includes them only on request) is taken for all, and asked for if they could matter.
    """
    discount = given if isinstance(given, Mapping) else None
    if discount is None:
        discount = look.get("discount", id_of(given))
    if discount is None:
        raise Unknown
    ends_at = time_or_none(discount, "end")
    if ends_at is not None and ends_at <= at:
        return None
    coupon = coupon_of(discount)
    coupon_id = id_of(coupon)
    if isinstance(coupon, str):
        coupon = look.get("coupon", coupon)
    if coupon is None:
        raise Unknown
    if coupon.get("duration") == "once":
        return None
    percent = coupon.get("percent_off")
    return Reduction(
        percent=None if percent is None else exact(percent),
        amount=_amount_off(coupon, coupon_id, currency, look) if percent is None else None,
        products=_products(coupon, coupon_id, look) if products > 1 else _said(coupon),
        ends_at=ends_at,
    )


def _amount_off(
    coupon: Json, coupon_id: str | None, currency: str | None, look: Lookup
) -> Fraction:
    own = coupon.get("currency")
    if currency in (None, own) and coupon.get("amount_off") is not None:
        return exact(coupon["amount_off"])
    options = coupon.get("currency_options") or look.get("coupon.currency_options", coupon_id)
    amount = mapping(mapping(options).get(currency or "")).get("amount_off")
    if amount is None:
        raise Unknown
    return exact(amount)


def _said(coupon: Json) -> frozenset[str] | None:
    products = mapping(coupon.get("applies_to")).get("products")
    return frozenset(products) if isinstance(products, list) else None


def _products(coupon: Json, coupon_id: str | None, look: Lookup) -> frozenset[str] | None:
    if "applies_to" in coupon:
        return _said(coupon)
    return _said({"applies_to": look.get("coupon.applies_to", coupon_id)})


def reduced(lines: Sequence[Line], reductions: Sequence[Reduction], at: datetime) -> list[Fraction]:
    """What each line is worth a month at `at`, after its own discounts and the subscription's."""
    left = []
    for line in lines:
        for one in line.reductions:
            line = _off([line], one, at)[0]
        left.append(line)
    for one in reductions:
        left = _off(left, one, at)
    return [line.amount for line in left]


def _off(lines: list[Line], one: Reduction, at: datetime) -> list[Line]:
    """An amount is taken once an invoice, so at the shortest interval, in proportion to lines."""
    touched = [line for line in lines if one.takes_from(line)]
    total = sum((line.amount for line in touched), Fraction(0))
    if not touched or not one.is_on(at):
        return lines
    if one.percent is not None:
        rest = 1 - min(one.percent, Fraction(100)) / 100
    else:
        taken = (one.amount or 0) * max(line.monthly for line in touched)
        rest = 1 - min(taken, total) / total
    return [
        replace(line, amount=line.amount * rest) if one.takes_from(line) else line for line in lines
    ]


def listed(obj: Json) -> list[Any]:
    """The discounts of an item: `discounts` (objects or ids), or the old single `discount`."""
    found = obj.get("discounts") or [obj.get("discount")]
    return [one for one in found if one] if isinstance(found, list) else []
