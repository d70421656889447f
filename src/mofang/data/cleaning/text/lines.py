"""What the lines of texts are like: bullets, dots at the end, sentences that are finished."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text import classes
from mofang.data.cleaning.text.tokens import Flags, Ints, Scan, totals

FINISHED = tuple(".!?\"'”’。！？…；;」』")
BULLETS = ("-", "•", "*", "·", "●", "▪", "◦", "‣", "–")


@dataclass(frozen=True)
class Lines:
    """The lines of a chunk of texts that hold more than blanks: their first and last token."""

    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]
    offsets: Ints  # the first line of each text; one more for the end
    all: Ints  # lines of each text, the blank ones too

    @classmethod
    def of(cls, scan: Scan) -> Lines:
        """Lines as ``str.splitlines`` cuts them (and CR LF is one break)."""
        breaks = (scan.kinds == classes.NEWLINE) | (scan.kinds == classes.OTHER_NEWLINE)
        at = np.flatnonzero(breaks)
        every = totals(scan.sizes.take(at), np.searchsorted(at, scan.offsets))
        # The break after each text is ours: it ends the last line only where the text itself does not.
        ends = scan.signs[scan.first_chars + np.maximum(scan.chars - 1, 0)] & np.uint8(classes.KIND)
        ended = (scan.chars == 0) | (ends == classes.NEWLINE) | (ends == classes.OTHER_NEWLINE)
        number = np.cumsum(breaks, dtype=np.int32).take(scan.tokens)
        turns = np.flatnonzero(number[1:] != number[:-1]) + 1
        first = np.append(0, turns) if len(number) else turns
        last = np.append(turns, len(number))[: len(first)] - 1
        return cls(first, last, np.searchsorted(first, scan.token_offsets), every - ended)

    def begin_with(self, scan: Scan, signs: tuple[str, ...]) -> Flags:
        """Which lines begin with one of the signs."""
        return _are(scan, scan.token_spans.starts.take(self.first), signs)

    def end_with(self, scan: Scan, signs: tuple[str, ...]) -> Flags:
        """Which lines end with one of the signs (a few characters at most)."""
        spans = scan.token_spans
        ends = spans.starts.take(self.last) + spans.sizes.take(self.last)
        found = np.zeros(len(ends), bool)
        for sign in signs:
            found |= _are(scan, ends - len(sign.encode()), (sign,))
        return found

    def per_text(self, lines: npt.NDArray[np.generic]) -> Ints:
        """The sums over the lines of each text."""
        return totals(lines, self.offsets)


def bullets(scan: Scan, lines: Lines) -> Ints:
    """Lines of each text that begin with a bullet."""
    return lines.per_text(lines.begin_with(scan, BULLETS))


def _are(scan: Scan, starts: npt.NDArray[np.int64], signs: tuple[str, ...]) -> Flags:
    data = scan.block.bytes_
    heads = data.take(starts, mode="wrap")
    found = np.zeros(len(starts), bool)
    for sign in signs:
        encoded = sign.encode()
        same = np.flatnonzero(heads == encoded[0])
        for place, byte in enumerate(encoded[1:], 1):
            same = same[data.take(starts.take(same) + place, mode="wrap") == byte]
        found[same] = True
    return found
