"""The spool: what is fetched from a remote source lies here in sealed pieces until a run has made records of it.

A piece is a file with its SHA-256, written durably before the next is asked for, together with the place where asking goes
on: so a fetch that died goes on behind its last piece. When the records are made the pieces are removed, and what stays is
a list: digests, marks (an ETag, the last value of a column) and the run that used them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mofang.core.canonical import digest_of, file_digest, sync_file, write_durably

SPOOL_FORMAT = 1
FOLDER = "remote"


@dataclass(frozen=True)
class Piece:
    """One file of the spool: its name as the records' source names it, digest, size, and what the source said of it."""

    name: str
    sha256: str
    size_bytes: int
    mark: dict[str, Any] = field(default_factory=dict)


@dataclass
class Stretch:
    """Pieces that were fetched together, and where asking goes on after them; ``run`` made records of them."""

    pieces: list[Piece] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    refused: list[list[str]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    complete: bool = False
    run: str = ""


class Spool:
    """One source's spool; ``used`` is what records hold already, ``fresh`` what waits for a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: list[Stretch] = []
        self.fresh = Stretch()
        try:
            told = orjson.loads((folder / "spool.json").read_bytes())
            if told["format"] == SPOOL_FORMAT:
                self.used = [_stretch(one) for one in told["used"]]
                self.fresh = _stretch(told["fresh"])
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or torn by hand: everything is fetched again
            pass
        self.fresh.pieces = [one for one in self.fresh.pieces if self.path(one).exists()]

    def path(self, piece: Piece) -> Path:
        """Where a piece lies: a name of the spool's own, because the source's could lead anywhere."""
        return self.folder / "pieces" / digest_of([piece.name, piece.sha256])[:40]

    @property
    def pieces(self) -> list[Piece]:
        """All pieces that the records of the next run stand for, the used ones first."""
        return [one for stretch in (*self.used, self.fresh) for one in stretch.pieces]

    @property
    def digest(self) -> str:
        """SHA-256 over names and digests of all pieces, in order."""
        return digest_of([[one.name, one.sha256] for one in self.pieces])

    def save(self) -> None:
        """Write the list durably."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        told = {"format": SPOOL_FORMAT, "used": [asdict(one) for one in self.used], "fresh": asdict(self.fresh)}
        write_durably(self.folder / "spool.json", orjson.dumps(told))

    @contextmanager
    def piece(self, name: str, mark: dict[str, Any] | None = None) -> Iterator[Path]:
        """Write one piece: when the block ends well it is durable and stands in the list with the state as it is then."""
        place = self.folder / "pieces"
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        writing = place / "writing"
        yield writing
        made = Piece(name, file_digest(writing), writing.stat().st_size, dict(mark or {}))
        sync_file(writing)
        writing.replace(self.path(made))
        self.fresh.pieces = [one for one in self.fresh.pieces if one.name != name]
        self.fresh.pieces.append(made)
        self.save()

    def keep(self, pieces: list[Piece]) -> None:
        """Of the fresh pieces keep these, in this order; the others are removed."""
        names = {self.path(one) for one in pieces}
        for one in self.fresh.pieces:
            if self.path(one) not in names:
                self.path(one).unlink(missing_ok=True)
        self.fresh.pieces = list(pieces)

    def start_over(self) -> None:
        """Forget everything, used or fresh."""
        self.used, self.fresh = [], Stretch()
        shutil.rmtree(self.folder / "pieces", ignore_errors=True)

    def used_by(self, run: str) -> None:
        """A run has made records of everything here: the pieces go, the list stays."""
        self.fresh.run = run
        self.used, self.fresh = [*self.used, self.fresh], Stretch(state=dict(self.fresh.state), found=dict(self.fresh.found), complete=True)
        self.save()
        shutil.rmtree(self.folder / "pieces", ignore_errors=True)


def _stretch(told: dict[str, Any]) -> Stretch:
    return Stretch(**{**told, "pieces": [Piece(**one) for one in told["pieces"]]})


def forget_spools(shop_path: Path) -> int:
    """Remove every spool with what it holds: sources are asked again from the beginning. How many there were."""
    folder = shop_path / "cache" / FOLDER
    number = sum(1 for _ in folder.glob("*/spool.json")) if folder.is_dir() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return number
