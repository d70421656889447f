"""Hand a training over to several processes, which repeat the stage's call up to the point where the network is trained.

Nothing is pickled and no closure travels: a worker opens the shop, calls the same stage with the same inputs and settings,
and meets the others in ``fit_network``. The first of them leaves the trained weights in the run's scratch folder; the
process of the run takes them from there and is the only one that writes to the ledger.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from mofang.core import stopping
from mofang.core.canonical import canonical, write_durably
from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.core.run import Run, current_run
from mofang.fit.loop import deadline
from mofang.fit.loop.checkpoint import tensors_file
from mofang.fit.loop.cursor import Outcome
from mofang.fit.loop.journal import FILE
from mofang.fit.loop.machine import threads
from mofang.fit.loop.objective import Judged
from mofang.fit.loop.placement import Placement

FOLDER, CALL, ERROR, LOG = "spread", "call.json", "error.json", "log.txt"
WEIGHTS, OUTCOME = "fitted.safetensors", "fitted.json"
RESTARTS = 3
LOOK_S = 0.3
STANDALONE = ("--standalone", "--local-addr", "127.0.0.1")  # by itself torchrun asks for the address of this machine's name
TAIL = 300


class Finished(BaseException):
    """A worker has done its part: nothing of the stage that follows concerns it."""


@dataclass(frozen=True)
class Worker:
    """This process is one of several; ``own`` is its scratch folder, ``shared`` the run's."""

    own: Path
    shared: Path


_worker: ContextVar[Worker | None] = ContextVar("spread_worker", default=None)


@contextmanager
def working(worker: Worker) -> Iterator[None]:
    """This process works for a run elsewhere."""
    token = _worker.set(worker)
    try:
        yield
    finally:
        _worker.reset(token)


def is_worker() -> bool:
    """Whether this process is one of several that a run started."""
    return _worker.get() is not None


def placement(how: str) -> Placement | None:
    """Where a worker trains; None for a run that trains by itself, which is spared the import."""
    if not is_worker():
        return None
    from mofang.fit.loop.ranks import placed

    return placed(how)  # type: ignore[arg-type]


def shared_folder(scratch: Path) -> Path:
    """The folder of checkpoints and results: in a worker the run's own, not the worker's."""
    worker = _worker.get()
    return scratch if worker is None else worker.shared / scratch.relative_to(worker.own)


def leave(folder: Path, weights: dict[str, Tensor], outcome: Outcome) -> None:
    """The first worker leaves what training came to."""
    arrays = {f"outputs/{name}": torch.from_numpy(array) for name, array in outcome.judged.outputs.items()}
    write_durably(folder / WEIGHTS, tensors_file({**{f"network/{name}": one for name, one in weights.items()}, **arrays}))
    told = {name: value for name, value in asdict(outcome).items() if name != "judged"}
    judged = {"score": outcome.judged.score, "loss": outcome.judged.loss, "figures": outcome.judged.figures}
    write_durably(folder / OUTCOME, json.dumps({**told, "judged": judged}).encode())


def taken(folder: Path, network: nn.Module) -> Outcome | None:
    """Put what was left into the network; None where nothing is there yet."""
    if not (folder / OUTCOME).exists():
        return None
    told, tensors = json.loads((folder / OUTCOME).read_bytes()), load((folder / WEIGHTS).read_bytes())
    network.load_state_dict({name.removeprefix("network/"): one for name, one in tensors.items() if name.startswith("network/")})
    network.eval()
    outputs = {name.removeprefix("outputs/"): one.numpy() for name, one in tensors.items() if name.startswith("outputs/")}
    return Outcome(**{**told, "judged": Judged(**told["judged"], outputs=outputs)})


