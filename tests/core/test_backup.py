"""Backups: equal in every byte after a restore, recognised when torn, refused in words when damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofang.core import backup as backups_module
from mofang.core import tables
from mofang.core.backup import BACKUP_FORMAT, OBJECTS, Backup, backups, make_backup, survey
from mofang.core.canonical import file_digest
from mofang.core.copying import NEW
from mofang.core.database import FrozenSQLite, SQLite
from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.journal import NewRow
from mofang.core.kept import read_kept
from mofang.core.restore import find_backup, restore_backup
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.pricing.prices import price_set
from tests.core.kernel_stages import count, split


def work(shop: Shop, upto: int = 9) -> None:
    """A run, and something that was used."""
    shop.run(split, shop.run(count, upto=upto))
    use(shop)


def use(shop: Shop, number: int = 3) -> None:
    from mofang.trade.billing import balance  # noqa: F401 - the tables that usage is folded into

    body = {"request_id": "", "key": "k", "model": "m@1", "package": "run_x", "units": 1, "price": None, "rate": 0, "micros": 0,
            "test": True}
    shop.journals.make_tables()
    shop.journals.record("usage", [NewRow("use", body, new_id("req"), account="a") for _ in range(number)])


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with runs, a customer, a key, a price and usage, partly sealed."""
    shop = Shop.open(tmp_path_factory.mktemp("stock") / "shop")
    shop.act(customer_new, name="=书店")
    shop.act(key_new, customer="=书店")
    shop.act(price_set, model="m", price="5.00/1000")
    work(shop)
    shop.seal("usage")
    work(shop, 5)
    shop.name("numbers", shop.run(count, upto=9))
    for db in (shop.ledger.db, shop.control):
        db.rows("pragma wal_checkpoint(truncate)")
        db.close()
    return shop.path


@pytest.fixture
def stocked(stock: Path, tmp_path: Path) -> Shop:
    """A copy of it."""
    shutil.copytree(stock, tmp_path / "shop")
    return Shop.open(tmp_path / "shop")


def told(shop: Path) -> list[Any]:
    """What every table of a shop says, and every file."""
    found: list[Any] = []
    for name in tables.FILES:
        db = SQLite(shop / name)
        found.append(tables.digests(db))
        db.close()
    return [*found, sorted((path.name, file_digest(path)) for path in (shop / "objects").rglob("*") if len(path.name) == 64)]


def code_of(do: Callable[[], Any]) -> str:
    with pytest.raises(MofangError) as refused:
        do()
    assert refused.value.worded("zh") != refused.value.worded("en")
    return refused.value.code


def test_a_restored_shop_is_equal_and_works(stocked: Shop, tmp_path: Path) -> None:
    made = make_backup(stocked, tmp_path / "kept")
    before = told(stocked.path)
    again = restore_backup(find_backup(tmp_path / "kept"), tmp_path / "again")
    assert told(tmp_path / "again") == before
    assert set(again.same) == set(before[0]) | set(before[1]), "every table was compared"
    shop = Shop.open(tmp_path / "again", make=False)
    assert shop.verify() == [] and shop.ledger.head() == stocked.ledger.head()
    assert shop.find("numbers").read_json("values.json") == list(range(9))
    assert made.about["held_ms"] < 50 and made.about["wrong"] == made.about["missing"] == []
    noted = read_kept(stocked.path)["backup"]
    assert noted["place"] == str(made.place) and noted["at_us"] >= made.about["made_us"] and noted["checked"]
    assert read_kept(tmp_path / "again")["verify"]["wrong"] == 0


def test_every_table_of_the_ledger_is_known(stocked: Shop) -> None:
    assert set(tables.tables_of(stocked.ledger.db)) <= set(tables.ledger_tables()), "PostgreSQL backups put it among journals"


def test_no_secret_is_in_a_backup(stocked: Shop, tmp_path: Path) -> None:
    stocked.settings["database"] = None
    make_backup(stocked, tmp_path / "kept")
    secret = stocked.secret("keys")
    for path in (tmp_path / "kept").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret not in data and secret.hex().encode() not in data, path


