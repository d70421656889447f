"""The spool: what is fetched from a remote source lies here in sealed pieces until a run has made records of it.

A piece is a file with its SHA-256, written durably before the next is asked for, together with the place where asking goes
on: so a fetch that died goes on behind its last piece. When the records are made the files are removed, and what stays is
a list: digests, marks (an ETag, the last value of a column), and the run whose records hold the rows now.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.canonical import digest_of, file_digest, sync_file, write_durably
from mofang.core.personal import Sought, forgets

if TYPE_CHECKING:
    from mofang.core.shop import Shop

KNOWN_MOST = 100
SPOOL_FORMAT = 1
FOLDER = "remote"


@dataclass(frozen=True)
class Piece:
    """One file of the source: its name there, digest, size, and what the source said of it."""

    name: str
    sha256: str
    size_bytes: int
    mark: dict[str, Any] = field(default_factory=dict)


class Spool:
    """One source's spool. ``held`` are pieces whose rows the records of ``run`` hold, ``fresh`` those that wait for a run;
    ``complete`` says that the last fetch came to its end, ``state`` where the next one begins, and ``known`` which run made
    records of which content before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, Piece] = {}
        self.fresh: dict[str, Piece] = {}
        self.state: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.refused: list[list[str]] = []
        self.complete = False
        self.run = ""
        self.known: dict[str, str] = {}
        try:
            told = orjson.loads((folder / "spool.json").read_bytes())
            if told["format"] != SPOOL_FORMAT:
                return
            self.held, fresh = ({one["name"]: Piece(**one) for one in told[name]} for name in ("held", "fresh"))
            self.fresh = {name: one for name, one in fresh.items() if self.path(one).exists()}
            self.state, self.found, self.refused = told["state"], told["found"], told["refused"]
            self.complete, self.run, self.known = told["complete"], told["run"], told["known"]
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or torn by hand: everything is fetched again
            self.held, self.fresh, self.state = {}, {}, {}

    def path(self, piece: Piece) -> Path:
        """Where a piece lies: a name of the spool's own, because the source's could lead anywhere."""
        return self.folder / "pieces" / digest_of([piece.name, piece.sha256])[:40]

    @property
    def pieces(self) -> list[Piece]:
        """All pieces of the source as it is now, by name."""
        return [one for _, one in sorted({**self.held, **self.fresh}.items())]

    @property
    def digest(self) -> str:
        """SHA-256 over names and digests of all pieces, in order."""
        return digest_of([[one.name, one.sha256] for one in self.pieces])

    def save(self) -> None:
        """Write the list durably."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        told = {"format": SPOOL_FORMAT, "held": [asdict(one) for one in self.held.values()],
                "fresh": [asdict(one) for one in self.fresh.values()], "state": self.state, "found": self.found,
                "refused": self.refused, "complete": self.complete, "run": self.run,
                "known": self.known}
        write_durably(self.folder / "spool.json", orjson.dumps(told))

    @contextmanager
    def piece(self, name: str, mark: dict[str, Any] | None = None) -> Iterator[Path]:
        """Write one piece: when the block ends well it is durable and stands in the list with the state as it is then.

        One that is what the records hold already is not kept twice.
        """
        place = self.folder / "pieces"
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        writing = place / "writing"
        yield writing
        made = Piece(name, file_digest(writing), writing.stat().st_size, dict(mark or {}))
        self.drop([name], held=False)
        if name in self.held and self.held[name].sha256 == made.sha256:
            self.held[name] = made  # perhaps with a newer mark
            writing.unlink()
        else:
            self.held.pop(name, None)
            sync_file(writing)
            writing.replace(self.path(made))
            self.fresh[name] = made
        self.save()

    def drop(self, names: Iterable[str], held: bool = True) -> None:
        """These are no longer in the source."""
        for name in list(names):
            if held:
                self.held.pop(name, None)
            if name in self.fresh:
                self.path(self.fresh.pop(name)).unlink(missing_ok=True)

    def keep_only(self, names: Iterable[str]) -> None:
        """The source holds these and nothing else."""
        wanted = set(names)
        self.drop([name for name in (*self.held, *self.fresh) if name not in wanted])

    def start_over(self) -> None:
        """Forget everything."""
        self.held, self.fresh, self.state, self.found, self.complete, self.run = {}, {}, {}, {}, False, ""
        shutil.rmtree(self.folder / "pieces", ignore_errors=True)

    def used_by(self, run: str) -> None:
        """The records of a run hold everything now: the files go, the list stays."""
        self.known = {**dict(list(self.known.items())[-KNOWN_MOST:]), self.digest: run}
        self.held, self.fresh, self.run = {**self.held, **self.fresh}, {}, run
        self.save()
        shutil.rmtree(self.folder / "pieces", ignore_errors=True)


@forgets("spools")
def spools(shop: Shop, sought: Sought) -> dict[str, int]:
    """What was fetched from remote sources may show anybody, also packed, so all of it goes; it is fetched again without them."""
    folder = shop.path / "cache" / FOLDER
    found = sum(1 for _ in folder.glob("*/spool.json")) if folder.is_dir() else 0
    if not sought.dry:
        shutil.rmtree(folder, ignore_errors=True)
    return {"fetched sources": found}
