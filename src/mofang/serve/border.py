"""A parcel from another shop, looked at before anything in it is believed.

In this order: the file as a zip, its signature, the ancestry, every part's digest, what each part is made of. A part is
unpacked into a folder that is thrown away; nothing is run here (``serve/trial.py`` does that, in a process of its own).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.ancestry import Document, carried_name, is_carried, open_document, open_envelope
from mofang.core.artifact import Part, manifest_digest
from mofang.core.canonical import canonical, sha256
from mofang.core.errors import MofangError
from mofang.core.store import FREE_FLOOR_BYTES
from mofang.core.strict import SIZE_MAX, strict_json
from mofang.data.collecting.provenance import SAID
from mofang.engine.arrays import from_npy
from mofang.engine.graphfile import DATA, check_graph
from mofang.serve.parcel import ANCESTRY, EPOCH, OWN, PIECE, SIGNATURE

PARTS_MAX = 10_000
END, LOCAL = struct.Struct("<4s4H2LH"), struct.Struct("<4s2B4HL2L2H")  # APPNOTE.TXT 4.3.16 and 4.3.7
CENTRAL_BYTES = 46
EPOCH_SAID, VERSIONS, LONG = (0, 33, 0), (20, 45), 0xFFFFFFFF
FIXED = ("package.json", "canonical.jsonl", "card.md")
NAME = re.compile(r"(?:graph|encoder|decoder|weights|torch)/[A-Za-z0-9][\w.-]{0,99}|ancestry/[0-9a-f]{64}\.json"
                  r"|[A-Za-z0-9][\w-]{0,60}\.(?:json|jsonl|md|txt)", re.ASCII)
MODEL = ("graph/", "encoder/", "decoder/", "weights/", "torch/")  # the model itself, which nobody on the way may change
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
FROM_IMPORT = ("import", "remeasure")  # stages that hand a package on without making another model


@dataclass(frozen=True)
class Parcel:
    """A parcel that passed every check but the trial."""

    folder: Path
    document: Document
    envelope: bytes
    carried: tuple[Document, ...]
    described: dict[str, Any]
    parts: tuple[Part, ...]

    @property
    def shop(self) -> dict[str, str]:
        """The shop that signed it: id, name, currency, fingerprint, public_key."""
        found: dict[str, str] = self.document["shop"]
        return found

    @property
    def name(self) -> str:
        """The model's name there, such as ``reviews@1``."""
        return str(self.document["package"]["name"])

    @property
    def entry(self) -> dict[str, Any]:
        """The package's own entry in the other shop's ledger."""
        wanted = self.document["package"]["entry"]
        return next(one for one in self.document["entries"] if one["id"] == wanted)

    @property
    def licences(self) -> tuple[str, ...]:
        """Licences of everything the model was made from."""
        return tuple(self.entry["view"]["licences"])


def open_parcel(path: Path, folder: Path, tick: Callable[[float], None] = lambda _bytes: None) -> Parcel:
    """Unpack a parcel into an empty folder and check all of it; raises a MofangError with a code for each fault."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            infos = _contents(archive, path)
            document, signature = _signed(archive, infos)
            _manifest(document, infos)
            size = sum(info.file_size for info in infos.values())
            free = shutil.disk_usage(folder).free
            if free - size < FREE_FLOOR_BYTES:
                raise MofangError("disk-nearly-full", free_mb=free // 2**20, floor_mb=(FREE_FLOOR_BYTES + size) // 2**20)
            for name, (_, digest, _) in document["files"].items():
                unpack(archive, infos[name], folder / name, digest, tick)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, struct.error, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the file's
            raise
        raise MofangError("parcel-unreadable", path=str(path)) from None
    for name in document["files"]:
        check_part(folder / name, name)
    carried = _carried(document, folder)
    described = _described(document, folder)
    parts = tuple(sorted(Part(name, *about) for name, about in document["files"].items() if name not in OWN))
    if manifest_digest(parts) != document["package"]["digest"]:
        raise MofangError("ancestry-other")
    envelope = canonical({"document": canonical(document).decode(), "signature": signature})
    return Parcel(folder, document, envelope, carried, described, parts)


def _contents(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The parts by name, after everything that a zip file can be wrong in."""
    found = plain_contents(archive, path, NAME)
    for name in (*OWN, *FIXED):
        if name not in found:
            raise MofangError("parcel-part-missing", name=name)
    return found


