"""LoRA and head only: what is trained, what is written, that merging changes nothing; files as peft writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import nn

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.fit.export import export
from mofang.fit.families.pretrained import Pretrained
from mofang.fit.loop.start import WEIGHTS, weights_files
from mofang.fit.networks.adapt import ADAPTER, CONFIG, Kind, adapt, adapter_files, adapters, merge, with_adapter
from mofang.fit.networks.decoder import load_decoder
from mofang.fit.networks.transformer import from_config
from mofang.fit.train import train
from tests.fit.planted import planted
from tests.fit.test_networks_encoder import CONFIG as SMALL
from tests.fit.test_networks_encoder import batch

GPT2 = {"model_type": "gpt2", "vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}


def stirred(network: nn.Module) -> nn.Module:
    """A network whose adapters have learnt something."""
    torch.manual_seed(5)
    for _, layer in adapters(network):
        nn.init.normal_(layer.lora_B.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_only_adapters_and_head_learn_and_merging_changes_no_answer(attention: str) -> None:
    network = from_config(SMALL, 2, 0.0, attention).eval()
    plain = set(network.state_dict())
    ids, mask = batch([3, 8, 8, 5])
    before = network(ids, mask)
    adapt(network, "lora", rank=4)
    assert (network(ids, mask) - before).abs().max() < 1e-6
    trained = {name for name, one in network.named_parameters() if one.requires_grad}
    assert all("lora_" in name or name.startswith("head.") for name in trained) and len(trained) == 2 * 2 * 2 + 2
    stirred(network)(ids, mask).sum().backward()
    assert all((one.grad is not None) == one.requires_grad for one in network.parameters())
    wanted = network(ids, mask)
    assert (wanted - before).abs().max() > 1e-3
    files = weights_files(network)
    assert set(network.state_dict()) == plain == set(load(files[WEIGHTS]))
    assert (network(ids, mask) - wanted).abs().max() < 1e-5


def test_files_are_named_as_peft_names_them_and_come_back() -> None:
    network = stirred(adapt(from_config(SMALL, 2, 0.0), "lora", rank=4, alpha=6.0))
    files = adapter_files(network, "minilm")
    config, tensors = json.loads(files[CONFIG]), load(files[ADAPTER])
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 6.0, ["query", "value"])
    name = "base_model.model.encoder.layer.1.attention.self.value.lora_B.weight"
    assert tensors[name].shape == (32, 4) and len(tensors) == 8
    again = from_config(SMALL, 2, 0.0)
    again.load_state_dict(merge(from_config(SMALL, 2, 0.0)).state_dict())
    base = {key.replace(".base_layer", ""): one for key, one in network.state_dict().items() if "lora_" not in key}
    again.load_state_dict(base)
    again = with_adapter(again, files).eval()
    ids, mask = batch([3, 8])
    assert torch.equal(again(ids, mask), network(ids, mask))
    with pytest.raises(MofangError, match="belong"):
        with_adapter(load_decoder(GPT2), files | {CONFIG: files[CONFIG].replace(b"LORA", b"IA3")})
    with pytest.raises(MofangError, match="query"):
        with_adapter(load_decoder(GPT2), files)


def test_a_decoder_of_turned_weights_is_adapted_too() -> None:
    network = load_decoder(GPT2).eval()
    ids = torch.randint(0, 50, (2, 9))
    stirred(adapt(network, "lora", rank=2))
    wanted = network(ids)
    assert json.loads(adapter_files(network)[CONFIG])["fan_in_fan_out"] is True
    assert (merge(network)(ids) - wanted).abs().max() < 1e-5 and not list(adapters(network))


def test_peft_reads_our_adapters() -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModel, BertConfig

    network = stirred(adapt(from_config(SMALL, 2, 0.0), "lora", rank=4))
    files = adapter_files(network)
    theirs = AutoModel.from_config(BertConfig(**{k: v for k, v in SMALL.items() if k != "model_type"}))
    known = {key.removeprefix("body.").replace(".base_layer", ""): one for key, one in network.state_dict().items()}
    theirs.load_state_dict({key: one for key, one in known.items() if key in theirs.state_dict()}, strict=False)
    wrapped = peft.get_peft_model(theirs, peft.LoraConfig(**{k: v for k, v in json.loads(files[CONFIG]).items()
                                                             if k not in ("peft_type", "inference_mode")}))
    peft.set_peft_model_state_dict(wrapped, load(files[ADAPTER]))
    ids, mask = batch([3, 8])
    found = wrapped.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    assert ((found - network.body(ids, mask)).abs() * mask[..., None]).max() < 1e-4


def test_what_cannot_be_adapted_is_said() -> None:
    with pytest.raises(MofangError, match="banana"):
        adapt(from_config(SMALL, 2, 0.0), "lora", targets=("banana",))
    with pytest.raises(MofangError, match="head"):
        adapt(load_decoder(GPT2), "head")
    head = adapt(from_config(SMALL, 2, 0.0), "head")
    assert {name for name, one in head.named_parameters() if one.requires_grad} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("kind", ["lora", "head"])
def test_the_family_learns_with_an_adapter(fit_shop: Shop, tiny_base: Path, kind: Kind) -> None:
    snapshot = fit_shop.run(planted, task="text_classification", english=True)
    family = Pretrained(base=str(tiny_base), epochs=2, learning_rate=0.01, max_length=32, tokens=256, adapt=kind, rank=4)
    model = fit_shop.run(train, snapshot, family=family)
    names = {part.name for part in model.parts}
    assert (ADAPTER in names) == (kind == "lora")
    assert not any("lora" in name for name in load(model.path(WEIGHTS).read_bytes()))
    assert fit_shop.run(export, model).measures["max_abs_difference"] <= 1e-4
