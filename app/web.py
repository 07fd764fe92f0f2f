"""The Flask application: the webhook's door, and how the process is doing."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from flask import Flask, Response, jsonify, request
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from app import webhook
from app.log import configure
from app.queue import connect, ring
from app.settings import Settings, load_from_environment
from app.store.db import make_engine
from app.store.migrate import head, revision
from app.together import Together, TooLate

# A request may wait this long in Postgres before Stripe is told to come back.
STATEMENT_TIMEOUT = 3_000  # milliseconds
# While Postgres begins to hang, /readyz may have to wait for a thread as long as a webhook waits.
READY_PATIENCE = 1.2  # seconds
REFUSED = {405: "wrong_method", 413: "too_large"}  # as the door counts them
SCRIPT = Path(__file__).parent / "static" / "bridge-ids.js"


def make_app(settings: Settings | None = None) -> Flask:
    """The application for these settings, or for the environment's. Call it after any fork."""
    settings = settings or load_from_environment(needs=("DATABASE_URL", "STRIPE_WEBHOOK_SECRET"))
    configure(logging.WARNING)
    engine = make_engine(
        settings.database_url or "", "web", statement_timeout=STATEMENT_TIMEOUT, pool_size=2
    )
    redis = connect(settings.redis_url) if settings.redis_url else None
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = webhook.MAX_BODY
    door = webhook.Door(settings, engine, lambda: redis is not None and ring(redis))
    app.extensions["door"] = door
    app.register_blueprint(webhook.blueprint(door))
    app.wsgi_app = webhook.in_front(app.wsgi_app, door)  # type: ignore[method-assign, assignment]

    def refuse(error: HTTPException) -> Response:
        if request.path == webhook.PATH and error.code in REFUSED:
            door.count(REFUSED[error.code])
        return _plainly(error)

    app.register_error_handler(HTTPException, refuse)
    _health(app, engine)
    _script(app)
    return app


def _plainly(error: HTTPException) -> Response:
    """Errors say their name and nothing of us."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    response = Response(f"{HTTPStatus(status).phrase}\n", status, mimetype="text/plain")
    if methods := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(methods))
    return response


def _health(app: Flask, engine: Engine) -> None:
    def look(asked: Sequence[None]) -> Sequence[bool]:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            return [revision(connection) == head()] * len(asked)

    migrated = Together[None, bool](look, patience=READY_PATIENCE)

    @app.get("/healthz")
    def healthz() -> Response:
        """The process answers."""
        return jsonify(status="ok")

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        """Postgres answers and has this code's tables. Redis is not asked: it is not needed."""
        try:
            up_to_date = migrated.do(None)
        except (SQLAlchemyError, TooLate):
            return jsonify(status="no database"), HTTPStatus.SERVICE_UNAVAILABLE
        if not up_to_date:
            return jsonify(status="run bridge migrate"), HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(status="ok"), HTTPStatus.OK


def _script(app: Flask) -> None:
    """What a shop's pages load from here, if they have no copy of their own: docs/checkout.md."""
    content = SCRIPT.read_bytes()

    @app.get("/bridge-ids.js")
    def script() -> Response:
        """The same for everybody, from any site."""
        response = Response(content, mimetype="text/javascript")
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.add_etag()
        response.make_conditional(request)
        return response
