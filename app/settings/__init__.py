"""Every setting, read from the environment once and passed in; all that is wrong is told at once.

`VARIABLES` is the one table: it drives reading, `bridge config`, and the tests of `.env.example`
and the docs. No message and no repr ever holds a secret.
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from app.destinations import build
from app.destinations.base import Destination
from app.settings import forms
from app.settings.environment import Given, Origin, read
from app.settings.forms import Form, WebhookSecret, Wrong, masked, without_password

__all__ = ["VARIABLES", "Settings", "SettingsError", "Shown", "Variable", "WebhookSecret"]
__all__ += ["load", "load_from_environment", "shown"]

CLIENT_REFERENCES = (
    *("none", "user_id", "device_id", "segment_anonymous_id", "posthog_distinct_id"),
    *("mixpanel_device_id", "amplitude_device_id", "ga_client_id"),
)
WEBHOOKS = "Stripe dashboard > Developers > Webhooks > your endpoint > Signing secret"
API_KEYS = "Stripe dashboard > Developers > API keys"


class SettingsError(Exception):
    """Settings that cannot be used: `problems` has a line for each, by name, never a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says. Without the two URLs, the embedded stores are meant."""

    database_url: str | None = field(default=None, repr=False)  # always postgresql+psycopg://
    redis_url: str | None = field(default=None, repr=False)
    port: int = 8000
    host: str = "127.0.0.1"
    web_processes: int = 1
    data_dir: Path = Path(".bridge")
    webhook_secrets: tuple[WebhookSecret, ...] = ()
    stripe_api_key: str | None = field(default=None, repr=False)
    stripe_api_base: str = "https://api.stripe.com"
    identity_hold: int = 900  # seconds
    identity_fallback: Literal["customer", "none"] = "customer"
    session_window: int = 86_400  # seconds
    client_reference: str = "none"
    revenue: Literal["gross", "net_of_tax"] = "gross"
    standalone_payments: Literal["hold", "book"] = "hold"
    consent_unknown: Literal["send", "skip"] = "send"
    allow_local_urls: bool = False
    timezone: str = "UTC"
    lane_workers: int = 2
    gap_interval: int = 3_600  # seconds, 0: never
    destinations: tuple[Destination, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict, repr=False, compare=False)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. A `secret` is also read from the file that `<NAME>_FILE` names."""

    name: str
    field: str
    form: Form
    help: str
    secret: bool = False
    where: str = ""

    @property
    def parse(self) -> Callable[[str], Any]:
        return self.form.parse

    @property
    def default(self) -> Any:
        return getattr(Settings, self.field)

    def problem(self, wrong: str) -> str:
        where = f"; find it in {self.where}" if self.where else ""
        return f"{self.name}: {wrong}; expected {self.form.words}{where}"


# fmt: off
VARIABLES: tuple[Variable, ...] = (
    Variable("DATABASE_URL", "database_url", forms.POSTGRES,
             "Postgres; without it, an embedded one under BRIDGE_DATA_DIR", secret=True,
             where="your Postgres provider's connection settings"),
    Variable("REDIS_URL", "redis_url", forms.REDIS,
             "Redis or Valkey; without it, an embedded one under BRIDGE_DATA_DIR", secret=True,
             where="your Redis provider's connection settings"),
    Variable("PORT", "port", forms.whole(1, 65_535), "port of the web command"),
    Variable("BRIDGE_HOST", "host", forms.ADDRESS,
             "address that the web command listens on; 0.0.0.0 behind a platform's router"),
    Variable("WEB_CONCURRENCY", "web_processes", forms.whole(1, 64),
             "processes of the web command, 16 threads each"),
    Variable("BRIDGE_DATA_DIR", "data_dir", forms.FOLDER, "folder of the embedded stores"),
    Variable("STRIPE_WEBHOOK_SECRET", "webhook_secrets", forms.WEBHOOK_SECRETS,
             "signing secrets of the webhook endpoints, all tried", secret=True, where=WEBHOOKS),
    Variable("STRIPE_API_KEY", "stripe_api_key", forms.STRIPE_KEY,
             "optional, restricted and read-only will do: doctor checks the endpoint",
             secret=True, where=API_KEYS),
    Variable("STRIPE_API_BASE", "stripe_api_base", forms.API_BASE,
             "where Stripe's API is asked; another one for tests"),
    Variable("BRIDGE_GAP_INTERVAL", "gap_interval", forms.whole(0, 604_800, "seconds"),
             "seconds between two looks at Stripe's event list; 0: never; needs STRIPE_API_KEY"),
    Variable("BRIDGE_IDENTITY_HOLD", "identity_hold", forms.whole(0, 86_400, "seconds"),
             "seconds that an analytics event waits to learn whose it is"),
    Variable("BRIDGE_IDENTITY_FALLBACK", "identity_fallback", forms.choice("customer", "none"),
             "after the hold: send under a pseudonymous customer id, or do not send"),
    Variable("BRIDGE_SESSION_WINDOW", "session_window", forms.whole(0, 2_592_000, "seconds"),
             "seconds after a checkout in which events still carry its session id"),
    Variable("BRIDGE_CLIENT_REFERENCE", "client_reference", forms.choice(*CLIENT_REFERENCES),
             "what a Checkout Session's client_reference_id is, where its metadata has no ids"),
    Variable("BRIDGE_REVENUE", "revenue", forms.choice("gross", "net_of_tax"),
             "revenue of analytics events: what was charged, or that less its tax"),
    Variable("BRIDGE_STANDALONE_PAYMENTS", "standalone_payments", forms.choice("hold", "book"),
             "payments that no Checkout claims: hold; or book, on an account without any invoices"),
    Variable("BRIDGE_CONSENT_UNKNOWN", "consent_unknown", forms.choice("send", "skip"),
             "events of unknown consent to analytics destinations: send or skip"),
    Variable("BRIDGE_ALLOW_LOCAL_URLS", "allow_local_urls", forms.YES_OR_NO,
             "lets destinations be on loopback or private addresses"),
    Variable("BRIDGE_TIMEZONE", "timezone", forms.TIME_ZONE, "time zone of finance's days"),
    Variable("BRIDGE_LANE_WORKERS", "lane_workers", forms.whole(1, 32),
             "how many batches of one destination may be on their way at once"),
)
# fmt: on
BY_NAME = {variable.name: variable for variable in VARIABLES}


