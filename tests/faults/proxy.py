"""A TCP proxy that spoils what passes: before Postgres, Redis or a receiver, without privileges.

with proxy(("127.0.0.1", 5432)) as wire:  # or the path of a unix socket
    connect_to(wire.port)
    wire.mode = cut(after=0)  # what comes back is swallowed, and the connection is reset
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

Address = tuple[str, int] | str  # host and port, or the path of a unix socket
CHUNK = 65_536
LOOK_AGAIN = 0.02  # seconds between two looks at the mode while nothing passes
AT_ONCE_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST and drops what is unsent


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How bytes pass. `seconds`: of latency, or between two bytes that drip; `after`: bytes of the
    answer that pass before the cut; `times`: connections hit before all passes again, None: all."""

    kind: Literal["pass", "latency", "blackhole", "reset", "cut", "drip"]
    seconds: float = 0.0
    after: int = 0
    times: int | None = None


PASS = Mode(kind="pass")
BLACKHOLE = Mode(kind="blackhole")  # nothing passes, nothing is closed; it passes later
RESET = Mode(kind="reset")


def latency(seconds: float) -> Mode:
    """Every piece is so late, both ways."""
    return Mode(kind="latency", seconds=seconds)


def cut(*, after: int, times: int | None = None) -> Mode:
    """So many bytes of the answer pass, then the connection is reset."""
    return Mode(kind="cut", after=after, times=times)


def drip(seconds: float) -> Mode:
    """Answers pass byte by byte, so many seconds apart."""
    return Mode(kind="drip", seconds=seconds)


class Proxy:
    """The running proxy. `mode` may be set from any thread, and is obeyed from the next piece on.

    `cuts` counts the connections that modes have ended.
    """

    def __init__(self, upstream: Address) -> None:
        self.port = 0
        self.cuts = 0
        self._upstream = upstream
        self._mode, self._since, self._left = PASS, 0, 0
        self._pairs: set[_Pair] = set()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._left = mode.times or 0
        self._since += 1
        self._mode = mode

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        """Listen on a free loopback port until `stop`."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        for pair in tuple(self._pairs):
            pair.reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._carry(pair, reader, writer)
        except (OSError, asyncio.CancelledError):  # the other side was reset, or we are to end
            pair.reset()
        finally:
            pair.close()
            self._pairs.discard(pair)

    async def _carry(
        self, pair: "_Pair", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if (await self._passing()).kind == "reset":
            return self._end(pair)
        above = await self._dial()
        pair.writers.append(above[1])
        ways = [self._pump(pair, reader, above[1]), self._pump(pair, above[0], writer, answer=True)]
        watch = asyncio.create_task(self._reset_when_told(pair))
        try:
            # Whichever side ends first ends both: what passes here needs no half-closed connection.
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            if any(isinstance(one, OSError) for one in ended):
                pair.reset()  # as that side was
        finally:
            watch.cancel()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, str):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection(*self._upstream)

    async def _passing(self) -> Mode:
        """The mode, once it lets anything pass at all."""
        while self._mode.kind == "blackhole":
            await asyncio.sleep(LOOK_AGAIN)
        return self._mode

    async def _reset_when_told(self, pair: "_Pair") -> None:
        """Idle connections are reset too."""
        while self._mode.kind != "reset":
            await asyncio.sleep(LOOK_AGAIN)
        self._end(pair)

    async def _pump(
        self,
        pair: "_Pair",
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        answer: bool = False,
    ) -> None:
        passed, since = 0, self._since
        while data := await source.read(CHUNK):
            mode = await self._passing()
            if since != self._since:
                passed, since = 0, self._since
            match mode.kind:
                case "latency":
                    await asyncio.sleep(mode.seconds)
                case "cut" if answer and passed + len(data) > mode.after:
                    sink.write(data[: max(0, mode.after - passed)])
                    await sink.drain()
                    return self._end(pair)
                case "drip" if answer:
                    await self._drip(data, sink, mode)
                    continue
                case _:
                    pass
            passed += len(data)
            sink.write(data)
            await sink.drain()

    async def _drip(self, data: bytes, sink: asyncio.StreamWriter, mode: Mode) -> None:
        for place in range(len(data)):
            if self._mode is not mode:
                sink.write(data[place:])
                break
            sink.write(data[place : place + 1])
            await sink.drain()
            await asyncio.sleep(mode.seconds)

    def _end(self, pair: "_Pair") -> None:
        self.cuts += 1
        pair.reset()
        if self._mode.times is not None:
            self._left -= 1
            if self._left <= 0:
                self._mode = PASS


class _Pair:
    """Both ends of one connection."""

    def __init__(self, below: asyncio.StreamWriter) -> None:
        self.writers = [below]

    def reset(self) -> None:
        for writer in self.writers:
            end = writer.get_extra_info("socket")
            if end is not None and end.family != socket.AF_UNIX:
                with suppress(OSError):  # it may be closed already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE_RESET)
            writer.transport.abort()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@contextmanager
def proxy(upstream: Address) -> Iterator[Proxy]:
    """Run a proxy on a thread of its own for the length of the block."""
    running = Proxy(upstream)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with closing(loop):
            loop.run_until_complete(running.serve(started, stop))

    thread = threading.Thread(target=run, name="proxy", daemon=True)
    thread.start()
    assert started.wait(10), "the proxy does not listen"
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
