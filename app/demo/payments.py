"""Stripe's JSON for the movement of money: payment intents, charges, refunds, invoice payments."""

from app.demo.books import BASIL, DAHLIA, Json, Payment, Refund, since

LATEST_CHARGE = "2022-11-15"  # before, a payment intent listed its charges


def payment_intent(payment: Payment) -> Json:
    """A payment that succeeded; only before basil does it say which invoice it pays."""
    owner = payment.customer
    return {
        "id": payment.intent,
        "object": "payment_intent",
        "amount": payment.amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": payment.amount,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{payment.intent}_secret_demo",
        "confirmation_method": "automatic",
        "created": payment.created,
        "currency": payment.currency,
        "customer": None if payment.guest else owner.id,
        "description": "Subscription creation" if payment.invoice else None,
        "last_payment_error": None,
        "livemode": owner.livemode,
        "metadata": dict(payment.metadata),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": owner.payment_method,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": "off_session" if payment.invoice else None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
        **({} if owner.speaks(BASIL) else {"invoice": payment.invoice}),
        **_charges(payment),
    }


def _charges(payment: Payment) -> Json:
    if since(payment.customer.version, LATEST_CHARGE):
        return {"latest_charge": payment.charge}
    listed: Json = {"object": "list", "data": [charge(payment)], "has_more": False}
    return {"charges": listed | {"url": f"/v1/charges?payment_intent={payment.intent}"}}


def charge(payment: Payment) -> Json:
    """The charge behind a payment, with what was refunded of it until now."""
    owner = payment.customer
    return {
        "id": payment.charge,
        "object": "charge",
        "amount": payment.amount,
        "amount_captured": payment.amount,
        "amount_refunded": payment.refunded,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": "txn_" + payment.charge[3:],
        "billing_details": {
            "address": {"city": None, "country": owner.country, "line1": None},
            "email": owner.email,
            "name": f"Example Customer {owner.number}",
            "phone": None,
        },
        "calculated_statement_descriptor": "EXAMPLE SAAS",
        "captured": True,
        "created": payment.created,
        "currency": payment.currency,
        "customer": None if payment.guest else owner.id,
        "description": "Subscription creation" if payment.invoice else None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": owner.livemode,
        "metadata": dict(payment.metadata),
        "on_behalf_of": None,
        "outcome": {
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 24,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": payment.intent,
        "payment_method": owner.payment_method,
        "payment_method_details": _card(owner.country),
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{payment.charge[3:]}",
        "refunded": payment.refunded == payment.amount,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
        **({} if owner.speaks(BASIL) else {"invoice": payment.invoice}),
        **_refunds(payment),
    }


def _refunds(payment: Payment) -> Json:
    if since(payment.customer.version, LATEST_CHARGE):
        return {}
    listed = [refund(payment, given) for given in reversed(payment.refunds)]
    url = f"/v1/charges/{payment.charge}/refunds"
    return {"refunds": {"object": "list", "data": listed, "has_more": False, "url": url}}


def _card(country: str) -> Json:
    return {
        "card": {
            "brand": "visa",
            "checks": {"address_postal_code_check": None, "cvc_check": "pass"},
            "country": country,
            "exp_month": 8,
            "exp_year": 2031,
            "fingerprint": "demo0000fingerpr",
            "funding": "credit",
            "last4": "4242",
            "network": "visa",
            "three_d_secure": None,
            "wallet": None,
        },
        "type": "card",
    }


def refund(payment: Payment, given: Refund) -> Json:
    """One refund of a payment; it inherits no metadata."""
    owner = payment.customer
    return {
        "id": given.id,
        "object": "refund",
        "amount": given.amount,
        "balance_transaction": "txn_" + given.id[3:],
        "charge": payment.charge,
        "created": given.created,
        "currency": payment.currency,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": payment.intent,
        "reason": "requested_by_customer",
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": given.status,
        "transfer_reversal": None,
        **({"customer": None if payment.guest else owner.id} if owner.speaks(DAHLIA) else {}),
    }


def invoice_payment(payment: Payment, payment_id: str) -> Json:
    """What says, from basil on, that this payment paid that invoice."""
    return {
        "id": payment_id,
        "object": "invoice_payment",
        "amount_paid": payment.amount,
        "amount_requested": payment.amount,
        "created": payment.created,
        "currency": payment.currency,
        "invoice": payment.invoice,
        "is_default": True,
        "livemode": payment.customer.livemode,
        "payment": {"payment_intent": payment.intent, "type": "payment_intent"},
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": payment.created},
    }
