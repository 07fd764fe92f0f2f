"""The checker finds each way to break the promise, and nothing in a run that kept it."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.demo.saas import Story, simulate
from app.local.stores import EmbeddedStores
from tests.faults.checker import DESTINATIONS, Acknowledged, Expected, Verdict, check
from tests.faults.tools import amplitude_events, webhook_events

NOW = 1_790_000_000
BILL = {
    "id": "evt_1",
    "type": "invoice.paid",
    "data": {"object": {"id": "in_1", "amount_paid": 1250, "currency": "usd"}},
}
KEY = "payment:in_1"
IDS = {"amplitude": "0a" * 16, "webhook": "0b" * 16}  # what each destination dedupes by


class Kept:
    """A database and a receivers' log of a run that kept the promise, to be spoiled by tests."""

    def __init__(self, database: str, log: Path) -> None:
        self._database, self.log = database, log
        self.expected = Expected()
        self.expected.post(json.dumps(BILL).encode())
        self.expected.story({"payment_succeeded": 1})
        self.received = [self.event(to) for to in DESTINATIONS]

    def event(self, to: str, **other: Any) -> dict[str, Any]:
        device = " device" if to == "amplitude" else ""
        return {
            "at": 7.0,
            "to": to,
            "key": _uuid(IDS[to]) + device,
            "name": "payment_succeeded",
            "fact": KEY if to == "webhook" else "",
            "hash": "h",
            "revenue": "12.50",
            "currency": "usd",
            "effect": True,
            "answer": "200",
            **other,
        }

    def verdict(self, *acknowledged: str) -> Verdict:
        self.log.write_text("".join(json.dumps(one) + "\n" for one in self.received))
        known = [Acknowledged(event_id=one, at=5.0) for one in acknowledged or ("evt_1",)]
        return check(self.expected, known, self.log, self._database)


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


INSERTS = """
    INSERT INTO webhook_events
        (id, account, livemode, event_id, type, created, origin, raw, verdict, decided_at)
    VALUES (1, '', false, 'evt_1', 'invoice.paid', now(), 'webhook', '', 'processed', now());
    INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, occurred_at,
        effective_date, posting_date, origin)
    VALUES ('', false, 'payment:in_1', 'payment', 1250, 'usd', now(), now(), now(), 'webhook');
    INSERT INTO analytics_events (account, livemode, key, uuid, schema_version, name, occurred_at,
        state, about, properties, held_until)
    VALUES ('', false, 'payment:in_1', gen_random_uuid(), 1, 'payment_succeeded', now(),
        'released', '{}', '{}', now());
    INSERT INTO deliveries (destination, analytics_event_id, dedupe_id, state, finished_at)
    SELECT destination, e.id, dedupe_id, 'delivered', clock_timestamp() FROM analytics_events e,
        (VALUES ('amplitude', CAST(:amplitude AS uuid)), ('webhook', CAST(:webhook AS uuid)))
        AS own (destination, dedupe_id)
"""


@pytest.fixture
def kept(embedded: EmbeddedStores, engine: Engine, planted: None, tmp_path: Path) -> Kept:
    with engine.begin() as connection:
        for statement in INSERTS.split(";"):
            connection.execute(text(statement), IDS)
    database = embedded.current.database_url.replace("+psycopg", "")
    return Kept(database, tmp_path / "receivers.jsonl")


def found(verdict: Verdict) -> dict[str, list[str]]:
    kinds = ("lost", "undelivered", "doubled", "wrong")
    named = {kind: [one.what for one in getattr(verdict, kind)] for kind in kinds}
    return {kind: whats for kind, whats in named.items() if whats}


def test_a_run_that_kept_the_promise_is_clean(kept: Kept) -> None:
    verdict = kept.verdict()

    assert found(verdict) == {}
    assert verdict.kept_the_promise
    told = {"usd": 1250}
    assert verdict.revenue == {
        "expected": told,
        "ledger": told,
        "amplitude": told,
        "webhook": told,
    }
    assert (len(verdict.effects), verdict.again) == (2, [])


def test_what_was_acknowledged_and_is_not_kept_is_lost(kept: Kept) -> None:
    assert found(kept.verdict("evt_1", "evt_2")) == {"lost": ["answered 2xx and not kept: evt_2"]}


