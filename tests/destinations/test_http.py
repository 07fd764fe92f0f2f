"""The HTTP module against real sockets: what a hostile, slow or broken peer can and cannot do."""

import errno
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.destinations.addresses import is_public
from app.destinations.base import Request, Response
from app.destinations.http import ANSWER_CAP, Http

Behaviour = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Answer: Yes\r\n\r\nok"
REFUSED = "is not a public address (BRIDGE_ALLOW_LOCAL_URLS)"


@contextmanager
def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on loopback whose every connection is handed to `behave` on a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                if tls is None:
                    behave(connection)
                else:
                    with tls.wrap_socket(connection, server_side=True) as wrapped:
                        behave(wrapped)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def read_request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(int(h[15:]) for h in head.lower().split(b"\r\n") if h[:15] == b"content-length:")
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answering(answer: bytes, seen: list[bytes] | None = None) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        while True:
            request = read_request(connection)
            if seen is not None:
                seen.append(request)
            connection.sendall(answer)

    return behave


def dripping(head: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return behave


def post(port: int, *, deadline: float = 5.0, http: Http | None = None) -> Response:
    request = Request(f"http://127.0.0.1:{port}/hook?token=s3cret", {"X-Key": "k"}, b'{"a":1}')
    return (http or Http(allow_local=True)).send(request, until=time.monotonic() + deadline)


def test_one_post_carries_the_headers_and_the_very_bytes() -> None:
    seen: list[bytes] = []
    with serving(answering(OK, seen)) as port:
        answer = post(port)

    assert answer == Response(200, "ok", {"content-length": "2", "x-answer": "Yes"})
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], body) == (b"POST /hook?token=s3cret HTTP/1.1", b'{"a":1}')
    lines = set(head.split(b"\r\n"))
    ours = {b"X-Key: k", b"User-Agent: stripe-analytics-bridge", b"Accept-Encoding: identity"}
    assert ours <= lines


def test_a_connection_is_used_again() -> None:
    connections: list[None] = []

    def behave(connection: socket.socket) -> None:
        connections.append(None)
        answering(OK)(connection)

    with serving(behave) as port:
        http = Http(allow_local=True)
        answers = [post(port, http=http).status for _ in range(3)]

    assert (answers, len(connections)) == ([200, 200, 200], 1)


def test_a_redirect_is_not_followed_and_its_body_not_swallowed() -> None:
    seen: list[bytes] = []
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 1000000\r\n\r\n"
    with serving(answering(head + b"x" * 1_000_000, seen)) as port:
        answer = post(port)

    assert (answer.status, answer.text, len(seen)) == (302, "x" * ANSWER_CAP, 1)


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1000000\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n"],
)
def test_a_megabyte_is_cut_at_the_cap(head: bytes) -> None:
    with serving(answering(b"HTTP/1.1 500 No\r\n" + head + b"x" * 1_000_000)) as port:
        answer = post(port)

    assert (answer.status, answer.text) == (500, "x" * ANSWER_CAP)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Endless: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"",
    ],
)
def test_dripping_bytes_do_not_outlive_the_deadline(head: bytes) -> None:
    with serving(dripping(head)) as port:
        started = time.monotonic()
        answer = post(port, deadline=0.4)

    assert answer.status is None
    assert time.monotonic() - started < 1.0


def test_a_peer_that_never_reads_does_not_outlive_the_deadline() -> None:
    with serving(lambda connection: time.sleep(3)) as port:
        request = Request(f"http://127.0.0.1:{port}/", {}, b"x" * 30_000_000)
        started = time.monotonic()
        answer = Http(allow_local=True).send(request, until=time.monotonic() + 0.4)

    assert answer.status is None
    assert time.monotonic() - started < 1.0


def test_silence_is_a_timeout_in_words_without_url_or_key() -> None:
    with serving(lambda connection: time.sleep(2)) as port:
        assert post(port, deadline=0.2) == Response(None, "ReadTimeout")


def test_a_reset_is_no_answer() -> None:
    def reset(connection: socket.socket) -> None:
        read_request(connection)
        linger = b"\1\0\0\0\0\0\0\0"  # on, zero seconds: close sends RST
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with serving(reset) as port:
        assert post(port) == Response(None, "ConnectionReset")


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError])
def test_a_connection_that_is_cut_while_it_is_made_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def connect(*_: object) -> None:
        raise error(errno.ECONNRESET, "cut")

    monkeypatch.setattr("app.destinations.sockets._Socket.connect", connect)

    assert post(1) == Response(None, "ConnectionAborted", sent=False)


def test_nobody_listening_and_no_such_name_are_no_answer() -> None:
    with serving(answering(OK)) as port:
        pass
    nowhere = Request("https://nowhere.invalid/hook", {}, b"")

    assert post(port) == Response(None, "ConnectionRefused", sent=False)
    unknown = Response(None, "NameResolution", sent=False)
    assert Http().send(nowhere, until=time.monotonic() + 5) == unknown


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_no_answer(answer: bytes) -> None:
    def once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with serving(once) as port:
        assert post(port).status is None


def test_bytes_that_are_no_text_become_text_that_postgres_keeps() -> None:
    with serving(answering(b"HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\na\0\xffb")) as port:
        assert post(port).text == "a\ufffdb"


