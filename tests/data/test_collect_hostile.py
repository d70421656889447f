"""Sources made to do harm: each ends in words or in a reason, within bounded time and memory, and leaves nothing outside."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from tests.data.papers import pdf, sound, tf_framed

SECONDS = 10.0
MEMORY_MB = 900
ROW = '{"text": "一条普通的评论", "label": "x"}\n'


def zipped(*entries: tuple[str, bytes], link: str = "") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo("link.csv")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, link)
    return data.getvalue()


def tarred(*entries: tuple[str, bytes], packing: str = "", special: bytes = b"", target: str = "/etc/passwd") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{packing}") as archive:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if special:
            info = tarfile.TarInfo("special.jsonl")
            info.type, info.linkname = special, target
            archive.addfile(info)
    return data.getvalue()


def png_bomb() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9)) + chunk(b"IEND", b"")


def pdf_bomb() -> bytes:
    """Streams packed in streams: eight hundred megabytes from a few kilobytes."""
    inner = zlib.compress(b"BT /F1 12 Tf (x) Tj ET\n" * 1_500_000, 9)
    body = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream"
    twice = zlib.compress(inner, 9)
    good = pdf(["x"])
    place = good.index(b"<< /Length")
    return good[:place] + body % (len(twice), twice) + good[good.index(b"endobj", place) - 1:]


def loop_pdf() -> bytes:
    """A page tree that contains itself, and a thousand references to references."""
    return pdf(["x"] * 3).replace(b"/Kids [5 0 R 7 0 R 9 0 R]", b"/Kids [2 0 R 2 0 R 2 0 R]")


def xml_bomb() -> bytes:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 30))
    return f"<!DOCTYPE x [{entities}]><html><body><p>&a29;</p></body></html>".encode()


def many_columns() -> bytes:
    return b",".join(b"c%d" % i for i in range(3_000_000)) + b"\n" + b",".join([b"1"] * 3_000_000) + b"\n"


def deep() -> bytes:
    return b'{"text": "a", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n" + GOOD_ROWS


def tar_long_name() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    return info.tobuf() + bytes(10_000)


def wav_bomb() -> bytes:
    data = bytearray(sound(440, ".wav"))
    data[4:8], data[40:44] = b"\xff\xff\xff\x7f", b"\xf0\xff\xff\x7f"
    return bytes(data)


GOOD_ROWS = "".join(ROW.replace("一条", f"第{i}条") for i in range(50)).encode()
GOOD = ("好.jsonl", GOOD_ROWS)
# file name: (its bytes, what may come of it: error codes, reasons for rejecting, or "rows")
HOSTILE: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "溢出.zip": (lambda: zipped(GOOD, ("../../evil.jsonl", ROW.encode())), {"entry-outside"}),
    "绝对.zip": (lambda: zipped(GOOD, ("/tmp/evil.jsonl", ROW.encode())), {"entry-outside"}),
    "link.zip": (lambda: zipped(GOOD, link="/etc/passwd"), {"entry-link"}),
    "nested.zip": (lambda: zipped(GOOD, ("inner.zip", zipped(GOOD))), {"entry-archive"}),
    "bomb.zip": (lambda: zipped(("0.csv", bytes(40 * 2**20))), {"archive-bomb"}),
    "cut.zip": (lambda: zipped(GOOD)[:-30], {"archive-broken"}),
    "溢出.tar": (lambda: tarred(GOOD, ("../evil.jsonl", ROW.encode())), {"entry-outside"}),
    "绝对.tar.gz": (lambda: tarred(GOOD, ("/tmp/evil.jsonl", ROW.encode()), packing="gz"), {"entry-outside"}),
    "symlink.tar": (lambda: tarred(GOOD, special=tarfile.SYMTYPE), {"entry-link"}),
    "hardlink.tar.xz": (lambda: tarred(GOOD, special=tarfile.LNKTYPE, packing="xz"), {"entry-link"}),
    "device.tar": (lambda: tarred(GOOD, special=tarfile.CHRTYPE), {"entry-link"}),
    "pipe.tar.bz2": (lambda: tarred(GOOD, special=tarfile.FIFOTYPE, packing="bz2"), {"entry-link"}),
    "nested.tar": (lambda: tarred(GOOD, ("inner.tar.gz", tarred(GOOD, packing="gz"))), {"entry-archive"}),
    "bomb.tar.gz": (lambda: gzip.compress(tarred(("0.csv", bytes(40 * 2**20))), 9), {"archive-bomb"}),
    "long-name.tar": (tar_long_name, {"archive-broken"}),
    "cut.tar.gz": (lambda: tarred(("a.txt", os.urandom(200_000)), packing="gz")[:100_000], {"archive-broken"}),
    "bomb.jsonl.gz": (lambda: gzip.compress(bytes(40 * 2**20), 9), {"archive-bomb", "format-unknown"}),
    "image.png": (png_bomb, {"rows"}),
    "bomb.pdf": (pdf_bomb, {"pdf-broken", "page-without-text", "cell-too-large", "page-broken", "rows"}),
    "loop.pdf": (loop_pdf, {"pdf-broken", "page-broken", "page-without-text", "rows"}),
    "bomb.xhtml": (xml_bomb, {"rows"}),
    "deep.html": (lambda: b"<html><body>" + b"<div>" * 100_000 + b"text" + b"</div>" * 100_000, {"page-too-deep"}),
    "bomb.wav": (wav_bomb, {"sound-broken", "sound-bomb", "sound-too-long", "rows"}),
    "deep.jsonl": (deep, {"rows", "not-json"}),
    "giant-line.jsonl": (lambda: GOOD_ROWS + b'{"text": "' + b"x" * 80_000_000 + b'"}\n', {"cell-too-large"}),
    "giant-line.csv": (lambda: b"text,label\n" + b"".join(b"some words %d,x\n" % i for i in range(50)) + b"y" * 80_000_000 + b",x\n", {"cell-too-large"}),
    "open-quote.csv": (lambda: b'text,label\n"' + b"".join(b"some words %d,x\n" % i for i in range(100_000)), {"quote-open"}),
    "nul.csv": (lambda: b"text,label\n" + b"".join(b"some words %d,x\n" % i for i in range(50)) + b"\0\0\0,x\n", {"rows", "not-csv"}),
    "columns.csv": (many_columns, {"too-many-columns"}),
    "invalid.jsonl": (lambda: GOOD_ROWS + b'{"text": "\xff\xfe", "label": "x"}\n', {"undecodable", "not-json"}),
    "混合编码.csv": (lambda: b"text,label\n" + "一条普通的评论,好\n".encode() * 98 + "一条普通的评论,好\n".encode("gbk"), {"undecodable"}),
    "length.tfrecord": (lambda: tf_framed(b"x")[:12] + struct.pack("<Q", 2**60) * 4, {"frame-broken", "record-too-large"}),
    "hostile.arrow": (lambda: b"ARROW1\0\0" + b"\xff" * 4000 + b"\xff\xff\xff\x7fARROW1", {"not-arrow"}),
    "hostile.parquet": (lambda: b"PAR1" + b"\xff" * 4000 + b"\xff\xff\x00\x00PAR1", {"not-parquet"}),
}


SCRIPT = """
import json, sys, time
from pathlib import Path
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.sources import archives, files, tars

