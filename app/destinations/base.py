"""What every destination is: a page that renders an event and judges an answer. It never sends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import ClassVar, Literal
from uuid import UUID

from app.core.analytics import AnalyticsEvent
from app.core.outcome import Outcome, Skipped

Purpose = Literal["analytics", "ads", "own"]


@dataclass(frozen=True, slots=True)
class Payload:
    """One delivery's frozen bytes: rendered once, stored, sent unchanged on every try."""

    dedupe_id: UUID
    body: bytes


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


def variable(name: str, setting: str) -> str:
    """The environment variable of a destination's setting."""
    return f"BRIDGE_DEST_{name}_{setting}".upper()


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A configured receiver. Subclasses are frozen dataclasses whose fields are its settings:
    field `api_key` is read from `BRIDGE_DEST_<NAME>_API_KEY`; secrets are `repr=False`."""

    KIND: ClassVar[str]
    DEDUPE_WINDOW: ClassVar[timedelta | None]  # None: as long as the receiver wants
    LATENESS: ClassVar[timedelta | None] = None  # what happened longer ago is not sent; None: all
    MAX_BATCH: ClassVar[int] = 1  # events per request
    MAX_BYTES: ClassVar[int] = 900_000  # of one request's body

    name: str
    purpose: Purpose = "analytics"
    events: tuple[str, ...] = ("*",)  # globs over analytics event names
    livemode: Literal["live", "test", "both"] = "live"
    ambiguous: Literal["retry", "drop"] = "retry"  # what may have arrived: again, or never again
    max_lateness: int | None = None  # seconds, in place of LATENESS

    @property
    def lateness(self) -> timedelta | None:
        """How long ago what is sent may have happened; None: ever so long."""
        given = self.max_lateness
        return self.LATENESS if given is None else timedelta(seconds=given)

    def render(self, event: AnalyticsEvent, dedupe_id: UUID) -> bytes | Skipped:
        """The event in the destination's words, or why it is not for it."""
        raise NotImplementedError

    def request(self, batch: Sequence[Payload], now: float) -> Request:
        """The envelope around frozen payloads. `now`: unix seconds of this try (signatures)."""
        raise NotImplementedError

    def judge(self, response: Response, batch: Sequence[Payload]) -> Sequence[Outcome]:
        """One outcome per row of the batch, in its order."""
        raise NotImplementedError

    def warnings(self) -> list[str]:
        """Settings that are allowed and yet look wrong, for `doctor`. Never a value."""
        return []

    def variable(self, setting: str) -> str:
        return variable(self.name, setting)

    def secrets(self) -> tuple[str, ...]:
        """What must be masked wherever an answer is kept: some destinations echo their key."""
        texts = [str(getattr(self, each.name)) for each in fields(self) if not each.repr]
        return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
