"""The encoder of the serving bench: 6 layers of 384, 64 tokens, 4 labels, random weights; every arm serves these very weights.

python bench/_encoder_model.py make FOLDER: writes it as safetensors and as ONNX graphs (fp32, int8 by two ways).
python bench/_encoder_model.py alone FOLDER ENGINE PRECISION SECONDS: the engine alone, no HTTP; prints its best arrangement.
python bench/_encoder_model.py serve FOLDER ENGINE PRECISION SHOP PORT: our own server over it, with keys and the durable meter.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

LABELS = ["a", "b", "c", "d"]
TOKENS = 64
TEXT = "这家酒店的服务很好房间也很干净下次还会来位置离地铁站不远早餐的种类不多但是味道不错前台的工作人员很热情帮我们"
ARRANGEMENTS = ((1, 2, 1), (1, 2, 8), (1, 2, 32), (2, 1, 1), (2, 1, 4), (2, 1, 16))  # streams, threads each, batch
SOONEST = (1, 2, 8)  # for the objective `latency`: both threads on whatever is there
ABOUT = {"task": "text_classification", "labels": LABELS, "inputs": [{"name": "text", "role": "text"}]}


def make(folder: Path) -> None:
    """The folder with config.json, model.safetensors, tokenizer.json and the graphs."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    from mofang.core.shop import Shop
    from mofang.engine.encode.tokens import TokenEncoder
    from mofang.fit.adopt import adopt
    from mofang.serve.quantise import _calibrated, _dynamic

    if (folder / "model.int8.onnx").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(
        vocab_size=21128, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=128, num_labels=len(LABELS))).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(TEXT))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    graph = Shop.open(folder / "shop").run(adopt, source=str(folder), licence="CC0-1.0", origin="random", labels=tuple(LABELS),
                                           max_length=TOKENS)
    (folder / "model.onnx").write_bytes(graph.path("model.onnx").read_bytes())
    encoder = TokenEncoder.wrap((folder / "tokenizer.json").read_text(), max_length=TOKENS)
    arrays = [encoder.encode([{"text": TEXT[place:] + TEXT[:place]}]) for place in range(32)]
    for write, name in ((_calibrated, "model.int8.onnx"), (_dynamic, "model.dynamic.onnx")):
        reason = write(folder / "model.onnx", folder / name, arrays)
        assert not reason, f"{name}: {reason}"


class Encoder:
    """Parses, encodes, runs and answers as a packaged model does."""

    def __init__(self, folder: Path, engine: str, precision: str, streams: int, threads: int) -> None:
        from mofang.engine.encode.tokens import TokenEncoder
        from mofang.engine.measure import start
        from mofang.engine.task import task_named

        self.task = task_named("text_classification")
        self.signature: Any = ABOUT
        self.encoder = TokenEncoder.wrap((folder / "tokenizer.json").read_text(), max_length=TOKENS)
        self.runtime = start(engine, folder, ABOUT, threads, precision, streams)

    def parse(self, body: object) -> tuple[list[dict[str, Any]], bool]:
        return self.task.parse(self.signature, body)

    def units(self, records: Sequence[dict[str, Any]]) -> int:
        return sum(self.task.units(record) for record in records)

    def encode(self, records: Sequence[dict[str, Any]]) -> Any:
        return self.encoder.encode(records)

    def predict(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.task.answer(self.signature, self.runtime.run(self.encoder.encode(records)), records)


def pace(model: Encoder, streams: int, batch: int, seconds: float) -> float:
    """Records a second with every stream at work all the time."""
    records, done, stop = [{"text": TEXT}] * batch, [0] * streams, threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            model.predict(records)
            done[number] += batch

    model.predict(records)
    threads = [threading.Thread(target=partial(work, number)) for number in range(streams)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def alone(folder: Path, engine: str, precision: str, seconds: float) -> dict[str, Any]:
    """The fastest arrangement of an engine, kept beside the model once it was found, and its records a second now."""
    kept = folder / f"{engine}-{precision}.json"
    if not kept.exists():
        found = [(pace(Encoder(folder, engine, precision, streams, threads), streams, batch, seconds / 2), streams, threads, batch)
                 for streams, threads, batch in ARRANGEMENTS]
        kept.write_text(json.dumps(max(found)[1:]))
    streams, threads, batch = json.loads(kept.read_text())
    rate = pace(Encoder(folder, engine, precision, streams, threads), streams, batch, seconds)
    return {"rps": rate, "streams": streams, "threads": threads, "batch": batch}


def serve(folder: Path, engine: str, precision: str, place: Path, port: int) -> None:
    """Our server, arranged as ``alone`` found best; ``ENGINE:latency`` as one answer at a time comes soonest."""
    from bench._noop_server import USUAL, stock

    from mofang.serve.batching import Batcher
    from mofang.trade.request.desk import Desk
    from mofang.trade.request.directory import Directory
    from mofang.trade.request.meter import Meter
    from mofang.trade.request.model import Served
    from mofang.web.server import run_server

    shop = stock(place, USUAL)
    engine, _, objective = engine.partition(":")
    best = SOONEST if objective == "latency" else json.loads((folder / f"{engine}-{precision}.json").read_text())
    streams, threads, batch = best
    model = Encoder(folder, engine, precision, streams, threads)
    model.predict([{"text": TEXT}] * batch)
    served = Served("noop@1", "run_encoder", model, Batcher(model.predict, streams=streams, batch_max=batch))
    again = shop.journals.db.again
    desk = Desk(Directory(again(), shop.secret("keys")), Meter(again()), [served], again())
    run_server(desk, "127.0.0.1", port, ready=lambda address: print(address, flush=True), folder=shop.path / "scratch")


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "make":
        make(where)
    elif what == "alone":
        print(json.dumps(alone(where, sys.argv[3], sys.argv[4], float(sys.argv[5]))))
    else:
        serve(where, sys.argv[3], sys.argv[4], Path(sys.argv[5]), int(sys.argv[6]))
