"""The next steps of a comparison: commands that can be followed here."""

from datetime import timedelta
from typing import Any

import pytest

from tests.core.reconcile_objects import NOW, judged, row

KEY = "Set STRIPE_API_KEY (live mode), then: "
BACKFILL = "bridge backfill --from 2026-09-05 --to 2026-10-11 --only invoices,charges,sessions"


def step(with_key: bool, **given: Any) -> str:
    [found] = judged([row(1, **given.pop("row", {}))], [], with_key=with_key, **given)
    return found.next_step


def test_what_only_stripes_api_can_fetch_says_first_that_a_key_is_needed() -> None:
    resend = "; or resend the webhook event in Stripe's dashboard"

    assert (step(True), step(False)) == ("bridge gap", f"{KEY}bridge gap{resend}")
    later = NOW + timedelta(days=30)
    assert (step(True, now=later), step(False, now=later)) == (BACKFILL, f"{KEY}{BACKFILL}")
    nobodys: Any = {"refs": {}, "captured": frozenset({"pi_1"})}
    assert step(False, **nobodys) == f"{KEY}bridge gap{resend}"


def test_what_the_endpoint_does_not_send_is_enabled_and_then_fetched() -> None:
    heard: Any = {"heard": frozenset({"customer.created"})}
    first = "Enable invoice.paid at the endpoint, then "

    assert step(True, **heard) == f"{first}{BACKFILL}"
    assert step(False, **heard) == f"{first}set STRIPE_API_KEY (live mode), then: {BACKFILL}"


def test_a_test_modes_step_asks_for_a_key_of_that_mode() -> None:
    assert step(False, scope=("", False)).startswith("Set STRIPE_API_KEY (test mode), then: ")


@pytest.mark.parametrize(("with_key", "file"), [(True, ""), (False, " --source csv FILE")])
def test_a_connected_accounts_money_is_compared_with_its_own_report(
    with_key: bool, file: str
) -> None:
    again = "bridge reconcile --account acct_1 --live --from 2026-10-01 --to 2026-11-01"

    assert step(with_key, row={"connected_account": "acct_1"}) == again + file


def test_what_is_known_in_another_account_or_mode_says_where_and_compares_it_there() -> None:
    where = {"pi_1": ("acct_9", False)}
    [found] = judged([row(1)], [], told_elsewhere=where)

    assert (found.kind, found.reason, found.explained) == ("missing_in_ledger", "no_event", False)
    assert found.note == "no webhook event told of it here; one did as test, of acct_9"
    assert found.next_step == (
        "bridge reconcile --account acct_9 --test --from 2026-10-01 --to 2026-11-01"
    )
    [own] = judged([row(1)], [], scope=("acct_9", True), told_elsewhere={"ch_1": ("", True)})
    assert own.note == "no webhook event told of it here; one did as live, of the own account"
    assert "--account own --live" in own.next_step
