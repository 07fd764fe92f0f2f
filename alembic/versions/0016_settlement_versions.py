"""Settlements as the last reconciliation found them: versions, and days of their own to post on."""

from alembic import op

revision = "0016"
down_revision = "0015"

# What was read before is dated by the day of its transaction, as it would have been then.
VERSIONS = """
-- run: the reconciliation that read it; 0: one before that was noted. effective_date is the
-- transaction's day in the reporting time zone; posting_date the same, or the first day of the
-- next open month if that month was closed when it was recorded.
ALTER TABLE settlements ADD COLUMN run bigint NOT NULL DEFAULT 0,
    ADD COLUMN effective_date date, ADD COLUMN posting_date date,
    DROP CONSTRAINT settlements_pkey;
ALTER TABLE settlements DISABLE TRIGGER append_only;
UPDATE settlements SET effective_date = (created AT TIME ZONE zone)::date,
    posting_date = (created AT TIME ZONE zone)::date
FROM (SELECT timezone AS zone FROM analytics.reporting) AS reporting;
ALTER TABLE settlements ENABLE TRIGGER append_only;
ALTER TABLE settlements ALTER COLUMN effective_date SET NOT NULL,
    ALTER COLUMN posting_date SET NOT NULL,
    ADD CONSTRAINT settlements_pkey PRIMARY KEY (account, livemode, id, run);
CREATE INDEX settlements_posted ON settlements (posting_date);
ALTER TABLE settled_entries ADD COLUMN run bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT settled_entries_pkey,
    ADD CONSTRAINT settled_entries_pkey PRIMARY KEY (account, livemode, settlement, run, key);
-- Versions that count no more: by_run found the transaction otherwise, and so has a version of its
-- own, or did not find it. A table of its own, so that the planner knows how few there are.
CREATE TABLE withdrawn_settlements (
    account text NOT NULL,
    livemode boolean NOT NULL,
    id text NOT NULL,
    run bigint NOT NULL,
    by_run bigint NOT NULL,
    posting_date date NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT withdrawn_settlements_pkey PRIMARY KEY (account, livemode, id, run),
    CONSTRAINT withdrawn_settlements_fkey FOREIGN KEY (account, livemode, id, run)
        REFERENCES settlements (account, livemode, id, run)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON withdrawn_settlements
    FOR EACH ROW EXECUTE FUNCTION reconcile_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON withdrawn_settlements
    FOR EACH STATEMENT EXECUTE FUNCTION reconcile_append_only();
"""

# As for revenue entries: the lock, the lookups and their reasons are in 0007 and 0015.
GUARD = """
CREATE TRIGGER wait_for_close BEFORE INSERT ON {0}
    FOR EACH STATEMENT EXECUTE FUNCTION revenue_entries_wait_for_close();
CREATE TRIGGER post BEFORE INSERT ON {0}
    FOR EACH ROW WHEN (NEW.posting_date - date '2000-01-01'
                       < nullif(current_setting('bridge.closed_until', true), '')::int)
    EXECUTE FUNCTION revenue_entries_post();
"""

CURRENT = """
CREATE VIEW current_settlements AS
SELECT s.* FROM settlements s
WHERE NOT EXISTS (SELECT FROM withdrawn_settlements w
    WHERE w.account = s.account AND w.livemode = s.livemode AND w.id = s.id AND w.run = s.run);
COMMENT ON VIEW current_settlements IS
    'Balance transactions as the last reconciliation of their days found them.';
CREATE VIEW current_settled_entries AS
SELECT p.* FROM settled_entries p
WHERE NOT EXISTS (SELECT FROM withdrawn_settlements w WHERE w.account = p.account
    AND w.livemode = p.livemode AND w.id = p.settlement AND w.run = p.run);
COMMENT ON VIEW current_settled_entries IS
    'Which revenue entries the current settlements are of.';
"""

# As in 0012, of current settlements alone.
SETTLED = """
CREATE OR REPLACE VIEW analytics.revenue_settled AS
SELECT e.account, e.livemode, e.key, e.kind, e.currency::text AS currency, e.minor,
    e.occurred_at, e.posting_date, e.effective_date, s.id AS settlement, s.created AS settled_at,
    s.category, s.currency::text AS settled_currency, s.gross AS gross_minor, s.fee AS fee_minor,
    s.net AS net_minor, s.exchange_rate
FROM revenue_entries e
LEFT JOIN current_settled_entries p
  ON p.account = e.account AND p.livemode = e.livemode AND p.key = e.key
LEFT JOIN settlements s
  ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement AND s.run = p.run;
CREATE OR REPLACE VIEW analytics.daily_settlements AS
SELECT account, livemode, currency::text AS currency,
    (created AT TIME ZONE (SELECT timezone FROM analytics.reporting))::date AS day, category,
    sum(gross)::bigint AS gross_minor, sum(fee)::bigint AS fee_minor,
    sum(net)::bigint AS net_minor, count(*) AS settlements
FROM current_settlements GROUP BY account, livemode, currency, day, category;
COMMENT ON VIEW analytics.daily_settlements IS
    'Stripe''s balance transactions by day and category, as the last reconciliation of their days'
    ' found them: fees and net are here.';
COMMENT ON VIEW analytics.revenue_settled IS
    'Every revenue entry with each balance transaction that the last reconciliation of its days'
    ' matched to it: one row each, or one without. Sum minor over distinct keys only.';
"""

