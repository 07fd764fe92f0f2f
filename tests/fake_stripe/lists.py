"""Stripe's lists: which may be asked for, what each filters by, and how they are paged.

Filters are those of each list's page at https://docs.stripe.com/api that were needed so far; any
other parameter is unknown here, so that a test learns of it. One difference: a filter by an
object that nobody added finds nothing, where Stripe may say that there is no such object.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

from tests.fake_stripe.shapes import Json, Refusal

Judge = Callable[[Json], bool]
Filter = Callable[[Any], Judge]  # of a parameter's value

PAGING = {"ending_before", "expand", "limit", "starting_after"}
ALTERNATIVES = [("ending_before", "starting_after"), ("type", "types")]
BOUNDS = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


class Resource(NamedTuple):
    """What /v1/<name> serves: objects of a kind, listed by these parameters."""

    kind: str
    filters: dict[str, Filter]
    unasked: tuple[str, ...] = ()  # filters that judge, by None, also when they are not given


def integer(wanted: Any, param: str) -> int:
    try:
        return int(wanted)
    except (TypeError, ValueError):
        code = "parameter_invalid_integer"
        raise Refusal(400, f"Invalid integer: {wanted}", code=code, param=param) from None


def unknown(param: str) -> Refusal:
    message = f"Received unknown parameter: {param}"
    return Refusal(400, message, code="parameter_unknown", param=param)


def _value(found: Json, field: str) -> Any:
    value = found.get(field)
    return value["id"] if isinstance(value, dict) else value


def _is(field: str) -> Filter:
    return lambda wanted: lambda found: bool(_value(found, field) == wanted)


def _same(*fields: str) -> dict[str, Filter]:
    return {field: _is(field) for field in fields}


def _one_of(field: str, *values: str) -> dict[str, Filter]:
    def judge_of(wanted: Any) -> Judge:
        if wanted not in values:
            raise Refusal(400, f"Invalid {field}: must be one of {values}", param=field)
        return _is(field)(wanted)

    return {field: judge_of}


def _yes_or_no(wanted: Any, param: str) -> bool:
    if wanted not in ("true", "false"):
        raise Refusal(400, f"Invalid boolean: {wanted}", param=param)
    return bool(wanted == "true")


def _active(wanted: Any) -> Judge:
    active = _yes_or_no(wanted, "active")
    return lambda found: bool(found["active"] == active)


def _created(wanted: Any) -> Judge:
    if not isinstance(wanted, dict):
        second = integer(wanted, "created")
        return lambda found: bool(found["created"] == second)
    for bound in wanted.keys() - BOUNDS.keys():
        raise unknown(f"created[{bound}]")
    bounds = [(BOUNDS[name], integer(at, f"created[{name}]")) for name, at in wanted.items()]
    return lambda found: all(holds(found["created"], at) for holds, at in bounds)


def _type(wanted: Any) -> Judge:
    """One type, or with `*` a group of types."""
    return lambda found: fnmatchcase(found["type"], wanted)


def _types(wanted: Any) -> Judge:
    if not isinstance(wanted, list) or len(wanted) > 20:
        raise Refusal(400, "Invalid array: at most 20 types", param="types")
    return lambda found: found["type"] in wanted


def _delivered(wanted: Any) -> Judge:
    """Stripe knows of failed deliveries too; an event's JSON shows those that are pending."""
    delivered = _yes_or_no(wanted, "delivery_success")
    return lambda found: delivered == (found["pending_webhooks"] == 0)


def _payment(wanted: Any) -> Judge:
    if not isinstance(wanted, dict) or "type" not in wanted:
        param = "payment[type]"
        message = f"Missing required param: {param}."
        raise Refusal(400, message, code="parameter_missing", param=param)
    for name in wanted.keys() - {"type", "payment_intent", "payment_record"}:
        raise unknown(f"payment[{name}]")
    return lambda found: all(_value(found["payment"], name) == one for name, one in wanted.items())


def _status(wanted: Any) -> Judge:
    """Of a subscription; by default those that are not canceled."""
    among = {"all": lambda _: True, "ended": {"canceled", "incomplete_expired"}.__contains__}
    judge = among.get(wanted, wanted.__eq__) if wanted else "canceled".__ne__
    return lambda found: bool(judge(found["status"]))


