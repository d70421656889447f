"""Parity: one raw record takes the way of training and the way of HTTP, and the graph is given the same bits.

The field's first complaint is a model served that is not the model trained. Here every task's own source is read as a
customer would copy it out, full-width signs and odd spaces included, and sent to a real server in a process of its own.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop
from mofang.data.records import RecordReader
from mofang.engine.arrays import arrays_digest
from mofang.engine.encode import Encoder, load_encoder
from mofang.engine.predictor import Predictor
from tests.contract.leasing import check_leased
from tests.contract.world import World
from tests.stories.terminal import Inside, Server, Terminal

MANY = 12
TRAINING_ONLY = ("torch", "sklearn", "transformers", "pandas", "scipy", "mofang.fit", "mofang.judge")


@dataclass(frozen=True)
class Pair:
    """One record: as the source has it (and a customer sends it), and as the snapshot has it."""

    raw: dict[str, Any]
    row: dict[str, Any]


@dataclass(frozen=True)
class Sold:
    """A copy of the world's shop with a running server and a test key."""

    world: World
    terminal: Terminal
    server: Server
    token: str
    pairs: list[Pair]


def raw_records(world: World) -> dict[str, dict[str, Any]]:
    """Every record of the source, read without Mofang, under what tells it from the others."""
    if world.task == "image_classification":
        return {path.name: {"image": base64.b64encode(path.read_bytes()).decode()} for path in world.source.rglob("*.png")}
    with world.source.open(encoding="utf-8", newline="") as file:
        rows = [{name: value for name, value in row.items() if name != world.collect["label"]} for row in csv.DictReader(file)]
    for row in rows:
        for name in world.collect.get("numbers", ()):
            row[name] = float(row[name]) if row[name] else None
    marks = Counter(mark(world, row) for row in rows)
    return {mark(world, row): row for row in rows if marks[mark(world, row)] == 1}


def mark(world: World, row: dict[str, Any]) -> str:
    """What tells one record from the others, before cleaning and after."""
    if world.task == "text_classification":
        found = re.search(r"第(\d+)号", row["text"])
        assert found is not None
        return found[1]
    if world.task == "image_classification":
        return Path(row["image"]).name
    return f"{row['年龄']:g} {row['收入']}"


def pairs_of(world: World) -> list[Pair]:
    """Training rows of the snapshot beside the source's own records; those that operators changed come first."""
    raw = raw_records(world)
    names = [one["name"] for one in world.made["snapshot"].read_json("about.json")["inputs"]]
    pairs = []
    for batch in RecordReader(world.made["snapshot"] / "train").batches():
        for told, row in zip(batch.rows(names, media=False), batch.rows(names), strict=True):
            if mark(world, told) in raw:
                pairs.append(Pair(raw[mark(world, told)], row))
    assert len(pairs) >= MANY
    return sorted(pairs, key=lambda pair: pair.raw == pair.row)


def encoder_of(model: Artifact) -> Encoder:
    """The encoder as training left it."""
    files = {one.name.removeprefix("encoder/"): model.path(one.name).read_bytes()
             for one in model.parts if one.name.startswith("encoder/")}
    return load_encoder(model.read_json("about.json")["encoder"], files)


@pytest.fixture(scope="session")
def sold(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sold]:
    folder = tmp_path_factory.mktemp("sold")
    shutil.copytree(world.shop.path, folder / "shop")
    Shop(folder / "shop").name("parity", Shop(folder / "shop").find(world.made["package"].entry, "package"))
    terminal = Inside(folder)
    terminal.type("customer", "new", "tester")
    token = terminal.token("tester", "--test")
    with Server(terminal, "parity") as server:
        yield Sold(world, terminal, server, token, pairs_of(world))


def test_the_record_needs_the_operators(sold: Sold) -> None:
    """Otherwise equal arrays would prove nothing."""
    first = sold.pairs[0]
    if sold.world.task != "image_classification":
        assert first.raw != first.row
        assert re.search("[\u3000\uff01-\uff5e]", json.dumps(first.raw, ensure_ascii=False))


@pytest.mark.parametrize("count", [1, MANY], ids=["one record", "many records"])
def test_training_and_http_give_the_graph_the_same_bits(sold: Sold, count: int) -> None:
    pairs = sold.pairs[:count]
    trained = arrays_digest(encoder_of(sold.world.made["train"]).encode([pair.row for pair in pairs]))
    body = pairs[0].raw if count == 1 else {"records": [pair.raw for pair in pairs]}
    served = sold.server.predict("parity", body, sold.token, mofang_arrays="1")
    assert served.code == "ok", served
    assert served.json["arrays_sha256"] == trained
    assert "arrays_sha256" not in sold.server.predict("parity", body, sold.token).json


def test_a_lease_holds_it(sold: Sold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pair.raw for pair in sold.pairs[:2]]
    check_leased(sold.terminal, "parity", sold.world.task, rows, tmp_path, monkeypatch)


def test_without_the_operators_the_bits_would_differ(sold: Sold) -> None:
    if sold.world.task == "image_classification":
        pytest.skip("no operator changes an image's bytes")
    encoder, first = encoder_of(sold.world.made["train"]), sold.pairs[0]
    assert arrays_digest(encoder.encode([first.raw])) != arrays_digest(encoder.encode([first.row]))


def test_http_predictor_and_command_line_give_one_answer(sold: Sold, tmp_path: Path) -> None:
    raw = sold.pairs[0].raw
    served = sold.server.predict("parity", raw, sold.token).json["answer"]
    predictor = Predictor(sold.world.made["package"])
    records, many = predictor.parse(raw)
    assert not many and predictor.predict(records) == [served]
    given = "-"
    if sold.world.task == "image_classification":
        given = str(tmp_path / "one.png")
        Path(given).write_bytes(base64.b64decode(raw["image"]))
    typed = sold.terminal.type("predict", "parity", given, "--json", given=json.dumps(raw, ensure_ascii=False) + "\n")
    answer = json.loads(typed.out)  # beside it stands where its record was: a row's number or a file's name
    assert {name: answer[name] for name in served} == served


def test_the_serving_process_has_nothing_of_training_in_it(sold: Sold) -> None:
    assert sold.server.predict("parity", sold.pairs[0].raw, sold.token).code == "ok"
    maps = Path(f"/proc/{sold.server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc on this system; the next test looks at the modules")
    loaded = maps.read_text(encoding="utf-8")
    assert "onnxruntime" in loaded, "the engine is loaded, so what is looked at is the serving process"
    assert re.findall(r"/(?:torch|sklearn|transformers|scipy|pandas)/\S+", loaded) == []


def test_the_serving_modules_import_nothing_of_training(sold: Sold) -> None:
    code = """if True:
        import json, sys
        from mofang.core.shop import Shop
        from mofang.web import server
        from mofang.wire import desk_of
        model = desk_of(Shop.open(sys.argv[1]), ["parity"]).served["parity"].model
        records, _ = model.parse(json.loads(sys.argv[2]))
        model.predict(records)
        print(json.dumps(sorted(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code, str(sold.terminal.folder / "shop"), json.dumps(sold.pairs[0].raw)],
                          check=False, capture_output=True, text=True, timeout=60, env=sold.terminal.environment)
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout)
    assert "mofang.engine.predictor" in modules
    assert [one for one in modules if one.startswith(TRAINING_ONLY)] == []