def test_several_share_their_files_and_old_ones_go(stocked: Shop, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    first = make_backup(stocked, place)
    objects = {path.name for path in (place / OBJECTS).glob("*/*")}
    work(stocked, 33)
    second = make_backup(stocked, place, quick=True)
    assert [one.name for one in backups(place)] == [first.name, second.name]
    assert len(second.listed()) > len(first.listed()) == len(objects)
    one = next(iter(first.listed()))
    assert os.stat(place / OBJECTS / one[:2] / one).st_ino == os.stat(stocked.store.path(one)).st_ino, "linked, not copied"
    restored = restore_backup(find_backup(place, first.name), tmp_path / "old")
    assert Shop.open(restored.shop).verify() == []
    third = make_backup(stocked, place, keep=1)
    assert [one.name for one in backups(place)] == [third.name]
    assert {path.name for path in (place / OBJECTS).glob("*/*")} == third.listed().keys()
    assert Shop.open(restore_backup(find_backup(place), tmp_path / "new").shop).verify() == []


def test_files_that_no_backup_lists_go_with_the_last_that_did(stocked: Shop, tmp_path: Path) -> None:
    other = Shop.open(tmp_path / "other")
    work(other, 700)
    place = tmp_path / "kept"
    make_backup(other, place)
    make_backup(stocked, place)
    assert code_of(lambda: find_backup(place)) == "backup-of-several-shops"
    only = make_backup(other, place, keep=1)
    assert len(backups(place)) == 2, "another shop's backups are not counted and not removed"
    assert find_backup(place, only.name).about["shop"]["id"] == other.settings["id"]


def test_by_name_or_time(stocked: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "kept"
    first = make_backup(stocked, place, quick=True)
    monkeypatch.setattr(backups_module, "now_us", lambda: first.about["made_us"] - 3600 * 10**6)  # the clock was put back
    second = make_backup(stocked, place, quick=True)
    assert find_backup(place).name == second.name, "the newest is the one made last, whatever the clock says"
    assert find_backup(place, first.name).name == find_backup(place / first.name).name == first.name
    assert find_backup(place, first.name.removeprefix("mofang-")).name == first.name
    assert find_backup(place, time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 60))).name == second.name
    assert code_of(lambda: find_backup(place, "2001-01-01")) == "backup-too-young"
    assert code_of(lambda: find_backup(place, "monday")) == "backup-unknown"
    assert code_of(lambda: find_backup(tmp_path / "nowhere")) == "backup-missing"


def test_a_backup_of_a_shop_at_work_is_of_one_moment(stocked: Shop, tmp_path: Path) -> None:
    over, wrong = threading.Event(), list[str]()

    def busy(number: int) -> None:
        own, at = stocked.again(), 0
        while not over.is_set():
            at += 1
            use(own) if number else own.run(count, upto=at % 900, licence=f"l{at}")

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    made = [make_backup(stocked, tmp_path / "kept") for _ in range(3)]
    over.set()
    for thread in threads:
        thread.join()
    assert made[0].rows < made[1].rows < made[2].rows
    for one in made:
        wrong += one.about["wrong"] + one.about["missing"]
        restored = restore_backup(one, tmp_path / one.name)
        wrong += Shop.open(restored.shop).verify()
    assert wrong == [] and max(one.about["held_ms"] for one in made) < 100


def test_what_is_broken_in_the_shop_is_said_and_the_rest_is_kept(stocked: Shop, tmp_path: Path) -> None:
    whole = sorted(stocked.store.held())
    for number, digest in enumerate(whole[:2]):
        path = stocked.store.path(digest)
        path.chmod(0o644)
        path.write_bytes(b"changed") if number else path.unlink()
    with stocked.control.transaction():
        stocked.control.run("update account set credit_micros=credit_micros+1")
    made = make_backup(stocked, tmp_path / "kept")
    assert made.about["missing"] == whole[:2] and any("account" in one for one in made.about["wrong"])
    restored = restore_backup(made, tmp_path / "again")
    assert restored.objects == len(made.listed()) - 2
    assert told(tmp_path / "again")[:2] == told(stocked.path)[:2]


# Damage


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def renumber(path: Path, format: int) -> None:
    about = json.loads(path.read_bytes())
    path.write_text(json.dumps({**about, "format": format}))


def an_object(made: Backup) -> Path:
    digest = sorted(made.listed())[1]
    return made.objects / digest[:2] / digest


DAMAGE: list[tuple[str, Callable[[Backup], object], str]] = [
    ("a bit of the ledger", lambda made: flip(made.place / "ledger.db"), "backup-damaged"),
    ("a bit of the journals", lambda made: flip(made.place / "meter.db"), "backup-damaged"),
    ("a bit of a file", lambda made: flip(an_object(made)), "backup-damaged"),
    ("a bit of the list", lambda made: flip(made.place / "objects.txt"), "backup-damaged"),
    ("a bit of the settings", lambda made: flip(made.place / "mofang.json"), "backup-damaged"),
    ("a figure of the manifest", lambda made: (made.place / "backup.json").write_text(
        (made.place / "backup.json").read_text().replace('"number": 1', '"number": 7')), "backup-damaged"),
    ("half of the journals", lambda made: cut(made.place / "meter.db"), "backup-damaged"),
    ("half of the manifest", lambda made: cut(made.place / "backup.json"), "backup-torn"),
    ("no manifest", lambda made: (made.place / "backup.json").unlink(), "backup-torn"),
    ("no ledger", lambda made: (made.place / "ledger.db").unlink(), "backup-incomplete"),
    ("no file", lambda made: an_object(made).unlink(), "backup-incomplete"),
    ("no files at all", lambda made: shutil.rmtree(made.objects), "backup-incomplete"),
    ("a future format", lambda made: renumber(made.place / "backup.json", BACKUP_FORMAT + 1), "backup-format"),
    ("a format before the first", lambda made: renumber(made.place / "backup.json", 0), "backup-format"),
]


