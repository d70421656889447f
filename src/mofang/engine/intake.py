"""Records for a model from whatever a person has at hand: a text, a file, an image, a folder, standard input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.engine.request import parse_records
from mofang.engine.task import Signature

if TYPE_CHECKING:
    from mofang.data.sources.files import SourceFile

BATCH = 256
Placed = tuple[int | str, dict[str, Any]]  # where a record stands: the number of its row or line, or an image's name
FILE_LIKE = re.compile(
    r"\S+\.(csv|tsv|txt|jsonl?|ndjson|parquet|xlsx|xlsm|xls|ods|zip|gz|png|jpe?g|bmp|gif|webp|tiff?|hei[cf])", re.I
)


def records_from(signature: Signature, given: str, stream: TextIO) -> Iterator[list[dict[str, Any]]]:
    """Batches of records for a signature.

    ``-`` reads one text (or one JSON object) a line from the stream; a path is read as collect reads it; a JSON
    object is a record as in an HTTP body; anything else is a text itself. Raises ``input-not-readable`` where a
    path or text does not fit the model, ``row-unreadable`` for a row of a file that is no record.
    """
    for batch in placed_from(signature, given, stream):
        yield [record for _, record in batch]


def placed_from(signature: Signature, given: str, stream: TextIO) -> Iterator[list[Placed]]:
    """The same, each record with where it stands: so an answer can be put beside what was asked."""
    if given == "-":
        lines = enumerate(_decoded(stream), 1)
        yield from _batches((number, _line(signature, line)) for number, line in lines if line.strip())
        return
    path = given_path(given)
    if path is None:
        yield [(1, _line(signature, given))]
    else:
        yield from _batches(_from_path(signature, path))


class PlainText(str):
    """A text that is no path, whatever it looks like: it came from another machine."""

    __slots__ = ()


def given_path(given: str) -> Path | None:
    """The file or folder that was given, or None where it is a text itself; ``source-missing`` for a file that is not there."""
    if isinstance(given, PlainText):
        return None
    path = Path(given)
    try:
        if path.exists():
            return path
    except OSError:  # a long text is no file name
        return None
    if FILE_LIKE.fullmatch(given.strip()):
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise MofangError("source-missing", source=given, nearest=nearest(path.name, beside))
    return None


def _decoded(stream: TextIO) -> Iterator[str]:
    """The stream's lines as UTF-8, or as GB18030 where they are no UTF-8."""
    for line in getattr(stream, "buffer", stream):
        if isinstance(line, str):
            yield line
            continue
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError:
            yield line.decode("gb18030", errors="replace")


def _line(signature: Signature, line: str) -> dict[str, Any]:
    """One record from a JSON object, or from a text for a model of one text."""
    import orjson

    text = line.strip("\r\n")
    alone = [one["role"] for one in signature["inputs"]] == ["text"]
    if text.lstrip().startswith("{"):
        try:
            found: dict[str, Any] = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if not alone:
                raise MofangError("body-not-json", reason=str(error)) from error
        else:
            names = {one["name"] for one in signature["inputs"]}
            return _parsed(signature, {name: found[name] for name in found if name in names} or found)
    if not alone:
        raise MofangError("input-not-readable", given=text, inputs=_names(signature))
    return _parsed(signature, {signature["inputs"][0]["name"]: text})


def _parsed(signature: Signature, record: dict[str, Any]) -> dict[str, Any]:
    return parse_records(signature, record)[0][0]


def _from_path(signature: Signature, path: Path) -> Iterator[Placed]:
    roles = [one["role"] for one in signature["inputs"]]
    if roles == ["image"]:
        name = signature["inputs"][0]["name"]
        for image in _images(path):
            with image.open() as file:
                yield image.name, {name: file.read()}
    elif roles == ["text"] and path.is_file() and path.suffix.lower() in (".txt", ""):
        yield from _lines(signature, path)
    else:
        yield from _columns(signature, path)


def _images(path: Path) -> list[SourceFile]:
    """The file itself, or the images in a folder or a zip archive."""
    from mofang.data.sources.files import source_files

    found = source_files(str(path))
    found = [file for file in found if file.kind == "images"] if len(found) > 1 or path.is_dir() else found
    if not found:
        raise MofangError("source-empty", source=str(path))
    return found


def _lines(signature: Signature, path: Path) -> Iterator[Placed]:
    """Each line of a text file, in whichever encoding it is."""
    from mofang.data.sources.files import SourceFile
    from mofang.data.sources.textfile import detect_encoding, open_text

    file = SourceFile(path, path.name)
    with open_text(file, detect_encoding(file)) as lines:
        yield from ((number, _line(signature, line)) for number, line in enumerate(lines, 1) if line.strip())


def _columns(signature: Signature, path: Path) -> Iterator[Placed]:
    """Rows of a table file, only the columns that the model takes, each value as its role wants it."""
    from mofang.data.rows import rows_of

    for place, row in rows_of(path):
        missing = [one["name"] for one in signature["inputs"] if one["name"] not in row]
        if missing and {"image", "label"} <= set(row) <= {"image", "folder", "label"}:
            raise MofangError("input-not-readable", given=str(path), inputs=_names(signature))
        if missing:
            columns = ", ".join(map(str, row))
            raise MofangError("input-column-missing", path=str(path), column=missing[0], columns=columns)
        try:
            values = {one["name"]: _value(row[one["name"]], one["role"]) for one in signature["inputs"]}
            yield place, _parsed(signature, values)
        except (MofangError, ValueError) as error:
            reason = error.what if isinstance(error, MofangError) else str(error)
            raise MofangError("row-unreadable", file=path.name, row=place, reason=reason.rstrip(".。")) from error


def _value(value: Any, role: str) -> Any:
    """A cell as a request would write it: numbers as numbers, a missing value as null; texts stay as they are."""
    from mofang.data.columns import number_of, text_of

    if role == "number":
        return number_of(value)
    return (text_of(value) or "").strip() or None if role == "category" else text_of(value) or ""


def _names(signature: Signature) -> str:
    return ", ".join(f"{one['name']} ({one['role']})" for one in signature["inputs"])


def _batches(records: Iterable[Placed]) -> Iterator[list[Placed]]:
    batch: list[Placed] = []
    for record in records:
        batch.append(record)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
