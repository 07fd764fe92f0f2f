"""What is kept of people who were forgotten: enough to know them again, and not who they were."""

from alembic import op

revision = "0006"
down_revision = "0005"

CHANGES = """
-- When a person's raw bytes were taken out; the verdict and the dedupe key stay.
ALTER TABLE webhook_events ADD COLUMN erased_at timestamptz;
-- One row per request to forget a person. seed: a digest of what was typed. salt: one for the
-- whole database, of its first row. destinations: how the deletion at each of them went.
CREATE TABLE erasures (
    id bigint GENERATED ALWAYS AS IDENTITY,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    who text NOT NULL,
    why text,
    salt bytea NOT NULL,
    seed bytea NOT NULL,
    destinations jsonb NOT NULL DEFAULT '{}',
    rows jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT erasures_pkey PRIMARY KEY (id)
);
-- Stripe's objects of people who were forgotten; the ledger has these ids anyway.
CREATE TABLE tombstones (
    object_id text NOT NULL,
    account text NOT NULL,
    livemode boolean NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tombstones_pkey PRIMARY KEY (object_id, account, livemode)
);
-- Salted digests of the ids by which the shop knew them: users, devices, vendors' own, e-mail.
CREATE TABLE erased_ids (
    digest bytea NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT erased_ids_pkey PRIMARY KEY (digest)
);
"""


def upgrade() -> None:
    op.execute(CHANGES)
