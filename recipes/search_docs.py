"""search_docs: find the paragraph of Python's own documentation that a few words mean.

The texts are the topics that `help()` shows; a paragraph and the one that follows it belong together, which is all that the
model learns from. Make the records searchable with `mofang index`, and ask with `mofang search`.
"""

import json
from pydoc_data.topics import topics

from mofang.recipe import Budget, Shop, collect, evaluate, export, package, snapshot, train

NAME = "search_docs"


def main(shop: Shop, budget: Budget):
    rows = []
    for name, text in topics.items():
        parts = [" ".join(one.split()) for one in text.split("\n\n")]
        parts = [one[:600] for one in parts if len(one) > 60]
        rows += [{"text": one, "next": after, "topic": name} for one, after in zip(parts, parts[1:], strict=False)]
    source = shop.path / "cache" / f"{NAME}.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    records = shop.run(
        collect,
        source=str(source),
        text=("text",),
        label="next",
        licence="PSF-2.0",
        origin="the documentation inside Python",
    )
    shop.name("search_docs-data", records)
    data = shop.run(snapshot, records, task="text_embedding", label="next", inputs=("text",))
    model = shop.run(train, data, family="termvectors", seconds=budget.seconds)
    graph = shop.run(export, model)
    return shop.run(package, graph, shop.run(evaluate, graph, data / "test"))
