"""Delete a customisation with proof: its room's keys are destroyed, its files are removed, and a signed statement says so.

The order is what makes it safe to cut off: first nobody is served and nothing is taken in any more, then the keys, then the
files, then the ledger's entry with the statement; typed again, it goes on where it was cut off.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mofang.core.action import Act, action, turn
from mofang.core.ancestry import shop_name
from mofang.core.canonical import canonical, sha256, sync_folder
from mofang.core.copying import remove_tree
from mofang.core.database import delete_for_good
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.rule import Rule
from mofang.core.run import lease_if_free
from mofang.core.shop import Shop
from mofang.core.signing import check_signature, same_fingerprint, sign
from mofang.core.strict import strict_json
from mofang.core.tables import tables_of
from mofang.trade.accounts.keys import keys
from mofang.trade.accounts.lists import open_books
from mofang.trade.billing.balance import rows_in
from mofang.trade.customs.delivery import lease_key
from mofang.trade.customs.orders import JOURNAL, Custom, customs, find_custom, give_back
from mofang.trade.customs.room import ID, room_path, rooms

CONTEXT = "customise-deletion"
STATEMENT_FORMAT = 1
STATEMENT_MOST = 1 << 20
TRIES = 100
STAYS = ("what was used and charged: usage rows, invoices, payments",
         "the ledger's entries: digests, figures, licences and costs, and no word of a record")


@dataclass(frozen=True)
class Deleted:
    """A customisation that is gone; ``statement`` and its ``signature`` are for the customer."""

    custom: Custom
    statement: dict[str, Any]
    signature: dict[str, str]


@action(may="people")
def custom_delete(act: Act, *, custom: str, why: Annotated[str, Rule(max_length=200)] = "") -> Deleted:
    """Delete a customer's records, everything taught from them, and the keys that open them; no copy is in any backup.

    Keys of the customer that were limited to this model end too. Raises ``customise-running``, ``customise-unknown``.
    """
    shop = act.shop
    open_books(shop)
    found = find_custom(shop.control, custom)
    if found.state == "deleted":
        return _told(shop, found)
    with lease_if_free(shop, lease_key(found.id)) as free:
        if not free:
            raise MofangError("customise-running", name=found.name)
        with turn(act, JOURNAL) as db:
            give_back(act, db, find_custom(db, found.id))
            act.record(JOURNAL, NewRow("deleting", {"custom": found.id}, account=found.account))
            for key in keys(db, found.account):
                if key.models and {one.partition("@")[0] for one in key.models} == {found.name} and not key.revoked_us:
                    act.record("keys", NewRow("revoke", {"key": key.id}, account=found.account))
        gone = destroy(shop, found.id) | {"answers": forget_answers(shop, found)}
        entry = _entered(shop, found, gone, why)
        with turn(act, JOURNAL) as db:
            act.record(JOURNAL, NewRow("deleted", {"custom": found.id, "entry": entry}, account=found.account))
    return _told(shop, find_custom(shop.control, found.id))


def forget_answers(shop: Shop, custom: Custom) -> int:
    """Delete answers of the model that were kept for retries, and texts of requests to it; how many. No page of the database's
    file holds them any more."""
    db, gone = shop.control, 0
    for table in sorted({"replay", "kept_text"} & set(tables_of(db))):
        where, given = ("name like ?", f"{custom.account}/%") if table == "replay" else ("account=?", custom.account)
        ids = [row[0] for row in db.rows(f"select request_id from {table} where {where}", (given,))]
        sql = "select id, body from journal where journal='usage' and kind='use' and account=? and id in ({marks})"
        used = rows_in(db, sql, ids, (custom.account,))
        own = [id for id, body in used if json.loads(body)["model"].partition("@")[0] == custom.name]
        if own:
            delete_for_good(db, f"delete from {table} where request_id=?", [(id,) for id in own])
        gone += len(own)
    return gone


def destroy(shop: Shop, id: str) -> dict[str, Any]:
    """Destroy a room: its keys first, overwritten before they are removed, then every file; what went, in figures."""
    place = room_path(shop, id)
    gone: dict[str, Any] = {"room": "", "entries": 0, "head": "", "object_keys": 0, "secrets": 0, "files": 0, "bytes": 0}
    if not place.exists():
        return gone
    secrets = _opened(place / "keys")  # before databases are closed: the last one to close removes its log unwritten
    if (place / "mofang.json").exists():
        room = Shop(place, shop.actor, shop.permit)
        seq, chain = room.ledger.head()
        gone |= {"room": str(room.settings["id"]), "entries": seq, "head": chain, "object_keys": len(room.store.keys.held())}
        room.store.keys.close()
        room.ledger.db.close()
    for file in sorted(one for one in place.rglob("*") if one.is_file() and not one.is_symlink()):
        with suppress(FileNotFoundError):  # a server that had the model open lets go of its files at this moment
            gone["bytes"] += file.stat().st_size
            gone["files"] += 1
    for file, descriptor in secrets.items():
        gone["secrets"] += 1
        _overwrite(file, descriptor)
    for _ in range(TRIES):
        with suppress(FileNotFoundError):
            remove_tree(place)
        if not place.exists():
            break
        time.sleep(0.02)
    else:
        raise MofangError("customise-not-gone", path=str(place))
    sync_folder(place.parent)
    return gone


def _opened(folder: Path) -> dict[Path, int]:
    """Descriptors of the files with keys: they reach the bytes also of one that a server removes at this moment."""
    found = {}
    for file in sorted(one for one in folder.glob("*") if one.is_file() and not one.is_symlink()):
        if file.name.endswith("-shm"):  # no key in it, and servers have it mapped
            continue
        with suppress(FileNotFoundError):
            file.chmod(0o600)
            found[file] = os.open(file, os.O_RDWR)
    return found


def _overwrite(file: Path, descriptor: int) -> None:
    """Bytes of chance in place of a key, on the disk before the file goes; and one that a snapshot of it could not open."""
    with os.fdopen(descriptor, "r+b") as open_file:
        open_file.write(os.urandom(os.fstat(descriptor).st_size))
        open_file.flush()
        os.fsync(descriptor)
    with suppress(FileNotFoundError):
        file.unlink()


def _entered(shop: Shop, custom: Custom, gone: dict[str, Any], why: str) -> str:
    """The ledger's entry of the deletion with the statement in it; one that was written before stays."""
    key = f"customise-delete:{custom.id}"
    if known := shop.ledger.last(key, "decision"):
        return known.id
    delivered = [entry.id for entry in shop.ledger.entries("done") if (entry.body.get("foreign") or {}).get("room") == custom.id]
    statement = {"statement": STATEMENT_FORMAT, "seller": shop_name(shop), "shop": str(shop.settings["id"]),
                 "customisation": custom.id, "model": custom.name, "base": custom.base, "records": custom.records,
                 "deleted_us": now_us(), "why": why, "destroyed": gone, "delivered": delivered, "copies_in_backups": 0,
                 "stays": list(STAYS)}
    data = canonical(statement)
    body = {"decision": "customise-delete", "statement": statement, "sha256": sha256(data),
            "signature": sign(shop, CONTEXT, data)}
    return shop.ledger.append("decision", key, shop.actor, body).id


