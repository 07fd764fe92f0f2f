"""Settings to destinations: every problem at once, by the variable's name, never with the value."""

import pytest

from app.destinations import KINDS, build
from app.destinations.amplitude import Amplitude
from app.destinations.base import Destination
from app.destinations.webhook import Webhook
from tests.destinations.example import SECRET

KEY = "0123456789abcdef0123456789abcdef"
URL_FORM = (
    "an https URL on port 443 or above 1023, path included, without user or fragment"
    " (http and private hosts need BRIDGE_ALLOW_LOCAL_URLS)"
)
SECRET_FORM = "whsec_ and base64 (several, comma-separated, to rotate)"


def test_the_kind_is_the_name_unless_it_is_said() -> None:
    assert build("amplitude", {"api_key": KEY}, allow_local_urls=False) == Amplitude(
        name="amplitude", api_key=KEY
    )
    crm = {"kind": "webhook", "url": "https://crm.example/in", "secret": SECRET}
    assert build("crm", crm, allow_local_urls=False) == Webhook(
        name="crm", url="https://crm.example/in", secret=SECRET, purpose="own"
    )


def test_every_common_setting_is_read() -> None:
    options = {
        "api_key": f" {KEY}\n",
        "region": "eu",
        "purpose": "ads",
        "events": "payment_*, refund_created",
        "livemode": "both",
        "ambiguous": "drop",
        "max_lateness": "259200",
        "url": "",
    }

    assert build("amplitude", options, allow_local_urls=False) == Amplitude(
        name="amplitude",
        api_key=KEY,
        region="eu",
        purpose="ads",
        events=("payment_*", "refund_created"),
        livemode="both",
        ambiguous="drop",
        max_lateness=259_200,
    )


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "3 days", "9999999999", "٣"])
def test_a_lateness_that_is_no_number_of_seconds_is_a_problem(text: str) -> None:
    assert build("amplitude", {"api_key": KEY, "max_lateness": text}, allow_local_urls=False) == [
        "BRIDGE_DEST_AMPLITUDE_MAX_LATENESS: must be a whole number of seconds, such as 259200"
    ]


def test_all_problems_are_told_at_once() -> None:
    options = {
        "kind": "webhook",
        "url": "http://s3cret",
        "purpose": "s3cret",
        "secrets": "s3cret",
        "wholly_else": "s3cret",
    }

    assert build("crm", options, allow_local_urls=False) == [
        "BRIDGE_DEST_CRM_SECRETS: webhook has no such setting; "
        "did you mean BRIDGE_DEST_CRM_SECRET?",
        "BRIDGE_DEST_CRM_WHOLLY_ELSE: webhook has no such setting; "
        "it has AMBIGUOUS, EVENTS, KIND, LIVEMODE, MAX_LATENESS, PREFIX, PROPERTIES, PURPOSE, "
        "RENAME, SECRET, URL",
        "BRIDGE_DEST_CRM_PURPOSE: must be one of analytics, ads, own",
        f"BRIDGE_DEST_CRM_URL: must be {URL_FORM}",
        f"BRIDGE_DEST_CRM_SECRET: is missing; it must be {SECRET_FORM}",
    ]


def test_a_name_that_is_no_kind_asks_for_one() -> None:
    assert build("amplitud", {}, allow_local_urls=False) == [
        f"BRIDGE_DEST_AMPLITUD_KIND: must be one of {', '.join(KINDS)}; did you mean amplitude?"
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/in",
        "ftp://example.com/in",
        "https://user:pass@example.com/in",
        "https://@example.com/in",
        "https:///in",
        "https://example.com:0/in",
        "https://example.com:99999/in",
        "https://example.com:22/in",
        "https://example.com:80/in",
        "https://exa mple.com/in",
        "https://example.com/in#part",
        "https://example.com\\@evil.example/in",
        "https://[::1/in",
        "https://localhost/in",
        "https://127.0.0.1/in",
        "https://[::1]/in",
        "https://169.254.169.254/latest",
        "example.com/in",
    ],
)
def test_a_url_that_is_not_a_public_https_one_is_a_problem(url: str) -> None:
    options = {"url": url, "secret": SECRET}

    assert build("webhook", options, allow_local_urls=False) == [
        f"BRIDGE_DEST_WEBHOOK_URL: must be {URL_FORM}"
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/in", "http://[::1]/", "https://10.0.0.7/"])
def test_a_local_url_is_fine_where_local_urls_are_allowed(url: str) -> None:
    options = {"url": url, "secret": SECRET}

    assert build("webhook", options, allow_local_urls=True) == Webhook(
        name="webhook", url=url, secret=SECRET
    )


@pytest.mark.parametrize("secret", ["whsec_", "MfKQ9r8GKYqrTwjU", "whsec_???", f"{SECRET},x", ","])
def test_a_secret_that_cannot_sign_is_a_problem(secret: str) -> None:
    options = {"url": "https://example.com/in", "secret": secret}

    assert build("webhook", options, allow_local_urls=False) == [
        f"BRIDGE_DEST_WEBHOOK_SECRET: must be {SECRET_FORM}"
    ]


@pytest.mark.parametrize("key", ["two words", "clé", "x" * 101, "a\x00b"])
def test_a_key_that_is_no_key_is_a_problem(key: str) -> None:
    assert build("amplitude", {"api_key": key}, allow_local_urls=False) == [
        "BRIDGE_DEST_AMPLITUDE_API_KEY: must be 1 to 100 printable ASCII characters without spaces"
    ]


def test_doubtful_forms_are_warned_of_and_not_refused() -> None:
    demo = build("amplitude", {"api_key": "demo"}, allow_local_urls=False)
    weak = build(
        "webhook", {"url": "https://a.example/", "secret": "whsec_QUFB"}, allow_local_urls=False
    )
    good = Amplitude(name="amplitude", api_key=KEY)

    assert isinstance(demo, Destination)
    assert isinstance(weak, Destination)
    assert (demo.warnings(), weak.warnings(), good.warnings()) == (
        ["BRIDGE_DEST_AMPLITUDE_API_KEY: Amplitude's keys are 32 hexadecimal characters"],
        ["BRIDGE_DEST_WEBHOOK_SECRET: Standard Webhooks asks for 24 to 64 random bytes"],
        [],
    )


def test_a_copy_of_the_secrets_masks_each_part() -> None:
    both = Webhook(name="webhook", url="https://a.example/", secret=f"{SECRET}, whsec_QUFB")

    assert both.secrets() == ("https://a.example/", SECRET, "whsec_QUFB")
