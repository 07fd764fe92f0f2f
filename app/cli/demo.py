"""bridge demo: a simulated SaaS posts its webhooks to the real door, and the sums are compared."""

import os
import shlex
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Annotated
from zoneinfo import ZoneInfo

import requests
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from app.cli.report import report
from app.cli.room import (
    FAILURES,
    INTERRUPTED,
    OUT_OF_REACH,
    USAGE,
    aside,
    local_secret,
    running,
    screen,
    stop,
)
from app.cli.run import Stack, stack
from app.core.reconcile.rows import Period
from app.core.signature import sign
from app.demo import balance
from app.demo.receiver import AMPLITUDE_KEY, WEBHOOK_SECRET, Receiver, receiver
from app.demo.saas import Story, Webhook, simulate
from app.finance.reconcile import Asked, Report, reconcile
from app.finance.snapshot import File, by_csv
from app.local.supervise import stop_signals
from app.settings import Settings, load, load_from_environment
from app.store import browse
from app.store.db import make_engine

SENDERS = 8  # posts at a time, as Stripe would
READY = 60.0  # seconds until the web server must answer
PATIENCE = 180.0  # seconds until all must be delivered
BALANCE = "balance.csv"  # Stripe's itemized report, in the demo's folder
HOLD = 5  # seconds; the nameless customer's events need not wait a quarter of an hour here


def add_to(cli: typer.Typer) -> None:
    cli.command()(demo)


def demo(
    customers: Annotated[int, typer.Option(min=20, max=5_000, help="Simulated customers.")] = 300,
    seed: Annotated[int, typer.Option(help="Another seed is another SaaS.")] = 1,
    keep_running: Annotated[bool, typer.Option(help="Leave it up to look around.")] = False,
) -> None:
    """Start everything, let a simulated SaaS live half a year, and compare the sums.

    Needs no account: Postgres, Valkey, web server and worker are real; only Stripe and the
    analytics tools are stand-ins on this machine. Then Stripe's balance reports of the same half
    year are reconciled with the ledger and with what was delivered.
    """
    settings = _demo_settings()
    screen.print(f"Simulating half a year of a SaaS with {customers:,} customers (seed {seed}) ...")
    story = simulate(seed=seed, customers=customers, now=int(time.time()))
    with ExitStack() as run:
        stopping = run.enter_context(stop_signals())
        tools = run.enter_context(receiver())
        up = run.enter_context(
            stack(settings, _free_port(), 1, _environment(tools), settings.data_dir / "logs")
        )
        engine = make_engine(up.database_url, "demo", pool_size=2)
        run.callback(engine.dispose)
        _wait_until_ready(up, stopping)
        _refuse_used_database(engine)
        agrees = _live(story, up, engine, tools, settings, stopping)
        if keep_running and not stopping.is_set():
            _linger(up, story, settings, stopping)
        elif not stopping.is_set():
            screen.print("Look further: bridge demo --keep-running, or bridge dev for real use.")
    if stopping.is_set() and not keep_running:
        raise typer.Exit(INTERRUPTED)
    if not agrees:
        raise typer.Exit(FAILURES)


def _live(
    story: Story,
    up: Stack,
    engine: Engine,
    tools: Receiver,
    settings: Settings,
    stopping: Event,
) -> bool:
    took = _post_all(story, up, local_secret(settings).value, stopping)
    waited = _wait_until_delivered(engine, stopping)
    if stopping.is_set():
        return False
    reconciled = _reconciled(story, engine, tools, settings.data_dir / BALANCE)
    received = tools.snapshot()
    return report(engine, story, received, reconciled, posting=took, delivering=waited)


def _reconciled(story: Story, engine: Engine, tools: Receiver, path: Path) -> Report:
    """What `bridge reconcile` says of the days that have ended; Stripe's report stays at `path`."""
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    path.write_bytes(balance.itemized(story.emissions))
    sums = File("summary.csv", balance.summary(story.emissions, today))
    period = Period(start=_first_day(story), end=today.date(), zone=ZoneInfo("UTC"))
    asked = Asked(period=period, account="", livemode=False, who="demo", now=now)
    snapshot = by_csv(File(path.name, path.read_bytes()), [sums], period, now)
    return reconcile(engine, load(_environment(tools)), asked, snapshot)


