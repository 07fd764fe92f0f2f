"""What a team may choose of every destination: the events' names there, which properties leave."""

from typing import Any

import orjson
import pytest

from app.destinations import build
from app.destinations.base import Destination
from tests.destinations.example import DEDUPE_ID, SECRET, an_event

RENAME = "payment_succeeded = Order Paid, refund_created=Order Refunded"
FORM = (
    "must be pairs of our name and theirs, such as"
    " payment_succeeded=Order Paid,refund_created=Refund"
)


def configured(**options: str) -> Destination:
    given = {"url": "https://a.example/", "secret": SECRET, **options}
    built = build("webhook", given, allow_local_urls=False)
    assert isinstance(built, Destination)
    return built


def told(destination: Destination, **changes: Any) -> Any:
    body = destination.render(an_event(**changes), DEDUPE_ID)
    assert isinstance(body, bytes)
    return orjson.loads(body)


def test_an_event_is_called_as_the_team_calls_it_or_by_its_own_name_after_the_prefix() -> None:
    plain, named = configured(), configured(rename=RENAME, prefix="stripe.")

    assert told(plain)["type"] == "payment_succeeded"
    assert told(named)["type"] == "Order Paid"
    assert told(named, name="trial_started", revenue=None)["type"] == "stripe.trial_started"


def test_the_vendors_own_word_has_no_prefix_and_gives_way_to_the_teams() -> None:
    named = configured(rename=RENAME, prefix="stripe.")

    assert named.called(an_event(name="dispute_opened"), "dispute") == "dispute"
    assert named.called(an_event(), "purchase") == "Order Paid"


@pytest.mark.parametrize(
    "text", ["payment_succeeded", "=Paid", "a=b=c", "Paid=x", "payment_succeeded=\x07", "paid=x"]
)
def test_a_rename_that_is_no_pair_is_a_problem(text: str) -> None:
    options = {"url": "https://a.example/", "secret": SECRET, "rename": text}

    assert build("webhook", options, allow_local_urls=False) == [
        f"BRIDGE_DEST_WEBHOOK_RENAME: {FORM}"
    ]


@pytest.mark.parametrize(
    ("globs", "leaving"),
    [
        ("*", {"utm_source", "utm_term", "product_id"}),
        ("utm_*", {"utm_source", "utm_term"}),
        ("!utm_*", {"product_id"}),
        ("utm_*,!utm_term", {"utm_source"}),
        ("!*", set()),
        ("product", set()),
    ],
)
def test_only_the_properties_that_the_setting_names_leave(globs: str, leaving: set[str]) -> None:
    properties = {"utm_source": "news", "utm_term": "x", "product_id": "prod_1"}

    assert configured(properties=globs).leaving(properties).keys() == leaving
