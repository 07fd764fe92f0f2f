"""Reconciliation: Stripe's balance transactions as settlements, and every comparison ever made."""

from alembic import op

revision = "0009"
down_revision = "0008"

SETTLEMENTS = """
CREATE FUNCTION reconcile_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
-- Balance transactions, which Stripe never changes. gross, fee and net are minor units of our
-- balance's currency; minor and customer_currency are the same money as the customer saw it.
CREATE TABLE settlements (
    account text NOT NULL,
    livemode boolean NOT NULL,
    id text NOT NULL,
    created timestamptz NOT NULL,
    category text NOT NULL,
    gross bigint NOT NULL,
    fee bigint NOT NULL,
    net bigint NOT NULL CHECK (net = gross - fee),
    currency char(3) NOT NULL,
    minor bigint,
    customer_currency char(3),
    exchange_rate numeric,
    source text,
    charge text,
    payment_intent text,
    invoice text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT settlements_pkey PRIMARY KEY (account, livemode, id)
);
CREATE INDEX settlements_created ON settlements (account, livemode, created);
-- Which revenue entry a settlement is of, as far as a reconciliation could match them.
CREATE TABLE settled_entries (
    account text NOT NULL,
    livemode boolean NOT NULL,
    settlement text NOT NULL,
    key text NOT NULL,
    CONSTRAINT settled_entries_pkey PRIMARY KEY (account, livemode, settlement, key)
);
CREATE INDEX settled_entries_key ON settled_entries (account, livemode, key);
"""

RUNS = """
-- verdict: clean (Stripe = ledger), differences, incomplete (the source lacked days, allowed)
CREATE TABLE reconcile_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    account text NOT NULL,
    livemode boolean NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL CHECK (period_end > period_start),
    timezone text NOT NULL,
    source text NOT NULL,
    parameters jsonb NOT NULL,
    snapshot_sha256 text NOT NULL,
    transactions bigint NOT NULL,
    entries bigint NOT NULL,
    classes jsonb NOT NULL,
    totals jsonb NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('clean', 'differences', 'incomplete')),
    delivered boolean NOT NULL
);
CREATE INDEX reconcile_runs_period
    ON reconcile_runs (account, livemode, period_start, period_end, id);
-- What did not simply match. Amounts are minor units of `currency`, of the period alone.
CREATE TABLE reconcile_results (
    run bigint NOT NULL REFERENCES reconcile_runs (id),
    line integer NOT NULL,
    class text NOT NULL,
    reason text NOT NULL,
    part text NOT NULL,
    currency char(3) NOT NULL,
    stripe_minor bigint,
    ledger_minor bigint,
    subject text NOT NULL,
    transactions text[] NOT NULL,
    entries text[] NOT NULL,
    stripe_date date,
    ledger_date date,
    note text NOT NULL,
    next_step text NOT NULL,
    explained boolean NOT NULL,
    CONSTRAINT reconcile_results_pkey PRIMARY KEY (run, line)
);
"""

TABLES = ("settlements", "settled_entries", "reconcile_runs", "reconcile_results")
GUARD = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {0}
    FOR EACH ROW EXECUTE FUNCTION reconcile_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {0}
    FOR EACH STATEMENT EXECUTE FUNCTION reconcile_append_only();
"""


def upgrade() -> None:
    for part in (SETTLEMENTS, RUNS, *(GUARD.format(name) for name in TABLES)):
        op.execute(part)
