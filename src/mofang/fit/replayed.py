"""Canonical requests at the export: the trained model itself answers them, and its graph must answer alike.

The requests are made up by the task, never rows that were trained on; with the model's own answers they travel in the graph,
so that every engine and precision at packaging is held against training and not against another engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson

from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.engine.agreement import borders_of
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record, load_encoder
from mofang.engine.measure import compare_outputs
from mofang.engine.outputs import Gathers, by_length, graph_arrays, stacked
from mofang.engine.request import parse_records, request_form
from mofang.engine.runtimes.onnx import OnnxRuntime
from mofang.engine.task import Signature, task_named
from mofang.fit.family import Family

REQUESTS, SEED, AT_ONCE = 1000, 0, 128
PRODUCTS_MAX = 6e11  # weights times tokens: a slow model answers fewer requests, at least 128
ASKED, ANSWERED = "canonical.jsonl", "canonical.safetensors"
BYTES_MAX = 16_000_000  # of answers that are kept
SIGNED = ("task", "inputs", "labels", "features", "decide", "thresholds")

Answers = Callable[[Arrays], Arrays]


def captured_graph(family: Family, weights: Mapping[str, bytes], architecture: Mapping[str, Any],
                   sample: Arrays) -> tuple[bytes, Answers | None, float]:
    """The graph of a trained model, what answers arrays as the model itself does (None where only its graph can), and how many
    weights a token is multiplied with."""
    from mofang.fit.networks.graph import capturing

    with capturing() as found:
        graph = family.graph(weights, architecture, sample)
    if len(found) != 1 or set(found[0].sample) != set(sample):
        own = family.answers(weights, architecture, sample)
        return graph, own, sum(one.weights for one in found)
    return graph, found[0].answers, found[0].weights


def signature_of(about: Mapping[str, Any]) -> Signature:
    """What a model takes and gives, out of its about.json."""
    return cast(Signature, {name: about[name] for name in SIGNED if name in about})


def check_canonical(run: Run, about: Mapping[str, Any], encoder: Mapping[str, bytes], graph: Path, answers: Answers | None,
                    weights: float, most: float) -> dict[str, Any]:
    """Ask the trained model and its graph the canonical requests; how far they are apart. Raises ``export-differs``.

    A model that has no other form than its graph is asked node by node, as it was exported.
    """
    loaded = load_encoder(about["encoder"], encoder)
    records = task_named(about["task"]).canonical(signature_of(about), loaded, REQUESTS, SEED)
    source = "the trained model"
    if answers is None:
        answers, source = OnnxRuntime(graph, 0, optimise=False).run, "graph as exported"
    engine, given, found, left = OnnxRuntime(graph, 0), list[Arrays](), list[Arrays](), PRODUCTS_MAX
    with run.progress("Asking canonical requests", "核对标准请求", total=len(records)) as bar:
        for begin in range(0, len(records), AT_ONCE):
            if begin and left <= 0:
                records = records[:begin]
                break
            arrays = loaded.encode(_operated(about.get("operators") or [], records[begin:begin + AT_ONCE]))
            for into, ask in ((given, answers), (found, engine.run)):
                made = by_length(ask, graph_arrays(arrays))
                into.append(loaded.gather(arrays, made) if isinstance(loaded, Gathers) else made)
            left -= weights * float(arrays["attention_mask"].sum() if "attention_mask" in arrays else len(records))
            bar.advance(AT_ONCE)
    wanted = stacked(given)
    parity = compare_outputs(stacked(found), wanted, most, borders_of(about))
    if not parity.passes:
        raise MofangError("export-differs", difference=f"{parity.max_abs_difference:.2g}", limit=most)
    if sum(array.nbytes for array in wanted.values()) <= BYTES_MAX:
        from safetensors.numpy import save

        run.write_bytes(ASKED, b"".join(orjson.dumps(request_form(record)) + b"\n" for record in records))
        run.write_bytes(ANSWERED, save({name: np.ascontiguousarray(array) for name, array in wanted.items()}))
    return {"requests": len(records), "reference": source, "max_abs_difference": parity.max_abs_difference,
            "label_agreement": parity.label_agreement}


def _operated(operators: Sequence[dict[str, Any]], records: Sequence[Record]) -> Sequence[Record]:
    if not operators:
        return records
    from mofang.data.operators import apply_operators

    return apply_operators(operators, records)


def read_canonical(asked: bytes, answered: bytes, signature: Signature) -> tuple[list[Record], Arrays]:
    """The requests that a graph carries, and the trained model's answers to them."""
    from safetensors.numpy import load

    records = [parse_records(signature, orjson.loads(line))[0][0] for line in asked.splitlines()]
    return records, load(answered)
