"""Photos as phones and cameras write them: HEIC, turned by EXIF, CMYK, 16 bits, palettes, transparency, animations."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.pixels import look_at
from mofang.data.records import RecordReader
from mofang.engine.encode.image import ImageEncoder, header_pixels, open_image
from tests.data.test_excel import book
from tests.data.test_readers import read

# 24 × 16 grey from light to dark with a red corner, held upright: 16 × 24 after the turn that HEIC itself notes.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAbRtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRtAAAAAAAB"
    "AAAANGlsb2MAAAAAREAAAgABAAAAAAHYAAEAAAAAAAAAUQACAAAAAAIpAAEAAAAAAAAAJAAAADhpaW5mAAAAAAACAAAAFWluZmUCAAAAAAEAAGh2YzEA"
    "AAAAFWluZmUCAAABAAIAAEV4aWYAAAAA82lwcnAAAADTaXBjbwAAAHZodmNDAQNwAAAAAAAAAAAAHvAA/P34+AAADwMgAAEAGEABDAH//wNwAAADAJAA"
    "AAMAAAMAHroCQCEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAMAgAAAAwCEIgABAAZEAcFzwYkAAAAUaXNwZQAAAAAAAABAAAAA"
    "QAAAAChjbGFwAAAAGAAAAAEAAAAQAAAAAf///9gAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAACWlyb3QDAAAAGGlwbWEAAAAAAAAAAQABBYEC"
    "gwQFAAAAGmlyZWYAAAAAAAAADmNkc2MAAgABAAEAAAB9bWRhdAAAAE0oAa8TIaVAaOUyNv+Bk+9c+vCnEh+Q9WyV9luZjnk++n2FHtOd1gbD44JZJZb0"
    "PKJjnJujdJaE+2/oaVspo0DtkTL6A2eKlRTqssVtgAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
RAMP = Image.linear_gradient("L").resize((24, 16))


def saved(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def turned(orientation: int, form: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.merge("RGB", (RAMP, RAMP.rotate(180), RAMP)), form, exif=exif)


def animation(form: str) -> bytes:
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("red", "blue")]
    return saved(frames[0], form, save_all=True, append_images=frames[1:])


USABLE = {
    "heic": (HEIC, (16, 24)),
    "cmyk": (saved(Image.merge("CMYK", (RAMP, RAMP, RAMP, RAMP)), "JPEG"), (24, 16)),
    "palette": (saved(RAMP.quantize(16)), (24, 16)),
    "transparent": (saved(Image.merge("RGBA", (RAMP, RAMP, RAMP, RAMP))), (24, 16)),
    "16-bit": (saved(Image.new("I;16", (24, 16), 40_000)), (24, 16)),
    "black-and-white": (saved(RAMP.convert("1")), (24, 16)),
    "tiff": (saved(RAMP.convert("RGB"), "TIFF"), (24, 16)),
    "animated-gif": (animation("GIF"), (24, 16)),
    "animated-webp": (animation("WEBP"), (24, 16)),
    **{f"exif-{one}": (turned(one), (24, 16) if one < 5 else (16, 24)) for one in range(1, 9)},
    "exif-png": (turned(6, "PNG"), (16, 24)),
}


@pytest.mark.parametrize("kind", USABLE)
def test_cleaning_training_and_serving_see_the_same(kind: str) -> None:
    data, size = USABLE[kind]
    facts = look_at(data, min_side=4, max_pixels=1000)
    image = open_image(data)
    assert not facts.reason and (facts.width, facts.height) == size == image.size and header_pixels(data) == 384
    encoder = ImageEncoder.fit([{"image": data}])
    assert (encoder.width, encoder.height) == size
    assert np.isfinite(encoder.encode([{"image": data}])["pixels"]).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(Image.new("F", (24, 16)), "TIFF"), "image-mode"),
        (HEIC[: len(HEIC) // 2], "not-an-image"),
        (HEIC[:40], "not-an-image"),
        (b"\0\0\0\x1cftypheic" + bytes(range(256)) * 4, "not-an-image"),
        (b"\0\0\0\x1cftypmp42" + bytes(200), "not-an-image"),
        (saved(RAMP, "PPM"), "not-an-image"),
    ],
)
def test_what_serving_would_refuse_is_set_aside_before_training(data: bytes, reason: str) -> None:
    assert look_at(data, min_side=4, max_pixels=1000).reason == reason
    with pytest.raises(MofangError) as caught:
        open_image(data)
    assert caught.value.code == "image-unreadable"


def test_a_turned_photo_is_the_upright_one() -> None:
    upright = np.asarray(open_image(saved(Image.merge("RGB", (RAMP, RAMP.rotate(180), RAMP)), "PNG")), np.int16)
    found = np.asarray(open_image(turned(6)), np.int16)
    assert np.abs(np.rot90(upright, -1) - found).max() < 20
    assert open_image(HEIC).convert("RGB").getpixel((12, 3))[0] > 200  # the red corner, turned to the right


def test_the_decoder_of_heic_is_loaded_only_for_heic() -> None:
    code = (
        "import sys, io; from PIL import Image; from mofang.engine.encode.image import open_image\n"
        "s = io.BytesIO(); Image.new('L', (4, 4)).save(s, 'PNG'); open_image(s.getvalue()); print('pi_heif' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_folder_of_photos_from_a_phone(shop: Shop, tmp_path: Path) -> None:
    for number, kind in enumerate(USABLE):
        place = tmp_path / "相册" / "猫狗"[number % 2] / f"照片 {kind}.{'heic' if kind == 'heic' else 'jpg'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(USABLE[kind][0])
    (tmp_path / "相册" / "猫" / "声音.png").write_bytes(saved(Image.new("F", (24, 16)), "TIFF"))
    records = shop.run(collect, source=str(tmp_path / "相册"), licence="own")
    made = shop.run(clean, records, near_duplicate=0.0, bad_share=0.1)
    assert made.measures["kept"] == len(USABLE) and made.measures["dropped"] == {"image-mode": 1}
    sizes = pq.read_table(made.path("statistics.parquet")).to_pylist()
    assert {(row["image.width"], row["image.height"]) for row in sizes} == {(24, 16), (16, 24), (0, 0)}


@pytest.mark.parametrize("kind", ["xlsx", "gb18030", "tsv"])
def test_label_files_of_every_office(tmp_path: Path, kind: str) -> None:
    names = [f"{i:03}.png" for i in range(12)]
    for name in names:
        (tmp_path / "图片").mkdir(exist_ok=True)
        (tmp_path / "图片" / name).write_bytes(b"bytes")
    rows: list[list[Any]] = [["文件名", "结果"], *([name, "合格" if i % 3 else "不合格"] for i, name in enumerate(names))]
    if kind == "xlsx":
        book(tmp_path / "标签.xlsx", 表=[["质检结果", None], *([int(row[0][:3]) if i else row[0], row[1]] for i, row in enumerate(rows))])
    else:
        sign = "\t" if kind == "tsv" else ","
        (tmp_path / "标签.csv").write_text("\n".join(sign.join(row) for row in rows), encoding="gb18030")
    label_file = "标签.xlsx" if kind == "xlsx" else "标签.csv"
    found, rejected = read(tmp_path, "images", label_file=label_file, label="结果")
    assert not rejected and [row["结果"] for row in found] == [row[1] for row in rows[1:]]


def test_folders_above_the_class_are_a_column(shop: Shop, tmp_path: Path) -> None:
    for camera in ("一号机", "二号机"):
        for kind in "ab":
            (tmp_path / camera / kind).mkdir(parents=True)
            (tmp_path / camera / kind / "1.png").write_bytes(saved(RAMP))
    records = shop.run(collect, source=str(tmp_path), licence="own", group="folder")
    batch = next(RecordReader(records).batches())
    assert set(batch.column("folder")) == {"一号机", "二号机"} and records.measures["columns"]["folder"] == "group"
    assert "folder" not in shop.run(collect, source=str(tmp_path), licence="own").measures["columns"]


def test_a_source_that_is_gone_says_what_lives_on(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"a fine film {i},{i % 2}\n" for i in range(40)))
    records = shop.run(collect, source=str(path), licence="own")
    shop.name("films", shop.run(clean, records))
    path.unlink()
    with pytest.raises(MofangError) as caught:
        shop.run(collect, source=str(path), licence="own", text=("text",))
    assert caught.value.code == "source-gone" and caught.value.values["models"] == "films@1"
    with pytest.raises(MofangError) as caught:
        shop.run(collect, source=str(tmp_path / "never.csv"), licence="own")
    assert caught.value.code == "source-missing"
