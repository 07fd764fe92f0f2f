"""Stripe's JSON for invoices and their lines."""

from app.demo.books import BASIL, CLOVER, DAHLIA, Invoice, Json, Line
from app.demo.catalogue import legacy_plan, price
from app.demo.objects import discount

SYMBOLS = {"usd": "$", "eur": "\u20ac", "jpy": "\u00a5"}


def invoice(bill: Invoice) -> Json:
    """An invoice, open or paid, with its links and taxes where its version keeps them."""
    sub = bill.subscription
    owner = sub.customer
    return {
        "id": bill.id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Example SaaS",
        "account_tax_ids": None,
        **_amounts(bill),
        "application": None,
        "attempt_count": bill.attempts,
        "attempted": bill.attempts > 0 or bill.paid_at is not None,
        "auto_advance": bill.next_attempt is not None,
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": bill.reason,
        "collection_method": "charge_automatically",
        "created": bill.created,
        "currency": owner.currency,
        "custom_fields": None,
        "customer": owner.id,
        "customer_address": None,
        "customer_email": owner.email,
        "customer_name": f"Example Customer {owner.number}",
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [sub.discount] if owner.coupon else [],
        "due_date": None,
        "effective_at": bill.created,
        "ending_balance": 0,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": f"https://invoice.stripe.com/i/acct_demo/test_{bill.id[3:]}?s=ap",
        "invoice_pdf": f"https://pay.stripe.com/invoice/acct_demo/test_{bill.id[3:]}/pdf?s=ap",
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": {
            "object": "list",
            "data": [_line(bill, line) for line in bill.lines],
            "has_more": False,
            "total_count": len(bill.lines),
            "url": f"/v1/invoices/{bill.id}/lines",
        },
        "livemode": owner.livemode,
        "metadata": {},
        "next_payment_attempt": bill.next_attempt,
        "number": bill.number,
        "on_behalf_of": None,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        **_periods(bill),
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": -bill.credit,
        "statement_descriptor": None,
        "status": "paid" if bill.paid_at else "open",
        "status_transitions": {
            "finalized_at": bill.created,
            "marked_uncollectible_at": None,
            "paid_at": bill.paid_at,
            "voided_at": None,
        },
        "test_clock": None,
        "webhooks_delivered_at": bill.created,
        **(_links(bill) if owner.speaks(BASIL) else _old_links(bill)),
    }


def _amounts(bill: Invoice) -> Json:
    owner = bill.subscription.customer
    off = [{"amount": bill.discount, "discount": bill.subscription.discount}]
    return {
        "amount_due": bill.due,
        "amount_paid": bill.paid,
        "amount_remaining": bill.due - bill.paid,
        "amount_shipping": 0,
        "subtotal": bill.subtotal,
        "subtotal_excluding_tax": bill.subtotal,
        "total": bill.total,
        "total_discount_amounts": off if owner.coupon else [],
        "total_excluding_tax": bill.total - bill.tax,
    }


def _periods(bill: Invoice) -> Json:
    """The window in which items were collected, not the service period: lines have that."""
    at = bill.subscription.period_start if bill.reason == "subscription_cycle" else bill.created
    started = bill.subscription.created if bill.reason == "subscription_cycle" else bill.created
    return {"period_end": at, "period_start": started}


def _links(bill: Invoice) -> Json:
    sub = bill.subscription
    parts = [{"amount": bill.tax, **_tax(bill)}] if sub.customer.tax_rate else []
    return {
        "amount_overpaid": 0,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": dict(sub.metadata), "subscription": sub.id},
            "type": "subscription_details",
        },
        "total_pretax_credit_amounts": [],
        "total_taxes": parts,
        **({"customer_account": None} if sub.customer.speaks(CLOVER) else {}),
    }


