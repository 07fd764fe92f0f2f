"""A `track` call of Segment's specification, which RudderStack took over, and what an answer to a
batch of them means.

https://segment.com/docs/connections/spec/track/
https://segment.com/docs/connections/spec/common/
"""

import re
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from app.core.analytics import AnalyticsEvent
from app.core.money import exponent
from app.core.outcome import Outcome, Retry, Skipped
from app.destinations import judging
from app.destinations.base import Payload, Request, Response, amount_in

MAX_EVENT = 32_000  # bytes; both take "32 KB", and Segment drops what is larger with a 200
LIBRARY = {"name": "stripe-analytics-bridge"}
CAMPAIGN = ("source", "medium", "term", "content")
# Told of the visit that led to it; all else comes later, without one.
OF_A_VISIT = {"trial_started", "subscription_started", "checkout_completed"}
OF_A_VISIT |= {"checkout_expired", "checkout_payment_failed"}
FIRST_PAYMENTS = {None, "subscription_create"}  # billing_reason
COMPLETED, REFUNDED = "Order Completed", "Order Refunded"
ORDERS = {"payment_succeeded": COMPLETED, "refund_created": REFUNDED}


def rendered(
    event: AnalyticsEvent, name: str, dedupe_id: UUID, *, orders: bool, **more: Any
) -> dict[str, Any]:
    """The call, but for who and when. `orders`: payments and refunds in the e-commerce words.
    `more`: fields of its context, left out where they are empty."""
    return {
        "type": "track",
        "messageId": str(dedupe_id),  # a UUID: shorter than 100, and fit for what comes after
        "event": name,
        "properties": _properties(event, orders=orders),
        "context": {"library": LIBRARY} | _visit(event) | present(more),
    }


def frozen(call: Mapping[str, Any], vendor: str) -> bytes | Skipped:
    """The call's bytes, without what is empty. What the vendor would drop behind a 200 stays here,
    and the reason names the field."""
    if not (call.get("userId") or call.get("anonymousId")):
        return Skipped(f"{vendor} needs a user_id or a device_id")
    body = orjson.dumps(present(call), option=orjson.OPT_SORT_KEYS)
    if len(body) > MAX_EVENT:
        return Skipped(
            f"properties: {vendor} takes events of {MAX_EVENT} bytes, this has {len(body)}"
        )
    return body


def order_name(event: AnalyticsEvent, *, orders: bool) -> str | None:
    """The e-commerce word for this event, if it has one and such words are wanted."""
    return ORDERS.get(event.name) if orders and event.revenue is not None else None


def moment(event: AnalyticsEvent) -> str:
    """When it happened, by Stripe's clock: ISO 8601, UTC, with milliseconds."""
    text = event.occurred_at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def somebody(event: AnalyticsEvent, *names: str) -> str | None:
    """The first of these ids that is not blank: to the vendors a blank one is none."""
    ids = (event.identity.first(name) for name in names)
    return next((each for each in ids if each and each.strip()), None)


def session(event: AnalyticsEvent, digits: str) -> int | None:
    """The visit's session id where it is a number of so many digits."""
    ids = (event.identity.first(name) for name in ("amplitude_session_id", "session_id"))
    fits = (each for each in ids if each and re.fullmatch(f"[1-9][0-9]{{{digits}}}", each))
    return next(map(int, fits), None)


def consents(event: AnalyticsEvent, analytics: str, ads: str) -> dict[str, bool]:
    """What the visitor said, by the names that the categories have there. Where both have one
    name, the refusal stands. Empty: nothing was said."""
    said: dict[str, bool] = {}
    for name, answer in ((analytics, event.consent.analytics), (ads, event.consent.ads)):
        if answer is not None:
            said[name] = said.get(name, True) and answer
    return said


def told(body: bytes) -> tuple[Decimal, str] | None:
    """The revenue of a call; that of a refunded order is its total, which is positive."""
    properties = orjson.loads(body)["properties"]
    if found := amount_in(properties, "revenue"):
        return found
    refunded = amount_in(properties, "total")
    return (-refunded[0], refunded[1]) if refunded else None


def request(url: str, write_key: str, batch: Sequence[Payload]) -> Request:
    """The frozen calls, joined and not parsed again.

    There is no `sentAt`: by it Segment moves every `timestamp` by the difference between that and
    its own clock at arrival. Ours are Stripe's, so our clock's error is not in them, and a time
    that moves with every try would be another event to tools that dedupe by it.
    """
    body = b'{"batch":[%b]}' % b",".join(payload.body for payload in batch)
    return _post(url, f"Basic {basic(write_key)}", body)


