"""Views of what can be wrong: settlement and reconciliation, deliveries, and checks of the data."""

from alembic import op

revision = "0012"
down_revision = "0011"

SETTLED = """
CREATE VIEW analytics.revenue_settled AS
SELECT e.account, e.livemode, e.key, e.kind, e.currency::text AS currency, e.minor,
    e.occurred_at, e.posting_date, e.effective_date, s.id AS settlement, s.created AS settled_at,
    s.category, s.currency::text AS settled_currency, s.gross AS gross_minor, s.fee AS fee_minor,
    s.net AS net_minor, s.exchange_rate
FROM revenue_entries e
LEFT JOIN settled_entries p
  ON p.account = e.account AND p.livemode = e.livemode AND p.key = e.key
LEFT JOIN settlements s
  ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement;

CREATE VIEW analytics.daily_settlements AS
SELECT account, livemode, currency::text AS currency,
    (created AT TIME ZONE (SELECT timezone FROM analytics.reporting))::date AS day, category,
    sum(gross)::bigint AS gross_minor, sum(fee)::bigint AS fee_minor,
    sum(net)::bigint AS net_minor, count(*) AS settlements
FROM settlements GROUP BY account, livemode, currency, day, category;

CREATE VIEW analytics.reconciliation_status AS
WITH latest AS (
    SELECT DISTINCT ON (account, livemode, period_start, period_end, timezone) *
    FROM reconcile_runs
    ORDER BY account, livemode, period_start, period_end, timezone, id DESC
)
SELECT r.account, r.livemode, r.period_start, r.period_end, r.timezone, c.currency, r.id AS run,
    r.at, clock_timestamp() - r.at AS age, r.source, r.verdict, r.delivered,
    c.stripe_minor, c.ledger_minor, c.unexplained_minor, c.unexplained,
    coalesce(m.status, 'open') AS month_status
FROM latest r
LEFT JOIN accounting_periods m
  ON m.account = r.account AND m.livemode = r.livemode AND m.timezone = r.timezone
 AND m.period_start = r.period_start AND m.period_end = r.period_end
LEFT JOIN LATERAL (
    SELECT currency, sum(stripe_minor)::bigint AS stripe_minor,
        sum(ledger_minor)::bigint AS ledger_minor,
        sum(unexplained_minor)::bigint AS unexplained_minor, sum(unexplained) AS unexplained
    FROM (
        SELECT t ->> 'currency' AS currency, (t ->> 'stripe')::bigint AS stripe_minor,
            (t ->> 'ledger')::bigint AS ledger_minor, 0 AS unexplained_minor, 0 AS unexplained
        FROM jsonb_array_elements(r.totals) AS t
        UNION ALL
        SELECT trim(x.currency), 0, 0, coalesce(x.stripe_minor, 0) - coalesce(x.ledger_minor, 0), 1
        FROM reconcile_results x WHERE x.run = r.id AND NOT x.explained
    ) AS each GROUP BY currency
) AS c ON true;
"""

TOLD = """
CREATE VIEW analytics.delivery_completeness AS
SELECT e.account, e.livemode, date_trunc('hour', d.created_at, 'UTC') AS hour, d.destination,
    e.name AS event, count(*) AS owed,
    count(*) FILTER (WHERE d.state = 'delivered') AS delivered,
    count(*) FILTER (WHERE d.state = 'pending') AS pending,
    count(*) FILTER (WHERE d.state = 'skipped') AS skipped,
    count(*) FILTER (WHERE d.state = 'dead') AS dead,
    round(count(*) FILTER (WHERE d.state = 'delivered')::numeric
        / nullif(count(*) FILTER (WHERE d.state <> 'skipped'), 0), 6) AS complete,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM d.finished_at - d.created_at))
        FILTER (WHERE d.state = 'delivered') AS p50_seconds,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM d.finished_at - d.created_at))
        FILTER (WHERE d.state = 'delivered') AS p95_seconds,
    min(d.created_at) FILTER (WHERE d.state = 'pending') AS oldest_pending
FROM deliveries d JOIN analytics_events e ON e.id = d.analytics_event_id
GROUP BY e.account, e.livemode, hour, d.destination, e.name;

CREATE VIEW analytics.late_webhook_events AS
SELECT account, livemode, event_id, type, created, received_at, received_at - created AS lateness,
    origin, verdict
FROM webhook_events WHERE received_at > created + interval '1 hour';
"""

