"""A customer's room: a shop of its own inside the shop's folder, for one customisation and nothing else.

It has its own ledger, its own store and its own key ring, and everything in its store is encrypted, models too. Nothing of it
is named, memoised, backed up or taken out with the shop around it; so what lies there can reach nobody else, and destroying
its key ring destroys all of it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core import erased
from mofang.core.canonical import canonical, file_digest
from mofang.core.copying import remove_tree
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.personal import Sought, forgets
from mofang.core.shop import Shop
from mofang.core.unlocked import LEAD
from mofang.engine.encode.template import is_conversation, read_messages

if TYPE_CHECKING:
    from mofang.trade.customs.orders import Custom

FOLDER = "custom"
UPLOADS = "uploads"
ID = re.compile(r"ctm_[0-9a-z]{26}")
FILE_BYTES_MOST = 64 * 2**20
BYTES_MOST, RECORDS_MOST, FILES_MOST = 512 * 2**20, 1_000_000, 1000
TEXT_MOST = 100_000
WRITTEN, NESTED = "text", ("classes", "spans", "answer")  # targets whose values may be written as lists and objects
KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}


def room_path(shop: Shop, id: str) -> Path:
    """Where the room of a customisation lies; only an id that we made is a folder's name."""
    assert ID.fullmatch(id), id
    return shop.path / FOLDER / id


def open_room(shop: Shop, custom: Custom) -> Shop:
    """The room, made at first use, for the same actor; raises ``customise-deleted`` where it was destroyed."""
    if custom.state in ("deleting", "deleted"):
        raise MofangError("customise-deleted", name=custom.name)
    place = room_path(shop, custom.id)
    if not (place / "mofang.json").exists():
        place.parent.mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        Shop.make(place, "", shop.currency)  # a folder, also where the shop's own books lie in PostgreSQL
    room = Shop(place, shop.actor, shop.permit)
    if not room.encrypts_all or room.rates != shop.rates:
        room.change_settings(encrypt="all", rates=shop.rates)
    return room


def rooms(shop: Shop) -> Iterator[Path]:
    """The folders of all rooms that are there."""
    there = sorted((shop.path / FOLDER).glob("ctm_*"))
    yield from (one for one in there if ID.fullmatch(one.name) and (one / "mofang.json").exists())


def clear_scratch(shop: Shop, id: str) -> None:
    """Remove what unfinished runs left in plain in a room; nobody may be at work there. Copies that servers hold open stay."""
    for one in (room_path(shop, id) / "scratch").glob("*"):
        if one.is_dir() and not one.name.startswith(LEAD):
            remove_tree(one)
        elif one.is_file():
            one.unlink(missing_ok=True)


# Records


def read_rows(data: bytes, kind: str, inputs: Sequence[Mapping[str, str]], label: str,
              target: str = "class") -> list[dict[str, Any]]:
    """The rows of a customer's file: the base's columns and the label, all of them, in every row, and no others.

    ``kind`` is csv, tsv, jsonl or json; ``target`` is what the task's label holds (``engine.task``): lists of labels, spans and
    messages may be written as JSON. Raises ``customise-file``, ``customise-columns`` and ``customise-row`` with the number.
    """
    if not data.strip() or len(data) > FILE_BYTES_MOST:
        raise MofangError("customise-file", reason=f"{len(data):,} bytes; 1 to {FILE_BYTES_MOST:,} are taken")
    wanted = {one["name"]: one["role"] for one in inputs} | {label: "label"}
    found = []
    for number, row in enumerate(_parsed(data, kind), start=1):
        if not isinstance(row, dict):
            raise MofangError("customise-row", row=number, reason="it is no object with columns")
        if set(row) != set(wanted):
            lost = sorted(map(str, set(wanted) - set(row)))
            more = sorted(str(name)[:40] for name in set(row) - set(wanted))
            raise MofangError("customise-columns", row=number, missing=", ".join(lost) or "-", unknown=", ".join(more[:5]) or "-",
                              wanted=", ".join(wanted))
        found.append({name: _value(row[name], role, number, name, target) for name, role in wanted.items()})
        if len(found) > RECORDS_MOST:
            raise MofangError("customise-file", reason=f"more than {RECORDS_MOST:,} rows")
    if not found:
        raise MofangError("customise-file", reason="it has no rows")
    return found


def _parsed(data: bytes, kind: str) -> Iterator[Any]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MofangError("customise-file", reason="it is no UTF-8 text") from None
    if kind in ("csv", "tsv"):
        try:
            yield from csv.DictReader(io.StringIO(text), delimiter="\t" if kind == "tsv" else ",", strict=True)
        except csv.Error as error:
            raise MofangError("customise-file", reason=str(error)) from None
        return
    if kind not in ("jsonl", "json"):
        raise MofangError("customise-file", reason=f"{kind}: csv, tsv, jsonl and json are read")
    try:
        if kind == "json":
            whole = orjson.loads(text)
            rows = whole.get("records") if isinstance(whole, dict) else whole
            yield from rows if isinstance(rows, list) else [rows]
            return
        for line in filter(str.strip, text.split("\n")):
            yield orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MofangError("customise-file", reason=f"it is no JSON: {error}") from None


