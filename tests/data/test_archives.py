"""Zip archives: read in place, names repaired, whatever means harm refused by name or as a whole."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.records import RecordReader
from mofang.data.sources.archives import repaired_names, why_refused
from mofang.data.sources.files import refused_entries, source_files
from tests.data.pictures import png
from tests.data.test_readers import read

GBK_NAME = "照片/猫/第一张.png"


def zipped(path: Path, entries: dict[str, bytes], encoding: str = "") -> Path:
    """An archive; with an encoding its names are written as old packers do, without the mark for UTF-8."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    if encoding:
        whole = path.read_bytes()
        for name in entries:
            old, new = name.encode(), name.encode(encoding)
            if old == new:
                continue
            assert len(new) <= len(old)
            # the archive is written again by hand: lengths of names differ
        path.write_bytes(_rewritten(whole, encoding))
    return path


def _rewritten(whole: bytes, encoding: str) -> bytes:
    """The same archive with all names in another encoding and the UTF-8 mark taken away."""
    out, directory, place, moved = bytearray(), bytearray(), 0, {}
    while whole[place : place + 4] == b"PK\x03\x04":
        header = bytearray(whole[place : place + 30])
        size, (name_size, extra) = struct.unpack_from("<I", header, 18)[0], struct.unpack_from("<HH", header, 26)
        name = whole[place + 30 : place + 30 + name_size].decode().encode(encoding)
        moved[place] = len(out)
        struct.pack_into("<H", header, 6, struct.unpack_from("<H", header, 6)[0] & ~0x800)
        struct.pack_into("<H", header, 26, len(name))
        out += header + name + whole[place + 30 + name_size : place + 30 + name_size + extra + size]
        place += 30 + name_size + extra + size
    count = 0
    while whole[place : place + 4] == b"PK\x01\x02":
        header = bytearray(whole[place : place + 46])
        name_size, extra, comment = struct.unpack_from("<HHH", header, 28)
        name = whole[place + 46 : place + 46 + name_size].decode().encode(encoding)
        struct.pack_into("<H", header, 8, struct.unpack_from("<H", header, 8)[0] & ~0x800)
        struct.pack_into("<H", header, 28, len(name))
        struct.pack_into("<I", header, 42, moved[struct.unpack_from("<I", header, 42)[0]])
        directory += header + name + whole[place + 46 + name_size : place + 46 + name_size + extra + comment]
        place += 46 + name_size + extra + comment
        count += 1
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(out), 0)
    return bytes(out + directory + end)


def test_a_zip_of_pictures_is_read_like_its_folder(shop: Shop, tmp_path: Path) -> None:
    entries = {f"照片/{kind}/{i}.png": png(12, 12, seed) for seed, (kind, i) in enumerate((k, i) for k in "猫狗" for i in range(6))}
    entries |= {"__MACOSX/照片/._0.png": b"x", "照片/.DS_Store": b"x"}
    for encoding in ("", "gb18030"):
        path = zipped(tmp_path / f"photos{encoding}.zip", entries, encoding)
        records = shop.run(collect, source=str(path), licence="own", group="folder")
        assert records.measures["rows"] == 12 and not records.measures["rejected"]
        batch = next(RecordReader(records).batches())
        assert set(batch.column("label")) == {"猫", "狗"} and set(batch.column("folder")) == {"照片"}
        assert batch.media["image"][0] == entries[batch.column("image")[0]]
        assert [file["name"] for file in records.read_json("about.json")["source"]["files"]] == [path.name]
    assert not (tmp_path / "照片").exists()


def test_a_zip_of_tables_and_a_glob_of_zips(tmp_path: Path) -> None:
    table = "评论,标签\n很好的酒店,好评\n太差的服务,差评\n".encode("gb18030")
    zipped(tmp_path / "a-1.zip", {"导出/一月.csv": table, "说明.txt": "只是说明".encode()}, "gb18030")
    zipped(tmp_path / "a-2.zip", {"二月.csv": table})
    files = source_files(str(tmp_path / "a-1.zip"))
    assert [file.name for file in files] == ["导出/一月.csv", "说明.txt"]
    both = source_files(str(tmp_path / "a-*.zip"))
    assert [file.name for file in both] == ["a-1.zip/导出/一月.csv", "a-1.zip/说明.txt", "a-2.zip/二月.csv"]
    assert len(read(tmp_path / "a-2.zip", "csv")[0]) == 2


def test_a_workbook_and_parquet_in_a_zip(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.data.test_excel import ORDERS, book

    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "t.parquet")
    path = zipped(tmp_path / "p.zip", {"t.parquet": (tmp_path / "t.parquet").read_bytes()})
    assert read(path, "parquet")[0] == [{"a": 1}, {"a": 2}]
    path = zipped(tmp_path / "x.zip", {"订单.xlsx": book(tmp_path / "o.xlsx", s=ORDERS).read_bytes()})
    assert len(read(path, "excel")[0]) == 40


