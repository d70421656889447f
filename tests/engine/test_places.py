"""Places in texts: pieces, tags, spans, answers, windows; all by hand-made cases."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mofang.engine.decode.answer import answer_of
from mofang.engine.decode.spans import best_tags, runs_of, spans_of, tags_of
from mofang.engine.encode.overlap import OverlapEncoder
from mofang.engine.encode.pairs import PairEncoder
from mofang.engine.encode.pieces import pieces
from mofang.engine.encode.places import PlaceEncoder
from mofang.engine.encode.surroundings import SurroundingsEncoder
from mofang.engine.encode.tokens import TokenEncoder
from mofang.engine.measure import compare_outputs
from mofang.engine.outputs import read_rows, rows_of, stacked
from mofang.engine.replay import same

TEXT = "Angela Merkel 昨天访问了上海，and stayed 3 days 😀."


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in pieces(text)]


@pytest.fixture(scope="module")
def tokenizer() -> str:
    from tokenizers import Tokenizer, processors

    learnt = TokenEncoder.fit([{"text": TEXT}, {"text": "昨天 the days stayed stays"}], vocabulary=300, min_count=1)
    made = Tokenizer.from_str(learnt.tokenizer_json)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return str(made.to_str())


def test_a_chinese_character_is_a_piece_and_a_word_and_a_sign() -> None:
    assert words("上海a1 don't，😀") == ["上", "海", "a1", "don", "'", "t", "，", "😀"]
    assert pieces("") == pieces(" \n\u3000") == []
    assert words("𠮷野家カフェ") == ["𠮷", "野", "家", "カ", "フ", "ェ"], "beyond the first plane, and kana"


def test_tags_begin_go_on_and_stand_outside() -> None:
    places = pieces(TEXT)
    tags, uneven = tags_of([(0, 13, 0), (19, 21, 1)], places)
    assert [words(TEXT)[place] for place in np.flatnonzero(tags)] == ["Angela", "Merkel", "上", "海"]
    assert tags[:3].tolist() == [1, 2, 0] and runs_of(tags) == [(0, 2, 0), (7, 9, 1)] and uneven == 0
    assert tags_of([(0, 3, 0)], places)[1] == 1, "a span that ends within a word covers it all, and is counted"
    assert runs_of(np.array([1, 1, 2, 3, 4])) == [(0, 1, 0), (1, 3, 0), (3, 5, 1)], "two of a kind side by side stay two"


def test_a_tag_goes_on_only_with_its_own_label() -> None:
    free = np.array([[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.35, 0.05, 0.4], [0.3, 0.1, 0.1, 0.1, 0.4]], np.float32)
    assert best_tags(free).tolist() == [1, 2, 0], "the second piece would rather go on with the other label"
    alone = np.array([[0.05, 0.15, 0.8]], np.float32)
    assert best_tags(alone).tolist() == [1], "what begins a text begins a span"
    chance = np.random.default_rng(0)
    for _ in range(50):
        raw = chance.random((6, 5))
        tags = best_tags(raw / raw.sum(axis=1, keepdims=True))
        assert all(tag % 2 == 1 or tag == 0 or before in (tag, tag - 1) for before, tag in zip([0, *tags], tags, strict=False))


def test_spans_say_where_they_are_in_code_points() -> None:
    text = "😀 上海好"
    found = np.zeros((4, 3), np.float32)
    found[[0, 3], 0], found[1, 1], found[2, 2] = 0.9, 0.8, 0.6
    (only,) = spans_of(text, pieces(text), found, ["地"])
    assert only == {"start": 2, "end": 4, "label": "地", "text": "上海", "score": 0.7}
    assert text[2:4] == "上海" and spans_of("", [], found, ["地"]) == []


def test_an_answer_is_the_likeliest_stretch_or_none() -> None:
    places = pieces("a b c d")
    found = np.full((5, 2), 0.05, np.float32)
    found[2, 0], found[3, 1] = 0.8, 0.8
    assert answer_of("a b c d", places, found) == {"text": "b c", "start": 2, "end": 5, "score": 0.64}
    found[0] = 0.9
    assert answer_of("a b c d", places, found) == {"text": "", "start": None, "end": None, "score": 0.81}
    backwards = np.full((5, 2), 0.01, np.float32)
    backwards[4, 0], backwards[1, 1] = 0.9, 0.9
    assert answer_of("a b c d", places, backwards)["start"] is not None, "an end before its begin is no answer"


def test_long_texts_are_cut_into_windows_and_put_together_again(tokenizer: str) -> None:
    encoder = PlaceEncoder("text", tokenizer, max_length=16)
    text = (TEXT + " ") * 12
    arrays = encoder.encode([{"text": text}, {"text": "上海"}, {"text": ""}])
    assert arrays["input_ids"].shape[1] == 16 and (arrays["@record"] == 0).sum() > 5
    assert arrays["@pieces"].tolist() == [len(pieces(text)), 2, 0]
    seen = np.unique(arrays["@piece"][arrays["@record"] == 0])
    assert len(seen[seen >= 0]) == len(pieces(text)), "every piece begins in some window"
    told = np.zeros((*arrays["input_ids"].shape, 3), np.float32)
    told[..., 1] = arrays["input_ids"]
    joined = encoder.gather(arrays, {"probabilities": told})["probabilities"]
    alone = [encoder.encode([{"text": word}])["input_ids"][0, 1] for word in words(text)]
    assert joined[0, :, 1].tolist() == alone, "every piece has the answer of its own token"
    assert encoder.load(encoder.save()).encode([{"text": text}])["input_ids"].shape[0] == (arrays["@record"] == 0).sum()


def test_a_question_stands_before_every_window(tokenizer: str) -> None:
    encoder = PlaceEncoder("context", tokenizer, "question", max_length=24)
    arrays = encoder.encode([{"context": TEXT * 3, "question": "昨天 the days"}, {"context": "上海", "question": "days " * 99}])
    first = arrays["@record"] == 0
    assert (arrays["input_ids"][first, 1] == arrays["input_ids"][0, 1]).all() and first.sum() > 2
    assert arrays["token_type_ids"][0, 0] == 0 and arrays["token_type_ids"][0][arrays["@piece"][0] >= 0].all()
    assert (arrays["@piece"][~first] >= 0).sum() == 2, "a long question leaves room for the text"
    logits = np.zeros((*arrays["input_ids"].shape, 2), np.float32)
    found = encoder.gather(arrays, {"number": logits})["places"]
    assert np.allclose(found.sum(axis=1), 1) and found.shape == (2, 1 + len(pieces(TEXT * 3)), 2)
    assert found[1, 3:].sum() == 0, "what lies behind a shorter text is no place"


def test_two_texts_are_cut_from_the_longer_one(tokenizer: str) -> None:
    encoder = PairEncoder(("a", "b"), tokenizer, 12)
    arrays = encoder.encode([{"a": "上海" * 50, "b": "昨天"}, {"a": "", "b": "x"}])
    assert arrays["input_ids"].shape == (2, 12) and arrays["token_type_ids"][0].sum() == 3, "both characters and the end"
    assert "token_type_ids" not in PairEncoder(("a", "b"), tokenizer, 12, 0, False).encode([{"a": "x", "b": "y"}])
    assert PairEncoder.load(encoder.save()) != encoder and PairEncoder.load(encoder.save()).columns == ("a", "b")


def test_encoders_of_places_repeat_themselves_and_refuse_what_is_not_theirs() -> None:
    records = [{"context": TEXT, "question": "what 昨天"}, {"context": "", "question": "x"}] * 2
    encoder = SurroundingsEncoder.fit(records, "context", "question")
    again = SurroundingsEncoder.load(encoder.save())
    for name, array in encoder.encode(records).items():
        assert (again.encode(records)[name] == array).all()
    assert len(encoder.encode([{"context": "", "question": "x"}])["ids"]) == 1, "an engine gets one row at least"
    overlap = OverlapEncoder.fit([{"a": "好", "b": "好 good"}, {"a": "x", "b": ""}], ("a", "b"))
    assert np.isfinite(OverlapEncoder.load(overlap.save()).encode([{"a": "", "b": None}])["features"]).all()
    for kind, files in ((SurroundingsEncoder, encoder.save()), (OverlapEncoder, overlap.save())):
        name = next(one for one in files if one.endswith(".npy"))
        with pytest.raises((ValueError, KeyError)):
            kind.load({**files, name: b"nothing"})


def test_outputs_of_different_length_are_kept_written_and_compared() -> None:
    one, other = np.ones((1, 2, 3), np.float32), np.full((2, 4, 3), 2, np.float32)
    whole = stacked([{"probabilities": one}, {"probabilities": other}])
    assert whole["probabilities"].shape == (3, 4, 3) and not whole["probabilities"][0, 2:].any()
    written = json.loads(json.dumps([rows_of(whole, row) for row in range(3)]))
    assert len(written[0]["probabilities"]) == 2 and (read_rows(written)["probabilities"] == whole["probabilities"]).all()
    assert compare_outputs({"probabilities": other}, {"probabilities": other[:, :3]}).max_abs_difference == 2
    assert compare_outputs({"number": other}, {"number": other * 1.00001}).passes, "numbers are measured against their size"
    assert not compare_outputs({"number": other}, {"other": other}).passes
    assert not compare_outputs({"number": other * np.nan}, {"number": other}).passes


def test_answers_are_the_same_only_to_the_tolerance_of_their_numbers() -> None:
    answer = {"spans": [{"start": 1, "label": "人", "score": 0.5}], "text": None}
    assert same(answer, json.loads(json.dumps(answer))) and same(0.5, 0.5000004)
    for change in ({"spans": []}, {"spans": [{"start": 2, "label": "人", "score": 0.5}], "text": None}, {**answer, "text": "x"}):
        assert not same(answer, change)
    assert not same(0.5, "0.5") and not same("0.5", 0.5)
