"""What a seal of usage comes to, by customer, model, price and month: read once, kept beside the shop, made again at any time.

A bill needs sums and one Merkle root of each group, not the rows. So each seal is walked once for all customers, and what
was found is kept in the folder ``cache/tally``, under the seal's digest and with a digest of its own: a file that was changed is
not believed but made again. Nothing but time depends on it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
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
TALLY_BATCH = 131_072
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


def count_seal(sealed: Sealed, utc_offset: str) -> Groups:
    """The groups of a seal, of all customers: what ``add_rows`` finds, in columns and so in a third of the time."""
    import pyarrow.parquet as pq

    found: Groups = {}
    with pq.ParquetFile(sealed.path("rows.parquet")) as file:
        for batch in file.iter_batches(TALLY_BATCH, columns=list(COLUMNS)):
            _add_batch(found, batch, utc_offset)
    return close(found)


def _add_batch(found: Groups, batch: Any, utc_offset: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = batch.filter(pc.equal(batch["kind"], "use"))
    if not rows.num_rows:
        return
    ids, bodies = rows["id"], rows["body"]
    if not pc.all(pc.match_substring_regex(ids, "^[A-Za-z0-9_.:-]+$")).as_py():  # only such ids are JSON as they stand
        add_rows(found, zip(*(rows[name].to_pylist() for name in COLUMNS), strict=True), utc_offset)
        return
    at_us = rows["at_us"]
    leaves = pc.binary_join_element_wise('\0{"at_us":', pc.cast(at_us, pa.string()), ',"body":', bodies, ',"id":"', ids, '"}', "")
    digests = [_sha(leaf).digest() for leaf in pc.cast(leaves, pa.binary()).to_pylist()]
    whole = pc.binary_join(pa.ListArray.from_arrays([0, rows.num_rows], bodies), ",")[0]
    read: list[dict[str, Any]] = orjson.loads(b"[%b]" % whole.as_buffer().to_pybytes())
    months = {quarter: f"{local(quarter * QUARTER_US, utc_offset):%Y-%m}" for quarter in set((at_us.to_numpy() // QUARTER_US).tolist())}
    keys = zip(rows["account"].to_pylist(), [one["model"] for one in read], [one["package"] for one in read],
               [one["price"] for one in read], [one["test"] for one in read],
               [months[quarter] for quarter in (at_us.to_numpy() // QUARTER_US).tolist()], strict=True)
    places: defaultdict[tuple[Any, ...], int] = defaultdict(count().__next__)
    slots = [places[key] for key in keys]
    _sum(found, list(places), slots, read, digests, ids)


def _sum(found: Groups, keys: list[tuple[Any, ...]], slots: list[int], read: list[dict[str, Any]], digests: list[bytes], ids: Any) -> None:
    """Add the rows of a batch to their groups; ``slots`` says for each row which of the keys it has."""
    import numpy as np

    units, micros, rates = ([one[name] for one in read] for name in ("units", "micros", "rate"))
    fits = max(units) * max(rates) < 1 << 63 and sum(units) < 1 << 62 and sum(micros) < 1 << 62
    kind = np.int64 if fits else object  # whole numbers either way
    counted, taken, rated = (np.array(values, kind) for values in (units, micros, rates))
    over = taken - counted * rated // PER_UNITS
    repeats = np.array(["repeat" in one for one in read], np.int64)
    order = np.argsort(np.array(slots), kind="stable")
    begins = np.flatnonzero(np.diff(np.array(slots)[order], prepend=-1))
    sums = [np.add.reduceat(values[order], begins).tolist() for values in (counted, taken, repeats)]
    lengths = np.diff(begins, append=len(slots)).tolist()
    first_rates = rated[order][begins]
    wrong = np.flatnonzero((over < 0) | (over > 1) | (rated != first_rates[np.array(slots)]))
    sorted_digests = [digests[at] for at in order.tolist()]
    at = 0
    for slot, (account, *key) in enumerate(keys):
        groups = found.setdefault(account, {})
        group = groups.get(GroupKey(*key))
        if group is None:
            group = groups[GroupKey(*key)] = Group(rate=int(first_rates[slot]))
        elif group.rate != first_rates[slot] and group.wrong is None:
            group.wrong = ("-", int(sums[1][slot]), int(sums[0][slot]) * group.rate // PER_UNITS)
        group.units += sums[0][slot]
        group.micros += sums[1][slot]
        group.repeats += sums[2][slot]
        group.requests += lengths[slot]
        group.leaves += sorted_digests[at : at + lengths[slot]]
        at += lengths[slot]
    for row in wrong.tolist():
        account, *key = keys[slots[row]]
        group = found[account][GroupKey(*key)]
        group.wrong = group.wrong or (ids[row].as_py(), micros[row], units[row] * rates[row] // PER_UNITS)


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
