"""What `bridge doctor` says of one thing that it looked at."""

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "doubtful", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `advice` is what to do, empty when it is fine; it may have several lines."""

    check: str
    state: State
    advice: str = ""
