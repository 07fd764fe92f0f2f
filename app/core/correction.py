"""Corrections: what a revenue entry counts is changed by new entries, never by changing it.

A correction is told by an event of our own, which is kept and processed as Stripe's are.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from app.core.money import Money, exponent, share

TYPE = "bridge.revenue_corrected"
KIND = "correction"
AMOUNT = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,9}))?(?: +([A-Za-z]{3}))?")
# Which way the money of each kind goes.
SIGNS = {"payment": 1, "refund": -1, "refund_reversal": 1, "dispute": -1, "dispute_reversal": 1}


class Unclear(ValueError):
    """An amount that cannot be meant: which option it is in, and why, for people."""


@dataclass(frozen=True, slots=True)
class Part:
    """Money in one currency, with the tax and the discount in it, minor units with its sign; None:
    not known."""

    money: Money
    tax_minor: int | None = None
    discount_minor: int | None = None

    @property
    def empty(self) -> bool:
        return not (self.money.minor or self.tax_minor or self.discount_minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A revenue entry, and what it `counts` with its corrections so far: a part for each currency
    in which that is not nothing. `currency` is its own; `ids` are Stripe's, by column; `number` is
    that of its last correction, 0 for none."""

    account: str
    livemode: bool
    key: str
    kind: str
    currency: str
    occurred_at: datetime
    effective_date: date
    out_of_band: bool | None
    ids: Mapping[str, str]
    counts: Sequence[Part]
    number: int


def amount(text: str, option: str, currency: str) -> Money:
    """What a person wrote in whole units, `-12.99` or `12.99 EUR`; without a currency, in this one.
    Raises Unclear: `1,000` and `1.000` are refused where they could be a thousand."""
    found = AMOUNT.fullmatch(text.strip())
    if found is None:
        raise Unclear(f'{option}: expected whole units such as 12.99 or "12.99 EUR".')
    sign, whole, decimals, named = found.groups(default="")
    currency = named.lower() or currency
    places = exponent(currency)
    if len(decimals) > places:
        raise Unclear(f"{option}: {currency.upper()} has {places} decimals, not {len(decimals)}.")
    return Money(int(f"{sign}{whole}{decimals.ljust(places, '0')}"), currency)


def check(booked: Booked, to: Money, tax: Money | None) -> None:
    """Raises Unclear for amounts that such an entry cannot have."""
    sign = SIGNS[booked.kind]
    if to.minor * sign < 0:
        which = "negative" if sign < 0 else "positive"
        raise Unclear(f"--to: a {booked.kind.replace('_', ' ')} is {which}, or nothing.")
    if tax is None:
        return
    if tax.currency != to.currency:
        raise Unclear("--tax: expected in the currency of --to.")
    if tax.minor * sign < 0 or abs(tax.minor) > abs(to.minor):
        raise Unclear("--tax: it is a part of --to, with its sign.")


def changes(booked: Booked, to: Money, tax: Money | None = None) -> list[Part]:
    """What must be added so that the entry counts `to` and nothing else; none if it does already.

    Tax and discount stay the same part of the amount, unless `tax` says what is in `to`: so undoing
    the whole undoes them too. In a new currency they are that part of it.
    """
    found = [_change(now, to, tax) for now in booked.counts]
    if to.minor and to.currency not in {now.money.currency for now in booked.counts}:
        old = booked.counts[0] if len(booked.counts) == 1 else Part(Money(0, to.currency))
        found.append(_scaled(old, to, tax))
    return [part for part in found if not part.empty]


def _change(now: Part, to: Money, tax: Money | None) -> Part:
    """From what it counts in one currency to what it is to count in it."""
    currency = now.money.currency
    same = to.currency == currency
    wanted = _scaled(now, to, tax) if same else _scaled(now, Money(0, currency), None)
    return Part(
        Money(wanted.money.minor - now.money.minor, currency),
        _less(wanted.tax_minor, now.tax_minor),
        _less(wanted.discount_minor, now.discount_minor),
    )


def _scaled(now: Part, to: Money, tax: Money | None) -> Part:
    in_tax, discount = (
        None if one is None else share(one, to.minor, now.money.minor)
        for one in (now.tax_minor, now.discount_minor)
    )
    return Part(to, tax.minor if tax else in_tax, discount)


def _less(wanted: int | None, now: int | None) -> int | None:
    return None if wanted is None else wanted - (now or 0)


# --- the event that says so


def event_id(booked: Booked, number: int) -> str:
    """The same for all who correct an entry as it stands: two at once make one correction."""
    mode = "live" if booked.livemode else "test"
    said = f"{booked.account}|{mode}|{booked.key}|{number}"
    return f"correction:{hashlib.sha256(said.encode()).hexdigest()[:40]}"


def correction_key(key: str, number: int, currency: str | None = None) -> str:
    """Of the first entry of a correction; of its second one with the currency."""
    return f"{KIND}:{key}:{number}" + (f":{currency}" if currency else "")


def event(booked: Booked, number: int, parts: Sequence[Part], now: datetime) -> dict[str, Any]:
    """In the shape of Stripe's events. Stripe's ids have Stripe's names, so that whoever is
    forgotten is found in it."""
    return {
        "id": event_id(booked, number),
        "object": "event",
        "type": TYPE,
        "created": int(now.timestamp()),
        "livemode": booked.livemode,
        **({"account": booked.account} if booked.account else {}),
        "data": {
            "object": {
                "object": "revenue_correction",
                "id": correction_key(booked.key, number),
                "corrects": booked.key,
                "kind": booked.kind,
                "number": number,
                "occurred_at": booked.occurred_at.isoformat(),
                "effective_date": booked.effective_date.isoformat(),
                "out_of_band": booked.out_of_band,
                **booked.ids,
                "parts": [
                    {
                        "amount": part.money.minor,
                        "currency": part.money.currency,
                        "tax": part.tax_minor,
                        "discount": part.discount_minor,
                    }
                    for part in parts
                ],
            }
        },
    }
