"""A payment that neither a checkout nor an invoice speaks for: ask Stripe's API which it is."""

import random

import structlog
from sqlalchemy import Engine

from app.core import retry
from app.core.facts import Claim, Ref
from app.core.stripe_shapes import id_of
from app.store import identities, ledger, webhook_events, work
from app.store.ledger import Unattributed
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

BATCH = 20
LEASE = BATCH * 20.0  # seconds: a request for each, of at most two tries of eleven seconds
REFUSED_AGAIN = 300.0  # seconds until a key may have been given the permission that it lacks

log = structlog.get_logger()


def ask(engine: Engine, api: StripeApi) -> int:
    """Ask for up to 20 payments which invoice each of them pays; how many, 0 when none was due.

    No invoice: it is revenue of its own. Either way its webhook event is processed again, which
    books what follows. No transaction is open during the requests.
    """
    with engine.begin() as connection:
        due = ledger.lease_unattributed(connection, BATCH, LEASE)
    answered: dict[int, tuple[int, Unattributed, list[str]]] = {}
    later: dict[int, tuple[int, float]] = {}
    for one in due:
        try:
            invoices = [] if one.settled else _invoices(api, one)
        except (StripeRefused, StripeMissing) as error:
            log.error("ask.refused", payment=one.payment, reason=str(error))
            later[one.id] = one.token, REFUSED_AGAIN
        except StripeUnavailable as error:
            log.warning("ask.unavailable", payment=one.payment, reason=str(error))
            wait = retry.delay(one.attempts, one.age, random.uniform, error.retry_after)
            later[one.id] = one.token, wait
        else:
            answered[one.id] = one.token, one, invoices
    with engine.begin() as connection:
        ours = work.finish(connection, work.ASK, {i: token for i, (token, *_) in answered.items()})
        found = [answered[id_][1:] for id_ in sorted(ours) if not answered[id_][1].settled]
        scoped = [((one.account, one.livemode), one.payment, paid) for one, paid in found]
        identities.add_refs(
            connection,
            ((scope, Ref(payment, each)) for scope, payment, paid in scoped for each in paid),
        )
        ledger.add_claims(
            connection,
            ((scope, Claim(payment=payment)) for scope, payment, paid in scoped if not paid),
        )
        webhook_events.process_again(connection, [one.id for one, _ in found])
        work.reschedule(connection, work.ASK, later)
    return len(due)


def _invoices(api: StripeApi, one: Unattributed) -> list[str]:
    """The invoices that this payment intent pays.

    https://docs.stripe.com/api/invoice-payment/list
    """
    rows = api.invoice_payments_of(one.payment, account=one.account)
    return sorted({invoice for row in rows if (invoice := id_of(row.get("invoice")))})
