"""Vendors' servers for tests, as strict as their documentation: what they would refuse is refused
here, in their words, and what they would drop without a word is dropped and noted."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol


class Vendor(Protocol):
    """A vendor's server as its documentation has it."""

    dropped: list[str]  # what it answered 2xx and did not count, and why

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """Status and body. `path` with its query; header names in lower case."""
        ...

    def revenue(self) -> dict[str, Decimal]:
        """By lower-case currency, signed, of what it counts after its dedupe, in major units."""
        ...

    def counted(self) -> int:
        """Distinct analytics events after its dedupe."""
        ...
