"""What a subscription is worth a month (MRR), in the currency's minor unit.

Stripe's rule: active and past_due count whole; trials, metered prices, one-off discounts and tax
on top do not. A price that includes tax counts with it: what the tax was, only invoices say. A
customer's own discount is not taken off: no subscription names it.
https://docs.stripe.com/billing/subscriptions/analytics
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from app.core.facts import PlanChange, Snapshot
from app.core.money import rounded
from app.core.reading.shapes import Json, id_of, item_price, mapping, rows
from app.core.worth.discounts import (
    Key,
    Line,
    Lookup,
    Reduction,
    Unknown,
    listed,
    reduced,
    reduction,
)
from app.core.worth.tiers import flat_rate, tiered

# Averages, as Stripe's own dashboards use; no month is favoured.
PER_MONTH = {
    "day": Fraction(365, 12),
    "week": Fraction(52, 12),
    "month": Fraction(1),
    "year": Fraction(1, 12),
}
COUNTED = ("active", "past_due")
MOST = 10**15  # minor units a month; what is beyond is no amount of money


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """`minor` a month; None: unknown, which is never 0.

    `missing` are the catalogue items (kind, id) that would say or correct it, `asked` all that
    had a part in it. When a discount runs out later, `minor_after` holds from
    `discount_ends_at` on.
    """

    minor: int | None
    missing: frozenset[Key] = frozenset()
    asked: frozenset[Key] = frozenset()
    discount_ends_at: datetime | None = None
    minor_after: int | None = None


def worth(snapshot: Snapshot, at: datetime, catalogue: Mapping[Key, Json]) -> Worth:
    """What the subscription is worth a month as it stood at `at`, rounded once per item."""
    if snapshot.status not in COUNTED or snapshot.paused_collection:
        return Worth(minor=0)
    look = Lookup(catalogue)
    lines = _lines(snapshot, at, look)
    free = lines is not None and not any(line.amount for line in lines)  # no discount matters
    reductions = [] if free else _reductions(snapshot, at, look)
    minor, ends_at, after = None, None, None
    if lines is not None and reductions is not None:
        minor = _sum(lines, reductions, at)
        ends_at, after = _next_step(lines, reductions, minor)
    return Worth(
        minor=minor,
        missing=frozenset(look.missing),
        asked=frozenset(look.asked),
        discount_ends_at=ends_at,
        minor_after=after,
    )


def currency_of(snapshot: Snapshot) -> str | None:
    """The subscription's currency; its first price's where it does not say (before 2022)."""
    found = snapshot.currency or next(
        (price.get("currency") for item in snapshot.items if (price := item_price(item))), None
    )
    return found.lower() if isinstance(found, str) else None


def churn_of(snapshot: Snapshot) -> str | None:
    """voluntary or involuntary, where the subscription says why it counts no more: `unpaid` is
    what Stripe makes of it when all retries failed."""
    return snapshot.churn or ("involuntary" if snapshot.status == "unpaid" else None)


# --- list prices


def monthly(
    items: Iterable[Json], prices: Mapping[str, Mapping[str, Any]] | None = None
) -> Fraction | None:
    """Minor units a month over all items, before discounts; None if any price is unknown here.

    Tiers are not in webhook events; `prices` by id may know them. Metered items weigh nothing.
    """
    total = Fraction(0)
    for item in items:
        worth = item_monthly(item, prices)
        if worth is None:
            return None
        total += worth
    return total


def item_monthly(
    item: Json, prices: Mapping[str, Mapping[str, Any]] | None = None
) -> Fraction | None:
    """One item's list price a month, in the price's own currency."""
    known: dict[Key, Json] = {}
    for price_id, price in (prices or {}).items():
        known["price", price_id] = price
        if isinstance(price.get("tiers"), list):
            known["price.tiers", price_id] = price
    return _item_monthly(item, None, Lookup(known))


def price_ids(change: PlanChange) -> frozenset[str]:
    """The prices that only the catalogue could put a number to."""
    return frozenset(
        price_id
        for item in (*change.before, *change.after)
        if item_monthly(item) is None and (price_id := _price_id(item))
    )


def _price_id(item: Json) -> str | None:
    return id_of(item.get("price")) or id_of(item.get("plan"))


def _item_monthly(item: Json, currency: str | None, look: Lookup) -> Fraction | None:
    price = _price(item, look)
    often = None if price is None else _often(price)
    if price is None or often is None:
        return None
    if mapping(price.get("recurring")).get("usage_type") == "metered":
        return Fraction(0)
    price_id = _price_id(item)
    own = str(price.get("currency") or currency or "").lower()
    if currency and own != currency:
        priced = _in_currency(price, price_id, currency, look)
        if priced is None:
            return None
        price = priced
    quantity = Fraction(int(item.get("quantity", 1) or 0))
    if price.get("billing_scheme") != "tiered":
        amount = flat_rate(price, quantity)
    else:
        tiers = _tiers(price, price_id, look, foreign=bool(currency) and own != currency)
        amount = None if tiers is None else tiered(price, tiers, quantity)
    return None if amount is None else amount * often


def _price(item: Json, look: Lookup) -> Json | None:
    """The item's price: Stripe includes it; a bare id is looked up."""
    if mapping(item.get("price")) or mapping(item.get("plan")):
        return item_price(item)
    return look.get("price", _price_id(item))


