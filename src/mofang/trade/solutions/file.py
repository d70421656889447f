"""A solution as one file: models with their signed ancestry, a recipe, limits and support terms, under one signature.

The reader trusts nothing: names are of a fixed form, nothing is packed, linked or twice there, every byte is covered by the
signature or the zip's own strict form, and every model inside is checked as a parcel from a stranger is. It needs no shop and no
network, and runs nothing of what it reads.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.canonical import canonical, file_digest, sha256, sync_folder
from mofang.core.copying import remove_tree
from mofang.core.errors import MofangError
from mofang.core.signing import check_signature, same_fingerprint
from mofang.core.store import FREE_FLOOR_BYTES
from mofang.core.strict import UNSAFE, strict_json

SOLUTION_FORMAT = 1
CONTEXT = "solution"
DOCUMENT, SIGNATURE, README, RECIPE, TERMS = "solution.json", "signature.json", "README.txt", "recipe.py", "terms.md"
MODELS = "models/"
MODELS_MOST = 100
TEXT_MOST = 1 << 20
NAME = re.compile(r"models/[^\W_][\w.-]{0,80}-[0-9]{1,9}\.mofang|solution\.json|signature\.json|README\.txt|recipe\.py|terms\.md")
FIELDS = {"solution", "id", "name", "shop", "customer", "made_us", "price", "limits", "models", "files"}
Tick = Callable[[float], None]


@dataclass(frozen=True)
class Solution:
    """A solution that passed every check: its document, and the fingerprint of the key that signed it."""

    document: dict[str, Any]
    fingerprint: str

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.document["name"])

    @property
    def models(self) -> list[dict[str, Any]]:
        """Its models: name, file, digest of the package, task, licences."""
        found: list[dict[str, Any]] = self.document["models"]
        return found


def text_of(place: Path, name: str) -> bytes:
    """A text that goes into a solution, whole and readable: UTF-8 without signs that could rewrite a screen."""
    if not place.is_file() or place.stat().st_size > TEXT_MOST:
        raise MofangError("solution-text", name=str(place.name), reason=f"there is no file of at most {TEXT_MOST >> 10} KB")
    return checked_text(place.read_bytes(), name)


def checked_text(data: bytes, name: str) -> bytes:
    """The bytes, if they are such a text; of a recipe, if it is one. Nothing is run."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MofangError("solution-text", name=name, reason="it is no UTF-8 text") from None
    if not text.strip() or UNSAFE.search(text):
        raise MofangError("solution-text", name=name, reason="it is empty, or holds control signs")
    if name == RECIPE:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise MofangError("solution-text", name=name, reason=f"it is no recipe: {type(error).__name__}") from None
        named = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
                 if isinstance(target, ast.Name)} | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if not {"NAME", "main"} <= named:
            raise MofangError("solution-text", name=name, reason="it is no recipe: it needs NAME and main(shop, budget)")
    return data


def write_solution(out: Path, texts: dict[str, bytes], parcels: dict[str, Path]) -> tuple[str, int]:
    """Write the archive, complete or not at all; its SHA-256 and size. The same contents give the same bytes."""
    from mofang.serve.parcel import zip_entry

    beside = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for name, data in texts.items():
                    archive.writestr(zip_entry(name), data)
                for name, place in sorted(parcels.items()):
                    info = zip_entry(name)
                    info.file_size = place.stat().st_size
                    with place.open("rb") as source, archive.open(info, "w") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        digest, size_bytes = file_digest(beside), beside.stat().st_size
        if out.exists() and file_digest(out) != digest:
            raise MofangError("file-exists-already", path=str(out))
        os.replace(beside, out)
        sync_folder(out.resolve().parent)
        return digest, size_bytes
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def checked(path: Path, pinned: str = "", tick: Tick = lambda _bytes: None) -> Iterator[tuple[Solution, Path]]:
    """A checked solution and a private folder with its files, which goes at the end.

    Raises ``solution-unreadable``, ``signature-wrong``, ``signer-other`` and every code of a parcel's faults.
    """
    if not path.is_file():
        raise MofangError("solution-unreadable", path=str(path))
    with tempfile.TemporaryDirectory(prefix="mofang-solution-") as scratch:
        folder = Path(scratch) / "files"
        folder.mkdir(mode=0o700)
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                found = _unpacked(archive, path, folder, pinned, tick)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, struct.error,
                ValueError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk's fault, not the file's
                raise
            raise MofangError("solution-unreadable", path=str(path)) from None
        for model in found.models:
            _check_model(folder, model, found.fingerprint, Path(scratch))
        yield found, folder


