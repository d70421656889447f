"""The ledger entries behind a package, as another shop may see them: one canonical document, signed by this shop.

Of each entry travel stage, settings, references, digests, licences, cost, figures and time; of the person a keyed id, of
a source its base name. The digest of the entry as it really stands, and its link in the chain, travel too: what was cut
cannot be changed afterwards. Nothing of a record travels, and no part of one.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import TYPE_CHECKING, Any

from mofang.core.canonical import canonical, digest_of, sha256
from mofang.core.errors import MofangError
from mofang.core.ledger import ENTRY_FORMAT, Ledger
from mofang.core.signing import check_signature, fingerprint, public_key, sign
from mofang.core.strict import UNSAFE, strict_json

if TYPE_CHECKING:
    from mofang.core.artifact import Artifact
    from mofang.core.shop import Shop

ANCESTRY_FORMAT = 1
CONTEXT = "ancestry"
KEPT = ("stage", "version", "returned", "of", "licences", "added_licences", "lineage", "cost", "code", "foreign")
SAID = ("licence", "terms", "origin", "consent", "person")  # what its owner says about a source, meant to be read by others
PUBLIC = "package:"  # files of an installed package: the same everywhere
LONGEST_MEASURE = 64
PATH = re.compile(r"^(/|~|\\\\|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:)")

Document = dict[str, Any]


def carried_name(digest: str) -> str:
    """The part of a package that holds an earlier shop's signed document."""
    return f"ancestry/{digest}.json"


def is_carried(name: str) -> bool:
    """True for a part that holds an earlier shop's signed document."""
    return name.startswith("ancestry/")


def shop_name(shop: Shop) -> str:
    """What the shop calls itself on its invoices; empty until ``seller`` is set."""
    return str(shop.settings.get("seller") or "").strip().split("\n")[0][:64]


def shop_label(id: str, name: str) -> str:
    """How another shop is called on the screen: its name, or the beginning of its id."""
    return name or id[:17]


def identity(shop: Shop) -> dict[str, str]:
    """Who signs: id, name, currency and key of this shop."""
    key = public_key(shop)
    return {"id": str(shop.settings["id"]), "name": shop_name(shop), "currency": shop.currency,
            "fingerprint": fingerprint(key), "public_key": key}


def behind(ledger: Ledger, entry: str) -> list[str]:
    """Every entry that this one rests on, itself included: inputs, nested runs, originals of what was reused."""
    waiting, seen = [entry], set[str]()
    while waiting:
        id = waiting.pop()
        if id not in seen:
            seen.add(id)
            waiting += references(ledger.get(id).body)
    return sorted(seen)


def references(body: dict[str, Any]) -> list[str]:
    """The entries of the same shop that an entry's body (or its view) names."""
    found = [given["entry"] for given in [*body.get("inputs", []), *body.get("nested", [])]]
    return found + [body[name] for name in ("returned", "of") if body.get(name)]


def ancestry(shop: Shop, package: Artifact, name: str, files: dict[str, list[Any]]) -> bytes:
    """The document of a package and everything behind it. The same package gives the same bytes at any time.

    ``files`` are the parts that travel with it: name to kind, SHA-256 and size in bytes.
    """
    rows = shop.ledger.links(behind(shop.ledger, package.entry))
    last = max(rows, key=lambda row: int(row["seq"]))
    document: Document = {
        "ancestry": ANCESTRY_FORMAT,
        "shop": identity(shop),
        "package": {"entry": package.entry, "digest": package.digest, "name": name},
        "head": {"seq": last["seq"], "chain": last["chain"]},
        "entries": [{"view": view_of(shop, row.pop("text")), **row} for row in rows],
        "files": files,
        "carried": sorted(part.digest for part in package.parts if is_carried(part.name)),
    }
    return canonical(document)


def view_of(shop: Shop, text: str) -> dict[str, Any]:
    """What of an entry's body another shop may see."""
    body = json.loads(text)
    view = {name: body[name] for name in KEPT if body.get(name) not in (None, "")}
    view["who"] = "who_" + hmac.digest(shop.secret("people"), body["who"].encode(), "sha256").hex()[:16]
    view["settings"] = cut(body.get("settings", {}))
    view["measures"] = {name: value for name, value in body.get("measures", {}).items() if _is_figure(value)}
    view["inputs"] = [{n: given[n] for n in ("entry", "digest", "within", "kind")} for given in body.get("inputs", [])]
    view["nested"] = [{n: one[n] for n in ("stage", "version", "entry")} for one in body.get("nested", [])]
    view["output"] = {name: body["output"][name] for name in ("kind", "digest")}
    return view


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= LONGEST_MEASURE and not PATH.match(value))


