"""The `bridge` command line. Each module here holds one family of verbs."""

import errno
import logging
import os
import sys

import typer
from dotenv import load_dotenv
from sqlalchemy.exc import OperationalError

from app.cli import (
    act,
    backfill,
    deliveries,
    demo,
    destinations,
    gap,
    identities,
    look,
    privacy,
    reconcile,
    replay,
    revenue,
    run,
)
from app.cli.room import FAILURES, OUT_OF_REACH, RUNNING_ALREADY, USAGE, complain
from app.local.stores import AlreadyRunning, StoresUnavailable
from app.log import configure
from app.settings import SettingsError

cli = typer.Typer(
    name="bridge",
    help="Stripe webhooks in, authoritative revenue and subscription events out, each once.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
demo.add_to(cli)
run.add_to(cli)
look.add_to(cli)
act.add_to(cli)
deliveries.add_to(cli)
replay.add_to(cli)
identities.add_to(cli)
revenue.add_to(cli)
reconcile.add_to(cli)
destinations.add_to(cli)
gap.add_to(cli)
backfill.add_to(cli)
privacy.add_to(cli)


def main() -> None:
    """Run the command line; every expected failure leaves a sentence and its exit code."""
    _open_what_is_closed()
    if os.environ.get("BRIDGE_NO_DOTENV") != "1":  # our children have what we have, no more
        load_dotenv(".env")  # what the environment says already, stands
    configure(logging.INFO)
    if any("\udc80" <= one <= "\udcff" for argument in sys.argv[1:] for one in argument):
        complain("An argument holds bytes that are no UTF-8.")
        sys.exit(USAGE)
    try:
        _run()
    except SettingsError as error:
        complain("These settings need your attention:", *error.problems)
        sys.exit(USAGE)
    except AlreadyRunning as error:
        complain(str(error))
        sys.exit(RUNNING_ALREADY)
    except StoresUnavailable as error:
        complain(str(error))
        sys.exit(OUT_OF_REACH)
    except OperationalError as error:
        complain("Postgres: " + str(error.orig).strip().splitlines()[0])
        complain("Is `bridge dev` running, or is DATABASE_URL right? `bridge doctor` looks closer.")
        sys.exit(OUT_OF_REACH)
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        if error.errno != errno.EPIPE:  # who has read enough is told nothing
            complain(f"The output could not be written: {error.strerror}.")
        sys.exit(FAILURES)


UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EIO)


def _run() -> None:
    try:
        cli(prog_name="bridge")
    finally:
        sys.stdout.flush()  # here, where its failure is one of ours


def _open_what_is_closed() -> None:
    """Where a shell closed a stream (`>&-`), Python has None, and the next file gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
