"""Several serving processes behind one address: started, watched, replaced; no connection is lost that need not be.

The supervisor accepts connections and hands each to the worker with the fewest. It reads nothing of them and holds no
model, so that there is nothing in it to fail. A worker that dies is replaced at once; its idle connections go to another,
and a request that was under way is answered 503 ``worker-lost`` (``web/handed.py``). SIGHUP replaces the workers one after
another, SIGTERM and Ctrl-C end them after what has begun is finished.
"""

from __future__ import annotations

import logging
import mmap
import os
import resource
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.web.handed_words import BEATS, BEGUN, CLOSED, IDLE, KEPT, LOST, MESSAGE, NEW, READY, RETURNED, SLOTS

SILENT_S = 30.0  # a worker that shows no sign of life for so long is killed
DRAIN_S = 30.0
LINGER_S = 1.0
BACKLOG = 1024
PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0)  # before a worker that dies again and again before it is ready is started anew
KEPT_MOST = 1000  # of what is remembered of deaths

log = logging.getLogger("mofang.supervisor")


@dataclass(eq=False)
class Child:
    """One worker process, and the connections it holds."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    started_s: float
    heard_s: float
    ready: bool = False
    after_s: float = 0.0  # when the one died whose place it takes; 0: at the start
    drains_s: float = 0.0
    replaces: Child | None = None
    slots: set[int] = field(default_factory=set)
    unread: bytes = b""


class Supervisor:
    """Keeps ``count`` workers. ``command`` makes a worker's command line from the numbers of its channel and the board.

    ``admin`` is a second listener, whose connections are handed over alike and speak no TLS. ``buried`` is told the number of
    each process that has ended.
    """

    def __init__(self, listener: socket.socket, count: int, command: Callable[[int, int], Sequence[str]], *,
                 tls: bool = False, ready: Callable[[], None] = lambda: None, admin: socket.socket | None = None,
                 buried: Callable[[int], None] = lambda pid: None) -> None:
        self.listener, self.count, self.command, self.tls, self.ready = listener, count, command, tls, ready
        self.listeners = [listener, *([admin] if admin is not None else [])]
        self.buried = buried
        self.selector = selectors.DefaultSelector()
        self.board_file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the supervisor
        self.board_file.truncate(SLOTS)
        self.board = mmap.mmap(self.board_file.fileno(), SLOTS)
        self.free = deque(range(SLOTS))
        self.connections: dict[int, socket.socket] = {}
        self.parked: deque[tuple[int, bytes]] = deque()  # connections that wait for a worker to be ready
        self.lingering: deque[tuple[float, socket.socket]] = deque()
        self.children: list[Child] = []
        self.restarts = 0
        self.died: deque[float] = deque(maxlen=KEPT_MOST)  # when those died whose places nobody has taken yet
        self.back_s: deque[float] = deque(maxlen=KEPT_MOST)  # how long it took from a death to a worker that is ready
        self.quick = 0  # deaths in a row before anything was ready
        self.start_at_s = 0.0
        self.status = 0
        self.ever_ready = self.accepting = self.stopping = False
        self.to_replace: list[Child] = []

    def run(self) -> int:
        """Supervise until told to stop; the exit status."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, SLOTS), hard))
        for one in self.listeners:
            one.setblocking(False)
            one.listen(BACKLOG)
        woken, waker = socket.socketpair()
        for one in (woken, waker):
            one.setblocking(False)
        before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        handlers = {number: signal.signal(number, lambda *_: None) for number in signals}
        self.selector.register(woken, selectors.EVENT_READ, lambda: self._signals(woken))
        try:
            while not (self.stopping and not self.children):
                self._keep()
                for key, _ in self.selector.select(0.25):
                    key.data()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            for child in self.children:
                child.process.kill()
                child.process.wait()
            for one in (*self.connections.values(), *(held for _, held in self.lingering), *self.listeners, woken, waker):
                one.close()
            self.selector.close()
        return self.status

    def _signals(self, woken: socket.socket) -> None:
        for number in woken.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP and not self.stopping:
                self.to_replace += [one for one in self.children if one not in self.to_replace and not one.drains_s]

    # Workers

    def _keep(self) -> None:
        """Bury the dead, kill the silent, start what is missing, accept while somebody can take it."""
        now = time.monotonic()
        for child in list(self.children):
            if child.process.poll() is not None:
                self._buried(child, now)
            elif (child.ready and now > child.heard_s + SILENT_S) or (child.drains_s and now > child.drains_s + DRAIN_S):
                child.process.kill()
        while self.lingering and self.lingering[0][0] < now:
            self._left(self.lingering.popleft()[1])
        if self.stopping:
            return
        standing = [one for one in self.children if not one.drains_s and one.replaces is None]
        if len(standing) < self.count and now >= self.start_at_s:
            self._start()
        self.to_replace = [one for one in self.to_replace if one in self.children and not one.drains_s]
        if self.to_replace and not any(one.replaces for one in self.children):
            self._start(self.to_replace[0])
        self._accept_while(any(one.ready and not one.drains_s for one in self.children))

    def _start(self, replaces: Child | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        handles = (theirs.fileno(), self.board_file.fileno())
        process = subprocess.Popen(list(self.command(*handles)), pass_fds=handles, start_new_session=True,
                                   env={**os.environ, "PYTHONUNBUFFERED": "1"})
        theirs.close()
        now = time.monotonic()
        child = Child(process, ours, now, now, replaces=replaces,
                      after_s=self.died.popleft() if self.died and replaces is None else 0.0)
        self.children.append(child)
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))

    def _buried(self, child: Child, now: float) -> None:
        """A worker is gone: what it held goes on, is refused, or is closed; another takes its place."""
        while self._hear(child):  # all that it said before it died
            pass
        self.children.remove(child)
        self.selector.unregister(child.channel)
        child.channel.close()
        for slot in sorted(child.slots):
            self._orphan(slot)
        self.buried(child.process.pid)
        if child.drains_s or self.stopping:
            return
        log.warning("worker %d ended with status %s", child.process.pid, child.process.returncode)
        if not self.ever_ready:  # it cannot start at all: its own words are on the screen
            self.status = child.process.returncode if child.process.returncode > 0 else 1
            self._stop()
            return
        self.restarts += 1
        if child.replaces is None:
            self.died.append(now)
        # one that was ready is replaced at once, however often: starting bounds the pace by itself
        self.quick = 0 if child.ready else min(self.quick + 1, len(PAUSES_S) - 1)
        self.start_at_s = now + PAUSES_S[self.quick]

    def _hear(self, child: Child) -> bool:
        """Read what a worker says; False where it says nothing more."""
        try:
            said = child.channel.recv(1 << 16)
        except OSError:  # nothing now, or never again
            return False
        child.unread += said
        for begin in range(0, len(child.unread) - MESSAGE.size + 1, MESSAGE.size):
            what, slot = MESSAGE.unpack_from(child.unread, begin)
            self._heard(child, what, slot)
        child.unread = child.unread[len(child.unread) // MESSAGE.size * MESSAGE.size:]
        return bool(said)

    def _heard(self, child: Child, what: bytes, slot: int) -> None:
        child.heard_s = time.monotonic()
        if what == READY:
            child.ready = True
            if child.after_s:
                self.back_s.append(child.heard_s - child.after_s)
                log.warning("worker %d is ready, %.1f s after the one before it ended", child.process.pid, self.back_s[-1])
            for _ in range(len(self.parked)):
                self._hand(*self.parked.popleft())
            if child.replaces is not None:
                self._drain(child.replaces)
                child.replaces = None
            if not self.ever_ready:
                self.ever_ready = True
                self.ready()
        elif what != BEATS and slot in child.slots:
            child.slots.discard(slot)
            if what == RETURNED:
                self._orphan(slot)
            elif what == LOST:
                self._refuse(self._let_go(slot))
            elif what == CLOSED:
                self._close(self._let_go(slot))

    def _drain(self, child: Child) -> None:
        child.drains_s = time.monotonic()
        with suppress(ProcessLookupError):
            child.process.terminate()

    def _stop(self) -> None:
        self.stopping = True
        self._accept_while(False)
        for one in self.listeners:
            one.close()
        while self.parked:
            self._close(self._let_go(self.parked.popleft()[0]))
        for child in self.children:
            self._drain(child)

    # Connections

    def _accept_while(self, possible: bool) -> None:
        """Listen only while a worker can take what comes; until then callers wait in the system's queue."""
        if possible != self.accepting:
            for one in self.listeners:
                if possible:
                    self.selector.register(one, selectors.EVENT_READ, partial(self._accept, one))
                else:
                    self.selector.unregister(one)
            self.accepting = possible

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            if not self.free:
                return
            try:
                handle, _ = listener.accept()
            except OSError:  # nobody more, or no handle left: what waits goes on waiting
                return
            with suppress(OSError):
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            slot = self.free.popleft()
            self.board[slot] = IDLE
            self.connections[slot] = handle
            self._hand(slot, NEW)

    def _hand(self, slot: int, kind: bytes) -> None:
        """Give a connection to the worker with the fewest; where none can take it, it waits for one."""
        handle = self.connections[slot]
        for child in sorted((one for one in self.children if one.ready and not one.drains_s), key=lambda one: len(one.slots)):
            try:
                socket.send_fds(child.channel, [MESSAGE.pack(kind, slot)], [handle.fileno()])
            except OSError:  # it has died, or does not take anything
                continue
            child.slots.add(slot)
            return
        self.parked.append((slot, kind))

    def _orphan(self, slot: int) -> None:
        """A connection whose worker let go of it or died."""
        state = self.board[slot]
        if state == IDLE and not self.tls and not self.stopping:
            self._hand(slot, KEPT)
        elif state == BEGUN:
            self._refuse(self._let_go(slot))
        else:
            self._close(self._let_go(slot))

    def _let_go(self, slot: int) -> socket.socket:
        self.free.append(slot)
        return self.connections.pop(slot)

    def _close(self, handle: socket.socket) -> None:
        with suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)
        handle.close()

    def _refuse(self, handle: socket.socket) -> None:
        """Tell a caller that the process which had its request is gone; then let it finish sending."""
        if self.tls:
            self._close(handle)
            return
        with suppress(OSError):
            handle.setblocking(False)
            handle.send(LOST_ANSWER)
            handle.shutdown(socket.SHUT_WR)
        self.selector.register(handle, selectors.EVENT_READ, partial(self._forget, handle))
        self.lingering.append((time.monotonic() + LINGER_S, handle))

    def _forget(self, handle: socket.socket) -> None:
        """Read and forget what a refused caller still sends: closing over it would take the refusal back."""
        with suppress(BlockingIOError, InterruptedError):
            try:
                more = handle.recv(1 << 18)
            except ConnectionError:
                more = b""
            if not more:
                self._left(handle)

    def _left(self, handle: socket.socket) -> None:
        """A refused caller is done, or has had its time."""
        if handle.fileno() >= 0:
            self.selector.unregister(handle)
            handle.close()


def lost_answer() -> bytes:
    """The whole answer to a request whose worker died: 503, a code, what to do."""
    error = MofangError("worker-lost")
    what, fix = error.worded("en")
    body = orjson.dumps({"error": {"code": error.code, "what": what, "fix": fix, "request_id": ""}})
    return (b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body))


LOST_ANSWER = lost_answer()


def supervise(listener: socket.socket, count: int, command: Callable[[int, int], Sequence[str]], **more: Any) -> int:
    """Keep ``count`` workers behind a bound socket until told to stop; the exit status. Raises ``workers-not-here``."""
    if not hasattr(socket, "send_fds"):
        raise MofangError("workers-not-here")
    return Supervisor(listener, count, command, **more).run()