def _unpacked(archive: zipfile.ZipFile, path: Path, folder: Path, pinned: str, tick: Tick) -> Solution:
    from mofang.serve.border import plain_contents, unpack
    from mofang.serve.parcel import MODE

    infos = plain_contents(archive, path, NAME, MODELS_MOST + 5)
    if any(info.external_attr != MODE for info in infos.values()):  # no bit of the file is free to be another one
        raise MofangError("solution-unreadable", path=str(path))
    document, signer = _signed(archive, infos)
    if pinned and not same_fingerprint(pinned, signer):
        raise MofangError("signer-other", wanted=pinned, found=signer)
    files = document["files"]
    if set(infos) != {*files, DOCUMENT, SIGNATURE}:
        raise MofangError("parcel-part-missing", name=", ".join(sorted(set(infos) ^ {*files, DOCUMENT, SIGNATURE})))
    size, free = sum(info.file_size for info in infos.values()), shutil.disk_usage(folder).free
    if free - size < FREE_FLOOR_BYTES:
        raise MofangError("disk-nearly-full", free_mb=free // 2**20, floor_mb=(FREE_FLOOR_BYTES + size) // 2**20)
    for name, (digest, size_bytes) in files.items():
        if infos[name].file_size != size_bytes:
            raise MofangError("parcel-part-changed", name=name)
        unpack(archive, infos[name], folder / name, digest, tick)
        if not name.startswith(MODELS):
            checked_text((folder / name).read_bytes(), name)
    (folder / DOCUMENT).write_bytes(archive.read(infos[DOCUMENT]))
    (folder / SIGNATURE).write_bytes(archive.read(infos[SIGNATURE]))
    return Solution(document, signer)


def _signed(archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo]) -> tuple[dict[str, Any], str]:
    """The document, after its signature and its own form; and who signed."""
    for name in (DOCUMENT, SIGNATURE, TERMS, README):
        if name not in infos or (name in (DOCUMENT, SIGNATURE) and infos[name].file_size > TEXT_MOST):
            raise MofangError("parcel-part-missing", name=name)
    try:
        data, signed = archive.read(infos[DOCUMENT]), archive.read(infos[SIGNATURE])
    except zipfile.BadZipFile:
        raise MofangError("parcel-part-changed", name=DOCUMENT) from None
    signature = strict_json(signed, SIGNATURE)
    signer = check_signature(signature, CONTEXT, data)
    document = strict_json(data, DOCUMENT)
    if not isinstance(document, dict) or canonical(document) != data or canonical(signature) != signed:
        raise MofangError("parcel-json", name=DOCUMENT)
    if document.get("solution") != SOLUTION_FORMAT:
        raise MofangError("parcel-format", format=document.get("solution"), known=SOLUTION_FORMAT)
    if not _formed(document) or document["shop"].get("fingerprint") != signer:
        raise MofangError("parcel-json", name=DOCUMENT)
    return document, signer


def _formed(document: dict[str, Any]) -> bool:
    """Whether the document has the form that ours have; a good signature says who wrote it, not that it is well made."""
    if set(document) != FIELDS:
        return False
    shop, price, limits, models, files = (document[name] for name in ("shop", "price", "limits", "models", "files"))
    texts = [document["id"], document["name"], document["customer"]]
    return (all(isinstance(one, dict) for one in (shop, price, limits, files)) and isinstance(models, list)
            and all(isinstance(one, str) and 0 < len(one) <= 200 for one in texts) and isinstance(document["made_us"], int)
            and all(isinstance(one, str) for one in (*shop.values(), *limits, *limits.values()))
            and set(price) == {"micros", "currency"} and isinstance(price["micros"], int) and isinstance(price["currency"], str)
            and all(_is_file(about) for about in files.values()) and 0 < len(models) <= MODELS_MOST
            and all(isinstance(one, dict) and set(one) == {"name", "file", "package", "task", "licences"}
                    and one["file"] in files and str(one["file"]).startswith(MODELS) for one in models)
            and {one["file"] for one in models} == {name for name in files if name.startswith(MODELS)})


def _is_file(about: Any) -> bool:
    return (isinstance(about, list) and len(about) == 2 and isinstance(about[0], str) and isinstance(about[1], int)
            and not isinstance(about[1], bool) and about[1] >= 0)


def _check_model(folder: Path, model: dict[str, Any], signer: str, scratch: Path) -> None:
    """A model inside is a whole parcel of the same shop, and the one that the document names."""
    from mofang.serve.border import open_parcel

    place = scratch / "parcel"
    remove_tree(place)
    place.mkdir(mode=0o700)
    parcel = open_parcel(folder / model["file"], place)
    said = (model["name"], model["package"], sorted(model["licences"]), signer)
    if said != (parcel.name, parcel.document["package"]["digest"], sorted(parcel.licences), parcel.shop["fingerprint"]):
        raise MofangError("solution-other-model", name=str(model["name"]))
    remove_tree(place)


def open_solution(path: Path, into: Path, pinned: str = "", tick: Tick = lambda _bytes: None) -> Solution:
    """Check a solution and lay its files into a new or empty folder, all or none of them; raises ``solution-folder``."""
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise MofangError("solution-folder", path=str(into))
    with checked(path, pinned, tick) as (found, folder):
        beside = into.with_name(f".{into.name}.{os.getpid()}.new")
        remove_tree(beside)
        try:
            shutil.copytree(folder, beside)
            if into.exists():
                into.rmdir()
            os.replace(beside, into)
            sync_folder(into.resolve().parent)
        finally:
            remove_tree(beside)
    return found


def file_facts(data: bytes) -> list[Any]:
    """How a file stands in the document."""
    return [sha256(data), len(data)]
