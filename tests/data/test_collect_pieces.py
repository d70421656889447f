"""A source read in pieces, in other processes, in two attempts, or over what was collected before: always the same records."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.executor import Local
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.collecting import merging, pieces, planning
from mofang.data.records import RecordReader, Records, content_digest
from mofang.data.sources import cutting
from tests.data.papers import pdf, sound
from tests.stories.terminal import Terminal, eventually


def made(shop: Shop, source: Path, previous: Records | None = None, **how: Any) -> Records:
    found: Records = shop.run(collect, previous, source=str(source), **{"licence": "own", "bad_share": 1.0, **how})
    return found


def parts(records: Records) -> dict[str, str]:
    """The digest of every part that holds records, without that of where they came from."""
    return {part.name: part.digest for part in records.parts}


def aside(records: Records) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(records.path("rejected.parquet")).to_pylist()
    return rows


def new_shop(folder: Path) -> Shop:
    shop = Shop.open(folder)
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / "records.key").write_bytes(bytes(32))
    return shop


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files are cut at every 2 kB."""
    monkeypatch.setattr(cutting, "PIECE_BYTES", 2048)
    monkeypatch.setattr(planning, "PIECE_BYTES", 2048)
    yield


def awkward_csv(chance: random.Random, rows: int) -> bytes:
    """Cells of several lines, quotes, blank lines, ragged rows, repeated rows, bad bytes, and now and then an open quote."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=chance.choice(["\n", "\r\n"]))
    writer.writerow(["评论", "n", "标签"])
    for number in range(rows):
        kind = chance.random()
        if kind < 0.02:
            text.write("\n")
        elif kind < 0.04:
            text.write("ragged,row\n")
        elif kind < 0.06:
            text.write('5" pipe,3,x\n')
        elif kind < 0.065:
            text.write('"never closed,3,x\n')
        elif kind < 0.2:
            writer.writerow([f'two\nlines "{number % 30}"', chance.choice(["1", "", "x"]), "a"])
        else:
            writer.writerow([f"第{number % 50}条，写得长", number % 7, "ab"[number % 2]])
    return text.getvalue().encode()


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from(["csv", "jsonl", "txt"]))
def test_a_file_read_in_pieces_is_the_file_read_whole(shop_factory: Any, seed: int, kind: str) -> None:
    shop, folder = shop_factory()
    chance = random.Random(seed)
    data = awkward_csv(chance, 400)
    if kind == "jsonl":
        lines = [json.dumps({"评论": f"第{i % 60}条\r\n", "n": i, "标签": "x"}, ensure_ascii=bool(i % 2)) for i in range(400)]
        for _ in range(10):
            lines.insert(chance.randrange(400), chance.choice(["", "{", "[1]", '{"n": NaN}', "\udcff", '{"评论": "\\ud800"}']))
        data = chance.choice(["\n", "\r\n"]).join(lines).encode("utf-8", "surrogateescape")
    (folder / f"数据.{kind}").write_bytes(data)
    how: dict[str, Any] = {"text": ("评论",), "numbers": ("n",), "label": "标签"} if kind != "txt" else {"format": "lines"}
    whole = made(shop, folder / f"数据.{kind}", **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "PIECE_BYTES", 2048)
        patch.setattr(planning, "PIECE_BYTES", 2048)
        cut = made(shop, folder / f"数据.{kind}", **how, max_cell_chars=999_999)
    assert content_digest(cut) == content_digest(whole)
    assert aside(cut) == aside(whole)
    left_out = {"files.parquet", "about.json"}
    assert {k: v for k, v in parts(cut).items() if k not in left_out} == {k: v for k, v in parts(whole).items() if k not in left_out}
    assert cut.measures == whole.measures


def test_two_processes_collect_as_one(tmp_path: Path, small_pieces: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "SMALL_BYTES", 0)
    source = tmp_path / "a.csv"
    source.write_bytes(awkward_csv(random.Random(3), 2000))
    found = []
    executor = Local(2)
    try:
        for name, one in (("one", Local()), ("two", executor)):
            shop = new_shop(tmp_path / name)
            shop.__dict__["executor"] = one
            found.append(parts(made(shop, source, text=("评论",), numbers=("n",), label="标签")))
    finally:
        executor.close()
    assert found[0] == found[1]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are parsed from now on."""
    read: list[str] = []
    before = pieces.chunks_of

    def watched(files: Any, how: Any, reject: Any) -> Any:
        read.extend(file.name for file in files)
        return before(files, how, reject)

    monkeypatch.setattr(pieces, "chunks_of", watched)
    return read


