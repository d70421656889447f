"""Where records come from: a file, a folder, a glob, an archive, or files inside an installed package, and the
digest of their bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import orjson
from pydantic import Field

from mofang.core.canonical import digest_of, file_digest, write_durably
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.stage import OnDisk
from mofang.core.uploads import PREFIX as UPLOAD
from mofang.core.uploads import uploaded
from mofang.data.remote.scheme import is_remote
from mofang.data.sources.archives import BOMB_BYTES, BOMB_RATIO, TAR_ENDINGS, Archive, archive_at, checked

if TYPE_CHECKING:
    from mofang.core.shop import Shop

DESCRIPTION = ("a file, a folder, a glob, a zip or tar archive, package:name/path, source:NAME, hub:NAME, "
               "or an address such as https://…")
Source = Annotated[
    str, Field(min_length=1, description=DESCRIPTION), OnDisk()
]

PACKAGE = "package:"
IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif")
SHEET_ENDINGS = (".xlsx", ".xlsm", ".xls", ".ods")
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc")
ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".psv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "lines",
    ".text": "lines",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
    ".pdf": "pdf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".log": "logs",
    ".logfmt": "logs",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    **dict.fromkeys(AUDIO_ENDINGS, "sounds"),
    **dict.fromkeys(SHEET_ENDINGS, "excel"),
    **dict.fromkeys(IMAGE_ENDINGS, "images"),
}
IGNORED_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "__pycache__"}
FRESH_S = 2.0
MODELS_SHOWN = 5


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, on the disk or in an archive there; ``name`` is its path below the source's root,
    with forward slashes. Where ``cut`` is a list, a packed file that is damaged ends at its damage, and the list says why."""

    path: Path
    name: str
    archive: Archive | None = field(default=None, compare=False, repr=False)
    place: int = -1
    unpacked_bytes: int = 0
    cut: list[str] | None = field(default=None, compare=False, repr=False)

    @property
    def base(self) -> str:
        """The file's own name, without folders."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def kind(self) -> str:
        """What the ending says the file holds (a format's name), or nothing known."""
        return ENDINGS.get(ending_of(self.base), "")

    @property
    def folder(self) -> str:
        """The name of the folder the file lies in below the root, or nothing."""
        parts = self.name.split("/")
        return parts[-2] if len(parts) > 1 else ""

    @property
    def stem(self) -> str:
        """The file's name without its endings."""
        return re.sub(r"(\.gz)$", "", self.base, flags=re.I).rsplit(".", 1)[0]

    @property
    def size_bytes(self) -> int:
        """How large the file is; in an archive, how large it is unpacked."""
        return self.path.stat().st_size if self.archive is None else self.unpacked_bytes

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked if it lies in an archive or is a gzip file; the caller closes it.

        Damage met while unpacking is raised as ``archive-broken``.
        """
        file = self.path.open("rb") if self.archive is None else self.archive.open(self.place)
        if file.peek(2)[:2] != b"\x1f\x8b":
            return cast(BinaryIO, file)
        import gzip

        most = max(BOMB_BYTES, BOMB_RATIO * self.size_bytes)
        return cast(BinaryIO, checked(self.name, cast(BinaryIO, gzip.GzipFile(fileobj=file)), file, most=most, cut=self.cut))

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which opens the archive by itself."""
        return _again, (self.path, self.name, self.archive is not None, self.place, self.unpacked_bytes, self.cut)


def _again(path: Path, name: str, packed: bool, place: int, unpacked_bytes: int, cut: list[str] | None) -> SourceFile:
    return SourceFile(path, name, archive_at(path) if packed else None, place, unpacked_bytes, cut)


def ending_of(path: Path | str) -> str:
    """The lower-case ending that says the format; ``.gz`` is looked through."""
    names = [ending.lower() for ending in Path(path).suffixes]
    if names and names[-1] == ".gz":
        names.pop()
    return names[-1].strip() if names else ""


def source_files(source: str, shop: Shop | None = None) -> list[SourceFile]:
    """All files of a source in a stable order; a zip or tar archive (or those that a glob matches) gives its entries, and
    ``upload:ID/NAME`` are the files that somebody lent to this shop.

    Raises ``source-missing``, ``package-missing``, ``source-empty`` (a folder, glob or archive without files), and
    what archives raise.
    """
    if is_remote(source):
        raise MofangError("source-remote", source=source.partition("?")[0].rpartition("@")[2])
    if source.startswith(UPLOAD) and shop is not None:
        folder, digests = uploaded(shop, source)
        return inside_archives([SourceFile(folder / name, name) for name in sorted(digests)])
    if source.startswith(PACKAGE):
        root, pattern = _inside_package(source)
    else:
        root, pattern = Path(source).expanduser(), ""
    if root.is_file():
        found = inside_archives([SourceFile(root, root.name)])
    elif root.is_dir():
        found = sorted(_walk(root), key=lambda file: file.name)
        if all(is_archive(file.base) for file in found):
            found = inside_archives(found)
    elif re.search(r"[*?\[]", root.name + pattern) or re.search(r"[*?\[]", str(root)):
        found = inside_archives(_glob(root))
    else:
        raise _missing(source, root)
    if not found:
        raise MofangError("source-empty", source=source)
    return found


def is_archive(name: str) -> bool:
    """True for the name of a zip or tar archive."""
    return name.lower().endswith((".zip", *TAR_ENDINGS))


def readable(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 are shown as such, or as the GB18030 that they may be."""
    if name.isascii():
        return name
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        with suppress(UnicodeDecodeError):
            return raw.decode("gb18030")
        return raw.decode("ascii", "backslashreplace")


def inside_archives(files: list[SourceFile]) -> list[SourceFile]:
    """The files, each zip archive replaced by its entries; of several archives the names begin with the archive's."""
    found = []
    for file in files:
        if not is_archive(file.base):
            found.append(file)
            continue
        archive = archive_at(file.path)
        archive.require_some()
        before = f"{file.name}/" if len(files) > 1 else ""
        found += [
            SourceFile(file.path, before + entry.name, archive, entry.place, entry.size_bytes)
            for entry in archive.entries
            if not _is_hidden(entry.name.split("/"))
        ]
    return found


def refused_entries(files: Sequence[SourceFile]) -> list[tuple[str, str]]:
    """(name, reason) of every archive entry among the files' archives that was not read."""
    archives = {id(file.archive): file.archive for file in files if file.archive is not None}
    return [(f"{one.path.name}/{name}", reason) for one in archives.values() for name, reason in one.refused]


def on_disk(files: Sequence[SourceFile]) -> list[SourceFile]:
    """The files as they lie on the disk: of an archive the archive itself, once."""
    found: dict[Path, SourceFile] = {}
    for file in files:
        found.setdefault(file.path, file if file.archive is None else SourceFile(file.path, file.path.name))
    return list(found.values())


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "~$")) or part.lower() in IGNORED_NAMES for part in parts)


