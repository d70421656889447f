"""One tokenisation for a batch of texts, in NumPy: where each token starts, what it is, how long, and its 64-bit hash.

The tokens are those of ``classes.TOKEN``. Texts are laid one after the other as UTF-8, each followed by a line break;
runs of one kind of character are found by comparing neighbours, and a token is hashed from the eight-byte words that
it covers, so that no Python runs for a single token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text import classes

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
CHUNK_BYTES = 1 << 18  # texts worked on at once: what the arrays of one chunk need stays near the processor
PAD_BYTES = 72  # zeros after a block of bytes, so that eight may be read from anywhere in it
LONG_BYTES = 32  # a token's bytes beyond these are hashed apart
_M1, _M2, _M3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(8)] + [(1 << 64) - 1], np.uint64)
_S32, _S29 = np.uint64(32), np.uint64(29)


class Block:
    """Texts as UTF-8 with zeros after them, readable as bytes and, from any byte, as eight of them at once."""

    def __init__(self, text: bytes) -> None:
        self.data = text + bytes(PAD_BYTES)
        self.bytes_ = np.frombuffer(self.data, np.uint8)

    @cached_property
    def eights(self) -> Hashes:
        """The eight bytes that begin at each byte, as one number."""
        return np.ascontiguousarray(np.ndarray((len(self.data) - 7,), "<u8", self.data, strides=(1,)))


@dataclass(frozen=True)
class Spans:
    """Pieces of one block of bytes: where each starts and how many bytes it covers."""

    block: Block
    starts: Ints
    sizes: Ints

    @classmethod
    def of(cls, pieces: Sequence[bytes]) -> Spans:
        """A block of these pieces."""
        sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
        return cls(Block(b"".join(pieces)), np.cumsum(sizes) - sizes, sizes)

    def hashes(self) -> Hashes:
        """A 64-bit hash of each piece's bytes: equal bytes, equal hash, wherever they stand.

        Fast and well mixed, not secret: texts made to collide can collide.
        """
        eights, starts, sizes = self.block.eights, self.starts, self.sizes
        mixed = eights.take(starts) & _MASKS.take(np.minimum(sizes, 8))
        mixed ^= sizes.view(np.uint64)
        mixed *= _M1
        mixed ^= mixed >> _S32
        left = np.flatnonzero(sizes > 8)
        starts, sizes = starts.take(left), sizes.take(left) - 8
        for at in range(8, LONG_BYTES, 8):
            if not len(left):
                break
            part = eights.take(starts + at) & _MASKS.take(np.minimum(sizes, 8))
            part ^= mixed.take(left)
            part *= _M2
            mixed[left] = part ^ part >> _S29
            more = np.flatnonzero(sizes > 8)
            left, starts, sizes = left.take(more), starts.take(more), sizes.take(more) - 8
        if len(left):
            mixed[left] ^= _tails(eights, starts + LONG_BYTES, sizes)
        mixed *= _M2
        mixed ^= mixed >> _S32
        mixed *= _M3
        return mixed ^ mixed >> _S29

    def take(self, places: npt.NDArray[np.intp]) -> Spans:
        """Some of the pieces."""
        return Spans(self.block, self.starts.take(places), self.sizes.take(places))


def _tails(eights: Hashes, starts: Ints, sizes: Ints) -> Hashes:
    """What the rest of long pieces adds to their hash: a sum over their words of eight bytes, each weighed by its place."""
    counts = (sizes + 7) >> 3
    ends = np.cumsum(counts)
    place = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    words = eights.take(np.repeat(starts, counts) + 8 * place)
    words[ends - 1] &= _MASKS.take(sizes - 8 * (counts - 1))
    weights = (2 * place + 1).view(np.uint64) * _M3
    words ^= words >> _S29
    words *= weights ^ weights >> _S32 | np.uint64(1)
    words ^= words >> _S32
    words *= _M2
    return np.add.reduceat(words, ends - counts)


@dataclass(frozen=True)
class Scan:
    """A chunk of texts cut into runs of one kind of character."""

    rows: Ints  # the texts' places in the batch
    block: Block  # the texts as UTF-8, each with a line break after it
    kinds: classes.Bytes  # of each run
    starts: Ints  # of each run, in bytes; one more for the end
    sizes: Ints  # of each run, in characters
    offsets: Ints  # the first run of each text; one more for the end
    chars: Ints  # characters of each text
    bytes_: Ints  # UTF-8 bytes of each text
    signs: classes.Bytes  # class of each character
    char_starts: Ints  # first character of each run
    first_chars: Ints  # first character of each text

    @cached_property
    def tokens(self) -> npt.NDArray[np.intp]:
        """The runs that are tokens."""
        return np.flatnonzero(self.kinds <= classes.HAN)

    @cached_property
    def token_offsets(self) -> Ints:
        """The first token of each text; one more for the end."""
        return np.searchsorted(self.tokens, self.offsets)

    @cached_property
    def token_spans(self) -> Spans:
        """The bytes of each token."""
        starts = self.starts.take(self.tokens)
        return Spans(self.block, starts, self.starts.take(self.tokens + 1) - starts)

    @cached_property
    def token_texts(self) -> Ints:
        """The text (its place in the chunk) of each token."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.token_offsets))

    @cached_property
    def folded(self) -> Block:
        """The bytes with capitals A-Z as small letters and digits as 0."""
        return Block(self.block.data.translate(classes.folding()))

    @cached_property
    def word_hashes(self) -> Hashes:
        """The hash of each word, capitals as small letters and digits as 0."""
        spans = self.token_spans.take(self.words)
        return Spans(self.folded, spans.starts, spans.sizes).hashes()

    @cached_property
    def is_word(self) -> Flags:
        """Which tokens are words: they begin with a letter, a digit or an underscore."""
        return np.not_equal(self.kinds.take(self.tokens), classes.PUNCTUATION)

    @cached_property
    def words(self) -> npt.NDArray[np.intp]:
        """The tokens (their numbers) that are words."""
        return np.flatnonzero(self.is_word)

    @cached_property
    def word_offsets(self) -> Ints:
        """The first word of each text, in ``words``; one more for the end."""
        return np.searchsorted(self.words, self.token_offsets)

    @cached_property
    def has_letter(self) -> Flags:
        """Which tokens hold a letter."""
        starts = self.char_starts.take(self.tokens)
        letter = classes.has(self.signs.take(starts), classes.LETTER)
        open_ = np.flatnonzero(~letter & (self.kinds.take(self.tokens) == classes.WORD))
        ends = self.char_starts.take(self.tokens[open_] + 1)
        at = starts.take(open_)
        for _ in range(32):  # numbers and names that begin with an underscore: short
            at = at + 1
            inside = at < ends
            open_, at, ends = open_[inside], at[inside], ends[inside]
            if not len(open_):
                return letter
            found = classes.has(self.signs.take(at), classes.LETTER)
            letter[open_[found]] = True
            open_, at, ends = open_[~found], at[~found], ends[~found]
        for place, first, last in zip(open_.tolist(), at.tolist(), ends.tolist(), strict=True):
            letter[place] = bool(classes.has(self.signs[first:last], classes.LETTER).any())
        return letter

    def blank_words(self) -> tuple[Spans, Ints]:
        """The pieces between blanks (as fastText reads words: ASCII white space), and the first of each text."""
        blank = (self.kinds == classes.SPACE) | (self.kinds == classes.NEWLINE)
        turns = np.flatnonzero(blank[1:] != blank[:-1]) + 1
        if len(blank) and not blank[0]:
            turns = np.concatenate(([0], turns))
        # Texts end with a line break, so that no piece runs over two texts; turns alternate: piece, blank, piece ...
        first = turns[~blank.take(turns)]
        last = turns[blank.take(turns)]
        starts = self.starts.take(first)
        return Spans(self.block, starts, self.starts.take(last) - starts), np.searchsorted(first, self.offsets)

    def count(self, bits: int) -> Ints:
        """How many characters of each text are of a class (letter, capital, digit)."""
        return np.add.reduceat(classes.has(self.signs, bits), self.first_chars, dtype=np.int64)

    def occurrences(self, wanted: str) -> Ints:
        """How often each text holds a string, not counting overlaps; A-Z like a-z and every digit like 0."""
        sought = wanted.encode().translate(classes.folding())
        data = self.folded.data
        if sought not in data:
            return np.zeros(len(self.rows), np.int64)
        firsts = self.starts.take(self.offsets[:-1])
        pairs = zip(firsts.tolist(), (firsts + self.bytes_).tolist(), strict=True)
        return np.array([data.count(sought, first, last) for first, last in pairs], np.int64)


