"""The table of readers: every type is tried, and what is not as promised is named."""

from collections import defaultdict
from contextlib import suppress

import pytest

from app.core.envelope import parse
from app.core.facts import Fact, Reading
from app.core.reading.readers import READERS, read
from app.core.reading.shapes import Missing
from app.demo.saas import simulate
from tests.core.stripe_objects import (
    CREATED,
    DAY,
    INTENT,
    SESSION,
    Json,
    a_charge,
    a_dispute,
    a_note,
    a_refund,
    a_transaction,
    event,
    new_bill,
    new_sub,
    old_bill,
    plan,
    price,
)

SUBSCRIPTION = new_sub(trial_start=CREATED, trial_end=CREATED + DAY)
CHARGE = a_charge(payment_intent=None, invoice=None, refunds={"data": [a_refund()]})
DISPUTE = a_dispute(a_transaction(), a_transaction("txn_2", 900))
COUPON: Json = {"id": "off", "object": "coupon", "duration": "forever", "percent_off": 25.0}
DISCOUNT: Json = {"id": "di_1", "object": "discount", "coupon": COUPON, "start": CREATED}
WHOLE: dict[str, Json] = {
    **{
        f"checkout.session.{name}": {**SESSION, "mode": "payment", "payment_intent": "pi_1"}
        for name in ("completed", "async_payment_succeeded", "async_payment_failed", "expired")
    },
    **{
        f"customer.subscription.{name}": SUBSCRIPTION
        for name in (
            *("created", "updated", "deleted", "trial_will_end", "paused", "resumed"),
            *("pending_update_applied", "pending_update_expired"),
        )
    },
    **{
        f"invoice.{name}": new_bill(tax=190, metadata={"user_id": "u"})
        for name in (
            *("paid", "payment_failed", "payment_action_required", "voided"),
            *("marked_uncollectible", "finalized", "overpaid"),
        )
    },
    "invoice.payment_succeeded": old_bill(tax=190, ending_balance=0, starting_balance=-5),
    "invoice_payment.paid": {"object": "invoice_payment", "invoice": "in_1", "payment": {}},
    "payment_intent.succeeded": INTENT,
    **{f"charge.{name}": CHARGE for name in ("succeeded", "captured", "updated", "refunded")},
    "charge.refund.updated": a_refund(status="failed"),
    **{f"refund.{name}": a_refund() for name in ("created", "updated", "failed")},
    **{
        f"charge.dispute.{name}": DISPUTE
        for name in ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")
    },
    "credit_note.created": a_note(type="post_payment", refunds=[{"amount_refunded": 595}]),
    "credit_note.updated": a_note(),
    "credit_note.voided": a_note(status="void"),
    **{
        f"customer.{name}": {"id": "cus_1", "object": "customer", "metadata": {"user_id": "u"}}
        for name in ("created", "updated")
    },
    **{f"customer.discount.{name}": DISCOUNT for name in ("created", "updated", "deleted")},
    **{f"price.{name}": price() for name in ("created", "updated", "deleted")},
    **{f"plan.{name}": plan() for name in ("created", "updated", "deleted")},
    **{f"coupon.{name}": COUPON for name in ("created", "updated", "deleted")},
}


def test_every_reader_is_tried_below() -> None:
    assert WHOLE.keys() == READERS.keys()


@pytest.mark.parametrize("type_", READERS)
def test_what_is_whole_says_something(type_: str) -> None:
    reading = read(event(type_, WHOLE[type_], {"status": "pending"}))

    said = (reading.facts, reading.links, reading.refs, reading.snapshot, reading.catalogue)
    if type_ != "invoice_payment.paid":  # of a payment record
        assert any(said)
    assert reading.ignored is None


