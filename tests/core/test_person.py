"""Whose ids are whose, and where they stand in the bytes that Stripe sent."""

import json

import pytest

from app.core.person import (
    Mentioned,
    Sought,
    mentioned,
    only_worth,
    personal,
    theirs,
    without_words,
)

KNOWN = {"user_7", "device_7", "hash_7"}


@pytest.mark.parametrize(
    ("ids", "answer"),
    [
        ({"user_id": "user_7"}, True),
        ({"device_id": "device_7"}, True),
        ({"fbp": "device_7"}, True),
        ({"email_sha256": "hash_7", "user_id": "user_8"}, True),
        ({"user_id": "user_8", "device_id": "device_7"}, False),
        ({"email_sha256": "hash_8", "device_id": "device_7"}, False),
        ({"session_id": "user_7", "event_id": "user_7"}, False),
        ({"client_reference_id": "user_7"}, False),
        ({}, False),
    ],
)
def test_who_is_named_decides_and_else_the_device(ids: dict[str, str], answer: bool) -> None:
    assert theirs(ids, KNOWN, None) is answer


def test_a_reference_is_somebodys_where_the_setting_says_so() -> None:
    assert theirs({"client_reference_id": "user_7"}, KNOWN, "user_id")
    given = {"client_reference_id": "cart_1", "user_id": "user_7", "session_id": "s"}
    assert personal(given, "user_id") == {"user_id": "user_7"}


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({"customer": "cus_1"}, True),
        ({"a": [{"b": "cus_1"}]}, True),
        ({"a": "cus_12", "b": "xcus_1", "c": "cus_1 "}, False),
        ({"note": 'said "', "customer": "cus_1"}, True),
        ({"note": 'ends in \\\\"', "customer": "cus_1"}, True),
        ({"account": "acct_1"}, False),
        ({"customer_account": "acct_1"}, True),
        ({"order": "42"}, False),
        ({"customer": "42"}, True),
        ({"metadata": {"user_id": "user_7"}}, True),
        ({"metadata": {"br_user_id": "user_7"}}, True),
        ({"metadata": {"order": "user_7"}}, False),
        ({"metadata": {"device_id": "device_7"}}, True),
        ({"metadata": {"device_id": "device_7", "user_id": "user_8"}}, False),
        ({"metadata": {"device_id": 'J\u00fcrgen "7"'}}, True),
    ],
)
def test_bytes_speak_of_a_person_by_whole_ids(value: object, answer: bool) -> None:
    known = {*KNOWN, 'Jürgen "7"'}
    sought = Sought({"cus_1", "acct_1", "42"}, known, None)

    assert sought.is_in(raw(value)) is answer
    assert sought.is_in(json.dumps(value, ensure_ascii=False, indent=2).encode()) is answer


@pytest.mark.parametrize("body", [b"", b'"', b'{"user_id": "\\ud800"}', b'"' + b"\\" * 100_000])
def test_bytes_of_any_kind_are_no_person(body: bytes) -> None:
    assert not Sought({"cus_1"}, KNOWN, None).is_in(body)


def test_an_object_mentions_whom_it_belongs_to_and_what_its_metadata_says() -> None:
    obj = {
        "id": "pm_1",
        "customer": None,
        "invoice": {"id": "in_1"},
        "metadata": {"br_user_id": "user_7", "note": "x"},
        "client_reference_id": "cart_1",
    }
    event = {"data": {"object": obj, "previous_attributes": {"customer": "cus_1"}}}

    assert mentioned(event) == Mentioned(
        frozenset({"pm_1", "in_1", "cus_1"}),
        {"user_id": "user_7", "client_reference_id": "cart_1"},
    )
    held: dict[str, object] = {"account_holder": {"type": "customer", "customer": "cus_2"}}
    held |= {"lines": [{"owner": {"related_customer": {"id": "cus_3"}}}]}
    held |= {"metadata": {"brought_along_by": {"customer": "cus_4"}, "customer": "cus_4"}}
    assert mentioned({"data": {"object": held}}) == Mentioned(frozenset({"cus_2", "cus_3"}))
    assert mentioned({"data": []}) == Mentioned()
    assert mentioned({"data": {"object": {"id": 7, "customer": []}}}) == Mentioned()


def test_what_people_wrote_is_left_out_and_worth_stays() -> None:
    item = {"id": "si_1", "quantity": 2, "metadata": {"name": "x"}, "price": {"id": "price_1"}}
    bare = {"id": "si_1", "quantity": 2, "price": {"id": "price_1"}}
    previous = {"items": {"data": [item]}, "metadata": {"name": "x"}, "quantity": 1, "latest": "x"}

    assert without_words([item]) == [bare]
    assert only_worth(previous) == {"items": {"data": [bare]}, "quantity": 1}
    assert only_worth(None) is None
