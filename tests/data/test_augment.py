"""Variants of training records: repeatable, label-safe, only in the training part, and shown on a sheet."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.augmenting import images, sounds, texts
from mofang.data.augmenting.kinds import KINDS, SAFE, chance, variant_id
from mofang.data.augmenting.tables import synthetic
from mofang.data.augmenting.words import NEGATIONS, alike, synonyms
from mofang.data.records import RecordReader, content_digest
from tests.contract.world import write_images, write_table

PARTS = ("train", "validation", "test")


def rows(part: Any) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(part).batches() for row in batch.rows()]


def texts_snapshot(shop: Shop, folder: Path, count: int = 60) -> Any:
    from mofang.recipe import clean, collect, snapshot

    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(count):
            good = number % 2
            writer.writerow([f"第{number}间房间非常{'干净' if good else '脏'}，服务很{'热情' if good else '冷漠'}。<b>Not</b> a {'good' if good else 'bad'} room",
                             "pos" if good else "neg"])
    records = shop.run(collect, source=str(folder / "texts.csv"), licence="own", text=("text",), label="label")
    kept = shop.run(clean, records, near_duplicate=0.0) / "kept"
    return shop.run(snapshot, kept, task="text_classification", label="label", test=0.2, validation=0.2)


# Texts


@given(st.text(max_size=60) | st.sampled_from(["房间很好，早餐也不错", "not good at all", "不", "好", "a", "😀 房间", "don't buy"]),
       st.integers(0, 1000))
def test_any_text_has_variants_that_are_texts(text: str, seed: int) -> None:
    assert "".join(texts.pieces(text)) == text
    for kind, function in texts.KINDS.items():
        found = function(text, chance(seed, kind), 1.0)
        assert isinstance(found, str) and found == function(text, chance(seed, kind), 1.0)
        assert len(found) <= 3 * len(text) + 20
    varied = texts.varied(text, SAFE["text"], chance(seed), 0.5)
    assert varied == text or varied.strip()


@given(st.lists(st.sampled_from(["房间", "不", "好", "没有", "服务", "热情", "not", "good", "never", "room", " ", "，"]), min_size=4, max_size=20),
       st.integers(0, 99))
def test_a_negation_is_never_left_out_or_moved_away(words: list[str], seed: int) -> None:
    text = " ".join(words)
    before = [one.lower() for one in texts.pieces(text) if one.lower() in NEGATIONS]
    for function in (texts.delete, texts.swap, texts.synonym):
        found = [one.lower() for one in texts.pieces(function(text, chance(seed), 1.0)) if one.lower() in NEGATIONS]
        assert found == before, function


def test_the_tables_of_words_are_sound() -> None:
    assert len(synonyms()) > 150 and len(alike()) > 150
    assert all(word not in others and others for word, others in synonyms().items())
    assert not NEGATIONS & set(synonyms())
    assert alike()["的"] and alike()["己"] and set(alike()["g"]) >= {"f", "h"}


def test_each_kind_does_what_it_says() -> None:
    text = "这家酒店的房间非常干净，早餐也不错，服务员很热情。"
    found = {kind: function(text, chance(3, kind), 1.0) for kind, function in texts.KINDS.items()}
    assert all(one != text for one in found.values())
    assert sorted(found["swap"]) == sorted(text) and len(found["delete"]) < len(text) and len(found["noise"]) == len(text)


def test_a_translator_is_registered_by_name(shop: Shop, tmp_path: Path) -> None:
    from mofang.recipe import augment

    data = texts_snapshot(shop, tmp_path)
    with pytest.raises(MofangError) as caught:
        shop.run(augment, data, kinds=("back-translate",))
    assert caught.value.code == "translator-missing"
    texts.register_translator("there-and-back-1", lambda some: [f"换句话说：{one}" for one in some])
    try:
        grown = shop.run(augment, data, kinds=("back-translate",), translator="there-and-back-1")
        assert any(row["text"].startswith("换句话说") for row in rows(grown / "train"))
    finally:
        texts.TRANSLATORS.clear()


# Images and sounds


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (28, 28), (40, 17)])
def test_every_kind_of_image_keeps_its_shape(shape: tuple[int, int], channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
    before = pixels.copy()
    for kind in KINDS["image"]:
        for seed in range(5):
            found = images.varied(pixels, [kind], chance(seed, kind), 1.0, lambda rng: 255 - pixels)
            again = images.varied(pixels, [kind], chance(seed, kind), 1.0, lambda rng: 255 - pixels)
            assert found.shape == pixels.shape and found.dtype == np.uint8 and (found == again).all()
    assert (pixels == before).all(), "what is given stays as it is"


def test_a_flip_mirrors_and_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    flipped = [images.flip(pixels, chance(seed), 1) for seed in range(20)]
    assert {(one == pixels).all() for one in flipped} == {True, False}
    assert all((one == pixels).all() or (one == pixels[:, ::-1]).all() for one in flipped)
    assert (images.pixels_of(images.png_bytes(pixels)) == pixels).all()


def tone(hertz: float, seconds: float = 1.0) -> Any:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(8000 * seconds)) / 8000))[:, None]


def loudest(samples: Any) -> float:
    return float(np.abs(np.fft.rfft(samples[:, 0])).argmax() * 8000 / len(samples))


def test_speed_and_pitch_move_a_tone_as_they_should() -> None:
    for seed in range(4):
        faster = sounds.speed(tone(500), chance(seed), 1.0)
        assert loudest(faster) * len(faster) == pytest.approx(500 * 8000, rel=0.02)
        higher = sounds.pitch(tone(500), chance(seed), 1.0)
        assert len(higher) == 8000 and 500 * 2 ** (-4.2 / 12) < loudest(higher) < 500 * 2 ** (4.2 / 12)


def test_resampling_makes_no_echoes() -> None:
    found = sounds.speed(tone(3000), chance(2), 1.0)
    spectrum = np.abs(np.fft.rfft(found[:, 0] * np.hanning(len(found))))
    spectrum[max(0, spectrum.argmax() - 20): spectrum.argmax() + 20] = 0
    assert 20 * np.log10(spectrum.max() / len(found)) < -60


@pytest.mark.parametrize("length", [1, 100, 5000])
def test_every_kind_of_sound_takes_any_length(length: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (length, 2))
    for kind, function in sounds.KINDS.items():
        found = function(samples, chance(1, kind), 1.0)
        assert found.shape[1] == 2 and len(found) >= 1 and np.isfinite(found).all(), kind


def test_masks_take_out_time_and_frequency() -> None:
    assert (np.abs(sounds.time_mask(tone(500), chance(3), 1.0)) == 0).sum() > 100
    hiss = np.random.default_rng(0).normal(0, 0.1, (16000, 1))
    before, after = (np.abs(sounds.stft(one[:, 0])).mean(0) for one in (hiss, sounds.frequency_mask(hiss, chance(3), 1.0)))
    assert (after < 0.5 * before).sum() >= 5


# Tables


def test_new_rows_lie_between_rows_of_their_class() -> None:
    generator = np.random.default_rng(0)
    given_rows = [{"x": float(generator.normal(5, 1)), "n": float(generator.integers(0, 9)), "c": generator.choice(["a", "b"])}
                  for _ in range(30)]
    made = synthetic(given_rows, [f"{number}" for number in range(30)], {"x": "number", "n": "number", "c": "category"}, 45, 0)
    assert len(made) == 45 and len({(source, turn) for source, turn, _, _ in made}) == 45
    low, high = min(row["x"] for row in given_rows), max(row["x"] for row in given_rows)
    assert all(low <= one["x"] <= high and one["n"] % 1 == 0 and one["c"] in "ab" for _, _, _, one in made)
    assert synthetic(given_rows[:1], ["0"], {"x": "number"}, 5, 0) == []


def test_gaps_and_equal_rows_do_no_harm() -> None:
    made = synthetic([{"x": None, "c": None}] * 4, list("abcd"), {"x": "number", "c": "category"}, 3, 0)
    assert [one for *_, one in made] == [{"x": None, "c": None}] * 3


# The stage


def test_only_the_training_part_grows(shop: Shop, tmp_path: Path) -> None:
    from mofang.recipe import augment

    data = texts_snapshot(shop, tmp_path)
    grown = shop.run(augment, data, times=2)
    for part in ("validation", "test"):
        assert content_digest(grown / part) == content_digest(data / part)
    before, after = rows(data / "train"), rows(grown / "train")
    own = [row for row in after if row["augmented_from"] is None]
    assert [{name: row[name] for name in before[0]} for row in own] == before
    made = [row for row in after if row["augmented_from"]]
    by_id = {row["id"]: row for row in before}
    assert len(made) == 2 * len(before) and len({row["id"] for row in after}) == len(after)
    for row in made:
        source = by_id[row["augmented_from"]]
        assert row["label"] == source["label"] and row["text"] != source["text"]
        assert row["id"] in {variant_id(source["id"], number) for number in (1, 2)}
    about = grown.read_json("about.json")
    assert about["counts"]["train"]["rows"] == len(after) and about["augmented"]["rows"] == len(made)
    sheet = grown.path("sheet.html").read_text(encoding="utf-8")
    assert "<mark>" in sheet and "&lt;b&gt;" in sheet and "<b>Not" not in sheet


def test_neither_batches_nor_the_executor_change_anything(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.data import augment as module
    from mofang.recipe import augment, clean, collect, snapshot

    write_images(tmp_path / "images", 60)

    def grown(place: Shop) -> str:
        records = place.run(collect, source=str(tmp_path / "images"), licence="own")
        data = place.run(snapshot, place.run(clean, records, near_duplicate=0.0) / "kept", task="image_classification", test=0.2,
                         validation=0.2)
        return place.run(augment, data, kinds=("mixup", "rotate"), times=2).digest

    whole = grown(shop)
    monkeypatch.setattr(module, "BATCH", 7)
    other = Shop.open(tmp_path / "other")
    shutil.copytree(shop.path / "keys", other.path / "keys", dirs_exist_ok=True)
    assert grown(Shop(other.path)) == whole


def test_a_table_is_balanced_and_its_features_are_made_afresh(shop: Shop, tmp_path: Path) -> None:
    from mofang.data.operators import apply_operators
    from mofang.recipe import augment, clean, collect, features, snapshot

    write_table(tmp_path / "t.csv", 200)
    records = shop.run(collect, source=str(tmp_path / "t.csv"), licence="own", label="违约", numbers=("年龄", "收入"), categories=("城市",))
    data = shop.run(snapshot, shop.run(clean, records) / "kept", task="table_classification", label="违约")
    data = shop.run(features, data, ratios=("收入/年龄",), missing="median")
    before = data.read_json("about.json")["counts"]["train"]["classes"]
    grown = shop.run(augment, data, times=20)
    about = grown.read_json("about.json")
    assert set(about["counts"]["train"]["classes"].values()) == {max(before.values())}
    made = [row for row in rows(grown / "train") if row["augmented_from"]]
    raw = [{name: row[name] for name in ("年龄", "收入", "城市")} for row in made]
    again = apply_operators(about["operators"][about["features"]["begin"]:], raw)
    assert made and all(row["收入/年龄"] == one["收入/年龄"] and row["年龄.ready"] == one["年龄.ready"]
                        for row, one in zip(made, again, strict=True))


def test_an_image_sheet_can_be_opened(shop: Shop, tmp_path: Path) -> None:
    from mofang.recipe import augment, clean, collect, snapshot

    write_images(tmp_path / "images", 40)
    records = shop.run(collect, source=str(tmp_path / "images"), licence="own")
    data = shop.run(snapshot, shop.run(clean, records, near_duplicate=0.0) / "kept", task="image_classification", test=0.2,
                    validation=0.2)
    grown = shop.run(augment, data, times=3, sheet=4, classes=("left",))
    sheet = Image.open(io.BytesIO(grown.path("sheet.png").read_bytes()))
    assert sheet.size == (4 + 4 * 116, 4 + 4 * 116)
    assert {row["label"] for row in rows(grown / "train") if row["augmented_from"]} == {"left"}


@pytest.mark.parametrize(("settings", "code"), [({"kinds": ("flip",)}, "augment-unknown"), ({"classes": ("x",)}, "augment-class-unknown")])
def test_what_cannot_be_is_refused(shop: Shop, tmp_path: Path, settings: dict[str, Any], code: str) -> None:
    from mofang.recipe import augment

    data = texts_snapshot(shop, tmp_path)
    with pytest.raises(MofangError) as caught:
        shop.run(augment, data, **settings)
    assert caught.value.code == code
    with pytest.raises(MofangError) as caught:
        shop.run(augment, shop.run(augment, data))
    assert caught.value.code == "augment-twice"


def test_who_is_erased_goes_with_every_variant_and_the_sheet(shop: Shop, tmp_path: Path) -> None:
    from mofang.data.erasure.erase import erase_from
    from mofang.recipe import augment

    grown = shop.run(augment, texts_snapshot(shop, tmp_path), times=2)
    gone = rows(grown / "train")[0]["id"]
    assert sum(gone in (row["id"], row["augmented_from"]) for row in rows(grown / "train")) == 3
    erase_from(shop, records=[gone])
    left = shop.artifact(shop.ledger.get(grown.entry))
    assert not any(gone in (row["id"], row["augmented_from"]) for row in rows(left / "train"))
    assert not left.has("sheet.html")


def test_what_was_mixed_names_both(shop: Shop, tmp_path: Path) -> None:
    from mofang.recipe import augment, clean, collect, snapshot

    write_images(tmp_path / "images", 40)
    records = shop.run(collect, source=str(tmp_path / "images"), licence="own")
    data = shop.run(snapshot, shop.run(clean, records, near_duplicate=0.0) / "kept", task="image_classification", test=0.2,
                    validation=0.2)
    before = {row["id"]: row["label"] for row in rows(data / "train")}
    made = [row for row in rows(shop.run(augment, data, kinds=("mixup",)) / "train") if row["augmented_from"]]
    assert made and all(before[row["augmented_with"]] == row["label"] == before[row["augmented_from"]] for row in made)
    assert all(row["augmented_with"] != row["augmented_from"] for row in made)


def test_a_text_whose_number_or_spans_would_no_longer_fit_is_left_alone(shop: Shop, tmp_path: Path) -> None:
    from mofang.recipe import augment, collect, snapshot

    source = tmp_path / "stars.csv"
    source.write_text("text,stars\n" + "".join(f"第{number}间房很好,{number % 5}\n" for number in range(60)), encoding="utf-8")
    records = shop.run(collect, source=str(source), licence="own", text=("text",), numbers=("stars",))
    data = shop.run(snapshot, records, task="text_regression", label="stars", inputs=("text",))
    with pytest.raises(MofangError) as caught:
        shop.run(augment, data)
    assert caught.value.code == "augment-target"
