"""Stripe's JSON for what the SaaS sells: products, prices (and their old plans), coupons."""

from app.demo.books import BASIL, Coupon, Json, Plan, since


def price(plan: Plan, version: str, livemode: bool) -> Json:
    """A recurring licensed price, tax on top."""
    recurring: Json = {
        "interval": plan.interval,
        "interval_count": 1,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
    recurring |= {"meter": None} if since(version, BASIL) else {"aggregate_usage": None}
    return {
        "id": plan.price,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": plan.created,
        "currency": plan.currency,
        "custom_unit_amount": None,
        "livemode": livemode,
        "lookup_key": f"{plan.name.lower().replace(' ', '_')}_{plan.currency}",
        "metadata": {},
        "nickname": None,
        "product": plan.product,
        "recurring": recurring,
        "tax_behavior": "exclusive",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": plan.amount,
        "unit_amount_decimal": str(plan.amount),
    }


def legacy_plan(plan: Plan, version: str, livemode: bool) -> Json:
    """The same price as the old `plan` object, which still rides along with it."""
    meter: Json = {"meter": None} if since(version, BASIL) else {"aggregate_usage": None}
    return {
        "id": plan.price,
        "object": "plan",
        "active": True,
        **meter,
        "amount": plan.amount,
        "amount_decimal": str(plan.amount),
        "billing_scheme": "per_unit",
        "created": plan.created,
        "currency": plan.currency,
        "interval": plan.interval,
        "interval_count": 1,
        "livemode": livemode,
        "metadata": {},
        "nickname": None,
        "product": plan.product,
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def product(plan: Plan, livemode: bool) -> Json:
    """The product behind a plan."""
    return {
        "id": plan.product,
        "object": "product",
        "active": True,
        "created": plan.created,
        "default_price": plan.price,
        "description": f"{plan.name}, billed by the {plan.interval}",
        "images": [],
        "livemode": livemode,
        "marketing_features": [],
        "metadata": {},
        "name": plan.name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": "txcd_10103001",
        "type": "service",
        "unit_label": "seat",
        "updated": plan.created,
        "url": None,
    }


def coupon(given: Coupon, livemode: bool) -> Json:
    """A percentage coupon."""
    return {
        "id": given.id,
        "object": "coupon",
        "amount_off": None,
        "created": given.created,
        "currency": None,
        "duration": "repeating" if given.months else "forever",
        "duration_in_months": given.months,
        "livemode": livemode,
        "max_redemptions": None,
        "metadata": {},
        "name": f"{given.percent}% off",
        "percent_off": float(given.percent),
        "redeem_by": None,
        "times_redeemed": 1,
        "valid": True,
    }
