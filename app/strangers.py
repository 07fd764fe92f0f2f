"""How often each address posted what no secret of ours signed, until it is told to stop."""

from collections import Counter
from collections.abc import Callable
from threading import Lock
from time import monotonic

A_MINUTE = 60.0  # seconds
ALLOWED = 60  # refusals to one address in a minute, before it hears 429
MAX_ADDRESSES = 10_000  # counted one by one; all further addresses of that minute share one count
OTHERS = ""


class Strangers:
    """The refusals of the current minute. What a secret signed never counts, nor is it limited.

    The address is the connection's: a header that a stranger writes is no address. Behind a proxy
    all strangers are one, which costs nobody else anything.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._minute = 0
        self._refused: Counter[str] = Counter()
        self._counting = Lock()

    def refuse(self, address: str) -> bool:
        """Counts one more refusal to `address`; True: it had too many in this minute."""
        with self._counting:
            minute = int(self._clock() // A_MINUTE)
            if minute != self._minute:
                self._minute = minute
                self._refused.clear()
            if address not in self._refused and len(self._refused) >= MAX_ADDRESSES:
                address = OTHERS
            self._refused[address] += 1
            return self._refused[address] > ALLOWED