def grow(folder: Path, kind: str, first: int, last: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, last):
        name = f"2025-{number:02}"
        if kind == "csv":
            rows = "".join(f"第{i % 9}条评论写得很长,{i},{'好坏'[i % 2]}\n" for i in range(40 * number))
            header = "评论,n,标签\n" if number % 3 or not number else ""
            (folder / f"{name}.csv").write_text(header + rows + "ragged\n", encoding="utf-8")
        elif kind == "jsonl":
            rows = "".join(json.dumps({"评论": f"第{i % 9}条评论写得很长", "标签": "好坏"[i % 2]}) + "\n" for i in range(40))
            (folder / f"{name}.jsonl").write_text(rows + "{broken\n", encoding="utf-8")
        elif kind == "sounds":
            (folder / "开关"[number % 2]).mkdir(exist_ok=True)
            (folder / "开关"[number % 2] / f"{name}.wav").write_bytes(sound(200.0 + number % 4, ".wav"))
        else:
            (folder / f"{name}.pdf").write_bytes(pdf([f"page {number % 3} of a manual", "", "the same page"]))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "sounds", "pdf"])
def test_only_what_is_new_is_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, folder = new_shop(tmp_path / "shop"), tmp_path / "data"
    how: dict[str, Any] = {"text": ("评论",), "label": "标签"} if kind in ("csv", "jsonl") else {}
    grow(folder, kind, 1, 6)
    first = made(shop, folder, **how)
    grow(folder, kind, 6, 8)
    grow(folder, kind, 0, 1)
    gone = next(one for one in folder.rglob("*") if "2025-03" in one.name)
    gone.unlink()
    changed = next(one for one in folder.rglob("*") if "2025-04" in one.name)
    changed.write_bytes({"sounds": sound(999, ".wav"), "pdf": pdf(["another page"])}.get(kind, changed.read_bytes()[:-40] + b"\n"))
    read = counted(monkeypatch)
    grown = made(shop, folder, first, **how)
    parsed = len(read)
    whole = made(shop, folder, **how)
    assert grown.digest == whole.digest and parts(grown) == parts(whole)
    assert grown.measures["files_gone"] == 1 and grown.measures["files_taken"] >= 2 and parsed == grown.measures["files_read"]
    assert parsed <= 5 < len(read) - parsed  # a header before the others changes what the first of them is read with
    same = ("rows", "rejected", "blank_lines", "columns")
    assert {name: grown.measures[name] for name in same} == {name: whole.measures[name] for name in same}
    again = made(shop, folder, grown, **how)
    assert again.digest == grown.digest and made(shop, folder, grown, **how).entry != again.entry


def test_repeats_across_files_keep_their_numbers(tmp_path: Path) -> None:
    """The second of two equal rows has an id of its own; when the file with the first goes, it becomes the first."""
    shop, folder = new_shop(tmp_path / "shop"), tmp_path / "data"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jsonl").write_text('{"评论": "一样的评论一样的评论", "标签": "x"}\n' * 3, encoding="utf-8")
    first = made(shop, folder, text=("评论",), label="标签")
    (folder / "a.jsonl").unlink()
    (folder / "d.jsonl").write_text('{"评论": "一样的评论一样的评论", "标签": "y"}\n' * 2, encoding="utf-8")
    grown = made(shop, folder, first, text=("评论",), label="标签")
    assert grown.measures["files_taken"] == 2
    assert grown.digest == made(shop, folder, text=("评论",), label="标签").digest
    assert len({row["id"] for batch in RecordReader(grown).batches() for row in batch.rows()}) == 8


def test_other_settings_take_nothing_over(tmp_path: Path) -> None:
    shop, folder = new_shop(tmp_path / "shop"), tmp_path / "data"
    grow(folder, "csv", 1, 4)
    first = made(shop, folder, text=("评论",), label="标签")
    other = made(shop, folder, first, text=("评论",), numbers=("n",), label="标签")
    assert other.measures["files_taken"] == 0


