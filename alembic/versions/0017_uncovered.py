"""What Stripe's event list had no more when it was compared: named until a backfill has read it."""

from alembic import op

revision = "0017"
down_revision = "0016"

CHANGES = """
-- Webhook events from `compared` to `until` were never compared: objects made in [since, until) are
-- to be read for them. A backfill takes off what it has read.
CREATE TABLE gap_uncovered (
    account text NOT NULL,
    livemode boolean NOT NULL,
    compared timestamptz NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    CONSTRAINT gap_uncovered_pkey PRIMARY KEY (account, livemode, since)
);
"""


def upgrade() -> None:
    op.execute(CHANGES)
