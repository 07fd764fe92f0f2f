"""Settings: what is read, that everything wrong is told at once and by name, and never a value."""

import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from app.destinations import KINDS
from app.destinations.base import Destination, variable
from app.settings import (
    VARIABLES,
    Settings,
    SettingsError,
    WebhookSecret,
    load,
    load_from_environment,
    shown,
)

PLANTED = "PLANTEDplanted0123456789"
SECRET = f"whsec_{PLANTED}"
KEY = f"rk_live_{PLANTED}"
OWN_SECRET = "whsec_cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZA=="
EXAMPLE = Path(__file__).parent.parent / ".env.example"


def problems(*needs: str, **environ: str) -> list[str]:
    """What is wrong with these, after a check that no part of it shows a planted value."""
    with pytest.raises(SettingsError) as raised:
        load(environ, needs=needs)
    told = str(raised.value) + repr(raised.value) + repr(raised.value.__context__)
    assert "planted" not in told.lower()
    return raised.value.problems


def names(lines: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines}


def test_an_empty_environment_is_all_defaults() -> None:
    assert load({}) == Settings()
    assert load({"PORT": "", "STRIPE_API_KEY": " ", "BRIDGE_DEST_CRM_URL": ""}) == Settings()


def test_each_setting_is_read() -> None:
    settings = load(
        {
            "DATABASE_URL": f"postgres://bridge:{PLANTED}@db.example.com:5433/bridge?sslmode=require",
            "REDIS_URL": f"rediss://:{PLANTED}@redis.example.com:6380/1",
            "PORT": "80",
            "BRIDGE_DATA_DIR": "/var/lib/bridge",
            "STRIPE_WEBHOOK_SECRET": f"{SECRET}, new={SECRET}x=,",
            "STRIPE_API_KEY": KEY,
            "STRIPE_API_BASE": "http://127.0.0.1:12111/",
            "BRIDGE_IDENTITY_HOLD": "0",
            "BRIDGE_IDENTITY_FALLBACK": "None",
            "BRIDGE_SESSION_WINDOW": "60",
            "BRIDGE_STANDALONE_PAYMENTS": "book",
            "BRIDGE_CONSENT_UNKNOWN": "skip",
            "BRIDGE_ALLOW_LOCAL_URLS": "Yes",
            "BRIDGE_TIMEZONE": "Europe/Berlin",
            "BRIDGE_LANE_WORKERS": "32",
            "BRIDGE_NO_BOOTSTRAP": "1",
            "BRIDGE_DEST_CRM_KIND": "webhook",
            "BRIDGE_DEST_CRM_URL": "http://localhost:9/in",
            "BRIDGE_DEST_CRM_SECRET": OWN_SECRET,
            "BRIDGE_DEST_AMPLITUDE_API_KEY": PLANTED,
            "BRIDGE_DEST_AMPLITUDE_EVENTS": "payment_*,refund_*",
        }
    )
    assert settings.database_url == (
        f"postgresql+psycopg://bridge:{PLANTED}@db.example.com:5433/bridge?sslmode=require"
    )
    assert settings.redis_url == f"rediss://:{PLANTED}@redis.example.com:6380/1"
    assert (settings.port, settings.data_dir) == (80, Path("/var/lib/bridge"))
    assert settings.webhook_secrets == (
        WebhookSecret(label="1", value=SECRET),
        WebhookSecret(label="new", value=f"{SECRET}x="),
    )
    assert (settings.stripe_api_key, settings.stripe_api_base) == (KEY, "http://127.0.0.1:12111")
    assert (settings.identity_hold, settings.identity_fallback) == (0, "none")
    assert (settings.session_window, settings.lane_workers) == (60, 32)
    assert (settings.standalone_payments, settings.consent_unknown) == ("book", "skip")
    assert settings.allow_local_urls
    assert (settings.timezone, settings.zone.key) == ("Europe/Berlin", "Europe/Berlin")
    found = {(each.name, each.KIND): each.events for each in settings.destinations}
    assert found == {
        ("amplitude", "amplitude"): ("payment_*", "refund_*"),
        ("crm", "webhook"): ("*",),
    }
    assert "planted" not in repr(settings).lower()
    assert OWN_SECRET not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example.com/bridge",
        "postgresql+psycopg://postgres@/bridge?host=/tmp/run",  # as the embedded one has it
        "postgres:///bridge",
        "postgresql://u:p%40ss%2Fword@[::1]:5432/bridge",
    ],
)
def test_postgres_urls(url: str) -> None:
    assert load({"DATABASE_URL": url}).database_url == (
        "postgresql+psycopg" + url[url.index("://") :]
    )


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = {
        "DATABASE_URL": f"mysql://{PLANTED}@db/bridge",
        "REDIS_URL": f"redis:{PLANTED}",
        "PORT": f"80{PLANTED}",
        "STRIPE_WEBHOOK_SECRET": PLANTED,
        "STRIPE_API_KEY": SECRET,
        "STRIPE_API_BASE": f"http://{PLANTED}.example.com",
        "BRIDGE_IDENTITY_HOLD": "86401",
        "BRIDGE_IDENTITY_FALLBACK": PLANTED,
        "BRIDGE_SESSION_WINDOW": "-1",
        "BRIDGE_STANDALONE_PAYMENTS": PLANTED,
        "BRIDGE_CONSENT_UNKNOWN": PLANTED,
        "BRIDGE_ALLOW_LOCAL_URLS": PLANTED,
        "BRIDGE_TIMEZONE": PLANTED,
        "BRIDGE_LANE_WORKERS": "0",
        "BRIDGE_TIMEZON": PLANTED,
        "BRIDGE_DEST_AMPLITUDE_REGION": PLANTED,
        "BRIDGE_DEST_CRM_KIND": PLANTED,
        "BRIDGE_DEST_NOSETTING": PLANTED,
    }
    assert names(problems(**wrong)) == wrong.keys() | {"BRIDGE_DEST_AMPLITUDE_API_KEY"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", PLANTED),
        ("DATABASE_URL", f"postgresql://u:pa/{PLANTED}@h/bridge"),
        ("DATABASE_URL", f"postgresql://u:12/{PLANTED}@h/bridge"),
        ("DATABASE_URL", f"postgresql://u:12?{PLANTED}@h/bridge"),
        ("DATABASE_URL", f"postgresql://u:12#{PLANTED}@h/bridge"),
        ("DATABASE_URL", f"postgresql://u:{PLANTED}@h:{PLANTED}/bridge"),
        ("DATABASE_URL", f"postgresql://u:{PLANTED} @h/bridge"),
        ("DATABASE_URL", f"postgresql://[{PLANTED}/bridge"),
        ("REDIS_URL", f"http://{PLANTED}"),
        ("REDIS_URL", "redis:///0"),
        ("REDIS_URL", "unix://"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "８000"),  # noqa: RUF001 - int() would take this digit
        ("STRIPE_WEBHOOK_SECRET", "whsec_tooshort"),
        ("STRIPE_WEBHOOK_SECRET", f'"{SECRET}"'),
        ("STRIPE_WEBHOOK_SECRET", f"whsec_{PLANTED} {PLANTED}"),
        ("STRIPE_WEBHOOK_SECRET", f"{PLANTED}={PLANTED}"),
        ("STRIPE_WEBHOOK_SECRET", f"a b={SECRET}"),
        ("STRIPE_WEBHOOK_SECRET", f"a={SECRET},a={SECRET}"),
        ("STRIPE_WEBHOOK_SECRET", f"2={SECRET},{SECRET}"),
        ("STRIPE_WEBHOOK_SECRET", ","),
        ("STRIPE_API_KEY", f"pk_live_{PLANTED}"),
        ("STRIPE_API_KEY", "sk_live_..."),
        ("STRIPE_API_KEY", f"sk_live_{PLANTED}\n{PLANTED}"),
        ("STRIPE_API_BASE", f"https://u:{PLANTED}@example.com"),
        ("STRIPE_API_BASE", f"https://example.com?{PLANTED}"),
        ("STRIPE_API_BASE", "ftp://example.com"),
        ("BRIDGE_TIMEZONE", "America"),
        ("BRIDGE_TIMEZONE", "localtime"),
        ("BRIDGE_TIMEZONE", "../../etc/passwd"),
    ],
)
def test_a_text_of_another_form_is_told_by_name_and_form(name: str, text: str) -> None:
    [line] = problems(**{name: text})
    form = next(each.form.words for each in VARIABLES if each.name == name)
    assert re.match(rf"{name}: .+; expected {re.escape(form)}", line)


