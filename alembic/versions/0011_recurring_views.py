"""Views of recurring revenue: MRR by day and month and how it moved, retention, trials."""

from alembic import op

revision = "0011"
down_revision = "0010"

# As it was, and at the end what an unknown movement changed of what is known, and of how many
# customers pay: without them no sum over movements is the MRR.
MOVEMENTS = """
CREATE OR REPLACE VIEW mrr_movements AS
WITH steps AS (
    SELECT account, livemode, customer, currency, subscription, at, churn,
        coalesce(minor, 0) AS known, (minor IS NULL)::int AS unknown
    FROM subscription_steps
), changes AS (
    SELECT account, livemode, customer, currency, subscription, at, churn, known,
        date_trunc('hour', at, 'UTC') AS hour,
        known - lag(known, 1, 0::bigint) OVER of_subscription AS change,
        unknown - lag(unknown, 1, 0) OVER of_subscription AS unknown_change
    FROM steps
    WINDOW of_subscription AS (
        PARTITION BY account, livemode, customer, currency, subscription ORDER BY at)
), hours AS (
    SELECT account, livemode, customer, currency, hour, sum(change)::bigint AS change,
        sum(unknown_change) AS unknown_change,
        (array_agg(churn ORDER BY at DESC, subscription)
            FILTER (WHERE change < 0 AND known = 0))[1] AS churn
    FROM changes GROUP BY account, livemode, customer, currency, hour
), totals AS (
    SELECT account, livemode, customer, currency, hour, change, unknown_change, churn,
        sum(change) OVER of_customer AS after,
        sum(unknown_change) OVER of_customer AS unknown_after
    FROM hours
    WINDOW of_customer AS (PARTITION BY account, livemode, customer, currency ORDER BY hour)
), history AS (
    SELECT t.*, after - change AS before, unknown_after - unknown_change AS unknown_before,
        coalesce(bool_or(after > 0 OR unknown_after > 0) OVER (
            PARTITION BY account, livemode, customer, currency ORDER BY hour
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS paid_earlier
    FROM totals t
)
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
WHERE change <> 0 OR unknown_change <> 0;
"""

KINDS = ("new", "reactivation", "expansion", "contraction", "churn_voluntary", "churn_involuntary")
SUMS = ",\n    ".join(
    f"coalesce(sum(known_change) FILTER (WHERE movement = '{kind}'), 0)::bigint AS {kind}_minor"
    for kind in (*KINDS, "unknown")
)
MOVED = f"""
moved AS (
    SELECT account, livemode, coalesce(currency, '') AS currency, {{period}} AS {{name}},
    {SUMS},
    sum(known_change)::bigint AS change,
    sum(customers_change)::bigint AS customers_change,
    sum(unknown_customers_change)::bigint AS unknown_customers_change
    FROM mrr_movements GROUP BY 1, 2, 3, 4
)"""
SHOWN = ",\n    ".join(
    f"coalesce(m.{kind}_minor, 0) AS {kind}_minor" for kind in (*KINDS, "unknown")
)
LOCAL = "at AT TIME ZONE (SELECT timezone FROM analytics.reporting)"
TODAY = "(now() AT TIME ZONE (SELECT timezone FROM analytics.reporting))"

ROWS = """
CREATE VIEW analytics.mrr_movements AS
SELECT account, livemode, coalesce(currency, '') AS currency, customer, at,
    (at AT TIME ZONE (SELECT timezone FROM analytics.reporting))::date AS day, movement,
    known_change AS minor, unknown
FROM mrr_movements;
CREATE VIEW analytics.subscription_mrr AS
SELECT account, livemode, coalesce(currency, '') AS currency, customer, subscription, status,
    since, minor, unknown
FROM subscription_mrr;
"""

DAILY = f"""
CREATE VIEW analytics.mrr_daily AS
WITH {MOVED.format(period=f"({LOCAL})::date", name="day")},
days AS (
    SELECT account, livemode, currency,
        generate_series(min(day)::timestamp, {TODAY}, interval '1 day')::date AS day
    FROM moved GROUP BY account, livemode, currency
)
SELECT account, livemode, currency, day,
    CAST(sum(coalesce(m.change, 0)) OVER upto AS bigint) AS mrr_minor,
    CAST(sum(coalesce(m.customers_change, 0)) OVER upto AS bigint) AS customers,
    CAST(sum(coalesce(m.unknown_customers_change, 0)) OVER upto AS bigint) AS unknown_customers,
    {SHOWN}
FROM days LEFT JOIN moved m USING (account, livemode, currency, day)
WINDOW upto AS (PARTITION BY account, livemode, currency ORDER BY day);
"""