def test_entries_that_point_outside_are_refused_and_counted(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    table = b"text,label\n" + b"".join(b"a fine film %d,pos\na bad film %d,neg\n" % (i, i) for i in range(60))
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../evil.csv", "/etc/evil.csv", "C:\\evil.csv", "..\\evil.csv", "inner.zip", "good.csv"):
            archive.writestr(name, table)
        link = zipfile.ZipInfo("link.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    files = source_files(str(path))
    assert [file.name for file in files] == ["good.csv"]
    reasons = [reason for _, reason in refused_entries(files)]
    assert sorted(reasons) == ["entry-archive", "entry-link", *["entry-outside"] * 4]
    records = shop.run(collect, source=str(path), licence="own")
    assert records.measures["rejected"] == {"entry-outside": 4, "entry-archive": 1, "entry-link": 1}


def test_bombs_passwords_and_damage_end_in_words(tmp_path: Path) -> None:
    def code(path: Path) -> str:
        with pytest.raises(MofangError) as caught:
            read(path, "csv")
        return caught.value.code

    path = zipped(tmp_path / "bomb.zip", {"a.csv": b"a,b\n" + b"0,0\n" * 1000})
    whole = bytearray(path.read_bytes())
    struct.pack_into("<I", whole, whole.index(b"PK\x01\x02") + 24, 3 * 2**30)
    path.write_bytes(bytes(whole))
    assert code(path) == "archive-bomb"
    path = zipped(tmp_path / "nested.zip", {"a.zip": b"PK", "b.rar": b"x"})
    assert code(path) == "archive-refused"
    path = zipped(tmp_path / "locked.zip", {"a.csv": b"a,b\n1,2\n"})
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(whole))
    assert code(path) == "archive-locked"
    path = zipped(tmp_path / "cut.zip", {"a.csv": b"a,b\n1,2\n" * 100})
    path.write_bytes(path.read_bytes()[:-30])
    assert code(path) == "archive-broken"
    path = zipped(tmp_path / "spoiled.zip", {"a.csv": bytes(range(256)) * 100})
    whole = bytearray(path.read_bytes())
    whole[60:90] = bytes(30)
    path.write_bytes(bytes(whole))
    assert code(path) == "archive-broken"


def test_a_spoiled_picture_in_a_zip_is_counted(shop: Shop, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{kind}/{i}.png": png(12, 12, i) for kind in "ab" for i in range(20)})
    whole = bytearray(path.read_bytes())
    whole[60:70] = bytes(10)
    path.write_bytes(bytes(whole))
    records = shop.run(collect, source=str(path), licence="own")
    assert records.measures["rows"] == 39 and records.measures["rejected"] == {"unreadable": 1}


def test_a_gzip_file_that_is_cut_short_says_so(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\n" + b"good film,pos\nbad film,neg\n" * 5000)[:-200])
    with pytest.raises(MofangError) as caught:
        read(tmp_path / "a.csv.gz", "csv")
    assert caught.value.code == "archive-broken"


@given(st.lists(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=8), min_size=1, max_size=6))
def test_names_without_the_mark_come_back(names: list[str]) -> None:
    for encoding in ("utf-8", "gb18030"):
        raw = [f"图片/{name}.png".encode(encoding).decode("cp437") for name in names]
        if encoding == "gb18030" and _is_utf8(b"".join(name.encode("cp437") for name in raw)):
            continue
        found = repaired_names([(name, False) for name in raw])
        if encoding == "utf-8":
            assert found == [f"图片/{name}.png" for name in names]
        assert len(found) == len(names) and all(one.endswith(".png") for one in found)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("name", ["猫/第一张.png", "合格品/001.jpg", "不合格/划痕/图片 (2).jpeg", "新建文件夹/微信图片_20240101.jpg"])
def test_names_of_chinese_packers(name: str) -> None:
    assert repaired_names([(name.encode("gbk").decode("cp437"), False)]) == [name]


def test_accents_stay_accents() -> None:
    assert repaired_names([("Caf\u00e9/M\u00fcller.jpg", False)]) == ["Caf\u00e9/M\u00fcller.jpg"]


@given(st.text(max_size=30), st.integers(0, 0xFFFF))
def test_what_is_let_through_stays_inside(name: str, mode: int) -> None:
    if not why_refused(name.replace("\\", "/"), mode):
        inside = Path("/root") / name.replace("\\", "/")
        assert "\0" not in name and Path("/root") in [Path(p) for p in inside.parents] and ".." not in inside.parts
