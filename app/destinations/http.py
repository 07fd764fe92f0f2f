"""The one module that speaks HTTP: one POST, one answer, inside a deadline nothing outlives.

It works on a `requests` adapter and not on its Session: a Session would add redirects, cookies,
`.netrc` and the environment's proxies, and reads a redirect's whole body whatever its size.
"""

import logging
from contextlib import closing
from time import monotonic
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from app.destinations.base import Request, Response
from app.destinations.sockets import CONNECT_TIMEOUT, Adapter, Refused, this_try

ANSWER_CAP = 64 * 1024  # bytes kept of an answer
PIECE = 4096  # bytes read between two looks at the cap
USER_AGENT = "stripe-analytics-bridge"

# urllib3 quotes whole URLs in its warnings, and a webhook's URL may hold a token.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Http:
    """Pooled connections of one thread. `allow_local` lets it call loopback and private hosts.

    The lookup of a name is the one thing the deadline cannot interrupt; the system bounds it.
    """

    def __init__(self, *, allow_local: bool = False, verify: bool | str = True) -> None:
        self._allow_local = allow_local
        self._verify = verify  # True, or the path of a CA file
        self._adapter = Adapter(pool_connections=10, pool_maxsize=1)

    def send(self, request: Request, *, until: float) -> Response:
        """POST it and read the answer, all before `until` on the clock of `time.monotonic`: a
        moment and no duration, so that nothing leaves from a process that was frozen meanwhile.

        Never raises for the peer.
        """
        this_try.begin(until, allow_local=self._allow_local)
        try:
            return self._post(request)
        except Refused:
            host = urlsplit(request.url).hostname
            words = f"refused: {host} is not a public address (BRIDGE_ALLOW_LOCAL_URLS)"
        except (requests.RequestException, HTTPError) as error:
            words = _words(error)
        return Response(None, words, sent=this_try.sent)

    def close(self) -> None:
        self._adapter.close()

    def _post(self, request: Request) -> Response:
        # identity: nothing to unpack, so no small answer that grows.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        prepared = requests.Request("POST", request.url, headers, data=request.body).prepare()
        limits = (CONNECT_TIMEOUT, max(this_try.until - monotonic(), 0.001))
        answer = self._adapter.send(prepared, stream=True, timeout=limits, verify=self._verify)
        with closing(answer):  # an answer that was not read to its end closes its connection
            body = _read(answer)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, body.decode("utf-8", "replace"), headers)


def _read(answer: requests.Response) -> bytes:
    kept = bytearray()
    for piece in answer.raw.stream(PIECE, decode_content=False):
        kept += piece
        if len(kept) >= ANSWER_CAP:
            break
    return bytes(kept[:ANSWER_CAP]).replace(b"\0", b"")  # Postgres keeps no NUL in a text


def _words(error: BaseException) -> str:
    """The innermost error's name: "ReadTimeout". Messages quote URLs, so none is passed on."""
    while inner := _inner(error):
        error = inner
    return type(error).__name__.removesuffix("Error")


def _inner(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *reversed(error.args))
    return next((each for each in candidates if isinstance(each, BaseException)), None)
