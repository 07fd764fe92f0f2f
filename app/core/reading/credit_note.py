"""credit_note.*: a document that lowers an invoice. What it refunds is told as a refund."""

from datetime import datetime

from app.core.facts import Fact, Reading, Ref
from app.core.money import Money
from app.core.reading import shapes
from app.core.reading.shapes import Json, text


def created(note: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """credit_note.created: issued. No money of its own, so that nothing is counted twice."""
    note_id, buyer = text(note, "id"), shapes.customer(note)
    invoice = shapes.id_of(note.get("invoice")) or text(note, "invoice")
    before, after = shapes.credit_note_split(note)
    properties = {
        "credit_note_id": note_id,
        "invoice_id": invoice,
        "customer_id": buyer,
        "amount_credited": _number(note, shapes.integer(note, "amount")),
        "tax": _number(note, shapes.credit_note_tax(note)),
        "currency": shapes.currency(note).upper(),
        "reason": note.get("reason"),
        "amount_refunded": _number(note, shapes.credit_note_refunded(note)),
        "pre_payment_amount": _number(note, before),
        "post_payment_amount": _number(note, after),
    }
    fact = Fact(
        key=f"credit_note:{note_id}",
        name="credit_note_issued",
        at=shapes.time(note, "created"),
        about=(note_id, invoice),
        customer=buyer,
        invoice=invoice,
        properties=shapes.given(properties),
    )
    return Reading(facts=(fact,), refs=_refs(note_id, invoice, buyer))


def linked(note: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """credit_note.updated, credit_note.voided: only whose it is. A note moves no money of its own,
    so there is nothing to take back."""
    invoice = shapes.id_of(note.get("invoice")) or text(note, "invoice")
    return Reading(refs=_refs(text(note, "id"), invoice, shapes.customer(note)))


def _refs(note_id: str, invoice: str, buyer: str | None) -> tuple[Ref, ...]:
    belongs = [Ref(one, buyer, customer=True) for one in (note_id, invoice) if buyer]
    return (Ref(note_id, invoice), *belongs)


def _number(note: Json, minor: int | None) -> float | None:
    return None if minor is None else Money(minor, shapes.currency(note)).number
