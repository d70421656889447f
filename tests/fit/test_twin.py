"""Two texts read apart: what a bi-encoder learns, and that neither text changes the other's vector."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mofang.core.shop import Shop
from mofang.fit.families import Twin
from mofang.fit.families.cross import typed
from mofang.fit.networks.heads import apart, twin
from mofang.fit.train import train
from mofang.recipe import export, snapshot
from tests.fit.placing import INPUTS, MAKE, collected

SMALL = Twin(layers=1, width=32, heads=2, vocabulary=200, epochs=6, max_length=64, learning_rate=3e-3)
CONFIG = {"model_type": "bert", "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 32, "max_position_embeddings": 32, "hidden_dropout_prob": 0.0, "pad_token_id": 0,
          "attention_probs_dropout_prob": 0.0, "type_vocab_size": 2}


def row(first: list[int], second: list[int]) -> tuple[list[int], list[int]]:
    """[CLS] first [SEP] second [SEP] as ids and types."""
    return [2, *first, 3, *second, 3], [0] * (len(first) + 2) + [1] * (len(second) + 1)


def batch(*rows: tuple[list[int], list[int]]) -> tuple[torch.Tensor, ...]:
    longest = max(len(ids) for ids, _ in rows)
    ids, types = (torch.tensor([one[side] + [0] * (longest - len(one[side])) for one in rows]) for side in (0, 1))
    mask = torch.tensor([[1] * len(one[0]) + [0] * (longest - len(one[0])) for one in rows])
    return ids, mask, types


def test_both_texts_become_rows_of_their_own() -> None:
    ids, mask = apart(*batch(row([10, 11, 12], [20]), row([13], [21, 22, 23, 24])))
    wanted = [[2, 10, 11, 12, 3], [2, 13, 3], [2, 20, 3], [2, 21, 22, 23, 24, 3]]
    assert [one[seen.bool()].tolist() for one, seen in zip(ids, mask, strict=True)] == wanted


def test_a_texts_vector_does_not_hang_on_the_one_beside_it() -> None:
    torch.manual_seed(0)
    network, _ = twin(CONFIG, None, 2, 0.0, "auto")
    network.eval()
    with torch.no_grad():
        once, other = (network.vectors(*apart(*batch(row(beside, [20, 21, 22])))) for beside in ([10], [11, 12, 13, 14, 15]))
        assert torch.allclose(once[1], other[1], atol=1e-6) and not torch.allclose(once[0], other[0], atol=1e-2)
        swapped = network.vectors(*apart(*batch(row([20, 21, 22], [10]))))
        assert torch.allclose(once[0], swapped[1], atol=1e-6) and torch.allclose(once[1], swapped[0], atol=1e-6)


def test_a_tokenizer_without_types_gets_them() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "<unk>": 4}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    made = Tokenizer.from_str(typed(tokenizer.to_str()))
    pair = made.encode("a b", "b b b")
    assert pair.tokens == ["<s>", "a", "b", "</s>", "</s>", "b", "b", "b", "</s>"] == tokenizer.encode("a b", "b b b").tokens
    assert pair.type_ids == [0, 0, 0, 0, 0, 1, 1, 1, 1] and typed(made.to_str()) == made.to_str()
    assert made.encode("a").tokens == ["<s>", "a", "</s>"]


@pytest.mark.parametrize("task", ["pair_classification", "pair_regression"])
def test_it_learns_and_its_graph_answers_alike(fit_shop: Shop, tmp_path: Path, task: str) -> None:
    chance = random.Random(5)
    records = collected(fit_shop, tmp_path, task, [MAKE[task](chance, number) for number in range(160)])
    label = "share" if task == "pair_regression" else "label"
    data = fit_shop.run(snapshot, records, task=task, label=label, inputs=INPUTS[task], validation=0.2, test=0.2)
    model = fit_shop.run(train, data, family=SMALL)
    graph = fit_shop.run(export, model)
    assert graph.read_json("about.json")["parity"]["max_abs_difference"] < 1e-4
    assert np.isfinite(model.measures["validation"])
    again = fit_shop.run(train, data, family={"tag": "twin", **{name: getattr(SMALL, name) for name in (
        "layers", "width", "heads", "vocabulary", "epochs", "max_length", "learning_rate")}})
    assert again.digest == model.digest
