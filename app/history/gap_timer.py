"""The comparison that the leading worker begins by itself, and what it says to the log."""

import threading
from datetime import tzinfo
from time import monotonic

import structlog
from sqlalchemy import Engine

from app.core.uncovered import in_words
from app.history.gap import Mended, Run, recorded
from app.history.listing import Pace, Stopped
from app.settings import Settings
from app.store import gaps
from app.stripe_api import StripeApi, livemode_of

LOOK = 30.0  # seconds between two looks at whether a run is due

log = structlog.get_logger()


class Timer:
    """The run that the leading worker begins by itself, every `gap_interval` seconds, on a thread
    of its own: nothing else waits for it."""

    def __init__(self, engine: Engine, settings: Settings, stopping: threading.Event) -> None:
        self._engine = engine
        self._interval = settings.gap_interval if settings.stripe_api_key else 0
        self._key, self._base = settings.stripe_api_key or "", settings.stripe_api_base
        self._zone = settings.zone
        self._stopping = stopping
        self._looks_at = 0.0
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Begin a run if one is due. To be called often, by the leader alone."""
        if not self._interval or monotonic() < self._looks_at:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._looks_at = monotonic() + LOOK
        self._thread = threading.Thread(target=self._run, name="gap", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """A failure is a line of the log: the next run covers the same time."""
        try:
            with gaps.alone(self._engine, gaps.GAP_LOCK) as ours:
                if ours and self._is_due():
                    self._mend()
        except Stopped:
            log.info("gap.stopped")
        except Exception as error:  # the thread's end, and nobody's above it
            log.error("gap.failed", error=type(error).__name__)

    def _is_due(self) -> bool:
        with self._engine.connect() as connection:
            return gaps.run_is_due(connection, self._interval)

    def _mend(self) -> None:
        run = Run(
            engine=self._engine,
            api=StripeApi(self._key, self._base),
            livemode=livemode_of(self._key),
            pace=Pace(self._stopping.wait, self._stopping.is_set),
        )
        tell(recorded(run), self._zone)


def tell(mended: Mended, zone: tzinfo) -> None:
    """What a run found, to the log; days in its commands are of `zone`."""
    missing = {name: one.count for name, one in sorted(mended.missing.items())}
    numbers = {"missing": missing, "known": mended.known, "failures": len(mended.failures)}
    if missing or mended.failures:
        log.warning("gap.compared", **numbers)
    else:
        log.info("gap.compared", **numbers)
    for what, command in in_words(mended.uncovered, zone):
        log.warning("gap.not_listed_any_more", what=what, next=command)
