"""What of a network is trained: everything, its head, or thin matrices beside its projections (LoRA).

Adapters are written as peft writes them (adapter_config.json, adapter_model.safetensors), so that its users can load ours
and we theirs. After training they are merged: the served network is no larger and no slower.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from safetensors.torch import load, save
from torch import Tensor, nn

from mofang.core.errors import MofangError
from mofang.fit.networks.projection import LoraLinear

Kind = Literal["all", "lora", "head"]
USUAL = (("query", "value"), ("q_proj", "v_proj"), ("c_attn",), ("q_lin", "v_lin"))  # what peft takes, by type
ADAPTER, CONFIG = "adapter/adapter_model.safetensors", "adapter/adapter_config.json"
PREFIX = "base_model.model."
BODIES = ("body", "transformer", "model", "encoder")  # what a network calls the part below its head


def adapt(network: nn.Module, kind: Kind = "all", rank: int = 8, alpha: float = 0.0,
          targets: Sequence[str] = ()) -> nn.Module:
    """The same network with only this part trained: ``all`` of it, its ``head``, or ``lora`` beside ``targets`` and the head.

    ``targets`` are the last parts of layers' names (left out: the queries and values, or what the type calls them);
    ``alpha`` (0: twice the rank) scales what is learnt by alpha / rank. Raises ``lora-without-targets``.
    """
    if kind == "all":
        return network
    body = _body(network)
    body.requires_grad_(False)
    if kind == "head":
        if not any(one.requires_grad for one in network.parameters()):
            raise MofangError("head-missing", network=type(network).__name__)
        return network
    if rank < 1:
        raise MofangError("lora-without-targets", targets="rank 0", names="-")
    names = {name.rpartition(".")[2] for name, one in body.named_modules() if _is_linear(one)}
    wanted = tuple(targets) or next((usual for usual in USUAL if names.issuperset(usual)), ())
    if not wanted or not names.issuperset(wanted):
        raise MofangError("lora-without-targets", targets=", ".join(wanted) or "-", names=", ".join(sorted(names)) or "-")
    for name, layer in list(body.named_modules()):
        if name.rpartition(".")[2] in wanted and _is_linear(layer):
            _replace(body, name, LoraLinear(layer, rank, alpha or 2.0 * rank))
    return network


def merge(network: nn.Module) -> nn.Module:
    """The same network with every adapter added into the weight it stands beside; its names are plain again."""
    for name, _ in list(adapters(network)):
        layer = network.get_submodule(name)
        assert isinstance(layer, LoraLinear), name
        _replace(network, name, layer.merged())
    return network


def adapters(network: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Every adapted layer with its name."""
    return ((name, one) for name, one in network.named_modules() if isinstance(one, LoraLinear))


def adapter_files(network: nn.Module, base: str = "") -> dict[str, bytes]:
    """The adapters as peft writes them; {} where there are none. ``base`` names the model they belong to."""
    found = list(adapters(network))
    if not found:
        return {}
    first, tensors = found[0][1], {}
    for name, layer in found:
        for part in ("lora_A", "lora_B"):
            weight = layer.get_submodule(part).weight
            assert isinstance(weight, Tensor), name
            tensors[f"{PREFIX}{name.removeprefix('body.')}.{part}.weight"] = weight.detach().cpu().contiguous()
    decoder = not any(name.startswith("body.") for name, _ in found)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if decoder else "FEATURE_EXTRACTION",
        "base_model_name_or_path": base or None,
        "r": first.rank,
        "lora_alpha": first.scale * first.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": first.turned,
        "target_modules": sorted({name.rpartition(".")[2] for name, _ in found}),
        "inference_mode": True,
    }
    return {ADAPTER: save(tensors), CONFIG: json.dumps(config, indent=2, sort_keys=True).encode()}


def with_adapter(network: nn.Module, files: Mapping[str, bytes]) -> nn.Module:
    """A network with adapters that ``adapter_files`` or peft wrote, ready to be merged or trained on.

    Raises ``adapter-unsuited`` where they belong to another network.
    """
    config = json.loads(files[CONFIG])
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("rank_pattern"):
        raise MofangError("adapter-unsuited", reason=f"peft_type {config.get('peft_type')}, or a variant of LoRA")
    adapt(network, "lora", int(config["r"]), float(config["lora_alpha"]), tuple(config["target_modules"]))
    given = load(files[ADAPTER])
    wanted: dict[str, Any] = {}
    for name, layer in adapters(network):
        for part in ("lora_A", "lora_B"):
            wanted[f"{PREFIX}{name.removeprefix('body.')}.{part}.weight"] = layer.get_submodule(part)
    odd = sorted(set(wanted) ^ set(given)) or [name for name, one in given.items() if one.shape != wanted[name].weight.shape]
    if odd:
        raise MofangError("adapter-unsuited", reason=odd[0])
    for name, one in given.items():
        wanted[name].weight.data.copy_(one)
    return network


def _body(network: nn.Module) -> nn.Module:
    for name in BODIES:
        found = dict(network.named_children()).get(name)
        if found is not None:
            return found
    return network


def _is_linear(module: nn.Module) -> bool:
    """Linear layers, and GPT-2's, whose weight lies the other way round."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    setattr(network.get_submodule(above) if above else network, last, layer)
