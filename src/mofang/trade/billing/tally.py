"""What a seal of usage comes to, by customer, model, price and month: read once, kept beside the shop, made again at any time.

A bill needs sums and one Merkle root of each group, not the rows. So each seal is walked once for all customers, and what
was found is kept in the folder ``cache/tally``, under the seal's digest and with a digest of its own: a file that was changed is
not believed but made again. Nothing but time depends on it.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from mofang.core.artifact import Sealed
from mofang.core.canonical import sha256
from mofang.core.clock import QUARTER_US, local
from mofang.core.identity import new_id
from mofang.core.money import PER_UNITS

if TYPE_CHECKING:
    from mofang.trade.billing.bodies import Bodies

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
    level, sha, node = leaves, _sha, b"\x01"
    while len(level) > 1:
        pairs = iter(level)
        above = [sha(node + left + right).digest() for left, right in zip(pairs, pairs)]  # noqa: B905 - the odd one goes up alone
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0] if level else sha(b"").digest()


Groups = dict[str, dict[GroupKey, Group]]


def add_rows(found: Groups, rows: Iterable[tuple[str, int, str, str, str]], utc_offset: str) -> None:
    """Count rows (id, at_us, account, kind, body as text) in their order.

    A charge that does not fit its rate is remembered, and stops its customer's bill.
    """
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
        if body.get("repeat"):
            group.repeats += 1
        group.leaves.append(_sha(b'\x00{"at_us":%d,"body":%b,"id":%b}' % (at_us, text.encode(), dumps(id))).digest())


def close(found: Groups) -> Groups:
    """Work out the roots and let the leaves go."""
    for groups in found.values():
        for group in groups.values():
            group.root, group.leaves = root_of(group.leaves).hex(), []
    return found


def seal_rows(sealed: Sealed, account: str = "", columns: tuple[str, ...] = COLUMNS) -> Iterator[tuple[Any, ...]]:
    """Rows of a seal in their order, some thousand in memory at a time; of one account, if named: little is read without any."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(sealed.path("rows.parquet"), read_dictionary=["account"]) as file:
        for group in range(file.num_row_groups):
            own = None
            if account:
                names = file.read_row_group(group, columns=["account"], use_threads=False)["account"]
                own = pc.equal(names.cast(pa.string()), account).combine_chunks()
                if not pc.any(own).as_py():
                    continue
            at = 0
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=list(columns), use_threads=False):
                kept = batch if own is None else batch.filter(own.slice(at, len(batch)))
                at += len(batch)
                yield from zip(*(kept[name].to_pylist() for name in columns), strict=True)


def count_seal(sealed: Sealed, utc_offset: str) -> Groups:
    """The groups of a seal, of all customers: what ``add_rows`` finds, in columns and so in a fifth of the time."""
    import pyarrow.parquet as pq

    found: Groups = {}
    collected = gc.isenabled()
    gc.disable()  # thousands of small objects that hold no circles: looking for some takes as long as the rest
    try:
        with pq.ParquetFile(sealed.path("rows.parquet"), read_dictionary=["account", "kind"]) as file:
            groups = range(file.num_row_groups)
            for some in (groups,) if file.metadata.num_rows <= TALLY_BATCH else zip(groups):
                table = file.read_row_groups(list(some), columns=list(COLUMNS), use_threads=False)
                for batch in table.combine_chunks().to_batches(TALLY_BATCH):
                    _add_batch(found, batch, utc_offset)
        return close(found)
    finally:
        if collected:
            gc.enable()


