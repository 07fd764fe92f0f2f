"""The views of the schema `analytics` over a large ledger and two years of subscriptions, made by
SQL: how many seconds each takes to read."""

import os
import time
from dataclasses import dataclass

from sqlalchemy import Connection

from bench.room import Room

# Refunds are known by payment intent, those that failed by charge, some by nothing; payments have
# one line, lines of both signs, or none; some entries are corrected, untold, settled twice or in
# another currency. Each subscription says something every month: most of it changes nothing, some
# is an end, a discount's end, a debt, or a worth that nobody knows.
MAKE = """
SET LOCAL session_replication_role = replica;
INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, tax_minor, customer,
    subscription, invoice, payment_intent, charge, refund, occurred_at, recorded_at,
    effective_date, posting_date, origin)
SELECT account, true, CASE kind WHEN 'payment' THEN 'payment:in_' ELSE kind || ':re_' END || n,
    kind, CASE kind WHEN 'payment' THEN 1190 + n % 3000 WHEN 'refund' THEN -900 ELSE 900 END,
    (ARRAY['usd', 'eur', 'usd', 'jpy'])[1 + n % 4], CASE kind WHEN 'payment' THEN 190 END,
    'cus_' || n % 50000, 'sub_' || n % 50000, CASE kind WHEN 'payment' THEN 'in_' || n END,
    CASE kind WHEN 'refund' THEN 'pi_' || CASE WHEN n % 100 = 0 THEN -n ELSE n - 1 END END,
    CASE kind WHEN 'refund_reversal' THEN 'ch_' || n - 1 END,
    CASE WHEN kind <> 'payment' THEN 're_' || n END, at, at + interval '4 seconds', at::date,
    at::date, 'webhook'
FROM (SELECT n, timestamptz '2026-01-01 00:00Z' + n * (interval '300 days' / {entries}) AS at,
          CASE WHEN n % 20 = 0 THEN 'refund' WHEN n % 40 = 7 THEN 'refund_reversal'
              ELSE 'payment' END AS kind,
          CASE n % 40 WHEN 3 THEN 'acct_1' ELSE '' END AS account
      FROM generate_series(1, {entries}) n) AS made;
INSERT INTO stripe_refs (account, livemode, child, parent, customer)
SELECT account, true, child || substr(invoice, 4), parent || substr(invoice, 4), false
FROM revenue_entries, (VALUES ('pi_', 'in_'), ('ch_', 'pi_')) AS way (child, parent)
WHERE kind = 'payment';
INSERT INTO analytics_events (account, livemode, key, uuid, schema_version, name, occurred_at,
    state, about, customer, subscription, invoice, properties, identity, minor, currency,
    held_until, tax_minor)
SELECT account, livemode, key, gen_random_uuid(), 2,
    CASE kind WHEN 'payment' THEN 'payment_succeeded' ELSE 'refund_created' END, occurred_at,
    'released', ARRAY[key], customer, subscription, invoice,
    jsonb_build_object('invoice_id', invoice, 'customer_id', customer, 'utm_source', id % 7,
        'landing_page', 'https://example.com/' || id % 40) || CASE
        WHEN kind <> 'payment' OR id % 170 = 5 THEN '{{}}'
        WHEN id % 170 = 4 THEN '{{"items": [], "items_truncated": true}}'
        WHEN id % 17 = 3 THEN jsonb_build_object('price_id', 'price_' || id % 30)
        ELSE jsonb_build_object('items', CASE id % 7 WHEN 0 THEN jsonb_build_array(
            jsonb_build_object('price_id', 'price_' || id % 30, 'amount', -5.5),
            jsonb_build_object('price_id', 'price_' || (id + 1) % 30, 'amount', id % 170 / 10.0))
            ELSE jsonb_build_array(
            jsonb_build_object('price_id', 'price_' || id % 30, 'amount', 10)) END) END,
    '{{"ids": {{"user_id": "u"}}}}', minor, currency, occurred_at, tax_minor
FROM revenue_entries WHERE id % 499 <> 0;
INSERT INTO settlements (account, livemode, id, created, category, gross, fee, net, currency,
    customer_currency, effective_date, posting_date)
SELECT account, livemode, 'txn_' || id, occurred_at, 'charge', minor, 59, minor - 59, 'eur',
    CASE WHEN id % 331 = 0 THEN 'chf' ELSE currency END, effective_date, posting_date
FROM revenue_entries WHERE id % 50 <> 0;
INSERT INTO settled_entries (account, livemode, settlement, key)
SELECT account, livemode, 'txn_' || id - (id % 802 = 0 OR id % 997 = 0)::int, key
FROM revenue_entries WHERE id % 50 <> 0;
INSERT INTO revenue_entries (account, livemode, key, kind, minor, currency, occurred_at,
    recorded_at, effective_date, posting_date, origin, corrects)
SELECT account, livemode, 'correction:' || key, 'correction', -minor, currency, occurred_at,
    recorded_at, effective_date, posting_date, 'manual', key
FROM revenue_entries WHERE id % 401 = 0;
INSERT INTO reconcile_runs (at, who, account, livemode, period_start, period_end, timezone, source,
    parameters, snapshot_sha256, transactions, entries, classes, totals, verdict, delivered)
SELECT month + interval '40 days', 'bench', '', true, month::date,
    (month + interval '1 month')::date, 'UTC', 'csv', '{{}}', '', 0, 0, '{{}}', '[]', 'clean', true
FROM generate_series(timestamp '2026-01-01', '2026-09-01', interval '1 month') AS month;
INSERT INTO subscription_states (account, livemode, subscription, stated_at, customer, currency,
    status, churn, minor, missing, asked, discount_ends_at, minor_after)
SELECT CASE s % 50 WHEN 1 THEN 'acct_1' ELSE '' END, s % 60 <> 2, 'sub_' || s, at,
    CASE WHEN s % 500 <> 3 THEN 'cus_' || s * 9 / 10 END,
    CASE WHEN s % 70 = 6 AND m > 12 THEN 'gbp' WHEN s % 70 <> 5
        THEN (ARRAY['usd', 'eur'])[1 + s % 2] END, CASE
        WHEN m = 23 AND s % 4 = 0 OR m = 12 AND s % 7 = 2 THEN 'canceled'
        WHEN m % 8 = 5 AND s % 11 = 3 OR m = 22 AND s % 12 = 0 THEN 'past_due'
        ELSE 'active' END,
    CASE WHEN m = 12 AND s % 7 = 2 THEN 'voluntary' END, CASE
        WHEN m = 23 AND s % 4 = 0 OR m = 12 AND s % 7 IN (2, 3) THEN 0
        WHEN m % 8 > 5 AND s % 41 = 3 THEN NULL
        WHEN m = 23 AND s % 59 = 7 THEN -5
        ELSE 1000 + m / 6 * 100 * (s % 3) - CASE WHEN m = 15 AND s % 13 = 1 THEN 300 ELSE 0 END
        END, '{{}}', '{{}}',
    CASE WHEN m = 23 AND s % 9 = 1 OR m = 9 AND s % 9 < 3
        THEN at + (1 + s % 40) * interval '1 day' END,
    CASE WHEN m = 23 AND s % 9 = 1 OR m = 9 AND s % 9 < 3 THEN 5000 END
FROM (SELECT s, m, timestamptz '2024-11-05 00:00Z' + s * (interval '25 days' / {subscriptions})
          + m * interval '1 month' AS at
      FROM generate_series(0, 23) m, generate_series(1, {subscriptions}) s) AS made
ORDER BY at;
"""
MARCH = "WHERE posting_date >= '2026-03-01' AND posting_date < '2026-04-01'"
READ = {
    "daily_revenue, a month": f"daily_revenue {MARCH}",
    "revenue_by_plan, a month": f"revenue_by_plan {MARCH}",
    "revenue_by_channel, a month": f"revenue_by_channel {MARCH}",
    **{
        name: name
        for name in (
            *("subscription_mrr", "mrr_movements", "mrr_daily", "mrr_monthly_by_customer"),
            *("mrr_rollforward", "mrr_rollforward_check", "retention_monthly"),
            *("dq_currency_mismatch", "dq_untold", "dq_duplicate_txn", "dq_orphan_refund"),
            *("dq_settlement_missing", "dq_unallocated", "dq_summary"),
        )
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`seconds` are the less of two readings, one after the other."""

    name: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    load_average: float
    entries: int
    subscriptions: int
    views: list[View]


def measure(room: Room, *, entries: int, subscriptions: int) -> Views:
    busy = os.getloadavg()[0]
    room.empty()
    with room.engine.begin() as connection:
        make(connection, entries=entries, subscriptions=subscriptions)
    with room.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
        found = [_read(connection, name, query) for name, query in READ.items()]
    room.empty()
    return Views(load_average=busy, entries=entries, subscriptions=subscriptions, views=found)


def make(connection: Connection, *, entries: int, subscriptions: int) -> None:
    """`entries` of 300 days, and `subscriptions` with 24 statements each."""
    statements = MAKE.format(entries=entries, subscriptions=subscriptions)
    connection.exec_driver_sql(statements.replace("%", "%%"))


def _read(connection: Connection, name: str, query: str) -> View:
    took = []
    for _ in range(2):
        began = time.perf_counter()
        rows = connection.exec_driver_sql(f"SELECT * FROM analytics.{query}").fetchall()
        took.append(time.perf_counter() - began)
    return View(name=name, rows=len(rows), seconds=min(took))
