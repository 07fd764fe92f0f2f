"""The record: kept webhook events, identity, ledger, analytics events, deliveries, work."""

from alembic import op

revision = "0001"
down_revision = None

INBOX = """
-- Permanent dedupe; it outlives the partitions of webhook_events.
CREATE TABLE webhook_event_keys (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account text NOT NULL,
    livemode boolean NOT NULL,
    event_id text NOT NULL,
    CONSTRAINT webhook_event_keys_kept_once PRIMARY KEY (account, livemode, event_id)
);
CREATE TABLE webhook_events (
    id bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    account text NOT NULL,
    livemode boolean NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    created timestamptz NOT NULL,
    api_version text,
    origin text NOT NULL,
    raw bytea NOT NULL,
    verdict text,
    reason text,
    decided_at timestamptz,
    CONSTRAINT webhook_events_pkey PRIMARY KEY (id, received_at)
) PARTITION BY RANGE (received_at);
-- Not compressed: pglz costs Postgres more than all the rest of an insert.
ALTER TABLE webhook_events ALTER COLUMN raw SET STORAGE EXTERNAL;
CREATE TABLE webhook_events_default PARTITION OF webhook_events DEFAULT;
CREATE INDEX webhook_events_event_id ON webhook_events (event_id);
CREATE INDEX webhook_events_received_at ON webhook_events (received_at);
CREATE INDEX webhook_events_open ON webhook_events (verdict, received_at)
    WHERE verdict IS NULL OR verdict = 'quarantined';
"""

WORK = """
-- One narrow row per unfinished thing, deleted on finish. due_at is the lease's end, too.
CREATE TABLE work (
    lane text NOT NULL,
    ref_id bigint NOT NULL,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    crashes smallint NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    leased boolean NOT NULL DEFAULT false,
    CONSTRAINT work_pkey PRIMARY KEY (lane, ref_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
        autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX work_due ON work (lane, due_at);
-- A token is never used twice, so a lease from before a replay fences like any other.
CREATE SEQUENCE work_tokens;
CREATE TABLE lane_slots (
    lane text NOT NULL,
    slot smallint NOT NULL,
    token bigint NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL,
    CONSTRAINT lane_slots_pkey PRIMARY KEY (lane, slot)
);
"""

UNDERSTOOD = """
CREATE TABLE stripe_refs (
    account text NOT NULL,
    livemode boolean NOT NULL,
    child text NOT NULL,
    parent text NOT NULL,
    customer boolean NOT NULL,
    CONSTRAINT stripe_refs_pkey PRIMARY KEY (child, parent, account, livemode)
);
CREATE TABLE identity_links (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account text NOT NULL,
    livemode boolean NOT NULL,
    object_id text NOT NULL,
    source text NOT NULL,
    rank smallint NOT NULL,
    ids jsonb NOT NULL,
    campaign jsonb NOT NULL,
    consent text,
    stated_at timestamptz NOT NULL,
    completed_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    digest text NOT NULL,
    CONSTRAINT identity_links_pkey PRIMARY KEY (id),
    CONSTRAINT identity_links_stated_once
        UNIQUE (object_id, account, livemode, source, stated_at, digest)
);
CREATE TABLE subscription_snapshots (
    webhook_event_id bigint NOT NULL,
    account text NOT NULL,
    livemode boolean NOT NULL,
    subscription text NOT NULL,
    customer text,
    stated_at timestamptz NOT NULL,
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    trial_start timestamptz,
    trial_end timestamptz,
    ended_at timestamptz,
    items jsonb NOT NULL,
    discounts jsonb NOT NULL,
    previous_attributes jsonb,
    CONSTRAINT subscription_snapshots_pkey PRIMARY KEY (webhook_event_id)
);
CREATE INDEX subscription_snapshots_subscription
    ON subscription_snapshots (subscription, stated_at);
-- Money captured; revenue only once a checkout or an invoice speaks for it.
CREATE TABLE payments (
    account text NOT NULL,
    livemode boolean NOT NULL,
    payment_intent text NOT NULL,
    customer text,
    charge text,
    minor bigint NOT NULL,
    currency char(3) NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payments_pkey PRIMARY KEY (payment_intent, account, livemode)
);
-- Payment intents that a completed Checkout Session in payment mode says pay no invoice.
CREATE TABLE standalone_payments (
    account text NOT NULL,
    livemode boolean NOT NULL,
    payment_intent text NOT NULL,
    CONSTRAINT standalone_payments_pkey PRIMARY KEY (payment_intent, account, livemode)
);
"""

