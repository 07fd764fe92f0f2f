"""The books begin with the first month that was closed: what is of a month before is late."""

from alembic import op

revision = "0015"
down_revision = "0014"

# A month is open if it was reopened, or is after all that were ever closed. What is of another one
# goes to the next that is open. Of lock and lookups the same holds as in 0007: a volatile function,
# so that its statement sees what was committed until then.
GUARD = """
CREATE FUNCTION posting_day(of_account text, of_livemode boolean, day date) RETURNS date
LANGUAGE plpgsql AS $$
DECLARE
    month date := date_trunc('month', day::timestamp)::date;
    next_open date;
BEGIN
    SELECT coalesce(
        min(p.period_start) FILTER (WHERE p.status = 'open' AND p.period_start >= month),
        max(p.period_end))
    INTO next_open FROM accounting_periods p
    WHERE p.account = of_account AND p.livemode = of_livemode;
    RETURN CASE WHEN next_open > month THEN next_open ELSE day END;
END $$;
COMMENT ON FUNCTION posting_day IS
    'The day that what is of this day is posted on now: the same, or the next open month''s first.';
CREATE OR REPLACE FUNCTION revenue_entries_wait_for_close() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7203514010);
    PERFORM set_config('bridge.closed_until', coalesce(
        (SELECT max(p.period_end) - date '2000-01-01' FROM accounting_periods p)::text, ''), true);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION revenue_entries_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.posting_date := posting_day(NEW.account, NEW.livemode, NEW.posting_date);
    RETURN NEW;
END $$;
"""

REOPENED = """
-- Of the last reopening; that of a close is why.
ALTER TABLE accounting_periods ADD COLUMN reopened_why text;
UPDATE accounting_periods p SET reopened_why = (
    SELECT a.why FROM audit_log a
    WHERE a.action = 'reopen' AND a.filter ->> 'month' = to_char(p.period_start, 'YYYY-MM')
      AND a.filter ->> 'account' = p.account AND (a.filter ->> 'livemode')::boolean = p.livemode
    ORDER BY a.id DESC LIMIT 1)
WHERE p.reopened_at IS NOT NULL;
"""

# As in 0012, but that a month before the books is locked.
STATUS = """
CREATE OR REPLACE VIEW analytics.reconciliation_status AS
WITH latest AS (
    SELECT DISTINCT ON (account, livemode, period_start, period_end, timezone) *
    FROM reconcile_runs
    ORDER BY account, livemode, period_start, period_end, timezone, id DESC
)
SELECT r.account, r.livemode, r.period_start, r.period_end, r.timezone, c.currency, r.id AS run,
    r.at, clock_timestamp() - r.at AS age, r.source, r.verdict, r.delivered,
    c.stripe_minor, c.ledger_minor, c.unexplained_minor, c.unexplained,
    coalesce(m.status, CASE WHEN r.period_start < (
        SELECT min(b.period_start) FROM accounting_periods b
        WHERE b.account = r.account AND b.livemode = r.livemode)
        THEN 'locked' ELSE 'open' END) AS month_status
FROM latest r
LEFT JOIN accounting_periods m
  ON m.account = r.account AND m.livemode = r.livemode AND m.timezone = r.timezone
 AND m.period_start = r.period_start AND m.period_end = r.period_end
LEFT JOIN LATERAL (
    SELECT currency, sum(stripe_minor)::bigint AS stripe_minor,
        sum(ledger_minor)::bigint AS ledger_minor,
        sum(unexplained_minor)::bigint AS unexplained_minor, sum(unexplained) AS unexplained
    FROM (
        SELECT t ->> 'currency' AS currency, (t ->> 'stripe')::bigint AS stripe_minor,
            (t ->> 'ledger')::bigint AS ledger_minor, 0 AS unexplained_minor, 0 AS unexplained
        FROM jsonb_array_elements(r.totals) AS t
        UNION ALL
        SELECT trim(x.currency), 0, 0, coalesce(x.stripe_minor, 0) - coalesce(x.ledger_minor, 0), 1
        FROM reconcile_results x WHERE x.run = r.id AND NOT x.explained
    ) AS each GROUP BY currency
) AS c ON true;
COMMENT ON COLUMN analytics.reconciliation_status.month_status IS
    'closed, open, or locked (before the first that was closed), where the period is a month.';
"""


def upgrade() -> None:
    op.execute(GUARD)
    op.execute(REOPENED)
    op.execute(STATUS)