# From what each subscription was worth at the end of each month, and from no movement.
BY_CUSTOMER = f"""
CREATE VIEW analytics.mrr_monthly_by_customer AS
WITH spans AS (
    SELECT account, livemode, coalesce(currency, '') AS currency,
        coalesce(customer, '') AS customer, minor,
        date_trunc('month', date_trunc('hour', at, 'UTC')
            AT TIME ZONE (SELECT timezone FROM analytics.reporting)) AS first,
        date_trunc('month', date_trunc('hour', lead(at) OVER of_subscription, 'UTC')
            AT TIME ZONE (SELECT timezone FROM analytics.reporting)) AS next
    FROM subscription_steps
    WINDOW of_subscription AS (
        PARTITION BY account, livemode, customer, currency, subscription ORDER BY at)
)
SELECT account, livemode, currency, customer, month::date AS month,
    coalesce(sum(minor), 0)::bigint AS mrr_minor, bool_or(minor IS NULL) AS unknown
FROM spans CROSS JOIN LATERAL generate_series(first,
    coalesce(next - interval '1 month', date_trunc('month', {TODAY})), interval '1 month') AS month
WHERE minor <> 0 OR minor IS NULL
GROUP BY account, livemode, currency, customer, month;
"""

ROLLFORWARD = f"""
CREATE VIEW analytics.mrr_rollforward AS
WITH {MOVED.format(period=f"date_trunc('month', {LOCAL})::date", name="month")},
ends AS MATERIALIZED (
    SELECT account, livemode, currency, month, sum(mrr_minor)::bigint AS minor,
        count(*) AS customers, count(*) FILTER (WHERE unknown) AS unknown_customers
    FROM analytics.mrr_monthly_by_customer GROUP BY account, livemode, currency, month
), months AS (
    SELECT account, livemode, currency, generate_series(min(month)::timestamp,
        date_trunc('month', {TODAY}), interval '1 month')::date AS month
    FROM moved GROUP BY account, livemode, currency
)
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
WINDOW before AS (PARTITION BY account, livemode, currency ORDER BY month);

CREATE VIEW analytics.mrr_rollforward_check AS
SELECT account, livemode, currency, month, start_minor,
    new_minor + reactivation_minor + expansion_minor + contraction_minor + churn_voluntary_minor
        + churn_involuntary_minor + unknown_minor AS moved_minor,
    end_minor,
    start_minor + new_minor + reactivation_minor + expansion_minor + contraction_minor
        + churn_voluntary_minor + churn_involuntary_minor + unknown_minor - end_minor
        AS difference_minor
FROM analytics.mrr_rollforward;
"""

# Customers who paid when the month began, compared with what they pay when it ends. Those of
# unknown worth at either end are left out of both.
RETENTION = """
CREATE VIEW analytics.retention_monthly AS
WITH months AS (
    SELECT account, livemode, currency, (month + interval '1 month')::date AS month, unknown,
        mrr_minor AS started,
        CASE WHEN lead(month) OVER w = month + interval '1 month'
            THEN lead(mrr_minor) OVER w END AS kept,
        lead(month) OVER w = month + interval '1 month' AND lead(unknown) OVER w AS unknown_after
    FROM analytics.mrr_monthly_by_customer
    WINDOW w AS (PARTITION BY account, livemode, currency, customer ORDER BY month)
), cohort AS MATERIALIZED (
    SELECT account, livemode, currency, month, sum(started) AS started,
        coalesce(sum(kept), 0) AS kept,
        sum(least(started, coalesce(kept, 0))) AS kept_at_most,
        count(*) AS customers, count(*) FILTER (WHERE kept IS NULL) AS lost
    FROM months WHERE NOT unknown AND unknown_after IS NOT TRUE
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
FROM analytics.mrr_rollforward r
LEFT JOIN cohort c ON c.account = r.account AND c.livemode = r.livemode
 AND c.currency = r.currency AND c.month = r.month;
"""

