"""What subscriptions are worth a month: the catalogue, their states, and how MRR moved."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
-- Prices, coupons, discounts: what subscriptions only point to. The newest statement stands.
CREATE TABLE catalogue (
    account text NOT NULL,
    livemode boolean NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    stated_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    digest text NOT NULL,
    webhook_event_id bigint, -- the one that changed it last; NULL: Stripe's API
    CONSTRAINT catalogue_pkey PRIMARY KEY (account, livemode, kind, id)
);
CREATE INDEX catalogue_webhook_event ON catalogue (webhook_event_id);
-- What Stripe's API was asked for, so that what it does not have is not asked for ever.
CREATE TABLE catalogue_checks (
    account text NOT NULL,
    livemode boolean NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT catalogue_checks_pkey PRIMARY KEY (account, livemode, kind, id)
);
-- Derived from snapshots and catalogue, a row per subscription and second. minor NULL: unknown.
-- asked: the catalogue items (kind:id) that had a part in it; missing: those not known.
CREATE TABLE subscription_states (
    account text NOT NULL,
    livemode boolean NOT NULL,
    subscription text NOT NULL,
    stated_at timestamptz NOT NULL,
    customer text,
    currency text,
    status text NOT NULL,
    churn text,
    minor bigint,
    missing text[] NOT NULL,
    asked text[] NOT NULL,
    discount_ends_at timestamptz,
    minor_after bigint,
    CONSTRAINT subscription_states_pkey
        PRIMARY KEY (account, livemode, subscription, stated_at)
);
CREATE INDEX subscription_states_asked ON subscription_states USING gin (asked);
CREATE INDEX subscription_states_missing ON subscription_states (account, livemode)
    WHERE missing <> '{}';
-- What was read before these tables were there is measured as well.
INSERT INTO work (lane, ref_id) SELECT 'measure', webhook_event_id FROM subscription_snapshots;
"""

# What a discount's end does to a subscription is a step like any other, once it is past and
# nothing newer was said.
STEPS = """
CREATE VIEW subscription_steps AS
WITH states AS (
    SELECT s.*, lead(stated_at) OVER of_subscription AS next_at,
        lag(status) OVER of_subscription AS status_before
    FROM subscription_states s
    WINDOW of_subscription AS (
        PARTITION BY account, livemode, customer, subscription ORDER BY stated_at)
)
SELECT account, livemode, subscription, customer, currency, status,
    -- An end that says no reason, of one that was not being paid, is for that.
    coalesce(churn, CASE WHEN status_before IN ('past_due', 'unpaid') THEN 'involuntary' END)
        AS churn,
    missing, stated_at AS at, minor
FROM states
UNION ALL
SELECT account, livemode, subscription, customer, currency, status, NULL, missing,
    discount_ends_at, minor_after
FROM states
WHERE discount_ends_at <= now() AND (next_at IS NULL OR discount_ends_at < next_at);
"""

NOW = """
CREATE VIEW subscription_mrr AS
SELECT DISTINCT ON (account, livemode, subscription)
    account, livemode, subscription, customer, currency, status, at AS since, minor,
    minor IS NULL AS unknown, missing
FROM subscription_steps
ORDER BY account, livemode, subscription, at DESC;
"""

MOVEMENTS = """
CREATE VIEW mrr_movements AS
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
    unknown_before > 0 OR unknown_after > 0 AS unknown
FROM history
WHERE change <> 0 OR unknown_change <> 0;
"""


SCOPE = {
    "account": "Connected account; empty: our own.",
    "livemode": "False for Stripe's test mode.",
    "customer": "Stripe's id, cus_...",
    "currency": "Lower-case ISO 4217; amounts of two are never mixed.",
}
COMMENTS: dict[str, tuple[str, dict[str, str]]] = {
    "subscription_steps": (
        "Every change of what a subscription is worth a month: what Stripe said, one row per"
        " second, and discounts that ran out.",
        SCOPE
        | {
            "subscription": "Stripe's id, sub_...",
            "status": "Stripe's status then.",
            "churn": "voluntary or involuntary, where an ended subscription says why.",
            "missing": "What would say or correct minor, kind:id.",
            "at": "When Stripe said it, or the discount ran out.",
            "minor": "A month, from then on, in the currency's minor unit. NULL: unknown.",
        },
    ),
    "subscription_mrr": (
        "What each subscription is worth a month now (MRR), by Stripe's rule: active and past_due"
        " count whole; trials, metered prices, one-off discounts and tax on top do not.",
        SCOPE
        | {
            "subscription": "Stripe's id, sub_...",
            "status": "Stripe's status, as last said.",
            "since": "When Stripe said it last, or a discount ran out after that.",
            "minor": "A month, in the currency's minor unit, after discounts; rounded once per"
            " item. NULL: unknown, which is never 0.",
            "unknown": "True where minor is NULL.",
            "missing": "What would say or correct minor, kind:id. Beside a minor: a coupon that"
            " is taken to be for all products.",
        },
    ),
    "mrr_movements": (
        "How each customer's MRR moved, over all their subscriptions, netted within a UTC clock"
        " hour. Where nothing is unknown, the sum of minor up to a moment is the MRR then.",
        SCOPE
        | {
            "at": "Start of the UTC clock hour in which it moved.",
            "movement": "new (from 0, never above 0 before), reactivation (from 0, above 0"
            " earlier), expansion, contraction, churn_voluntary or churn_involuntary (to 0),"
            " unknown. An unknown MRR counts as above 0 here.",
            "minor": "By how much, signed, in the currency's minor unit a month. NULL: unknown.",
            "unknown": "True where the MRR before or after is unknown: tiers or a discount that"
            " only an id names.",
        },
    ),
}


def upgrade() -> None:
    for part in (TABLES, STEPS, NOW, MOVEMENTS):
        op.execute(part)
    for view, (what, columns) in COMMENTS.items():
        op.execute(f"COMMENT ON VIEW {view} IS {_quoted(what)}")
        for column, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN {view}.{column} IS {_quoted(meaning)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
