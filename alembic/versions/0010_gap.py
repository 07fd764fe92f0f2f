"""Repairing gaps: how far Stripe's event list was compared, what a backfill has listed, and when
each signing secret was last used."""

from alembic import op

revision = "0010"
down_revision = "0009"

CHANGES = """
-- Until when everything that Stripe lists is kept, by account and mode.
CREATE TABLE gap_cursors (
    account text NOT NULL,
    livemode boolean NOT NULL,
    covered_until timestamptz NOT NULL,
    CONSTRAINT gap_cursors_pkey PRIMARY KEY (account, livemode)
);
-- Each comparison. Its start decides when the next one is due.
CREATE TABLE gap_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    missing bigint,
    known bigint,
    failure text
);
CREATE INDEX gap_runs_started_at ON gap_runs (started_at);
-- How far an unfinished backfill has read each of Stripe's lists: the last object of it that is
-- kept. The rows go when all of its lists are read.
CREATE TABLE backfill_progress (
    account text NOT NULL,
    livemode boolean NOT NULL,
    list text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    after_id text,
    read bigint NOT NULL,
    finished boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT backfill_progress_pkey PRIMARY KEY (account, livemode, list, since, until)
);
-- By label, never the secret: which one can be dropped after a rotation.
CREATE TABLE webhook_secrets_used (
    label text PRIMARY KEY,
    last_used_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    op.execute(CHANGES)
