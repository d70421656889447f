"""The own encoder is transformers' BertModel, only faster: weights, states, gradients, graph, and how training goes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from mofang.core.errors import MofangError
from mofang.fit.loop.memory import keep_pages
from mofang.fit.loop.probe import Choices, choosing
from mofang.fit.loop.rows import RowAdamW, clip_gradients, touch_rows_only
from mofang.fit.networks.encoder import EncoderBody, load_encoder, take_weights
from mofang.fit.networks.graph import network_graph
from mofang.fit.networks.kernels import cheap_dropout, gelu, vocabulary_loss
from mofang.fit.networks.transformer import from_config

CONFIG: dict[str, Any] = {
    "model_type": "bert", "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 24, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def pair() -> tuple[EncoderBody, nn.Module]:
    """Our encoder and transformers' with the same weights, which are large enough to matter."""
    from transformers import AutoModel, BertConfig

    torch.manual_seed(3)
    config = BertConfig(**{name: value for name, value in CONFIG.items() if name != "model_type"}, initializer_range=0.2)
    theirs = AutoModel.from_config(config, attn_implementation="eager").eval()
    ours = load_encoder(CONFIG).eval()
    take_weights(ours, theirs.state_dict())
    return ours, theirs


def batch(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = torch.tensor([[int(place < length) for place in range(longest)] for length in lengths])
    return torch.randint(1, 60, mask.shape, generator=generator) * mask, mask


LENGTHS = [[5], [7, 7, 7], [3, 3, 9, 9, 12], [1, 5, 9, 2, 7, 4, 11, 3, 8, 6], [12, 12, 12, 11] + [12] * 20, [24, 1]]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("way", ["plain", "sdpa"])
def test_last_hidden_states_are_those_of_transformers(pair: Any, lengths: list[int], way: str) -> None:
    ours, theirs = pair
    ids, mask = batch(lengths)
    types = ids % 2
    chosen = Choices(attention_by={f"float32/{kind}/16": way for kind in ("full", "padded")})
    with torch.no_grad(), choosing(chosen):
        for given_types in (None, types):
            mine = ours(ids, mask, given_types)
            other = theirs(input_ids=ids, attention_mask=mask, token_type_ids=given_types).last_hidden_state
            assert ((mine - other).abs() * mask[..., None]).max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 24), min_size=1, max_size=12).filter(any), st.integers(0, 99))
def test_padding_never_changes_a_row(pair: Any, lengths: list[int], seed: int) -> None:
    ours, _ = pair
    ids, mask = batch(lengths, seed)
    with torch.no_grad():
        whole = ours(ids, mask)
        for row, length in enumerate(lengths):
            if length:
                alone = ours(ids[row : row + 1, :length])
                assert (whole[row, :length] - alone[0]).abs().max() < 1e-5


def test_gradients_are_those_of_transformers(pair: Any) -> None:
    ours, theirs = pair
    ids, mask = batch([1, 5, 9, 2, 7, 4, 11, 3, 8, 6])
    slope = torch.randn(*ids.shape, 32) * mask[..., None]
    (ours(ids, mask) * slope).sum().backward()
    (theirs(input_ids=ids, attention_mask=mask).last_hidden_state * slope).sum().backward()
    wanted = {name: one.grad for name, one in theirs.named_parameters() if not name.startswith("pooler")}
    for name, one in ours.named_parameters():
        assert (one.grad - wanted[name]).abs().max() < 1e-4 * (1 + wanted[name].abs().max()), name
    ours.zero_grad(), theirs.zero_grad()


