"""Files in more than twenty shapes, each with what `mofang new` must say of it: right, or honestly unsure.

A shape is a function of a folder that writes the source and returns its path; what is expected stands beside it. The files
are drawn from a seed; another seed gives other files of the same shapes, and the same is expected of them.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.data.shapes import EN, ZH, sentences, write_csv, write_jsonl

SURNAMES, GIVEN = "王李张刘陈杨黄赵吴周", "伟芳娜敏静丽强磊军洋勇艳杰涛明超秀霞平刚"
FR = {"bon": ["très agréable", "chambre propre", "personnel gentil"], "mauvais": ["très bruyant", "chambre sale", "personnel désagréable"]}


@dataclass(frozen=True)
class Expected:
    """``code`` where it must end unsure or refuse, else what must be found; ``left`` are reasons of columns left out,
    ``said`` codes of remarks, ``flag`` what the answer to being unsure is, after which all else holds."""

    code: str = ""
    flag: tuple[str, ...] = ()
    task: str = ""
    label: str = ""
    inputs: tuple[str, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    group: str = ""
    time: str = ""
    map: str = ""
    classes: int = 0
    said: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


Shape = tuple[Callable[[Path, random.Random], Path], Expected]
TEXT, TABLE, IMAGE = "text_classification", "table_classification", "image_classification"


def person(chance: random.Random) -> str:
    """A Chinese name."""
    return chance.choice(SURNAMES) + "".join(chance.sample(GIVEN, chance.choice((1, 2))))


def phone(chance: random.Random) -> str:
    """A mobile number."""
    return f"1{chance.choice('3578')}{chance.randrange(10**9):09d}"


def identity(chance: random.Random) -> str:
    """An identity number with its check sum."""
    first = f"{chance.choice((110101, 310104, 440305))}{chance.randrange(1960, 2005)}{chance.randrange(1, 13):02d}{chance.randrange(1, 29):02d}"
    first += f"{chance.randrange(1000):03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first + "10X98765432"[sum(int(sign) * weight for sign, weight in zip(first, weights, strict=True)) % 11]


def day(chance: random.Random, first: date = date(2024, 1, 1), days: int = 300) -> str:
    """A day as people write it."""
    return (first + timedelta(days=chance.randrange(days))).isoformat()


def zh_reviews(at: Path, chance: random.Random) -> Path:
    rows = [(f"{text}电话{phone(chance)}" if chance.random() < 0.1 else text, label) for text, label in sentences(ZH, 400, chance.randrange(99))]
    return write_csv(at / "酒店评论.csv", ("评论内容", "情感"), rows, ";", "gb18030")


def stars_by_user(at: Path, chance: random.Random) -> Path:
    rows = [(f"U{chance.randrange(60):05d}", text, chance.choice((4, 5) if label == "positive" else (1, 2, 3)), day(chance))
            for text, label in sentences(EN, 500, chance.randrange(99))]
    return write_csv(at / "app reviews.txt", ("user_id", "review", "stars", "date"), rows, "\t", "utf-16")


def spellings(at: Path, chance: random.Random) -> Path:
    forms = {"好评": ["好评", "好评 ", "好評", "好评"], "差评": ["差评", "差評", "　差评", "差评"]}
    rows = [(text, chance.choice(forms[label])) for text, label in sentences(ZH, 300, chance.randrange(99))]
    return write_csv(at / "评价.csv", ("内容", "标签"), rows, ",", "utf-8-sig")


def workbook(at: Path, chance: random.Random) -> Path:
    from openpyxl import Workbook

    book = Workbook()
    book.active.title = "说明"
    book.active.append(["本表由客服部导出"])
    sheet = book.create_sheet("客户")
    sheet.append(["2024 年客户名单"])
    sheet.append(["身份证号", "姓名", "手机", "年龄", "月消费", "套餐", "是否流失"])
    for _ in range(260):
        gone = chance.random() < 0.4
        sheet.append([int(identity(chance)[:15]) * 1000.0, person(chance), phone(chance), chance.randrange(18, 70),
                      round(chance.gauss(60 if gone else 120, 40), 1), chance.choice(["A", "B", "C"]), "是" if gone else "否"])
    book.save(at / "客户.xlsx")
    return at / "客户.xlsx"


def headerless(at: Path, chance: random.Random) -> Path:
    rows = [[f"{chance.gauss(5 + (kind == 'seed'), 1):.2f}" for _ in range(5)] + [kind] for kind in (chance.choice(["grain", "seed", "husk"]) for _ in range(300))]
    return write_csv(at / "kernels.psv", None, rows, "|")


def full_width(at: Path, chance: random.Random) -> Path:
    lines = ["内容，标签", *(f"{text.replace('，', '')}，{label}" for text, label in sentences(ZH, 100, chance.randrange(99)))]
    (at / "反馈.txt").write_text("\n".join(lines), encoding="utf-8")
    return at / "反馈.txt"


def numeric_ids(at: Path, chance: random.Random) -> Path:
    numbers = chance.sample(range(10_000_000, 99_999_999), 400)
    rows = [(numbers[i], f"SO2024{i:06d}", round(chance.gauss(300 if bad else 120, 90), 2), chance.choice(["微信", "支付宝", "银行卡"]),
             chance.randrange(24), "yes" if bad else "no") for i in range(400) for bad in (chance.random() < 0.3,)]
    return write_csv(at / "payments.csv", ("member", "order", "amount", "channel_kind", "hour", "fraud"), rows)


def forecast(at: Path, chance: random.Random) -> Path:
    rows = []
    for _ in range(600):
        tenure, calls = chance.randrange(60), chance.randrange(12)
        rows.append((day(chance, date(2023, 1, 1), 700), tenure, calls, chance.choice(["prepaid", "contract"]),
                     "yes" if calls + chance.gauss(0, 2) > 7 else "no"))
    return write_csv(at / "subscribers.csv", ("snapshot_date", "tenure", "calls", "plan", "churn"), rows)


def leak(at: Path, chance: random.Random) -> Path:
    rows = []
    for _ in range(500):
        good = chance.random() < 0.5
        told = good if chance.random() > 0.02 else not good
        rows.append((round(chance.gauss(50 + 8 * good, 15), 1), chance.choice("NSEW"), round(chance.gauss(3 - good, 1.5), 2), "grün" if told else "rot",
                     "approved" if good else "declined"))
    return write_csv(at / "kredite.csv", ("einkommen", "region_code", "schulden", "ampel", "decision"), rows, ";", "cp1252")


def afterwards(at: Path, chance: random.Random) -> Path:
    rows = []
    for i in range(500):
        back = chance.random() < 0.3
        rows.append((i + 1, round(chance.gauss(200 + 40 * back, 70), 2), chance.choice(["衣服", "鞋", "包"]), chance.randrange(1, 9),
                     day(chance) if back and chance.random() < 0.95 else "", chance.choice(["全额退款", "部分退款"]) if back else "",
                     "退货" if back else "正常"))
    return write_csv(at / "订单.csv", ("序号", "金额", "品类", "件数", "退款日期", "处理方式", "状态"), rows)


def patients(at: Path, chance: random.Random) -> Path:
    rows = []
    for number in chance.sample(range(1000, 9999), 60):
        sick = chance.random() < 0.5
        for _ in range(chance.randrange(3, 10)):
            rows.append((number, round(chance.gauss(36.6 + 0.5 * sick, 0.4), 1), chance.randrange(60, 100), round(chance.gauss(5 + sick, 1), 2),
                         "sick" if sick else "well"))
    chance.shuffle(rows)
    return write_csv(at / "ward.csv", ("patient_id", "temperature", "pulse", "glucose", "diagnosis"), rows)


def unlabelled(at: Path, chance: random.Random) -> Path:
    rows = [(text, "" if chance.random() < 0.4 else label if chance.random() < 0.95 else "unclear") for text, label in sentences(EN, 800, chance.randrange(99))]
    return write_csv(at / "tickets.csv", ("message", "category"), rows)


def languages(at: Path, chance: random.Random) -> Path:
    rows: list[dict[str, Any]] = [{"text": text, "lang": "zh", "label": {"好评": "good", "差评": "bad"}[label]} for text, label in sentences(ZH, 150)]
    rows += [{"text": text, "lang": "en", "label": {"positive": "good", "negative": "bad"}[label]} for text, label in sentences(EN, 150)]
    for i in range(150):
        kind = chance.choice(list(FR))
        said = " et ".join(chance.sample(FR[kind], 2))
        rows.append({"text": f"Nous avons dormi ici pour {i} nuits, {said} dans la ville", "lang": "fr", "label": {"bon": "good", "mauvais": "bad"}[kind]})
    chance.shuffle(rows)
    return write_jsonl(at / "feedback.jsonl", rows)


def grey_png(pixels: Any) -> bytes:
    """A grey picture of the digits, four times as large."""
    import numpy as np

    large = np.kron(np.minimum(np.asarray(pixels) * 16, 255).astype(np.uint8).reshape(8, 8), np.ones((4, 4), np.uint8))
    raw = b"".join(b"\0" + bytes(row) for row in large)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)


@cache
def digit_pictures() -> tuple[list[list[int]], list[int]]:
    """Pixels and digits of scikit-learn, read from its file: importing it takes seconds."""
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations
    packed = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "digits.csv.gz"
    rows = [[int(float(cell)) for cell in line.split(",")] for line in gzip.decompress(packed.read_bytes()).decode().split()]
    return [row[:-1] for row in rows], [row[-1] for row in rows]


def rare_pictures(at: Path, chance: random.Random) -> Path:
    pixels, digits = digit_pictures()
    ones = [place for place in range(len(digits)) if digits[place] == 1][:20]
    others = chance.sample([place for place in range(len(digits)) if digits[place] != 1], 380)
    for name, places in (("次品", ones), ("合格品", others)):
        (at / "零件照片" / name).mkdir(parents=True)
        for place in places:
            (at / "零件照片" / name / f"图{place}.png").write_bytes(grey_png(pixels[place]))
    return at / "零件照片"


def zipped_pictures(at: Path, chance: random.Random) -> Path:
    pixels, digits = digit_pictures()
    with zipfile.ZipFile(at / "数字.zip", "w") as archive:
        for place in chance.sample(range(len(digits)), 200):
            name = f"{'单数' if digits[place] % 2 else '双数'}/{place}.png"
            info = zipfile.ZipInfo(name.encode("gb18030").decode("cp437"))
            info.flag_bits = 0
            archive.writestr(info, grey_png(pixels[place]))
    return at / "数字.zip"


def listed_pictures(at: Path, chance: random.Random) -> Path:
    pixels, digits = digit_pictures()
    places = chance.sample(range(len(digits)), 150)
    (at / "scans").mkdir()
    for place in places:
        (at / "scans" / f"{place:05d}.png").write_bytes(grey_png(pixels[place]))
    rows = [(f"{place:05d}.png", "high" if digits[place] > 4 else "low") for place in places[:-5]]
    write_csv(at / "scans" / "labels.csv", ("file", "kind"), rows)
    return at / "scans"


def pictures_by_case(at: Path, chance: random.Random) -> Path:
    pixels, digits = digit_pictures()
    for place in chance.sample(range(len(digits)), 300):
        folder = at / "clinic" / f"case{place % 25:02d}" / ("odd" if digits[place] % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place}.png").write_bytes(grey_png(pixels[place]))
    return at / "clinic"


def cases_below_classes(at: Path, chance: random.Random) -> Path:
    pixels, digits = digit_pictures()
    for place in chance.sample(range(len(digits)), 200):
        kind = "odd" if digits[place] % 2 else "even"
        folder = at / "clinic" / kind / f"{kind[0]}-case{place % 12:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place}.png").write_bytes(grey_png(pixels[place]))
    return at / "clinic"


def no_label(at: Path, chance: random.Random) -> Path:
    rows = [(i + 1, day(chance), text) for i, (text, _) in enumerate(sentences(ZH, 200, chance.randrange(99)))]
    return write_csv(at / "留言.csv", ("编号", "日期", "留言"), rows)


def two_labels(at: Path, chance: random.Random) -> Path:
    rows = [(text, label, chance.choice(["billing", "network", "account"])) for text, label in sentences(EN, 300, chance.randrange(99))]
    return write_csv(at / "mails.csv", ("body", "sentiment", "category"), rows)


def nested(at: Path, chance: random.Random) -> Path:
    lines = [json.dumps({"meta": {"id": f"{chance.getrandbits(128):032x}", "tags": ["a"]}, "content": text, "intent": label}, ensure_ascii=False)
             for text, label in sentences(ZH, 250, chance.randrange(99))]
    (at / "对话.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return at / "对话.jsonl"


def amounts(at: Path, chance: random.Random) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 400
    table = pa.table({
        "area": [round(chance.gauss(90, 25), 1) if chance.random() > 0.1 else None for _ in range(rows)],
        "rooms": [chance.randrange(1, 6) for _ in range(rows)],
        "price": [round(chance.gauss(300, 90), 3) for _ in range(rows)],
    })
    pq.write_table(table, at / "flats.parquet")
    return at / "flats.parquet"


def written_label(at: Path, chance: random.Random) -> Path:
    rows = [(f"【{label}】{text}", label) for text, label in ((t, {"好评": "表扬", "差评": "投诉"}[y]) for t, y in sentences(ZH, 300, chance.randrange(99)))]
    return write_csv(at / "工单.csv", ("工单内容", "类型"), rows, "\t", "utf-8")


def growing(at: Path, chance: random.Random) -> Path:
    moment = datetime(2024, 1, 1)
    rows = []
    for text, label in sentences(EN, 360, chance.randrange(99)):
        moment += timedelta(hours=chance.randrange(1, 30))
        rows.append((moment.strftime("%Y-%m-%d %H:%M:%S"), f"shop {chance.randrange(40)}", text, label))
    for month in range(3):
        write_csv(at / f"reviews-2024-0{month + 1}.csv", ("created_at", "shop", "text", "label"), rows[month * 120 : month * 120 + 120])
    return at / "reviews-*.csv"


def several_tables(at: Path, chance: random.Random) -> Path:
    (at / "export").mkdir()
    write_csv(at / "export" / "customers.csv", ("customer", "city", "age"), [(i, "x", 30) for i in range(50)])
    write_csv(at / "export" / "orders.csv", ("order", "amount", "status"), [(i, i * 2, "open") for i in range(50)])
    return at / "export"


SHAPES: dict[str, Shape] = {
    "gb18030, semicolons, phones in texts": (zh_reviews, Expected(
        task=TEXT, label="情感", inputs=("评论内容",), classes=2, said=("personal-in-text",),
        more={"encoding": "gb18030", "delimiter": ";", "languages": ["zh"], "name": "酒店评论"})),
    "utf-16, tabs, stars as labels, several of a user": (stars_by_user, Expected(
        task=TEXT, label="stars", inputs=("review",), group="user_id", map="4,5=positive;1,2=negative", classes=2, said=("stars",),
        left={"user_id": "group"}, more={"encoding": "utf-16", "delimiter": "\t"})),
    "one label in several spellings": (spellings, Expected(
        task=TEXT, label="标签", inputs=("内容",), classes=2, said=("variants", "spelling"), more={"encoding": "utf-8-sig"})),
    "a workbook with identity numbers": (workbook, Expected(
        task=TABLE, label="是否流失", inputs=("年龄", "月消费", "套餐"), classes=2, said=("rounded", "sheets"), more={"sheet": "客户"},
        left={"身份证号": "rounded", "姓名": "personal", "手机": "personal"})),
    "no header": (headerless, Expected(task=TABLE, label="column_6", classes=3, inputs=tuple(f"column_{i}" for i in range(1, 6)), more={"header": False})),
    "full-width commas": (full_width, Expected(code="label-not-found")),
    "ids that look like numbers": (numeric_ids, Expected(
        task=TABLE, label="fraud", inputs=("amount", "channel_kind", "hour"), left={"member": "id", "order": "id"}, classes=2)),
    "later from earlier": (forecast, Expected(
        task=TABLE, label="churn", inputs=("tenure", "calls", "plan"), time="snapshot_date", left={"snapshot_date": "order"}, classes=2)),
    "a leak with noise": (leak, Expected(
        task=TABLE, label="decision", inputs=("einkommen", "region_code", "schulden"), left={"ampel": "says-the-label"}, classes=2)),
    "known only afterwards": (afterwards, Expected(
        task=TABLE, label="状态", inputs=("金额", "品类", "件数"), left={"序号": "id", "退款日期": "afterwards", "处理方式": "afterwards"}, classes=2)),
    "several rows of a patient": (patients, Expected(
        task=TABLE, label="diagnosis", inputs=("temperature", "pulse", "glucose"), group="patient_id", left={"patient_id": "group"}, classes=2)),
    "missing labels and a rare class": (unlabelled, Expected(task=TEXT, label="category", inputs=("message",), classes=3, said=("unequal",))),
    "three languages": (languages, Expected(task=TEXT, label="label", inputs=("text",), classes=2, left={"lang": "not-text"})),
    "5 % positives": (rare_pictures, Expected(task=IMAGE, label="label", inputs=("image",), classes=2, said=("unequal", "image-whole"), more={"name": "零件照片"})),
    "pictures in an old zip": (zipped_pictures, Expected(task=IMAGE, label="label", inputs=("image",), classes=2)),
    "pictures with a label file": (listed_pictures, Expected(task=IMAGE, label="label", inputs=("image",), classes=2, more={"label_file": "labels.csv", "unlabelled": 5})),
    "a folder for each case above the classes": (pictures_by_case, Expected(task=IMAGE, label="label", inputs=("image",), classes=2, group="folder")),
    "a folder for each case below the classes": (cases_below_classes, Expected(code="folder-levels")),
    "no label at all": (no_label, Expected(code="label-not-found")),
    "two plausible labels": (two_labels, Expected(
        code="label-unsure", flag=("--label", "category"), task=TEXT, label="category", inputs=("body",), classes=3)),
    "nested JSON lines": (nested, Expected(task=TEXT, label="intent", inputs=("content",), classes=2)),
    "an amount to forecast": (amounts, Expected(code="label-unsure", flag=("--label", "rooms"), task=TABLE, label="rooms", inputs=("area", "price"), classes=5)),
    "the label written in the text": (written_label, Expected(task=TEXT, label="类型", inputs=("工单内容",), classes=2, said=("label-in-text",))),
    "growing files of several shops": (growing, Expected(task=TEXT, label="label", inputs=("text",), group="shop", classes=2, more={"files": 3})),
    "different tables in one folder": (several_tables, Expected(code="tables-differ")),
}

