"""A small shop that tells the bridge who buys: the lines to copy are in `checkout` below.

    STRIPE_API_KEY=sk_test_... SHOP_PRICE_PRO=price_... SHOP_PRICE_BOOK=price_... \
        .venv/bin/python -m examples.shop
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import stripe
from flask import Flask, abort, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from app.checkout import Mode, checkout_metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be bought; `price` is its id at Stripe, the amount is in minor units of USD."""

    title: str
    words: str
    price: str
    amount: int
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopSettings:
    """`bridge_url` is where pages load bridge-ids.js from."""

    stripe_api_key: str = field(repr=False)
    stripe_api_base: str = "https://api.stripe.com"
    bridge_url: str = "http://127.0.0.1:8000"
    price_pro: str = "price_pro"
    price_book: str = "price_book"


def from_environment(environment: Mapping[str, str] = os.environ) -> ShopSettings:
    """Raises KeyError where something that has no default is missing."""
    return ShopSettings(
        stripe_api_key=environment["STRIPE_API_KEY"],
        stripe_api_base=environment.get("STRIPE_API_BASE", "https://api.stripe.com"),
        bridge_url=environment.get("SHOP_BRIDGE_URL", "http://127.0.0.1:8000"),
        price_pro=environment["SHOP_PRICE_PRO"],
        price_book=environment["SHOP_PRICE_BOOK"],
    )


def make_shop(settings: ShopSettings) -> Flask:
    """The shop. Its visitors are forgotten when it ends."""
    shop = Flask(__name__)
    shop.secret_key = secrets.token_bytes(32)
    shop.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    shop.jinja_env.globals["bridge_url"] = settings.bridge_url
    client = stripe.StripeClient(
        settings.stripe_api_key, base_addresses={"api": settings.stripe_api_base}
    )
    offers = _offers(settings)

    @shop.get("/")
    def landing() -> str:
        return render_template("landing.html")

    @shop.get("/pricing")
    def pricing() -> str:
        return render_template("pricing.html", offers=offers)

    @shop.post("/checkout")
    def checkout() -> Response:
        offer = offers.get(request.form.get("offer", ""))
        if offer is None:
            abort(400)
        found = checkout_metadata(request.form.get("ids"), user_id=_who(), mode=offer.mode)
        if found.dropped:
            shop.logger.warning("left out of the checkout: %s", found.dropped)
        arguments: Any = {
            "mode": offer.mode,
            "line_items": [{"price": offer.price, "quantity": 1}],
            "success_url": url_for("welcome", _external=True),
            "cancel_url": url_for("pricing", _external=True),
            **found.arguments,
        }
        try:
            created = client.v1.checkout.sessions.create(arguments)
        except stripe.StripeError:
            abort(502)
        session["bought"] = {
            "event_id": found.arguments["metadata"].get("br_event_id"),
            "value": offer.amount / 100,
            "currency": "USD",
        }
        return redirect(created.url or url_for("pricing"), 303)

    @shop.get("/welcome")
    def welcome() -> str:
        """The browser tells its tools of the purchase here, once, under the same event id."""
        return render_template("welcome.html", bought=session.pop("bought", None))

    return shop


def _who() -> str:
    """Stands in for your login: whoever buys has an account from then on."""
    user: str = session.setdefault("user_id", f"user_{secrets.token_hex(6)}")
    return user


def _offers(settings: ShopSettings) -> dict[str, Offer]:
    return {
        "pro": Offer(
            title="Pro",
            words="Everything, every month, until you cancel.",
            price=settings.price_pro,
            amount=4900,
            mode="subscription",
        ),
        "book": Offer(
            title="Book",
            words="Paid once, yours for good.",
            price=settings.price_book,
            amount=2900,
            mode="payment",
        ),
    }
