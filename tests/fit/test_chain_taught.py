"""A chain of tags that is taught: its loss against all sequences counted out, and that it is served as it was taught."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.decode.chain import Chain, allowed
from mofang.engine.encode.places import PlaceEncoder
from mofang.fit.families import Labeller
from mofang.fit.loop.chaining import chain_loss
from mofang.fit.train import train
from mofang.recipe import export, snapshot
from tests.fit.placing import collected, entity

NOTHING = -100


def test_the_loss_is_that_of_all_sequences_counted_out() -> None:
    torch.manual_seed(0)
    logits, steps = torch.randn(3, 5, 3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    tags = torch.tensor([[NOTHING, 1, NOTHING, 2, 0], [NOTHING] * 5, [0, NOTHING, NOTHING, NOTHING, NOTHING]])
    wanted = 0.0
    for row in (0, 2):
        places = [place for place in range(5) if tags[row, place] != NOTHING]

        def score(said: tuple[int, ...], row: int = row, places: list[int] = places) -> float:
            own = sum(float(logits[row, place, tag]) for place, tag in zip(places, said, strict=True))
            return own + sum(float(steps[one, other]) for one, other in itertools.pairwise(said))

        whole = [score(said) for said in itertools.product(range(3), repeat=len(places))]
        wanted += float(np.logaddexp.reduce(whole)) - score(tuple(int(tags[row, place]) for place in places))
    assert float(chain_loss(logits, tags, steps, NOTHING)) == pytest.approx(wanted)


def test_marginals_of_a_taught_chain_are_those_of_all_sequences() -> None:
    rng = np.random.default_rng(1)
    scores, logits = rng.normal(size=(3, 3)).astype(np.float32), rng.normal(size=(4, 3))
    chain = Chain(np.vstack([scores, np.zeros((1, 3), np.float32)]), 1.0, taught=True)
    own = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = np.zeros((4, 3))
    for said in itertools.product(range(3), repeat=4):
        steps = [*zip((-1, *said), said, strict=False)]
        weight = np.prod([allowed(3)[one, other] * (1 if one < 0 else np.exp(scores[one, other])) for one, other in steps])
        for place, tag in enumerate(said):
            wanted[place, tag] += weight * np.exp(sum(logits[at, one] for at, one in enumerate(said)))
    wanted /= wanted.sum(axis=1, keepdims=True)
    assert np.allclose(chain.marginals(own[None].astype(np.float32), np.array([4]))[0], wanted, atol=1e-5)
    again = Chain.load(chain.save())
    assert again is not None and again.taught and np.array_equal(again.follows, chain.follows)
    for bad in (np.float32("nan"), np.float32(99)):
        broken = np.vstack([np.full((4, 3), bad, np.float32), np.full((1, 3), -1, np.float32)])
        from mofang.engine.arrays import to_npy

        with pytest.raises(ValueError, match="chain"):
            Chain.load({"chain.npy": to_npy(broken)})


def test_it_is_taught_exported_and_answers(fit_shop: Shop, tmp_path: Path) -> None:
    from mofang.fit.asking import model_graph

    rows = [entity(random.Random(number), number) for number in range(160)]
    records = collected(fit_shop, tmp_path, "token_classification", rows)
    data = fit_shop.run(snapshot, records, task="token_classification", validation=0.2, test=0.2)
    family = Labeller(layers=1, width=32, heads=2, vocabulary=300, epochs=8, learning_rate=5e-3, chain="taught")
    model = fit_shop.run(train, data, family=family)
    assert model.measures["validation"] > 0.8
    assert fit_shop.run(export, model).read_json("about.json")["parity"]["max_abs_difference"] < 1e-4
    _, encoder = model_graph(model)
    assert isinstance(encoder, PlaceEncoder) and encoder.chain is not None and encoder.chain.taught
    assert encoder.chain.follows.std() > 0.1
    with pytest.raises(MofangError) as error:
        fit_shop.run(train, data, family=Labeller(chain="taught", outside=0.5))
    assert error.value.code == "chain-unsuited"
