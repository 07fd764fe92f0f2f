"""bridge destinations test: how samples would look at a destination, and whether it takes them."""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from time import monotonic, time
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.room import FAILURES, USAGE, as_json, confirm, screen, stop
from app.core.analytics import AnalyticsEvent, Identity, dedupe_id
from app.core.consent import Consent
from app.core.money import Money
from app.core.outcome import Delivered, Skipped
from app.core.taxonomy import EVENTS, example
from app.deliver import DEADLINE
from app.destinations.base import Destination, Payload
from app.destinations.judging import excerpt
from app.destinations.transports import open_transport
from app.settings import Settings, load_from_environment

Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout alone.")]
Name = Annotated[str, typer.Argument(help="The destination's name, in lower case.")]

# What a browser's checkout would have saved: every destination finds an id of its own.
VISITOR = {
    "user_id": "bridge-test-user",
    "device_id": "bridge-test-device",
    "ga_client_id": "1000000001.1700000001",
    "fbp": "fb.1.1700000000000.1000000001",
}
SAMPLES = ("payment_succeeded", "refund_created", "trial_started", "subscription_cancelled")
PROBE = "bridge_test"


def try_out(
    name: Name,
    send: Annotated[
        bool, typer.Option("--send", help=f"Also send one event, {PROBE}, without revenue.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Render a payment, a refund and two changes as this destination would get them, and ask it to
    check them where it can. Nothing is counted there without --send."""
    settings = load_from_environment()
    one = named(settings, name)
    results = [_sampled(settings, one, sample) for sample in SAMPLES]
    problems = one.warnings() + [line for each in results for line in each["problems"]]
    if not json_:
        for each in results:
            screen.print(f"[bold]{each['event']}[/bold]  {escape(each['told'])}")
        for line in problems:
            screen.print(escape(f"! {line}"))
    if send:
        confirm(yes, dry_run=False)
        answer = _posted(settings, one)
        problems += [] if answer["taken"] else [f"{one.name} did not take it: {answer['answer']}"]
        results.append(answer)
        if not json_:
            screen.print(f"{PROBE} sent: {escape(answer['answer'])}")
    if json_:
        as_json({"destination": one.name, "events": results, "problems": problems})
    if problems:
        raise typer.Exit(FAILURES)


def _sampled(settings: Settings, one: Destination, name: str) -> dict[str, Any]:
    """How a sample is told, and what the vendor's own validation says of it, where there is one."""
    event = _sample(name)
    body = one.render(event, dedupe_id(one.name, event.id))
    if isinstance(body, Skipped):
        return {"event": name, "told": f"not sent: {body.reason}", "problems": []}
    problems = _validated(settings, one, Payload(dedupe_id(one.name, event.id), body))
    return {"event": name, "told": body.decode(), "problems": problems}


def _validated(settings: Settings, one: Destination, payload: Payload) -> list[str]:
    request = one.validation([payload], time())
    if request is None:
        return []
    with closing(open_transport(one, allow_local=settings.allow_local_urls)) as transport:
        response = transport.send(request, until=monotonic() + DEADLINE)
    return one.validation_problems(response)


def _posted(settings: Settings, one: Destination) -> dict[str, Any]:
    event = _event(PROBE, {}, None)
    body = one.render(event, dedupe_id(one.name, event.id))
    if isinstance(body, Skipped):
        return {"event": PROBE, "taken": False, "answer": body.reason, "problems": []}
    batch = [Payload(dedupe_id(one.name, event.id), body)]
    with closing(open_transport(one, allow_local=settings.allow_local_urls)) as transport:
        response = transport.send(one.request(batch, time()), until=monotonic() + DEADLINE)
    [outcome] = one.judge(response, batch)
    answer = excerpt(f"{response.status or ''} {response.text}".strip(), one.secrets())
    return {
        "event": PROBE,
        "taken": isinstance(outcome, Delivered),
        "answer": answer,
        "problems": [],
    }


def _sample(name: str) -> AnalyticsEvent:
    definition = EVENTS[name]
    revenue = Money(4900 * definition.sign, "usd") if definition.sign else None
    properties = example(definition)
    # As both would be told of one payment: its refund has the invoice alone.
    key = f"payment:{properties['invoice_id']}" if name == "payment_succeeded" else None
    return _event(name, properties, revenue, key)


def _event(
    name: str, properties: Mapping[str, Any], revenue: Money | None, key: str | None = None
) -> AnalyticsEvent:
    now = datetime.now(UTC)
    return AnalyticsEvent(
        key=key or f"{name}:{int(now.timestamp())}",
        account="",
        livemode=False,
        name=name,
        occurred_at=now,
        identity=Identity(ids=VISITOR, source="bridge destinations test"),
        properties=properties,
        revenue=revenue,
        consent=Consent(analytics=True, ads=True, at=now),
    )


def named(settings: Settings, name: str) -> Destination:
    for one in settings.destinations:
        if one.name == name.lower():
            return one
    known = ", ".join(one.name for one in settings.destinations) or "none"
    raise stop(USAGE, f"No destination is called {name}. There are: {known}.")
