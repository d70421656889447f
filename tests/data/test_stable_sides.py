"""Sides that stay: under growth, corrections, other shares, time, groups; copies never cross; growth is counted."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean, rejected_rows
from mofang.data.cleaning.labelmap import label_map, plain_label, written_map
from mofang.data.collect import collect
from mofang.data.records import RecordReader
from mofang.data.snapshot import Snapshot, snapshot
from mofang.data.snapshots.growth import Growth, grown
from mofang.data.snapshots.sides import TEST, TRAIN, UNKNOWN, Cut, Shares, settle, sides_by_time
from tests.data.test_snapshot import ROWS, sides

Row = tuple[str, ...]
WORDS = ["山", "水", "风", "花", "雪", "月", "春", "夏", "秋", "冬", "东", "西", "南", "北", "红", "白"]


def texts(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choice(WORDS) for _ in range(40)) + str(seed * 10_000 + i) for i in range(count)]


def gathered(shop: Shop, path: Path, rows: list[Row]) -> Artifact:
    path.write_text("\n".join(["text,label,user,day", *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return shop.run(collect, source=str(path), licence="own", label="label", text=("text",), group="user", time="day")


def split(shop: Shop, records: Artifact, previous: Snapshot | None = None, before: Any = None, **how: Any) -> tuple[Snapshot, Any]:
    cleaned = shop.run(clean, records, before)
    return shop.run(snapshot, cleaned / "kept", previous, task="t", **how), cleaned


@pytest.mark.parametrize("how", [{}, {"group": "user"}, {"time": "day"}])
def test_nothing_moves_while_records_come_go_and_change(shop: Shop, tmp_path: Path, how: dict[str, str]) -> None:
    chance = random.Random(5)
    rows = [(text, chance.choice("xy"), f"u{i % 60}", f"2024-{1 + i // 30:02d}-{1 + i % 28:02d}") for i, text in enumerate(texts(240))]
    made, cleaned = split(shop, gathered(shop, tmp_path / "0.csv", rows), **how)
    was = sides(made)
    for step in range(1, 4):
        fresh = [(text, chance.choice("xy"), f"u{chance.randrange(90)}", f"2025-{step:02d}-{1 + i % 28:02d}") for i, text in enumerate(texts(80, step))]
        rows = [row if chance.random() > 0.05 else (row[0], "x", *row[2:]) for row in rows if chance.random() > 0.02] + fresh
        chance.shuffle(rows)
        records = gathered(shop, tmp_path / f"{step}.csv", rows)
        made, cleaned = split(shop, records, made, cleaned, **how, test=0.1 + step / 50)
        now = sides(made)
        assert {text: now[text] for text in was if text in now} == {text: side for text, side in was.items() if text in now}
        was = now
    counts = made.measures["counts"]
    assert 0.05 < counts["test"] / sum(counts.values()) < 0.3 and counts["train"] > 200


def test_an_unchanged_source_gives_the_same_bytes(shop: Shop, tmp_path: Path) -> None:
    for how in ({}, {"time": "day"}):
        records = gathered(shop, tmp_path / "a.csv", ROWS)
        first, cleaned = split(shop, records, **how)
        second, again = split(shop, records, first, cleaned, **how)
        assert second.digest == first.digest and again.digest == cleaned.digest


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=25), min_size=1, max_size=8), st.integers(0, 3))
def test_by_time_no_old_record_moves_and_the_parts_keep_their_shares(arrivals: list[list[int]], late: int) -> None:
    shares, cuts, known = Shares(0.1, 0.2, 0), [], {}
    times: list[float] = []
    for step, arrival in enumerate(arrivals):
        times += [max(0.0, one + 40 * step - 40 * late * (place % 7 == 0)) for place, one in enumerate(arrival)]
        moments = np.array(times)
        found, cuts = sides_by_time(moments, np.ones(len(times), np.bool_), shares, cuts)
        for place, side in known.items():
            assert found[place] == side, "a record's time alone decides, and the cuts stay"
        known = dict(enumerate(found.tolist()))
    assert [one.end for one in cuts] == sorted({one.end for one in cuts})
    fresh, more = sides_by_time(np.append(times, max(times) + 1 + np.arange(1000.0)), np.ones(len(times) + 1000, np.bool_), shares, cuts)
    assert abs(int(np.sum(fresh == TEST)) - round(0.2 * len(fresh))) <= max(0, int(np.sum(found == TEST)) - round(0.2 * len(fresh))) + 1
    assert len(more) == len(cuts) + 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2), st.integers(0, 5), st.integers(-1, 3)), min_size=1, max_size=40))
def test_settling_keeps_old_sides_and_joins_what_belongs_together(rows: list[tuple[int, int, int, int]]) -> None:
    own, earlier, keys, ties = (np.array(one) for one in zip(*rows, strict=True))
    found = settle(own.astype(np.int8), earlier.astype(np.int8), keys.astype(np.uint64), ties.astype(np.int64))
    for place, side in enumerate(found):
        if earlier[place] != UNKNOWN:
            assert side == earlier[place]
        elif ties[place] < 0 and (earlier[keys == keys[place]] != UNKNOWN).any():
            assert side == earlier[keys == keys[place]].max()
    for tie in set(ties[ties >= 0].tolist()):
        new = (ties == tie) & (earlier == UNKNOWN)
        assert len(set(found[new].tolist())) <= 1, "new near copies never cross"
        if (ties == tie).any() and (earlier[ties == tie] == TEST).any():
            assert (found[new] == TEST).all()


def test_a_stretch_that_is_tested_is_never_older_than_what_it_follows() -> None:
    moments = np.arange(100.0)
    first, cuts = sides_by_time(moments, np.ones(100, np.bool_), Shares(0.1, 0.1, 0), [])
    assert cuts == [Cut(pytest.approx(79.2), pytest.approx(89.1), 99.0)]
    both, cuts = sides_by_time(np.arange(200.0), np.ones(200, np.bool_), Shares(0.1, 0.1, 0), cuts)
    assert (both[:100] == first).all() and (both[190:] == TEST).all() and (both[100:180] == TRAIN).all() and len(cuts) == 2


@pytest.mark.parametrize("groups", [3, 4, 7])
def test_a_few_groups_still_make_three_parts_that_stay(shop: Shop, tmp_path: Path, groups: int) -> None:
    rows = [(text, "xy"[i // groups % 2], f"机位{i % groups}", "2024-01-01") for i, text in enumerate(texts(120))]
    made, cleaned = split(shop, gathered(shop, tmp_path / "a.csv", rows), group="user")
    was = sides(made)
    assert set(was.values()) == {"train", "validation", "test"}
    assert len({(side, row[2]) for row in rows for side in [was[row[0]]]}) == groups
    more = [(text, "xy"[i % 2], f"机位{i % (groups + 2)}", "2024-01-01") for i, text in enumerate(texts(60, 1))]
    now = sides(split(shop, gathered(shop, tmp_path / "b.csv", [*more, *rows]), made, cleaned, group="user")[0])
    assert {text: now[text] for text in was} == was
    assert len({(now[row[0]], row[2]) for row in [*rows, *more]}) == groups + 2, "a group stays whole as it grows"


# Copies


def test_the_earlier_survivor_stays_whatever_copies_come(shop: Shop, tmp_path: Path) -> None:
    rows = [(text, "xy"[i % 2], "u", "2024-01-01") for i, text in enumerate(texts(60))]
    made, cleaned = split(shop, gathered(shop, tmp_path / "a.csv", rows))
    was = {id for batch in RecordReader(cleaned / "kept").batches() for id in batch.column("id")}
    copies = [(text + tail, label, "u", "2024-01-01") for text, label, *_ in rows for tail in ("", "！", "。")]
    records = gathered(shop, tmp_path / "b.csv", [*copies, *rows])
    again = shop.run(clean, records, cleaned)
    now = {id for batch in RecordReader(again / "kept").batches() for id in batch.column("id")}
    assert now == was and again.measures["dropped"]["near-duplicate"] > 0
    after = shop.run(snapshot, again / "kept", made, task="t")
    assert sides(after) == sides(made)


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Something with large and small shapes, as photos have."""
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(chance.integers(0, 256, (30, 40, 3), np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.blend(coarse, fine, 0.3)


def saved(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def sideways(image: Image.Image) -> bytes:
    """The same photo as a phone writes it: turned, with the turn noted beside it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=92, exif=exif)


def test_a_photo_saved_twice_never_crosses_the_split(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "照片"
    for number in range(60):
        kind, image = "猫狗"[number % 2], picture(number)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{number}.png").write_bytes(saved(image))
        if number < 30:
            small = image.resize((80, 60), Image.Resampling.LANCZOS)
            copies = [saved(image, "JPEG", quality=60), saved(small, "JPEG", quality=80), sideways(image), saved(image, "WEBP", quality=70)]
            (folder / kind / f"copy-{number}.jpg").write_bytes(copies[number % 4])
        if number < 4:  # the same photo with another label stays, on the same side
            (folder / "猫狗"[1 - number % 2]).mkdir(exist_ok=True)
            (folder / "猫狗"[1 - number % 2] / f"other-{number}.jpg").write_bytes(saved(image, "JPEG", quality=50))
    cleaned = shop.run(clean, shop.run(collect, source=str(folder), licence="own"))
    assert cleaned.measures["dropped"] == {"near-duplicate": 30} and cleaned.measures["tied"] == 8
    assert {row["detail"] for row in rejected_rows(cleaned)} <= {
        id for batch in RecordReader(cleaned / "kept").batches() for id in batch.column("id")
    }
    made = shop.run(snapshot, cleaned / "kept", task="t", validation=0.3, test=0.3)
    found = {Path(name).stem.removeprefix("copy-").removeprefix("other-"): set() for name in sides(made, "image")}
    for name, side in sides(made, "image").items():
        found[Path(name).stem.removeprefix("copy-").removeprefix("other-")].add(side)
    assert len(found) == 60 and all(len(where) == 1 for where in found.values())


def test_things_before_a_camera_that_stands_still_are_no_copies(shop: Shop, tmp_path: Path) -> None:
    scene = picture(1)
    for number in range(40):
        (tmp_path / "p" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(0, 2, (120, 160, 3))
        pixels = (np.asarray(scene) + noise).clip(0, 255).astype(np.uint8)
        (tmp_path / "p" / "ab"[number % 2] / f"{number}.png").write_bytes(saved(Image.fromarray(pixels)))
    made = shop.run(clean, shop.run(collect, source=str(tmp_path / "p"), licence="own"))
    assert made.measures["kept"] == 40 and made.measures["alike"] == 40


def test_a_scratch_makes_two_photos_different(shop: Shop, tmp_path: Path) -> None:
    for number in range(12):
        image = picture(number, (320, 240))
        (tmp_path / "p" / "合格").mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / "划痕").mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / "合格" / f"{number}.png").write_bytes(saved(image))
        image.paste((0, 0, 0), (100, 100, 112, 112))
        (tmp_path / "p" / "划痕" / f"{number}.png").write_bytes(saved(image))
    made = shop.run(clean, shop.run(collect, source=str(tmp_path / "p"), licence="own"))
    assert made.measures["kept"] == 24 and "tied" not in made.measures


def test_forms_of_one_template_are_different_papers(shop: Shop, tmp_path: Path) -> None:
    for number in range(20):
        paper = Image.new("L", (250, 350), 255)
        draw = ImageDraw.Draw(paper)
        for line in range(20, 340, 20):
            draw.text((20, line), "Name ______________", fill=60)
        draw.text((90, 60), str(10**7 + 7919 * number), fill=20)
        place = tmp_path / "f" / "ab"[number % 2] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(saved(paper, "JPEG", quality=88))
    made = shop.run(clean, shop.run(collect, source=str(tmp_path / "f"), licence="own"))
    assert made.measures["kept"] == 20 and "tied" not in made.measures


def test_the_digits_are_all_different(shop: Shop, tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:150], digits.target[:150], strict=True)):
        (tmp_path / "d" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(tmp_path / "d" / str(label) / f"{number}.png")
    made = shop.run(clean, shop.run(collect, source=str(tmp_path / "d"), licence="own"))
    assert made.measures["kept"] == 150


# Labels


def test_a_map_makes_the_classes(shop: Shop, tmp_path: Path) -> None:
    rows = [(text, str(1 + i % 5), "u", "2024-01-01") for i, text in enumerate(texts(50))]
    records = gathered(shop, tmp_path / "a.csv", rows)
    made = shop.run(clean, records, labels="4,5=好评；1，2＝差评")
    assert made.measures["dropped"] == {"label-not-mapped": 10} and made.measures["kept"] == 40
    labels = [label for batch in RecordReader(made / "kept").batches() for label in batch.column("label")]
    assert sorted(set(labels)) == sorted({"好评", "差评"}) and {row["label"] for row in rejected_rows(made)} == {"3"}


def test_spellings_of_one_label_become_one(shop: Shop, tmp_path: Path) -> None:
    spelled = ["好评", "好评\u3000", "好\u200b评", "ＯＫ", "OK", "5.0", "5"]
    rows = [(text, spelled[i % 7], "u", "2024-01-01") for i, text in enumerate(texts(42))]
    made = shop.run(clean, gathered(shop, tmp_path / "a.csv", rows))
    labels = {label for batch in RecordReader(made / "kept").batches() for label in batch.column("label")}
    assert labels == {"好评", "OK", "5"} and made.measures["labels_merged"] == 3


LABELS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(plain_label)


@given(st.dictionaries(LABELS, st.sampled_from(["正", "负", "a=b", "x;y", "p,q"]), min_size=1, max_size=8))
def test_a_map_is_read_as_it_was_written(mapped: dict[str, str]) -> None:
    plain: dict[str, str] = {}
    for value, name in mapped.items():
        plain.setdefault(plain_label(value), plain_label(name))
    assert label_map(written_map(plain)) == plain


@given(st.text(max_size=30))
def test_any_map_is_read_or_refused_in_words(text: str) -> None:
    try:
        found = label_map(text)
    except MofangError as error:
        assert error.code in ("label-map-unreadable", "label-map-twice")
    else:
        assert found and all(found) and all(found.values())


@pytest.mark.parametrize("text", ["", "a", "a,b", "=x", "a=", "a=b=c", "a=b,c", "a=x;a=y", "a=x;;=y"])
def test_maps_that_mean_nothing(text: str) -> None:
    with pytest.raises(MofangError):
        label_map(text)


# Growth


def test_growth_is_counted(shop: Shop, tmp_path: Path) -> None:
    rows = [(text, "xy"[i % 2], "u", "2024-01-01") for i, text in enumerate(texts(100))]
    old = gathered(shop, tmp_path / "a.csv", rows)
    edited = [(rows[0][0] + "好", *rows[0][1:]), (rows[1][0], "x", *rows[1][2:]), *rows[2:95]]
    fresh = [(text, "x", "u", "2024-01-01") for text in texts(20, 1)]
    found = grown(old, gathered(shop, tmp_path / "b.csv", [*fresh, *reversed(edited)]))
    assert found == Growth(new=21, gone=6, relabelled=1) and found.to_dict()["changed"] == 7 and found
    assert not grown(old, gathered(shop, tmp_path / "c.csv", list(reversed(rows))))


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_growth_adds_up(shop_factory: Any, data: Any) -> None:
    shop, folder = shop_factory()
    every = [(text, "xy"[i % 2], "u", "2024-01-01") for i, text in enumerate(texts(12))]
    first = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=15))
    second = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=15))
    found = grown(gathered(shop, folder / "a.csv", first), gathered(shop, folder / "b.csv", second))
    assert len(first) - found.gone + found.new == len(second)
    assert found.relabelled == 0
    assert grown(gathered(shop, folder / "a2.csv", first), gathered(shop, folder / "a3.csv", first)) == Growth(0, 0, 0)
