"""Data sets of a hub (huggingface ``datasets``), streamed, or a local folder that ``datasets`` saved; code of a data set is
never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.remote.rows import ROW_BYTES_MOST, pieces, size_of, write_rows
from mofang.data.remote.scheme import HUB
from mofang.data.remote.secret import hidden

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job

NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(/(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
LICENCE = re.compile(r"^license:\s*(?:\n\s*-\s*)?[\"']?([\w.+-]+)", re.M)
CARD = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.S | re.M)


@dataclass(frozen=True)
class Wanted:
    """Which data set: a name on the hub with configuration and revision, or a folder here."""

    name: str
    config: str = ""
    revision: str = ""
    folder: Path | None = None


def bring(job: Job) -> None:
    """Fetch the data set's rows in pieces, and compare them with those of the records before."""
    wanted = wanted_of(job.definition.url, job.definition.config)
    made: list[str] = []
    with _told(job, wanted):
        for split, rows in _splits(job, wanted):
            made += _take(job, split, rows)
    job.spool.keep_only(made)


def wanted_of(url: str, config: str = "") -> Wanted:
    """What ``hub:NAME[/config][@revision]`` means; a name that begins with ``.``, ``/`` or ``~`` is a folder here."""
    text = url.removeprefix(HUB)
    if text.startswith((".", "/", "~")):
        folder = Path(text).expanduser()
        if not folder.is_dir():
            beside = [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise MofangError("source-missing", source=text, nearest=nearest(folder.name, beside))
        return Wanted(folder.name, config, folder=folder)
    found = NAME.fullmatch(text)
    if found is None:
        raise MofangError("hub-name", name=text)
    return Wanted(found["name"], config or found["config"] or "", found["revision"] or "")


def _splits(job: Job, wanted: Wanted) -> Iterator[tuple[str, Any]]:
    """(split, rows as dictionaries) of the data set; one split if the source names one."""
    try:
        import datasets
    except ImportError:
        raise MofangError("source-package-missing", kind="hub", package="mofang[data]") from None
    datasets.disable_progress_bars()
    found: Any
    if wanted.folder is not None and any((wanted.folder / name).exists() for name in ("state.json", "dataset_dict.json")):
        found = datasets.load_from_disk(str(wanted.folder))
    else:
        given = {"name": wanted.config or None, "streaming": True}
        if wanted.folder is None:
            given |= {"revision": wanted.revision or None, "token": job.secret or None}
        found = datasets.load_dataset(str(wanted.folder or wanted.name), **given)
    splits = dict(found.items()) if hasattr(found, "items") else {str(found.split or "train"): found}
    chosen = job.definition.split
    if chosen and chosen not in splits:
        raise MofangError("split-missing", split=chosen, splits=", ".join(splits), nearest=nearest(chosen, splits))
    _note_card(job, wanted, next(iter(splits.values())))
    for name, rows in splits.items():
        if not chosen or name == chosen:
            yield name, rows


def _note_card(job: Job, wanted: Wanted, rows: Any) -> None:
    """What the data set says of its licence and revision, beside what the person says."""
    said = str(getattr(getattr(rows, "info", None), "license", "") or "")
    card = wanted.folder / "README.md" if wanted.folder else None
    if not said and card is not None and card.is_file():
        said = licence_of(card.read_text(encoding="utf-8", errors="replace")[:100_000])
    elif not said and wanted.folder is None:
        import huggingface_hub

        try:
            said = str(huggingface_hub.DatasetCard.load(wanted.name).data.get("license") or "")
        except (OSError, ValueError, RuntimeError):  # no card, or offline: the person's own word stands alone
            said = ""
    found = {"licence": said[:200], "revision": wanted.revision, "config": wanted.config}
    job.spool.found = {name: value for name, value in found.items() if value}


def licence_of(card: str) -> str:
    """The licence that a data set's card names in its head."""
    head = CARD.search(card)
    found = LICENCE.search(head[1]) if head else None
    return found[1] if found else ""


def _take(job: Job, split: str, rows: Any) -> list[str]:
    """One split in pieces, and their names; classes by their names, pictures and sounds as the bytes they are."""
    import datasets

    features = rows.features or {}
    media = [name for name, one in features.items() if isinstance(one, datasets.Image | datasets.Audio)]
    for name in media:
        rows = rows.cast_column(name, type(features[name])(decode=False))
    classes = {name: one.names for name, one in features.items() if isinstance(one, datasets.ClassLabel) and one.names}
    names: list[str] = []

    def flat() -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(rows, 1):
            if not names:
                names.extend([*row, "split"])
            values = tuple(_value(row.get(name), classes.get(name)) for name in names[:-1])
            if size_of(values) > ROW_BYTES_MOST:
                job.refuse(f"{split} row {number}", "row-too-large")
                continue
            yield (*values, split)

    made = []
    for number, piece in enumerate(pieces(flat()), 1):
        made.append(f"{split}-{number:06}.parquet")
        with job.spool.piece(made[-1]) as path:
            write_rows(path, names, piece)
        job.note(f"{split} {number}")
    return made


def _value(value: Any, classes: list[str] | None) -> Any:
    if classes is not None and isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else None
    if isinstance(value, dict) and "bytes" in value:
        content = value["bytes"]
        return content if content is not None else Path(value["path"]).read_bytes() if value.get("path") else None
    return value


@contextmanager
def _told(job: Job, wanted: Wanted) -> Iterator[None]:
    """What ``datasets`` and the hub's client say, in our words."""
    try:
        yield
    except (FileNotFoundError, ConnectionError) as error:
        raise _worded(job, wanted, error) from None
    except (OSError, ValueError, RuntimeError) as error:
        if getattr(error, "errno", None) == 28:
            raise
        raise _worded(job, wanted, error) from None


def _worded(job: Job, wanted: Wanted, error: Exception) -> MofangError:
    import os

    said = hidden(error, job.secret)
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    if wanted.folder is None and (offline or isinstance(error, ConnectionError)):
        return MofangError("hub-offline" if offline else "hub-unreachable", name=wanted.name)
    if "script" in said.lower() and ("no longer supported" in said or "trust_remote_code" in said):
        return MofangError("hub-code", name=wanted.name)
    if isinstance(error, FileNotFoundError) or "doesn't exist" in said:
        return MofangError("hub-not-there", name=wanted.name)
    return MofangError("hub-failed", name=wanted.name, reason=said)
