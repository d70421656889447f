"""Spans and answers judged: by hand, and as CoNLL and SQuAD define it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mofang.core.metrics import text_tokens, token_f1
from mofang.judge import answered, spans
from mofang.judge.figures import intervals

LABELS = ["地", "人"]


def measured(truth: list[list[tuple[int, int, int]]], said: list[list[tuple[int, int, str]]]) -> spans.Measured:
    answers = [{"spans": [{"start": a, "end": b, "label": label, "text": "", "score": 0.5} for a, b, label in row]} for row in said]
    return spans.Measured({"labels": LABELS}, [{}] * len(truth), truth, {}, answers)


def figures(one: Any, weights: np.ndarray) -> dict[tuple[str, str], float]:
    return dict(zip(one.names, one.of(weights).tolist(), strict=True))


def test_only_exact_spans_count_as_in_conll() -> None:
    """The four rows: right; right place and wrong label; a place too long; nothing said. seqeval gives the same numbers."""
    one = measured([[(0, 2, 1), (5, 7, 0)], [(0, 2, 1)], [(3, 5, 0)], [(1, 2, 0)]],
                   [[(0, 2, "人"), (5, 7, "地")], [(0, 2, "地")], [(3, 6, "地")], []])
    found = figures(one, np.ones(4, np.int64))
    assert (found["precision", ""], found["recall", ""]) == (2 / 4, 2 / 5)
    assert found["f1", ""] == pytest.approx(4 / 9)
    assert found["precision", "人"] == 1 and found["recall", "人"] == 0.5 and found["f1", "人"] == pytest.approx(2 / 3)
    assert found["precision", "地"] == pytest.approx(1 / 3) and found["recall", "地"] == pytest.approx(1 / 3)
    assert found["f1_macro", ""] == pytest.approx((2 / 3 + 1 / 3) / 2) and found["all_right", ""] == 0.25
    assert [row for row, _ in one.mistakes()] == [1, 2, 3]
    twice = figures(one, np.array([2, 0, 0, 1], np.int64))
    assert twice["precision", ""] == 1 and twice["recall", ""] == pytest.approx(4 / 5)


def test_nothing_to_find_and_nothing_said_is_no_failure_of_the_share_of_right_texts() -> None:
    found = figures(measured([[], []], [[], []]), np.ones(2, np.int64))
    assert found["all_right", ""] == 1 and found["f1", ""] == found["precision", ""] == found["recall", ""] == 0


def test_the_paired_difference_is_that_of_the_same_texts() -> None:
    truth: list[list[tuple[int, int, int]]] = [[(0, 1, 0)]] * 40
    better = measured(truth, [[(0, 1, "地")]] * 40)
    worse = measured(truth, [[(0, 1, "地")]] * 20 + [[]] * 20)
    own, paired = intervals([better, worse], 40, 200, 0)
    assert own[0][0].low == own[0][0].high == 1
    assert paired[0].low > 0 and paired[0].value == pytest.approx(1 - 2 * 0.5 / 1.5)


def test_answers_lose_case_signs_and_articles() -> None:
    assert text_tokens("The Answer, is 42!") == ["answer", "is", "42"]
    assert text_tokens("《红楼梦》的作者 a") == ["红", "楼", "梦", "的", "作", "者"], "the article goes, as SQuAD has it"
    assert token_f1(["a", "b"], ["b", "c"]) == 0.5 and token_f1([], []) == 1 and token_f1([], ["a"]) == 0
    assert token_f1(["x", "x"], ["x"]) == pytest.approx(2 / 3), "each word counts as often as it stands there"


def test_answers_are_judged_by_words_and_none_only_by_none() -> None:
    about = {"inputs": [{"name": "context"}, {"name": "question"}]}
    records = [{"context": "曹雪芹写了红楼梦", "question": "谁"}] * 4
    truth = [(0, 3), (0, 3), (-1, -1), (-1, -1)]
    said = [{"text": "曹雪芹", "score": 0.9}, {"text": "雪芹写", "score": 0.8}, {"text": "", "score": 0.7}, {"text": "曹", "score": 0.6}]
    one = answered.Measured(about, records, truth, {}, said)
    found = figures(one, np.ones(4, np.int64))
    assert found["exact_match", ""] == 0.5 and found["answerable_right", ""] == 0.75
    assert found["f1", ""] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert one.mistakes() == [(1, 0.8), (3, 0.6)] and one.truth == ["曹雪芹", "曹雪芹", "", ""]
