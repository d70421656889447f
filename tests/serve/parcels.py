"""Parcels for tests: a good one made by a tiny shop, and a box in which every part of it can be exchanged."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mofang.core.artifact import Artifact, Part, manifest_digest
from mofang.core.canonical import canonical, digest_of, sha256
from mofang.core.shop import Shop
from mofang.core.signing import fingerprint
from mofang.serve.parcel import export_parcel
from tests.contract.world import write_texts

OWN = ("README.txt", "ancestry.json", "signature.json")
LICENCE = "CC-BY-4.0"


def make_model(shop: Shop, folder: Path, name: str = "reviews") -> Artifact:
    """A packaged linear model over 120 made-up reviews, with every stage behind it."""
    from mofang.recipe import clean, collect, evaluate, export, package, snapshot, train

    source = folder / "secret-folder" / "texts.csv"
    source.parent.mkdir(parents=True, exist_ok=True)
    write_texts(source, 120)
    records = shop.run(collect, source=str(source), licence=LICENCE, origin="tests", label="label", text=("text",))
    kept = shop.run(clean, records) / "kept"
    data = shop.run(snapshot, kept, task="text_classification", label="label", inputs=("text",), test=0.2, validation=0.2)
    graph = shop.run(export, shop.run(train, data, family="linear"))
    made: Artifact = shop.run(package, graph, shop.run(evaluate, graph, data / "test", resamples=20), seconds=0.001, requests=16)
    shop.name(name, made)
    return made


def send(shop: Shop, out: Path, model: str = "reviews") -> Path:
    """Export a model."""
    return export_parcel(shop, model, out).path


class Box:
    """The parts of a parcel by name; ``seal`` makes the document true to them again and signs it with a key of ours."""

    def __init__(self, parcel: Path) -> None:
        with zipfile.ZipFile(parcel) as archive:
            self.parts = {info.filename: archive.read(info) for info in archive.infolist()}
        self.key = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)

    @property
    def document(self) -> Any:
        """The ancestry document."""
        return json.loads(self.parts["ancestry.json"])

    def entry(self, document: Any, stage: str) -> Any:
        """The newest entry of a stage in a document."""
        return next(one for one in reversed(document["entries"]) if one["view"]["stage"] == stage)

    def seal(self, change: Callable[[Any], None] = lambda document: None, *, as_shop: str = "shop_mallory",
             files: bool = True) -> Box:
        """Make another shop's document of it: honest about the parts (unless told not to), then changed, then signed."""
        document = self.document
        document["shop"] |= {"id": as_shop, "name": "Mallory"}
        if files:
            self._true(document)
        change(document)
        public = self.key.public_key().public_bytes_raw().hex()
        document["shop"] |= {"public_key": public, "fingerprint": fingerprint(public)}
        return self.signed(canonical(document))

    def _true(self, document: Any) -> None:
        """The digests of all parts, and of the package that they are, into the document and its last entry."""
        described = json.loads(self.parts["package.json"]) if "package.json" in self.parts else {}
        for name in [one for one in described.get("files", {}) if one in self.parts]:
            described["files"][name] = sha256(self.parts[name])
        if described:
            self.parts["package.json"] = canonical(described)
        files = {name: [name.rpartition(".")[2], sha256(data), len(data)] for name, data in self.parts.items()
                 if name not in ("ancestry.json", "signature.json")}
        document["files"] = files
        digest = manifest_digest(tuple(Part(name, *about) for name, about in files.items() if name not in OWN))
        document["package"]["digest"] = digest
        package = next(one for one in document["entries"] if one["id"] == document["package"]["entry"])
        package["view"]["output"]["digest"] = digest

    def signed(self, data: bytes) -> Box:
        """Any bytes as the document, signed with our key."""
        self.parts["ancestry.json"] = data
        public = self.key.public_key().public_bytes_raw().hex()
        self.parts["signature.json"] = canonical({
            "algorithm": "ed25519", "context": "ancestry", "public_key": public,
            "signature": self.key.sign(b"mofang\0ancestry\0" + data).hex()})
        return self

    def write(self, path: Path, *, more: tuple[tuple[zipfile.ZipInfo | str, bytes], ...] = (),
              compress: int = zipfile.ZIP_STORED) -> Path:
        """The parcel as a file; ``more`` are parts beyond the named ones, doubled names among them."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compress) as archive:
            for name, data in self.parts.items():
                archive.writestr(zipfile.ZipInfo(name), data, compress)
            for where, data in more:
                archive.writestr(where, data)
        path.write_bytes(stream.getvalue())
        return path


def relink(one: Any) -> None:
    """Compute an entry's digest and link anew after a change of what they cover."""
    covered = {"entry": 1, **{name: one[name] for name in ("id", "kind", "key", "owner", "at_us", "body")}}
    one["content"] = digest_of(covered)
    one["chain"] = sha256(f"{one['previous']}:{one['content']}".encode())
