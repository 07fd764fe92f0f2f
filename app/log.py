"""Logs: one line of JSON (or of text, at a terminal) per action, on stderr, without secrets."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

SECRET = re.compile(
    r"(whsec_|sk_live_|sk_test_|rk_live_|rk_test_)[A-Za-z0-9+/=_-]+|(?<=://)[^/@\s]+(?=@)"
)
HIDDEN = "[hidden]"


def configure(level: int = logging.INFO) -> None:
    """Send our logs to stderr: JSON for machines, readable at a terminal."""
    readable = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide,
            structlog.dev.ConsoleRenderer()
            if readable
            else structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _hide(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The last net under every secret: what looks like one does not reach the log."""
    return {
        name: SECRET.sub(HIDDEN, value) if isinstance(value, str) else value
        for name, value in event.items()
    }
