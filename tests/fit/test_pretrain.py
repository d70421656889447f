"""The stage pretrain through the shop: what it makes, continuing, refusals, and training from a base."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import stage
from mofang.data.records import Records, RecordWriter
from mofang.data.snapshot import Snapshot
from mofang.fit.base import Base, folder_of
from mofang.fit.loop.deadline import deadline_in
from mofang.fit.pretrain import pretrain
from mofang.fit.tokenizer import Shards, shard, tokenizer
from mofang.fit.train import train
from tests.fit.planted import BAD, GOOD, THINGS, planted

TINY = {"depth": 1, "width": 32, "heads": 2}
QUICK: dict[str, Any] = {"context": 32, "steps": 12, "batch_tokens": 256, "checks": 3}


@stage(version=1)
def told(run: Run, *, rows: int = 150, seed: int = 3) -> Records:
    """Texts of the kind that the planted snapshots hold, without labels."""
    chance = random.Random(seed)
    with RecordWriter(run, roles={"text": "text"}) as writer:
        texts = ["，".join(chance.choice(THINGS) + chance.choice(GOOD if row % 2 else BAD) for _ in range(3)) + "。" + (
            "The room was clean. " if row % 5 == 0 else "") for row in range(rows)]
        writer.write({"id": [f"{row:032x}" for row in range(rows)], "text": texts})
    return run.result(Records)


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Any:
    before = os.environ.get("MOFANG_THREADS")
    os.environ["MOFANG_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["MOFANG_THREADS"]
    else:
        os.environ["MOFANG_THREADS"] = before


@pytest.fixture(scope="module")
def shards(fit_shop: Shop) -> dict[str, Shards]:
    """The same texts by two vocabularies."""
    records = fit_shop.run(told)
    kinds = {"wordpiece": 300, "bpe": 400}
    made = {kind: fit_shop.run(tokenizer, (records,), kind=kind, size=size) for kind, size in kinds.items()}
    return {kind: fit_shop.run(shard, (records,), words, validation=0.15) for kind, words in made.items()}


def pretrained(shop: Shop, given: Shards, tag: str = "bert", *more: Any, **settings: Any) -> Base:
    made = shop.run(pretrain, given, *more, **{"architecture": {"tag": tag, **TINY}, **QUICK, **settings})
    assert isinstance(made, Base)
    return made


@pytest.mark.parametrize(("tag", "kind", "objectives"), [
    ("bert", "wordpiece", ()), ("bert", "wordpiece", ("mlm:0.6", "nsp:0.2", "plm:0.2")), ("gpt", "bpe", ()), ("llama", "bpe", ()),
    ("t5", "wordpiece", ())], ids=["mlm", "mixed", "gpt", "llama", "t5"])
def test_a_base_is_a_folder_of_transformers(fit_shop: Shop, shards: dict[str, Shards], tmp_path: Path, tag: str, kind: str,
                                            objectives: tuple[str, ...]) -> None:
    from transformers import AutoModel, AutoTokenizer

    base = pretrained(fit_shop, shards[kind], tag, objectives=objectives)
    about = base.read_json("about.json")
    curve = base.read_json("curves.json")
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"] and about["steps"] == 12 == curve[-1]["step"]
    assert about["figures"]["validation_loss"] == min(row["validation_loss"] for row in curve)
    assert sum(about["objectives"].values()) == pytest.approx(1.0) and about["weights"]["drawn"].startswith("normal")
    assert all(np.isfinite(row["gradient_norm"]) for row in map(json.loads, base.open("steps.jsonl").read().splitlines()))
    base.lay_out(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, local_files_only=True)
    reader = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    ids = reader("房间很好")["input_ids"]
    assert (ids[0], ids[-1]) == (2, 3) if tag == "bert" else ids[-1] == 6 if tag == "t5" else ids
    assert sum(value.numel() for value in model.parameters()) <= about["parameters"] + 32 * 33
    if tag == "t5":
        assert reader.convert_tokens_to_ids("<extra_id_0>") == model.config.vocab_size - 1
    assert base.has("sample.json") == (tag in ("gpt", "llama"))


def test_the_library_gives_the_loss_that_is_told(fit_shop: Shop, shards: dict[str, Shards], tmp_path: Path) -> None:
    """The weights in the base are the best ones, and any library reads the same loss from them."""
    import torch
    from transformers import AutoModelForCausalLM

    from mofang.fit.tokenizer import open_shards

    for tag in ("gpt", "llama"):
        base = pretrained(fit_shop, shards["bpe"], tag)
        base.lay_out(tmp_path / tag)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / tag, local_files_only=True).eval()
        part = open_shards(shards["bpe"], tmp_path)["validation"]
        loss, count = 0.0, 0
        for number in range(len(part)):
            ids = torch.tensor([[5, *part.document(number).tolist(), 6]])
            if ids.shape[1] - 1 > 32:
                continue
            with torch.inference_mode():
                logits = model(input_ids=ids[:, :-1]).logits[0]
            loss += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += ids.shape[1] - 1
        stated = base.read_json("about.json")["figures"]["validation_loss"]
        assert loss / count == pytest.approx(stated, rel=0.02), "rows of a packed part are cut here and there"


def test_the_same_seed_gives_the_same_bytes_and_a_killed_run_too(fit_shop: Shop, shards: dict[str, Shards],
                                                                 tmp_path: Path) -> None:
    settings = {"objectives": ("mlm:0.5", "nsp:0.5"), "seed": 4, "checkpoint_steps": 5}
    digests = []
    for place in ("one", "two", "killed"):
        shop = Shop.open(tmp_path / place)
        records = shop.run(told)
        words = shop.run(tokenizer, (records,), kind="wordpiece", size=300)
        given = shop.run(shard, (records,), words, validation=0.15)
        if place == "killed":
            for _ in range(2):
                with pytest.raises(MofangError) as late, deadline_in(0):
                    pretrained(shop, given, **settings)
                assert late.value.code == "time-is-up"
        digests.append(pretrained(shop, given, **settings).digest)
    assert digests[0] == digests[1] == digests[2]
    assert pretrained(fit_shop, shards["wordpiece"], **{**settings, "seed": 5}).digest != digests[0]


def test_going_on_begins_at_the_loss_of_the_base(fit_shop: Shop, shards: dict[str, Shards], tmp_path: Path) -> None:
    for tag, kind in (("bert", "wordpiece"), ("gpt", "bpe"), ("t5", "wordpiece")):
        base = pretrained(fit_shop, shards[kind], tag, steps=30)
        before = base.read_json("about.json")["figures"]["validation_loss"]
        held = pretrained(fit_shop, shards[kind], tag, base, steps=1, checks=1, learning_rate=1e-12)
        about = held.read_json("about.json")
        assert about["figures"]["validation_loss"] == pytest.approx(before, rel=1e-4)
        assert about["weights"]["from"] == f"base {base.digest[:12]}" and about["weights"]["missing"] == []
        further = pretrained(fit_shop, shards[kind], tag, base, steps=30, learning_rate=2e-3)
        assert further.read_json("about.json")["figures"]["validation_loss"] < before
        assert "own" not in further.licences and set(base.licences) <= set(further.licences)
    folder = tmp_path / "model"
    base.lay_out(folder)
    from_folder = pretrained(fit_shop, shards["wordpiece"], "bert", start=str(folder), steps=2)
    assert from_folder.read_json("about.json")["kind"] == "t5", "the shape is that of the start"


def test_what_a_generator_writes_follows_from_the_seed(fit_shop: Shop, shards: dict[str, Shards]) -> None:
    base = pretrained(fit_shop, shards["bpe"], "gpt", steps=60, lines=3, prompt="房间", learning_rate=5e-3)
    written = base.read_json("sample.json")
    assert len(written["lines"]) == 3 and all(line.startswith("房间") for line in written["lines"]) and written["seed"] == 0
    assert any(thing in line for line in written["lines"] for thing in (*GOOD, *BAD))
    from mofang.core.personal import REWRITERS, is_private

    assert is_private("base", "sample.json") and not is_private("base", "model.safetensors")
    assert REWRITERS["base"](base, lambda _: False) == {"sample.json": None}


@pytest.mark.parametrize(("code", "settings"), [
    ("objective-unsuited", {"objectives": ("clm",)}), ("budget-twice", {"tokens": 10}), ("start-twice", {"start": "/nowhere"}),
    ("context-too-long", {"context": 64}), ("setting-refused", {"context": 4})])
def test_what_cannot_be_is_said_in_words(fit_shop: Shop, shards: dict[str, Shards], code: str, settings: dict[str, Any]) -> None:
    base = pretrained(fit_shop, shards["wordpiece"])
    with pytest.raises(MofangError) as refused:
        pretrained(fit_shop, shards["wordpiece"], "bert", base, **settings)
    assert refused.value.code == code
    assert refused.value.worded("zh")[0] != refused.value.worded("en")[0]


def test_weights_of_another_vocabulary_or_from_nowhere_are_refused(fit_shop: Shop, shards: dict[str, Shards],
                                                                   monkeypatch: pytest.MonkeyPatch, tiny_base: Path) -> None:
    base = pretrained(fit_shop, shards["wordpiece"])
    with pytest.raises(MofangError) as differs:
        pretrained(fit_shop, shards["bpe"], "bert", base)
    assert differs.value.code == "base-vocabulary-differs"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for start, code in (("nobody/nothing-here", "hub-model-missing"), ("/nowhere/at/all", "base-model-missing"),
                        ("package:no_such_package/model", "base-model-missing"), (str(tiny_base), "base-vocabulary-differs")):
        with pytest.raises(MofangError) as missing:
            pretrained(fit_shop, shards["wordpiece"], start=start)
        assert missing.value.code == code


def test_a_budget_too_small_is_refused(fit_shop: Shop, shards: dict[str, Shards]) -> None:
    with pytest.raises(MofangError) as refused:
        pretrained(fit_shop, shards["bpe"], architecture={"tag": "gpt", "size": "large"}, steps=0, seconds=1.0, context=256,
                   batch_tokens=4096)
    assert refused.value.code == "pretraining-budget" and "million weights" in str(refused.value)


def test_a_vocabulary_that_does_not_cover_the_language_is_said(fit_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Run, "announce", lambda self, en, zh, **values: said.append(en.format(**values)))
    words = fit_shop.run(tokenizer, (fit_shop.run(english_texts),), kind="wordpiece", size=300)
    given = fit_shop.run(shard, (fit_shop.run(told),), words, validation=0.2)
    said.clear()
    base = pretrained(fit_shop, given, steps=2)
    assert len(said) == 1 and "are unknown" in said[0]
    assert base.read_json("about.json")["vocabulary"]["unknown_share"] > 0.1


@stage(version=1)
def english_texts(run: Run) -> Records:
    """Texts without a Chinese sign."""
    with RecordWriter(run, roles={"text": "text"}) as writer:
        texts = [f"the room number {row} was great lovely awful and broken" for row in range(50)]
        writer.write({"id": [f"{row:032x}" for row in range(50)], "text": texts})
    return run.result(Records)


def test_a_model_starts_from_a_base_and_in_domain_words_help(fit_shop: Shop, tmp_path: Path) -> None:
    """Few labels: weights that have read the domain's texts do better than the same network, freshly drawn."""
    snapshot: Snapshot = fit_shop.run(planted, task="text_classification", rows=60)
    records = fit_shop.run(told, rows=600)
    texts = fit_shop.run(shard, (records,), fit_shop.run(tokenizer, (records,), kind="wordpiece", size=300), validation=0.15)
    shape = {"architecture": {"tag": "bert", "depth": 2, "width": 64, "heads": 2}, "batch_tokens": 512, "checks": 1}
    # the drawn one takes a step too, at a rate at which nothing is learnt
    drawn = pretrained(fit_shop, texts, **shape, steps=1, learning_rate=1e-12)
    read = pretrained(fit_shop, texts, **shape, steps=200, learning_rate=3e-3)
    family = {"tag": "pretrained", "epochs": 10, "learning_rate": 1e-3}
    found = {}
    for name, base in (("drawn", drawn), ("read", read)):
        model: Artifact = fit_shop.run(train, snapshot, base, family=family)
        about = model.read_json("about.json")
        assert about["base"]["digest"] == base.digest and about["base_model"] == f"base {base.digest[:12]}"
        assert about["base"]["objectives"] == {"mlm": 1.0}
        found[name] = min(row["validation_loss"] for row in model.read_json("curves.json"))
    assert found["read"] < 0.8 * found["drawn"], found
    with pytest.raises(MofangError) as unsuited:
        fit_shop.run(train, snapshot, read, family="linear")
    assert unsuited.value.code == "base-unsuited" and "pretrained" in str(unsuited.value)
    assert (folder_of(read, tmp_path) / "config.json").exists()


@pytest.mark.timeout(600)  # eight commands, each a process of its own
def test_the_page_is_true(tmp_path: Path) -> None:
    import csv

    from tests.new.test_pages import walk
    from tests.stories.terminal import Inside

    chance = random.Random(5)
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(300):
            words = "，".join(chance.choice(THINGS) + chance.choice(GOOD if row % 2 else BAD) for _ in range(3))
            writer.writerow([f"{words}。Room {row} was {'good' if row % 2 else 'bad'}.", "good" if row % 2 else "bad"])
    walk("pretrain.md", Inside(tmp_path), {})
