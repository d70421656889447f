"""Part ``large`` of bench/trade.py: a lease of a gigabyte of random weights, made, checked and opened; each step in a process of
its own, whose processor time and largest memory are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from figures import Figure, middle

ROOT = Path(__file__).resolve().parents[2]
LAYERS, SMALL = 15, 1  # of 17 million float32 weights each
WIDE = {"hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 4096}
BEGIN = f"""
import json, os, resource, sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "src")!r}]
from pathlib import Path
folder = Path(sys.argv[1])
os.environ["MOFANG_LEASES"] = str(folder / "home")
def told(began, cpu):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({{"wall_s": time.time() - began, "cpu_s": time.process_time() - cpu, "most_bytes": most}}))
"""
MAKE = BEGIN + """
from tests.serve.talkers import package_folder, talker
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
shop = Shop.open(folder / "shop")
shop.name("chat", shop.run(talker, folder=str(package_folder(folder / "p", config=json.loads(sys.argv[2])))))
shop.act(customer_new, name="Book Shop")
"""
LEASE = BEGIN + """
from mofang.core.shop import Shop
from mofang.trade.leases import seller
shop = Shop.open(folder / "shop")
for old in folder.glob("c.lease*"):  # the lease before, its record of use too
    old.unlink()
began, cpu = time.time(), time.process_time()
made = shop.act(seller.lease_new, model="chat", customer="Book Shop", until="9d", out=str(folder / "c.lease"),
                marked=sys.argv[2] == "marked")
told(began, cpu)
(folder / "code").write_text(made.code)
"""
CHECK = BEGIN + """
from mofang.trade.leases.checking import check
began, cpu = time.time(), time.process_time()
assert check(folder / "c.lease", (folder / "code").read_text()).refusal is None
told(began, cpu)
"""
OPEN = BEGIN + """
from mofang.trade.leases.runner import Leased
began, cpu = time.time(), time.process_time()
opened = Leased(folder / "c.lease", (folder / "code").read_text())
told(began, cpu)
opened.close()
"""
SEAL = BEGIN + """
import hashlib
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mofang.trade.leases.file import CHUNK
cipher, digest, plain = AESGCM(bytes(32)), hashlib.sha256(), os.urandom(CHUNK)
began, cpu = time.time(), time.process_time()
for number in range(512):
    digest.update(cipher.encrypt(number.to_bytes(12, "big"), plain, b""))
told(began, cpu)
"""


def large(rounds: int, quick: bool) -> list[Figure]:
    """Seconds of processor time, and the largest memory against the package's size; ``rounds`` times, the median."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        folder = Path(place)
        step(MAKE, folder, json.dumps({**WIDE, "num_hidden_layers": SMALL if quick else LAYERS}))
        for _ in range(rounds):
            for name, words, more in (("made without a mark", LEASE, "plain"), ("made with a mark", LEASE, "marked"),
                                      ("checked, every byte", CHECK, ""), ("opened by the runner", OPEN, ""),
                                      ("encrypting and hashing 512 MiB alone", SEAL, "")):
                if words is LEASE:
                    (folder / "c.lease").unlink(missing_ok=True)
                found.setdefault(name, []).append(step(words, folder, more))
        size = (folder / "c.lease").stat().st_size
    figures = []
    for name, told in found.items():
        cpu, spread = middle([one["cpu_s"] for one in told])
        figures.append(Figure(f"{size / 1e9:.2f} GB {name}, s CPU", cpu, spread=spread))
        if name != "encrypting and hashing 512 MiB alone":
            figures.append(Figure(f"the same, largest memory in GB, against the file ({name})",
                                  max(one["most_bytes"] for one in told) / 1e9, size / 1e9, goal=("<=", 2.5)))
    return figures


def step(words: str, folder: Path, more: str) -> Any:
    """One step in a process of its own."""
    done = subprocess.run([sys.executable, "-c", words, str(folder), more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else {}


PARTS = {"large": large}
