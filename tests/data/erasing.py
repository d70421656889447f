"""A small shop in which one planted person stands everywhere, and ways to look for what is left of them."""

from __future__ import annotations

import csv
import random
import sqlite3
from pathlib import Path
from typing import Any

from mofang.core.shop import Shop

PERSON = "Zhang-San-7788"
SENTENCE = "我叫张三住在梧桐路七十七号这把青铜钥匙只有我有"
OTHERS = 59


def write_source(path: Path, rows: int = 200) -> None:
    """Reviews by sixty people; four are the planted person's."""
    generator = random.Random(3)
    words = ["房间", "早餐", "屏幕", "键盘", "故事", "翻译", "服务", "物流", "价格", "封面", "电池", "声音"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "text", "label", "stars"])
        for number in range(rows):
            text = "，".join(generator.choices(words, k=5)) + f"第{number}单"
            planted = number in (3, 50, 51, 120)
            writer.writerow([PERSON if planted else f"user{number % OTHERS}", f"{SENTENCE}{number}" if planted else text,
                             ("好", "坏")[number % 2], str(number % 5)])
        writer.writerow(["user1", "别人的坏行", "好", f"{PERSON} {SENTENCE}"])
        writer.writerow(["user1", "别人的坏行", "好", "many"])


def make(shop: Shop, source: Path) -> dict[str, Any]:
    """Collect, clean and split the source."""
    from mofang.recipe import clean, collect, snapshot

    made: dict[str, Any] = {}
    made["records"] = shop.run(collect, source=str(source), licence="own", text=("text",), numbers=("stars",),
                               label="label", person="user")
    made["cleaned"] = shop.run(clean, made["records"])
    made["snapshot"] = shop.run(snapshot, made["cleaned"] / "kept", task="text_classification", label="label",
                                inputs=("text",), validation=0.2, test=0.2)
    return made


def traces(shop: Path, *words: str) -> list[str]:
    """Files below the shop that hold one of these words as plain bytes, databases and their logs included."""
    wanted = [word.encode(name) for word in words for name in ("utf-8", "gb18030", "utf-16-le")]

    def held(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:  # a database's log goes when its last connection closes
            return b""

    return sorted(str(path.relative_to(shop)) for path in shop.rglob("*")
                  if path.is_file() and any(one in held(path) for one in wanted))


def everything_readable(shop: Shop) -> bytes:
    """All plain bytes that can still be got out of a shop with its keys: objects decrypted, tables as text."""
    found = b""
    for digest in (name for name in shop.store.held() if len(name) == 64):
        with shop.store.open(digest) as file:
            data = file.read()
        found += unpacked(data)
    for name in ("ledger.db", "meter.db"):
        if (shop.path / name).exists():
            with sqlite3.connect(shop.path / name) as db:
                found += "\n".join(db.iterdump()).encode()
    return found


def unpacked(data: bytes) -> bytes:
    """The bytes of an object, the rows of a Parquet file as text."""
    if data[:4] != b"PAR1":
        return data
    import io

    import pyarrow.parquet as pq

    return str(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
