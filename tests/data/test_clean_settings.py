"""Every setting of clean does what it says, names its reason, and a changed threshold reads no record again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import Cleaned, clean, rejected_rows
from mofang.data.collect import collect
from mofang.data.records import RecordReader, content_digest

PAGE = "<!DOCTYPE html><html><head><title>T</title><script>var x = 1</script></head><body><p>{}</p><p>{}</p></body></html>"
ENGLISH = ("The committee that met in the spring has said that it would look at all of the papers with care, and the people who "
           "had written them were asked to be there and to speak about what they have found in the course of the year. ")
CHINESE = "这份文件说明了今年春天委员会的工作，大家都认为应该认真看完所有的材料，然后再作出决定，因为这是一件很重要的事情。"
FRENCH = "Le comité qui s'est réuni au printemps a déclaré qu'il examinerait avec soin tous les documents qui lui ont été remis. "


def gathered(shop: Shop, folder: Path, rows: list[str], **how: Any) -> Any:
    import orjson

    path = folder / f"rows-{len(list(folder.glob('rows-*')))}.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in rows))
    return shop.run(collect, source=str(path), licence="own", text=("text",), **how)


def texts(made: Cleaned) -> list[str]:
    return [text for batch in RecordReader(made / "kept").batches() for text in batch.column("text")]


def table(shop: Shop, folder: Path, lines: str, **how: Any) -> Any:
    path = folder / "t.csv"
    path.write_text(lines, encoding="utf-8")
    return shop.run(collect, source=str(path), licence="own", **how)


def test_pages_become_paragraphs(shop: Shop, tmp_path: Path) -> None:
    rows = [PAGE.format("Ｏne　line", "another\u200b line"), "plain  text\r\n\r\n\r\nsecond"]
    made = shop.run(clean, gathered(shop, tmp_path, rows), html="auto", layout="paragraphs")
    first, second = texts(made)
    assert first.splitlines()[0] == "One line" and "another line" in first and "var x" not in first
    assert second == "plain text\n\nsecond"
    names = [one["name"] for one in (made / "kept").read_json("about.json")["operators"]]
    assert names == ["text-html", "text-paragraphs"]


def test_languages_and_quality_give_their_reasons(shop: Shop, tmp_path: Path) -> None:
    rows = [ENGLISH * 4, CHINESE * 4, FRENCH * 6, "too few words", "# # # " * 80]
    records = gathered(shop, tmp_path, rows)
    made = shop.run(clean, records, languages=("en", "zh"), quality={"tag": "web", "repetition": False})
    assert sorted(texts(made)) == sorted(text.strip().replace("，", ",") for text in rows[:2])
    reasons = {row["reason"] for row in rejected_rows(made)}
    assert "language" in reasons and any(one.startswith("quality-") or one == "language" for one in reasons)
    statistics = pq.read_table(made.path("statistics.parquet"))
    assert statistics.num_rows == 5 and {"language", "language_score", "words"} <= set(statistics.schema.names)
    with pytest.raises(MofangError) as error:
        shop.run(clean, records, quality="web")
    assert error.value.code == "nothing-left" and "quality-repeated-words 3" in str(error.value), "the same sentence again and again"


def test_a_changed_threshold_reads_no_record_again(shop: Shop, tmp_path: Path) -> None:
    chance = np.random.default_rng(2)
    words = ENGLISH.split()
    rows = [" ".join(chance.choice(words, 80)) for _ in range(300)]
    records = gathered(shop, tmp_path, rows)
    settings: dict[str, Any] = {"languages": ("en", "zh"), "quality": "web", "near_duplicate": 0.9, "near_by": "words"}
    shop.run(clean, records, **settings)
    head = shop.ledger.head()[0]
    began = time.monotonic()
    shop.run(clean, records, **settings | {"quality": {"tag": "web", "min_words": 10, "min_word_chars": 2}, "near_duplicate": 0.7, "min_chars": 5})
    kinds = [(entry.kind, entry.body["stage"]) for entry in shop.ledger.entries("start", "reuse", "done", after_seq=head)]
    assert ("reuse", "survey") in kinds and ("start", "survey") not in kinds
    assert time.monotonic() - began < 10


def test_personal_data_is_masked_or_its_text_dropped(shop: Shop, tmp_path: Path) -> None:
    rows = ["请联系我，手机13800138000，谢谢", "没有任何联系方式的一句话"]
    records = gathered(shop, tmp_path, rows)
    masked = shop.run(clean, records, personal="mask")
    assert not any("13800138000" in text for text in texts(masked)) and masked.measures["kept"] == 2
    dropped = shop.run(clean, records, personal="drop")
    assert texts(dropped) == rows[1:] and dropped.measures["dropped"] == {"personal-data": 1}
    with pytest.raises(MofangError) as error:
        shop.run(clean, records, personal="mask", personal_kinds=("mobil",))
    assert error.value.code == "personal-kind-unknown"


@pytest.mark.parametrize("rule", ["nothing", "=x", "a b=x", "bad=(", "look=(?=x)y", "back=(a)\\1", "big=a{1000}{1000}"])
def test_rules_that_cannot_be_run_in_good_time_are_refused(shop: Shop, tmp_path: Path, rule: str) -> None:
    with pytest.raises(MofangError) as error:
        shop.run(clean, gathered(shop, tmp_path, ["one text", "and another"]), rules=(rule,))
    assert error.value.code in ("rule-unreadable", "rule-refused")


def test_own_rules_drop_with_their_name_and_hostile_ones_end(shop: Shop, tmp_path: Path) -> None:
    rows = ["加微信领红包", "很好的酒店", "a" * 100_000 + "!"]
    began = time.monotonic()
    made = shop.run(clean, gathered(shop, tmp_path, rows), rules=("advert=加微信|VX", "slow=^(a+)+$"))
    assert time.monotonic() - began < 20 and made.measures["dropped"] == {"rule-advert": 1}
    flagged = shop.run(clean, gathered(shop, tmp_path, rows), rules=("advert=加微信|VX",), flag=("rule-advert",))
    assert flagged.measures["kept"] == 3 and flagged.measures["flagged"] == {"rule-advert": 1}
    assert pq.read_table(flagged.path("statistics.parquet"))["flag"].to_pylist() == ["rule-advert", "", ""]


def test_noise_of_the_keyboard(shop: Shop, tmp_path: Path) -> None:
    made = shop.run(clean, gathered(shop, tmp_path, ["太好了！！！！！！哈哈哈哈哈哈哈", "1000000000000 元", "fine......."]), noise=True)
    assert texts(made) == ["太好了!!!哈哈哈", "1000000000000 元", "fine..."]


def test_a_table_is_repaired_and_its_gaps_and_outliers_go(shop: Shop, tmp_path: Path) -> None:
    lines = ["weight,day,age,who"] + [f"{n}kg,2024年3月{n}日,{30 + n},u{n}" for n in range(1, 26)]
    lines += ["500g,2024-03-07,31,v", "much,someday,32,w", ",,,x", "3kg,2024-03-01,9000,y"]
    records = table(shop, tmp_path, "\n".join(lines) + "\n", categories=("weight", "day", "who"), numbers=("age",))
    made = shop.run(clean, records, units=("weight=kg",), dates=("day",), missing=0.5, outliers=8.0)
    rows = [row for batch in RecordReader(made / "kept").batches() for row in batch.rows()]
    assert RecordReader(made / "kept").roles["weight"] == "number"
    assert {"weight": 0.5, "day": "2024-03-07"}.items() <= next(row for row in rows if row["who"] == "v").items()
    assert made.measures["dropped"] == {"values-missing": 1, "outlier": 1} and made.measures["unread"] == {"weight": 1, "day": 1}
    kept = shop.run(clean, records, outliers=8.0, flag=("outlier",))
    assert kept.measures["kept"] == 29 and kept.measures["flagged"] == {"outlier": 1}
    for settings, code in (({"units": ("weight=stone",)}, "unit-unknown"), ({"units": ("gone=kg",)}, "column-missing"),
                           ({"dates": ("day=ymd",)}, "date-order-unknown"), ({"flag": ("nonsense",)}, "flag-unknown")):
        with pytest.raises(MofangError) as error:
            shop.run(clean, records, **settings)
        assert error.value.code == code


def test_documents_are_compared_by_words(shop: Shop, tmp_path: Path) -> None:
    words = np.random.default_rng(3).integers(0, 5000, (60, 500))
    rows = [" ".join(f"w{n}" for n in row) for row in words]
    rows += [text.replace(f"w{words[place][250]} ", "changed ", 1) for place, text in enumerate(rows[:20])]
    made = shop.run(clean, gathered(shop, tmp_path, rows))
    assert made.measures == {"rows": 80, "kept": 60, "dropped": {"near-duplicate": 20}}
    by_characters = shop.run(clean, gathered(shop, tmp_path, rows), near_by="characters")
    assert by_characters.measures["dropped"] == {"near-duplicate": 20}
    assert content_digest(made / "kept") == content_digest(by_characters / "kept")


def test_pictures_that_are_blurred_or_flat_and_silent_sounds_go(shop: Shop, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "pictures"
    chance = np.random.default_rng(1)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for place in range(8):
            Image.fromarray(chance.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / label / f"{place}.png")
    Image.new("L", (40, 40), 127).save(folder / "a" / "flat.png")
    records = shop.run(collect, source=str(folder), licence="own")
    made = shop.run(clean, records, min_contrast=5.0)
    assert made.measures["dropped"] == {"image-flat": 1}
    assert shop.run(clean, records, min_blur=10.0).measures["dropped"] == {"image-blurred": 1}
