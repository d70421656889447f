"""A transformers model with its head, asked only for the places that an objective names.

The vocabulary's matrix is the dearest product of a small network, and masked modelling needs it at a seventh of the
places only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Language(nn.Module):
    """``forward(**arrays)`` gives logits [T, V] at the places ``where`` of [B * L], or [B, 2] where none are named."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config: Any = model.config
        self.kind = str(self.config.model_type)

    def forward(self, where: Tensor | None = None, **arrays: Tensor) -> Tensor:
        """Logits float32 of the words at ``where``, or of "follows, is from elsewhere" for each row."""
        given = dict(arrays)
        self._attention(given)
        if self.kind == "bert":
            return self._encoder(given, where)
        assert where is not None
        states = self._both(given) if self.kind == "t5" else self._decoder(given)
        found: Tensor = self._picked(self.model.lm_head, states, where)
        return found

    def _encoder(self, given: dict[str, Tensor], where: Tensor | None) -> Tensor:
        model: Any = self.model
        found = model.bert(**given)
        if where is None:
            return model.cls.seq_relationship(found.pooler_output).float()  # type: ignore[no-any-return]
        return self._picked(model.cls.predictions, found.last_hidden_state, where)

    def _decoder(self, given: dict[str, Tensor]) -> Tensor:
        model: Any = self.model
        body = model.transformer if self.kind == "gpt2" else model.model
        return body(**given, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    def _both(self, given: dict[str, Tensor]) -> Tensor:
        model: Any = self.model
        read = model.encoder(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        states = model.decoder(
            input_ids=given["decoder_input_ids"], attention_mask=given["decoder_attention_mask"],
            encoder_hidden_states=read, encoder_attention_mask=given["attention_mask"], use_cache=False,
        ).last_hidden_state
        return states * self.config.d_model**-0.5 if self.config.scale_decoder_outputs else states  # type: ignore[no-any-return]

    def _attention(self, given: dict[str, Tensor]) -> None:
        """Packed documents and orders of places as masks [B, 1, L, L]."""
        sees = given.pop("sees", None)
        documents = given.pop("document_ids", None)
        if documents is not None:
            sees = (documents[:, :, None] == documents[:, None, :]).tril()
        if sees is not None:
            lowest = torch.finfo(torch.float32).min
            given["attention_mask"] = torch.where(sees, 0.0, lowest)[:, None]

    def _picked(self, head: Any, states: Tensor, where: Tensor) -> Tensor:
        chosen = states.reshape(-1, states.shape[-1])
        if len(where) != len(chosen):
            chosen = chosen[where]
        return head(chosen).float()  # type: ignore[no-any-return]


def model_class(kind: str, pairs: bool) -> Any:
    """The transformers class of a configuration's ``model_type``; ``pairs``: with a head for next sentences."""
    import transformers

    names = {"bert": "BertForPreTraining" if pairs else "BertForMaskedLM", "gpt2": "GPT2LMHeadModel",
             "llama": "LlamaForCausalLM", "t5": "T5ForConditionalGeneration"}
    return getattr(transformers, names[kind]) if kind in names else None


def drawn(config: dict[str, Any], pairs: bool, attention: str) -> Language:
    """A network of this shape with weights drawn from torch's generator."""
    from transformers import AutoConfig

    settings = {name: value for name, value in config.items() if name != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **settings)
    return Language(model_class(config["model_type"], pairs)._from_config(made, attn_implementation=attention))
