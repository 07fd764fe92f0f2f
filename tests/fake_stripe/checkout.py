"""Stripe's Checkout: sessions made by POST, the page where a buyer pays, the webhooks of that.

https://docs.stripe.com/api/checkout/sessions/create: parameters are those needed so far, and any
other is unknown here. The webhooks are those of app/demo, with the checkout's own metadata.
"""

import re
import time
from collections.abc import Callable
from html import escape
from random import Random
from typing import Any

import requests

from app.demo.books import VERSIONS, Customer, Plan, stripe_id
from app.demo.checkout import buy_once, sign_up
from app.demo.envelopes import Emission, sign
from app.demo.life import Life
from tests.fake_stripe.lists import integer, unknown
from tests.fake_stripe.shapes import Find, Json, Refusal

PATH = "/v1/checkout/sessions"
HOSTED = "/c/pay/"
MADE = {
    "payment": "payment_intent_data",
    "setup": "setup_intent_data",
    "subscription": "subscription_data",
}
PARAMS = {
    "cancel_url",
    "client_reference_id",
    "customer_email",
    "line_items",
    "metadata",
    "mode",
    "success_url",
    *MADE.values(),
}
OF_MADE = {
    "payment_intent_data": {"description", "metadata"},
    "setup_intent_data": {"description", "metadata"},
    "subscription_data": {"description", "metadata", "trial_period_days"},
}
OF_LINE = {"price", "quantity"}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Checkout</title>
<style>body {{ font: 16px/1.5 system-ui; max-width: 28rem; margin: 15vh auto }}
button {{ font: inherit; padding: .6rem 2rem }}</style>
<h1>Pretend Checkout</h1><p>{what}</p>
<form method="post"><button>Pay</button></form><p><a href="{back}">Back</a></p></html>"""


class Checkout:
    """What an account's sessions are, and where their webhook events go.

    `answers` has the status of every webhook event that was posted.
    """

    def __init__(self, find: Find, keep: Callable[[Json], None]) -> None:
        self.webhook_url = ""
        self.webhook_secret = ""
        self.answers: list[int] = []
        self._find = find
        self._keep = keep
        self._asked: dict[str, Json] = {}  # the parameters of each session
        self._rng = Random()

    def create(self, params: Json, base: str) -> Json:
        """A new session, open for a day, with the page where it is paid."""
        price = _checked(params, self._find)
        mode, now = params["mode"], int(time.time())
        session = {
            "id": stripe_id(self._rng, "cs_test_a1", 56),
            "object": "checkout.session",
            "amount_total": price and price["unit_amount"] * _quantity(params),
            "cancel_url": params.get("cancel_url"),
            "client_reference_id": params.get("client_reference_id"),
            "created": now,
            "currency": price and price["currency"],
            "customer": None,
            "customer_email": params.get("customer_email"),
            "expires_at": now + 86_400,
            "invoice": None,
            "livemode": False,
            "metadata": params.get("metadata", {}),
            "mode": mode,
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "subscription": None,
            "success_url": params["success_url"],
            "ui_mode": "hosted_page",
        }
        session["url"] = f"{base}{HOSTED}{session['id']}"
        self._asked[session["id"]] = params
        self._keep(session)
        return session

    def page(self, session_id: str) -> bytes:
        """Stripe's page, in short."""
        session = self._open(session_id)
        amount = session["amount_total"] or 0
        what = f"{amount / 100:.2f} {(session['currency'] or '').upper()}"
        return PAGE.format(what=escape(what), back=escape(session["cancel_url"] or "")).encode()

    def pay(self, session_id: str) -> str:
        """The buyer pays: every webhook event of that is posted. Gives where the buyer goes."""
        session = self._open(session_id)
        events = self._paid(session, self._asked[session_id])
        for emission in events:
            body = emission.body()
            headers = {
                "Content-Type": "application/json",
                "Stripe-Signature": sign(body, self.webhook_secret, int(time.time())),
            }
            answer = requests.post(self.webhook_url, data=body, headers=headers, timeout=10)
            self.answers.append(answer.status_code)
        self._keep(events[-1].object)
        url: str = session["success_url"]
        return url.replace("{CHECKOUT_SESSION_ID}", session_id)

    def _open(self, session_id: str) -> Json:
        session = self._find(session_id)
        if session is None or session["status"] != "open":
            raise Refusal(404, "This Checkout Session is not open")
        return session

    def _paid(self, session: Json, params: Json) -> list[Emission]:
        price = self._find(params["line_items"][0]["price"])
        assert price is not None
        life = self._buyer(price)
        if session["mode"] == "subscription":
            trial = int(params.get("subscription_data", {}).get("trial_period_days", 0))
            moment = sign_up(life, _plan(price), _quantity(params), trial)
        else:
            moment = buy_once(life, session["amount_total"])
        metadata = params.get(MADE[session["mode"]], {}).get("metadata", {})
        for emission in moment.emissions:
            _write(emission.object, session, metadata)
        return list(moment.emissions)

    def _buyer(self, price: Json) -> Life:
        rng = self._rng
        customer = Customer(
            id=stripe_id(rng, "cus_", 14),
            number=rng.randrange(1, 10_000),
            version=VERSIONS[-1],
            livemode=False,
            created=int(time.time()) - 63,  # app/demo lets a minute and some seconds pass
            currency=price["currency"],
            country="US",
            payment_method=stripe_id(rng, "pm_1", 23),
        )
        return Life(customer, {}, rng)