def load_from_environment(needs: Collection[str] = ()) -> Settings:
    """`load` from this process's own environment."""
    return load(os.environ, needs=needs)


def load(environ: Mapping[str, str], *, needs: Collection[str] = ()) -> Settings:
    """The settings, or SettingsError with everything wrong. An empty text counts as unset.

    `needs`: names of variables that this command cannot do without.
    """
    secret = [variable.name for variable in VARIABLES if variable.secret]
    given = read(environ, names=BY_NAME, secret=secret)
    missing = [BY_NAME[name] for name in needs if name not in given.origins]
    problems = given.problems + [variable.problem("is not set") for variable in missing]
    values: dict[str, Any] = {"origins": given.origins}
    for variable in VARIABLES:
        try:
            if variable.name in given.texts:
                values[variable.field] = variable.parse(given.texts[variable.name])
        except Wrong as wrong:
            problems.append(variable.problem(str(wrong)))
    local = values.get("allow_local_urls", Settings.allow_local_urls)
    values["destinations"], unfit = _destinations(given, allow_local_urls=local)
    if problems or unfit:
        raise SettingsError(problems + unfit)
    return Settings(**values)


def _destinations(
    given: Given, *, allow_local_urls: bool
) -> tuple[tuple[Destination, ...], list[str]]:
    """Those that can be built, and what is wrong with the others."""
    options = given.destinations().items()
    built = [build(name, each, allow_local_urls=allow_local_urls) for name, each in options]
    problems = [line for each in built if isinstance(each, list) for line in each]
    # Of a variable whose file could not be read, that was said; "is missing" would mislead.
    problems = [line for line in problems if line.partition(":")[0] not in given.unread]
    return tuple(each for each in built if isinstance(each, Destination)), problems


class Shown(NamedTuple):
    """A line of `bridge config`: the value is masked, and empty if there is none."""

    name: str
    value: str
    origin: Origin


def shown(settings: Settings) -> list[Shown]:
    """Every setting that is in force and where it is from, fit to be read by anyone."""
    lines = [(each.name, _shown(each, getattr(settings, each.field))) for each in VARIABLES]
    for one in settings.destinations:
        lines.append((one.variable("kind"), one.KIND))
        for setting in fields(one):
            if setting.name != "name":
                text = _plain(getattr(one, setting.name))
                lines.append((one.variable(setting.name), text if setting.repr else masked(text)))
    return [Shown(name, text, settings.origins.get(name, "default")) for name, text in lines]


def _shown(variable: Variable, value: Any) -> str:
    if variable.form in (forms.POSTGRES, forms.REDIS):
        return without_password(value) if value else ""
    if variable.form is forms.WEBHOOK_SECRETS:
        return ",".join(f"{secret.label}={masked(secret.value)}" for secret in value)
    return masked(_plain(value)) if variable.secret else _plain(value)


def _plain(value: Any) -> str:
    """A value as it would be written into the environment."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
