"""Connections that keep two rules whatever the peer does: a deadline, and public addresses only.

Both are kept at the socket. A timeout of requests or urllib3 is that of one read, so a byte a
second outlives it; and a name checked earlier may lead elsewhere when it is looked up again.
"""

import socket
import ssl
import threading
from time import monotonic
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError
from urllib3.util.ssl_ import create_urllib3_context

from app.destinations.addresses import is_public

CONNECT_TIMEOUT = 5.0  # seconds, of each address, and again of the TLS handshake


class Refused(Exception):
    """The host is not on the public internet. No OSError, or urllib3 would wrap it."""


class _Try(threading.local):
    """The try this thread is at: its sockets ask here how long they may still block, and say
    whether the request had begun to leave."""

    until = 0.0
    allow_local = False
    sent = False

    def begin(self, until: float, *, allow_local: bool) -> None:
        self.until, self.allow_local, self.sent = until, allow_local, False

    def left(self) -> float:
        left = self.until - monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left


this_try = _Try()


class _Socket(socket.socket):
    """Arms its timeout anew before each call: a peer that drips bytes gains no time by it."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(this_try.left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(this_try.left())  # sendall's timeout is that of the whole call
        this_try.sent = True
        super().sendall(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    """The same under TLS, where sendall is a loop over send."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(this_try.left())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(this_try.left())
        this_try.sent = True
        return super().send(*args, **kwargs)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Adapter(HTTPAdapter):
    """A `requests` adapter whose connections keep to this module's rules."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = create_urllib3_context()
        context.sslsocket_class = _TlsSocket
        super().init_poolmanager(*args, **kwargs, ssl_context=context)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _connected(connection: HTTPConnection) -> socket.socket:
    """A socket to an address that was checked: a name looked up twice could change in between."""
    failure: OSError | None = None
    for family, address in _addresses(connection):
        try:
            return _dial(family, address, connection)
        except OSError as error:
            failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, "connect timed out") from failure
    if isinstance(failure, (BrokenPipeError, ConnectionResetError)):
        # urllib3 passes over these two, as if the request had been sent, and then has no socket.
        raise ConnectionAbortedError("cut while connecting") from failure
    raise failure or OSError("no address")


def _addresses(connection: HTTPConnection) -> list[tuple[int, Any]]:
    host = connection._dns_host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except UnicodeError as error:  # a label that no name may have
        unknown = socket.gaierror(socket.EAI_NONAME, "no such name")
        raise NameResolutionError(host, connection, unknown) from error
    if not this_try.allow_local and not all(is_public(str(each[4][0])) for each in found):
        raise Refused(host)
    return [(family, address) for family, _, _, _, address in found]


def _dial(family: int, address: Any, connection: HTTPConnection) -> socket.socket:
    sock = _Socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(min(CONNECT_TIMEOUT, this_try.left()))
        for option in connection.socket_options or ():
            sock.setsockopt(*option)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
