"""charge.*: what belongs to a charge; and money, where a charge has no payment intent."""

from datetime import datetime

from app.core.facts import Claim, Payment, Reading, Ref
from app.core.identity import link_in
from app.core.money import Money
from app.core.reading import refund, shapes
from app.core.reading.shapes import Json, id_of


def succeeded(charge: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """charge.succeeded: `captured` says whether money moved or was only set aside."""
    return _paid(charge, shapes.time(charge, "created"))


def captured(charge: Json, announced: datetime, _previous: Json | None) -> Reading:
    """charge.captured: what was set aside is taken now, perhaps less of it."""
    return _paid(charge, announced)


def updated(charge: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """charge.updated: only what it belongs to; it does not say when the money was captured."""
    return Reading(refs=_refs(charge))


def refunded(charge: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """charge.refunded: its amount is of all refunds together, so it books nothing by itself. Before
    2022-11-15 it lists the refunds, each the fact that its own events tell."""
    readings = [refund.listed(one) for one in shapes.rows(charge.get("refunds"))]
    refs = dict.fromkeys([*_refs(charge), *(ref for each in readings for ref in each.refs)])
    return Reading(facts=tuple(fact for each in readings for fact in each.facts), refs=tuple(refs))


def _paid(charge: Json, at: datetime) -> Reading:
    """A charge with a payment intent only belongs to it: the intent's own event tells the money."""
    refs = _refs(charge)
    if id_of(charge.get("payment_intent")) or charge.get("captured") is not True:
        return Reading(refs=refs)
    charge_id, buyer = shapes.text(charge, "id"), shapes.customer(charge)
    money = Money(shapes.charge_minor(charge), shapes.currency(charge))
    payment = Payment(id=charge_id, customer=buyer, money=money, charge=charge_id, at=at)
    links = link_in(
        shapes.metadata(charge),
        objects=(charge_id,),
        customer=buyer,
        source="charge.metadata",
        rank=1,
        stated_at=at,
        completed_at=shapes.time(charge, "created"),
        anchor=True,
        silent=True,
    )
    return Reading(
        links=links,
        refs=refs,
        payment=payment if money.minor > 0 else None,
        claims=(Claim(payment=charge_id),) if _pays_no_invoice(charge) else (),
    )


def _pays_no_invoice(charge: Json) -> bool:
    """Before basil the charge said so itself."""
    return "invoice" in charge and charge["invoice"] is None


def _refs(charge: Json) -> tuple[Ref, ...]:
    charge_id, buyer = shapes.text(charge, "id"), shapes.customer(charge)
    intent, invoice = id_of(charge.get("payment_intent")), id_of(charge.get("invoice"))
    refs = [Ref(charge_id, intent)] if intent else []
    refs += [Ref(one, invoice) for one in (charge_id, intent) if one and invoice]
    refs += [Ref(charge_id, buyer, customer=True)] if buyer else []
    return tuple(refs)
