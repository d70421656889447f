"""Encodings: found out from the bytes, and a broken byte spoils one row only."""

from __future__ import annotations

import codecs
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, encoding_of, is_clean, open_text

CHINESE = (
    "标签,内容\n"
    + "好评,这个酒店的服务很好，我们住了三天，下次还会来。\n差评,房间太小了，而且不是很干净。\n" * 20
)
TAIWAN = "標籤,內容\n" + "好評,這個飯店的服務很好，我們住了三天，下次還會來。\n" * 20
FRENCH = "label,texte\n" + "pos,C'était très agréable, à refaire dès l'été prochain\n" * 20


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gbk", "gb18030"),
        (TAIWAN, "big5", "big5"),
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        ("plain ascii\n", "ascii", "utf-8"),
        ("", "ascii", "utf-8"),
        (
            "ラベル,本文\n" + "良い,とても良い商品でした。また買いたいと思います。\n" * 20,
            "shift_jis",
            "shift_jis",
        ),
    ],
)
def test_encoding_is_found(text: str, encoding: str, expected: str) -> None:
    data = text.encode(encoding)
    if encoding == "utf-16-le":
        data = data.removeprefix(codecs.BOM_UTF16_LE)
        data = ("label,text\n" + "good,a fine hotel\n" * 40).encode("utf-16-le")
    assert encoding_of(data) == expected


def test_one_broken_line_does_not_change_the_encoding() -> None:
    lines = CHINESE.encode().splitlines(keepends=True) * 10
    lines[7] = b"\xff\xfe broken \xc0\n"
    assert encoding_of(b"".join(lines)) == "utf-8"


def test_a_sample_cut_within_a_character() -> None:
    assert encoding_of("好评\n不好".encode()[:-1], whole=False) == "utf-8"


@given(st.text(max_size=200))
@example("\0")
@example("\0\0\0")
@example("a\0b\0c")
def test_utf8_is_never_taken_for_another(text: str) -> None:
    data = text.encode()
    found = encoding_of(data)
    assert (
        data.decode(found).replace("\ufeff", "") == text.replace("\ufeff", "")
        or b"\0" in data
        or data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    )


@given(st.binary(max_size=400))
def test_every_file_of_bytes_has_an_encoding_that_reads_it(data: bytes) -> None:
    found = encoding_of(data)
    codecs.lookup(found)
    reading = "replace" if found.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(io.BytesIO(data), encoding=found, errors=reading, newline="").read()
    if reading == "surrogateescape" and found != "utf-8-sig":
        assert text.encode(found, "surrogateescape") == data or not is_clean(text) or found in ("big5", "shift_jis")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=4, max_size=200), st.sampled_from(("utf-16-le", "utf-16-be")))
def test_utf16_without_a_mark_is_found(text: str, encoding: str) -> None:
    assert encoding_of(text.encode(encoding)) == encoding


def test_gzip_is_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(CHINESE.encode("gb18030")))
    file = SourceFile(path, path.name)
    assert detect_encoding(file) == "gb18030"
    assert file.kind == "csv" and file.stem == "a"
    with open_text(file, "gb18030") as text:
        assert text.read() == CHINESE


def test_broken_bytes_become_surrogates(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nb\xffad\n")
    with open_text(SourceFile(path, "a.txt"), "utf-8") as text:
        assert [is_clean(line) for line in text] == [True, False]


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(MofangError) as caught:
        open_text(SourceFile(tmp_path / "a.txt", "a.txt"), "gb-nonsense")
    assert caught.value.code == "encoding-unknown"