@pytest.mark.parametrize(
    ("type_", "field", "told"),
    [
        ("checkout.session.completed", "id", "checkout.session.id: expected text"),
        ("checkout.session.expired", "id", "checkout.session.id: expected text"),
        ("customer.subscription.created", "status", "subscription.status: expected text"),
        ("customer.subscription.updated", "id", "subscription.id: expected text"),
        ("customer.subscription.deleted", "id", "subscription.id: expected text"),
        ("customer.subscription.paused", "status", "subscription.status: expected text"),
        ("invoice.paid", "amount_paid", "invoice.amount_paid: expected an integer"),
        ("invoice.paid", "currency", "invoice.currency: expected text"),
        ("invoice.paid", "id", "invoice.id: expected text"),
        ("invoice.payment_succeeded", "total", "invoice.total: expected an integer"),
        ("invoice.payment_failed", "amount_due", "invoice.amount_due: expected an integer"),
        ("invoice.voided", "amount_due", "invoice.amount_due: expected an integer"),
        ("invoice.marked_uncollectible", "currency", "invoice.currency: expected text"),
        ("invoice.finalized", "id", "invoice.id: expected text"),
        ("invoice_payment.paid", "invoice", "invoice_payment.invoice: expected text"),
        (
            "payment_intent.succeeded",
            "amount_received",
            "payment_intent.amount_received: expected an integer",
        ),
        ("payment_intent.succeeded", "created", "payment_intent.created: expected an integer"),
        ("charge.succeeded", "created", "charge.created: expected an integer"),
        ("charge.captured", "currency", "charge.currency: expected text"),
        ("charge.updated", "id", "charge.id: expected text"),
        ("refund.created", "amount", "refund.amount: expected an integer"),
        ("refund.created", "created", "refund.created: expected an integer"),
        ("refund.failed", "currency", "refund.currency: expected text"),
        ("charge.dispute.created", "amount", "dispute.amount: expected an integer"),
        ("charge.dispute.closed", "status", "dispute.status: expected text"),
        ("credit_note.created", "amount", "credit_note.amount: expected an integer"),
        ("credit_note.created", "invoice", "credit_note.invoice: expected text"),
        ("customer.created", "id", "customer.id: expected text"),
    ],
)
@pytest.mark.parametrize("value", [None, [], {}, True])
def test_a_promised_field_that_is_not_there_is_named(
    type_: str, field: str, told: str, value: object
) -> None:
    with pytest.raises(Missing) as missing:
        read(event(type_, {**WHOLE[type_], field: value}))
    assert str(missing.value) == told


@pytest.mark.parametrize(
    ("type_", "changes", "told"),
    [
        (
            "customer.subscription.created",
            {"status": "trialing", "trial_start": None, "trial_end": None},
            "subscription.trial_start: expected unix seconds",
        ),
        (
            "customer.subscription.trial_will_end",
            {"trial_end": None},
            "subscription.trial_end: expected unix seconds",
        ),
        (
            "charge.dispute.updated",
            {"balance_transactions": [{"object": "balance_transaction", "created": CREATED}]},
            "balance_transaction.id: expected text",
        ),
        ("invoice.paid", {"created": -1}, "invoice.created: expected unix seconds"),
        ("invoice.paid", {"created": "now"}, "invoice.created: expected an integer"),
    ],
)
def test_what_is_missing_deeper_is_named_too(type_: str, changes: Json, told: str) -> None:
    with pytest.raises(Missing) as missing:
        read(event(type_, {**WHOLE[type_], **changes}))
    assert str(missing.value) == told


@pytest.mark.parametrize("type_", READERS)
@pytest.mark.parametrize(
    "value", [None, "x", -1, 2**70, 1.5, [[]], {"data": [[], {}, 7]}, "\ud800"]
)
def test_whatever_a_field_holds_the_event_is_read_or_something_is_missing(
    type_: str, value: object
) -> None:
    for field in WHOLE[type_]:
        with suppress(Missing):
            read(event(type_, {**WHOLE[type_], field: value}, {field: value}))


@pytest.mark.parametrize("type_", READERS)
@pytest.mark.parametrize("value", [None, "x", -1, 2**70, 1.5, [], {}, "1e999", "nan"])
def test_whatever_a_row_holds_the_event_is_read_or_something_is_missing(
    type_: str, value: object
) -> None:
    for field, within in WHOLE[type_].items():
        rows = within.get("data") if isinstance(within, dict) else within
        row: Json = rows[0] if isinstance(rows, list) and rows else {}
        for name in row:
            with suppress(Missing):
                read(event(type_, {**WHOLE[type_], field: [{**row, name: value}]}))


@pytest.mark.parametrize("type_", READERS)
@pytest.mark.parametrize("data", [None, [], {}, {"object": None}, {"object": "in_1"}])
def test_an_event_without_its_object_is_named_so(type_: str, data: object) -> None:
    with pytest.raises(Missing, match=r"^data\.object: expected an object$"):
        read({"object": "event", "type": type_, "created": CREATED, "data": data})


def test_whichever_webhook_event_tells_a_fact_it_is_the_same() -> None:
    told: dict[str, list[Fact]] = defaultdict(list)
    for webhook in simulate(seed=7, customers=80, now=1_790_000_000).webhooks:
        for fact in read(parse(webhook.body)).facts:
            told[fact.key].append(fact)

    assert sum(len(facts) > 1 for facts in told.values()) > 100
    assert [key for key, facts in told.items() if any(one != facts[0] for one in facts)] == []


@pytest.mark.parametrize(
    "type_",
    [
        *("invoice.created", "invoice.updated", "invoice.upcoming"),  # amounts may still change
        *("invoice.sent", "charge.pending", "charge.failed", "payment_intent.processing"),
        *("made.up", ""),
    ],
)
def test_a_type_that_we_do_not_read_is_ignored(type_: str) -> None:
    assert read(event(type_, {})) == Reading(ignored="type not read")


def test_a_thin_event_is_ignored_for_what_it_is() -> None:
    thin = {"object": "v2.core.event", "type": "v1.invoice.paid", "created": "2025-03-01T12:00Z"}

    assert read(thin) == Reading(ignored="thin event: it carries no object")
