"""What one try at a delivery came to: a closed set, so `match` on it is checked for all."""

from dataclasses import dataclass

# How the reason of a delivery begins that is dead because a second POST could double it.
MAY_HAVE_ARRIVED = "may have arrived, and is not sent twice"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination took it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """We chose not to send it; the reason is for the person who asks why numbers differ."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the same bytes later. `after`: seconds the destination asked us to wait.

    `lane`: the wait is for everything to this destination, not for this row alone.
    `unclear`: it may have been taken all the same; the sender marks it so.
    """

    reason: str
    after: float | None = None
    lane: bool = False
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """A neighbour of a refused row: nothing was taken, send it at once, no attempt burnt."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The destination will never take this row: a dead letter, with the destination's words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Split:
    """The batch was refused and nobody says for which row: halve it; a single row is rejected."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suspended:
    """The destination refuses us as such (credentials, 410): stop it, burn no attempts, alert.

    `after`: seconds until one row may probe it again; None leaves that to the sender.
    """

    reason: str
    after: float | None = None


Outcome = Delivered | Retry | Again | Rejected | Split | Suspended
