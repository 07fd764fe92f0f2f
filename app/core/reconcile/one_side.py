"""What only Stripe has, or only the ledger: why, and what to do next."""

from datetime import timedelta

from app.core.money import Money
from app.core.reconcile.categories import ANNOUNCERS, COSTS, EARNINGS, MOVEMENTS
from app.core.reconcile.frame import Frame, again, correct, look, look_first, whose
from app.core.reconcile.match import Group, payment_ids
from app.core.reconcile.results import Said
from app.core.reconcile.rows import LedgerEntry, StripeRow, sums

# Stripe settles an asynchronous capture within the hour:
# https://docs.stripe.com/payments/payment-intents/asynchronous-capture
SETTLES_WITHIN = timedelta(hours=1)
LISTED = timedelta(days=30)  # how long Stripe lists its events: then only its objects know
DAY = timedelta(days=1)
# How long before its money moved an object may have been made: an invoice is collected for weeks,
# a refund fails days later, and a bank takes months to decide on a dispute.
MADE_BEFORE = {
    "payments": 35 * DAY,
    "refund failures": 35 * DAY,
    "dispute reversals": 120 * DAY,
}


def missing_in_ledger(group: Group, frame: Frame) -> Said:
    known = frame.evidence
    ids = dict.fromkeys(one for row in group.rows for one in _about(row, group.part, frame))
    if not any(sums(row.money for row in group.all_rows).values()):
        return Said("matched", "came_to_nothing", True, "Stripe's own rows cancel out.")
    connected = next((row.connected_account for row in group.rows if row.connected_account), None)
    if connected:
        step = again(frame, connected, frame.livemode)
        return Said("missing_in_ledger", "connect_account", next_step=step)
    if failed := next((known.failed[one] for one in ids if one in known.failed), None):
        note = "its webhook event was kept and could not be processed"
        return Said("missing_in_ledger", "event_failed", False, note, f"bridge replay {failed}")
    if group.part == "payments":
        paid = sum(row.money.minor for row in group.all_rows)
        if invoice := next((one for one in ids if paid < known.due.get(one, 0)), None):
            note = f"part of {invoice}, which is not fully paid: no revenue until it is"
            return Said("partial_payment", "open_invoice", True, note)
        of_invoice = any(one.startswith("in_") for one in ids)
        if not of_invoice and any(one in known.captured for one in ids):
            note = (
                "captured, and neither an invoice nor a checkout speaks for it; where Stripe has"
                " none either: bridge revenue unattributed"
            )
            step = _fetch(group, frame, "invoices,sessions")
            return Said("unattributed", "", False, note, step)
    if where := next(
        (known.told_elsewhere[one] for one in ids if one in known.told_elsewhere), None
    ):
        note = f"no webhook event told of it here; one did as {whose(*where)}"
        return Said("missing_in_ledger", "no_event", False, note, again(frame, *where))
    return _no_event(group, frame)


def _about(row: StripeRow, part: str, frame: Frame) -> list[str]:
    """What a webhook event that tells of this row is about."""
    if part == "payments":
        return payment_ids(row, frame.refs)
    return [row.source] if row.source else []


def _no_event(group: Group, frame: Frame) -> Said:
    wanted = ANNOUNCERS[group.part]  # type: ignore[index]
    only = {"payments": "invoices,charges,sessions", "refunds": "refunds"}.get(group.part)
    only = only or ("refunds" if group.part == "refund failures" else "disputes")
    if frame.evidence.heard and not frame.evidence.heard & set(wanted):
        note = f"the endpoint sends others, and in 90 days none of: {', '.join(wanted)}"
        then = _with_key(_backfill(group, frame, only), frame)
        step = f"Enable {wanted[0]} at the endpoint, then {then[0].lower()}{then[1:]}"
        return Said("missing_in_ledger", "event_filtered", False, note, step)
    step = _fetch(group, frame, only)
    return Said("missing_in_ledger", "no_event", False, "no webhook event told of it", step)


def _fetch(group: Group, frame: Frame, only: str) -> str:
    """What brings the webhook events of these transactions: while Stripe lists them, they."""
    newest = max(row.created for row in group.rows)
    if frame.now - newest >= LISTED:
        return _with_key(_backfill(group, frame, only), frame)
    if frame.with_key:
        return "bridge gap"
    return f"{_with_key('bridge gap', frame)}; or resend the webhook event in Stripe's dashboard"


def _with_key(command: str, frame: Frame) -> str:
    """A command that asks Stripe's API; without a key, first that."""
    return command if frame.with_key else f"Set STRIPE_API_KEY ({frame.mode} mode), then: {command}"


def _backfill(group: Group, frame: Frame, only: str) -> str:
    """Stripe lists objects by when they were made, and that may be long before money moved."""
    days = {row.day(frame.period.zone) for row in group.rows}
    begin, end = min(days) - MADE_BEFORE.get(group.part, DAY), max(days) + DAY
    return f"bridge backfill --from {begin} --to {end} --only {only}"


def outside(row: StripeRow) -> Said:
    if row.category in COSTS or row.category in EARNINGS:
        return Said("missing_in_ledger", "not_event_driven", True, "Stripe's row alone tells it")
    if row.category in MOVEMENTS:
        return Said("out_of_scope", row.category, True)
    note = f"Stripe's reporting category {row.category[:60]!r} is new to the bridge"
    step = (
        "Look it up among Stripe's reporting categories. If it is no revenue of yours, close the"
        " month with --accept-breaks."
    )
    return Said("out_of_scope", "unknown_category", False, note, step)


def missing_in_stripe(entry: LedgerEntry, frame: Frame) -> Said:
    known, kind = frame.evidence, "missing_in_stripe"
    if frame.now - entry.occurred_at < SETTLES_WITHIN:
        note = "Stripe settles within the hour"
        return Said("pending_settlement", "async_capture", True, note, "Run this again later.")
    recorded, minor = known.recorded.get(entry.key, 0), entry.money.minor
    if entry.out_of_band or entry.invoice in known.not_by_stripe or 0 < minor <= recorded:
        return Said(kind, "out_of_band", True, "paid outside of Stripe")
    if known.credited.get(entry.key, 0) >= minor > 0:
        return Said(kind, "credit_balance_only", True, "paid from the customer's credit balance")
    if where := known.elsewhere.get(entry.key):
        reason = "test_vs_live" if where in ("test", "live") else "other_account"
        step = correct(entry, frame, f"{kind} {reason}")
        return Said(kind, reason, False, f"Stripe has it in {where}", step)
    if entry.origin == "manual":
        return Said(kind, "manual_entry", False, "booked by hand", look(entry, frame))
    first, last = frame.covered
    wider = "Give two days more on either side of the period, and run this again."
    if entry.occurred_at > last - SETTLES_WITHIN:
        return Said(kind, "after_cutoff", False, "perhaps settled after the last row", wider)
    if entry.occurred_at < first + SETTLES_WITHIN:
        return Said(kind, "before_start", False, "perhaps settled before the first row", wider)
    step = look_first(entry, frame, f"where it is no revenue: {correct(entry, frame, kind)}")
    note = "no transaction of Stripe's is of it"
    if recorded:
        elsewhere = Money(recorded, entry.money.currency)
        note = f"{elsewhere} was paid outside of Stripe; no transaction is of the rest"
    return Said(kind, "unknown", False, note, step)


def copied(copy: LedgerEntry, main: LedgerEntry, frame: Frame) -> Said:
    note = f"{main.key} has this money already: it is booked twice"
    step = correct(copy, frame, "duplicate_in_ledger")
    return Said("duplicate_in_ledger", copy.kind, False, note, step)
