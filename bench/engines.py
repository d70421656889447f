"""Engines alone, no HTTP: one encoder of 6 x 384 (64 tokens), every engine and precision that packaging offers, beside torch.

    python bench/engines.py [batch1 batch8 batch32 alone] [--rounds 7] [--seconds 0.5]

The engines take turns in every round, so that what disturbs one disturbs all; the median over the rounds and the lower and
upper quartile are written to bench/results/engines.json, round by round, and a run that was cut off goes on; the table goes to
bench/results/engines.md. ``alone`` is what a server is held against: records a second with so many calls at a time, so many
threads each and so many records a call, as packaging tries them. int8 is calibrated on random ids: its speed is real, its
quality is not looked at here (packaging does, on the test part).
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))
RESULT, TABLE = HERE / "results" / "engines.json", HERE / "results" / "engines.md"
WORK = HERE.parent / ".peers" / "engines-2"
CONFIG = {"model_type": "bert", "vocab_size": 21128, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
          "intermediate_size": 1536, "max_position_embeddings": 128, "hidden_dropout_prob": 0.0,
          "attention_probs_dropout_prob": 0.0, "pad_token_id": 0}
TOKENS, LABELS = 64, 4
BATCHES = {"batch1": 1, "batch8": 8, "batch32": 32}
ALONE = "alone"
SERVED = (("onnx", "int8"), ("openvino", "bf16"), ("openvino", "int8"))
Run = Callable[[dict[str, Any]], Any]


def arrays(rows: int, seed: int) -> dict[str, Any]:
    """Ids int64 [rows, 64], nothing padded."""
    ids = np.random.default_rng(seed).integers(5, 21000, (rows, TOKENS)).astype(np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def prepare() -> Any:
    """The network, its graph and the int8 forms in .peers/engines-2; made once."""
    import torch

    from mofang.fit.networks.graph import network_graph
    from mofang.fit.networks.transformer import from_config
    from mofang.serve.quantise import _calibrated, _dynamic

    torch.manual_seed(0)
    network = from_config(CONFIG, LABELS, 0.0).eval()
    WORK.mkdir(parents=True, exist_ok=True)
    graph = WORK / "model.onnx"
    if not graph.exists():
        graph.write_bytes(network_graph(network, arrays(4, 0)))
    for name, make in (("model.int8.onnx", _calibrated), ("model.dynamic.onnx", _dynamic)):
        if not (WORK / name).exists() and (reason := make(graph, WORK / name, [arrays(1, seed) for seed in range(32)])):
            sys.stderr.write(f"{name}: {reason}\n")
    return network


def engines(network: Any, threads: int) -> dict[str, Run]:
    """What takes turns: name to a function of the arrays."""
    import torch

    from mofang.core.errors import MofangError
    from mofang.engine.measure import start

    torch.set_num_threads(threads)

    def by_torch(given: dict[str, Any], dtype: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            return network(**{name: torch.from_numpy(one) for name, one in given.items()}).float().numpy()

    found: dict[str, Run] = {"torch fp32": lambda given: by_torch(given, torch.float32),
                             "torch bf16": lambda given: by_torch(given, torch.bfloat16)}
    for name, precision in (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8")):
        try:
            found[f"{name} {precision}"] = start(name, WORK, {}, threads, precision).run
        except MofangError as error:
            sys.stderr.write(f"{name} {precision}: {error.what}\n")
    return found


def one_round(runs: dict[str, Run], given: dict[str, Any], seconds: float) -> dict[str, dict[str, float]]:
    """Each engine once: milliseconds of wall clock and of CPU for a record."""
    rows, found = len(given["input_ids"]), {}
    for name, run in runs.items():
        run(given)
        calls, began, cpu = 0, time.perf_counter(), time.process_time()
        while calls < 2 or time.perf_counter() - began < seconds:
            run(given)
            calls += 1
        found[name] = {"wall_ms": (time.perf_counter() - began) / calls / rows * 1e3,
                       "cpu_ms": (time.process_time() - cpu) / calls / rows * 1e3}
    return found


def alone(seconds: float) -> dict[str, dict[str, float]]:
    """By "engine precision, S x T x B" (calls at a time, threads of each, records a call) the records a second."""
    from mofang.core.errors import MofangError
    from mofang.engine.machine import cores
    from mofang.engine.measure import layouts, start

    found: dict[str, dict[str, float]] = {}
    for name, precision in SERVED:
        for threads, streams in layouts(cores()):
            try:
                runtime = start(name, WORK, {}, threads, precision, streams)
            except MofangError as error:
                sys.stderr.write(f"{name} {precision}: {error.what}\n")
                break
            for rows in BATCHES.values():
                wall, cpu, count = _together(runtime.run, arrays(rows, 1), streams, seconds)
                found[f"{name} {precision}, {streams} x {threads} x {rows}"] = {
                    "wall_ms": wall / count / rows * 1e3, "cpu_ms": cpu / count / rows * 1e3}
    return found


def _together(run: Run, given: dict[str, Any], streams: int, seconds: float) -> tuple[float, float, int]:
    """Seconds of wall clock and of CPU, and calls, of so many threads that call at the same time."""
    ready, counts = threading.Barrier(streams + 1), [0] * streams
    until = [0.0]

    def work(place: int) -> None:
        run(given)
        ready.wait()
        while counts[place] < 2 or time.perf_counter() < until[0]:
            run(given)
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(streams)]
    for one in threads:
        one.start()
    until[0] = time.perf_counter() + 3600
    ready.wait()
    began, cpu = time.perf_counter(), time.process_time()
    until[0] = began + seconds
    for one in threads:
        one.join()
    return time.perf_counter() - began, time.process_time() - cpu, sum(counts)


def table(kept: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["# Engines alone", "", "BERT 6 x 384, 64 tokens, no HTTP; `make bench-engines`. Median of the rounds [quartiles].", "",
             f"Machine: {json.dumps(kept['machine'])}, threads {kept['threads']}."]
    for part, rounds in kept["rounds"].items():
        base = "torch fp32" if part != ALONE else ""
        lines += ["", f"## {part} ({len(rounds)} rounds)", "",
                  f"| engine | ms a record | records a second | CPU ms a record |{' x torch fp32 |' if base else ''}",
                  f"| --- | --- | --- | --- |{' --- |' if base else ''}"]
        medians = {name: float(np.median([one[name]["wall_ms"] for one in rounds])) for name in rounds[0]}
        for name, middle in medians.items():
            low, high = np.percentile([one[name]["wall_ms"] for one in rounds], (25, 75))
            cpu = float(np.median([one[name]["cpu_ms"] for one in rounds]))
            beside = f" {medians[base] / middle:.2f} |" if base else ""
            lines.append(f"| {name} | {middle:.2f} [{low:.2f}, {high:.2f}] | {1e3 / middle:.0f} | {cpu:.2f} |{beside}")
        if not base:
            best = min(medians, key=lambda name: medians[name])
            lines += ["", f"The engine alone: {1e3 / medians[best]:.0f} records a second ({best})."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing, then print the table."""
    from mofang.engine.machine import machine_facts

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"which: {', '.join([*BATCHES, ALONE])} (left out: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=machine_facts()["cores"])
    parser.add_argument("--quick", action="store_true", help="one short round")
    asked = parser.parse_args()
    if odd := sorted(set(asked.parts) - {*BATCHES, ALONE}):
        parser.error(f"unknown part {odd[0]}: there are {', '.join([*BATCHES, ALONE])}")
    rounds, seconds = (1, 0.05) if asked.quick else (asked.rounds, asked.seconds)
    kept = json.loads(RESULT.read_bytes()) if RESULT.exists() else {}
    if kept.get("machine") != machine_facts() or kept.get("threads") != asked.threads:
        kept = {"machine": machine_facts(), "threads": asked.threads, "rounds": {}}
    network = prepare()
    runs = engines(network, asked.threads)
    for part in asked.parts or [*BATCHES, ALONE]:
        done = kept["rounds"].setdefault(part, [])
        while len(done) < rounds:
            done.append(alone(seconds) if part == ALONE else one_round(runs, arrays(BATCHES[part], 1), seconds))
            RESULT.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    said = table(kept)
    TABLE.write_text(said, encoding="utf-8")
    sys.stdout.write(said)


if __name__ == "__main__":
    main()