def _item_price(wanted: Any) -> Judge:
    return lambda found: any(_value(one, "price") == wanted for one in found["items"]["data"])


def _subscription(wanted: Any) -> Judge:
    """Since 2025-03-31 an invoice names its subscription under `parent`."""

    def judge(found: Json) -> bool:
        details = (found.get("parent") or {}).get("subscription_details") or found
        return bool(_value(details, "subscription") == wanted)

    return judge


CREATED: dict[str, Filter] = {"created": _created}
RESOURCES: dict[str, Resource] = {
    "balance_transactions": Resource(
        "balance_transaction", CREATED | _same("currency", "payout", "source", "type")
    ),
    "charges": Resource("charge", CREATED | _same("customer", "payment_intent", "transfer_group")),
    "checkout/sessions": Resource(
        "checkout.session",
        CREATED
        | _same("customer", "payment_intent", "payment_link", "subscription")
        | _one_of("status", "complete", "expired", "open"),
    ),
    "coupons": Resource("coupon", CREATED),
    "customers": Resource("customer", CREATED | _same("email")),
    "disputes": Resource("dispute", CREATED | _same("charge", "payment_intent")),
    "events": Resource(
        "event", CREATED | {"delivery_success": _delivered, "type": _type, "types": _types}
    ),
    "invoice_payments": Resource(
        "invoice_payment",
        CREATED
        | _same("invoice")
        | _one_of("status", "canceled", "open", "paid")
        | {"payment": _payment},
    ),
    "invoices": Resource(
        "invoice",
        CREATED
        | _same("collection_method", "customer")
        | _one_of("status", "draft", "open", "paid", "uncollectible", "void")
        | {"subscription": _subscription},
    ),
    "payment_intents": Resource("payment_intent", CREATED | _same("customer")),
    "prices": Resource(
        "price",
        CREATED
        | _same("currency", "product")
        | _one_of("type", "one_time", "recurring")
        | {"active": _active},
    ),
    "refunds": Resource("refund", CREATED | _same("charge", "payment_intent")),
    "subscriptions": Resource(
        "subscription",
        CREATED
        | _same("collection_method", "customer")
        | {"price": _item_price, "status": _status},
        unasked=("status",),
    ),
    "webhook_endpoints": Resource("webhook_endpoint", {}),
}
LINES = Resource("line_item", {})  # of an invoice


def newest_first(rows: list[Json]) -> list[Json]:
    """By `created`; of one second, the last added first."""
    oldest_first = sorted(rows, key=lambda row: row.get("created", 0))
    return oldest_first[::-1]


def page(rows: list[Json], params: Json, resource: Resource) -> Json:
    """One page of these rows, which are in the list's order: `data` and `has_more`."""
    for param in params.keys() - PAGING - resource.filters.keys():
        raise unknown(param)
    for one, other in ALTERNATIVES:
        if one in params and other in params:
            raise Refusal(400, f"You may only specify one of these parameters: {one}, {other}.")
    limit = integer(params.get("limit", 10), "limit")
    if not 1 <= limit <= 100:
        code = "parameter_invalid_integer"
        raise Refusal(400, "Limit must be between 1 and 100", code=code, param="limit")
    given = {*params.keys() - PAGING, *resource.unasked}
    judges = [resource.filters[name](params.get(name)) for name in given]
    found = [row for row in _beside(rows, params) if all(judge(row) for judge in judges)]
    data = found[-limit:] if "ending_before" in params else found[:limit]
    return {"has_more": len(found) > limit, "data": data}


def _beside(rows: list[Json], params: Json) -> list[Json]:
    """The rows on the asked side of the cursor, which itself need not pass the filters."""
    ids = [row["id"] for row in rows]
    for param in ("starting_after", "ending_before"):
        if param in params:
            cursor = params[param]
            if cursor not in ids:
                message = f"No such object: '{cursor}'"
                raise Refusal(400, message, code="resource_missing", param=param)
            at = ids.index(cursor)
            return rows[at + 1 :] if param == "starting_after" else rows[:at]
    return rows
