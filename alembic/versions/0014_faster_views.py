"""Faster views: MRR from the steps that changed something, checks that look only for what they say.
The same columns and the same values."""

from alembic import op

revision = "0014"
down_revision = "0013"

# Most of what Stripe says of a subscription changes nothing of its worth: a renewal is two
# statements. What repeats is left out before anything is sorted again. The windows begin with the
# customer, so that subscription_states_customer gives their order, and share it.
STEPS = """
CREATE OR REPLACE VIEW subscription_steps AS
SELECT s.account, s.livemode, s.subscription, s.customer, s.currency, s.status, step.churn,
    s.missing, step.at, step.minor, s.repeats
FROM (
    SELECT account, livemode, subscription, customer, currency, status, missing, stated_at, minor,
        discount_ends_at, minor_after,
        -- An end that says no reason, of one that was not being paid, is for that.
        coalesce(churn, CASE WHEN lag(status) OVER of_subscription IN ('past_due', 'unpaid')
            THEN 'involuntary' END) AS churn,
        lead(stated_at) OVER of_subscription AS next_at,
        lag(stated_at) OVER of_subscription IS NOT NULL
            AND minor IS NOT DISTINCT FROM lag(minor) OVER of_subscription
            AND currency IS NOT DISTINCT FROM lag(currency) OVER of_subscription
            AND discount_ends_at IS NULL
            AND lag(discount_ends_at) OVER of_subscription IS NULL AS repeats
    FROM subscription_states
    WINDOW of_subscription AS (
        PARTITION BY customer, subscription, account, livemode ORDER BY stated_at)
) AS s
CROSS JOIN LATERAL (
    SELECT s.churn, s.stated_at AS at, s.minor
    UNION ALL
    SELECT NULL, s.discount_ends_at, s.minor_after
    WHERE s.discount_ends_at <= now() AND (s.next_at IS NULL OR s.discount_ends_at < s.next_at)
) AS step;

CREATE VIEW subscription_changes AS
SELECT account, livemode, customer, currency, subscription, at, churn, minor, change,
    unknown_change
FROM (
    SELECT account, livemode, customer, currency, subscription, at, churn, minor,
        coalesce(minor, 0) - lag(coalesce(minor, 0), 1, 0::bigint) OVER of_subscription AS change,
        (minor IS NULL)::int - lag((minor IS NULL)::int, 1, 0) OVER of_subscription
            AS unknown_change
    FROM subscription_steps WHERE NOT repeats
    WINDOW of_subscription AS (
        PARTITION BY customer, subscription, account, livemode, currency ORDER BY at)
) AS steps
WHERE change <> 0 OR unknown_change <> 0;

-- The last statement of each subscription, found by hashing and not by sorting them all.
CREATE OR REPLACE VIEW subscription_mrr AS
SELECT s.account, s.livemode, s.subscription, s.customer, s.currency, s.status,
    CASE WHEN ended THEN s.discount_ends_at ELSE s.stated_at END AS since,
    CASE WHEN ended THEN s.minor_after ELSE s.minor END AS minor,
    CASE WHEN ended THEN s.minor_after ELSE s.minor END IS NULL AS unknown,
    s.missing
FROM (
    SELECT account, livemode, subscription, max(stated_at) AS stated_at
    FROM subscription_states GROUP BY account, livemode, subscription
) AS newest
JOIN subscription_states s USING (account, livemode, subscription, stated_at)
CROSS JOIN LATERAL (
    SELECT coalesce(s.discount_ends_at <= now() AND s.discount_ends_at > s.stated_at, false)
        AS ended
) AS discount;
"""

