"""An artifact is a manifest: sorted named parts, each a file in the store.

A digest says which bytes; the *entry* says which run made them, from what, and under which licences. Both together are
a reference, and inputs are references.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self

from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.shop import Shop

MANIFEST_FORMAT = 1


@dataclass(frozen=True, order=True)
class Part:
    """One named file of an artifact."""

    name: str
    kind: str
    digest: str
    size_bytes: int

    def to_list(self) -> list[Any]:
        """The part as it stands in a manifest."""
        return [self.name, self.kind, self.digest, self.size_bytes]


def manifest_digest(parts: tuple[Part, ...]) -> str:
    """SHA-256 over the format and the sorted list of parts."""
    return digest_of({"manifest": MANIFEST_FORMAT, "parts": [part.to_list() for part in sorted(parts)]})


KINDS: dict[str, type[Artifact]] = {}


@dataclass(frozen=True)
class Artifact:
    """A reference to named parts made by one run. Subclasses give the kind; ``inside`` names the kinds of sub-references."""

    kind: ClassVar[str] = "artifact"
    inside: ClassVar[dict[str, str]] = {}

    shop: Shop = field(repr=False, compare=False)
    entry: str
    parts: tuple[Part, ...]
    within: str = ""
    licences: tuple[str, ...] = ()
    measures: dict[str, Any] = field(default_factory=dict, compare=False)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.kind != "artifact":
            KINDS[cls.kind] = cls

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest (of the sub-manifest, for a reference such as ``snapshot / "test"``)."""
        return manifest_digest(self.parts)

    def __truediv__(self, name: str) -> Artifact:
        """The parts below a name, as an artifact of their own that still points at the run that made them."""
        below = name + "/"
        parts = tuple(
            Part(part.name.removeprefix(below), part.kind, part.digest, part.size_bytes)
            for part in self.parts
            if part.name.startswith(below)
        )
        if not parts:
            raise MofangError("part-missing", part=name, kind=self.kind, parts=self._names())
        cls = KINDS.get(self.inside.get(name, ""), Artifact)
        within = f"{self.within}/{name}".strip("/")
        return cls(self.shop, self.entry, parts, within, self.licences, self.measures)

    def part(self, name: str) -> Part:
        """The part with this name."""
        for part in self.parts:
            if part.name == name:
                return part
        raise MofangError("part-missing", part=name, kind=self.kind, parts=self._names())

    def has(self, name: str) -> bool:
        """True if there is a part with this name."""
        return any(part.name == name for part in self.parts)

    def path(self, name: str) -> Path:
        """A file with the bytes of a part, to be read only; of an encrypted part a copy that goes with this process."""
        return self.shop.store.plain_path(self._there(name))

    def open(self, name: str) -> BinaryIO:
        """The bytes of a part, to be read and sought in; the caller closes it. Nothing is laid down in plain."""
        return self.shop.store.open(self._there(name))

    def _there(self, name: str) -> str:
        digest = self.part(name).digest
        if not self.shop.store.has(digest):
            raise MofangError("object-missing", part=name, digest=digest[:12])
        return digest

    def read_json(self, name: str) -> Any:
        """A JSON part."""
        with self.open(name) as file:
            return json.load(file)

    def lay_out(self, folder: Path) -> Self:
        """Lay the parts out as a plain folder of links, for libraries that want file names."""
        for part in self.parts:
            place = folder / part.name
            place.parent.mkdir(parents=True, exist_ok=True)
            target = self.path(part.name).resolve()
            if place.is_symlink() and place.readlink() != target:  # of a process that was killed: its plain copy goes
                place.unlink()
            if not place.exists():
                place.symlink_to(target)
        return self

    def reference(self) -> dict[str, str]:
        """What a ledger entry writes down of this input."""
        return {"entry": self.entry, "digest": self.digest, "within": self.within, "kind": self.kind}

    def _names(self) -> str:
        return ", ".join(part.name for part in self.parts) or "-"


class Sealed(Artifact):
    """A sealed stretch of a journal: part ``rows.parquet`` and ``seal.json``."""

    kind = "sealed"
