"""Objects that can hold personal data lie encrypted: nothing of them can be read, changed or swapped on the disk."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mofang.core.encrypted import CHUNK_BYTES, HEADER, TAG_BYTES, encrypt, open_encrypted
from mofang.core.errors import MofangError
from mofang.core.store import Store

SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 777)


def stored(tmp_path: Path, data: bytes, name: str = "one") -> tuple[Store, str]:
    store = Store(tmp_path / "objects", tmp_path / "keys")
    place = tmp_path / name
    place.write_bytes(data)
    return store, store.keep(place, private=True)[0]


def some_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def read_all(store: Store, digest: str) -> bytes:
    with store.open(digest) as file:
        return file.read()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_kept_is_read_back_from_any_place(tmp_path: Path, size: int) -> None:
    data = some_bytes(size)
    store, digest = stored(tmp_path, data)
    assert read_all(store, digest) == data and store.check(digest) is None
    assert store.plain_path(digest).read_bytes() == data
    chance = random.Random(1)
    with store.open(digest) as file:
        for _ in range(60):
            at, count = chance.randint(0, size + 9), chance.randint(0, size + 9)
            assert file.seek(at) == at and file.read(count) == data[at:at + count]
        assert file.seek(0, os.SEEK_END) == size and file.read() == b""
    at_rest = store.path(digest).read_bytes()
    assert len(at_rest) == HEADER.size + size + TAG_BYTES * max(1, -(-size // CHUNK_BYTES))
    assert size < 100 or data[:100] not in at_rest
    assert os.stat(tmp_path / "keys").st_mode & 0o077 == 0 and os.stat(tmp_path / "keys" / "data.db").st_mode & 0o077 == 0


def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path) -> None:
    store, digest = stored(tmp_path, some_bytes(2 * CHUNK_BYTES + 500))
    path = store.path(digest)
    whole = path.read_bytes()
    path.chmod(0o644)
    chance = random.Random(2)
    for at in [*range(HEADER.size), *(chance.randrange(len(whole)) for _ in range(60)), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1:])
        assert store.check(digest) == "changed", at
    path.write_bytes(whole)
    assert store.check(digest) is None


def test_a_cut_lengthened_reordered_or_swapped_file_is_refused(tmp_path: Path) -> None:
    store, digest = stored(tmp_path, some_bytes(3 * CHUNK_BYTES))
    _, other = stored(tmp_path, some_bytes(3 * CHUNK_BYTES, seed=5))
    path, stride = store.path(digest), CHUNK_BYTES + TAG_BYTES
    whole, foreign = path.read_bytes(), store.path(other).read_bytes()
    head, chunks = whole[:HEADER.size], [whole[HEADER.size + n * stride:HEADER.size + (n + 1) * stride] for n in range(3)]
    shorter = HEADER.pack(*HEADER.unpack(head)[:3], 2 * CHUNK_BYTES)
    path.chmod(0o644)
    for wrong in (whole[:-1], whole + b"x", head + b"".join(chunks[:2]), head + chunks[1] + chunks[0] + chunks[2],
                  shorter + b"".join(chunks[:2]), head + foreign[HEADER.size:], foreign, head, head[:20], b""):
        path.write_bytes(wrong)
        assert store.check(digest) == "changed"


def test_without_its_key_or_with_another_nothing_is_read(tmp_path: Path) -> None:
    store, digest = stored(tmp_path, b"secret " * 1000)
    _, other = stored(tmp_path, b"another " * 1000)
    keys = store.keys
    right, wrong = keys.of_object(digest), keys.of_object(other)
    assert right and wrong and right != wrong
    with pytest.raises(MofangError, match="does not fit its seal"), open_encrypted(store.path(digest), digest, wrong) as file:
        file.read()
    keys.drop([digest])
    assert store.check(digest) == "without its key"
    with pytest.raises(MofangError) as told:
        store.open(digest)
    assert told.value.code == "object-key-missing"


def test_a_destroyed_key_never_comes_back_and_leaves_no_byte(tmp_path: Path) -> None:
    store, digest = stored(tmp_path, b"gone " * 100)
    key = store.keys.of_object(digest)
    dumped = store.keys.dump()
    assert key and key in dumped
    store.keys.destroy([digest])
    left = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
    assert key not in left and store.check(digest) == "without its key"
    store.keys.merge(dumped)
    assert store.keys.of_object(digest) is None, "an old ring does not bring it back"
    store.remove(digest)
    with pytest.raises(MofangError) as told:
        stored(tmp_path, b"gone " * 100)
    assert told.value.code == "object-erased"


def test_the_same_content_keeps_one_key_and_a_plain_copy_is_locked_away(tmp_path: Path) -> None:
    store, digest = stored(tmp_path, b"twice " * 100)
    before = store.path(digest).read_bytes()
    assert stored(tmp_path, b"twice " * 100, "two")[1] == digest and store.path(digest).read_bytes() == before
    plain = tmp_path / "three"
    plain.write_bytes(b"plain first " * 100)
    digest, _ = store.keep(plain)
    assert b"plain first" in store.path(digest).read_bytes()
    assert stored(tmp_path, b"plain first " * 100)[1] == digest
    assert b"plain first" not in store.path(digest).read_bytes() and store.check(digest) is None


def test_an_object_whose_key_is_lost_is_stored_anew(tmp_path: Path) -> None:
    store, digest = stored(tmp_path, b"lost key " * 100)
    store.keys.drop([digest])
    assert stored(tmp_path, b"lost key " * 100)[1] == digest and store.check(digest) is None


def test_a_full_disk_leaves_no_half_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.core import store as module

    def full(source: Path, target: Path, digest: str, key: bytes) -> str:
        encrypt(source, target, digest, key)
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(module, "encrypt", full)
    with pytest.raises(OSError, match="No space left"):
        stored(tmp_path, b"no room " * 100)
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
    assert (tmp_path / "one").exists(), "the finished file is still there to be kept later"
    monkeypatch.undo()
    store, digest = stored(tmp_path, b"no room " * 100)
    assert store.check(digest) is None


def test_decrypted_copies_go_with_the_process_and_those_of_a_killed_one_at_the_next_start(tmp_path: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from mofang.core.store import Store
place = Path({str(tmp_path)!r}) / "one"
place.write_bytes(b"for a moment " * 100)
store = Store(Path({str(tmp_path)!r}) / "objects")
path = store.plain_path(store.keep(place, private=True)[0])
assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
"""
    from mofang.core.unlocked import remove_left_over

    for way, left in (("end", 0), ("kill", 1)):
        subprocess.run([sys.executable, "-c", program, way], check=way == "end")
        assert len(list((tmp_path / "scratch").glob("plain-*"))) == left
    assert remove_left_over(tmp_path) == 1 and not list((tmp_path / "scratch").glob("plain-*"))
