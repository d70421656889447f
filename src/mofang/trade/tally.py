"""What a seal of usage comes to, by customer, model, price and month: read once, kept beside the shop, made again at any time.

A bill needs sums and one Merkle root of each group, not the rows. So each seal is walked once for all customers, and what
was found is kept in the folder ``cache/tally``, under the seal's digest and with a digest of its own: a file that was changed is
not believed but made again. Nothing but time depends on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from mofang.core.artifact import Sealed
from mofang.core.canonical import sha256
from mofang.core.clock import QUARTER_US, local
from mofang.core.identity import new_id
from mofang.core.money import PER_UNITS

TALLY_FORMAT = 1
FOLDER = "cache/tally"
BATCH = 16_384
KEPT_MOST = 512  # tallies of seals in memory
COLUMNS = ("id", "at_us", "account", "kind", "body")

_sha = hashlib.sha256


class GroupKey(NamedTuple):
    """What the rows of a group have in common. ``price`` is None for what has no price (test keys)."""

    model: str
    package: str
    price: int | None
    test: bool
    month: str


@dataclass(slots=True)
class Group:
    """The rows of one customer in one seal with one key: counts, what was debited, and the root over them in their order."""

    units: int = 0
    requests: int = 0
    micros: int = 0
    repeats: int = 0
    rate: int = -1
    root: str = ""
    wrong: tuple[str, int, int] | None = None  # the first row whose charge does not fit: id, micros, what they should be
    leaves: list[bytes] = field(default_factory=list)


def leaf_of(id: str, at_us: int, text: str) -> bytes:
    """The bytes of a row under its root: canonical JSON of its id, its time and all that was written of it."""
    return b'{"at_us":%d,"body":%b,"id":%b}' % (at_us, text.encode(), orjson.dumps(id))


def root_of(leaves: list[bytes]) -> bytes:
    """The root (RFC 6962) over leaves that are hashed already; level by level, which is the same tree as ``merkle.Tree``'s."""
    level = leaves
    while len(level) > 1:
        odd = [level[-1]] if len(level) % 2 else []
        pairs = iter(level[:-1] if odd else level)
        level = [_sha(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)] + odd
    return level[0] if level else _sha(b"").digest()


Groups = dict[str, dict[GroupKey, Group]]


def add_rows(found: Groups, rows: Iterable[tuple[str, int, str, str, str]], utc_offset: str) -> None:
    """Count rows (id, at_us, account, kind, body as text) in their order; a charge that does not fit its rate is remembered, and stops its customer's bill."""
    months: dict[int, str] = {}
    loads, dumps = orjson.loads, orjson.dumps
    for id, at_us, account, kind, text in rows:
        if kind != "use":
            continue
        body = loads(text)
        quarter = at_us // QUARTER_US
        month = months.get(quarter)
        if month is None:
            month = months[quarter] = f"{local(at_us, utc_offset):%Y-%m}"
        key = (body["model"], body["package"], body["price"], body["test"], month)
        groups = found.get(account)
        if groups is None:
            groups = found[account] = {}
        group = groups.get(key)  # type: ignore[call-overload]
        if group is None:
            group = groups[GroupKey(*key)] = Group(rate=body["rate"])
        units, micros = body["units"], body["micros"]
        over = micros - units * group.rate // PER_UNITS  # one more where a carried remainder filled up
        if (body["rate"] != group.rate or not 0 <= over <= 1) and group.wrong is None:
            group.wrong = (id, micros, units * body["rate"] // PER_UNITS)
        group.units += units
        group.requests += 1
        group.micros += micros
        if "repeat" in body:
            group.repeats += 1
        group.leaves.append(_sha(b'\x00{"at_us":%d,"body":%b,"id":%b}' % (at_us, text.encode(), dumps(id))).digest())


def close(found: Groups) -> Groups:
    """Work out the roots and let the leaves go."""
    for groups in found.values():
        for group in groups.values():
            group.root, group.leaves = root_of(group.leaves).hex(), []
    return found


def seal_rows(sealed: Sealed, account: str = "", columns: tuple[str, ...] = COLUMNS) -> Iterator[tuple[Any, ...]]:
    """Rows of a seal in their order, some thousand in memory at a time; of one account, if named."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(sealed.path("rows.parquet")) as file:
        for batch in file.iter_batches(BATCH, columns=[*{*columns, "account"}]):
            kept = batch.filter(pc.equal(batch["account"], account)) if account else batch
            yield from zip(*(kept[name].to_pylist() for name in columns), strict=True)


def count_seal(sealed: Sealed, utc_offset: str, account: str = "") -> Groups:
    """The groups of a seal, of all customers or of one."""
    found: Groups = {}
    add_rows(found, seal_rows(sealed, account), utc_offset)
    return close(found)


class Tallies:
    """Tallies of one shop: read where they lie, made where they do not. Keep one for as many bills as there are to make."""

    def __init__(self, shop_path: Path, told: Callable[[int], None] = lambda _rows: None) -> None:
        self.folder = shop_path / FOLDER
        self.told = told  # called with the number of a seal that is walked now
        self._known: dict[tuple[str, str], dict[str, list[list[Any]]]] = {}

    def groups(self, sealed: Sealed, number: int, utc_offset: str, account: str) -> dict[GroupKey, Group]:
        """One customer's groups in a seal."""
        rows = self._of(sealed, number, utc_offset).get(account, [])
        return {GroupKey(*row[:5]): Group(*row[5:]) for row in rows}

    def _of(self, sealed: Sealed, number: int, utc_offset: str) -> dict[str, list[list[Any]]]:
        name = (sealed.digest, utc_offset)
        if name not in self._known:
            if len(self._known) >= KEPT_MOST:
                self._known.pop(next(iter(self._known)))
            self._known[name] = self._read(*name) or self._make(sealed, number, utc_offset)
        return self._known[name]

    def _place(self, digest: str, utc_offset: str) -> Path:
        return self.folder / f"{digest}{utc_offset.replace(':', '')}-{TALLY_FORMAT}.json"

    def _read(self, digest: str, utc_offset: str) -> dict[str, list[list[Any]]] | None:
        place = self._place(digest, utc_offset)
        if not place.exists():
            return None
        told, _, content = place.read_bytes().partition(b"\n")
        if told != sha256(content).encode():
            return None
        found: dict[str, list[list[Any]]] = orjson.loads(content)
        return found

    def _make(self, sealed: Sealed, number: int, utc_offset: str) -> dict[str, list[list[Any]]]:
        self.told(number)
        counted = count_seal(sealed, utc_offset)
        found = {account: [[*key, one.units, one.requests, one.micros, one.repeats, one.rate, one.root, one.wrong] for key, one in groups.items()]
                 for account, groups in counted.items()}
        content = orjson.dumps(found)
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self._place(sealed.digest, utc_offset)
        beside = place.with_name(f".{new_id('tally')}.new")  # several may make it at once; a torn one would not be believed
        beside.write_bytes(sha256(content).encode() + b"\n" + content)
        beside.replace(place)
        return found
