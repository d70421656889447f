"""Each statistic of a text equals a plain count written for one text; what is dropped is decided from the columns."""

from __future__ import annotations

import math
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.data.cleaning.text import classes
from mofang.data.cleaning.text.facts import COUNTS, SHARES, TextFacts, text_facts
from mofang.data.cleaning.text.lines import BULLETS, FINISHED
from mofang.data.cleaning.text.quality import Limits, QualityRules, decide
from mofang.data.cleaning.text.repetition import DUPLICATE, REPETITION, TOP
from mofang.data.cleaning.text.shingles import signatures
from mofang.data.cleaning.text.stopwords import CHINESE_SIGNS, GOPHER

WORDS = ["the", "The", "of", "a", "a", "b", "Word", "中", "的", "文", "x9", "42", "#", "...", "…", ".", "- ", "• ", "{", "é", "_"]
PIECES = st.sampled_from([*WORDS, " ", " ", "\n", "\n\n", "\t", "\r\n", "\u2028", "lorem ipsum", "JavaScript", "terms of use"])
TEXTS = st.lists(st.lists(PIECES, max_size=60).map("".join), min_size=1, max_size=6)


def _counted(text: str) -> dict[str, float]:
    """The facts of one text, counted one by one."""
    text = text.replace("\r\n", "\n").replace("\0", " ")
    tokens = classes.TOKEN.findall(text)
    words = [one for one in tokens if one[0].isalnum() or one[0] == "_"]
    latin = [one for one in words if not re.match(f"[{classes.HAN_CLASS}]", one)]
    lines = text.splitlines()
    full = [one for one in lines if one.strip()]
    folded = re.sub("[A-Z]", lambda found: found[0].lower(), text)
    stops = [one for one in tokens if one in GOPHER or one in [word.capitalize() for word in GOPHER]]

    def share(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    return {
        "chars": len(text), "tokens": len(tokens), "words": len(words), "lines": len(lines),
        "han": sum(1 for one in words if re.match(f"[{classes.HAN_CLASS}]", one)),
        "stop_words": len({one.lower() for one in stops}),
        "chinese_signs": len(set(CHINESE_SIGNS) & set(tokens)),
        "curly_brackets": text.count("{"), "lorem_ipsum": folded.count("lorem ipsum"),
        "javascript": folded.count("javascript"), "policies": folded.count("terms of use"),
        "word_chars": share(sum(map(len, latin)), len(latin)),
        "hash_share": share(text.count("#"), len(tokens)),
        "ellipsis_share": share(text.count("...") + text.count("…"), len(tokens)),
        "letter_share": share(sum(map(str.isalpha, text)), len(text)),
        "upper_share": share(sum(map(str.isupper, text)), sum(map(str.isalpha, text))),
        "digit_share": share(sum(map(str.isdecimal, text)), len(text)),
        "word_letter_share": share(sum(any(map(str.isalpha, one)) for one in tokens), len(tokens)),
        "stop_word_share": share(len(stops), len(words)),
        "bullet_lines": share(sum(one.lstrip()[:1] in BULLETS for one in full), len(lines)),
        "ellipsis_lines": share(sum(one.rstrip().endswith(("...", "…")) for one in lines), len(lines)),
        "finished_lines": share(sum(one.rstrip().endswith(FINISHED) for one in full), len(full)),
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_each_column_is_what_counting_one_text_gives(texts: list[str]) -> None:
    facts = text_facts(texts, identify="", shingles=False)
    for row, text in enumerate(texts):
        wanted = _counted(text)
        assert set(wanted) == {*COUNTS, *SHARES}
        for name, value in wanted.items():
            assert facts.columns[name][row] == pytest.approx(value, rel=1e-6), (name, text)


def _folded_words(text: str) -> list[str]:
    text = re.sub("[A-Z0-9]", lambda found: "0" if found[0].isdigit() else found[0].lower(), text)
    return [one for one in classes.TOKEN.findall(text) if one[0].isalnum() or one[0] == "_"]


def _repeats(text: str) -> dict[str, float]:
    """Repetition of one text, by dictionaries."""
    text = text.replace("\r\n", "\n")
    tokens = [classes.TOKEN.findall(line) for line in text.splitlines()]
    lines = [tuple(one) for one in tokens if one]
    paragraphs: list[tuple[str, ...]] = []
    for place, line in enumerate(tokens):
        if line and (place == 0 or not tokens[place - 1] or not paragraphs):
            paragraphs.append(tuple(line))
        elif line:
            paragraphs[-1] += tuple(line)
    words = _folded_words(text)
    counts = Counter(words)
    chars = sum(map(len, words)) or 1
    found: dict[str, float] = {
        "distinct_words": len(counts) / max(len(words), 1),
        "entropy_bits": -sum(n / len(words) * math.log2(n / len(words)) for n in counts.values()),
    }
    for name, units in (("line", lines), ("paragraph", paragraphs)):
        again = [one for place, one in enumerate(units) if one in units[:place]]
        found[f"duplicate_{name}s"] = len(again) / max(len(units), 1)
        found[f"duplicate_{name}_chars"] = len("".join(map("".join, again))) / max(len("".join(map("".join, units))), 1)
    for size in TOP:
        grams = Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
        most = max(grams.values(), default=0)
        best = max((len("".join(one)) for one, count in grams.items() if count == most), default=0)
        found[f"top_{size}_grams"] = most * best / chars if most > 1 else 0
    for size in DUPLICATE:
        met, covered = set(), set()
        for at in range(len(words) - size + 1):
            gram = tuple(words[at : at + size])
            covered |= set(range(at, at + size)) if gram in met else set()
            met.add(gram)
        found[f"duplicate_{size}_grams"] = sum(len(words[at]) for at in covered) / chars
    return found


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_repetition_is_what_dictionaries_find(texts: list[str]) -> None:
    facts = text_facts(texts, identify="", shingles=False, repeats=True)
    for row, text in enumerate(texts):
        wanted = _repeats(text)
        assert set(wanted) == set(REPETITION)
        for name, value in wanted.items():
            assert facts.columns[name][row] == pytest.approx(value, rel=1e-5, abs=1e-6), (name, text)


@settings(max_examples=80, deadline=None)
@given(TEXTS)
def test_texts_share_shingles_where_they_share_five_words(texts: list[str]) -> None:
    facts = text_facts(texts, identify="")
    assert len(facts.shingle_offsets) == len(texts) + 1
    known: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(texts):
        words = _folded_words(text.replace("\r\n", "\n"))
        wanted = [tuple(words[at : at + 5]) for at in range(len(words) - 4)] or ([tuple(words)] if words else [])
        got = facts.shingle_hashes[facts.shingle_offsets[row] : facts.shingle_offsets[row + 1]].tolist()
        assert len(got) == len(wanted)
        for shingle, value in zip(wanted, got, strict=True):
            assert known.setdefault(shingle, value) == value
    assert len(set(known.values())) == len(known)


def test_facts_do_not_depend_on_the_batch() -> None:
    texts = ["The first of the texts, short.", "第二篇文字，里面有数字 42。", "", "a\nb\nc\n" * 50, "mixed 中文 and English " * 30]
    together = text_facts(texts, repeats=True)
    for row, text in enumerate(texts):
        alone = text_facts([text], repeats=True)
        for name, values in alone.table().items():
            assert values[0] == together.table()[name][row] or np.isnan(values[0])
        part = slice(*together.shingle_offsets[row : row + 2])
        assert alone.shingle_hashes.tolist() == together.shingle_hashes[part].tolist()


def test_no_text_gives_no_rows_and_signatures_tell_near_copies() -> None:
    nothing = text_facts([], repeats=True)
    assert len(nothing) == 0 and decide(nothing) == [] and nothing.shingle_offsets.tolist() == [0]
    words = [f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(400)]
    near = [*words[:200], "changed", *words[201:]]
    facts = text_facts([" ".join(words), " ".join(near), " ".join(reversed(words)), ""], identify="")
    signs = signatures(facts.shingle_hashes, facts.shingle_offsets)
    assert signs.shape == (4, 112) and signs.dtype == np.uint32
    assert (signs[0] == signs[1]).mean() > 0.85 and (signs[0] == signs[2]).mean() < 0.1


def test_threads_share_the_language_model() -> None:
    texts = [f"{ENGLISH} number {chr(97 + n % 26) * (n % 7)}" if n % 2 else f"{CHINESE}{n}" for n in range(200)]
    parts = [texts[n : n + 10] for n in range(0, 200, 10)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: text_facts(part).language_score.tolist(), parts))
    assert [score for part in found for score in part] == text_facts(texts).language_score.tolist()


ENGLISH = "The house that we have seen is to be sold with all of its furniture and the garden behind it. " * 5
CHINESE = "这家酒店的服务很好，房间也很干净，下次还会再来。我们在这里住了三天，早餐的种类很多。" * 3


def test_texts_are_dropped_for_the_first_reason_that_holds() -> None:
    texts = {
        ENGLISH: "", CHINESE: "", "short": "words", "": "words", ENGLISH + " # # #" * 40: "symbols",
        "\n".join(f"- the end of line {n} and to that, a bullet that we have" for n in range(20)): "bullets",
        "\n".join(f"the end of line {n} and to that, a line that stops ..." for n in range(20)): "ellipsis-lines",
        "Supercalifragilistic electroencephalograph " * 40 + "the of": "word-length",
        "Bedroom kitchen garden window table chair cupboard " * 10: "stop-words",
    }  # fmt: skip
    english = QualityRules(other=QualityRules().english, repeats=None)
    assert decide(text_facts(list(texts)), english) == list(texts.values())


@pytest.mark.parametrize(
    ("added", "limits", "reason"),
    [
        ("{", Limits(curly_brackets=0), "curly-brackets"), ("Lorem ipsum", Limits(lorem_ipsum=0), "lorem-ipsum"),
        ("Please enable JavaScript", Limits(javascript=0), "javascript"), ("Privacy Policy", Limits(policies=0), "policies"),
        ("X" * 300, Limits(upper_share=0.3), "capitals"), ("1234567890" * 30, Limits(digit_share=0.2), "digits"),
        ("\nno end" * 20, Limits(finished_lines=0.5), "unfinished-lines"), ("", Limits(), ""),
    ],
)  # fmt: skip
def test_the_limits_of_c4_hold_where_they_are_set(added: str, limits: Limits, reason: str) -> None:
    facts = text_facts([ENGLISH.strip() + " " + added], identify="")
    assert decide(facts, QualityRules(other=limits)) == [reason]


def test_a_changed_threshold_needs_only_the_stored_columns() -> None:
    facts = text_facts([ENGLISH, CHINESE, "short"], repeats=True)
    stored = TextFacts.from_table({name: values.tolist() for name, values in facts.table().items()})
    assert decide(stored, QualityRules(repeats=None)) == ["", "", "words"]
    assert decide(stored) == ["repeated-lines", "", "words"] or decide(stored)[0].startswith("repeated")
    strict = QualityRules(english=Limits(words=(500, 1000)), repeats=None)
    assert decide(stored, strict)[0] == "words"


def test_a_language_below_its_score_is_dropped_and_a_prefix_is_enough_where_asked() -> None:
    facts = text_facts([ENGLISH, CHINESE, "Die Würde des Menschen ist unantastbar. " * 10], identify="prefix", prefix=50)
    assert facts.language == ["en", "zh", "de"]
    assert decide(facts, QualityRules(languages=("zh",), repeats=None)) == ["language", "", "language"]
    assert set(decide(facts, QualityRules(languages=("en", "zh"), language_score=1.1))) == {"language"}


@pytest.mark.parametrize("text", ["", "\n" * 50_000, "\ud800", "😀" * 5000, "e\u0301" * 5000, "\0" * 100, "的" * 100_000, "1" * 100_000])
def test_hostile_texts_give_finite_facts(text: str) -> None:
    facts = text_facts([text, ENGLISH], repeats=True)
    for name, values in facts.columns.items():
        assert np.isfinite(values).all(), name
    assert decide(facts, QualityRules(repeats=None))[1] == ""
