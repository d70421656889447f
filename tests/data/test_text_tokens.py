"""The vectorised tokenisation gives what ``re`` gives, whatever the text."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.data.cleaning.text import classes
from mofang.data.cleaning.text.tokens import Scan, scans

SIGNS = "abcXYZ019__-.,;:#{ \n\n\t\r\0\u3000中文的あ・éß½Ⅷ\u0301\ud800😀\U00020001\x85\u2028\x1c…•"
TEXTS = st.lists(st.one_of(st.text(st.sampled_from(SIGNS), max_size=80), st.text(max_size=40)), max_size=8)


def _read(text: str) -> str:
    """What is counted: CR LF is one line break, NUL a blank."""
    return text.replace("\r\n", "\n").replace("\0", " ")


def _tokens(scan: Scan, place: int) -> list[str]:
    first, last = scan.token_offsets[place : place + 2]
    spans = scan.token_spans
    pairs = zip(spans.starts[first:last].tolist(), spans.sizes[first:last].tolist(), strict=True)
    return [scan.block.data[start : start + size].decode("utf-8", "surrogatepass") for start, size in pairs]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_the_tokens_and_what_is_known_of_them_are_those_of_re(texts: list[str]) -> None:
    seen: list[int] = []
    for scan in scans(texts, chunk_bytes=100):
        seen += scan.rows.tolist()
        for place, row in enumerate(scan.rows.tolist()):
            text = _read(texts[row])
            wanted = classes.TOKEN.findall(text)
            assert _tokens(scan, place) == wanted
            part = slice(*scan.token_offsets[place : place + 2])
            assert scan.sizes[scan.tokens[part]].tolist() == [len(one) for one in wanted]
            assert scan.has_letter[part].tolist() == [any(map(str.isalpha, one)) for one in wanted]
            assert scan.is_word[part].tolist() == [one[0].isalnum() or one[0] == "_" for one in wanted]
            assert scan.chars[place] == len(text)
            assert scan.count(classes.UPPER)[place] == sum(map(str.isupper, text))
            words, offsets = scan.blank_words()
            assert offsets[place + 1] - offsets[place] == len([w for w in re.split("[ \n\t\v\f\r]+", text) if w])
            assert len(words.starts) == offsets[-1]
    assert sorted(seen) == list(range(len(texts)))


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_equal_tokens_have_equal_hashes_and_others_do_not(texts: list[str]) -> None:
    known: dict[str, int] = {}
    for scan in scans([*texts, "the same token here, the same token there"]):
        for token, value in zip(
            [one for place in range(len(scan.rows)) for one in _tokens(scan, place)],
            scan.token_spans.hashes().tolist(),
            strict=True,
        ):
            assert known.setdefault(token, value) == value
    assert len(set(known.values())) == len(known)


def test_hashes_tell_long_tokens_apart_by_every_byte() -> None:
    tokens = ["a" * size for size in range(1, 300)] + ["a" * at + "b" + "a" * (200 - at) for at in range(200)]
    (scan,) = scans([" ".join(tokens)])
    assert len(np.unique(scan.token_spans.hashes())) == len(set(tokens))


def test_a_token_of_ten_megabytes_and_texts_of_nothing_are_read() -> None:
    texts = ["x" * 10_000_000, "", "\n" * 1000, "7" * 1_000_000, "😀" * 1000]
    found = {int(row): int(size) for scan in scans(texts) for row, size in zip(scan.rows, np.diff(scan.token_offsets), strict=True)}
    assert found == {0: 1, 1: 0, 2: 0, 3: 1, 4: 1}
