"""Stripe webhooks in, authoritative revenue and subscription events out, each once.

The way of one event, in the order of the files that it passes:

    webhook.py    verify the raw bytes, keep them in Postgres, commit, answer 200, ring
                  (together.py: those who wait share a commit)
    process.py    kept webhook event -> facts -> identity -> revenue entries + analytics events
    release.py    an analytics event whose identity is known (or whose hold ended) -> deliveries
    deliver.py    claim a batch for one destination -> POST it -> write down each outcome
    drain.py      serves whatever is due, lane by lane; rung by RQ, or by the sweeper without it

`core/` holds the pure rules, `store/` the only SQL, `destinations/` one page per receiver.
This file must stay light (and parse under Python 3.8): `import app.core` runs it too.
"""


def create_app(settings=None):  # type: ignore[no-untyped-def]
    """The Flask application; libraries are imported here so that `app.core` stays pure."""
    from app.web import make_app

    return make_app(settings)
