"""Packages that travel: sent, taken in, sent on, and every way in which one may lie."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofang.cli.group import run
from mofang.core.ancestry import open_document
from mofang.core.errors import MofangError, wordings
from mofang.core.foreign import record
from mofang.core.language import set_language
from mofang.core.ledger import Ledger
from mofang.core.shop import Shop
from mofang.core.store import Store
from mofang.core.trace import foreign_ancestors, plain
from mofang.engine.graphfile import check_graph
from mofang.serve.border import open_parcel
from tests.serve.hostile import Make, cases
from tests.serve.parcels import Box, make_model, send

CASES = list(cases())


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that made a model."""
    folder = tmp_path_factory.mktemp("maker")
    shop = Shop.open(folder / "shop")
    make_model(shop, folder)
    return shop


@pytest.fixture(scope="session")
def parcel(maker: Shop) -> Path:
    """The model as a file."""
    return send(maker, maker.path.parent / "reviews-1.mofang")


@pytest.fixture
def taker(tmp_path: Path) -> Shop:
    """A shop that made nothing."""
    return Shop.open(tmp_path / "taker")


def typed(shop: Shop, capsys: pytest.CaptureFixture[str], *words: str, language: str = "en") -> tuple[int, Any]:
    """A command with --json, in this process: its exit status and what it printed."""
    capsys.readouterr()
    status = run(["--shop", str(shop.path), "--lang", language, *words, "--json"])
    set_language("en")
    return status, json.loads(capsys.readouterr().out)


def everything(shop: Shop) -> set[str]:
    """What lies in a shop, but for the databases, whose entries are counted."""
    there = {str(path.relative_to(shop.path)) for path in shop.path.rglob("*") if not path.name.startswith(("ledger.db", "meter.db"))}
    return there | {f"{shop.ledger.head()}", f"{shop.names()}", *map(str, shop.ledger.db.rows("select id from foreign_entry"))}