def together(devices: int, scratch: Path, bar: Bar) -> None:
    """Have as many workers train what this run is about to; returns when the result lies in ``scratch``."""
    run = current_run()
    if run is None:
        raise MofangError("spread-unsuited", devices=devices)
    folder = run.scratch / FOLDER
    folder.mkdir(exist_ok=True)
    for name in (ERROR, LOG):
        (folder / name).unlink(missing_ok=True)
    write_durably(folder / CALL, canonical(_call(run, devices)))
    executor = os.environ.get("MOFANG_EXECUTOR", "local")
    with stopping.in_steps():
        if executor.partition(":")[0] == "ray":
            from mofang.fit.loop.on_ray import train_on_ray

            said = train_on_ray(folder / CALL, devices, executor.partition(":")[2] or "local")
            run.elsewhere_cpu_s += sum(one["cpu_s"] for one in costs(folder))
        else:
            said = _by_torchrun(folder, devices, scratch, bar)
    run.measure(devices=devices, workers=costs(folder))
    if (folder / ERROR).exists():
        told = json.loads((folder / ERROR).read_bytes())
        raise MofangError(told["code"], **told["values"])
    if stop := stopping.asked():
        raise stop
    if not (scratch / OUTCOME).exists():
        raise MofangError("workers-failed", devices=devices, restarts=RESTARTS, said=_last_words(said))


def _last_words(said: str) -> str:
    """What a worker died of, from all that was printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Killed)\b", line) and "elastic" not in line]
    return (found or lines or ["-"])[-1][-TAIL:]


def costs(folder: Path) -> list[dict[str, Any]]:
    """What each worker used, as it told at its end: CPU seconds and the most memory."""
    return [json.loads(path.read_bytes()) for path in sorted(folder.glob("cost-*.json"))]


def _call(run: Run, devices: int) -> dict[str, Any]:
    """All that a worker needs to repeat the call."""
    left = deadline.left_s()
    return {
        "format": 1, "shop": str(run.shop.path.resolve()), "stage": run.spec.name, "key": run.key,
        "settings": run.spec.changed(run.settings), "scratch": str(run.scratch.resolve()),
        "inputs": [[one.reference() for one in values] for values in run.bound],
        "until": None if left == float("inf") else time.time() + left,
        "host": socket.gethostname(), "process": os.getpid(), "threads": max(1, threads() // devices),
    }


def _by_torchrun(folder: Path, devices: int, scratch: Path, bar: Bar) -> str:
    """Start the workers through torchrun and wait; what they said, for the case that nothing came of it.

    ``MOFANG_TORCHRUN`` stands in for its flags where workers run on several machines that share the shop's folder.
    """
    told = shlex.split(os.environ.get("MOFANG_TORCHRUN", ""))
    flags = told or [*STANDALONE, "--nproc-per-node", str(devices)]
    command = [sys.executable, "-m", "torch.distributed.run", *flags, "--max-restarts", str(RESTARTS),
               "--monitor-interval", "0.2", "-m", "mofang.fit.loop.worker", str(folder / CALL)]
    each = str(max(1, threads() // devices))
    environment = {**({} if told else on_loopback()), **os.environ, "OMP_NUM_THREADS": each, "MOFANG_THREADS": each}
    with (folder / LOG).open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                                 start_new_session=True)
        asked = False
        try:
            while agent.poll() is None:
                _follow(scratch / FILE, bar)
                if stopping.asked() and not asked:
                    asked = True
                    agent.send_signal(signal.SIGTERM)
                time.sleep(LOOK_S)
        finally:
            if agent.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(agent.pid, signal.SIGKILL)
                agent.wait()
    return (folder / LOG).read_text(encoding="utf-8", errors="replace")


def on_loopback() -> dict[str, str]:
    """What keeps workers of one machine off its name and its other interfaces: a machine without a network has neither."""
    return {"GLOO_SOCKET_IFNAME": "lo"} if any(name == "lo" for _, name in socket.if_nameindex()) else {}


def _follow(journal: Path, bar: Bar) -> None:
    """Show how far the first worker is, from the last line of its journal."""
    if not journal.exists():
        return
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - 4096))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError):
            row = json.loads(line)
            bar.advance(row["step"] + 1 - bar.done)
            bar.note(f"loss {row['loss']:.3f}")
            return
