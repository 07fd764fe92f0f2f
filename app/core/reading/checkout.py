"""checkout.session.*: where identity is anchored. Not proof of payment."""

from dataclasses import replace
from datetime import datetime, timedelta

from app.core.facts import Claim, Fact, Link, Reading, Ref
from app.core.identity import REFERENCE, link_in
from app.core.reading import shapes
from app.core.reading.shapes import Json, id_of, mapping, text

MAX_REFERENCE = 200  # https://docs.stripe.com/api/checkout/sessions/create, client_reference_id
LIFE = timedelta(days=1)  # of a session, unless its creator said otherwise


def completed(session: Json, announced: datetime, _previous: Json | None) -> Reading:
    """checkout.session.completed: the buyer finished; `payment_status` says whether money came."""
    fact = _fact(session, "checkout_completed", f"checkout:{text(session, 'id')}", announced)
    return _reading(session, announced, (fact,), claims(session))


def payment_succeeded(session: Json, announced: datetime, _previous: Json | None) -> Reading:
    """checkout.session.async_payment_succeeded: a delayed payment came. It completed before, so
    this says nothing new but to who missed that."""
    return _reading(session, announced, (), claims(session))


def payment_failed(session: Json, announced: datetime, _previous: Json | None) -> Reading:
    """checkout.session.async_payment_failed: a bank debit or voucher, days after completion."""
    key = f"checkout_payment_failed:{text(session, 'id')}"
    return _reading(
        session, announced, (_fact(session, "checkout_payment_failed", key, announced),)
    )


def expired(session: Json, announced: datetime, _previous: Json | None) -> Reading:
    """checkout.session.expired: nobody finished it."""
    key = f"checkout_expired:{text(session, 'id')}"
    return _reading(session, announced, (_fact(session, "checkout_expired", key, announced),))


def _reading(
    session: Json, announced: datetime, facts: tuple[Fact, ...], claimed: tuple[Claim, ...] = ()
) -> Reading:
    intent, invoice = id_of(session.get("payment_intent")), id_of(session.get("invoice"))
    buyer = shapes.customer(session)
    refs = [Ref(intent, invoice)] if intent and invoice else []
    refs += [Ref(part, buyer, customer=True) for part in _parts(session) if buyer]
    return Reading(facts=facts, links=_links(session, announced), refs=tuple(refs), claims=claimed)


def _parts(session: Json) -> tuple[str, ...]:
    """The session and what it made, nearest first."""
    made = (id_of(session.get(name)) for name in ("subscription", "payment_intent", "invoice"))
    return (text(session, "id"), *(one for one in made if one))


def _fact(session: Json, name: str, key: str, announced: datetime) -> Fact:
    total = shapes.amount_or_none(session, "amount_total")
    return Fact(
        key=key,
        name=name,
        at=announced,
        about=_parts(session),
        customer=shapes.customer(session),
        subscription=id_of(session.get("subscription")),
        properties=shapes.given(
            {
                "checkout_session_id": session.get("id"),
                "customer_id": shapes.customer(session),
                "subscription_id": id_of(session.get("subscription")),
                "payment_intent_id": id_of(session.get("payment_intent")),
                "invoice_id": id_of(session.get("invoice")),
                "mode": session.get("mode"),
                "payment_status": session.get("payment_status"),
                "amount_total": total,
                "currency": None if total is None else shapes.currency(session).upper(),
            }
        ),
    )


def _links(session: Json, announced: datetime) -> tuple[Link, ...]:
    """The session's own word, silence included: the same whichever of its events tells it."""
    seen = _seen(session, announced)
    links = link_in(
        shapes.metadata(session),
        objects=_parts(session),
        customer=shapes.customer(session),
        source="checkout.session.metadata",
        rank=2,
        stated_at=seen,
        completed_at=seen,
        silent=True,
    )
    reference = session.get("client_reference_id")
    if not isinstance(reference, str) or not 0 < len(reference) <= MAX_REFERENCE:
        return links
    if not reference.isprintable():
        return links
    return tuple(replace(link, ids={**link.ids, REFERENCE: reference}) for link in links)


def _seen(session: Json, announced: datetime) -> datetime:
    """When the visitor was there. Old sessions name neither their creation nor, before that, their
    end; then the announcement is all there is."""
    if created := shapes.time_or_none(session, "created"):
        return created
    ends = shapes.time_or_none(session, "expires_at")
    return max(ends - LIFE, shapes.EPOCH) if ends else announced


def claims(session: Json) -> tuple[Claim, ...]:
    """In payment mode its payment pays no invoice, unless `invoice_creation` makes one, perhaps
    after this webhook event."""
    intent = id_of(session.get("payment_intent"))
    creation = mapping(session.get("invoice_creation"))
    if (
        not intent
        or session.get("mode") != "payment"
        or id_of(session.get("invoice"))
        or creation.get("enabled") is True
    ):
        return ()
    totals = mapping(session.get("total_details"))
    claim = Claim(
        payment=intent,
        session=text(session, "id"),
        tax_minor=shapes.integer_or_none(totals, "amount_tax") or 0,
        discount_minor=shapes.integer_or_none(totals, "amount_discount") or 0,
    )
    return (claim,)