def plain_contents(archive: zipfile.ZipFile, path: Path, allowed: re.Pattern[str],
                   most: int = PARTS_MAX) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive as ours are written: stored as they are, each name once and one of the allowed, no links, nothing
    before, between or after them; refused with a code for each fault, before a byte of them is unpacked."""
    found: dict[str, zipfile.ZipInfo] = {}
    lower = set[str]()
    size = path.stat().st_size
    infos = archive.infolist()
    begins = min((info.header_offset for info in infos), default=0)
    if len(infos) > most or archive.comment or begins:  # nothing before the first part, nothing after the last
        raise MofangError("parcel-unreadable", path=str(path))
    for info in infos:
        name = info.orig_filename
        if name != info.filename or not allowed.fullmatch(name) or ".." in name:
            raise MofangError("parcel-name", name=name)
        if name.lower() in lower:  # also where a file system knows no capitals
            raise MofangError("parcel-doubled", name=name)
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise MofangError("parcel-link", name=name)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x41 or info.compress_size != info.file_size:
            raise MofangError("parcel-packed", name=name)
        found[name] = info
        lower.add(name.lower())
    if sum(info.file_size for info in found.values()) > size:
        raise MofangError("parcel-packed", name=path.name)
    _headers(infos, path)
    return found


def _headers(infos: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse a header that says anything but what ours do: no bit of the file is free to be another one."""
    with path.open("rb") as file:
        file.seek(-END.size, 2)
        signature, disk, first, here, total, length, begins, comment = END.unpack(file.read(END.size))
        whole = signature == b"PK\5\6" and disk == first == comment == 0 and here == total
        if whole and LONG not in (length, begins):  # beyond 4 GiB another record stands between, which zipfile reads
            file.seek(begins)
            whole = _lengths(file.read(length)) == [(len(info.extra), 0) for info in infos]
        for info in infos:
            file.seek(info.header_offset)
            _, version, system, flags, method, time, date, crc, packed, size, _, _ = LOCAL.unpack(file.read(LOCAL.size))
            plain = (time, date, system) == EPOCH_SAID and info.date_time == EPOCH and version in VERSIONS
            central = (info.create_version in VERSIONS and info.extract_version in VERSIONS and not info.internal_attr
                       and not info.reserved and not info.volume and not info.comment and info.create_system == 3)
            same = (flags, method, crc) == (info.flag_bits, info.compress_type, info.CRC) and (
                LONG in (packed, size) or (packed, size) == (info.compress_size, info.file_size))
            whole = whole and plain and central and same
    if not whole:
        raise MofangError("parcel-unreadable", path=str(path))


def _lengths(central: bytes) -> list[tuple[int, int]]:
    """Of each entry of the central directory how long it says its extra field and comment are; [] where they do not fill it."""
    found, at = [], 0
    while at + CENTRAL_BYTES <= len(central):
        name, extra, comment = struct.unpack_from("<3H", central, at + 28)
        found.append((extra, comment))
        at += CENTRAL_BYTES + name + extra + comment
    return found if at == len(central) else []


def _signed(archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo]) -> tuple[Document, Any]:
    for name in (ANCESTRY, SIGNATURE):
        if infos[name].file_size > SIZE_MAX:
            raise MofangError("parcel-json", name=name)
    try:
        data, signature = archive.read(infos[ANCESTRY]), archive.read(infos[SIGNATURE])
    except zipfile.BadZipFile:
        raise MofangError("parcel-part-changed", name=ANCESTRY) from None
    about = strict_json(signature, SIGNATURE)
    return open_document(data, about, ANCESTRY), about


def _manifest(document: Document, infos: dict[str, zipfile.ZipInfo]) -> None:
    """The signed list of parts and the parts that are there must be the same."""
    files = document["files"]
    for name in infos:
        if name not in files and name not in (ANCESTRY, SIGNATURE):
            raise MofangError("parcel-part-unknown", name=name)
    for name, (_, _, size) in files.items():
        if name not in infos:
            raise MofangError("parcel-part-missing", name=name)
        if infos[name].file_size != size:
            raise MofangError("parcel-part-changed", name=name)


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, wanted: str,
            tick: Callable[[float], None]) -> None:
    """Write one part, in pieces; its digest must be the signed one."""
    digest = hashlib.sha256()
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(info) as source, place.open("xb") as file:
            while piece := source.read(PIECE):
                digest.update(piece)
                file.write(piece)
                tick(len(piece))
    except zipfile.BadZipFile:
        raise MofangError("parcel-part-changed", name=info.filename) from None
    if digest.hexdigest() != wanted:
        raise MofangError("parcel-part-changed", name=info.filename)


def check_part(path: Path, name: str) -> None:
    """Refuse a part that is not what its ending says, or that only pickle could read."""
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(PICKLES):
        raise MofangError("parcel-pickle", name=name)
    ending = name.rpartition(".")[2]
    if ending == "json":
        strict_json(path.read_bytes(), name, size_max=4 * SIZE_MAX, text_free=name.startswith("encoder/"))
    elif ending == "jsonl":
        with path.open("rb") as file:
            for line in file:
                strict_json(line, name, text_free=True)
    elif ending == "npy":
        try:
            from_npy(path.read_bytes())
        except (ValueError, OverflowError):
            raise MofangError("parcel-pickle", name=name) from None
    elif ending == "onnx":
        beside = path.with_name(path.name + DATA)
        check_graph(path, name, beside if beside.is_file() else None)
    elif name.endswith(f".onnx{DATA}") and path.with_name(path.name.removesuffix(DATA)).is_file():
        pass  # numbers alone; the graph beside it says where each tensor lies, and that is checked with the graph
    elif ending == "safetensors":
        _check_safetensors(path, name)
    elif ending == "ubj":
        if not head.startswith(b"{L"):
            raise MofangError("parcel-part-unknown", name=name)
    elif ending in ("md", "txt", "jinja"):
        _check_text(path, name)
    else:
        raise MofangError("parcel-part-unknown", name=name)


