"""What RQ may run: one function, and nothing that someone who can write Redis would like to."""

from collections.abc import Callable
from typing import Any

import structlog
from rq.exceptions import InvalidJobOperation
from rq.job import Job

from app.drain import where
from app.queue import JOB

log = structlog.get_logger()
_drain: Callable[[], object] | None = None


def serve_with(drain: Callable[[], object]) -> None:
    """Say what this worker process does when the bell rings."""
    global _drain
    _drain = drain


class DrainFailed(Exception):
    """By its kind alone: RQ keeps a failed job's words in Redis, and Postgres quotes rows."""


def drain() -> None:
    """The one job: serve whatever is due."""
    if _drain is None:
        raise RuntimeError("workers.jobs.drain runs inside `bridge worker` only")
    try:
        _drain()
    except Exception as error:
        log.error("drain.failed", error=type(error).__name__, at=where(error))
        raise DrainFailed(type(error).__name__) from None


class Wakeup(Job):  # type: ignore[misc]
    """A job that can only be our drain: no other function, no instance, no callback, no webhook.

    RQ reads dotted names from Redis, its JSON serializer included, and runs a refused job's
    failure callback all the same.
    """

    def perform(self) -> Any:
        if self.func_name != JOB or self.args or self.kwargs:
            raise InvalidJobOperation("this worker runs nothing but its drain")
        return super().perform()

    def execute_success_callback(self, *_args: Any, **_kwargs: Any) -> None:
        """None is ours."""

    def execute_failure_callback(self, *_args: Any, **_kwargs: Any) -> None:
        """None is ours."""

    def execute_stopped_callback(self, *_args: Any, **_kwargs: Any) -> None:
        """None is ours."""

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """None is ours."""
