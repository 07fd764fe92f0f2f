"""How Stripe shows an object: ids in place of other objects, and fields that must be asked for.

https://docs.stripe.com/api/expanding_objects
"""

from collections.abc import Callable, Iterable
from typing import Any

Json = dict[str, Any]
Expansions = dict[str, "Expansions"]  # of "a.b" and "a.c": {"a": {"b": {}, "c": {}}}
Find = Callable[[str], Json | None]

LINES_SHOWN = 10  # of an invoice; the rest are at /v1/invoices/:id/lines
# Left out until expanded.
KEPT_ASIDE: dict[str, set[str]] = {
    "charge": {"refunds"},
    "checkout.session": {"line_items"},
    "coupon": {"applies_to", "currency_options"},
    "customer": {"subscriptions"},
    "invoice": {"payments"},
    "price": {"currency_options", "tiers"},
}
# An id until expanded; a list of ids where the field is a list.
REFERENCES: dict[str, set[str]] = {
    "balance_transaction": {"source"},
    "charge": {"balance_transaction", "customer", "payment_intent"},
    "checkout.session": {"customer", "invoice", "payment_intent", "subscription"},
    "discount": {"customer", "promotion_code", "source.coupon"},
    "dispute": {"charge", "payment_intent"},
    "invoice": {"customer", "discounts"},
    "invoice_payment": {"invoice", "payment.charge", "payment.payment_intent"},
    "line_item": {"discounts"},
    "payment_intent": {"customer", "latest_charge"},
    "price": {"product"},
    "refund": {
        *("balance_transaction", "charge", "customer", "failure_balance_transaction"),
        "payment_intent",
    },
    "subscription": {"customer", "discounts", "latest_invoice"},
    "subscription_item": {"discounts"},
}
FROZEN = {"event", "v2.core.event"}  # what they hold stays as it was


class Refusal(Exception):
    """An answer of Stripe's that is no: https://docs.stripe.com/api/errors"""

    def __init__(self, status: int, message: str, *, code: str = "", param: str = "") -> None:
        super().__init__(message)
        self.status = status
        said = {"code": code, "message": message, "param": param, "type": "invalid_request_error"}
        self.body = {"error": {name: value for name, value in said.items() if value}}


def expansions(paths: Iterable[str]) -> Expansions:
    root: Expansions = {}
    for path in paths:
        names = path.split(".")
        if len(names) > 4:
            raise Refusal(400, f"You cannot expand more than 4 levels of a property: {path}")
        at = root
        for name in names:
            at = at.setdefault(name, {})
    return root


def shown(stripe_object: Json, expand: Expansions, find: Find) -> Json:
    """The object as Stripe answers it. `find` knows the objects of this account by id."""
    kind = stripe_object["object"]
    if kind in FROZEN and not expand:
        return stripe_object
    if kind == "invoice" and "lines" in stripe_object:
        lines = stripe_object["lines"]
        few, more = lines["data"][:LINES_SHOWN], len(lines["data"]) > LINES_SHOWN
        stripe_object = stripe_object | {"lines": lines | {"data": few, "has_more": more}}
    return _fields(stripe_object, expand, find, kind, "")


def _fields(value: Json, expand: Expansions, find: Find, kind: str, above: str) -> Json:
    """The fields of an object, or of a plain part of it at `above` ("payment.")."""
    aside, references = KEPT_ASIDE.get(kind, set()), REFERENCES.get(kind, set())
    for name in expand:
        if name not in value and f"{above}{name}" not in aside | references:
            raise _not_expandable(name)
    found: Json = {}
    for name, part in value.items():
        field, wanted = f"{above}{name}", expand.get(name)
        if field in references:
            found[name] = _reference(part, wanted, find)
        elif field in aside:
            if wanted is not None:
                found[name] = _part(part, wanted, find, kind, field)
        elif wanted is not None and part is not None and not (wanted and _holds_fields(part)):
            raise _not_expandable(name)
        else:
            found[name] = _part(part, wanted or {}, find, kind, field)
    return found


def _part(part: Any, expand: Expansions, find: Find, kind: str, field: str) -> Any:
    match part:
        case list():
            return [_part(one, expand, find, kind, field) for one in part]
        case {"object": str()}:
            return shown(part, expand, find)
        case dict():
            return _fields(part, expand, find, kind, f"{field}.")
        case _:
            return part


def _reference(part: Any, wanted: Expansions | None, find: Find) -> Any:
    if isinstance(part, list):
        return [_reference(one, wanted, find) for one in part]
    if part is None or wanted is None:
        return part["id"] if isinstance(part, dict) else part
    whole = part if isinstance(part, dict) else find(part)
    if whole is None:
        raise Refusal(501, f"A test asked to expand {part}, which it did not add")
    return shown(whole, wanted, find)


def _holds_fields(part: object) -> bool:
    return isinstance(part, dict | list)


def _not_expandable(name: str) -> Refusal:
    return Refusal(400, f"This property cannot be expanded ({name}).", param="expand")