def test_proxies_and_netrc_of_the_environment_are_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login joe password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    seen: list[bytes] = []
    with serving(answering(OK, seen)) as port:
        assert post(port).status == 200

    assert b"authorization" not in seen[0].lower()


def test_cookies_are_not_kept() -> None:
    seen: list[bytes] = []
    cookie = OK.replace(b"X-Answer: Yes", b"Set-Cookie: a=b")
    with serving(answering(cookie, seen)) as port:
        http = Http(allow_local=True)
        post(port, http=http)
        post(port, http=http)

    assert [b"cookie" in request.lower() for request in seen] == [False, False]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_local_address_is_refused_before_anything_connects(host: str) -> None:
    connections: list[socket.socket] = []
    with serving(connections.append) as port:
        request = Request(f"http://{host}:{port}/?token=s3cret", {}, b"")
        answer = Http().send(request, until=time.monotonic() + 5)

    refused = f"refused: {host.strip('[]')} {REFUSED}"
    assert answer == Response(None, refused, sent=False)
    assert connections == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(socket.AF_INET, 1, 6, "", (ip, 443)) for ip in ("93.184.215.14", "10.0.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    request = Request("https://rebound.example/", {}, b"")

    answer = Http().send(request, until=time.monotonic() + 5)
    assert answer == Response(None, f"refused: rebound.example {REFUSED}", sent=False)


def test_a_name_that_leads_elsewhere_at_the_next_lookup_is_refused_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rebinding: what was public when the setting was read is private when we connect."""
    lookups: list[str] = []
    dialled: list[str] = []
    found = iter(["93.184.215.14", "127.0.0.1"])

    def lookup(host: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        lookups.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(found), port))]

    def dial(_family: int, address: tuple[str, int], _connection: object) -> socket.socket:
        dialled.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr("app.destinations.sockets._dial", dial)
    http, request = Http(), Request("https://rebound.example/", {}, b"")
    answers = [http.send(request, until=time.monotonic() + 5).text for _ in range(2)]

    assert answers == ["ConnectionRefused", f"refused: rebound.example {REFUSED}"]
    assert (lookups, dialled) == (["rebound.example"] * 2, ["93.184.215.14"])


def test_nothing_leaves_once_the_time_is_up() -> None:
    """The process may have been frozen between the decision to send and the sending."""
    seen: list[bytes] = []
    with serving(answering(OK, seen)) as port:
        http = Http(allow_local=True)
        request = Request(f"http://127.0.0.1:{port}/", {}, b"{}")
        fresh = http.send(request, until=time.monotonic() - 1)
        post(port, http=http)
        pooled = http.send(request, until=time.monotonic() - 1)

    assert [fresh.sent, pooled.sent] == [False, False]
    assert [fresh.timed_out, pooled.timed_out] == [True, True]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("answer", "unclear"),
    [
        (Response(None, "ReadTimeout"), True),
        (Response(None, "ConnectionReset"), True),
        (Response(None, "ConnectTimeout", sent=False), False),
        (Response(500, ""), True),
        (Response(502, ""), True),
        (Response(504, ""), True),
        (Response(200, "it failed"), True),
        (Response(999, ""), True),
        (Response(503, ""), False),
        (Response(429, ""), False),
        (Response(404, ""), False),
        (Response(302, ""), False),
    ],
    ids=str,
)
def test_what_may_have_been_taken_without_being_accepted(answer: Response, unclear: bool) -> None:
    assert answer.unclear is unclear


NOT_PUBLIC = """127.0.0.1 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1
    100.100.100.200 192.0.0.192 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 168.63.129.16 ::1 ::
    ::127.0.0.1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1 ::ffff:10.0.0.1 2002:7f00:1::
    2002:a00:1:: 64:ff9b::a00:1 64:ff9b::169.254.169.254 64:ff9b:1::1 2001:db8::1 nonsense"""
PUBLIC = "1.1.1.1 93.184.215.14 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::1.1.1.1"


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_an_address_that_is_not_the_internets(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_an_address_that_is(address: str) -> None:
    assert is_public(address)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("openssl makes this test's certificate")
    pem = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(pem), "-out", str(pem) + ".crt"]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    return pem


def secure(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_certificate_must_be_trusted_and_the_hosts_own(certificate: Path) -> None:
    trusting = Http(allow_local=True, verify=f"{certificate}.crt")
    with serving(answering(OK), secure(certificate)) as port:
        right = Request(f"https://localhost:{port}/", {}, b"{}")
        wrong_host = Request(f"https://127.0.0.1:{port}/", {}, b"{}")

        assert trusting.send(right, until=time.monotonic() + 5).status == 200
        untrusted = Response(None, "SSLCertVerification", sent=False)
        assert Http(allow_local=True).send(right, until=time.monotonic() + 5) == untrusted
        assert trusting.send(wrong_host, until=time.monotonic() + 5) == untrusted


def test_dripping_under_tls_does_not_outlive_the_deadline_either(certificate: Path) -> None:
    trusting = Http(allow_local=True, verify=f"{certificate}.crt")
    drip = dripping(b"HTTP/1.1 200 OK\r\n\r\n")
    with serving(drip, secure(certificate)) as port:
        request = Request(f"https://localhost:{port}/", {}, b"{}")
        started = time.monotonic()
        answer = trusting.send(request, until=time.monotonic() + 0.5)

    assert answer == Response(None, "ReadTimeout")
    assert time.monotonic() - started < 1.2
