"""Take a checked parcel in: its parts into the store, its shop's entries into this shop's tables, one entry for both.

Nothing is visible before the entry is written, and the entry, the tables and nothing else are one transaction.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from mofang.core import lock
from mofang.core.ancestry import Document, carried_name
from mofang.core.artifact import Artifact, Part, manifest_digest
from mofang.core.canonical import digest_of, sha256
from mofang.core.errors import MofangError
from mofang.core.foreign import IMPORT, ForeignShop, contradictions, foreign_shop, record
from mofang.core.ledger import Entry
from mofang.core.run import Cost, leased
from mofang.core.shop import Named, Shop
from mofang.core.signing import fingerprint, public_key, same_fingerprint
from mofang.engine.machine import machine_facts
from mofang.serve.border import Parcel
from mofang.serve.remeasure import fits, remeasure

IMPORT_VERSION = 1


@dataclass(frozen=True)
class Admitted:
    """An imported package under its name in this shop."""

    named: Named
    entry: str
    again: bool
    remeasured: bool


def check_shops(shop: Shop, parcel: Parcel, pinned: str = "") -> list[tuple[ForeignShop, bool]]:
    """The shops behind a parcel, the sender first, and whether each was known here already.

    The first key a shop shows is remembered; another key is refused unless its fingerprint is named. Raises
    ``parcel-own``, ``signer-other``, ``signer-changed``, ``ancestry-contradicts``.
    """
    own = str(shop.settings["id"])
    if parcel.shop["id"] == own:
        raise MofangError("parcel-own", name=parcel.name)
    if pinned and not same_fingerprint(pinned, parcel.shop["fingerprint"]):
        raise MofangError("signer-other", wanted=pinned, found=parcel.shop["fingerprint"])
    found: list[tuple[ForeignShop, bool]] = []
    for document in (parcel.document, *parcel.carried):
        about = document["shop"]
        said = ForeignShop(about["id"], about["name"], about["currency"], about["fingerprint"])
        if said.id == own:
            if said.fingerprint != fingerprint(public_key(shop)):
                raise MofangError("signer-changed", shop=said.title, known=fingerprint(public_key(shop)), found=said.fingerprint)
            continue
        known = foreign_shop(shop.ledger.db, said.id)
        sender = document is parcel.document
        if known and known.fingerprint != said.fingerprint and not (pinned and sender):
            raise MofangError("signer-changed", shop=known.title, known=known.fingerprint, found=said.fingerprint)
        if said.id not in [one.id for one, _ in found]:
            found.append((said, known is not None and known.fingerprint == said.fingerprint))
    contradictions(shop.ledger.db, [document for document in (parcel.document, *parcel.carried) if document["shop"]["id"] != own])
    return found


def admit(shop: Shop, parcel: Parcel, tried: dict[str, Any], name: str = "") -> Admitted:
    """Record a checked and tried parcel, name it, and measure its engines here if they were measured elsewhere.

    The same package again is the same version. Raises ``not-permitted``, ``name-invalid``.
    """
    if not shop.permit(shop.actor, "release"):
        raise MofangError("not-permitted", actor=shop.actor.name, may="release")
    name = shop.checked_name(name or parcel.name.partition("@")[0])
    key = digest_of([IMPORT, IMPORT_VERSION, parcel.shop["id"], parcel.shop["fingerprint"], parcel.entry["content"]])
    with leased(shop, key):
        known = _known(shop, key)
        entry = known or _record(shop, parcel, key, tried)
    package: Artifact = shop.artifact(entry)
    elsewhere = not fits(parcel.described, tried["engine"])
    if elsewhere:
        package = shop.run(remeasure, package, objective=parcel.described.get("objective", "throughput"))
    return Admitted(shop.name(name, package), entry.id, known is not None, elsewhere)


def _known(shop: Shop, key: str) -> Entry | None:
    """The entry of the same package, imported before and still whole."""
    known = shop.ledger.last(key, "done")
    if known and all(shop.store.has(part[2]) for part in known.body["output"]["parts"]):
        return known
    return None


def _record(shop: Shop, parcel: Parcel, key: str, tried: dict[str, Any]) -> Entry:
    began = time.monotonic()
    shop.store.require_space()
    digest = sha256(parcel.envelope)
    kept = [Part(carried_name(digest), "json", digest, len(parcel.envelope)), *parcel.parts]
    (parcel.folder / "ancestry").mkdir(exist_ok=True)
    (parcel.folder / kept[0].name).write_bytes(parcel.envelope)
    for part in kept:
        if shop.store.keep(parcel.folder / part.name) != (part.digest, part.size_bytes):
            raise MofangError("parcel-part-changed", name=part.name)
    parts = tuple(sorted(kept))
    output = {"kind": "package", "digest": manifest_digest(parts), "parts": [part.to_list() for part in parts]}
    cost = Cost(wall_s=time.monotonic() - began).to_dict(shop.rates)
    body = {
        "stage": IMPORT, "version": IMPORT_VERSION, "settings": {}, "inputs": [], "output": output, "returned": "",
        "licences": parcel.licences, "added_licences": parcel.licences, "nested": [], "choices": {},
        "measures": {**{n: tried[n] for n in ("engine", "threads", "batch", "requests")}, "machine": machine_facts()},
        "code": {"mofang": machine_facts()["mofang"], "closure": lock.locked()["stages"].get("remeasure", {}).get("closure", "")},
        "lineage": digest_of([IMPORT, parcel.shop["id"], parcel.entry["view"]["lineage"], parcel.entry["content"]]),
        "cost": {"own": cost, "total": cost},
        "foreign": {"shop": parcel.shop["id"], "name": parcel.shop["name"], "fingerprint": parcel.shop["fingerprint"],
                    "entry": parcel.entry["id"], "content": parcel.entry["content"], "document": digest},
    }
    with shop.ledger.db.transaction():
        entry = shop.ledger.append_within("done", key, shop.actor, body)
        record(shop.ledger.db, str(shop.settings["id"]), _documents(parcel, digest))
    return entry


def _documents(parcel: Parcel, digest: str) -> list[tuple[str, Document]]:
    """The documents in the order in which the tables are folded: earlier shops' by digest, the sender's last."""
    earlier = zip(parcel.document["carried"], parcel.carried, strict=True)
    return [*sorted(earlier, key=lambda one: one[0]), (digest, parcel.document)]