def curve(network: nn.Module, precision: str, steps: int = 30, rows_only: bool = False) -> list[float]:
    """Losses while a network learns which of two words a text holds more of."""
    ids, mask = batch([4, 9, 9, 6, 12, 3, 7, 7] * 4, 1)
    labels = (ids % 2 * mask).sum(dim=1) * 2 > mask.sum(dim=1)
    network.train()
    if rows_only:
        assert touch_rows_only(network)
    optimizer = RowAdamW(network.parameters(), lr=2e-3, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(input_ids=ids, attention_mask=mask)
        loss = nn.functional.cross_entropy(logits.float(), labels.long())
        loss.backward()
        clip_gradients(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_training_goes_as_with_transformers_in_both_precisions() -> None:
    torch.manual_seed(0)
    theirs = from_config(CONFIG, 2, 0.0, "eager")
    start = {name: value.clone() for name, value in theirs.state_dict().items()}
    wanted = curve(theirs, "fp32")
    found = {}
    for name, precision, rows_only in (("same", "fp32", False), ("rows", "fp32", True), ("short", "bf16", True)):
        ours = from_config(CONFIG, 2, 0.0)
        ours.load_state_dict(start)
        found[name] = curve(ours, precision, rows_only=rows_only)
    assert wanted[-1] < 0.5 * wanted[0]
    assert np.allclose(found["same"][:10], wanted[:10], atol=1e-4)
    assert np.allclose(found["rows"][:5], wanted[:5], atol=1e-2) and found["rows"][-1] < 0.5 * wanted[0]
    assert np.allclose(found["short"][:5], found["rows"][:5], atol=3e-2) and found["short"][-1] < 0.5 * wanted[0]


def test_the_graph_gives_the_same_answers() -> None:
    import onnxruntime

    network = from_config(CONFIG, 3, 0.1).eval()
    ids, mask = batch([3, 8, 8, 5])
    data = network_graph(network, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    session = onnxruntime.InferenceSession(io.BytesIO(data).getvalue())
    for lengths in ([3, 8, 8, 5], [12], [2, 11, 6, 6, 9]):
        ids, mask = batch(lengths, 5)
        found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        with torch.no_grad():
            wanted = torch.softmax(network(input_ids=ids, attention_mask=mask), dim=1).numpy()
        assert np.abs(found - wanted).max() < 1e-5


def test_wrong_folders_and_long_rows_are_refused(tmp_path: Path) -> None:
    for config in ({"model_type": "roberta"}, CONFIG | {"hidden_act": "silu"}, CONFIG | {"num_attention_heads": 5},
                   CONFIG | {"position_embedding_type": "relative_key"}):
        with pytest.raises(MofangError, match="encoder"):
            load_encoder(config)
    body = load_encoder(CONFIG)
    weights = body.state_dict()
    (tmp_path / "config.json").write_text(__import__("json").dumps(CONFIG), encoding="utf-8")
    save_file({f"bert.{name}": value for name, value in weights.items()} | {"cls.weight": torch.zeros(2)},
              tmp_path / "model.safetensors")
    again = load_encoder(tmp_path)
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())
    save_file({name: value for name, value in weights.items() if "layer.1" not in name}, tmp_path / "model.safetensors")
    with pytest.raises(MofangError, match="missing"):
        load_encoder(tmp_path)
    with pytest.raises(MofangError, match="25"):
        body(torch.ones(1, 25, dtype=torch.int64))


def test_only_touched_rows_move_and_they_move_as_in_adamw() -> None:
    torch.manual_seed(0)
    tables = [nn.Parameter(torch.randn(20, 4)) for _ in range(2)]
    with torch.no_grad():
        tables[1].copy_(tables[0])
    before = tables[0].detach().clone()
    ours = RowAdamW([{"params": [tables[0]], "weight_decay": 0.1}], lr=0.01)
    theirs = torch.optim.AdamW([{"params": [tables[1]], "weight_decay": 0.1}], lr=0.01)
    ids = torch.tensor([3, 3, 7, 19])
    for step in range(5):
        for table, sparse in zip(tables, (True, False), strict=True):
            table.grad = None
            (nn.functional.embedding(ids, table, sparse=sparse) * (step + 1.0)).pow(2).sum().backward()
        assert abs(clip_gradients([tables[0]], 1.0) - float(nn.utils.clip_grad_norm_([tables[1]], 1.0))) < 1e-3
        ours.step(), theirs.step()
    touched = torch.zeros(20, dtype=torch.bool)
    touched[ids] = True
    assert (tables[0] - tables[1])[touched].abs().max() < 1e-5
    assert torch.equal(tables[0][~touched], before[~touched])
    again = RowAdamW([{"params": [tables[0]], "weight_decay": 0.1}], lr=0.01)
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.state[tables[0]]["exp_avg"], ours.state[tables[0]]["exp_avg"])


def test_dropout_keeps_the_mean_and_follows_the_seed() -> None:
    values = torch.ones(1000, 100)
    torch.manual_seed(1)
    first = cheap_dropout(values, 0.1, True)
    torch.manual_seed(1)
    assert torch.equal(first, cheap_dropout(values, 0.1, True))
    assert abs(float(first.mean()) - 1) < 0.005 and abs(float((first == 0).float().mean()) - 26 / 256) < 0.005
    assert torch.equal(cheap_dropout(values, 0.1, False), values) and torch.equal(cheap_dropout(values, 0.0, True), values)


@pytest.mark.parametrize("kind", ["exact", "tanh"])
def test_every_way_of_gelu_is_the_same_function(kind: str) -> None:
    values = torch.linspace(-6, 6, 1001)
    wanted = gelu(values, kind)
    for way in ("float", "sigmoid"):
        assert (gelu(values, kind, way) - wanted).abs().max() < 1e-5
        assert (gelu(values.bfloat16(), kind, way).float() - wanted).abs().max() < 0.05


def test_the_loss_over_a_vocabulary_is_cross_entropy() -> None:
    states, weight = torch.randn(300, 8, requires_grad=True), torch.randn(70_000, 8, requires_grad=True)
    targets = torch.randint(0, 70_000, (300,))
    targets[::7] = -100
    found = vocabulary_loss(states, weight, targets)
    (found * 0.5).backward()
    mine = states.grad, weight.grad
    states.grad = weight.grad = None
    wanted = nn.functional.cross_entropy(states @ weight.t(), targets, reduction="sum")
    (wanted * 0.5).backward()
    assert abs(float(found.detach()) - float(wanted.detach())) < 1e-2
    for left, right in zip(mine, (states.grad, weight.grad), strict=True):
        assert left is not None and right is not None and (left - right).abs().max() < 1e-4
    assert float(vocabulary_loss(states, weight, torch.full((300,), -100)).detach()) == 0


def test_the_allocator_takes_the_setting_or_says_no() -> None:
    assert keep_pages() in (True, False) and keep_pages() == keep_pages()
