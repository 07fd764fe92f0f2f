"""Every analytics event and every property, once: the allow-list of what may leave, and the source
of docs/events.md and docs/schemas, which `python3 docs/generate.py` writes from these tables.

Properties of an event are names in a text, `*` after those that are always there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from app.core.identity import CAMPAIGN

Family = Literal["checkout", "trial", "subscription", "money", "payment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property in JSON Schema's words: `enum` only where the choice is closed, `pattern` a
    regular expression, `items` what each part of an array may hold."""

    type: Literal["string", "integer", "number", "boolean", "array"]
    meaning: str
    example: Any
    format: Literal["", "date-time"] = ""
    pattern: str = ""
    enum: tuple[str | bool, ...] = ()
    minimum: int | None = None
    items: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One analytics event. `announced_by` are the webhook events that can tell it.

    `key` is its pattern, or several with `or` between. `sign` is that of its revenue and of its
    `amount`; 0: it carries none; None: either. Where an event has several forms, one of `either`
    is always there and says which. Its example in the docs has `example` where the properties' own
    do not fit, and leaves out `left_out`.
    """

    family: Family
    when: str
    key: str
    time: str
    announced_by: tuple[str, ...]
    properties: str
    either: tuple[str, ...] = ()
    sign: Literal[-1, 0, 1] | None = 0
    example: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def carries_revenue(self) -> bool:
        return self.sign != 0


def carried(properties: str) -> dict[str, bool]:
    """The names in such a text, in order, and whether each is always there. A name that is said
    again with a `*` is always there: so an event is stricter than the group it shares."""
    found: dict[str, bool] = {}
    for word in properties.split():
        name = word.removesuffix("*")
        found[name] = found.get(name, False) or word.endswith("*")
    return found


@cache
def allowed(name: str) -> frozenset[str]:
    """The properties that may leave with this event, campaign included. KeyError: no such event."""
    return CAMPAIGN | carried(EVENTS[name].properties).keys()


def _id(meaning: str, example: str) -> Property:
    return Property(type="string", meaning=meaning, example=example)


def _word(meaning: str, example: str, *choice: str) -> Property:
    return Property(type="string", meaning=meaning, example=example, enum=choice)


def _amount(meaning: str, example: float, minimum: int | None = None) -> Property:
    """In whole units, with the decimals that Stripe gives the currency."""
    return Property(type="number", meaning=meaning, example=example, minimum=minimum)


def _count(meaning: str, example: int) -> Property:
    return Property(type="integer", meaning=meaning, example=example, minimum=0)


def _currency(meaning: str, example: str) -> Property:
    return Property(type="string", meaning=meaning, example=example, pattern="^[A-Z]{3}$")


def _time(meaning: str, example: str) -> Property:
    return Property(type="string", meaning=meaning, example=example, format="date-time")


def _only_true(meaning: str) -> Property:
    return Property(type="boolean", meaning=meaning, example=True, enum=(True,))


# What a part of `items` holds.
LINE: Mapping[str, Property] = {
    "price_id": _id("its price", "price_1ybzYcqJ"),
    "product_id": _id("that price's product", "prod_naD0LmKP9lzvk0"),
    "quantity": Property(
        type="number", meaning="with decimals in newer APIs", example=1, minimum=0
    ),
    "amount": _amount("what it bills, in `currency`; a credit is negative", 49.0),
    "proration": _only_true("where it bills or credits a part of a period"),
}
PROPERTIES: Mapping[str, Property] = {
    # Stripe's ids
    "checkout_session_id": _id("The Checkout Session.", "cs_live_a1wTQ3CBdJqJcMIZ"),
    "customer_id": _id("The customer (an account that is one, in newer APIs).", "cus_TZc3Bmgs62QA"),
    "subscription_id": _id("The subscription.", "sub_1MnJJLX6pTgkQgyPbO"),
    "invoice_id": _id("The invoice.", "in_1pJiw1AucLLrhm8HTM"),
    "payment_intent_id": _id("The payment intent.", "pi_3PqsK2AucLLrhm8H1x"),
    "charge_id": _id("The charge.", "ch_3PqsK2AucLLrhm8H1f"),
    "refund_id": _id("The refund.", "re_3PqsK2AucLLrhm8H1r"),
    "dispute_id": _id("The dispute.", "du_1PvTtMAucLLrhm8HaW"),
    "credit_note_id": _id("The credit note.", "cn_1Q0aZpAucLLrhm8Hk3"),
    "balance_transaction_id": _id(
        "The balance transaction that moved it.", "txn_1PvTtMAucLLrhm8Hm2"
    ),
    "price_id": _id(
        "The price of the first item; on an invoice of its largest line.", "price_1ybzYcqJ"
    ),
    "product_id": _id("That price's product.", "prod_naD0LmKP9lzvk0"),
    "previous_price_id": _id("The price of the first item before the change.", "price_1xZ0sTqK"),
    # money
    "amount": _amount("What moved, tax included, signed as the revenue is.", 49.0),
    "amount_net_of_tax": _amount("`amount` without `tax`.", 41.18),
    "tax": _amount("The share of tax in the amount, with its sign.", 7.82),
    "discount": _amount("The discount's share in what was paid; it is not in `amount`.", 0.0),
    "currency": _currency("Of the amounts, ISO 4217.", "USD"),
    "credit_applied": _amount(
        "What the customer's credit balance settled besides `amount`; negative where an old debt "
        "was collected with it.",
        5.0,
    ),
    "amount_total": _amount("The session's total.", 49.0, 0),
    "amount_due": _amount("What the invoice asks for.", 49.0, 0),
    "amount_remaining": _amount("What is left unpaid of it.", 49.0, 0),
    "amount_disputed": _amount("What the bank contests, in the dispute's currency.", 49.0, 0),
    "amount_credited": _amount("The credit note's total, tax included.", 10.0, 0),
    "amount_refunded": _amount("The part of it that was refunded.", 10.0, 0),
    "pre_payment_amount": _amount("The part of it that lowered an unpaid invoice.", 0.0, 0),
    "post_payment_amount": _amount("The part of it that gives back what was paid.", 10.0, 0),
    "monthly_amount": _amount("What all items are worth a month at list price.", 99.0, 0),
    "previous_monthly_amount": _amount("The same before the change.", 49.0, 0),
    "fee": _amount("Stripe's fee in this balance transaction, in `fee_currency`.", 15.0),
    "fee_currency": _currency("Of the fee: that of Stripe's balance, ISO 4217.", "USD"),
    "out_of_band": _only_true(
        "Paid outside of Stripe; absent where not, or where that is not known."
    ),
    "items": Property(
        type="array",
        meaning="The invoice's lines in Stripe's order.",
        example=[
            {
                "price_id": "price_1ybzYcqJ",
                "product_id": "prod_naD0LmKP9lzvk0",
                "quantity": 1,
                "amount": 49.0,
            }
        ],
        items="price_id product_id quantity amount* proration",
    ),
    "items_truncated": _only_true("The invoice has more lines than its webhook event."),
    "corrected_key": Property(
        type="string", meaning="The revenue entry that is corrected.", example="payment:in_1pJiw1A"
    ),
    "corrected_kind": _word(
        "What that entry is of.",
        "payment",
        *("payment", "refund", "refund_reversal", "dispute", "dispute_reversal"),
    ),
    # states and reasons
    "status": _word(
        "The subscription's status.",
        "active",
        *("active", "canceled", "incomplete", "incomplete_expired"),
        *("past_due", "paused", "trialing", "unpaid"),
    ),
    "interval": _word(
        "The first item's billing interval.", "month", "day", "week", "month", "year"
    ),
    "quantity": _count("Of all items together.", 1),
    "previous_quantity": _count("Of all items together before the change.", 1),
    "mode": _word("What the session is for.", "subscription", "payment", "setup", "subscription"),
    "payment_status": _word(
        "Whether the session was paid.", "paid", "no_payment_required", "paid", "unpaid"
    ),
    "billing_reason": _word(
        "Why the invoice was made.",
        "subscription_cycle",
        *("automatic_pending_invoice_item_invoice", "manual", "quote_accept", "subscription"),
        *("subscription_create", "subscription_cycle", "subscription_threshold"),
        *("subscription_update", "upcoming"),
    ),
    "churn": _word(
        "`voluntary`: it was asked for. `involuntary`: a failed or disputed payment, or a policy. "
        "Absent where Stripe gives no reason.",
        "voluntary",
        *("voluntary", "involuntary"),
    ),
    "pause": _word(
        "`collection`: invoices stop (`pause_collection`). `status`: the service stops.",
        "collection",
        *("collection", "status"),
    ),
    "reason": _word(
        "Stripe's word for why: of a subscription `cancellation_details.reason`, else the "
        "`reason` of the refund, dispute or credit note.",
        "cancellation_requested",
    ),
    "feedback": _word("What the customer chose when cancelling.", "too_expensive"),
    "failure_reason": _word("Why the refund failed, in Stripe's word.", "lost_or_stolen_card"),
    "outcome": _word("The dispute's last status: `won`, `lost`, `warning_closed`, ...", "lost"),
    "inquiry": Property(
        type="boolean",
        meaning="The bank only asks so far (`warning_...`): no money moves.",
        example=False,
    ),
    "attempt_count": _count("Stripe's automatic attempts so far.", 1),
    # times
    "trial_end": _time("When the trial ends.", "2026-04-06T02:01:30+00:00"),
    "cancel_at": _time("When it will end.", "2026-04-23T02:01:30+00:00"),
    "period_start": _time(
        "Of what the invoice's subscription lines pay.", "2026-03-23T02:01:30+00:00"
    ),
    "period_end": _time("The end of that.", "2026-04-23T02:01:30+00:00"),
    "next_payment_attempt": _time(
        "When Stripe tries again; absent when it does not.", "2026-03-26T02:01:30+00:00"
    ),
    "evidence_due_by": _time("Until when evidence is taken.", "2026-04-02T23:59:59+00:00"),
    # the campaign, as the checkout saved it
    "utm_source": _word("Campaign: the source.", "newsletter"),
    "utm_medium": _word("Campaign: the medium.", "email"),
    "utm_campaign": _word("Campaign: its name.", "spring"),
    "utm_term": _word("Campaign: the search term.", "invoices"),
    "utm_content": _word("Campaign: which of several links.", "button"),
    "referrer": _word("The page that led to the site.", "https://www.example.com/"),
    "landing_page": _word("The first page of the visit.", "https://shop.example.com/pricing"),
}

# Groups that several events share.
CHECKOUT = """checkout_session_id* customer_id subscription_id payment_intent_id invoice_id mode*
    payment_status* amount_total currency"""
SUBSCRIPTION = "subscription_id* customer_id* status* price_id product_id quantity interval"
CHANGE = f"""{SUBSCRIPTION} previous_price_id previous_quantity currency monthly_amount
    previous_monthly_amount"""
ENDED = f"{SUBSCRIPTION} churn reason feedback"
INVOICE = "invoice_id subscription_id customer_id billing_reason"
PERIOD = f"{INVOICE} invoice_id* subscription_id* customer_id* billing_reason* price_id product_id"
UNPAID = f"{INVOICE} invoice_id* amount_due* currency*"
GIVEN_UP = f"{UNPAID} amount_remaining*"
REFUND = """refund_id* payment_intent_id charge_id invoice_id customer_id reason amount*
    amount_net_of_tax tax currency*"""
DISPUTE = "dispute_id* charge_id* payment_intent_id"
DISPUTED = f"{DISPUTE} reason* amount_disputed* currency* inquiry* evidence_due_by"
DISPUTE_MONEY = f"""{DISPUTE} balance_transaction_id* invoice_id customer_id amount*
    amount_net_of_tax tax currency* fee fee_currency"""

ANNOUNCED = "when it was announced"
CHANGED = "<subscription>:<second>:<what changed>"
STATES = ("customer.subscription.created", "customer.subscription.updated")
UPDATED = ("customer.subscription.updated",)
DELETED = ("customer.subscription.deleted",)
PAID = ("invoice.paid", "invoice.payment_succeeded")
ONE_OFF = (
    "payment_intent.succeeded",
    "charge.succeeded",
    "charge.captured",
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
)
REFUND_CHANGES = ("refund.updated", "refund.failed", "charge.refund.updated")
DISPUTE_STATES = (
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
)

EVENTS: Mapping[str, Definition] = {
    "checkout_completed": Definition(
        family="checkout",
        when="The buyer finished a Checkout Session, which is no proof of payment.",
        key="checkout:<session>",
        time=ANNOUNCED,
        announced_by=("checkout.session.completed",),
        properties=CHECKOUT,
        left_out=("payment_intent_id",),
    ),
    "checkout_expired": Definition(
        family="checkout",
        when="A Checkout Session ran out, and nobody had finished it.",
        key="checkout_expired:<session>",
        time=ANNOUNCED,
        announced_by=("checkout.session.expired",),
        properties=CHECKOUT,
        example={"payment_status": "unpaid"},
        left_out=("subscription_id", "payment_intent_id", "invoice_id"),
    ),
    "checkout_payment_failed": Definition(
        family="checkout",
        when="A finished session's payment takes days (bank debits, vouchers), and it failed.",
        key="checkout_payment_failed:<session>",
        time=ANNOUNCED,
        announced_by=("checkout.session.async_payment_failed",),
        properties=CHECKOUT,
        example={"payment_status": "unpaid"},
        left_out=("payment_intent_id",),
    ),
    "trial_started": Definition(
        family="trial",
        when="A subscription is created in, or moves into, its trial.",
        key="trial_started:<subscription>:<trial start>",
        time="`trial_start`",
        announced_by=STATES,
        properties=f"{SUBSCRIPTION} trial_end*",
        example={"status": "trialing"},
    ),
    "trial_will_end": Definition(
        family="trial",
        when="Three days before the trial ends, or at once when it ends sooner.",
        key="trial_will_end:<subscription>:<trial end>",
        time=ANNOUNCED,
        announced_by=("customer.subscription.trial_will_end",),
        properties=f"{SUBSCRIPTION} trial_end*",
        example={"status": "trialing"},
    ),
    "trial_converted": Definition(
        family="trial",
        when="An invoice was paid whose period starts at the subscription's trial end, or when a "
        "trial was cut short. Told when the invoice and a state of the subscription are known.",
        key="cycle:<invoice>",
        time="the invoice's `paid_at`",
        announced_by=PAID,
        properties=PERIOD,
    ),
    "trial_cancelled": Definition(
        family="trial",
        when="The subscription ended before its trial did, or within the hour after it because "
        "that was asked for.",
        key="ended:<subscription>",
        time="`ended_at`",
        announced_by=DELETED,
        properties=ENDED,
        example={"status": "canceled"},
    ),
    "trial_expired": Definition(
        family="trial",
        when="The subscription ended within the hour after its trial, and nobody asked for that.",
        key="ended:<subscription>",
        time="`ended_at`",
        announced_by=DELETED,
        properties=ENDED,
        example={"status": "canceled", "churn": "involuntary", "reason": "payment_failed"},
        left_out=("feedback",),
    ),
    "subscription_started": Definition(
        family="subscription",
        when="It is active or trialing for the first time; an `incomplete` one waits for its first "
        "payment.",
        key="started:<subscription>",
        time="`start_date`",
        announced_by=STATES,
        properties=SUBSCRIPTION,
    ),
    "subscription_reactivated": Definition(
        family="subscription",
        when="A subscription starts after another one of this customer was cancelled, beside "
        "`subscription_started`. Told when both are known.",
        key="reactivated:<subscription>",
        time="`start_date`",
        announced_by=(*STATES, *DELETED),
        properties="customer_id* subscription_id*",
    ),
    "subscription_renewed": Definition(
        family="subscription",
        when="An invoice of a later period was paid, and that period does not start at a trial's "
        "end.",
        key="cycle:<invoice>",
        time="the invoice's `paid_at`",
        announced_by=PAID,
        properties=PERIOD,
    ),
    "subscription_upgraded": Definition(
        family="subscription",
        when="The prices changed, and all items are worth more a month than before. Discounts do "
        "not count, metered prices weigh nothing.",
        key=f"subscription_upgraded:{CHANGED} or plan_changed:{CHANGED}",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=CHANGE,
    ),
    "subscription_downgraded": Definition(
        family="subscription",
        when="The prices changed, and all items are worth less a month than before.",
        key=f"subscription_downgraded:{CHANGED} or plan_changed:{CHANGED}",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=CHANGE,
        example={"monthly_amount": 49.0, "previous_monthly_amount": 99.0},
    ),
    "subscription_quantity_changed": Definition(
        family="subscription",
        when="The same prices in another quantity.",
        key=f"subscription_quantity_changed:{CHANGED}",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=CHANGE,
        example={
            "previous_price_id": "price_1ybzYcqJ",
            "quantity": 3,
            "monthly_amount": 147.0,
        },
    ),
    "subscription_cancel_scheduled": Definition(
        family="subscription",
        when="Its end was set for later (`cancel_at_period_end` or `cancel_at`).",
        key="subscription_cancel_scheduled:<subscription>:<second>",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=f"{SUBSCRIPTION} cancel_at reason feedback",
    ),
    "subscription_uncancelled": Definition(
        family="subscription",
        when="A scheduled end was taken back.",
        key="subscription_uncancelled:<subscription>:<second>",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=SUBSCRIPTION,
    ),
    "subscription_cancelled": Definition(
        family="subscription",
        when="It ended, outside a trial.",
        key="ended:<subscription>",
        time="`ended_at`",
        announced_by=DELETED,
        properties=ENDED,
        example={"status": "canceled"},
    ),
    "subscription_paused": Definition(
        family="subscription",
        when="The collection of its invoices stopped, or the subscription itself.",
        key="subscription_paused:<subscription>:<second>:<pause>",
        time=ANNOUNCED,
        announced_by=(*UPDATED, "customer.subscription.paused"),
        properties=f"{SUBSCRIPTION} pause*",
    ),
    "subscription_resumed": Definition(
        family="subscription",
        when="The end of either pause.",
        key="subscription_resumed:<subscription>:<second>:<pause>",
        time=ANNOUNCED,
        announced_by=(*UPDATED, "customer.subscription.resumed"),
        properties=f"{SUBSCRIPTION} pause*",
    ),
    "subscription_past_due": Definition(
        family="subscription",
        when="Its status became `past_due`: a payment is late, and Stripe goes on trying.",
        key="subscription_past_due:<subscription>:<second>",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=SUBSCRIPTION,
        example={"status": "past_due"},
    ),
    "subscription_unpaid": Definition(
        family="subscription",
        when="Its status became `unpaid`: Stripe gave up collecting.",
        key="subscription_unpaid:<subscription>:<second>",
        time=ANNOUNCED,
        announced_by=UPDATED,
        properties=SUBSCRIPTION,
        example={"status": "unpaid"},
    ),
    "payment_succeeded": Definition(
        family="money",
        when="Of an invoice: all that was paid on it, once, when it is paid, or voided with "
        "something paid; an invoice of nothing makes no payment. Of no invoice: a payment that a "
        "Checkout Session claims, or any with `BRIDGE_STANDALONE_PAYMENTS=book`.",
        key="payment:<invoice> or payment:<payment intent> or payment:<charge>",
        time="the invoice's `paid_at` (`voided_at`); of a payment intent when it was announced; of "
        "a charge its `created`, or when its capture was announced",
        announced_by=(*PAID, "invoice.voided", *ONE_OFF),
        properties=f"""{INVOICE} payment_intent_id charge_id checkout_session_id
            amount* amount_net_of_tax* tax* discount* currency* credit_applied out_of_band
            period_start period_end price_id product_id items items_truncated""",
        either=("invoice_id", "payment_intent_id", "charge_id"),
        sign=1,
        left_out=("payment_intent_id", "charge_id", "checkout_session_id", "credit_applied"),
    ),
    "refund_created": Definition(
        family="money",
        when="Money goes back. One that fails later is told all the same, and then reversed; one "
        "that is canceled or waits for the customer is not told.",
        key="refund:<refund>",
        time="the refund's `created`",
        announced_by=("refund.created", *REFUND_CHANGES, "charge.refunded"),
        properties=REFUND,
        sign=-1,
        example={"reason": "requested_by_customer"},
    ),
    "refund_reversed": Definition(
        family="money",
        when="A refund failed: its money is back with you, and the two sum to nothing.",
        key="refund:<refund>:reversed",
        time=ANNOUNCED,
        announced_by=REFUND_CHANGES,
        properties=f"{REFUND} failure_reason",
        sign=1,
        example={"reason": "requested_by_customer"},
    ),
    "dispute_funds_withdrawn": Definition(
        family="money",
        when="The bank took the money of a dispute; one for each balance transaction.",
        key="dispute:<dispute>:<balance transaction>",
        time="the balance transaction's `created`",
        announced_by=DISPUTE_STATES,
        properties=DISPUTE_MONEY,
        sign=-1,
    ),
    "dispute_funds_reinstated": Definition(
        family="money",
        when="The bank gave it back, or a part of it.",
        key="dispute:<dispute>:<balance transaction>",
        time="the balance transaction's `created`",
        announced_by=DISPUTE_STATES,
        properties=DISPUTE_MONEY,
        sign=1,
        example={"fee": 0.0},
    ),
    "revenue_corrected": Definition(
        family="money",
        when="Somebody undid or changed a revenue entry that was wrong (`bridge revenue correct`): "
        "what it counts less, or more. In another currency it is two: undone, and booked anew.",
        key="correction:<corrected entry>:<number> or "
        "correction:<corrected entry>:<number>:<currency>",
        time="that of the corrected entry",
        announced_by=("bridge.revenue_corrected",),
        properties="""corrected_key* corrected_kind* invoice_id subscription_id payment_intent_id
            charge_id refund_id dispute_id customer_id amount* amount_net_of_tax tax currency*""",
        sign=None,
        example={"amount": -49.0, "amount_net_of_tax": -41.18, "tax": -7.82},
        left_out=("refund_id", "dispute_id"),
    ),
    "payment_failed": Definition(
        family="payment",
        when="One attempt on an invoice failed.",
        key="payment_failed:<invoice>:<second>",
        time=ANNOUNCED,
        announced_by=("invoice.payment_failed",),
        properties=f"{UNPAID} attempt_count* next_payment_attempt",
    ),
    "payment_recovered": Definition(
        family="payment",
        when="An invoice was paid that had failed before, beside `payment_succeeded`. Told when "
        "both are known.",
        key="recovered:<invoice>",
        time="the invoice's `paid_at`",
        announced_by=(*PAID, "invoice.payment_failed"),
        properties="invoice_id* subscription_id customer_id",
    ),
    "payment_action_required": Definition(
        family="payment",
        when="An invoice's payment waits for the customer, such as for 3-D Secure.",
        key="payment_action_required:<invoice>:<second>",
        time=ANNOUNCED,
        announced_by=("invoice.payment_action_required",),
        properties=f"{UNPAID} attempt_count*",
    ),
    "dispute_opened": Definition(
        family="payment",
        when="A customer's bank contests a charge, or only asks about it.",
        key="dispute_opened:<dispute>",
        time="the dispute's `created`",
        announced_by=("charge.dispute.created",),
        properties=DISPUTED,
        example={"reason": "fraudulent"},
    ),
    "dispute_closed": Definition(
        family="payment",
        when="The bank decided.",
        key="dispute_closed:<dispute>",
        time=ANNOUNCED,
        announced_by=("charge.dispute.closed",),
        properties=f"{DISPUTED} outcome*",
        example={"reason": "fraudulent"},
    ),
    "credit_note_issued": Definition(
        family="payment",
        when="A credit note lowered an invoice. What it refunds is told as `refund_created`.",
        key="credit_note:<credit note>",
        time="the credit note's `created`",
        announced_by=("credit_note.created",),
        properties="""credit_note_id* invoice_id* customer_id amount_credited* tax currency* reason
            amount_refunded pre_payment_amount post_payment_amount""",
        example={"reason": "order_change", "tax": 1.6},
    ),
    "invoice_voided": Definition(
        family="payment",
        when="An invoice was taken back.",
        key="invoice_voided:<invoice>",
        time="`status_transitions.voided_at`",
        announced_by=("invoice.voided",),
        properties=GIVEN_UP,
    ),
    "invoice_uncollectible": Definition(
        family="payment",
        when="An invoice was given up as bad debt; it may still be paid.",
        key="invoice_uncollectible:<invoice>",
        time="`status_transitions.marked_uncollectible_at`",
        announced_by=("invoice.marked_uncollectible",),
        properties=GIVEN_UP,
    ),
}


SIGNED = ("amount", "amount_net_of_tax", "tax")


def example_of(name: str, event: Definition) -> Any:
    """This property's example, with the sign that it has in such an event."""
    value = event.example.get(name, PROPERTIES[name].example)
    return -value if event.sign == -1 and name in SIGNED else value


def example(event: Definition) -> dict[str, Any]:
    """The properties of one such event, without what is there only now and then."""
    return {
        name: example_of(name, event)
        for name in carried(event.properties)
        if PROPERTIES[name].enum != (True,) and name not in event.left_out
    }
