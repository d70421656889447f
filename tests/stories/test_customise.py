"""A customer's own model from the order to the proof that it is gone; nobody else ever sees a byte of it."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest

from mofang.core.encrypted import is_encrypted
from mofang.core.shop import Shop
from mofang.trade.customs.orders import customs
from mofang.trade.shown.sold import custom_facts
from mofang.web.predict import ROUTES
from tests.stories.conftest import Made
from tests.stories.terminal import Inside, Server, eventually

CANARY = "KANARIENVOGEL金丝雀"
LABEL = "绿鹦鹉PAPAGEI"  # in the labels of one order: names of classes are a customer's words too
ASKED = "白孔雀PFAU"  # in what the customer asks the model


def own_rows(place: Path, count: int = 120, *, first: int = 0) -> Path:
    """A customer's own words for good and bad, which the base has never read; a canary in every row."""
    chance = random.Random(first + 5)
    good, bad = ("香醇", "顺滑", "省电"), ("嗡嗡响", "冒烟", "漏水")
    rows = [{"评论": f"{CANARY}{first + n}号咖啡机{chance.choice((bad, good)[n % 2])}，{chance.choice(('水箱', '滤网', '把手'))}旁",
             "评价": ("差评", "好评")[n % 2]} for n in range(count)]
    place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return place


@dataclass
class Sold:
    """The shop in which 甲公司 has a model of its own, its server, and keys of two customers."""

    terminal: Inside
    server: Server
    keys: dict[str, str] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def sold(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sold]:
    folder = tmp_path_factory.mktemp("customise") / "company"
    shutil.copytree(made.folder, folder)
    (folder / "tmp").mkdir()
    with mock.patch.dict(os.environ, {"TMPDIR": str(folder / "tmp")}), mock.patch("tempfile.tempdir", str(folder / "tmp")):
        yield from _sold(folder)


def _sold(folder: Path) -> Iterator[Sold]:
    terminal = Inside(folder)
    terminal.type("price", "set", "reviews", "5.00/1000", "--yes")
    for name in ("甲公司", "乙公司"):
        terminal.type("customer", "new", name)
    found = Sold(terminal, Server(terminal))  # it serves before the model is made
    with found.server:
        found.keys = {name: terminal.token(name) for name in ("甲公司", "乙公司")}
        found.said["new"] = terminal.type("customise", "new", "甲公司", "--base", "reviews@1", "--name", "咖啡", "--price", "500.00")
        terminal.type("customise", "new", "乙公司", "--base", "reviews", "--name", "tea", "--price", "80.00")
        own_rows(folder / "own.jsonl", 80)
        found.said["add"] = terminal.type("customise", "add", "咖啡", "own.jsonl")
        assert eventually(lambda: "reviews" in str(found.server.call("GET", "/v1/models", key=found.keys["甲公司"]).body), 5)
        sent = own_rows(folder / "sent.jsonl", 40, first=1000).read_bytes()
        found.said["sent"] = [found.server.call("POST", "/v1/customisations/%E5%92%96%E5%95%A1/records", sent, key=found.keys["甲公司"],
                                                content_type="application/x-ndjson") for _ in range(2)]
        found.said["run"] = terminal.type("customise", "run", "咖啡", "--json")
        yield found
        found.server.process.terminate()
        said = "".join(found.server.process.communicate(timeout=30))
        assert not [one for one in (CANARY, LABEL, ASKED) if one in said], "the server's own words"


def test_records_come_by_command_and_by_the_customers_own_key(sold: Sold) -> None:
    assert "set aside until" in sold.said["new"].out and "customise add 咖啡" in sold.said["new"].out
    assert "80 records" in sold.said["add"].out
    first, again = (one.json for one in sold.said["sent"])
    assert (first["taken"], first["records"], first["files"]) == (40, 120, 2), first
    assert again["repeated"] and (again["taken"], again["records"]) == (0, 120), "the same file is taken once"


