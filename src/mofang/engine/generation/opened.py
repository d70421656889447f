"""A packaged generator, opened without torch: prompts in, texts out, by the template, tokenizer and weights of training."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays, arrays_digest
from mofang.engine.encode import Record, load_encoder
from mofang.engine.encode.chat import ChatEncoder
from mofang.engine.encode.template import Message
from mofang.engine.generation.rows import Row, Rows
from mofang.engine.generation.runtime import FILE, Decoder
from mofang.engine.generation.sampling import Sampling, tell
from mofang.engine.generation.shape import DecoderShape
from mofang.engine.machine import same_machine
from mofang.engine.measure import cores
from mofang.engine.predictor import check_operators, package_about, package_files
from mofang.engine.task import Answer, Signature, task_named

TASK = "text_generation"
DECODER = "decoder"
SLOTS_MAX, CACHE_BYTES = 16, 2**30  # rows at the same time, and what their caches may take together
TOLERANCES = {"fp32": 1e-3, "int8": 0.1, "int4": 0.1, "int4-head8": 0.1}  # of a token's log-probability, engine to engine
REPLAYED = 16

Line = dict[str, Any]


class Generator:
    """Opens a package of text generation (a folder or an artifact).

    Every file is checked against its digest, and 16 canonical requests are replayed (all of them on a machine of another kind):
    the same token ids for the same words, and
    under the answers that were written down, token by token, the same log-probabilities. One thread may use it at a time.
    """

    packaged = True

    def __init__(self, source: str | Path | Artifact, *, threads: int = 0, slots: int = 0) -> None:
        """``threads`` and ``slots`` stand in for what packaging measured."""
        began = time.perf_counter()
        files = package_files(source)
        self.about: dict[str, Any] = package_about(source, files, packaged=True)
        if self.about["task"] != TASK or DECODER not in self.about:
            raise MofangError("package-unreadable", path=str(source), reason="it holds no decoder")
        self.task = task_named(TASK)
        self.signature: Signature = {"task": TASK, "inputs": self.about["inputs"], "labels": self.about["labels"]}
        self.operators: list[dict[str, Any]] = list(self.about.get("operators", []))
        check_operators(self.operators)
        state = {name.removeprefix("encoder/"): path.read_bytes() for name, path in files.items() if name.startswith("encoder/")}
        encoder = load_encoder(self.about["encoder"], state)
        assert isinstance(encoder, ChatEncoder)
        self.encoder = encoder
        described, chosen = self.about[DECODER], self.about["engine"]
        shape = DecoderShape(**{**described["shape"], "scales": tuple(described["shape"]["scales"])})
        self.context, self.precision = int(described["context"]), str(described["precision"])
        threads = threads or min(int(chosen["threads"]), cores())
        slots = slots or slots_for(shape, self.context)
        self.engine = {"engine": chosen["engine"], "threads": threads, "batch": slots, "streams": 1, "precision": self.precision}
        self.decoder = Decoder(files[f"{DECODER}/{FILE}"], shape, self.context, slots=slots, threads=threads)
        self.measured_here = same_machine(self.about.get("machine", {}))
        lines = files["canonical.jsonl"].read_bytes().splitlines()[: REPLAYED if self.measured_here else None]
        replay([json.loads(line) for line in lines], self, TOLERANCES[self.precision])
        self.labels: list[str] = []
        self._alone = threading.Lock()
        self.load_seconds = time.perf_counter() - began

    def parse(self, body: object) -> tuple[list[Record], bool]:
        """The records of a decoded body, and whether it held many. Raises MofangError (4xx)."""
        return self.task.parse(self.signature, body)

    def units(self, records: Sequence[Record]) -> int:
        """Tokens of these prompts."""
        return sum(len(self.prompt(one)) for one in records)

    def prompt(self, record: Record) -> list[int]:
        """A record's token ids, as training saw them: through the operators, then the template."""
        return prompt_of(self.encoder, self.operators, record)

    def conversation(self, messages: Sequence[Message]) -> Record:
        """Messages as the record that asks for the next one."""
        return {self.encoder.columns[0]: json.dumps(list(messages), ensure_ascii=False)}

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"input_ids": int64 [B, L], "attention_mask": int64 [B, L]}, cut to the context."""
        from mofang.engine.encode.chat import padded

        return padded([self.prompt(one)[-self.context :] for one in records], self.encoder.padding_id)

    def rows(self) -> Rows:
        """A place where answers are written; one at a time may use the decoder."""
        return Rows(self.decoder, self.encoder.ends, self.encoder.decode)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """One answer per record, greedily, of at most 128 tokens."""
        return [{"text": one} for one in self.write([self.prompt(record) for record in records], Sampling())]

    def write(self, prompts: Sequence[Sequence[int]], sampling: Sampling, tick: Callable[[], None] = lambda: None) -> list[str]:
        """The texts that follow token ids, some at a time; each by the same chance as alone. Callers take turns."""
        with self._alone:
            return [text for text, _ in write(self.rows(), prompts, sampling, tick)]


def slots_for(shape: DecoderShape, context: int) -> int:
    """How many rows may be in the cache at a time."""
    return max(1, min(SLOTS_MAX, CACHE_BYTES // shape.cache_bytes(context)))


def prompt_of(encoder: ChatEncoder, operators: Sequence[Mapping[str, Any]], record: Record) -> list[int]:
    """The token ids of a record: its values as the operators change them, in the template."""
    if operators:
        from mofang.data.operators import apply_operators

        record = apply_operators(operators, [record])[0]
    return encoder.prompts([record])[0]


def write(rows: Rows, prompts: Sequence[Sequence[int]], sampling: Sampling,
          tick: Callable[[], None] = lambda: None) -> list[tuple[str, list[int]]]:
    """What follows each prompt: text and ids."""
    texts: dict[int, str] = {}
    wanted = [rows.row(one, sampling, number) for number, one in enumerate(prompts)]
    waiting: list[Row] = wanted[::-1]
    while waiting or len(rows):
        while waiting and rows.takes:
            rows.join(waiting.pop())
        for row, piece in rows.step():
            texts[row.owner] = texts.get(row.owner, "") + piece.text
            if piece.finish:
                tick()
    return [(texts.get(number, ""), row.ids) for number, row in enumerate(wanted)]


def canonical_lines(encoder: ChatEncoder, operators: Sequence[Mapping[str, Any]], rows: Rows, records: Sequence[Record],
                    tokens: int) -> list[Line]:
    """Made-up requests with what the packaged decoder answers greedily: token ids of the prompt (their digest), and the answer's
    ids with their log-probabilities."""
    prompts = [prompt_of(encoder, operators, one) for one in records]
    written = write(rows, prompts, Sampling(max_tokens=tokens))
    return [{"request": dict(record), "arrays": ids_digest(prompt), "ids": ids, "answer": {"text": text},
             "logprobs": [round(one, 5) for one in forced(rows.decoder, prompt, ids)]}
            for record, prompt, (text, ids) in zip(records, prompts, written, strict=True)]


def forced(decoder: Decoder, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    """Log-probability of each token of an answer, the tokens before it given."""
    logits = forced_logits(decoder, prompt, ids) if ids else ()
    return [tell(row, token, 0).logprob for row, token in zip(logits, ids, strict=True)]


def forced_logits(decoder: Decoder, prompt: Sequence[int], ids: Sequence[int]) -> Array:
    """Logits float32 [T, V] of each step of an answer, the steps before it given."""
    return decoder.score([*prompt, *ids[:-1]])[len(prompt) - 1 :]


def replay(lines: Sequence[Line], generator: Generator, tolerance: float) -> None:
    """Ask the canonical requests again; raises ``parity-mismatch`` with the first that differs."""
    for number, line in enumerate(lines, 1):
        records, _ = generator.parse(line["request"])
        prompt = generator.prompt(records[0])
        if (found := ids_digest(prompt)) != line["arrays"]:
            raise MofangError("parity-mismatch", where=f"canonical request {number}", what="token ids", found=found[:12],
                              allowed=line["arrays"][:12])
        told = np.array(forced(generator.decoder, prompt, line["ids"]))
        apart = float(np.abs(told - np.array(line["logprobs"])).max(initial=0.0))
        if not apart <= tolerance:
            raise MofangError("parity-mismatch", where=f"canonical request {number}", what="log-probabilities",
                              found=f"{apart:.2g}", allowed=f"{tolerance:g}")
        text = generator.encoder.decode(line["ids"])
        if text != line["answer"]["text"]:
            raise MofangError("parity-mismatch", where=f"canonical request {number}", what="text", found=text[:60],
                              allowed=line["answer"]["text"][:60])


def ids_digest(ids: Sequence[int]) -> str:
    """The digest of token ids."""
    return arrays_digest({"input_ids": np.array([ids], np.int64)})
