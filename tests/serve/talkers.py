"""A small generator with weights of chance, packaged as `package` does it, without training and without torch."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.canonical import file_digest
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.engine.encode.chat import ChatEncoder
from mofang.engine.generation.graph import decoder_graph
from mofang.engine.generation.opened import Generator, canonical_lines
from mofang.engine.generation.rows import Rows
from mofang.engine.generation.runtime import FILE, Decoder
from mofang.engine.generation.shape import DecoderShape, shape_of
from mofang.engine.predictor import Package
from mofang.serve.generation import Driver
from mofang.trade.request.model import Served

CORPUS = ["你好，今天天气怎么样？晴天，适合散步。", "Write a short answer, please: yes or no?", "房间干净，早餐好吃，服务热情。👍🏽 café"] * 3
CONFIG: dict[str, Any] = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                          "intermediate_size": 64, "num_key_value_heads": 1}


def weights_of(shape: DecoderShape, inner: int, seed: int = 1) -> dict[str, Any]:
    """Weights of chance under the names of Llama's checkpoints; large, so that answers differ."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 0.3) -> Any:
        return rng.normal(size=(rows, columns)).astype(np.float32) * scale

    width, queries, keys = shape.width, shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    found: dict[str, Any] = {"embed_tokens.weight": matrix(shape.vocabulary, width, 1.0), "norm.weight": np.ones(width, np.float32)}
    for layer in range(shape.layers):
        at = f"layers.{layer}"
        found |= {f"{at}.{name}.weight": np.ones(width, np.float32) for name in ("input_layernorm", "post_attention_layernorm")}
        found |= {f"{at}.self_attn.{name}_proj.weight": matrix(rows, width) for name, rows in (("q", queries), ("k", keys), ("v", keys))}
        found |= {f"{at}.self_attn.o_proj.weight": matrix(width, queries), f"{at}.mlp.gate_proj.weight": matrix(inner, width),
                  f"{at}.mlp.up_proj.weight": matrix(inner, width), f"{at}.mlp.down_proj.weight": matrix(width, inner)}
    return found


def package_folder(folder: Path, *, context: int = 256, precision: str = "fp32", config: dict[str, Any] | None = None) -> Path:
    """The folder of such a package."""
    encoder = ChatEncoder.fit(CORPUS, ("prompt",), vocabulary=320, max_length=context)
    settings = {**CONFIG, "vocab_size": encoder.size, **(config or {})}
    shape = shape_of(settings)
    (folder / "decoder").mkdir(parents=True)
    (folder / "encoder").mkdir()
    graph = folder / "decoder" / FILE
    graph.write_bytes(decoder_graph(shape, weights_of(shape, int(settings["intermediate_size"])), context, precision))
    for name, content in encoder.save().items():
        (folder / "encoder" / name).write_bytes(content)
    rows = Rows(Decoder(graph, shape, context, slots=2), encoder.ends, encoder.decode)
    lines = canonical_lines(encoder, [], rows, [{"prompt": "你好"}, {"prompt": "yes or no?"}], 12)
    (folder / "canonical.jsonl").write_bytes(b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines))
    files = {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}
    about = {"format": 3, "task": "text_generation", "inputs": [{"name": "prompt", "role": "text"}], "labels": [],
             "encoder": {"name": encoder.name, "version": encoder.version}, "files": files,
             "engine": {"engine": "onnx-decoder", "threads": 1}, "engines": [],
             "decoder": {"shape": asdict(shape), "context": context, "precision": precision}}
    (folder / "package.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


@stage(version=1)
def talker(run: Run, *, folder: str) -> Package:
    """The package of a folder that ``package_folder`` made."""
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            run.write_bytes(path.relative_to(folder).as_posix(), path.read_bytes())
    return run.result(Package)


def slowed(generator: Generator, seconds: float) -> Generator:
    """The same, each step taking so long."""
    step = generator.decoder.step

    def slow(tokens: Any, lengths: Any) -> Any:
        time.sleep(seconds)
        return step(tokens, lengths)

    generator.decoder.step = slow  # type: ignore[method-assign]
    return generator


def served(name: str, generator: Generator, **settings: Any) -> Served:
    """A generator on sale."""
    driver = Driver(generator, **settings)
    return Served(name, f"run_{name}", generator, driver, driver)
