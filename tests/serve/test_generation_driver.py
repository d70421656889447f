"""The decode driver: answers that join and leave, callers who hang up, full queues, deadlines; and the decoder below it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench._noop_server import stock
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.engine.generation.blocks import BLOCK, blocks_of, weights_of
from mofang.engine.generation.opened import Generator, write
from mofang.engine.generation.rows import Piece
from mofang.engine.generation.sampling import Chance, Sampling, choose
from mofang.engine.generation.words import Words
from mofang.serve.generation import Driver
from mofang.trade.pricing.prices import price_set
from tests.serve.talkers import package_folder, served, slowed
from tests.web.serving import Serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_folder(tmp_path_factory.mktemp("talker") / "p")


def prompts(generator: Generator, count: int) -> list[list[int]]:
    """Prompts of many lengths, some longer than the piece that is read at once."""
    return [generator.prompt({"prompt": f"{number}" + " 你好" * (number * 5 % 17)}) for number in range(count)]


def test_answers_do_not_depend_on_their_company(folder: Path) -> None:
    generator = Generator(folder, slots=3)
    sampling = Sampling(max_tokens=15, temperature=1.1, seed=4)
    asked = prompts(generator, 11)
    together = write(generator.rows(), asked, sampling)
    assert [one for prompt in asked for one in write(generator.rows(), [prompt], sampling)] == together
    assert len({tuple(ids) for _, ids in together}) > 5


def test_a_long_prompt_is_read_in_pieces_and_too_long_ones_are_refused(tmp_path: Path) -> None:
    generator = Generator(package_folder(tmp_path / "p", context=700), slots=2)
    ids = (prompts(generator, 1)[0] * 80)[:600]
    whole = generator.decoder.score(ids)[-1]
    generator.decoder.read(1, ids[:256], 0)
    generator.decoder.read(1, ids[256:512], 256)
    assert np.abs(generator.decoder.read(1, ids[512:], 512) - whole).max() < 1e-4
    rows = generator.rows()
    for prompt, code in (((ids * 2)[:700], "prompt-too-long"), ([], "prompt-without-tokens")):
        with pytest.raises(MofangError) as refused:
            rows.row(prompt, Sampling())
        assert refused.value.code == code
    assert rows.row(ids + ids[:5], Sampling(max_tokens=200)).room == 695 - len(ids)


@pytest.mark.parametrize("config", [
    {"model_type": "mistral", "sliding_window": 20}, {"hidden_size": 28, "intermediate_size": 50},
])
def test_steps_give_what_reading_the_whole_gives(tmp_path: Path, config: dict[str, Any]) -> None:
    generator = Generator(package_folder(tmp_path / "p", config=config, precision="int8"), slots=2)
    ids = prompts(generator, 4)[3][:40]
    whole = generator.decoder.score(ids)
    generator.decoder.read(0, ids[:10], 0)
    steps = [generator.decoder.step([ids[place]], [place])[0].copy() for place in range(10, len(ids))]
    assert np.abs(np.array(steps) - whole[10:]).max() < 1e-3


@given(st.integers(0, 2**31), st.sampled_from([4, 8]), st.integers(3, 90))
@settings(max_examples=15, deadline=None)
def test_blocks_stand_for_nearly_the_same_weights(seed: int, bits: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(5, inputs)).astype(np.float32)
    found = weights_of(blocks_of(weights, bits), inputs)
    assert found.shape == weights.shape and np.abs(found - weights).max() < (1.0 if bits == 4 else 0.05)
    x = rng.normal(size=(64, inputs)).astype(np.float32) @ rng.normal(size=(inputs, inputs)).astype(np.float32)
    fitted = weights_of(blocks_of(weights, bits, x.T @ x), inputs)
    errors = [float(((x @ (one - weights).T) ** 2).sum()) for one in (found, fitted)]
    assert errors[1] < 1.2 * errors[0] + 1e-6
    assert BLOCK == 32


def test_looking_at_inputs_rounds_better() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(64, 128)).astype(np.float32)
    x = (rng.normal(size=(512, 16)) @ rng.normal(size=(16, 128)) + 0.1 * rng.normal(size=(512, 128))).astype(np.float32)
    plain, fitted = (weights_of(blocks_of(weights, 4, one), 128) for one in (None, x.T @ x))
    assert ((x @ (fitted - weights).T) ** 2).sum() < 0.6 * ((x @ (plain - weights).T) ** 2).sum()


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=2))
@settings(max_examples=60, deadline=None)
def test_pieces_are_the_text_up_to_a_stop(text: str, stops: list[str]) -> None:
    data = text.encode("utf-8", "replace")
    words = Words(lambda ids: bytes(ids).decode("utf-8", "replace"), tuple(stops))
    pieces = []
    for token in data:
        pieces.append(words.add(token))
        if words.stopped:
            break
    pieces.append(words.end())
    whole = data.decode("utf-8", "replace")
    places = [place for one in stops if (place := whole.find(one)) >= 0]
    assert "".join(pieces) == (whole[: min(places)] if places else whole)
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in whole


def test_choosing_is_the_writers_own(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from mofang.fit.generation.writer import Manner
    from mofang.fit.generation.writer import choose as choose_there

    rng = np.random.default_rng(1)
    for temperature, top_k, top_p in ((0.7, 0, 1.0), (1.3, 5, 1.0), (1.0, 0, 0.8), (2.0, 20, 0.95), (0.0, 0, 1.0)):
        for seed in range(12):
            logits = rng.normal(size=50).astype(np.float32) * 4
            sampling = Sampling(8, temperature, top_k, top_p, seed=seed)
            draw = np.random.default_rng((seed, 0)).random()
            wanted = choose_there(torch.from_numpy(logits[None]), Manner(8, temperature, top_k, top_p), torch.tensor([draw]))
            assert choose(logits, sampling, Chance(seed)) == int(wanted[0])


def test_a_changed_weight_template_or_token_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    from mofang.core.canonical import file_digest

    def planted(name: str, change: Any) -> str:
        other = tmp_path / name.replace("/", "-")
        shutil.copytree(folder, other)
        path = other / name
        path.write_bytes(change(path.read_bytes()))
        about = json.loads((other / "package.json").read_text())
        about["files"][name] = file_digest(path)  # whoever planted it knew that files are checked
        (other / "package.json").write_text(json.dumps(about))
        with pytest.raises(MofangError) as refused:
            Generator(other)
        return refused.value.code

    assert planted("encoder/template.jinja", lambda data: data.replace(b"\n", b" ")) == "parity-mismatch"
    assert planted("encoder/tokenizer.json", lambda data: data.replace('"你"'.encode(), b'"x"').replace(b'"merges": [', b'"merges": [')
                   if '"你"'.encode() in data else data.replace(b'"<|user|>"', b'"<|User|>"')) in ("parity-mismatch", "encoder-broken")
    nearly = planted("decoder/decoder.onnx", _other_weights)
    assert nearly == "parity-mismatch"
    with pytest.raises(MofangError) as flipped:
        other = tmp_path / "flipped"
        shutil.copytree(folder, other)
        data = bytearray((other / "decoder/decoder.onnx").read_bytes())
        data[len(data) // 2] ^= 1
        (other / "decoder/decoder.onnx").write_bytes(bytes(data))
        Generator(other)
    assert flipped.value.code == "package-damaged"


def _other_weights(data: bytes) -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(data)
    one = next(each for each in model.graph.initializer if each.name == "layers.0.mlp.down_proj")
    one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) * np.float32(1.5), one.name))
    return bytes(model.SerializeToString())


def test_it_opens_and_answers_without_torch(folder: Path) -> None:
    code = f"""
