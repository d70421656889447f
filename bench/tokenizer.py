"""Learning a vocabulary and encoding with it, beside tokenizers, tiktoken and rustbpe, on documentation.

    python bench/_corpus.py FOLDER; make bench-tokenizer ARGS='--corpus FOLDER/corpus'

50 MB of text, a byte-pair vocabulary of 32,000 (peers: GPT-4's split rule), as many threads as there are cores. The arms are
run in turn, several rounds, so that a busy moment of the machine meets them all; medians and the spread are shown. The streaming arm is
the stage `shard` itself: records read from Parquet, split, encoded, written, sealed. All other kinds of vocabulary are
timed beside it on 10 MB. ARGS=--quick takes 5 MB once and writes nothing. Status 1 where a goal is missed; the full run
writes bench/results/tokenizer.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "tokenizer.md"
SIZE, ROUNDS = 32_000, 3
GPT4 = r"""[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
GOALS = {("train", "tokenizers"): 2.0, ("encode", "tokenizers"): 3.0, ("encode", "tiktoken"): 0.95, ("shard", "encode"): 0.9,
         ("shard", "tiktoken"): 0.9 * 0.95}


@dataclass
class Arm:
    """One way of doing a piece of work: its seconds of wall clock, a round each, and a count that shows the work."""

    work: str
    name: str
    run: Callable[[], int]
    seconds: list[float] = field(default_factory=list)
    count: int = 0

    def once(self) -> None:
        began = time.perf_counter()
        self.count = self.run()
        self.seconds.append(time.perf_counter() - began)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def documents(corpus: Path, size_mb: float) -> Iterator[str]:
    """Texts of the corpus in order, up to a size."""
    done = 0
    for path in sorted(corpus.glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                text = orjson.loads(line)["text"]
                done += len(text.encode())
                yield text
                if done >= size_mb * 1e6:
                    return


def by_tokenizers(texts: list[str], size: int) -> Any:
    """A byte-level vocabulary as most make it, with the split rule in Oniguruma's words."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    rule = Regex(GPT4.replace("?+", "?").replace("++", "+"))
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(rule, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.train_from_iterator(iter(texts), trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return made


def by_rustbpe(texts: list[str], size: int) -> Any:
    """The trainer that we use, alone, with GPT-4's rule."""
    import rustbpe

    made = rustbpe.Tokenizer()
    made.train_from_iterator(iter(texts), size, pattern=GPT4)
    return made


def batched(texts: list[str], encode: Callable[[list[str]], int]) -> int:
    return sum(encode(texts[start : start + 256]) for start in range(0, len(texts), 256))


def ours(texts: list[str], kind: str, size: int) -> str:
    from mofang.fit.tokenizing.learning import Wanted, learn

    return learn(lambda: iter(texts), Wanted(kind, size))  # type: ignore[arg-type]


def encoding_arms(texts: list[str], told: str, peer: Any) -> list[Arm]:
    """Each library with the vocabulary that its users would have: ours, tokenizers' own, GPT-4's rule for tiktoken."""
    from concurrent.futures import ThreadPoolExecutor

    import tiktoken

    from mofang.fit.tokenizing.encoding import encoder_of

    encode = encoder_of(told, "bpe")
    ranks = {bytes(token): rank for token, rank in by_rustbpe(texts, SIZE).get_mergeable_ranks()}
    encoding = tiktoken.Encoding("peer", pat_str=GPT4, mergeable_ranks=ranks, special_tokens={})

    def own() -> int:
        with ThreadPoolExecutor(CORES) as pool:
            pieces = (texts[start : start + 32] for start in range(0, len(texts), 32))
            return sum(len(found.flat) for found in pool.map(encode, pieces))

    return [
        Arm("encode", "mofang", own),
        Arm("encode", "tokenizers", lambda: batched(texts, lambda some: sum(len(one.ids) for one in peer.encode_batch_fast(some)))),
        Arm("encode", "tiktoken", lambda: batched(
            texts, lambda some: sum(map(len, encoding.encode_ordinary_batch(some, num_threads=CORES))))),
    ]


def shard_arm(texts: list[str], folder: Path) -> Arm:
    """The stage itself in a shop of its own; another seed each time, so that nothing is reused."""
    from mofang.core.shop import Shop
    from mofang.recipe import collect, shard, tokenizer

    source = folder / "texts.jsonl"
    with source.open("wb") as file:
        file.writelines(orjson.dumps({"text": one}) + b"\n" for one in texts)
    shop = Shop.open(folder / "shop")
    records = shop.run(collect, source=str(source), licence="own", text=("text",))
    vocabulary = shop.run(tokenizer, (records,), size=SIZE)
    seeds = iter(range(100))

    def run() -> int:
        made = shop.run(shard, (records,), vocabulary, seed=next(seeds))
        return sum(made.read_json("about.json")["tokens"].values())

    return Arm("shard", "mofang", run)


def other_kinds(texts: list[str], size_mb: float) -> list[tuple[str, ...]]:
    """Every other kind of vocabulary once: seconds to learn it, MB a second to encode with it."""
    from mofang.fit.tokenizing.encoding import encoder_of

    rows = []
    for kind in ("wordpiece", "unigram", "char", "byte"):
        began = time.perf_counter()
        told = ours(texts, kind, SIZE)
        learnt = time.perf_counter()
        found = encoder_of(told, kind)(texts)  # type: ignore[arg-type]
        rows.append((kind, f"{learnt - began:.1f}", f"{size_mb / (time.perf_counter() - learnt):.1f}", f"{len(found.flat):,}"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of *.jsonl that bench/_corpus.py made")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    texts = list(documents(asked.corpus, 5 if asked.quick else 50))
    size_mb = sum(len(one.encode()) for one in texts) / 1e6
    told, peer = ours(texts, "bpe", SIZE), by_tokenizers(texts, SIZE)
    with tempfile.TemporaryDirectory() as folder:
        arms = [
            Arm("train", "mofang", lambda: len(ours(texts, "bpe", SIZE))),
            Arm("train", "tokenizers", lambda: by_tokenizers(texts, SIZE).get_vocab_size()),
            Arm("train", "rustbpe", lambda: by_rustbpe(texts, SIZE).vocab_size),
            *encoding_arms(texts, told, peer),
            shard_arm(texts, Path(folder)),
        ]
        for _ in range(1 if asked.quick else ROUNDS):
            for arm in arms:
                arm.once()
    lines, missed = table(arms, size_mb)
    some = list(documents(asked.corpus, 2 if asked.quick else 10))
    some_mb = sum(len(one.encode()) for one in some) / 1e6
    lines += ["", f"Other kinds, {some_mb:.0f} MB, one run:", "", "| kind | learn s | encode MB/s | tokens |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in other_kinds(some, some_mb)]
    print("\n".join(lines))
    if not asked.quick:
        RESULTS.write_text("\n".join(head(size_mb) + lines) + "\n", encoding="utf-8")
    return missed


def table(arms: list[Arm], size_mb: float) -> tuple[list[str], int]:
    """A row an arm, with the ratios that have a goal; status 1 where one is missed."""
    found = {(arm.work, arm.name): arm for arm in arms}
    lines = ["| work | arm | s, median (spread) | MB/s | count |", "|---|---|---|---|---|"]
    for arm in arms:
        spread = f"{min(arm.seconds):.2f}-{max(arm.seconds):.2f}"
        lines.append(f"| {arm.work} | {arm.name} | {arm.median:.2f} ({spread}) | {size_mb / arm.median:.1f} | {arm.count:,} |")
    lines += ["", "| ratio | value | goal | |", "|---|---|---|---|"]
    missed = 0
    for (work, other), goal in GOALS.items():
        against = found[(work, other)] if work != "shard" else found[("encode", "mofang" if other == "encode" else other)]
        ratio = against.median / found[(work, "mofang")].median
        missed |= ratio < goal
        lines.append(f"| {work}: mofang / {other} | {ratio:.2f} | >= {goal:.3g} | {'ok' if ratio >= goal else 'short'} |")
    return lines, int(missed)


def head(size_mb: float) -> list[str]:
    """What was measured, where and with what."""
    names = ("tokenizers", "tiktoken", "rustbpe", "sentencepiece")
    return ["# Vocabularies and encoding", "",
            f"{date.today()}, {CORES} cores, {size_mb:.1f} MB of documentation (`bench/_corpus.py`), vocabulary {SIZE:,}, "
            f"{ROUNDS} rounds in turn; " + ", ".join(f"{name} {version(name)}" for name in names) + ".",
            "`make bench-tokenizer ARGS='--corpus FOLDER/corpus'`", ""]


if __name__ == "__main__":
    sys.exit(main())
