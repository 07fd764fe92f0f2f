"""A whole simulated SaaS through process, release and deliver, against its own sums."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.core.envelope import open_envelope
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, receiver
from app.demo.saas import Webhook, simulate
from app.drain import Drain
from app.settings import Settings
from app.store import browse, ledger
from app.store.webhook_events import keep


def post(engine: Engine, webhooks: list[Webhook]) -> None:
    with engine.begin() as connection:
        for one in webhooks:
            keep(connection, open_envelope(one.body), one.body, "webhook")


def drained(engine: Engine, settings: Settings) -> None:
    """Run one worker's drain until nothing is left, holds included."""
    drain = Drain(engine, settings, lambda: True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        drain.run()
        with engine.begin() as connection:
            if not connection.execute(text("SELECT count(*) FROM work")).scalar_one():
                break
            connection.execute(
                text("UPDATE work SET due_at = clock_timestamp() WHERE lane = 'release'")
            )
        time.sleep(0.05)
    drain.stop()


def told(engine: Engine) -> Counter[str]:
    query = "SELECT name, count(*) FROM analytics_events WHERE state = 'released' GROUP BY 1"
    with engine.connect() as connection:
        return Counter({row[0]: row[1] for row in connection.execute(text(query))})


@pytest.mark.parametrize("seed", [1, 2])
def test_what_comes_out_is_what_the_story_says(
    engine: Engine, with_destinations: Callable[..., Settings], seed: int
) -> None:
    story = simulate(seed=seed, customers=40, now=1_790_000_000)
    with receiver() as tools:
        settings = with_destinations(
            amplitude={"api_key": AMPLITUDE_KEY, "url": tools.amplitude_url},
            webhook={"secret": WEBHOOK_SECRET, "url": tools.webhook_url},
        )
        post(engine, story.webhooks)
        drained(engine, settings)
        totals = tools.snapshot()

    with engine.connect() as connection:
        booked = {currency: minor for currency, _, minor in ledger.totals(connection)}
        counts = browse.counts(connection)
        sent = browse.delivered_revenue(connection)
    expected = story.expected
    assert booked == expected.revenue
    assert told(engine) == Counter(expected.counts)
    assert sum(counts.verdicts.values()) == expected.events
    assert counts.verdicts.keys() == {"processed", "ignored"}
    assert {key[1] for key in counts.deliveries} == {"delivered"}
    for name in ("amplitude", "webhook"):
        assert {c: minor for (d, c), minor in sent.items() if d == name} == expected.revenue
    assert totals.amplitude.distinct == totals.webhook.distinct == sum(expected.counts.values())


def test_any_order_and_any_duplicates_end_in_the_same_ledger_and_analytics_events(
    engine: Engine, settings: Settings, stores: Any
) -> None:
    story = simulate(seed=7, customers=12, now=1_790_000_000)
    outcomes = []
    for order in (None, 1, 2):
        webhooks = list(story.webhooks)
        if order is not None:
            random.Random(order).shuffle(webhooks)
        _empty(engine)
        post(engine, webhooks)
        _drain_in_small_batches(engine, settings, random.Random(order))
        outcomes.append(_everything(engine))

    assert outcomes[1] == outcomes[0]
    assert outcomes[2] == outcomes[0]


def _empty(engine: Engine) -> None:
    from app.store.schema import metadata

    names = ", ".join(table.name for table in metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))


def _drain_in_small_batches(engine: Engine, settings: Settings, rng: random.Random) -> None:
    from app.process import process
    from app.release import release_ended_holds

    while process(engine, settings, rng.randint(1, 7)):
        pass
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    while release_ended_holds(engine, settings):
        pass


def _everything(engine: Engine) -> list[Any]:
    queries = (
        "SELECT key, kind, minor, currency, tax_minor, discount_minor, customer, subscription,"
        " invoice, payment_intent, charge, refund, occurred_at, effective_date"
        " FROM revenue_entries ORDER BY key",
        "SELECT key, uuid, name, occurred_at, state, reason, properties, identity, minor, currency"
        " FROM analytics_events ORDER BY key",
    )
    with engine.connect() as connection:
        return [
            [dict(row) for row in connection.execute(text(query)).mappings()] for query in queries
        ]
