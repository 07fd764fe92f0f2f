"""The schema `analytics`: every view explained and readable by a role that may read nothing else;
the ledger's money by day, plan and channel; and what the checks of the data find."""

import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.core.money import THREE_DECIMAL, ZERO_DECIMAL, Money
from app.core.reconcile.categories import KNOWN
from app.release import release_ended_holds
from app.settings import Settings
from tests.test_process import an_intent, an_invoice, event, processed

DOCS = (Path(__file__).parents[1] / "docs" / "finance.md").read_text()
MARCH_1 = date(2025, 3, 1)
CREATED = int(datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp())
VIEWS = "SELECT relname FROM pg_class WHERE relnamespace = 'analytics'::regnamespace ORDER BY 1"


def rows(engine: Engine, query: str, **values: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)  # as it is: colons are no parameters


# --- all of them


def test_every_view_column_and_function_is_explained(engine: Engine) -> None:
    unexplained = """
        SELECT c.relname, a.attname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0
        WHERE c.relnamespace = 'analytics'::regnamespace
          AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
        UNION ALL SELECT proname, '' FROM pg_proc
        WHERE pronamespace = 'analytics'::regnamespace AND obj_description(oid) IS NULL
    """
    assert rows(engine, unexplained) == []


def test_every_view_is_in_the_docs_and_no_other(engine: Engine) -> None:
    views = {name for (name,) in rows(engine, VIEWS)}

    assert len(views) > 30
    listed = DOCS.partition("## The views")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", listed, re.M)) == views


def test_accounts_and_modes_are_kept_apart_everywhere(engine: Engine) -> None:
    mixed = """
        SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'analytics'::regnamespace
          AND 2 <> (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid
                    AND a.attname IN ('account', 'livemode'))
        UNION SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'analytics'::regnamespace AND a.attname LIKE '%minor'
          AND NOT EXISTS (SELECT FROM pg_attribute b WHERE b.attrelid = c.oid
                          AND b.attname = 'currency')
    """
    assert rows(engine, mixed) == [("reporting",)]


@pytest.fixture
def reader(engine: Engine) -> Iterator[str]:
    """The role that the docs make, in their words."""
    [snippet] = re.findall(r"```sql\n(CREATE ROLE bridge_reader.*?)```", DOCS, re.S)
    for statement in snippet.split(";"):
        if statement.strip():
            run(engine, statement)
    yield "bridge_reader"
    run(engine, "DROP OWNED BY bridge_reader; DROP ROLE bridge_reader")


def test_the_documented_role_reads_every_view_and_nothing_else(engine: Engine, reader: str) -> None:
    views = [name for (name,) in rows(engine, VIEWS)]
    tables = [
        name
        for (name,) in rows(
            engine,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'v', 'p')",
        )
    ]
    readable = [*(f"SELECT * FROM analytics.{name}" for name in (*views, "made_later"))]
    refused = [*(f"SELECT * FROM {name}" for name in tables)]
    refused += ["DELETE FROM analytics.late_webhook_events", "CREATE TABLE analytics.mine (a text)"]
    run(engine, "CREATE VIEW analytics.made_later AS SELECT 1 AS one")
    try:
        for statement in (*readable, "SELECT analytics.major(1, 'usd')"):
            run(engine, f"SET LOCAL ROLE {reader}; {statement}")
        for statement in refused:
            with pytest.raises(DBAPIError, match="permission denied"):
                run(engine, f"SET LOCAL ROLE {reader}; {statement}")
    finally:
        run(engine, "DROP VIEW analytics.made_later")


def test_the_sample_queries_of_the_docs_run(engine: Engine) -> None:
    queries = re.findall(r"```sql\n(SELECT.*?)```", DOCS, re.S)

    assert len(queries) >= 6
    for query in queries:
        run(engine, query)


# --- units and parts


def test_whole_units_are_those_of_stripes_currencies(engine: Engine) -> None:
    currencies = sorted(ZERO_DECIMAL | THREE_DECIMAL | {"usd", "eur", "isk", "ugx", "huf"})
    query = (
        "SELECT c, analytics.major(-123456, c) FROM unnest(CAST(:all AS text[])) AS c ORDER BY 1"
    )

    assert rows(engine, query, all=currencies) == [
        (one, Money(-123456, one).major) for one in currencies
    ]


