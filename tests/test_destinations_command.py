"""bridge destinations: what it says of each, and that it counts nothing unless it is told to."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.store import health
from tests.destinations.example import SECRET
from tests.test_cli import bridge
from tests.vendors import ga4, mixpanel
from tests.vendors.serve import served

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def env(stores: Any) -> dict[str, str]:
    return {
        "DATABASE_URL": stores.database_url,
        "BRIDGE_ALLOW_LOCAL_URLS": "true",
        "BRIDGE_DEST_AMPLITUDE_API_KEY": KEY,
        "BRIDGE_DEST_CRM_KIND": "webhook",
        "BRIDGE_DEST_CRM_URL": "https://crm.example/planted-url",
        "BRIDGE_DEST_CRM_SECRET": SECRET,
    }


def settings_of(name: str, options: dict[str, str]) -> dict[str, str]:
    return {f"BRIDGE_DEST_{name}_{key}".upper(): value for key, value in options.items()}


def said(*arguments: str, env: dict[str, str], cwd: Path) -> Any:
    done = bridge("destinations", *arguments, "--json", env=env, cwd=cwd)
    assert "planted" not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_list_tells_who_is_suspended_why_and_what_waits(
    engine: Engine, env: dict[str, str], tmp_path: Path
) -> None:
    with engine.begin() as connection:
        health.suspend(connection, "amplitude", 3600, "401 wrong key")
        connection.execute(
            text("INSERT INTO destinations_health (destination, failures) VALUES ('old', 3)")
        )
    found = said("list", env=env, cwd=tmp_path)

    states = {row["destination"]: (row["kind"], row["state"], row["reason"]) for row in found}
    assert states == {
        "amplitude": ("amplitude", "suspended", "401 wrong key"),
        "crm": ("webhook", "well", None),
        "old": (None, "no longer set", None),
    }
    assert [row["waiting"] for row in found] == [0, 0, 0]


def test_a_resumed_destination_is_probed_at_once_and_the_audit_knows_who(
    engine: Engine, env: dict[str, str], tmp_path: Path
) -> None:
    with engine.begin() as connection:
        health.suspend(connection, "amplitude", 3600, "401 wrong key")
    done = bridge(
        "destinations", "resume", "amplitude", "--yes", "--why", "new key", env=env, cwd=tmp_path
    )
    again = bridge("destinations", "resume", "amplitude", "--yes", env=env, cwd=tmp_path)

    assert (done.returncode, again.returncode) == (0, 0)
    assert "amplitude is not suspended." in again.stdout
    with engine.connect() as connection:
        looked = health.look(connection, "amplitude")
        noted = connection.execute(text("SELECT action, why, filter FROM audit_log")).all()
    assert (looked.paused, looked.probing) == (False, True)
    assert [tuple(row) for row in noted] == [("resume", "new key", {"destination": "amplitude"})]


def test_showing_one_masks_its_secrets_and_says_what_it_declares(
    engine: Engine, env: dict[str, str], tmp_path: Path
) -> None:
    found = said("show", "crm", env=env, cwd=tmp_path)

    assert found["declares"]["dedupes by"] == "`webhook-id`"
    assert found["declares"]["consent"] == "none"
    assert SECRET not in json.dumps(found)
    assert found["settings"]["BRIDGE_DEST_CRM_PURPOSE"] == "own"
    assert found["reasons"] == []


def test_a_test_sends_nothing_unless_it_is_asked_to(
    stores: Any, env: dict[str, str], tmp_path: Path
) -> None:
    vendor = mixpanel.Mixpanel()
    with served(vendor) as server:
        env |= settings_of("mixpanel", mixpanel.configured(server.url))
        quiet = said("test", "mixpanel", env=env, cwd=tmp_path)
        asked_before = server.requests
        sent = said("test", "mixpanel", "--send", "--yes", env=env, cwd=tmp_path)

    assert [one["event"] for one in quiet["events"]] == [
        "payment_succeeded",
        "refund_created",
        "trial_started",
        "subscription_cancelled",
    ]
    assert (asked_before, quiet["problems"]) == (0, [])
    assert (vendor.counted(), vendor.revenue(), sent["events"][-1]["taken"]) == (1, {}, True)


def test_a_test_asks_the_vendor_to_check_where_it_can(
    stores: Any, env: dict[str, str], tmp_path: Path
) -> None:
    vendor = ga4.Ga4()
    with served(vendor) as server:
        env |= settings_of("ga4", ga4.configured(server.url))
        found = said("test", "ga4", env=env, cwd=tmp_path)

    assert (found["problems"], vendor.counted()) == ([], 0)
    assert server.requests == 4
    told = [json.loads(each["told"])["events"][0]["params"] for each in found["events"][:2]]
    assert told[0]["transaction_id"] == told[1]["transaction_id"] == told[1]["invoice_id"]


def test_a_name_that_is_none_says_which_there_are(env: dict[str, str], tmp_path: Path) -> None:
    done = bridge("destinations", "show", "amplitud", env=env, cwd=tmp_path)

    assert (done.returncode, done.stderr.strip()) == (
        2,
        "No destination is called amplitud. There are: amplitude, crm.",
    )
