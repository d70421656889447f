"""Every released format is kept as a small shop and can still be opened, verified, traced and gone on with."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mofang.core import migrate
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.core.trace import ancestors, walk
from mofang.serve.admit import admit
from mofang.serve.border import open_parcel
from mofang.serve.parcel import export_parcel

SHOPS = sorted(Path(__file__).parent.glob("shop-*.tar.gz"))


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "shop"


def add_column(ledger: Database, control: Database, settings: dict[str, Any]) -> None:
    ledger.run("alter table name add column note text not null default ''")
    control.run("create table told(text text primary key)")
    settings["told"] = True


def test_the_format_written_now_is_kept() -> None:
    assert Path(__file__).parent / f"shop-{migrate.newest()}.tar.gz" in SHOPS


@pytest.mark.parametrize("archive", SHOPS, ids=lambda path: path.name)
def test_a_released_shop_opens_verifies_traces_and_goes_on(archive: Path, tmp_path: Path) -> None:
    shop = Shop.open(unpack(archive, tmp_path), make=False)
    assert shop.verify() == []
    found = shop.find("halves@1")
    stages = [node.stage for node in walk(ancestors(shop.ledger, found.entry))]
    assert stages[:2] == ["split", "count"]
    assert (found / "low").read_json("values.json") == [0, 1]
    shop.journals.record("notes", [NewRow("said", {"text": "now"}, account="cus_1")])
    sealed = shop.seal("notes")
    assert sealed and sealed.read_json("seal.json")["number"] == 2 and sealed.read_json("seal.json")["rows"] == 2
    assert shop.verify() == []


@pytest.mark.parametrize("archive", SHOPS[1:], ids=lambda path: path.name)
def test_a_released_shops_imported_package_is_still_traced_to_the_other_shop(archive: Path, tmp_path: Path) -> None:
    shop = Shop.open(unpack(archive, tmp_path), make=False)
    nodes = list(walk(ancestors(shop.ledger, shop.find("reviews@1", "package").entry)))
    assert nodes[0].stage == "import" and all(node.shop for node in nodes[1:])
    assert {"package", "snapshot", "collect"} <= {node.stage for node in nodes}


def test_an_older_shop_can_import(tmp_path: Path) -> None:
    shop = Shop.open(unpack(SHOPS[0], tmp_path), make=False)
    assert shop.settings["format"] == migrate.newest() and (shop.path / "ledger.db.format-1").exists()
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "newer").mkdir()
    newer = Shop.open(unpack(SHOPS[1], tmp_path / "newer"), make=False)
    parcel = open_parcel(export_parcel(newer, "reviews", tmp_path / "reviews.mofang").path, tmp_path / "unpacked")
    named = admit(shop, parcel, parcel.described["engine"] | {"requests": 16}).named
    assert str(named) == "reviews@1" and shop.verify() == []


def test_a_step_is_taken_once_and_the_old_databases_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = unpack(SHOPS[-1], tmp_path)
    monkeypatch.setattr(migrate, "STEPS", (*migrate.STEPS, add_column))
    for _ in range(2):
        shop = Shop.open(place, make=False)
        assert shop.settings["format"] == migrate.newest() and shop.settings["told"]
        assert set(shop.ledger.db.rows("select note from name")) == {("",)}
        assert shop.control.rows("select * from told") == [] and shop.ledger.verify() == []
    assert (place / f"ledger.db.format-{migrate.newest() - 1}").exists()


@pytest.mark.parametrize("at", ["rename", "write_durably", "sync_folder"])
def test_a_kill_during_a_step_leaves_a_shop_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    place = unpack(SHOPS[-1], tmp_path)
    monkeypatch.setattr(migrate, "STEPS", (*migrate.STEPS, add_column))
    for nth in range(1, 5):
        child = os.fork()
        if child == 0:
            seen = [0]
            home: Any = Path if at == "rename" else migrate
            plain = getattr(home, at)

            def dying(*given: Any, plain: Any = plain, seen: list[int] = seen, nth: int = nth) -> Any:
                seen[0] += 1
                if seen[0] == nth:
                    os.kill(os.getpid(), 9)
                return plain(*given)

            setattr(home, at, dying)
            Shop.open(place, make=False)
            os._exit(0)
        os.waitpid(child, 0)
    shop = Shop.open(place, make=False)
    assert shop.settings["format"] == migrate.newest()
    assert set(shop.ledger.db.rows("select note from name")) == {("",)} and shop.ledger.verify() == []


def test_a_format_from_the_future_is_refused(tmp_path: Path) -> None:
    place = unpack(SHOPS[-1], tmp_path)
    settings = json.loads((place / "mofang.json").read_text())
    (place / "mofang.json").write_text(json.dumps(settings | {"format": 99}))
    with pytest.raises(MofangError, match="has format 99"):
        Shop.open(place)
