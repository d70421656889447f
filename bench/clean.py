"""Cleaning beside datatrove and Data-Juicer: the same documents, two processes each, every arm alone and in turn.

    make bench-clean                          # ours 3 times, the peers twice: some 20 minutes, and their environments first
    make bench-clean ARGS=--quick             # ours alone on a twelfth: under a minute
    make bench-clean ARGS='--memory 20'       # a source of 20 GB made here, cleaned below 2 GB of memory: an hour, 65 GB of disk

Goals hold for the rate on the whole corpus (over 200 MB), the start of the process included; the quarter is shown beside it.
The corpus is that of bench/_corpus.py (--corpus FOLDER, else the place that MOFANG_BENCH_CORPUS names, else it is made); the
peers run on a quarter of it. Ours is the product's own path, ``collect`` then ``clean``, from the start of the process to
its end. Memory is that of the whole tree of processes, shared pages counted once. The full run writes
bench/results/clean.json and clean.md. Exit status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _clean_memory
import _clean_peers as peers
from _tree import Watched, watched

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
RESULTS = BENCH / "results"
LIMIT_S = 3600
FULL: dict[str, Any] = {
    "html": "auto", "layout": "paragraphs", "languages": ["en", "zh"], "language_score": 0.2,
    "quality": {"tag": "web", "repetition": False}, "personal": "mask", "near_duplicate": 0.8, "near_by": "words",
}
PREFIX = {**FULL, "language_chars": 1000}
AGAIN = {**FULL, "quality": {"tag": "web", "repetition": False, "min_words": 80, "letters": 0.6}, "near_duplicate": 0.85}


@dataclass
class Found:
    """What one arm took, run by run, and which documents it kept."""

    seconds: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, Any] = field(default_factory=dict)
    aborts: int = 0

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def add(self, run: Watched, log: str) -> None:
        if run.code:
            raise SystemExit(f"{log} ended with {run.code}: {run.said}")
        self.seconds.append(run.seconds)
        self.peak_mb.append(run.peak_mb)

    def told(self, megabytes: float) -> dict[str, Any]:
        """For the JSON of the results."""
        return {"seconds": [round(one, 2) for one in self.seconds], "mb_per_s": round(megabytes / self.median_s, 2),
                "peak_mb": round(max(self.peak_mb)), "aborts": self.aborts, "said": self.said, "kept": {name: len(ids) for name, ids in self.ids.items()}}


def quarter(corpus: Path, place: Path, of: int = 4) -> float:
    """A part of the base documents with all their copies, in four files; its size in MB."""
    place.mkdir(parents=True, exist_ok=True)
    lines = [line for path in sorted(corpus.glob("*.jsonl")) for line in path.open("rb")
             if zlib.crc32(origin_of(line).encode()) % of == 0]
    for number in range(4):
        (place / f"{number:02}.jsonl").write_bytes(b"".join(lines[number::4]))
    return sum(map(len, lines)) / 1e6


def origin_of(line: bytes) -> str:
    """The path of the document that a line holds or is a copy of."""
    return str(json.loads(line)["metadata"]["path"]).split("#")[0]


def own(source: str, work: Path, settings: dict[str, Any], found: Found, again: dict[str, Any] | None = None) -> None:
    """One run of ours in a fresh shop."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    files = [work / "settings.json", work / "ids.json"]
    files[0].write_text(json.dumps(settings))
    if again:
        files.append(work / "again.json")
        files[2].write_text(json.dumps(again))
    environment = {**os.environ, "MOFANG_EXECUTOR": "local:2", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(BENCH / "_clean_own.py"), str(work / "shop"), source, *map(str, files)]
    run = watched(command, log=work / "log.txt", environment=environment, limit_s=LIMIT_S)
    if run.code == -6:  # a thread of a native library ended late, after the work was done: counted, and done again
        found.aborts += 1
        shutil.rmtree(work / "shop")
        run = watched(command, log=work / "log.txt", environment=environment, limit_s=LIMIT_S)
    found.add(run, "ours")
    found.said, found.ids = json.loads(run.said), json.loads(files[1].read_text())
    shutil.rmtree(work / "shop")


def jaccard(one: Any, other: Any) -> float:
    """Shared documents by all documents."""
    return len(set(one) & set(other)) / max(len(set(one) | set(other)), 1)


