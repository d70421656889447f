"""pages: which part of Python's library is a page of its documentation about? HTML pages that pydoc writes here."""

import importlib
import pkgutil
import pydoc
import re

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = "pages"
PARTS = ("email", "logging", "unittest", "xml")


def main(shop: Shop, budget: Budget):
    pages = shop.path / "cache" / "pages"
    for part in PARTS:  # one page a class, below a folder for each part of the library
        (pages / part).mkdir(parents=True, exist_ok=True)
        for found in pkgutil.walk_packages(importlib.import_module(part).__path__, f"{part}."):
            inside = {} if "__main__" in found.name else vars(importlib.import_module(found.name))
            for name, one in inside.items():
                if isinstance(one, type) and one.__module__ == found.name:
                    text = re.sub(r" at 0x[0-9a-f]+", "", pydoc.HTMLDoc().document(one, name))
                    (pages / part / f"{found.name}.{name}.html").write_text(f"<title>{name}</title>{text}", encoding="utf-8")
    records = shop.run(collect, shop.last(NAME, "records"), source=str(pages), licence="PSF-2.0", origin="pydoc")
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),
                    task="text_classification", label="label", inputs=("text",))
    model = shop.run(select, data, budget_s=budget.seconds)
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
