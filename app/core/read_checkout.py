"""checkout.session.*: where identity is anchored. Not proof of payment."""

from datetime import datetime

from app.core.facts import Fact, Reading, Ref
from app.core.identity import link_in
from app.core.money import Money
from app.core.stripe_shapes import Json, currency, customer, id_of, integer, mapping, metadata, text


def completed(session: Json, announced: datetime, _previous: Json | None) -> Reading:
    """checkout.session.completed: the buyer finished; `payment_status` says whether money came."""
    session_id = text(session, "id")
    subscription = id_of(session.get("subscription"))
    intent = id_of(session.get("payment_intent"))
    invoice = id_of(session.get("invoice"))
    buyer = customer(session)
    parts = tuple(one for one in (session_id, subscription, intent, invoice) if one)
    fact = Fact(
        key=f"checkout:{session_id}",
        name="checkout_completed",
        at=announced,
        about=parts,
        customer=buyer,
        new=True,
        subscription=subscription,
        properties=_properties(session, parts, buyer),
    )
    return Reading(
        facts=(fact,),
        links=link_in(
            metadata(session),
            objects=parts,
            customer=buyer,
            source="checkout.session.metadata",
            rank=2,
            stated_at=announced,
            completed_at=announced,
        ),
        refs=tuple(Ref(part, buyer, customer=True) for part in parts if buyer),
        standalone=(intent,) if intent and _pays_no_invoice(session) else (),
    )


def _pays_no_invoice(session: Json) -> bool:
    """Payment mode with `invoice_creation` makes an invoice, perhaps after this event."""
    creation = mapping(session.get("invoice_creation"))
    return (
        session.get("mode") == "payment"
        and not id_of(session.get("invoice"))
        and creation.get("enabled") is not True
    )


def _properties(session: Json, parts: tuple[str, ...], buyer: str | None) -> dict[str, object]:
    properties: dict[str, object] = {
        "checkout_session_id": parts[0],
        "customer_id": buyer,
        "subscription_id": id_of(session.get("subscription")),
        "payment_intent_id": id_of(session.get("payment_intent")),
        "invoice_id": id_of(session.get("invoice")),
        "mode": session.get("mode"),
        "payment_status": session.get("payment_status"),
    }
    if session.get("amount_total") is not None and session.get("currency"):
        total = Money(integer(session, "amount_total"), currency(session))
        properties |= {"amount_total": float(total.major), "currency": total.currency.upper()}
    return {name: value for name, value in properties.items() if value is not None}
