"""Corrections: entries that undo or put right another one, and how views and checks count them."""

from alembic import op

revision = "0013"
down_revision = "0012"

LEDGER = """
-- corrects: the key of the entry that this one corrects.
ALTER TABLE revenue_entries ADD COLUMN corrects text,
    ADD CONSTRAINT revenue_entries_corrects CHECK ((kind = 'correction') = (corrects IS NOT NULL));
CREATE INDEX revenue_entries_corrected ON revenue_entries (account, livemode, corrects)
    WHERE corrects IS NOT NULL;
-- Entries of whose amount and currency corrections leave nothing.
CREATE VIEW undone_entries AS
SELECT e.account, e.livemode, e.key
FROM revenue_entries c JOIN revenue_entries e
  ON e.account = c.account AND e.livemode = c.livemode AND e.key = c.corrects
 AND e.currency = c.currency
WHERE c.corrects IS NOT NULL
GROUP BY e.account, e.livemode, e.key, e.minor HAVING sum(c.minor) = -e.minor;
"""

# What follows is as in 0008 and 0012, but for corrections: their column comes last.
TAX = """coalesce(e.tax_minor, (
        SELECT t.tax_minor FROM analytics_events t
        WHERE t.account = e.account AND t.livemode = e.livemode AND t.key = e.key))"""

REVENUE = """
CREATE OR REPLACE VIEW analytics.revenue AS
SELECT e.account, e.livemode, e.key, e.kind, e.currency::text AS currency, e.minor,
    coalesce(e.tax_minor, t.tax_minor) AS tax_minor, e.discount_minor,
    e.customer, t.identity -> 'ids' ->> 'user_id' AS user_id,
    e.subscription, e.invoice, e.payment_intent, e.charge, e.refund, e.dispute, e.out_of_band,
    e.occurred_at, e.effective_date, e.posting_date, e.posting_date <> e.effective_date AS late,
    e.recorded_at, e.origin,
    coalesce(nullif(t.properties ->> 'utm_source', ''), '(none)') AS utm_source,
    coalesce(nullif(t.properties ->> 'utm_medium', ''), '(none)') AS utm_medium,
    coalesce(nullif(t.properties ->> 'utm_campaign', ''), '(none)') AS utm_campaign,
    coalesce(nullif(t.properties ->> 'landing_page', ''), '(none)') AS landing_page,
    e.corrects
FROM revenue_entries e LEFT JOIN analytics_events t
  ON t.account = e.account AND t.livemode = e.livemode AND t.key = e.key;
"""

CORRECTIONS = """coalesce(sum(minor) FILTER (WHERE kind = 'correction'), 0)::bigint
        AS corrections_minor"""
DAILY = f"""
CREATE OR REPLACE VIEW analytics.{{name}} AS
SELECT account, livemode, currency, {{date}},
    coalesce(sum(minor) FILTER (WHERE kind = 'payment'), 0)::bigint AS payments_minor,
    coalesce(sum(minor) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunds_minor,
    coalesce(sum(minor) FILTER (WHERE kind = 'refund_reversal'), 0)::bigint
        AS refund_reversals_minor,
    coalesce(sum(minor) FILTER (WHERE kind = 'dispute'), 0)::bigint AS disputes_minor,
    coalesce(sum(minor) FILTER (WHERE kind = 'dispute_reversal'), 0)::bigint
        AS dispute_reversals_minor,
    sum(minor)::bigint AS net_minor,
    coalesce(sum(tax), 0)::bigint AS tax_minor,
    (sum(minor) - coalesce(sum(tax), 0))::bigint AS net_of_tax_minor,
    count(*) FILTER (WHERE kind = 'payment') AS payments,
    count(*) FILTER (WHERE kind = 'refund') AS refunds,
    count(*) FILTER (WHERE kind = 'dispute') AS disputes,
    count(*) AS entries,
    count(*) FILTER (WHERE posting_date <> effective_date) AS late_entries,
    {CORRECTIONS}
FROM (
    SELECT e.account, e.livemode, e.currency::text AS currency, e.posting_date, e.effective_date,
        e.kind, e.minor, {TAX} AS tax
    FROM revenue_entries e
) AS e
GROUP BY account, livemode, currency, {{date}};
"""