def test_there_and_back_again_is_the_same_version(maker: Shop, parcel: Path, taker: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    status, facts = typed(taker, capsys, "import", str(parcel), "--yes")
    assert status == 0 and facts["model"] == "reviews@1" and not facts["again"] and not facts["remeasured"]
    assert facts["licences"] == ["CC-BY-4.0"] and facts["sources"] == [
        {"source": "texts.csv", "licence": "CC-BY-4.0", "origin": "tests"}]
    assert not facts["shops"][0]["known"] and facts["requests"] == 16
    before = everything(taker)
    status, again = typed(taker, capsys, "import", str(parcel), "--yes")
    assert status == 0 and again["again"] and again["model"] == "reviews@1" and again["entry"] == facts["entry"]
    assert again["shops"][0]["known"] and everything(taker) == before
    assert taker.verify() == [] and maker.verify() == []
    assert typed(taker, capsys, "import", str(parcel), "--yes", "--name", "comments")[1]["model"] == "comments@1"
    assert typed(maker, capsys, "import", str(parcel), "--yes")[1]["error"]["code"] == "parcel-own"


def test_the_same_package_is_the_same_file_whenever_it_is_sent(maker: Shop, parcel: Path, tmp_path: Path) -> None:
    assert send(maker, tmp_path / "again.mofang").read_bytes() == parcel.read_bytes()
    assert send(maker, tmp_path / "again.mofang").read_bytes() == parcel.read_bytes(), "and over itself"
    told = [entry.body for entry in maker.ledger.entries("decision") if entry.body["decision"] == "export"]
    assert told and {"file", "sha256", "inputs", "who"} <= told[-1].keys()


def test_no_record_no_person_no_folder_and_no_secret_is_in_it(maker: Shop, parcel: Path) -> None:
    box = Box(parcel)
    whole = b"\n".join(box.parts.values())
    rows = (maker.path.parent / "secret-folder" / "texts.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == 120
    for row in rows:
        text = row.rpartition(",")[0].strip('"')
        assert text.encode() not in whole and json.dumps(text)[1:-1].encode() not in whole
    assert b"secret-folder" not in whole and str(maker.path.parent).encode() not in whole
    assert all(re.fullmatch(r"who_[0-9a-f]{16}", one["view"]["who"]) for one in box.document["entries"])
    for key in (maker.path / "keys").iterdir():
        assert key.read_bytes() not in whole and key.read_bytes().hex().encode() not in whole
    assert os.stat(maker.path / "keys" / "signing.key").st_mode & 0o777 == 0o600


def test_a_file_is_never_overwritten_and_never_half_there(maker: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.mofang").write_text("mine")
    status, said = typed(maker, capsys, "export", "reviews", "--out", str(tmp_path / "mine.mofang"))
    assert status == 1 and said["error"]["code"] == "file-exists-already"
    assert (tmp_path / "mine.mofang").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    assert typed(maker, capsys, "export", "reviews", "--out", str(tmp_path / "none" / "x.mofang"))[1]["error"]["code"] == "file-not-writable"
    assert typed(maker, capsys, "export", "reviws")[1]["error"]["code"] == "name-unknown"
    assert typed(maker, capsys, "export")[1]["error"]["code"] == "export-which"
    assert typed(maker, capsys, "export", "reviews", "--out", str(tmp_path))[1]["file"] == str(tmp_path / "reviews-1.mofang")


def test_a_damaged_shop_sends_nothing(maker: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(maker.path, tmp_path / "shop")
    shop = Shop.open(tmp_path / "shop")
    graph = shop.find("reviews").path("graph/model.onnx")
    graph.chmod(0o644)
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    status, said = typed(shop, capsys, "export", "reviews", "--out", str(tmp_path / "x.mofang"))
    assert status == 1 and said["error"]["code"] == "package-damaged" and not (tmp_path / "x.mofang").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


# The corpus


@pytest.mark.parametrize(("make", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_lies_is_refused_and_leaves_nothing(parcel: Path, taker: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                 make: Make, code: str | tuple[str, ...]) -> None:
    before = everything(taker) | {"scratch"}
    hostile = make(Box(parcel), tmp_path / "hostile.mofang")
    status, said = typed(taker, capsys, "import", str(hostile), "--yes", language="zh")
    assert status == 1 and said["error"]["code"] in ((code,) if isinstance(code, str) else code), said
    assert re.search("[\u4e00-\u9fff]", said["error"]["what"]) and re.search("[\u4e00-\u9fff]", said["error"]["fix"])
    assert everything(taker) | {"scratch"} == before
    assert not Path("/tmp/mofang-hostile-pickle-was-run").exists()


def test_the_corpus_is_large_and_every_refusal_has_its_words() -> None:
    codes = {code for _, _, codes in CASES for code in ([codes] if isinstance(codes, str) else codes)}
    assert len(CASES) >= 60 and len({name for name, _, _ in CASES}) == len(CASES) and codes <= set(wordings())
    mine = {code for code in wordings() if code.startswith(("parcel-", "ancestry-", "graph-e", "graph-c", "signature-"))}
    assert mine - codes <= {"parcel-missing", "parcel-own", "parcel-nameless", "ancestry-contradicts"}


def flipped(path: Path, name: str, out: Path, *, mend: bool) -> Path:
    """One bit in the middle of a part; with ``mend`` the zip's own check sum is made right again."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    begin = info.header_offset + 30 + len(name.encode())
    data[begin + info.file_size // 2] ^= 1
    if mend:
        box = Box(path)
        box.parts[name] = bytes(data[begin:begin + info.file_size])
        return box.write(out)
    out.write_bytes(data)
    return out


@pytest.mark.parametrize("mend", [False, True])
def test_a_flipped_bit_in_any_part_is_found(parcel: Path, taker: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                            mend: bool) -> None:
    names = list(Box(parcel).parts)
    assert len(names) >= 11
    before = everything(taker) | {"scratch"}
    for name in names:
        status, said = typed(taker, capsys, "import", str(flipped(parcel, name, tmp_path / "flipped.mofang", mend=mend)), "--yes")
        signed = name in ("ancestry.json", "signature.json") and mend
        assert status == 1 and said["error"]["code"] in (("signature-wrong", "parcel-json") if signed else ("parcel-part-changed",)), name
    assert everything(taker) | {"scratch"} == before


# Noise: whatever is changed, the answer is a word and never a traceback

NOISY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats() | st.text(max_size=9),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3), max_leaves=5)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [at] if at else []
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(inner, (*at, name))
    return found


@settings(max_examples=60, suppress_health_check=NOISY, deadline=None)
@given(data=st.data())
def test_any_change_of_the_ancestry_is_refused_or_can_be_traced(parcel: Path, taker: Shop, data: st.DataObject) -> None:
    box = Box(parcel)
    document = box.document
    at = data.draw(st.sampled_from(places(document)))
    put = data.draw(JSON)

    def change(document: Any) -> None:
        for name in at[:-1]:
            document = document[name]
        document[at[-1]] = put

    try:
        box.seal(change)
    except (TypeError, AttributeError, IndexError, KeyError):  # our own sealing stumbled: nothing was made
        return
    try:
        found = open_document(box.parts["ancestry.json"], json.loads(box.parts["signature.json"]))
    except MofangError as error:
        assert error.what and error.fix
        return
    db = taker.ledger.db
    with contextlib.suppress(ZeroDivisionError), db.transaction():
        record(db, "shop_own", [("0" * 64, found)])
        tree = foreign_ancestors(taker.ledger, found["shop"]["id"], found["package"]["entry"])
        assert orjson.dumps(tree.to_dict()) and "\n".join(plain(tree))
        raise ZeroDivisionError  # undo


@settings(max_examples=80, suppress_health_check=NOISY, deadline=None)
@given(data=st.data())
def test_any_change_of_a_graph_is_refused_or_harmless(parcel: Path, tmp_path: Path, data: st.DataObject) -> None:
    graph = bytearray(Box(parcel).parts["graph/model.onnx"])
    for _ in range(data.draw(st.integers(1, 4))):
        graph[data.draw(st.integers(0, len(graph) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.onnx"
    path.write_bytes(graph[:data.draw(st.integers(0, len(graph)))] if data.draw(st.booleans()) else graph)
    with contextlib.suppress(MofangError):
        check_graph(path, "graph/model.onnx")


@settings(max_examples=80, suppress_health_check=NOISY, deadline=None)
@given(data=st.data())
def test_any_change_of_the_file_is_refused(parcel: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(parcel.read_bytes())
    at = data.draw(st.integers(len(whole) - 1500, len(whole) - 1) | st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    same, whole[at] = whole[at] == byte, byte
    path = tmp_path / "noise.mofang"
    path.write_bytes(whole)
    folder = tmp_path / f"noise-{os.urandom(6).hex()}"
    folder.mkdir()
    try:
        opened = open_parcel(path, folder)
    except MofangError as error:
        assert not same and error.what
        return
    assert opened.name == "reviews@1", "what the zip does not use (times, versions) may change; what it holds may not"


# Kills and crowds


def test_a_killed_import_leaves_nothing_that_can_be_seen_and_goes_on(parcel: Path, taker: Shop, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("keep", "append_within", "name"):
        child = os.fork()
        if child == 0:
            home: Any = {"keep": Store, "append_within": Ledger, "name": Shop}[step]
            setattr(home, step, lambda *_given, **_named: os.kill(os.getpid(), 9))
            run(["--shop", str(taker.path), "import", str(parcel), "--yes"])
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 9
        assert taker.names() == [] and taker.verify() == []
    status, facts = typed(taker, capsys, "import", str(parcel), "--yes")
    assert status == 0 and facts["model"] == "reviews@1" and facts["again"], "the entry stood already, only its name was missing"


def test_two_people_import_the_same_file_at_once(parcel: Path, taker: Shop) -> None:
    words = [sys.executable, "-m", "mofang", "--shop", str(taker.path), "import", str(parcel), "--yes", "--json"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    facts = [json.loads(one.communicate(timeout=60)[0]) for one in both]
    assert facts[0]["entry"] == facts[1]["entry"] and {one["model"] for one in facts} == {"reviews@1"}
    assert sorted(one["again"] for one in facts) == [False, True] and taker.verify() == []
