"""Stripe's JSON for a completed Checkout Session, and the metadata a checkout page writes on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.demo.books import BASIL, DAHLIA, Customer, Json, Visitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A finished visit to Checkout and what it made."""

    id: str
    customer: Customer
    created: int
    mode: Literal["subscription", "payment"]
    subtotal: int
    discount: int = 0
    tax: int = 0
    subscription: str | None = None
    invoice: str | None = None
    intent: str | None = None
    guest: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.subtotal - self.discount + self.tax


def checkout_metadata(visitor: Visitor | None, at: int) -> dict[str, str]:
    """What the checkout page saves: ids, the visit's start in milliseconds, where it came from."""
    if visitor is None:
        return {}
    started = str((at - 240) * 1000 + at % 997)
    saved = {
        "user_id": visitor.user_id,
        "device_id": visitor.device_id,
        "session_id": started,
        "amplitude_device_id": visitor.device_id,
        "amplitude_session_id": started,
        "ga_client_id": f"{int(visitor.device_id[:8], 16)}.{int(visitor.device_id[-8:], 16)}",
        "ga_session_id": started[:10],
        **visitor.campaign,
    }
    return {visitor.prefix + name: value for name, value in saved.items()}


def checkout_session(session: Session) -> Json:
    """The session as `checkout.session.completed` carries it."""
    owner = session.customer
    free = session.total == 0
    return {
        "id": session.id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": True,
        "amount_subtotal": session.subtotal,
        "amount_total": session.total,
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": "https://app.example.com/pricing",
        "client_reference_id": owner.visitor.user_id if owner.visitor else None,
        "client_secret": None,
        "consent": None,
        "consent_collection": None,
        "created": session.created,
        "currency": owner.currency,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {"after_submit": None, "submit": None},
        "customer": None if session.guest else owner.id,
        "customer_creation": "if_required" if session.mode == "payment" else "always",
        "customer_details": _details(owner),
        "customer_email": None,
        "discounts": _discounts(session),
        "expires_at": session.created + 86_400,
        "invoice": session.invoice,
        "invoice_creation": None,
        "livemode": owner.livemode,
        "locale": None,
        "metadata": dict(session.metadata),
        "mode": session.mode,
        "payment_intent": session.intent,
        "payment_link": None,
        "payment_method_collection": "always",
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required" if free else "paid",
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "complete",
        "submit_type": None,
        "subscription": session.subscription,
        "success_url": "https://app.example.com/welcome?session_id={CHECKOUT_SESSION_ID}",
        "total_details": {
            "amount_discount": session.discount,
            "amount_shipping": 0,
            "amount_tax": session.tax,
        },
        "ui_mode": "hosted_page" if owner.speaks(DAHLIA) else "hosted",
        "url": None,
        "wallet_options": None,
        **_of_its_version(owner),
    }


def _of_its_version(owner: Customer) -> Json:
    if not owner.speaks(BASIL):
        return {"shipping_details": None}
    collected: Json = {"collected_information": {"shipping_details": None}, "permissions": None}
    return collected | ({"customer_account": None} if owner.speaks(DAHLIA) else {})


def _discounts(session: Session) -> list[Json]:
    given = session.customer.coupon
    if not given or session.mode == "payment":
        return []
    return [{"coupon": given.id, "promotion_code": None}]


def _details(owner: Customer) -> Json:
    return {
        "address": {
            "city": None,
            "country": owner.country,
            "line1": None,
            "line2": None,
            "postal_code": None,
            "state": None,
        },
        "email": owner.email,
        "name": f"Example Customer {owner.number}",
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