# Movements and month ends as in 0011, but of changes alone: what changes nothing moves nothing.
# In parts, since the roll-forward and retention need both and read the changes once for them.
HISTORY = """
hours AS (
    SELECT account, livemode, customer, currency, date_trunc('hour', at, 'UTC') AS hour,
        sum(change)::bigint AS change, sum(unknown_change) AS unknown_change,
        (array_agg(churn ORDER BY at DESC, subscription)
            FILTER (WHERE change < 0 AND coalesce(minor, 0) = 0))[1] AS churn
    FROM {changes} GROUP BY account, livemode, customer, currency, hour
), totals AS (
    SELECT account, livemode, customer, currency, hour, change, unknown_change, churn,
        sum(change) OVER of_customer AS after,
        sum(unknown_change) OVER of_customer AS unknown_after
    FROM hours
    WINDOW of_customer AS (PARTITION BY customer, account, livemode, currency ORDER BY hour)
), history AS (
    SELECT t.*, after - change AS before, unknown_after - unknown_change AS unknown_before,
        coalesce(bool_or(after > 0 OR unknown_after > 0) OVER (
            PARTITION BY customer, account, livemode, currency ORDER BY hour
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS paid_earlier
    FROM totals t
)"""
MOVEMENTS = """
SELECT account, livemode, customer, currency, hour AS at,
    CASE
        WHEN unknown_before > 0 OR unknown_after > 0 THEN 'unknown'
        WHEN before = 0 AND paid_earlier THEN 'reactivation'
        WHEN before = 0 THEN 'new'
        WHEN after = 0 AND churn = 'involuntary' THEN 'churn_involuntary'
        WHEN after = 0 THEN 'churn_voluntary'
        WHEN change > 0 THEN 'expansion'
        ELSE 'contraction'
    END AS movement,
    CASE WHEN unknown_before = 0 AND unknown_after = 0 THEN change END AS minor,
    unknown_before > 0 OR unknown_after > 0 AS unknown,
    change AS known_change,
    (after > 0 OR unknown_after > 0)::int - (before > 0 OR unknown_before > 0)::int
        AS customers_change,
    (unknown_after > 0)::int - (unknown_before > 0)::int AS unknown_customers_change
FROM history
WHERE change <> 0 OR unknown_change <> 0"""

# From what each subscription was worth, from change to change, and from no movement.
TODAY = "(now() AT TIME ZONE (SELECT timezone FROM analytics.reporting))"
SPANS = """
spans AS (
    SELECT account, livemode, currency, customer, minor,
        date_trunc('month', date_trunc('hour', at, 'UTC')
            AT TIME ZONE (SELECT timezone FROM analytics.reporting)) AS first,
        date_trunc('month', date_trunc('hour', lead(at) OVER of_subscription, 'UTC')
            AT TIME ZONE (SELECT timezone FROM analytics.reporting)) AS next
    FROM {changes}
    WINDOW of_subscription AS (
        PARTITION BY customer, subscription, account, livemode, currency ORDER BY at)
)"""
BY_CUSTOMER = f"""
SELECT account, livemode, coalesce(currency, '') AS currency, coalesce(customer, '') AS customer,
    month::date AS month, coalesce(sum(minor), 0)::bigint AS mrr_minor,
    bool_or(minor IS NULL) AS unknown
FROM spans CROSS JOIN LATERAL generate_series(first,
    coalesce(next - interval '1 month', date_trunc('month', {TODAY})), interval '1 month') AS month
WHERE minor <> 0 OR minor IS NULL
GROUP BY customer, account, livemode, currency, month"""

KINDS = (
    *("new", "reactivation", "expansion", "contraction", "churn_voluntary", "churn_involuntary"),
    "unknown",
)
SUMS = ",\n        ".join(
    f"coalesce(sum(known_change) FILTER (WHERE movement = '{kind}'), 0)::bigint AS {kind}_minor"
    for kind in KINDS
)
SHOWN = ",\n    ".join(f"coalesce(m.{kind}_minor, 0) AS {kind}_minor" for kind in KINDS)
MONTHS = f"""
changes AS MATERIALIZED (SELECT * FROM subscription_changes),
{HISTORY.format(changes="changes")},
movements AS ({MOVEMENTS}),
moved AS (
    SELECT account, livemode, coalesce(currency, '') AS currency,
        date_trunc('month', at AT TIME ZONE (SELECT timezone FROM analytics.reporting))::date
            AS month,
        {SUMS}
    FROM movements GROUP BY 1, 2, 3, 4
),
{SPANS.format(changes="changes")},
by_customer AS ({BY_CUSTOMER}),
ends AS MATERIALIZED (
    SELECT account, livemode, currency, month, sum(mrr_minor)::bigint AS minor,
        count(*) AS customers, count(*) FILTER (WHERE unknown) AS unknown_customers
    FROM by_customer GROUP BY account, livemode, currency, month
), months AS (
    SELECT account, livemode, currency, generate_series(min(month)::timestamp,
        date_trunc('month', {TODAY}), interval '1 month')::date AS month
    FROM moved GROUP BY account, livemode, currency
)"""
ROLLFORWARD = f"""
SELECT account, livemode, currency, month,
    lag(coalesce(e.minor, 0), 1, 0::bigint) OVER before AS start_minor,
    {SHOWN},
    coalesce(e.minor, 0) AS end_minor,
    lag(coalesce(e.customers, 0), 1, 0::bigint) OVER before AS start_customers,
    coalesce(e.customers, 0) AS end_customers,
    coalesce(e.unknown_customers, 0) AS unknown_customers,
    month < date_trunc('month', {TODAY})::date AS complete
FROM months
LEFT JOIN moved m USING (account, livemode, currency, month)
LEFT JOIN ends e USING (account, livemode, currency, month)
WINDOW before AS (PARTITION BY account, livemode, currency ORDER BY month)"""

