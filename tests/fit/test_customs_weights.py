"""A customisation of a pretrained family goes on from its base's weights; others say that they begin anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load

from mofang.core.shop import Shop
from mofang.fit.export import export
from mofang.fit.families import Linear, Pretrained
from mofang.fit.train import train
from mofang.trade.customs.weights import continued
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