# A trial's end as last said; a day more, since the invoice after it is paid an hour later.
TRIALS = """
CREATE INDEX analytics_events_trials ON analytics_events (subscription, occurred_at)
    WHERE name IN ('trial_started', 'trial_converted', 'trial_cancelled', 'trial_expired');
CREATE VIEW analytics.trials AS
WITH started AS (
    SELECT account, livemode, subscription, customer, occurred_at,
        properties ->> 'trial_end' AS first_said,
        lead(occurred_at) OVER (
            PARTITION BY account, livemode, subscription ORDER BY occurred_at) AS next
    FROM analytics_events
    WHERE name = 'trial_started'
)
SELECT s.account, s.livemode, s.subscription, s.customer, s.occurred_at AS started_at,
    (s.occurred_at AT TIME ZONE (SELECT timezone FROM analytics.reporting))::date AS start_day,
    ends.at AS ends_at, ends.at + interval '1 day' <= now() AS matured,
    substr(outcome.name, 7) AS outcome, outcome.at AS outcome_at
FROM started s
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT h.trial_end FROM subscription_snapshots h
         WHERE h.subscription = s.subscription AND h.account = s.account
           AND h.livemode = s.livemode AND h.trial_start = s.occurred_at
         ORDER BY h.stated_at DESC, h.webhook_event_id DESC LIMIT 1),
        s.first_said::timestamptz) AS at
) AS ends
LEFT JOIN LATERAL (
    SELECT o.name, o.occurred_at AS at FROM analytics_events o
    WHERE o.subscription = s.subscription AND o.account = s.account AND o.livemode = s.livemode
      AND o.name IN ('trial_converted', 'trial_cancelled', 'trial_expired') AND o.state <> 'held'
      AND o.occurred_at >= s.occurred_at AND (s.next IS NULL OR o.occurred_at < s.next)
    ORDER BY o.occurred_at, o.key LIMIT 1
) AS outcome ON true;

CREATE VIEW analytics.trial_funnel AS
SELECT account, livemode, date_trunc('month', start_day::timestamp)::date AS cohort,
    count(*) AS started,
    count(*) FILTER (WHERE NOT matured) AS still_open,
    count(*) FILTER (WHERE matured) AS matured,
    count(*) FILTER (WHERE matured AND outcome = 'converted') AS converted,
    count(*) FILTER (WHERE matured AND outcome = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE matured AND outcome = 'expired') AS expired,
    count(*) FILTER (WHERE matured AND outcome IS NULL) AS undecided,
    round(count(*) FILTER (WHERE matured AND outcome = 'converted')::numeric
        / nullif(count(*) FILTER (WHERE matured), 0), 6) AS conversion_rate
FROM analytics.trials GROUP BY account, livemode, cohort;
"""