archives.BOMB_BYTES = tars.BOMB_BYTES = files.BOMB_BYTES = 16 * 2**20  # so that the bombs of the test may be small
shop = Shop.open(sys.argv[2])
for source in sorted(Path(sys.argv[1]).iterdir()):
    began = time.process_time(), time.monotonic()
    try:
        made = shop.run(collect, source=str(source), licence="own", bad_share=0.5)
        said = ["rows"] * bool(made.measures["rows"]) + list(made.measures["rejected"])
    except MofangError as error:
        said = [error.code, *str(error.values.get("reasons", "")).replace(",", "").split()]
    memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps([source.name, said, time.process_time() - began[0], time.monotonic() - began[1], memory // 1024]), flush=True)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], float, float, int]]:
    """What came of each file, one after another in a process of their own: what was said, seconds of processor and clock,
    and the most memory in MB up to there."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "来源").mkdir()
    for name, (make, _) in HOSTILE.items():
        (folder / "来源" / name).write_bytes(make())
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder / "来源"), str(folder / "shop")], capture_output=True,
                          text=True, timeout=160, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in folder.iterdir()) == ["shop", "来源"] and len(list((folder / "来源").iterdir())) == len(HOSTILE)
    lines = map(json.loads, done.stdout.splitlines())
    return {name: (said, cpu_s, wall_s, memory_mb) for name, said, cpu_s, wall_s, memory_mb in lines}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_source_ends_in_words(found: dict[str, tuple[list[str], float, float, int]], name: str) -> None:
    said, cpu_s, wall_s, memory_mb = found[name]
    assert HOSTILE[name][1] & set(said), said
    assert memory_mb < MEMORY_MB and cpu_s < SECONDS and wall_s < 4 * SECONDS, (cpu_s, wall_s, memory_mb)
    assert not Path("/tmp/evil.jsonl").exists()


def test_names_that_are_no_utf8(shop: Shop, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/data"
    os.mkdir(folder)
    try:
        for name in ("好评.txt", "差评.txt"):
            with open(folder + b"/" + name.encode("gbk"), "wb") as file:
                file.write("一条普通的评论\n".encode() * 5)
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    made = shop.run(collect, source=str(tmp_path / "data"), licence="own")
    assert {file["name"] for file in made.read_json("about.json")["source"]["files"]} == {"好评.txt", "差评.txt"}


@pytest.mark.parametrize(("given", "code"), [
    ({"obtained": "2026-13-01"}, "date-unreadable"), ({"obtained": "2999-01-01"}, "obtained-later"), ({"retain": "365d"}, "retain-from-when"),
    ({"retain": "soon", "obtained": "2026-01-01"}, "period-unreadable"), ({"retain": "1d", "retain_until": "2027-01-01"}, "retain-twice")])
def test_provenance_that_makes_no_sense(shop: Shop, tmp_path: Path, given: dict[str, str], code: str) -> None:
    (tmp_path / "a.jsonl").write_text(ROW * 5, encoding="utf-8")
    with pytest.raises(MofangError) as caught:
        shop.run(collect, source=str(tmp_path / "a.jsonl"), licence="own", **given)
    assert caught.value.code == code


def test_provenance_travels(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "一条普通的评论", "user": "u1", "label": "x"}\n' * 5, encoding="utf-8")
    made = shop.run(collect, source=str(tmp_path / "a.jsonl"), licence="cc by 4.0", terms="https://example.org/terms", origin="our site",
                    obtained="2026年5月1日", retain="18m", person="user", text=("text",))
    about = made.read_json("about.json")
    assert {name: about[name] for name in ("licence", "terms", "obtained", "retain_until")} == {
        "licence": "cc by 4.0", "terms": "https://example.org/terms", "obtained": "2026-05-01", "retain_until": "2027-11-01"}
    assert about["columns"]["user"] == "person" and len(made.measures["hints"]) == 2
    assert "CC-BY-4.0" in made.measures["hints"][0] and "--consent" in made.measures["hints"][1]
    plain = shop.run(collect, source=str(tmp_path / "a.jsonl"), licence="MIT", consent="contract", person="user", text=("text",))
    assert "hints" not in plain.measures
    from mofang.core.trace import ancestors
    from mofang.core.trace import plain as told

    said = "\n".join(told(ancestors(shop.ledger, made.entry)))
    assert "2026" in said and "https://example.org/terms" in said
