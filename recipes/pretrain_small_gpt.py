"""pretrain_small_gpt: a generator of a few million weights that learns to write like Python's own reference manual.

The texts are inside Python: the manual that `help()` prints, and what its modules, classes and functions say of themselves.
Ten minutes on two cores (`--budget 10m`) bring it to sentences; a minute to words.
Its own end, twenty passes over the texts, is foretold at half an hour on two cores (`--budget 35m`), or a quarter of an hour where
`mofang probe` chose bf16.
"""

import ast
import json
import pydoc_data.topics
import sysconfig
from pathlib import Path

from mofang.recipe import Budget, Shop, clean, collect, pretrain, shard, tokenizer

NAME = "pretrain_small_gpt"


def main(shop: Shop, budget: Budget):
    texts = [part for topic in pydoc_data.topics.topics.values() for part in topic.split("\n\n\n")]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):  # read, not imported
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                texts.append(ast.get_docstring(node) or "")
    file = shop.path / "cache" / "manual.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps({"text": text.strip()}) for text in texts if len(text) > 60), encoding="utf-8")
    records = shop.run(collect, shop.last(NAME, "records"), source=str(file), text=("text",), licence="PSF-2.0", origin="Python")
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    words = shop.run(tokenizer, (cleaned / "kept",), size=4000)
    shards = shop.run(shard, (cleaned / "kept",), words, validation=0.02)
    size = "tiny" if budget.seconds < 120 else "mini"
    return shop.run(pretrain, shards, architecture={"tag": "gpt", "size": size}, context=256, batch_tokens=2048,
                    seconds=budget.seconds)
