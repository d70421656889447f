"""A long command that is stopped ends in order, and at once when it is asked again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mofang.core import stopping
from mofang.core.language import say

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
HANGUP = getattr(signal, "SIGHUP", 0)


@contextmanager
def stoppable() -> Iterator[None]:
    """The first signal raises ``Stopped``, so that leases are given back and training writes its checkpoint; a second one
    ends the process where it stands, which loses nothing either: what is sealed stays, and the next run takes over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup stays nohup
    stopping.forget()
    for number in before:
        signal.signal(number, _first)
    try:
        yield
    except stopping.Stopped:
        raise  # the process ends; until then a second signal still means at once
    except BaseException:
        _restore(before)
        raise
    _restore(before)
    if asked := stopping.asked():
        raise asked


def _restore(before: Mapping[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _first(number: int, _frame: FrameType | None) -> None:
    for one in SIGNALS:
        signal.signal(one, _second)
    if number == HANGUP:  # nobody reads any more, and writing to a closed terminal fails
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
    stopping.stop(number)


def _second(number: int, _frame: FrameType | None) -> None:
    words = say("\n✗ Stopped at once. Nothing is lost; the same command continues:\n→ mofang {words}  [stopped]\n",
                "\n✗ 已立即停止。没有丢失任何内容；同一条命令会继续：\n→ mofang {words}  [stopped]\n", words=" ".join(sys.argv[1:]))
    if number != HANGUP:
        os.write(2, words.encode())
    os._exit(128 + number)
