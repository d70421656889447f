"""Uploads: in pieces, resumed, checked, shared by nobody who has not sent them, and swept when unused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.uploads import Named, Uploads, require_name, sweep, uploaded
from mofang.data.sources.files import source_files

DATA = b"a,b\n" + b"1,2\n" * 1000


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sent(uploads: Uploads, root: str, files: dict[str, bytes]) -> str:
    id, missing = uploads.announce(root, [Named(name, digest(data), len(data)) for name, data in files.items()])
    for data in files.values():
        if digest(data) in missing:
            uploads.add(digest(data), missing[digest(data)], len(data), data[missing[digest(data)]:])
    return id


def refused(uploads: Uploads, *piece: object) -> str:
    with pytest.raises(MofangError) as caught:
        uploads.add(*piece)  # type: ignore[arg-type]
    return caught.value.code


def test_pieces_in_order_and_from_where_it_broke_off(shop: Shop) -> None:
    uploads = Uploads(shop, "per_1")
    assert refused(uploads, digest(DATA), 0, len(DATA), DATA) == "upload-refused", "only what was announced"
    announced = [Named("a.csv", digest(DATA), len(DATA))]
    id, missing = uploads.announce("a.csv", announced)
    assert missing == {digest(DATA): 0}
    assert uploads.add(digest(DATA), 0, len(DATA), DATA[:100]) == 100
    assert refused(uploads, digest(DATA), 0, len(DATA), DATA) == "upload-out-of-step"
    assert refused(uploads, digest(DATA), 100, len(DATA), DATA) == "upload-refused", "more than announced"
    with pytest.raises(MofangError):
        uploads.require(id)
    assert uploads.announce("a.csv", announced) == (id, {digest(DATA): 100})
    assert uploads.add(digest(DATA), 100, len(DATA), DATA[100:]) == len(DATA)
    assert uploads.announce("a.csv", announced) == (id, {}), "nothing is sent twice"
    assert [file.name for file in source_files(f"upload:{id}/a.csv", shop)] == ["a.csv"]
    assert source_files(f"upload:{id}/a.csv", shop)[0].path.read_bytes() == DATA


def test_a_changed_file_is_refused_and_may_be_sent_again(shop: Shop) -> None:
    uploads = Uploads(shop, "per_1")
    uploads.announce("a", [Named("a", digest(DATA), len(DATA))])
    assert refused(uploads, digest(DATA), 0, len(DATA), DATA[::-1]) == "upload-damaged"
    assert uploads.add(digest(DATA), 0, len(DATA), DATA) == len(DATA)


def test_equal_files_are_one_source_but_knowing_a_digest_is_not_having_the_file(shop: Shop) -> None:
    mine, other = Uploads(shop, "per_1"), Uploads(shop, "per_2")
    id = sent(mine, "photos", {"好/1.png": b"one", "坏/2.png": b"two"})
    files = [Named("好/1.png", digest(b"one"), 3), Named("坏/2.png", digest(b"two"), 3)]
    again, missing = other.announce("photos", files)
    assert again == id and set(missing) == {digest(b"one"), digest(b"two")}
    with pytest.raises(MofangError, match=id):
        other.require(id)
    folder, digests = uploaded(shop, f"upload:{id}/photos")
    assert sorted(digests) == sorted(["好/1.png", "坏/2.png"]) and (folder / "坏/2.png").read_bytes() == b"two"
    assert {file.folder for file in source_files(f"upload:{id}", shop)} == {"好", "坏"}


def test_unused_uploads_go_and_used_ones_stay(shop: Shop) -> None:
    uploads = Uploads(shop, "per_1")
    old, new = sent(uploads, "old", {"old": b"old"}), sent(uploads, "new", {"new": b"new"})
    for path in (*uploads.files.iterdir(), uploads.sets / f"{old}.json", uploads.sets / f"{new}.json"):
        os.utime(path, (0, 0))
    uploaded(shop, f"upload:{new}")
    assert sweep(shop) == 1
    assert uploads.require(new) and not (uploads.sets / f"{old}.json").exists()


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_a_name_stays_below_its_root_or_is_refused(name: str) -> None:
    try:
        require_name(name)
    except MofangError:
        return
    base = Path("/base/root")
    place = Path(os.path.normpath(base / name))
    assert place != base and place.is_relative_to(base)