def _plan(price: Json) -> Plan:
    return Plan(
        name=price.get("nickname") or "Plan",
        price=price["id"],
        product=price["product"],
        currency=price["currency"],
        amount=price["unit_amount"],
        interval=price["recurring"]["interval"],
        created=price["created"],
    )


def _write(one: Json, session: Json, metadata: Json) -> None:
    """A session's metadata stands on it alone; what was given for what it makes, on that."""
    match one["object"]:
        case "checkout.session":
            names = ("id", "cancel_url", "client_reference_id", "created", "expires_at")
            one |= {name: session[name] for name in (*names, "metadata", "success_url")}
        case "invoice":
            one["parent"]["subscription_details"]["metadata"] = metadata
        case "payment_intent" if session["mode"] == "payment":
            one["metadata"] = metadata
        case "subscription":
            one["metadata"] = metadata
        case _:
            pass  # Stripe copies it to nothing else


def _quantity(params: Json) -> int:
    return int(params["line_items"][0].get("quantity", 1))


def _checked(params: Json, find: Find) -> Json | None:
    """Refuses what Stripe refuses. Gives the price that is paid, None in setup mode."""
    for param in params.keys() - PARAMS:
        raise unknown(param)
    for param in ("mode", "success_url"):
        if not params.get(param):
            code = "parameter_missing"
            raise Refusal(400, f"Missing required param: {param}.", code=code, param=param)
    for url in ("success_url", "cancel_url"):
        if url in params and not re.match("https?://[^/]", params[url]):
            raise Refusal(400, "Not a valid URL", code="url_invalid", param=url)
    if len(params.get("client_reference_id", "")) > 200:
        raise Refusal(400, "At most 200 characters", param="client_reference_id")
    check_metadata(params, "metadata")
    mode = params["mode"]
    if mode not in MADE:
        raise Refusal(400, f"Invalid mode: must be one of {', '.join(MADE)}", param="mode")
    for name in params.keys() & set(MADE.values()):
        if name != MADE[mode]:
            raise Refusal(400, f"You can not pass `{name}` in `{mode}` mode.", param=name)
        _made(params[name], name)
    return _line(params, find) if mode != "setup" else None


def _made(given: Any, name: str) -> None:
    if not isinstance(given, dict):
        raise Refusal(400, "Invalid object", param=name)
    for field in given.keys() - OF_MADE[name]:
        raise unknown(f"{name}[{field}]")
    if "trial_period_days" in given and integer(given["trial_period_days"], name) < 1:
        raise Refusal(400, "At least 1 day", param=f"{name}[trial_period_days]")
    check_metadata(given, f"{name}[metadata]")


def check_metadata(given: Json, param: str) -> None:
    """https://docs.stripe.com/metadata: 50 keys of 40 characters without brackets, 500 a value."""
    metadata = given.get("metadata", {})
    if not isinstance(metadata, dict):
        raise Refusal(400, "Invalid object", param=param)
    if len(metadata) > 50:
        raise Refusal(400, "Metadata can have up to 50 keys", param=param)
    for key, value in metadata.items():
        if len(key) > 40:
            raise Refusal(400, "Metadata keys can be up to 40 characters long", param=param)
        if not isinstance(value, str):  # brackets in a key read as a hash in this hash
            raise Refusal(400, "Metadata values must be strings", param=f"{param}[{key}]")
        if len(value) > 500:
            raise Refusal(400, "Metadata values can be up to 500 characters", param=param)


def _line(params: Json, find: Find) -> Json:
    lines = params.get("line_items")
    if not isinstance(lines, list) or not lines:
        message = "Missing required param: line_items."
        raise Refusal(400, message, code="parameter_missing", param="line_items")
    if len(lines) > 1:
        raise Refusal(501, "This fake sells one price at a time")
    line = lines[0]
    for field in line.keys() - OF_LINE:
        raise unknown(f"line_items[0][{field}]")
    price = find(line.get("price", ""))
    if price is None or price["object"] != "price":
        message = f"No such price: '{line.get('price')}'"
        raise Refusal(400, message, code="resource_missing", param="line_items[0][price]")
    if integer(line.get("quantity"), "line_items[0][quantity]") < 1:
        raise Refusal(400, "Quantity must be at least 1", param="line_items[0][quantity]")
    if (price["type"] == "recurring") != (params["mode"] == "subscription"):
        raise Refusal(400, f"This price is not for `{params['mode']}` mode", param="line_items")
    return price