def _value(value: Any, role: str, number: int, name: str, target: str) -> Any:
    if role == "number":
        try:
            return None if value in (None, "") else float(value)
        except (TypeError, ValueError):
            raise MofangError("customise-row", row=number, reason=f"{name} is no number") from None
    nested = isinstance(value, list | dict) and (target == WRITTEN or (role == "label" and target in NESTED))
    if nested:
        value = canonical(value).decode() if _is_shallow(value) else None
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    none = target == "answer" and role == "label" and value in ("", None)  # a question that its text does not answer
    if (not text.strip() and not none) or len(text) > TEXT_MOST:
        raise MofangError("customise-row", row=number, reason=f"{name} is empty, no text, or longer than {TEXT_MOST:,} signs")
    if target == WRITTEN and (nested or is_conversation(text)):
        try:
            messages = read_messages(text, name)
        except MofangError as refusal:
            raise MofangError("customise-row", row=number, reason=refusal.what) from None
        if role == "label" and messages[-1]["role"] != "assistant":
            raise MofangError("customise-row", row=number, reason=f"{name} does not end in an answer of the assistant")
    if target == "number" and role == "label" and not _is_number(text):
        raise MofangError("customise-row", row=number, reason=f"{name} is no number")
    return text


def _is_shallow(value: list[Any] | dict[str, Any]) -> bool:
    """Lists of values, or of objects of values: what labels, spans and messages are written as."""
    inner = value if isinstance(value, list) else [value]
    deeper = [each for one in inner if isinstance(one, dict) for each in one.values()]
    return not any(isinstance(one, list) for one in inner) and not any(isinstance(one, list | dict) for one in deeper)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def keep_rows(room: Shop, rows: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """Store rows under the room's own keys; their bytes, and whether the same file had been given before."""
    given = [row.body for row in room.journals.rows(UPLOADS) if row.kind == "file"]
    room.store.require_space()
    folder = room.path / "scratch"
    folder.mkdir(mode=0o700, exist_ok=True)
    beside = folder / f".given-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(canonical(dict(row)) + b"\n" for row in rows)
        digest, size_bytes = file_digest(beside), beside.stat().st_size
        if any(one["digest"] == digest for one in given):
            return size_bytes, True
        over = (len(given) + 1 > FILES_MOST or sum(one["bytes"] for one in given) + size_bytes > BYTES_MOST
                or sum(one["records"] for one in given) + len(rows) > RECORDS_MOST)
        if over:
            raise MofangError("customise-too-much", files=FILES_MOST, records=RECORDS_MOST, mb=BYTES_MOST // 2**20)
        room.store.keep(beside, private=True)
    finally:
        beside.unlink(missing_ok=True)
    room.journals.record(UPLOADS, [NewRow("file", {"digest": digest, "records": len(rows), "bytes": size_bytes})])
    return size_bytes, False


def own_rows(room: Shop) -> Iterator[dict[str, Any]]:
    """All rows that were given, in their order."""
    for digest in files_of(room):
        with room.store.open(digest) as file:
            for line in file.read().splitlines():
                yield json.loads(line)


@forgets("customisation")
def forget_in_rooms(shop: Shop, sought: Sought) -> dict[str, int]:
    """Rows of customers' own files that show the person: the file is written anew without them, and the old one's key destroyed;
    so are the records, snapshots and figures that were made of it. The delivered package stays, and is to be taught again.
    """
    from mofang.core.holders import spellings

    wanted, gone = spellings(sought.values), 0
    for place in rooms(shop) if wanted else ():
        room = Shop(place, shop.actor, shop.permit)
        found = {digest: hits for digest in files_of(room) if (hits := _hits(room, digest, wanted))}
        gone += sum(found.values())
        if found and not sought.dry:
            for digest in found:
                _rewrite(room, digest, wanted)
            _forget_steps(room)
    return {"rows in customers' own files": gone}


def files_of(room: Shop) -> list[str]:
    """The digests of the files that stand, in their order: where somebody was erased, the file without them."""
    found: list[str] = []
    for row in room.journals.rows(UPLOADS):
        if row.kind == "file":
            found.append(row.body["digest"])
        elif row.kind == "instead":
            found[found.index(row.body["of"])] = row.body["digest"]
    return [one for one in found if one]


def _hits(room: Shop, digest: str, wanted: list[bytes]) -> int:
    with room.store.open(digest) as file:
        return sum(any(one in line for one in wanted) for line in file.read().splitlines())


def _rewrite(room: Shop, digest: str, wanted: list[bytes]) -> None:
    """The file without the rows, then the row that says so, then the old file's key: cut off anywhere, it can be repeated."""
    beside = room.path / "scratch" / f".kept-{os.getpid()}-{os.urandom(4).hex()}"
    with room.store.open(digest) as file:
        lines = [line for line in file.read().splitlines(keepends=True) if not any(one in line for one in wanted)]
    instead = ""
    if lines:
        beside.write_bytes(b"".join(lines))
        instead = room.store.keep(beside, private=True)[0]
    room.journals.record(UPLOADS, [NewRow("instead", {"of": digest, "digest": instead})])
    room.store.keys.destroy([digest])
    room.store.remove(digest)


def _forget_steps(room: Shop) -> None:
    """Let go of every step of the room's runs but the packages: what they hold of whom cannot be told apart."""
    why = erased.begin(room, (), ())
    for entry in list(erased.current(room)):
        if entry.body["output"]["kind"] != "package":
            erased.replace(room, why, [entry], (), forever=False)
    erased.release(room, erased.doomed(room, "released"))
    erased.end(room, why, {})
