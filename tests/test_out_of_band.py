"""Invoices that somebody paid outside of Stripe, in API versions in which the invoice says nothing
of it: a payment record does."""

import csv
from dataclasses import replace
from datetime import date
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from app.finance import correct
from app.finance.export import export
from app.finance.reconcile import Report, reconcile
from app.process import process
from app.settings import Settings
from app.store import ledger
from app.store.exports import Wanted
from tests.reconcile_month import DAY, NOON, Month
from tests.test_process import an_invoice, rows
from tests.test_reconcile import OWN, asked, berlin, filed, found

__all__ = ["berlin"]
IN_MARCH = Wanted(first=date(2025, 3, 1), last=date(2025, 4, 1), account="", livemode=True)


def recorded(number: int, amount: int, **given: Any) -> dict[str, Any]:
    """A payment record pays this much of invoice in_<number>."""
    return {
        "id": f"inpay_{number}r",
        "object": "invoice_payment",
        "amount_paid": amount,
        "created": NOON,
        "currency": "eur",
        "invoice": f"in_{number}",
        "payment": {"type": "payment_record", "payment_record": f"pr_{number}"},
        "status": "paid",
        "status_transitions": {"paid_at": NOON},
        **given,
    }


def paid_outside(month: Month, number: int, amount: int = 1190, of: int = 1190) -> None:
    month.tell("invoice_payment.paid", recorded(number, amount))
    transitions = {"paid_at": NOON}
    given = {"amount_paid": of, "status_transitions": transitions}
    month.tell("invoice.paid", an_invoice(f"in_{number}", f"sub_{number}", **given))


def whole(month: Month) -> Month:
    """With a payout on the last day, so that a file has all of March."""
    payout = {"reporting_category": "payout", "created": NOON + 21 * DAY}
    month.transaction("txn_po", None, -100, **payout)
    return month


def said(report: Report) -> list[tuple[Any, ...]]:
    return [one for one in found(report) if one[2] != "payout"]


def journal(engine: Engine, folder: Path) -> list[tuple[str, ...]]:
    """(reference, account, debit, credit), but for revenue, tax and the payout."""
    with engine.connect() as connection:
        export(connection, IN_MARCH, "journal", folder / "j.csv", lambda _: None)
    with (folder / "j.csv").open(newline="") as file:
        return [
            (row["reference"], row["ledger_account"], row["debit"], row["credit"])
            for row in csv.DictReader(file)
            if row["ledger_account"] not in ("Revenue", "Tax payable")
            and row["reference"] != "txn_po"
        ]


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_a_payment_record_explains_the_entry_without_an_api_key_in_either_order(
    engine: Engine, berlin: Settings, tmp_path: Path, order: tuple[int, ...]
) -> None:
    month = Month()
    paid_outside(month, 1)
    month.paid(2)
    month.told(2)
    month.events[:2] = [month.events[which] for which in order]
    month.live(engine, berlin)

    report = reconcile(engine, berlin, asked(), filed(whole(month)))

    assert said(report) == [("payment:in_1", "missing_in_stripe", "out_of_band", "eur", None, 1190)]
    assert report.agrees
    assert rows(engine, "SELECT key FROM revenue_entries ORDER BY key") == [
        ("payment:in_1",),
        ("payment:in_2",),
    ]
    assert journal(engine, tmp_path) == [
        ("payment:in_1", "Paid outside Stripe", "11.90", ""),
        ("payment:in_2", "Unapplied payments", "11.90", ""),
        ("txn_2", "Stripe clearing", "11.43", ""),
        ("txn_2", "Stripe fees", "0.47", ""),
        ("txn_2", "Unapplied payments", "", "11.90"),
    ]


def test_an_invoice_paid_in_part_by_card_and_in_part_outside_agrees(
    engine: Engine, berlin: Settings, tmp_path: Path
) -> None:
    month = Month()
    month.paid(1, 800)
    month.linked(1, 800)
    paid_outside(month, 1, 390)
    month.live(engine, berlin)

    report = reconcile(engine, berlin, asked(), filed(whole(month)))

    assert said(report) == [("payment:in_1", "partial_payment", "paid_in_parts", "eur", 800, 1190)]
    [result] = [one for one in report.results if one.entries]
    assert (result.note, report.agrees) == ("the rest was paid outside of Stripe", True)
    assert journal(engine, tmp_path) == [
        ("payment:in_1", "Paid outside Stripe", "3.90", ""),
        ("payment:in_1", "Unapplied payments", "8.00", ""),
        ("txn_1", "Stripe clearing", "7.53", ""),
        ("txn_1", "Stripe fees", "0.47", ""),
        ("txn_1", "Unapplied payments", "", "8.00"),
    ]


def test_the_part_that_nobody_recorded_stays_a_difference(engine: Engine, berlin: Settings) -> None:
    month = Month()
    paid_outside(month, 1, 390)
    month.paid(2, 800)
    month.linked(2, 800)
    paid_outside(month, 2, 389)
    month.live(engine, berlin)

    report = reconcile(engine, berlin, asked(), filed(whole(month)))

    assert [(one.kind, one.reason, one.explained) for one in report.results if one.entries] == [
        ("amount_difference", "unknown", False),
        ("missing_in_stripe", "unknown", False),
    ]
    assert report.results[1].note == (
        "3.90 EUR was paid outside of Stripe; no transaction is of the rest"
    )


def test_what_was_paid_outside_is_corrected_there(
    engine: Engine, berlin: Settings, tmp_path: Path
) -> None:
    month = Month()
    paid_outside(month, 1)
    month.live(engine, berlin)
    with engine.begin() as connection:
        planned = correct.plan(connection, berlin, correct.Asked(scope=OWN, key="payment:in_1"))
        correct.correct(connection, planned, who="ada", why="it was paid twice")
    assert process(engine, berlin) == 1

    assert journal(engine, tmp_path) == [
        ("correction:payment:in_1:1", "Paid outside Stripe", "", "11.90"),
        ("payment:in_1", "Paid outside Stripe", "11.90", ""),
    ]


@pytest.mark.parametrize("standalone", ["hold", "book"])
def test_a_record_of_an_invoice_that_is_still_open_is_no_revenue(
    engine: Engine, settings: Settings, standalone: Any
) -> None:
    month = Month()
    month.tell("invoice_payment.paid", recorded(1, 390))
    month.live(engine, replace(settings, standalone_payments=standalone))

    assert rows(engine, "SELECT count(*) FROM revenue_entries") == [(0,)]
    with engine.connect() as connection:
        [listed] = ledger.unattributed_payments(connection, 10)
    assert (listed["payment"], listed["minor"], listed["invoice"]) == ("pr_1", 390, "in_1")
