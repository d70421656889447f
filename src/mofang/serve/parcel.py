"""A parcel: one file that carries a package and its signed ancestry to another shop.

A zip file whose parts are stored as they are, in a fixed order, without times: the same package gives the same bytes. Its
manifest is the signed ancestry document, which names every part with its digest (decision 014).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mofang.core.ancestry import CONTEXT, ancestry, identity, open_document, shop_label
from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical, file_digest, sha256, sync_folder
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.signing import sign

ENDING = ".mofang"
README, ANCESTRY, SIGNATURE = "README.txt", "ancestry.json", "signature.json"
OWN = (README, ANCESTRY, SIGNATURE)  # parts of the parcel that are no parts of the package
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can say
MODE = 0o100644 << 16  # a plain file
PIECE = 1 << 20

TEXT = """This is a package of the model {name}, made by the Mofang shop {shop}.
It is ready to answer; it holds no training records. To open it in another shop:

    mofang import {file} --from {fingerprint}

Compare that fingerprint with the one its shop shows for `mofang fingerprint`; ask over another way than
the one this file came by. ancestry.json holds the ledger entries behind the model: sources, licences, costs,
evaluation; signature.json the shop's signature over it; card.md says what the model does, and how well.

这是模坊 {shop} 制作的模型 {name} 的模型包，可以直接提供服务；其中没有训练数据。
在另一个模坊里打开：mofang import {file} --from {fingerprint}
请通过其他途径向对方核对指纹（对方用 mofang fingerprint 显示）。ancestry.json 是模型背后的账本条目：
来源、许可、成本、评测；signature.json 是对方模坊的签名；card.md 说明模型的用途和效果。
"""


@dataclass(frozen=True)
class Sent:
    """A parcel that was written."""

    path: Path
    name: str
    digest: str
    size_bytes: int
    fingerprint: str
    entries: int


def package_named(shop: Shop, text: str) -> tuple[Artifact, str]:
    """A package by any name that is accepted for it, and its own name and version; raises ``name-unknown``, ``kind-wrong``."""
    package = shop.find(text, "package")
    names = [str(one) for one in shop.names("package") if one.entry == package.entry]
    if not names:
        raise MofangError("parcel-nameless", model=text)
    return package, text if text in names else names[0]


def default_file(name: str) -> Path:
    """``reviews-1.mofang`` for ``reviews@1``, in the working folder."""
    return Path(name.replace("@", "-") + ENDING)


def export_parcel(shop: Shop, model: str, out: Path | None = None,
                  tick: Callable[[float], None] = lambda _bytes: None) -> Sent:
    """Write a package with everything that another shop needs to check, sell and trace it.

    Complete or not at all: the file appears under its name when it is whole. ``tick`` hears of every piece in bytes.
    Raises ``not-permitted``, ``file-exists-already``, ``package-damaged``, and what another shop would raise.
    """
    from mofang.serve.border import check_part

    if not shop.permit(shop.actor, "release"):
        raise MofangError("not-permitted", actor=shop.actor.name, may="release")
    package, name = package_named(shop, model)
    out = out or default_file(name)
    me = identity(shop)
    text = TEXT.format(name=name, shop=shop_label(me["id"], me["name"]), fingerprint=me["fingerprint"],
                       file=default_file(name)).encode()
    files: dict[str, list[Any]] = {part.name: [part.kind, part.digest, part.size_bytes] for part in package.parts}
    document = ancestry(shop, package, name, files | {README: ["txt", sha256(text), len(text)]})
    signature = sign(shop, CONTEXT, document)
    entries = len(open_document(document, signature)["entries"])  # never send what another shop would refuse
    for part in package.parts:
        check_part(package.path(part.name), part.name)
    beside = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            _write(file, package, {README: text, ANCESTRY: document,
                                   SIGNATURE: canonical(signature)}, tick)
        digest, size_bytes = file_digest(beside), beside.stat().st_size
        if out.exists() and file_digest(out) != digest:
            raise MofangError("file-exists-already", path=str(out))
        os.replace(beside, out)
        sync_folder(out.resolve().parent)
    finally:
        beside.unlink(missing_ok=True)
    body = {"decision": "export", "inputs": [package.reference()], "file": out.name, "sha256": digest}
    shop.ledger.append("decision", f"export:{package.entry}", shop.actor, body)
    return Sent(out, name, digest, size_bytes, me["fingerprint"], entries)


def _write(file: IO[bytes], package: Artifact, own: dict[str, bytes], tick: Callable[[float], None]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, data in own.items():
            archive.writestr(zip_entry(name), data)
        for part in sorted(package.parts):
            info = zip_entry(part.name)
            info.file_size = part.size_bytes  # so that only parts beyond 2 GiB get the long form of a header
            digest = hashlib.sha256()
            with package.path(part.name).open("rb") as source, archive.open(info, "w") as place:
                while piece := source.read(PIECE):
                    digest.update(piece)
                    place.write(piece)
                    tick(len(piece))
            if digest.hexdigest() != part.digest:
                raise MofangError("package-damaged", part=part.name)
    file.flush()
    os.fsync(file.fileno())


def zip_entry(name: str) -> zipfile.ZipInfo:
    """A file's header in an archive that is the same bytes whenever and wherever it is written."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # Unix, wherever it is written: the same bytes everywhere
    info.external_attr = MODE
    return info