# name: (severity, what a row is, its query of account, livemode, id, at, detail)
CHECKS: dict[str, tuple[str, str, str]] = {
    "currency_mismatch": (
        "error",
        "Revenue entries that were told or settled as another amount or currency than they have.",
        """
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('booked %s %s, told %s %s', e.minor, e.currency, t.minor, t.currency) AS detail
        FROM revenue_entries e JOIN analytics_events t
          ON t.account = e.account AND t.livemode = e.livemode AND t.key = e.key
        WHERE t.minor IS DISTINCT FROM e.minor OR t.currency IS DISTINCT FROM e.currency
        UNION ALL
        SELECT e.account, e.livemode, e.key, e.occurred_at,
            format('booked in %s, settled by %s in %s', e.currency, s.id, s.customer_currency)
        FROM settlements s
        JOIN settled_entries p
          ON p.account = s.account AND p.livemode = s.livemode AND p.settlement = s.id
        JOIN revenue_entries e
          ON e.account = p.account AND e.livemode = p.livemode AND e.key = p.key
        WHERE s.customer_currency <> e.currency""",
    ),
    "untold": (
        "error",
        "Revenue entries without an analytics event: no destination can know of them.",
        """
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('%s of %s %s', e.kind, e.minor, e.currency) AS detail
        FROM revenue_entries e LEFT JOIN analytics_events t
          ON t.account = e.account AND t.livemode = e.livemode AND t.key = e.key
        WHERE t.id IS NULL""",
    ),
    "duplicate_txn": (
        "error",
        "Balance transactions that more than one revenue entry claims.",
        """
        SELECT p.account, p.livemode, p.settlement AS id, min(s.created) AS at,
            string_agg(p.key, ', ' ORDER BY p.key) AS detail
        FROM settled_entries p LEFT JOIN settlements s
          ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement
        GROUP BY p.account, p.livemode, p.settlement HAVING count(*) > 1""",
    ),
    "negative_mrr": (
        "error",
        "Subscriptions worth less than nothing a month.",
        """
        SELECT account, livemode, subscription AS id, since AS at,
            format('%s %s a month', minor, currency) AS detail
        FROM subscription_mrr WHERE minor < 0""",
    ),
    "rollforward": (
        "error",
        "Months whose MRR movements do not lead from their start to their end.",
        """
        SELECT account, livemode, month || ' ' || currency AS id,
            month::timestamp AT TIME ZONE (SELECT timezone FROM analytics.reporting) AS at,
            format('%s %s apart', difference_minor, currency) AS detail
        FROM analytics.mrr_rollforward_check WHERE difference_minor <> 0""",
    ),
    "quarantined": (
        "error",
        "Webhook events that could not be processed and wait for a person.",
        """
        SELECT account, livemode, event_id AS id, created AS at, type AS detail
        FROM webhook_events WHERE verdict = 'quarantined'""",
    ),
    "null_user": (
        "warning",
        "Money told to destinations under Stripe's customer id, or to nobody, since nobody said"
        " whose it is.",
        """
        SELECT account, livemode, key AS id, occurred_at AS at, name AS detail
        FROM analytics_events
        WHERE minor IS NOT NULL AND ((identity ->> 'fallback') = 'true'
            OR (state = 'withheld' AND reason = 'no identity before the hold ended'))""",
    ),
    "orphan_refund": (
        "warning",
        "Refunds and disputes of a payment that is not in the ledger.",
        """
        SELECT account, livemode, key AS id,
            posting_date::timestamp AT TIME ZONE (SELECT timezone FROM analytics.reporting) AS at,
            format('%s of %s %s', kind, minor, currency) AS detail
        FROM analytics.revenue_allocation WHERE kind <> 'payment' AND payment_key IS NULL""",
    ),
    "unclaimed_payment": (
        "warning",
        "Payments captured more than an hour ago that no invoice and no checkout claims: no"
        " revenue yet.",
        """
        SELECT p.account, p.livemode, p.payment AS id, p.occurred_at AS at,
            format('%s %s', p.minor, p.currency) AS detail
        FROM payments p
        WHERE p.recorded_at < now() - interval '1 hour'
          AND NOT EXISTS (SELECT FROM revenue_entries e WHERE e.account = p.account
              AND e.livemode = p.livemode AND e.key = 'payment:' || p.payment)
          AND NOT EXISTS (SELECT FROM stripe_refs r JOIN revenue_entries e
              ON e.account = r.account AND e.livemode = r.livemode
                AND e.key = 'payment:' || r.parent
              WHERE r.child = p.payment AND r.account = p.account AND r.livemode = p.livemode
                AND NOT r.customer)""",
    ),
    "unknown_mrr": (
        "warning",
        "Subscriptions whose worth is not known: tiers or a discount that only an id names.",
        """
        SELECT account, livemode, subscription AS id, since AS at,
            array_to_string(missing, ', ') AS detail
        FROM subscription_mrr WHERE unknown""",
    ),
    "future_dated": (
        "warning",
        "Revenue entries that happened more than five minutes after they were booked: a clock is"
        " wrong.",
        """
        SELECT account, livemode, key AS id, occurred_at AS at,
            format('booked %s', recorded_at) AS detail
        FROM revenue_entries WHERE occurred_at > recorded_at + interval '5 minutes'""",
    ),
    "unknown_category": (
        "warning",
        "Balance transactions of a reporting category that this version does not know.",
        """
        SELECT account, livemode, id, created AS at, category AS detail FROM settlements
        WHERE category NOT IN ({known})""",
    ),
    "settlement_missing": (
        "warning",
        "Revenue entries in a reconciled period that no balance transaction was matched to, an"
        " hour and more before the run; not those known to be paid outside of Stripe.",
        """
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('%s of %s %s', e.kind, e.minor, e.currency) AS detail
        FROM revenue_entries e
        WHERE e.out_of_band IS NOT TRUE
          AND EXISTS (SELECT FROM reconcile_runs r
              WHERE r.account = e.account AND r.livemode = e.livemode
                AND e.effective_date >= r.period_start AND e.effective_date < r.period_end
                AND e.occurred_at < r.at - interval '1 hour' AND e.recorded_at < r.at)
          AND NOT EXISTS (SELECT FROM settled_entries p
              WHERE p.account = e.account AND p.livemode = e.livemode AND p.key = e.key)""",
    ),
    "unallocated": (
        "info",
        "Payments whose invoice lines are not known, so that they belong to no plan.",
        """
        SELECT account, livemode, key AS id,
            posting_date::timestamp AT TIME ZONE (SELECT timezone FROM analytics.reporting) AS at,
            format('%s %s', minor, currency) AS detail
        FROM analytics.revenue_allocation WHERE kind = 'payment' AND NOT allocated""",
    ),
}
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

