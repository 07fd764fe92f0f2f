"""Failpoints: off they do nothing, armed they stop or kill their own process and no other."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.failpoint import NAMES, parse

ROOT = Path(__file__).parents[1]
REACH = """
from app.failpoint import reach
reach("deliver.before_post")
print("reached", flush=True)
reach("deliver.after_post")
print("went on", flush=True)
"""


def start(armed: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "BRIDGE_FAILPOINTS": armed}
    return subprocess.Popen(
        [sys.executable, "-c", REACH], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


@pytest.mark.parametrize("armed", ["", "deliver.after_post=exit:0", "deliver.after_claim=exit:1"])
def test_what_is_not_armed_there_is_passed(armed: str) -> None:
    process = start(armed)

    assert (process.communicate(timeout=20)[0], process.returncode) == ("reached\nwent on\n", 0)


def test_an_exit_ends_the_process_at_once_as_a_kill_would() -> None:
    process = start("deliver.after_post=exit:1, deliver.before_post=stop:0")

    assert (process.communicate(timeout=20)[0], process.returncode) == ("reached\n", 137)


def test_a_stopped_process_waits_there_until_it_is_continued() -> None:
    process = start("deliver.after_post=stop:1.0")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)

    assert process.communicate(timeout=20)[0] == "reached\nwent on\n"


@pytest.mark.parametrize("text", ["deliver.after_pots=stop:1", "deliver.after_post=stop", "x"])
def test_a_misspelt_failpoint_is_refused_since_it_would_never_fire(text: str) -> None:
    with pytest.raises(ValueError, match="BRIDGE_FAILPOINTS"):
        parse(text)


PLACES = ("process", "deliver", "finish")


def test_every_name_is_reached_at_one_place_of_the_code() -> None:
    code = "\n".join((ROOT / "app" / f"{name}.py").read_text() for name in PLACES)

    assert {name: code.count(f'reach("{name}")') for name in NAMES} == dict.fromkeys(NAMES, 1)
