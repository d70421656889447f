"""The weights of a base release, laid out so that its own family starts from them: a fine-tune that goes on where the base ended.

Only families of a pretrained encoder can (``pretrained``, and the encoder's half of ``blend``): the body's weights, its shape and
its tokenizer are those of the base, the head is new. A linear model, boosted trees and networks from nothing are fitted anew.
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
             "blend": ("deep.safetensors", ("deep",), "encoder/1-tokenizer.json")}
BODY = "body."


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
    from safetensors.numpy import load, save

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with model.open(weights) as file:
        tensors = {name.removeprefix(BODY): array for name, array in load(file.read()).items() if name.startswith(BODY)}
    (folder / "model.safetensors").write_bytes(save(tensors))
    (folder / "config.json").write_text(json.dumps(shape["config"], sort_keys=True), encoding="utf-8")
    with model.open(tokenizer) as file:
        (folder / "tokenizer.json").write_bytes(file.read())
    said = "".join(f"license: {name}\n" for name in base.licences)
    (folder / "README.md").write_text(f"---\n{said}---\n", encoding="utf-8")
    return type(family).parse({**family.to_dict(), "base": str(folder)})
