"""What a shop puts into its Checkout Session, of ids that a hostile browser may have sent."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import checkout
from app.checkout import MADE, NAMES, SERVER, CheckoutMetadata, Mode, checkout_metadata
from app.core import identity
from app.core.identity import read_metadata
from tests.fake_stripe.checkout import check_metadata

ROOT = Path(__file__).parents[1]
IDS: dict[str, object] = {
    "amplitude_device_id": "amp-1",
    "amplitude_session_id": 1740830400123,
    "event_id": "e-1",
    "consent": "analytics=granted,ads=denied",
    "utm_source": "google",
}
OURS = {
    "br_consent": "analytics=granted,ads=denied",
    "br_user_id": "user_7",
    "br_event_id": "e-1",
    "br_amplitude_device_id": "amp-1",
    "br_amplitude_session_id": "1740830400123",
    "br_utm_source": "google",
}


def of(ids: Any, **options: Any) -> CheckoutMetadata:
    return checkout_metadata(ids, **{"mode": "subscription", **options})


def kept(ids: Any, **options: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The Session's metadata and what was dropped; what it makes must have the same."""
    found = of(ids, **options)
    metadata: dict[str, str] = found.arguments["metadata"]
    assert found.arguments["subscription_data"]["metadata"] == metadata
    return metadata, found.dropped


def test_a_subscriptions_ids_stand_on_the_session_and_on_the_subscription() -> None:
    assert of(IDS, user_id="user_7") == CheckoutMetadata(
        arguments={"metadata": OURS, "subscription_data": {"metadata": OURS}}, dropped={}
    )


@pytest.mark.parametrize("mode", get_args(Mode))
def test_each_mode_has_its_own_block(mode: Mode) -> None:
    found = checkout_metadata(IDS, user_id="user_7", mode=mode)

    assert found.arguments == {"metadata": OURS, MADE[mode]: {"metadata": OURS}}


def test_another_mode_is_the_shops_mistake() -> None:
    with pytest.raises(ValueError, match="mode must be one of subscription, payment, setup"):
        of(IDS, mode="subscribe")


def test_json_serves_as_well_as_a_dict() -> None:
    assert of(json.dumps(IDS)) == of(IDS)


@pytest.mark.parametrize("ids", [None, "", {}, "{}"])
def test_nothing_said_is_nothing_dropped(ids: Any) -> None:
    assert kept(ids, user_id=7) == ({"br_user_id": "7"}, {})
    assert kept(ids) == ({}, {})


def test_what_is_no_object_is_dropped_whole_and_the_checkout_goes_on() -> None:
    long_number = '{"fbp": ' + "1" * 5_000 + "}"
    odd: list[Any] = ["{", "[]", "5", "null", [], 5, "[" * 60_000, long_number, " " * 70_000]
    for ids in odd:
        found = kept(ids, user_id="user_7")
        assert found == ({"br_user_id": "user_7"}, {"ids": "not a JSON object"})


def test_a_browser_may_not_say_who_is_logged_in() -> None:
    said = dict.fromkeys(SERVER, "the boss")

    assert kept(said) == ({}, dict.fromkeys(SERVER, "only the server says who is logged in"))
    assert kept(said, user_id="user_7")[0] == {"br_user_id": "user_7"}


def test_what_cannot_stand_is_left_out_and_never_cut() -> None:
    refused: list[tuple[Any, str]] = [
        ("a" * 501, "longer than 500 characters"),
        *((text, "not printable") for text in ("a\x00b", "a\nb", "\u202egnp", "\ud800")),
        *((one, "not text") for one in (True, 1.5, 10**20, -(10**5000), ["a"], {"a": "b"})),
    ]
    for value, reason in refused:
        assert kept({"fbc": value, "fbp": "fb.1"}) == ({"br_fbp": "fb.1"}, {"fbc": reason})


def test_what_can_stand_stays_as_it_is() -> None:
    for value in ("a" * 500, "ü" * 500, "a b", "-5", "😀"):
        assert kept({"fbc": value}) == ({"br_fbc": value}, {})


def test_empty_values_say_nothing() -> None:
    assert kept({"fbc": "", "fbp": None}) == ({}, {})


def test_names_that_are_none_of_ours_are_told_in_a_form_fit_for_a_log() -> None:
    hostile: dict[Any, str] = {"br_fbp": "1", "x\n\x1b[31m" + "y" * 99: "2", 5: "3"}

    assert kept(hostile) == (
        {},
        {
            "br_fbp": "not a name of ours",
            ("x\\n\\x1b[31m" + "y" * 99)[:40]: "not a name of ours",
            "a int": "not a name of ours",
        },
    )


def test_of_very_many_names_a_few_are_told() -> None:
    _, dropped = kept({f"name_{number}": "1" for number in range(10_000)})

    assert len(dropped) == 21
    assert dropped["..."] == "9980 more names"