import sys
from mofang.engine.opening import open_package
told = open_package({str(folder)!r}).predict([{{"prompt": "你好"}}])[0]["text"]
heavy = [one for one in ("torch", "transformers", "onnx") if one in sys.modules] + [one for one in sys.modules if one.startswith("mofang.fit")]
print(heavy, bool(told))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_a_full_queue_refuses_and_a_late_answer_never_begins(folder: Path) -> None:
    generator = slowed(Generator(folder, slots=1), 0.02)
    driver = Driver(generator, queue_max=2)
    prompt = prompts(generator, 1)[0]
    found: list[list[Piece | MofangError]] = [[] for _ in range(3)]
    now = time.monotonic()
    jobs = [driver.ask(prompt, Sampling(max_tokens=10_000), found[0].append, begin_s=now + 5)]
    while not driver.writing:
        time.sleep(0.005)
    jobs += [driver.ask(prompt, Sampling(max_tokens=3), found[1].append, begin_s=now + 0.2),
             driver.ask(prompt, Sampling(max_tokens=3), found[2].append, begin_s=now + 60)]
    with pytest.raises(MofangError) as refused:
        driver.ask(prompt, Sampling(), lambda _: None, begin_s=now + 5)
    assert refused.value.code == "busy" and driver.waiting == 2
    while not found[1]:
        time.sleep(0.01)
    assert isinstance(found[1][0], MofangError) and found[1][0].code == "too-late"
    jobs[0].cancel()
    until = time.monotonic() + 5
    while not (found[2] and isinstance(found[2][-1], Piece) and found[2][-1].finish) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(found[2]) == 3 and driver.waiting == 0 and driver.writing == 0
    driver.close()
    with pytest.raises(MofangError) as closed:
        driver.ask(prompt, Sampling(), lambda _: None, begin_s=now + 5)
    assert closed.value.code == "closing"


