"""topics: what is a short technical text about: the network, files, numbers, tests …?

No labelled news lies in a package that may be shipped, so the texts are what the functions and classes of Python's library say of
themselves, and their topic is the chapter of its manual. A file of your own news (text, topic) takes their place.
"""

import ast
import json
import sysconfig
from pathlib import Path

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = "topics"
CHAPTERS = {"network": "http urllib socket ssl ftplib smtplib imaplib xmlrpc ipaddress", "documents": "email html xml json csv",
            "files": "os pathlib shutil zipfile tarfile gzip", "numbers": "decimal fractions statistics random datetime",
            "parallel": "asyncio threading multiprocessing concurrent", "tests": "unittest doctest pdb timeit trace"}


def main(shop: Shop, budget: Budget):
    rows, library = [], Path(sysconfig.get_path("stdlib"))
    for topic, modules in CHAPTERS.items():
        for module in modules.split():
            for path in sorted([*library.glob(f"{module}.py"), *library.glob(f"{module}/**/*.py")]):  # read, not imported
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
                    said = (ast.get_docstring(node) or "") if isinstance(node, ast.ClassDef | ast.FunctionDef) else ""
                    rows += [{"text": " ".join(said.split())[:600], "topic": topic}] if len(said) > 60 else []
    source = shop.path / "cache" / f"{NAME}.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    records = shop.run(collect, shop.last(NAME, "records"), source=str(source), label="topic", licence="PSF-2.0", origin="Python")
    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),
                    task="text_classification", label="topic", inputs=("text",))
    model = shop.run(select, data, budget_s=budget.seconds)
    graph = shop.run(export, model, data / "validation")
    return shop.run(package, graph, shop.run(evaluate, graph, data / "test", shop.run(baseline, data)))
