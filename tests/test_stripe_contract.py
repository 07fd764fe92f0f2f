"""What Stripe's account must be set to for us, and which signing secret can go."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from stripe import RequestsClient
from structlog.testing import capture_logs

from app.core.reading.readers import READERS
from app.core.signature import sign
from app.doctor import contract
from app.doctor.contract import judged
from app.doctor.finding import Finding
from app.doctor.permissions import NEEDS
from app.history.backfill import LISTS
from app.last_use import LastUse
from app.settings import Settings, WebhookSecret
from app.store import secrets_used
from app.store.db import make_engine
from app.stripe_api import EndpointInfo
from app.webhook import Door
from tests.conftest import SECRET
from tests.fake_stripe import FakeStripe, fake_stripe

KEY = "rk_test_plantedPLANTED0123456789"
URL = "https://bridge.example.com/webhooks/stripe"
ALL = tuple(sorted(READERS))


def endpoint(**changes: Any) -> EndpointInfo:
    values = {
        "url": URL,
        "status": "enabled",
        "api_version": "2026-03-25.dahlia",
        "enabled_events": ALL,
        "livemode": False,
    }
    return EndpointInfo(**{**values, **changes})


def states(*found: EndpointInfo, livemode: bool = False) -> list[tuple[str, str]]:
    return [(one.check, one.state) for one in judged(found, livemode=livemode)]


FINE = (f"Stripe: {URL} sends all that is read (2026-03-25.dahlia)", "fine")


def test_an_endpoint_that_sends_exactly_what_is_read_is_fine() -> None:
    assert states(endpoint()) == [FINE]
    assert states(endpoint(url=f"{URL}/?account=eu")) == [
        (f"Stripe: {URL}/?account=eu sends all that is read (2026-03-25.dahlia)", "fine")
    ]


def test_missing_events_are_named() -> None:
    [finding] = judged([endpoint(enabled_events=ALL[2:])], livemode=False)

    assert finding == Finding(
        "Stripe: events are missing", "wrong", f"Enable them at {URL}:\n  {ALL[0]}  {ALL[1]}"
    )


def test_useless_events_are_named() -> None:
    fine, finding = judged([endpoint(enabled_events=(*ALL, "product.created"))], livemode=False)

    assert (fine.check, fine.state) == FINE
    assert (finding.check, finding.state) == (
        "Stripe: events are sent that nobody reads",
        "doubtful",
    )
    assert "product.created" in finding.advice


def test_everything_is_more_than_is_read() -> None:
    assert states(endpoint(enabled_events=("*",))) == [
        FINE,
        ("Stripe: events are sent that nobody reads", "doubtful"),
    ]


def test_an_old_endpoint_is_not_asked_for_types_that_it_cannot_send() -> None:
    old = tuple(name for name in ALL if name not in ("invoice_payment.paid", "invoice.overpaid"))

    assert states(endpoint(api_version="2024-06-20", enabled_events=old)) == [
        (f"Stripe: {URL} sends all that is read (2024-06-20)", "fine")
    ]
    assert states(endpoint(enabled_events=old)) == [("Stripe: events are missing", "wrong")]
    assert states(endpoint(api_version=None, enabled_events=old)) == [
        ("Stripe: events are missing", "wrong")
    ]


def test_none_disabled_several_and_of_the_other_mode() -> None:
    elsewhere = endpoint(url="https://example.com/hooks")

    assert states(elsewhere) == [("Stripe: no webhook endpoint points here", "wrong")]
    assert states(endpoint(status="disabled")) == [(f"Stripe: {URL} is disabled", "wrong")]
    assert states(endpoint(), endpoint(), elsewhere) == [
        FINE,
        FINE,
        ("Stripe: 2 endpoints point here", "doubtful"),
    ]
    assert states(endpoint(), livemode=True) == [
        (f"Stripe: {URL} is of test mode, STRIPE_API_KEY of live mode", "wrong"),
        FINE,
    ]


def test_a_version_that_is_newer_than_any_known_is_a_doubt() -> None:
    [finding] = judged([endpoint(api_version="2027-02-24.fuji")], livemode=False)

    assert (finding.state, finding.check) == (
        "doubtful",
        f"Stripe: {URL} sends a version that is newer than any known here (2027-02-24.fuji)",
    )


def test_a_disabled_endpoint_missed_something() -> None:
    [finding] = judged([endpoint(status="disabled")], livemode=False)

    assert finding.advice == "Enable it there; then `bridge gap` keeps what it missed (of 30 days)."


def test_all_types_are_on_lines_that_can_be_read(settings: Settings) -> None:
    [finding] = contract.account(settings)

    first, *lines = finding.advice.splitlines()
    assert first == "With STRIPE_API_KEY this is checked for you. Enable at your endpoint:"
    assert [name for line in lines for name in line.split()] == sorted(READERS)
    assert max(map(len, lines)) <= 90


# --- what the key may do


@pytest.mark.parametrize(
    ("status", "state", "advice"),
    [
        (
            401,
            "wrong",
            "Gap repair, backfill and reconcile do not work: set another STRIPE_API_KEY.",
        ),
        (429, "doubtful", "Nothing was checked there. Try again later."),
    ],
)
def test_a_key_that_is_refused_is_wrong_and_a_busy_stripe_is_not(
    settings: Settings, stripe: FakeStripe, status: int, state: str, advice: str
) -> None:
    stripe.fail("/v1/", status, times=99, headers={"Stripe-Should-Retry": "false"})
    asked = replace(settings, stripe_api_key=KEY, stripe_api_base=stripe.base)

    [finding] = contract.account(asked)
    assert (finding.state, finding.advice) == (state, advice)
    assert len(stripe.requests) == 1


def test_each_list_that_is_used_is_tried_and_what_is_refused_is_named(
    settings: Settings, stripe: FakeStripe
) -> None:
    asked = replace(settings, stripe_api_key=KEY, stripe_api_base=stripe.base)
    *_, fine = contract.account(asked)
    tried = [(one.path, one.params["limit"]) for one in stripe.requests[1:]]
    for path in ("/v1/webhook_endpoints", "/v1/prices", "/v1/balance_transactions"):
        stripe.fail(path, 403)
    *_, some = contract.account(asked)
    stripe.fail("/v1/events", 403)
    *_, vital = contract.account(asked)

    assert fine == Finding("Stripe: STRIPE_API_KEY reads all 12 lists in use", "fine")
    assert tried == [(need.path, "1") for need in NEEDS]
    assert some == Finding(
        "Stripe: STRIPE_API_KEY may not read prices, balance transactions",
        "doubtful",
        "Give the key read access to these, or do without:\n"
        "  prices: MRR of prices that events only name; bridge backfill\n"
        "  balance transactions: bridge reconcile --source api; bridge backfill, of charges and"
        " refunds",
    )
    assert (vital.check, vital.state) == ("Stripe: STRIPE_API_KEY may not read events", "wrong")


def test_every_list_that_a_backfill_reads_is_among_them_and_all_are_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "backfill.md").read_text()
    table = page.partition("### What the key must be allowed to read")[2]

    assert {one.path for one in LISTS} <= {need.path for need in NEEDS}
    assert [need.name for need in NEEDS if need.name not in table] == []


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


def test_what_is_not_fine_is_told_to_the_log_at_the_workers_start(
    settings: Settings, stripe: FakeStripe
) -> None:
    asked = replace(settings, stripe_api_key=KEY, stripe_api_base=stripe.base)
    with capture_logs() as logs:
        contract._tell(asked)

    assert [(one["event"], one["state"], one["check"]) for one in logs] == [
        ("contract.finding", "wrong", "Stripe: no webhook endpoint points here")
    ]


def test_stripe_out_of_reach_is_a_doubt_and_no_failure(
    settings: Settings, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestsClient, "_sleep_time_seconds", lambda *_: 0.0)
    stripe.fail("/v1/webhook_endpoints", 500, times=2)
    asked = replace(settings, stripe_api_key=KEY, stripe_api_base=stripe.base)

    [finding] = contract.account(asked)
    assert finding == Finding(
        f"Stripe: Stripe's API at {stripe.base} is failing (500).",
        "doubtful",
        "Nothing was checked there. Try again later.",
    )


def test_a_key_of_the_other_mode_than_all_that_arrives_is_wrong(
    engine: Engine, settings: Settings
) -> None:
    asked = replace(settings, stripe_api_key=KEY)
    query = "INSERT INTO webhook_event_keys (account, livemode, event_id) VALUES ('', {}, 'evt_1')"
    with engine.begin() as connection:
        none = list(contract.mode_of_events(asked, connection))
        connection.execute(text(query.format("true")))
        other = list(contract.mode_of_events(asked, connection))
        connection.execute(text(query.format("false")))
        both = list(contract.mode_of_events(asked, connection))

    assert [[one.state for one in found] for found in (none, other, both)] == [[], ["wrong"], []]


# --- secrets


def test_a_secret_that_another_has_taken_the_place_of_can_go(
    engine: Engine, settings: Settings
) -> None:
    labels = ("old", "new", "next")
    ours = replace(
        settings, webhook_secrets=tuple(WebhookSecret(label=one, value=SECRET) for one in labels)
    )
    with engine.begin() as connection:
        secrets_used.use(connection, "old")
        connection.execute(
            text("UPDATE webhook_secrets_used SET last_used_at = now() - interval '12 days'")
        )
        silent = [one.state for one in contract.secrets(ours, connection)]
        secrets_used.use(connection, "new")
        found = list(contract.secrets(ours, connection))

    assert silent == ["fine", "fine", "fine"], "nothing has taken its place"
    assert [(one.state, one.advice) for one in found] == [
        ("doubtful", "Unused for 12 days: drop it from STRIPE_WEBHOOK_SECRET."),
        ("fine", ""),
        ("fine", ""),
    ]
    assert found[2].check == "Signing secret next: not used under this label yet"
    assert SECRET not in str(found)


def test_a_secret_with_a_new_label_is_not_said_to_be_unused(
    engine: Engine, settings: Settings
) -> None:
    ours = replace(settings, webhook_secrets=(WebhookSecret(label="old", value=SECRET),))
    with engine.begin() as connection:
        secrets_used.use(connection, "1")
        connection.execute(
            text("UPDATE webhook_secrets_used SET last_used_at = '2026-11-20T10:00:00Z'")
        )
        [finding] = contract.secrets(ours, connection)

    assert finding == Finding(
        "Signing secret old: not used under this label yet"
        " (labels not set any more: 1, 2026-11-20 10:00 UTC)",
        "fine",
    )


def uses(engine: Engine) -> list[tuple[Any, ...]]:
    """Without those of doors that other tests have left open."""
    query = "SELECT label, last_used_at FROM webhook_secrets_used WHERE label <> 'tests'"
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def wait_for(engine: Engine, count: int) -> list[tuple[Any, ...]]:
    ends = time.monotonic() + 10
    while len(found := uses(engine)) < count:
        assert time.monotonic() < ends
        time.sleep(0.01)
    return found


def test_the_door_notes_which_secret_signed_and_only_then(
    engine: Engine, settings: Settings
) -> None:
    ours = (WebhookSecret(label="here", value=SECRET),)
    door = Door(replace(settings, webhook_secrets=ours), engine, lambda: True)
    door._last_use = LastUse(engine, delay=0.0)
    body = b'{"id":"evt_1","object":"event","type":"x","created":1,"livemode":false}'
    header = sign(body, SECRET, int(time.time()))

    refused = door.receive(body, "t=1,v1=00", "192.0.2.1")
    assert (refused[0], uses(engine)) == (400, [])
    assert door.receive(body, header, "192.0.2.1") == (200, "kept")
    [(label, _)] = wait_for(engine, 1)
    assert label == "here"


def test_a_label_is_noted_once_a_minute_for_each_process(engine: Engine) -> None:
    often, seldom = LastUse(engine, every=0.0, delay=0.0), LastUse(engine, delay=0.0)
    seldom.note("one")
    [(_, first)] = wait_for(engine, 1)
    for _ in range(50):
        seldom.note("one")
    time.sleep(0.1)
    [(_, second)] = uses(engine)
    often.note("two")
    wait_for(engine, 2)

    assert second == first


def test_a_database_that_is_gone_is_a_line_of_the_log(tmp_path: Any) -> None:
    gone = make_engine(f"postgresql+psycopg://nobody@/none?host={tmp_path}", "tests")
    with capture_logs() as logs:
        LastUse(gone)._write("one")

    assert [one["event"] for one in logs] == ["webhook.use_not_noted"]