def regulation(url: str, token: str, body: Mapping[str, Any]) -> Request:
    """What asks for a deletion: both call it a regulation."""
    return _post(url, f"Bearer {token}", orjson.dumps(body))


def _post(url: str, authorization: str, body: bytes) -> Request:
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    return Request(url, headers, body)


def basic(write_key: str) -> str:
    """What follows `Basic` in the header: the key is the user, the password is empty."""
    return b64encode(f"{write_key}:".encode()).decode()


def judged(response: Response, hide: Collection[str]) -> Outcome:
    """One outcome for the whole batch: neither vendor names rows."""
    said = judging.reason(response, hide)
    if response.status is not None and 200 <= response.status < 300 and _refuses(response.text):
        return Retry(said)
    reset = response.headers.get("x-ratelimit-reset")  # seconds, as Segment documents it
    if reset and "retry-after" not in response.headers:
        response = replace(response, headers={**response.headers, "retry-after": reset})
    return judging.by_status(response, hide=hide)


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _refuses(text: str) -> bool:
    """Whether a 200 says otherwise: an error in its JSON, or a web page of something else."""
    answer = judging.json_object(text)
    return answer.get("success") is False or bool(answer.get("error")) or judging.is_page(text)


def _visit(event: AnalyticsEvent) -> dict[str, Any]:
    """Campaign and referrer, where the vendors' tools look for those of a visit. Only with what
    belongs to one: Amplitude behind Segment sets its user's campaign anew by every event that has
    it, and a renewal would put last year's in place of today's. As properties they always ride."""
    properties = event.properties
    first = event.name == "payment_succeeded" and _first_payment(properties)
    if not first and event.name not in OF_A_VISIT:
        return {}
    campaign = {word: properties.get(f"utm_{word}") for word in CAMPAIGN}
    campaign["name"] = properties.get("utm_campaign")
    page = {"referrer": properties.get("referrer")}
    return present({"campaign": present(campaign), "page": present(page)})


def _first_payment(properties: Mapping[str, Any]) -> bool:
    if "invoice_id" in properties and "billing_reason" not in properties:
        return False  # perhaps a renewal
    return properties.get("billing_reason") in FIRST_PAYMENTS


def _properties(event: AnalyticsEvent, *, orders: bool) -> dict[str, Any]:
    money = event.revenue
    if money is None:
        return dict(event.properties)
    currency = money.currency.upper()
    told_as = order_name(event, orders=orders)
    if told_as == REFUNDED:  # its total is positive, and there is no revenue to add up beside it
        return _order(event) | {"total": (-money).number, "currency": currency}
    paid = {"revenue": money.number, "currency": currency}  # a refund is negative
    if told_as == COMPLETED:
        return _order(event) | {"total": event.properties.get("amount", money.number)} | paid
    return dict(event.properties) | paid


def _order(event: AnalyticsEvent) -> dict[str, Any]:
    """The properties in the e-commerce words; amounts that are its own are positive.

    https://segment.com/docs/connections/spec/ecommerce/v2/
    """
    ours = dict(event.properties)
    items = ours.pop("items", None)
    order = next(
        (ours[name] for name in ("invoice_id", "payment_intent_id", "charge_id") if name in ours),
        None,
    )
    places = exponent(event.revenue.currency) if event.revenue else 2
    words = {
        "order_id": order,
        "checkout_id": ours.get("checkout_session_id"),
        "tax": abs(ours["tax"]) if "tax" in ours else None,
        "products": [_product(item, places) for item in items] if items else None,
    }
    return ours | present(words)


def _product(item: Mapping[str, Any], places: int) -> dict[str, Any]:
    """`price` is that of one, rounded to what the currency has: the line's amount is the truth."""
    quantity, amount = item.get("quantity"), item.get("amount")
    each = None
    if amount is not None and quantity != 0:
        share = Decimal(str(amount)) / Decimal(str(1 if quantity is None else quantity))
        each = float(round(share, places))
    return present(
        {
            "product_id": item.get("product_id"),
            "sku": item.get("price_id"),
            "quantity": quantity,
            "price": each,
        }
    )