def test_where_a_secret_is_to_be_found_is_told() -> None:
    [line] = problems("STRIPE_WEBHOOK_SECRET")
    assert line == (
        "STRIPE_WEBHOOK_SECRET: is not set; expected whsec_... or label=whsec_..., several"
        " separated by commas; find it in Stripe dashboard > Developers > Webhooks > your"
        " endpoint > Signing secret"
    )


def test_a_command_gets_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    file = {"STRIPE_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")}
    assert load(file, needs=["STRIPE_WEBHOOK_SECRET"]).webhook_secrets
    assert names(problems("DATABASE_URL", "REDIS_URL")) == {"DATABASE_URL", "REDIS_URL"}
    # What is there and wrong is not also missing.
    assert len(problems("DATABASE_URL", DATABASE_URL=PLANTED)) == 1


def test_this_process_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_LANE_WORKERS", "7")
    assert load_from_environment().lane_workers == 7


def test_every_secret_can_come_from_a_file(tmp_path: Path) -> None:
    texts = {
        "DATABASE_URL": "postgresql://db/bridge",
        "REDIS_URL": "unix:///run/redis.sock",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_KEY": KEY,
        "BRIDGE_DEST_AMPLITUDE_API_KEY": PLANTED,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    filed = load({f"{name}_FILE": str(tmp_path / name) for name in texts})
    assert filed == load(texts)
    assert set(filed.origins.items()) == {(name, "file") for name in texts}


def test_a_file_and_a_text_is_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(PLANTED)
    for name in ("STRIPE_API_KEY", "BRIDGE_DEST_AMPLITUDE_API_KEY"):
        [line] = problems(**{name: KEY, f"{name}_FILE": str(tmp_path / "key")})
        assert line == f"{name}: is set twice; expected either it or {name}_FILE"


def test_a_file_that_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file, why in (("none", "No such file"), ("empty", "is empty"), ("binary", "no text")):
        for name in ("STRIPE_API_KEY", "BRIDGE_DEST_AMPLITUDE_API_KEY"):
            path = str(tmp_path / file)
            [line] = problems(**{f"{name}_FILE": path})
            assert line.startswith(f"{name}_FILE: {path} ")
            assert why in line


def test_a_secret_in_the_place_of_a_path_is_not_told() -> None:
    [line] = problems(STRIPE_API_KEY_FILE=KEY)
    assert line.startswith("STRIPE_API_KEY_FILE: the file cannot be read")


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    assert names(problems(BRIDGE_TIMEZONE_FILE=str(tmp_path))) == {"BRIDGE_TIMEZONE_FILE"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BRIDGE_TIMZONE", "did you mean BRIDGE_TIMEZONE?"),
        ("BRIDGE_IDENTHOLD", "did you mean BRIDGE_IDENTITY_HOLD?"),
        ("BRIDGE_STRIPE_WEBHOOK_SECRETS", "did you mean STRIPE_WEBHOOK_SECRET?"),
        ("bridge_lane_workers", "did you mean BRIDGE_LANE_WORKERS?"),
        ("BRIDGE_QUX", "expected one of .env.example"),
        ("BRIDGE_DEST_AMPLITUDE", "expected BRIDGE_DEST_<NAME>_<SETTING>"),
        ("BRIDGE_DEST_AMPLITUDE_FILE", "expected BRIDGE_DEST_<NAME>_<SETTING>"),
        ("BRIDGE_DEST__URL", "expected BRIDGE_DEST_<NAME>_<SETTING>"),
        ("bridge_dest_crm_url", "expected BRIDGE_DEST_<NAME>_<SETTING>"),
    ],
)
def test_an_unknown_name_of_ours_is_told_with_the_nearest(name: str, hint: str) -> None:
    [line] = problems(**{name: PLANTED})
    assert line.startswith(f"{name}: ")
    assert hint in line


