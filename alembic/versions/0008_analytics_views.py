"""Views for analysts and finance, in a schema of their own: the ledger's money by day, plan and
channel. Their names and columns are kept; docs/finance.md says how to read them."""

from alembic import op

revision = "0008"
down_revision = "0007"

# major() repeats the table of app/core/money.py, split() the rule of revenue_allocation; tests
# hold both to Python's.
GROUND = """
CREATE SCHEMA analytics;
-- The zone in which views count days and months; `bridge migrate` writes it.
CREATE TABLE reporting_zone (
    only_row boolean NOT NULL DEFAULT true CHECK (only_row),
    timezone text NOT NULL,
    CONSTRAINT reporting_zone_pkey PRIMARY KEY (only_row)
);
CREATE VIEW analytics.reporting AS
SELECT coalesce((SELECT timezone FROM reporting_zone), 'UTC') AS timezone;

CREATE FUNCTION analytics.major(minor numeric, currency text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE
    WHEN currency IN ('bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'vnd',
        'vuv', 'xaf', 'xof', 'xpf') THEN minor
    WHEN currency IN ('bhd', 'jod', 'kwd', 'omr', 'tnd') THEN minor * 0.001
    ELSE minor * 0.01
END;

-- |minor| by weight, every part rounded down; the units that are left go to the largest remainders,
-- the first of equals first. So the parts of -n are those of n, negated.
CREATE FUNCTION analytics.split(minor bigint, weights numeric[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    WITH whole AS (SELECT sum(w) AS weight FROM unnest(weights) AS w),
    exact AS (
        SELECT line, abs(minor) * w AS share, weight,
            mod(mod(abs(minor) * w, weight) + weight, weight) AS remainder
        FROM unnest(weights) WITH ORDINALITY AS u (w, line), whole
        WHERE weight > 0
    ), floors AS (
        SELECT line, remainder, div(share - remainder, weight) AS part FROM exact
    ), ranked AS (
        SELECT line, part, row_number() OVER (ORDER BY remainder DESC, line)
            <= abs(minor) - sum(part) OVER () AS one_more
        FROM floors
    )
    SELECT array_agg((sign(minor) * (part + one_more::int))::bigint ORDER BY line) FROM ranked
$$;
"""

# A refund or dispute says its own tax only in what was told of it. Few entries ask.
TAX = """coalesce(e.tax_minor, (
        SELECT t.tax_minor FROM analytics_events t
        WHERE t.account = e.account AND t.livemode = e.livemode AND t.key = e.key))"""

REVENUE = """
CREATE VIEW analytics.revenue AS
SELECT e.account, e.livemode, e.key, e.kind, e.currency::text AS currency, e.minor,
    coalesce(e.tax_minor, t.tax_minor) AS tax_minor, e.discount_minor,
    e.customer, t.identity -> 'ids' ->> 'user_id' AS user_id,
    e.subscription, e.invoice, e.payment_intent, e.charge, e.refund, e.dispute, e.out_of_band,
    e.occurred_at, e.effective_date, e.posting_date, e.posting_date <> e.effective_date AS late,
    e.recorded_at, e.origin,
    coalesce(nullif(t.properties ->> 'utm_source', ''), '(none)') AS utm_source,
    coalesce(nullif(t.properties ->> 'utm_medium', ''), '(none)') AS utm_medium,
    coalesce(nullif(t.properties ->> 'utm_campaign', ''), '(none)') AS utm_campaign,
    coalesce(nullif(t.properties ->> 'landing_page', ''), '(none)') AS landing_page
FROM revenue_entries e LEFT JOIN analytics_events t
  ON t.account = e.account AND t.livemode = e.livemode AND t.key = e.key;
"""

DAILY = f"""
CREATE VIEW analytics.{{name}} AS
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
    count(*) FILTER (WHERE posting_date <> effective_date) AS late_entries
FROM (
    SELECT e.account, e.livemode, e.currency::text AS currency, e.posting_date, e.effective_date,
        e.kind, e.minor, {TAX} AS tax
    FROM revenue_entries e
) AS e
GROUP BY account, livemode, currency, {{date}};
"""

