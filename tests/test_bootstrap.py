"""`python3 -m app`: when .venv is made, mended or left alone. Its pip and its command are fakes."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"
OLD_PYTHON = shutil.which("python3.8")

# Runs the package as `python -m app` does, in a Python without ensurepip (which takes seconds).
RUN = """
import runpy, sys
sys.modules["ensurepip"] = None
sys.argv = ["app", *sys.argv[1:]]
runpy.run_module("app", run_name="__main__", alter_sys=True)
"""
COMMAND_LINE = """
import json, sys
def main():
    print(json.dumps([sys.argv[1:], sys.prefix]))
"""
PIP = """
import json, os, sys, time
inside = sys.prefix == os.path.join(os.path.realpath("."), ".venv")
kind = os.environ.get("FAKE_PIP", "inside")
if sys.argv[1:] == ["--version"]:
    if kind == "none" or (inside and kind != "inside"):
        sys.exit(1)
    print("pip 22.2 from here" if kind == "old" else "pip 24.0 from here")
    sys.exit()
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(json.dumps(["inside" if inside else "outside", sys.argv[1:]]) + "\\n")
time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
if "FAKE_FAILURE" in os.environ:
    print(*(f"line {n}" for n in range(40)), sep="\\n")
    sys.exit(1)
"""
MAKING = "Making .venv (once; about a minute) ...\n"
MENDING = "Bringing .venv up to date ...\n"


@dataclass
class Checkout:
    root: Path
    fakes: Path

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, *args],
            cwd=self.root,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": str(self.fakes),
                "FAKE_LOG": str(self.fakes / "log"),
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*args, **env)
        out, err = process.communicate()
        return process.returncode, out, err

    def installs(self) -> list[object]:
        log = self.fakes / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def ran(self, *args: str) -> str:
        return json.dumps([list(args), str(self.root / ".venv")]) + "\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a check out"
    (root / "app" / "cli").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(APP / name, root / "app" / name)
    (root / "app" / "cli" / "__init__.py").write_text(COMMAND_LINE)
    (root / "pyproject.toml").write_text("[project]\n")
    fakes = tmp_path / "fakes"
    (fakes / "pip").mkdir(parents=True)
    (fakes / "pip" / "__init__.py").touch()
    (fakes / "pip" / "__main__.py").write_text(PIP)
    return Checkout(root.resolve(), fakes)


def install(extra: str, where: str = "inside") -> list[object]:
    return [where, ["install", "--no-input", "-e", f".[{extra}]"]]


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_an_old_python_can_parse_what_tells_it_that_it_is_old(name: str) -> None:
    ast.parse((APP / name).read_text(), feature_version=(3, 8))


@pytest.mark.skipif(OLD_PYTHON is None, reason="no python3.8 on PATH")
def test_an_old_python_gets_a_sentence() -> None:
    assert OLD_PYTHON is not None
    if subprocess.run([OLD_PYTHON, "--version"], capture_output=True).returncode != 0:
        pytest.skip("python3.8 on PATH does not run")
    done = subprocess.run(
        [OLD_PYTHON, "-m", "app", "demo"], cwd=APP.parent, capture_output=True, text=True
    )
    sentence, _, which = done.stderr.partition("; ")
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence == "Python 3.11 or newer is needed"
    assert which.endswith("is Python 3.8.\n")


def test_the_first_run_makes_the_environment_and_the_second_says_nothing(
    checkout: Checkout,
) -> None:
    assert checkout.run("demo", "a b") == (0, checkout.ran("demo", "a b"), MAKING)
    assert checkout.run("demo", "a b") == (0, checkout.ran("demo", "a b"), "")
    assert checkout.installs() == [install("embedded")]


def test_the_tests_need_more_and_what_they_need_serves_the_rest(checkout: Checkout) -> None:
    assert [checkout.run(verb)[2] for verb in ("dev", "test", "dev", "test")] == [
        MAKING,
        MENDING,
        "",
        "",
    ]
    assert checkout.installs() == [install("embedded"), install("test")]


def test_changed_requirements_are_installed_under_the_constraints(checkout: Checkout) -> None:
    checkout.run("dev")
    (checkout.root / "requirements.lock").write_text("flask==3.1.0\n")
    assert checkout.run("dev") == (0, checkout.ran("dev"), MENDING)
    locked = ["install", "--no-input", "-e", ".[embedded]", "-c", "requirements.lock"]
    assert checkout.installs() == [install("embedded"), ["inside", locked]]


def test_a_failed_installation_shows_its_last_lines_and_is_begun_again(checkout: Checkout) -> None:
    code, out, err = checkout.run("dev", FAKE_FAILURE="1")
    lines = err.splitlines()
    assert (code, out, lines[0]) == (3, "", MAKING.strip())
    assert lines[1:-1] == [f"line {n}" for n in range(20, 40)]
    assert lines[-1].startswith("This failed: ")
    assert checkout.run("dev") == (0, checkout.ran("dev"), MAKING)


def test_after_a_killed_run_the_next_waits_for_its_pip_and_begins_again(checkout: Checkout) -> None:
    killed = checkout.start("dev", FAKE_SECONDS="1")
    while not checkout.installs():
        time.sleep(0.02)
    killed.kill()
    waiting = "Waiting for another run that makes .venv ...\n"
    assert checkout.run("dev") == (0, checkout.ran("dev"), waiting + MAKING)
    killed.communicate()


def test_of_two_runs_at_once_one_makes_the_environment(checkout: Checkout) -> None:
    both = [checkout.start("dev", FAKE_SECONDS="0.5") for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert outputs == [checkout.ran("dev")] * 2
    assert checkout.installs() == [install("embedded")]


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("dev")
    moved = Checkout(checkout.root.rename(tmp_path / "moved").resolve(), checkout.fakes)
    assert moved.run("dev") == (0, moved.ran("dev"), MAKING)


def test_an_environment_of_another_python_is_made_anew(checkout: Checkout) -> None:
    checkout.run("dev")
    stamp = checkout.root / ".venv" / "bridge-stamp"
    digest, _, root = stamp.read_text().splitlines()
    stamp.write_text("\n".join([digest, "3.1", root]))
    assert checkout.run("dev") == (0, checkout.ran("dev"), MAKING)


def test_an_environment_made_by_hand_is_kept_and_completed(checkout: Checkout) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=checkout.root, check=True
    )
    by_hand = checkout.root / ".venv" / "by-hand"
    by_hand.touch()
    python = checkout.root / ".venv" / "bin" / "python"
    inside = subprocess.run([python, "-m", "app", "dev"], cwd=checkout.root, capture_output=True)
    assert (inside.stdout.decode(), inside.stderr) == (checkout.ran("dev"), b"")
    assert checkout.run("dev") == (0, checkout.ran("dev"), MENDING)
    assert by_hand.exists()


def test_without_ensurepip_the_outer_pip_installs(checkout: Checkout) -> None:
    assert checkout.run("dev", FAKE_PIP="outside")[0] == 0
    python = str(checkout.root / ".venv" / "bin" / "python")
    outside = ["--python", python, "install", "--no-input", "-e", ".[embedded]"]
    assert checkout.installs() == [["outside", outside]]


@pytest.mark.parametrize("pip", ["none", "old"])
def test_without_a_usable_pip_uv_installs(checkout: Checkout, pip: str) -> None:
    uv = checkout.fakes / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >> "$FAKE_LOG.uv"\n')
    uv.chmod(0o755)
    path = f"{checkout.fakes}{os.pathsep}{os.defpath}"
    assert checkout.run("dev", FAKE_PIP=pip, PATH=path)[0] == 0
    python = checkout.root / ".venv" / "bin" / "python"
    said = (checkout.fakes / "log.uv").read_text()
    assert said == f"pip install --python {python} -e .[embedded]\n"


def test_without_any_installer_the_message_names_the_package(checkout: Checkout) -> None:
    code, out, err = checkout.run("dev", FAKE_PIP="none")
    assert (code, out) == (3, "")
    assert err.splitlines()[1:] == [
        "This Python can install nothing: it has neither ensurepip nor pip, and there is no uv."
        " On Debian and Ubuntu: apt install python3-venv. Then run this again."
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="musl is a Linux matter")
def test_a_linux_without_glibc_is_refused(checkout: Checkout) -> None:
    musl = "import os\ndef confstr(name): raise OSError(22, name)\nos.confstr = confstr\n"
    (checkout.fakes / "sitecustomize.py").write_text(musl)
    code, out, err = checkout.run("dev")
    assert (code, out) == (2, "")
    assert err.startswith("This Linux (musl, as in Alpine) has no packaged Postgres and Valkey")
    assert not (checkout.root / ".venv").exists()


def test_the_bootstrap_can_be_switched_off(checkout: Checkout) -> None:
    done = checkout.run("dev", BRIDGE_NO_BOOTSTRAP="1")
    assert done == (0, json.dumps([["dev"], sys.prefix]) + "\n", "")
    assert not (checkout.root / ".venv").exists()