def test_the_model_is_better_on_the_customers_own_rows_and_charged_once(sold: Sold) -> None:
    told = sold.said["run"].json
    assert told["learnt_from"] == "both" and told["rows"]["own"] == 120 and told["rows"]["base"] > 100
    assert told["figures"]["verdict"] == "better" and told["figures"]["own_right"] > told["figures"]["base_right"]
    assert told["charged_micros"] == 500_000_000 and told["calls"] == "¥5.00/1,000"
    tree = sold.terminal.type("trace", told["entry"]).out
    assert "reviews@1" in tree and "the customer's own" in tree and "evaluat" in tree, tree
    assert sold.terminal.type("customise", "run", "咖啡", status=1).code == "customise-delivered"
    assert sold.terminal.type("verify").status == 0


def test_only_its_own_customer_finds_it(sold: Sold) -> None:
    """To everybody else it is a name that nobody has: in lists, in answers, in what is served."""
    server, mine, other = sold.server, sold.keys["甲公司"], sold.keys["乙公司"]
    body = {"评论": "7号咖啡机冒烟，水箱旁"}
    path = "%E5%92%96%E5%95%A1"
    assert eventually(lambda: server.predict(path, body, mine).status == 200, 5)
    answered = server.predict(path, body, mine).json
    assert answered["answer"]["label"] == "差评" and answered["model"] == "咖啡@1" and answered["price"] == "0.005"
    for name in (path, f"{path}@1"):
        refused, nobody = server.predict(name, body, other), server.predict("nobodys", body, other)
        assert (refused.status, refused.code) == (nobody.status, nobody.code) == (404, "model-unknown")
        assert "咖啡" not in refused.json["error"]["fix"]
    assert "咖啡@1" in str(server.call("GET", "/v1/models", key=mine).json)
    assert "咖啡" not in str(server.call("GET", "/v1/models", key=other).json) and "咖啡" not in str(server.call("GET", "/health").json)
    assert [one["name"] for one in server.call("GET", "/v1/customisations", key=other).json["customisations"]] == ["tea"]
    tried = server.call("POST", f"/v1/customisations/{path}/records", b'{"a": 1}', key=other)
    assert (tried.status, tried.code) == (404, "customise-unknown") and "咖啡" not in tried.json["error"]["fix"].replace("咖啡@", "")
    assert server.call("GET", "/v1/customisations").code == "key-missing"


def test_the_matrix_of_all_routes(sold: Sold) -> None:
    """Every route that names a model, in its path or its body: another customer's key, a revoked and no key learn nothing."""
    server, other = sold.server, sold.keys["乙公司"]
    spent = sold.terminal.token("甲公司")
    sold.terminal.type("key", "revoke", spent, "--yes")
    assert eventually(lambda: server.call("GET", "/v1/models", key=spent).status == 401, 3)
    named = [one for one in ROUTES if one.scope == "key" and one.named]
    bodies = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
    assert len(named) >= 8 and any("customisation" in one.path for one in named)

    def told(one: Any, name: str, key: str) -> tuple[int, str]:
        path = re.sub(r"{(\w+)}", lambda part: "1" if part[1] == "version" else quote(name), one.path)
        body = {"model": name, "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x", "text": "x"}
        answer = server.call(one.method, path, body if one.method == "POST" else None, key=key)
        return answer.status, re.sub(r"req_\w+", "", answer.body.decode().replace(json.dumps(name)[1:-1], "NAME").replace(name, "NAME"))

    for one in [*named, *(route for route in ROUTES if route.path in bodies)]:
        for name in ("咖啡", "咖啡@1"):
            theirs, nobodys = told(one, name, other), told(one, "呱呱" if "@" not in name else "呱呱@1", other)
            assert theirs == nobodys and theirs[0] in (400, 403, 404, 422, 501), (one.path, theirs, nobodys)
            assert {told(one, name, key)[0] for key in (spent, "")} == {401}, one.path


def plain_texts(shop: Shop) -> Iterator[tuple[str, bytes]]:
    """Everything a shop's store holds, decrypted, and tables unpacked into their cells."""
    import pyarrow.parquet as pq

    for digest in sorted(shop.store.held()):
        with shop.store.open(digest) as file:
            data = file.read()
        yield digest, data
        if data[:4] == b"PAR1":
            yield digest, str(pq.read_table(io.BytesIO(data)).to_pydict()).encode()
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield digest, b"".join(map(archive.read, archive.namelist()))


