"""The bodies of usage rows as columns: read where they stand in memory, thousands at once, and of each only what a sum needs.

Rows of one meter look alike: canonical JSON, with the same names in the same order. So one row is read to learn a shape; of the
others it is checked, byte by byte, that they have it, and then their numbers are read where they stand. What has no shape that is
known here (a text with an escaped sign, for one) is left to a reader of JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

PIECE = 8_192  # rows at once: as many as fit near the processor
SHAPES_MOST = 16  # of one piece; rows that differ more are read as JSON
PAIR = 16  # bytes compared at once
DIGITS = 8  # of a number that is read at once
TERMS = ("model", "package", "price", "rate")  # stand side by side, and are the same in many rows
QUOTE, ESCAPE, CLOSE, TRUE, ZEROS = 0x22, 0x5C, 0x7D, 0x74, 0x3030303030303030

Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class Bodies:
    """What a sum needs of some rows: ``terms`` (model, package, price, rate) once each, and for each row which of them it has."""

    terms: list[tuple[Any, ...]]
    codes: Places
    units: Places
    micros: Places
    test: Any
    repeat: Any


@dataclass
class Shape:
    """What rows have in common. Places are counted in the quotes of a row, from 0.

    ``literals`` are bytes from a quote on, or (-1) from the sign before it. ``terms`` is the quote with which they begin and the
    one behind them; ``scalars`` are the quotes behind a name, two signs before its value. ``tail`` signs follow the last quote
    where no scalar stands there.
    """

    quotes: int
    literals: list[tuple[int, int, bytes]] = field(default_factory=list)
    terms: tuple[int, int] = (0, 0)
    scalars: dict[str, int] = field(default_factory=dict)
    tail: int = 0


def shape_of(row: bytes) -> Shape | None:
    """The shape of a row without escaped signs; None for what is no JSON object of names, or has its terms elsewhere."""
    pieces = row.split(b'"')
    strings, between = pieces[1::2], pieces[0::2]
    if len(pieces) % 2 == 0 or not strings or between[0] != b"{" or row[-1:] != b"}":
        return None
    found, depth = Shape(2 * len(strings)), 0
    start, delta, literal = 0, -1, b"{"  # of the literal that grows
    within = False
    for at, (before, text, after) in enumerate(zip(between, strings, between[1:], strict=False)):
        depth += before.count(b"{") + before.count(b"[") - before.count(b"}") - before.count(b"]")
        named = depth == 1 and before[-1:] != b":"
        if named and text == b"model":
            found.literals.append((start, delta, literal + b'"'))
            found.terms, within = (2 * at, 0), True
        elif within and named and text == b"rate" and at + 1 < len(strings):
            found.terms, within = (found.terms[0], 2 * at + 2), False
            start, delta, literal = 2 * at + 2, -1, b","
        elif not within and not named:  # a value, or what stands within one
            found.literals.append((start, delta, literal + b'"'))
            start, delta, literal = 2 * at + 1, 0, b'"' + after
        elif not within and (after == b":" or (after[1:2] in (b"[", b"{") and after[-1:] in (b"[", b"{", b":", b","))):
            literal += b'"' + text + b'"' + after
        elif not within:
            found.literals.append((start, delta, literal + b'"' + text + b'":'))
            found.scalars[text.decode()] = 2 * at + 1
            start, delta, literal = 2 * at + 2, -1, b","
    if start < found.quotes:
        found.literals.append((start, delta, literal))
        found.tail = len(literal) - 1
    return found if found.terms[1] and not within else None


class Text:
    """Rows of JSON as they lie in memory: their bytes, where each begins and ends, and where its quotes are."""

    def __init__(self, bodies: Any) -> None:
        _, offsets, self._data = bodies.buffers()
        ends = np.frombuffer(offsets, np.int32, len(bodies) + 1, bodies.offset * 4).astype(np.int64)
        self.begins, self.ends = ends[:-1], ends[1:]
        self.bytes = np.frombuffer(self._data, np.uint8, int(ends[-1]))
        text = self.bytes[int(ends[0]) :]
        self.escaped = bool((text == ESCAPE).any())
        self.quotes: Places = np.flatnonzero(text == QUOTE) + ends[0]
        self.even, rest = divmod(len(self.quotes), len(bodies))  # so many quotes in every row, 0 if not in all the same
        if rest or not self.even or not self._even():
            self.even = 0
            self.first: Places = np.searchsorted(self.quotes, self.begins)
            self.counts: Places = np.diff(self.first, append=len(self.quotes))

    def _even(self) -> bool:
        rows = self.quotes.reshape(len(self.begins), -1)
        return bool(((rows[:, 0] >= self.begins) & (rows[:, -1] < self.ends)).all())

    def row(self, at: int) -> bytes:
        """One row."""
        return self.bytes[self.begins[at] : self.ends[at]].tobytes()

    def quote(self, rows: Places, at: int) -> Places:
        """Where a quote of each row stands."""
        if self.even:
            return self.quotes[at :: self.even] if len(rows) == len(self.begins) else self.quotes[rows * self.even + at]
        return self.quotes[self.first[rows] + at]

    def having(self, shape: Shape, rows: Places) -> Places:
        """Those of the rows that have a shape."""
        if self.even:
            rows = rows if self.even == shape.quotes else rows[:0]
        else:
            rows = _only(rows, self.counts[rows] == shape.quotes)
        rows = _only(rows, (self.quote(rows, 0) == self.begins[rows] + 1) & (self.bytes[self.ends[rows] - 1] == CLOSE))
        if shape.tail:
            rows = _only(rows, self.ends[rows] - self.quote(rows, shape.quotes - 1) == shape.tail + 1)
        for at, delta, literal in shape.literals:
            rows = _only(rows, self._same(self.quote(rows, at) + delta, literal))
        return rows

    def _words(self, begins: Places, size: int) -> Any:
        """So many bytes from each place on, as numbers of 64 bits; other bytes where the text ends before."""
        last = len(self.bytes) - size
        every: Any = np.ndarray((last + 1,), f"V{size}", self._data, strides=(1,))
        return every[np.clip(begins, 0, last)].view("<u8").reshape(-1, size // 8)

    def _same(self, begins: Places, wanted: bytes) -> Any:
        """At which places these bytes stand."""
        found = np.ones(len(begins), bool)
        for at in range(0, len(wanted), PAIR):
            piece = wanted[at : at + PAIR]
            words = self._words(begins + at, PAIR)
            bits, mask = (np.frombuffer(one.ljust(PAIR, b"\0"), "<u8") for one in (piece, b"\xff" * len(piece)))
            found &= (words[:, 0] & mask[0]) == bits[0]
            if len(piece) > 8:
                found &= (words[:, 1] & mask[1]) == bits[1]
        for late in np.flatnonzero(begins + len(wanted) + PAIR > len(self.bytes)):  # of the last rows
            found[late] = self.bytes[begins[late] : begins[late] + len(wanted)].tobytes() == wanted
        return found

    def cut(self, begins: Places, ends: Places) -> Any:
        """The texts between places that rise from row to row, in Arrow."""
        offsets = np.empty(2 * len(begins), np.int32)
        offsets[0::2], offsets[1::2] = begins, ends
        every = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), self._data)
        return every.take(pa.array(np.arange(0, len(offsets) - 1, 2)))

    def numbers(self, shape: Shape, rows: Places, name: str) -> Places:
        """A whole number of each row. Raises ``pa.ArrowInvalid`` where it is none of 64 bits."""
        begins, ends = self.scalar(shape, rows, name)
        lacking = DIGITS - (ends - begins)
        if lacking.min() < 0 or lacking.max() >= DIGITS or begins[0] < DIGITS:
            return np.asarray(self.cut(begins, ends).cast(pa.int64()).to_numpy())
        lower = (np.uint64(1) << (lacking * 8).astype(np.uint64)) - np.uint64(1)  # the signs before the first digit
        found = self._words(ends - DIGITS, DIGITS)[:, 0]
        found = ((found & ~lower) | (np.uint64(ZEROS) & lower)) - np.uint64(ZEROS)
        if ((found | (found + np.uint64(0x7676767676767676))) & np.uint64(0x8080808080808080)).any():
            return np.asarray(self.cut(begins, ends).cast(pa.int64()).to_numpy())  # a sign, or none
        for step, mask in ((8, 0x00FF00FF00FF00FF), (16, 0x0000FFFF0000FFFF), (32, 0x00000000FFFFFFFF)):
            found = (found * np.uint64(10 ** (step // 8)) + (found >> np.uint64(step))) & np.uint64(mask)
        whole: Places = found.astype(np.int64)
        return whole

    def scalar(self, shape: Shape, rows: Places, name: str) -> tuple[Places, Places]:
        """Where a value that is no text begins and ends."""
        at = shape.scalars[name]
        after = self.quote(rows, at + 1) if at + 1 < shape.quotes else self.ends[rows]
        return self.quote(rows, at) + 2, after - 1

    def truths(self, shape: Shape, rows: Places, name: str) -> Any:
        """Whether a value is true. Raises ``pa.ArrowInvalid`` where it is neither true nor false."""
        begins, ends = self.scalar(shape, rows, name)
        found = self.bytes[begins] == TRUE
        right = self._same(begins, b"false") & (ends - begins == 5)
        if found.any():
            right |= self._same(begins, b"true") & (ends - begins == 4)
        if not right.all():
            raise pa.ArrowInvalid(name)
        return found


def _only(rows: Places, wanted: Any) -> Places:
    return rows if wanted.all() else rows[wanted]


def plain(ids: Any) -> bool:
    """Whether all of these texts stand in JSON as they are: no quotes, escapes or control signs."""
    _, offsets, data = ids.buffers()
    begin, end = (int(at) for at in np.frombuffer(offsets, np.int32, len(ids) + 1, ids.offset * 4)[[0, -1]])
    signs = np.frombuffer(data, np.uint8, end - begin, begin)
    return not ((signs < 0x20) | (signs == QUOTE) | (signs == ESCAPE)).any()


def read_bodies(bodies: Any) -> Bodies | None:
    """The rows of a string array without nulls; None where not all are what a meter writes."""
    count = len(bodies)
    found = Bodies([], *(np.zeros(count, np.int64) for _ in range(3)), *(np.zeros(count, bool) for _ in range(2)))
    known: dict[str, int] = {}
    for at in range(0, count, PIECE):
        if not _read_piece(found, known, at, bodies[at : at + PIECE]):
            return None
    return found


def _read_piece(found: Bodies, known: dict[str, int], begin: int, bodies: Any) -> bool:
    """Read some rows, shape by shape; False where they are not what a meter writes."""
    text = Text(bodies)
    if text.escaped or len(text.bytes) < PAIR:
        return False
    left = np.arange(len(bodies))
    try:
        for _ in range(SHAPES_MOST):
            shape = shape_of(text.row(int(left[0])))
            rows = text.having(shape, left) if shape else left[:0]
            if shape is None or not len(rows):
                return False
            _fill(found, known, begin, text, shape, rows)
            if len(rows) == len(left):
                return True
            left = np.setdiff1d(left, rows, assume_unique=True)
    except (KeyError, pa.ArrowInvalid, orjson.JSONDecodeError):
        return False
    return False


def _fill(found: Bodies, known: dict[str, int], begin: int, text: Text, shape: Shape, rows: Places) -> None:
    """Read the rows of a shape; ``begin`` is where the piece begins."""
    coded = text.cut(text.quote(rows, shape.terms[0]), text.quote(rows, shape.terms[1]) - 1).dictionary_encode()
    codes = []
    for one in coded.dictionary.to_pylist():
        if one not in known:
            terms = orjson.loads(f"{{{one}}}")
            if tuple(terms) != TERMS:
                raise KeyError(one)
            known[one] = len(found.terms)
            found.terms.append(tuple(terms.values()))
        codes.append(known[one])
    to = slice(begin, begin + len(rows)) if len(rows) == len(text.begins) else begin + rows
    found.codes[to] = np.array(codes)[coded.indices.to_numpy()]
    found.units[to], found.micros[to] = (text.numbers(shape, rows, name) for name in ("units", "micros"))
    found.test[to] = text.truths(shape, rows, "test")
    if "repeat" in shape.scalars:
        found.repeat[to] = text.truths(shape, rows, "repeat")