def _old_links(bill: Invoice) -> Json:
    sub, owner = bill.subscription, bill.subscription.customer
    payment = bill.payment
    return {
        "application_fee_amount": None,
        "charge": payment.charge if payment else None,
        "discount": discount(sub, owner.coupon) if owner.coupon else None,
        "paid": bill.paid_at is not None,
        "paid_out_of_band": False,
        "payment_intent": payment.intent if payment else None,
        "quote": None,
        "subscription": sub.id,
        "subscription_details": {"metadata": dict(sub.metadata)},
        "tax": bill.tax if owner.tax_rate else None,
        "total_tax_amounts": [{"amount": bill.tax, **_tax(bill)}] if owner.tax_rate else [],
        "transfer_data": None,
    }


def _tax(bill: Invoice) -> Json:
    owner = bill.subscription.customer
    taxable = {"taxability_reason": None, "taxable_amount": bill.total - bill.tax}
    if not owner.speaks(BASIL):
        return {"inclusive": False, "tax_rate": owner.tax_rate, **taxable}
    return {
        "tax_behavior": "exclusive",
        "tax_rate_details": {"tax_rate": owner.tax_rate},
        "type": "tax_rate_details",
        **taxable,
    }


def _line(bill: Invoice, line: Line) -> Json:
    sub = bill.subscription
    owner = sub.customer
    off = [{"amount": line.discount, "discount": sub.discount}]
    taxed = _tax(bill) | {"taxable_amount": line.amount - line.discount}
    taxes = [{"amount": line.tax, **taxed}] if owner.tax_rate else []
    return {
        "id": line.id,
        "object": "line_item",
        "amount": line.amount,
        "currency": owner.currency,
        "description": _words(line),
        "discount_amounts": off if owner.coupon else [],
        "discountable": True,
        "discounts": [sub.discount] if owner.coupon else [],
        "invoice": bill.id,
        "livemode": owner.livemode,
        "metadata": dict(sub.metadata),
        "period": {"end": line.end, "start": line.start},
        "quantity": line.quantity,
        **(_new_line(bill, line, taxes) if owner.speaks(BASIL) else _old_line(bill, line, taxes)),
    }


def _words(line: Line) -> str:
    symbol = SYMBOLS[line.plan.currency]
    if line.proration:
        which = "Unused" if line.amount < 0 else "Remaining"
        return f"{which} time on {line.quantity} \u00d7 {line.plan.name}"
    if line.amount == 0:
        return f"Trial period for {line.plan.name}"
    unit = line.plan.amount if symbol == "\u00a5" else f"{line.plan.amount / 100:.2f}"
    return f"{line.quantity} \u00d7 {line.plan.name} (at {symbol}{unit} / {line.plan.interval})"


def _new_line(bill: Invoice, line: Line, taxes: list[Json]) -> Json:
    sub = bill.subscription
    details: Json = {
        "invoice_item": line.proration,
        "proration": line.proration is not None,
        "proration_details": {"credited_items": None},
        "subscription": sub.id,
    }
    kind = "invoice_item_details" if line.proration else "subscription_item_details"
    parent: Json = {"invoice_item_details": None, "subscription_item_details": None, "type": kind}
    parent[kind] = details if line.proration else details | {"subscription_item": sub.item}
    later = {"quantity_decimal": str(line.quantity), "subtotal": line.amount}
    return {
        "parent": parent,
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": line.plan.price, "product": line.plan.product},
            "type": "price_details",
            "unit_amount_decimal": str(line.plan.amount),
        },
        "taxes": taxes,
        **(later | {"subscription": sub.id} if sub.customer.speaks(DAHLIA) else {}),
    }


def _old_line(bill: Invoice, line: Line, taxes: list[Json]) -> Json:
    sub, owner = bill.subscription, bill.subscription.customer
    return {
        "amount_excluding_tax": line.amount,
        "invoice_item": line.proration,
        "plan": legacy_plan(line.plan, owner.version, owner.livemode),
        "price": price(line.plan, owner.version, owner.livemode),
        "proration": line.proration is not None,
        "proration_details": {"credited_items": None},
        "subscription": sub.id,
        "subscription_item": sub.item,
        "tax_amounts": taxes,
        "tax_rates": [],
        "type": "invoiceitem" if line.proration else "subscription",
        "unit_amount_excluding_tax": str(line.plan.amount),
    }
