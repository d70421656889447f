"""cancer: is a breast mass malignant (0) or benign (1)? 569 rows of 30 measurements, from scikit-learn. Not for diagnosis."""

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = "cancer"
LABEL = "diagnosis"
MEASURED = ("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points", "symmetry",
            "fractal_dimension")
COLUMNS = tuple(f"{name}_{kind}" for kind in ("mean", "error", "worst") for name in MEASURED)


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:sklearn/datasets/data/breast_cancer.csv",
        header="no", skip_lines=1,                            # its first line counts rows and columns
        names=(*COLUMNS, LABEL), label=LABEL, numbers=COLUMNS,
        licence="BSD-3-Clause",                               # of the package; the data: UCI, CC-BY-4.0
        origin="UCI Breast Cancer Wisconsin (Diagnostic), by way of scikit-learn",
    )
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),  # an old row never changes sides
                    task="table_classification", label=LABEL, inputs=COLUMNS, test=0.25)
    model = shop.run(select, data, budget_s=budget.seconds)
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