def test_what_the_server_knows_of_consent_stands() -> None:
    found, dropped = kept({"consent": "analytics=granted"}, consent="analytics=denied,ads=denied")

    assert (found, dropped) == ({"br_consent": "analytics=denied,ads=denied"}, {})


def test_an_address_leaves_only_as_its_hash() -> None:
    found = of({}, email="  Ann@Example.COM ")

    digest = sha256(b"ann@example.com").hexdigest()
    assert found.arguments["metadata"] == {"br_email_sha256": digest}
    assert "ann" not in repr(found).lower()


@pytest.mark.parametrize("email", ["", "ann", "ann@", "@example.com", "a nn@example.com"])
def test_what_is_no_address_is_not_hashed(email: str) -> None:
    assert kept({}, email=email) == ({}, {"email": "not an e-mail address"})


@pytest.mark.parametrize("reference", ["a", "a" * 200, "Order_5-7"])
def test_a_reference_that_stripe_takes_is_passed_on(reference: str) -> None:
    found = of({}, client_reference_id=reference)

    assert (found.arguments["client_reference_id"], found.dropped) == (reference, {})


@pytest.mark.parametrize("reference", ["", "a" * 201, "user/7", "a b", "ü", "a\n"])
def test_another_reference_is_left_out(reference: str) -> None:
    found = of({}, client_reference_id=reference)

    assert "client_reference_id" not in found.arguments
    assert found.dropped == {"client_reference_id": "not 1 to 200 of A-Z a-z 0-9 _ -"}


def test_what_the_shop_passes_anyway_is_kept_and_not_changed_under_its_hands() -> None:
    existing: dict[str, Any] = {
        "metadata": {"order": "5", "br_utm_source": "shop"},
        "subscription_data": {"trial_period_days": 14, "metadata": {"plan": "pro"}},
        "client_reference_id": "order_5",
        "locale": "de",
    }
    before = json.dumps(existing)

    found = of({"utm_source": "google"}, user_id="user_7", existing=existing)

    assert found == CheckoutMetadata(
        arguments={
            "metadata": {"order": "5", "br_utm_source": "shop", "br_user_id": "user_7"},
            "subscription_data": {
                "trial_period_days": 14,
                "metadata": {"plan": "pro", "br_user_id": "user_7", "br_utm_source": "google"},
            },
            "client_reference_id": "order_5",
            "locale": "de",
        },
        dropped={"utm_source": "br_utm_source was there already"},
    )
    assert json.dumps(existing) == before


def test_without_room_for_all_the_most_needed_go_first_in_each_block() -> None:
    existing = {"metadata": {f"own_{number}": "1" for number in range(48)}}

    found = of(IDS, user_id="user_7", existing=existing)

    assert len(found.arguments["metadata"]) == 50
    assert found.arguments["metadata"].keys() - existing["metadata"].keys() == {
        "br_consent",
        "br_user_id",
    }
    assert found.arguments["subscription_data"]["metadata"] == OURS
    full = "metadata is full: 50 keys"
    names = ("event_id", "amplitude_device_id", "amplitude_session_id", "utm_source")
    assert found.dropped == dict.fromkeys(names, full)


ANY = st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.lists(st.text()))


@given(
    ids=st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text()), ANY),
    own=st.dictionaries(
        st.text("abc", min_size=1, max_size=40), st.text("abc", max_size=9), max_size=50
    ),
    user_id=st.one_of(st.none(), st.text()),
)
def test_whatever_comes_stripe_takes_it_and_the_bridge_reads_it(
    ids: dict[str, Any], own: dict[str, str], user_id: str | None
) -> None:
    found = of(ids, user_id=user_id, existing={"metadata": own})

    for block in (found.arguments, found.arguments["subscription_data"]):
        check_metadata(block, "metadata")
        metadata = block["metadata"]
        told, campaign, consent = read_metadata(
            {name: one for name, one in metadata.items() if name not in own}
        )
        ours = {name.removeprefix("br_") for name in metadata.keys() - own.keys()}
        assert ours == told.keys() | campaign.keys() | ({"consent"} if consent else set())
    assert own.items() <= found.arguments["metadata"].items()
    assert found.arguments["metadata"].get("br_user_id") in (user_id, None)


def test_its_names_are_those_that_the_bridge_reads() -> None:
    assert {*NAMES, *SERVER} == set(identity.NAMES)
    assert (checkout.PREFIX, checkout.MAX_VALUE) == (identity.PREFIX, identity.MAX_VALUE)
    assert checkout.IDENTIFYING == identity.IDENTIFYING
    assert checkout.PLACEHOLDERS == identity.PLACEHOLDERS


def test_a_shop_needs_no_other_package() -> None:
    """As in a Python that has nothing installed, by import and as a copy of the file."""
    run = "; print(checkout_metadata('{}', user_id=5, mode='payment').arguments['metadata'])"
    imported = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from app.checkout import *" + run
    copied = (ROOT / "app" / "checkout.py").read_text() + run.lstrip("; ")

    for code in (imported, copied):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout == "{'br_user_id': '5'}\n"
