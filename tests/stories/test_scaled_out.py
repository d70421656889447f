"""Several processes over PostgreSQL, and replicas placed by Ray Serve whose own traffic shows a token."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.conftest import Made
from tests.stories.terminal import Terminal

pytestmark = pytest.mark.cluster


@pytest.fixture
def in_postgres(made: Made, tmp_path: Path, postgres_url: str) -> tuple[Terminal, str]:
    """The model in a shop whose ledger and journals lie in PostgreSQL, and a live key."""
    from mofang.core.shop import Shop

    Terminal(made.folder).type("package", "reviews@1", "--out", str(tmp_path / "r.mofang"))
    there = Terminal(tmp_path / "there")
    Shop.open(there.shop, database=postgres_url)
    there.type("import", str(tmp_path / "r.mofang"), "--yes")
    sold = there.type("sell", "reviews", "--to", "Acme", "--price", "5.00/1000", "--yes", "--json").json
    return there, sold["token"]


def ask(port: int, key: str, count: int) -> Counter[int]:
    """So many requests, each on a connection of its own, so that both processes get some."""
    told: Counter[int] = Counter()
    for number in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/predict/reviews", json.dumps({"text": f"第{number}单，房间很好"}),
                           {"authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        told[answer.status] += 1
        connection.close()
    return told


def served(terminal: Terminal, *words: str) -> tuple[subprocess.Popen[str], int]:
    running = terminal.start("serve", "reviews", *words, start_new_session=True)
    line = ""
    while "Serving on" not in line:
        line = running.stdout.readline()  # type: ignore[union-attr]
        assert line, running.communicate()
    return running, int(re.findall(r":(\d+)", line)[-1])


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[str]]]:
    found: list[subprocess.Popen[str]] = []
    yield found
    for one in found:
        os.kill(one.pid, signal.SIGTERM)
        one.communicate(timeout=90)


def test_two_processes_over_postgresql_charge_each_answer_once(in_postgres: tuple[Terminal, str],
                                                               ended: list[subprocess.Popen[str]]) -> None:
    there, key = in_postgres
    running, port = served(there, "--workers", "2", "--port", "0")
    ended.append(running)
    assert ask(port, key, 40) == {200: 40}
    assert there.type("status", "--json").json["requests_today"] == 40
    assert there.type("verify").status == 0


@pytest.mark.skipif(importlib.util.find_spec("grpc_reflection") is None, reason="Ray Serve asks for grpcio-reflection")
def test_replicas_of_ray_serve_have_the_same_keys_and_meter(in_postgres: tuple[Terminal, str],
                                                           ended: list[subprocess.Popen[str]]) -> None:
    there, key = in_postgres
    running, port = served(there, "--ray", "--workers", "2", "--port", "8791")
    ended.append(running)
    assert port == 8791 and ask(port, key, 20) == {200: 20} and ask(port, "mf_live_wrong", 1) == {401: 1}
    assert there.type("status", "--json").json["requests_today"] == 20
    script = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
    stranger = subprocess.run([sys.executable, "-c", script, _address(running.pid)], capture_output=True, text=True, timeout=180,
                              env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, check=False)
    assert stranger.returncode != 0 and "oken" in stranger.stderr, "who shows another token is not let in"


def _address(parent: int) -> str:
    """Where the cluster's head listens that this process started: other tests may run clusters of their own beside it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace").replace("\0", " ")
            found = re.search(r"--gcs-address=(\S+)", words)
            if found and "raylet" in words and parent in _ancestors(int(path.parent.name)):
                return found[1]
        except OSError:  # it has ended meanwhile
            continue
    raise AssertionError("no raylet runs")


def _ancestors(pid: int) -> set[int]:
    """The processes above this one."""
    found: set[int] = set()
    while pid > 1:
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(re.findall(r"^PPid:\s+(\d+)", status, re.M)[0])
        found.add(pid)
    return found
