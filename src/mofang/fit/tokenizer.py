"""Learn a vocabulary from texts, and turn texts into ids that a training run maps from the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.progress import Bar
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.cleaning.duplicates import content_of
from mofang.data.records import RecordReader, Records
from mofang.data.roles import ID, with_role
from mofang.data.snapshots.sides import VALIDATION, side_of
from mofang.engine.arrays import Array
from mofang.engine.encode import texts as joined
from mofang.fit.loop.machine import threads
from mofang.fit.tokenizing.encoding import Encode, encoder_of
from mofang.fit.tokenizing.learning import Wanted, learn
from mofang.fit.tokenizing.shards import COUNTED, PARTS, Shards, ShardWriter, open_shards, writing
from mofang.fit.tokenizing.signs import SPECIAL, Kind, Normalise, word_rule

__all__ = ["Shards", "Tokenizer", "open_shards", "shard", "tokenizer"]
FORMAT = 1
LEAST = {"bpe": 300, "wordpiece": 100, "unigram": 600, "byte": 0, "char": 20}  # bytes or letters alone take as much
UNKNOWN_MOST = 0.01  # a larger share of unknown tokens is said aloud
SAMPLE_TEXTS = 2000
PIECE_CHARACTERS = 1 << 18


class Tokenizer(Artifact):
    """A vocabulary: tokenizer.json as the library `tokenizers` reads it, about.json."""

    kind = "tokenizer"


@stage(version=1)
def tokenizer(
    run: Run,
    records: tuple[Records, ...],
    *,
    kind: Kind = "bpe",
    size: Annotated[int, Field(ge=1, le=1_000_000)] = 8000,
    text: str = "",
    normalise: Normalise = "none",
    lower: bool = False,
    special: tuple[str, ...] = (),
    sample_mb: Annotated[int, Field(ge=1)] = 500,
) -> Tokenizer:
    """Learn a vocabulary of at most ``size`` tokens from the texts of records, Chinese and English alike.

    ``kind``: ``bpe`` merges frequent bytes and can write every text (for generating), ``wordpiece`` takes words apart as
    BERT does (each Chinese character a word), ``unigram`` takes the likeliest pieces, ``byte`` and ``char`` need no
    learning. ``text`` names a column (left out: all of role text); ``normalise`` and ``lower`` change signs first;
    ``special`` names tokens beside [PAD], [UNK], [CLS], [SEP], [MASK], [BOS] and [EOS]. From more than ``sample_mb``
    million characters a sample spread evenly over the records is read. The share of tokens that are unknown is told.
    """
    _require_size(kind, size, special)
    source = _Source(records, text)
    characters = source.characters(run)
    every = -(-characters // (sample_mb * 1_000_000))
    wanted = Wanted(kind, size, normalise, lower, special)
    with run.progress("Learning the vocabulary", "正在学习词表") as bar:
        made = learn(lambda: _watched(source.texts(every), bar), wanted)
        encode = encoder_of(made, kind)
        sample = list(source.texts(max(1, -(-source.rows // SAMPLE_TEXTS))))
        found = encode(sample)
    unknown = float((found.flat == wanted.first[SPECIAL["unk"]]).mean()) if len(found.flat) else 0.0
    _warn_of_unknown(run, unknown)
    vocabulary = _size_of(made)
    about = {
        "format": FORMAT, "kind": kind, "size": vocabulary, "lower": lower, "normalise": normalise,
        "special": {name: wanted.first[written] for name, written in SPECIAL.items()},
        "more": {name: wanted.first[name] for name in special},
        "word_starts": word_rule(kind), "licences": list(run.input_licences), "unknown_share": round(unknown, 6),
    }
    run.write_bytes("tokenizer.json", made.encode(), "json")
    run.write_json("about.json", about)
    run.measure(size=vocabulary, characters=characters, unknown_share=round(unknown, 6),
                characters_per_token=round(sum(map(len, sample)) / max(1, len(found.flat)), 4))
    return run.result(Tokenizer)


@stage(version=1)
def shard(
    run: Run,
    records: tuple[Records, ...],
    tokenizer: Tokenizer,
    *,
    text: str = "",
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.01,
    seed: Annotated[int, Field(ge=0)] = 0,
    ends: bool = False,
) -> Shards:
    """Turn the texts of records into ids in files that training maps into memory, with a part for validation.

    A record is a document; its side follows from what it says, as in a snapshot, so equal texts stay together and
    records added later move nothing. ``ends`` puts [EOS] after each document. Several threads encode; the result does not
    depend on how many.
    """
    about = tokenizer.read_json("about.json")
    dtype = np.dtype("<u2" if about["size"] <= 1 << 16 else "<u4")
    with tokenizer.open("tokenizer.json") as file:
        told = file.read()
    source = _Source(records, text)
    encode = encoder_of(told.decode(), about["kind"])
    work = _Work(encode, dtype, about["special"]["eos"] if ends else -1, about["special"]["unk"])
    with run.progress("Encoding", "正在编码", source.rows) as bar, writing(run, dtype) as writers:
        unknown = _encode_all(source, _Split(validation, seed), work, writers, bar)
    counts = {name: {part: writers[part].counts[name] for part in PARTS} for name in COUNTED}
    _require_both(counts["documents"], validation)
    share = unknown / max(1, sum(counts["tokens"].values()))
    _warn_of_unknown(run, share)
    run.write_bytes("tokenizer.json", told, "json")
    run.write_json("about.json", {
        "format": FORMAT, "dtype": dtype.name, **counts, "unknown_share": round(share, 6), "empty": source.empty,
        "ends": ends, "special": about["special"], "size": about["size"], "kind": about["kind"],
        "licences": list(run.input_licences), "split": {"by": "content", "validation": validation, "seed": seed},
    })
    run.measure(tokens=counts["tokens"], documents=counts["documents"], unknown_share=round(share, 6), empty=source.empty)
    return run.result(Shards)


class _Source:
    """The texts of several records, in order; ``empty`` counts those that say nothing."""

    def __init__(self, records: tuple[Records, ...], text: str) -> None:
        self._readers = [RecordReader(one) for one in records]
        self._columns = [_columns(reader, text) for reader in self._readers]
        self.rows = sum(reader.rows for reader in self._readers)
        self.empty = 0

    def pairs(self) -> Iterator[tuple[list[str], list[str]]]:
        """Ids and texts, a batch at a time; empty texts are left out and counted."""
        self.empty = 0
        for reader, columns in zip(self._readers, self._columns, strict=True):
            for batch in reader.batches(1024, media=False, columns=columns):
                values = [batch.column(name) for name in columns]
                rows = values[0] if len(values) == 1 else joined(
                    [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)], columns)
                kept = [(id, one) for id, one in zip(batch.column(ID), rows, strict=True) if one and not one.isspace()]
                self.empty += len(rows) - len(kept)
                yield [id for id, _ in kept], [one for _, one in kept]

    def texts(self, every: int = 1) -> Iterator[str]:
        """Each ``every``-th text."""
        number = 0
        for _, batch in self.pairs():
            for one in batch:
                if number % every == 0:
                    yield one
                number += 1

    def characters(self, run: Run) -> int:
        """How many characters there are; refused where there are none."""
        with run.progress("Counting", "正在统计", self.rows) as bar:
            found = 0
            for ids, batch in self.pairs():
                found += sum(map(len, batch))
                bar.advance(len(ids))
        if not found:
            raise MofangError("texts-empty", rows=self.rows)
        return found


def _columns(reader: RecordReader, text: str) -> list[str]:
    if text and text not in reader.roles:
        raise MofangError("column-missing", column=text, columns=", ".join(reader.roles), nearest=nearest(text, reader.roles),
                          file="values.parquet")
    found = [text] if text else with_role(reader.roles, "text")
    if not found:
        raise MofangError("text-column-missing", columns=", ".join(reader.roles) or "-")
    return found


def _require_size(kind: Kind, size: int, special: tuple[str, ...]) -> None:
    if LEAST[kind] and size < LEAST[kind] + len(special):
        raise MofangError("vocabulary-too-small", kind=kind, size=size, least=LEAST[kind] + len(special))
    wrong = [one for one in special if one.strip() != one or one.isalnum() or one in SPECIAL.values() or special.count(one) > 1]
    if wrong:
        raise MofangError("special-unsuited", names=", ".join(map(repr, wrong)))


def _watched(texts: Iterator[str], bar: Bar) -> Iterator[str]:
    done = 0
    for one in texts:
        done += len(one)
        yield one
        bar.note(f"{done / 1e6:.1f} M")


def _size_of(tokenizer_json: str) -> int:
    from tokenizers import Tokenizer as Library

    return int(Library.from_str(tokenizer_json).get_vocab_size(with_added_tokens=True))


def _warn_of_unknown(run: Run, share: float) -> None:
    if share > UNKNOWN_MOST:
        run.announce("{share} of the tokens are unknown: the vocabulary does not cover these texts. Take bpe, or a larger one.",
                     "有 {share} 的词元是未知的：词表没有覆盖这些文本。请改用 bpe，或加大词表。", share=f"{share:.1%}")


def _require_both(documents: dict[str, int], validation: float) -> None:
    for part in PARTS:
        if not documents[part] and (part == "train" or validation):
            raise MofangError("shards-part-empty", part=part, documents=sum(documents.values()), validation=validation)


@dataclass(frozen=True)
class _Split:
    """Which part a text belongs to."""

    validation: float
    seed: int

    def of(self, text: str) -> str:
        """``train`` or ``validation``, from what the text says."""
        side = side_of(content_of([text], []), self.validation, 0.0, self.seed)
        return PARTS[1] if side == VALIDATION else PARTS[0]


@dataclass(frozen=True)
class _Work:
    """How texts become ids of a file's type; ``end`` is put after each document unless it is negative."""

    encode: Encode
    dtype: np.dtype[Any]
    end: int
    unknown: int

    def __call__(self, texts: list[str]) -> tuple[Array, Array, int, int]:
        """Ids end to end, lengths of the documents, UTF-8 bytes of the texts, and how many ids are unknown."""
        found = self.encode(texts)
        flat, lengths = found.flat.astype(self.dtype), found.counts
        missing = int(np.count_nonzero(found.flat == self.unknown))
        if self.end >= 0:
            flat, lengths = np.insert(flat, np.cumsum(lengths), self.end), lengths + 1
        return flat, lengths, sum(len(one) if one.isascii() else len(one.encode()) for one in texts), missing