# Customers who paid when the month began, compared with what they pay when it ends. Those of
# unknown worth at either end are left out of both.
RETENTION = f"""
WITH {MONTHS}, rollforward AS ({ROLLFORWARD}),
both_ends AS (
    SELECT account, livemode, currency, (month + interval '1 month')::date AS month, unknown,
        mrr_minor AS started,
        CASE WHEN lead(month) OVER w = month + interval '1 month'
            THEN lead(mrr_minor) OVER w END AS kept,
        lead(month) OVER w = month + interval '1 month' AND lead(unknown) OVER w AS unknown_after
    FROM by_customer
    WINDOW w AS (PARTITION BY customer, account, livemode, currency ORDER BY month)
), cohort AS MATERIALIZED (
    SELECT account, livemode, currency, month, sum(started) AS started,
        coalesce(sum(kept), 0) AS kept,
        sum(least(started, coalesce(kept, 0))) AS kept_at_most,
        count(*) AS customers, count(*) FILTER (WHERE kept IS NULL) AS lost
    FROM both_ends WHERE NOT unknown AND unknown_after IS NOT TRUE
    GROUP BY account, livemode, currency, month
)
SELECT r.account, r.livemode, r.currency, r.month, r.start_minor, r.end_minor,
    coalesce(c.customers, 0) AS cohort_customers, coalesce(c.lost, 0) AS lost_customers,
    r.end_customers, r.unknown_customers,
    round(-(r.contraction_minor + r.churn_voluntary_minor + r.churn_involuntary_minor)::numeric
        / nullif(r.start_minor, 0), 6) AS gross_mrr_churn,
    round(-(r.contraction_minor + r.churn_voluntary_minor + r.churn_involuntary_minor
        + r.expansion_minor + r.reactivation_minor)::numeric
        / nullif(r.start_minor, 0), 6) AS net_mrr_churn,
    round(c.kept / nullif(c.started, 0), 6) AS net_revenue_retention,
    round(c.kept_at_most / nullif(c.started, 0), 6) AS gross_revenue_retention,
    round(c.lost::numeric / nullif(c.customers, 0), 6) AS customer_churn,
    round(r.end_minor::numeric / nullif(r.end_customers - r.unknown_customers, 0), 2)
        AS arpa_minor,
    round(r.end_minor::numeric / nullif(r.end_customers - r.unknown_customers, 0)
        / nullif(c.lost::numeric / nullif(c.customers, 0), 0), 2) AS ltv_minor,
    round((r.new_minor + r.reactivation_minor + r.expansion_minor)::numeric
        / nullif(-(r.contraction_minor + r.churn_voluntary_minor + r.churn_involuntary_minor), 0),
        6) AS quick_ratio,
    r.complete
FROM rollforward r
LEFT JOIN cohort c ON c.account = r.account AND c.livemode = r.livemode
 AND c.currency = r.currency AND c.month = r.month
"""
RECURRING = {
    "mrr_movements": f"WITH {HISTORY.format(changes='subscription_changes')}{MOVEMENTS}",
    "analytics.mrr_monthly_by_customer": (
        f"WITH {SPANS.format(changes='subscription_changes')}{BY_CUSTOMER}"
    ),
    "analytics.mrr_rollforward": f"WITH {MONTHS}{ROLLFORWARD}",
    "analytics.retention_monthly": RETENTION,
}

# As in 0012 and 0013. What corrections undid is looked up in a hash, whatever the planner thinks
# of how few there are; NOT EXISTS looked through all of them for each row.
STANDS = """({0}.account, {0}.livemode, {0}.key) NOT IN (
            SELECT account, livemode, key FROM undone_entries)"""
