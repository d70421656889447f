"""Part ``lease`` of bench/trade.py: what the licence costs the offline runner, and what is left of a mark in a changed copy."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from figures import Figure, middle

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
REQUESTS, PAIRS = 400, 100
BODY = '{"text": "房间很干净，早餐满意"}'.encode()


class Free:
    """The same package without a licence: nothing is checked and nothing counted."""

    notice = ""

    def __init__(self, model: Any) -> None:
        self.model = model

    def check(self) -> None:
        """Nothing."""

    def count(self, units: int, requests: int = 1) -> None:
        """Nothing."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """Nothing."""


def lease(rounds: int, quick: bool) -> list[Figure]:
    """The offline runner's whole way of a request (routes, parsing, batcher, model, answer) with a lease and without one, the
    same opened package, in interleaved pairs; CPU seconds of the process for one request. Beside it the comparison alone."""
    from mofang.trade.leases import seller as leasing
    from mofang.trade.leases.runner import Leased
    from mofang.web.leased import ROUTES, LeaseDesk
    from mofang.web.predict import PredictApp

    requests, pairs = (200, 2) if quick else (REQUESTS, PAIRS * rounds)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["MOFANG_LEASES"] = str(folder / "home")
        shop = shop_with_model(folder)
        made = shop.act(leasing.lease_new, model="reviews", customer="Book Shop", until="90d", out=str(folder / "r.lease"))
        opened = Leased(folder / "r.lease", made.code)

        async def measure() -> list[tuple[float, float]]:
            arms = [LeaseDesk(opened, "reviews@1"), LeaseDesk(Free(opened.model), "reviews@1")]
            apps = [PredictApp(desk, routes=ROUTES) for desk in arms]  # type: ignore[arg-type]
            for desk in arms:
                await desk.open()
            found: list[tuple[float, float]] = []
            chance = random.Random(1)
            for number in range(pairs + 1):
                cost = {}
                for arm in chance.sample((0, 1), 2):
                    began = time.process_time()
                    for _ in range(requests):
                        await ask(apps[arm])
                    cost[arm] = (time.process_time() - began) / requests
                if number:  # the first pair warms up
                    found.append((cost[0], cost[1]))
            for desk in arms:
                await desk.close()
            return found

        told = asyncio.run(measure())
        again = Leased(folder / "r.lease", made.code)
        alone = timed(again.check, 20_000 if quick else 1_000_000) + timed(lambda: again.count(1), 20_000 if quick else 1_000_000)
        again.close()
        shop.control.close()
    leased, spread = middle([one[0] * 1e6 for one in told])
    free = statistics.median(one[1] * 1e6 for one in told)
    ratio, ratios = middle([one / other for one, other in told])
    return [
        Figure("a request with a lease, against one without, µs CPU", leased, free, spread=spread),
        Figure("the same as the median of the pairs' ratios", ratio, goal=("<=", 1.01), spread=ratios),
        Figure("check and count alone, µs, against a request", alone * 1e6, free, goal=("<=", 0.01)),
        *writes(rounds, quick),
    ]


ANSWERS, TOKENS = 8, 48
WIDER = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 1024}


def writes(rounds: int, quick: bool) -> list[Figure]:
    """The decode driver with a lease and without one, the same opened generator (four layers, three million weights: steps
    are as short as anybody's), ``ANSWERS`` at a time, in interleaved pairs; CPU seconds of the process for one token. Beside
    it what the check and the count of one token take alone."""
    from tests.serve.talkers import package_folder, talker

    from mofang.core.shop import Shop
    from mofang.engine.generation.rows import Piece
    from mofang.serve.generation import Driver
    from mofang.trade.accounts.customers import customer_new
    from mofang.trade.leases import seller as leasing
    from mofang.trade.leases.runner import Leased
    from mofang.trade.leases.writing import Counted, LeasedDriver, Request

    pairs = 2 if quick else 40 * rounds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["MOFANG_LEASES"] = str(folder / "home")
        shop = Shop.open(folder / "shop")
        shop.name("chat", shop.run(talker, folder=str(package_folder(folder / "p", config=WIDER))))
        shop.act(customer_new, name="Book Shop")
        made = shop.act(leasing.lease_new, model="chat", customer="Book Shop", until="90d", out=str(folder / "c.lease"))
        opened = Leased(folder / "c.lease", made.code)
        model: Any = opened.model
        arms = [LeasedDriver(model, opened), Driver(model)]
        chance, told = random.Random(1), list[tuple[float, float]]()
        for number in range(pairs + 1):
            cost = {arm: written(arms[arm], model) for arm in chance.sample((0, 1), 2)}
            if number:  # the first pair warms up
                told.append((cost[0], cost[1]))
        for driver in arms:
            driver.close()
        piece, counted = Piece("a"), Counted(opened, 1, lambda _piece: None, Request())
        handed = partial(lambda _piece: None, piece)
        times = 20_000 if quick else 1_000_000
        alone = timed(lambda: counted(piece), times) - timed(handed, times)
        opened.close()
        shop.control.close()
    leased, spread = middle([one[0] * 1e6 for one in told])
    free = statistics.median(one[1] * 1e6 for one in told)
    ratio, ratios = middle([one / other for one, other in told])
    return [
        Figure("a token of a generator with a lease, against one without, µs CPU", leased, free, spread=spread),
        Figure("the same as the median of the pairs' ratios (generator)", ratio, goal=("<=", 1.01), spread=ratios),
        Figure("check and count of a token alone, µs, against a token", alone * 1e6, free, goal=("<=", 0.01)),
    ]


def written(driver: Any, model: Any) -> float:
    """CPU seconds for a token of some answers that are written at the same time."""
    import threading

    from mofang.core.errors import MofangError
    from mofang.engine.generation.sampling import Sampling

    left, over, faults = [ANSWERS], threading.Event(), list[MofangError]()

    def deliver(piece: Any) -> None:
        faults.extend([piece] if isinstance(piece, MofangError) else [])
        if isinstance(piece, MofangError) or piece.finish:
            left[0] -= 1
            if not left[0]:
                over.set()

    before, began = driver.tokens, time.process_time()
    for number in range(ANSWERS):
        driver.ask(model.prompt({"prompt": "你好"}), Sampling(TOKENS, temperature=1.0, seed=number), deliver,
                   begin_s=time.monotonic() + 60)
    assert over.wait(60) and not faults, faults
    return (time.process_time() - began) / (driver.tokens - before)


def mark(rounds: int, quick: bool) -> list[Figure]:
    """What is left of a customer's mark, in standard deviations (6 is taken for found; without a mark it is 0 ± 3): of made-up
    Gaussian weights at strength 3e-4, after rounding to 8 bits by channels, and after a training that moved every weight by
    1 % or 5 % of their standard deviation at random. ``not the same``: another lease's key."""
    import numpy as np

    from mofang.trade.leases import mark as leasemark

    found = []
    for size in (10_000, 1_000_000) if quick else (10_000, 1_000_000, 30_000_000):
        chance = np.random.default_rng(rounds)
        ours = chance.standard_normal((size // 100, 100), np.float32)
        key, other = b"k" * 32, b"o" * 32
        copy = ours + leasemark.pattern(key, "w", size).reshape(ours.shape) * np.float32(3e-4)
        step = np.abs(copy).max(axis=1, keepdims=True) / 127
        changed = {"as it is": copy, "8 bits": np.round(copy / step) * step,
                   "trained on, 1 %": copy + chance.standard_normal(ours.shape, np.float32) * np.float32(0.01),
                   "trained on, 5 %": copy + chance.standard_normal(ours.shape, np.float32) * np.float32(0.05)}
        for name, theirs in changed.items():
            value = leasemark.score({"w": theirs.astype(np.float32)}, {"w": ours}, key)
            wrong = leasemark.score({"w": theirs.astype(np.float32)}, {"w": ours}, other)
            found.append(Figure(f"{size:,} weights, {name}", value, spread=f"not the same: {wrong:.1f}"))
    return [*found, *taught(leasemark, 60 if quick else 600)]


def taught(leasemark: Any, steps: int) -> list[Figure]:
    """A network of 0.6 million weights that really learns: taught, marked, taught on with Adam on new rows at two rates."""
    import numpy as np
    import torch

    torch.manual_seed(1)
    truth = torch.randn(256, 10)

    def rows() -> tuple[Any, Any]:
        given = torch.randn(256, 256)
        return given, (given @ truth + 3 * torch.randn(256, 10)).argmax(1)

    def teach(model: Any, rate: float) -> Any:
        chosen = torch.optim.Adam(model.parameters(), lr=rate)
        for _ in range(steps):
            given, wanted = rows()
            chosen.zero_grad()
            torch.nn.functional.cross_entropy(model(given), wanted).backward()
            chosen.step()
        return model

    def held(model: Any) -> dict[str, Any]:
        return {name: one.detach().numpy().copy() for name, one in model.named_parameters() if one.numel() >= leasemark.LEAST}

    model = teach(torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 256), torch.nn.ReLU(),
                                      torch.nn.Linear(256, 10)), 1e-3)
    ours, key, found = held(model), b"k" * 32, []
    for rate in (1e-5, 1e-4, 1e-3):
        copy = torch.nn.Sequential(*[torch.nn.Linear(one.in_features, one.out_features) if isinstance(one, torch.nn.Linear)
                                     else torch.nn.ReLU() for one in model])
        copy.load_state_dict(model.state_dict())
        with torch.no_grad():
            for name, one in copy.named_parameters():
                if name in ours:
                    signs = leasemark.pattern(key, name, one.numel()).reshape(one.shape).astype(np.float32)
                    one += torch.from_numpy(signs * np.float32(3e-4 * float(ours[name].std())))
        theirs = held(teach(copy, rate))
        moved = np.mean([float((theirs[name] - ours[name]).std() / ours[name].std()) for name in ours])
        other = leasemark.score(theirs, ours, b"o" * 32)
        found.append(Figure(f"a network taught on for {steps} steps of Adam at {rate:g} (weights moved by {moved:.1%})",
                            leasemark.score(theirs, ours, key), spread=f"not the same: {other:.1f}"))
    return found


async def ask(app: Any) -> None:
    """One request through the application, as uvicorn would hand it over."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/predict/reviews", "query_string": b"",
             "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]}
    await app(scope, receive, send)
    assert sent[0]["status"] == 200, sent


def timed(step: Callable[[], None], times: int) -> float:
    """Seconds of one call."""
    began = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - began) / times


def shop_with_model(folder: Path) -> Any:
    """A shop with the stories' small model and a customer."""
    from tests.stories.conftest import hasten, write_reviews
    from tests.stories.terminal import Inside

    from mofang.core.shop import Shop

    terminal = Inside(folder / "seller")
    write_reviews(terminal.folder / "reviews.csv")
    terminal.type("new", "reviews.csv", "--licence", "own", "--origin", "our own shop")
    hasten(terminal.folder / "reviews.py")
    terminal.type("run", "reviews.py", "--budget", "1m")
    terminal.type("customer", "new", "Book Shop")
    return Shop.open(terminal.shop, make=False)


PARTS = {"lease": lease, "mark": mark}