def cut(value: Any, key: str = "") -> Any:
    """Settings without the folders of this machine: of a path the last piece, wherever it stands."""
    if isinstance(value, dict):
        return {name: cut(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [cut(one, key) for one in value]
    if not isinstance(value, str):
        return value
    value = UNSAFE.sub("\ufffd", value)
    if not re.search(r"[/\\]", value) or value.startswith(PUBLIC):
        return value
    if key in SAID and not PATH.match(value):
        return value
    pieces = [piece for piece in re.split(r"[/\\]", re.sub(r"[?#].*$", "", value)) if piece]
    return pieces[-1] if pieces else value


def envelope(shop: Shop, document: bytes) -> bytes:
    """A document with this shop's signature over its bytes."""
    return canonical({"document": document.decode(), "signature": sign(shop, CONTEXT, document)})


def open_envelope(data: bytes, name: str = "ancestry") -> Document:
    """The checked document of an envelope; raises ``parcel-json``, ``signature-wrong`` and what ``check`` raises."""
    found = strict_json(data, name)
    if not isinstance(found, dict) or set(found) != {"document", "signature"} or not isinstance(found["document"], str):
        raise MofangError("parcel-json", name=name)
    return open_document(found["document"].encode(), found["signature"], name)


def open_document(data: bytes, signature: Any, name: str = "ancestry") -> Document:
    """The checked document behind these bytes: signed, canonical, whole, and true to itself."""
    from mofang.core.form import check_form

    signer = check_signature(signature, CONTEXT, data)
    document = strict_json(data, name)
    if not isinstance(document, dict) or canonical(document) != data:
        raise MofangError("parcel-json", name=name)
    if document.get("ancestry") != ANCESTRY_FORMAT:
        raise MofangError("parcel-format", format=document.get("ancestry"), known=ANCESTRY_FORMAT)
    check_form(data)
    if (signer, signature["public_key"]) != (document["shop"]["fingerprint"], document["shop"]["public_key"]):
        raise MofangError("signature-wrong")
    check(document)
    return document


def check(document: Document) -> None:
    """Refuse a document whose entries do not fit their digests and links, or each other.

    Every reference must be there and older, every licence must be carried on, and the package must be the last entry.
    """
    entries = {one["id"]: one for one in document["entries"]}
    package = entries.get(document["package"]["entry"])
    if package is None or len(entries) != len(document["entries"]):
        raise MofangError("ancestry-broken", entry=document["package"]["entry"])
    for one in document["entries"]:
        _check_link(one)
        for other in references(one["view"]):
            if other not in entries:
                raise MofangError("ancestry-gap", entry=one["id"], missing=other)
            if entries[other]["seq"] >= one["seq"]:
                raise MofangError("ancestry-broken", entry=one["id"])
        for given in one["view"]["inputs"]:
            made = entries[given["entry"]]["view"]["output"]
            if not given["within"] and given["digest"] != made["digest"]:
                raise MofangError("ancestry-broken", entry=one["id"])
        _check_licences(one, entries)
        brought = one["view"].get("foreign")
        if brought and brought["document"] not in document["carried"]:
            raise MofangError("ancestry-gap", entry=one["id"], missing=brought["shop"])
    last = max(document["entries"], key=lambda one: int(one["seq"]))
    if package is not last or document["head"] != {"seq": last["seq"], "chain": last["chain"]}:
        raise MofangError("ancestry-broken", entry=document["package"]["entry"])
    if package["view"]["output"] != {"kind": "package", "digest": document["package"]["digest"]}:
        raise MofangError("ancestry-other")


def _check_link(one: dict[str, Any]) -> None:
    """The digest and the chain link of one entry, computed again."""
    covered = {"entry": ENTRY_FORMAT, **{name: one[name] for name in ("id", "kind", "key", "owner", "at_us", "body")}}
    if digest_of(covered) != one["content"] or sha256(f"{one['previous']}:{one['content']}".encode()) != one["chain"]:
        raise MofangError("ancestry-broken", entry=one["id"])


def _check_licences(one: dict[str, Any], entries: dict[str, dict[str, Any]]) -> None:
    """An entry carries the licences of everything it was made from; one that drops a licence lies."""
    view = one["view"]
    carried = {name for given in view["inputs"] for name in entries[given["entry"]]["view"]["licences"]}
    carried |= set(view.get("added_licences", ()))
    if view["stage"] == "collect":
        carried.add(_licence_set(one))
    if set(view["licences"]) != carried:
        raise MofangError("ancestry-licence", entry=one["id"],
                          licences=", ".join(sorted(carried ^ set(view["licences"]))))


def _licence_set(one: dict[str, Any]) -> str:
    """The licence that a source was collected under; settings come from outside as they are, so it may be anything."""
    found = one["view"]["settings"].get("licence")
    if not isinstance(found, str):
        raise MofangError("ancestry-licence", entry=one["id"], licences=repr(found)[:60])
    return found