# A correction of a payment is split like that payment; one of a refund or dispute like the payment
# that this takes back.
ALLOCATION = """
CREATE OR REPLACE VIEW analytics.revenue_allocation AS
SELECT e.account, e.livemode, e.key, e.kind, e.currency::text AS currency, e.posting_date,
    e.effective_date, of.key AS payment_key, part.line IS NOT NULL AS allocated,
    part.line,
    CASE WHEN part.line IS NULL THEN 'unallocated'
        ELSE coalesce(part.item ->> 'price_id', '(none)') END AS price,
    CASE WHEN part.line IS NULL THEN 'unallocated'
        ELSE coalesce(part.item ->> 'product_id', '(none)') END AS product,
    (part.item ->> 'quantity')::numeric AS quantity,
    coalesce((part.item ->> 'proration')::boolean, false) AS proration,
    coalesce(part.minor, e.minor) AS minor
FROM revenue_entries e
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.kind = 'payment' THEN e.key
        WHEN e.corrects LIKE 'payment:%' THEN e.corrects ELSE (
        WITH RECURSIVE way AS (
            SELECT unnest(ARRAY[e.payment_intent, e.charge, e.invoice]) AS id
            UNION
            SELECT r.parent FROM way JOIN stripe_refs r ON r.child = way.id
            WHERE NOT r.customer AND r.account = e.account AND r.livemode = e.livemode
        )
        SELECT min(p.key) FROM way JOIN revenue_entries p
          ON p.account = e.account AND p.livemode = e.livemode AND p.key = 'payment:' || way.id
    ) END AS key OFFSET 0
) AS of
CROSS JOIN LATERAL (
    SELECT (
        SELECT CASE
            WHEN t.properties ? 'items_truncated' THEN NULL
            WHEN t.properties ? 'items' THEN t.properties -> 'items'
            WHEN t.properties ? 'price_id' THEN jsonb_build_array(jsonb_build_object(
                'price_id', t.properties -> 'price_id',
                'product_id', t.properties -> 'product_id', 'amount', 1))
        END
        FROM analytics_events t
        WHERE t.account = e.account AND t.livemode = e.livemode AND t.key = of.key
    ) AS items OFFSET 0
) AS has
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN jsonb_array_length(has.items) = 1 AND (has.items -> 0 ->> 'amount')::numeric > 0
            THEN ARRAY[e.minor]
        WHEN has.items IS NOT NULL THEN analytics.split(e.minor, ARRAY(
            SELECT coalesce((one ->> 'amount')::numeric, 0)
            FROM jsonb_array_elements(has.items) AS one))
    END AS minors OFFSET 0
) AS shares
LEFT JOIN LATERAL (
    SELECT i.line::integer AS line, i.item, shares.minors[i.line] AS minor
    FROM jsonb_array_elements(has.items) WITH ORDINALITY AS i (item, line)
    WHERE shares.minors IS NOT NULL
) AS part ON true;
"""

PARTS = f"""
    coalesce(sum(minor) FILTER (WHERE kind = 'payment'), 0)::bigint AS payments_minor,
    coalesce(sum(minor) FILTER (WHERE kind LIKE 'refund%'), 0)::bigint AS refunds_minor,
    coalesce(sum(minor) FILTER (WHERE kind LIKE 'dispute%'), 0)::bigint AS disputes_minor,
    sum(minor)::bigint AS net_minor,
    count({{distinct}}) AS entries,
    {CORRECTIONS}
"""
SCOPE = "account, livemode, currency, posting_date, effective_date"
BY = f"""
CREATE OR REPLACE VIEW analytics.revenue_by_plan AS
SELECT {SCOPE}, price, product, {PARTS.format(distinct="DISTINCT key")}
FROM analytics.revenue_allocation GROUP BY {SCOPE}, price, product;
CREATE OR REPLACE VIEW analytics.revenue_by_channel AS
SELECT {SCOPE}, utm_source, utm_medium, utm_campaign, {PARTS.format(distinct="*")}
FROM analytics.revenue GROUP BY {SCOPE}, utm_source, utm_medium, utm_campaign;
CREATE OR REPLACE VIEW analytics.revenue_by_landing_page AS
SELECT {SCOPE}, landing_page, {PARTS.format(distinct="*")}
FROM analytics.revenue GROUP BY {SCOPE}, landing_page;
"""