def _inside_package(source: str) -> tuple[Path, str]:
    name, _, inner = source.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise MofangError("package-missing", package=name)
    if ".." in inner.split("/"):
        raise MofangError("source-missing", source=source, nearest="-")
    return Path(next(iter(spec.submodule_search_locations))) / inner, inner


def _walk(root: Path) -> Iterator[SourceFile]:
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if not _is_hidden(parts) and path.is_file():
            yield SourceFile(path, readable("/".join(parts)))


def _glob(pattern: Path) -> list[SourceFile]:
    """The files that match; names are kept below the part of the pattern that has no wildcard."""
    fixed: list[str] = []
    for part in pattern.parts:
        if re.search(r"[*?\[]", part):
            break
        fixed.append(part)
    root = Path(*fixed) if fixed else Path()
    rest = "/".join(pattern.parts[len(fixed) :])
    found = [
        SourceFile(path, readable(path.relative_to(root).as_posix()))
        for path in root.glob(rest)
        if path.is_file() and not _is_hidden([path.name])
    ]
    return sorted(found, key=lambda file: file.name)


def _missing(source: str, path: Path) -> MofangError:
    folder = path.parent
    beside = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    return MofangError("source-missing", source=source, nearest=nearest(path.name, beside))


def source_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """SHA-256 over the names and bytes of a source's files: what stands in the memo key for the source; an archive
    counts as the one file it is.

    A file whose size and time of change are as at the last look is not read again.
    """
    if is_remote(settings["source"]):
        from mofang.data.remote.bring import remote_digest

        return remote_digest(shop, settings)
    try:
        files = source_files(settings["source"], shop)
    except MofangError as error:
        if error.code not in ("source-missing", "source-empty"):
            raise
        raise _gone(shop, settings["source"]) or error from error
    digests = file_digests(on_disk(files), shop.path / "cache")
    return digest_of(sorted(digests.items()))


def _gone(shop: Shop, source: str) -> MofangError | None:
    """What to say of a source that was there when it was last read: when that was, and which models live on."""
    read = None
    for entry in shop.ledger.entries("done", "reuse"):
        same = entry.body["stage"] == "collect" and entry.body["settings"].get("source") == source
        read = entry if same and entry.owner == shop.actor.owner else read
    if read is None:
        return None
    made, waiting = {read.id}, [read.id]
    while waiting:
        fresh = set(shop.ledger.children(waiting.pop())) - made
        made |= fresh
        waiting += fresh
    models = [str(one) for one in shop.names() if one.entry in made]
    day = time.strftime("%Y-%m-%d", time.localtime(read.at_us / 1e6))
    return MofangError("source-gone", source=source, day=day, models=", ".join(models[:MODELS_SHOWN]) or "-")


def file_digests(files: list[SourceFile], cache: Path) -> dict[str, str]:
    """Name to SHA-256 of each file; an unreadable file has the digest ``unreadable``."""
    place = (
        cache / f"source-{hashlib.sha256(str(files[0].path.parent.resolve()).encode()).hexdigest()[:16]}.json"
    )
    known: dict[str, list[Any]] = _cached(place)
    seen: dict[str, list[Any]] = {}
    found = {}
    now_ns = time.time_ns()
    for file in files:
        stat, path = file.path.stat(), str(file.path.resolve())
        state = [stat.st_size, stat.st_mtime_ns]
        if known.get(path, [])[:2] == state:
            found[file.name] = known[path][2]
        else:
            try:
                found[file.name] = file_digest(file.path)
            except OSError:
                found[file.name] = "unreadable"
        if now_ns - stat.st_mtime_ns > FRESH_S * 1e9 and found[file.name] != "unreadable":
            seen[path] = [*state, found[file.name]]  # a file changed this very moment may change again unseen
    if seen != {path: known[path] for path in seen if path in known} and seen:
        cache.mkdir(parents=True, exist_ok=True)
        write_durably(place, orjson.dumps({**known, **seen}))
    return found


def _cached(place: Path) -> dict[str, list[Any]]:
    if not place.exists():
        return {}
    try:
        found: dict[str, list[Any]] = orjson.loads(place.read_bytes())
    except orjson.JSONDecodeError:  # only a cache: read the files again
        return {}
    return found