# In a process of its own: closing a database's file would end this one's locks on it, and a server would then take its log away.
SOUGHT = """
import json, pathlib, sys
files, spelt = json.load(sys.stdin)
texts = [(file, pathlib.Path(file).read_bytes()) for file in files if pathlib.Path(file).exists()]
print(json.dumps([file for file, data in texts if any(bytes.fromhex(one) in data for one in spelt)]))
"""


def holding(folder: Path, canary: str, *, but: tuple[str, ...] = ()) -> list[str]:
    """Files below a folder that hold the canary as plain bytes, in any usual spelling."""
    spelt = [canary.encode(), canary.encode("utf-16-le"), canary.encode("gb18030"), json.dumps(canary)[1:-1].encode()]
    files = [str(file) for file in folder.rglob("*") if file.is_file() and not any(one in str(file) for one in but)]
    asked = json.dumps([files, [one.hex() for one in spelt]])
    told = subprocess.run([sys.executable, "-c", SOUGHT], input=asked, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(told.stdout)
    return found


def test_a_canary_appears_nowhere_but_in_its_own_room(sold: Sold) -> None:
    """Every byte of the shop, raw and decrypted, of the other customer's room, of a backup, a takeout and a parcel; of databases
    with their logs and free pages, temporary folders, caches; of what others are told: usage, lists, refusals, descriptions."""
    terminal, server = sold.terminal, sold.server
    terminal.type("customer", "keep", "甲公司", "--days", "7", "--yes")
    terminal.type("customise", "new", "甲公司", "--base", "reviews@1", "--name", "labels", "--price", "10.00")
    named = own_rows(terminal.folder / "labelled.jsonl", 60, first=3000)
    named.write_text(named.read_text(encoding="utf-8").replace("差评", f"{LABEL}坏").replace("好评", f"{LABEL}好"), encoding="utf-8")
    terminal.type("customise", "add", "labels", "labelled.jsonl")
    told = terminal.type("customise", "run", "labels", "--learn", "own", "--json")
    assert LABEL not in told.out + terminal.type("trace", told.json["entry"]).out + terminal.type("customise").out
    path = "%E5%92%96%E5%95%A1"
    retried = {"Idempotency_Key": "k1"}
    time.sleep(0.3)
    for _ in range(2):
        assert server.predict(path, {"评论": f"{ASKED}冒烟"}, sold.keys["甲公司"], **retried).status == 200
    wrong = server.predict(path, {ASKED: 1}, sold.keys["甲公司"])
    assert wrong.status == 422 or wrong.status == 400
    others = [server.call("GET", one, key=sold.keys["乙公司"]).body.decode() for one in
              ("/v1/usage", "/v1/models", "/v1/customisations", "/openapi.json", "/health", "/v1/invoices")]
    assert not [one for one in others if any(piece in one for piece in (CANARY, LABEL, ASKED, "咖啡"))]
    other = own_rows(terminal.folder / "other.jsonl", 60, first=500)
    other.write_text(other.read_text(encoding="utf-8").replace(CANARY, "茶馆"), encoding="utf-8")
    terminal.type("customise", "add", "tea", "other.jsonl")
    terminal.type("customise", "run", "tea")
    terminal.type("backup", str(terminal.folder / "backups"))
    terminal.type("export", "--all", "--out", str(terminal.folder / "taken"))
    terminal.type("export", "reviews@1", "--out", str(terminal.folder / "r.mofang"))
    shop = Shop.open(terminal.shop, make=False)
    mine, his = (next(one.id for one in customs(shop.control) if one.name == name) for name in ("咖啡", "tea"))
    own, theirs = terminal.shop / "custom" / mine, terminal.shop / "custom" / his
    opened = f"{mine}/scratch/plain-"  # where the server has the model open, in a private folder of its process
    for piece in (CANARY, "金丝雀", LABEL, "绿鹦鹉", ASKED):
        given = ("own.jsonl", "sent.jsonl", "labelled.jsonl", opened)
        assert not holding(terminal.folder, piece, but=given), "nothing lies in plain, anywhere"
        for one in (shop, Shop(theirs)):
            assert not [digest for digest, data in plain_texts(one) if piece.encode() in data]
    held = [bytes(row[0]).decode() for row in shop.control.rows("select body from replay")]
    assert len(held) == 1 and "咖啡@1" in held[0] and "差评" in held[0], "kept for a retry: the customer's own answer, and no more"
    pages = [str(custom_facts(shop, one.id)) for one in customs(shop.control)]
    assert not [page for page in pages if any(piece in page for piece in (CANARY, LABEL, ASKED))], "the console's pages"
    assert sum(CANARY.encode() in data for _, data in plain_texts(Shop(own))) >= 3, "the search itself finds it where it is"
    assert all(is_encrypted(one, one.name) for one in (own / "objects").glob("*/*")), "models too"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700 and not shop.names("model") and len(shop.names("package")) == 1


def test_deleted_with_proof(sold: Sold) -> None:
    terminal, server, mine = sold.terminal, sold.server, sold.keys["甲公司"]
    limited = terminal.token("甲公司", "--model", "咖啡")
    path, body = "%E5%92%96%E5%95%A1", {"评论": "咖啡机冒烟"}
    assert eventually(lambda: server.predict(path, body, limited).status == 200, 5)
    refused = terminal.type("customise", "delete", "咖啡", status=1)
    assert refused.code == "yes-needed", "it cannot be undone"
    assert Shop.open(terminal.shop, make=False).control.rows("select count(*) from kept_text")[0][0] > 0
    done = terminal.type("customise", "delete", "咖啡", "--yes", "--why", "contract ended")
    assert "are destroyed" in done.out
    for table in ("replay", "kept_text"):
        assert Shop.open(terminal.shop, make=False).control.rows(f"select * from {table}") == [], "its answers went with it"
    assert eventually(lambda: server.predict(path, body, mine).code == "model-unknown", 2)
    assert eventually(lambda: server.predict(path, body, limited).code == "key-revoked", 2)
    shop = Shop.open(terminal.shop, make=False)
    gone = next(one for one in customs(shop.control) if one.name == "咖啡")
    assert gone.state == "deleted" and not (terminal.shop / "custom" / gone.id).exists()
    terminal.type("customise", "delete", "labels", "--yes")
    for piece in (CANARY, "金丝雀", LABEL, ASKED):
        assert not holding(terminal.folder, piece, but=("own.jsonl", "sent.jsonl", "labelled.jsonl")), "no readable byte is left"
    file = terminal.folder / "咖啡-deleted.json"
    fingerprint = terminal.type("fingerprint").out
    said = terminal.type("customise", "check", file.name).out
    assert gone.id in said and re.search(r"signed by ([0-9a-f-]+)", said)[1] in fingerprint  # type: ignore[index]
    statement = json.loads(file.read_bytes())["statement"]
    assert statement["destroyed"]["object_keys"] > 20 and statement["why"] == "contract ended" and statement["records"] == 120
    terminal.type("customise", "delete", "咖啡", "--yes", "--out", "again.json")
    assert (terminal.folder / "again.json").read_bytes() == file.read_bytes(), "typed again, it says the same"
    for old, new in ((b'"records":120', b'"records":121'), (b"contract", b"contracT"), (b'{"signature"', b'{ "signature"')):
        assert old in file.read_bytes()
        (terminal.folder / "edited.json").write_bytes(file.read_bytes().replace(old, new))
        assert terminal.type("customise", "check", "edited.json", status=1).code in ("signature-wrong", "parcel-json")
    assert terminal.type("customise", "add", "咖啡", "own.jsonl", status=1).code == "customise-deleted"
    assert terminal.type("verify").status == 0
    assert server.predict("tea", body, sold.keys["乙公司"]).status == 200, "the other's goes on"


def test_a_room_that_came_back_or_was_touched_is_seen(sold: Sold) -> None:
    shop = Shop.open(sold.terminal.shop, make=False)
    his = next(one for one in customs(shop.control) if one.name == "tea")
    room = sold.terminal.shop / "custom" / his.id
    stray = room.with_name("ctm_" + "0" * 26)
    stray.mkdir()
    shutil.copy(room / "mofang.json", stray)
    some = next(iter(sorted((room / "objects").glob("*/*"))))
    before = some.read_bytes()
    some.chmod(0o600)
    some.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    wrong = sold.terminal.type("verify", "--json", status=3).json["wrong"]
    assert any("never ordered" in one for one in wrong) and any("room of tea" in one and "changed" in one for one in wrong), wrong
    some.write_bytes(before)
    shutil.rmtree(stray)
    assert sold.terminal.type("verify").status == 0
