"""Where Stripe keeps each field, by API version: one table per field, one value out of it."""

from datetime import UTC, datetime

import pytest

from app.core.reading import shapes
from app.core.reading.shapes import Json, Missing
from tests.core.stripe_objects import CREATED, DAY, MONTH, NOON

PARENT: Json = {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}
OF_ITEM: Json = {
    "type": "subscription_item_details",
    "subscription_item_details": {"subscription": "sub_1", "proration": True},
    "invoice_item_details": None,
}
OF_INVOICE_ITEM: Json = {
    "type": "invoice_item_details",
    "invoice_item_details": {"subscription": "sub_1", "proration": True},
    "subscription_item_details": None,
}


@pytest.mark.parametrize(
    ("invoice", "subscription"),
    [
        ({"subscription": "sub_1"}, "sub_1"),
        ({"subscription": {"id": "sub_1", "object": "subscription"}}, "sub_1"),
        ({"parent": PARENT}, "sub_1"),
        ({"parent": PARENT, "subscription": None}, "sub_1"),
        ({"parent": None, "lines": {"data": [{}, {"subscription": "sub_1"}]}}, "sub_1"),
        ({"parent": None, "lines": {"data": [{"parent": OF_INVOICE_ITEM}]}}, "sub_1"),
        ({"parent": {"type": "quote_details", "quote_details": {"quote": "qt_1"}}}, None),
        ({"parent": None, "subscription": None}, None),
        ({}, None),
    ],
)
def test_an_invoices_subscription(invoice: Json, subscription: str | None) -> None:
    assert shapes.invoice_subscription(invoice) == subscription


@pytest.mark.parametrize(
    "invoice",
    [
        {"subscription_details": {"metadata": {"user_id": "u"}}},
        {"parent": {"subscription_details": {"metadata": {"user_id": "u"}}}},
    ],
    ids=["old", "basil"],
)
def test_an_invoices_copy_of_the_subscriptions_metadata(invoice: Json) -> None:
    whole = {**invoice, "metadata": {"a": "1"}, "lines": {"data": [{"metadata": {"b": "2"}}, {}]}}

    assert shapes.invoice_metadata(whole) == [
        ("invoice.metadata", {"a": "1"}),
        ("invoice.subscription_details.metadata", {"user_id": "u"}),
        ("invoice.lines.metadata", {"b": "2"}),
        ("invoice.lines.metadata", {}),
    ]


def paying(**payment: object) -> Json:
    return {"object": "invoice_payment", "payment": payment}


@pytest.mark.parametrize(
    ("invoice", "payments"),
    [
        ({"payment_intent": "pi_1", "charge": "ch_1"}, ["pi_1", "ch_1"]),
        ({"payment_intent": {"id": "pi_1"}, "charge": None}, ["pi_1"]),
        ({"payments": {"data": [paying(payment_intent="pi_1")]}}, ["pi_1"]),
        ({"payments": {"data": [paying(payment_record="prec_1")]}}, ["prec_1"]),
        ({}, []),  # since basil payments are in no event
    ],
)
def test_an_invoices_payments(invoice: Json, payments: list[str]) -> None:
    assert shapes.invoice_payments(invoice) == payments


@pytest.mark.parametrize(
    ("invoice", "is_paid"),
    [
        ({"status": "paid"}, True),
        ({"status": "open", "paid": True}, False),
        ({"status": None, "paid": True}, True),
        ({"paid": False}, False),
        ({}, True),
    ],
)
def test_whether_an_invoice_is_paid(invoice: Json, is_paid: bool) -> None:
    assert shapes.invoice_is_paid(invoice) is is_paid


RECORD, INTENT = paying(type="payment_record"), paying(type="payment_intent")


@pytest.mark.parametrize(
    ("invoice", "out_of_band"),
    [
        ({"paid_out_of_band": True}, True),
        ({"paid_out_of_band": False}, False),
        ({"total_taxes": []}, None),  # basil, as its events are
        ({"payments": {"data": []}}, None),
        ({"payments": {"data": [RECORD]}}, True),
        ({"payments": {"data": [RECORD, INTENT]}}, False),
        ({"amount_paid_off_stripe": 1190, "amount_paid": 1190}, True),
        ({"amount_paid_off_stripe": 190, "amount_paid": 1190}, False),
        ({"amount_paid_off_stripe": 0, "amount_paid": 0}, False),
    ],
)
def test_whether_an_invoice_was_paid_outside_of_stripe(
    invoice: Json, out_of_band: bool | None
) -> None:
    assert shapes.invoice_out_of_band(invoice) is out_of_band