def recall(folder: Path, found: Found) -> dict[str, float]:
    """Of the planted copies whose both sides passed the rules for one text, the share of which one side went."""
    paths: dict[str, str] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.open("rb"):
            row = json.loads(line)
            paths[row["id"]] = row["metadata"]["path"]
    clean, final = set(found.ids["clean"]), set(found.ids["final"])
    base = {path: id for id, path in paths.items() if "#" not in path}
    told = {}
    for kind in ("dup", "near"):
        pairs = [(id, base.get(path.split("#")[0])) for id, path in paths.items() if path.endswith(f"#{kind}")]
        pairs = [(a, b) for a, b in pairs if a in clean and b in clean]
        told[kind] = round(sum(a not in final or b not in final for a, b in pairs) / max(len(pairs), 1), 4)
    return told


def steps(mode: str, folder: Path) -> dict[str, Any]:
    """A mode of bench/_clean_steps.py."""
    command = [sys.executable, str(BENCH / "_clean_steps.py"), mode, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    return dict(json.loads(told.stdout.strip().splitlines()[-1]))


def full(corpus: Path, work: Path, runs: int, peer_runs: int) -> dict[str, Any]:
    """All arms, in turn, so that a busy moment of the machine meets each of them."""
    for peer in peers.PACKAGES:
        peers.prepare(peer)
    subset = work / "subset"
    megabytes = quarter(corpus, subset)
    one = work / "one.jsonl"
    one.write_bytes(b"".join(path.read_bytes() for path in sorted(subset.glob("*.jsonl"))))
    arms = {name: Found() for name in ("full", "prefix", "corpus", "corpus prefix", "datatrove clean", "datatrove minhash", "datajuicer")}
    for number in range(max(runs, peer_runs)):
        if number < runs:
            own(f"{subset}/*.jsonl", work / "own", FULL, arms["full"], AGAIN)
            own(f"{subset}/*.jsonl", work / "own", PREFIX, arms["prefix"])
        if number < peer_runs:
            shutil.rmtree(work / "datatrove", ignore_errors=True)
            arms["datatrove clean"].add(peers.datatrove("clean", subset, work / "datatrove", LIMIT_S), "datatrove")
            arms["datatrove minhash"].add(peers.datatrove("minhash", work / "datatrove" / "clean", work / "datatrove", LIMIT_S), "datatrove")
            shutil.rmtree(work / "datajuicer", ignore_errors=True)
            arms["datajuicer"].add(peers.datajuicer(one, work / "datajuicer", LIMIT_S), "Data-Juicer")
        print(f"round {number + 1}: " + ", ".join(f"{name} {arm.seconds[-1]:.1f} s" for name, arm in arms.items() if arm.seconds), flush=True)
    for mode in ("clean", "minhash"):
        arms[f"datatrove {mode}"].ids = {"final": json.loads((work / "datatrove" / f"{mode}.ids.json").read_text())}
    arms["datajuicer"].ids = {"final": peers.ids_in(work / "datajuicer" / "out.jsonl")}
    for _ in range(runs):
        own(f"{corpus}/*.jsonl", work / "own", FULL, arms["corpus"])
        own(f"{corpus}/*.jsonl", work / "own", PREFIX, arms["corpus prefix"])
    alone = steps("minhash", work / "datatrove" / "clean")
    clean_mb = sum(path.stat().st_size for path in (work / "datatrove" / "clean").glob("*.jsonl")) / 1e6
    corpus_mb = sum(path.stat().st_size for path in corpus.glob("*.jsonl")) / 1e6
    told = {"megabytes": round(megabytes, 1), "corpus_megabytes": round(corpus_mb, 1), "steps": steps("steps", subset),
            "arms": {name: arm.told(corpus_mb if name.startswith("corpus") else clean_mb if "minhash" in name else megabytes) for name, arm in arms.items()}}
    return told | {"figures": figures(arms, alone, subset, corpus_mb / megabytes)}


def figures(arms: dict[str, Found], alone: dict[str, Any], subset: Path, larger: float) -> list[dict[str, Any]]:
    """Every figure with its goal; ``larger`` is how many times the subset the whole corpus is."""
    ours, prefix = arms["full"], arms["prefix"]
    trove_s = arms["datatrove clean"].median_s + arms["datatrove minhash"].median_s
    juicer_s = arms["datajuicer"].median_s
    trove_mb = max(arms["datatrove clean"].peak_mb + arms["datatrove minhash"].peak_mb)
    theirs, stands = arms["datatrove minhash"].ids["final"], ours.ids["stands_for"]
    found = recall(subset, ours)
    own_mb = max(ours.peak_mb)

    def figure(name: str, value: float, goal: float | None, most: bool = False) -> dict[str, Any]:
        good = goal is None or (value <= goal if most else value >= goal)
        bound = "-" if goal is None else f"{'<=' if most else '>='} {goal:g}"
        return {"name": name, "value": round(value, 3), "goal": bound, "verdict": "-" if goal is None else "ok" if good else "short"}

    return [
        figure("times datatrove, equal work", trove_s / ours.median_s, None),
        figure("times Data-Juicer, equal work", juicer_s / ours.median_s, None),
        figure("times datatrove, rate on the whole corpus", trove_s * larger / arms["corpus"].median_s, 12),
        figure("times Data-Juicer, rate on the whole corpus", juicer_s * larger / arms["corpus"].median_s, 7),
        figure("times datatrove, language from 1,000 characters", trove_s / prefix.median_s, None),
        figure("times Data-Juicer, language from 1,000 characters", juicer_s / prefix.median_s, None),
        figure("times datatrove, language from 1,000 characters, whole corpus", trove_s * larger / arms["corpus prefix"].median_s, 22),
        figure("times Data-Juicer, language from 1,000 characters, whole corpus", juicer_s * larger / arms["corpus prefix"].median_s, 12),
        figure("memory by datatrove's", own_mb / trove_mb, 1 / 3, most=True),
        figure("memory by Data-Juicer's", own_mb / max(arms["datajuicer"].peak_mb), None),
        figure("MinHash alone, times datatrove's", arms["datatrove minhash"].median_s / alone["seconds"], 20),
        figure("planted near copies found", found["near"], 0.97),
        figure("planted exact copies found", found["dup"], None),
        figure("same documents as datatrove, before copies go (Jaccard)", jaccard(ours.ids["clean"], arms["datatrove clean"].ids["final"]), 0.93),
        figure("same documents at the end, a copy counted as what stands for it",
               jaccard(ours.ids["final"], [stands.get(one, one) for one in theirs]), 0.93),
        figure("same documents at the end, copies told apart", jaccard(ours.ids["final"], theirs), None),
        figure("MinHash alone, same documents as datatrove's", jaccard(alone["ids"], theirs), None),
        figure("same documents as with full text, language from 1,000 characters", jaccard(ours.ids["clean"], prefix.ids["clean"]), None),
        figure("other thresholds, deciding: times the first run", ours.median_s / ours.said["again_decide_s"], 100),
        figure("other thresholds, with writing: times the first run", ours.median_s / ours.said["again_s"], None),
    ]


def table(told: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = [f"| {name} | {arm['seconds']} | {arm['mb_per_s']} | {arm['peak_mb']} |" for name, arm in told["arms"].items()]
    lines = [f"{told['megabytes']} MB of documentation ({told['corpus_megabytes']} MB for *corpus*), two processes each.", "",
             "| arm | seconds, run by run | MB/s of its input | peak MB |", "|---|---|---|---|", *rows, "",
             "| figure | value | goal | |", "|---|---|---|---|"]
    lines += [f"| {one['name']} | {one['value']} | {one['goal']} | {one['verdict']} |" for one in told["figures"]]
    lines += ["", "| step, one process | MB/s of source |", "|---|---|"]
    lines += [f"| {name} | {rate} |" for name, rate in told["steps"]["mb_per_s"].items()]
    return "\n".join(lines) + "\n"


def quick(corpus: Path, work: Path) -> int:
    """Ours alone on a twelfth of the corpus."""
    megabytes = quarter(corpus, work / "subset", 12)
    found = Found()
    own(f"{work}/subset/*.jsonl", work / "own", FULL, found, AGAIN)
    print(json.dumps(found.told(megabytes), indent=1, ensure_ascii=False))
    return 0


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", type=float, metavar="GB", help="clean a source of this size made here")
    parser.add_argument("--corpus", type=Path, default=os.environ.get("MOFANG_BENCH_CORPUS"), help="a folder of JSON lines")
    parser.add_argument("--work", type=Path, help="where shops and copies are put; a folder that vanishes, if left out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-runs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the shop of --memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as vanishing:
        work = given.work or Path(vanishing)
        work.mkdir(parents=True, exist_ok=True)
        if given.memory:
            told = _clean_memory.run(given.memory, work, given.keep)
            (RESULTS / f"clean-memory-{given.memory:g}.json").write_text(json.dumps(told, indent=1) + "\n")
            print(json.dumps(told, indent=1))
            return int(told["memory_mb"] >= 2000)
        if not given.corpus:
            subprocess.run([sys.executable, str(BENCH / "_corpus.py"), str(work)], check=True)
        corpus = Path(given.corpus) if given.corpus else work / "corpus"
        if given.quick:
            return quick(corpus, work)
        told = full(corpus, work, given.runs, given.peer_runs)
        (RESULTS / "clean.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        (RESULTS / "clean.md").write_text(table(told))
        print(table(told))
        return int(any(one["verdict"] == "short" for one in told["figures"]))


if __name__ == "__main__":
    sys.exit(main())