@pytest.fixture
def carried(stocked: Shop, tmp_path: Path) -> Backup:
    """A backup that was copied to another place, so that nothing is linked to the shop."""
    made = make_backup(stocked, tmp_path / "kept", quick=True)
    shutil.copytree(tmp_path / "kept", tmp_path / "carried")
    return find_backup(tmp_path / "carried", made.name)


@pytest.mark.parametrize(("damage", "code"), [pytest.param(do, code, id=name) for name, do, code in DAMAGE])
def test_damage_is_found_before_anything_is_visible(carried: Backup, tmp_path: Path, damage: Callable[[Backup], object],
                                                    code: str) -> None:
    damage(carried)
    assert code_of(lambda: restore_backup(find_backup(carried.place.parent, carried.name), tmp_path / "again")) == code
    assert not (tmp_path / "again").exists()


def test_a_forged_manifest_is_found_by_the_tables(carried: Backup, tmp_path: Path) -> None:
    """Somebody changes a balance and makes file digests and manifest fit: the tables' digests were not recomputed."""
    place = carried.place / "meter.db"
    db = sqlite3.connect(place)
    db.execute("pragma journal_mode=delete")
    with db:
        db.execute("update account set credit_micros=0")
    db.close()
    about = {name: value for name, value in carried.about.items() if name != "digest"}
    about["files"]["meter.db"] = [place.stat().st_size, file_digest(place)]
    forged = Backup(carried.place, about)
    assert code_of(lambda: restore_backup(forged, tmp_path / "again")) == "restore-differs"


def test_places_that_will_not_do(stocked: Shop, tmp_path: Path) -> None:
    assert code_of(lambda: make_backup(stocked, stocked.path / "kept")) == "backup-inside-shop"
    made = make_backup(stocked, tmp_path / "kept", quick=True)
    assert code_of(lambda: restore_backup(made, stocked.path)) == "restore-not-empty"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    assert code_of(lambda: restore_backup(made, tmp_path / "full")) == "restore-not-empty"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]
    assert code_of(lambda: restore_backup(made, made.place / "again")) == "restore-inside-backup"
    (tmp_path / "empty").mkdir()
    assert restore_backup(made, tmp_path / "empty").shop == tmp_path / "empty"
    with backups_module.at_work(tmp_path / "kept"):
        assert code_of(lambda: make_backup(stocked, tmp_path / "kept")) == "backup-busy"
        assert code_of(lambda: restore_backup(made, tmp_path / "more")) == "backup-busy"


# A full disk


