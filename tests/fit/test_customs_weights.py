"""A customisation of a pretrained family goes on from its base's weights; others say that they begin anew."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from safetensors.numpy import load

from mofang.core.shop import Shop
from mofang.fit.export import export
from mofang.fit.families import Generator, Linear, Pretrained
from mofang.fit.train import train
from mofang.trade.customs.weights import _write_weights, continued
from tests.fit.planted import planted
from tests.fit.test_families import TEXT


def test_the_bodys_weights_go_on_and_the_head_is_new(fit_shop: Shop, tiny_base: Path, tmp_path: Path) -> None:
    snapshot = fit_shop.run(planted, task=TEXT, english=True)
    first = Pretrained(base=str(tiny_base), epochs=8, learning_rate=0.01, max_length=32, tokens=256)
    model = fit_shop.run(train, snapshot, family=first)
    graph = fit_shop.run(export, model)
    family = continued(fit_shop, graph, first, tmp_path / "start")
    assert isinstance(family, Pretrained) and family.base == str(tmp_path / "start")
    with model.open("weights.safetensors") as file:
        before = {name: array for name, array in load(file.read()).items() if name.startswith("body.")}
    laid = load((tmp_path / "start" / "model.safetensors").read_bytes())
    assert before and set(laid) == {name.removeprefix("body.") for name in before}
    assert all(np.array_equal(laid[name.removeprefix("body.")], array) for name, array in before.items())
    still = Pretrained(base=family.base, epochs=1, learning_rate=1e-9, max_length=32, tokens=256)
    again = fit_shop.run(train, snapshot, family=still)
    with again.open("weights.safetensors") as file:
        after = load(file.read())
    assert all(np.abs(after[name] - array).max() < 1e-5 for name, array in before.items()), "it starts where the base ended"
    assert set(again.licences) == {"CC0-1.0", "apache-2.0"}


def test_a_family_that_cannot_go_on_says_so(fit_shop: Shop, tmp_path: Path) -> None:
    snapshot = fit_shop.run(planted, task=TEXT, english=True)
    graph = fit_shop.run(export, fit_shop.run(train, snapshot, family=Linear()))
    assert continued(fit_shop, graph, Linear(), tmp_path / "start") is None and not (tmp_path / "start").exists()


SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32},
    "qwen2": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
}


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen2", False), ("gpt2", True)])
def test_a_generators_weights_come_back_under_their_own_names(kind: str, tied: bool, tmp_path: Path) -> None:
    """Body and head, bit for bit, as transformers reads the folder."""
    from safetensors.torch import save

    from mofang.fit.networks.generator import from_config, from_folder

    config = {"model_type": kind, "vocab_size": 40, "tie_word_embeddings": tied, **SHAPES[kind]}
    network = from_config(config)
    kept = save({name: value.detach().contiguous().clone() for name, value in network.state_dict().items()})

    class Stored:
        def open(self, _name: str) -> Any:
            return io.BytesIO(kept)

    _write_weights(cast(Any, Stored()), "weights.safetensors", config, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    again, _ = from_folder(tmp_path)
    before, after = network.state_dict(), again.state_dict()
    assert set(before) == set(after) and any(name.startswith("head.") for name in before) != tied
    assert all(bool((before[name] == after[name]).all()) for name in before)


def test_a_generator_goes_on_with_all_or_with_additions(fit_shop: Shop, tmp_path: Path) -> None:
    """Its tokenizer, template and marks are the base's; with ``lora`` the additions are merged into the base's weights."""
    import dataclasses

    from mofang.recipe import collect, snapshot

    rows = [{"prompt": f"one {number}", "completion": "一二"[number % 2]} for number in range(60)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    records = fit_shop.run(collect, source=str(tmp_path / "t.jsonl"), licence="CC0-1.0", origin="tests", text=("prompt",),
                           label="completion")
    cut = fit_shop.run(snapshot, records, task="text_generation", label="completion", inputs=("prompt",))
    family = Generator(layers=1, width=16, heads=2, vocabulary=300, max_length=32, epochs=1, tokens=256, attention="eager")
    model = fit_shop.run(train, cut, family=family)
    with model.open("weights.safetensors") as file:
        before = load(file.read())
    for adapt in ("all", "lora"):
        own = dataclasses.replace(family, adapt=adapt, rank=2, learning_rate=1e-9)
        again = fit_shop.run(train, cut, family=continued(fit_shop, fit_shop.run(export, model), own, tmp_path / adapt))
        with again.open("weights.safetensors") as file:
            after = load(file.read())
        assert set(after) == set(before) and all(np.abs(after[name] - array).max() < 1e-5 for name, array in before.items())
        for part in ("encoder/tokenizer.json", "encoder/template.jinja", "encoder/chat.json"):
            mine, its = (json.loads(data) if part.endswith("json") else data for data in
                         (one.path(part).read_bytes() for one in (again, model)))
            assert mine == its, part
        assert again.measures.get("trained_parameters", 0) < sum(one.size for one in before.values())
