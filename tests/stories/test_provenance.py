"""What is said of a source when it is collected is said again by the snapshot, the model, its card and its trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from mofang.core.shop import Shop
from mofang.data.collecting.provenance import sources_of, united
from tests.serve.parcels import Box, send
from tests.stories.conftest import write_reviews
from tests.stories.terminal import Inside

SAID = {"licence": "own", "terms": "仅供内部研究", "origin": "our shop in Nanjing", "consent": "consent",
        "obtained": "2026-05-01", "retain_until": "2027-11-01", "person": "用户"}
RECIPE = '''"""reviews"""
from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot
NAME = "reviews"
def main(shop: Shop, budget: Budget):
    records = shop.run(collect, source="reviews.csv", text=("评论",), label="评价", person="用户", licence="own",
                       terms="仅供内部研究", origin="our shop in Nanjing", consent="consent", obtained="2026-05-01", retain="18m")
    cleaned = shop.run(clean, records)
    data = shop.run(snapshot, cleaned / "kept", task="text_classification", label="评价", inputs=("评论",))
    model = shop.run(select, data, budget_s=budget.seconds, families=("linear",))
    graph = shop.run(export, model, data / "validation")
    return shop.run(package, graph, shop.run(evaluate, graph, data / "test", shop.run(baseline, data)), seconds=0.02)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("provenance")
    write_reviews(place / "reviews.csv", 120)
    lines = (place / "reviews.csv").read_text(encoding="utf-8").splitlines()
    told = [f"{line},{'用户' if not number else f'U{number}'}" for number, line in enumerate(lines)]
    (place / "reviews.csv").write_text("\n".join(told) + "\n", encoding="utf-8")
    (place / "reviews.py").write_text(RECIPE, encoding="utf-8")
    Inside(place).type("run", "reviews.py", "--budget", "5s")
    return place


def test_the_snapshot_and_the_package_hold_it(folder: Path) -> None:
    shop = Shop.open(folder / "shop")
    made = shop.find("reviews")
    assert shop.ancestor(made.entry, "snapshot").read_json("about.json")["sources"] == [SAID]
    assert made.read_json("package.json")["sources"] == [SAID]
    card = made.path("card.md").read_text(encoding="utf-8")
    assert "**Records**: licence: own; terms: 仅供内部研究" in card and "处理依据：consent；取得日期：2026-05-01" in card


@pytest.mark.parametrize(("language", "words"), [
    ("en", ("terms: 仅供内部研究", "legal basis: consent", "obtained on: 2026-05-01", "column of persons: 用户")),
    ("zh", ("使用条款：仅供内部研究", "处理依据：consent", "取得日期：2026-05-01", "个人所在列：用户"))])  # fmt: skip
def test_show_and_trace_say_it(folder: Path, language: str, words: tuple[str, ...]) -> None:
    terminal = Inside(folder, language)
    for command in ("show", "trace"):
        shown = terminal.type(command, "reviews").out
        assert [one for one in words if one not in shown] == [], shown
    assert terminal.type("show", "reviews", "--json").json["sources"] == [SAID]


def test_it_goes_along_to_another_shop(folder: Path, tmp_path: Path) -> None:
    parcel = send(Shop.open(folder / "shop"), tmp_path / "reviews.mofang")
    box = Box(parcel)
    settings = box.entry(box.document, "collect")["view"]["settings"]
    assert {name: settings[name] for name in SAID if name in settings} == {n: v for n, v in SAID.items() if n != "retain_until"}
    other = Inside(tmp_path / "other", "zh")
    other.type("import", str(parcel), "--yes")
    assert "使用条款：仅供内部研究" in other.type("show", "reviews").out


def test_several_sources_stand_once_each() -> None:
    own = sources_of({"licence": "own", "origin": "", "consent": "contract", "rows": 3}, {"a": "person", "b": "text"})
    assert own == [{"licence": "own", "consent": "contract", "person": "a"}]
    bought = [{"licence": "licensed", "origin": "a firm"}]
    assert united([own, bought, own]) == [*own, *bought]
    assert sources_of({"sources": bought, "licence": "own"}, {}) == bought and sources_of({}, {}) == []