@pytest.mark.parametrize("verdict", ["NULL", "'quarantined'"])
def test_what_is_kept_and_never_told_is_lost(kept: Kept, engine: Engine, verdict: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE webhook_events SET verdict = {verdict}"))

    said = "None" if verdict == "NULL" else "quarantined"
    assert found(kept.verdict()) == {"lost": [f"kept and never told: evt_1 ({said})"]}


def test_money_that_was_posted_and_not_booked_is_lost(kept: Kept) -> None:
    other = json.loads(json.dumps(BILL).replace("evt_1", "evt_2").replace("in_1", "in_2"))
    kept.expected.post(json.dumps(other).encode())

    assert found(kept.verdict()) == {
        "lost": ["not booked: payment:in_2"],
        "undelivered": ["webhook: payment:in_2 never arrived"],
        "wrong": [
            f"revenue, {who}: {{'usd': 1250}}, expected {{'usd': 2500}}"
            for who in ("ledger", "amplitude", "webhook")
        ],
    }


def test_a_delivery_without_an_effect_is_found(kept: Kept) -> None:
    kept.received[1]["effect"] = False

    assert found(kept.verdict()) == {
        "lost": [f"webhook: marked delivered, never received: {_uuid(IDS['webhook'])}"],
        "undelivered": [
            f"webhook: {KEY} never arrived",
            "webhook: 1 too few of payment_succeeded",
        ],
        "wrong": ["revenue, webhook: {}, expected {'usd': 1250}"],
    }


def test_a_dead_delivery_is_undelivered(kept: Kept, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE deliveries SET state = 'dead', reason = 'no' WHERE destination = 'webhook'"
            )
        )

    assert found(kept.verdict()) == {
        "undelivered": [f"webhook: {_uuid(IDS['webhook'])} is dead: no"]
    }


def test_the_same_bytes_again_are_a_duplicate_send_and_one_effect(kept: Kept) -> None:
    kept.received.append(kept.event("webhook", at=9.0))
    verdict = kept.verdict()

    assert found(verdict) == {}
    assert (sorted(verdict.effects), verdict.again) == ([7.0, 7.0], [7.0])


def test_two_tries_that_were_both_taken_are_one_fenced_write(kept: Kept, engine: Engine) -> None:
    with engine.begin() as connection:
        tries = """
            INSERT INTO attempts (delivery_id, token, started_at, outcome, status, latency_ms)
            SELECT d.id, token, to_timestamp(token), outcome, 200, 1 FROM deliveries d,
                (VALUES (1, 'retry'), (2, 'delivered'), (3, 'delivered')) AS t (token, outcome)
            WHERE d.destination = 'webhook'
        """
        connection.execute(text(tries))

    assert kept.verdict().fenced == [2.0]


def test_other_bytes_under_one_key_are_wrong(kept: Kept) -> None:
    kept.received.append(kept.event("webhook", hash="other"))

    assert found(kept.verdict()) == {
        "wrong": [f"webhook: {_uuid(IDS['webhook'])} came with 2 different bodies"]
    }


@pytest.mark.parametrize(
    ("to", "key", "fact"),
    [
        ("webhook", "another", KEY),
        ("amplitude", f"{_uuid(IDS['amplitude'])} phone", _uuid(IDS["amplitude"])),
    ],
)
def test_one_fact_under_two_keys_is_doubled(kept: Kept, to: str, key: str, fact: str) -> None:
    kept.received.append(kept.event(to, key=key))

    assert found(kept.verdict()) == {
        "doubled": [f"{to}: {fact} came under 2 keys", f"{to}: 1 too many of payment_succeeded"],
        "wrong": [f"revenue, {to}: {{'usd': 2500}}, expected {{'usd': 1250}}"],
    }


def test_a_followed_redirect_is_wrong(kept: Kept) -> None:
    kept.received.append({"at": 1.0, "trap": "/redirected"})

    assert found(kept.verdict()) == {"wrong": ["a redirect was followed to /redirected"]}


def test_work_that_is_left_is_undelivered(kept: Kept, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO work (lane, ref_id) VALUES ('process', 1)"))

    assert found(kept.verdict()) == {"undelivered": ["left in lane process: 1"]}


def test_expected_money_is_what_the_story_says() -> None:
    story: Story = simulate(seed=11, customers=30, now=NOW)
    expected = Expected()
    for webhook in story.webhooks:
        expected.post(webhook.body)

    assert expected.revenue == story.expected.revenue
    payments = sum(key.startswith("payment:") for key in expected.money)
    assert payments == story.expected.payments
    assert len(expected.money) - payments == story.expected.refunds


def test_the_receivers_hash_the_very_bytes_of_each_event() -> None:
    events = [
        b'{"device_id":"d","event_type":"a","insert_id":"1"}',
        b'{"event_type":"b", "insert_id":"2","revenue":12.50,"currency":"USD"}',
    ]
    body = b'{"api_key":"k","events":[%b,%b],"options":{}}' % (events[0], events[1])

    first, second = amplitude_events(body)

    assert [first.raw, second.raw] == events
    assert (first.key, second.key) == ("1 d", "2 ")
    assert (second.revenue, second.currency) == ("12.50", "usd")
    signed = b'{"type":"c","data":{"key":"payment:in_1","revenue":null}}'
    [only] = webhook_events(signed, {"webhook-id": "3"})
    assert (only.key, only.fact, only.raw) == ("3", "payment:in_1", signed)


def test_the_checker_borrows_nothing_from_the_product() -> None:
    source = (Path(__file__).parent / "checker.py").read_text()

    assert "import app" not in source
    assert "from app" not in source
