"""The outside of a webhook event: what is refused, by field, and what is kept as it came."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.envelope import OWN_ACCOUNT, Envelope, NotAnEvent, open_envelope, parse

# A slow machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SNAPSHOT = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "created": 1_740_830_400,
    "livemode": True,
    "api_version": "2025-03-31.basil",
    "data": {"object": {}},
}
THIN = {
    "id": "evt_test_65S",
    "object": "v2.core.event",
    "type": "v1.invoice.paid",
    "created": "2025-03-01T12:00:00.250Z",
    "livemode": False,
    "context": "acct_7",
    "related_object": {"id": "in_1", "type": "invoice", "url": "/v1/invoices/in_1"},
}
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def opened(like: Any = SNAPSHOT, **changes: Any) -> Envelope:
    return open_envelope(json.dumps({**like, **changes}).encode())


def refusal(body: bytes) -> str:
    with pytest.raises(NotAnEvent) as refused:
        open_envelope(body)
    return str(refused.value)


def refusal_of(like: Any = SNAPSHOT, **changes: Any) -> str:
    return refusal(json.dumps({**like, **changes}).encode())


def test_a_snapshot_event() -> None:
    assert opened() == Envelope(
        event_id="evt_1",
        type="invoice.paid",
        created=NOON,
        account=OWN_ACCOUNT,
        livemode=True,
        api_version="2025-03-31.basil",
        thin=False,
    )


def test_a_thin_event_has_a_written_time_and_names_its_account_as_context() -> None:
    assert opened(THIN) == Envelope(
        event_id="evt_test_65S",
        type="v1.invoice.paid",
        created=NOON + timedelta(milliseconds=250),
        account="acct_7",
        livemode=False,
        api_version="",
        thin=True,
    )


def test_an_event_of_a_connected_account_names_it() -> None:
    assert opened(account="acct_9").account == "acct_9"


def test_null_for_an_optional_field_is_as_if_it_were_not_there() -> None:
    assert opened(account=None, api_version=None).account == OWN_ACCOUNT


def test_a_thin_time_without_a_zone_is_utc_and_one_with_a_zone_keeps_its_instant() -> None:
    assert opened(THIN, created="2025-03-01T12:00:00").created == NOON
    assert opened(THIN, created="2025-03-01T13:00:00+01:00").created == NOON


@pytest.mark.parametrize("field", ["id", "type"])
@pytest.mark.parametrize(
    "value", [None, "", 7, ["evt_1"], "x" * 256, "evt\u0000", "evt\n", "évt", "\ud800"]
)
def test_a_name_is_printable_ascii_of_at_most_255_characters(field: str, value: object) -> None:
    expected = f"{field}: expected a name of at most 255 printable ASCII characters"

    assert refusal_of(**{field: value}) == expected


def test_a_name_of_255_characters_is_one() -> None:
    assert opened(id="e" * 255).event_id == "e" * 255


@pytest.mark.parametrize("field", ["account", "api_version"])
@pytest.mark.parametrize("value", [7, "x" * 256, "acct\u0000", {}])
def test_an_optional_name_that_is_there_must_be_one(field: str, value: object) -> None:
    expected = f"{field}: expected a name of at most 255 printable ASCII characters"

    assert refusal_of(**{field: value}) == expected


@pytest.mark.parametrize("value", [None, 0, 1, "true", []])
def test_livemode_is_true_or_false_and_nothing_like_it(value: object) -> None:
    assert refusal_of(livemode=value) == "livemode: expected true or false"


@pytest.mark.parametrize("value", [None, "1740830400", 1.5, -1, 2**33, 10**30, True, []])
def test_a_snapshots_time_is_unix_seconds(value: object) -> None:
    assert refusal_of(created=value) == "created: expected unix seconds"


@pytest.mark.parametrize("value", [None, "yesterday", "", 1_740_830_400, [], "2025-13-01T00:00Z"])
def test_a_thin_time_is_iso_8601(value: object) -> None:
    assert refusal_of(THIN, created=value) == "created: expected an ISO 8601 time"


@pytest.mark.parametrize("value", [None, "Event", "invoice", "v2.core.event_destination", 7, []])
def test_an_object_that_is_no_event_is_refused(value: object) -> None:
    assert refusal_of(object=value) == "object: expected 'event' or 'v2.core.event'"


@pytest.mark.parametrize("body", [b"[]", b'"evt_1"', b"7", b"null", b"true", b'[{"id": "evt_1"}]'])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(body) == "the body is not a JSON object"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"id=evt_1", b"\xff\xfe{}", b'{"id": "\xff"}', b"{}{}"]
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refusal(body) == "the body is not JSON (UTF-8)"


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json_are_refused_by_their_name(name: str) -> None:
    body = json.dumps({**SNAPSHOT, "data": 7}).replace('"data": 7', f'"data": {name}')

    assert refusal(body.encode()) == f"the body holds {name}, which is not JSON"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_ten_thousand_levels_are_refused_and_exhaust_nothing(opening: str, closing: str) -> None:
    deep = (opening * 10_000 + "0" + closing * 10_000).encode()
    around = json.dumps({**SNAPSHOT, "data": 7}).encode().replace(b'"data": 7', b'"data": ' + deep)

    assert refusal(deep) == "the body is not JSON (UTF-8)"
    assert refusal(around) == "the body is not JSON (UTF-8)"


def test_a_number_of_five_thousand_digits_is_refused() -> None:
    body = json.dumps({**SNAPSHOT, "data": 7}).replace('"data": 7', f'"data": {"9" * 5_000}')

    assert refusal(body.encode()) == "the body is not JSON (UTF-8)"


def test_half_of_a_surrogate_pair_is_kept_where_a_text_may_hold_anything() -> None:
    body = json.dumps({**SNAPSHOT, "data": "half \ud83d"}).encode()

    assert parse(body)["data"] == "half \ud83d"
    assert open_envelope(body) == opened()


def test_nul_is_kept_where_a_text_may_hold_anything() -> None:
    body = json.dumps({**SNAPSHOT, "data": "a\u0000b"}).encode()

    assert parse(body)["data"] == "a\u0000b"
    assert open_envelope(body) == opened()


def test_what_we_do_not_know_of_changes_nothing() -> None:
    assert opened(snapshot_event="evt_2", pending_webhooks=3, request={"id": "req_1"}) == opened()


def test_no_refusal_repeats_a_value() -> None:
    secret = "sk_live_hunter2"
    told = [refusal_of(**{field: [secret]}) for field in SNAPSHOT if field != "data"]

    assert [line for line in told if secret in line] == []


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_thin_time_outside_of_the_calendar_is_refused(value: str) -> None:
    assert refusal_of(THIN, created=value) == "created: expected an ISO 8601 time"


@unhurried
@given(st.binary(max_size=200))
def test_whatever_the_bytes_only_not_an_event_is_raised(body: bytes) -> None:
    with pytest.raises(NotAnEvent):
        open_envelope(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@unhurried
@given(st.sampled_from([SNAPSHOT, THIN]), st.dictionaries(st.sampled_from(list(SNAPSHOT)), JSON))
def test_whatever_a_field_holds_it_is_an_envelope_or_not_an_event(
    like: dict[str, Any], changes: dict[str, Any]
) -> None:
    try:
        envelope = opened(like, **changes)
    except NotAnEvent:
        return
    assert envelope.created.utcoffset() is not None
