"""Personal data: recall and precision of every kind on made-up and on real sentences, and the speed beside one alternation.

``python bench/personal.py`` writes results/personal.json and prints the tables of README.md. Speed is CPU time of one
process over documentation that this machine's packages ship, best of nothing: the median of five rounds, both ways in turn
in each round. The alternation is what is usually written: the same kinds' forms joined by ``|`` in ``re``, no check sums.
"""

from __future__ import annotations

import gzip
import json
import platform
import random
import re
import statistics
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.data.personal_sentences import sentences

from mofang.data.protecting import names, numbers, places, words
from mofang.data.protecting.find import ALL_KINDS, KINDS, find_all

HERE = Path(__file__).parent
HAND = HERE.parent / "tests" / "data" / "hand_labelled.jsonl"
MEGABYTES, ROUNDS, GOAL = 24, 5, 10
FIVE = frozenset({"identity-card", "mobile", "card", "ip", "email"})
FIVE_FORMS = re.compile(
    r"(?<![0-9A-Za-z])[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![0-9A-Za-z])"
    r"|(?<!\d)1[3-9]\d{9}(?!\d)|(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])|(?<!\d)\d{16,19}(?!\d)"
    r"|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
ALL_FORMS = re.compile("|".join(
    re.sub(r"\((?!\?)", "(?:", re.sub(r"\\\d", "[ -]?", re.sub(r"(?<!\\)\((?![?])", "(?:", form.pattern)))
    for form in (numbers.IDENTITY, numbers.CARD, numbers.MOBILE, numbers.LANDLINE, numbers.PLUS, numbers.AMERICAN, numbers.SSN,
                 words.MAIL, words.IPV4, words.IPV6, words.IBAN, words.PLATE, places.ENGLISH, places.WITHIN, names.TITLED)
))  # fmt: skip


def documentation() -> list[str]:
    """Texts of documentation, in an order that a seed gives: Debian's and that of Python packages, as they lie here."""
    roots = [Path("/usr/share/doc"), Path("/usr/share/man"), Path(sysconfig.get_paths()["purelib"])]
    ends = (".html", ".txt", ".md", ".rst", ".gz", "copyright", "METADATA", "README", "AUTHORS", "LICENSE")
    files = sorted(path for root in roots for path in root.rglob("*") if path.name.endswith(ends) and path.is_file())
    random.Random(1).shuffle(files)
    texts, size = [], 0
    for path in files:
        try:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            text = data.decode("utf-8")
        except (OSError, ValueError, EOFError):
            continue
        if 200 < len(data) < 2_000_000:
            texts.append(text)
            size += len(data)
        if size > MEGABYTES * 1e6:
            break
    return texts


def quality(lines: Iterable[tuple[str, Iterable[tuple[int, int, str]]]]) -> dict[str, dict[str, Any]]:
    """For each kind how many there are, recall and precision; a span counts where its place and its kind are exact."""
    given = list(lines)
    found, wanted, named = Counter[str](), Counter[str](), Counter[str]()
    for (_, labels), spans in zip(given, find_all([text for text, _ in given]), strict=True):
        got, want = {(one.start, one.end, one.kind) for one in spans}, {(a, b, kind) for a, b, kind in labels}
        found.update(kind for *_, kind in got & want)
        wanted.update(kind for *_, kind in want)
        named.update(kind for *_, kind in got)
    return {kind: {"there": wanted[kind], "named": named[kind],
                   "recall": round(found[kind] / wanted[kind], 4) if wanted[kind] else None,
                   "precision": round(found[kind] / named[kind], 4) if named[kind] else None}
            for kind in KINDS if wanted[kind] or named[kind]}


def cpu(work: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds of this process, and what the work counted."""
    began = time.process_time()
    count = work()
    return time.process_time() - began, count


def speed(texts: Sequence[str], kinds: frozenset[str], form: re.Pattern[str]) -> dict[str, Any]:
    """Megabytes of UTF-8 per CPU second, ours and the alternation's, and the ratio; medians with their spread."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    ours, theirs = [], []
    counts = [0, 0]
    for _ in range(ROUNDS):
        spent, counts[0] = cpu(lambda: sum(map(len, find_all(texts, kinds))))
        ours.append(size / spent)
        spent, counts[1] = cpu(lambda: sum(1 for text in texts for _ in form.finditer(text)))
        theirs.append(size / spent)
    return {"megabytes": round(size, 1), "ours": round(statistics.median(ours), 1), "ours_all": [round(one, 1) for one in ours],
            "re": round(statistics.median(theirs), 1), "re_all": [round(one, 1) for one in theirs],
            "ratio": round(statistics.median(ours) / statistics.median(theirs), 1),
            "found": counts[0], "matched_by_re": counts[1]}


def main() -> None:
    """Measure, write, print."""
    hand = [json.loads(line) for line in HAND.read_text(encoding="utf-8").splitlines()]
    texts = documentation()
    wide = sum(len(text) for text in texts if not text.isascii()) / sum(map(len, texts))
    result: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "made_up": {language: quality(sentences(language, 2500, seed=101)) for language in ("zh", "en")},
        "by_hand": {half: quality((one["text"], [tuple(span) for span in one["spans"]]) for one in hand if one["half"] == half)
                    for half in ("tune", "test")},
        "corpus": {"texts": len(texts), "share_not_ascii": round(wide, 3)},
        "speed": {"five kinds": speed(texts, FIVE, FIVE_FORMS), "all kinds": speed(texts, ALL_KINDS, ALL_FORMS)},
    }
    (HERE / "results" / "personal.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(tables(result))
    if any(one["ratio"] < GOAL for one in result["speed"].values()):
        raise SystemExit(1)


def tables(result: dict[str, Any]) -> str:
    """The tables for README.md and docs/protect.md."""
    rows = ["| kind | made up, Chinese | made up, English | by hand, looked at | by hand, unseen |", "|---|---|---|---|---|"]
    parts = [result["made_up"]["zh"], result["made_up"]["en"], result["by_hand"]["tune"], result["by_hand"]["test"]]
    for kind in KINDS:
        if any(kind in part for part in parts):
            rows.append(f"| {kind} | " + " | ".join(_cell(part.get(kind)) for part in parts) + " |")
    rows += ["", "| scan | ours, MB/s | alternation in `re`, MB/s | ratio |", "|---|---|---|---|"]
    rows += [f"| {name} | {one['ours']} | {one['re']} | {one['ratio']} × |" for name, one in result["speed"].items()]
    return "\n".join(rows)


def _cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return "–"
    shown = ["–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") for value in (one["recall"], one["precision"])]
    return f"{shown[0]} / {shown[1]} ({one['there']})"


if __name__ == "__main__":
    main()
