"""What a restricted STRIPE_API_KEY must be allowed to read, found out by asking each list for one
object."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.doctor.finding import Finding
from app.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable


class Need(NamedTuple):
    """A list that is asked, and what does not work without it."""

    path: str
    name: str
    without: str


NEEDS = (
    Need("/v1/events", "events", "bridge gap and the worker's repair of gaps; thin events"),
    Need("/v1/prices", "prices", "MRR of prices that events only name; bridge backfill"),
    Need("/v1/coupons", "coupons", "MRR of coupons that events only name; bridge backfill"),
    Need("/v1/subscriptions", "subscriptions", "MRR with their discounts; bridge backfill"),
    Need("/v1/invoices", "invoices", "bridge backfill; the reasons of bridge reconcile"),
    Need(
        "/v1/invoice_payments",
        "invoice payments",
        "which invoice a payment pays: it waits as unattributed; bridge backfill, reconcile",
    ),
    Need(
        "/v1/checkout/sessions",
        "checkout sessions",
        "whether a payment is one of its own: it waits as unattributed; bridge backfill",
    ),
    Need("/v1/charges", "charges", "bridge backfill; bridge reconcile --source api"),
    Need("/v1/payment_intents", "payment intents", "bridge backfill, of charges"),
    Need("/v1/refunds", "refunds", "bridge backfill; bridge reconcile --source api"),
    Need("/v1/disputes", "disputes", "bridge backfill; bridge reconcile --source api"),
    Need(
        "/v1/balance_transactions",
        "balance transactions",
        "bridge reconcile --source api; bridge backfill, of charges and refunds",
    ),
)
FORBIDDEN = 403
VITAL = "events"  # without it what never arrived stays unknown, which is what the key is for


def permissions(api: StripeApi) -> Iterator[Finding]:
    """Which lists the key may not read. Who is out of reach is not asked on: that is a finding."""
    refused: dict[str, str] = {}
    for need in NEEDS:
        try:
            api.get(need.path, limit=1)
        except StripeUnavailable as error:
            yield Finding(f"Stripe: permissions are not known: {error}", "doubtful", "Ask again.")
            return
        except StripeMissing as error:
            refused[need.name] = str(error)
        except StripeRefused as error:
            refused[need.name] = need.without if error.status == FORBIDDEN else str(error)
    yield _judged(refused)


def _judged(refused: Mapping[str, str]) -> Finding:
    if not refused:
        return Finding(f"Stripe: STRIPE_API_KEY reads all {len(NEEDS)} lists in use", "fine")
    lines = [f"  {name}: {without}" for name, without in refused.items()]
    return Finding(
        f"Stripe: STRIPE_API_KEY may not read {', '.join(refused)}",
        "wrong" if VITAL in refused else "doubtful",
        "\n".join(["Give the key read access to these, or do without:", *lines]),
    )