def test_no_room_is_said_before_anything_is_written(stocked: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_backup(stocked, tmp_path / "kept", quick=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    assert code_of(lambda: make_backup(stocked, tmp_path / "kept")) == "disk-too-small"
    assert code_of(lambda: restore_backup(made, tmp_path / "again")) == "disk-too-small"
    assert not (tmp_path / "again").exists() and [one.name for one in backups(tmp_path / "kept")] == [made.name]


@pytest.mark.parametrize("at", range(0, 12, 2))
def test_a_disk_that_fills_up_leaves_what_was_whole(stocked: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    at: int) -> None:
    made = make_backup(stocked, tmp_path / "kept", quick=True)
    work(stocked, 44)
    steps = Steps(monkeypatch, at, lambda: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    for do in (lambda: make_backup(stocked, tmp_path / "kept"), lambda: restore_backup(made, tmp_path / "again")):
        steps.left = at
        try:
            do()
        except MofangError as error:
            assert error.code == "disk-full"
    steps.stop()
    assert not list((tmp_path / "kept").glob(f"{NEW}mofang-*"))
    assert survey(tmp_path / "kept")[1] == []
    target = tmp_path / "again" if not (tmp_path / "again").exists() else tmp_path / "more"
    restore_backup(make_backup(stocked, tmp_path / "kept"), target)
    assert Shop.open(target).verify() == []


class Steps:
    """Counts what reaches the disk (syncs, renames, links, copies) and does something at one of them."""

    NAMES = ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "link"), (shutil, "copyfile"))

    def __init__(self, patch: pytest.MonkeyPatch, at: int, do: Callable[[], object]) -> None:
        self.left, self.do, self.patch = at, do, patch
        for module, name in self.NAMES:
            patch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self.do()
            return plain(*given, **named)

        return step

    def stop(self) -> None:
        self.left = 10**9


# Kills


def killed_at(step: int, do: Callable[[], object]) -> bool:
    """Do something in a child that is killed at its n-th step towards the disk; False if it ended before."""
    child = os.fork()
    if child == 0:
        Steps(pytest.MonkeyPatch(), step, lambda: os.kill(os.getpid(), signal.SIGKILL))
        try:
            do()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("step", [0, 3, 9, 14, 17, 19])
def test_killed_in_a_backup_nothing_is_lost(stocked: Shop, tmp_path: Path, step: int) -> None:
    place = tmp_path / "kept"
    first = make_backup(stocked, place, quick=True)
    work(stocked, 70)
    killed_at(step, lambda: make_backup(stocked.again(), place, keep=1))
    whole, torn = survey(place)
    assert torn == [] and 1 <= len(whole) <= 2, "a backup that was cut off has no name"
    for one in whole:
        restore_backup(one, tmp_path / one.name)
        assert Shop.open(tmp_path / one.name).verify() == []
    second = make_backup(stocked, place, keep=1)
    assert [one.name for one in backups(place)] == [second.name] and second.about["number"] > first.about["number"]
    assert not list(place.rglob(f"{NEW}*")), "the next one tidies up"


def test_killed_in_a_restore_nothing_is_visible_and_it_goes_on(stocked: Shop, tmp_path: Path) -> None:
    made = make_backup(stocked, tmp_path / "kept", quick=True)
    step, place = 0, tmp_path / "again"
    while killed_at(step, lambda: restore_backup(made, place)):
        assert not (place / "mofang.json").exists() or told(place) == told(stocked.path), "whole, or no shop"
        step += 3
    assert step > 9
    if not (place / "mofang.json").exists():
        restore_backup(made, place)
    assert told(place) == told(stocked.path)
    assert Shop.open(place).verify() == []


@pytest.mark.cluster
def test_twenty_random_kills(stocked: Shop, tmp_path: Path) -> None:
    import random

    place, chance = tmp_path / "kept", random.Random(7)
    for number in range(200):
        stocked.run(count, upto=number, licence="many")
    for number in range(20):
        work(stocked, 100 + number)
        child = os.fork()
        if child == 0:
            try:
                made = make_backup(stocked.again(), place, keep=2, quick=number % 2 == 0)
                restore_backup(made, tmp_path / "again")
            finally:
                os._exit(0)
        time.sleep(0.02 + 0.6 * chance.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        whole, torn = survey(place)
        assert torn == []
        for one in whole[-1:]:
            restore_backup(one, tmp_path / f"r{number}")
            assert Shop.open(tmp_path / f"r{number}").verify() == []
        if (tmp_path / "again" / "mofang.json").exists():
            assert Shop.open(tmp_path / "again").verify() == []
            shutil.rmtree(tmp_path / "again")
    assert Shop.open(restore_backup(make_backup(stocked, place), tmp_path / "last").shop).verify() == []


# PostgreSQL


@pytest.mark.cluster
def test_between_postgresql_and_files(postgres_url: str, postgres_server: Any, tmp_path: Path) -> None:
    import psycopg

    shop = Shop.open(tmp_path / "shop", database=postgres_url)
    shop.act(customer_new, name="甲")
    shop.act(key_new, customer="甲")
    work(shop)
    shop.seal("usage")
    use(shop)
    made = make_backup(shop, tmp_path / "kept")
    assert made.about["from"] == "postgresql" and made.about["wrong"] == []
    assert b"postgresql" not in (made.place / "mofang.json").read_bytes(), "the address may hold a password"
    files = restore_backup(made, tmp_path / "files")
    assert Shop.open(files.shop).verify() == []
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute("create database another")
    address = postgres_server.get_uri("another")
    back = make_backup(Shop.open(files.shop), tmp_path / "kept again")
    rows = restore_backup(back, tmp_path / "rows", database=address)
    again = Shop.open(rows.shop)
    assert again.settings["database"] == address and again.verify() == []
    work(again, 77)  # positions go on where they ended
    assert again.verify() == []
    assert code_of(lambda: restore_backup(back, tmp_path / "more", database=address)) == "database-not-empty"
    assert code_of(lambda: restore_backup(back, tmp_path / "more", database="mysql://x")) == "database-not-postgresql"


def test_a_frozen_file_is_left_as_it_was(stocked: Shop, tmp_path: Path) -> None:
    made = make_backup(stocked, tmp_path / "kept")
    names = sorted(path.name for path in made.place.iterdir())
    db = FrozenSQLite(made.place / "meter.db")
    assert db.rows("select count(*) from journal")[0][0] > 0
    with pytest.raises(sqlite3.OperationalError):
        db.run("delete from journal")
    db.close()
    assert sorted(path.name for path in made.place.iterdir()) == names == [".gitignore", "backup.json", "ledger.db", "meter.db",
                                                                           "mofang.json", "objects.txt"]
