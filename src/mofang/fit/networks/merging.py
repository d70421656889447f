"""Adapters merged into the weights they stand beside, and asked: the merged network must answer made-up requests as before."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from mofang.core.errors import MofangError
from mofang.fit.networks.adapt import adapters, merge
from mofang.fit.networks.drawn import TOKENS_MAX, drawn

SEED = 0
COLUMNS_MAX = 256        # of what is answered, where that is a whole vocabulary
DIFFERENCE_MAX = 1e-4    # of the largest answer


def merged(network: nn.Module) -> nn.Module:
    """The network with its adapters merged; one without any is returned as it is.

    Raises ``merge-differs`` where it answers up to 1,000 made-up requests (drawn token ids) otherwise than before.
    """
    if next(adapters(network), None) is None:
        return network
    asked = requests(network)
    before = [_answers(network, ids) for ids in asked]
    made = merge(network)
    apart, scale = 0.0, 1.0
    for ids, wanted in zip(asked, before, strict=True):
        difference = (_answers(made, ids) - wanted).abs().max().item()
        apart = max(apart, difference) if difference == difference else float("inf")
        scale = max(scale, wanted.abs().max().item())
    if not apart <= DIFFERENCE_MAX * scale:
        raise MofangError("merge-differs", difference=f"{apart / scale:.2g}", limit=DIFFERENCE_MAX, requests=sum(map(len, asked)))
    return made


def requests(network: nn.Module) -> list[Tensor]:
    """Token ids int64 [B, L], rows of one length together, so that nothing is padded."""
    table = next(one for one in network.modules() if isinstance(one, nn.Embedding))
    weights = sum(one.numel() for one in network.parameters()) - table.weight.numel()
    generator = torch.Generator().manual_seed(SEED)
    places = [one.num_embeddings for name, one in network.named_modules() if isinstance(one, nn.Embedding) and "position" in name]
    rows, lengths = drawn(weights, min(TOKENS_MAX, *places) if places else TOKENS_MAX)
    return [torch.randint(0, table.num_embeddings, (rows, length), generator=generator) for length in lengths]


def _answers(network: nn.Module, ids: Tensor) -> Tensor:
    device = next(network.parameters()).device
    given = {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}
    if "token_type_ids" in inspect.signature(network.forward).parameters:
        given["token_type_ids"] = torch.zeros_like(ids).to(device)
    network.eval()
    with torch.inference_mode():
        found: Tensor = network(**given).float().cpu()
    step = max(1, found.shape[-1] // COLUMNS_MAX)
    return found[..., ::step].clone()
