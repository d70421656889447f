"""The gateway to an engine elsewhere, with keys and durable metering, beside the LiteLLM proxy: same double, same load, same machine.

make bench-gateway: requests a second for each second of processor time that the gateway itself uses (which neither the load client
nor the double takes part in), and what a gateway adds to the median latency of one client. LiteLLM runs with a master key, one worker
and no database. Interleaved rounds, medians with their spread. ARGS=--quick measures ours alone. Writes bench/results/gateway.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from _serve_arms import free_port, wait_for

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers" / "gateway"
PACKAGES = ("litellm[proxy]==1.93.0",)
RESULTS = ROOT / "bench" / "results" / "gateway.md"
KEY = "sk-bench"
BODY = json.dumps({"model": "double", "max_tokens": 16, "messages": [{"role": "user", "content": "这家酒店的服务怎么样？房间干净吗？"}]})
SECONDS, CLIENTS = 3.0, (1, 32)
CONFIG = """model_list:
  - model_name: double
    litellm_params:
      model: openai/double
      api_base: http://127.0.0.1:{double}/v1
      api_key: none
      input_cost_per_token: 0.000002
      output_cost_per_token: 0.000008
litellm_settings:
  telemetry: false
  set_verbose: false
general_settings:
  master_key: {key}
"""


def prepare() -> None:
    """Make the peer's environment, once."""
    made = PEERS / "made.json"
    if made.exists() and json.loads(made.read_text()) == list(PACKAGES):
        return
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS)], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(PEERS / "bin" / "python"), *PACKAGES], check=True, timeout=900)
    made.write_text(json.dumps(list(PACKAGES)))


def cpu_s(group: int) -> float:
    """Processor seconds of all processes of a group, ended children included."""
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = place.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += sum(map(int, fields[11:15])) / tick
    return total


def load(port: int, clients: int, key: str) -> dict[str, float]:
    command = [sys.executable, str(ROOT / "bench" / "_load.py"), str(port), "/v1/chat/completions", str(clients), str(SECONDS), key, "0", BODY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, float] = json.loads(done.stdout)
    assert found["others"] == 0, f"{found['others']} answers were no 200"
    return found


def warm(port: int, key: str) -> None:
    """Ask until the first answers are out: what is loaded at the first request takes LiteLLM seconds."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", BODY.encode(),
                                   {"authorization": f"Bearer {key}", "content-type": "application/json"})
    for _ in range(3):
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200


def measured(command: list[str], port: int, key: str, environment: dict[str, str]) -> dict[str, float]:
    """Start a server, load it with one client and with many, stop it."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=ROOT / "bench", stdout=log, stderr=log, start_new_session=True, env=environment)
        try:
            wait_for(port, server)
            token = Path(key).read_text() if os.path.sep in key else key
            warm(port, token)
            found: dict[str, float] = {}
            for clients in CLIENTS:
                before = cpu_s(server.pid)
                told = load(port, clients, token)
                spent = max(1e-6, cpu_s(server.pid) - before)
                found |= {f"p50_{clients}": told["p50_ms"], f"rps_{clients}": told["rps"],
                          f"per_core_{clients}": told["rps"] * (SECONDS + 0.5) / spent}
            return found
        finally:
            for one in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, one)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="our own side, one round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not given.quick:
        prepare()
    found: dict[str, list[dict[str, float]]] = {}
    plain: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with tempfile.TemporaryDirectory() as folder:
        double = free_port()
        running = subprocess.Popen([sys.executable, str(ROOT / "bench" / "_double.py"), str(double)], start_new_session=True)
        try:
            wait_for(double, running)
            for _ in range(1 if given.quick else given.rounds):
                found.setdefault("direct", []).append({f"{what}_{clients}": value for clients in CLIENTS
                                                       for what, value in zip(("p50", "rps"), _direct(double, clients), strict=True)})
                port, shop = free_port(), Path(folder) / "shop"
                command = [sys.executable, "_gateway_server.py", str(shop), str(port), str(double)]
                found.setdefault("mofang", []).append(measured(command, port, str(shop / "live"), plain))
                if not given.quick:
                    config = Path(folder) / "litellm.yaml"
                    config.write_text(CONFIG.format(double=double, key=KEY))
                    port = free_port()
                    command = [str(PEERS / "bin" / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1",
                               "--num_workers", "1"]
                    alone = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
                    found.setdefault("litellm", []).append(measured(command, port, KEY, alone))
        finally:
            running.kill()
            running.wait(10)
    table, short = told(found)
    print(table)
    if not given.quick:
        RESULTS.write_text(f"# bench-gateway, {date.today()}\n\n{__doc__}\n{given.rounds} rounds of {SECONDS:g} s; {PACKAGES[0]}; load average "
                           f"when done {os.getloadavg()[0]:.1f}.\n\n{table}\n", encoding="utf-8")
    return int(short)


def _direct(port: int, clients: int) -> tuple[float, float]:
    one = load(port, clients, KEY)
    return one["p50_ms"], one["rps"]


def told(found: dict[str, list[dict[str, float]]]) -> tuple[str, bool]:
    """The table, and whether a goal is missed."""
    def of(arm: str, what: str) -> float:
        return statistics.median(one[what] for one in found[arm])

    lines = ["| arm | requests/s, 32 clients (least - most) | requests a core second | p50 ms, 1 client | p50 ms, 32 clients |", "|---|---|---|---|---|"]
    for arm, rounds in found.items():
        rates = [one["rps_32"] for one in rounds]
        core = f"{of(arm, 'per_core_32'):,.0f}" if "per_core_32" in rounds[0] else "-"
        lines.append(f"| {arm} | {of(arm, 'rps_32'):,.0f} ({min(rates):,.0f} - {max(rates):,.0f}) | {core} | {of(arm, 'p50_1'):.2f} | "
                     f"{of(arm, 'p50_32'):.2f} |")
    added = of("mofang", "p50_1") - of("direct", "p50_1")
    lines += ["", f"Added to the median of one client: {added:.2f} ms (goal: at most 1)."]
    short = added > 1.0
    if "litellm" in found:
        ratio = of("mofang", "per_core_32") / of("litellm", "per_core_32")
        short |= ratio < 20
        lines.append(f"Requests a core second, mofang : litellm = {ratio:.1f} (goal: at least 20).")
    return "\n".join(lines), short


if __name__ == "__main__":
    sys.exit(main())
