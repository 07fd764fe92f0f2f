"""bridge dev, web, worker, migrate, test: what runs."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from app.cli.room import (
    OUT_OF_REACH,
    Running,
    announced,
    database_url,
    local_secret,
    screen,
    stop,
)
from app.local.stores import stores
from app.local.supervise import Child, children, stop_signals
from app.local.supervise import Running as Children
from app.settings import Settings, load_from_environment
from app.store.migrate import migrate as run_migrations

ROOT = Path(__file__).parents[2]
THREADS = 16  # requests that one web process serves at a time


def add_to(cli: typer.Typer) -> None:
    cli.command()(dev)
    cli.command()(web)
    cli.command()(worker)
    cli.command()(migrate)
    cli.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(test)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running bridge: its stores and its address."""

    database_url: str
    redis_url: str
    url: str
    logs: Path | None
    children: Children


@contextmanager
def stack(
    settings: Settings, port: int, workers: int, environ: Mapping[str, str], log_dir: Path | None
) -> Iterator[Stack]:
    """Stores (embedded, unless their URLs are set), migrations, web and workers, until the end.

    `environ` is what the children see, beside where the stores are; logs go to `log_dir` or to
    our own stderr.
    """
    with stores(
        settings.data_dir, postgres=not settings.database_url, valkey=not settings.redis_url
    ) as started:
        urls = {
            "DATABASE_URL": settings.database_url or started.database_url,
            "REDIS_URL": settings.redis_url or started.redis_url,
        }
        run_migrations(urls["DATABASE_URL"], timezone=settings.timezone)
        files = [f"{name}_FILE" for name in urls]
        seen = {name: value for name, value in environ.items() if name not in files}
        env = {**seen, **urls, "PORT": str(port), "BRIDGE_DATA_DIR": str(settings.data_dir)}
        env["BRIDGE_NO_BOOTSTRAP"] = "1"  # they run in the environment that we run in
        env["BRIDGE_NO_DOTENV"] = "1"
        if not settings.webhook_secrets:
            env["STRIPE_WEBHOOK_SECRET"] = f"local={local_secret(settings).value}"
        bridge = (sys.executable, "-m", "app")
        specs = [Child(name="web", command=(*bridge, "web"), env=env)]
        specs += [
            Child(name=f"worker-{n + 1}", command=(*bridge, "worker"), env=env)
            for n in range(workers)
        ]
        where = Running(database_url=urls["DATABASE_URL"], redis_url=urls["REDIS_URL"], port=port)
        with announced(settings, where), children(specs, log_dir) as alive:
            yield Stack(
                database_url=where.database_url,
                redis_url=where.redis_url,
                url=f"http://127.0.0.1:{port}",
                logs=log_dir,
                children=alive,
            )


def refuse_taken_port(host: str, port: int) -> None:
    """The web server would share it silently, and webhooks would be split between two bridges."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise stop(
                OUT_OF_REACH,
                f"Port {port} of {host} cannot be used: {error.strerror}. Stop what has it, or set"
                " PORT.",
            ) from None


def dev(
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 1,
) -> None:
    """Run it all here: Postgres and Valkey (unless their URLs are set), web and workers.

    Data stays in BRIDGE_DATA_DIR (default .bridge/). Ctrl-C stops everything in order.
    """
    settings = load_from_environment()
    refuse_taken_port(settings.host, settings.port)
    with (
        stop_signals() as stopping,
        stack(settings, settings.port, workers, os.environ, None) as up,
    ):
        screen.print(f"Webhooks: [bold]{up.url}/webhooks/stripe[/bold]   health: {up.url}/readyz")
        if not settings.webhook_secrets:
            screen.print("STRIPE_WEBHOOK_SECRET is not set: a local secret signs `bridge trigger`.")
        if not settings.destinations:
            screen.print("No destination is set: events are kept and booked, and told to nobody.")
        screen.print("Try: bridge trigger invoice.paid     then: bridge events")
        up.children.wait(stopping)


def web() -> None:
    """Serve webhooks on PORT (granian, WSGI). Needs DATABASE_URL and STRIPE_WEBHOOK_SECRET."""
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    settings = load_from_environment(needs=("DATABASE_URL", "STRIPE_WEBHOOK_SECRET"))
    refuse_taken_port(settings.host, settings.port)
    server = Server(
        "app:create_app",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.web_processes,
        blocking_threads=THREADS,
        backlog=1024,
        log_level=LogLevels.error,  # it warns of any thread count above the cores'
        respawn_failed_workers=True,
        workers_kill_timeout=20,
    )
    server.serve()


def worker() -> None:
    """Process and deliver until stopped. Needs DATABASE_URL; REDIS_URL only makes it quicker."""
    # By name: app/ never imports workers/, which sits above it.
    from importlib import import_module

    settings = load_from_environment(needs=("DATABASE_URL",))
    import_module("workers.serve").work(settings, settings.database_url, settings.redis_url)


def migrate() -> None:
    """Bring the database to this version's tables, from any earlier one."""
    settings = load_from_environment()
    run_migrations(database_url(settings), timezone=settings.timezone)
    screen.print("The database is up to date.")


def test(context: typer.Context) -> None:
    """Run the project's tests on embedded stores; arguments go to pytest."""
    if not (ROOT / "tests").is_dir():
        raise stop(OUT_OF_REACH, "The tests are in the project's checkout: run this there.")
    command = [sys.executable, "-m", "pytest", *context.args]
    raise typer.Exit(subprocess.call(command, cwd=ROOT))
