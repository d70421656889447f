"""Package a generator: its decoder in every precision, measured on this machine, and how much of its words each loses.

A precision passes that loses at most 1 % in bits per byte of the validation answers; float32 must give training's own logits step
by step. The package holds the one that the objective chose. Rows of records are read here and never written down.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from mofang.core.ancestry import cut
from mofang.core.artifact import Artifact
from mofang.core.canonical import file_digest
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.data.collecting.provenance import united
from mofang.engine.arrays import Array
from mofang.engine.generation.graph import PRECISIONS, decoder_graph
from mofang.engine.generation.opened import (
    DECODER,
    REPLAYED,
    TOLERANCES,
    canonical_lines,
    forced_logits,
    prompt_of,
    slots_for,
)
from mofang.engine.generation.rows import Rows
from mofang.engine.generation.runtime import FILE, Decoder
from mofang.engine.generation.shape import DecoderShape, shape_of
from mofang.engine.machine import machine_facts
from mofang.engine.measure import Row, cores
from mofang.engine.predictor import PACKAGE_FORMAT, Package
from mofang.engine.task import task_named
from mofang.fit.export import Graph
from mofang.judge.evaluate import Evaluation
from mofang.serve.card import model_card
from mofang.serve.contents import EVIDENCE, Contents, figures_of, model_behind, take_weights
from mofang.serve.package import CARRIED, NOT_EVALUATED, Settings
from mofang.serve.parity import check_lineage, check_tokens, gate, snapshots_behind, sources_said

if TYPE_CHECKING:
    from mofang.fit.generation.opened import Opened
    from mofang.fit.generation.packing import Conversations

ENGINE = "onnx-decoder"
DIFFERENCE_MAX = 1e-3     # of float32 logits, against the largest of them
LADDER = ("fp32", "int8", "int4", "int4-head8")
READ_TOKENS = 20_000      # of validation answers, and of training rows that roundings are fitted to
ANSWER_TOKENS = 24        # of a canonical answer
SEEN_WIDTH_MAX = 4096     # of a matrix whose rounding looks at what flows in
RESAMPLES = 500
WRITTEN = 16              # canonical requests that the network answers itself, greedily; to the others a made-up answer is given
FORCED_S, COLUMNS_MAX = 15.0, 256  # seconds for the network's own logits; of them as many columns, and the likeliest token
ANSWERED_MAX = 64         # canonical requests that the package answers, each token by token


class Source:
    """A trained generator with what its packages are measured against."""

    def __init__(self, opened: Opened, shop: Shop, entry: str) -> None:
        self.opened = opened
        self.shape = shape_of(opened.about["architecture"]["config"])
        self.context = opened.context
        self.weights = {name.removeprefix("body."): value.numpy() for name, value in opened.network.state_dict().items()}
        self.rotations = _rotations(opened, self.shape)
        snapshots = snapshots_behind(shop, entry)
        self.validation = _rows(opened, snapshots, "validation")
        self.training = _rows(opened, snapshots, "train")

    def seen(self) -> dict[str, Array]:
        """For each matrix that is not too wide the sum of x xᵀ over training rows; empty where there are none."""
        return {} if self.training is None else _seen(self.opened, self.training)

    def prompt(self, record: Any) -> list[int]:
        """A record's token ids."""
        return prompt_of(self.opened.encoder, self.opened.about.get("operators") or [], record)

    def fitting(self, records: Sequence[Any]) -> list[Any]:
        """Records whose prompts leave room for an answer."""
        return [one for one in records if 0 < len(self.prompt(one)) <= self.context * 3 // 4]


def _rotations(opened: Opened, shape: DecoderShape) -> tuple[Array, Array] | None:
    """Cosine and sine as the trained network itself turns, however its positions are scaled."""
    import torch

    turn = getattr(opened.network.body, "rotary_emb", None)
    if turn is None:
        return None
    places = torch.arange(opened.context)[None]
    with torch.inference_mode():
        cosine, sine = turn(torch.zeros(1, opened.context, shape.head_width), places)
    return tuple(one[0, :, : shape.head_width // 2].float().numpy() for one in (cosine, sine))


def _rows(opened: Opened, snapshots: Sequence[Any], part: str) -> Conversations | None:
    """The first conversations of a snapshot's part, about ``READ_TOKENS`` of them; None where no snapshot fits."""
    from mofang.data.records import RecordReader
    from mofang.fit.answers import truth_of
    from mofang.fit.generation.answers import read_conversations
    from mofang.judge.targets import records_of

    for snapshot in snapshots:
        records = snapshot / part
        columns = {one["name"] for one in opened.about["inputs"]} | {opened.about["label"]}
        if not columns <= set(RecordReader(records).roles):
            continue
        _, targets = truth_of(records, opened.about)
        rows = records_of(records, opened.about)
        read = read_conversations(opened.encoder, rows, targets)
        most = int(np.searchsorted(np.cumsum(read.lengths), READ_TOKENS)) + 1
        return read if most >= len(read) else read_conversations(opened.encoder, rows[:most], targets[:most])
    return None


def _seen(opened: Opened, rows: Conversations) -> dict[str, Array]:
    """What flows into each matrix on these rows, by the name of its module."""
    import torch

    from mofang.fit.generation.packing import packed_batch

    found: dict[str, Array] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, given: Any, _made: Any) -> None:
            _add(found, name, given[0])

        return hook

    hooks = [module.register_forward_hook(keep(f"{name.removeprefix('body.')}"))
             for name, module in opened.network.named_modules()
             if getattr(module, "weight", None) is not None and module.weight.ndim == 2 and name.startswith("body.")
             and "emb" not in name and not name.endswith(("wte", "wpe"))]
    with torch.inference_mode():
        for number in range(len(rows)):
            arrays = packed_batch([rows.row(number)])
            _add(found, "head", opened.network.states(arrays["input_ids"], arrays["documents"], arrays["places"]))
    for one in hooks:
        one.remove()
    return found


def _add(found: dict[str, Array], name: str, given: Any) -> None:
    flat = given.reshape(-1, given.shape[-1]).float()
    if flat.shape[1] <= SEEN_WIDTH_MAX:
        more = (flat.t() @ flat).numpy()
        found[name] = found[name] + more if name in found else more


def bits_per_byte(decoder: Decoder, rows: Conversations) -> tuple[Array, Array]:
    """Bits float64 [N] and bytes int64 [N] of the learnt tokens of each conversation."""
    bits = np.zeros(len(rows))
    for number in range(len(rows)):
        ids, learnt = rows.row(number)
        ids, learnt = ids[: decoder.context], learnt[: decoder.context]
        places = np.flatnonzero(learnt[1:])
        logits = decoder.score(ids.tolist())[places].astype(np.float64)
        top = logits.max(axis=1)
        whole = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        bits[number] = float((whole - logits[np.arange(len(places)), ids[1:][places]]).sum()) / math.log(2)
    return bits, np.asarray(rows.letters)


def loss_of(bits: Array, plain: Array) -> tuple[float, float, float]:
    """How much more bits than in float32, relatively, with the 95 % interval of resampled rows."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(bits), np.full(len(bits), 1 / len(bits)), RESAMPLES)
    spread = (weights @ bits) / np.maximum(weights @ plain, 1e-12) - 1
    low, high = np.quantile(spread, [0.025, 0.975])
    return float(bits.sum() / max(float(plain.sum()), 1e-12) - 1), float(low), float(high)


Steps = tuple[Array, Array]  # of each step of an answer some of the logits, float32 [T, C], and the likeliest token, int64 [T]


def reference_logits(opened: Opened, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[Steps]:
    """Training's own logits for each step of an answer, the steps before it given; of a slow network as many as 15 seconds
    suffice for, at least 16."""
    import torch

    found, until_s = list[Steps](), time.monotonic() + FORCED_S
    for prompt, answer in zip(prompts, answers, strict=True):
        if len(found) >= WRITTEN and time.monotonic() > until_s:
            break
        ids = torch.tensor([[*prompt, *answer[:-1]]])
        with torch.inference_mode():
            states = opened.network.states(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None])
            found.append(_told(opened.network.logits(states[0, len(prompt) - 1 :]).float().numpy()))
    return found


def _told(logits: Array) -> Steps:
    return logits[:, :: max(1, logits.shape[1] // COLUMNS_MAX)].copy(), logits.argmax(axis=1)


def _forced(source: Source, records: Sequence[Any]) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts, and the answer whose steps are forced on every form: of the first the network's own, of the others the
    beginning of another prompt."""
    room = source.context - min(ANSWER_TOKENS, source.context // 2)
    prompts = [source.prompt(one)[-room:] for one in records]  # a long one is cut as the writer below cuts it
    end = min(source.opened.encoder.ends, default=0)
    answers = [one.ids or [end] for one in _written(source.opened, prompts[:WRITTEN])]
    answers += [prompts[(number + 1) % len(prompts)][:ANSWER_TOKENS] or [end] for number in range(len(answers), len(prompts))]
    return prompts, [answer[: source.context - len(prompt)] or [end] for prompt, answer in zip(prompts, answers, strict=True)]


def measured(run: Run, source: Source, records: Sequence[Any], folder: Path, wanted_forms: Sequence[str],
             settings: Settings) -> list[Row]:
    """A row for each form, number of threads and of answers at a time; the graphs lie in ``folder`` by form."""
    prompts, answers = _forced(source, records)
    wanted = reference_logits(source.opened, prompts, answers)
    prompts, answers = prompts[: len(wanted)], answers[: len(wanted)]
    rows: list[Row] = []
    plain: Array | None = None
    seen: dict[str, Array] | None = None
    with run.progress("Measuring precisions", "测量各精度", total=len(wanted_forms)) as bar:
        for name in wanted_forms:
            if name == "int4-head8" and any(row["form"] == "int4" and row["passes"] for row in rows):
                bar.advance()
                continue
            if name != "fp32" and seen is None:
                seen = source.seen()
            path = folder / name / FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(decoder_graph(source.shape, source.weights, source.context, name, rotations=source.rotations,
                                           seen=seen))
            facts, bits = _quality(Decoder(path, source.shape, source.context, threads=cores()), source, name, prompts, answers,
                                   wanted, plain, settings.loss_max)
            plain = bits if name == "fp32" else plain
            known = {"precision": PRECISIONS[name].kind, "form": name, **facts, "size_bytes": path.stat().st_size}
            rows += speeds(path, source.shape, source.context, known, settings.seconds)
            bar.advance()
    return rows


def _written(opened: Opened, prompts: list[list[int]]) -> list[Any]:
    from mofang.fit.generation.writer import Manner
    from mofang.fit.generation.writer import write as write_on

    manner = Manner(max_tokens=ANSWER_TOKENS)
    return write_on(opened.network, prompts, manner, opened.encoder.ends, opened.encoder.decode, opened.context)


def _quality(decoder: Decoder, source: Source, name: str, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]],
             wanted: Sequence[Steps], plain: Array | None, loss_max: float) -> tuple[dict[str, Any], Array | None]:
    """What a precision does to logits and words, and whether that passes."""
    found = [_told(forced_logits(decoder, *pair)) for pair in zip(prompts, answers, strict=True)]
    scale = max(1.0, *(float(np.abs(one).max(initial=0.0)) for one, _ in wanted))
    apart = max(float(np.abs(a - b).max(initial=0.0)) for (a, _), (b, _) in zip(found, wanted, strict=True)) / scale
    same = np.concatenate([a == b for (_, a), (_, b) in zip(found, wanted, strict=True)])
    facts: dict[str, Any] = {"requests": len(wanted), "max_abs_difference": apart, "label_agreement": float(same.mean())}
    if source.validation is None:
        return {**facts, "passes": name == "fp32" and apart <= DIFFERENCE_MAX}, None
    bits, letters = bits_per_byte(decoder, source.validation)
    facts["bits_per_byte"] = float(bits.sum() / max(1, int(letters.sum())))
    if plain is None:
        return {**facts, "passes": apart <= DIFFERENCE_MAX}, bits
    loss, low, high = loss_of(bits, plain)
    facts |= {"loss": loss, "loss_low": low, "loss_high": high}
    return {**facts, "passes": loss <= loss_max}, bits


def speeds(path: Path, shape: DecoderShape, context: int, known: dict[str, Any], seconds: float) -> list[Row]:
    """Tokens a second, one answer alone and several together, on one core and on all."""
    rows = []
    for threads in sorted({1, cores()}):
        most = slots_for(shape, context)
        began = time.perf_counter()
        decoder = Decoder(path, shape, context, slots=most, threads=threads)
        load_s = time.perf_counter() - began
        for batch in sorted({1, min(8, most)}):
            spent = _steps(decoder, batch, seconds)
            rows.append({"engine": ENGINE, "threads": threads, "streams": 1, "batch": batch, **known, "load_s": round(load_s, 3),
                         "p50_ms": round(float(np.median(spent)) * 1e3, 4),
                         "samples_per_s": round(batch * len(spent) / sum(spent), 1)})
    return rows


def _steps(decoder: Decoder, batch: int, seconds: float) -> list[float]:
    """Seconds of each step of so many rows, after a short prompt."""
    begin = min(32, decoder.context // 2)
    for slot in range(batch):
        decoder.read(slot, [slot % decoder.shape.vocabulary] * begin, 0)
    spent: list[float] = []
    total, length = 0.0, begin
    while total < seconds or len(spent) < 5:
        began = time.perf_counter()
        decoder.step([1] * batch, [length] * batch)
        spent.append(time.perf_counter() - began)
        total += spent[-1]
        length = length + 1 if length + 1 < decoder.context else begin
    return spent[1:]


def canonical(source: Source, path: Path, records: Sequence[Any]) -> list[dict[str, Any]]:
    """The canonical requests with the chosen decoder's own answers."""
    decoder = Decoder(path, source.shape, source.context, slots=min(4, slots_for(source.shape, source.context)), threads=cores())
    rows = Rows(decoder, source.opened.encoder.ends, source.opened.encoder.decode)
    operators = source.opened.about.get("operators") or []
    return canonical_lines(source.opened.encoder, operators, rows, records, ANSWER_TOKENS)


def pack(run: Run, graph: Graph, evaluation: Evaluation | None, settings: Settings) -> Package:
    """The package of a generator: ``decoder/``, ``encoder/``, canonical requests with greedy answers, card, package.json."""
    from mofang.fit.generation.opened import open_generator

    about = graph.read_json("about.json")
    check_lineage(run.shop, graph.entry, about.get("operators", []))
    if "torch" in settings.formats:
        raise MofangError("format-not-made", format="torch", family=about["family"]["tag"])
    source = Source(open_generator(graph), run.shop, graph.entry)
    model = model_behind(run, graph)
    tokens = check_tokens(source.opened.encoder, model)
    records = _records(source, settings.requests, settings.seed)
    folder = run.scratch / "decoders"
    wanted = [name for name in LADDER if name == "fp32" or PRECISIONS[name].kind in settings.precisions]
    rows = measured(run, source, records, folder, wanted, settings)
    chosen = gate(rows, settings.objective)
    place = run.scratch / DECODER / FILE
    kept(folder, chosen, place)
    contents = Contents(run)
    with run.part(f"{DECODER}/{FILE}") as path:
        shutil.copyfile(place, path)
    contents.files[f"{DECODER}/{FILE}"] = file_digest(place)
    for part in graph.parts:
        if part.name.startswith("encoder/"):
            contents.copy(part.name, graph, part.name)
    formats = ["onnx"]
    if "safetensors" in settings.formats and take_weights(contents, graph, model):
        formats.append("safetensors")
    report = evaluation.read_json("evaluation.json") if evaluation else {}
    if report:
        contents.write_json(EVIDENCE, report)
    lines = canonical(source, place, records[:ANSWERED_MAX])
    contents.write("canonical.jsonl", b"".join(orjson.dumps(line) + b"\n" for line in lines))
    told = _about(run.shop, graph, evaluation, about, settings) | {
        "formats": formats, DECODER: described(source, chosen), "engine": chosen, "engines": rows,
        "evaluation": figures_of(report) if report else NOT_EVALUATED,
        "parity": {"requests": chosen["requests"], "carried": len(lines), "replayed": min(REPLAYED, len(lines)), "tokens": tokens,
                   "tolerance": TOLERANCES[chosen["form"]], "reference": "the trained network", "export": about.get("parity")},
    }
    contents.write("card.md", model_card(told).encode())
    run.write_json("package.json", {**told, "files": contents.files})
    shown = ("engine", "precision", "threads", "streams", "batch", "p50_ms", "samples_per_s")
    run.measure(**{name: chosen[name] for name in shown}, engines=rows)
    return run.result(Package)


def _about(shop: Shop, graph: Graph, evaluation: Evaluation | None, about: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What package.json says besides the decoder."""
    given: list[Artifact] = [one for one in (graph, evaluation) if one is not None]
    return {
        "format": PACKAGE_FORMAT, **{name: about[name] for name in CARRIED if name in about},
        "graphs": {DECODER: [FILE]}, "quality": {}, "not_made": {}, "objective": settings.objective,
        "machine": machine_facts(),
        "licences": sorted({name for one in given for name in one.licences} | set(about.get("licences", []))),
        "sources": cut(united(map(sources_said, snapshots_behind(shop, graph.entry)))),
        "lineage": {"graph": graph.reference()} | ({"evaluation": evaluation.reference()} if evaluation else {}),
    }


def _records(source: Source, count: int, seed: int) -> list[Any]:
    """Made-up prompts that leave room for an answer."""
    about = source.opened.about
    signature: Any = {name: about[name] for name in ("task", "inputs", "labels")}
    drawn = task_named(about["task"]).canonical(signature, source.opened.encoder, 2 * count, seed)
    records = source.fitting(drawn)[:count] or source.fitting([dict.fromkeys(source.opened.encoder.columns, "a")])
    if not records:
        raise MofangError("generator-context", context=source.context)
    return records


def described(source: Source, chosen: Row) -> dict[str, Any]:
    """What the package says of its decoder."""
    return {"shape": asdict(source.shape), "context": source.context, "precision": chosen["form"],
            "slots": slots_for(source.shape, source.context)}


def kept(folder: Path, chosen: Row, target: Path) -> None:
    """The chosen graph at its place; the others go."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / str(chosen["form"]) / FILE, target)
    shutil.rmtree(folder)