def test_names_of_others_are_none_of_our_business() -> None:
    assert load({"PORTS": "x", "STRIPE_LOG": "debug", "BRIDGET": "jones"}) == Settings()


def test_what_is_shown_is_fit_for_anyone(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    settings = load(
        {
            "DATABASE_URL": f"postgres://bridge:{PLANTED}@db:5432/bridge?password={PLANTED}",
            "REDIS_URL": f"redis://{PLANTED}@redis:6379/0",
            "STRIPE_WEBHOOK_SECRET": f"{SECRET},new={SECRET}",
            "STRIPE_API_KEY_FILE": str(tmp_path / "key"),
            "BRIDGE_LANE_WORKERS": "2",
            "BRIDGE_DEST_AMPLITUDE_API_KEY": PLANTED,
            "BRIDGE_DEST_CRM_KIND": "webhook",
            "BRIDGE_DEST_CRM_URL": f"https://example.com/{PLANTED}?{PLANTED}",
            "BRIDGE_DEST_CRM_SECRET": f"{OWN_SECRET},{OWN_SECRET}",
        }
    )
    lines = {name: (value, origin) for name, value, origin in shown(settings)}
    assert "planted" not in str(lines).lower()
    assert OWN_SECRET not in str(lines)
    assert lines["DATABASE_URL"] == ("postgresql+psycopg://bridge:***@db:5432/bridge?…", "set")
    assert lines["REDIS_URL"] == ("redis://***@redis:6379/0", "set")
    assert lines["STRIPE_WEBHOOK_SECRET"] == (
        "1=whsec_…(30 characters),new=whsec_…(30 characters)",
        "set",
    )
    assert lines["STRIPE_API_KEY"] == ("rk_live_…(32 characters)", "file")
    assert lines["BRIDGE_LANE_WORKERS"] == ("2", "set")
    assert lines["BRIDGE_ALLOW_LOCAL_URLS"] == ("false", "default")
    assert lines["BRIDGE_DEST_AMPLITUDE_API_KEY"] == ("…(24 characters)", "set")
    assert lines["BRIDGE_DEST_AMPLITUDE_KIND"] == ("amplitude", "default")
    assert lines["BRIDGE_DEST_AMPLITUDE_REGION"] == ("us", "default")
    assert lines["BRIDGE_DEST_AMPLITUDE_URL"] == ("", "default")
    assert lines["BRIDGE_DEST_CRM_URL"] == ("https://example.com/…", "set")
    assert lines["BRIDGE_DEST_CRM_SECRET"][0].count("whsec_…(46 characters)") == 2
    assert lines["BRIDGE_DEST_CRM_EVENTS"] == ("*", "default")


def test_nothing_set_shows_as_nothing() -> None:
    lines = {name: value for name, value, _ in shown(Settings())}
    assert lines.keys() == {each.name for each in VARIABLES}
    assert lines["DATABASE_URL"] == lines["STRIPE_WEBHOOK_SECRET"] == lines["STRIPE_API_KEY"] == ""


def example() -> dict[str, str]:
    """What .env.example would set if nothing in it were commented out."""
    return dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_the_example_has_every_setting_and_its_default() -> None:
    ours = {name: text for name, text in example().items() if "_DEST_" not in name}
    assert ours.keys() == {each.name for each in VARIABLES}
    for each in VARIABLES:
        if not each.secret:
            assert each.parse(ours[each.name]) == each.default
    # Whoever fills in none of the secrets' dots is told so.
    assert names(problems(**ours)) == {"STRIPE_WEBHOOK_SECRET", "STRIPE_API_KEY"}


def test_the_example_sets_nothing_and_says_a_word_on_each() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    for before, line in pairwise(lines):
        if re.match(r"#[A-Z0-9_]+=", line):
            assert before.startswith("# ")


def test_the_example_has_every_setting_of_every_kind_of_destination() -> None:
    common = {each.name for each in fields(Destination)} - {"name"} | {"kind"}
    expected = {variable("crm", setting) for setting in common}
    for kind, page in KINDS.items():
        own = {each.name for each in fields(page)} - common - {"name"}
        expected |= {variable(kind, setting) for setting in own}
    assert {name for name in example() if "_DEST_" in name} == expected


def test_every_field_of_the_settings_is_in_the_table() -> None:
    ours = {each.name for each in fields(Settings)} - {"destinations", "origins"}
    assert {each.field for each in VARIABLES} == ours
    assert all(each.help for each in VARIABLES)