def _add_batch(found: Groups, batch: Any, utc_offset: str) -> None:
    """The rows of a batch in columns; what cannot stand in columns (an odd id, a number beyond 64 bits) is walked row by row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mofang.trade.billing.bodies import plain, read_bodies

    uses = pc.equal(batch["kind"].cast(pa.string()), "use")
    rows = batch if pc.all(uses).as_py() else batch.filter(uses)
    if not rows.num_rows:
        return
    bodies = read_bodies(rows["body"]) if plain(rows["id"]) else None
    if bodies is None:
        add_rows(found, zip(*(rows[name].to_pylist() for name in COLUMNS), strict=True), utc_offset)
        return
    at_us, ids = rows["at_us"], rows["id"]
    leaves = pc.binary_join_element_wise(
        '\0{"at_us":', pc.cast(at_us, pa.string()), ',"body":', rows["body"], ',"id":"', ids, '"}', ""
    )
    quarters = pc.divide(at_us, QUARTER_US).dictionary_encode()
    months = [f"{local(one * QUARTER_US, utc_offset):%Y-%m}" for one in quarters.dictionary.to_pylist()]
    month = pa.array(months).take(quarters.indices).dictionary_encode()
    _sum(found, rows["account"], month, bodies, pc.cast(leaves, pa.binary()).to_numpy(zero_copy_only=False), ids)


def _sum(found: Groups, accounts: Any, months: Any, bodies: Bodies, leaves: Any, ids: Any) -> None:
    """Add the rows of a batch to their groups; accounts and months are coded."""
    import numpy as np

    slots = accounts.indices.to_numpy().astype(np.int64) * len(months.dictionary) + months.indices.to_numpy()
    bare: dict[tuple[Any, ...], int] = {}
    terms = np.array([bare.setdefault(one[:-1], len(bare)) for one in bodies.terms])[bodies.codes]  # without the rate
    slots = (slots * len(bare) + terms) * 2 + bodies.test
    units, micros = bodies.units, bodies.micros
    each = [rate for *_, rate in bodies.terms]
    ends = [*each, *(int(end) for values in (units, micros) for end in (values.min(), values.max()))]
    whole = np.int64 if max(map(abs, ends)) * max(*map(abs, each), len(ids)) < 1 << 62 else object  # Python's own: of any size
    units, micros, rates = units.astype(whole), micros.astype(whole), np.array(each, whole)[bodies.codes]
    over = micros - units * rates // PER_UNITS
    order = np.argsort(slots, kind="stable")
    begins = np.flatnonzero(np.diff(slots[order], prepend=-1))
    lengths = np.diff(begins, append=len(ids)).tolist()
    sums = [np.add.reduceat(values[order], begins).tolist() for values in (units, micros, bodies.repeat.astype(np.int64))]
    digests = [_sha(leaf).digest() for leaf in leaves[order].tolist()]
    firsts = order[begins]
    odd = (over < 0) | (over > 1)
    odd[order] |= rates[order] != np.repeat(rates[firsts], lengths)
    wrong = set(np.flatnonzero(odd.astype(bool)).tolist())
    names, spans = accounts.dictionary.to_pylist(), months.dictionary.to_pylist()
    keys = zip(*(column[firsts].tolist() for column in (accounts.indices.to_numpy(), bodies.codes, bodies.test,
                                                        months.indices.to_numpy())), strict=True)
    at = 0
    for (account, code, test, month), length, more, taken, repeated in zip(keys, lengths, *sums, strict=True):
        groups = found.setdefault(names[account], {})
        model, package, price, rate = bodies.terms[code]
        name = GroupKey(model, package, price, test, spans[month])
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(rate=rate)
        group.units += more
        group.micros += taken
        group.repeats += repeated
        group.requests += length
        group.leaves += digests[at : at + length]
        if group.wrong is None and (wrong or group.rate != rate):
            row = next((row for row in order[at : at + length].tolist() if row in wrong or group.rate != rate), None)
            if row is not None:
                group.wrong = (ids[row].as_py(), int(micros[row]), int(units[row]) * int(rates[row]) // PER_UNITS)
        at += length


class Tallies:
    """Tallies of one shop: read where they lie, made where they do not. Keep one for as many bills as there are to make."""

    def __init__(self, shop_path: Path, told: Callable[[int], None] = lambda _rows: None) -> None:
        self.folder = shop_path / FOLDER
        self.told = told  # called with the number of a seal that is walked now
        self._abouts: dict[str, dict[str, Any]] = {}
        self._terms: dict[str, dict[str, list[tuple[Any, ...]]]] = {}
        self._known: dict[tuple[str, str], dict[str, list[list[Any]]]] = {}

    def about(self, sealed: Sealed) -> dict[str, Any]:
        """What a seal says of itself, read once."""
        if sealed.digest not in self._abouts:
            self._abouts[sealed.digest] = sealed.read_json("seal.json")
        return self._abouts[sealed.digest]

    def terms(self, sealed: Sealed) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of a seal of terms by customer ("" for prices), read once."""
        if sealed.digest not in self._terms:
            rows: dict[str, list[tuple[Any, ...]]] = {}
            for row in seal_rows(sealed):
                rows.setdefault(row[2], []).append(row)
            self._terms[sealed.digest] = rows
        return self._terms[sealed.digest]

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
        found = {
            account: [
                [*key, one.units, one.requests, one.micros, one.repeats, one.rate, one.root, one.wrong]
                for key, one in groups.items()
            ]
            for account, groups in counted.items()
        }
        content = orjson.dumps(found)
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self._place(sealed.digest, utc_offset)
        beside = place.with_name(f".{new_id('tally')}.new")  # several may make it at once; a torn one would not be believed
        beside.write_bytes(sha256(content).encode() + b"\n" + content)
        beside.replace(place)
        return found