def test_a_step_that_breaks_ends_its_answers_and_not_the_driver(folder: Path) -> None:
    generator = Generator(folder, slots=2)
    driver, step = Driver(generator), generator.decoder.step

    def broken(tokens: Any, lengths: Any) -> Any:
        raise RuntimeError("planted")

    generator.decoder.step = broken  # type: ignore[method-assign]
    found: list[Any] = []
    driver.ask(prompts(generator, 1)[0], Sampling(max_tokens=9), found.append, begin_s=time.monotonic() + 5)
    while not any(isinstance(one, MofangError) for one in found):
        time.sleep(0.005)
    assert found[-1].code == "engine-failed" and driver.writing == 0
    generator.decoder.step = step  # type: ignore[method-assign]
    again: list[Any] = []
    driver.ask(prompts(generator, 1)[0], Sampling(max_tokens=3), again.append, begin_s=time.monotonic() + 5)
    while not (again and again[-1].finish):
        time.sleep(0.005)
    driver.close()


def test_two_hundred_callers_hang_up_in_mid_stream(folder: Path, tmp_path: Path) -> None:
    shop = stock(tmp_path / "sold")
    shop.act(price_set, model="chat", price="1.00/1000")
    generator = slowed(Generator(folder, slots=4), 0.004)
    one = served("chat@1", generator)
    driver = one.writer
    assert driver is not None
    serving = Serving(shop, {}, extra=[one])
    body = json.dumps({"model": "chat", "prompt": "你好", "max_tokens": 200, "stream": True, "temperature": 1.0}).encode()
    key = (shop.path / "live").read_text()
    head = (f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n").encode()

    def hang_up(number: int) -> int:
        with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as caller:
            caller.sendall(head + body)
            got = b""
            while got.count(b"data: ") < 1 + number % 3:
                more = caller.recv(65536)
                assert more, got[:300]
                got += more
        return got.count(b"data: ")

    with ThreadPoolExecutor(16) as pool:
        received = sum(pool.map(hang_up, range(200)))
    until = time.monotonic() + 1.0
    while (driver.writing or driver.waiting) and time.monotonic() < until:
        time.sleep(0.005)
    assert driver.writing == 0 and driver.waiting == 0, "compute stops within a second"
    before = driver.tokens
    time.sleep(0.1)
    assert driver.tokens == before
    while serving.desk.meter.purses.by_account and any(one.reserved for one in serving.desk.meter.purses.by_account.values()):
        assert time.monotonic() < until + 5, "every reservation ends"
        time.sleep(0.01)
    whole = serving.call("POST", "/v1/completions", {"model": "chat", "prompt": "你好", "max_tokens": 4}, key=key)
    assert whole.status == 200
    serving.stop()
    uses = [row.body for row in shop.journals.rows("usage") if row.kind == "use"]
    assert len(uses) <= 201 and all(row["tokens_out"] < 200 for row in uses)
    assert received >= 200 and threading.active_count() < 60 and shop.journals.verify() == []
