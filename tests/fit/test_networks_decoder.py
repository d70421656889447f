"""The own decoders are transformers' GPT-2 and Llama, only faster; packed documents do not see each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mofang.core.errors import MofangError
from mofang.fit.loop.probe import Choices, choosing
from mofang.fit.networks.decoder import Cache, Decoder, load_decoder, positions_of
from mofang.fit.networks.encoder import take_weights


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request: Any) -> tuple[Decoder, nn.Module]:
    """Our decoder and transformers' with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    if request.param == "gpt2":
        config: Any = GPT2Config(vocab_size=97, n_layer=2, n_embd=32, n_head=4, n_positions=64, initializer_range=0.2,
                                 resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=1)
        theirs: nn.Module = GPT2LMHeadModel(config).eval()
    else:
        config = LlamaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                             intermediate_size=48, max_position_embeddings=64, initializer_range=0.2)
        theirs = LlamaForCausalLM(config).eval()
    ours = load_decoder(config.to_dict()).eval()
    take_weights(ours, theirs.state_dict())
    return ours, theirs


IDS = torch.randint(0, 97, (3, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", ["plain", "sdpa", "halves"])
def test_logits_and_gradients_are_those_of_transformers(pair: Any, way: str) -> None:
    ours, theirs = pair
    with choosing(Choices(attention_by={"float32/causal/20": way})):
        assert (ours(IDS) - theirs(input_ids=IDS).logits).abs().max() < 1e-5
        loss = ours.loss(IDS[:, :-1], IDS[:, 1:]) / 57
        loss.backward()
    wanted = nn.functional.cross_entropy(theirs(input_ids=IDS[:, :-1]).logits.flatten(0, 1), IDS[:, 1:].flatten())
    wanted.backward()
    assert abs(float(loss.detach()) - float(wanted.detach())) < 1e-4
    slopes = dict(theirs.named_parameters())
    for name, one in ours.named_parameters():
        assert one.grad is not None and (one.grad - slopes[name].grad).abs().max() < 1e-4, name
    ours.zero_grad(), theirs.zero_grad()


@torch.no_grad()
def test_a_cache_gives_what_reading_at_once_gives(pair: Any) -> None:
    ours, _ = pair
    cache = Cache([])
    steps = [ours(IDS[:, :7], cache=cache), *(ours(IDS[:, at : at + 1], cache=cache) for at in range(7, 20))]
    assert (torch.cat(steps, dim=1) - ours(IDS)).abs().max() < 1e-5 and cache.length == 20


@torch.no_grad()
def test_packed_documents_do_not_see_each_other(pair: Any) -> None:
    ours, _ = pair
    documents = torch.tensor([[0] * 8 + [1] * 12, [0] * 20, [4] * 3 + [5] * 16 + [9]])
    for way in ("plain", "sdpa"):
        with choosing(Choices(attention_by={"float32/documents/20": way})):
            found = ours(IDS, document_ids=documents)
        for row, parts in enumerate(((0, 8, 20), (0, 20), (0, 3, 19, 20))):
            for start, stop in zip(parts, parts[1:], strict=False):
                assert (found[row, start:stop] - ours(IDS[row : row + 1, start:stop])[0]).abs().max() < 1e-5
    assert positions_of(IDS, documents, None, 0)[2].tolist() == [0, 1, 2, *range(16), 0]


@torch.no_grad()
def test_padding_at_the_left_counts_nothing(pair: Any) -> None:
    ours, _ = pair
    mask = torch.ones(3, 20, dtype=torch.int64)
    mask[0, :5], mask[2, :19] = 0, 0
    found = ours(IDS, attention_mask=mask)
    for row, start in enumerate((5, 0, 19)):
        assert (found[row, start:] - ours(IDS[row : row + 1, start:])[0]).abs().max() < 1e-5


def test_bf16_is_near_and_odd_configurations_are_refused(pair: Any) -> None:
    ours, _ = pair
    with torch.autocast("cpu", torch.bfloat16):
        short = ours.loss(IDS[:, :-1], IDS[:, 1:])
    assert abs(float(short.detach()) / float(ours.loss(IDS[:, :-1], IDS[:, 1:]).detach()) - 1) < 0.02
    for odd in ({"model_type": "t5"}, {"model_type": "llama", "attention_bias": True},
                {"model_type": "llama", "rope_parameters": {"rope_type": "yarn"}}, {"model_type": "gpt2", "activation_function": "relu"}):
        with pytest.raises(MofangError, match="decoder"):
            load_decoder(odd)
    with pytest.raises(MofangError, match="65"):
        ours(torch.zeros(1, 65, dtype=torch.int64))
