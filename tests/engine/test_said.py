"""Answers of every task in words and in cells."""

from __future__ import annotations

from mofang.engine.said import answer_cells, answer_heads, answer_scores, answer_words

CLASS = {"label": "好", "scores": {"好": 0.75, "差": 0.25}}
SPANS = {"spans": [{"start": 0, "end": 2, "label": "人", "text": "李雷", "score": 0.9}]}
ANSWER = {"text": "", "start": None, "end": None, "score": 0.5}


def test_an_answer_of_any_task_has_words_cells_and_scores() -> None:
    assert answer_words(CLASS) == "好  0.750" and answer_words({"value": 0.25}) == "0.25"
    assert answer_words(SPANS) == "李雷 [人 0.90]" and answer_words({"spans": []}) == "–"
    assert answer_words(ANSWER) == "–  0.500" and answer_words({"vector": [1.0]}) == '{"vector":[1.0]}'
    assert answer_heads(CLASS, ["差", "好"]) == ["label", "score 差", "score 好"] and answer_cells(CLASS, ["差", "好"]) == ["好", 0.25, 0.75]
    assert answer_heads(SPANS, ["人"]) == ["spans"] and answer_cells(SPANS, ["人"])[0].startswith('[{"start":0')
    assert answer_cells(ANSWER, []) == ["", None, None, 0.5]
    assert answer_scores(CLASS, 1) == [("好", 0.75)] and answer_scores(SPANS, 5) == [("李雷 [人]", 0.9)]
    assert answer_scores(ANSWER, 5) == [("–", 0.5)] and answer_scores({"value": 1.0}, 5) == []
