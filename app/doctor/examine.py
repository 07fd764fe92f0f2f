"""What a newcomer gets wrong: looked at one by one, each with what to do about it."""

from collections.abc import Iterator
from time import time

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from app.doctor import contract
from app.doctor.attention import attention_to
from app.doctor.finding import Finding
from app.queue import connect
from app.settings import Settings
from app.store import ledger
from app.store.db import make_engine
from app.store.migrate import get_reporting_zone, head, revision

DRIFT = 5.0  # seconds between Postgres's clock and ours
OLDEST_POSTGRES = 150_000
ATTRIBUTED_WITHIN = 3600  # seconds in which a checkout or an invoice speaks for a payment


def examine(settings: Settings, database_url: str | None, redis_url: str | None) -> list[Finding]:
    """All findings. The URLs are the settings' own, or those of the running `bridge dev`."""
    return [
        *_database(settings, database_url),
        *_redis(redis_url),
        *_secrets(settings),
        *_destinations(settings),
        *contract.account(settings),
    ]


def _database(settings: Settings, url: str | None) -> Iterator[Finding]:
    if not url:
        advice = "Start `bridge dev`, or set DATABASE_URL."
        yield Finding("Postgres: none is running here", "wrong", advice)
        return
    engine = make_engine(url, "doctor", pool_size=1)
    try:
        with engine.connect() as connection:
            yield from _postgres(connection)
            if revision(connection) == head():
                yield from _payments(settings, connection)
                yield _zone(settings, connection)
                yield from attention_to(settings, connection)
                yield from contract.secrets(settings, connection)
                yield from contract.mode_of_events(settings, connection)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        yield Finding(f"Postgres: {reason}", "wrong", "Check DATABASE_URL and that it is running.")
    finally:
        engine.dispose()


def _postgres(connection: Connection) -> Iterator[Finding]:
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if version >= OLDEST_POSTGRES:
        yield Finding(f"Postgres answers (version {version // 10_000})", "fine")
    else:
        yield Finding("Postgres is older than 15", "doubtful", "Tests run on 18; upgrade it.")
    found = revision(connection)
    if found == head():
        yield Finding(f"Migrations are up to date ({found})", "fine")
    else:
        yield Finding(f"Migrations: at {found or 'none'}, not {head()}", "wrong", "bridge migrate")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        # Our connections set synchronous_commit; what the server has is what others get.
        value = connection.execute(text(f"SHOW {name}")).scalar_one()
        if value == "off":
            advice = f"Set {name} = on: a 200 to Stripe promises that the event is on disk."
            yield Finding(f"Postgres: {name} is off", "wrong", advice)
        else:
            yield Finding(f"Postgres: {name} is {value}", "fine")
    theirs = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    drift = abs(float(theirs) - time())
    if drift <= DRIFT:
        yield Finding("Clock agrees with Postgres", "fine")
    else:
        advice = "Run NTP on both: Stripe's signatures are refused beyond 300 s of drift."
        yield Finding(f"Clock: {drift:.0f} s away from Postgres's", "wrong", advice)


def _payments(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Captured money that is no revenue yet, and money that may count twice."""
    if settings.standalone_payments == "book" and ledger.has_invoices(connection):
        advice = "This account has invoices: with book, what pays them counts twice. Set hold."
        yield Finding("BRIDGE_STANDALONE_PAYMENTS is book", "wrong", advice)
    waiting = ledger.unattributed_payments(connection, 1, older_than=ATTRIBUTED_WITHIN)
    if waiting:
        advice = "`bridge revenue unattributed` lists them and says what would speak for them."
        yield Finding("Payments that nobody claims, for more than an hour", "doubtful", advice)
    else:
        yield Finding("Every captured payment is claimed", "fine")


def _zone(settings: Settings, connection: Connection) -> Finding:
    found = get_reporting_zone(connection)
    if found == settings.timezone:
        return Finding(f"Ledger and views count days of {found}", "fine")
    advice = "The ledger's days and the views' differ until `bridge migrate` is run with this zone."
    what = f"BRIDGE_TIMEZONE is {settings.timezone}, the views count days of {found}"
    return Finding(what, "wrong", advice)


def _redis(url: str | None) -> Iterator[Finding]:
    if not url:
        advice = "Events are still delivered, up to a second later. Set REDIS_URL to be quicker."
        yield Finding("Redis: none is set", "doubtful", advice)
        return
    try:
        policy = connect(url).config_get("maxmemory-policy").get("maxmemory-policy")
    except Exception as error:  # whatever a client or a proxy raises, the advice is the same
        advice = "Events are still delivered, seconds later. Check REDIS_URL and that it runs."
        yield Finding(f"Redis: {type(error).__name__}", "doubtful", advice)
        return
    if policy in ("noeviction", None):
        yield Finding("Redis answers", "fine")
    else:
        advice = "Set maxmemory-policy noeviction, or wake-ups get lost (the sweep finds them)."
        yield Finding(f"Redis: maxmemory-policy is {policy}", "doubtful", advice)


def _secrets(settings: Settings) -> Iterator[Finding]:
    if not settings.webhook_secrets:
        advice = "Stripe dashboard > Developers > Webhooks > your endpoint > Signing secret."
        yield Finding("STRIPE_WEBHOOK_SECRET is not set", "doubtful", advice)


def _destinations(settings: Settings) -> Iterator[Finding]:
    if not settings.destinations:
        advice = "Set for instance BRIDGE_DEST_AMPLITUDE_API_KEY; see .env.example."
        yield Finding("No destination is set: nothing is told to anyone", "doubtful", advice)
    for destination in settings.destinations:
        warnings = destination.warnings()
        for warning in warnings:
            yield Finding(f"Destination {destination.name}", "doubtful", warning)
        if not warnings:
            yield Finding(f"Destination {destination.name} ({destination.KIND})", "fine")
