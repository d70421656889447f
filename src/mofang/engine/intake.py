"""Records for a model from whatever a person has at hand: a text, a file, an image, a folder, standard input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from mofang.core.errors import MofangError
from mofang.engine.task import Signature

BATCH = 256


def records_from(signature: Signature, given: str, stream: TextIO) -> Iterator[list[dict[str, Any]]]:
    """Batches of records for a signature.

    ``-`` reads one text (or one JSON object) a line from the stream; a path is read as collect reads it; anything else
    is a text itself. Raises ``input-not-readable`` where a path or text does not fit the model.
    """
    if given == "-":
        yield from _batches(_line(signature, line) for line in stream if line.strip())
        return
    path = Path(given)
    try:
        there = path.exists()
    except OSError:  # a long text is no file name
        there = False
    if there:
        yield from _batches(_from_path(signature, path))
    elif [one["role"] for one in signature["inputs"]] == ["text"]:
        yield [{signature["inputs"][0]["name"]: given}]
    elif given.lstrip().startswith("{"):
        yield [_line(signature, given)]
    else:
        raise MofangError("input-not-readable", given=given, inputs=_names(signature))


def _line(signature: Signature, line: str) -> dict[str, Any]:
    import orjson

    if line.lstrip().startswith("{"):
        try:
            found: dict[str, Any] = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = {}
        if found.keys() >= {one["name"] for one in signature["inputs"]}:
            return found
    if len(signature["inputs"]) == 1 and signature["inputs"][0]["role"] == "text":
        return {signature["inputs"][0]["name"]: line.rstrip("\n")}
    raise MofangError("input-not-readable", given=line.strip(), inputs=_names(signature))


def _from_path(signature: Signature, path: Path) -> Iterator[dict[str, Any]]:
    roles = {one["role"] for one in signature["inputs"]}
    if roles == {"image"}:
        name = signature["inputs"][0]["name"]
        images = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        yield from ({name: image.read_bytes()} for image in images)
        return
    suffix = path.suffix.lower()
    if suffix in (".txt", "") and roles == {"text"} and len(signature["inputs"]) == 1:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            yield from (_line(signature, line) for line in lines if line.strip())
        return
    yield from _columns(signature, path)


def _columns(signature: Signature, path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a table file, only the columns that the model takes."""
    from mofang.data.rows import rows_of

    wanted = [one["name"] for one in signature["inputs"]]
    for row in rows_of(path):
        missing = [name for name in wanted if name not in row]
        if missing:
            raise MofangError("input-column-missing", path=str(path), column=missing[0], columns=", ".join(map(str, row)))
        yield {name: row[name] for name in wanted}


def _names(signature: Signature) -> str:
    return ", ".join(f"{one['name']} ({one['role']})" for one in signature["inputs"])


def _batches(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
