"""One of several processes of a training: ``python -m mofang.fit.loop.worker CALL``, as torchrun or Ray starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mofang.core import stopping
from mofang.core.canonical import canonical, write_durably
from mofang.core.errors import MofangError
from mofang.core.lock import import_stage
from mofang.core.run import Run, used
from mofang.core.shop import Shop
from mofang.fit.loop import deadline
from mofang.fit.loop.spread import ERROR, Finished, Worker, working

WATCHED_S = 1.0
WAIT_S = 600  # for another rank, before it counts as lost


class Follower(Run):
    """A run that repeats another one's call and leaves nothing behind."""

    @contextmanager
    def part(self, name: str, kind: str = "") -> Iterator[Path]:
        """A file that nobody keeps."""
        place = self.scratch / "unkept" / name.replace("/", "--")
        place.parent.mkdir(exist_ok=True)
        yield place
        place.unlink(missing_ok=True)

    def call(self, function: Callable[..., Any], *artifacts: Any, **settings: Any) -> Any:
        """Stages inside stages are the run's own business."""
        raise AssertionError("a worker runs no stages of its own")


def follow(call: Path) -> None:
    """Repeat the call up to the training, take part in it, and end."""
    told = json.loads(call.read_bytes())
    if (call.parent / ERROR).exists():  # told already; torchrun only tries again
        return
    _end_with(told["host"], told["process"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        _meet("nccl" if cuda else "gloo")
    if threading.current_thread() is threading.main_thread():  # only now: while ranks meet, a signal has to end this
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: stopping.stop(number))
    rank, before = dist.get_rank(), used()[0]
    try:
        _repeat(told, call.parent / f"rank-{rank}")
    except Finished:
        pass
    except stopping.Stopped:
        pass
    except MofangError as error:
        write_durably(call.parent / ERROR, json.dumps({"code": error.code, "values": error.values}, default=str).encode())
    finally:
        cpu_s, peak_mb = used()
        cost = {"rank": rank, "cpu_s": round(cpu_s - before, 3), "peak_mb": round(peak_mb, 1)}
        write_durably(call.parent / f"cost-{rank}.json", canonical(cost))
    dist.destroy_process_group()


def _meet(backend: str) -> None:
    """Join the other ranks. After a restart torchrun's store still holds the addresses of those that died, so each attempt has
    names of its own."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend, timeout=timedelta(seconds=WAIT_S))
        return
    ranks, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), ranks, is_master=False,
                          timeout=timedelta(seconds=WAIT_S))
    attempt = dist.PrefixStore(f"mofang/{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=ranks, timeout=timedelta(seconds=WAIT_S))


def _repeat(told: dict[str, Any], own: Path) -> None:
    shop = Shop(Path(told["shop"]))
    spec = import_stage(told["stage"])
    assert spec is not None, told["stage"]
    settings = spec.check(told["settings"])
    bound = [[_input(shop, one) for one in values] for values in told["inputs"]]
    run = Follower(shop, told["key"], spec, settings, bound, own)
    left_s = float("inf") if told["until"] is None else told["until"] - time.time()
    with working(Worker(own, Path(told["scratch"]))), deadline.deadline_in(left_s):
        spec.call(run, bound, settings)
    raise AssertionError(f"{spec.name} trained nothing")


def _input(shop: Shop, reference: dict[str, str]) -> Any:
    found = shop.artifact(shop.ledger.get(reference["entry"]))
    for name in filter(None, reference["within"].split("/")):
        found = found / name
    return found


def _end_with(host: str, process: int) -> None:
    """End this process when the run that started it was killed."""
    if host != socket.gethostname():
        return

    def watch() -> None:
        while True:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                os._exit(1)
            time.sleep(WATCHED_S)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
