"""Every format that collect reads besides tables and images: what becomes a record, and what is set aside by name."""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.readers.logs import kind_of, logfmt
from mofang.data.readers.tfrecord import Damaged, example
from mofang.data.records import RecordReader, Records
from tests.data.papers import pdf, picture_pdf, sound, tf_example, tf_framed

PAGE = """<!DOCTYPE html><html><head><meta charset="gbk"><title>退货 说明</title><style>p{}</style></head>
<body><script>alert(1)</script><h1>退货</h1><p>七天内<b>可以</b>退货。</p><p>请保留包装&nbsp;盒。</p></body></html>"""


def made(shop: Shop, source: Path | str, **how: Any) -> Records:
    how = {"licence": "own", **how}
    found: Records = shop.run(collect, source=str(source), **how)
    return found


def rows(records: Records, media: bool = False) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "id"} for batch in RecordReader(records).batches() for row in batch.rows(media=media)]


def aside(records: Records) -> list[tuple[str, int, str]]:
    import pyarrow.parquet as pq

    return [(row["file"], row["row"], row["reason"]) for row in pq.read_table(records.path("rejected.parquet")).to_pylist()]


@pytest.mark.parametrize("ending", [".arrow", ".feather", ".arrows"])
def test_arrow_files_and_streams(shop: Shop, tmp_path: Path, ending: str) -> None:
    table = pa.table({"text": [f"第{i}条评论写得很长" for i in range(50)], "label": [str(i % 2) for i in range(50)]})
    path = tmp_path / f"评论{ending}"
    with pa.OSFile(str(path), "wb") as sink:
        opened = pa.ipc.new_stream if ending == ".arrows" else pa.ipc.new_file
        with opened(sink, table.schema) as writer:
            writer.write_table(table, 7)
    found = rows(made(shop, path, label="label"))
    assert [row["text"] for row in found] == table.column("text").to_pylist()
    path.write_bytes(path.read_bytes()[:-200])
    cut = made(shop, path, label="label", bad_share=1.0) if ending == ".arrows" else None
    if cut is None:
        with pytest.raises(MofangError):
            made(shop, path, label="label")
    else:
        assert cut.measures["rows"] < 50 and [reason for _, _, reason in aside(cut)] == ["not-arrow"]


