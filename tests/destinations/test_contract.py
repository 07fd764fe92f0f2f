"""What every destination owes, whatever its vendor: said once, for all that are registered."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import app.destinations
from app.core.money import Money
from app.core.outcome import Again, Delivered, Outcome, Rejected, Retry, Skipped, Split, Suspended
from app.deliver import batches
from app.destinations import KINDS, build
from app.destinations.base import Destination, Payload, Response
from app.store.deliveries import Leased
from tests.destinations.example import DEDUPE_ID, SECRET, WHO, an_event

PLANTED = "planted-s3cret"
SETTINGS = {
    "amplitude": {"api_key": PLANTED},
    "ga4": {"measurement_id": "G-ABC123", "api_secret": PLANTED},
    "meta": {"pixel_id": "1234567890", "access_token": PLANTED},
    "mixpanel": {"project_token": PLANTED},
    "posthog": {"api_key": PLANTED},
    "rudderstack": {"url": "https://data.example.com/v1/batch", "write_key": PLANTED},
    "segment": {"write_key": PLANTED},
    "warehouse": {"url": f"postgresql://bridge:{PLANTED}@db.example.com/analytics"},
    "webhook": {"url": f"https://example.com/{PLANTED}", "secret": SECRET},
}
# Where an empty 200 is no proof: what says that all of the batch was taken.
TAKEN = {"meta": '{"events_received":3}'}
# Somebody whom every destination knows.
KNOWN = {**WHO, "ga_client_id": "555.777", "fbp": "fb.1.1740830400000.1098115397"}
# Modules of the folder that are no destination.
MACHINERY = {"addresses", "base", "http", "judging", "settings", "sockets", "track"}
MACHINERY |= {"tables", "transports"}


@pytest.fixture(params=sorted(KINDS))
def destination(request: pytest.FixtureRequest) -> Destination:
    built = build(request.param, SETTINGS[request.param], allow_local_urls=False)
    assert isinstance(built, Destination)
    return built


def a_batch(destination: Destination) -> list[Payload]:
    body = destination.render(an_event(ids=KNOWN), DEDUPE_ID)
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
    first, second = (destination.render(an_event(ids=KNOWN), DEDUPE_ID) for _ in range(2))

    assert first == second


@pytest.mark.parametrize("minor", [1299, -1299])
def test_what_a_payload_tells_is_what_the_event_brought(
    destination: Destination, minor: int
) -> None:
    name = "payment_succeeded" if minor > 0 else "refund_created"
    paid: Any = {"properties": {"invoice_id": "in_1"}, "revenue": Money(minor, "usd")}
    body = destination.render(an_event(ids=KNOWN, name=name, **paid), DEDUPE_ID)
    if destination.KIND == "meta" and minor < 0:
        assert isinstance(body, Skipped)
    else:
        assert isinstance(body, bytes)
        assert destination.told(body) == (Decimal(minor) / 100, "usd")
    other = destination.render(an_event(ids=KNOWN, name="trial_started", revenue=None), DEDUPE_ID)
    assert isinstance(other, bytes)
    assert destination.told(other) is None


def test_properties_in_another_order_are_the_same_bytes(destination: Destination) -> None:
    one = an_event(ids=KNOWN, properties={"a": 1, "b": {"c": 2, "d": 3}})
    other = an_event(ids=KNOWN, properties={"b": {"d": 3, "c": 2}, "a": 1})

    assert destination.render(one, DEDUPE_ID) == destination.render(other, DEDUPE_ID)


def test_the_dedupe_id_and_the_frozen_bytes_are_in_the_request(destination: Destination) -> None:
    [payload, *_] = a_batch(destination)
    request = destination.request([payload], now=1.0)

    # A table of one's own is keyed by the analytics event itself, whichever destination wrote it.
    key = str(an_event().id if destination.KIND == "warehouse" else DEDUPE_ID)
    assert payload.body in request.body
    assert key.encode() in request.body or key in request.headers.values()


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
    taken = TAKEN.get(destination.KIND, "")
    assert {type(outcome) for outcome in judged(destination, 200, taken)} == {Delivered}
    assert {type(outcome) for outcome in judged(destination, 400)} <= {Rejected, Split}


@pytest.mark.parametrize("text", ["", "<html>", "[]", "null", "{" * 50_000, '{"a":', "\ud800\0"])
@pytest.mark.parametrize("status", [None, 100, 200, 302, 400, 413, 429, 503, 999])
def test_no_body_breaks_a_judge_or_makes_a_loop(
    destination: Destination, status: int | None, text: str
) -> None:
    assert not all(isinstance(outcome, Again) for outcome in judged(destination, status, text))


# --- the answers that say more than their status, of three rows (one where a request has one)

OUT_OF_QUOTA = '{"status":1,"quota_limited":["events"]}'
A_BAD_ROW = {
    "amplitude": '{"code":400,"events_with_invalid_fields":{"time":[1]}}',
    "mixpanel": '{"code":400,"num_records_imported":2,"failed_records":[{"index":1,"field":"x"}]}',
}
ERRORS_IN_A_200 = {
    "amplitude": ('{"code":500}', Retry),
    "meta": ('{"events_received":2}', Retry),
    "mixpanel": ('{"code":200,"num_records_imported":2,"status":"OK"}', Split),
    "posthog": (OUT_OF_QUOTA, Suspended),
    "rudderstack": ("<html>sign in</html>", Retry),
    "segment": ('{"success":false}', Retry),
}
NOT_OURS = {  # who refuses us as such: status and answer
    "amplitude": (400, '{"code":400,"error":"Invalid API key: abc"}'),
    "meta": (400, '{"error":{"code":190,"type":"OAuthException","message":"expired"}}'),
    "mixpanel": (401, '{"code":401,"error":"Invalid credentials"}'),
    "posthog": (401, '{"detail":"invalid token"}'),
    "rudderstack": (401, "Failed to read writeKey from header"),
    "segment": (401, ""),
    "ga4": (403, ""),
    "warehouse": (401, "28P01 password"),
    "webhook": (410, ""),
}


def test_a_bad_row_costs_no_neighbour_and_is_sent_no_second_time(destination: Destination) -> None:
    if destination.KIND not in A_BAD_ROW:
        return  # it names no row: by_status splits, see below
    first, bad, third = judged(destination, 400, A_BAD_ROW[destination.KIND])

    assert isinstance(bad, Rejected)
    # Taken already, or sent again at once: as that vendor has it.
    expected = Delivered if destination.KIND == "mixpanel" else Again
    assert {type(first), type(third)} == {expected}


def test_a_200_with_an_error_inside_is_no_success(destination: Destination) -> None:
    if destination.KIND not in ERRORS_IN_A_200:
        return  # its 200 has nothing inside: Measurement Protocol, a webhook, a table
    text, outcome = ERRORS_IN_A_200[destination.KIND]

    assert {type(one) for one in judged(destination, 200, text)} == {outcome}


def test_a_web_page_is_no_success_where_the_vendor_answers_in_json(
    destination: Destination,
) -> None:
    page = "\n<!doctype html><title>Welcome</title>"  # as a site answers for a path unknown to it
    outcomes = {type(one) for one in judged(destination, 200, page)}

    assert outcomes == {Retry if destination.KIND in ERRORS_IN_A_200 else Delivered}


def test_who_refuses_our_key_is_left_alone_and_no_attempt_is_burnt(
    destination: Destination,
) -> None:
    assert {type(one) for one in judged(destination, *NOT_OURS[destination.KIND])} == {Suspended}


def test_a_throttle_is_waited_for_as_long_as_it_asks(destination: Destination) -> None:
    batch = a_batch(destination)
    outcomes = destination.judge(Response(429, "", {"retry-after": "7"}), batch)

    assert {(type(one), getattr(one, "after", None)) for one in outcomes} == {(Retry, 7.0)}


def test_a_batch_holds_no_more_rows_and_bytes_than_it_says(
    destination: Destination, leased: Callable[..., Leased]
) -> None:
    rows = [leased(number) for number in range(destination.MAX_BATCH + 1)]
    sizes = [len(batch) for batch in batches(destination, rows)]
    # Two that fill a request to the byte, with the comma between them; and one byte more.
    half = destination.MAX_BYTES // 2
    full = [leased(0, size=half), leased(1, size=destination.MAX_BYTES - half - 1)]
    over = [leased(0, size=half + 1), leased(1, size=destination.MAX_BYTES - half - 1)]

    assert sizes == [destination.MAX_BATCH, 1]
    if destination.MAX_BATCH > 1:
        assert [len(batch) for batch in batches(destination, full)] == [2]
    assert [len(batch) for batch in batches(destination, over)] == [1, 1]


@pytest.fixture
def leased() -> Callable[..., Leased]:
    def row(number: int, size: int = 10) -> Leased:
        return Leased(
            id=number,
            token=number,
            attempts=1,
            crashes=0,
            dedupe_id=UUID(int=number),
            payload=b"x" * size,
            age=0.0,
            event_age=0.0,
            posting=False,
            historical=False,
        )

    return row


def test_every_kind_declares_itself_in_words(destination: Destination) -> None:
    words = (destination.TITLE, destination.NEEDS, destination.REFUNDS, destination.DEDUPED_BY)

    assert all(words)
    assert destination.ERASURE
    assert destination.LATENESS is None or destination.LATENESS.total_seconds() > 0
