"""Stripe's JSON for customers, their subscriptions and their discounts.

Where a field lives depends on the customer's API version; what it says comes from `books`.
"""

from app.demo.books import BASIL, CLOVER, DAHLIA, Coupon, Customer, Json, Subscription
from app.demo.catalogue import coupon, legacy_plan, price


def customer(owner: Customer) -> Json:
    """A customer, who exists only at example.com."""
    return {
        "id": owner.id,
        "object": "customer",
        "address": {"city": None, "country": owner.country, "line1": None, "line2": None},
        "balance": 0,
        "created": owner.created,
        "currency": owner.currency,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": owner.email,
        "invoice_prefix": f"DEMO{owner.number:04d}",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": owner.payment_method,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": owner.livemode,
        "metadata": {},
        "name": f"Example Customer {owner.number}",
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": ["en"],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def discount(sub: Subscription, given: Coupon) -> Json:
    """The coupon on one subscription: an object inside until clover, from there only its id."""
    owner = sub.customer
    where: Json = (
        {"source": {"coupon": given.id, "type": "coupon"}}
        if owner.speaks(CLOVER)
        else {"coupon": coupon(given, owner.livemode)}
    )
    return {
        "id": sub.discount,
        "object": "discount",
        "checkout_session": None,
        **where,
        "customer": owner.id,
        "end": None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "start": sub.created,
        "subscription": sub.id,
        "subscription_item": None,
    }


def subscription(sub: Subscription) -> Json:
    """A subscription with one item, its period where the version keeps it."""
    owner = sub.customer
    return {
        "id": sub.id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "liability": None},
        "billing_cycle_anchor": sub.trial_end or sub.created,
        "billing_cycle_anchor_config": None,
        "cancel_at": sub.cancel_at,
        "cancel_at_period_end": sub.cancel_at_period_end,
        "canceled_at": sub.canceled_at,
        "cancellation_details": {
            "comment": None,
            "feedback": sub.feedback,
            "reason": sub.cancel_reason,
        },
        "collection_method": "charge_automatically",
        "created": sub.created,
        "currency": sub.plan.currency,
        "customer": owner.id,
        "days_until_due": None,
        "default_payment_method": owner.payment_method,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [sub.discount] if owner.coupon else [],
        "ended_at": sub.ended_at,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [_item(sub)],
            "has_more": False,
            "total_count": 1,
            "url": f"/v1/subscription_items?subscription={sub.id}",
        },
        "latest_invoice": sub.latest_invoice,
        "livemode": owner.livemode,
        "metadata": dict(sub.metadata),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": sub.created,
        "status": sub.status,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": sub.trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": sub.trial_start,
        **_of_its_version(sub),
    }


def _of_its_version(sub: Subscription) -> Json:
    owner = sub.customer
    if owner.speaks(CLOVER):
        mode = {"type": "flexible", "flexible": {"proration_discounts": "included"}}
        later: Json = {"billing_mode": mode, "billing_thresholds": None}
        return later | ({"customer_account": None} if owner.speaks(DAHLIA) else {})
    if owner.speaks(BASIL):
        return {}
    return {
        "billing_thresholds": None,
        "current_period_end": sub.period_end,
        "current_period_start": sub.period_start,
        "discount": discount(sub, owner.coupon) if owner.coupon else None,
        "plan": legacy_plan(sub.plan, owner.version, owner.livemode),
        "quantity": sub.quantity,
    }


def _item(sub: Subscription) -> Json:
    owner = sub.customer
    period: Json = {
        "current_period_end": sub.period_end,
        "current_period_start": sub.period_start,
    }
    return {
        "id": sub.item,
        "object": "subscription_item",
        "created": sub.created,
        **(period if owner.speaks(BASIL) else {"billing_thresholds": None}),
        "discounts": [],
        "metadata": {},
        "plan": legacy_plan(sub.plan, owner.version, owner.livemode),
        "price": price(sub.plan, owner.version, owner.livemode),
        "quantity": sub.quantity,
        "subscription": sub.id,
        "tax_rates": [],
    }