SUMMARY = """
CREATE VIEW analytics.dq_summary AS
WITH checks (check_name, severity) AS (VALUES {checks}),
failing AS ({failing})
SELECT c.check_name, c.severity, f.account, f.livemode, coalesce(f.rows, 0) AS failing_rows,
    coalesce(f.ids, '{{}}') AS sample_ids, f.oldest
FROM checks c LEFT JOIN failing f USING (check_name);
"""
FAILING = """
SELECT '{name}' AS check_name, account, livemode, count(*) AS rows,
    (array_agg(id ORDER BY at, id))[1:5] AS ids, min(at) AS oldest
FROM analytics.dq_{name} GROUP BY account, livemode"""

SCOPE = {
    "account": "Connected account; empty: our own.",
    "livemode": "False for Stripe's test mode.",
}
MONEY = {
    "gross_minor": "Before fees, signed, in the settlement currency's minor unit.",
    "fee_minor": "Stripe's fees; positive is a cost.",
    "net_minor": "gross less fee.",
}
ROW = {
    **SCOPE,
    "id": "The row's id: a key of ours or Stripe's id.",
    "at": "Since when it may have been so, by Stripe's time where it has one.",
    "detail": "What is wrong with it, for people.",
}
COMMENTS: dict[str, tuple[str, dict[str, str]]] = {
    "revenue_settled": (
        "Every revenue entry with each balance transaction that reconciliations matched to it: one"
        " row each, or one without. Sum minor over distinct keys only.",
        {
            **SCOPE,
            **MONEY,
            "key": "The entry's key, payment:in_...",
            "kind": "payment, refund, refund_reversal, dispute or dispute_reversal.",
            "currency": "The entry's, lower-case ISO 4217.",
            "minor": "The entry's amount, in its currency's minor unit.",
            "occurred_at": "When it happened, by Stripe.",
            "posting_date": "The day that reports of closed months count it on.",
            "effective_date": "The day it happened, in the reporting zone.",
            "settlement": "Stripe's balance transaction, txn_...; NULL: none matched.",
            "settled_at": "When that was created.",
            "category": "Its reporting category.",
            "settled_currency": "The balance's currency.",
            "exchange_rate": "From the customer's currency to the balance's.",
        },
    ),
    "daily_settlements": (
        "Stripe's balance transactions by day and category, as far as reconciliations read them:"
        " fees and net are here.",
        {
            **SCOPE,
            **MONEY,
            "currency": "The balance's currency, lower-case ISO 4217.",
            "day": "When they were created, in the reporting zone.",
            "category": "Stripe's reporting category.",
            "settlements": "How many.",
        },
    ),
    "reconciliation_status": (
        "The last reconciliation of each period, by currency; a period without any money has one"
        " row without a currency.",
        {
            **SCOPE,
            "period_start": "First day.",
            "period_end": "The day after the last.",
            "timezone": "The zone of these days.",
            "currency": "Lower-case ISO 4217.",
            "run": "Its number.",
            "at": "When it ran.",
            "age": "How long ago that is.",
            "source": "Where Stripe's side came from: api or csv.",
            "verdict": "Of Stripe against the ledger, all currencies: clean, differences or"
            " incomplete.",
            "delivered": "True: the ledger and every destination agreed.",
            "stripe_minor": "Stripe's payments, refunds and disputes, in minor units.",
            "ledger_minor": "The ledger's.",
            "unexplained_minor": "Stripe's less the ledger's of what has no explanation.",
            "unexplained": "How many results have none.",
            "month_status": "closed or open, where the period is a month of finance's.",
        },
    ),
    "delivery_completeness": (
        "What was owed to each destination, by the hour, and what became of it.",
        {
            **SCOPE,
            "hour": "UTC clock hour in which it was owed, holds for identity being over.",
            "destination": "Its name in the settings, in lower case.",
            "event": "Name of the analytics event.",
            "owed": "Deliveries.",
            "delivered": "Those that the destination took.",
            "pending": "Those still on their way.",
            "skipped": "Those that were not to be sent: consent, no id, too old, erased.",
            "dead": "Those that wait for a person.",
            "complete": "delivered / (owed - skipped), as a part of 1.",
            "p50_seconds": "From owed to delivered: the median.",
            "p95_seconds": "From owed to delivered: 95 % took no longer.",
            "oldest_pending": "When the oldest that is still on its way was owed.",
        },
    ),
    "late_webhook_events": (
        "Webhook events kept more than an hour after Stripe created them.",
        {
            **SCOPE,
            "event_id": "Stripe's id, evt_...",
            "type": "Stripe's type.",
            "created": "When Stripe created it.",
            "received_at": "When it was kept.",
            "lateness": "The time between.",
            "origin": "webhook: Stripe was late, or resent it; gap or backfill: fetched by us.",
            "verdict": "What became of it.",
        },
    ),
    "dq_summary": (
        "Every check of the data, by account and mode where it fails; one row of 0 where it does"
        " not.",
        {
            "check_name": "Its rows are in the view dq_<check_name>.",
            "severity": "error: a number is wrong; warning: look at it; info.",
            "account": "Connected account; empty: our own; NULL where nothing fails.",
            "livemode": "False for Stripe's test mode; NULL where nothing fails.",
            "failing_rows": "How many.",
            "sample_ids": "The oldest five.",
            "oldest": "Since when.",
        },
    ),
    **{f"dq_{name}": (what, ROW) for name, (_, what, _) in CHECKS.items()},
}


def upgrade() -> None:
    known = ", ".join(f"'{one}'" for one in KNOWN)
    for part in (SETTLED, TOLD):
        op.execute(part)
    for name, (_, _, query) in CHECKS.items():
        op.execute(f"CREATE VIEW analytics.dq_{name} AS {query.replace('{known}', known)}")
    checks = ", ".join(f"('{name}', '{severity}')" for name, (severity, _, _) in CHECKS.items())
    failing = " UNION ALL ".join(FAILING.format(name=name) for name in CHECKS)
    op.execute(SUMMARY.format(checks=checks, failing=failing))
    for view, (what, columns) in COMMENTS.items():
        op.execute(f"COMMENT ON VIEW analytics.{view} IS {_quoted(what)}")
        for column, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN analytics.{view}.{column} IS {_quoted(meaning)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