# What takes money back is split like the payment that it takes back, found by Stripe's ids.
# OFFSET 0 keeps each step apart: once per entry, by index, and not all events hashed for a month's.
ALLOCATION = """
CREATE VIEW analytics.revenue_allocation AS
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
    SELECT CASE WHEN e.kind = 'payment' THEN e.key ELSE (
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

# A view over another view's rows, summed: by both dates, of which a reader takes one.
PARTS = """
    coalesce(sum(minor) FILTER (WHERE kind = 'payment'), 0)::bigint AS payments_minor,
    coalesce(sum(minor) FILTER (WHERE kind LIKE 'refund%'), 0)::bigint AS refunds_minor,
    coalesce(sum(minor) FILTER (WHERE kind LIKE 'dispute%'), 0)::bigint AS disputes_minor,
    sum(minor)::bigint AS net_minor,
    count(DISTINCT key) AS entries
"""
SCOPE = "account, livemode, currency, posting_date, effective_date"
BY = f"""
CREATE VIEW analytics.revenue_by_plan AS
SELECT {SCOPE}, price, product, {PARTS}
FROM analytics.revenue_allocation GROUP BY {SCOPE}, price, product;
CREATE VIEW analytics.revenue_by_channel AS
SELECT {SCOPE}, utm_source, utm_medium, utm_campaign, {PARTS.replace("DISTINCT key", "*")}
FROM analytics.revenue GROUP BY {SCOPE}, utm_source, utm_medium, utm_campaign;
CREATE VIEW analytics.revenue_by_landing_page AS
SELECT {SCOPE}, landing_page, {PARTS.replace("DISTINCT key", "*")}
FROM analytics.revenue GROUP BY {SCOPE}, landing_page;
"""

WHOSE = {
    "account": "Connected account; empty: our own.",
    "livemode": "False for Stripe's test mode.",
    "currency": "Lower-case ISO 4217; amounts of two are never added up.",
}
DATES = {
    "posting_date": "The day that reports of closed months count it on, in the reporting zone.",
    "effective_date": "The day it happened, in the reporting zone.",
}
SUMS = {
    "payments_minor": "Sum of payments, in the currency's minor unit, tax included.",
    "refunds_minor": "Sum of refunds, negative, less those that failed and came back.",
    "disputes_minor": "Sum of what banks took for disputes, negative, less what they gave back.",
    "net_minor": "All together: payments, refunds and disputes. Stripe's fees are not in it.",
    "entries": "How many revenue entries have a part in it.",
}
DAY = {
    **WHOSE,
    **SUMS,
    "refunds_minor": "Sum of refunds, negative, failed ones among them.",
    "refund_reversals_minor": "Sum of refunds that failed and came back.",
    "disputes_minor": "Sum of what banks took for disputes, negative.",
    "dispute_reversals_minor": "Sum of what banks gave back of it.",
    "tax_minor": "The tax in net_minor as far as it is known; that of a refund or dispute is its"
    " share of the payment's.",
    "net_of_tax_minor": "net_minor less tax_minor.",
    "payments": "How many payments.",
    "refunds": "How many refunds, failed ones among them.",
    "disputes": "How many withdrawals by banks.",
    "entries": "How many revenue entries.",
    "late_entries": "How many of them have two different dates: their month was closed.",
}
CAMPAIGN = {
    "utm_source": "Campaign of the checkout that the payment is attributed to; (none).",
    "utm_medium": "Its medium; (none).",
    "utm_campaign": "Its name; (none).",
    "landing_page": "First page of that visit, as the shop saved it; (none).",
}
PLAN = {
    "price": "Stripe's price of the invoice line; (none): the line has none; unallocated: the"
    " lines are not known.",
    "product": "That price's product; (none); unallocated.",
}
ENTRY = {
    **WHOSE,
    **DATES,
    "key": "What the entry is of, unique by account and mode: payment:in_..., refund:re_...",
    "kind": "payment, refund, refund_reversal, dispute or dispute_reversal.",
}
COMMENTS: dict[str, tuple[str, dict[str, str]]] = {
    "reporting": (
        "One row: how these views count days and months.",
        {"timezone": "IANA name of the reporting zone, as bridge migrate last found it set."},
    ),
    "revenue": (
        "Every revenue entry, with the campaign and user that it was told under.",
        {
            **ENTRY,
            **CAMPAIGN,
            "minor": "Signed amount, tax included, in the currency's minor unit.",
            "tax_minor": "The tax in it, with its sign. NULL: not known.",
            "discount_minor": "The discount's share in what was paid; not in minor.",
            "customer": "Stripe's id, cus_...; of a refund or dispute NULL where Stripe does not"
            " say.",
            "user_id": "The shop's own id of the user, where the checkout saved one.",
            "subscription": "Stripe's id, sub_...",
            "invoice": "Stripe's id, in_...",
            "payment_intent": "Stripe's id, pi_...",
            "charge": "Stripe's id, ch_...",
            "refund": "Stripe's id, re_...",
            "dispute": "Stripe's id, du_... or dp_...",
            "out_of_band": "True: known to be paid outside of Stripe.",
            "occurred_at": "When it happened, by Stripe.",
            "late": "True: booked after its month was closed, so the dates differ.",
            "recorded_at": "When it was booked here.",
            "origin": "How it came: webhook, gap or backfill.",
        },
    ),
    "daily_revenue": (
        "Revenue by posting date: what reports of closed months said, and say again.",
        {**DAY, "posting_date": DATES["posting_date"]},
    ),
    "daily_revenue_restated": (
        "Revenue by effective date: on the day it happened, late entries included.",
        {**DAY, "effective_date": DATES["effective_date"]},
    ),
    "revenue_allocation": (
        "Every revenue entry in parts, by invoice line; they sum to the entry. Weighed by the"
        " lines' amounts, rest by largest remainder; a refund or dispute like its payment.",
        {
            **ENTRY,
            **PLAN,
            "payment_key": "The payment whose lines are used; NULL: not known.",
            "allocated": "False: one row for the whole entry, the lines of which are not known.",
            "line": "Place of the line on the invoice, from 1; NULL: unallocated.",
            "quantity": "The line's quantity.",
            "proration": "True: the line bills or credits a part of a period.",
            "minor": "The part's amount, signed, in the currency's minor unit, tax included.",
        },
    ),
    "revenue_by_plan": (
        "Revenue by price: the parts of revenue_allocation summed. Filter or group by one of the"
        " two dates.",
        {**WHOSE, **DATES, **PLAN, **SUMS},
    ),
    "revenue_by_channel": (
        "Revenue by campaign. Filter or group by one of the two dates.",
        {**WHOSE, **DATES, **SUMS} | {name: CAMPAIGN[name] for name in list(CAMPAIGN)[:3]},
    ),
    "revenue_by_landing_page": (
        "Revenue by the first page of the visit. Filter or group by one of the two dates.",
        {**WHOSE, **DATES, **SUMS, "landing_page": CAMPAIGN["landing_page"]},
    ),
}
FUNCTIONS = {
    "major(numeric, text)": "An amount of minor units in whole ones: major(1299, 'usd') is 12.99."
    " Decimals are Stripe's, which differ from ISO 4217 for ISK and UGX.",
    "split(bigint, numeric[])": "An amount in parts by weight that sum to it, by largest remainder;"
    " NULL where the weights sum to nothing.",
}


def upgrade() -> None:
    daily = [
        DAILY.format(name="daily_revenue", date="posting_date"),
        DAILY.format(name="daily_revenue_restated", date="effective_date"),
    ]
    for part in (GROUND, REVENUE, *daily, ALLOCATION, BY):
        op.execute(part)
    op.execute("COMMENT ON SCHEMA analytics IS 'Views for analysts and finance: docs/finance.md'")
    for view, (what, columns) in COMMENTS.items():
        op.execute(f"COMMENT ON VIEW analytics.{view} IS {_quoted(what)}")
        for column, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN analytics.{view}.{column} IS {_quoted(meaning)}")
    for function, what in FUNCTIONS.items():
        op.execute(f"COMMENT ON FUNCTION analytics.{function} IS {_quoted(what)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
