"""What every destination owes, whatever its vendor: said once, for all that are registered."""

import importlib
import pkgutil
from collections.abc import Sequence

import pytest

import app.destinations
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Split
from app.destinations import KINDS, build
from app.destinations.base import Destination, Payload, Response
from tests.destinations.example import DEDUPE_ID, SECRET, an_event

PLANTED = "planted-s3cret"
SETTINGS = {
    "amplitude": {"api_key": PLANTED},
    "webhook": {"url": f"https://example.com/{PLANTED}", "secret": SECRET},
}
# Modules of the folder that are no destination.
MACHINERY = {"addresses", "base", "http", "judging", "settings", "sockets"}


@pytest.fixture(params=sorted(KINDS))
def destination(request: pytest.FixtureRequest) -> Destination:
    built = build(request.param, SETTINGS[request.param], allow_local_urls=False)
    assert isinstance(built, Destination)
    return built


def a_batch(destination: Destination) -> list[Payload]:
    body = destination.render(an_event(), DEDUPE_ID)
    assert isinstance(body, bytes)
    return [Payload(DEDUPE_ID, body)] * min(3, destination.MAX_BATCH)


def judged(destination: Destination, status: int | None, text: str = "") -> Sequence[Outcome]:
    batch = a_batch(destination)
    outcomes = destination.judge(Response(status, text), batch)
    assert len(outcomes) == len(batch)
    return outcomes


def test_every_page_is_registered_under_its_kind() -> None:
    pages = {module.name for module in pkgutil.iter_modules(app.destinations.__path__)} - MACHINERY

    assert set(KINDS) == pages == set(SETTINGS)
    for kind, page in KINDS.items():
        assert (page.KIND, page.__module__) == (kind, f"app.destinations.{kind}")


def test_every_page_links_to_its_vendors_documentation() -> None:
    for page in KINDS.values():
        assert "https://" in (importlib.import_module(page.__module__).__doc__ or "")


def test_a_second_render_is_the_same_bytes(destination: Destination) -> None:
    assert destination.render(an_event(), DEDUPE_ID) == destination.render(an_event(), DEDUPE_ID)


def test_properties_in_another_order_are_the_same_bytes(destination: Destination) -> None:
    one = an_event(properties={"a": 1, "b": {"c": 2, "d": 3}})
    other = an_event(properties={"b": {"d": 3, "c": 2}, "a": 1})

    assert destination.render(one, DEDUPE_ID) == destination.render(other, DEDUPE_ID)


def test_the_dedupe_id_and_the_frozen_bytes_are_in_the_request(destination: Destination) -> None:
    [payload, *_] = a_batch(destination)
    request = destination.request([payload], now=1.0)

    assert payload.body in request.body
    assert str(DEDUPE_ID).encode() in request.body or str(DEDUPE_ID) in request.headers.values()


def test_a_request_stays_inside_the_declared_limits(destination: Destination) -> None:
    assert destination.MAX_BATCH >= 1
    assert destination.MAX_BYTES <= 1_000_000


def test_no_secret_shows_in_a_repr_or_in_a_reason(destination: Destination) -> None:
    batch = a_batch(destination)
    secrets = destination.secrets()
    echo = " ".join(secrets)
    shown = [repr(destination), repr(destination.request(batch, now=1.0))]
    for status in (None, 200, 302, 400, 401, 410, 413, 429, 500):
        shown.append(repr(destination.judge(Response(status, echo), batch)))

    assert secrets
    assert not [text for text in shown if any(s in text for s in (*secrets, PLANTED, SECRET))]


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_retried(destination: Destination, status: int | None) -> None:
    assert {type(outcome) for outcome in judged(destination, status)} == {Retry}


def test_a_2xx_delivers_and_a_refusal_never_does(destination: Destination) -> None:
    assert {type(outcome) for outcome in judged(destination, 200)} == {Delivered}
    assert {type(outcome) for outcome in judged(destination, 400)} <= {Rejected, Split}


@pytest.mark.parametrize("text", ["", "<html>", "[]", "null", "{" * 50_000, '{"a":', "\ud800\0"])
@pytest.mark.parametrize("status", [None, 100, 200, 302, 400, 413, 429, 503, 999])
def test_no_body_breaks_a_judge_or_makes_a_loop(
    destination: Destination, status: int | None, text: str
) -> None:
    assert not all(isinstance(outcome, Again) for outcome in judged(destination, status, text))
