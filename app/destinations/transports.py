"""Which transport carries a destination's requests: HTTP, or Postgres for a table of your own."""

from app.destinations.base import Destination, Transport
from app.destinations.http import Http
from app.destinations.tables import Tables


def open_transport(destination: Destination, *, allow_local: bool) -> Transport:
    """One for one thread, to be closed by it. `allow_local`: HTTP may call loopback and private
    hosts; a database mostly is on one, and gets nothing but Postgres's own protocol."""
    if destination.TRANSPORT == "postgres":
        return Tables()
    return Http(allow_local=allow_local)