def test_pages_of_pdf_files(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "手册"
    (folder / "说明").mkdir(parents=True)
    (folder / "说明" / "a.pdf").write_bytes(pdf(["Returns are free for seven days.", "", "Keep the box."], title="Returns"))
    (folder / "说明" / "扫描.pdf").write_bytes(picture_pdf())
    (folder / "说明" / "坏的.pdf").write_bytes(b"%PDF-1.4 nothing else")
    (folder / "说明" / "空.pdf").write_bytes(b"")
    records = made(shop, folder, bad_share=0.9)
    found = rows(records)
    assert [(row["document"], row["page"], row["text"]) for row in found] == [
        ("说明/a.pdf", "1", "Returns are free for seven days."), ("说明/a.pdf", "3", "Keep the box.")]
    assert found[0]["title"] == "Returns" and found[0]["label"] == "说明"
    assert sorted(aside(records)) == [("说明/a.pdf", 2, "page-without-text"), ("说明/坏的.pdf", 0, "pdf-broken"),
                                      ("说明/扫描.pdf", 1, "page-without-text"), ("说明/空.pdf", 0, "file-empty")]


def test_web_pages(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "退货.html").write_bytes(PAGE.encode("gbk"))
    (folder / "empty.htm").write_text("<html><body><script>x</script></body></html>")
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f"<!DOCTYPE x [{entities}]><html><body>&a9; end</body></html>"
    (folder / "bomb.xhtml").write_text(bomb)
    records = made(shop, folder, bad_share=0.5)
    found = {row["document"]: row for row in rows(records)}
    assert (found["退货.html"]["title"], found["退货.html"]["text"]) == ("退货 说明", "退货\n七天内可以退货。\n请保留包装 盒。")
    assert len(found["bomb.xhtml"]["text"]) < 5000
    assert aside(records) == [("empty.htm", 0, "page-without-text")]
    raw = made(shop, folder, format="documents")
    assert "<h1>" in "".join(row["text"] for row in rows(raw))


def test_folders_of_sounds(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "声音"
    for place in range(12):
        label = ("开", "关")[place % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        ending = (".wav", ".flac", ".ogg", ".aiff")[place % 4]
        (folder / label / f"{place:02}{ending}").write_bytes(sound(440 + 50 * place, ending))
    (folder / "开" / "坏.wav").write_bytes(b"RIFF0000WAVEnothing")
    (folder / "开" / "空.mp3").write_bytes(b"")
    records = made(shop, folder, bad_share=0.3)
    found = rows(records, media=True)
    about = records.read_json("about.json")
    assert len(found) == 12 and about["columns"]["audio"] == "audio" and about["columns"]["label"] == "label"
    assert {row["label"] for row in found} == {"开", "关"} and found[0]["sample_rate"] == "8000"
    assert found[0]["seconds"] == "0.25" and found[0]["audio"] == (folder / "关" / "01.flac").read_bytes()
    assert sorted(aside(records)) == [("开/坏.wav", 0, "sound-broken"), ("开/空.mp3", 0, "file-empty")]


def test_sounds_with_a_label_file(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for place in range(6):
        (folder / f"{place}.wav").write_bytes(sound(300 + place, ".wav"))
    (folder / "标签.csv").write_text("文件,类别\n" + "".join(f"{i}.wav,{'高低'[i % 2]}\n" for i in range(6)), encoding="utf-8")
    records = made(shop, folder)
    assert [row["label"] for row in rows(records)] == ["高", "低"] * 3


LOGS = {
    "access": '10.0.0.{i} - - [10/Oct/2025:13:55:{i:02} +0800] "GET /商品/{i} HTTP/1.1" 200 {i}326 "-" "Mozilla/5.0 (X11)"',
    "common": '10.0.0.{i} - frank [10/Oct/2025:13:55:{i:02} +0800] "GET /a.gif HTTP/1.0" 404 -',
    "syslog": "Oct 11 22:14:{i:02} web1 sshd[12{i}]: Failed password for user{i}",
    "syslog5424": "<34>1 2025-10-11T22:14:{i:02}.003Z web1 su - ID47 [a b=\"c\"] su root failed {i}",
    "json": '{{"ts": 17600000{i:02}, "level": "info", "msg": "started {i}", "http": {{"status": 200}}}}',
    "logfmt": 'time=2025-10-11T22:14:{i:02}Z level=warn msg="disk is \\"full\\" {i}" used=9{i}',
}


@pytest.mark.parametrize("kind", LOGS)
def test_event_logs(shop: Shop, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "事件.log"
    path.write_text("".join(LOGS[kind].format(i=i) + "\n" for i in range(10, 50)) + "\n*** rotated ***\n", encoding="utf-8")
    records = made(shop, path, keep=("time",), bad_share=0.1, **({"text": ("message",)} if kind.startswith("sys") else {}),
                   **({"text": ("msg",)} if kind in ("json", "logfmt") else {}), **({"text": ("path",)} if kind in ("access", "common") else {}))
    found = rows(records)
    assert len(found) == 40 and all(row["time"] for row in found)
    assert aside(records) == [("事件.log", 42, "not-a-log-line")] and records.measures["blank_lines"] == 1
    wanted = {"access": "/商品/10", "common": "/a.gif", "syslog": "Failed password for user10", "syslog5424": "su root failed 10",
              "json": "started 10", "logfmt": 'disk is "full" 10'}[kind]
    assert wanted in found[0].values()


def test_a_log_has_a_time_column_by_itself(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("".join(LOGS["access"].format(i=i) + "\n" for i in range(10, 60)))
    assert made(shop, path).read_json("about.json")["columns"]["time"] == "time"


@given(st.text(max_size=300))
def test_any_line_is_parsed_or_not(line: str) -> None:
    assert kind_of([line]) in ("", "access", "json", "logfmt", "syslog")
    logfmt(line)


def test_tfrecord(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "records.tfrecord"
    examples = [tf_example({"text": f"第{i}条".encode(), "n": float(i), "n.float64": struct.pack("<d", i + 0.1), "k": i}) for i in range(30)]
    framed = [tf_framed(one) for one in examples]
    framed[3] = framed[3][:-6] + b"\0\0" + framed[3][-4:]
    path.write_bytes(b"".join([*framed, tf_framed(b"\xff\xff no example")]))
    records = made(shop, path, text=("text",), numbers=("n", "k"), bad_share=0.1)
    found = rows(records)
    assert found[2] == {"text": "第2条", "n": 2.1, "k": 2.0} and len(found) == 29
    assert aside(records) == [("records.tfrecord", 4, "frame-broken"), ("records.tfrecord", 31, "not-an-example")]


@given(st.binary(max_size=200))
def test_any_bytes_are_an_example_or_damaged(data: bytes) -> None:
    with contextlib.suppress(Damaged, UnicodeDecodeError, struct.error):
        example(data)


def test_hdf5(shop: Shop, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "records.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("train")
        group["text"] = [f"第{i}条" for i in range(20)]
        group["x"] = np.arange(20.0)
        group["x.missing"] = np.arange(20) == 3
        group["link"] = h5py.ExternalLink("/etc/passwd", "/x")
        group["wide"] = np.zeros((20, 5000))
        group["short"] = np.zeros(3)
    records = made(shop, path, text=("text",), numbers=("x",), bad_share=0.2)
    assert [row["x"] for row in rows(records)][2:5] == [2.0, None, 4.0]
    assert sorted(reason for _, _, reason in aside(records)) == ["column-shorter", "entry-link", "not-a-column"]
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(MofangError):
        made(shop, path, text=("text",))


def test_webdataset_shards(shop: Shop, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard}.tar", "w") as tar:
            for place in range(5):
                data = io.BytesIO()
                Image.new("RGB", (8, 8), (place * 20, shard, 0)).save(data, "PNG")
                for name, content in ((f"{place:03}.png", data.getvalue()), (f"{place:03}.cls", str(place % 2).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    records = made(shop, folder, label="label")
    assert records.read_json("about.json")["columns"] == {"label": "label", "image": "image"}
    found = rows(records, media=True)
    assert len(found) == 10 and found[3]["label"] == "1" and found[3]["image"].startswith(b"\x89PNG")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zst"])
def test_tar_archives_are_read_like_their_folder(shop: Shop, tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "评论"
    folder.mkdir()
    for name in ("好评", "差评"):
        (folder / f"{name}.txt").write_text("".join(f"第{i}条{name}写得很长\n" for i in range(30)), encoding="utf-8")
    plain = made(shop, folder)
    path = tmp_path / f"评论.tar{'' if mode == 'w' else '.' + mode[-3:].strip(':')}"
    kind: Any = "w" if mode == "zst" else mode
    with tarfile.open(path, kind) as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    if mode == "zst":
        path.write_bytes(pa.compress(path.read_bytes(), codec="zstd", asbytes=True))
    assert {tuple(row.values()) for row in rows(made(shop, path))} == {tuple(row.values()) for row in rows(plain)}


@settings(max_examples=8)
@given(st.binary(max_size=300))
def test_no_bytes_stop_a_reader_without_words(shop_factory: Any, data: bytes) -> None:
    shop, folder = shop_factory()
    for ending in (".arrow", ".html", ".log", ".tfrecord", ".h5", ".wav", ".tar", ".jsonl", ".csv"):
        (folder / f"x{ending}").write_bytes(data)
        try:
            made(shop, folder / f"x{ending}")
        except MofangError as error:
            assert error.worded("zh")
