"""Leased generators: conversations and prompts offline, streamed and whole, counted token by token, ended where the lease ends."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.engine.generation.opened import Generator
from mofang.engine.generation.sampling import Sampling
from mofang.trade.accounts.customers import customer_new
from mofang.trade.leases import seller as leasing
from mofang.trade.leases.copies import find_mark
from mofang.trade.leases.licence import DAY_US
from mofang.trade.leases.record import keep_code
from mofang.trade.leases.runner import Leased, unlock
from mofang.web.leased import ROUTES, LeasedApp, LeaseDesk
from tests.serve.talkers import package_folder, slowed, talker
from tests.stories.terminal import Inside, Server, eventually
from tests.web.serving import InThread

HELLO: list[Any] = [{"role": "user", "content": "你好，今天天气怎么样？"}]
PROMPT = {"prompt": "你好"}


@dataclass
class Sold:
    """The seller's shop with a generator, and a lease's file with its code."""

    shop: Shop
    folder: Path
    file: Path
    id: str
    code: str
    plain: Generator


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Sold:
    folder = tmp_path_factory.mktemp("talk")
    shop = Shop.open(folder / "shop")
    package_folder(folder / "p")
    shop.name("chat", shop.run(talker, folder=str(folder / "p")))
    shop.act(customer_new, name="书店")
    made = shop.act(leasing.lease_new, model="chat", customer="书店", until="90d", quota=20, overage="1.00/1",
                    out=str(folder / "chat.lease"))
    return Sold(shop, folder, folder / "chat.lease", made.lease.id, made.code, Generator(folder / "p", slots=2))


@dataclass
class Away:
    """A customer's folder with the file."""

    folder: Path
    file: Path

    def type(self, *words: str, status: int = 0) -> Any:
        return Inside(self.folder).type("lease", *words, status=status)

    def report(self) -> Any:
        return self.type("report", self.file.name, "--json").json


@pytest.fixture
def away(sold: Sold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "home"))
    (tmp_path / "away").mkdir()
    shutil.copyfile(sold.file, tmp_path / "away" / "chat.lease")
    keep_code(sold.id, sold.code)
    yield Away(tmp_path / "away", tmp_path / "away" / "chat.lease")
    with suppress(FileNotFoundError):
        assert not list(Path("/dev/shm").glob(f"mofang-lease-{os.getpid()}-*")), "nothing decrypted is left behind"


def client_of(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none is asked for", max_retries=0)


def test_a_leased_generator_talks_offline_and_every_token_is_counted(sold: Sold, away: Away) -> None:
    """The stock client and the house's own protocol, whole and streamed; the command line; the seller's bill."""
    prompt = sold.plain.prompt(sold.plain.conversation(HELLO))
    counted = 0
    with Server(Inside(away.folder), "run", "chat.lease", command="lease") as server:
        client = client_of(server.address)
        whole = client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=12)
        assert whole.choices[0].message.content == sold.plain.write([prompt], Sampling(max_tokens=12))[0]
        assert whole.usage is not None and whole.usage.prompt_tokens == len(prompt)
        counted += whole.usage.total_tokens
        events = list(client.chat.completions.create(model="chat@1", messages=HELLO, temperature=0, max_tokens=12, stream=True,
                                                     stream_options={"include_usage": True}))
        assert "".join(one.choices[0].delta.content or "" for one in events if one.choices) == whole.choices[0].message.content
        assert events[-1].usage == whole.usage
        counted += whole.usage.total_tokens
        told = client.completions.create(model="chat", prompt="你好", max_tokens=5, temperature=0)
        assert told.usage is not None
        counted += told.usage.total_tokens
        own = server.call("POST", "/v1/predict/chat", {"records": [PROMPT, {"messages": HELLO}]})
        assert own.status == 200 and own.json["units"] == sum(own.json["tokens"].values()) and len(own.json["answers"]) == 2
        counted += own.json["units"]
        assert [one.id for one in client.models.list()] == ["chat", "chat@1"]
        assert client.models.retrieve("chat@1").id == "chat@1"
        state = server.call("GET", "/v1/lease").json
        assert (state["requests"], state["units"]) == (4, counted)
        for ask, code in ((lambda: client.chat.completions.create(model="other", messages=HELLO), "model_not_found"),
                          (lambda: client.chat.completions.create(model="chat", messages=HELLO, n=2), "unsupported_parameter"),
                          (lambda: client.completions.create(model="chat", prompt="长 " * 2000), "context_length_exceeded"),
                          (lambda: client.embeddings.create(model="chat", input="x"), "model-other-task"),
                          (lambda: client.models.retrieve("other"), "model_not_found")):
            with pytest.raises(openai.APIStatusError) as refused:
                ask()
            assert code in (refused.value.body["code"], refused.value.body["mofang_code"])  # type: ignore[index]
        assert server.call("POST", "/v1/predict/chat", {"prompt": ""}).code == "text-empty"
        assert server.call("POST", "/v1/predict/chat", b"\xff{").status == 400
        assert server.call("GET", "/v1/lease").json["units"] == counted, "what was refused is not counted"
    answer = away.type("predict", "chat.lease", "你好").json
    assert answer == {"text": sold.plain.write([sold.plain.prompt(PROMPT)], Sampling())[0]}
    told_home = away.report()
    assert told_home["requests"] == 5 and told_home["units"] > counted
    taken = sold.shop.act(leasing.lease_take, report=str(away.folder / told_home["file"]))
    assert taken.units == told_home["units"] and taken.charged == (taken.units - 20) * 1_000_000
    assert sold.shop.verify() == []


