"""Asking Stripe's API: the only module of `app/` that calls the `stripe` library.

What it returns is plain values, and what it raises is a sentence for people, without the key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import stripe

CONNECT_TIMEOUT, READ_TIMEOUT = 3.05, 8.0  # seconds, of each of the two tries
PAGE = 100  # Stripe allows an account 16 webhook endpoints, so there is one page


class StripeUnavailable(Exception):
    """No usable answer: out of reach, overloaded, or not Stripe at all. Later may be better."""


class StripeRefused(Exception):
    """Stripe answered no, and will again until someone changes the key or its permissions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointInfo:
    """A webhook endpoint as Stripe knows it. `api_version` None: the account's default."""

    url: str
    status: str
    api_version: str | None
    enabled_events: tuple[str, ...]
    livemode: bool


def webhook_endpoints(api_key: str, api_base: str) -> list[EndpointInfo]:
    """The account's webhook endpoints. Raises StripeUnavailable or StripeRefused."""
    try:
        answer = _client(api_key, api_base).v1.webhook_endpoints.list({"limit": PAGE}).to_dict()
        return [_endpoint(each) for each in answer["data"]]
    except stripe.StripeError as error:
        # From None: an answer may echo the key, and a traceback would show it.
        raise _told(error, api_base) from None
    except (AttributeError, KeyError, TypeError):
        raise StripeUnavailable(_not_stripe(api_base)) from None


def _client(api_key: str, api_base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base},
        max_network_retries=1,
        http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)),
    )


def _endpoint(answer: Mapping[str, Any]) -> EndpointInfo:
    return EndpointInfo(
        url=answer["url"],
        status=answer["status"],
        api_version=answer["api_version"],
        enabled_events=tuple(answer["enabled_events"]),
        livemode=answer["livemode"],
    )


def _told(error: stripe.StripeError, api_base: str) -> StripeUnavailable | StripeRefused:
    match error.http_status:
        case None:
            return StripeUnavailable(f"Stripe's API at {api_base} cannot be reached.")
        case 401:
            return StripeRefused(
                "Stripe does not accept STRIPE_API_KEY (401): it is wrong, expired or revoked."
            )
        case 403:
            return StripeRefused(
                "STRIPE_API_KEY lacks a permission (403): a restricted key needs read access to"
                " Webhook Endpoints."
            )
        case 429:
            return StripeUnavailable("Stripe's API is limiting our requests (429); try again.")
        case status if status < 400:
            return StripeUnavailable(_not_stripe(api_base))
        case status if status >= 500:
            return StripeUnavailable(f"Stripe's API at {api_base} is failing ({status}).")
        case status:
            return StripeRefused(f"Stripe's API at {api_base} refused the request ({status}).")


def _not_stripe(api_base: str) -> str:
    return f"What answers at {api_base} is not Stripe's API; see STRIPE_API_BASE."
