"""One of several workers: it is handed connections by its supervisor, and shows it how far each of them is.

A worker listens to nothing. Connections come as open sockets over a channel (SCM_RIGHTS), the supervisor keeps a second
handle of each, and a byte of shared memory says whether a request has begun on it. So when a worker dies, its idle
connections go on in another, and a request that was under way is refused in words instead of a broken connection.
"""

from __future__ import annotations

import asyncio
import gc
import mmap
import select
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from mofang.trade.request.desk import Desk
from mofang.web.figures import Figures
from mofang.web.handed_words import (
    ANSWERING,
    BEATS,
    BEGUN,
    CLOSED,
    IDLE,
    KEPT,
    LOST,
    MESSAGE,
    READY,
    RETURNED,
    SLOTS,
)
from mofang.web.metrics import page
from mofang.web.predict import BODY_BYTES_MAX, Door, PredictApp
from mofang.web.protocol import DeadlineProtocol, server_settings
from mofang.web.server import GARBAGE
from mofang.web.statistics import Statistics

BEAT_S = 2.0
HEARD_S = 20.0  # a supervisor that takes nothing for so long has gone
READ_BYTES = 262_144  # taken from a connection at once; asyncio's own number
WHOLE_MOST = 65_536  # an answer of so many bytes leaves in one piece, or not at all


class Channel:
    """The worker's end: open sockets come in, words about them go out."""

    def __init__(self, number: int, slots: int) -> None:
        self.socket = socket.socket(fileno=number)
        self.socket.setblocking(False)
        self.board = mmap.mmap(slots, SLOTS)
        self.draining = False
        self.read = memoryview(bytearray(READ_BYTES))  # of all connections: what is read is handed on before the next read

    def tell(self, what: bytes, slot: int = 0) -> None:
        """Say something to the supervisor; it always listens, and where it has died nobody is left to be told.

        A few hundred messages have room in the system; where hundreds of connections end while the supervisor is at
        something else, this waits for it.
        """
        message = MESSAGE.pack(what, slot)
        try:
            while message:
                try:
                    message = message[self.socket.send(message):]
                except (BlockingIOError, InterruptedError):
                    if not select.select((), (self.socket,), (), HEARD_S)[1]:
                        raise TimeoutError from None
        except OSError:
            self.draining = True

    def take(self) -> tuple[bytes, int, socket.socket] | None:
        """The next connection: whether it is new, its slot and its socket; None where the supervisor has gone."""
        message, handles, _, _ = socket.recv_fds(self.socket, MESSAGE.size, 1)
        if len(message) < MESSAGE.size or not handles:
            return None
        kind, slot = MESSAGE.unpack(message)
        return kind, slot, socket.socket(fileno=handles[0])