def _often(price: Json) -> Fraction | None:
    """How many billing periods of this price are in a month."""
    recurring = mapping(price.get("recurring"))
    factor = PER_MONTH.get(str(recurring.get("interval")))
    return None if factor is None else factor / int(recurring.get("interval_count") or 1)


def _in_currency(price: Json, price_id: str | None, currency: str, look: Lookup) -> Json | None:
    """A price in several currencies shows its first one's amounts, whoever pays in another."""
    options = price.get("currency_options") or look.get("price.currency_options", price_id)
    option = mapping(mapping(options).get(currency))
    names = ("unit_amount", "unit_amount_decimal", "tiers")
    return {**price, **{name: option.get(name) for name in names}} if option else None


def _tiers(price: Json, price_id: str | None, look: Lookup, *, foreign: bool) -> list[Json] | None:
    if isinstance(price.get("tiers"), list):
        return rows(price["tiers"])
    if foreign:
        return None
    found = look.get("price.tiers", price_id)
    return None if found is None else rows(found.get("tiers"))


# --- discounts


def _lines(snapshot: Snapshot, at: datetime, look: Lookup) -> list[Line] | None:
    """The items in numbers; None if one is unknown. Goes on after it, to ask for all at once."""
    currency, products = currency_of(snapshot), _products(snapshot)
    found, whole = [], True
    for item in snapshot.items:
        amount = _item_monthly(item, currency, look)
        own = _read(listed(item), currency, look, at, products) if amount != 0 else []
        if amount is None or own is None:
            whole = False
            continue
        price = _price(item, look) or {}
        found.append(
            Line(
                product=id_of(price.get("product")),
                amount=amount,
                monthly=_often(price) or Fraction(1),
                reductions=tuple(own),
            )
        )
    return found if whole else None


def _reductions(snapshot: Snapshot, at: datetime, look: Lookup) -> list[Reduction] | None:
    return _read(snapshot.discounts, currency_of(snapshot), look, at, _products(snapshot))


def _products(snapshot: Snapshot) -> int:
    return len({id_of(item_price(item).get("product")) for item in snapshot.items})


def _read(
    given: Iterable[object], currency: str | None, look: Lookup, at: datetime, products: int
) -> list[Reduction] | None:
    found, whole = [], True
    for one in given:
        try:
            found.append(reduction(one, currency, look, at=at, products=products))
        except Unknown:
            whole = False
    return [one for one in found if one] if whole else None


def _sum(lines: Sequence[Line], reductions: Sequence[Reduction], at: datetime) -> int | None:
    total = sum(rounded(amount) for amount in reduced(lines, reductions, at))
    return total if abs(total) < MOST else None


def _next_step(
    lines: Sequence[Line], reductions: Sequence[Reduction], minor: int | None
) -> tuple[datetime | None, int | None]:
    """(when, worth from then on) of the first end of a discount that makes a difference."""
    everything = [*reductions, *(one for line in lines for one in line.reductions)]
    for ends_at in sorted({one.ends_at for one in everything if one.ends_at}):
        after = _sum(lines, reductions, ends_at)
        if after != minor:
            return ends_at, after
    return None, None
