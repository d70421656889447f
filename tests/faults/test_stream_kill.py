"""A server that is killed in the middle of streams: nobody pays for more than came."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench._noop_server import stock

from mofang.core.shop import Shop
from mofang.trade.pricing.prices import price_set
from tests.serve.talkers import package_folder

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys, threading
from pathlib import Path
from mofang.core.shop import Shop
from mofang.engine.generation.opened import Generator
from tests.serve.talkers import served, slowed
from tests.web.serving import Serving
one = served("chat@1", slowed(Generator(Path(sys.argv[2]), slots=6), 0.02))
print(Serving(Shop.open(Path(sys.argv[1])), {}, extra=[one]).port, flush=True)
threading.Event().wait()
"""


def begun(place: Path, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server in a process of its own, and its port."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    server = subprocess.Popen([sys.executable, "-c", CODE, str(place), str(folder)], stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def asked(port: int, key: str, tokens: int) -> socket.socket:
    """A stream that was asked for."""
    body = json.dumps({"model": "chat", "prompt": "你好", "max_tokens": tokens, "stream": True, "temperature": 1.0}).encode()
    one = socket.create_connection(("127.0.0.1", port), timeout=30)
    one.sendall((f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
                 f"content-length: {len(body)}\r\nconnection: close\r\n\r\n").encode() + body)
    return one


def came(one: socket.socket) -> bytes:
    """Everything that came before the connection broke."""
    got = b""
    try:
        while piece := one.recv(65_536):
            got += piece
    except OSError:
        pass
    return got


@pytest.mark.cluster
def test_killed_in_mid_stream_charges_at_most_what_was_delivered(tmp_path: Path) -> None:
    folder = package_folder(tmp_path / "p")
    shop: Shop = stock(tmp_path / "sold")
    shop.act(price_set, model="chat", price="1.00/1000")
    key = (shop.path / "live").read_text()
    server, port = begun(shop.path, folder)
    try:
        streams = [asked(port, key, 3), *(asked(port, key, 200) for _ in range(5))]
        first = came(streams[0])
        assert b"[DONE]" in first
        while len([row for row in shop.journals.rows("usage") if row.kind == "use"]) < 1:
            time.sleep(0.01)
        time.sleep(0.3)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait(20)
    cut = [came(one) for one in streams[1:]]
    assert sum(one.count(b"data: ") > 2 for one in cut) >= 3 and not any(b"[DONE]" in one for one in cut)
    uses = [row.body for row in shop.journals.rows("usage") if row.kind == "use"]
    assert len(uses) == 1 and uses[0]["tokens_out"] <= 3, "only what was answered to its end was charged"
    assert shop.journals.verify() == []
    server, port = begun(shop.path, folder)
    try:
        assert b"[DONE]" in came(asked(port, key, 2))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    assert len([row for row in shop.journals.rows("usage") if row.kind == "use"]) == 2
