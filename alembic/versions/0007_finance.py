"""Month close: accounting periods, and the guard that posts what is late to the next open one."""

from alembic import op

revision = "0007"
down_revision = "0006"

PERIODS = """
-- Months of finance's calendar that were closed at least once. version counts the closes; totals
-- are those of the last one. A month without a row is open.
CREATE TABLE accounting_periods (
    account text NOT NULL,
    livemode boolean NOT NULL,
    period_start date NOT NULL CHECK (extract(day FROM period_start) = 1),
    period_end date NOT NULL CHECK (period_end = (period_start + interval '1 month')::date),
    timezone text NOT NULL,
    status text NOT NULL CHECK (status IN ('open', 'closed')),
    version integer NOT NULL,
    closed_at timestamptz NOT NULL,
    closed_by text NOT NULL,
    totals jsonb NOT NULL,
    reconcile_run bigint,
    why text,
    reopened_at timestamptz,
    reopened_by text,
    CONSTRAINT accounting_periods_pkey PRIMARY KEY (account, livemode, period_start)
);
-- Totals as closed, and the entries of a month in their order.
CREATE INDEX revenue_entries_posted ON revenue_entries (posting_date);
"""

# The lock is app/store/periods.py's POSTING_LOCK. Whoever closes takes it alone, so an entry is
# either committed before and inside the totals, or looks for closed months after. The lookups are
# statements of their own in volatile functions: they see what was committed until then.
# Once a statement it is asked until which day any month is closed, in days since 2000; only what
# is posted before that is looked at row by row. (Looking at every row cost 1.7 times the insert.)
GUARD = """
CREATE FUNCTION revenue_entries_wait_for_close() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7203514010);
    PERFORM set_config('bridge.closed_until', coalesce(
        (SELECT max(p.period_end) - date '2000-01-01' FROM accounting_periods p
         WHERE p.status = 'closed')::text, ''), true);
    RETURN NULL;
END $$;
CREATE FUNCTION revenue_entries_post() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next_open date;
BEGIN
    SELECT p.period_end INTO next_open FROM accounting_periods p
    WHERE p.account = NEW.account AND p.livemode = NEW.livemode
      AND p.period_start = date_trunc('month', NEW.posting_date::timestamp)::date
      AND p.status = 'closed';
    IF FOUND THEN
        -- The end of the closed months that follow one another from there.
        SELECT min(p.period_end) INTO STRICT next_open FROM accounting_periods p
        WHERE p.account = NEW.account AND p.livemode = NEW.livemode
          AND p.status = 'closed' AND p.period_end >= next_open
          AND NOT EXISTS (SELECT 1 FROM accounting_periods f
                          WHERE f.account = p.account AND f.livemode = p.livemode
                            AND f.period_start = p.period_end AND f.status = 'closed');
        NEW.posting_date := next_open;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wait_for_close BEFORE INSERT ON revenue_entries
    FOR EACH STATEMENT EXECUTE FUNCTION revenue_entries_wait_for_close();
CREATE TRIGGER post BEFORE INSERT ON revenue_entries
    FOR EACH ROW WHEN (NEW.posting_date - date '2000-01-01'
                       < nullif(current_setting('bridge.closed_until', true), '')::int)
    EXECUTE FUNCTION revenue_entries_post();
"""


def upgrade() -> None:
    op.execute(PERIODS)
    op.execute(GUARD)
