"""charge.dispute.*: a bank takes money back, and may return it; each balance transaction of the
dispute is one entry, whichever of its webhook events lists it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from app.core.facts import Entry, Fact, Reading, Ref
from app.core.money import Money
from app.core.reading import shapes
from app.core.reading.dispute_amounts import in_its_currency
from app.core.reading.shapes import Json, id_of, text


def opened(dispute: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """charge.dispute.created: contested; or only asked about, which moves no money."""
    key = f"dispute_opened:{text(dispute, 'id')}"
    at = shapes.time(dispute, "created")
    return _reading(dispute, _state(dispute, "dispute_opened", key, at))


def moved(dispute: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """charge.dispute.updated, .funds_withdrawn, .funds_reinstated: its balance transactions."""
    return _reading(dispute)


def closed(dispute: Json, announced: datetime, _previous: Json | None) -> Reading:
    """charge.dispute.closed: the status is the outcome."""
    key = f"dispute_closed:{text(dispute, 'id')}"
    outcome = text(dispute, "status")
    return _reading(dispute, _state(dispute, "dispute_closed", key, announced, outcome=outcome))


def _reading(dispute: Json, *states: Fact) -> Reading:
    return Reading(facts=(*states, *_movements(dispute)), refs=_refs(dispute))


def _state(dispute: Json, name: str, key: str, at: datetime, **more: Any) -> Fact:
    evidence = shapes.mapping(dispute.get("evidence_details"))
    contested = Money(shapes.integer(dispute, "amount"), shapes.currency(dispute))
    properties = {
        "reason": dispute.get("reason"),
        "amount_disputed": contested.number,
        "currency": contested.currency.upper(),
        "inquiry": text(dispute, "status").startswith("warning_"),
        "evidence_due_by": shapes.iso(shapes.time_or_none(evidence, "due_by")),
        **more,
    }
    return Fact(
        key=key,
        name=name,
        at=at,
        about=_about(dispute),
        customer=shapes.customer(dispute),
        properties=shapes.given(_common(dispute) | properties),
    )


def _movements(dispute: Json) -> Iterator[Fact]:
    """An old shape without balance transactions moves nothing that we could name."""
    currency = shapes.currency(dispute)
    listed = {text(row, "id"): row for row in shapes.rows(dispute.get("balance_transactions"))}
    for transaction, minor in in_its_currency(dispute).items():
        if minor:
            yield _movement(dispute, listed[transaction], Money(minor, currency))


def _movement(dispute: Json, row: Json, money: Money) -> Fact:
    """Only what never changes: any of the dispute's webhook events may be the first to tell it."""
    withdrawn = money.minor < 0
    dispute_id, transaction = text(dispute, "id"), text(row, "id")
    fee = shapes.amount_or_none(row, "fee")
    properties = {
        "balance_transaction_id": transaction,
        "customer_id": shapes.customer(dispute),
        "amount": money.number,
        "currency": money.currency.upper(),
        "fee": fee,
        "fee_currency": None if fee is None else shapes.currency(row).upper(),
    }
    return Fact(
        key=f"dispute:{dispute_id}:{transaction}",
        name="dispute_funds_withdrawn" if withdrawn else "dispute_funds_reinstated",
        at=shapes.time(row, "created"),
        about=_about(dispute),
        customer=shapes.customer(dispute),
        properties=shapes.given(_common(dispute) | properties),
        of_payment=True,
        money=Entry(
            kind="dispute" if withdrawn else "dispute_reversal",
            money=money,
            payment_intent=id_of(dispute.get("payment_intent")),
            charge=id_of(dispute.get("charge")),
            dispute=dispute_id,
        ),
    )


def _common(dispute: Json) -> dict[str, Any]:
    return {
        "dispute_id": text(dispute, "id"),
        "charge_id": id_of(dispute.get("charge")),
        "payment_intent_id": id_of(dispute.get("payment_intent")),
    }


def _about(dispute: Json) -> tuple[str, ...]:
    parents = (id_of(dispute.get(name)) for name in ("charge", "payment_intent"))
    return (text(dispute, "id"), *(one for one in parents if one))


def _refs(dispute: Json) -> tuple[Ref, ...]:
    charge, intent = id_of(dispute.get("charge")), id_of(dispute.get("payment_intent"))
    dispute_id, *parents = _about(dispute)
    refs = [Ref(dispute_id, parent) for parent in parents]
    refs += [Ref(charge, intent)] if charge and intent else []
    return tuple(refs)
