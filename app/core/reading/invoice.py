"""invoice.*: an invoice's money is one entry, of what was paid on it, when it was paid."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from app.core.facts import Entry, Fact, Link, Payment, Reading, Ref
from app.core.identity import link_in
from app.core.money import Money, share
from app.core.reading import shapes
from app.core.reading.shapes import Json


def paid(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.paid, and its alias invoice.payment_succeeded: one key, so they are one fact.

    A partial payment of an invoice that stays open may announce itself by the second: no revenue.
    """
    if not shapes.invoice_is_paid(invoice):
        return _reading(invoice)
    at = shapes.invoice_moment(invoice, "paid_at", announced)
    facts = [*_payment(invoice, at), *_cycle(invoice, at)]
    return _reading(invoice, *facts, anchor=True)


def voided(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.voided: taken back. What was paid of it until then stays paid."""
    at = shapes.invoice_moment(invoice, "voided_at", announced)
    return _reading(invoice, *_payment(invoice, at), _given_up(invoice, "invoice_voided", at))


def uncollectible(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.marked_uncollectible: bad debt, which may yet be paid."""
    at = shapes.invoice_moment(invoice, "marked_uncollectible_at", announced)
    return _reading(invoice, _given_up(invoice, "invoice_uncollectible", at))


def payment_failed(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.payment_failed: one per attempt, so the announcer's time is the attempt's."""
    retry = shapes.time_or_none(invoice, "next_payment_attempt")
    tried = _attempt(invoice, "payment_failed", announced, next_payment_attempt=shapes.iso(retry))
    return _reading(invoice, tried)


def payment_action_required(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.payment_action_required: the bank wants the customer, as for 3-D Secure."""
    return _reading(invoice, _attempt(invoice, "payment_action_required", announced))


def linked(invoice: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """invoice.finalized, invoice.overpaid: only whose it is and what belongs to it."""
    return _reading(invoice)


def payment_linked(payment: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice_payment.paid says which payment pays which invoice (basil removed the field); and of
    a payment record, how much was paid outside of Stripe, which nothing else says."""
    invoice = shapes.id_of(payment.get("invoice")) or shapes.text(payment, "invoice")
    refs = tuple(Ref(one, invoice) for one in shapes.payment_ids(payment))
    return Reading(refs=refs, payment=_recorded(payment, announced))


def _recorded(payment: Json, announced: datetime) -> Payment | None:
    record, paid = shapes.payment_record(payment), shapes.integer_or_none(payment, "amount_paid")
    if record is None or not paid or paid < 0:
        return None
    return Payment(
        id=record,
        customer=None,
        money=Money(paid, shapes.currency(payment)),
        charge=None,
        at=shapes.invoice_moment(payment, "paid_at", announced),
    )


def _reading(invoice: Json, *facts: Fact, anchor: bool = False) -> Reading:
    return Reading(facts=facts, links=_links(invoice, anchor=anchor), refs=_refs(invoice))


def _payment(invoice: Json, at: datetime) -> Iterator[Fact]:
    gross = Money(shapes.invoice_paid_minor(invoice), shapes.currency(invoice))
    if gross.minor <= 0:
        return  # a trial, fully discounted, or settled by the credit balance
    tax = _part(invoice, shapes.invoice_tax(invoice), gross)
    discount = _part(invoice, shapes.invoice_discount(invoice), gross)
    credit = Money(shapes.invoice_credit_applied(invoice), gross.currency)
    out_of_band = shapes.invoice_out_of_band(invoice)
    entry = Entry(
        kind="payment",
        money=gross,
        tax_minor=tax.minor,
        discount_minor=discount.minor,
        out_of_band=out_of_band,
    )
    yield Fact(
        key=f"payment:{shapes.text(invoice, 'id')}",
        name="payment_succeeded",
        at=at,
        money=entry,
        properties={
            **_common(invoice),
            "amount": gross.number,
            "amount_net_of_tax": Money(gross.minor - tax.minor, gross.currency).number,
            "tax": tax.number,
            "discount": discount.number,
            "currency": gross.currency.upper(),
            **({"credit_applied": credit.number} if credit.minor else {}),
            **({"out_of_band": True} if out_of_band else {}),
            **_period(invoice),
            **_product(invoice),
            **_items(invoice),
        },
        **_whose(invoice),
    )


def _part(invoice: Json, amount: int, gross: Money) -> Money:
    """The share of the invoice's tax or discount in what was paid. The rest was settled otherwise
    (credit, credit notes); what was paid beyond the total is an older debt, which has none."""
    total = shapes.integer(invoice, "total")
    if total <= 0:
        return Money(0, gross.currency)
    return Money(share(amount, min(gross.minor, total), total), gross.currency)


def _cycle(invoice: Json, at: datetime) -> Iterator[Fact]:
    """Renewed or trial converted: told under the second's name if its period starts at the end
    of the subscription's trial, which the subscription's own events say.

    A trial cut short is billed as an update, as prorations are, which have no whole period.
    """
    reason = invoice.get("billing_reason")
    period = shapes.subscription_period(invoice, prorations=False)
    cut_short = reason == "subscription_update" and period is not None
    whose = _whose(invoice)
    if shapes.integer(invoice, "total") <= 0 or not whose["subscription"]:
        return
    if reason != "subscription_cycle" and not cut_short:
        return
    yield Fact(
        key=f"cycle:{shapes.text(invoice, 'id')}",
        name="trial_converted" if cut_short else "subscription_renewed",
        at=at,
        cycle_start=period[0] if period else at,
        properties={**_common(invoice), **_product(invoice)},
        **whose,
    )


def _attempt(invoice: Json, name: str, announced: datetime, **more: Any) -> Fact:
    """`attempt_count` counts only automatic retries, hence the second in the key."""
    properties = _due(invoice) | {"attempt_count": invoice.get("attempt_count"), **more}
    return Fact(
        key=f"{name}:{shapes.text(invoice, 'id')}:{int(announced.timestamp())}",
        name=name,
        at=announced,
        properties=shapes.given(properties),
        **_whose(invoice),
    )


def _given_up(invoice: Json, name: str, at: datetime) -> Fact:
    remaining = shapes.amount_or_none(invoice, "amount_remaining")
    return Fact(
        key=f"{name}:{shapes.text(invoice, 'id')}",
        name=name,
        at=at,
        properties=shapes.given(_due(invoice) | {"amount_remaining": remaining}),
        **_whose(invoice),
    )


def _due(invoice: Json) -> dict[str, Any]:
    due = Money(shapes.integer(invoice, "amount_due"), shapes.currency(invoice))
    return {**_common(invoice), "amount_due": due.number, "currency": due.currency.upper()}


def _whose(invoice: Json) -> dict[str, Any]:
    invoice_id, subscription = shapes.text(invoice, "id"), shapes.invoice_subscription(invoice)
    return {
        "about": (invoice_id, subscription) if subscription else (invoice_id,),
        "customer": shapes.customer(invoice),
        "invoice": invoice_id,
        "subscription": subscription,
    }


def _common(invoice: Json) -> dict[str, Any]:
    return shapes.given(
        {
            "invoice_id": shapes.text(invoice, "id"),
            "subscription_id": shapes.invoice_subscription(invoice),
            "customer_id": shapes.customer(invoice),
            "billing_reason": invoice.get("billing_reason"),
        }
    )


def _period(invoice: Json) -> dict[str, Any]:
    period = shapes.subscription_period(invoice, prorations=True)
    if period is None:
        return {}
    start, end = map(shapes.iso, period)
    return shapes.given({"period_start": start, "period_end": end})


def _product(invoice: Json) -> dict[str, Any]:
    """Price and product of the largest line: what the invoice is mainly for."""
    lines = shapes.rows(invoice.get("lines"))
    if not lines:
        return {}
    largest = max(lines, key=lambda line: shapes.integer_or_none(line, "amount") or 0)
    price, product = shapes.line_price(largest)
    return shapes.given({"price_id": price, "product_id": product})


def _items(invoice: Json) -> dict[str, Any]:
    """The lines, of which a webhook event lists no more than ten."""
    currency = shapes.currency(invoice)
    items = [_item(line, currency) for line in shapes.rows(invoice.get("lines"))]
    if not items:
        return {}
    truncated = shapes.mapping(invoice.get("lines")).get("has_more") is True
    return {"items": items, **({"items_truncated": True} if truncated else {})}


def _item(line: Json, currency: str) -> dict[str, Any]:
    price, product = shapes.line_price(line)
    minor = shapes.integer_or_none(line, "amount")
    return shapes.given(
        {
            "price_id": price,
            "product_id": product,
            "quantity": shapes.quantity(line),
            "amount": None if minor is None else Money(minor, currency).number,
            "proration": True if shapes.line_proration(line) else None,
        }
    )


def _links(invoice: Json, *, anchor: bool) -> tuple[Link, ...]:
    """Ids on the invoice itself, silence included. A renewal's copy of the subscription's metadata
    is as old as the subscription, so only the first invoice says when the visitor was there."""
    created = shapes.invoice_created(invoice)
    first = invoice.get("billing_reason") in ("subscription_create", "manual")
    if created is None:
        return ()
    links: dict[str, Link] = {}  # lines say the same many times
    for rank, (source, metadata) in enumerate(shapes.invoice_metadata(invoice)):
        said = link_in(
            metadata,
            objects=(shapes.text(invoice, "id"),),
            customer=None,
            source=source,
            rank=min(rank, 2),
            stated_at=created,
            completed_at=created if first else None,
            anchor=anchor,
            silent=rank == 0,
        )
        for link in said:
            links.setdefault(repr((source, link.ids, link.campaign, link.consent)), link)
    return tuple(links.values())


def _refs(invoice: Json) -> tuple[Ref, ...]:
    invoice_id, subscription = shapes.text(invoice, "id"), shapes.invoice_subscription(invoice)
    buyer = shapes.customer(invoice)
    refs = [Ref(payment, invoice_id) for payment in shapes.invoice_payments(invoice)]
    if subscription:
        refs.append(Ref(invoice_id, subscription))
        refs += [Ref(subscription, buyer, customer=True)] if buyer else []
    refs += [Ref(invoice_id, buyer, customer=True)] if buyer else []
    return tuple(refs)
