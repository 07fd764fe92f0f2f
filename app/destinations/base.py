"""What every destination is: a page that renders an event and judges an answer. It never sends."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal, Protocol
from uuid import UUID

from app.core.analytics import AnalyticsEvent
from app.core.outcome import Outcome, Skipped
from app.core.taxonomy import EVENTS

Purpose = Literal["analytics", "ads", "own"]


@dataclass(frozen=True, slots=True)
class Form:
    """What a setting's text must be, in words and as a check of (text, local URLs allowed), and
    the value that it stands for."""

    words: str
    fits: Callable[[str, bool], bool]
    value: Callable[[str], Any] = str


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


LIST = Form(
    "a comma-separated list, such as payment_*,refund_created", lambda text, _: True, _listed
)
RENAMES = Form(
    "pairs of our name and theirs, such as payment_succeeded=Order Paid,refund_created=Refund",
    lambda text, _: all(
        re.fullmatch(r"[a-z_]+ *= *[^=\s][^=]*", pair)
        and pair.isprintable()
        and pair.partition("=")[0].strip() in EVENTS
        for pair in _listed(text)
    ),
    lambda text: tuple(re.sub(" *= *", "=", pair) for pair in _listed(text)),
)
Renames = Annotated[tuple[str, ...], RENAMES]


@dataclass(frozen=True, slots=True)
class Payload:
    """One delivery's frozen bytes: rendered once, stored, sent unchanged on every try.

    `historical`: it is told long after it happened; no batch mixes such with others.
    """

    dedupe_id: UUID
    body: bytes
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. Headers and URL may hold secrets, so neither shows in a repr."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. `status` None: no answer (timeout, reset, TLS, DNS), told in `text`.

    `text` is cut at 64 KiB; header names are lower case. `sent`: the request had begun to leave.
    """

    status: int | None
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = True

    @property
    def timed_out(self) -> bool:
        return self.status is None and self.text.endswith("Timeout")

    @property
    def unclear(self) -> bool:
        """Whether a request that was not accepted may have been taken all the same: no answer
        after it had begun to leave, a 5xx, or a 2xx that says otherwise in its body. What was
        never sent, 3xx, 4xx and 503 ("not now") took nothing."""
        if self.status is None:
            return self.sent
        return not (300 <= self.status < 500 or self.status == 503)


class Transport(Protocol):
    """What carries requests to a destination; one thread's own."""

    def send(self, request: Request, *, until: float) -> Response:
        """One request and its answer, before `until` on the clock of `time.monotonic`. Never
        raises for the peer."""

    def close(self) -> None: ...


def amount_in(told: Mapping[str, Any], name: str) -> tuple[Decimal, str] | None:
    """The amount of this name and its `currency`, as a payload has them; None: it has none. A
    float's shortest text is the amount that it was made of."""
    amount = told.get(name)
    return None if amount is None else (Decimal(repr(amount)), told["currency"].lower())


