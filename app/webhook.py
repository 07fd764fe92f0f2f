"""POST /webhooks/stripe: verify the raw bytes, keep them, commit, answer 200, ring.

Answers: 200 kept or kept before; 400 not Stripe's signature or not an event; 405 and 415 wrong
method or type; 413 too large; 429 too much that no secret signed, from one address; 503 not kept
(Stripe sends it again). Never a word of detail.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from threading import Lock
from time import monotonic, time
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from flask import Blueprint, Response, abort, request
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from app.core.envelope import Envelope, NotAnEvent, open_envelope
from app.core.signature import BadSignature, StaleSignature, verify
from app.last_use import LastUse
from app.settings import Settings
from app.store.webhook_events import Arrived, keep_all
from app.strangers import Strangers
from app.together import Together, TooLate

DEAF = 1.0  # seconds without ringing after Redis did not take a ring
PATH = "/webhooks/stripe"
MAX_BODY = 1024 * 1024  # bytes; Stripe's largest invoices are some hundred kB

log = structlog.get_logger()


class Door:
    """What the webhook route needs; `counted` is what it has answered since it opened."""

    def __init__(self, settings: Settings, engine: Engine, ring: Callable[[], bool]) -> None:
        self._secrets = [(one.label, one.value) for one in settings.webhook_secrets]
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._together = Together[Arrived, bool](self._keep_all)
        self._strangers = Strangers()
        self._last_use = LastUse(engine)
        self._ring = ring
        self._deaf_until = 0.0
        self._unrung: deque[None] = deque()  # commits that no worker was told of yet
        self.counted: Counter[str] = Counter()
        self._counting = Lock()

    def receive(self, body: bytes, header: str, address: str) -> tuple[int, str]:
        """(status, word) for these bytes, counted. Only what no secret signed is ever limited."""
        status, word = self._answer(body, header)
        if word == "bad_signature" and self._strangers.refuse(address):
            status, word = 429, "too_many"
        self.count(word)
        return status, word

    def count(self, word: str) -> None:
        """One more answer of this kind."""
        with self._counting:
            self.counted[word] += 1

    def _answer(self, body: bytes, header: str) -> tuple[int, str]:
        try:
            secret = verify(body, header, self._secrets, time())
            envelope = open_envelope(body)
        except BadSignature:
            return 400, "bad_signature"
        except StaleSignature as error:
            # Stripe signs anew on each retry: many of these mean that our clock drifts.
            log.warning("webhook.stale", error=str(error))
            return 400, "stale_signature"
        except NotAnEvent as error:
            log.warning("webhook.not_an_event", error=str(error))
            return 400, "not_an_event"
        self._last_use.note(secret)
        return self._keep(envelope, body, secret)

    def _keep(self, envelope: Envelope, body: bytes, secret: str) -> tuple[int, str]:
        try:
            new = self._together.do(Arrived(envelope, body, "thin" if envelope.thin else "webhook"))
        except (SQLAlchemyError, TooLate) as error:
            # Also when the commit's outcome is unknown: sent again, the unique key absorbs it.
            log.error(
                "webhook.not_kept", error=type(error).__name__, webhook_event=envelope.event_id
            )
            return 503, "not_kept"
        self._ring_once()
        word = "kept" if new else "duplicate"
        log.info(
            "webhook.received",
            answer=word,
            webhook_event=envelope.event_id,
            type=envelope.type,
            signed_with=secret,
        )
        return 200, word

    def _ring_once(self) -> None:
        """One ring for each shared commit, by whichever of its requests comes first."""
        try:
            self._unrung.pop()
        except IndexError:
            return
        if monotonic() > self._deaf_until and not self._ring():
            # A hung Redis would cost every request its timeout; the sweep finds the rows.
            self._deaf_until = monotonic() + DEAF

    def _keep_all(self, arrived: Sequence[Arrived]) -> Sequence[bool | Exception]:
        """One statement, which commits as it ends. If a row of several is refused, each alone."""
        try:
            with self._engine.connect() as connection:
                new = keep_all(connection, arrived)
        except DBAPIError as error:
            if len(arrived) == 1 or isinstance(error, OperationalError):
                raise
            return [self._keep_alone(one) for one in arrived]
        if any(new):
            self._unrung.append(None)
        return new

    def _keep_alone(self, arrived: Arrived) -> bool | Exception:
        """Raises what is no fault of the row: a Postgres that is gone is not asked for each."""
        try:
            return self._keep_all([arrived])[0]
        except DBAPIError as error:
            if isinstance(error, OperationalError):
                raise
            return error


def in_front(app: WSGIApplication, door: Door) -> WSGIApplication:
    """`app`, but for what Stripe posts: Flask's own work is more than the door's.

    Whatever is not plainly a webhook goes to `app`, which knows how to refuse it.
    """

    def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not _is_plain(environ):
            return app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        status, word = door.receive(
            body, environ.get("HTTP_STRIPE_SIGNATURE", ""), environ.get("REMOTE_ADDR", "")
        )
        told = f"{word}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        headers.append(("Content-Length", str(len(told))))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [told]

    return wsgi


def _is_plain(environ: WSGIEnvironment) -> bool:
    length = environ.get("CONTENT_LENGTH") or ""
    return (
        environ["PATH_INFO"] == PATH
        and environ["REQUEST_METHOD"] == "POST"
        and environ.get("CONTENT_TYPE", "").partition(";")[0].strip() == "application/json"
        and length.isdecimal()
        and length.isascii()
        and int(length) <= MAX_BODY
    )


def blueprint(door: Door) -> Blueprint:
    """The route, for Flask."""
    routes = Blueprint("webhook", __name__)

    @routes.post(PATH)
    def stripe() -> Response:
        if request.mimetype != "application/json":
            door.count("not_json")
            return answer(415, "not_json")
        body = request.get_data(cache=False)  # a body without a length is cut at MAX_BODY
        if request.content_length is None and request.environ["wsgi.input"].read(1):
            abort(413)
        header = request.headers.get("Stripe-Signature", "")
        return answer(*door.receive(body, header, request.remote_addr or ""))

    def answer(status: int, word: str) -> Response:
        return Response(f"{word}\n", status, mimetype="text/plain")

    return routes