def parts(minor: int, weights: list[Decimal]) -> list[int] | None:
    """Largest remainder, in exact fractions."""
    whole = sum(map(Fraction, weights))
    if whole <= 0:
        return None
    exact = [Fraction(abs(minor)) * Fraction(one) / whole for one in weights]
    found = [one.numerator // one.denominator for one in exact]
    left = abs(minor) - sum(found)
    for place in sorted(range(len(exact)), key=lambda n: (found[n] - exact[n], n))[:left]:
        found[place] += 1
    return [one if minor >= 0 else -one for one in found]


def test_parts_sum_to_the_whole_and_are_those_of_exact_fractions(engine: Engine) -> None:
    rng = random.Random(5)
    cases = [(100, [Decimal(1)] * 3), (-100, [Decimal(1)] * 3), (5, [Decimal(-1), Decimal(1)])]
    cases += [(10**15 - 1, [Decimal("0.01"), Decimal(10**12), Decimal(-7)]), (0, [Decimal(3)])]
    for _ in range(1500):
        amounts = [rng.randint(-2000, 9000) for _ in range(rng.randint(1, 12))]
        scale = rng.choice((0, 2, 3))
        weights = [Decimal(each).scaleb(-scale) for each in amounts]
        cases.append((rng.randint(-(10 ** rng.randint(1, 12)), 10 ** rng.randint(1, 12)), weights))
    with engine.connect() as connection:
        query = text("SELECT analytics.split(:minor, CAST(:weights AS numeric[]))")
        for minor, weights in cases:
            found = connection.execute(query, {"minor": minor, "weights": weights}).scalar_one()
            assert found == parts(minor, weights), (minor, weights)
            assert found is None or sum(found) == minor
            back = connection.execute(query, {"minor": -minor, "weights": weights}).scalar_one()
            assert back == (None if found is None else [-one for one in found])


# --- the ledger


def line(price: str, amount: int, **more: Any) -> dict[str, Any]:
    return {
        "amount": amount,
        "quantity": 1,
        "pricing": {"price_details": {"price": price, "product": f"prod_{price}"}},
        **more,
    }


def lines(*of: dict[str, Any], has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(of), "has_more": has_more}


@pytest.fixture
def march(engine: Engine, settings: Settings) -> None:
    """Four invoices, a part of the first given back, the second disputed, a one-off payment.

    in_1 pays 11.90 EUR, 1.90 of it tax, for lines of 7.00 and 3.00; in_2 10.00 for three of equal
    amounts; in_3 has more lines than were told; in_4 is of dollars and has none.
    """

    def told(number: int, paid: int, **more: Any) -> None:
        invoice = an_invoice(f"in_{number}", f"sub_{number}", **more)
        values = {
            "amount_paid": paid,
            "total": paid,
            "amount_due": paid,
            "customer": f"cus_{number}",
        }
        ids = {"br_user_id": f"user_{number}", "br_utm_source": "news", "br_landing_page": "/a"}
        if number == 1:
            values["parent"] = {
                "subscription_details": {"subscription": "sub_1", "metadata": ids},
            }
        processed(engine, settings, event(number, "invoice.paid", {**invoice, **values}))

    told(
        1,
        1190,
        lines=lines(line("big", 700), line("small", 300)),
        total_taxes=[{"amount": 190}],
        payments={"data": [{"payment": {"type": "payment_intent", "payment_intent": "pi_1"}}]},
    )
    told(
        2,
        1000,
        lines=lines(*(line(one, 500) for one in ("a", "b", "c"))),
        payments={"data": [{"payment": {"type": "payment_intent", "payment_intent": "pi_2"}}]},
    )
    told(3, 500, lines=lines(line("big", 500), has_more=True))
    told(4, 2500, currency="usd")
    refund = {
        **{"id": "re_1", "object": "refund", "amount": 119, "currency": "eur"},
        **{"status": "succeeded", "payment_intent": "pi_1", "charge": "ch_1", "created": CREATED},
    }
    taken = {
        **{"id": "txn_9", "object": "balance_transaction", "amount": -1000, "currency": "eur"},
        **{"fee": 0, "net": -1000, "created": CREATED, "exchange_rate": None},
    }
    dispute = {
        **{"id": "du_1", "object": "dispute", "amount": 1000, "currency": "eur", "charge": "ch_2"},
        **{"payment_intent": "pi_2", "status": "needs_response", "created": CREATED},
        "balance_transactions": [taken],
    }
    intent = an_intent(id="pi_9", amount_received=700)
    claim = {
        **{"id": "cs_9", "object": "checkout.session", "mode": "payment", "payment_intent": "pi_9"},
        **{"payment_status": "paid", "customer": "cus_9", "created": CREATED},
    }
    processed(
        engine,
        settings,
        event(11, "refund.created", refund),
        event(12, "charge.dispute.funds_withdrawn", dispute),
        event(13, "payment_intent.succeeded", intent),
        event(14, "checkout.session.completed", claim),
    )
    run(engine, "UPDATE work SET due_at = clock_timestamp()")
    while release_ended_holds(engine, settings):
        pass


@pytest.mark.usefixtures("march")
def test_a_days_revenue_by_currency(engine: Engine) -> None:
    columns = """currency, payments_minor, refunds_minor, refund_reversals_minor, disputes_minor,
        dispute_reversals_minor, net_minor, tax_minor, net_of_tax_minor, payments, refunds,
        disputes, entries, late_entries"""
    eur = ("eur", 3390, -119, 0, -1000, 0, 2271, 171, 2100, 4, 1, 1, 6, 0)
    usd = ("usd", 2500, 0, 0, 0, 0, 2500, 0, 2500, 1, 0, 0, 1, 0)

    for view, day in (
        ("daily_revenue", "posting_date"),
        ("daily_revenue_restated", "effective_date"),
    ):
        query = (
            f"SELECT account, livemode, {day}, {columns} FROM analytics.{view} ORDER BY currency"
        )
        assert rows(engine, query) == [
            ("", True, MARCH_1, *eur),
            ("", True, MARCH_1, *usd),
        ]


@pytest.mark.usefixtures("march")
def test_every_entry_is_split_as_its_payments_lines_are(engine: Engine) -> None:
    query = """
        SELECT key, payment_key, allocated, line, price, product, minor
        FROM analytics.revenue_allocation ORDER BY key, line
    """
    found = rows(engine, query)

    assert [row for row in found if not row[0].startswith("dispute")] == [
        ("payment:in_1", "payment:in_1", True, 1, "big", "prod_big", 833),
        ("payment:in_1", "payment:in_1", True, 2, "small", "prod_small", 357),
        ("payment:in_2", "payment:in_2", True, 1, "a", "prod_a", 334),
        ("payment:in_2", "payment:in_2", True, 2, "b", "prod_b", 333),
        ("payment:in_2", "payment:in_2", True, 3, "c", "prod_c", 333),
        ("payment:in_3", "payment:in_3", False, None, "unallocated", "unallocated", 500),
        ("payment:in_4", "payment:in_4", False, None, "unallocated", "unallocated", 2500),
        ("payment:pi_9", "payment:pi_9", False, None, "unallocated", "unallocated", 700),
        ("refund:re_1", "payment:in_1", True, 1, "big", "prod_big", -83),
        ("refund:re_1", "payment:in_1", True, 2, "small", "prod_small", -36),
    ]
    # The whole of in_2 was taken back, so nothing is left of any of its lines.
    assert [row[1:] for row in found if row[0].startswith("dispute")] == [
        ("payment:in_2", True, 1, "a", "prod_a", -334),
        ("payment:in_2", True, 2, "b", "prod_b", -333),
        ("payment:in_2", True, 3, "c", "prod_c", -333),
    ]


@pytest.mark.usefixtures("march")
def test_plans_channels_and_pages_sum_to_the_ledger(engine: Engine) -> None:
    plans = (
        "SELECT currency, price, payments_minor, net_minor, entries FROM analytics.revenue_by_plan"
    )
    assert rows(engine, f"{plans} ORDER BY 1, 2") == [
        ("eur", "a", 334, 0, 2),
        ("eur", "b", 333, 0, 2),
        ("eur", "big", 833, 750, 2),
        ("eur", "c", 333, 0, 2),
        ("eur", "small", 357, 321, 2),
        ("eur", "unallocated", 1200, 1200, 2),
        ("usd", "unallocated", 2500, 2500, 1),
    ]
    channels = """
        SELECT currency, utm_source, utm_medium, utm_campaign, net_minor, entries
        FROM analytics.revenue_by_channel ORDER BY 1, 2
    """
    # The refund of what the newsletter sold is the newsletter's as well.
    assert rows(engine, channels) == [
        ("eur", "(none)", "(none)", "(none)", 1200, 4),
        ("eur", "news", "(none)", "(none)", 1071, 2),
        ("usd", "(none)", "(none)", "(none)", 2500, 1),
    ]
    pages = "SELECT landing_page, net_minor FROM analytics.revenue_by_landing_page ORDER BY 1, 2"
    assert rows(engine, pages) == [("(none)", 1200), ("(none)", 2500), ("/a", 1071)]


@pytest.mark.usefixtures("march")
def test_a_late_entry_is_counted_where_each_date_says(engine: Engine) -> None:
    run(
        engine,
        """INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, occurred_at,
            effective_date, posting_date, origin)
        VALUES ('acct_2', false, 'refund:re_7', 'refund', -5, 'eur', '2025-03-31 12:00Z',
            '2025-03-31', '2025-04-01', 'gap')""",
    )
    closed = "SELECT posting_date, net_minor, late_entries FROM analytics.daily_revenue"
    restated = (
        "SELECT effective_date, net_minor, late_entries FROM analytics.daily_revenue_restated"
    )
    only = "WHERE account = 'acct_2' AND NOT livemode"

    assert rows(engine, f"{closed} {only}") == [(date(2025, 4, 1), -5, 1)]
    assert rows(engine, f"{restated} {only}") == [(date(2025, 3, 31), -5, 1)]
    assert rows(engine, f"SELECT key, late FROM analytics.revenue {only}") == [
        ("refund:re_7", True)
    ]


@pytest.mark.usefixtures("march")
def test_who_was_forgotten_has_no_campaign_and_no_user(engine: Engine) -> None:
    query = "SELECT user_id, utm_source, landing_page FROM analytics.revenue WHERE key = :key"
    assert rows(engine, query, key="payment:in_1") == [("user_1", "news", "/a")]

    run(
        engine,
        """
        UPDATE analytics_events SET properties = properties - '{utm_source,landing_page}'::text[],
            identity = '{"ids": {}, "source": "erased"}' WHERE key = 'payment:in_1'
        """,
    )
    assert rows(engine, query, key="payment:in_1") == [(None, "(none)", "(none)")]


# --- settlement, deliveries, checks


def settle(engine: Engine) -> None:
    """As a reconciliation of march leaves it: in_1 and in_4 matched, one of them in euros."""
    run(
        engine,
        """
        INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net,
            currency, minor, customer_currency, exchange_rate, effective_date, posting_date)
        SELECT '', true, id, at, category, gross, fee, gross - fee, 'eur', minor, theirs, rate,
            at::date, at::date
        FROM (VALUES
            ('txn_1', timestamptz '2025-03-01 12:00Z', 'charge', 1190, 47, 1190, 'eur', NULL),
            ('txn_4', '2025-03-01 23:30Z', 'charge', 2200, 80, 2500, 'usd', 0.88),
            ('txn_5', '2025-03-02 12:00Z', 'moon_fee', -9, 0, NULL, NULL, NULL)
        ) AS made (id, at, category, gross, fee, minor, theirs, rate);
        INSERT INTO settled_entries
        VALUES ('', true, 'txn_1', 'payment:in_1'), ('', true, 'txn_4', 'payment:in_4');
        INSERT INTO reconcile_runs (who, account, livemode, period_start, period_end, timezone,
            source, parameters, snapshot_sha256, transactions, entries, classes, totals, verdict,
            delivered, at)
        SELECT 'ann', '', true, '2025-03-01', '2025-04-01', 'UTC', 'csv', '{}', 'x', 3, 7, '[]',
            '[{"part": "payments", "currency": "eur", "stripe": 1190, "ledger": 2390},
              {"part": "refunds", "currency": "eur", "stripe": 0, "ledger": -119}]', verdict,
            true, clock_timestamp()
        FROM unnest(ARRAY['incomplete', 'differences']) AS verdict;
        INSERT INTO reconcile_results (run, line, class, reason, part, currency, stripe_minor,
            ledger_minor, subject, transactions, entries, note, next_step, explained)
        SELECT run, line, 'missing_in_stripe', '', 'payments', 'eur', NULL, 700, 'pi_9', '{}', '{}',
            '', '', line = 2
        FROM unnest(ARRAY[1, 2]) AS run, unnest(ARRAY[1, 2]) AS line;
        """,
    )


@pytest.mark.usefixtures("march")
def test_settlements_are_joined_by_entry_and_by_day(engine: Engine) -> None:
    settle(engine)

    settled = """
        SELECT key, currency, minor, settlement, settled_currency, gross_minor, fee_minor,
            net_minor, exchange_rate
        FROM analytics.revenue_settled WHERE key IN ('payment:in_1', 'payment:in_4', 'refund:re_1')
        ORDER BY key
    """
    assert rows(engine, settled) == [
        ("payment:in_1", "eur", 1190, "txn_1", "eur", 1190, 47, 1143, None),
        ("payment:in_4", "usd", 2500, "txn_4", "eur", 2200, 80, 2120, Decimal("0.88")),
        ("refund:re_1", "eur", -119, None, None, None, None, None, None),
    ]
    daily = """
        SELECT currency, day, category, gross_minor, fee_minor, net_minor, settlements
        FROM analytics.daily_settlements ORDER BY day
    """
    assert rows(engine, daily) == [
        ("eur", MARCH_1, "charge", 3390, 127, 3263, 2),
        ("eur", date(2025, 3, 2), "moon_fee", -9, 0, -9, 1),
    ]


@pytest.mark.usefixtures("march")
def test_the_last_run_of_a_period_is_its_status(engine: Engine) -> None:
    settle(engine)

    query = """
        SELECT period_start, period_end, timezone, currency, run, source, verdict, delivered,
            stripe_minor, ledger_minor, unexplained_minor, unexplained, month_status,
            age < interval '1 hour'
        FROM analytics.reconciliation_status
    """
    assert rows(engine, query) == [
        (
            *(MARCH_1, date(2025, 4, 1), "UTC", "eur", 2, "csv", "differences", True),
            *(1190, 2271, -700, 1, "open", True),
        )
    ]
    period = """
        INSERT INTO accounting_periods (account, livemode, period_start, period_end, timezone,
            status, version, closed_at, closed_by, totals)
        VALUES ('', true, '{0}', '{0}'::date + interval '1 month', 'UTC', 'closed', 1, now(),
            'ada', '{{}}')
    """
    status = "SELECT month_status FROM analytics.reconciliation_status"
    said = []
    for month in ("2025-04-01", "2025-03-01"):
        run(engine, period.format(month))
        said += rows(engine, status)
    assert said == [("locked",), ("closed",)]


@pytest.mark.usefixtures("march")
def test_deliveries_are_counted_by_hour_destination_and_event(engine: Engine) -> None:
    run(
        engine,
        """
        INSERT INTO deliveries (destination, analytics_event_id, dedupe_id, state, created_at,
            finished_at)
        SELECT 'amplitude', e.id, gen_random_uuid(), s.state, '2025-03-01 12:30Z',
            '2025-03-01 12:30Z'::timestamptz + s.seconds * interval '1 second'
        FROM (VALUES ('payment:in_1', 'delivered', 2), ('payment:in_2', 'delivered', 40),
            ('payment:in_3', 'skipped', 1), ('payment:in_4', 'dead', 9),
            ('payment:pi_9', 'pending', NULL)) AS s (key, state, seconds)
        JOIN analytics_events e ON e.key = s.key;
        """,
    )
    query = """
        SELECT hour, destination, event, owed, delivered, pending, skipped, dead, complete,
            p50_seconds, p95_seconds, oldest_pending
        FROM analytics.delivery_completeness
    """
    noon = datetime(2025, 3, 1, 12, tzinfo=UTC)
    assert rows(engine, query) == [
        (
            *(noon, "amplitude", "payment_succeeded", 5, 2, 1, 1, 1, Decimal("0.5")),
            *(2, 40, noon.replace(minute=30)),
        )
    ]


@pytest.mark.usefixtures("march")
def test_webhook_events_of_long_ago_are_late(engine: Engine) -> None:
    run(engine, "UPDATE webhook_events SET created = received_at WHERE event_id <> 'evt_11'")
    run(engine, "UPDATE webhook_events SET origin = 'gap' WHERE event_id = 'evt_11'")

    query = "SELECT event_id, type, origin, lateness > interval '1 year' FROM analytics"
    assert rows(engine, f"{query}.late_webhook_events") == [
        ("evt_11", "refund.created", "gap", True)
    ]


def failing(engine: Engine) -> dict[str, tuple[int, list[str]]]:
    query = "SELECT check_name, failing_rows, sample_ids FROM analytics.dq_summary"
    return {name: (number, ids) for name, number, ids in rows(engine, query) if number}


def test_an_empty_database_fails_no_check_and_says_each(engine: Engine) -> None:
    summary = rows(engine, "SELECT check_name, failing_rows FROM analytics.dq_summary")
    checks = {name.removeprefix("dq_") for (name,) in rows(engine, VIEWS) if name[:3] == "dq_"}

    assert len(summary) == 14
    assert dict(summary) == dict.fromkeys(checks - {"summary"}, 0)


@pytest.mark.usefixtures("march", "planted")
def test_every_check_finds_what_was_planted_for_it(engine: Engine) -> None:
    nameless = ["payment:in_2", "payment:in_3", "payment:in_4", "payment:pi_9"]
    before = failing(engine)
    assert before["unallocated"] == (3, ["payment:in_3", "payment:in_4", "payment:pi_9"])
    assert before["null_user"][0] == 5
    assert set(nameless) < set(before["null_user"][1])
    assert before.keys() == {"unallocated", "null_user"}

    settle(engine)
    run(
        engine,
        """
        INSERT INTO settled_entries VALUES ('', true, 'txn_1', 'payment:in_4');
        INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, occurred_at,
            effective_date, posting_date, origin, payment_intent)
        VALUES ('', true, 'refund:re_x', 'refund', -5, 'eur', '2099-01-01', '2099-01-01',
            '2099-01-01', 'webhook', 'pi_nobody');
        UPDATE analytics_events SET minor = 999 WHERE key = 'payment:in_3';
        UPDATE webhook_events SET verdict = 'quarantined' WHERE event_id = 'evt_3';
        INSERT INTO payments (account, livemode, payment, minor, currency, occurred_at, recorded_at)
        VALUES ('', true, 'pi_lost', 900, 'eur', '2025-03-01', '2025-03-01'),
            ('', true, 'pi_fresh', 900, 'eur', '2025-03-01', clock_timestamp());
        INSERT INTO subscription_states (account, livemode, subscription, stated_at, customer,
            currency, status, minor, missing, asked)
        VALUES ('', true, 'sub_neg', '2025-03-01', 'cus_n', 'eur', 'active', -1, '{}', '{}'),
            ('', true, 'sub_unk', '2025-03-01', 'cus_u', 'eur', 'active', NULL, '{price.tiers:p}',
                '{}');
        """,
    )
    found = failing(engine)

    disputed = next(key for key in before["null_user"][1] if key.startswith("dispute"))
    missing = sorted([disputed, *nameless[:2], "payment:pi_9", "refund:re_1"])
    assert sorted(found.pop("settlement_missing")[1]) == missing
    assert {name: each for name, each in found.items() if name not in before} == {
        "currency_mismatch": (2, ["payment:in_3", "payment:in_4"]),
        "duplicate_txn": (1, ["txn_1"]),
        "future_dated": (1, ["refund:re_x"]),
        "negative_mrr": (1, ["sub_neg"]),
        "orphan_refund": (1, ["refund:re_x"]),
        "quarantined": (1, ["evt_3"]),
        "unclaimed_payment": (1, ["pi_lost"]),
        "unknown_category": (1, ["txn_5"]),
        "unknown_mrr": (1, ["sub_unk"]),
        "untold": (1, ["refund:re_x"]),
    }


def test_the_checks_categories_are_the_codes(engine: Engine) -> None:
    run(
        engine,
        "INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net,"
        " currency, effective_date, posting_date) SELECT '', true, c, now(), c, 0, 0, 0, 'eur',"
        " '2025-03-01', '2025-03-01' FROM unnest(CAST("
        f"'{{{','.join(sorted(KNOWN))},other}}' AS text[])) AS c",
    )
    assert rows(engine, "SELECT id FROM analytics.dq_unknown_category") == [("other",)]
