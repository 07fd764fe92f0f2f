"""Every class of the comparison, from the two sides and what else is known."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.core.money import Money
from app.core.reconcile.classes import outside_results
from app.core.reconcile.earlier import withdrawn
from app.core.reconcile.match import outside
from app.core.reconcile.rows import KeptRow, StripeRow, digest, from_api
from tests.core.reconcile_objects import (
    DAY,
    NOON,
    OCTOBER,
    a_frame,
    entry,
    judged,
    refund_entry,
    refund_row,
    row,
    said,
)

LAST_NIGHT = datetime(2026, 9, 30, 23, 59, 58, tzinfo=UTC)


def test_the_charges_of_an_invoice_are_one_group_with_its_entry() -> None:
    two = {"pi_1": ["in_1"], "pi_2": ["in_1"]}

    found = judged([row(1, gross=400), row(2, gross=600)], [entry(1)], refs=two)

    assert said(found) == [("matched", "", 1000, 1000, True)]
    assert (found[0].transactions, found[0].entries) == (("txn_1", "txn_2"), ("payment:in_1",))


def test_a_payment_without_an_invoice_matches_by_its_payment_intent_or_its_charge() -> None:
    by_intent = entry(1, key="payment:pi_1", invoice=None, payment_intent="pi_1")
    by_charge = entry(2, key="payment:ch_2", invoice=None, charge="ch_2")

    found = judged([row(1), row(2, payment_intent=None)], [by_intent, by_charge], refs={})

    assert said(found) == [("matched", "", 1000, 1000, True)] * 2


def test_the_reversal_of_a_partial_capture_nets_into_its_charge() -> None:
    reversal = row(1, id="txn_9", category="partial_capture_reversal", gross=-400, source="re_9")

    found = judged([row(1, gross=1400), reversal], [entry(1)])

    assert said(found) == [("matched", "", 1000, 1000, True)]


def test_what_was_settled_in_another_currency_is_matched_by_what_the_customer_paid() -> None:
    in_dollars = row(1, gross=1140, currency="usd", shown=Money(1000, "eur"))

    assert said(judged([in_dollars], [entry(1)])) == [("matched", "fx", 1000, 1000, True)]


def test_refunds_their_failures_and_disputes_match_by_their_own_ids() -> None:
    failed = refund_row(1, id="txn_f", category="refund_failure", gross=300)
    lost = row(1, id="txn_d", category="dispute", gross=-1000, source="dp_1")
    won = row(1, id="txn_w", category="dispute_reversal", gross=1000, source="dp_1")
    entries = [
        refund_entry(1),
        refund_entry(
            1, key="refund:re_1:reversed", kind="refund_reversal", money=Money(300, "eur")
        ),
        refund_entry(1, key="dispute:dp_1:txn_d", kind="dispute", money=Money(-1000, "eur")),
        refund_entry(
            1, key="dispute:dp_1:txn_w", kind="dispute_reversal", money=Money(1000, "eur")
        ),
    ]
    entries[2:] = [replace(one, refund=None) for one in entries[2:]]

    found = judged([refund_row(1), failed, lost, won], entries)

    assert sorted((one.part, one.kind, one.stripe, one.ledger) for one in found) == [
        ("dispute reversals", "matched", 1000, 1000),
        ("disputes", "matched", -1000, -1000),
        ("refund failures", "matched", 300, 300),
        ("refunds", "matched", -300, -300),
    ]


# --- only in Stripe


def test_what_no_webhook_event_told_is_found_by_gap_or_if_older_by_backfill() -> None:
    [recent] = judged([row(1)], [], now=NOON + timedelta(days=29))
    [old] = judged([row(1)], [], now=NOON + timedelta(days=31))

    assert said([recent]) == [("missing_in_ledger", "no_event", 1000, None, False)]
    assert recent.next_step == "bridge gap"
    assert old.next_step == (
        "bridge backfill --from 2026-09-05 --to 2026-10-11 --only invoices,charges,sessions"
    )


def test_what_could_not_be_processed_names_the_webhook_event_to_replay() -> None:
    [found] = judged([row(1)], [], failed={"in_1": "evt_9"})

    assert said([found]) == [("missing_in_ledger", "event_failed", 1000, None, False)]
    assert found.next_step == "bridge replay evt_9"


def test_a_refund_is_not_excused_by_what_failed_of_its_charge() -> None:
    [found] = judged([refund_row(1)], [], failed={"ch_1": "evt_9"})

    assert said([found]) == [("missing_in_ledger", "no_event", -300, None, False)]


def test_what_the_endpoint_does_not_send_is_to_be_enabled() -> None:
    [found] = judged([refund_row(1)], [], heard=frozenset({"invoice.paid"}))

    assert said([found]) == [("missing_in_ledger", "event_filtered", -300, None, False)]
    assert found.next_step == (
        "Enable refund.created at the endpoint, then"
        " bridge backfill --from 2026-10-09 --to 2026-10-11 --only refunds"
    )


def test_an_endpoint_that_was_never_heard_is_a_gap_and_not_a_filter() -> None:
    [found] = judged([row(1)], [], heard=frozenset())

    assert found.reason == "no_event"


def test_a_connected_accounts_money_is_compared_under_its_account() -> None:
    [found] = judged([row(1, connected_account="acct_1")], [])

    assert said([found]) == [("missing_in_ledger", "connect_account", 1000, None, False)]
    assert found.next_step == (
        "bridge reconcile --account acct_1 --live --from 2026-10-01 --to 2026-11-01"
    )


def test_a_part_of_an_open_invoice_is_a_partial_payment() -> None:
    [part] = judged([row(1, gross=400)], [], due={"in_1": 1000})
    [whole] = judged([row(1, gross=1000)], [], due={"in_1": 1000})

    assert said([part]) == [("partial_payment", "open_invoice", 400, None, True)]
    assert said([whole]) == [("missing_in_ledger", "no_event", 1000, None, False)]


def test_a_payment_that_nobody_claims_is_unattributed() -> None:
    captured = frozenset({"pi_1"})

    [nobodys] = judged([row(1)], [], refs={}, captured=captured)
    [invoices] = judged([row(1)], [], captured=captured)

    assert said([nobodys]) == [("unattributed", "", 1000, None, False)]
    assert nobodys.next_step == "bridge gap"
    assert nobodys.note.endswith("where Stripe has none either: bridge revenue unattributed")
    assert invoices.reason == "no_event"  # its invoice speaks for it, and was not booked


def test_a_charge_that_failed_later_and_was_never_booked_comes_to_nothing() -> None:
    back = row(1, id="txn_9", category="charge_failure", gross=-1000, fee=0)

    assert said(judged([row(1), back], [])) == [("matched", "came_to_nothing", 0, None, True)]


@pytest.mark.parametrize(
    ("category", "kind", "reason", "explained"),
    [
        ("fee", "missing_in_ledger", "not_event_driven", True),
        ("network_cost", "missing_in_ledger", "not_event_driven", True),
        ("tax", "missing_in_ledger", "not_event_driven", True),
        ("platform_earning", "missing_in_ledger", "not_event_driven", True),
        ("payout", "out_of_scope", "payout", True),
        ("transfer_reversal", "out_of_scope", "transfer_reversal", True),
        ("risk_reserved_funds", "out_of_scope", "risk_reserved_funds", True),
        ("stablecoin_yield", "out_of_scope", "unknown_category", False),
    ],
)
def test_what_the_ledger_has_no_entries_of_is_named_by_its_category(
    category: str, kind: str, reason: str, explained: bool
) -> None:
    rows = [row(1, category=category, gross=-500, source=None)]

    found = list(outside_results(outside(rows, OCTOBER), a_frame()))

    assert said(found) == [(kind, reason, -500, None, explained)]


# --- only in the ledger


@pytest.mark.parametrize(
    ("given", "evidence", "reason", "explained"),
    [
        ({"out_of_band": True}, {}, "out_of_band", True),
        ({}, {"not_by_stripe": frozenset({"in_1"})}, "out_of_band", True),
        ({}, {"credited": {"payment:in_1": 1000}}, "credit_balance_only", True),
        ({}, {"credited": {"payment:in_1": 999}}, "unknown", False),
        ({}, {"elsewhere": {"payment:in_1": "test"}}, "test_vs_live", False),
        ({}, {"elsewhere": {"payment:in_1": "acct_1"}}, "other_account", False),
        ({"origin": "manual"}, {}, "manual_entry", False),
        ({"occurred_at": OCTOBER.bounds()[1] - timedelta(minutes=5)}, {}, "after_cutoff", False),
        ({"occurred_at": OCTOBER.bounds()[0] + timedelta(minutes=5)}, {}, "before_start", False),
        ({}, {}, "unknown", False),
    ],
)
def test_an_entry_without_any_transaction_says_why(
    given: dict[str, Any], evidence: dict[str, Any], reason: str, explained: bool
) -> None:
    found = judged([], [entry(1, **given)], **evidence)

    assert said(found) == [("missing_in_stripe", reason, None, 1000, explained)]


def test_an_entry_of_the_last_hour_may_still_settle() -> None:
    found = judged([], [entry(1)], now=NOON + timedelta(minutes=59))

    assert said(found) == [("pending_settlement", "async_capture", None, 1000, True)]


def test_an_entry_that_nothing_explains_names_the_webhook_event_that_made_it() -> None:
    [found] = judged([], [entry(1)], told_by={"payment:in_1": "evt_1"})

    assert found.next_step == (
        "Look first: bridge events show evt_1; where it is no revenue: bridge revenue correct"
        ' payment:in_1 --why "reconcile: missing_in_stripe"'
    )


# --- twice, or differently


def test_one_payment_under_two_keys_is_a_duplicate_of_the_invoices_entry() -> None:
    copy = entry(1, key="payment:pi_1", invoice=None, payment_intent="pi_1")

    found = judged([row(1)], [entry(1), copy])

    assert said(found) == [
        ("duplicate_in_ledger", "payment", None, 1000, False),
        ("matched", "", 1000, 1000, True),
    ]
    assert [one.subject for one in found] == ["payment:pi_1", "payment:in_1"]


def test_of_two_entries_the_one_that_agrees_with_stripe_is_not_the_copy() -> None:
    wrong = entry(1, money=Money(999, "eur"))
    right = entry(1, key="payment:pi_1", invoice=None, payment_intent="pi_1")

    found = judged([row(1)], [wrong, right])

    assert [(one.kind, one.subject) for one in found] == [
        ("duplicate_in_ledger", "payment:in_1"),
        ("matched", "payment:pi_1"),
    ]


@pytest.mark.parametrize(
    ("rows", "minor", "reason"),
    [
        ([row(1)], -1000, "sign"),
        ([row(1)], 100_000, "unit_scale"),
        ([row(1)], 10, "unit_scale"),
        ([row(1)], 1_000_000, "unit_scale"),
        ([row(1, gross=1140, currency="usd", shown=Money(1000, "eur"))], 1140, "fx"),
        (
            [
                row(1, gross=1400),
                row(1, id="txn_2", category="partial_capture_reversal", gross=-400),
            ],
            1400,
            "partial_capture",
        ),
        (
            [row(1), row(1, id="txn_2", category="charge_failure", gross=-950)],
            1000,
            "charge_failure",
        ),
        ([row(1)], 840, "tax_in_or_out"),
        ([row(1)], 1160, "tax_in_or_out"),
        ([row(1)], 1001, "unknown"),
    ],
)
def test_an_amount_that_differs_has_a_reason(
    rows: list[StripeRow], minor: int, reason: str
) -> None:
    found = judged(rows, [entry(1, money=Money(minor, "eur"))])

    total = sum(one.money.minor for one in rows)
    assert said(found) == [("amount_difference", reason, total, minor, False)]


def test_the_settled_amount_in_the_ledger_is_a_currency_mixed_up() -> None:
    in_dollars = row(1, gross=1140, currency="usd", shown=Money(1000, "eur"))

    found = judged([in_dollars], [entry(1, money=Money(1140, "usd"))])

    assert [(one.kind, one.reason, one.currency, one.stripe, one.ledger) for one in found] == [
        ("currency_difference", "settled_amount", "eur", 1000, None),
        ("currency_difference", "settled_amount", "usd", None, 1140),
    ]


def test_a_file_without_the_customers_amounts_cannot_prove_another_currency() -> None:
    in_dollars = row(1, gross=1140, currency="usd", shown=None)

    found = judged([in_dollars], [entry(1)])

    assert {(one.kind, one.reason, one.explained) for one in found} == {
        ("currency_difference", "customer_amount_unknown", False)
    }


def test_a_fee_that_was_another_one_before_is_a_difference() -> None:
    [found] = judged([row(1)], [entry(1)], earlier={"txn_1": KeptRow(row(1, fee=39), 7, "csv")})

    assert said([found]) == [("fee_difference", "changed", 1000, 1000, False)]
    had = "txn_1: run 7 (csv) had a fee of 0.39 EUR"
    assert found.note == f"{had}, this source has a fee of 0.40 EUR"


def test_so_is_a_payout_that_was_another_one_and_of_long_ago_nobody_knows_the_run() -> None:
    was = KeptRow(row(1, category="payout", gross=-900, fee=0), 0, "")
    now = row(1, category="payout", gross=-500, fee=0)

    [found] = outside_results([now], a_frame(earlier={"txn_1": was}))

    assert said([found]) == [("fee_difference", "changed", -500, None, False)]
    assert found.note == (
        "txn_1: an earlier run had -9.00 EUR and a fee of 0.00 EUR,"
        " this source has -5.00 EUR and a fee of 0.00 EUR"
    )


def test_what_an_earlier_run_had_of_the_period_and_this_source_has_not_is_named() -> None:
    phantom = row(2, category="fee", gross=-50_000, fee=0)
    of_other_days = row(3, created=OCTOBER.bounds()[1])
    earlier = {one.id: KeptRow(one, 7, "csv") for one in (row(1, fee=1), phantom, of_other_days)}

    [found] = withdrawn([row(1)], a_frame(earlier=earlier))

    assert said([found]) == [("fee_difference", "withdrawn", None, None, False)]
    assert (found.subject, found.part, found.transactions) == ("txn_2", "fee", ("txn_2",))
    assert found.note == (
        "run 7 (csv) had it with -500.00 EUR and a fee of 0.00 EUR; this source does not have it"
    )


@pytest.mark.parametrize(
    ("kept", "said", "left"),
    [
        ({}, {}, {}),
        ({"source": None}, {"source": "ch_1"}, {"source": "ch_1"}),
        ({"shown": None}, {}, {"shown": Money(1000, "eur")}),
        (
            {"exchange_rate": Decimal("1.1")},
            {"exchange_rate": None},
            {"exchange_rate": Decimal("1.1")},
        ),
        ({"invoice": "in_1"}, {"invoice": None, "charge": "ch_1"}, {"invoice": "in_1"}),
        ({}, {"connected_account": "acct_1"}, {}),
        (
            {"category": "payout", "shown": None},
            {"category": "payout"},
            {"category": "payout", "shown": None},
        ),
        ({"invoice": "in_1"}, {"invoice": None, "fee": 41}, {"fee": 41}),
        ({"invoice": "in_1"}, {"invoice": None, "source": "ch_2"}, {"source": "ch_2"}),
    ],
    ids=[
        *(
            "the same",
            "more",
            "shown",
            "less",
            "both",
            "of what is not kept",
            "of no customer",
            "another fee",
        ),
        "another charge",
    ],
)
def test_what_one_source_says_of_a_transaction_is_kept_beside_the_other_unless_they_contradict(
    kept: dict[str, Any], said: dict[str, Any], left: dict[str, Any]
) -> None:
    before, now = row(1, **kept), row(1, **said)

    found = now.beside(before)

    assert found == row(1, **left)
    assert (found is before) == (found == before)


# --- of other days


def test_what_another_time_zone_shifted_is_named_with_both_dates() -> None:
    [theirs] = judged([row(1)], [entry(1, effective_date=date(2026, 9, 30))])
    [ours] = judged([row(1, created=LAST_NIGHT)], [entry(1)])

    assert said([theirs]) == [("period_timezone", "another_period", 1000, None, True)]
    assert (theirs.stripe_date, theirs.ledger_date) == (DAY, date(2026, 9, 30))
    assert said([ours]) == [("period_timezone", "another_period", None, 1000, True)]
    assert ours.note == "Stripe's day is 2026-09-30, the ledger's 2026-10-10"


def test_what_is_only_of_the_days_around_is_no_result() -> None:
    around = entry(2, effective_date=date(2026, 9, 30))

    assert judged([row(1, created=LAST_NIGHT), row(2, created=LAST_NIGHT)], [around]) == []


def test_what_was_posted_later_is_a_late_adjustment() -> None:
    found = judged([row(1)], [entry(1, posting_date=date(2026, 11, 1))])

    assert said(found) == [("late_adjustment", "closed_period", 1000, 1000, True)]


def test_an_invoice_that_was_paid_in_parts_over_two_months_is_explained() -> None:
    two = {"pi_1": ["in_1"], "pi_2": ["in_1"]}
    near = judged([row(1, gross=400, created=LAST_NIGHT), row(2, gross=600)], [entry(1)], refs=two)
    far = judged([row(2, gross=600)], [entry(1)], refs=two, other_parts={"payment:in_1": 400})

    assert said(near) == said(far) == [("partial_payment", "paid_in_parts", 600, 1000, True)]


# --- from the API


API_CHARGE = {
    "object": "charge",
    "id": "ch_1",
    "amount": 1400,
    "amount_captured": 1000,
    "currency": "usd",
    "payment_intent": "pi_1",
    "invoice": None,
}


def a_transaction(**given: Any) -> dict[str, Any]:
    return {
        "object": "balance_transaction",
        "id": "txn_1",
        "amount": 880,
        "fee": 30,
        "net": 850,
        "currency": "eur",
        "created": int(NOON.timestamp()),
        "exchange_rate": 0.88,
        "reporting_category": "charge",
        "type": "charge",
        "source": API_CHARGE,
        **given,
    }


def test_the_customers_amount_is_the_one_that_the_rate_makes_the_settled_one_of() -> None:
    captured, authorized = from_api(a_transaction()), from_api(a_transaction(amount=1232, net=1202))

    assert (captured.shown, authorized.shown) == (Money(1000, "usd"), Money(1400, "usd"))
    assert (captured.source, captured.payment_intent, captured.invoice) == ("ch_1", "pi_1", None)


def test_a_dispute_in_another_currency_is_the_disputes_amount_as_in_the_ledger() -> None:
    values = {"currency": "eur", "exchange_rate": 0.88}
    moved = [
        {**values, "id": "txn_1", "amount": -880, "created": 1},
        {**values, "id": "txn_2", "amount": 450, "created": 2, "exchange_rate": 0.9},
    ]
    dispute = {"object": "dispute", "id": "dp_1", "amount": 1000, "currency": "usd"}
    source = {**dispute, "charge": "ch_1", "payment_intent": "pi_1", "balance_transactions": moved}
    out = from_api(a_transaction(amount=-880, fee=1500, net=-2380, source=source))
    back = from_api(a_transaction(id="txn_2", amount=450, fee=0, net=450, source=source))
    later = {"id": "txn_3", "amount": 455, "fee": 0, "net": 455, "exchange_rate": 0.91}
    unlisted = from_api(a_transaction(**later, source=source))

    assert (out.shown, back.shown) == (Money(-1000, "usd"), Money(500, "usd"))
    assert unlisted.shown == Money(500, "usd")
    assert (out.source, out.charge, out.payment_intent) == ("dp_1", "ch_1", "pi_1")


def test_an_old_transaction_without_a_reporting_category_goes_by_its_type() -> None:
    found = from_api(a_transaction(reporting_category=None, type="payment", source=None))

    assert (found.category, found.source, found.shown) == ("charge", None, Money(880, "eur"))


def test_the_snapshots_digest_is_the_same_in_any_order_and_changes_with_an_amount() -> None:
    rows = [row(1), row(2), row(3)]

    assert digest(rows) == digest(rows[::-1])
    assert digest(rows) != digest([row(1, fee=41), *rows[1:]])