class Running(InThread):
    """The runner's application over a leased model whose clock the test sets, in this process."""

    def __init__(self, leased: Leased) -> None:
        super().__init__()
        self.leased, self.desk = leased, LeaseDesk(leased, "chat@1")
        self.begin(LeasedApp(self.desk, routes=ROUTES))  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def running(sold: Sold, away: Away) -> Iterator[Callable[..., tuple[Running, dict[str, Any]]]]:
    made: list[Running] = []

    def start(step_s: float) -> tuple[Running, dict[str, Any]]:
        now = {"us": now_us(), "s": 0.0}
        leased = Leased(away.file, clock=lambda: now["us"], monotonic=lambda: now["s"])
        slowed(leased.model, step_s)  # type: ignore[arg-type]
        made.append(Running(leased))
        return made[0], now

    yield start
    for one in made:
        one.stop()


def endless(address: str) -> Any:
    """A stream of as many tokens as there is room for."""
    return client_of(address).completions.create(model="chat", prompt="你好", max_tokens=200, temperature=1, seed=3, stream=True)


def test_a_lease_that_ends_in_the_middle_of_a_stream_ends_the_stream(running: Any, sold: Sold) -> None:
    """The words so far were sent and count; then an event says why it is over, and the connection is cut."""
    serving, now = running(0.01)
    stream = endless(serving.address)
    seen = [next(stream) for _ in range(5)]
    assert len(seen) == 5
    now["us"] = serving.leased.licence.ends_us + 1
    now["s"] += 60
    serving.leased.look()
    with pytest.raises(openai.APIError) as ended:
        list(stream)
    assert ended.value.body["mofang_code"] == "lease-ended"  # type: ignore[index]
    with pytest.raises(openai.PermissionDeniedError) as refused:
        endless(serving.address)
    assert refused.value.body["mofang_code"] == "lease-ended"  # type: ignore[index]
    assert eventually(lambda: serving.desk.waiting() + serving.desk.writer.writing == 0, 5), "its slot is free again"  # type: ignore[union-attr]
    read = len(sold.plain.prompt(PROMPT))
    assert serving.leased.requests == 1 and read + 5 <= serving.leased.units < read + 100


def test_in_the_grace_streams_and_answers_say_so(running: Any) -> None:
    serving, now = running(0)
    now["us"] = serving.leased.licence.until_us + DAY_US
    now["s"] += 60
    serving.leased.look()
    client = client_of(serving.address)
    for more in ({}, {"stream": True}):
        raw = client.completions.with_raw_response.create(model="chat", prompt="你好", max_tokens=2, **more)
        assert raw.headers["mofang-lease"].startswith("ends 20")


