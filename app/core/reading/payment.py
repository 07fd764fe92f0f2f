"""payment_intent.*: cash. A payment alone is not revenue until it is known to pay no invoice,
because since basil nothing on it says so."""

from datetime import datetime

from app.core.facts import Claim, Entry, Fact, Payment, Reading, Ref
from app.core.identity import link_in
from app.core.money import Money
from app.core.reading import shapes
from app.core.reading.shapes import Json


def intent_succeeded(intent: Json, announced: datetime, _previous: Json | None) -> Reading:
    """payment_intent.succeeded: money captured, now; the only event that says when.

    An old `invoice: null` is no word that it pays none: Checkout's `invoice_creation` makes the
    invoice after the payment.
    """
    intent_id, buyer = shapes.text(intent, "id"), shapes.customer(intent)
    invoice = shapes.id_of(intent.get("invoice"))  # before basil
    charges = shapes.intent_charges(intent)
    refs = [Ref(charge, intent_id) for charge in charges]
    refs += [Ref(intent_id, invoice)] if invoice else []
    refs += [Ref(intent_id, buyer, customer=True)] if buyer else []
    payment = Payment(
        id=intent_id,
        customer=buyer,
        money=Money(shapes.integer(intent, "amount_received"), shapes.currency(intent)),
        charge=next(iter(charges), None),
        at=announced,
    )
    links = link_in(
        shapes.metadata(intent),
        objects=(intent_id,),
        customer=buyer,
        source="payment_intent.metadata",
        rank=1,
        stated_at=announced,
        completed_at=shapes.time(intent, "created"),
        anchor=True,
        silent=True,
    )
    return Reading(
        links=links, refs=tuple(refs), payment=payment if payment.money.minor > 0 else None
    )


def standalone_payment(payment: Payment, claim: Claim) -> Fact:
    """The fact that a payment becomes once a Checkout Session, the charge itself, Stripe's API or
    the setting says that it pays no invoice."""
    money = payment.money
    intent = payment.id if payment.id != payment.charge else None
    tax = Money(claim.tax_minor, money.currency)
    discount = Money(claim.discount_minor, money.currency)
    properties = {
        "payment_intent_id": intent,
        "charge_id": payment.charge,
        "checkout_session_id": claim.session,
        "customer_id": payment.customer,
        "amount": money.number,
        "amount_net_of_tax": Money(money.minor - tax.minor, money.currency).number,
        "tax": tax.number,
        "discount": discount.number,
        "currency": money.currency.upper(),
    }
    return Fact(
        key=f"payment:{payment.id}",
        name="payment_succeeded",
        at=payment.at,
        about=(payment.id,),
        customer=payment.customer,
        properties=shapes.given(properties),
        money=Entry(
            kind="payment",
            money=money,
            tax_minor=tax.minor,
            discount_minor=discount.minor,
            payment_intent=intent,
            charge=payment.charge,
        ),
    )
