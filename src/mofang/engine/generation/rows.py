"""Answers that are being written at the same time: each has a slot of the decoder's cache, and new ones join at the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.generation.runtime import PIECE, Decoder
from mofang.engine.generation.sampling import Chance, Sampling, Told, choose, tell
from mofang.engine.generation.words import Decode, Words

Finish = Literal["", "end", "stop", "length"]


@dataclass(slots=True)
class Piece:
    """What one step gave an answer: text that may leave, what was told of the token, and why the answer ended ("" if not)."""

    text: str
    told: Told | None = None
    finish: Finish = ""


@dataclass(eq=False)
class Row:
    """One answer: the prompt's ids, how to write, and what was written so far."""

    prompt: Sequence[int]
    sampling: Sampling
    words: Words
    owner: Any = None
    ids: list[int] = field(default_factory=list)
    held: int = 0  # tokens of it in the cache
    room: int = 0
    chance: Chance = field(init=False)

    def __post_init__(self) -> None:
        self.chance = Chance(self.sampling.seed)

    @property
    def reading(self) -> bool:
        """Whether the prompt is not read to its end yet."""
        return self.held < len(self.prompt)


class Rows:
    """The rows that are in the cache: those that write stand at the front, and behind them the one that is being read."""

    def __init__(self, decoder: Decoder, ends: frozenset[int], decode: Decode) -> None:
        self.decoder, self.ends, self.decode = decoder, ends, decode
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def takes(self) -> bool:
        """Whether another row may join now: a slot is free and nobody is being read."""
        return len(self._rows) < self.decoder.slots and not (self._rows and self._rows[-1].reading)

    def row(self, prompt: Sequence[int], sampling: Sampling, owner: Any = None) -> Row:
        """A row for a prompt. Raises ``prompt-empty`` and ``prompt-too-long``."""
        if not prompt:
            raise MofangError("prompt-without-tokens")
        if len(prompt) >= self.decoder.context:
            raise MofangError("prompt-too-long", tokens=len(prompt), context=self.decoder.context)
        made = Row(prompt, sampling, Words(self.decode, sampling.stop), owner)
        made.room = min(sampling.max_tokens, self.decoder.context - len(prompt))
        return made

    def join(self, row: Row) -> None:
        """Give a row a slot."""
        assert self.takes
        self._rows.append(row)

    def leave(self, row: Row) -> None:
        """Free a row's slot: the last writing row fills it, and the one that is read stays behind it."""
        place = self._rows.index(row)
        for source in [number for number in (self._writing() - 1, len(self._rows) - 1) if number > place]:
            moved = self._rows[source]
            self.decoder.move(source, place, moved.held)
            self._rows[place], place = moved, source
            if place == len(self._rows) - 1:
                break
        del self._rows[place]

    def rows(self) -> list[Row]:
        """The rows as they stand."""
        return list(self._rows)

    def step(self) -> list[tuple[Row, Piece]]:
        """Read on at most one piece of one prompt, and write one token of every other answer. Rows that ended have left."""
        found: list[tuple[Row, Piece]] = []
        count = self._writing()
        if count:
            writing = self._rows[:count]
            logits = self.decoder.step([row.ids[-1] for row in writing], [row.held for row in writing])
            for number, row in enumerate(writing):
                row.held += 1
                found.append((row, self._take(row, logits[number])))
        if count < len(self._rows):
            row = self._rows[-1]
            begin = row.held
            logits = self.decoder.read(count, row.prompt[begin : begin + PIECE], begin)
            row.held = min(len(row.prompt), begin + PIECE)
            if not row.reading:
                found.append((row, self._take(row, logits)))
        for row, piece in found:
            if piece.finish:
                self.leave(row)
        return found

    def _writing(self) -> int:
        return len(self._rows) - bool(self._rows and self._rows[-1].reading)

    def _take(self, row: Row, logits: Array) -> Piece:
        """Choose the next token of a row, and what it means for its text."""
        token = choose(logits, row.sampling, row.chance)
        told = tell(logits, token, row.sampling.logprobs) if row.sampling.logprobs >= 0 else None
        if token in self.ends:
            return Piece(row.words.end(), None, "end")
        row.ids.append(token)
        text = row.words.add(token)
        finish: Finish = "length" if len(row.ids) >= row.room else ""
        if finish:
            text += row.words.end()
        return Piece(text, told, "stop" if row.words.stopped else finish)
