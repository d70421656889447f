"""A transformer encoder with a mean over its positions and one linear layer on top.

The body is Mofang's own (encoder.py) wherever it knows the type, else transformers'; both carry the same weights' names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mofang.fit.loop.objective import Batch
from mofang.fit.networks.encoder import EncoderBody, load_encoder, take_weights, unsuited

OWN = "auto"  # our own body where it suits; any other word is transformers' name for its kind of attention
LIBRARY = "eager"  # for short texts on a CPU faster than the library's default


class TransformerNetwork(nn.Module):
    """The mean of the last hidden states over a text's own positions, dropout, then logits [B, K]."""

    def __init__(self, body: nn.Module, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [B, K] of ids and mask int64 [B, L]."""
        logits: Tensor = self.head(self.dropout(self.pooled(input_ids, attention_mask)))
        return logits

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of the last hidden states over a text's own positions, [B, H]."""
        states = states_of(self.body(input_ids=input_ids, attention_mask=attention_mask))
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    def operations(self, batch: Batch) -> float:
        """Floating-point operations of a training step on this batch; 0 where the body is not ours (the loop then counts)."""
        if not isinstance(self.body, EncoderBody):
            return 0.0
        return self.body.operations(batch.arrays["attention_mask"].sum(dim=1))


def states_of(found: Any) -> Tensor:
    """The last hidden states of what a body gave: our own gives them alone, transformers' in an object."""
    states: Tensor = found if isinstance(found, Tensor) else found.last_hidden_state
    return states


def from_config(
    config: dict[str, Any], classes: int, dropout: float, attention: str = OWN
) -> TransformerNetwork:
    """A network of this shape (a transformers configuration with its ``model_type``),
    randomly initialised.
    """
    if attention == OWN and not unsuited(config):
        own = load_encoder(config)
        return TransformerNetwork(own, own.shape.width, classes, dropout)
    from transformers import AutoConfig, AutoModel

    settings = {name: value for name, value in config.items() if name != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **settings)
    body = AutoModel.from_config(made, attn_implementation=_library(attention))  # type: ignore[no-untyped-call]
    return TransformerNetwork(_without_pooler(body), int(made.hidden_size), classes, dropout)


def from_folder(
    folder: Path, classes: int, dropout: float, attention: str = OWN, *, layers: int = 0, inner: float | None = None
) -> tuple[TransformerNetwork, dict[str, Any]]:
    """A pretrained body with a new head, and its configuration; of the body the first ``layers`` (0: all).

    ``inner`` replaces both dropouts of the body. Reads safetensors only; no code from the folder is run.
    """
    known = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    changed: dict[str, Any] = {}
    if 0 < layers < known.get("num_hidden_layers", 0):
        changed["num_hidden_layers"] = layers
    if inner is not None and (known.get("model_type") == "bert" or "hidden_dropout_prob" in known):
        changed |= {"hidden_dropout_prob": inner, "attention_probs_dropout_prob": inner}
    known |= changed
    if attention == OWN and not unsuited(known):
        from safetensors.torch import load_file

        own = load_encoder(known)
        take_weights(own, load_file(folder / "model.safetensors"))
        return TransformerNetwork(own, own.shape.width, classes, dropout), known
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the run has a bar of its own
    body = AutoModel.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=_library(attention),
        dtype=torch.float32,
        **changed,
    )
    config = body.config.to_diff_dict() | {"model_type": body.config.model_type}
    return TransformerNetwork(_without_pooler(body), int(body.config.hidden_size), classes, dropout), config


def _library(attention: str) -> str:
    return LIBRARY if attention == OWN else attention


def _without_pooler(body: nn.Module) -> nn.Module:
    """Nothing here uses a pooler; left in, its weights would be stored and never trained."""
    if getattr(body, "pooler", None) is not None:
        body.pooler = None  # type: ignore[assignment]
    return body
