"""A leased generator at work: each answer is checked against the licence and counted token by token, while it is written.

What was written counts, whether or not somebody still reads it; so a process that is killed in the middle of a long answer
loses a second of counting, as everywhere. Where the licence ends, the answers that are being written end with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mofang.core.errors import MofangError
from mofang.engine.generation.opened import Generator
from mofang.engine.generation.rows import Piece
from mofang.engine.generation.sampling import Sampling
from mofang.serve.batching import NORMAL, Done, Ticket, never
from mofang.serve.generation import Deliver, Driver, Job


class Licensed(Protocol):
    """What writing needs of a lease."""

    def check(self) -> None:
        """Refuse where it does not hold."""
        ...

    def count(self, units: int, requests: int = 1) -> None:
        """One request was answered, or so many units more of one."""
        ...


class LeasedDriver(Driver):
    """The decode driver under a licence. All counting is done on its one thread."""

    def __init__(self, generator: Generator, lease: Licensed, **settings: Any) -> None:
        self.lease = lease
        self._request: Request | None = None
        super().__init__(generator, **settings)

    def submit(self, records: list[dict[str, Any]], done: Done, *, deadline_s: float, gone: Callable[[], bool] = never,
               account: str = "", priority: int = NORMAL) -> Ticket:
        """As a batcher; however many records there are, it is one request. Called by one thread."""
        self._request = Request()
        try:
            return super().submit(records, done, deadline_s=deadline_s, gone=gone, account=account, priority=priority)
        finally:
            self._request = None

    def ask(self, prompt: Sequence[int], sampling: Sampling, deliver: Deliver, *, begin_s: float,
            gone: Callable[[], bool] = never) -> Job:
        """Queue an answer, as ``Driver.ask``; its prompt counts with its first token."""
        counted = Counted(self.lease, len(prompt), deliver, self._request or Request())
        return super().ask(prompt, sampling, counted, begin_s=begin_s, gone=gone)


class Request:
    """What was asked for at one time: it counts once."""

    __slots__ = ("counted",)

    def __init__(self) -> None:
        self.counted = False


class Counted:
    """Hands on the pieces of one answer as long as the licence holds, and counts them."""

    __slots__ = ("_begun", "_check", "_count", "_deliver", "_over", "_prompt", "_request")

    def __init__(self, lease: Licensed, prompt: int, deliver: Deliver, request: Request) -> None:
        self._check, self._count = lease.check, lease.count
        self._prompt, self._deliver, self._request = prompt, deliver, request
        self._begun = self._over = False

    def __call__(self, piece: Piece | MofangError) -> None:
        if self._over:
            return
        if not isinstance(piece, MofangError):
            try:
                self._check()
            except MofangError as refusal:
                piece = refusal
        if isinstance(piece, MofangError):
            self._over = True
            self._deliver(piece)
            return
        if not self._begun:
            self._begun = True
            self._count(self._prompt, 0 if self._request.counted else 1)
            self._request.counted = True
        if piece.finish != "end":  # which is a mark, and no token
            self._count(1, 0)
        self._deliver(piece)
