"""What asks for whoever is on call, each with the command that comes next. Only reads."""

from collections.abc import Iterator

from sqlalchemy import Connection

from app.core.uncovered import in_words
from app.doctor.finding import Finding
from app.settings import Settings
from app.store import attention, gaps, leader, work

SHORT = 300.0  # seconds of a pause that is part of a destination's day
LATE, TOO_LATE = 300.0, 3600.0  # seconds that due work may wait
BLIND = 86_400.0  # seconds without one comparison that went well
CUT = 160  # characters of a reason


def attention_to(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Of destinations, deliveries, webhook events, work and gaps."""
    yield from _paused(settings, connection)
    yield from _dead(settings, connection)
    yield from _quarantined(connection)
    yield from _work(settings, connection)
    yield from _gaps(settings, connection)


def _paused(settings: Settings, connection: Connection) -> Iterator[Finding]:
    ours = {one.name for one in settings.destinations}
    for one in attention.paused(connection):
        if one.destination in ours:
            yield Finding(
                f"Destination {one.destination} is suspended until {one.until:%Y-%m-%d %H:%M} UTC:"
                f" {_short(one.reason)}",
                "doubtful" if one.seconds <= SHORT else "wrong",
                "Deliveries wait. Mend the cause (a new key needs a restart of the workers), then"
                f" `bridge destinations resume {one.destination}`.",
            )


def _dead(settings: Settings, connection: Connection) -> Iterator[Finding]:
    ours = {one.name for one in settings.destinations}
    found = attention.dead(connection)
    if not found:
        yield Finding("No delivery is dead", "fine")
    for name, number in found.items():
        yield Finding(
            f"Deliveries to {name} are dead: {number:,}",
            "wrong" if name in ours else "doubtful",
            f"`bridge deliveries --group --destination {name}` says why; then"
            f" `bridge replay --dead --destination {name}`, or `bridge deliveries skip`.",
        )


def _quarantined(connection: Connection) -> Iterator[Finding]:
    number, oldest = attention.quarantined(connection)
    if not number:
        yield Finding("No webhook event is quarantined", "fine")
        return
    yield Finding(
        f"Webhook events are quarantined: {number:,}, the oldest since {oldest:%Y-%m-%d %H:%M} UTC",
        "wrong",
        "What they say is neither booked nor told. `bridge events --verdict quarantined` names the"
        " reasons; then `bridge replay --quarantined`, or `bridge events ignore`.",
    )


def _work(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Whether a worker leads, and keeps up."""
    led = leader.is_led(connection)
    waits = work.longest_due(connection, _lanes(settings))
    late = waits if waits and waits[1] > LATE else None
    if late:
        yield Finding(
            f"Due work waits for {_length(late[1])} (lane {late[0]})",
            "doubtful" if led and late[1] <= TOO_LATE else "wrong",
            "A worker leads: it is behind or it fails, its log says which. More workers help with"
            " the first."
            if led
            else "No worker looks for it: start `bridge worker`.",
        )
    if led:
        yield Finding("A worker leads", "fine")
    elif not late:
        advice = "Start `bridge worker`: without one, nothing is processed, told or compared."
        yield Finding("No worker leads", "doubtful", advice)


def _lanes(settings: Settings) -> list[str]:
    """Those that a worker with these settings serves."""
    asking = [work.ASK] if settings.stripe_api_key else []
    to = [work.lane_of(one.name) for one in settings.destinations]
    return [work.PROCESS, work.RELEASE, work.MEASURE, work.HYDRATE, *asking, *to]


def _gaps(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """What was never compared, and whether comparing works."""
    for what, command in in_words(gaps.uncovered(connection), settings.zone):
        yield Finding(f"{what}: Stripe lists 30 days", "wrong", f"`{command}`")
    last = attention.last_comparison(connection) if settings.stripe_api_key else None
    if last and last.failure is None:
        yield Finding("The last comparison with Stripe's event list went well", "fine")
    elif last and last.failure is not None:
        blind = last.last_well is None or last.last_well > BLIND
        well = "never" if last.last_well is None else f"{_length(last.last_well)} ago"
        yield Finding(
            f"The last comparison with Stripe's event list failed: {_short(last.failure)}",
            "wrong" if blind else "doubtful",
            f"The last that went well: {well}. After mending the cause, `bridge gap`.",
        )


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= CUT else f"{line[:CUT]}..."


def _length(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
