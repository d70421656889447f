"""Records leave as files of every format; libraries that know nothing of Mofang read them, and nothing of a value is lost."""

from __future__ import annotations

import base64
import csv
import json
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.exporting.files import FORMATS, export_records
from mofang.data.exporting.guard import TRIGGERS, guarded, unguarded
from mofang.data.exporting.told import TOLD, read_told
from mofang.data.pixels import png_of
from mofang.data.records import RecordReader, content_digest

TEXTS = ["很好，推荐", "=1+1", "'=1+1", "-3", "＠甲", "a\nb", 'say "yes"', "普通", "📷 emoji", "ok"]
NUMBERS = [1.5, 0.1, -3.0, 1e300, None, 7.0, 2**60 + 0.0, -0.25, 1e-7, 123456789.0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.open(tmp_path_factory.mktemp("shop") / "shop")


@pytest.fixture(scope="module")
def table(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Texts that spreadsheets would run, numbers that 32 bits do not hold, and a label that is missing once."""
    source = tmp_path_factory.mktemp("in") / "记录.jsonl"
    rows = [{"text": text, "n": number, "label": None if place == 4 else "ab"[place % 2]}
            for place, (text, number) in enumerate(zip(TEXTS, NUMBERS, strict=True))]
    source.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return shop.run(collect, source=str(source), licence="own", text=("text",), numbers=("n",), label="label")


@pytest.fixture(scope="module")
def pictures(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("猫", "dog"):
        (folder / name).mkdir()
        for number in range(4):
            (folder / name / f"{number}.png").write_bytes(png_of([number * 16 + len(name)] * 16, 4))
    return shop.run(collect, source=str(folder), licence="own")


def values(artifact: Artifact) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(artifact).batches() for row in batch.rows(media=False)]


def media(artifact: Artifact, column: str) -> list[bytes]:
    return [one for batch in RecordReader(artifact).batches() for one in batch.media[column]]


# Each format, by a reader that is not ours


def test_parquet_and_arrow(table: Artifact, pictures: Artifact, tmp_path: Path) -> None:
    export_records(table, tmp_path / "p", "parquet")
    export_records(table, tmp_path / "a", "arrow")
    read = pq.read_table(tmp_path / "p" / "records.parquet").to_pylist()
    assert read == pa.ipc.open_file(tmp_path / "a" / "records.arrow").read_all().to_pylist() == values(table)
    export_records(pictures, tmp_path / "i", "parquet")
    found = pq.read_table(tmp_path / "i" / "records.parquet").to_pylist()
    assert [row["image"]["bytes"] for row in found] == media(pictures, "image")
    assert [row["image"]["path"] for row in found] == [row["image"] for row in values(pictures)]


def test_json_lines(table: Artifact, pictures: Artifact, tmp_path: Path) -> None:
    export_records(table, tmp_path / "j", "jsonl")
    assert [orjson.loads(line) for line in (tmp_path / "j" / "records.jsonl").read_bytes().splitlines()] == values(table)
    export_records(pictures, tmp_path / "i", "jsonl")
    lines = [orjson.loads(line) for line in (tmp_path / "i" / "records.jsonl").read_bytes().splitlines()]
    assert [(tmp_path / "i" / line["image"]).read_bytes() for line in lines] == media(pictures, "image")


def test_csv_is_harmless_in_a_spreadsheet(table: Artifact, tmp_path: Path) -> None:
    export_records(table, tmp_path / "c", "csv")
    with (tmp_path / "c" / "records.csv").open(encoding="utf-8-sig", newline="") as file:
        read = list(csv.DictReader(file))
    assert not any(cell.startswith(TRIGGERS) for row in read for name, cell in row.items() if name != "n")
    assert [unguarded(row["text"]) for row in read] == TEXTS
    assert [float(row["n"]) if row["n"] else None for row in read] == NUMBERS
    export_records(table, tmp_path / "raw", "csv", raw=True)
    with (tmp_path / "raw" / "records.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == TEXTS


@given(st.text(max_size=20))
def test_a_guarded_text_never_begins_a_formula_and_comes_back(text: str) -> None:
    assert not guarded(text).startswith(TRIGGERS)
    assert unguarded(guarded(text)) == text


def test_tfrecord_is_read_by_protocol_buffers(table: Artifact, pictures: Artifact, tmp_path: Path) -> None:
    export_records(table, tmp_path / "t", "tfrecord")
    read = list(examples(tmp_path / "t" / "records.tfrecord"))
    for row, want in zip(read, values(table), strict=True):
        assert row["text"] == want["text"].encode() and row["id"] == want["id"].encode()
        assert (row.get("label") or b"").decode() == (want["label"] or "")
        if want["n"] is None:
            assert "n" not in row
        elif "n.float64" in row:
            assert struct.unpack("<d", row["n.float64"])[0] == want["n"]
        else:
            assert row["n"] == np.float32(want["n"]) == want["n"]
    export_records(pictures, tmp_path / "i", "tfrecord")
    assert [row["image"] for row in examples(tmp_path / "i" / "records.tfrecord")] == media(pictures, "image")


def examples(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a TFRecord file through Google's own protobuf library."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{path}.proto", package="t" + base64.b32encode(str(path).encode()).decode().strip("=").lower(),
                                              syntax="proto3")
    for name, kind in (("BytesList", 12), ("FloatList", 2)):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=3)
    feature = file.message_type.add(name="Feature")
    for number, name in ((1, "BytesList"), (2, "FloatList")):
        feature.field.add(name=name.lower(), number=number, type=11, label=1, type_name=f".{file.package}.{name}")
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=f".{file.package}.Feature")
    features.field.add(name="feature", number=1, type=11, label=3, type_name=f".{file.package}.Features.FeatureEntry")
    file.message_type.add(name="Example").field.add(name="features", number=1, type=11, label=1, type_name=f".{file.package}.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    example = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Example"))
    data, place = path.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        found = example.FromString(data[place + 12:place + 12 + length])
        place += 16 + length
        yield {name: (one.byteslist.value or one.floatlist.value)[0] for name, one in found.features.feature.items()}


def test_hdf5(table: Artifact, pictures: Artifact, tmp_path: Path) -> None:
    import h5py

    export_records(table, tmp_path / "h", "hdf5")
    with h5py.File(tmp_path / "h" / "records.h5") as file:
        group = file["records"]
        assert list(group["text"].asstr()[:]) == TEXTS
        numbers = [None if gone else float(one) for one, gone in zip(group["n"][:], group["n.missing"][:], strict=True)]
        assert numbers == NUMBERS
    export_records(pictures, tmp_path / "i", "hdf5")
    with h5py.File(tmp_path / "i" / "records.h5") as file:
        assert [one.tobytes() for one in file["records"]["image"][:]] == media(pictures, "image")


def test_webdataset(pictures: Artifact, tmp_path: Path) -> None:
    export_records(pictures, tmp_path / "w", "webdataset")
    with tarfile.open(tmp_path / "w" / "records-000000.tar") as tar:
        names = tar.getnames()
        assert [name.split(".", 1)[1] for name in names] == ["json", "0.png"] * 8
        read = [tar.extractfile(name).read() for name in names]  # type: ignore[union-attr]
    assert [json.loads(one)["label"] for one in read[::2]] == [row["label"] for row in values(pictures)]
    assert read[1::2] == media(pictures, "image")


# All formats


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_records_make_the_same_files(table: Artifact, tmp_path: Path, format: str) -> None:
    for name in ("one", "two"):
        export_records(table, tmp_path / name, format)
    told = [read_told((tmp_path / name / TOLD).read_bytes()) for name in ("one", "two")]
    assert told[0] == told[1] and told[0].parts["records"]["rows"] == 10
    assert told[0].columns == {"text": "text", "n": "number", "label": "label"}


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_stays_half_written(table: Artifact, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_path: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mofang.data.exporting.files.file_digest", stop)
    with pytest.raises(MofangError) as error:
        export_records(table, tmp_path / "out", format)
    assert error.value.code == "disk-full" and list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(table: Artifact, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place, code in ((tmp_path, "export-there"), (tmp_path / "mine.txt", "export-there")):
        with pytest.raises(MofangError) as error:
            export_records(table, place, "csv")
        assert error.value.code == code
    with pytest.raises(MofangError) as error:
        export_records(table, tmp_path / "x", "parqet")
    assert error.value.code == "export-format" and "parquet" in error.value.fix


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"what":"mofang data","version":99}', b"\xff", b'{"what":"mofang data","version":1,"x":1}'])
def test_a_strange_file_beside_records_is_refused(data: bytes) -> None:
    with pytest.raises(MofangError) as error:
        read_told(data)
    assert error.value.code == "export-told-wrong"


@pytest.mark.parametrize("format", FORMATS)
def test_what_comes_back_is_equal(shop: Shop, table: Artifact, pictures: Artifact, tmp_path: Path, format: str) -> None:
    for name, records in (("table", table), ("pictures", pictures)):
        export_records(records, tmp_path / name, format)
        back = shop.run(collect, source=str(tmp_path / name), licence="own")
        assert content_digest(back) == content_digest(records), (name, values(back), values(records))


@pytest.mark.parametrize("path", ["../../outside.png", "/etc/passwd", "media/../../outside.png", "other/x.png", "media/none.png"])
def test_a_row_names_no_file_outside_of_the_export(shop: Shop, pictures: Artifact, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.png").write_bytes(png_of([1] * 16, 4))
    export_records(pictures, tmp_path / "in" / "out", "jsonl")
    file = tmp_path / "in" / "out" / "records.jsonl"
    rows = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    rows[0]["image"] = path
    file.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    back = shop.run(collect, source=str(file.parent), licence="own", bad_share=0.5)
    assert sorted(media(back, "image"))[1:] == sorted(media(pictures, "image")[1:]) and b"" in media(back, "image")
    assert back.measures["rejected"] == {"media-missing": 1}


def test_an_export_that_lost_a_file_is_refused(shop: Shop, table: Artifact, tmp_path: Path) -> None:
    export_records(table, tmp_path / "out", "jsonl")
    (tmp_path / "out" / "records.jsonl").unlink()
    (tmp_path / "out" / "other.jsonl").write_text('{"text":"a"}')
    with pytest.raises(MofangError) as error:
        shop.run(collect, source=str(tmp_path / "out"), licence="own")
    assert error.value.code == "export-file-missing"


def test_from_the_command_line(shop: Shop, table: Artifact, tmp_path: Path, typed: Callable[..., Any]) -> None:
    shop.name("reviews-data", table)
    done = typed(tmp_path, "--shop", str(shop.path), "export", "reviews-data", "--format", "csv", "--out", "out")
    assert done.status == 0 and "10" in done.out and (tmp_path / "out" / "records.csv").exists()
    assert "mofang collect --source out" in done.out
    wrong = typed(tmp_path, "--shop", str(shop.path), "--lang", "zh", "export", "reviews-data", "--format", "xlsx", "--out", "o2")
    assert wrong.status == 1 and "请选择" in wrong.err
