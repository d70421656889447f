"""Folders that hold no records: a home folder, source code, a shop, or a bit of everything; told before anything is
read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mofang.core.errors import MofangError
from mofang.data.sources.files import IGNORED_NAMES, PACKAGE, SourceFile, ending_of

LOOK_ENTRIES = 50_000
CODE = {
    ".py",
    ".js",
    ".ts",
    ".tsx",
    ".jsx",
    ".java",
    ".go",
    ".rs",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".cs",
    ".rb",
    ".php",
    ".swift",
    ".kt",
    ".scala",
    ".sh",
    ".sql",
    ".css",
    ".scss",
    ".html",
    ".vue",
    ".ipynb",
    ".toml",
    ".yaml",
    ".yml",
    ".cfg",
    ".ini",
    ".lock",
    ".gradle",
    ".mk",
}
CODE_SIGNS = {
    ".git",
    ".hg",
    ".svn",
    "pyproject.toml",
    "setup.py",
    "package.json",
    "makefile",
    "cargo.toml",
    "go.mod",
    "pom.xml",
    "node_modules",
}
TABLES = ("csv", "jsonl", "parquet", "excel")
SHOP_SIGN = "mofang.json"
SHOWN = 8


def require_a_place_for_records(source: str) -> None:
    """Refuse a folder that cannot be meant, in a sentence: ``place-too-wide`` (a home folder or a whole disk),
    ``place-is-a-shop``, ``place-is-code``."""
    if source.startswith(PACKAGE):
        return
    root = Path(source).expanduser()
    if not root.is_dir():
        return
    absolute = root.resolve()
    if absolute == Path.home().resolve() or absolute.parent == absolute or absolute in Path.home().resolve().parents:
        raise MofangError("place-too-wide", source=str(absolute))
    if (absolute / SHOP_SIGN).exists():
        raise MofangError("place-is-a-shop", source=source)
    endings, records = _counted(absolute)
    pages = endings[".html"] if endings[".html"] > 0.8 * endings.total() else 0  # a folder of web pages is no program
    code = sum(count for ending, count in endings.items() if ending in CODE) - pages
    signs = {one.name.lower() for one in absolute.iterdir()} & CODE_SIGNS
    shop = next((one.parent.name for one in sorted(absolute.glob(f"*/{SHOP_SIGN}"))), "")
    if shop:
        raise MofangError("place-holds-a-shop", source=source, shop=shop, files=_some(records))
    if code > endings.total() - code or (signs and code > 0.2 * endings.total()):
        raise MofangError("place-is-code", source=source, files=_some(records))


def _counted(root: Path) -> tuple[Counter[str], list[str]]:
    """The endings of the files below, and those that may be tables; looks at so many entries at most."""
    from mofang.data.sources.files import ENDINGS

    endings: Counter[str] = Counter()
    records: list[str] = []
    looked = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one.lower() not in IGNORED_NAMES)
        for name in sorted(files):
            if name.startswith("."):
                continue
            ending = ending_of(Path(name))
            endings[ending] += 1
            if ENDINGS.get(ending) in TABLES and len(records) < 100:
                records.append((Path(folder) / name).relative_to(root).as_posix())
        looked += len(files) + len(folders)
        if looked > LOOK_ENTRIES:
            break
    return endings, records


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return (shown + (f" … ({len(names)})" if len(names) > SHOWN else "")) or "-"


def require_one_kind(source: str, files: Sequence[SourceFile], format: str) -> None:
    """Refuse a folder that is a bit of everything (``place-mixed``): pictures, tables, documents and whatnot, of which
    no kind is nearly all."""
    if len(files) < 3:
        return
    kinds = Counter(file.kind or ending_of(Path(file.name)) or "?" for file in files)
    kind = {"documents": "lines", "pixels": "csv"}.get(format, format)
    beside = 1 if format == "images" else 0  # a label file
    others = kinds.total() - kinds[kind] - beside
    if others > max(0.3 * kinds.total(), 1):
        shown = ", ".join(f"{name.lstrip('.')} {count}" for name, count in kinds.most_common(6))
        tables = [file.name for file in files if file.kind in TABLES]
        raise MofangError("place-mixed", source=source, kinds=shown, files=_some(tables))


def require_same_columns(source: str, headers: Sequence[tuple[str, frozenset[str]]]) -> None:
    """Refuse several tables that are different ones (``tables-differ``): a folder or glob of one growing table has one
    header."""
    sets = [columns for _, columns in headers if columns]
    if len(sets) < 2:
        return
    largest = max(sets, key=len)
    apart = [name for name, columns in headers if columns and len(columns & largest) < 0.5 * len(columns | largest)]
    if apart:
        raise MofangError("tables-differ", source=source, files=_some([name for name, _ in headers]))
