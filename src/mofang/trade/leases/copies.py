"""The copy of a package that leaves with a lease: what serving needs, opened once as the lessee will open it, and marked.

Also whose copy a file is that somebody found.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical, file_digest
from mofang.core.errors import MofangError
from mofang.trade.leases import mark
from mofang.trade.leases.book import leases, mark_key
from mofang.trade.leases.forbidding import forbidding
from mofang.trade.leases.opening import DECODER

if TYPE_CHECKING:
    from mofang.core.shop import Shop

CANONICAL = "canonical.jsonl"
Note = Callable[[str], None]
LEFT_OUT = ("weights/", "torch/")  # what serving does not need does not travel


def no_note(_words: str) -> None:
    """Where nobody watches."""


def leasable(shop: Shop, model: str) -> tuple[Artifact, str]:
    """The package and its name with its version. Raises ``lease-forbidden``; ``lease-unsuited`` for a model that answers only
    with a key of this shop."""
    from mofang.serve.parcel import package_named

    package, name = package_named(shop, model)
    about = package.read_json("package.json")
    forbids = forbidding([*package.licences, *about.get("licences", [])], about.get("sources", []))
    if forbids:
        raise MofangError("lease-forbidden", model=name, licences=", ".join(forbids))
    for spec in about.get("operators", []):
        if key := spec.get("state", {}).get("key"):
            raise MofangError("lease-unsuited", model=name, reason=f"pseudonym key {key['name']}")
    return package, name


@contextmanager
def contents(shop: Shop, package: Artifact, name: str, lease: str, *, marked: bool,
             note: Note = no_note) -> Iterator[tuple[dict[str, Path], str]]:
    """The parts of the package as they leave, and how strongly its graphs are marked ("" for not at all).

    ``note`` hears what is being done: a part's name, a strength. Raises ``lease-unsuited`` where the copy does not open outside
    this shop.
    """
    names = [part.name for part in package.parts if not part.name.startswith(LEFT_OUT)]
    scratch = shop.path / "scratch"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="lease-") as place:
        folder = Path(place)
        for part in names:
            note(part)
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package.path(part), folder / part)
        _describe(folder, package)
        with package.open(CANONICAL) as file:
            lines = [orjson.loads(line) for line in file]
        try:
            wanted = mark.said(folder, lines)
        except MofangError as error:
            raise MofangError("lease-unsuited", model=name, reason=f"{error.worded('en')[0]} ({error.code})") from error
        strength = _mark(shop, package, lease, folder, lines, wanted, note) if marked else ""
        yield {part: folder / part for part in names}, strength


def _describe(folder: Path, package: Artifact) -> None:
    """package.json with the digests of what is really there."""
    about = package.read_json("package.json")
    about["files"] = {name: file_digest(folder / name) for name in about.get("files", {}) if (folder / name).exists()}
    (folder / "package.json").write_bytes(canonical(about))


def _mark(shop: Shop, package: Artifact, lease: str, folder: Path, lines: list[dict[str, Any]], wanted: list[Any],
          note: Note) -> str:
    """Mark the graphs with the largest strength that changes no answer; "" where there is nothing to mark or none will do."""
    graphs = [name for name in mark.GRAPHS if package.has(name)]
    for strength in mark.STRENGTHS:
        note(f"{strength:g}")
        key = mark_key(shop, lease)
        if not sum(mark.mark(package.path(name), folder / name, key, strength) for name in graphs):
            break
        if _kept(folder, package, lines, wanted):
            return f"{strength:g}"
    for name in [*graphs, CANONICAL]:
        shutil.copyfile(package.path(name), folder / name)
    _describe(folder, package)
    return ""


def _kept(folder: Path, package: Artifact, lines: list[dict[str, Any]], wanted: list[Any]) -> bool:
    """Whether the marked copy answers as wanted. A generator's canonical requests then carry its own log-probabilities, so that
    they are replayed as strictly at the lessee's as those of a copy without a mark."""
    if not (folder / DECODER).exists():
        _describe(folder, package)
        return mark.keeps(folder, lines, wanted)
    (folder / CANONICAL).write_bytes(b"")
    _describe(folder, package)
    found = mark.said(folder, lines)
    if not mark.near(found, wanted, package.read_json("package.json")["decoder"]["precision"]):
        return False
    own = [{**line, "logprobs": [round(one, 5) for one in told[1]]} for line, told in zip(lines, found, strict=True)]
    (folder / CANONICAL).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in own))
    _describe(folder, package)
    return True


def find_mark(shop: Shop, path: Path, tick: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """Whose leased copy a file is: a line for each lease with a score, the likeliest first. Raises ``lease-mark-unreadable``."""
    shop.require("money")
    shop.journals.make_tables()
    found = {name: mark.graph_tensors(data) for name, data in mark.suspects(path).items()}
    if not found:
        raise MofangError("lease-mark-unreadable", reason=str(path))
    originals: dict[str, dict[str, Any]] = {}
    names = {row[0]: row[1] for row in shop.control.rows("select account, name from account")}
    lines = []
    for one in leases(shop.control):
        if one.package not in originals:
            package = shop.artifact(shop.ledger.get(one.package))
            originals[one.package] = {name: mark.graph_tensors(package.path(name).read_bytes())
                                      for name in mark.GRAPHS if package.has(name)}
        scores = [mark.score(theirs, ours, mark_key(shop, one.id)) for theirs in found.values()
                  for ours in originals[one.package].values()]
        best = max(scores, default=0.0)
        lines.append({"lease": one.id, "customer": names[one.account], "model": one.model, "score": round(best, 1),
                      "found": best >= mark.SURE})
        tick()
    return sorted(lines, key=lambda line: -line["score"])