class HandedProtocol(DeadlineProtocol):
    """A connection that notes on the board how far its request is, and can be given back while it is idle."""

    def __init__(self, *, slot: int, kept: bool, channel: Channel, **more: Any) -> None:
        super().__init__(**more)
        self.slot, self._kept, self._channel = slot, kept, channel
        self._ends = CLOSED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        write, board, slot = self._lingering.write, self._channel.board, self.slot

        def noted(data: bytes | bytearray | memoryview[Any]) -> None:
            if len(data) > WHOLE_MOST or not getattr(self.cycle, "response_complete", True):
                board[slot] = ANSWERING  # part of an answer may be out, so no other may follow it
            write(data)

        self._lingering.write = noted
        if self._kept:  # it has waited before, and may go on waiting as any idle connection
            self._disarm()
            self._unfinished = self._in_headers = False
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Note that a request has begun, where ``Noted`` has not."""
        if self._channel.board[self.slot] == IDLE:
            self._channel.board[self.slot] = BEGUN
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Note that the connection is idle again, once the answer is out and nothing of a next request is here."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            sent = not self.transport.get_write_buffer_size()
            self._channel.board[self.slot] = ANSWERING if not sent else BEGUN if self._unfinished else IDLE

    def shutdown(self) -> None:
        """The worker ends: an idle connection is given back, one with a begun request is refused by the supervisor."""
        if self.scheme == "http" and getattr(self.cycle, "response_complete", True):
            self._ends = RETURNED if self._channel.board[self.slot] == IDLE else LOST
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._channel.tell(self._ends if exc is None else CLOSED, self.slot)


class Noted(asyncio.BufferedProtocol):
    """Notes on the board that a request has begun before its first byte is taken out of the system, not after.

    A worker that is killed in between would leave a connection that looks idle and whose bytes nobody has any more: another
    worker would wait for them as long as the caller waits for its answer. An event loop asks a buffered protocol for a
    buffer, and only then reads.
    """

    def __init__(self, inner: HandedProtocol, channel: Channel) -> None:
        self._board, self._slot, self._read = channel.board, inner.slot, channel.read
        self._received = inner.data_received
        for name in ("connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._board[self._slot] == IDLE:
            self._board[self._slot] = BEGUN
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        self._received(bytes(self._read[:nbytes]))


class Worker(uvicorn.Server):
    """uvicorn without a listener: its connections come through the channel."""

    channel: Channel
    admin_port: int = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets)
        if self.started:
            asyncio.get_running_loop().add_reader(self.channel.socket.fileno(), self._take)
            self.channel.tell(READY)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: a sign of life now and then, the end where the supervisor has gone."""
        if counter % int(BEAT_S * 10) == 0:
            self.channel.tell(BEATS)
        ends = await super().on_tick(counter)
        if self.channel.draining:
            return True
        return ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, give idle connections back, finish the rest."""
        asyncio.get_running_loop().remove_reader(self.channel.socket.fileno())
        self._taken(again=True)
        await asyncio.sleep(0)
        await super().shutdown(sockets)

    def _take(self) -> None:
        self._taken(again=False)

    def _taken(self, *, again: bool) -> None:
        """Take what is on its way; ``again``: give it back at once."""
        while True:
            try:
                found = self.channel.take()
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                found = None
            if found is None:
                self.channel.draining = True
                asyncio.get_running_loop().remove_reader(self.channel.socket.fileno())
                return
            kind, slot, handle = found
            if again:
                handle.close()
                self.channel.tell(RETURNED, slot)
                continue
            task = asyncio.create_task(self._connect(kind == KEPT, slot, handle))
            self.server_state.tasks.add(task)
            task.add_done_callback(self.server_state.tasks.discard)

    async def _connect(self, kept: bool, slot: int, handle: socket.socket) -> None:
        handle.setblocking(False)
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.BaseProtocol:
            made = HandedProtocol(slot=slot, kept=kept, channel=self.channel, config=self.config,
                                  server_state=self.server_state, app_state=self.lifespan.state, _loop=loop)
            return made if tls else Noted(made, self.channel)  # of a connection with TLS nothing goes on in another worker

        try:
            admin = bool(self.admin_port) and handle.getsockname()[1] == self.admin_port  # on loopback: no TLS
            tls = None if admin else self.config.ssl
            await loop.connect_accepted_socket(protocol, handle, ssl=tls)
        except (OSError, ConnectionError):  # it hung up meanwhile, or speaks no TLS
            self.channel.tell(CLOSED, slot)


@dataclass(frozen=True)
class Place:
    """What a supervisor tells its workers: the handles of channel and board, the ports beside the customers' (0: none), where
    callers reach them, and the name of the group whose figures are added up."""

    channel: int
    slots: int
    admin_port: int
    grpc_port: int
    group: str
    host: str
    address: str


def place_of(word: str) -> Place:
    """The word of ``place_word`` read back."""
    channel, slots, admin_port, grpc_port, group, host, address = word.split(",", 6)
    return Place(int(channel), int(slots), int(admin_port), int(grpc_port), group, host, address)


def run_worker(desk: Desk, place: Place, *, folder: Path, certificate: Path | None = None,
               private_key: Path | None = None) -> None:
    """Serve what the supervisor hands over, until SIGTERM or until it is gone."""
    statistics = Statistics(folder, desk.health()[1]["models"], desk.waiting)
    statistics.address = place.address
    statistics.figures = Figures(folder, place.group)
    statistics.page = partial(page, desk, statistics)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    doors: list[Door] = []
    if place.grpc_port:
        from mofang.web.grpc import GrpcDoor

        doors.append(GrpcDoor(desk, statistics, place.host, place.grpc_port, certificate=certificate, private_key=private_key,
                              shared=True))
    app = PredictApp(desk, body_bytes_max=BODY_BYTES_MAX, statistics=statistics, beside=doors, admin_port=place.admin_port)
    worker = Worker(uvicorn.Config(app, **server_settings(ssl_certfile=certificate, ssl_keyfile=private_key)))
    worker.channel = Channel(place.channel, place.slots)
    worker.admin_port = place.admin_port
    worker.run(sockets=[])
