"""What the further destinations need: batches of history apart, the browser's ids of conversions,
and what is known of a customer."""

from alembic import op

revision = "0005"
down_revision = "0004"

CHANGES = """
-- Told long after it happened: some destinations take such in batches of their own.
ALTER TABLE deliveries ADD COLUMN historical boolean NOT NULL DEFAULT false;
-- What a person should know of an analytics event that was told all the same.
ALTER TABLE analytics_events ADD COLUMN warning text;
-- Which analytics event has the browser's id of a conversion: the first that claimed it. Payment
-- Links copy one metadata to every Session.
CREATE TABLE conversion_ids (
    account text NOT NULL,
    livemode boolean NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    analytics_event uuid NOT NULL,
    CONSTRAINT conversion_ids_pkey PRIMARY KEY (account, livemode, name, digest)
);
-- What a customer has paid, and is worth.
CREATE INDEX revenue_entries_customer ON revenue_entries (customer);
CREATE INDEX revenue_entries_of_payment ON revenue_entries (coalesce(payment_intent, charge))
    WHERE customer IS NULL;
CREATE INDEX payments_customer ON payments (customer);
CREATE INDEX subscription_snapshots_customer ON subscription_snapshots (customer);
CREATE INDEX subscription_states_customer ON subscription_states (customer);
"""


def upgrade() -> None:
    op.execute(CHANGES)