TOLD = """
CREATE TABLE revenue_entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    livemode boolean NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    minor bigint NOT NULL,
    currency char(3) NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    tax_minor bigint NOT NULL,
    discount_minor bigint NOT NULL,
    customer text,
    subscription text,
    invoice text,
    payment_intent text,
    charge text,
    refund text,
    out_of_band boolean NOT NULL DEFAULT false,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    effective_date date NOT NULL,
    posting_date date NOT NULL,
    origin text NOT NULL,
    webhook_event_id bigint,
    CONSTRAINT revenue_entries_booked_once UNIQUE (account, livemode, key)
);
CREATE INDEX revenue_entries_date ON revenue_entries (effective_date, currency);
CREATE FUNCTION revenue_entries_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'revenue_entries is append-only: book a correcting entry';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON revenue_entries
    FOR EACH ROW EXECUTE FUNCTION revenue_entries_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON revenue_entries
    FOR EACH STATEMENT EXECUTE FUNCTION revenue_entries_append_only();

-- state: held (identity or a join is awaited), released (deliveries exist), withheld (why: reason)
CREATE TABLE analytics_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    livemode boolean NOT NULL,
    key text NOT NULL,
    uuid uuid NOT NULL,
    schema_version smallint NOT NULL,
    name text NOT NULL,
    occurred_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('held', 'released', 'withheld')),
    reason text,
    about text[] NOT NULL,
    customer text,
    subscription text,
    invoice text,
    is_new boolean NOT NULL,
    cycle_start timestamptz,
    properties jsonb NOT NULL,
    identity jsonb,
    minor bigint,
    currency char(3),
    webhook_event_id bigint,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_until timestamptz NOT NULL,
    released_at timestamptz,
    CONSTRAINT analytics_events_told_once UNIQUE (account, livemode, key)
) WITH (fillfactor = 80);
CREATE INDEX analytics_events_invoice ON analytics_events (invoice)
    WHERE name IN ('payment_failed', 'payment_succeeded');
CREATE INDEX analytics_events_customer ON analytics_events (customer)
    WHERE name IN ('subscription_started', 'subscription_cancelled');
CREATE INDEX analytics_events_webhook_event ON analytics_events (webhook_event_id);
-- What a held analytics event waits to hear of: a row per Stripe id.
CREATE TABLE identity_waits (
    object_id text NOT NULL,
    analytics_event_id bigint NOT NULL,
    CONSTRAINT identity_waits_pkey PRIMARY KEY (object_id, analytics_event_id)
);
CREATE INDEX identity_waits_event ON identity_waits (analytics_event_id);
"""

SENT = """
-- state: pending, delivered, skipped (why: reason), dead (the destination's own words: reason)
CREATE TABLE deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    destination text NOT NULL,
    analytics_event_id bigint NOT NULL REFERENCES analytics_events (id),
    dedupe_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'skipped', 'dead')),
    payload bytea,
    reason text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    CONSTRAINT deliveries_owed_once UNIQUE (analytics_event_id, destination)
) WITH (fillfactor = 80);
CREATE INDEX deliveries_dead ON deliveries (destination, id) WHERE state = 'dead';
CREATE TABLE attempts (
    delivery_id bigint NOT NULL,
    token bigint NOT NULL,
    started_at timestamptz NOT NULL,
    outcome text NOT NULL,
    status smallint,
    answer text,
    latency_ms integer NOT NULL,
    CONSTRAINT attempts_pkey PRIMARY KEY (delivery_id, token)
);
CREATE TABLE destinations_health (
    destination text PRIMARY KEY,
    failures integer NOT NULL DEFAULT 0,
    openings integer NOT NULL DEFAULT 0,
    suspended_until timestamptz,
    reason text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    action text NOT NULL,
    why text,
    filter jsonb NOT NULL,
    rows bigint NOT NULL
);
"""


def upgrade() -> None:
    for part in (INBOX, WORK, UNDERSTOOD, TOLD, SENT):
        op.execute(part)
