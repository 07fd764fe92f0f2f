"""Every table, for SQLAlchemy Core. The migrations are what makes them; a test compares the two."""

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()


def _time(name: str, *, null: bool = False, clock: bool = False) -> Column[object]:
    default = text("clock_timestamp()") if clock else None
    return Column(name, DateTime(timezone=True), nullable=null, server_default=default)


def _scope() -> tuple[Column[str], Column[bool]]:
    """Whose object it is: ids are unique within an account and a mode."""
    return Column("account", Text, nullable=False), Column("livemode", Boolean, nullable=False)


# Permanent dedupe of webhook events; it outlives the partitions below.
webhook_event_keys = Table(
    "webhook_event_keys",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    *_scope(),
    Column("event_id", Text, nullable=False),
    PrimaryKeyConstraint("account", "livemode", "event_id", name="webhook_event_keys_kept_once"),
)
# What Stripe sent, word for word, and what became of it. Partitioned by month of received_at.
webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", BigInteger, nullable=False),
    _time("received_at", clock=True),
    *_scope(),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    _time("created"),
    Column("api_version", Text),
    Column("origin", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("verdict", Text),
    Column("reason", Text),
    _time("decided_at", null=True),
    _time("erased_at", null=True),
    PrimaryKeyConstraint("id", "received_at", name="webhook_events_pkey"),
    Index("webhook_events_event_id", "event_id"),
    Index("webhook_events_received_at", "received_at"),
    Index(
        "webhook_events_open",
        "verdict",
        "received_at",
        postgresql_where=text("verdict IS NULL OR verdict = 'quarantined'"),
    ),
)
# The schedule: one narrow row per unfinished thing, deleted on finish.
work = Table(
    "work",
    metadata,
    Column("lane", Text, nullable=False),
    Column("ref_id", BigInteger, nullable=False),
    _time("due_at", clock=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("crashes", SmallInteger, nullable=False, server_default="0"),
    Column("token", BigInteger, nullable=False, server_default="0"),
    Column("leased", Boolean, nullable=False, server_default=text("false")),
    Column("posting", Boolean, nullable=False, server_default=text("false")),
    _time("leased_at", null=True),
    PrimaryKeyConstraint("lane", "ref_id", name="work_pkey"),
    Index("work_due", "lane", "due_at"),
    Index("work_suspects", "lane", "due_at", postgresql_where=text("crashes >= 3")),
)
lane_slots = Table(
    "lane_slots",
    metadata,
    Column("lane", Text, nullable=False),
    Column("slot", SmallInteger, nullable=False),
    Column("token", BigInteger, nullable=False, server_default="0"),
    _time("leased_until"),
    PrimaryKeyConstraint("lane", "slot", name="lane_slots_pkey"),
)
# What Stripe's API answered for a thin event, which carries no object.
hydrations = Table(
    "hydrations",
    metadata,
    Column("webhook_event_id", BigInteger, nullable=False, autoincrement=False),
    _time("fetched_at", clock=True),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("webhook_event_id", name="hydrations_pkey"),
)
# Which Stripe object belongs to which: a payment intent to its invoice, and so on up.
stripe_refs = Table(
    "stripe_refs",
    metadata,
    *_scope(),
    Column("child", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("customer", Boolean, nullable=False),
    PrimaryKeyConstraint("child", "parent", "account", "livemode", name="stripe_refs_pkey"),
)
identity_links = Table(
    "identity_links",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    *_scope(),
    Column("object_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("rank", SmallInteger, nullable=False),
    Column("ids", JSONB, nullable=False),
    Column("campaign", JSONB, nullable=False),
    Column("consent", Text),
    _time("stated_at"),
    _time("completed_at", null=True),
    _time("recorded_at", clock=True),
    Column("digest", Text, nullable=False),
    Column("anchor", Boolean, nullable=False, server_default=text("false")),
    _time("last_stated_at"),
    PrimaryKeyConstraint("id", name="identity_links_pkey"),
    UniqueConstraint(
        "object_id", "account", "livemode", "source", "digest", name="identity_links_said_once"
    ),
)
subscription_snapshots = Table(
    "subscription_snapshots",
    metadata,
    Column("webhook_event_id", BigInteger, nullable=False, autoincrement=False),
    *_scope(),
    Column("subscription", Text, nullable=False),
    Column("customer", Text),
    _time("stated_at"),
    Column("status", Text, nullable=False),
    _time("started_at"),
    _time("trial_start", null=True),
    _time("trial_end", null=True),
    _time("ended_at", null=True),
    Column("items", JSONB, nullable=False),
    Column("discounts", JSONB, nullable=False),
    Column("previous_attributes", JSONB),
    Column("event_id", Text, nullable=False),
    Column("currency", Text),
    Column("paused_collection", Boolean, nullable=False),
    Column("churn", Text),
    Column("hydrated", Boolean, nullable=False),
    PrimaryKeyConstraint("webhook_event_id", name="subscription_snapshots_pkey"),
    Index("subscription_snapshots_subscription", "subscription", "stated_at"),
    Index("subscription_snapshots_customer", "customer"),
)
# Money captured; revenue only once a checkout or an invoice speaks for it.
payments = Table(
    "payments",
    metadata,
    *_scope(),
    Column("payment", Text, nullable=False),
    Column("customer", Text),
    Column("charge", Text),
    Column("minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    _time("occurred_at"),
    _time("recorded_at", clock=True),
    Column("webhook_event_id", BigInteger),
    PrimaryKeyConstraint("payment", "account", "livemode", name="payments_pkey"),
    Index("payments_webhook_event", "webhook_event_id"),
    Index("payments_customer", "customer"),
)
# Who says that a payment pays no invoice.
payment_claims = Table(
    "payment_claims",
    metadata,
    *_scope(),
    Column("payment", Text, nullable=False),
    Column("session", Text),
    Column("tax_minor", BigInteger, nullable=False, server_default="0"),
    Column("discount_minor", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("payment", "account", "livemode", name="payment_claims_pkey"),
)
# The ledger. Triggers refuse UPDATE, DELETE and TRUNCATE.
revenue_entries = Table(
    "revenue_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *_scope(),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("tax_minor", BigInteger),
    Column("discount_minor", BigInteger),
    Column("customer", Text),
    Column("subscription", Text),
    Column("invoice", Text),
    Column("payment_intent", Text),
    Column("charge", Text),
    Column("refund", Text),
    Column("out_of_band", Boolean),
    _time("occurred_at"),
    _time("recorded_at", clock=True),
    Column("effective_date", Date, nullable=False),
    Column("posting_date", Date, nullable=False),
    Column("origin", Text, nullable=False),
    Column("webhook_event_id", BigInteger),
    Column("dispute", Text),
    Column("corrects", Text),
    UniqueConstraint("account", "livemode", "key", name="revenue_entries_booked_once"),
    Index("revenue_entries_date", "effective_date", "currency"),
    Index("revenue_entries_posted", "posting_date"),
    Index("revenue_entries_webhook_event", "webhook_event_id"),
    Index("revenue_entries_customer", "customer"),
    Index(
        "revenue_entries_corrected",
        *("account", "livemode", "corrects"),
        postgresql_where=text("corrects IS NOT NULL"),
    ),
    Index(
        "revenue_entries_of_payment",
        text("coalesce(payment_intent, charge)"),
        postgresql_where=text("customer IS NULL"),
    ),
)
analytics_events = Table(
    "analytics_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *_scope(),
    Column("key", Text, nullable=False),
    Column("uuid", Uuid, nullable=False),
    Column("schema_version", SmallInteger, nullable=False),
    Column("name", Text, nullable=False),
    _time("occurred_at"),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("about", ARRAY(Text), nullable=False),
    Column("customer", Text),
    Column("subscription", Text),
    Column("invoice", Text),
    _time("cycle_start", null=True),
    Column("properties", JSONB, nullable=False),
    Column("identity", JSONB),
    Column("minor", BigInteger),
    Column("currency", CHAR(3)),
    Column("webhook_event_id", BigInteger),
    _time("recorded_at", clock=True),
    _time("held_until"),
    _time("released_at", null=True),
    Column("change", JSONB),
    Column("of_payment", Boolean, nullable=False, server_default=text("false")),
    Column("own", JSONB),
    Column("tax_minor", BigInteger),
    Column("warning", Text),
    UniqueConstraint("account", "livemode", "key", name="analytics_events_told_once"),
    Index(
        "analytics_events_invoice",
        "invoice",
        postgresql_where=text("name IN ('payment_failed', 'payment_succeeded')"),
    ),
    Index(
        "analytics_events_customer",
        "customer",
        postgresql_where=text("name IN ('subscription_started', 'subscription_cancelled')"),
    ),
    Index("analytics_events_webhook_event", "webhook_event_id"),
    Index(
        "analytics_events_trials",
        "subscription",
        "occurred_at",
        postgresql_where=text(
            "name IN ('trial_started', 'trial_converted', 'trial_cancelled', 'trial_expired')"
        ),
    ),
    Index(
        "analytics_events_nobody",
        "account",
        "livemode",
        "customer",
        postgresql_where=text("state <> 'released' OR (identity ->> 'fallback') = 'true'"),
    ),
)
# What a held analytics event waits to hear of: a row per Stripe id.
identity_waits = Table(
    "identity_waits",
    metadata,
    Column("object_id", Text, nullable=False),
    Column("analytics_event_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("object_id", "analytics_event_id", name="identity_waits_pkey"),
    Index("identity_waits_event", "analytics_event_id"),
)
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("destination", Text, nullable=False),
    Column("analytics_event_id", BigInteger, ForeignKey("analytics_events.id"), nullable=False),
    Column("dedupe_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("payload", LargeBinary),
    Column("reason", Text),
    _time("created_at", clock=True),
    _time("finished_at", null=True),
    Column("historical", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("analytics_event_id", "destination", name="deliveries_owed_once"),
    Index("deliveries_dead", "destination", "id", postgresql_where=text("state = 'dead'")),
)
attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("token", BigInteger, nullable=False),
    _time("started_at"),
    Column("outcome", Text, nullable=False),
    Column("status", SmallInteger),
    Column("answer", Text),
    Column("latency_ms", Integer, nullable=False),
    PrimaryKeyConstraint("delivery_id", "token", name="attempts_pkey"),
)
destinations_health = Table(
    "destinations_health",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("openings", Integer, nullable=False, server_default="0"),
    _time("suspended_until", null=True),
    Column("reason", Text),
    _time("changed_at", clock=True),
    Column("timed_out", Boolean, nullable=False, server_default=text("false")),
)
# Which analytics event has the browser's id of a conversion: the first that claimed it.
conversion_ids = Table(
    "conversion_ids",
    metadata,
    *_scope(),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("analytics_event", Uuid, nullable=False),
    PrimaryKeyConstraint("account", "livemode", "name", "digest", name="conversion_ids_pkey"),
)
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("at", clock=True),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("why", Text),
    Column("filter", JSONB, nullable=False),
    Column("rows", BigInteger, nullable=False),
)
# What subscriptions only point to: prices, coupons, discounts. The newest statement stands.
catalogue = Table(
    "catalogue",
    metadata,
    *_scope(),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    _time("stated_at"),
    Column("body", JSONB, nullable=False),
    Column("digest", Text, nullable=False),
    Column("webhook_event_id", BigInteger),
    PrimaryKeyConstraint("account", "livemode", "kind", "id", name="catalogue_pkey"),
    Index("catalogue_webhook_event", "webhook_event_id"),
)
# What Stripe's API was asked for, so that what it does not have is not asked for ever.
catalogue_checks = Table(
    "catalogue_checks",
    metadata,
    *_scope(),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    _time("checked_at", clock=True),
    PrimaryKeyConstraint("account", "livemode", "kind", "id", name="catalogue_checks_pkey"),
)
# What a subscription was worth a month, derived: a row per subscription and second.
subscription_states = Table(
    "subscription_states",
    metadata,
    *_scope(),
    Column("subscription", Text, nullable=False),
    _time("stated_at"),
    Column("customer", Text),
    Column("currency", Text),
    Column("status", Text, nullable=False),
    Column("churn", Text),
    Column("minor", BigInteger),
    Column("missing", ARRAY(Text), nullable=False),
    Column("asked", ARRAY(Text), nullable=False),
    _time("discount_ends_at", null=True),
    Column("minor_after", BigInteger),
    PrimaryKeyConstraint(
        "account", "livemode", "subscription", "stated_at", name="subscription_states_pkey"
    ),
    Index("subscription_states_asked", "asked", postgresql_using="gin"),
    Index("subscription_states_customer", "customer"),
    Index(
        "subscription_states_missing",
        "account",
        "livemode",
        postgresql_where=text("missing <> '{}'"),
    ),
)
# Every request to forget a person: by whom, when, and how it went; not whom.
erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    _time("begun_at", clock=True),
    _time("finished_at", null=True),
    Column("who", Text, nullable=False),
    Column("why", Text),
    Column("salt", LargeBinary, nullable=False),
    Column("seed", LargeBinary, nullable=False),
    Column("destinations", JSONB, nullable=False, server_default=text("'{}'")),
    Column("rows", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("id", name="erasures_pkey"),
)
# By what people who were forgotten are known again: Stripe's objects, and digests of their ids.
tombstones = Table(
    "tombstones",
    metadata,
    Column("object_id", Text, nullable=False),
    *_scope(),
    _time("erased_at", clock=True),
    PrimaryKeyConstraint("object_id", "account", "livemode", name="tombstones_pkey"),
)
erased_ids = Table(
    "erased_ids",
    metadata,
    Column("digest", LargeBinary, nullable=False),
    _time("erased_at", clock=True),
    PrimaryKeyConstraint("digest", name="erased_ids_pkey"),
)
# Until when everything that Stripe's event list has is kept.
gap_cursors = Table(
    "gap_cursors",
    metadata,
    *_scope(),
    _time("covered_until"),
    PrimaryKeyConstraint("account", "livemode", name="gap_cursors_pkey"),
)
gap_runs = Table(
    "gap_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("started_at", clock=True),
    _time("ended_at", null=True),
    Column("missing", BigInteger),
    Column("known", BigInteger),
    Column("failure", Text),
    Index("gap_runs_started_at", "started_at"),
)
# What Stripe's event list had no more when it was compared, until a backfill has read it.
gap_uncovered = Table(
    "gap_uncovered",
    metadata,
    *_scope(),
    _time("compared"),
    _time("since"),
    _time("until"),
    PrimaryKeyConstraint("account", "livemode", "since", name="gap_uncovered_pkey"),
)
# How far an unfinished backfill has read each of Stripe's lists.
backfill_progress = Table(
    "backfill_progress",
    metadata,
    *_scope(),
    Column("list", Text, nullable=False),
    _time("since"),
    _time("until"),
    Column("after_id", Text),
    Column("read", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    _time("changed_at", clock=True),
    PrimaryKeyConstraint(
        "account", "livemode", "list", "since", "until", name="backfill_progress_pkey"
    ),
)
# When each signing secret was last used, by its label.
webhook_secrets_used = Table(
    "webhook_secrets_used",
    metadata,
    Column("label", Text, primary_key=True),
    _time("last_used_at"),
)
# Stripe's balance transactions, as reconciliations read them: a row for each that found something
# new. Triggers refuse any change. What counts is the view current_settlements.
settlements = Table(
    "settlements",
    metadata,
    *_scope(),
    Column("id", Text, nullable=False),
    _time("created"),
    Column("category", Text, nullable=False),
    Column("gross", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("minor", BigInteger),
    Column("customer_currency", CHAR(3)),
    Column("exchange_rate", Numeric),
    Column("source", Text),
    Column("charge", Text),
    Column("payment_intent", Text),
    Column("invoice", Text),
    _time("recorded_at", clock=True),
    Column("run", BigInteger, nullable=False, server_default="0"),
    Column("effective_date", Date, nullable=False),
    Column("posting_date", Date, nullable=False),
    PrimaryKeyConstraint("account", "livemode", "id", "run", name="settlements_pkey"),
    Index("settlements_created", "account", "livemode", "created"),
    Index("settlements_posted", "posting_date"),
)
# Those that count no more, as a later run (by_run) found them otherwise or not at all.
withdrawn_settlements = Table(
    "withdrawn_settlements",
    metadata,
    *_scope(),
    Column("id", Text, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("by_run", BigInteger, nullable=False),
    Column("posting_date", Date, nullable=False),
    _time("recorded_at", clock=True),
    PrimaryKeyConstraint("account", "livemode", "id", "run", name="withdrawn_settlements_pkey"),
    ForeignKeyConstraint(
        ("account", "livemode", "id", "run"),
        ("settlements.account", "settlements.livemode", "settlements.id", "settlements.run"),
        name="withdrawn_settlements_fkey",
    ),
)
# Which revenue entry a settlement is of, as far as a reconciliation could match them.
settled_entries = Table(
    "settled_entries",
    metadata,
    *_scope(),
    Column("settlement", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("run", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint(
        *("account", "livemode", "settlement", "run", "key"), name="settled_entries_pkey"
    ),
    Index("settled_entries_key", "account", "livemode", "key"),
)
reconcile_runs = Table(
    "reconcile_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("at", clock=True),
    Column("who", Text, nullable=False),
    *_scope(),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("snapshot_sha256", Text, nullable=False),
    Column("transactions", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("classes", JSONB, nullable=False),
    Column("totals", JSONB, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("delivered", Boolean, nullable=False),
    Index("reconcile_runs_period", "account", "livemode", "period_start", "period_end", "id"),
)
# What did not simply match; the rest is counted in the run.
reconcile_results = Table(
    "reconcile_results",
    metadata,
    Column("run", BigInteger, ForeignKey("reconcile_runs.id"), nullable=False),
    Column("line", Integer, nullable=False, autoincrement=False),
    Column("class", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("stripe_minor", BigInteger),
    Column("ledger_minor", BigInteger),
    Column("subject", Text, nullable=False),
    Column("transactions", ARRAY(Text), nullable=False),
    Column("entries", ARRAY(Text), nullable=False),
    Column("stripe_date", Date),
    Column("ledger_date", Date),
    Column("note", Text, nullable=False),
    Column("next_step", Text, nullable=False),
    Column("explained", Boolean, nullable=False),
    PrimaryKeyConstraint("run", "line", name="reconcile_results_pkey"),
)
# Months that were closed at least once; one without a row is open, or locked if it is before them.
# `version` is 1, and one more with each reopening.
accounting_periods = Table(
    "accounting_periods",
    metadata,
    *_scope(),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    _time("closed_at"),
    Column("closed_by", Text, nullable=False),
    Column("totals", JSONB, nullable=False),
    Column("reconcile_run", BigInteger),
    Column("why", Text),
    _time("reopened_at", null=True),
    Column("reopened_by", Text),
    Column("reopened_why", Text),
    PrimaryKeyConstraint("account", "livemode", "period_start", name="accounting_periods_pkey"),
)
# In which zone the views of the schema `analytics` count days; one row.
reporting_zone = Table(
    "reporting_zone",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("timezone", Text, nullable=False),
)
