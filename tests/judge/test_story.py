"""Stories of judging, typed: a rare class, dearer misses, new data and a verdict, a leak, a budget that continues."""

from __future__ import annotations

import csv
import random
import sqlite3
from pathlib import Path

import pytest

from mofang.cli.group import run

RECIPE = '''
from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = "{name}"


def main(shop: Shop, budget: Budget):
    records = shop.run(collect, source="{source}", {collected}licence="own")
    cleaned = shop.run(clean, records)
    data = shop.run(snapshot, cleaned / "kept", task="{task}", {cut}test=0.25, validation=0.25)
    model = shop.run(select, data, families={families}, budget_s=budget.seconds)
    graph = shop.run(export, model, data / "validation")
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data), resamples=200)
    return shop.run(package, graph, evidence, seconds=0.02)
'''


class Typed:
    """Commands typed in this process, to save the second that each start takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: str, status: int = 0, language: str = "en") -> str:
        self.monkeypatch.setenv("MOFANG_LANG", language)
        self.monkeypatch.setenv("COLUMNS", "400")
        found = run(list(words))
        shown = self.capsys.readouterr()
        assert found == status, shown
        return shown.out + shown.err


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    monkeypatch.chdir(tmp_path)
    return Typed(monkeypatch, capsys)


def write_recipe(folder: Path, **values: str) -> None:
    (folder / f"{values['name']}.py").write_text(RECIPE.format(**values), encoding="utf-8")


def digits_rare(folder: Path) -> None:
    """Scikit-learn's 8 x 8 digits as an image set in which 5 % are defects (the eights)."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    eights = 0
    for number, (pixels, digit) in enumerate(zip(found.images[:1100], found.target[:1100], strict=True)):
        eights += digit == 8
        if digit == 8 and eights > 52:
            continue
        place = folder / ("次品" if digit == 8 else "正常") / f"{number:04}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(place)


def test_five_percent_defects_are_found_and_counted(typed: Typed, tmp_path: Path) -> None:
    digits_rare(tmp_path / "parts")
    families = '("linear", {"tag": "linear", "balance": True})'
    write_recipe(tmp_path, name="parts", source="parts", collected="", task="image_classification",
                 cut='label="label", inputs=("image",), ', families=families)
    shown = typed("run", "parts.py", "--budget", "2m")
    assert "test macro-F1 0." in shown and "(baseline 0." in shown, shown
    assert '"次品": finds ' in shown and ' false alarms per 100 "正常"; always "正常": 0 of 100' in shown
    import orjson

    facts = orjson.loads(typed("show", "parts", "--json"))
    found = facts["detection"]
    assert found["found"]["value"] > 0.5 and found["false_alarms"]["value"] < 0.06, found
    assert found["found"]["of"] + found["false_alarms"]["of"] == facts["test_rows"] and found["found"]["of"] <= 40
    assert facts["decide"]["positive"] == "次品" and facts["examples_to_halve"], "forty positives leave much open"
    defect = next((tmp_path / "parts" / "次品").iterdir())
    asked = typed("predict", "parts", str(defect), "--json")
    assert orjson.loads(asked)["file"] == defect.name and set(orjson.loads(asked)["scores"]) == {"次品", "正常"}
    lines = typed("predict", "parts", str(defect.parent)).splitlines()
    assert len(lines) == 52 and sum("次品" in line for line in lines) > 35, "the threshold holds here too"
    eager = typed("run", "parts.py", "--budget", "2m", "--miss-cost", "30", language="zh")
    assert "“次品”：每 100 个找出 " in eager and "漏报一个抵 30 个误报" in eager and "一律答“正常”：找出 0 个" in eager
    dear = orjson.loads(typed("show", "parts", "--json"))
    assert dear["model"] == "parts@2" and dear["decide"]["threshold"] < facts["decide"]["threshold"]
    assert dear["detection"]["found"]["count"] >= found["found"]["count"]


def reviews(rows: int, seed: int, noise: float = 0.0) -> list[list[str]]:
    generator = random.Random(seed)
    things, good, bad = ("房间", "早餐", "屏幕", "故事"), ("很好", "满意", "推荐"), ("很差", "失望", "退货")
    found = []
    for number in range(rows):
        label = generator.random() < 0.5
        words = [generator.choice(things) + generator.choice(good if (generator.random() > noise) == label else bad)
                 for _ in range(3)]
        found.append([f"第{seed}批{number}号，{'，'.join(words)}", "好评" if label else "差评"])
    return found


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])


