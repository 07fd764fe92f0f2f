"""bridge.revenue_corrected: a person's correction of a revenue entry, at that entry's own time."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from app.core.correction import KIND, SIGNS, TYPE, correction_key
from app.core.facts import Entry, Fact, Reading
from app.core.money import Money
from app.core.reading import shapes
from app.core.reading.shapes import Json, Missing, id_of, integer_or_none, text

__all__ = ["TYPE", "corrected"]

# Nearest first: whose it is, is looked for from there upwards, as for the entry itself.
ABOUT = ("refund", "dispute", "invoice", "charge", "payment_intent")


def corrected(correction: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """One entry, or two: undone in one currency, and booked in another."""
    return Reading(facts=tuple(_facts(correction)))


def _facts(correction: Json) -> Iterator[Fact]:
    key, number = text(correction, "corrects"), shapes.integer(correction, "number")
    if number < 1 or key.startswith(f"{KIND}:") or text(correction, "kind") not in SIGNS:
        raise Missing("revenue_correction: expected the number of a correction of an entry")
    parts = shapes.rows(correction.get("parts"))
    if not 0 < len({shapes.currency(part) for part in parts}) == len(parts):
        raise Missing("revenue_correction.parts: expected one for each currency")
    first, *others = parts
    yield _fact(correction, first, correction_key(key, number))
    for part in others:
        yield _fact(correction, part, correction_key(key, number, shapes.currency(part)))


def _fact(correction: Json, part: Json, key: str) -> Fact:
    outside = correction.get("out_of_band")
    money = Money(shapes.integer(part, "amount"), shapes.currency(part))
    tax = integer_or_none(part, "tax")
    return Fact(
        key=key,
        name="revenue_corrected",
        at=_moment(correction),
        about=tuple(one for name in ABOUT if (one := id_of(correction.get(name))))
        or (text(correction, "corrects"),),
        customer=id_of(correction.get("customer")),
        subscription=id_of(correction.get("subscription")),
        invoice=id_of(correction.get("invoice")),
        properties=shapes.given(_properties(correction, money, tax)),
        money=Entry(
            kind=KIND,
            money=money,
            tax_minor=tax,
            discount_minor=integer_or_none(part, "discount"),
            payment_intent=id_of(correction.get("payment_intent")),
            charge=id_of(correction.get("charge")),
            refund=id_of(correction.get("refund")),
            dispute=id_of(correction.get("dispute")),
            out_of_band=outside if isinstance(outside, bool) else None,
            corrects=text(correction, "corrects"),
            effective_date=_day(correction),
        ),
    )


def _properties(correction: Json, money: Money, tax: int | None) -> dict[str, Any]:
    ids = {
        f"{name}_id": id_of(correction.get(name)) for name in (*ABOUT, "customer", "subscription")
    }
    shares = {}
    if tax is not None:
        net = Money(money.minor - tax, money.currency)
        shares = {"tax": Money(tax, money.currency).number, "amount_net_of_tax": net.number}
    return {
        **ids,
        **shares,
        "corrected_key": text(correction, "corrects"),
        "corrected_kind": text(correction, "kind"),
        "amount": money.number,
        "currency": money.currency.upper(),
    }


def _moment(correction: Json) -> datetime:
    """To the microsecond, as the entry has it."""
    try:
        return datetime.fromisoformat(text(correction, "occurred_at")).astimezone(UTC)
    except (OverflowError, ValueError):
        raise Missing("revenue_correction.occurred_at: expected a time") from None


def _day(correction: Json) -> date:
    try:
        return date.fromisoformat(text(correction, "effective_date"))
    except ValueError:
        raise Missing("revenue_correction.effective_date: expected a day") from None
