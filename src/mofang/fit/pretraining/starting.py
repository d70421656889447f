"""Where weights come from: drawn by a seed, a base made here, a folder or installed package, or a model hub by its name.

Only config.json, model.safetensors and tokenizer.json are read; no code of a model is ever run, and no pickle opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.fit.base import FILES
from mofang.fit.families.pretrained import PACKAGE, base_folder, base_licences

CARD = "README.md"
POSITIONS = ("max_position_embeddings", "n_positions")


@dataclass(frozen=True)
class Start:
    """A folder with pretrained weights, what it is called, and the licences that it states."""

    folder: Path
    name: str
    licences: tuple[str, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        """Its transformers configuration."""
        found: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return found

    @property
    def digest(self) -> str:
        """The content of its files."""
        return digest_of({name: file_digest(self.folder / name) for name in FILES})


def is_hub_name(name: str) -> bool:
    """True for ``owner/name`` that is no folder here."""
    parts = name.split("/")
    return not name.startswith((PACKAGE, ".", "/", "~")) and len(parts) == 2 and all(parts) and not Path(name).exists()


def start_from(name: str, revision: str) -> Start:
    """The folder of a model by place or hub name; a clear error where something is missing."""
    if is_hub_name(name):
        folder = _fetched(name, revision)
        return Start(folder, f"{name}@{revision}", base_licences(name, folder))
    folder = base_folder(name)
    return Start(folder, name, base_licences(name, folder))


def _fetched(name: str, revision: str) -> Path:
    """A model of the hub in the hub client's own cache; offline (HF_HUB_OFFLINE) only what lies there already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*FILES, CARD], local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise MofangError("hub-model-missing", name=name, revision=revision, reason=type(error).__name__) from None
    for file in FILES:
        if not (folder / file).is_file():
            raise MofangError("base-model-missing", base=name, missing=file)
    return folder


def require_same_vocabulary(name: str, folder: Path, tokenizer_json: str) -> None:
    """Refuse weights whose ids mean other tokens than those of the shards."""
    theirs = _vocabulary((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ours = _vocabulary(tokenizer_json)
    if any(theirs.get(token) != id for token, id in ours.items()):
        differing = sum(theirs.get(token) != id for token, id in ours.items())
        raise MofangError("base-vocabulary-differs", base=name, differing=differing, tokens=len(ours))


def _vocabulary(tokenizer_json: str) -> dict[str, int]:
    from tokenizers import Tokenizer

    found: dict[str, int] = Tokenizer.from_str(tokenizer_json).get_vocab(with_added_tokens=True)
    return found


def require_positions(config: dict[str, Any], context: int, name: str) -> None:
    """Refuse a context that is longer than the positions that the weights were trained for; T5's are relative."""
    most = next((int(config[key]) for key in POSITIONS if key in config), 0)
    if config["model_type"] != "t5" and most and context > most:
        raise MofangError("context-too-long", context=context, positions=most, base=name)


def kind_of(config: dict[str, Any]) -> str:
    """The architecture's tag of a configuration; refused where nothing here can pretrain it."""
    tag = {"bert": "bert", "gpt2": "gpt", "llama": "llama", "t5": "t5"}.get(str(config.get("model_type")))
    if tag is None:
        raise MofangError("architecture-unknown", kind=config.get("model_type", "-"), kinds="bert, gpt2, llama, t5")
    return tag


def loaded(start: Start, kind: str, pairs: bool, attention: str) -> tuple[Any, Sequence[str]]:
    """The network with the weights of a folder, and the names of those that it does not hold (drawn anew)."""
    import torch
    from transformers.utils import logging

    from mofang.fit.networks.decoder import load_decoder
    from mofang.fit.networks.language import OWN, OWN_BODY, Generator, Language, Reader, model_class
    from mofang.fit.networks.sight import unsuited

    if kind in OWN and not unsuited(start.config):
        return Generator(load_decoder(start.folder)), []
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the run has a bar of its own
    model, told = model_class(kind, pairs).from_pretrained(
        start.folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
        attn_implementation="eager" if attention == OWN_BODY else attention, output_loading_info=True,
    )
    if attention == OWN_BODY:
        return Reader(model, start.config), sorted(told["missing_keys"])
    return Language(model), sorted(told["missing_keys"])