def _check_text(path: Path, name: str) -> None:
    try:
        strict_json(canonical(path.read_bytes().decode("utf-8")), name)
    except UnicodeDecodeError:
        raise MofangError("parcel-json", name=name) from None


def _check_safetensors(path: Path, name: str) -> None:
    """The header must lie inside the file and name stretches inside it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, SIZE_MAX):
            raise MofangError("parcel-json", name=name)
        header = strict_json(file.read(length), name)
    tensors = [about for key, about in header.items() if key != "__metadata__"] if isinstance(header, dict) else [None]
    for about in tensors:
        begin, end = about.get("data_offsets", (1, 0)) if isinstance(about, dict) else (1, 0)
        if not 0 <= begin <= end <= size - 8 - length:
            raise MofangError("parcel-json", name=name)


def _carried(document: Document, folder: Path) -> tuple[Document, ...]:
    """Earlier shops' documents: all that are named, none that is not, and each what its importer says of it."""
    there = sorted(name for name in document["files"] if is_carried(name))
    digests = document["carried"]
    if there != sorted(map(carried_name, digests)):
        raise MofangError("ancestry-gap", entry=document["package"]["entry"], missing="ancestry/")
    found: dict[str, Document] = {}
    for digest in digests:
        data = (folder / carried_name(digest)).read_bytes()
        if sha256(data) != digest:
            raise MofangError("parcel-part-changed", name=carried_name(digest))
        found[digest] = open_envelope(data, carried_name(digest))
    for each in (document, *found.values()):
        for one in each["entries"]:
            if brought := one["view"].get("foreign"):
                _check_brought(one, brought, found.get(brought["document"]))
    package = next(one for one in document["entries"] if one["id"] == document["package"]["entry"])
    if package["view"]["stage"] in FROM_IMPORT:
        _check_handed_on(document, package, found)
    return tuple(found.values())


def _check_brought(one: dict[str, Any], brought: dict[str, Any], earlier: Document | None) -> None:
    """An import says of a package what the shop that made it signed: its entry, its licences."""
    if earlier is None:
        raise MofangError("ancestry-gap", entry=one["id"], missing=brought["shop"])
    shop = earlier["shop"]
    made = {entry["id"]: entry for entry in earlier["entries"]}.get(earlier["package"]["entry"])
    said = (shop["id"], shop["fingerprint"], earlier["package"]["entry"])
    if made is None or said != (brought["shop"], brought["fingerprint"], brought["entry"]):
        raise MofangError("ancestry-broken", entry=one["id"])
    if set(one["view"]["licences"]) != set(made["view"]["licences"]):
        dropped = set(one["view"]["licences"]) ^ set(made["view"]["licences"])
        raise MofangError("ancestry-licence", entry=one["id"], licences=", ".join(sorted(dropped)))


def _check_handed_on(document: Document, package: dict[str, Any], carried: dict[str, Document]) -> None:
    """A package that was only handed on is the model that its maker signed, graph and encoder byte by byte."""
    entries = {one["id"]: one for one in document["entries"]}
    while package["view"]["stage"] == "remeasure":
        package = entries[package["view"]["inputs"][0]["entry"]]
    brought = package["view"].get("foreign")
    if brought is None:
        return
    made = carried[brought["document"]]["files"]

    def model(files: dict[str, Any]) -> dict[str, Any]:
        return {name: about for name, about in files.items() if name.startswith((*MODEL, "canonical"))}

    if model(made) != model(document["files"]):
        raise MofangError("ancestry-other")


def _described(document: Document, folder: Path) -> dict[str, Any]:
    """package.json, which must say of licences and figures what the ancestry says."""
    described = strict_json((folder / "package.json").read_bytes(), "package.json")
    try:
        licences = set(described["licences"])
        figures = described["evaluation"]
        value = figures["metrics"][figures["headline"]]["value"] if figures["rows"] else 0.0
        whole = isinstance(value, int | float) and isinstance(described["files"], dict)
        told = all(one.keys() <= set(SAID) and all(isinstance(value, str) for value in one.values())
                   for one in described.get("sources", []))
        named = {name for name, digest in described["files"].items() if document["files"][name][1] == digest}
    except (KeyError, TypeError, AttributeError):
        raise MofangError("parcel-json", name="package.json") from None
    model = {name for name in document["files"] if name.startswith(MODEL)}
    if not whole or not told or not model <= named or "canonical.jsonl" not in named:
        raise MofangError("parcel-json", name="package.json")
    package = next(one for one in document["entries"] if one["id"] == document["package"]["entry"])
    if not set(package["view"]["licences"]) <= licences:
        missing = sorted(set(package["view"]["licences"]) - licences)
        raise MofangError("ancestry-licence", entry=package["id"], licences=", ".join(missing))
    return described  # type: ignore[no-any-return]
