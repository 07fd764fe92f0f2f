"""Stripe's reporting categories, and which of them are money that the ledger holds.

https://docs.stripe.com/reports/reporting-categories. The list is open: what is not on it is
`other`, and is said loudly.
"""

from typing import Literal

Part = Literal["payments", "refunds", "refund failures", "disputes", "dispute reversals"]

# What the ledger has entries of, by the category of Stripe's rows.
BOOKED: dict[str, Part] = {
    "charge": "payments",
    # The part of an authorization that was never captured: with the charge it makes what was.
    "partial_capture_reversal": "payments",
    "charge_failure": "payments",
    "refund": "refunds",
    "refund_failure": "refund failures",
    "dispute": "disputes",
    "dispute_reversal": "dispute reversals",
}
# The same, by the kind of the ledger's entries.
KINDS: dict[str, Part] = {
    "payment": "payments",
    "refund": "refunds",
    "refund_reversal": "refund failures",
    "dispute": "disputes",
    "dispute_reversal": "dispute reversals",
}
# Stripe's price, and what a platform earns of others: no webhook event of a customer's tells it.
COSTS = frozenset({"fee", "network_cost", "tax"})
EARNINGS = frozenset({"platform_earning", "platform_earning_refund"})
PAYOUTS = frozenset({"payout", "payout_reversal"})
# Our own cash on the move: no revenue, and shown so that the totals foot.
MOVEMENTS = PAYOUTS | {
    *("advance", "advance_funding", "anticipation_repayment", "climate_order_purchase"),
    *("climate_order_refund", "connect_collection_transfer", "connect_reserved_funds"),
    *("contribution", "financing_paydown", "financing_paydown_reversal", "financing_payout"),
    *("financing_payout_reversal", "issuing_authorization_hold", "issuing_authorization_release"),
    *("issuing_dispute", "issuing_transaction", "other_adjustment", "risk_reserved_funds"),
    *("topup", "topup_reversal", "transfer", "transfer_reversal", "unreconciled_customer_funds"),
}
KNOWN = frozenset(BOOKED) | COSTS | EARNINGS | MOVEMENTS

# Of old transactions, whose category is null: by their type.
OF_TYPE = {
    **dict.fromkeys(("charge", "payment"), "charge"),
    **dict.fromkeys(("refund", "payment_refund"), "refund"),
    **dict.fromkeys(("payment_failure_refund", "refund_failure"), "refund_failure"),
    **dict.fromkeys(("payout_cancel", "payout_failure"), "payout_reversal"),
    **dict.fromkeys(("transfer", "recipient_transfer"), "transfer"),
    **dict.fromkeys(
        (
            *("transfer_cancel", "transfer_failure", "transfer_refund"),
            *("recipient_transfer_cancel", "recipient_transfer_failure"),
        ),
        "transfer_reversal",
    ),
    **dict.fromkeys(("stripe_fee", "application_fee_refund_fee"), "fee"),
}
# Who announces a part: where none of these was ever kept, the endpoint does not send them.
ANNOUNCERS: dict[Part, tuple[str, ...]] = {
    "payments": ("invoice.paid", "invoice.payment_succeeded", "payment_intent.succeeded"),
    "refunds": (
        *("refund.created", "refund.updated", "refund.failed"),
        *("charge.refunded", "charge.refund.updated"),
    ),
    "refund failures": ("refund.failed", "refund.updated", "charge.refund.updated"),
    "disputes": (
        *("charge.dispute.funds_withdrawn", "charge.dispute.created"),
        *("charge.dispute.updated", "charge.dispute.closed"),
    ),
    "dispute reversals": (
        *("charge.dispute.funds_reinstated", "charge.dispute.updated"),
        "charge.dispute.closed",
    ),
}


def category(reporting: str | None, kind: str | None) -> str:
    """The reporting category, else what the transaction's `type` stands for."""
    return reporting or OF_TYPE.get(kind or "", kind or "other")
