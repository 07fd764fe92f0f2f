"""Whose it is, by the command line: lists, one object, and a person's word."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.link import Linked, link
from app.release import release_ended_holds
from app.settings import Settings
from tests.test_cli import bridge, env
from tests.test_process import (
    IDS,
    a_refund,
    a_session,
    a_subscription,
    an_intent,
    an_invoice,
    event,
    processed,
    rows,
)

__all__ = ["env"]
OWN = ("", True)


def told(engine: Engine) -> list[tuple[Any, ...]]:
    query = """SELECT key, state, identity -> 'ids', identity ->> 'source'
               FROM analytics_events ORDER BY key"""
    return rows(engine, query)


def hold_over(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    release_ended_holds(engine, settings)


# The action


def test_a_persons_word_releases_what_waits_and_serves_what_comes(
    engine: Engine, settings: Settings
) -> None:
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))
    with engine.begin() as connection:
        done = link(connection, settings, OWN, "cus_1", {"user_id": "42"}, who="me", why="ticket")

    assert done == Linked(released=1, told=0)
    by_hand = ("released", {"user_id": "42"}, "linked by hand")
    assert told(engine) == [("payment:in_1", *by_hand)]
    processed(engine, settings, event(2, "invoice.paid", an_invoice("in_2")))
    assert told(engine)[1] == ("payment:in_2", *by_hand)
    assert rows(engine, "SELECT who, action, why, rows FROM audit_log") == [
        ("me", "link", "ticket", 1)
    ]


def test_what_was_withheld_for_want_of_an_identity_leaves_and_what_left_stays(
    engine: Engine, settings: Settings
) -> None:
    withholding = replace(settings, identity_fallback="none")
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))
    hold_over(engine, settings)
    processed(engine, withholding, event(2, "invoice.paid", an_invoice("in_2")))
    hold_over(engine, withholding)

    with engine.begin() as connection:
        done = link(connection, settings, OWN, "cus_1", {"user_id": "42"}, who="me", why="")

    assert done == Linked(released=1, told=1)
    assert told(engine) == [
        ("payment:in_1", "released", {"device_id": "stripe:cus_1"}, "fallback"),
        ("payment:in_2", "released", {"user_id": "42"}, "linked by hand"),
    ]


def test_what_lacks_more_than_an_identity_is_not_waited_for_a_second_time(
    engine: Engine, settings: Settings
) -> None:
    withholding = replace(settings, identity_fallback="none")
    processed(engine, withholding, event(1, "refund.created", a_refund()))
    hold_over(engine, withholding)

    with engine.begin() as connection:
        done = link(connection, withholding, OWN, "re_1", {"user_id": "42"}, who="me", why="")

    assert done == Linked(released=1, told=0)
    assert told(engine) == [("refund:re_1", "released", {"user_id": "42"}, "linked by hand")]
    assert rows(engine, "SELECT * FROM work WHERE lane = 'release'") == []


def test_what_was_withheld_leaves_net_of_tax_where_that_is_the_setting(
    engine: Engine, with_destinations: Callable[..., Settings]
) -> None:
    withholding = replace(
        with_destinations(amplitude={"api_key": "0123456789abcdef0123456789abcdef"}),
        identity_fallback="none",
        revenue="net_of_tax",
    )
    invoice = an_invoice(total_taxes=[{"amount": 190}])
    processed(engine, withholding, event(1, "invoice.paid", invoice))
    hold_over(engine, withholding)

    with engine.begin() as connection:
        link(connection, withholding, OWN, "cus_1", {"user_id": "42"}, who="me", why="")

    [(payload,)] = rows(engine, "SELECT payload FROM deliveries")
    assert json.loads(payload)["revenue"] == 10.0


def test_a_person_may_come_back_to_what_was_said_first(engine: Engine, settings: Settings) -> None:
    for user in ("a", "b", "a"):
        with engine.begin() as connection:
            link(connection, settings, OWN, "cus_1", {"user_id": user}, who="me", why="")
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))

    assert told(engine) == [("payment:in_1", "released", {"user_id": "a"}, "linked by hand")]


def test_ids_in_the_object_itself_go_before_a_persons_word(
    engine: Engine, settings: Settings
) -> None:
    processed(engine, settings, event(1, "checkout.session.completed", a_session()))
    with engine.begin() as connection:
        link(connection, settings, OWN, "cus_1", {"user_id": "42"}, who="me", why="")
    processed(engine, settings, event(2, "invoice.paid", an_invoice(metadata={"user_id": "own"})))

    assert told(engine)[1] == ("payment:in_1", "released", {"user_id": "own"}, "invoice.metadata")


def test_another_account_and_mode_know_nothing_of_it(engine: Engine, settings: Settings) -> None:
    elsewhere: list[dict[str, Any]] = [{"account": "acct_2"}, {"livemode": False}]
    for number, changes in enumerate(elsewhere):
        processed(engine, settings, event(number, "invoice.paid", an_invoice(), **changes))
    with engine.begin() as connection:
        done = link(connection, settings, OWN, "cus_1", {"user_id": "42"}, who="me", why="")

    assert done == Linked(released=0, told=0)
    assert {row[1] for row in told(engine)} == {"held"}


# The command line


def test_unresolved_customers_are_listed_shown_and_linked(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    processed(
        engine,
        settings,
        event(1, "customer.subscription.created", a_subscription()),
        event(2, "invoice.paid", an_invoice()),
    )

    listed = bridge("identities", "list", "--unresolved", "--json", env=env, cwd=tmp_path)
    [row] = json.loads(listed.stdout)
    assert (row["object_id"], row["held"], row["withheld"], row["told"]) == ("cus_1", 2, 0, 0)

    looked = bridge(
        *("identities", "link", "cus_1", "user_id=42", "--dry-run"), env=env, cwd=tmp_path
    )
    assert (looked.returncode, looked.stdout.strip()) == (0, "cus_1 will be user_id=42")
    refused = bridge("identities", "link", "cus_1", "user_id=42", env=env, cwd=tmp_path)
    assert refused.returncode == 2
    assert {row[1] for row in told(engine)} == {"held"}

    done = bridge("identities", "link", "cus_1", "user_id=42", "--yes", env=env, cwd=tmp_path)
    assert done.stdout.splitlines()[1] == "Linked: 2 analytics events that waited have left."
    shown = bridge("identities", "show", "sub_1", "--json", env=env, cwd=tmp_path)
    found = json.loads(shown.stdout)
    assert found["belongs_to"] == ["cus_1"]
    assert [(one["source"], one["ids"]) for one in found["said"]] == [
        ("linked by hand", {"user_id": "42"})
    ]
    assert {one["state"] for one in found["told"]} == {"released"}
    empty = bridge("identities", "list", "--unresolved", env=env, cwd=tmp_path)
    assert empty.stdout.strip() == "Every analytics event has found its user or device."


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "cus_9"), 1, "Nothing is known of cus_9 here."),
        (("link", "cus_1", "email=a@b.c", "--yes"), 2, "email is no id."),
        (("link", "cus_1", "user_id=", "--yes"), 2, "user_id: expected 1 to 500"),
        (("link", "cus_1", "user_id", "--yes"), 2, "user_id: expected 1 to 500"),
        (("show", "cus_1"), 2, "cus_1 is known in test (own account), live (own account)"),
    ],
)
def test_what_cannot_be_meant_is_said_with_what_to_do(
    engine: Engine,
    settings: Settings,
    env: dict[str, str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    for number, livemode in enumerate((True, False)):
        processed(engine, settings, event(number, "invoice.paid", an_invoice(), livemode=livemode))

    done = bridge("identities", *arguments, env=env, cwd=tmp_path)

    assert done.returncode == code
    assert words in done.stderr


def test_a_mode_tells_twins_apart(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    for number, livemode in enumerate((True, False)):
        session = a_session(metadata={"user_id": f"user {livemode}"})
        changes = {"livemode": livemode}
        processed(engine, settings, event(number, "checkout.session.completed", session, **changes))

    done = bridge("identities", "show", "cus_1", "--test", "--json", env=env, cwd=tmp_path)

    assert [one["ids"] for one in json.loads(done.stdout)["said"]] == [{"user_id": "user False"}]


def test_unattributed_payments_are_listed_with_what_would_speak_for_them(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    nothing = bridge("revenue", "unattributed", env=env, cwd=tmp_path)
    assert (nothing.returncode, nothing.stdout.strip()) == (
        0,
        "Every captured payment is revenue.",
    )
    processed(
        engine,
        settings,
        event(1, "payment_intent.succeeded", an_intent(metadata=IDS)),
        event(2, "payment_intent.succeeded", an_intent(id="pi_2", currency="jpy")),
    )

    done = bridge("revenue", "unattributed", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("In all")] == [
        "In all, live mode: 1 payment of 9.00 EUR",
        "In all, live mode: 1 payment of 900 JPY",
    ]
    assert "STRIPE_API_KEY" in done.stdout
    as_json = bridge("revenue", "unattributed", "--json", env=env, cwd=tmp_path)
    assert [(one["payment"], one["minor"]) for one in json.loads(as_json.stdout)] == [
        ("pi_1", 900),
        ("pi_2", 900),
    ]
    later = bridge("revenue", "unattributed", "--older-than", "3600", env=env, cwd=tmp_path)
    assert later.returncode == 0


def test_doctor_calls_booking_everything_wrong_where_there_are_invoices(
    engine: Engine, settings: Settings, env: dict[str, str], tmp_path: Path
) -> None:
    processed(engine, settings, event(1, "invoice.paid", an_invoice()))

    done = bridge(
        *("doctor", "--json"), env={**env, "BRIDGE_STANDALONE_PAYMENTS": "book"}, cwd=tmp_path
    )

    found = {one["check"]: one["state"] for one in json.loads(done.stdout)}
    assert found["BRIDGE_STANDALONE_PAYMENTS is book"] == "wrong"
    assert found["Every captured payment is claimed"] == "fine"
