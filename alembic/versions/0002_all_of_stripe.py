"""All of Stripe: statements of identity, claims on payments, what names and shares wait for."""

from alembic import op

revision = "0002"
down_revision = "0001"

IDENTITY = """
-- One row per thing said, with the first and the last time. An anchor is what the object
-- said at the moment when others ask it; without ids it is silence that was heard.
ALTER TABLE identity_links ADD COLUMN anchor boolean NOT NULL DEFAULT false;
ALTER TABLE identity_links ADD COLUMN last_stated_at timestamptz;
UPDATE identity_links l SET last_stated_at = (
    SELECT max(stated_at) FROM identity_links other
    WHERE (l.object_id, l.account, l.livemode, l.source, l.digest)
        = (other.object_id, other.account, other.livemode, other.source, other.digest));
ALTER TABLE identity_links ALTER COLUMN last_stated_at SET NOT NULL;
ALTER TABLE identity_links DROP CONSTRAINT identity_links_stated_once;
DELETE FROM identity_links l USING identity_links earlier
WHERE (l.object_id, l.account, l.livemode, l.source, l.digest)
    = (earlier.object_id, earlier.account, earlier.livemode, earlier.source, earlier.digest)
  AND (earlier.stated_at, earlier.id) < (l.stated_at, l.id);
ALTER TABLE identity_links ADD CONSTRAINT identity_links_said_once
    UNIQUE (object_id, account, livemode, source, digest);
"""

PAYMENTS = """
ALTER TABLE payments RENAME COLUMN payment_intent TO payment;
ALTER TABLE payments ADD COLUMN webhook_event_id bigint;
CREATE INDEX payments_webhook_event ON payments (webhook_event_id);
-- Who says that a payment pays no invoice: a Checkout Session, the charge itself, Stripe's API.
ALTER TABLE standalone_payments RENAME TO payment_claims;
ALTER TABLE payment_claims RENAME CONSTRAINT standalone_payments_pkey TO payment_claims_pkey;
ALTER TABLE payment_claims RENAME COLUMN payment_intent TO payment;
ALTER TABLE payment_claims ADD COLUMN session text;
ALTER TABLE payment_claims ADD COLUMN tax_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE payment_claims ADD COLUMN discount_minor bigint NOT NULL DEFAULT 0;
-- NULL: the payment's to say (refunds, disputes), or not said by that API version.
ALTER TABLE revenue_entries ALTER COLUMN tax_minor DROP NOT NULL;
ALTER TABLE revenue_entries ALTER COLUMN discount_minor DROP NOT NULL;
ALTER TABLE revenue_entries ALTER COLUMN out_of_band DROP NOT NULL;
ALTER TABLE revenue_entries ALTER COLUMN out_of_band DROP DEFAULT;
ALTER TABLE revenue_entries ADD COLUMN dispute text;
CREATE INDEX revenue_entries_webhook_event ON revenue_entries (webhook_event_id);
"""

TOLD = """
ALTER TABLE analytics_events DROP COLUMN is_new;
ALTER TABLE analytics_events ADD COLUMN change jsonb;
ALTER TABLE analytics_events ADD COLUMN of_payment boolean NOT NULL DEFAULT false;
ALTER TABLE analytics_events ADD COLUMN own jsonb;
ALTER TABLE analytics_events ADD COLUMN tax_minor bigint;
CREATE INDEX analytics_events_nobody ON analytics_events (account, livemode, customer)
    WHERE state <> 'released' OR (identity ->> 'fallback') = 'true';
"""

SUBSCRIPTIONS = """
ALTER TABLE subscription_snapshots ADD COLUMN event_id text NOT NULL DEFAULT '';
ALTER TABLE subscription_snapshots ALTER COLUMN event_id DROP DEFAULT;
ALTER TABLE subscription_snapshots ADD COLUMN currency text;
ALTER TABLE subscription_snapshots ADD COLUMN paused_collection boolean NOT NULL DEFAULT false;
ALTER TABLE subscription_snapshots ALTER COLUMN paused_collection DROP DEFAULT;
ALTER TABLE subscription_snapshots ADD COLUMN churn text;
ALTER TABLE subscription_snapshots ADD COLUMN hydrated boolean NOT NULL DEFAULT false;
ALTER TABLE subscription_snapshots ALTER COLUMN hydrated DROP DEFAULT;
UPDATE subscription_snapshots s SET event_id = e.event_id
FROM webhook_events e WHERE e.id = s.webhook_event_id;
"""

HYDRATIONS = """
-- What Stripe's API answered for a thin event, which carries no object: kept, so that reading it
-- again reads the same.
CREATE TABLE hydrations (
    webhook_event_id bigint NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body bytea NOT NULL,
    CONSTRAINT hydrations_pkey PRIMARY KEY (webhook_event_id)
);
"""


def upgrade() -> None:
    for part in (IDENTITY, PAYMENTS, TOLD, SUBSCRIPTIONS, HYDRATIONS):
        op.execute(part)
