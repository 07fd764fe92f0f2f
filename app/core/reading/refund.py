"""refund.*: one refund object is one negative entry, and its failure one that undoes it."""

from datetime import datetime
from typing import Any

from app.core.facts import Entry, Fact, Reading, Ref
from app.core.money import Money
from app.core.reading import shapes
from app.core.reading.shapes import Json, id_of, text

BOOKED = ("pending", "succeeded", None)  # before 2018-09 a refund named no status


def created(refund: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """refund.created: at the refund's own time, though it may be pending for days."""
    return listed(refund)


def listed(refund: Json) -> Reading:
    """A refund as it stands: `requires_action` and `canceled` move nothing; of one that failed, or
    was canceled under way, its own events tell both the refund and its reversal."""
    if refund.get("status") not in BOOKED:
        return Reading(refs=_refs(refund), ignored=f"refund is {refund.get('status')}")
    return Reading(facts=(_refunded(refund),), refs=_refs(refund))


def updated(refund: Json, announced: datetime, previous: Json | None) -> Reading:
    """refund.updated, charge.refund.updated: perhaps it only now moves money, perhaps it failed."""
    now = refund.get("status")
    before = (previous or {}).get("status", now)
    came_back = now == "failed" and before != "failed"
    under_way = now == "canceled" and before in ("pending", "succeeded")
    return failed(refund, announced, previous) if came_back or under_way else listed(refund)


def failed(refund: Json, announced: datetime, _previous: Json | None) -> Reading:
    """refund.failed: the bank sent it back, now. Refund and reversal are told together, since any
    of the webhook events about them may be the first to come."""
    facts = (_refunded(refund), _reversed(refund, announced))
    return Reading(facts=facts, refs=_refs(refund))


def _refunded(refund: Json) -> Fact:
    return _fact(
        refund,
        "refund_created",
        key=f"refund:{text(refund, 'id')}",
        at=shapes.time(refund, "created"),
        kind="refund",
        money=-_money(refund),
    )


def _reversed(refund: Json, announced: datetime) -> Fact:
    return _fact(
        refund,
        "refund_reversed",
        key=f"refund:{text(refund, 'id')}:reversed",
        at=announced,
        kind="refund_reversal",
        money=_money(refund),
        failure_reason=refund.get("failure_reason"),
    )


def _money(refund: Json) -> Money:
    return Money(shapes.integer(refund, "amount"), shapes.currency(refund))


def _fact(
    refund: Json, name: str, *, key: str, at: datetime, kind: str, money: Money, **more: Any
) -> Fact:
    """It is whose payment it gives back, so it waits for that payment's own link."""
    refund_id, charge = text(refund, "id"), id_of(refund.get("charge"))
    intent = id_of(refund.get("payment_intent"))
    properties = {
        "refund_id": refund_id,
        "payment_intent_id": intent,
        "charge_id": charge,
        "customer_id": shapes.customer(refund),
        "reason": refund.get("reason"),
        "amount": money.number,
        "currency": money.currency.upper(),
        **more,
    }
    return Fact(
        key=key,
        name=name,
        at=at,
        about=tuple(one for one in (refund_id, charge, intent) if one),
        customer=shapes.customer(refund),
        properties=shapes.given(properties),
        of_payment=True,
        money=Entry(kind=kind, money=money, payment_intent=intent, charge=charge, refund=refund_id),
    )


def _refs(refund: Json) -> tuple[Ref, ...]:
    refund_id, charge = text(refund, "id"), id_of(refund.get("charge"))
    intent, buyer = id_of(refund.get("payment_intent")), shapes.customer(refund)
    refs = [Ref(refund_id, parent) for parent in (charge, intent) if parent]
    refs += [Ref(charge, intent)] if charge and intent else []
    refs += [Ref(refund_id, buyer, customer=True)] if buyer else []
    return tuple(refs)
