"""bridge trigger: webhooks of a story, signed and posted."""

import json
import random
import time
from typing import Annotated, Any

import requests
import typer

from app.cli.room import (
    FAILURES,
    OUT_OF_REACH,
    USAGE,
    local_secret,
    running,
    screen,
    stop,
)
from app.core.signature import sign
from app.demo.payloads import SAMPLES, VERSIONS, sample
from app.settings import Settings, load_from_environment

DEFAULT_VERSION = "2026-03-25.dahlia"


def add_to(cli: typer.Typer) -> None:
    cli.command()(trigger)


def trigger(
    event_type: Annotated[str, typer.Argument(help="A Stripe type, such as invoice.paid.")],
    api_version: Annotated[str, typer.Option(help="Its shape.")] = DEFAULT_VERSION,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many stories.")] = 1,
) -> None:
    """Sign and post a realistic webhook, with those that come before it, to the running bridge."""
    if event_type not in SAMPLES:
        raise stop(USAGE, f"No sample of {event_type}. There are: {', '.join(sorted(SAMPLES))}.")
    settings = load_from_environment()
    if not settings.webhook_secrets and running(settings) is None:
        raise stop(OUT_OF_REACH, "No bridge runs here: start `bridge dev`.")
    secret = local_secret(settings).value
    for _ in range(count):
        events = _sample(event_type, api_version)
        for event in events:
            _post(_url(settings), json.dumps(event, indent=2).encode(), secret)
            screen.print(f"200  {event['type']:32} {event['id']}")
    screen.print(f"See its way: bridge events show {events[-1]['id']}")


def _sample(event_type: str, api_version: str) -> list[dict[str, Any]]:
    if api_version not in VERSIONS:
        raise stop(USAGE, f"No samples of {api_version}. There are: {', '.join(VERSIONS)}.")
    rng = random.SystemRandom()
    try:
        return sample(event_type, now=int(time.time()), rng=rng, api_version=api_version)
    except ValueError as error:
        raise stop(USAGE, str(error)) from None


def _url(settings: Settings) -> str:
    stack = running(settings)
    port = stack.port if stack else settings.port
    return f"http://127.0.0.1:{port}/webhooks/stripe"


def _post(url: str, body: bytes, secret: str) -> None:
    headers = {
        "Content-Type": "application/json",
        "Stripe-Signature": sign(body, secret, int(time.time())),
    }
    try:
        answer = requests.post(url, body, headers=headers, timeout=10, allow_redirects=False)
    except requests.RequestException:
        raise stop(OUT_OF_REACH, f"Nothing answers at {url}: start `bridge dev`.") from None
    if answer.status_code != 200:
        raise stop(
            FAILURES,
            f"{url} answered {answer.status_code} {answer.text.strip()}.",
            "bad_signature: STRIPE_WEBHOOK_SECRET here is not the running bridge's.",
        )