CHECKS = {
    # Of what differs the planner thinks that it is nearly everything; of an equation, that it is
    # little, so that several processes look for it.
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
        JOIN settled_entries p
          ON p.account = s.account AND p.livemode = s.livemode AND p.settlement = s.id
        JOIN revenue_entries e
          ON e.account = p.account AND e.livemode = p.livemode AND e.key = p.key
        WHERE s.customer_currency <> e.currency AND {STANDS.format("e")}""",
    "untold": """
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('%s of %s %s', e.kind, e.minor, e.currency) AS detail
        FROM revenue_entries e
        WHERE NOT EXISTS (SELECT FROM analytics_events t WHERE t.account = e.account
            AND t.livemode = e.livemode AND t.key = e.key)""",
    "duplicate_txn": f"""
        SELECT p.account, p.livemode, p.settlement AS id, s.created AS at, p.keys AS detail
        FROM (
            SELECT p.account, p.livemode, p.settlement,
                string_agg(p.key, ', ' ORDER BY p.key) AS keys
            FROM settled_entries p
            WHERE {STANDS.format("p")}
            GROUP BY p.account, p.livemode, p.settlement HAVING count(*) > 1
        ) AS p
        LEFT JOIN settlements s
          ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement""",
    "settlement_missing": f"""
        SELECT e.account, e.livemode, e.key AS id, e.occurred_at AS at,
            format('%s of %s %s', e.kind, e.minor, e.currency) AS detail
        FROM revenue_entries e
        WHERE e.out_of_band IS NOT TRUE AND e.kind <> 'correction'
          AND EXISTS (SELECT FROM reconcile_runs r
              WHERE r.account = e.account AND r.livemode = e.livemode
                AND e.effective_date >= r.period_start AND e.effective_date < r.period_end
                AND e.occurred_at < r.at - interval '1 hour' AND e.recorded_at < r.at)
          AND NOT EXISTS (SELECT FROM settled_entries p
              WHERE p.account = e.account AND p.livemode = e.livemode AND p.key = e.key)
          AND {STANDS.format("e")}""",
    # Without splitting anything: revenue_allocation's rule is that lines of a positive sum do it.
    # Asked of each analytics event where it is read, so that no properties go through the join.
    "unallocated": """
        WITH lines AS MATERIALIZED (
            SELECT t.account, t.livemode, t.key FROM analytics_events t
            WHERE CASE
                WHEN t.properties ? 'items_truncated' THEN false
                WHEN t.properties ? 'items' THEN (
                    SELECT sum((one ->> 'amount')::numeric) > 0
                    FROM jsonb_array_elements(t.properties -> 'items') AS one)
                ELSE t.properties ? 'price_id' END
        )
        SELECT e.account, e.livemode, e.key AS id, e.posting_date::timestamp
                AT TIME ZONE (SELECT timezone FROM analytics.reporting) AS at,
            format('%s %s', e.minor, e.currency::text) AS detail
        FROM revenue_entries e
        WHERE e.kind = 'payment' AND NOT EXISTS (SELECT FROM lines
            WHERE lines.account = e.account AND lines.livemode = e.livemode
              AND lines.key = e.key)""",
}

ADDED = {
    "VIEW subscription_changes": "Those of subscription_steps that changed what the subscription"
    " is worth.",
    "COLUMN subscription_steps.repeats": "True: worth what the statement before said, in the same"
    " currency, and no discount of either ends.",
    "COLUMN subscription_changes.account": "Connected account; empty: our own.",
    "COLUMN subscription_changes.livemode": "False for Stripe's test mode.",
    "COLUMN subscription_changes.customer": "Stripe's id, cus_...",
    "COLUMN subscription_changes.currency": "Lower-case ISO 4217; amounts of two are never mixed.",
    "COLUMN subscription_changes.subscription": "Stripe's id, sub_...",
    "COLUMN subscription_changes.at": "When Stripe said it, or the discount ran out.",
    "COLUMN subscription_changes.churn": "voluntary or involuntary, where an ended subscription"
    " says why.",
    "COLUMN subscription_changes.minor": "A month, from then on, in the currency's minor unit."
    " NULL: unknown.",
    "COLUMN subscription_changes.change": "By how much what is known of it changed.",
    "COLUMN subscription_changes.unknown_change": "1: it became unknown; -1: known.",
}


def upgrade() -> None:
    op.execute(STEPS)
    for view, query in RECURRING.items():
        op.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")
    for name, query in CHECKS.items():
        op.execute(f"CREATE OR REPLACE VIEW analytics.dq_{name} AS {query}")
    for what, meaning in ADDED.items():
        op.execute(f"COMMENT ON {what} IS {_quoted(meaning)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
