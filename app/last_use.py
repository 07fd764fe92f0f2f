"""Which signing secret was used last: written down beside the door, never on an answer's way."""

from threading import Timer
from time import monotonic

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.store import secrets_used

EVERY = 60.0  # seconds between two notes of one label, for each process
DELAY = 30.0  # seconds until a note is written: when webhooks come again, they go first

log = structlog.get_logger()


class LastUse:
    """Notes labels, never secrets. May be shared by threads: two notes at once are one row."""

    def __init__(self, engine: Engine, every: float = EVERY, delay: float = DELAY) -> None:
        self._engine = engine
        self._every = every
        self._delay = delay
        self._next: dict[str, float] = {}

    def note(self, label: str) -> None:
        """It signed a webhook just now. Returns at once."""
        now = monotonic()
        if now >= self._next.get(label, 0.0):
            self._next[label] = now + self._every
            writer = Timer(self._delay, self._write, args=(label,))
            writer.daemon = True
            writer.start()

    def _write(self, label: str) -> None:
        try:
            with self._engine.begin() as connection:
                secrets_used.use(connection, label)
        except SQLAlchemyError as error:  # the next webhook after a minute tries again
            log.warning("webhook.use_not_noted", label=label, error=type(error).__name__)
