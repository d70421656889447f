"""Files of other tools: what is exported comes back equal, in every format and kind; hostile files end in words."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.labelling import desk
from mofang.data.labelling.consensus import shown
from mofang.data.labelling.exchange import coco, conll, jsonl, labelstudio, yolo
from mofang.data.labelling.exchange.csv import guarded
from mofang.data.labelling.exchange.items import Item, Misfit, Proposed, Said
from mofang.data.labelling.exchange.sending import send
from mofang.data.labelling.looking import bring_file, bring_model_file, told_task
from mofang.data.labelling.schema import KINDS, PICTURE, Schema
from mofang.data.sources.files import SourceFile, source_files
from tests.data.labelling.asking import answer, now, pictures, project, take, texts

CLASSES = ("人名", "地名", "other")
SIZE = (40, 30)
SIGNS = "上海的张三在Paris 1994，ab-\n\t😀'"


def schema_of(kind: str) -> Schema:
    return Schema(kind, CLASSES if kind in ("classes", "several", "spans", "boxes", "polygons") else ())


def drawn(chance: random.Random, kind: str, chars: int) -> dict[str, Any]:
    """An answer of a kind in its one spelling."""
    def label() -> str:
        return chance.choice(CLASSES)

    def side() -> float:
        return chance.randrange(4, 60) / 4

    def span() -> dict[str, Any]:
        start = chance.randrange(chars)
        return {"start": start, "end": min(chars, start + chance.randrange(1, 5)), "label": label()}

    def polygon() -> dict[str, Any]:
        x, y, n = side(), side(), side()
        return {"points": [[x, y], [x + n, y], [x, y + n]], "label": label()}

    count = range(chance.randrange(4))
    schema = schema_of(kind)
    return schema.checked({
        "classes": lambda: {"label": label()}, "several": lambda: {"labels": [label() for _ in count]},
        "text": lambda: {"text": "".join(chance.choice(SIGNS) for _ in range(chance.randrange(20)))},
        "ratings": lambda: {"rating": chance.randrange(1, 6)}, "pairs": lambda: {"better": chance.choice(("a", "b", "tie"))},
        "spans": lambda: {"spans": [span() for _ in count]},
        "boxes": lambda: {"boxes": [{"x": side(), "y": side(), "width": side(), "height": side(), "label": label()} for _ in count]},
        "polygons": lambda: {"polygons": [polygon() for _ in count]}}[kind](), chars=chars, size=SIZE)


def items(chance: random.Random, kind: str) -> list[Item]:
    """Tasks with answers of several people and a proposal."""
    found = []
    for _ in range(chance.randrange(1, 5)):
        text, record = "".join(chance.choice(SIGNS) for _ in range(chance.randrange(1, 30))), f"{chance.getrandbits(128):032x}"
        said = [Said(drawn(chance, kind, len(text)), name, 1_700_000_000_000_000 + chance.randrange(10**12), 1500)
                for name in ("b@example.com", "c d", "甲")[:chance.randrange(4)]]
        made = [Proposed(drawn(chance, kind, len(text)), 0.5, "m@1")] if chance.random() < 0.5 else []
        picture = kind in PICTURE
        found.append(Item({"text": text}, record, f"图/{record}.png" if picture else "", SIZE if picture else None, said, made))
    return found


def refused(*_told: object) -> None:
    raise AssertionError(_told)


def comparable(found: list[Item]) -> list[Any]:
    return [(one.values, one.record, [(said.person, said.answer, said.at_us, said.ms) for said in one.answers],
             [(made.answer, made.score, made.model) for made in one.proposals]) for one in found]


@pytest.mark.parametrize("writer", [jsonl, labelstudio], ids=["jsonl", "label-studio"])
@pytest.mark.parametrize("kind", KINDS)
def test_round_trips_are_equal(writer: Any, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round")
    schema = schema_of(kind)

    @settings(max_examples=15, deadline=None, phases=(Phase.generate,))
    @given(chance=st.randoms(use_true_random=False))
    def check(chance: random.Random) -> None:
        given_items = items(random.Random(chance.getrandbits(64)), kind)
        path = folder / "x.json"
        assert writer.write(path, iter(given_items), schema) == len(given_items)
        back = list(writer.read([SourceFile(path, "x.json")], schema, refused))
        for one in back:
            one.answers = [Said(schema.checked(said.answer, size=SIZE), said.person, said.at_us, said.ms) for said in one.answers]
            one.proposals = [Proposed(schema.checked(made.answer, size=SIZE), made.score, made.model) for made in one.proposals]
            one.values.pop("image", None)
        assert comparable(back) == comparable(given_items)

    check()


@settings(max_examples=60, deadline=None, phases=(Phase.generate,))
@given(text=st.text(st.sampled_from("上海的张三在Paris 1994，ab-\n\t😀e\u0301'"), min_size=1, max_size=30), data=st.data())
def test_conll_round_trips_any_spans_that_do_not_overlap(text: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    schema = schema_of("spans")
    edges = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [{"start": a, "end": b, "label": CLASSES[a % 3]} for a, b in zip(edges[::2], edges[1::2], strict=False)]
    spans = [one for one in spans if text[one["start"]:one["end"]].strip() == text[one["start"]:one["end"]]]
    path = tmp_path_factory.mktemp("conll") / "x.conll"
    item = Item({"text": text}, "0" * 32, final={"spans": spans})
    try:
        conll.write(path, iter([item]), schema)
    except MofangError as error:  # a combining sign alone is no token
        assert error.code == "label-span-blank"
        return
    found = list(conll.read([SourceFile(path, "x")], schema, refused))
    if not text.strip():
        assert found == []
        return
    back, = found
    assert back.values == {"text": text} and back.record == "0" * 32 and back.answers[0].answer == {"spans": spans}


def test_conll_of_others_bio_bioes_and_chinese(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("-DOCSTART- -X- O\n\nJohn NNP B-PER\nSmith NNP I-PER\nslept . O\n\n张\tB-PER\n三\tE-PER\n在\tO\n京\tS-LOC\n\nx Q-Y\n\nlone\n",
                    encoding="utf-8")
    wrong: list[tuple[Any, ...]] = []
    first, second = conll.read([SourceFile(path, "x")], schema_of("spans"), lambda *told: wrong.append(told))
    assert first.values == {"text": "John Smith slept"} and first.answers[0].answer == {"spans": [{"start": 0, "end": 10, "label": "PER"}]}
    assert second.values == {"text": "张三在京"}
    assert [(one["start"], one["end"]) for one in second.answers[0].answer["spans"]] == [(0, 2), (3, 4)]
    assert [one[2] for one in wrong] == ["not-a-task"] * 2


@pytest.mark.parametrize(("kind", "format", "name"), [("boxes", "coco", "x.json"), ("polygons", "coco", "x.json"), ("boxes", "yolo", "folder"),
                                                      ("polygons", "yolo", "folder"), ("boxes", "label-studio", "x.json"),
                                                      ("polygons", "jsonl", "x.jsonl")])
def test_marks_in_pictures_come_back_to_their_pictures(tmp_path: Path, kind: str, format: str, name: str) -> None:
    shop = Shop.open(tmp_path / "shop")
    records = pictures(shop, tmp_path)
    made = project(shop, records, kind=kind, classes=CLASSES)
    marks = {"boxes": {"boxes": [{"x": 3.0, "y": 4.5, "width": 10.25, "height": 7.0, "label": "人名"}]},
             "polygons": {"polygons": [{"points": [[1.0, 1.0], [20.5, 2.0], [9.0, 25.0]], "label": "other"}]}}[kind]
    for task in take(shop, "甲", made, 2):
        answer(shop, "甲", made, task, marks if task else {kind: []})
    assert send(shop, now(shop, made), tmp_path / name, format) == (2 if format == "yolo" else 3)
    other = project(shop, records, "other", kind=kind, classes=CLASSES)
    brought, taken = bring_file(shop, "other", str(tmp_path / name), format=format)
    expected = 3 if format == "coco" else 2
    assert (taken.answers, taken.unmatched, brought.measures["rejected"]) == (expected, 0, 0)
    facts = told_task(shop, "other", 1)
    assert [one["answer"] for one in facts["answers_brought"]] == [marks]
    assert now(shop, other).answers == expected and shop.verify() == []


def test_a_project_goes_out_and_comes_back_with_answers_and_proposals(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    made = project(shop, texts(shop, tmp_path, 40), overlap=2)
    for name in ("甲", "乙"):
        for task in take(shop, name, made, 20):
            answer(shop, name, made, task, "好" if task % 3 else "坏", ms=1200)
    shop.act(desk.label_adjudicate, project=made.id, task=3, answer={"label": "坏"}, why="看过原文")
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"row": row + 1, "label": "好", "scores": {"好": 0.9, "坏": 0.1}}) + "\n" for row in range(40)))
    assert bring_model_file(shop, "reviews", str(tmp_path / "p.jsonl"), "m@1") == 40
    for format in ("jsonl", "label-studio"):
        first, second = tmp_path / f"{format}.1", tmp_path / f"{format}.2"
        assert send(shop, now(shop, made), first, format) == 40
        shop.act(desk.label_new, name=f"copy-{format}", kind="classes", classes=("好", "坏"), overlap=2)
        _, taken = bring_file(shop, f"copy-{format}", str(first), format=format)
        assert (taken.tasks, taken.answers, taken.proposals, taken.project.done) == (40, 40, 40, 20)
        send(shop, taken.project, second, format)
        if format == "jsonl":
            plain = [[{key: value for key, value in json.loads(line).items() if key != "final"} for line in path.read_text().splitlines()]
                     for path in (first, second)]
            assert plain[0] == plain[1]
        again = bring_file(shop, f"copy-{format}", str(first), format=format)[1]
        assert (again.tasks, again.known, again.answers, again.project.answers) == (0, 40, 0, 40), "the same file twice is one file"
    assert shop.verify() == []


def test_short_lines_of_several_people_are_one_task_each_text(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    shop.act(desk.label_new, name="short", kind="classes", classes=("好", "坏"), overlap=2)
    lines = [{"text": f"第{row}条", "label": "好", "person": name} for name in ("a", "b") for row in range(5)]
    lines += [{"text": "第0条", "label": "坏", "person": "a"}, {"text": "第9条", "label": "奇怪", "person": "a"}]
    (tmp_path / "s.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in lines), encoding="utf-8")
    brought, taken = bring_file(shop, "short", str(tmp_path / "s.jsonl"), bad_share=0.2)
    assert (taken.tasks, taken.project.answers, taken.project.done, brought.measures["rejected"]) == (5, 10, 5, 1)
    assert [one["answer"]["label"] for one in told_task(shop, "short", 0)["answers_brought"]] == ["坏", "好"], "a person's last answer counts"
    assert take(shop, "a", taken.project) == (), "nobody is asked what they answered elsewhere"
    assert shop.verify() == []


HOSTILE = [
    ("jsonl", b"{}"), ("jsonl", b"\xff\xfe\x00"), ("jsonl", b"[" * 100_000), ("jsonl", b'{"text": ' + b"[" * 5000), ("jsonl", b'[{"text": "x"'),
    ("jsonl", b'{"record": "../../etc/passwd", "data": {"text": "x"}, "answers": [{"answer": {"label": "\xe5\xa5\xbd"}}]}'),
    ("jsonl", b'{"text": "x", "answers": "no"}'), ("jsonl", b'{"text": "x", "answers": [{"answer": {"label": {"a": 1}}, "at_us": 1e400}]}'),
    ("label-studio", b'[{"data": []}]'), ("label-studio", b'[{"data": {"text": "x"}, "annotations": [{"result": {"a": 1}}]}]'),
    ("label-studio", b'[{"data": {"text": "x"}, "annotations": [{"result": [{"type": "choices", "value": {"choices": 3}}]}]}]'),
    ("label-studio", b'[1, 2, "x"]'), ("label-studio", b""),
]


@pytest.mark.parametrize(("format", "content"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_files_end_in_words(tmp_path: Path, format: str, content: bytes) -> None:
    shop = Shop.open(tmp_path / "shop")
    shop.act(desk.label_new, name="p", kind="classes", classes=("好", "坏"))
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(MofangError) as error:
        bring_file(shop, "p", str(tmp_path / "x.json"), format=format)
    assert error.value.what and error.value.fix and now(shop, shop_project(shop)).tasks == 0
    assert shop.verify() == []


def shop_project(shop: Shop) -> Any:
    from mofang.data.labelling.projects import find_project

    return find_project(shop, "p")


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"images": 3}', b'{"images": [], "annotations": [], "categories": []}',
                                     b'{"images": [{"id": 1, "file_name": "../../x.png"}], "annotations": [], "categories": []}',
                                     b'{"images": [{"id": 1, "file_name": 3}], "annotations": [{"image_id": 1, "bbox": "x"}], "categories": []}'])
def test_hostile_coco_ends_in_words(tmp_path: Path, content: bytes) -> None:
    shop = Shop.open(tmp_path / "shop")
    project(shop, pictures(shop, tmp_path), kind="boxes", classes=CLASSES)
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(MofangError):
        bring_file(shop, "reviews", str(tmp_path / "x.json"), format="coco")


def test_yolo_lines_that_are_no_marks(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for number, line in enumerate(("9 0 0 0 0", "0 2 2 1 1", "0 0.5", "x 1 1 1 1", "0 0.1 0.1 nan 0.1", "0 0.5 0.5 0.1 0.1")):
        (tmp_path / "labels" / f"{number}.txt").write_text(line)
    wrong: list[Any] = []
    found = list(yolo.read(source_files(str(tmp_path)), schema_of("boxes"), lambda *told: wrong.append(told)))
    assert [one.file for one in found] == ["5"] and len(wrong) == 5
    with pytest.raises(Misfit):
        yolo.in_pixels([("人名", [0.0, 0.0, 0.1, 0.1])], "polygons", SIZE)
    assert yolo.stem(Item(file="../../a/b c.png")) == "a/b_c"


def test_coco_writes_areas_and_reads_polygons(tmp_path: Path) -> None:
    schema = schema_of("polygons")
    square = {"points": [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]], "label": "人名"}
    coco.write(tmp_path / "x.json", iter([Item(file="a.png", size=SIZE, final={"polygons": [square]})]), schema)
    told = json.loads((tmp_path / "x.json").read_text())
    assert told["annotations"][0]["area"] == 16 and told["annotations"][0]["bbox"] == [0, 0, 4, 4]
    back, = coco.read([SourceFile(tmp_path / "x.json", "x.json")], schema, refused)
    assert back.answers[0].answer == {"polygons": [square]} and back.size == SIZE


def test_a_spreadsheet_computes_nothing(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    made = project(shop, texts(shop, tmp_path, 2), kind="text", classes=())
    take(shop, "=cmd()", made, 2)
    answer(shop, "=cmd()", made, 0, {"text": '=HYPERLINK("http://x")'})
    send(shop, now(shop, made), tmp_path / "x.csv", "csv")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][3:5] == ["'=cmd()", "'=HYPERLINK(\"http://x\")"] and len(rows) == 3
    assert guarded("＝1") == "'＝1" and guarded("好") == "好" and shown("several", {"labels": ["a", "b"]}) == "a|b"
