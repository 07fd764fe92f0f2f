"""The table of analytics events, and the page and schemas that follow from it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import stripe
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from app.core.analytics import AnalyticsEvent, Identity
from app.core.identity import CAMPAIGN
from app.core.money import Money
from app.core.reading.readers import BY_HAND, READERS
from app.core.taxonomy import EVENTS, LINE, PROPERTIES, allowed, carried, example
from app.destinations.webhook import translate
from docs.generate import HEADINGS, destinations_page, environment, page, schemas
from tests.conftest import FORMATS

DOCS = Path(__file__).parents[1] / "docs"
FILES = {file.name: json.loads(file.read_text()) for file in (DOCS / "schemas").glob("*.json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    (name, Resource.from_contents(schema)) for name, schema in FILES.items()
)
WHOLE = Draft202012Validator(
    FILES["analytics_event.json"], registry=REGISTRY, format_checker=FORMATS
)
NAMES = sorted(EVENTS)


def an_event(name: str) -> dict[str, Any]:
    """One such analytics event with its example's properties, as the `webhook` sends it."""
    definition, properties = EVENTS[name], example(EVENTS[name])
    event = AnalyticsEvent(
        key=definition.key.partition("<")[0] + "1",
        account="",
        livemode=True,
        name=name,
        occurred_at=datetime(2026, 3, 23, 2, 1, 30, tzinfo=UTC),
        identity=Identity(ids={"user_id": "user_1"}, source="subscription.metadata"),
        properties=properties,
        revenue=Money(4900 * (definition.sign or -1), "usd")
        if definition.carries_revenue
        else None,
    )
    return json.loads(json.dumps(translate(event, name)))  # type: ignore[no-any-return]


def faults(event: dict[str, Any]) -> list[str]:
    """Where it is not as the schema says."""
    return sorted(fault.json_path for fault in WHOLE.iter_errors(event))


# --- the table


def test_every_property_of_an_event_is_in_the_table_and_every_row_of_it_in_use() -> None:
    used = {name for event in EVENTS.values() for name in carried(event.properties)}

    assert used | CAMPAIGN == set(PROPERTIES)
    assert set(carried(PROPERTIES["items"].items)) == set(LINE)


@pytest.mark.parametrize("name", NAMES)
def test_what_says_which_form_an_event_has_may_leave_with_it(name: str) -> None:
    event = EVENTS[name]

    assert {*event.either, *event.left_out, *event.example} <= carried(event.properties).keys()


def test_a_name_said_again_with_a_star_is_always_there() -> None:
    assert carried("b a* a b* c") == {"b": True, "a": True, "c": False}


def test_what_may_leave_is_an_events_own_properties_and_the_campaign() -> None:
    assert allowed("payment_recovered") == {
        *("invoice_id", "subscription_id", "customer_id"),
        *("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"),
        *("referrer", "landing_page"),
    }


def test_nothing_may_leave_under_a_name_that_is_not_in_the_table() -> None:
    with pytest.raises(KeyError):
        allowed("payment_imagined")


