"""Places where a fault test may stop or kill this process; outside such a test they do nothing.

BRIDGE_FAILPOINTS=deliver.after_post=stop:0.1,deliver.after_claim=exit:0.02 stops the process at
the first name one time in ten (SIGSTOP, to be continued by the test) and ends it at the second one
time in fifty, at once and without any clean-up, as SIGKILL would.
"""

import os
import random
import re
import signal
from collections.abc import Callable, Mapping

VARIABLE = "BRIDGE_FAILPOINTS"
NAMES = frozenset(
    {
        "process.after_claim",
        "process.before_commit",
        "process.after_commit",
        "deliver.after_claim",
        "deliver.before_post",
        "deliver.after_post",
        "deliver.before_finish",
        "deliver.after_finish",
    }
)
FORM = re.compile(r"([a-z_.]+)=(stop|exit):(0(?:\.\d+)?|1(?:\.0+)?)")
KILLED = 137  # what a shell says of a process that SIGKILL ended


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(KILLED)


FAULTS: Mapping[str, Callable[[], None]] = {"stop": _stop, "exit": _exit}


def parse(text: str) -> dict[str, tuple[float, Callable[[], None]]]:
    """{name: (probability, what then)}. Raises ValueError: a misspelt one would never fire."""
    armed = {}
    for part in filter(None, text.split(",")):
        found = FORM.fullmatch(part.strip())
        if not found or found[1] not in NAMES:
            raise ValueError(f"{VARIABLE}: expected <name>=stop|exit:<0 to 1>, not {part!r}")
        armed[found[1]] = (float(found[3]), FAULTS[found[2]])
    return armed


_armed = parse(os.environ.get(VARIABLE, ""))


def reach(name: str) -> None:
    """The process is at this place."""
    armed = _armed.get(name)
    if armed is not None and random.random() < armed[0]:
        armed[1]()
