"""docs/package.md and docs/edge.md as they are typed, block by block."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mofang.core.shop import Shop
from mofang.engine.encode.tokens import TokenEncoder
from tests.contract.world import write_texts
from tests.engine.made import REVIEWS
from tests.stories.terminal import Done, Inside

DOCS = Path(__file__).resolve().parents[2] / "docs"
FAMILY = {"tag": "encoder", "layers": 1, "width": 16, "heads": 2, "vocabulary": 200, "max_length": 32, "epochs": 1}
PLACES = {"GRAPH": "made", "EVALUATION": "judged", "SNAPSHOT/test": "data/test"}
QUICK = ("--seconds", "0.001", "--requests", "30")


def commands(page: str) -> list[str]:
    """Every line of the shell blocks of a page, English half."""
    text = (DOCS / page).read_text(encoding="utf-8").partition("## 中文")[0]
    return [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A shop with a tiny encoder, its evaluation and its snapshot by name, and a folder that somebody else made."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from mofang.recipe import clean, collect, evaluate, export, snapshot, train

    found = Inside(tmp_path_factory.mktemp("pages"))
    shop = Shop.open(found.shop)
    write_texts(found.folder / "texts.csv", 120)
    records = shop.run(collect, source=str(found.folder / "texts.csv"), licence="CC-BY-4.0", origin="tests", label="label",
                       text=("text",))
    data = shop.run(snapshot, shop.run(clean, records) / "kept", task="text_classification", label="label", inputs=("text",),
                    test=0.4, validation=0.2)
    graph = shop.run(export, shop.run(train, data, family=FAMILY))
    shop.name("data", data)
    shop.name("made", graph)
    shop.name("judged", shop.run(evaluate, graph, data / "test", resamples=20))
    labels = graph.read_json("about.json")["labels"]
    tokens = TokenEncoder.fit(REVIEWS, vocabulary=200)
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(
        vocab_size=tokens.size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label=dict(enumerate(labels)))).save_pretrained(found.folder / "their-model")
    (found.folder / "their-model" / "tokenizer.json").write_text(tokens.tokenizer_json, encoding="utf-8")
    return found


def typed(terminal: Inside, line: str) -> Done:
    words = [PLACES.get(word, word) for word in shlex.split(line)]
    if words[0] == "python":
        done = subprocess.run([sys.executable, "-I", *words[1:]], cwd=terminal.folder, capture_output=True, text=True,
                              encoding="utf-8", check=True)
        return Done(done.returncode, done.stdout, done.stderr)
    assert words[0] == "mofang", line
    return terminal.type(*words[1:], *(QUICK if words[1:3] == ["stage", "package"] else ()))


def test_the_page_of_packages(terminal: Inside) -> None:
    for line in commands("package.md"):
        typed(terminal, line)
    assert (terminal.folder / "reviews.mofang").stat().st_size > 1000
    shop = Shop.open(terminal.shop, make=False)
    found = shop.artifact(shop.ledger.get(shop.named("theirs-served", "package").entry)).read_json("package.json")
    assert found["adopted"]["origin"] == "who made it" and found["parity"]["requests"] == 30


def test_the_page_of_small_devices(terminal: Inside) -> None:
    said = [typed(terminal, line).out for line in commands("edge.md")]
    assert set(json.loads(said[1])) == {"label", "scores"} and json.loads(said[2]) == {"requests": 30, "wrong": 0}