def test_new_data_a_verdict_and_a_run_that_changes_nothing(typed: Typed, tmp_path: Path) -> None:
    old = reviews(80, 1, noise=0.3)
    write(tmp_path / "texts.csv", old)
    write_recipe(tmp_path, name="texts", source="texts.csv", collected='label="label", text=("text",), ',
                 task="text_classification", cut='label="label", inputs=("text",), ', families='("linear",)')
    first = typed("run", "texts.py")
    assert "texts@1 is ready" in first and "Since" not in first
    again = typed("run", "texts.py")
    assert "Nothing has changed since texts@1" in again and "texts@1 is ready" in again
    corrected = [[text, "差评" if label == "好评" else "好评"] if place < 4 else [text, label]
                 for place, (text, label) in enumerate(old)]
    write(tmp_path / "texts.csv", corrected + reviews(1200, 2))
    grown = typed("run", "texts.py")
    assert "Since texts@1: 1,200 new rows, 4 changed" in grown, grown
    assert "compared with texts@1 on the same " in grown and "test rows: better – accuracy 0." in grown, grown
    shown = typed("show", "texts", language="zh")
    assert "与 texts@1 在同样的 " in shown and "更好" in shown and "texts@2 已就绪" in shown
    write(tmp_path / "texts.csv", [*corrected, *reviews(1200, 2), *([text, "中评"] for text, _ in reviews(60, 3))])
    assert "No verdict against texts@2: the labels are not the same" in typed("run", "texts.py")
    assert typed("show", "texts@1").count("compared") == 0
    assert "name-unknown" in typed("show", "text", status=1)
    typed("verify")


def test_without_its_source_the_recipe_stops_and_the_models_live_on(typed: Typed, tmp_path: Path) -> None:
    write(tmp_path / "texts.csv", reviews(200, 1))
    write_recipe(tmp_path, name="texts", source="texts.csv", collected='label="label", text=("text",), ',
                 task="text_classification", cut='label="label", inputs=("text",), ', families='("linear",)')
    typed("run", "texts.py")
    (tmp_path / "texts.csv").unlink()
    refused = typed("run", "texts.py", status=1)
    assert "texts@1" in refused and "[source-gone]" in refused and "Traceback" not in refused
    assert typed("predict", "texts", "房间很差，早餐失望").startswith("差评")
    assert "texts@1" in typed("show", "texts")


def test_a_planted_leak_is_named_after_training(typed: Typed, tmp_path: Path) -> None:
    generator = random.Random(4)
    rows = [["age", "city", "refund_at", "bought"]]
    for _ in range(700):
        age, city = generator.randint(18, 80), generator.choice("ABC")
        bought = generator.random() < (0.3 + 0.4 * (age > 45))
        rows.append([str(age), city, f"2026-0{generator.randint(1, 9)}" if bought else "none", "yes" if bought else "no"])
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    write_recipe(tmp_path, name="table", source="table.csv",
                 collected='label="bought", numbers=("age",), categories=("city", "refund_at"), ',
                 task="table_classification", cut='label="bought", inputs=("age", "city", "refund_at"), ', families='("linear",)')
    shown = typed("run", "table.py")
    assert '⚠ "refund_at" alone reaches 1.000, the whole model 1.000.' in shown and "take it out of the inputs" in shown, shown
    assert "⚠ 仅凭“refund_at”一列" in typed("show", "table", language="zh")
    honest = (tmp_path / "table.py").read_text(encoding="utf-8").replace('inputs=("age", "city", "refund_at")', 'inputs=("age", "city")')
    (tmp_path / "table.py").write_text(honest, encoding="utf-8")
    assert "⚠" not in typed("run", "table.py")


def test_a_larger_budget_goes_on_where_the_smaller_ended(typed: Typed, tmp_path: Path) -> None:
    write(tmp_path / "texts.csv", reviews(200, 1, noise=0.2))
    write_recipe(tmp_path, name="texts", source="texts.csv", collected='label="label", text=("text",), ',
                 task="text_classification", cut='label="label", inputs=("text",), ',
                 families='("linear", {"tag": "averaged", "epochs": 2, "terms": 2000})')
    assert "skipped" in typed("run", "texts.py", "--budget", "3s")
    assert "skipped" not in typed("run", "texts.py", "--budget", "2分钟")
    ledger = sqlite3.connect(tmp_path / "shop" / "ledger.db")
    trained = [row[0] for row in ledger.execute("select key from entry where kind='done' and body like '%\"stage\":\"train\"%'")]
    assert len(trained) == len(set(trained)) >= 2, "nothing was trained twice"


@pytest.mark.parametrize(("budget", "code"), [
    ("¥20", "rate-not-set"), ("20元", "rate-not-set"), ("$3", "currency-other"), ("soon", "budget-unreadable"),
    ("0", "budget-unreadable"), ("-5m", "budget-unreadable"), ("5x", "budget-unreadable")])
def test_budgets_that_are_none(typed: Typed, tmp_path: Path, budget: str, code: str) -> None:
    (tmp_path / "r.py").write_text("NAME = 'r'\n", encoding="utf-8")
    refused = typed("run", "r.py", "--budget", budget, status=1)
    assert code in refused
    if code == "rate-not-set":
        assert "mofang rates --machine-hour" in refused


def test_money_buys_time_at_the_rate_of_the_machine(typed: Typed, tmp_path: Path) -> None:
    from mofang.recipe import Budget

    assert Budget.parse("¥20", 6_000_000).seconds == pytest.approx(12_000)
    assert Budget.parse("0.5元", 1_800_000).seconds == pytest.approx(1000) == Budget.parse("￥0.50", 1_800_000).seconds
    assert [Budget.parse(text).seconds for text in ("90s", "5m", "1.5h", "30", "5 分钟", "２小时")] == [90, 300, 5400, 30, 300, 7200]


