"""The two passes of cleaning: killed in either, continued by the same call to the same records; a full disk leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mofang.core import store
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean, rejected_rows
from mofang.data.cleaning import looking, shards, writing
from mofang.data.collect import collect
from mofang.data.records import RecordReader, content_digest
from mofang.data.survey import Survey, survey

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from mofang.core.shop import Shop
from mofang.data.cleaning import looking, shards, writing
from mofang.data.clean import clean
shards.PIECE_BYTES_LEAST, where, count = 2_000, sys.argv[2], [0]
def fatal(function):
    def call(*given):
        count[0] += 1
        if count[0] == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given)
    return call
if where == "survey":
    looking.Look.__call__ = fatal(looking.Look.__call__)
else:
    writing._rejected = fatal(writing._rejected)
shop = Shop.open(Path(sys.argv[1]))
shop.run(clean, shop.find("texts"))
"""


@pytest.fixture
def records(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Some hundred texts in a dozen pieces, with copies across them."""
    monkeypatch.setattr(shards, "PIECE_BYTES_LEAST", 2_000)
    rows = [f"第{place % 400}条评论，房间{'很好' if place % 2 else '很差'}，早餐{place % 400 * 7919}，值得再来一次" for place in range(600)]
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    made = shop.run(collect, source=str(path), licence="own", text=("text",))
    shop.name("texts", made)
    return made


@pytest.mark.parametrize("where", ["survey", "writing"])
def test_killed_in_either_pass_it_goes_on(
    shop: Shop, records: Any, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", KILLED, str(shop.path), where], env=environment, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    seen: list[int] = []
    look = looking.Look.__call__
    monkeypatch.setattr(looking.Look, "__call__", lambda self, piece: seen.append(piece.number) or look(self, piece))
    made = shop.run(clean, records)
    assert seen == ([] if where == "writing" else list(range(3, len(shards.pieces_of(records))))), "sealed pieces are not read again"
    monkeypatch.undo()
    other = Shop.open(tmp_path / "other")
    (other.path / "keys").mkdir(exist_ok=True)
    (other.path / "keys" / "records.key").write_bytes((shop.path / "keys" / "records.key").read_bytes())
    whole = other.run(clean, other.run(collect, source=str(tmp_path / "texts.csv"), licence="own", text=("text",)))
    assert content_digest(made / "kept") == content_digest(whole / "kept") and made.measures == whole.measures
    assert list(rejected_rows(made)) == list(rejected_rows(whole))


def test_nothing_is_dropped_in_the_first_pass_and_pieces_follow_the_order(shop: Shop, records: Any) -> None:
    made = shop.run(survey, records)
    assert isinstance(made, Survey) and made.pieces > 5
    ids = [id for piece in range(made.pieces) for id in made.facts(piece, ["id"]).column("id").to_pylist()]
    assert ids == [id for batch in RecordReader(records).batches() for id in batch.column("id")]
    assert sum(made.values(piece).num_rows for piece in range(made.pieces)) == 600


def test_a_full_disk_ends_in_words_and_the_same_call_goes_on(
    shop: Shop, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = writing.RecordWriter.write, [3]

    def full(*given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(*given)

    monkeypatch.setattr(writing.RecordWriter, "write", full)
    with pytest.raises(OSError, match="No space"):
        shop.run(clean, records)
    monkeypatch.setattr(writing.RecordWriter, "write", write)
    monkeypatch.setattr(store, "FREE_FLOOR_BYTES", 1 << 60)
    with pytest.raises(MofangError) as error:
        shop.run(clean, records)
    assert error.value.code == "disk-nearly-full"
    monkeypatch.undo()
    made = shop.run(clean, records)
    assert made.measures["kept"] == 400 and made.measures["dropped"] == {"duplicate": 200}
