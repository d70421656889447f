"""Each step of cleaning alone, in one process, beside one orjson pass; and MinHash alone, in two.

    python bench/_clean_steps.py steps FOLDER | minhash FOLDER

FOLDER holds JSON lines. The last line printed is JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson

CHARS = 2_000_000


def texts_of(folder: str) -> Iterator[list[str]]:
    """The texts of a folder, some megabytes at a time."""
    for path in sorted(Path(folder).glob("*.jsonl")):
        found, size = [], 0
        for line in path.open("rb"):
            text = orjson.loads(line)["text"]
            found.append(text)
            size += len(text)
            if size > CHARS:
                yield found
                found, size = [], 0
        yield found


def steps(folder: str) -> dict[str, Any]:
    """Megabytes of source a second of each step; later steps see fewer bytes than the source has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mofang.data.cleaning.near import minima_of
    from mofang.data.cleaning.text import facts, html
    from mofang.data.cleaning.text.lid import language_model
    from mofang.data.operators.normalise import paragraphs
    from mofang.data.protecting.find import find_all

    took: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = work()
        took[name] = took.get(name, 0.0) + time.perf_counter() - began
        return found

    size = 0
    for path in sorted(Path(folder).glob("*.jsonl")):
        data = timed("read", path.read_bytes)
        size += len(data)
        timed("orjson", lambda lines=data.splitlines(): [orjson.loads(line) for line in lines])
    for texts in texts_of(folder):
        words = timed("html", lambda batch=texts: [html.to_text(text) for text in batch])
        lines = timed("unicode and paragraphs", lambda batch=words: [paragraphs(text) for text in batch])
        timed("personal data, all kinds", lambda batch=lines: find_all(batch))
        counted = timed("tokens, facts, shingles", lambda batch=lines: facts.text_facts(batch, identify="", shingles=True))
        timed("language, first 1,000 characters", lambda batch=lines: language_model().identify([text[:1000] for text in batch]))
        timed("language, full text", lambda batch=lines: language_model().identify(batch))
        timed("MinHash of shingles", lambda one=counted: minima_of(one.shingle_hashes, one.shingle_offsets.astype(np.uint64)))
        with tempfile.NamedTemporaryFile() as file:
            timed("Parquet", lambda batch=lines, place=file.name: pq.write_table(pa.table({"text": batch}), place, compression="zstd"))
    return {"megabytes": size / 1e6, "mb_per_s": {name: round(size / 1e6 / seconds, 1) for name, seconds in took.items()}}


def signed(path: str) -> tuple[Any, Any, list[str]]:
    """Sizes, minima and ids of one file."""
    from mofang.data.cleaning.near import Signer
    from mofang.data.cleaning.text.facts import text_facts

    sizes, minima, ids = [], [], []
    batch: list[str] = []
    rows = [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]
    for place, row in enumerate(rows):
        batch.append(row["text"])
        ids.append(str(row["id"]))
        if sum(map(len, batch)) > CHARS or place + 1 == len(rows):
            facts = text_facts(batch, identify="", shingles=True)
            some = Signer(True).signed(batch, (facts.shingle_hashes, facts.shingle_offsets.astype(np.uint64)))
            sizes.append(some[0])
            minima.append(some[1])
            batch = []
    return np.concatenate(sizes), np.concatenate(minima), ids


def minhash(folder: str) -> dict[str, Any]:
    """Clean text to the ids that stay, in two processes: tokens, shingles, signatures, bands, pairs."""
    from mofang.data.cleaning.duplicates import KEEP, SIGNATURE, Decisions, keep_first
    from mofang.data.cleaning.near import NearCopies

    began = time.monotonic()
    paths = sorted(str(path) for path in Path(folder).glob("*.jsonl"))
    with tempfile.TemporaryDirectory() as scratch, get_context("spawn").Pool(2) as pool:
        near = NearCopies(Path(scratch) / "near", 0.8, words=True)
        ids: list[str] = []
        for sizes, minima, some in pool.imap(signed, paths):
            near.add(sizes, minima)
            ids += some
        table = np.zeros(len(ids), SIGNATURE)
        table["id"][:, 1] = np.arange(len(ids))
        decisions = Decisions(Path(scratch) / "decisions", len(ids))
        keep_first(near.pairs(table, decisions, lambda _: iter(())), table, decisions)
        kept = [one for one, code in zip(ids, decisions.codes.tolist(), strict=True) if code == KEEP]
    return {"seconds": round(time.monotonic() - began, 3), "kept": len(kept), "ids": kept}


if __name__ == "__main__":
    print(json.dumps({"steps": steps, "minhash": minhash}[sys.argv[1]](sys.argv[2])))
