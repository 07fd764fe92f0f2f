"""Whose it is: the nearest level that has ids answers alone, at the fact's own time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.analytics import Identity
from app.core.consent import Consent
from app.core.facts import Entry, Fact, Link, PlanChange
from app.core.identity import (
    CAMPAIGN,
    IDS,
    fallback,
    identifies,
    identity_of,
    nearest,
    of_customer,
    read_metadata,
    speaking,
    with_reference,
)
from app.core.money import Money
from app.core.settle import Known, Paid, Rules, Settled, settle

# A slow machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSED = Consent(analytics=False, ads=False)
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


def a_fact(at: datetime = NOON, about: tuple[str, ...] = ("in_1",), **changes: Any) -> Fact:
    return Fact(key="k", name="payment_failed", at=at, about=about, **changes)


def settled(
    levels: Mapping[str, Sequence[Link]],
    fact: Fact | None = None,
    *,
    final: bool = False,
    nobody: Literal["customer", "none"] = "customer",
    way: tuple[str, ...] = ("in_1", "sub_1"),
    paid: Sequence[Paid] = (),
) -> Settled | None:
    """A fact about in_1 of sub_1 of cus_1, where these have these links."""
    known = Known(way=way, customers=("cus_1",), links=lambda one: levels.get(one, ()), paid=paid)
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


@pytest.mark.parametrize("value", ["undefined", "NULL", " none ", "[object Object]", "0", "{}"])
def test_what_a_script_writes_for_nobody_is_no_id(value: str) -> None:
    said = {"user_id": value, "br_device_id": value, "event_id": value, "utm_source": value}

    assert read_metadata(said) == ({"event_id": value}, {"utm_source": value}, None)


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


def test_a_silence_speaks_for_its_time_too() -> None:
    silence = a_link({}, stated_at=NOON)
    earlier = a_link({"user_id": "a"}, stated_at=NOON - DAY)

    for links in permutations([silence, earlier]):
        assert speaking(links, NOON + HOUR) is None
        assert speaking(links, NOON - HOUR) == earlier
    assert speaking([], NOON) is None


def test_of_what_an_object_says_at_one_moment_the_nearest_source_that_names_somebody_speaks() -> (
    None
):
    session_alone = a_link({"session_id": "1740830400000"}, rank=0)
    first, second = a_link({"user_id": "a"}, rank=1), a_link({"user_id": "b"}, rank=2)

    for links in permutations([session_alone, first, second]):
        assert nearest(links) == first
    assert nearest([session_alone]) is None


def test_what_a_visit_said_goes_before_the_customers_own_metadata() -> None:
    visit = a_link({"user_id": "visit"}, stated_at=NOON)
    metadata = a_link({"user_id": "crm"}, source="customer.metadata", rank=3, stated_at=NOON + HOUR)

    for links in permutations([visit, metadata]):
        assert of_customer(links, NOON + DAY) == visit
    assert of_customer([metadata], NOON) == metadata


def test_a_client_reference_is_the_id_that_a_setting_says_where_metadata_names_nobody() -> None:
    link = a_link({"client_reference_id": "ref_7"})
    named = a_link({"client_reference_id": "ref_7", "device_id": "d"})

    assert with_reference(link, None) == link
    assert with_reference(named, "user_id") == named
    found = with_reference(link, "user_id")
    assert identity_of(found, NOON, DAY) == Identity(
        ids={"user_id": "ref_7"}, source="subscription.metadata"
    )


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


# Whose a fact is: each search begins at the object that announced it

OWN = a_link({"user_id": "own"}, objects=("in_1",), source="invoice.metadata")
SILENT = a_link({}, objects=("in_1",), source="invoice.metadata", anchor=True)
CREATED = a_link({"user_id": "subs", "device_id": "dev"}, campaign={"utm_source": "x"}, anchor=True)
HEARD = a_link({}, anchor=True)
SESSION = a_link({"user_id": "session"}, source="checkout.session.metadata", rank=2)
CUSTOMERS = a_link({"user_id": "customers"}, source="checkout.session.metadata")


def whose(user: str, source: str, **changes: Any) -> Settled:
    return Settled(
        name="payment_failed", identity=Identity(ids={"user_id": user}, source=source), **changes
    )


def test_ids_in_the_announcing_object_itself_answer_alone_and_at_once() -> None:
    levels = {"in_1": [SESSION], "sub_1": [CREATED], "cus_1": [CUSTOMERS]}

    for final in (False, True):
        assert settled(levels, a_fact(own=OWN), final=final) == whose("own", "invoice.metadata")


def test_the_silence_of_the_announcing_object_lets_its_checkout_session_answer_at_once() -> None:
    levels = {"sub_1": [CREATED, SESSION], "cus_1": [CUSTOMERS]}

    for final in (False, True):
        assert settled(levels, a_fact(own=SILENT), final=final) == whose(
            "session", "checkout.session.metadata"
        )


def test_without_a_session_what_the_subscription_said_at_its_creation_answers_in_the_end() -> None:
    levels = {"sub_1": [CREATED, a_link({"user_id": "edited"})], "cus_1": [CUSTOMERS]}

    assert settled(levels, a_fact(own=SILENT)) is None
    assert settled(levels, a_fact(own=SILENT), final=True) == Settled(
        name="payment_failed",
        identity=Identity(
            ids={"user_id": "subs", "device_id": "dev"}, source="subscription.metadata"
        ),
        campaign={"utm_source": "x"},
    )


WAY = ("re_1", "ch_1", "pi_1", "in_1", "sub_1")
INTENT = a_link({}, objects=("pi_1",), source="payment_intent.metadata", anchor=True)


def test_a_refund_asks_its_invoice_and_only_then_the_checkout_session() -> None:
    refund = a_fact(about=WAY[:3])
    copied = a_link({"user_id": "paid"}, source="invoice.metadata", anchor=True)

    assert settled({"sub_1": [SESSION]}, refund, way=WAY) is None
    assert settled({"in_1": [copied], "sub_1": [SESSION]}, refund, way=WAY) == whose(
        "paid", "invoice.metadata"
    )
    assert settled({"in_1": [SILENT], "pi_1": [INTENT], "sub_1": [SESSION]}, refund, way=WAY) == (
        whose("session", "checkout.session.metadata")
    )


ONE_OFF = Paid(money=Money(900, "usd"), tax_minor=0, invoice=None)


def test_a_dispute_of_a_one_off_payment_asks_the_payment_intent() -> None:
    dispute, way = a_fact(about=("dp_1", "ch_1", "pi_1")), ("dp_1", "ch_1", "pi_1")
    said = a_link({"user_id": "intent"}, source="payment_intent.metadata", anchor=True)

    def found(*links: Link, paid: Sequence[Paid] = (ONE_OFF,)) -> Settled | None:
        return settled({"pi_1": links}, dispute, way=way, paid=paid)

    assert found(SESSION) is None
    assert found(INTENT, SESSION) == whose("session", "checkout.session.metadata")
    assert found(said, SESSION) == whose("intent", "payment_intent.metadata")
    assert found(INTENT, SESSION, paid=()) is None, "an invoice of it may come along yet"


def test_a_silent_checkout_asks_what_it_created() -> None:
    quiet = a_link({}, objects=("cs_1", "sub_1"), source="checkout.session.metadata", rank=2)
    checkout, way = a_fact(about=("cs_1", "sub_1"), own=quiet), ("cs_1", "sub_1")

    assert settled({}, checkout, way=way) is None
    assert settled({"sub_1": [CREATED]}, checkout, way=way) == Settled(
        name="payment_failed",
        identity=Identity(
            ids={"user_id": "subs", "device_id": "dev"}, source="subscription.metadata"
        ),
        campaign={"utm_source": "x"},
    )


def test_an_object_whose_beginning_was_missed_speaks_when_the_hold_ends_by_business_time() -> None:
    then = a_link({"user_id": "then"}, stated_at=NOON - DAY)
    later = a_link({"user_id": "later"}, stated_at=NOON + DAY)

    for links in permutations([then, later]):
        assert settled({"sub_1": links}, a_fact(own=SILENT)) is None
        found = settled({"sub_1": links}, a_fact(own=SILENT), final=True)
        assert found == whose("then", "subscription.metadata")


def test_a_customers_links_serve_only_when_the_hold_has_ended() -> None:
    levels = {"sub_1": [HEARD], "cus_1": [CUSTOMERS]}

    assert settled(levels, a_fact(own=SILENT)) is None
    assert settled(levels, a_fact(own=SILENT), final=True) == whose(
        "customers", "checkout.session.metadata"
    )


def test_of_two_checkouts_on_two_devices_the_one_before_the_fact_is_the_customers() -> None:
    first = a_link({"device_id": "phone"}, source="checkout.session.metadata", stated_at=NOON)
    second = a_link(
        {"device_id": "laptop"}, source="checkout.session.metadata", stated_at=NOON + DAY
    )
    for links in permutations([first, second]):
        for after, device in ((HOUR, "phone"), (2 * DAY, "laptop")):
            fact = a_fact(NOON + after, own=SILENT)
            found = settled({"sub_1": [HEARD], "cus_1": links}, fact, final=True)
            assert found is not None
            assert found.identity.ids == {"device_id": device}


def test_a_persons_word_goes_before_all_that_is_not_in_the_object_itself() -> None:
    by_hand = a_link({"user_id": "hand"}, source="linked by hand", rank=0)
    levels = {"sub_1": [CREATED, SESSION], "cus_1": [by_hand]}

    assert settled(levels, a_fact(own=SILENT)) == whose("hand", "linked by hand")
    assert settled(levels, a_fact(own=OWN)) == whose("own", "invoice.metadata")


def test_a_session_id_alone_names_nobody_and_its_refusal_holds() -> None:
    nobody = a_link({"session_id": "9"}, objects=("in_1",), consent="denied", anchor=True)
    levels = {"in_1": [nobody], "sub_1": [SESSION]}

    assert settled(levels, a_fact(own=nobody)) == whose(
        "session", "checkout.session.metadata", consent=REFUSED
    )


def test_a_refusal_without_any_id_goes_with_the_pseudonym() -> None:
    refusal = a_link({}, consent="denied")

    assert settled({"sub_1": [refusal]}, final=True) == Settled(
        name="payment_failed",
        identity=Identity(ids={"device_id": "stripe:cus_1"}, source="fallback", fallback=True),
        consent=REFUSED,
    )


def test_nobody_by_the_end_of_the_hold_is_the_customers_pseudonym() -> None:
    assert settled({}) is None
    assert settled({}, final=True) == Settled(
        name="payment_failed",
        identity=Identity(ids={"device_id": "stripe:cus_1"}, source="fallback", fallback=True),
    )


def test_nobody_by_the_end_of_the_hold_is_told_to_nobody_where_that_is_the_setting() -> None:
    assert settled({}, final=True, nobody="none") == Settled(
        name="payment_failed", identity=Identity(), withheld="no identity before the hold ended"
    )


# What only its surroundings know


def a_refund(minor: int = -333, currency: str = "usd") -> Fact:
    return Fact(
        key="refund:re_1",
        name="refund_created",
        at=NOON,
        about=("re_1", "pi_1"),
        money=Entry(kind="refund", money=Money(minor, currency)),
        of_payment=True,
        own=OWN,
    )


PAID = Paid(money=Money(1190, "usd"), tax_minor=190, invoice="in_1")


def test_a_refund_takes_its_share_of_the_payments_tax_rounded_for_it_alone() -> None:
    known = Known(way=("re_1", "pi_1", "in_1"), customers=(), links=lambda _: (), paid=[PAID])

    assert settle(a_refund(), known, RULES, final=False) == Settled(
        name="refund_created",
        identity=Identity(ids={"user_id": "own"}, source="invoice.metadata"),
        properties={"invoice_id": "in_1", "tax": -0.53, "amount_net_of_tax": -2.8},
        tax_minor=-53,
    )


def test_a_refund_waits_for_its_payment_and_is_told_without_tax_when_that_never_comes() -> None:
    known = Known(way=("re_1", "pi_1"), customers=(), links=lambda _: ())

    assert settle(a_refund(), known, RULES, final=False) is None
    assert settle(a_refund(), known, RULES, final=True) == Settled(
        name="refund_created",
        identity=Identity(ids={"user_id": "own"}, source="invoice.metadata"),
    )


def test_money_in_another_currency_has_no_share_of_the_payments_tax() -> None:
    known = Known(way=("re_1", "pi_1", "in_1"), customers=(), links=lambda _: (), paid=[PAID])

    assert settle(a_refund(currency="eur"), known, RULES, final=False) == Settled(
        name="refund_created",
        identity=Identity(ids={"user_id": "own"}, source="invoice.metadata"),
        properties={"invoice_id": "in_1"},
    )


def tiered(price: str) -> list[dict[str, Any]]:
    recurring = {"interval": "month", "interval_count": 1}
    found = {"id": price, "billing_scheme": "tiered", "tiers_mode": "volume"}
    return [{"price": {**found, "recurring": recurring}, "quantity": 1}]


def a_price(minor: int) -> dict[str, Any]:
    return {"tiers": [{"up_to": None, "unit_amount": minor, "flat_amount": None}]}


@pytest.mark.parametrize(
    ("minor", "name", "withheld"),
    [
        (2000, "subscription_upgraded", None),
        (500, "subscription_downgraded", None),
        (1000, "subscription_upgraded", "worth the same a month"),
    ],
)
def test_a_change_of_prices_unknown_so_far_is_named_when_the_catalogue_knows_both(
    minor: int, name: str, withheld: str | None
) -> None:
    change = PlanChange(before=tiered("price_a"), after=tiered("price_b"))
    fact = a_fact(own=OWN, change=change)
    prices = {"price_a": a_price(1000), "price_b": a_price(minor)}

    def known(*ids: str) -> Known:
        some = {one: prices[one] for one in ids}
        return Known(way=("in_1",), customers=(), links=lambda _: (), prices=some)

    assert settle(fact, known("price_a"), RULES, final=False) is None
    unknown = settle(fact, known("price_a"), RULES, final=True)
    assert unknown is not None
    assert unknown.withheld == "a price's worth is unknown"
    told = settle(fact, known("price_a", "price_b"), RULES, final=False)
    assert told is not None
    assert (told.withheld, withheld or told.name) == (withheld, withheld or name)


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
