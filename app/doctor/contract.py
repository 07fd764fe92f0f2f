"""What Stripe's account must be set to for us: endpoints, their events and versions, secrets."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from textwrap import wrap

import structlog
from sqlalchemy import Connection

from app.core.reading.readers import READERS
from app.doctor.finding import Finding
from app.doctor.permissions import FORBIDDEN, permissions
from app.settings import Settings
from app.store import gaps, secrets_used
from app.stripe_api import (
    EndpointInfo,
    StripeApi,
    StripeRefused,
    StripeUnavailable,
    livemode_of,
    webhook_endpoints,
)

PATH = "/webhooks/stripe"
NEWEST = "2026-10-28.endive"  # the newest API version whose shapes are known here
SHOWN = 8  # names in one line, where there may be hundreds
UNUSED = 7 * 86_400.0  # seconds; Stripe signs with an old secret for a day, and retries for three
# Types that an older endpoint cannot send: https://docs.stripe.com/changelog/basil
SINCE = {"invoice_payment.paid": "2025-05-28", "invoice.overpaid": "2025-03-31"}

log = structlog.get_logger()


def account(settings: Settings) -> Iterator[Finding]:
    """What the account's endpoints send us, and what the API key may read; asked of Stripe's API
    where a key is set."""
    if not settings.stripe_api_key:
        check = "Stripe: enabled events are not known without an API key"
        advice = "With STRIPE_API_KEY this is checked for you. Enable at your endpoint:"
        yield Finding(check, "doubtful", advice + _many(READERS))
        return
    try:
        found = webhook_endpoints(settings.stripe_api_key, settings.stripe_api_base)
    except StripeUnavailable as error:
        yield Finding(f"Stripe: {error}", "doubtful", "Nothing was checked there. Try again later.")
        return
    except StripeRefused as error:
        yield _refused(error)
        if error.status != FORBIDDEN:
            return
    else:
        yield from judged(found, livemode=livemode_of(settings.stripe_api_key))
    yield from permissions(StripeApi(settings.stripe_api_key, settings.stripe_api_base))


def _refused(error: StripeRefused) -> Finding:
    if error.status == FORBIDDEN:
        check = "Stripe: STRIPE_API_KEY may not read webhook endpoints"
        advice = "Give it read access to them: what they send is not checked."
        return Finding(check, "doubtful", advice)
    advice = "Gap repair, backfill and reconcile do not work: set another STRIPE_API_KEY."
    return Finding(f"Stripe: {error}", "wrong", advice)


def judged(found: Sequence[EndpointInfo], *, livemode: bool) -> Iterator[Finding]:
    """What is to be said of an account's endpoints. `livemode`: the API key's."""
    ours = [one for one in found if one.url.partition("?")[0].rstrip("/").endswith(PATH)]
    if not ours:
        advice = f"Stripe dashboard > Developers > Webhooks: add https://<host>{PATH}."
        yield Finding("Stripe: no webhook endpoint points here", "wrong", advice)
    for one in ours:
        if one.livemode != livemode:
            advice = "Take a key and an endpoint of the same mode."
            modes = f"is of {_mode(one.livemode)} mode, STRIPE_API_KEY of {_mode(livemode)} mode"
            yield Finding(f"Stripe: {one.url} {modes}", "wrong", advice)
        yield from _judged(one)
    sending = [one for one in ours if one.status == "enabled"]
    if len(sending) > 1:
        advice = "Each event comes several times and counts once; if they are one bridge, drop one."
        yield Finding(f"Stripe: {len(sending)} endpoints point here", "doubtful", advice)


def _judged(one: EndpointInfo) -> Iterator[Finding]:
    version = one.api_version or "the account's default version"
    if one.status != "enabled":
        advice = "Enable it there; then `bridge gap` keeps what it missed (of 30 days)."
        yield Finding(f"Stripe: {one.url} is {one.status}", "wrong", advice)
        return
    everything = "*" in one.enabled_events
    missing = sorted(_sendable(one.api_version) - set(one.enabled_events))
    useless = sorted(set(one.enabled_events) - set(READERS) - {"*"})
    if missing and not everything:
        advice = f"Enable them at {one.url}:{_many(missing)}"
        yield Finding("Stripe: events are missing", "wrong", advice)
    elif version[:10] > NEWEST[:10] and one.api_version:
        advice = f"Known up to {NEWEST}: update the bridge. What it cannot read is quarantined."
        check = f"Stripe: {one.url} sends a version that is newer than any known here ({version})"
        yield Finding(check, "doubtful", advice)
    else:
        yield Finding(f"Stripe: {one.url} sends all that is read ({version})", "fine")
    if everything or useless:
        which = "every type" if everything else _some(useless)
        advice = f"What is not read is kept and ignored. Disable it at {one.url}: {which}."
        yield Finding("Stripe: events are sent that nobody reads", "doubtful", advice)


def _sendable(version: str | None) -> set[str]:
    """The types that an endpoint of this version can send, of those that are read."""
    return {name for name in READERS if not version or version >= SINCE.get(name, "")}


def _many(names: Iterable[str]) -> str:
    """All of them, on lines of their own."""
    lines = wrap("  ".join(sorted(names)), 88, break_long_words=False, break_on_hyphens=False)
    return "".join(f"\n  {line}" for line in lines)


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _mode(livemode: bool) -> str:
    return "live" if livemode else "test"


def mode_of_events(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Whether the API key is of the mode of what arrives."""
    if not settings.stripe_api_key:
        return
    livemode = livemode_of(settings.stripe_api_key)
    if gaps.has_kept(connection, not livemode) and not gaps.has_kept(connection, livemode):
        advice = (
            "Gap repair, backfill and reconcile ask for the key's mode: set a key of the other."
        )
        kept = f"STRIPE_API_KEY is of {_mode(livemode)} mode, all webhook events of the other"
        yield Finding(kept, "wrong", advice)


def secrets(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Each signing secret by its label, and when it was last used. One that others have taken the
    place of can go."""
    used = secrets_used.last_used(connection)
    ours = [one.label for one in settings.webhook_secrets]
    in_use = [label for label in ours if label in used and used[label][1] < UNUSED]
    before = [f"{name}, {used[name][0]:%Y-%m-%d %H:%M} UTC" for name in sorted({*used} - {*ours})]
    for label in ours:
        yield _secret(label, used, before, replaced=bool(in_use))


def _secret(
    label: str,
    used: Mapping[str, tuple[datetime, float]],
    before: Sequence[str],
    *,
    replaced: bool,
) -> Finding:
    """Uses are kept by label, so one that was renamed begins anew; `before` are those of labels
    that are not set any more."""
    if label not in used:
        others = f" (labels not set any more: {'; '.join(before)})" if before else ""
        return Finding(f"Signing secret {label}: not used under this label yet{others}", "fine")
    at, age = used[label]
    check = f"Signing secret {label}: last used {at:%Y-%m-%d %H:%M} UTC"
    if age < UNUSED or not replaced:
        return Finding(check, "fine")
    advice = f"Unused for {age / 86_400:.0f} days: drop it from STRIPE_WEBHOOK_SECRET."
    return Finding(check, "doubtful", advice)


def tell(settings: Settings) -> None:
    """What is not fine at Stripe, to the log, from a thread of its own: the worker does not wait.
    Without a key there is nothing to ask."""
    if settings.stripe_api_key:
        threading.Thread(target=_tell, args=(settings,), name="contract", daemon=True).start()


def _tell(settings: Settings) -> None:
    for one in account(settings):
        if one.state != "fine":
            log.warning("contract.finding", state=one.state, check=one.check, advice=one.advice)
