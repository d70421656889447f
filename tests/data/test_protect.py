"""Protect: personal data out of texts and tables, k-anonymity, pseudonyms that only the key opens, tags out of files."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.operators import apply_operators
from mofang.data.protect import protect
from mofang.data.protecting.budget import JOURNAL, pseudonym_open
from mofang.data.protecting.change import TOKEN, Change, last_four
from mofang.data.protecting.tags import without_tags
from mofang.data.records import RecordReader

MASK = {"name": "text-mask", "version": 1, "columns": ["text"]}


def write(path: Path, rows: int = 120) -> dict[str, Any]:
    """Customers with a remark that holds a name and a telephone."""
    generator = random.Random(3)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["客户", "备注", "年龄", "城市", "入职", "评价"])
        for number in range(rows):
            city = generator.choice(["上海", "北京", "成都"]) if number % 20 else f"小镇{number}"
            writer.writerow([f"C{number % 40:04}", f"我叫王小明，电话1380013{number:04}，{'很好' if number % 2 else '很差'}", generator.randint(20, 59),
                             city, f"2023-{1 + number % 12:02}-15", "好" if number % 2 else "差"])
    return {"source": str(path), "licence": "own", "origin": "tests", "label": "评价", "text": ("备注",), "numbers": ("年龄",),
            "categories": ("城市", "入职"), "person": "客户"}


@pytest.fixture
def records(shop: Shop, tmp_path: Path) -> Any:
    return shop.run(collect, **write(tmp_path / "customers.csv"))


def rows_of(artifact: Any) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(artifact).batches() for row in batch.rows()]


def test_texts_columns_and_people(shop: Shop, records: Any) -> None:
    made = shop.run(protect, records, how=("mask", "mobile=last4"), bands=("年龄=10",), dates=("入职=year",), rare=("城市=5",))
    before, rows = rows_of(records), rows_of(made / "kept")
    assert [row["id"] for row in rows] == [row["id"] for row in before], "records keep their ids, so that erasure finds them"
    assert rows[0]["备注"] == "我叫<姓名>，电话*******0000，很差"
    assert {row["年龄"] for row in rows} <= {25.0, 35.0, 45.0, 55.0} and {row["入职"] for row in rows} == {"2023"}
    assert {row["城市"] for row in rows} == {"上海", "北京", "成都", "其他"}
    names = {row["客户"] for row in rows}
    assert len(names) == 40 and all(TOKEN.fullmatch(name) for name in names), "one pseudonym for each person"
    report = made.read_json("report.json")
    assert report["found"] == {"mobile": 120, "name": 120} and report["by_column"] == {"备注": {"mobile": 120, "name": 120}}
    with made.open("findings.parquet") as file:
        found = pq.read_table(file)
    assert found.column_names == ["id", "column", "kind", "count"] and found.num_rows == 240
    assert "王小明" not in json.dumps(report, ensure_ascii=False)


def test_what_serving_does_is_what_protection_did(shop: Shop, records: Any) -> None:
    made = shop.run(protect, records, how=("pseudonym", "mobile=last4"), bands=("年龄=10",), rare=("城市=5",), person="keep")
    operators = (made / "kept").read_json("about.json")["operators"]
    assert apply_operators(operators, [{name: value for name, value in row.items() if name != "id"} for row in rows_of(records)]) == [
        {name: value for name, value in row.items() if name != "id"} for row in rows_of(made / "kept")]
    assert [one["name"] for one in operators] == ["text-mask", "value-coarsen", "value-coarsen"]
    assert shop.secret("pseudonym-people").hex() not in json.dumps(operators), "the key is not in the model"


def test_classes_below_k_are_set_aside_or_starred(shop: Shop, records: Any) -> None:
    plain = {"bands": ("年龄=10",), "quasi": ("年龄", "城市"), "k": 5}
    made = shop.run(protect, records, **plain)
    told = made.read_json("report.json")["anonymity"]
    assert told["before"]["smallest"] == 1 and told["before"]["below"]["1"] >= 4
    assert told["after"]["smallest"] >= 5 and told["after"]["below"] == {} and told["after"]["l"] >= 1 and told["sensitive"] == "评价"
    with made.open("rejected.parquet") as file:
        rejected = pq.read_table(file)
    assert set(rejected["reason"].to_pylist()) == {"class-below-k"} and rejected.num_rows == told["suppressed"] > 0
    assert rejected.num_rows + len(rows_of(made / "kept")) == 120
    starred = shop.run(protect, records, **plain, below="generalise")
    report = starred.read_json("report.json")["anonymity"]
    assert report["starred"] >= 5 and report["suppressed"] == 0 and report["after"]["smallest"] >= 5
    stars = [row for row in rows_of(starred / "kept") if row["城市"] == "*"]
    assert len(stars) == report["starred"] and {row["年龄"] for row in stars} == {None}


def test_nothing_is_left_when_every_class_is_small(shop: Shop, records: Any) -> None:
    with pytest.raises(MofangError) as error:
        shop.run(protect, records, quasi=("客户",), k=50)
    assert error.value.code == "nothing-left"


def test_a_pseudonym_is_opened_by_whoever_may_and_it_is_written_down(shop: Shop, records: Any) -> None:
    made = shop.run(protect, records, how=("pseudonym",))
    row = rows_of(made / "kept")[7]
    tokens = [found[0] for found in TOKEN.finditer(row["备注"])]
    opened = [shop.act(pseudonym_open, token=token, why="complaint 7") for token in [row["客户"], *tokens]]
    assert opened == [("value", "C0007"), ("name", "王小明"), ("mobile", "13800130007")]
    said = [one for one in shop.journals.rows(JOURNAL) if one.kind == "open"]
    assert len(said) == 3 and said[0].body["why"] == "complaint 7" and "C0007" not in said[0].text
    assert shop.verify() == []


def test_a_pseudonym_needs_its_key(shop: Shop, records: Any, tmp_path: Path) -> None:
    token = rows_of(shop.run(protect, records, how=("pseudonym",)) / "kept")[0]["客户"]
    for wrong, code in (("<手机>", "pseudonym-unreadable"), (token[:-4] + "AAA>", "pseudonym-other-key")):
        with pytest.raises(MofangError) as error:
            shop.act(pseudonym_open, token=wrong)
        assert error.value.code == code
    with pytest.raises(MofangError) as error:
        shop.act(pseudonym_open, token=token, key="nobody")
    assert error.value.code == "pseudonym-key-unknown"
    other = Shop.open(tmp_path / "other")
    other.secret("pseudonym-people")
    with pytest.raises(MofangError) as error:
        other.act(pseudonym_open, token=token)
    assert error.value.code == "pseudonym-other-key"


def test_a_person_has_one_pseudonym_however_the_number_is_written() -> None:
    change = Change({"*": "pseudonym"}, key=b"k" * 32)
    texts = ["手机13800138000", "手机１３８-００１３-８０００", "手机+86 13800138000"]
    tokens = {TOKEN.search(text)[0] for text, _ in change.texts(texts)}  # type: ignore[index]
    assert len(tokens) == 1
    once = change.texts(texts)[0][0]
    assert change.texts([once])[0][0] == once, "done again it changes nothing"
    assert tokens != {TOKEN.search(text)[0] for text, _ in Change({"*": "pseudonym"}, key=b"x" * 32).texts(texts)}  # type: ignore[index]


@pytest.mark.parametrize(("how", "text"), [
    ("mask", "我叫<姓名>，手机<手机>，邮箱<邮箱>，IP <IP>"),
    ("last4", "我叫张*，手机*******8000，邮箱a***@qq.com，IP *.*.**.200"),
    ("generalise", "我叫张*，手机138********，邮箱***@qq.com，IP 8.8.44.0/24"),
    ("remove", "我叫，手机，邮箱，IP "),
    ("keep", "我叫张伟，手机13800138000，邮箱a.b@qq.com，IP 8.8.44.200"),
])  # fmt: skip
def test_each_way(how: str, text: str) -> None:
    given = "我叫张伟，手机13800138000，邮箱a.b@qq.com，IP 8.8.44.200"
    spec = {**MASK, "state": {"how": {"*": how}}}
    assert apply_operators([spec], [{"text": given}, {"text": None}, {}]) == [{"text": text.replace("*.*.**.200", last_four("8.8.44.200", "ip"))},
                                                                             {"text": None}, {}]


def test_tokens_of_ones_own() -> None:
    spec = {**MASK, "state": {"tokens": {"mobile": "[TEL]", "*": "[X]"}, "kinds": ["mobile", "email"]}}
    assert apply_operators([spec], [{"text": "我叫张伟，手机13800138000，a@b.cn"}]) == [{"text": "我叫张伟，手机[TEL]，[X]"}]


@pytest.mark.parametrize(("settings", "code"), [
    ({"how": ("blur",)}, "protect-how-unknown"), ({"how": ("mask", "phon=last4")}, "personal-kind-unknown"),
    ({"kinds": ("手机",)}, "personal-kind-unknown"), ({"bands": ("年龄=0",)}, "protect-pair"), ({"bands": ("年龄",)}, "protect-pair"),
    ({"dates": ("入职=week",)}, "protect-pair"), ({"quasi": ("没有",), "k": 3}, "column-missing"), ({"rare": ("城市=nan",)}, "protect-pair"),
])  # fmt: skip
def test_mistakes_are_told(shop: Shop, records: Any, settings: dict[str, Any], code: str) -> None:
    with pytest.raises(MofangError) as error:
        shop.run(protect, records, **settings)
    assert error.value.code == code


def test_the_same_in_two_processes_and_in_another_shop(shop: Shop, records: Any, tmp_path: Path, monkeypatch: Any) -> None:
    settings: dict[str, Any] = {"how": ("pseudonym",), "rare": ("城市=5",), "quasi": ("城市",), "k": 3}
    one = shop.run(protect, records, **settings)
    other = Shop.open(tmp_path / "other")
    shutil.rmtree(other.path / "keys", ignore_errors=True)
    shutil.copytree(shop.path / "keys", other.path / "keys")
    monkeypatch.setenv("MOFANG_EXECUTOR", "local:2")
    two = other.run(protect, other.run(collect, **write(tmp_path / "customers.csv")), **settings)
    assert one.digest == two.digest
    other.executor.close()


def photo(orientation: int = 6) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Camera of 张三"
    exif.get_ifd(0x8825)[2] = (30.0, 16.0, 1.0)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 30)).save(buffer, "JPEG", exif=exif, comment=b"by zhang san")
    return buffer.getvalue()


def test_tags_leave_pictures_and_the_picture_stays() -> None:
    from PIL import Image, PngImagePlugin

    before = photo()
    after = without_tags(before)
    image, plain = Image.open(io.BytesIO(after)), Image.open(io.BytesIO(before))
    assert dict(image.getexif()) == {0x0112: 6}, "how it is turned stays, nothing else"
    assert image.tobytes() == plain.tobytes() and b"zhang" not in after and without_tags(after) == after
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "张三")
    buffer = io.BytesIO()
    Image.new("L", (4, 4), 9).save(buffer, "PNG", pnginfo=info)
    png = without_tags(buffer.getvalue())
    assert b"Author" not in png and Image.open(io.BytesIO(png)).tobytes() == b"\x09" * 16


def test_tags_leave_sounds_and_the_sound_stays() -> None:
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", 4) + b"\1\0\2\0"
    plain = b"RIFF" + struct.pack("<I", len(body)) + body
    tagged = body + b"LIST" + struct.pack("<I", 16) + b"INFOIART" + struct.pack("<I", 4) + b"Li\0\0"
    assert without_tags(b"RIFF" + struct.pack("<I", len(tagged)) + tagged) == plain
    mp3 = b"\xff\xfb\x90\x00" + bytes(200)
    assert without_tags(b"ID3\x04\0\0\0\0\0\x0aTPE1 zhang" + mp3 + b"TAG" + bytes(125)) == mp3


@pytest.mark.parametrize("cut", [0, 1, 3, 9, 20, 40, 70])
def test_broken_files_come_back_as_they_are_or_shorter(cut: int) -> None:
    for data in (photo(), b"RIFF\xff\xff\xff\xffWAVELIST", b"fLaC\x04\xff\xff\xff", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xff", b"ID3"):
        assert len(without_tags(data[:cut])) <= max(cut, 0)
