"""bridge-ids.js as the bridge serves it. What it does is in tests/browser."""

import pytest
from flask.testing import FlaskClient

from app.settings import Settings
from app.web import SCRIPT, make_app

PATH = "/bridge-ids.js"


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    return make_app(settings).test_client()


def test_it_is_small_and_plain_ascii() -> None:
    content = SCRIPT.read_bytes()

    assert len(content) < 3_000
    assert content.isascii()


def test_it_calls_nothing_that_reaches_the_network() -> None:
    words = ("fetch", "XMLHttpRequest", "sendBeacon", "import(", "new Image", "createElement")

    assert [word for word in words if word in SCRIPT.read_text()] == []


def test_any_page_may_load_it_and_keep_it_for_an_hour(client: FlaskClient) -> None:
    answer = client.get(PATH)

    assert (answer.status_code, answer.data) == (200, SCRIPT.read_bytes())
    headers = dict(answer.headers)
    assert headers.pop("ETag")
    assert headers.pop("Date")
    assert headers == {
        "Content-Type": "text/javascript; charset=utf-8",
        "Content-Length": str(len(answer.data)),
        "Cache-Control": "public, max-age=3600",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def test_who_has_it_already_is_told_so(client: FlaskClient) -> None:
    etag = client.get(PATH).headers["ETag"]

    same = client.get(PATH, headers={"If-None-Match": etag})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", etag)
    assert client.get(PATH, headers={"If-None-Match": '"another"'}).status_code == 200


def test_it_can_only_be_read(client: FlaskClient) -> None:
    assert client.post(PATH).status_code == 405
    assert client.get("/static/bridge-ids.js").status_code == 404