WHOSE = {
    "account": "Connected account; empty: our own.",
    "livemode": "False for Stripe's test mode.",
    "currency": "Lower-case ISO 4217, empty where nobody says; two are never added up.",
}
WHAT = "MRR, in the currency's minor unit a month."
MOVES = {
    "new_minor": "Of customers who never paid before. " + WHAT,
    "reactivation_minor": "Of customers who paid before, and not just before. " + WHAT,
    "expansion_minor": "Of customers who pay more. " + WHAT,
    "contraction_minor": "Of customers who pay less, negative. " + WHAT,
    "churn_voluntary_minor": "Of customers who left, negative. " + WHAT,
    "churn_involuntary_minor": "Of customers lost to failed payments, negative. " + WHAT,
    "unknown_minor": "Change of what is known of customers whose worth is not known before or"
    " after. " + WHAT,
}
ENDS = {
    "start_minor": "When the month began. " + WHAT,
    "end_minor": "When it ended, or now, from subscriptions and not from movements. " + WHAT,
    "unknown_customers": "Of the customers at its end, those with a subscription of unknown worth.",
    "complete": "False: the month is not over.",
}
MONTH = {"month": "Its first day, in the reporting zone."}
COMMENTS: dict[str, tuple[str, dict[str, str]]] = {
    "mrr_movements": (
        "How each customer's MRR moved, over all their subscriptions, netted within a UTC clock"
        " hour. The sum of minor up to a moment is the known MRR then.",
        {
            **WHOSE,
            "customer": "Stripe's id, cus_...",
            "at": "Start of the UTC clock hour in which it moved.",
            "day": "The day of that, in the reporting zone.",
            "movement": "new, reactivation, expansion, contraction, churn_voluntary,"
            " churn_involuntary or unknown.",
            "minor": "By how much what is known moved, signed. " + WHAT,
            "unknown": "True where the MRR before or after is not wholly known.",
        },
    ),
    "subscription_mrr": (
        "What each subscription is worth a month now.",
        {
            **WHOSE,
            "customer": "Stripe's id, cus_...",
            "subscription": "Stripe's id, sub_...",
            "status": "Stripe's status, as last said.",
            "since": "When Stripe said it last, or a discount ran out after that.",
            "minor": "After discounts. NULL: unknown, which is never 0. " + WHAT,
            "unknown": "True where minor is NULL.",
        },
    ),
    "mrr_daily": (
        "MRR at the end of each day, from the first to today, and how it moved on that day.",
        {
            **WHOSE,
            **MOVES,
            "day": "In the reporting zone. Today is not over.",
            "mrr_minor": "At the day's end, as far as it is known. " + WHAT,
            "customers": "Customers whose MRR is above 0 or unknown.",
            "unknown_customers": "Of these, those with a subscription of unknown worth.",
        },
    ),
    "mrr_monthly_by_customer": (
        "What each customer's subscriptions are worth together at the end of each month, or now;"
        " customers worth nothing are left out.",
        {
            **WHOSE,
            **MONTH,
            "customer": "Stripe's id, cus_...",
            "mrr_minor": "As far as it is known. " + WHAT,
            "unknown": "True: a subscription's worth is not known.",
        },
    ),
    "mrr_rollforward": (
        "MRR from the beginning of each month to its end: start, what moved, end. That they add up"
        " is in mrr_rollforward_check.",
        {
            **WHOSE,
            **MONTH,
            **MOVES,
            **ENDS,
            "start_customers": "Customers above 0 or unknown when the month began.",
            "end_customers": "Customers above 0 or unknown when it ended, or now.",
        },
    ),
    "mrr_rollforward_check": (
        "Whether each month's movements lead from its start to its end. Those come from two"
        " different ways through the same history.",
        {
            **WHOSE,
            **MONTH,
            **{name: ENDS[name] for name in ("start_minor", "end_minor")},
            "moved_minor": "All movements of the month together. " + WHAT,
            "difference_minor": "start + moved - end: 0, or something is wrong.",
        },
    ),
    "retention_monthly": (
        "What became of the customers who paid when the month began. Rates are parts of 1, NULL"
        " where there is nothing to divide by.",
        {
            **WHOSE,
            **MONTH,
            **ENDS,
            "cohort_customers": "Who paid when the month began and are known at both ends.",
            "lost_customers": "Those of them who pay nothing when it ends.",
            "end_customers": "Customers above 0 or unknown when it ended, or now.",
            "gross_mrr_churn": "(contraction + churn) / start.",
            "net_mrr_churn": "(contraction + churn - expansion - reactivation) / start; below 0"
            " where more was won back than lost.",
            "net_revenue_retention": "What the cohort pays at the end / what it paid at the"
            " beginning (NRR).",
            "gross_revenue_retention": "The same, each customer counted at most as at the beginning"
            " (GRR, 1 at most).",
            "customer_churn": "lost_customers / cohort_customers.",
            "arpa_minor": "MRR at the end per customer whose worth is known. " + WHAT,
            "ltv_minor": "arpa_minor / customer_churn, indicative; NULL where nobody was lost.",
            "quick_ratio": "(new + reactivation + expansion) / (contraction + churn).",
        },
    ),
    "trials": (
        "Every trial and what became of it.",
        {
            **{name: WHOSE[name] for name in ("account", "livemode")},
            "subscription": "Stripe's id, sub_...",
            "customer": "Stripe's id, cus_...",
            "started_at": "Its start, by Stripe.",
            "start_day": "The day of that, in the reporting zone.",
            "ends_at": "Its end, as last said: a trial can be extended or cut short.",
            "matured": "True: it ended a day ago or earlier, so that a payment would be known.",
            "outcome": "converted (a paid period after it), cancelled, expired; NULL: none yet.",
            "outcome_at": "When.",
        },
    ),
    "trial_funnel": (
        "Trials by the month they started in. Rates are of trials that ended, whatever became of"
        " them; who converts before the end counts when it is there.",
        {
            **{name: WHOSE[name] for name in ("account", "livemode")},
            "cohort": "First day of the month they started in, in the reporting zone.",
            "started": "Trials.",
            "still_open": "Those that have not ended, or not for a day.",
            "matured": "Those that have.",
            "converted": "Of the matured: a paid period followed.",
            "cancelled": "Of the matured: cancelled on request.",
            "expired": "Of the matured: nobody paid.",
            "undecided": "Of the matured: nothing of these was heard, such as a late payment.",
            "conversion_rate": "converted / matured, as a part of 1; NULL where none matured.",
        },
    ),
}
ADDED = {
    "known_change": "By how much what is known moved; minor where nothing is unknown.",
    "customers_change": "1: a customer more pays something or something unknown; -1: one less.",
    "unknown_customers_change": "1: a customer more is worth something unknown; -1: one less.",
}


def upgrade() -> None:
    for part in (MOVEMENTS, ROWS, DAILY, BY_CUSTOMER, ROLLFORWARD, RETENTION, TRIALS):
        op.execute(part)
    for column, meaning in ADDED.items():
        op.execute(f"COMMENT ON COLUMN mrr_movements.{column} IS {_quoted(meaning)}")
    for view, (what, columns) in COMMENTS.items():
        op.execute(f"COMMENT ON VIEW analytics.{view} IS {_quoted(what)}")
        for column, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN analytics.{view}.{column} IS {_quoted(meaning)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
