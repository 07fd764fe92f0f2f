"""What the delivery engine needs to know of workers that die and destinations that hang."""

from alembic import op

revision = "0004"
down_revision = "0003"

CHANGES = """
-- Written before a POST to a destination that must get nothing twice: whoever finds it set after
-- its worker died cannot know whether it arrived.
ALTER TABLE work ADD COLUMN posting boolean NOT NULL DEFAULT false;
ALTER TABLE work ADD COLUMN leased_at timestamptz;
-- What workers died with is claimed alone, and must be found among many that are due.
CREATE INDEX work_suspects ON work (lane, due_at) WHERE crashes >= 3;
-- Its last requests had no answer in time: it gets one lane slot until one has.
ALTER TABLE destinations_health ADD COLUMN timed_out boolean NOT NULL DEFAULT false;
"""


def upgrade() -> None:
    op.execute(CHANGES)