def test_a_killed_collect_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """kill -9 in the middle of sixty PDF files: the second attempt reads only those that are left."""
    terminal = Terminal(tmp_path / "home")
    folder = terminal.folder / "手册"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.pdf").write_bytes(pdf([f"page {number} of the manual"]))
    words = ("stage", "collect", "--source", "手册", "--licence", "own")
    script = ("import mofang.data.collecting.planning as p, sys; p.FILES_MOST = 3\n"
              "from mofang.__main__ import main; sys.argv = ['mofang', *sys.argv[1:]]; main()")
    import subprocess

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", script, *words], cwd=terminal.folder, env=terminal.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    running = start()

    def finished() -> list[Path]:
        return list((terminal.shop / "scratch").glob("*/pieces/*.json"))

    assert eventually(lambda: len(finished()) >= 5, 60)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    kept = {path: path.stat().st_mtime_ns for path in finished()}
    assert 5 <= len(kept) < 20
    began = time.monotonic()
    second = start()
    assert second.wait(90) == 0, second.stderr.read() if second.stderr else ""
    second.communicate()
    assert time.monotonic() - began < 60
    shop = Shop.open(terminal.shop, make=False)
    entry = list(shop.ledger.entries("done"))[-1]
    assert entry.body["measures"]["rows"] == 60 and entry.body["measures"]["pieces_kept"] == len(kept)
    assert not (terminal.shop / "scratch" / entry.key).exists()


def test_where_the_disk_is_short_merged_pieces_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.csv").write_bytes(awkward_csv(random.Random(number), 50))
    monkeypatch.setattr(planning, "FILES_MOST", 2)
    wide = made(new_shop(tmp_path / "wide"), folder, text=("评论",), label="标签")
    left: list[int] = []
    merge = pieces.Room.merged

    def count(room: pieces.Room, piece: pieces.Piece) -> None:
        merge(room, piece)
        left.append(len(list(piece.folder.glob("*.arrow"))))

    monkeypatch.setattr(pieces.Room, "merged", count)
    monkeypatch.setattr(pieces, "SPARE_BYTES", 1 << 60)
    tight = made(new_shop(tmp_path / "tight"), folder, text=("评论",), label="标签")
    assert parts(tight) == parts(wide)
    assert len(left) >= 6 and set(left) == {0}


def test_a_full_disk_is_told_and_nothing_half_written_stays(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(awkward_csv(random.Random(3), 100))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: os.statvfs_result([0] * 10) and type("Usage", (), {"free": 1})())
    with pytest.raises(MofangError) as caught:
        made(shop, source, text=("评论",), label="标签")
    assert caught.value.code == "disk-nearly-full"


def test_a_packed_file_that_is_cut_short(shop: Shop, tmp_path: Path) -> None:
    import gzip

    chance = random.Random(5)
    rows = "".join(f"第{i}条评论{chance.random()},{i % 2}\n" for i in range(30_000))
    packed = gzip.compress(("评论,标签\n" + rows).encode())
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(MofangError) as caught:
        made(shop, tmp_path / "a.csv.gz", label="标签", text=("评论",))
    assert caught.value.code == "archive-broken" and "--damaged keep" in caught.value.worded("zh")[1]
    kept = made(shop, tmp_path / "a.csv.gz", label="标签", text=("评论",), damaged="keep")
    assert 8_000 < kept.measures["rows"] < 30_000 and kept.measures["rejected"]["cut-short"] == 1


def test_a_look_at_many_files_holds_the_first_rows_of_each(tmp_path: Path) -> None:
    from mofang.data.collecting.choosing import FIRST_ROWS, SAMPLE_ROWS, sample
    from mofang.data.readers import Reading
    from mofang.data.sources.files import source_files

    for number in range(30):
        late = {"late": "1"} if number == 29 else {}
        lines = [json.dumps({"id": f"{number}-{row}", "text": "x" * 500, **late}) for row in range(3000)]
        (tmp_path / f"{number:02}.jsonl").write_text("\n".join(lines))
    files, how = source_files(str(tmp_path)), Reading("jsonl", several=True)
    assert sum(len(one.numbers) for one in sample(files, how, ["text", "id"])) <= SAMPLE_ROWS + 4096, "id is renamed, not missing"
    head = sample(files, how, ["text", "late"])
    assert "late" in head[-1].columns and sum(len(one.numbers) for one in head) <= SAMPLE_ROWS + 4096 + 30 * FIRST_ROWS
