"""Where records come from: a file, a folder, a glob, or files inside an installed package, and the digest
of their bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from mofang.core.shop import Shop

Source = Annotated[str, Field(min_length=1, description="a file, a folder, a glob, or package:name/path"), OnDisk()]

PACKAGE = "package:"
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
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
    **dict.fromkeys(IMAGE_ENDINGS, "images"),
}
IGNORED_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "__pycache__"}
FRESH_S = 2.0


@dataclass(frozen=True)
class SourceFile:
    """One file of a source; ``name`` is its path below the source's root, with forward slashes."""

    path: Path
    name: str

    @property
    def kind(self) -> str:
        """What the ending says the file holds: csv, jsonl, parquet, lines, images, or nothing known."""
        return ENDINGS.get(ending_of(self.path), "")

    @property
    def folder(self) -> str:
        """The name of the folder the file lies in below the root, or nothing."""
        parts = self.name.split("/")
        return parts[-2] if len(parts) > 1 else ""

    @property
    def stem(self) -> str:
        """The file's name without its endings."""
        return re.sub(r"(\.gz)$", "", self.path.name, flags=re.I).rsplit(".", 1)[0]

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked if it is a gzip file; the caller closes it."""
        file = self.path.open("rb")
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        file.close()
        import gzip

        return cast(BinaryIO, gzip.open(self.path, "rb"))


def ending_of(path: Path) -> str:
    """The lower-case ending that says the format; ``.gz`` is looked through."""
    names = [ending.lower() for ending in path.suffixes]
    if names and names[-1] == ".gz":
        names.pop()
    return names[-1] if names else ""


def source_files(source: str, shop: Shop | None = None) -> list[SourceFile]:
    """All files of a source in a stable order; ``upload:ID/NAME`` are those that somebody lent to this shop.

    Raises ``source-missing``, ``package-missing``, ``source-empty`` (a folder or glob without files).
    """
    if source.startswith(UPLOAD) and shop is not None:
        folder, digests = uploaded(shop, source)
        return [SourceFile(folder / name, name) for name in sorted(digests)]
    if source.startswith(PACKAGE):
        root, pattern = _inside_package(source)
    else:
        root, pattern = Path(source).expanduser(), ""
    if root.is_file():
        return [SourceFile(root, root.name)]
    if root.is_dir():
        found = sorted(_walk(root), key=lambda file: file.name)
    elif re.search(r"[*?\[]", root.name + pattern) or re.search(r"[*?\[]", str(root)):
        found = _glob(root)
    else:
        raise _missing(source, root)
    if not found:
        raise MofangError("source-empty", source=source)
    return found


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
        hidden = any(part.startswith(".") or part.lower() in IGNORED_NAMES for part in parts)
        if not hidden and path.is_file():
            yield SourceFile(path, "/".join(parts))


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
        SourceFile(path, path.relative_to(root).as_posix()) for path in root.glob(rest) if path.is_file()
    ]
    return sorted(found, key=lambda file: file.name)


def _missing(source: str, path: Path) -> MofangError:
    folder = path.parent
    beside = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    return MofangError("source-missing", source=source, nearest=nearest(path.name, beside))


def source_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """SHA-256 over the names and bytes of a source's files: what stands in the memo key for the source.

    A file whose size and time of change are as at the last look is not read again.
    """
    digests = file_digests(source_files(settings["source"], shop), shop.path / "cache")
    return digest_of(sorted(digests.items()))


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
