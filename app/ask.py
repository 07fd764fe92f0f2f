"""A payment that neither a checkout nor an invoice speaks for: ask Stripe's API which it is."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Engine

from app.core import retry
from app.core.facts import Claim, Ref
from app.core.reading.checkout import claims
from app.core.reading.shapes import id_of
from app.store import identities, ledger, webhook_events, work
from app.store.db import write
from app.store.ledger import Unattributed
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

BATCH = 20
LEASE = BATCH * 70.0  # seconds: two requests for each, of at most two tries of eleven seconds

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe says of a payment: the invoices that it pays, or who says that it pays none."""

    invoices: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()


def ask(engine: Engine, api: StripeApi) -> int:
    """Ask for up to 20 payments which invoice each of them pays; how many, 0 when none was due.

    No invoice, and no Checkout that will make one: it is revenue of its own. Its webhook event is
    then processed again, which books what follows. No transaction is open during the requests.
    """
    with engine.begin() as connection:
        due = ledger.lease_unattributed(connection, BATCH, LEASE)
    answered: dict[int, tuple[int, Unattributed, Answer]] = {}
    later: dict[int, tuple[int, float]] = {}
    away = 0.0  # seconds until Stripe may be in reach again
    for one in due:
        if away:
            later[one.id] = one.token, away
            continue
        try:
            answer = Answer() if one.settled else _answer(api, one)
        except StripeUnavailable as error:
            log.warning("ask.unavailable", payment=one.payment, reason=str(error))
            away = retry.delay(one.attempts, one.age, random.uniform, error.retry_after)
            later[one.id] = one.token, away
        except (StripeRefused, StripeMissing) as error:
            log.error("ask.refused", payment=one.payment, reason=str(error))
            if isinstance(error, StripeMissing) or one.age > retry.GIVE_UP:
                answered[one.id] = one.token, one, Answer()  # of the other mode, perhaps
            else:
                later[one.id] = one.token, retry.REFUSED_AGAIN
        else:
            answered[one.id] = one.token, one, answer
    write(engine, lambda connection: _remember(connection, answered, later))
    return len(due)


def _answer(api: StripeApi, one: Unattributed) -> Answer:
    """https://docs.stripe.com/api/invoice-payment/list; a canceled link pays nothing."""
    rows = api.invoice_payments_of(one.payment, account=one.account)
    paid = {id_of(row.get("invoice")) for row in rows if row.get("status") != "canceled"}
    if invoices := sorted(invoice for invoice in paid if invoice):
        return Answer(invoices=tuple(invoices))
    sessions = api.sessions_of(one.payment, account=one.account)
    said = tuple(claim for session in sessions for claim in claims(session))
    return Answer(claims=said if sessions else (Claim(payment=one.payment),))


def _remember(
    connection: Connection,
    answered: Mapping[int, tuple[int, Unattributed, Answer]],
    later: Mapping[int, tuple[int, float]],
) -> None:
    """Write down the answers, under the same locks as what webhook events say."""
    wanted = [item[1:] for item in answered.values() if item[2].invoices or item[2].claims]
    identities.lock(
        connection,
        {
            (one.account, one.livemode, object_id)
            for one, answer in wanted
            for object_id in (one.payment, *answer.invoices)
        },
    )
    ours = work.finish(connection, work.ASK, {i: token for i, (token, *_) in answered.items()})
    told = [(one, answer) for one, answer in wanted if one.id in ours]
    scoped = [((one.account, one.livemode), one.payment, answer) for one, answer in told]
    refs = ((s, Ref(payment, one)) for s, payment, answer in scoped for one in answer.invoices)
    identities.add_refs(connection, refs)
    ledger.add_claims(
        connection, ((s, claim) for s, _, answer in scoped for claim in answer.claims)
    )
    webhook_events.process_again(connection, [one.id for one, _ in told])
    work.reschedule(connection, work.ASK, later)