def test_only_the_five_movements_of_money_and_their_corrections_carry_revenue() -> None:
    assert {name: event.sign for name, event in EVENTS.items() if event.carries_revenue} == {
        "payment_succeeded": 1,
        "refund_created": -1,
        "refund_reversed": 1,
        "dispute_funds_withdrawn": -1,
        "dispute_funds_reinstated": 1,
        "revenue_corrected": None,
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_webhook_event_that_announces_it_is_read(name: str) -> None:
    assert set(EVENTS[name].announced_by) - {*READERS, *BY_HAND} == set()


@pytest.mark.parametrize(
    ("name", "annotation"),
    [
        ("status", stripe.Subscription.__annotations__["status"]),
        ("interval", stripe.Price.Recurring.__annotations__["interval"]),
        ("mode", stripe.checkout.Session.__annotations__["mode"]),
        ("payment_status", stripe.checkout.Session.__annotations__["payment_status"]),
        ("billing_reason", stripe.Invoice.__annotations__["billing_reason"]),
    ],
)
def test_a_closed_choice_is_stripes_own(name: str, annotation: object) -> None:
    assert set(PROPERTIES[name].enum) == set(_words(annotation))


def _words(annotation: object) -> list[str]:
    """The texts of Optional[Union[Literal[...], str]], as Stripe's library has its choices."""
    if isinstance(annotation, str):
        return [annotation]
    return [word for part in get_args(annotation) for word in _words(part)]


# --- what follows from it


def test_the_page_is_what_the_table_says() -> None:
    text = (DOCS / "events.md").read_text()

    assert text == page(text), "run python3 docs/generate.py"
    assert {event.family for event in EVENTS.values()} == set(HEADINGS)


def test_the_table_of_destinations_is_what_they_declare() -> None:
    text = (DOCS / "destinations.md").read_text()

    assert text == destinations_page(text), "run python3 docs/generate.py"
    settings = (DOCS.parent / ".env.example").read_text()
    assert settings == environment(settings), "run python3 docs/generate.py"


def test_the_schemas_are_what_the_table_says() -> None:
    written = {file.name: file.read_text() for file in (DOCS / "schemas").iterdir()}

    assert written == schemas(), "run python3 docs/generate.py"


def test_the_page_shows_an_example_of_every_event_that_its_schema_takes() -> None:
    sections = re.findall(
        r"^### (\w+)\n.*?^```json\n(.*?)^```", (DOCS / "events.md").read_text(), re.M | re.S
    )

    assert sorted(name for name, _ in sections) == NAMES
    for name, shown in sections:
        validator = Draft202012Validator(FILES[f"{name}.json"], format_checker=FORMATS)
        assert [fault.message for fault in validator.iter_errors(json.loads(shown))] == [], name


def test_the_example_of_the_whole_is_what_the_schema_takes() -> None:
    shown, *_ = re.findall(r"^```json\n(.*?)^```", (DOCS / "events.md").read_text(), re.M | re.S)

    assert faults(json.loads(shown)) == []


@pytest.mark.parametrize("file", sorted(FILES))
def test_every_schema_is_a_schema(file: str) -> None:
    Draft202012Validator.check_schema(FILES[file])


@pytest.mark.parametrize("name", NAMES)
def test_what_the_webhook_destination_sends_is_what_the_schema_takes(name: str) -> None:
    assert faults(an_event(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_property_that_is_not_in_the_table_is_a_fault(name: str) -> None:
    event = an_event(name)
    event["data"]["properties"]["email"] = "jane@example.com"

    assert faults(event) == ["$.data.properties"]


@pytest.mark.parametrize("name", NAMES)
def test_a_property_that_is_always_there_is_missed(name: str) -> None:
    for one, always in carried(EVENTS[name].properties).items():
        if always:
            event = an_event(name)
            del event["data"]["properties"][one]
            assert faults(event) == ["$.data.properties"], one


@pytest.mark.parametrize("name", NAMES)
def test_revenue_is_there_if_and_only_if_the_event_carries_it(name: str) -> None:
    event = an_event(name)
    other = {"minor": 100, "currency": "usd", "major": "1.00"}
    event["data"]["revenue"] = None if EVENTS[name].carries_revenue else other

    assert set(faults(event)) == {"$.data.revenue"}


@pytest.mark.parametrize("name", sorted(name for name in EVENTS if EVENTS[name].sign))
def test_an_amount_has_the_sign_of_its_revenue(name: str) -> None:
    event = an_event(name)
    event["data"]["properties"]["amount"] *= -1
    event["data"]["revenue"]["minor"] *= -1

    assert faults(event) == ["$.data.properties.amount", "$.data.revenue.minor"]


def test_a_correction_may_be_of_either_sign() -> None:
    event = an_event("revenue_corrected")
    less = faults(event)
    event["data"]["properties"]["amount"] *= -1
    event["data"]["revenue"]["minor"] *= -1

    assert (less, faults(event)) == ([], [])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("revenue_corrected", {"corrected_kind": "correction"}),
        ("payment_succeeded", {"currency": "usd"}),
        ("payment_succeeded", {"amount": "49.00"}),
        ("payment_succeeded", {"period_end": "2026-04-23"}),
        ("payment_succeeded", {"billing_reason": "because"}),
        ("payment_succeeded", {"out_of_band": False}),
        ("payment_failed", {"amount_due": -1.0}),
        ("payment_failed", {"next_payment_attempt": None}),
        ("payment_failed", {"attempt_count": 1.5}),
        ("subscription_cancelled", {"churn": "regrettable"}),
        ("subscription_paused", {"pause": "vacation"}),
        ("trial_started", {"interval": "fortnight"}),
    ],
)
def test_a_value_of_another_form_is_a_fault(name: str, wrong: dict[str, Any]) -> None:
    event = an_event(name)
    event["data"]["properties"] |= wrong

    [one] = wrong
    assert faults(event) == [f"$.data.properties.{one}"]


def test_a_line_has_only_what_a_line_has() -> None:
    event = an_event("payment_succeeded")
    event["data"]["properties"]["items"][0]["description"] = "Work for Jane Roe"

    assert faults(event) == ["$.data.properties.items[0]"]


def test_a_payment_says_what_it_is_of() -> None:
    event = an_event("payment_succeeded")
    del event["data"]["properties"]["invoice_id"]
    of_nothing = faults(event)
    event["data"]["properties"]["charge_id"] = "ch_1"

    assert of_nothing == ["$.data.properties"]
    assert faults(event) == []


def test_a_key_of_another_event_is_a_fault() -> None:
    event = an_event("refund_created")
    event["data"]["key"] = "payment:in_1"

    assert faults(event) == ["$.data.key"]


def test_a_key_may_have_been_given_before_the_direction_of_a_change_was_known() -> None:
    event = an_event("subscription_upgraded")
    event["data"]["key"] = "plan_changed:sub_1:1772323200:0a1b2c3d"

    assert faults(event) == []
