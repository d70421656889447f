"""The servers of bench/serve.py: how each is made, started, loaded, weighed and stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import _encoder_model

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers"
MODEL = PEERS / "encoder"
PACKAGES = {
    "serve": ("litserve==0.2.19", "fastapi==0.165.0", "uvicorn[standard]==0.54.0", "onnxruntime==1.31.0", "tokenizers", "numpy"),
    "serve-bentoml": ("bentoml==1.4.39",), "serve-mlserver": ("mlserver",), "serve-ray": ("ray[serve]",)}
CLIENTS = (32, 8, 1)
SECONDS = 2.0
READY_S = 120.0  # Ray Serve takes most of a minute on a busy machine


@dataclass(frozen=True)
class Arm:
    """One server to load: its command (PORT is put in), the path, its body, and whether requests carry a key each."""

    name: str
    command: tuple[str, ...]
    path: str
    unique: bool = False
    body: str = ""
    clients: tuple[int, ...] = CLIENTS
    rate: float = 0.0
    variables: tuple[tuple[str, str], ...] = ()


def noop_arms(shop: Path, alone: bool) -> list[Arm]:
    """A model that does nothing."""
    bench = ROOT / "bench"
    own = (sys.executable, str(bench / "_noop_server.py"), str(shop), "PORT")
    arms = [Arm("mofang", own, "/v1/predict/noop"), Arm("mofang+key", own, "/v1/predict/noop", unique=True)]
    if alone:
        return arms
    text = json.dumps({"text": "这家酒店的服务很好，房间也很干净，下次还会来。"})
    inputs = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["这家酒店的服务很好"]}]})
    listed = json.dumps({"text": ["这家酒店的服务很好，房间也很干净，下次还会来。"]})
    return [
        *arms,
        Arm("fastapi", (python_of("serve"), str(bench / "_peer_fastapi.py"), "PORT"), "/predict"),
        Arm("litserve", (python_of("serve"), str(bench / "_peer_litserve.py"), "PORT"), "/predict"),
        Arm("bentoml", (str(PEERS / "serve-bentoml" / "bin" / "bentoml"), "serve", "_peer_bentoml:Noop", "--working-dir", str(bench),
                        "--host", "127.0.0.1", "--port", "PORT"), "/predict", body=listed,
            variables=(("BENTOML_DO_NOT_TRACK", "True"), ("PATH", f"{PEERS / 'serve-bentoml' / 'bin'}:{os.environ['PATH']}"))),
        Arm("mlserver", (python_of("serve-mlserver"), str(bench / "_peer_mlserver.py"), str(PEERS / "mlserver-model"), "PORT"),
            "/v2/models/noop/infer", body=inputs),
        Arm("ray", (python_of("serve-ray"), str(bench / "_peer_ray.py"), "PORT"), "/predict", body=text,
            variables=(("RAY_USAGE_STATS_ENABLED", "0"),))]


def encoder_arms(shop: Path, alone: bool) -> list[Arm]:
    """The encoder: ours over OpenVINO int8 and over ONNX Runtime int8, the peers over torch fp32 and the same int8 graph."""
    bench, model = ROOT / "bench", str(MODEL)
    body = json.dumps({"text": _encoder_model.TEXT})

    def own(name: str, engine: str) -> Arm:
        return Arm(name, (sys.executable, str(bench / "_encoder_model.py"), "serve", model, engine, "int8", str(shop), "PORT"),
                   "/v1/predict/noop", body=body, clients=(32, 1))

    arms = [own("mofang-openvino", "openvino"), own("mofang-onnx", "onnx")]
    if alone:
        return arms
    return [
        *arms,
        Arm("torch", (sys.executable, str(bench / "_peer_torch.py"), model, "PORT"), "/predict", body=body, clients=(32, 1)),
        *(Arm(f"litserve-{batch}", (python_of("serve"), str(bench / "_peer_litserve_onnx.py"), model, str(batch), "PORT"), "/predict",
              body=body, clients=(32, 1)) for batch in (1, 32))]


def python_of(place: str) -> str:
    """The interpreter of a peers' environment."""
    return str(PEERS / place / "bin" / "python")


def prepare_peers(places: Iterable[str]) -> None:
    """Make the peers' environments, once; one that cannot be made is told and left out."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    for place in places:
        made = PEERS / place / "made.json"
        if made.exists() and json.loads(made.read_text()) == list(PACKAGES[place]):
            continue
        python = python_of(place)
        try:
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS / place)], check=True, timeout=120)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PACKAGES[place]], check=True, timeout=900)
            made.write_text(json.dumps(list(PACKAGES[place])))
        except (OSError, subprocess.SubprocessError) as fault:
            print(f"{place} could not be installed: {fault}", file=sys.stderr)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def started(arm: Arm) -> Iterator[tuple[int, int]]:
    """A running server: its port and its process; with whatever it started it is stopped afterwards."""
    port = free_port()
    command = [str(port) if part == "PORT" else part for part in arm.command]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                                  env={**os.environ, **dict(arm.variables)})
        try:
            wait_for(port, server)
            yield port, server.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # LitServe's workers outlive it
            server.wait(10)


def load(arm: Arm, port: int, clients: int, key: str, seconds: float = SECONDS, rate: float = 0.0) -> dict[str, float]:
    """One run of the load client."""
    command = [sys.executable, str(ROOT / "bench" / "_load.py"), str(port), arm.path, str(clients), str(seconds), key,
               str(int(arm.unique)), *([arm.body] if arm.body else []), *([str(rate)] if rate else [])]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, float] = json.loads(told.stdout)
    return found


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until the port answers HTTP, twice in a row."""
    until, well = time.monotonic() + READY_S, 0
    while time.monotonic() < until and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                probe.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                well = well + 1 if probe.recv(12).startswith(b"HTTP/1.1") else 0
        except OSError:
            well = 0
        if well == 2:
            return
        time.sleep(0.2)
    raise SystemExit(f"a server did not start: {server.args!r}")


def resident_mb(pid: int) -> float:
    """Memory of a process and all that it started: proportional shares, so that shared pages count once."""
    below, total = [pid], 0.0
    for one in below:
        with suppress(OSError, ValueError):
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024
            below += [int(child) for task in Path(f"/proc/{one}/task").iterdir() for child in (task / "children").read_text().split()]
    return total