@pytest.mark.parametrize(
    ("invoice", "minor"),
    [
        ({"paid_out_of_band": True, "amount_paid": 0, "amount_due": 1190}, 1190),
        ({"paid_out_of_band": True, "amount_paid": 500, "amount_due": 1190}, 1190),
        ({"paid_out_of_band": False, "amount_paid": 0, "amount_due": 1190}, 0),
        ({"amount_paid": 1190, "amount_due": 1190}, 1190),  # since basil, wherever it was paid
    ],
)
def test_what_was_paid_of_an_invoice(invoice: Json, minor: int) -> None:
    assert shapes.invoice_paid_minor(invoice) == minor


@pytest.mark.parametrize(
    ("invoice", "tax"),
    [
        ({"tax": 190}, 190),
        ({"tax": None}, 0),
        ({"tax": 190, "total_tax_amounts": [{"amount": 150}, {"amount": 40}]}, 190),
        ({"total_taxes": [{"amount": 190, "tax_behavior": "inclusive"}]}, 190),
        ({"total_taxes": [], "tax": 7}, 0),
        ({"total_taxes": None}, 0),
        ({}, 0),
    ],
)
def test_an_invoices_tax(invoice: Json, tax: int) -> None:
    assert shapes.invoice_tax(invoice) == tax


OFF: Json = {"discount": {"coupon": {"id": "off"}}}


@pytest.mark.parametrize(
    ("invoice", "discount"),
    [
        ({"total_discount_amounts": [{"amount": 100}, {"amount": 20}]}, 120),
        ({"total_discount_amounts": [], **OFF, "subtotal": 1000, "total": 900}, 0),
        ({**OFF, "subtotal": 1000, "total": 900}, 100),
        ({**OFF, "subtotal": 1000, "total": 1071, "tax": 171}, 100),
        (
            {
                **OFF,
                "subtotal": 1000,
                "total": 950,
                "total_tax_amounts": [
                    {"amount": 50, "inclusive": False},
                    {"amount": 70, "inclusive": True},
                ],
            },
            100,
        ),
        ({"discount": None, "subtotal": 1000, "total": 900}, 0),
        ({**OFF, "subtotal": None}, 0),
        ({}, 0),
    ],
)
def test_an_invoices_discount(invoice: Json, discount: int) -> None:
    assert shapes.invoice_discount(invoice) == discount


@pytest.mark.parametrize(
    ("before", "after", "applied"),
    [(-590, 0, 590), (-590, -90, 500), (300, 0, -300), (0, 0, 0), (-590, None, 0), (None, 0, 0)],
)
def test_what_the_credit_balance_settled(
    before: int | None, after: int | None, applied: int
) -> None:
    invoice = {"starting_balance": before, "ending_balance": after}

    assert shapes.invoice_credit_applied(invoice) == applied


@pytest.mark.parametrize("invoice", [{"created": CREATED}, {"date": CREATED}])
def test_when_an_invoice_was_created(invoice: Json) -> None:
    assert shapes.invoice_created(invoice) == NOON