def test_a_stream_that_is_left_counts_what_was_written(running: Any, sold: Sold) -> None:
    serving, _ = running(0.01)
    stream = endless(serving.address)
    for _ in range(4):
        next(stream)
    stream.close()
    read = len(sold.plain.prompt(PROMPT))
    time.sleep(0.3)
    counted = serving.leased.units
    time.sleep(0.1)
    assert counted == serving.leased.units, "it is written no further"
    assert serving.leased.requests == 1 and read + 4 <= counted < read + 60


def test_kill_in_the_middle_of_a_stream_loses_a_second_at_most(sold: Sold, away: Away) -> None:
    """What was counted in the second before is not lost, although the answer never ended."""
    code = ("import sys; from pathlib import Path; from mofang.trade.leases.runner import Leased; "
            "from mofang.web.leased import run_leased; from tests.serve.talkers import slowed; "
            "leased = Leased(Path(sys.argv[1])); slowed(leased.model, 0.02); "
            "run_leased(leased, 'chat@1', '127.0.0.1', 0, ready=lambda address: print(address, flush=True))")
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", code, str(away.file)], stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        assert child.stdout is not None
        stream = endless(child.stdout.readline().strip())
        began, seen = time.monotonic(), 0
        for _ in stream:
            seen += 1
            if time.monotonic() - began > 1.6:
                break
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    finally:
        child.kill()
        child.stdout.close()  # type: ignore[union-attr]
    again = Leased(away.file)
    again.close()
    read = len(sold.plain.prompt(PROMPT))
    lost = read + seen - again.record.total.units  # a word may take several tokens, so it is fewer rather than more
    assert lost <= 1.3 / 0.02 and again.record.total.units > read + 20, "fifty tokens a second: those of a second at most"
    assert again.record.total.requests == 1


def test_copies_of_generators_are_told_apart(sold: Sold, away: Away) -> None:
    """The decoder is marked: in float32 by all its numbers."""
    sold.shop.act(customer_new, name="Rival")
    other = sold.shop.act(leasing.lease_new, model="chat", customer="Rival", until="9d", out=str(away.folder / "rival.lease"))
    found = unlock(away.file, sold.code)
    place = away.folder / "leaked"
    place.mkdir()
    found.file.unpack(found.key, place)
    scores = {one["lease"]: one for one in find_mark(sold.shop, place)}
    assert scores[sold.id]["found"] and not scores[other.lease.id]["found"] and other.lease.mark


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_generators_in_blocks_are_leased_and_marked(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their scales are moved; their codes, of which four bits have sixteen, are not."""
    import numpy as np

    from mofang.trade.leases.mark import graph_tensors

    monkeypatch.setenv("MOFANG_LEASES", str(tmp_path / "home"))
    shop = Shop.open(tmp_path / "shop")
    plain = package_folder(tmp_path / "p", precision=precision)
    shop.name("chat", shop.run(talker, folder=str(plain)))
    shop.act(customer_new, name="B")
    made = shop.act(leasing.lease_new, model="chat", customer="B", until="9d", out=str(tmp_path / "c.lease"))
    leased = Leased(tmp_path / "c.lease", made.code)
    assert leased.predict([PROMPT])[0]["text"]
    leased.close()
    found = unlock(tmp_path / "c.lease", made.code)
    (tmp_path / "copy").mkdir()
    found.file.unpack(found.key, tmp_path / "copy")
    assert made.lease.mark and find_mark(shop, tmp_path / "copy")[0]["found"]
    ours, theirs = (graph_tensors((one / "decoder" / "decoder.onnx").read_bytes()) for one in (plain, tmp_path / "copy"))
    changed = [name for name in ours if (ours[name] != theirs[name]).any()]
    assert any(name.endswith(".scales") for name in changed) and not any(ours[name].dtype == np.uint8 for name in changed)
