"""A network with its head, asked only for the places that an objective names.

The vocabulary's matrix is the dearest product of a small network, and masked modelling needs it at a seventh of the
places only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mofang.fit.base import WEIGHTS
from mofang.fit.networks.decoder import Decoder
from mofang.fit.networks.encoder import EncoderBody, take_weights
from mofang.fit.networks.kernels import vocabulary_loss
from mofang.fit.networks.sight import unsuited

OWN = ("gpt2", "llama")
OWN_BODY = "own"  # instead of an attention of transformers


class Asked(nn.Module):
    """A network with its head. ``forward(**arrays)`` gives the summed loss of ``targets`` where they are given, else logits
    float32: [T, V] at the places ``where`` of [B * L], or [B, 2] where no places are named.
    """

    config: Any
    smoothing = 0.0  # share of each target that goes to all words alike

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy summed over the targets."""
        return nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=self.smoothing)

    def files(self, folder: Path) -> None:
        """Write config.json and model.safetensors as transformers does."""
        raise NotImplementedError

    @property
    def positions(self) -> int:
        """How many positions a text may have."""
        return int(getattr(self.config, "max_position_embeddings", 1 << 20))


class Generator(Asked):
    """A generator by our own decoder: packed documents without masks of their own, no logits kept."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.config = library_config(decoder.config)

    def forward(self, input_ids: Tensor, where: Tensor, position_ids: Tensor | None = None, document_ids: Tensor | None = None,
                targets: Tensor | None = None) -> Tensor:
        """Summed loss, or logits [T, V]."""
        states = self.decoder.states(input_ids, document_ids, position_ids)
        flat = states.reshape(-1, states.shape[-1])
        chosen = flat if len(where) == len(flat) else flat[where]
        with torch.autocast(input_ids.device.type, enabled=False):
            head = self.decoder.head.to(chosen.dtype)
            if targets is not None and not self.smoothing:
                return vocabulary_loss(chosen, head, targets)
            logits = nn.functional.linear(chosen, head).float()
            return logits if targets is None else self.loss_of(logits, targets)

    def files(self, folder: Path) -> None:
        """The decoder's names are those of transformers."""
        write_files(self.config, model_class(self.config.model_type, False).__name__, self.decoder.state_dict(), folder)


class Reader(Asked):
    """An encoder by our own body, for hidden words: no work on padding."""

    def __init__(self, model: Any, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = model.config
        self.bert = EncoderBody(config)
        take_weights(self.bert, model.bert.state_dict())
        self.cls = model.cls
        self.cls.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor, where: Tensor, targets: Tensor | None = None) -> Tensor:
        """Summed loss, or logits [T, V]."""
        states = self.bert(input_ids, attention_mask)
        logits = self.cls.predictions(states.reshape(-1, states.shape[-1])[where]).float()
        return logits if targets is None else self.loss_of(logits, targets)

    def files(self, folder: Path) -> None:
        """The names are those of transformers; what is tied is written once."""
        kept = {name: value for name, value in self.state_dict().items() if ".decoder." not in name}
        write_files(self.config, "BertForMaskedLM", kept, folder)


class Language(Asked):
    """A transformers model of any kind that is known here."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config: Any = model.config
        self.kind = str(self.config.model_type)

    def forward(self, where: Tensor | None = None, targets: Tensor | None = None, **arrays: Tensor) -> Tensor:
        """Summed loss, or logits of the words at ``where``, or of "follows, is from elsewhere" for each row."""
        logits = self._logits(where, arrays)
        return logits if targets is None else self.loss_of(logits, targets)

    def _logits(self, where: Tensor | None, given: dict[str, Tensor]) -> Tensor:
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


    def files(self, folder: Path) -> None:
        """By transformers itself, each shared matrix once."""
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the run has bars of its own
        self.model.save_pretrained(folder, max_shard_size="1000GB")


def model_class(kind: str, pairs: bool) -> Any:
    """The transformers class of a configuration's ``model_type``; ``pairs``: with a head for next sentences."""
    import transformers

    names = {"bert": "BertForPreTraining" if pairs else "BertForMaskedLM", "gpt2": "GPT2LMHeadModel",
             "llama": "LlamaForCausalLM", "t5": "T5ForConditionalGeneration"}
    return getattr(transformers, names[kind]) if kind in names else None


def write_files(config: Any, name: str, state: dict[str, Tensor], folder: Path) -> None:
    """Configuration and weights of a transformers class of this name."""
    folder.mkdir(parents=True, exist_ok=True)
    config.architectures, config.dtype = [name], "float32"
    config.save_pretrained(folder)
    tensors = {one: value.detach().cpu().contiguous() for one, value in state.items()}
    (folder / WEIGHTS).write_bytes(save(tensors, {"format": "pt"}))


def library_config(config: dict[str, Any]) -> Any:
    """A configuration as transformers holds it."""
    from transformers import AutoConfig

    settings = {name: value for name, value in config.items() if name != "model_type"}
    return AutoConfig.for_model(config["model_type"], **settings)


def plain(config: dict[str, Any], pairs: bool, attention: str) -> Any:
    """A transformers model with weights drawn from torch's generator."""
    implementation = "eager" if attention == OWN_BODY else attention
    return model_class(config["model_type"], pairs)._from_config(library_config(config), attn_implementation=implementation)


def drawn(config: dict[str, Any], pairs: bool, attention: str) -> Asked:
    """A network with weights as transformers draws them; it runs by our own body where that knows its kind."""
    model = plain(config, pairs, attention)
    if attention == OWN_BODY:
        return Reader(model, config)
    if config["model_type"] not in OWN or unsuited(config):
        return Language(model)
    decoder = Decoder(config)
    take_weights(decoder, model.state_dict())
    return Generator(decoder)