def _told(shop: Shop, custom: Custom) -> Deleted:
    body = shop.ledger.get(custom.deleted).body
    return Deleted(custom, body["statement"], body["signature"])


def statement_bytes(deleted: Deleted) -> bytes:
    """The statement and its signature as one file."""
    return canonical({"statement": deleted.statement, "signature": deleted.signature}) + b"\n"


def check_statement(data: bytes, pinned: str = "") -> tuple[dict[str, Any], str]:
    """The statement of a file and the fingerprint of the key that signed it; needs no shop.

    Raises ``parcel-json``, ``signature-wrong``, ``signer-other``.
    """
    found = strict_json(data, "statement", size_max=STATEMENT_MOST)
    if not isinstance(found, dict) or set(found) != {"statement", "signature"} or not isinstance(found["statement"], dict):
        raise MofangError("parcel-json", name="statement")
    if data.strip() != canonical(found):
        raise MofangError("parcel-json", name="statement")
    signer = check_signature(found["signature"], CONTEXT, canonical(found["statement"]))
    if pinned and not same_fingerprint(pinned, signer):
        raise MofangError("signer-other", wanted=pinned, found=signer)
    return found["statement"], signer


def verify_rooms(shop: Shop) -> list[str]:
    """Everything that does not fit in customers' rooms, and rooms that should be gone or belong to nobody."""
    open_books(shop)
    known = {one.id: one for one in customs(shop.control)}
    wrong = []
    for place in rooms(shop):
        custom = known.get(place.name)
        if custom is None or custom.state == "deleted":
            wrong.append(f"the room {place.name} was deleted, or never ordered, and is there")
            continue
        wrong += [f"room of {custom.name}: {one}" for one in Shop(place, shop.actor, shop.permit).verify()]
    there = {one.name for one in rooms(shop)}
    wrong += [f"the room of {one.name} is not there" for one in known.values()
              if one.version and one.state not in ("deleted", "deleting") and one.id not in there]
    strays = [one.name for one in (shop.path / "custom").glob("*") if not ID.fullmatch(one.name)]
    return wrong + [f"{name} is no customer's room" for name in sorted(strays)]
