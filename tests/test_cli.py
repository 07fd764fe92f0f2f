"""The command line: its exit codes, its JSON, and what it says to people."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.core.envelope import open_envelope
from app.demo.receiver import WEBHOOK_SECRET
from app.demo.saas import simulate
from app.local.stores import Stores
from app.process import process
from app.settings import Settings
from app.store.migrate import head
from app.store.webhook_events import keep
from tests.conftest import SECRET

ROOT = Path(__file__).parents[1]


def bridge(*arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    ours = ("BRIDGE_", "STRIPE_", "DATABASE_", "REDIS_", "PORT")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**environ, "BRIDGE_NO_BOOTSTRAP": "1", "PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def env(stores: Stores) -> dict[str, str]:
    return {
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
    }


@pytest.fixture
def lived(engine: Engine, settings: Settings) -> list[str]:
    """A small SaaS, processed; the ids of its webhook events."""
    story = simulate(seed=1, customers=20, now=1_790_000_000)
    with engine.begin() as connection:
        for one in story.webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")
    while process(engine, settings):
        pass
    return [one.event_id for one in story.webhooks if one.type == "invoice.paid"]


def test_bytes_that_are_no_text_are_a_sentence(tmp_path: Path, env: dict[str, str]) -> None:
    result = bridge("replay", "--type", os.fsdecode(b"\xff"), "--dry-run", env=env, cwd=tmp_path)

    words = "An argument holds bytes that are no UTF-8.\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", words)


def test_all_wrong_settings_are_told_at_once_by_name_and_never_by_value(tmp_path: Path) -> None:
    wrong = {"PORT": "planted-port", "BRIDGE_FOO": "1", "STRIPE_API_KEY": "planted-key"}

    done = bridge("config", env=wrong, cwd=tmp_path)

    assert done.returncode == 2
    assert [name for name in wrong if f"{name}:" in done.stderr] == list(wrong)
    assert "planted" not in done.stderr + done.stdout


def test_web_refuses_to_start_without_a_secret(tmp_path: Path, env: dict[str, str]) -> None:
    del env["STRIPE_WEBHOOK_SECRET"]

    done = bridge("web", env=env, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "STRIPE_WEBHOOK_SECRET" in done.stderr


def test_without_a_database_a_read_verb_says_what_to_start(tmp_path: Path) -> None:
    done = bridge("events", env={}, cwd=tmp_path)

    assert done.returncode == 3
    assert "bridge dev" in done.stderr


def test_a_dead_database_is_exit_code_3_without_a_traceback(tmp_path: Path) -> None:
    url = f"postgresql://nobody:planted@/none?host={tmp_path}"

    done = bridge("events", env={"DATABASE_URL": url}, cwd=tmp_path)

    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "planted" not in done.stderr


def test_events_as_json_is_json_alone(
    tmp_path: Path, env: dict[str, str], lived: list[str]
) -> None:
    done = bridge("events", "--type", "invoice.*", "--limit", "3", "--json", env=env, cwd=tmp_path)

    found = json.loads(done.stdout)
    assert [one["type"].partition(".")[0] for one in found] == ["invoice"] * 3
    assert done.returncode == 0


def test_show_prints_the_way_of_one_webhook_event(
    tmp_path: Path, env: dict[str, str], lived: list[str]
) -> None:
    done = bridge("events", "show", lived[0], env=env, cwd=tmp_path)

    hops = [line[21:].split()[0] for line in done.stdout.splitlines()[1:] if line[:4].isdigit()]
    assert hops[:2] == ["received", "processed"]
    assert done.returncode == 0


def test_an_unknown_webhook_event_is_exit_code_1(tmp_path: Path, env: dict[str, str]) -> None:
    done = bridge("events", "show", "evt_none", env=env, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")


def test_doctor_names_what_is_missing_and_what_to_do(tmp_path: Path, env: dict[str, str]) -> None:
    done = bridge("doctor", "--json", env=env, cwd=tmp_path)

    found = {one["check"]: one["state"] for one in json.loads(done.stdout)}
    assert found[f"Migrations are up to date ({head()})"] == "fine"
    assert found["Postgres: synchronous_commit is on"] == "fine"
    assert found["Redis answers"] == "fine"
    assert found["No destination is set: nothing is told to anyone"] == "doubtful"
    assert done.returncode == 0


def test_doctor_says_that_the_ledger_and_the_views_count_other_days(
    tmp_path: Path, env: dict[str, str]
) -> None:
    told = {"BRIDGE_TIMEZONE": "Europe/Berlin"}
    before = bridge("doctor", "--json", env=env | told, cwd=tmp_path)
    bridge("migrate", env=env | told, cwd=tmp_path)
    after = bridge("doctor", "--json", env=env | told, cwd=tmp_path)
    bridge("migrate", env=env, cwd=tmp_path)

    wrong = "BRIDGE_TIMEZONE is Europe/Berlin, the views count days of UTC"
    states = [
        {one["check"]: one["state"] for one in json.loads(done.stdout) if "days" in one["check"]}
        for done in (before, after)
    ]
    assert states == [{wrong: "wrong"}, {"Ledger and views count days of Europe/Berlin": "fine"}]
    assert (before.returncode, after.returncode) == (1, 0)


def test_config_shows_no_secret(tmp_path: Path, env: dict[str, str]) -> None:
    env["BRIDGE_DEST_WEBHOOK_URL"] = "https://example.com/hooks/planted-token"
    env["BRIDGE_DEST_WEBHOOK_SECRET"] = WEBHOOK_SECRET

    done = bridge("config", env=env, cwd=tmp_path)

    assert done.returncode == 0
    for secret in (SECRET, WEBHOOK_SECRET, "planted-token"):
        assert secret not in done.stdout + done.stderr


def test_replay_previews_and_needs_a_yes(
    tmp_path: Path, env: dict[str, str], lived: list[str]
) -> None:
    preview = bridge("replay", lived[0], "--dry-run", env=env, cwd=tmp_path)
    refused = bridge("replay", lived[0], env=env, cwd=tmp_path)
    agreed = bridge("replay", lived[0], "--yes", "--why", "a test", env=env, cwd=tmp_path)

    assert preview.stdout.startswith("1 webhook event to process again.\n")
    assert "revenue entries: 0 new, 0 changed, 0 gone, 1 the same" in preview.stdout
    assert (refused.returncode, agreed.returncode) == (2, 0)


def test_trigger_names_the_samples_there_are(tmp_path: Path, env: dict[str, str]) -> None:
    done = bridge("trigger", "invoice.payd", env=env, cwd=tmp_path)

    assert done.returncode == 2
    assert "invoice.paid" in done.stderr


def test_trigger_says_when_nothing_answers(tmp_path: Path, env: dict[str, str]) -> None:
    done = bridge("trigger", "invoice.paid", env={**env, "PORT": "9"}, cwd=tmp_path)

    assert done.returncode == 3
    assert "bridge dev" in done.stderr


def test_a_port_that_is_taken_is_a_sentence_and_exit_code_3(
    tmp_path: Path, env: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        web = bridge("web", env={**env, "PORT": port}, cwd=tmp_path)
        dev = bridge("dev", env={**env, "PORT": port}, cwd=tmp_path)

    assert (web.returncode, dev.returncode) == (3, 3)
    assert f"Port {port}" in web.stderr
    assert "Traceback" not in web.stderr + dev.stderr


def test_what_a_killed_bridge_left_is_not_a_running_one(tmp_path: Path) -> None:
    left = tmp_path / ".bridge"
    left.mkdir()
    (left / "lock").touch()
    (left / "running.json").write_text('{"database_url": "x", "redis_url": "y", "port": 1}')

    done = bridge("events", env={}, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "No database: start `bridge dev`, or set DATABASE_URL.\n"


def test_trigger_without_a_bridge_leaves_nothing_behind(tmp_path: Path) -> None:
    done = bridge("trigger", "invoice.paid", env={}, cwd=tmp_path)

    assert done.returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_children_see_no_setting_of_the_users_own_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BRIDGE_IDENTITY_HOLD=77\n")

    ours = bridge("config", "--json", env={}, cwd=tmp_path)
    childs = bridge("config", "--json", env={"BRIDGE_NO_DOTENV": "1"}, cwd=tmp_path)

    holds = [
        {one["name"]: one["value"] for one in json.loads(done.stdout)}["BRIDGE_IDENTITY_HOLD"]
        for done in (ours, childs)
    ]
    assert [str(hold) for hold in holds] == ["77", "900"]


def test_a_filter_that_matches_nothing_says_so(
    tmp_path: Path, env: dict[str, str], lived: list[str]
) -> None:
    none = bridge("events", "--verdict", "quarantined", env=env, cwd=tmp_path)
    wrong = bridge("events", "--verdict", "nonsense", env=env, cwd=tmp_path)

    assert (none.returncode, none.stdout) == (0, "No webhook event matches.\n")
    assert wrong.returncode == 2