def _any(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def variable(name: str, setting: str) -> str:
    """The environment variable of a destination's setting."""
    return f"BRIDGE_DEST_{name}_{setting}".upper()


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A configured receiver. Subclasses are frozen dataclasses whose fields are its settings:
    field `api_key` is read from `BRIDGE_DEST_<NAME>_API_KEY`; secrets are `repr=False`.

    What a page declares in words makes the table of docs/destinations.md.
    """

    KIND: ClassVar[str]
    TITLE: ClassVar[str]  # the vendor's name for people
    NEEDS: ClassVar[str]  # the ids without which nothing is sent, by their metadata names
    REFUNDS: ClassVar[str]  # what it makes of refunds and of disputed money
    DEDUPED_BY: ClassVar[str]
    ERASURE: ClassVar[str] = "none"  # how a person is deleted there, see `erasure`
    TRANSPORT: ClassVar[Literal["http", "postgres"]] = "http"
    DEDUPE_WINDOW: ClassVar[timedelta | None]  # None: as long as the receiver wants
    WANTS_PROFILE: ClassVar[bool] = False  # whether `render` reads the event's profile
    LATENESS: ClassVar[timedelta | None] = None  # what happened longer ago is not sent; None: all
    MAX_BATCH: ClassVar[int] = 1  # events per request
    MAX_BYTES: ClassVar[int] = 900_000  # of one request's body

    name: str
    purpose: Purpose = "analytics"
    events: tuple[str, ...] = ("*",)  # globs over analytics event names
    livemode: Literal["live", "test", "both"] = "live"
    ambiguous: Literal["retry", "drop"] = "retry"  # what may have arrived: again, or never again
    max_lateness: int | None = None  # seconds, in place of LATENESS
    rename: Renames = ()  # our name=theirs
    prefix: str = ""  # before all names that are neither renamed nor the vendor's own
    properties: tuple[str, ...] = ("*",)  # globs of what may leave; with ! before it, of what not

    @property
    def lateness(self) -> timedelta | None:
        """How long ago what is sent may have happened; None: ever so long."""
        given = self.max_lateness
        return self.LATENESS if given is None else timedelta(seconds=given)

    def too_late(self, age: float) -> str | None:
        """Why what happened so many seconds ago is not sent; None if it is."""
        limit = self.lateness
        if not limit or age <= limit.total_seconds():
            return None
        return f"too late: it happened {timedelta(seconds=int(age))} ago, {limit} at most"

    def called(self, event: AnalyticsEvent, standard: str | None = None) -> str:
        """The event's name there. `standard`: the vendor's own word for such an event."""
        given = dict(pair.split("=", 1) for pair in self.rename)
        return given.get(event.name) or standard or f"{self.prefix}{event.name}"

    @property
    def wants_profile(self) -> bool:
        """Whether it is to be told what is known of the customer."""
        return self.WANTS_PROFILE

    def leaving(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Those of an event's properties that may leave for here."""
        if self.properties == ("*",):  # for nearly all; it would cost more than the rendering
            return dict(properties)
        hidden = [glob[1:] for glob in self.properties if glob.startswith("!")]
        shown = [glob for glob in self.properties if not glob.startswith("!")] or ["*"]
        return {
            name: value
            for name, value in properties.items()
            if _any(shown, name) and not _any(hidden, name)
        }

    def told(self, body: bytes) -> tuple[Decimal, str] | None:
        """The revenue that a frozen payload tells: signed, in whole units, and its lower-case
        currency. None: it tells none, or this page cannot say."""
        return None

    def at_most_once(self, body: bytes) -> bool:
        """Whether this payload is never sent again once it may have arrived: there is no dedupe
        there that would count it once."""
        return self.ambiguous == "drop"

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        """The event in the destination's words, or why it is not for it."""
        raise NotImplementedError

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        """The envelope around frozen payloads. `now`: unix seconds of this try (signatures)."""
        raise NotImplementedError

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        """One outcome per row of the batch, in its order."""
        raise NotImplementedError

    def erasure(self, ids: Mapping[str, Sequence[str]], now: float) -> Request | None:
        """What asks the vendor to delete a person, known there by these ids (metadata name: all
        that were ever seen). None: it cannot be asked, for want of an id, a credential or an API.
        """
        return None

    def validation(self, batch: Sequence[Payload], now: float) -> Request | None:
        """What asks the vendor whether it would take these, and counts nothing; None: no way."""
        return None

    def validation_problems(self, response: Response) -> list[str]:
        """What the answer to `validation` finds wrong, a line each."""
        return []

    def warnings(self) -> list[str]:
        """Settings that are allowed and yet look wrong, for `doctor`. Never a value."""
        return []

    def variable(self, setting: str) -> str:
        return variable(self.name, setting)

    def secrets(self) -> tuple[str, ...]:
        """What must be masked wherever an answer is kept: some destinations echo their key."""
        texts = [str(getattr(self, each.name)) for each in fields(self) if not each.repr]
        return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