@pytest.mark.parametrize(
    ("line", "subscription", "proration"),
    [
        ({"subscription": "sub_1", "proration": True, "type": "subscription"}, "sub_1", True),
        ({"subscription": "sub_1", "proration": False}, "sub_1", False),
        ({"parent": OF_ITEM}, "sub_1", True),
        ({"parent": OF_INVOICE_ITEM}, "sub_1", True),
        ({"parent": {**OF_ITEM, "type": None}}, "sub_1", True),
        ({"parent": {"invoice_item_details": {"proration": False}}}, None, False),
        # both, as nothing but `type` tells which
        (
            {
                "parent": {
                    "type": "invoice_item_details",
                    "invoice_item_details": {"subscription": None, "proration": False},
                    "subscription_item_details": OF_ITEM["subscription_item_details"],
                }
            },
            None,
            False,
        ),
        ({"parent": None, "subscription": None}, None, False),
    ],
)
def test_a_lines_subscription_and_whether_it_is_a_proration(
    line: Json, subscription: str | None, proration: bool
) -> None:
    assert (shapes.line_subscription(line), shapes.line_proration(line)) == (
        subscription,
        proration,
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ({"plan": {"id": "gold", "product": "prod_1"}}, ("gold", "prod_1")),
        ({"price": {"id": "price_1", "product": "prod_1"}}, ("price_1", "prod_1")),
        ({"price": {"id": "price_1", "product": {"id": "prod_1"}}}, ("price_1", "prod_1")),
        (
            {"pricing": {"price_details": {"price": "price_1", "product": "prod_1"}}},
            ("price_1", "prod_1"),
        ),
        (
            {"pricing": {"price_details": {"price": {"id": "price_1"}, "product": "prod_1"}}},
            ("price_1", "prod_1"),
        ),
        ({"pricing": {"type": "price_details", "unit_amount_decimal": None}}, (None, None)),
        ({"pricing": None, "price": None}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_a_lines_price_and_product(line: Json, found: tuple[str | None, str | None]) -> None:
    assert shapes.line_price(line) == found


@pytest.mark.parametrize(
    ("line", "quantity"),
    [
        ({"quantity": 3}, 3),
        ({"quantity": None}, None),
        ({}, None),
        ({"quantity": 2, "quantity_decimal": "2.125"}, 2.125),
        ({"quantity": 2, "quantity_decimal": "2.0"}, 2),
        ({"quantity": 2, "quantity_decimal": None}, 2),
    ],
)
def test_a_lines_quantity(line: Json, quantity: float | None) -> None:
    assert shapes.quantity(line) == quantity
    assert isinstance(shapes.quantity(line), type(quantity))


@pytest.mark.parametrize("value", ["1e999", "nan", "-inf"])
def test_a_quantity_is_a_number(value: str) -> None:
    with pytest.raises(Missing, match="quantity_decimal: expected a number"):
        shapes.quantity({"quantity_decimal": value})


def in_period(start: int, end: int, *, proration: bool = False) -> Json:
    period = {"start": start, "end": end}
    return {"subscription": "sub_1", "proration": proration, "period": period}


@pytest.mark.parametrize(
    ("lines", "whole", "any_"),
    [
        ([in_period(CREATED, CREATED + MONTH)], MONTH, MONTH),
        ([in_period(CREATED - MONTH, CREATED), in_period(CREATED, CREATED + MONTH)], MONTH, MONTH),
        ([in_period(CREATED, CREATED + DAY), in_period(CREATED, CREATED + MONTH)], MONTH, MONTH),
        # an older one that lasts longer, as of a price by the year
        (
            [in_period(CREATED - 1, CREATED + 2 * MONTH), in_period(CREATED, CREATED + DAY)],
            DAY,
            DAY,
        ),
        ([in_period(CREATED, CREATED + DAY, proration=True)], None, DAY),
        (
            [
                in_period(CREATED + DAY, CREATED + MONTH, proration=True),
                in_period(CREATED, CREATED + MONTH),
            ],
            MONTH,
            MONTH,
        ),
        ([{"period": {"start": CREATED, "end": CREATED + DAY}}], None, None),  # of no subscription
        ([{"subscription": "sub_1"}, {"subscription": "sub_1", "period": {}}], None, None),
        ([], None, None),
    ],
)
def test_the_service_period_is_the_newest_whole_one(
    lines: list[Json], whole: int | None, any_: int | None
) -> None:
    def period(seconds: int | None) -> tuple[datetime, datetime] | None:
        return None if seconds is None else (NOON, datetime.fromtimestamp(CREATED + seconds, UTC))

    invoice = {"lines": {"data": lines}}
    assert shapes.subscription_period(invoice, prorations=False) == period(whole)
    assert shapes.subscription_period(invoice, prorations=True) == period(any_)


@pytest.mark.parametrize(
    "item",
    [
        {"price": {"id": "p", "unit_amount": 500, "recurring": {"interval": "month"}}},
        {
            "plan": {"id": "other"},
            "price": {"id": "p", "unit_amount": 500, "recurring": {"interval": "month"}},
        },
        {"plan": {"id": "p", "amount": 500, "interval": "month"}},
        {"plan": {"id": "p", "amount": 500, "interval": "month"}, "price": None},
    ],
)
def test_an_items_price_has_the_names_of_today(item: Json) -> None:
    price = shapes.item_price(item)

    assert (price["id"], price["unit_amount"], price["recurring"]["interval"]) == (
        "p",
        500,
        "month",
    )


@pytest.mark.parametrize(
    "subscription",
    [
        {"start_date": CREATED, "created": CREATED - DAY},
        {"start": CREATED, "created": CREATED - DAY},
        {"created": CREATED},
    ],
    ids=["today", "before 2019-10-17", "neither"],
)
def test_when_a_subscription_started(subscription: Json) -> None:
    assert shapes.subscription_start(subscription) == NOON


@pytest.mark.parametrize(
    ("subscription", "scheduled"),
    [
        ({"cancel_at_period_end": True}, True),
        ({"cancel_at_period_end": False, "cancel_at": CREATED}, True),  # flexible billing
        ({"cancel_at_period_end": False, "cancel_at": None}, False),
        ({}, False),
    ],
)
def test_whether_a_cancellation_is_scheduled(subscription: Json, scheduled: bool) -> None:
    assert shapes.cancel_is_scheduled(subscription) is scheduled


PRICED: Json = {"items": {"data": [{"price": {"currency": "eur"}}]}}


@pytest.mark.parametrize(
    ("subscription", "currency"),
    [
        ({**PRICED, "currency": "USD"}, "usd"),
        (PRICED, "eur"),
        ({"items": {"data": [{"plan": {"currency": "eur"}}]}}, "eur"),
        ({"items": {"data": []}}, None),
        ({}, None),
    ],
)
def test_a_subscriptions_currency(subscription: Json, currency: str | None) -> None:
    assert shapes.subscription_currency(subscription) == currency


TOMORROW = datetime(2025, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "subscription",
    [
        {"trial_start": CREATED, "trial_end": CREATED + DAY},
        {
            "items": {
                "data": [
                    {"current_trial": {"start_date": CREATED, "end_date": CREATED + DAY}},
                    {"current_trial": {"start_date": CREATED + 60, "end_date": CREATED + 3600}},
                    {"current_trial": None},
                ]
            }
        },
    ],
    ids=["of the subscription", "of its items, since endive"],
)
def test_a_subscriptions_trial(subscription: Json) -> None:
    assert shapes.subscription_trial(subscription) == (NOON, TOMORROW)
    assert shapes.subscription_trial({"trial_start": None}) == (None, None)


@pytest.mark.parametrize(
    ("subscription", "discounts"),
    [
        ({"discount": {"id": "di_1"}}, [{"id": "di_1"}]),
        ({"discount": {"id": "di_1"}, "discounts": ["di_1", "di_2"]}, [{"id": "di_1"}, "di_2"]),
        ({"discount": None, "discounts": []}, []),
        ({"discounts": ["di_1"]}, ["di_1"]),
        ({}, []),
    ],
)
def test_a_subscriptions_discounts(subscription: Json, discounts: list[object]) -> None:
    assert shapes.subscription_discounts(subscription) == discounts


@pytest.mark.parametrize(
    ("intent", "charges"),
    [
        ({"latest_charge": "ch_1"}, ["ch_1"]),
        ({"latest_charge": {"id": "ch_1"}}, ["ch_1"]),
        (
            {
                "charges": {
                    "data": [
                        {"id": "ch_0", "status": "failed"},
                        {"id": "ch_1", "status": "succeeded"},
                    ]
                }
            },
            ["ch_1", "ch_0"],
        ),
        ({"charges": {"data": []}}, []),
        ({}, []),
    ],
)
def test_an_intents_charges_that_which_succeeded_first(intent: Json, charges: list[str]) -> None:
    assert shapes.intent_charges(intent) == charges


@pytest.mark.parametrize(
    ("charge", "minor"),
    [
        ({"amount": 900, "amount_captured": 700, "amount_refunded": 100}, 700),
        ({"amount": 900, "amount_refunded": 200}, 700),
        ({"amount": 900}, 900),
    ],
)
def test_what_was_captured_of_a_charge(charge: Json, minor: int) -> None:
    assert shapes.charge_minor(charge) == minor


@pytest.mark.parametrize(
    ("obj", "customer"),
    [
        ({"customer": "cus_1"}, "cus_1"),
        ({"customer": {"id": "cus_1"}}, "cus_1"),
        ({"customer": "cus_1", "customer_account": "acct_1"}, "cus_1"),
        ({"customer": None, "customer_account": "acct_1"}, "acct_1"),
        ({}, None),
    ],
)
def test_a_customer_or_the_account_that_is_one(obj: Json, customer: str | None) -> None:
    assert shapes.customer(obj) == customer


@pytest.mark.parametrize(
    ("obj", "amount"),
    [
        ({"amount": 1299, "currency": "usd"}, 12.99),
        ({"amount": 1299, "currency": "JPY"}, 1299.0),
        ({"amount": 0, "currency": "usd"}, 0.0),
        ({"amount": None}, None),
        ({}, None),
    ],
)
def test_an_amount_is_in_the_objects_own_currency(obj: Json, amount: float | None) -> None:
    assert shapes.amount_or_none(obj, "amount") == amount
