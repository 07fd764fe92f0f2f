"""Whose it is: the nearest level that has ids answers alone, at the fact's own time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.analytics import Identity
from app.core.facts import Fact, Link
from app.core.identity import (
    CAMPAIGN,
    IDS,
    consents,
    fallback,
    identifies,
    identity_of,
    read_metadata,
    speaking,
)
from app.core.settle import Known, Rules, Settled, settle

# A slow machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RULES = Rules(session_window=DAY, fallback="customer")


def a_link(ids: Mapping[str, str], **changes: Any) -> Link:
    values = {
        "objects": ("sub_1",),
        "customer": "cus_1",
        "source": "subscription.metadata",
        "rank": 1,
        "ids": ids,
        "campaign": {},
        "consent": None,
        "stated_at": NOON,
        "completed_at": NOON,
    }
    return Link(**{**values, **changes})


def a_fact(at: datetime = NOON, new: bool = False, **changes: Any) -> Fact:
    return Fact(key="k", name="refund_created", at=at, about=("in_1",), new=new, **changes)


def settled(
    levels: Mapping[str, Sequence[Link]],
    fact: Fact | None = None,
    *,
    final: bool = False,
    nobody: Literal["customer", "none"] = "customer",
) -> Settled | None:
    """A fact about in_1 of sub_1 of cus_1, where these have these links."""
    known = Known(
        way=("in_1", "sub_1"), customers=("cus_1",), links=lambda one: levels.get(one, ())
    )
    rules = Rules(session_window=DAY, fallback=nobody)
    return settle(fact or a_fact(), known, rules, final=final)


# Metadata


def test_every_name_of_ours_is_read_with_and_without_the_prefix() -> None:
    names = IDS | CAMPAIGN
    ids, campaign = {name: f"v-{name}" for name in IDS}, {name: f"v-{name}" for name in CAMPAIGN}
    bare = {name: f"v-{name}" for name in names} | {"consent": "granted"}
    prefixed = {f"br_{name}": value for name, value in bare.items()}

    assert read_metadata(bare) == (ids, campaign, "granted")
    assert read_metadata(prefixed) == (ids, campaign, "granted")


def test_the_prefixed_name_speaks_before_the_bare_one() -> None:
    metadata = {"user_id": "theirs", "br_user_id": "ours", "br_device_id": "", "device_id": "dev"}

    assert read_metadata(metadata) == ({"user_id": "ours", "device_id": "dev"}, {}, None)


@pytest.mark.parametrize(
    "value",
    ["", "a\nb", "a\u0000", "\ud800", "\u202euser", "\u200b", "x" * 501, 7, None, True, ["u"], {}],
)
def test_hostile_values_are_dropped_and_not_repaired(value: object) -> None:
    metadata = {"user_id": value, "br_utm_source": value, "consent": value, "device_id": "dev_7"}

    assert read_metadata(metadata) == ({"device_id": "dev_7"}, {}, None)


def test_five_hundred_characters_are_a_value() -> None:
    assert read_metadata({"user_id": "é" * 500}) == ({"user_id": "é" * 500}, {}, None)


def test_names_of_others_are_left_where_they_are() -> None:
    metadata = {"email": "anna@example.com", "User_ID": "u", "br_br_user_id": "u", "order": "7"}

    assert read_metadata(metadata) == ({}, {}, None)


@unhurried
@given(st.dictionaries(st.text() | st.sampled_from(sorted(IDS)), st.text() | st.integers()))
def test_whatever_the_metadata_only_printable_texts_of_our_names_come_out(
    metadata: dict[str, Any],
) -> None:
    ids, campaign, _ = read_metadata(metadata)

    assert ids.keys() <= IDS
    assert campaign.keys() <= CAMPAIGN
    assert all(value.isprintable() and value for value in [*ids.values(), *campaign.values()])


@pytest.mark.parametrize(
    ("ids", "anyone"),
    [
        ({"user_id": "u"}, True),
        ({"device_id": "d"}, True),
        ({"ga_client_id": "1.2"}, True),
        ({"posthog_distinct_id": "p"}, True),
        ({"session_id": "1"}, False),
        ({"ga_session_id": "1", "event_id": "e", "fbp": "f", "fbc": "c"}, False),
        ({}, False),
    ],
)
def test_a_session_alone_names_nobody(ids: dict[str, str], anyone: bool) -> None:
    assert identifies(ids) is anyone


# Which of an object's links speaks

EARLY = a_link({"user_id": "early"}, stated_at=NOON)
LATE = a_link({"user_id": "late"}, stated_at=NOON + DAY)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOON - HOUR, EARLY),  # nothing was stated yet: the first to come speaks
        (NOON, EARLY),
        (NOON + HOUR, EARLY),
        (NOON + DAY, LATE),
        (NOON + 30 * DAY, LATE),
    ],
)
@pytest.mark.parametrize("links", list(permutations([EARLY, LATE])))
def test_the_latest_statement_before_the_fact_speaks(
    links: Sequence[Link], at: datetime, expected: Link
) -> None:
    assert speaking(links, at) == expected


def test_a_nearer_source_speaks_whatever_its_time() -> None:
    session = a_link({"user_id": "session"}, rank=2, stated_at=NOON)
    subscription = a_link({"user_id": "subscription"}, rank=1, stated_at=NOON + DAY)

    for links in permutations([session, subscription]):
        assert speaking(links, NOON + HOUR) == subscription


def test_a_link_that_names_nobody_does_not_speak() -> None:
    nobody = a_link({"session_id": "1740830400000"}, rank=0)

    assert speaking([nobody, EARLY], NOON) == EARLY
    assert speaking([nobody], NOON) is None
    assert speaking([], NOON) is None


def test_two_statements_of_one_second_are_decided_alike_in_any_order() -> None:
    one, other = a_link({"user_id": "a"}), a_link({"user_id": "b"})

    assert speaking([one, other], NOON) == speaking([other, one], NOON) == other


# The session's window

IN_SESSION = {
    "user_id": "u",
    "session_id": "1",
    "amplitude_session_id": "2",
    "posthog_session_id": "3",
    "ga_session_id": "4",
}


@pytest.mark.parametrize("after", [timedelta(0), DAY, -DAY, HOUR])
def test_within_the_window_the_session_rides_along(after: timedelta) -> None:
    identity = identity_of(a_link(IN_SESSION), NOON + after, DAY)

    assert identity == Identity(ids=IN_SESSION, source="subscription.metadata")


@pytest.mark.parametrize(
    ("after", "completed_at"),
    [(DAY + timedelta(seconds=1), NOON), (30 * DAY, NOON), (-2 * DAY, NOON), (HOUR, None)],
)
def test_a_renewal_does_not_carry_last_months_session(
    after: timedelta, completed_at: datetime | None
) -> None:
    link = a_link(IN_SESSION, completed_at=completed_at)

    assert identity_of(link, NOON + after, DAY) == Identity(
        ids={"user_id": "u"}, source="subscription.metadata"
    )


def test_a_window_of_nothing_is_the_moment_itself() -> None:
    link = a_link({"user_id": "u", "session_id": "1"})

    assert identity_of(link, NOON, timedelta(0)).ids == {"user_id": "u", "session_id": "1"}
    assert identity_of(link, NOON + timedelta(seconds=1), timedelta(0)).ids == {"user_id": "u"}


# Levels

INVOICES = a_link({"user_id": "invoices"}, source="invoice.metadata")
SUBSCRIPTIONS = a_link({"user_id": "subs", "device_id": "dev"}, campaign={"utm_source": "x"})
CUSTOMERS = a_link({"user_id": "customers"}, source="checkout.session.metadata")


def test_the_nearest_level_answers_alone_and_ids_are_never_mixed() -> None:
    levels = {"in_1": [INVOICES], "sub_1": [SUBSCRIPTIONS], "cus_1": [CUSTOMERS]}

    assert settled(levels) == Settled(
        name="refund_created",
        identity=Identity(ids={"user_id": "invoices"}, source="invoice.metadata"),
    )


def test_a_level_that_names_nobody_is_passed_over_but_its_refusal_holds() -> None:
    nobody = a_link({"session_id": "9"}, campaign={"utm_source": "y"}, consent="denied")

    assert settled({"in_1": [nobody], "sub_1": [SUBSCRIPTIONS]}) == Settled(
        name="refund_created",
        identity=Identity(
            ids={"user_id": "subs", "device_id": "dev"}, source="subscription.metadata"
        ),
        campaign={"utm_source": "x"},
        consent="denied",
    )


def test_a_refusal_without_any_id_goes_with_the_pseudonym() -> None:
    refusal = a_link({}, consent="denied")

    assert settled({"sub_1": [refusal]}, final=True) == Settled(
        name="refund_created",
        identity=Identity(ids={"device_id": "stripe:cus_1"}, source="fallback", fallback=True),
        consent="denied",
    )


def test_a_customers_link_serves_what_is_not_new_at_once() -> None:
    assert settled({"cus_1": [CUSTOMERS]}) == Settled(
        name="refund_created",
        identity=Identity(ids={"user_id": "customers"}, source="checkout.session.metadata"),
    )


def test_what_is_new_waits_for_its_own_link_and_takes_the_customers_when_the_hold_ends() -> None:
    levels, new = {"cus_1": [CUSTOMERS]}, a_fact(new=True)

    assert settled(levels, new) is None
    assert settled(levels, new, final=True) == Settled(
        name="refund_created",
        identity=Identity(ids={"user_id": "customers"}, source="checkout.session.metadata"),
    )


def test_nobody_by_the_end_of_the_hold_is_the_customers_pseudonym() -> None:
    assert settled({}) is None
    assert settled({}, final=True) == Settled(
        name="refund_created",
        identity=Identity(ids={"device_id": "stripe:cus_1"}, source="fallback", fallback=True),
    )


def test_nobody_by_the_end_of_the_hold_is_told_to_nobody_where_that_is_the_setting() -> None:
    assert settled({}, final=True, nobody="none") == Settled(
        name="refund_created", identity=Identity(), withheld="no identity before the hold ended"
    )


def test_a_payment_without_customer_falls_back_to_the_last_id_on_its_way() -> None:
    assert fallback(None, ("re_1", "pi_1")) == Identity(
        ids={"device_id": "stripe:pi_1"}, source="fallback", fallback=True
    )


def test_a_bill_for_a_change_within_a_period_is_withheld_as_beginning_none() -> None:
    bill = Fact(key="k", name="trial_converted", at=NOON, about=("in_1",), cycle_start=NOON)
    known = Known(way=("in_1",), customers=(), links=lambda _: (), trial_ends={(NOON, NOON - DAY)})

    assert settle(bill, known, RULES, final=False) == Settled(
        name="trial_converted", identity=Identity(), withheld="begins no paid period"
    )


def test_a_vendors_own_id_comes_before_the_generic_one() -> None:
    identity = Identity(ids={"device_id": "d", "amplitude_device_id": "a", "user_id": ""})

    assert identity.first("amplitude_device_id", "device_id") == "a"
    assert identity.first("posthog_distinct_id", "device_id") == "d"
    assert identity.first("user_id") is None


# Consent


@pytest.mark.parametrize(
    ("said", "analytics", "ads"),
    [
        (None, None, None),
        ("", None, None),
        ("granted", True, True),
        ("GRANTED", True, True),
        ("denied", False, False),
        ("analytics=granted,ads=denied", True, False),
        ("ads=granted, analytics=denied", False, True),
        ("analytics=granted", True, None),
        ("ads=denied", None, False),
        ("a1d0", True, False),
        ("a0d1", False, True),
        ("A1D1", True, True),
        ("a0d0", False, False),
        ("a1d2", None, None),
        ("yes", None, None),
        ("analytics=maybe", None, None),
        ("analytics", None, None),
        ("ads_storage=granted", None, None),
    ],
)
def test_what_the_visitor_agreed_to(said: str | None, analytics: bool, ads: bool) -> None:
    assert (consents(said, "analytics"), consents(said, "ads")) == (analytics, ads)


@pytest.mark.parametrize("said", [None, "denied", "a0d0", "own=denied"])
def test_our_own_data_needs_no_consent(said: str | None) -> None:
    assert consents(said, "own") is True
