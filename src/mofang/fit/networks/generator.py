"""A decoder of the GPT or Llama type with its head: packed documents in training, a cache of keys and values in writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mofang.core.errors import MofangError
from mofang.fit.loop.objective import Batch

TYPES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
ATTENTION = "sdpa"
NO_DOCUMENT = 0
Cache = Any


class Generator(nn.Module):
    """A body that gives states, and logits by a head of its own or (``head`` None) by the table of embeddings."""

    def __init__(self, body: nn.Module, head: nn.Linear | None) -> None:
        super().__init__()
        self.body, self.head = body, head

    def states(self, input_ids: Tensor, documents: Tensor, places: Tensor) -> Tensor:
        """States [B, L, H] of packed rows: ``documents`` int64 [B, L] numbers the document of each token (0: padding) and
        ``places`` int64 [B, L] its place in it; no token sees one of another document."""
        length = input_ids.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        return self.states_seeing(input_ids, (documents[:, :, None] == documents[:, None, :]) & before, places)

    def states_seeing(self, input_ids: Tensor, seen: Tensor, places: Tensor) -> Tensor:
        """States [B, L, H] where each token sees what ``seen`` bool [B, L, L] says."""
        place = input_ids.device.type
        dtype = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else torch.float32
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
        found: Tensor = self.body(
            input_ids=input_ids, attention_mask=mask[:, None], position_ids=places, use_cache=False
        ).last_hidden_state
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Logits [..., V] of states [..., H]."""
        if self.head is not None:
            found: Tensor = self.head(states)
            return found
        table: Tensor = self.body.get_input_embeddings().weight  # type: ignore[operator]
        return nn.functional.linear(states, table)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Log-probabilities float32 [B, V] of the token that follows each row; ids and mask int64 [B, L], padded right."""
        places = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        states = self.states(input_ids, attention_mask, places)
        last = (attention_mask.sum(dim=1) - 1).clamp(min=0)
        chosen = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
        return torch.log_softmax(self.logits(chosen).float(), dim=1)

    def operations(self, batch: Batch) -> float:
        """Floating-point operations of a training step on packed rows: 6 a weight of the layers and token (4 where it does not
        learn), the head on learnt places, and attention's 12 layers width length^2 of each document.

        Counting them from outside while the first step runs would take its attention apart, so that the last bit of a run
        that goes on after a kill, whose first step is another one, would be another.
        """
        documents = batch.arrays.get("documents")
        if documents is None:
            return 0.0
        table = self.body.get_input_embeddings().weight  # type: ignore[operator]
        learnt = float(batch.arrays["learnt"].sum()) if "learnt" in batch.arrays else float((documents > 0).sum())
        rows = torch.arange(len(documents), device=documents.device)[:, None] * (int(documents.max()) + 1) + documents
        lengths = torch.bincount(rows[documents > 0]).double()
        inside = {id(one) for module in self.body.modules() if isinstance(module, nn.Embedding) for one in module.parameters()}
        weights = [one for one in self.body.parameters() if one.ndim == 2 and id(one) not in inside]
        per_token = sum((6.0 if one.requires_grad else 4.0) * one.numel() for one in weights)
        width, layers = table.shape[1], int(self.body.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        return float(per_token * lengths.sum() + 6.0 * table.numel() * learnt + 12.0 * layers * width * (lengths**2).sum())

    def begin(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Cache]:
        """Logits float32 [B, V] of the token that follows, and the cache; rows are padded on the left here."""
        from transformers import DynamicCache

        return self._step(input_ids, attention_mask, DynamicCache())

    def go_on(self, tokens: Tensor, attention_mask: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """The same for one more token each, int64 [B, 1]; ``attention_mask`` [B, L + 1] counts it already."""
        return self._step(tokens, attention_mask, cache)

    def _step(self, input_ids: Tensor, mask: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        found = self.body(
            input_ids=input_ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        )
        return self.logits(found.last_hidden_state[:, -1]).float(), found.past_key_values


def from_config(config: dict[str, Any], attention: str = ATTENTION) -> Generator:
    """A generator of this shape (a transformers configuration with its ``model_type``), randomly initialised."""
    from transformers import AutoConfig, AutoModelForCausalLM

    _require_known(config)
    settings = {name: value for name, value in config.items() if name not in ("model_type", "architectures")}
    made = AutoConfig.for_model(config["model_type"], **settings)
    whole = AutoModelForCausalLM.from_config(made, attn_implementation=attention)  # type: ignore[no-untyped-call]
    return _taken_apart(whole)


def from_folder(folder: Path, attention: str = ATTENTION) -> tuple[Generator, dict[str, Any]]:
    """A pretrained generator, and its configuration. Reads safetensors only; no code from the folder is run."""
    import json

    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    _require_known(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the run has a bar of its own
    whole = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=attention,
        dtype=torch.float32,
    )
    config = whole.config.to_diff_dict() | {"model_type": whole.config.model_type}
    config["tie_word_embeddings"] = bool(getattr(whole.config, "tie_word_embeddings", False))
    return _taken_apart(whole), config


def _taken_apart(whole: Any) -> Generator:
    tied = bool(getattr(whole.config, "tie_word_embeddings", False))
    return Generator(whole.base_model, None if tied else whole.get_output_embeddings())


def _require_known(config: dict[str, Any]) -> None:
    kind = str(config.get("model_type"))
    if kind not in TYPES:
        raise MofangError("architecture-unsuited", type=kind, types=", ".join(TYPES))
