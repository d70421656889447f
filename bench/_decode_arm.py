"""One engine writing with one answer at a time: python bench/_decode_arm.py ARM FOLDER THREADS. Prints one JSON line.

ARM is make, own-fp32, own-int8, own-int4, genai-int4, hf-fp32, hf-bf16 or ct2-int8; FOLDER holds what `make` wrote: a Llama-type
model of 12 x 768 with 32,000 words and weights of chance, as transformers keeps it, and each engine's own form of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 32_000, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_key_value_heads": 12, "intermediate_size": 2048, "max_position_embeddings": 512, "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PROMPT, NEW, CONTEXT, REPEATS = 32, 64, 512, 3
IDS = [3 + 17 * place % 31_000 for place in range(PROMPT)]


def make(folder: Path) -> None:
    """The model's folder, with a tokenizer that other converters ask for."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = AutoConfig.for_model(**CONFIG)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "hf")
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, **{f"w{place}": place for place in range(4, CONFIG["vocab_size"])}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                            pad_token="<pad>").save_pretrained(folder / "hf")


def weights(folder: Path) -> dict[str, Any]:
    """The weights as arrays, named as our graph names them."""
    from safetensors.numpy import load_file

    return {name.removeprefix("model."): value for name, value in load_file(folder / "hf" / "model.safetensors").items()}


def own(folder: Path, threads: int, precision: str) -> Any:
    from mofang.engine.generation.graph import decoder_graph
    from mofang.engine.generation.runtime import Decoder
    from mofang.engine.generation.shape import shape_of

    shape, path = shape_of(CONFIG), folder / f"own-{precision}.onnx"
    if not path.exists():
        path.write_bytes(decoder_graph(shape, weights(folder), CONTEXT, precision))
    decoder = Decoder(path, shape, CONTEXT, threads=threads)

    def write() -> None:
        token = int(decoder.read(0, IDS, 0).argmax())
        for place in range(NEW - 1):
            token = int(decoder.step([token], [PROMPT + place])[0].argmax())

    return write, path.stat().st_size


def genai(folder: Path, threads: int) -> Any:
    place, beside = folder / "genai-int4", folder / "genai-int4.new"
    if not (place / "genai_config.json").exists():
        for one in (place, beside):
            shutil.rmtree(one, ignore_errors=True)
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(folder / "hf"), "-o", str(beside), "-p", "int4",
                   "-e", "cpu", "-c", str(folder / "cache")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        settings = json.loads((beside / "genai_config.json").read_text())
        settings["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
        (beside / "genai_config.json").write_text(json.dumps(settings))
        beside.rename(place)
    import onnxruntime_genai as og

    model = og.Model(str(place))
    settings = {"max_length": PROMPT + NEW, "min_length": PROMPT + NEW, "do_sample": False, "past_present_share_buffer": True}

    def write() -> None:
        params = og.GeneratorParams(model)
        params.set_search_options(**settings)
        generator = og.Generator(model, params)
        generator.append_tokens(IDS)
        while not generator.is_done():
            generator.generate_next_token()

    return write, sum(one.stat().st_size for one in place.glob("*.onnx*"))


def hf(folder: Path, threads: int, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=getattr(torch, dtype)).eval()
    ids = torch.tensor([IDS])

    def write() -> None:
        with torch.inference_mode():
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)

    return write, (folder / "hf" / "model.safetensors").stat().st_size // (2 if dtype == "bfloat16" else 1)


def ct2(folder: Path, threads: int) -> Any:
    import ctranslate2

    place = folder / "ct2-int8"
    if not place.exists():
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder / "hf")).convert(str(place), quantization="int8")
    model = ctranslate2.Generator(str(place), device="cpu", intra_threads=threads, inter_threads=1)
    words = [f"w{one}" if one > 3 else "<unk>" for one in IDS]

    def write() -> None:
        model.generate_batch([words], max_length=NEW, min_length=NEW, sampling_topk=1, include_prompt_in_result=False)

    return write, sum(one.stat().st_size for one in place.iterdir())


def main(arm: str, folder: Path, threads: int) -> None:
    if arm == "make":
        make(folder)
        return
    engine, _, kind = arm.partition("-")
    opened = {"own": lambda: own(folder, threads, kind), "genai": lambda: genai(folder, threads), "ct2": lambda: ct2(folder, threads),
              "hf": lambda: hf(folder, threads, {"fp32": "float32", "bf16": "bfloat16"}[kind])}[engine]
    write, size = opened()
    write()
    spent = []
    for _ in range(REPEATS):
        began, cpu = time.perf_counter(), time.process_time()
        write()
        spent.append((time.perf_counter() - began, time.process_time() - cpu))
    best, cpu_s = min(spent)
    print(json.dumps({"tokens_per_s": NEW / best, "cpu_ms_per_token": 1000 * cpu_s / NEW, "size_mb": size / 2**20}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
