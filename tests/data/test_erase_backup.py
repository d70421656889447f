"""Backups of a shop from which somebody was erased: no restore brings them back, and no restore loses anybody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.cli.again import erase_again, tombs_of_restore
from mofang.core.backup import OBJECTS, Backup, make_backup
from mofang.core.errors import MofangError
from mofang.core.keyring import DAYS_MOST, lock_ring, open_ring, put_ring
from mofang.core.restore import find_backup, restore_backup
from mofang.core.shop import Shop
from mofang.core.tombfile import NAME
from mofang.data.erasure.erase import erase
from mofang.data.records import RecordReader
from tests.data.erasing import PERSON, SENTENCE, everything_readable, make, traces, write_source

PASSPHRASE = "a long passphrase"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    write_source(tmp_path / "reviews.csv", rows=120)
    shop = Shop.open(tmp_path / "shop")
    shop.name("reviews", make(shop, tmp_path / "reviews.csv")["snapshot"])
    return shop


def texts(shop: Shop) -> list[str]:
    return sorted(row["text"] for name in ("train", "validation", "test")
                  for batch in RecordReader(shop.find("reviews") / name).batches() for row in batch.rows())


def restored(backup: Backup, place: Path, ring: dict[str, bytes]) -> tuple[Shop, dict[str, int]]:
    tombs = tombs_of_restore(backup.place.parent, ring, None)
    made = restore_backup(backup, place, keys=ring)
    return Shop.open(made.shop, make=False), erase_again(made.shop, tombs, backup.objects)


def ring_of(shop: Shop, file: Path) -> dict[str, bytes]:
    lock_ring(shop.path, shop.settings, file, PASSPHRASE)
    return open_ring(file, PASSPHRASE)


def clean_of(shop: Shop) -> None:
    left = everything_readable(shop)
    assert SENTENCE.encode() not in left and PERSON.encode() not in left and traces(shop.path, SENTENCE, PERSON) == []


def test_an_encrypted_shop_is_backed_up_and_restored_with_its_ring(shop: Shop, tmp_path: Path) -> None:
    backup, before = make_backup(shop, tmp_path / "kept"), texts(shop)
    assert backup.about["missing"] == [] and traces(tmp_path / "kept", SENTENCE, PERSON) == []
    again, _ = restored(backup, tmp_path / "again", ring_of(shop, tmp_path / "ring"))
    assert texts(again) == before and again.verify() == []
    without = restore_backup(backup, tmp_path / "without").shop
    wrong = Shop.open(without, make=False).verify()
    assert wrong and all("without its key" in one for one in wrong)
    put_ring(without, open_ring(tmp_path / "ring", PASSPHRASE))
    assert Shop.open(without, make=False).verify() == []


def test_a_changed_encrypted_file_is_found_without_any_key(shop: Shop, tmp_path: Path) -> None:
    backup = make_backup(shop, tmp_path / "kept")
    digest = next(iter(backup.stored()))
    place = backup.objects / digest[:2] / digest
    data = bytearray(place.read_bytes())
    data[-3] ^= 1
    place.unlink()
    place.write_bytes(data)
    with pytest.raises(MofangError) as told:
        restore_backup(backup, tmp_path / "again")
    assert told.value.code == "backup-damaged"


def test_an_older_backup_is_restored_with_all_others_and_without_the_erased(shop: Shop, tmp_path: Path) -> None:
    older, ring_before = make_backup(shop, tmp_path / "kept"), ring_of(shop, tmp_path / "before")
    everybody = texts(shop)
    report = shop.act(erase, person=(PERSON,))
    after = texts(shop)
    assert len(after) < len(everybody) and report.objects > 0 and (tmp_path / "kept" / NAME).exists()
    for number, ring in enumerate((ring_of(shop, tmp_path / "after"), ring_before)):
        again, told = restored(find_backup(tmp_path / "kept", older.name), tmp_path / f"again-{number}", ring)
        assert (told["replaced"] >= 3, told["rewritten"] >= 3, told["lost"]) == [(True, False, 0), (False, True, 0)][number]
        assert texts(again) == after and again.verify() == []
        clean_of(again)
        assert erase_again(again.path, tombs_of_restore(tmp_path / "kept", ring, None), None) == {
            "replaced": 0, "rewritten": 0, "lost": 0}, "and once more changes nothing"


def test_an_older_backup_that_lay_elsewhere_is_erased_with_the_tombstones_given(shop: Shop, tmp_path: Path) -> None:
    older, ring = make_backup(shop, tmp_path / "away"), ring_of(shop, tmp_path / "ring")
    (tmp_path / "away").rename(tmp_path / "vault")
    make_backup(shop, tmp_path / "kept")
    shop.act(erase, person=(PERSON,))
    found = find_backup(tmp_path / "vault", older.name)
    tombs = tombs_of_restore(tmp_path / "vault", ring, tmp_path / "kept" / NAME)
    made = restore_backup(found, tmp_path / "again", keys=ring)
    told = erase_again(made.shop, tombs, found.objects)
    again = Shop.open(made.shop, make=False)
    assert told["rewritten"] >= 3, told
    assert texts(again) == texts(shop) and again.verify() == []
    clean_of(again)


def test_plain_copies_in_the_backups_go_at_once(tmp_path: Path) -> None:
    write_source(tmp_path / "reviews.csv", rows=120)
    shop = Shop.open(tmp_path / "shop")
    shop.change_settings(encrypt="off")
    shop.name("reviews", make(shop, tmp_path / "reviews.csv")["snapshot"])
    older = make_backup(shop, tmp_path / "kept")
    report = shop.act(erase, person=(PERSON,))
    assert report.held["files in backups"] >= 3
    for place in (shop.path, tmp_path / "kept"):
        assert not any(SENTENCE in str(pq.read_table(path).to_pylist()) for path in place.rglob("*")
                       if len(path.name) == 64 and path.read_bytes()[:4] == b"PAR1")
    again, told = restored(find_backup(tmp_path / "kept", older.name), tmp_path / "again", {})
    assert told["replaced"] >= 3 and told["rewritten"] == told["lost"] == 0 and texts(again) == texts(shop) and again.verify() == []


def test_with_a_newer_ring_and_no_new_files_the_touched_artifacts_are_lost_and_said_so(shop: Shop, tmp_path: Path) -> None:
    older = make_backup(shop, tmp_path / "away")
    (tmp_path / "away").rename(tmp_path / "vault")
    shop.act(erase, person=(PERSON,))
    again, told = restored(find_backup(tmp_path / "vault", older.name), tmp_path / "again", ring_of(shop, tmp_path / "ring"))
    assert told["lost"] >= 3 and again.verify() == []
    clean_of(again)
    with pytest.raises(MofangError) as refused:
        texts(again)
    assert refused.value.code == "object-missing"
    make(again, tmp_path / "reviews.csv")
    clean_of(again)


def test_a_ring_of_over_thirty_days_is_refused_unless_asked_for(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.core import keyring

    now = keyring.now_us()
    monkeypatch.setattr(keyring, "now_us", lambda: now - (DAYS_MOST + 2) * 86_400_000_000)
    lock_ring(shop.path, shop.settings, tmp_path / "ring", PASSPHRASE)
    monkeypatch.undo()
    with pytest.raises(MofangError, match="32 days old") as told:
        open_ring(tmp_path / "ring", PASSPHRASE)
    assert told.value.code == "keys-file-old" and open_ring(tmp_path / "ring", PASSPHRASE, old=True)


def test_another_shops_or_a_torn_file_of_tombstones_is_refused(shop: Shop, tmp_path: Path) -> None:
    make_backup(shop, tmp_path / "kept")
    shop.act(erase, person=(PERSON,))
    file = tmp_path / "kept" / NAME
    told: dict[str, Any] = json.loads(file.read_text())
    assert PERSON not in file.read_text() and set(told) == {"format", "what", "shop", "replaced", "person", "record", "object"}
    other = Shop.open(tmp_path / "other")
    with pytest.raises(MofangError) as refused:
        erase_again(other.path, tombs_of_restore(tmp_path / "kept", {}, None), None)
    assert refused.value.code == "tombstones-other-shop"
    file.write_text("{")
    with pytest.raises(MofangError) as refused:
        tombs_of_restore(tmp_path / "kept", {}, None)
    assert refused.value.code == "tombstones-unreadable"
    assert (tmp_path / "kept" / OBJECTS).is_dir()