def scans(texts: Sequence[str], chunk_bytes: int = CHUNK_BYTES) -> Iterator[Scan]:
    """The texts in chunks; those that are plain ASCII apart, because their characters are their bytes."""
    for wanted in (True, False):
        rows: list[int] = []
        size = 0
        for row, text in enumerate(texts):
            if text.isascii() is wanted:
                rows.append(row)
                size += len(text)
                if size >= chunk_bytes:
                    yield _scan(texts, rows, wanted)
                    rows, size = [], 0
        if rows:
            yield _scan(texts, rows, wanted)


def totals(values: npt.NDArray[np.generic], offsets: Ints) -> Ints:
    """The sums of integers between neighbouring offsets; nothing between them sums to 0."""
    running = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=running[1:])
    return np.diff(running.take(offsets))


def _scan(texts: Sequence[str], rows: list[int], plain: bool) -> Scan:
    chosen = [_lines_as_one(texts[row]) for row in rows]
    joined = "\n".join(chosen) + "\n"
    chars = np.fromiter(map(len, chosen), np.int64, len(chosen))
    first_chars = np.zeros(len(chars), np.int64)
    np.cumsum(chars[:-1] + 1, out=first_chars[1:])
    block = Block(joined.encode("utf-8", "surrogatepass"))
    if plain:
        found = np.frombuffer(block.data.translate(classes.ascii_table()), np.uint8, len(joined))
    else:
        wide = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        found = classes.table().take(wide)
    kinds = found & np.uint8(classes.KIND)
    turns = np.empty(len(kinds) + 1, bool)
    turns[0] = turns[-1] = True
    np.not_equal(kinds[1:], kinds[:-1], out=turns[1:-1])
    if not plain:
        turns[:-1] |= kinds == classes.HAN
    turns[first_chars] = True
    starts = np.flatnonzero(turns)
    byte_starts, byte_firsts = starts, first_chars
    if not plain:
        begins = np.append(np.flatnonzero(block.bytes_[:-PAD_BYTES].view(np.int8) >= -64), len(block.data) - PAD_BYTES)
        byte_starts, byte_firsts = begins.take(starts), begins.take(first_chars)
    return Scan(
        rows=np.array(rows, np.int64),
        block=block,
        kinds=kinds.take(starts[:-1]),
        starts=byte_starts,
        sizes=np.diff(starts),
        offsets=np.append(np.searchsorted(starts[:-1], first_chars), len(starts) - 1),
        chars=chars,
        bytes_=np.diff(np.append(byte_firsts, len(block.data) - PAD_BYTES)) - 1,
        signs=found,
        char_starts=starts,
        first_chars=first_chars,
    )


def _lines_as_one(text: str) -> str:
    """The text with one sign for a line break of two, and no NUL."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return text.replace("\0", " ") if "\0" in text else text