# Stripe's, as of 2026-10: https://docs.stripe.com/reports/reporting-categories
KNOWN = (
    *("advance", "advance_funding", "anticipation_repayment", "charge", "charge_failure"),
    *("climate_order_purchase", "climate_order_refund", "connect_collection_transfer"),
    *("connect_reserved_funds", "contribution", "dispute", "dispute_reversal", "fee"),
    *("financing_paydown", "financing_paydown_reversal", "financing_payout"),
    *("financing_payout_reversal", "issuing_authorization_hold"),
    *("issuing_authorization_release", "issuing_dispute", "issuing_transaction"),
    *("network_cost", "other_adjustment", "partial_capture_reversal", "payout"),
    *("payout_reversal", "platform_earning", "platform_earning_refund", "refund"),
    *("refund_failure", "risk_reserved_funds", "tax", "topup", "topup_reversal"),
    *("transfer", "transfer_reversal", "unreconciled_customer_funds"),
)
# As in 0012 and 0014, of current settlements alone.
STANDS = """({0}.account, {0}.livemode, {0}.key) NOT IN (
            SELECT account, livemode, key FROM undone_entries)"""
CHECKS = {
    "currency_mismatch": f"""
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('booked %s %s, told %s %s', e.minor, e.currency, t.minor, t.currency) AS detail
        FROM revenue_entries e JOIN analytics_events t
          ON t.account = e.account AND t.livemode = e.livemode AND t.key = e.key
        WHERE CASE WHEN t.minor = e.minor AND t.currency = e.currency THEN 0 ELSE 1 END = 1
        UNION ALL
        SELECT e.account, e.livemode, e.key, e.occurred_at,
            format('booked in %s, settled by %s in %s', e.currency, s.id, s.customer_currency)
        FROM settlements s
        JOIN current_settled_entries p ON p.account = s.account AND p.livemode = s.livemode
         AND p.settlement = s.id AND p.run = s.run
        JOIN revenue_entries e
          ON e.account = p.account AND e.livemode = p.livemode AND e.key = p.key
        WHERE s.customer_currency <> e.currency AND {STANDS.format("e")}""",
    "duplicate_txn": f"""
        SELECT p.account, p.livemode, p.settlement AS id, s.created AS at, p.keys AS detail
        FROM (
            SELECT p.account, p.livemode, p.settlement, p.run,
                string_agg(p.key, ', ' ORDER BY p.key) AS keys
            FROM current_settled_entries p
            WHERE {STANDS.format("p")}
            GROUP BY p.account, p.livemode, p.settlement, p.run HAVING count(*) > 1
        ) AS p
        LEFT JOIN settlements s ON s.account = p.account AND s.livemode = p.livemode
         AND s.id = p.settlement AND s.run = p.run""",
    "settlement_missing": f"""
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('%s of %s %s', e.kind, e.minor, e.currency) AS detail
        FROM revenue_entries e
        WHERE e.out_of_band IS NOT TRUE AND e.kind <> 'correction'
          AND EXISTS (SELECT FROM reconcile_runs r
              WHERE r.account = e.account AND r.livemode = e.livemode
                AND e.effective_date >= r.period_start AND e.effective_date < r.period_end
                AND e.occurred_at < r.at - interval '1 hour' AND e.recorded_at < r.at)
          AND NOT EXISTS (SELECT FROM current_settled_entries p
              WHERE p.account = e.account AND p.livemode = e.livemode AND p.key = e.key)
          AND {STANDS.format("e")}""",
    "unknown_category": """
        SELECT account, livemode, id, created AS at, category AS detail FROM current_settlements
        WHERE category NOT IN ({})""".format(", ".join(f"'{one}'" for one in KNOWN)),
}


def upgrade() -> None:
    op.execute(VERSIONS)
    for table in ("settlements", "withdrawn_settlements"):
        op.execute(GUARD.format(table))
    op.execute(CURRENT)
    op.execute(SETTLED)
    for name, query in CHECKS.items():
        op.execute(f"CREATE OR REPLACE VIEW analytics.dq_{name} AS {query}")
