"""payment_intent.* and refund.*: cash. A payment alone is not revenue until it is known to pay no
invoice, because since basil nothing on it says so."""

from datetime import datetime

from app.core.facts import Entry, Fact, Link, Payment, Reading, Ref
from app.core.identity import link_in
from app.core.money import Money
from app.core.stripe_shapes import Json, currency, customer, id_of, integer, metadata, text, time

BOOKED_REFUNDS = ("pending", "succeeded", None)  # before 2018-09 a refund named no status


def intent_succeeded(intent: Json, announced: datetime, _previous: Json | None) -> Reading:
    """payment_intent.succeeded: money captured, now; the only event that says when."""
    intent_id = text(intent, "id")
    buyer = customer(intent)
    invoice = id_of(intent.get("invoice"))  # before basil
    charge = id_of(intent.get("latest_charge"))
    refs = [Ref(charge, intent_id)] if charge else []
    refs += [Ref(intent_id, invoice)] if invoice else []
    refs += [Ref(intent_id, buyer, customer=True)] if buyer else []
    received = Money(integer(intent, "amount_received"), currency(intent))
    payment = Payment(
        payment_intent=intent_id, customer=buyer, money=received, charge=charge, at=announced
    )
    return Reading(
        links=_links(intent), refs=tuple(refs), payment=payment if received.minor > 0 else None
    )


def standalone_payment(payment: Payment) -> Fact:
    """The fact that a payment becomes once a Checkout Session (or the setting) claims it."""
    money = payment.money
    properties = {
        "payment_intent_id": payment.payment_intent,
        "customer_id": payment.customer,
        "amount": float(money.major),
        "currency": money.currency.upper(),
    }
    return Fact(
        key=f"payment:{payment.payment_intent}",
        name="payment_succeeded",
        at=payment.at,
        about=(payment.payment_intent,),
        customer=payment.customer,
        new=True,
        properties={name: value for name, value in properties.items() if value is not None},
        money=Entry(
            kind="payment",
            money=money,
            payment_intent=payment.payment_intent,
            charge=payment.charge,
        ),
    )


def refund_created(refund: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """refund.created: one refund object, one negative entry, at the refund's own time."""
    refund_id = text(refund, "id")
    intent, charge = id_of(refund.get("payment_intent")), id_of(refund.get("charge"))
    parents = tuple(one for one in (charge, intent) if one)
    refs = [Ref(refund_id, parent) for parent in parents]
    refs += [Ref(charge, intent)] if charge and intent else []
    if refund.get("status") not in BOOKED_REFUNDS:
        return Reading(refs=tuple(refs), ignored=f"refund is {refund.get('status')}")
    money = -Money(integer(refund, "amount"), currency(refund))
    properties = {
        "refund_id": refund_id,
        "payment_intent_id": intent,
        "charge_id": charge,
        "reason": refund.get("reason"),
        "amount": float(money.major),
        "currency": money.currency.upper(),
    }
    fact = Fact(
        key=f"refund:{refund_id}",
        name="refund_created",
        at=time(refund, "created"),
        about=(refund_id, *parents),
        customer=customer(refund),
        new=True,  # it is whose payment it gives back, so it waits for the payment's own link
        properties={name: value for name, value in properties.items() if value is not None},
        money=Entry(
            kind="refund", money=money, payment_intent=intent, charge=charge, refund=refund_id
        ),
    )
    return Reading(facts=(fact,), refs=tuple(refs))


def _links(intent: Json) -> tuple[Link, ...]:
    created = time(intent, "created")
    return link_in(
        metadata(intent),
        objects=(text(intent, "id"),),
        customer=customer(intent),
        source="payment_intent.metadata",
        rank=1,
        stated_at=created,
        completed_at=created,
    )
