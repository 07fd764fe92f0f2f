"""invoice.*: an invoice's money is one entry, of its `amount_paid`, when it was paid."""

from datetime import datetime
from typing import Any

from app.core import stripe_shapes as shapes
from app.core.facts import Entry, Fact, Link, Reading, Ref
from app.core.identity import link_in
from app.core.money import Money, share
from app.core.stripe_shapes import Json


def paid(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.paid, and its alias invoice.payment_succeeded: one key, so they are one fact."""
    if shapes.integer(invoice, "amount_paid") == 0 and shapes.integer(invoice, "total") <= 0:
        return Reading(links=_links(invoice), refs=_refs(invoice))  # a trial, or fully discounted
    at = shapes.invoice_paid_at(invoice, announced)
    facts = [_cycle(invoice, at)] if _begins_a_period(invoice) else []
    if shapes.integer(invoice, "amount_paid") > 0:
        facts.insert(0, _payment(invoice, at))
    return Reading(facts=tuple(facts), links=_links(invoice), refs=_refs(invoice))


def payment_failed(invoice: Json, announced: datetime, _previous: Json | None) -> Reading:
    """invoice.payment_failed: one per attempt, so the announcer's time is the attempt's.

    `attempt_count` counts only automatic retries, hence the second in the key.
    """
    due = Money(shapes.integer(invoice, "amount_due"), shapes.currency(invoice))
    retry = shapes.time_or_none(invoice, "next_payment_attempt")
    fact = Fact(
        key=f"payment_failed:{shapes.text(invoice, 'id')}:{int(announced.timestamp())}",
        name="payment_failed",
        at=announced,
        properties={
            **_common(invoice),
            "amount_due": float(due.major),
            "currency": due.currency.upper(),
            "attempt_count": invoice.get("attempt_count"),
            **({"next_payment_attempt": retry.isoformat()} if retry else {}),
        },
        **_whose(invoice),
    )
    return Reading(facts=(fact,), links=_links(invoice), refs=_refs(invoice))


def payment_linked(payment: Json, _announced: datetime, _previous: Json | None) -> Reading:
    """invoice_payment.paid only says which payment pays which invoice (basil removed the field)."""
    invoice = shapes.text(payment, "invoice")
    return Reading(refs=tuple(Ref(one, invoice) for one in shapes.payment_ids(payment)))


def _payment(invoice: Json, at: datetime) -> Fact:
    gross = Money(shapes.integer(invoice, "amount_paid"), shapes.currency(invoice))
    total = shapes.integer(invoice, "total")
    tax = share(shapes.invoice_tax(invoice), gross.minor, total)
    discount = share(shapes.invoice_discount(invoice), gross.minor, total)
    entry = Entry(
        kind="payment",
        money=gross,
        tax_minor=tax,
        discount_minor=discount,
        out_of_band=shapes.invoice_out_of_band(invoice),
    )
    return Fact(
        key=f"payment:{shapes.text(invoice, 'id')}",
        name="payment_succeeded",
        at=at,
        money=entry,
        properties={
            **_common(invoice),
            "amount": float(gross.major),
            "amount_net_of_tax": float(Money(gross.minor - tax, gross.currency).major),
            "tax": float(Money(tax, gross.currency).major),
            "discount": float(Money(discount, gross.currency).major),
            "currency": gross.currency.upper(),
            "out_of_band": entry.out_of_band,
            **_product(invoice),
        },
        **_whose(invoice),
    )


def _begins_a_period(invoice: Json) -> bool:
    """A trial cut short is billed as an update, as prorations are, which have no such line."""
    if shapes.integer(invoice, "total") <= 0:
        return False
    reason = invoice.get("billing_reason")
    cut_short = reason == "subscription_update" and shapes.subscription_period_start(invoice)
    return reason == "subscription_cycle" or bool(cut_short)


def _cycle(invoice: Json, at: datetime) -> Fact:
    """Renewed or trial converted: told under the second's name if its period starts at the end
    of the subscription's trial, which the subscription's own events say."""
    period = shapes.subscription_period_start(invoice)
    renews = invoice.get("billing_reason") == "subscription_cycle"
    return Fact(
        key=f"cycle:{shapes.text(invoice, 'id')}",
        name="subscription_renewed" if renews else "trial_converted",
        at=at,
        cycle_start=period or at,
        properties={**_common(invoice), **_product(invoice)},
        **_whose(invoice),
    )


def _whose(invoice: Json) -> dict[str, Any]:
    invoice_id, subscription = shapes.text(invoice, "id"), shapes.invoice_subscription(invoice)
    return {
        "about": (invoice_id, subscription) if subscription else (invoice_id,),
        "customer": shapes.customer(invoice),
        "new": invoice.get("billing_reason") in ("subscription_create", "manual", None),
        "invoice": invoice_id,
        "subscription": subscription,
    }


def _common(invoice: Json) -> dict[str, Any]:
    properties = {
        "invoice_id": shapes.text(invoice, "id"),
        "subscription_id": shapes.invoice_subscription(invoice),
        "customer_id": shapes.customer(invoice),
        "billing_reason": invoice.get("billing_reason"),
    }
    return {name: value for name, value in properties.items() if value is not None}


def _product(invoice: Json) -> dict[str, Any]:
    """Price and product of the largest line: what the invoice is mainly for."""
    lines = shapes.rows(invoice.get("lines"))
    if not lines:
        return {}
    price, product = shapes.line_price(max(lines, key=lambda line: shapes.integer(line, "amount")))
    pairs = (("price_id", price), ("product_id", product))
    return {name: value for name, value in pairs if value}


def _links(invoice: Json) -> tuple[Link, ...]:
    """Ids on the invoice itself. A renewal's copy of the subscription's metadata is as old as the
    subscription, so only the first invoice says when the visitor was there."""
    created = shapes.time_or_none(invoice, "created") or shapes.time_or_none(invoice, "date")
    first = invoice.get("billing_reason") in ("subscription_create", "manual")
    if created is None:
        return ()
    links = [
        link
        for rank, (source, metadata) in enumerate(shapes.invoice_metadata(invoice))
        for link in link_in(
            metadata,
            objects=(shapes.text(invoice, "id"),),
            customer=None,
            source=source,
            rank=min(rank, 2),
            stated_at=created,
            completed_at=created if first else None,
        )
    ]
    return tuple({(link.rank, repr(link.ids)): link for link in reversed(links)}.values())


def _refs(invoice: Json) -> tuple[Ref, ...]:
    invoice_id, subscription = shapes.text(invoice, "id"), shapes.invoice_subscription(invoice)
    buyer = shapes.customer(invoice)
    refs = [Ref(payment, invoice_id) for payment in shapes.invoice_payments(invoice)]
    if subscription:
        refs.append(Ref(invoice_id, subscription))
        refs += [Ref(subscription, buyer, customer=True)] if buyer else []
    refs += [Ref(invoice_id, buyer, customer=True)] if buyer else []
    return tuple(refs)
