"""What a server tells of itself: right within a step, gone when it ends, harmless when it cannot be written."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from mofang.core.shop import Shop
from mofang.trade.live import serving
from mofang.web.statistics import SECONDS, STEP, Statistics


def test_percentiles_are_right_within_a_step(tmp_path: Path) -> None:
    chance = random.Random(3)
    statistics = Statistics(tmp_path, ["reviews@1"])
    values = sorted(chance.lognormvariate(-5, 1) for _ in range(5000))
    for value in chance.sample(values, len(values)):
        statistics.took(value)
    told = statistics.look()
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        exact = values[int(share * len(values)) - 1] * 1000
        assert exact / STEP <= told["last_minute"][name] <= exact * STEP * STEP, name
    assert told["requests"] == told["last_minute"]["requests"] == 5000


def test_only_the_last_minute_counts(tmp_path: Path) -> None:
    statistics = Statistics(tmp_path)
    statistics.took(9.0)
    for _ in range(SECONDS):
        statistics.look()
    told = statistics.look()
    assert told["requests"] == 1 and told["last_minute"] == {"requests": 0, "p50_ms": None, "p99_ms": None}


def test_refusals_and_faults_are_told_apart() -> None:
    statistics = Statistics()
    for code, status in (("key-unknown", 401), ("key-unknown", 401), ("busy", 503)):
        statistics.refuse(code, status)
    told = statistics.look()
    assert told["refused"] == {"key-unknown": 2, "busy": 1} and told["failed"] == 1


def test_the_file_is_there_while_the_server_lives(shop: Shop) -> None:
    folder = shop.path / "scratch"
    statistics = Statistics(folder, ["reviews@1"])
    statistics.address = "http://127.0.0.1:1"

    async def live() -> None:
        telling = asyncio.create_task(statistics.tell())
        while not serving(shop):
            await asyncio.sleep(0.01)
        assert serving(shop)[0]["address"] == "http://127.0.0.1:1"
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)

    asyncio.run(live())
    assert list(folder.iterdir()) == [] and serving(shop) == []


def test_a_file_of_a_killed_server_or_another_hand_is_not_believed(shop: Shop) -> None:
    folder = shop.path / "scratch"
    folder.mkdir()
    statistics = Statistics(folder)
    statistics.write()
    assert len(serving(shop)) == 1
    assert statistics.path is not None
    told = json.loads(statistics.path.read_text())
    for name, changed in (("dead", {"pid": 2**22 + 1}), ("far", {"host": "elsewhere", "at_us": 5}), ("old", {"format": 0})):
        (folder / f"serving-{name}.json").write_text(json.dumps({**told, **changed}))
    (folder / "serving-torn.json").write_text('{"format": 1, "pi')
    assert len(serving(shop)) == 1


def test_a_disk_that_takes_nothing_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    statistics = Statistics(tmp_path / "file")

    async def live() -> None:
        telling = asyncio.create_task(statistics.tell())
        await asyncio.sleep(0.05)
        assert not telling.done()
        telling.cancel()
        ended = await asyncio.gather(telling, return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError), "the end does not fail either"

    asyncio.run(live())
