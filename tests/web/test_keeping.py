"""The keeper as a process beside a server: begun and ended with it, replaced when it is killed, seen in /metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench._noop_server import Noop, stock

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.billing.paid import pay
from mofang.trade.keeping.past import past
from mofang.trade.keeping.turns import holder_of
from mofang.trade.telling import sending
from mofang.trade.telling.posting import post
from mofang.trade.telling.sending import outbox_add, send_all
from mofang.web import keeping
from mofang.web.keeping import KeeperProcess, kept, write_figures
from mofang.web.metrics import jobs_page
from tests.stories.terminal import Terminal, eventually
from tests.trade.test_keeping import double
from tests.trade.test_outbox_posts import Double

__all__ = ["double"]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return stock(tmp_path / "shop", price="0.01")


@pytest.fixture
def beside(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeeperProcess]:
    monkeypatch.setattr(keeping, "AFTER_S", 0.01)
    said: list[object] = []
    with kept(shop.path, True, said.append) as ready:
        ready("here")
        assert said == ["here"]
        yield _the_one()


def _the_one() -> KeeperProcess:
    threads = [one for one in threading.enumerate() if one.name == "keeper"]
    assert len(threads) == 1
    made: KeeperProcess = threads[0]._target.__self__  # type: ignore[attr-defined]
    return made


def test_killed_in_the_middle_it_is_replaced_and_nothing_is_told_under_a_new_id(
    shop: Shop, beside: KeeperProcess, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    assert eventually(lambda: "outbox" in past(shop.control), 30)
    shop.act(pay, customer="tester", amount="5", reference="one")
    assert eventually(lambda: len(double.asked) == 1, 30), "at once, not after a minute"
    assert eventually(lambda: not past(shop.control)["outbox"].fails, 30)
    double.hold()
    shop.act(pay, customer="tester", amount="6", reference="two")
    assert eventually(lambda: len(double.asked) == 2, 30)
    first = beside.process
    assert first is not None
    first.kill()  # it was told, and nobody knows
    double.let_go()
    assert eventually(lambda: beside.process is not first and holder_of(shop.ledger.db).endswith(f" {beside.process.pid}"), 30)
    shop.act(pay, customer="tester", amount="7", reference="three")  # the next one waits for its pause, and is taken up after it
    assert past(shop.control)["outbox"].cut or past(shop.control)["outbox"].fails
    at = now_us() + 121_000_000
    monkeypatch.setattr(sending, "now_us", lambda: at)
    assert all(one.ok for one in send_all(shop, post))
    by_reference: dict[str, set[str]] = {}
    for _, headers, body in double.asked:
        by_reference.setdefault(json.loads(body)["data"]["reference"], set()).add(headers["webhook-id"])
    assert sorted(by_reference) == ["one", "three", "two"] and all(len(ids) == 1 for ids in by_reference.values())
    assert [len([1 for _, _, body in double.asked if json.loads(body)["data"]["reference"] == name]) for name in ("one", "two", "three")] == [
        1, 2, 1]
    running = beside.process
    assert running is not None
    beside.stop()
    assert running.returncode == 0 and holder_of(shop.ledger.db) == "", "it has given its turn back"


def test_it_ends_when_its_server_is_killed(shop: Shop) -> None:
    script = ("import sys, time\nfrom pathlib import Path\nfrom mofang.web import keeping\nkeeping.AFTER_S = 0.01\n"
              "made = keeping.KeeperProcess(Path(sys.argv[1]))\nmade.start()\nwhile made.process is None: time.sleep(0.01)\n"
              "print(made.process.pid, flush=True)\ntime.sleep(60)")
    server = subprocess.Popen([sys.executable, "-c", script, str(shop.path)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    server.kill()
    server.wait()
    server.stdout.close()

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] == "Z"
        except OSError:
            return True

    assert eventually(gone, 30)


def test_the_figures_say_what_was_kept_and_what_waits(shop: Shop, double: Double) -> None:
    from tests.web.serving import Serving

    assert jobs_page(shop.path / "scratch") == ""
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    shop.act(pay, customer="tester", amount="5", reference="one")
    Terminal(shop.path.parent)
    from mofang.trade.keeping.jobs import job_named
    from mofang.trade.keeping.keeper import run_job

    run_job(shop, job_named("reconcile"))
    write_figures(shop)
    serving = Serving(shop, {"noop@1": Noop()}, admin=True)
    serving.app.statistics.path = shop.path / "scratch" / "serving-x.json"
    try:
        import http.client

        assert serving.admin is not None
        caller = http.client.HTTPConnection("127.0.0.1", serving.admin.getsockname()[1], timeout=30)
        caller.request("GET", "/metrics")
        page = caller.getresponse().read().decode()
        caller.close()
    finally:
        serving.stop()
    assert 'mofang_outbox_waiting{endpoint="hook"} 1' in page and "mofang_reconcile_differences 0" in page
    ended = re.search(r'mofang_job_last_success_timestamp_seconds\{job="reconcile"\} ([\d.]+)', page)
    assert ended and abs(float(ended[1]) - time.time()) < 60 and "tester" not in page
    old = time.time() - 300
    os.utime(shop.path / "scratch" / "jobs.prom", (old, old))
    assert jobs_page(shop.path / "scratch") == "", "what nobody keeps up to date is not told"


@pytest.mark.cluster
def test_two_servers_keep_one_shop_once_and_the_second_takes_over(tmp_path: Path, double: Double) -> None:
    """``mofang serve`` and ``mofang serve --workers 2`` as they are typed; then the keeper's server is killed."""
    from tests.serve.parcels import make_model

    terminal = WithJobs(tmp_path)
    shop = Shop.open(terminal.shop)
    make_model(shop, tmp_path)
    terminal.type("sell", "reviews", "--to", "tester", "--price", "5.00/1000", "--yes")
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    servers = [terminal.start("serve", "reviews", "--port", "0", *more, start_new_session=True) for more in ((), ("--workers", "2"))]
    try:
        assert all(one.stdout is not None and "http://" in one.stdout.readline() for one in servers)
        assert eventually(lambda: "reconcile" in past(shop.control), 60)
        children = {pid for one in servers for pid in _keepers(one.pid)}
        assert eventually(lambda: len({pid for one in servers for pid in _keepers(one.pid)}) == 2, 30), children
        holder = int(holder_of(shop.ledger.db).split()[-1])
        shop.act(pay, customer="tester", amount="5", reference="one")
        assert eventually(lambda: len(double.asked) == 1, 10)
        keeps = next(one for one in servers if holder in _keepers(one.pid))
        os.killpg(keeps.pid, signal.SIGKILL)
        other = next(one for one in servers if one is not keeps)
        assert eventually(lambda: (held := holder_of(shop.ledger.db)) != "" and int(held.split()[-1]) in _keepers(other.pid), 60)
        shop.act(pay, customer="tester", amount="6", reference="two")
        assert eventually(lambda: len(double.asked) == 2, 60)
    finally:
        for one in servers:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
                one.wait(30)
            assert one.stdout is not None and one.stderr is not None
            one.stdout.close()
            one.stderr.close()
    assert len({headers["webhook-id"] for _, headers, _ in double.asked}) == 2


class WithJobs(Terminal):
    """Whose servers have a keeper, as they do for everybody."""

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if name != "MOFANG_NO_JOBS"}


def _keepers(pid: int) -> list[int]:
    """The keepers that a server has started."""
    try:
        found = [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]
        return [one for one in found if b"jobs" in Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []
