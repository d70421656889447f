"""Vocabularies of every kind, the shards they make, and what goes wrong; docs/tokenizer.md is walked."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from tokenizers import Tokenizer as Library

from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.data.records import Records
from mofang.fit.tokenizer import Shards, open_shards, shard, tokenizer
from mofang.fit.tokenizing.encoding import Ids, encoder_of
from mofang.fit.tokenizing.learning import Wanted, learn
from mofang.fit.tokenizing.signs import Kind, framed, pieces_of
from mofang.recipe import collect
from tests.new.test_pages import walk
from tests.stories.terminal import Inside

KINDS = get_args(Kind)
THINGS = ("房间", "早餐", "屏幕", "物流", "价格", "电池", "room", "breakfast", "screen", "delivery", "price", "battery")
SAID = ("很好", "很差", "满意", "失望", "very good", "quite bad", "satisfying", "disappointing")


def reviews(count: int, seed: int = 1) -> list[str]:
    """Texts in Chinese and English, no two alike."""
    chance = random.Random(seed)
    return [f"第{number}号：{chance.choice(THINGS)}{chance.choice(SAID)}，{chance.choice(THINGS)} is {chance.choice(SAID)}!\n"
            for number in range(count)]


def hostile(characters: int) -> list[str]:
    """Anything that Unicode has, in texts of every length, and what a vocabulary could stumble over."""
    chance = random.Random(2)
    blocks = [range(1, 0x600), range(0x900, 0x1200), range(0x2000, 0x2C00), range(0x3000, 0x3400), range(0x4E00, 0xA000),
              range(0xAC00, 0xAD00), range(0xFE00, 0x10000), range(0x1F300, 0x1FA00), range(0x20000, 0x20400)]
    found = ["", " ", "\r\n\r\n  a  b\n\n c", "[MASK] [PAD][EOS] <|user|>", "İSTANBUL ΣΑΣ ﬁ e\u0301 \u200b", "a" * 3000, "汉" * 3000]
    while characters > 0:
        length = chance.randint(1, 400)
        mixed = (chr(chance.choice(chance.choice(blocks))) if chance.random() < 0.5 else chance.choice(" \n中文字ab1.,，") for _ in range(length))
        found.append("".join(mixed))
        characters -= length
    return found


def by_library(told: str, texts: list[str]) -> Ids:
    """The ids as `tokenizers` gives them from tokenizer.json, a text's own signs taken as they are."""
    library = Library.from_str(told)
    library.encode_special_tokens = True
    rows = [one.ids for one in library.encode_batch(texts, add_special_tokens=False)]
    return Ids(np.array([one for row in rows for one in row], np.uint32), np.array([len(row) for row in rows], np.int64))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("normalise", "lower"), [("none", False), ("nfkc", True)])
def test_the_fast_encoder_gives_the_ids_of_tokenizer_json(kind: Kind, normalise: Any, lower: bool) -> None:
    told = learn(lambda: iter(reviews(600)), Wanted(kind, 900, normalise, lower, ("<|user|>",)))
    texts = [*hostile(100_000), *reviews(50, seed=9)]
    fast, slow = encoder_of(told, kind)(texts), by_library(told, texts)
    assert np.array_equal(fast.counts, slow.counts)
    assert np.array_equal(fast.flat, slow.flat)
    assert not set(fast.flat.tolist()) & {0, 2, 3, 4, 5, 6, 7}, "no text is a special token"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_vocabulary(kind: Kind) -> None:
    first, second = (learn(lambda: iter(reviews(400)), Wanted(kind, 700)) for _ in range(2))
    assert first == second
    pieces = pieces_of(first)
    assert pieces[:7] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]"]
    assert len(pieces) == len(set(pieces)) <= 700


@pytest.mark.parametrize("kind", ["bpe", "byte", "char", "unigram"])
def test_what_was_encoded_can_be_read_again(kind: Kind) -> None:
    texts = reviews(300)
    library = Library.from_str(learn(lambda: iter(texts), Wanted(kind, 800)))
    for text in texts[:20]:
        assert library.decode(library.encode(text, add_special_tokens=False).ids) == text


def test_words_and_characters_become_tokens() -> None:
    merged = learn(lambda: iter(reviews(600)), Wanted("bpe", 1000))
    assert {"Ġvery", "Ġdisappointing"} <= set(pieces_of(merged))
    assert len(encoder_of(merged, "bpe")(["早餐很好"]).flat) == 1, "a Chinese phrase that recurs is one token"
    words = pieces_of(learn(lambda: iter(reviews(600)), Wanted("wordpiece", 1000)))
    assert {"breakfast", "餐", "##a"} <= set(words) and "早餐" not in words and "##餐" not in words


def test_a_frame_is_put_round_a_text() -> None:
    told = learn(lambda: iter(reviews(200)), Wanted("bpe", 400))
    for frame, ends in (("cls", (2, 3)), ("bos", (5, 6))):
        ids = Library.from_str(framed(told, frame)).encode("房间").ids  # type: ignore[arg-type]
        assert (ids[0], ids[-1]) == ends
    pair = Library.from_str(framed(told, "cls")).encode("房间", "room")
    assert sorted(set(pair.type_ids)) == [0, 1] and pair.ids.count(3) == 2


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.open(tmp_path_factory.mktemp("tokens") / "shop")


def records_of(shop: Shop, place: Path, texts: list[str], column: str = "text", **more: Any) -> Records:
    """Records with these texts in one column."""
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([column, "number"])
        writer.writerows([one, number] for number, one in enumerate(texts))
    given: dict[str, Any] = {"text": (column,)} | more
    made: Records = shop.run(collect, source=str(place), licence="CC-BY-4.0", numbers=("number",), **given)
    return made


@pytest.fixture(scope="module")
def records(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Records:
    return records_of(shop, tmp_path_factory.mktemp("texts") / "texts.csv", [*reviews(400), "  "])


def documents(shards: Shards, scratch: Path) -> Iterator[tuple[str, list[int]]]:
    for name, part in open_shards(shards, scratch).items():
        yield from ((name, part.document(number).tolist()) for number in range(len(part)))


@pytest.mark.parametrize("kind", KINDS)
def test_shards_hold_every_text_once(shop: Shop, records: Records, kind: Kind, tmp_path: Path) -> None:
    vocabulary = shop.run(tokenizer, (records,), kind=kind, size=900)
    made = shop.run(shard, (records,), vocabulary, validation=0.1)
    about = made.read_json("about.json")
    library = Library.from_str(vocabulary.open("tokenizer.json").read().decode())
    wanted = sorted(library.encode(one, add_special_tokens=False).ids for one in reviews(400))
    found = list(documents(made, tmp_path))
    assert sorted(ids for _, ids in found) == wanted
    assert about["documents"] == {part: sum(one == part for one, _ in found) for part in ("train", "validation")}
    assert about["empty"] == 1 and about["documents"]["validation"] > 10
    assert sum(about["bytes"].values()) == sum(len(one.encode()) for one in reviews(400))
    assert sum(about["tokens"].values()) == sum(map(len, wanted)) and about["dtype"] == "uint16"
    assert made.licences == ("CC-BY-4.0",)


def test_threads_change_nothing_and_ends_are_put(shop: Shop, records: Records, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = shop.run(tokenizer, (records,), size=600)
    plain = dict(enumerate(documents(shop.run(shard, (records,), vocabulary, validation=0.2), tmp_path)))
    monkeypatch.setattr("mofang.fit.tokenizer.PIECE_CHARACTERS", 50)
    monkeypatch.setenv("MOFANG_THREADS", "3")
    ended = dict(enumerate(documents(shop.run(shard, (records,), vocabulary, validation=0.2, ends=True), tmp_path)))
    assert ended == {number: (part, [*ids, 6]) for number, (part, ids) in plain.items()}


def test_more_records_leave_the_others_where_they_are(shop: Shop, records: Records, tmp_path: Path) -> None:
    vocabulary = shop.run(tokenizer, (records,), size=600)
    more = records_of(shop, tmp_path / "more.csv", [*reviews(400), *reviews(900)[400:]])
    before, after = (set(map(str, documents(shop.run(shard, (one,), vocabulary, validation=0.2), tmp_path))) for one in (records, more))
    assert before < after


def test_an_erased_record_leaves_the_shards(shop: Shop, records: Records, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from mofang.fit.tokenizing.shards import without_documents

    vocabulary = shop.run(tokenizer, (records,), size=600)
    made = shop.run(shard, (records,), vocabulary, validation=0.2)
    ids = pq.read_table(made.open("train/records.parquet")).column("id").to_pylist()
    parts = without_documents(made, lambda id: id == ids[1])
    assert set(parts) == {"train/tokens.bin", "train/documents.npy", "about.json"}
    kept = open_shards(made, tmp_path)["train"]
    whole = b"".join(kept.document(number).tobytes() for number in range(len(kept)) if number != 1)
    assert parts["train/tokens.bin"] == whole
    assert without_documents(made, lambda id: False) == {}


@pytest.mark.parametrize(("given", "code"), [
    ({"size": 100}, "vocabulary-too-small"), ({"kind": "unigram", "size": 610}, "ok"), ({"kind": "unigram", "size": 200}, "vocabulary-too-small"),
    ({"text": "txet"}, "column-missing"), ({"special": ("EOT",)}, "special-unsuited"), ({"special": ("<a>", "<a>")}, "special-unsuited"),
    ({"special": (" <a>",)}, "special-unsuited"), ({"special": ("[PAD]",)}, "special-unsuited"), ({"kind": "bpe2"}, "setting-refused"),
])
def test_what_cannot_be_is_said(shop: Shop, records: Records, given: dict[str, Any], code: str) -> None:
    try:
        shop.run(tokenizer, (records,), **given)
        found = "ok"
    except MofangError as error:
        assert error.what and error.fix
        found = error.code
    assert found == code


def test_records_without_texts_are_refused(shop: Shop, tmp_path: Path) -> None:
    empty = records_of(shop, tmp_path / "empty.csv", [" ", "\t"])
    with pytest.raises(MofangError, match="empty"):
        shop.run(tokenizer, (empty,))
    numbers = records_of(shop, tmp_path / "numbers.csv", ["a", "b"], text=(), categories=("text",))
    with pytest.raises(MofangError, match="None of these columns"):
        shop.run(tokenizer, (numbers,))
    few = records_of(shop, tmp_path / "few.csv", ["一", "二"])
    vocabulary = shop.run(tokenizer, (few,), kind="byte")
    with pytest.raises(MofangError, match="none fell into the part validation"):
        shop.run(shard, (few,), vocabulary)
    assert shop.run(shard, (few,), vocabulary, validation=0.0).read_json("about.json")["tokens"] == {"train": 6, "validation": 0}


def test_a_vocabulary_that_does_not_cover_the_language_is_said(shop: Shop, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Run, "announce", lambda self, en, zh, **values: said.append(en.format(**values)))
    english = records_of(shop, tmp_path / "english.csv", [f"the room number {number} is good" for number in range(200)])
    chinese = records_of(shop, tmp_path / "chinese.csv", [f"第{number}号房间很好" for number in range(200)])
    vocabulary = shop.run(tokenizer, (english,), kind="wordpiece", size=200)
    assert said == []
    made = shop.run(shard, (chinese,), vocabulary)
    assert made.read_json("about.json")["unknown_share"] > 0.5
    assert len(said) == 1 and "are unknown" in said[0]


def test_the_page_is_true(tmp_path: Path) -> None:
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([one] for one in reviews(3000))
    os.environ.pop("MOFANG_EXECUTOR", None)
    walk("tokenizer.md", Inside(tmp_path), {})
