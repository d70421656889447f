"""wine: which of three growers made a wine? 178 rows of 13 measurements, from scikit-learn, with features made of them."""

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, features, package, select, snapshot

NAME = "wine"
LABEL = "grower"
COLUMNS = ("alcohol", "malic_acid", "ash", "alcalinity", "magnesium", "total_phenols", "flavanoids", "nonflavanoid_phenols",
           "proanthocyanins", "colour", "hue", "od280_od315", "proline")


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:sklearn/datasets/data/wine_data.csv",
        header="no", skip_lines=1,                            # its first line counts rows and columns
        names=(*COLUMNS, LABEL), label=LABEL, numbers=COLUMNS,
        licence="BSD-3-Clause",                               # of the package; the data: UCI, CC-BY-4.0
        origin="UCI Wine, by way of scikit-learn",
    )
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),
                    task="table_classification", label=LABEL, inputs=COLUMNS, test=0.25)
    data = shop.run(features, data,                           # after the split: fitted on the training part only
                    ratios=("flavanoids/total_phenols", "colour/hue"), outliers="iqr")
    model = shop.run(select, data, budget_s=budget.seconds)
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
