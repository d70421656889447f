"""The weights of a base release, laid out so that its own family starts from them: a fine-tune that goes on where the base ended.

Families of a pretrained encoder can (``pretrained``, and the encoder's half of ``blend``): the body's weights, its shape and its
tokenizer are those of the base, the head is new. A ``generator`` goes on with all of its weights, its tokenizer and its template;
with ``adapt lora`` it learns low-rank additions to them. A linear model, boosted trees and networks from nothing are fitted anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop

if TYPE_CHECKING:
    from mofang.fit.family import Family

# tag of the family: the part with the weights, the way to the shape in the model's architecture, the tokenizer's part
CONTINUED = {"pretrained": ("weights.safetensors", (), "encoder/tokenizer.json"),
             "generator": ("weights.safetensors", (), "encoder/tokenizer.json"),
             "blend": ("deep.safetensors", ("deep",), "encoder/1-tokenizer.json")}
BODY, HEAD = "body.", "head."
CHAT, TEMPLATE = "encoder/chat.json", "encoder/template.jinja"
PREFIXES = {"gpt2": "transformer."}  # of the body's names in a checkpoint with a head; "model." in all other types


def continued(shop: Shop, base: Artifact, family: Family, folder: Path) -> Family | None:
    """The family with the base's own weights as its start, laid into a folder; None where it cannot go on from them: another
    family, or a base whose model is no longer in this shop."""
    model = shop.ancestor(base.entry, "model")
    if family.tag not in CONTINUED or model is None:
        return None
    weights, way, tokenizer = CONTINUED[family.tag]
    if not all(model.has(name) and shop.store.has(model.part(name).digest) for name in (weights, tokenizer, "about.json")):
        return None
    shape: dict[str, Any] = model.read_json("about.json")["architecture"]
    for step in way:
        shape = shape[step]
    if "config" not in shape:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = dict(shape["config"])
    if family.tag == "generator":
        if not (model.has(CHAT) and model.has(TEMPLATE)):
            return None
        config |= _speaking(model, config, folder)
    _write_weights(model, weights, config if family.tag == "generator" else {}, folder)
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True), encoding="utf-8")
    with model.open(tokenizer) as file:
        (folder / "tokenizer.json").write_bytes(file.read())
    said = "".join(f"license: {name}\n" for name in base.licences)
    (folder / "README.md").write_text(f"---\n{said}---\n", encoding="utf-8")
    return type(family).parse({**family.to_dict(), "base": str(folder)})


def _write_weights(model: Artifact, part: str, config: dict[str, Any], folder: Path) -> None:
    """The weights under the names of transformers: a body alone, or (``config`` of a generator) with its head."""
    from safetensors.numpy import load, save

    begin = PREFIXES.get(config["model_type"], "model.") if config else ""
    with model.open(part) as file:
        found = load(file.read())
    tensors = {begin + name.removeprefix(BODY): array for name, array in found.items() if name.startswith(BODY)}
    if config:
        tensors |= {"lm_" + name: array for name, array in found.items() if name.startswith(HEAD)}
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))


def _speaking(model: Artifact, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The template and the marks of begin and end, laid out as a base has them; what the configuration must say beside."""
    said = model.read_json(CHAT)
    with model.open(TEMPLATE) as file:
        (folder / "chat_template.jinja").write_bytes(file.read())
    marks = {f"{name}_token": said[f"{name}_token"] for name in ("bos", "eos") if said.get(f"{name}_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(marks, ensure_ascii=False), encoding="utf-8")
    return {} if config.get("pad_token_id") is not None else {"pad_token_id": said["padding_id"]}