# Of an entry `e` or a pair `p` of one: what was undone is no defect any more.
STANDS = """NOT EXISTS (SELECT FROM undone_entries u WHERE u.account = {0}.account
            AND u.livemode = {0}.livemode AND u.key = {0}.key)"""
CHECKS = {
    "currency_mismatch": f"""
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
        WHERE s.customer_currency <> e.currency AND {STANDS.format("e")}""",
    "duplicate_txn": f"""
        SELECT p.account, p.livemode, p.settlement AS id, min(s.created) AS at,
            string_agg(p.key, ', ' ORDER BY p.key) AS detail
        FROM settled_entries p LEFT JOIN settlements s
          ON s.account = p.account AND s.livemode = p.livemode AND s.id = p.settlement
        WHERE {STANDS.format("p")}
        GROUP BY p.account, p.livemode, p.settlement HAVING count(*) > 1""",
    "orphan_refund": """
        SELECT account, livemode, key AS id,
            posting_date::timestamp AT TIME ZONE (SELECT timezone FROM analytics.reporting) AS at,
            format('%s of %s %s', kind, minor, currency) AS detail
        FROM analytics.revenue_allocation
        WHERE kind NOT IN ('payment', 'correction') AND payment_key IS NULL""",
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
}

KIND = "payment, refund, refund_reversal, dispute, dispute_reversal or correction."
SUM = "Sum of corrections of whatever kind of entry, signed."
NET = "All together: payments, refunds, disputes and corrections. Stripe's fees are not in it."
COMMENTS: dict[str, dict[str, str]] = {
    "revenue": {
        "kind": KIND,
        "origin": "How it came: webhook, gap, backfill, or manual: corrected by hand.",
        "corrects": "Of a correction: the key of the entry that it corrects.",
    },
    "revenue_allocation": {
        "kind": KIND,
        "payment_key": "The payment whose lines are used, of a correction the one that it corrects;"
        " NULL: not known.",
    },
    "revenue_settled": {
        "kind": f"{KIND} A correction moves no money at Stripe, so it has no settlement.",
    },
    **{
        view: {"corrections_minor": SUM, "net_minor": NET}
        for view in (
            *("daily_revenue", "daily_revenue_restated", "revenue_by_plan"),
            *("revenue_by_channel", "revenue_by_landing_page"),
        )
    },
}
VIEWS = {
    "dq_duplicate_txn": "Balance transactions that more than one revenue entry claims, of those"
    " that corrections did not undo.",
    "dq_settlement_missing": "Revenue entries in a reconciled period that no balance transaction"
    " was matched to, an hour and more before the run; not those known to be paid outside of"
    " Stripe, and none that corrections undid.",
}


def upgrade() -> None:
    daily = [
        DAILY.format(name="daily_revenue", date="posting_date"),
        DAILY.format(name="daily_revenue_restated", date="effective_date"),
    ]
    for part in (LEDGER, REVENUE, *daily, ALLOCATION, BY):
        op.execute(part)
    for name, query in CHECKS.items():
        op.execute(f"CREATE OR REPLACE VIEW analytics.dq_{name} AS {query}")
    for view, columns in COMMENTS.items():
        for column, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN analytics.{view}.{column} IS {_quoted(meaning)}")
    for view, what in VIEWS.items():
        op.execute(f"COMMENT ON VIEW analytics.{view} IS {_quoted(what)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