@dataclass
class _Piece:
    """Some documents of one part."""

    part: str
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    characters: int = 0


def _encode_all(source: _Source, split: _Split, work: _Work, writers: dict[str, ShardWriter], bar: Bar) -> int:
    """Encode everything in order; how many tokens are unknown.

    Threads suffice: the encoders let go of the interpreter while they work, and nothing has to travel.
    """
    unknown = 0
    waiting: deque[tuple[_Piece, Future[tuple[Array, Array, int, int]]]] = deque()

    def write() -> int:
        piece, future = waiting.popleft()
        flat, lengths, size, missing = future.result()
        writers[piece.part].write(flat, lengths, piece.ids)
        writers[piece.part].counts["bytes"] += size
        writers[piece.part].counts["characters"] += piece.characters
        bar.advance(len(piece.ids))
        return missing

    with ThreadPoolExecutor(threads()) as pool:
        for piece in _pieces(source, split):
            waiting.append((piece, pool.submit(work, piece.texts)))
            if len(waiting) > 2 * threads():
                unknown += write()
        while waiting:
            unknown += write()
    return unknown


def _pieces(source: _Source, split: _Split) -> Iterator[_Piece]:
    """About a quarter of a million characters of one part at a time, in order within each part."""
    filling = {part: _Piece(part) for part in PARTS}
    for ids, texts in source.pairs():
        for id, one in zip(ids, texts, strict=True):
            piece = filling[split.of(one)]
            piece.ids.append(id)
            piece.texts.append(one)
            piece.characters += len(one)
            if piece.characters >= PIECE_CHARACTERS:
                yield piece
                filling[piece.part] = _Piece(piece.part)
    yield from (piece for piece in filling.values() if piece.texts)
