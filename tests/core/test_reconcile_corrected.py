"""Wrong entries: the command that puts them right, and what is said of them after it."""

from dataclasses import replace
from datetime import date
from shlex import split
from typing import Any

import pytest

from app.core.money import Money
from app.core.reconcile.corrected import as_corrected
from app.core.reconcile.rows import LedgerEntry, StripeRow
from tests.core.reconcile_objects import (
    correction,
    entry,
    judged,
    refund_entry,
    refund_row,
    row,
    said,
)

COPY = entry(1, key="payment:pi_1", invoice=None, payment_intent="pi_1")
IN_DOLLARS = row(1, gross=1140, currency="usd", shown=Money(1000, "eur"))


def of(minor: int, currency: str = "eur") -> LedgerEntry:
    return entry(1, money=Money(minor, currency))


# --- the next step


@pytest.mark.parametrize(
    ("rows", "entries", "step"),
    [
        (
            [row(1)],
            [entry(1), COPY],
            'bridge revenue correct payment:pi_1 --why "reconcile: duplicate_in_ledger"',
        ),
        (
            [row(1)],
            [of(100_000)],
            'bridge revenue correct payment:in_1 --to "10.00 EUR"'
            ' --why "reconcile: amount_difference unit_scale"',
        ),
        (
            [refund_row(1)],
            [refund_entry(1, money=Money(300, "eur"))],
            'bridge revenue correct refund:re_1 --to "-3.00 EUR"'
            ' --why "reconcile: amount_difference sign"',
        ),
        (
            [row(1)],
            [of(840)],
            'bridge revenue correct payment:in_1 --to "10.00 EUR" --tax "1.60"'
            ' --why "reconcile: amount_difference tax_in_or_out"',
        ),
        (
            [row(1), row(1, id="txn_2", category="charge_failure", gross=-1000)],
            [of(1000)],
            'bridge revenue correct payment:in_1 --why "reconcile: amount_difference'
            ' charge_failure"',
        ),
        (
            [row(1)],
            [of(1001)],
            "Look first: payment:in_1 in Stripe; where Stripe is right: bridge revenue correct"
            ' payment:in_1 --to "10.00 EUR" --why "reconcile: amount_difference unknown"',
        ),
        (
            [row(1)],
            [of(10_000)],
            "Look first: payment:in_1 in Stripe; where Stripe is right: bridge revenue correct"
            ' payment:in_1 --to "10.00 EUR" --why "reconcile: amount_difference unit_scale"',
        ),
        (
            [IN_DOLLARS],
            [of(1140, "usd")],
            'bridge revenue correct payment:in_1 --to "10.00 EUR"'
            ' --why "reconcile: currency_difference"',
        ),
        (
            [row(1)],
            [of(1000, "usd")],
            "Look first: payment:in_1 in Stripe; where Stripe is right: bridge revenue correct"
            ' payment:in_1 --to "10.00 EUR" --why "reconcile: currency_difference"',
        ),
    ],
)
def test_what_is_wrong_in_the_ledger_names_its_correction(
    rows: list[StripeRow], entries: list[LedgerEntry], step: str
) -> None:
    found = judged(rows, entries)

    assert {one.next_step for one in found if not one.explained} == {step}


@pytest.mark.parametrize(
    ("scope", "where", "options"),
    [
        (("", True), "test", []),
        (("acct_1", False), "the own account", ["--account", "acct_1", "--test"]),
    ],
)
def test_what_is_really_elsewhere_is_undone_where_it_is_not(
    scope: tuple[str, bool], where: str, options: list[str]
) -> None:
    [found] = judged([], [entry(1)], scope=scope, elsewhere={"payment:in_1": where})

    reason = "test_vs_live" if where == "test" else "other_account"
    why = f"reconcile: missing_in_stripe {reason}"
    assert split(found.next_step) == [
        *("bridge", "revenue", "correct", "payment:in_1", *options, "--why", why)
    ]


def test_a_key_is_one_word_to_a_shell_whatever_it_holds() -> None:
    odd = "payment:in_1; rm -rf $HOME `id` \"'"
    copy = replace(COPY, key=odd)

    [found] = [one for one in judged([row(1)], [entry(1), copy]) if not one.explained]

    assert split(found.next_step)[3] == odd


# --- after it


@pytest.mark.parametrize(
    ("rows", "wrong", "corrections"),
    [
        ([row(1)], of(100_000), [(-99_000, "eur")]),
        ([refund_row(1)], refund_entry(1, money=Money(300, "eur")), [(-600, "eur")]),
        ([IN_DOLLARS], of(1140, "usd"), [(-1140, "usd"), (1000, "eur")]),
    ],
)
def test_an_entry_that_agrees_once_corrected_is_matched_so(
    rows: list[StripeRow], wrong: LedgerEntry, corrections: list[tuple[int, str]]
) -> None:
    added = [
        correction(wrong, minor, currency, posting_date=date(2026, 11, 1))
        for minor, currency in corrections
    ]

    found = judged(rows, [wrong, *added])

    total = rows[0].money.minor
    assert said(found) == [("matched", "corrected", total, total, True)]
    assert [one.entries for one in found] == [(wrong.key,)]


def test_a_copy_that_was_undone_is_no_more() -> None:
    found = judged([row(1)], [entry(1), COPY, correction(COPY, -1000)])

    assert said(found) == [("matched", "", 1000, 1000, True)]


def test_a_payment_that_failed_later_and_was_undone_comes_to_nothing() -> None:
    back = row(1, id="txn_9", category="charge_failure", gross=-1000, fee=0)

    found = judged([row(1), back], [entry(1), correction(entry(1), -1000)])

    assert said(found) == [("matched", "came_to_nothing", 0, None, True)]


def test_a_correction_that_is_wrong_again_is_a_difference_of_what_is_counted_now() -> None:
    found = judged([row(1)], [of(100_000), correction(of(100_000), -90_000)])

    assert said(found) == [("amount_difference", "unit_scale", 1000, 10_000, False)]
    assert '--to "10.00 EUR"' in found[0].next_step


@pytest.mark.parametrize(("tax", "together"), [(None, 160), (-100, 60)])
def test_an_entry_and_its_corrections_are_one(tax: int | None, together: int) -> None:
    added: Any = replace(correction(entry(1), -400), tax_minor=tax)

    assert as_corrected([added, entry(2), entry(1)]) == [
        entry(2),
        replace(entry(1), money=Money(600, "eur"), tax_minor=together, corrected=True),
    ]


def test_a_correction_of_no_entry_is_there_for_all_to_see() -> None:
    alone = correction(entry(1), -400)

    assert as_corrected([alone]) == [alone]
    assert said(judged([], [alone])) == [("missing_in_stripe", "manual_entry", None, -400, False)]
