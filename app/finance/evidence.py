"""Why two sides do not agree: what the database, and Stripe where it may be asked, know of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection

from app.core.reading import shapes
from app.core.reading.shapes import id_of, mapping
from app.core.reconcile.frame import Evidence
from app.core.reconcile.match import Group, Refs, payment_ids
from app.core.reconcile.rows import Period
from app.finance import elsewhere
from app.store import evidence as kept
from app.store.identities import Scope
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

MOST_ASKED = 100  # questions to Stripe of each kind: with more, something greater is wrong
BY_STRIPE = frozenset({"payment_intent", "charge"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """The groups to look into, by which side they are on; and those of both, that differ."""

    without_entry: Sequence[Group]
    without_row: Sequence[Group]
    different: Sequence[Group]


def sort(groups: Iterable[Group]) -> Doubts:
    """Those of the groups for which more than both sides' amounts must be known."""
    without_entry: list[Group] = []
    without_row: list[Group] = []
    different: list[Group] = []
    for group in groups:
        if group.agrees:
            continue
        if not group.all_entries:
            without_entry.append(group)
        elif not group.all_rows:
            without_row.append(group)
        else:
            different.append(group)
    return Doubts(without_entry=without_entry, without_row=without_row, different=different)


def ask_for_invoices(
    api: StripeApi, account: str, groups: Sequence[Group], refs: Refs
) -> list[tuple[str, str]]:
    """Which invoices these payments pay, of those that we know none of: (payment intent, invoice).
    What Stripe does not answer stays unknown."""
    wanted = {
        row.payment_intent
        for group in groups
        if group.part == "payments"
        for row in group.rows
        if row.payment_intent and not any(map(_is_invoice, payment_ids(row, refs)))
    }
    found = []
    for intent in sorted(wanted)[:MOST_ASKED]:
        try:
            links = api.invoice_payments_of(intent, account)
        except (StripeMissing, StripeRefused, StripeUnavailable) as error:
            log.warning("reconcile.not_asked", payment=intent, reason=str(error))
            break
        found += [(intent, invoice) for link in links if (invoice := id_of(link.get("invoice")))]
    return found


def gather(
    connection: Connection, scope: Scope, doubts: Doubts, refs: Refs, period: Period
) -> Evidence:
    """What the database knows. Nothing is read where there is no doubt of its kind."""
    since = period.bounds()[0]
    ids = {one for group in doubts.without_entry for one in _ids(group, refs)}
    keys = {entry.key for group in doubts.without_row for entry in group.all_entries}
    differing = {entry.key for group in doubts.different for entry in group.all_entries}
    found = Evidence()
    if doubts.without_entry:
        invoices = {one for one in ids if _is_invoice(one)}
        found = replace(
            found,
            failed=kept.quarantined(connection, scope),
            heard=kept.heard(connection, scope, since),
            captured=kept.captured(connection, scope, ids),
            due=kept.due(connection, scope, invoices, since),
            told_elsewhere=elsewhere.told(connection, scope, doubts.without_entry),
        )
    if keys:
        found = replace(
            found,
            elsewhere=kept.elsewhere(connection, scope, keys),
            credited=kept.credited(connection, scope, keys),
        )
    unsure = (*doubts.different, *doubts.without_row)
    other_parts, recorded = _parts(connection, scope, unsure)
    return replace(
        found,
        other_parts=other_parts,
        recorded=recorded,
        told_by=kept.told_by(connection, scope, keys | differing),
    )


def _ids(group: Group, refs: Refs) -> list[str]:
    return [one for row in group.rows for one in payment_ids(row, refs)]


def _is_invoice(object_id: str) -> bool:
    return object_id.startswith("in_")


def _parts(
    connection: Connection, scope: Scope, groups: Sequence[Group]
) -> tuple[dict[str, int], dict[str, int]]:
    """What else was paid of the invoice of an entry, by the entry's key: captured, of payments that
    no transaction in sight is of; and recorded as paid outside of Stripe."""
    entries = {
        entry.invoice: (entry, group)
        for group in groups
        for entry in group.all_entries
        if entry.kind == "payment" and entry.invoice
    }
    captured: dict[str, int] = {}
    recorded: dict[str, int] = {}
    for invoice, payment, charge, money in kept.payments_of(connection, scope, entries):
        entry, group = entries[invoice]
        seen = {one for row in group.all_rows for one in (row.source, row.charge)}
        seen |= {row.payment_intent for row in group.all_rows}
        if not seen & {payment, charge} and money.currency == entry.money.currency:
            found = recorded if payment.startswith("pr_") else captured
            found[entry.key] = found.get(entry.key, 0) + money.minor
    return captured, recorded


def ask(api: StripeApi, account: str, doubts: Doubts, refs: Refs, known: Evidence) -> Evidence:
    """What Stripe says of invoices: what a partly paid one asks for, and which were paid without
    it. What it does not answer stays as it was known."""
    asked_for = {
        one
        for group in doubts.without_entry
        if group.part == "payments"
        for one in _ids(group, refs)
        if _is_invoice(one)
    }
    unpaid = {
        entry.invoice
        for group in doubts.without_row
        for entry in group.entries
        if entry.kind == "payment" and entry.invoice and not entry.out_of_band
    }
    due, not_by_stripe = dict(known.due), set(known.not_by_stripe)
    try:
        for invoice in sorted(asked_for)[:MOST_ASKED]:
            due[invoice] = _asks_for(api, account, invoice, due.get(invoice, 0))
        for invoice in sorted(unpaid)[:MOST_ASKED]:
            if _paid_without_stripe(api, account, invoice):
                not_by_stripe.add(invoice)
    except (StripeRefused, StripeUnavailable, shapes.Missing) as error:
        log.warning("reconcile.not_asked", reason=str(error))
    return replace(known, due=due, not_by_stripe=frozenset(not_by_stripe))


def _asks_for(api: StripeApi, account: str, invoice_id: str, known: int) -> int:
    """Minor units; 0 of one that is paid, and what was known of one that Stripe does not have."""
    try:
        invoice = api.get(f"/v1/invoices/{invoice_id}", account=account)
    except StripeMissing:
        return known
    return 0 if shapes.invoice_is_paid(invoice) else shapes.integer(invoice, "amount_due")


def _paid_without_stripe(api: StripeApi, account: str, invoice_id: str) -> bool:
    """Whether Stripe has this invoice, and no payment of it is Stripe's own: a payment record is
    somebody else's. One that Stripe does not have is of another mode or account, or of nobody."""
    try:
        api.get(f"/v1/invoices/{invoice_id}", account=account)
        links = list(api.pages("/v1/invoice_payments", account=account, invoice=invoice_id))
    except StripeMissing:
        return False
    return not any(mapping(link.get("payment")).get("type") in BY_STRIPE for link in links)