def _first_day(story: Story) -> date:
    return datetime.fromtimestamp(min(one.created for one in story.emissions), UTC).date()


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _linger(up: Stack, story: Story, settings: Settings, stopping: Event) -> None:
    look = f"BRIDGE_DATA_DIR={shlex.quote(str(settings.data_dir))} .venv/bin/bridge"
    month = _next_month(_first_day(story))  # the first whole one: a file proves no days before it
    days = f"--from {month} --to {_next_month(month)}"
    screen.print(f"\nLeft running at {up.url}; Ctrl-C stops it. From another terminal:")
    for verb in (
        *("events", "deliveries", "trigger invoice.paid", "events --type refund.created"),
        f"reconcile {days} --test {shlex.quote(str(settings.data_dir / BALANCE))}",
        f"revenue close {month:%Y-%m} --test --first --why 'the books begin here'",
    ):
        screen.print(f"  {look} {verb}", soft_wrap=True)
    up.children.wait(stopping)


def _demo_settings() -> Settings:
    """A folder of its own, emptied, and nothing of the user's destinations or keys."""
    settings = load_from_environment()
    if settings.stripe_api_key and "_live_" in settings.stripe_api_key:
        raise stop(USAGE, "STRIPE_API_KEY is a live key, which has no place in a demo: unset it.")
    folder = settings.data_dir / "demo"
    if running(replace(settings, data_dir=folder)) is None and folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    return replace(
        settings, data_dir=folder, webhook_secrets=(), destinations=(), identity_hold=HOLD
    )


def _environment(tools: Receiver) -> dict[str, str]:
    ours = ("BRIDGE_", "STRIPE_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "BRIDGE_ALLOW_LOCAL_URLS": "true",
        "BRIDGE_IDENTITY_HOLD": str(HOLD),
        "BRIDGE_DEST_AMPLITUDE_API_KEY": AMPLITUDE_KEY,
        "BRIDGE_DEST_AMPLITUDE_URL": tools.amplitude_url,
        "BRIDGE_DEST_AMPLITUDE_LIVEMODE": "both",
        "BRIDGE_DEST_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "BRIDGE_DEST_WEBHOOK_URL": tools.webhook_url,
        "BRIDGE_DEST_WEBHOOK_LIVEMODE": "both",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(up: Stack, stopping: Event) -> None:
    until = time.monotonic() + READY
    while time.monotonic() < until and not stopping.is_set():
        up.children.poll()
        try:
            if requests.get(f"{up.url}/readyz", timeout=2).status_code == 200:
                return
        except requests.RequestException:
            stopping.wait(0.1)
    if not stopping.is_set():
        raise stop(OUT_OF_REACH, f"The web server does not answer at {up.url}.")


def _refuse_used_database(engine: Engine) -> None:
    with engine.connect() as connection:
        if browse.counts(connection).verdicts:
            raise stop(
                USAGE,
                "The database of DATABASE_URL holds webhook events already, and the demo would"
                " add invented ones. Unset DATABASE_URL: the demo brings a database of its own.",
            )


def _post_all(story: Story, up: Stack, secret: str, stopping: Event) -> float:
    """Post every webhook, signed, several at a time in the story's order; seconds that it took."""
    began = time.monotonic()
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=SENDERS))

    def post(one: Webhook) -> None:
        while not stopping.is_set():
            headers = {
                "Content-Type": "application/json",
                "Stripe-Signature": sign(one.body, secret, int(time.time())),
            }
            answer = session.post(
                f"{up.url}/webhooks/stripe", one.body, headers=headers, timeout=10
            )
            if answer.status_code == 200:
                return
            if time.monotonic() - began > PATIENCE:
                raise stop(FAILURES, f"The door answers {answer.status_code}, see {up.logs}.")
            stopping.wait(0.5)  # as Stripe does, later

    with ThreadPoolExecutor(SENDERS) as pool, progress() as bars:
        bar = bars.add_task("Posting webhooks to the door", total=len(story.webhooks))
        for _ in pool.map(post, story.webhooks):
            bars.advance(bar)
    return time.monotonic() - began


def _wait_until_delivered(engine: Engine, stopping: Event) -> float:
    """Until nothing is due any more; seconds since the last webhook was answered."""
    began = time.monotonic()
    with progress() as bars:
        bar = bars.add_task("Delivering to the analytics tools", total=None)
        while not stopping.is_set() and time.monotonic() - began < PATIENCE:
            with engine.connect() as connection:
                counts = browse.counts(connection)
            done = sum(n for (_, state), n in counts.deliveries.items() if state != "pending")
            bars.update(bar, completed=done, total=sum(counts.deliveries.values()))
            if not counts.waiting:
                break
            stopping.wait(0.2)
    return time.monotonic() - began


def progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=aside,
        disable=not aside.is_terminal,
    )
