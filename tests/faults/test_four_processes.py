"""Four serving processes over one shop: a budget's edge, a shared rate, a key that is revoked. Real processes, over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from bench._noop_server import stock

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.keys import find_key, key_new, key_revoke
from mofang.trade.accounts.limits import limit_set, month_of, used_of
from tests.faults.killing import ROOT

pytestmark = pytest.mark.cluster
PROCESSES = 4


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    path = tmp_path_factory.mktemp("four") / "shop"
    if request.param == "postgresql":
        import psycopg

        server, name = request.getfixturevalue("postgres_server"), f"four_{os.urandom(6).hex()}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"create database {name}")
        Shop.open(path, database=server.get_uri(name))
    return stock(path, price="0.01")


@pytest.fixture(scope="module")
def ports(shop: Shop) -> Iterator[list[int]]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    servers = [subprocess.Popen([sys.executable, "-m", "bench._noop_server", str(shop.path), "0"], cwd=ROOT, env=environment,
                                stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    found = [int(one.stdout.readline().rpartition(":")[2]) for one in servers if one.stdout]
    yield found
    for one in servers:
        one.terminate()
        one.wait(30)
    assert shop.journals.verify() == []


def ask(port: int, token: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/predict/noop", json.dumps({"text": "好"}), {"authorization": f"Bearer {token}"})
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    return "ok" if response.status == 200 else str(told["error"]["code"])


def all_of(ports: list[int], token: str, times: int) -> list[str]:
    """Sixty-four callers at once, each so many times, spread over the processes."""
    codes: list[str] = []
    threads = [threading.Thread(target=lambda at=at: codes.extend(ask(ports[at % PROCESSES], token) for _ in range(times)))  # type: ignore[misc]
               for at in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


def test_sixty_four_callers_at_a_budgets_edge(shop: Shop, ports: list[int]) -> None:
    issued = shop.act(key_new, customer="tester")
    shop.act(limit_set, customer="tester", key=issued.id, budget="0.60", soft="0.50")
    time.sleep(1.0)
    codes = all_of(ports, issued.token, 2)
    assert sorted(set(codes)) == ["budget-used-up", "ok"] and codes.count("ok") <= 60
    used = used_of(shop.control, f"{find_key(shop.control, issued.id).account}/{issued.id}", month_of(now_us()))
    assert used == codes.count("ok") * 10_000 <= 600_000, "never one unit over"
    assert codes.count("ok") > 60 - PROCESSES * 8, "little of it is left unused in allotments"


def test_a_rate_is_one_rate(shop: Shop, ports: list[int]) -> None:
    issued = shop.act(key_new, customer="tester")
    shop.act(limit_set, customer="tester", key=issued.id, rate="1/hour", burst=30)
    time.sleep(1.0)
    codes = all_of(ports, issued.token, 1)
    assert codes.count("ok") == 30 and codes.count("rate-limited") == 34, sorted(set(codes))


def test_a_revoked_key_is_refused_within_a_second_by_all(shop: Shop, ports: list[int]) -> None:
    issued = shop.act(key_new, customer="tester")
    time.sleep(1.0)
    assert [ask(port, issued.token) for port in ports] == ["ok"] * PROCESSES
    shop.act(key_revoke, key=issued.id)
    began = time.monotonic()
    while {ask(port, issued.token) for port in ports} != {"key-revoked"}:
        assert time.monotonic() < began + 5
    assert time.monotonic() - began < 1.5, "a second, and what the last round of asking took"
