"""Attention in the ways that torch offers; which is fastest depends on machine, precision, length and mask, so it is measured."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mofang.fit.networks.kernels import Masks

VARIANTS = ("plain", "sdpa", "halves")  # "halves" leaves out a quarter of a causal square, and needs one


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    variant: str,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    masks: Masks | None = None,
) -> Tensor:
    """Softmax attention [B, heads, L, D] of queries over keys and values [B, heads, K, D].

    ``bias`` is added to the scores (0 where a query may look, very negative where not); ``causal`` lets a query see
    its own and earlier positions, the last query being beside the last key. "plain" multiplies and takes the softmax, "sdpa" is
    torch's fused function, "halves" as "plain" for the first half of the positions and then for the second; all give the same
    to the rounding of the precision.
    """
    half = query.shape[2] // 2
    if variant == "halves" and causal and bias is None and half and key.shape[2] == query.shape[2] and not query.is_cuda:
        sooner, later = (
            attend(query[:, :, start:stop], key[:, :, :stop], value[:, :, :stop], variant="plain", causal=True,
                   dropout=dropout, masks=masks)
            for start, stop in ((0, half), (half, query.shape[2]))
        )
        return torch.cat([sooner, later], dim=2)
    if causal and query.shape[2] != key.shape[2]:  # with a cache: the queries are the last of the keys
        bias, causal = causal_bias(query, key.shape[2], bias), False
    if variant == "sdpa" or query.is_cuda:  # on a card the fused function is never the slower one
        if causal and bias is not None:
            bias, causal = causal_bias(query, key.shape[2], bias), False
        return functional.scaled_dot_product_attention(query, key, value, bias, dropout, causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        scores = scores + causal_bias(query, key.shape[2], None)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(dim=-1)
    return (masks or Masks("bytes", True)).drop(weights, dropout) @ value


def causal_bias(query: Tensor, keys: int, bias: Tensor | None) -> Tensor:
    """What keeps queries from looking ahead [L, K], together with another bias."""
    length = query.shape[2]
    least = torch.finfo(query.dtype).min
    made = torch.full((length, keys), least, dtype=query.dtype, device=query.device).triu(keys - length + 1)
    return made if bias is None else torch.minimum(made, bias)


def padding_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias [B, 1, 1, K] of a mask [B, K] that is 1 where a position counts."""
    return (1.0 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


def document_bias(document_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias [B, 1, L, L] that keeps attention within each document of packed rows; ids int64 [B, L]."""
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill_(~same, torch.finfo(dtype).min)
