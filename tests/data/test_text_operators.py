"""Value operators for documents: layout, markup, noise, words and parts of speech, through the operators' registry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.cleaning.text.noise import STEPS, mend
from mofang.data.operators import apply_operators, apply_to_columns, normalise
from mofang.data.operators.normalise import paragraphs as layout

SIGNS = st.text(st.sampled_from("aé ｅ\u0301中，！\n\n\r\t\u2028\u2029\u200b\x00\xa0\x85.&;"), max_size=60)


def _spec(name: str, column: str = "text", **state: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "columns": [column], "state": state}


def _one(name: str, value: Any, **state: Any) -> Any:
    (record,) = apply_operators([_spec(name, **state)], [{"text": value}])
    return record["text"]


@settings(max_examples=200, deadline=None)
@given(SIGNS)
def test_layout_is_the_spelling_of_normalise_with_its_lines(text: str) -> None:
    laid = layout(text)
    assert layout(laid) == laid
    assert laid.split() == normalise(text).split()
    assert "\n\n\n" not in laid and "  " not in laid and "\r" not in laid


@settings(max_examples=300, deadline=None)
@given(SIGNS)
def test_layout_is_that_of_each_line_by_itself(text: str) -> None:
    lines = [normalise(line) for line in text.replace("\u2029", "\n\n").splitlines()]
    plain = "\n".join(lines).strip("\n")
    while "\n\n\n" in plain:
        plain = plain.replace("\n\n\n", "\n\n")
    assert layout(text) == plain
    assert apply_operators([_spec("text-html", mode="yes", spelling="later"), _spec("text-paragraphs")], [{"text": text}]) == (
        apply_operators([_spec("text-html", mode="yes"), _spec("text-paragraphs")], [{"text": text}])
    )


def test_lines_and_paragraphs_stay() -> None:
    assert _one("text-paragraphs", "Ｔitle \r\n\r\n\r\n  first   line\nsecond\u200b line\u2029next ") == (
        "Title\n\nfirst line\nsecond line\n\nnext"
    )
    assert _one("text-paragraphs", None) is None and _one("text-paragraphs", 7) == 7


def test_markup_becomes_text_and_other_values_stay() -> None:
    assert _one("text-html", "<p>价格 &lt; 5</p><p>next</p>") == "价格 < 5\n\nnext"
    assert _one("text-html", "a < b  and c") == "a < b  and c"
    assert _one("text-html", None) is None


@pytest.mark.parametrize(
    ("noisy", "mended", "reason"),
    [
        ("Itâ€™s a cafÃ© in MÃ¼nchen", "It’s a café in München", "mojibake"),
        ("ä¸\xadæ–‡ text", "中文 text", "mojibake"),
        ("Tom &amp; Jerry &#20013;", "Tom & Jerry 中", "entities"),
        ("in\u200bvisible\ufeff", "invisible", "invisible"),
        ("好！！！！！！ really?????", "好！！！ really???", "punctuation"),
        ("Read on.\n© 2024 Example Ltd. All rights reserved.\nEnd", "Read on.\nEnd", "boilerplate"),
        ("正文\n版权所有 某某公司\n完", "正文\n完", "boilerplate"),
    ],
)
def test_noise_is_mended_with_its_reason(noisy: str, mended: str, reason: str) -> None:
    assert mend(noisy) == (mended, {reason: mend(noisy).reasons[reason]})
    assert _one("text-noise", noisy) == mended


@pytest.mark.parametrize(
    "text",
    ["Ünïcödé naïve café °C £5 ½ «ça»", "wait... what?!", "AT&T; x & y; &unknown;", "the copyright law of 1998", "价格：５０％", "ÀÉÎ ÃO"],
)
def test_what_is_no_noise_stays(text: str) -> None:
    assert mend(text) == (text, {})


def test_addresses_go_only_when_asked_and_unknown_steps_are_named() -> None:
    text = "see https://example.com/a?b=1 and www.example.org/x，好"
    assert mend(text).text == text
    assert mend(text, STEPS) == ("see  and ，好", {"urls": 2})
    with pytest.raises(MofangError) as told:
        _one("text-noise", text, steps=["nothing"])
    assert told.value.code == "noise-step-unknown"


def test_chinese_is_cut_into_words_in_a_new_column() -> None:
    columns = {"text": ["这家酒店的服务很好", None, ""]}
    made = apply_to_columns([_spec("text-segment", makes=["words"])], columns)
    assert made["words"] == ["这家 酒店 的 服务 很 好", None, ""] and made["text"] == columns["text"]
    assert apply_to_columns([_spec("text-segment", makes=["words"], stop_words=False)], columns)["words"][0] == "这家 酒店 服务 好"
    english = apply_to_columns([_spec("text-segment", makes=["words"], language="en", stop_words=False)], {"text": ["The cat sat."]})
    assert english["words"] == ["cat sat ."]


def test_parts_of_speech_in_both_languages() -> None:
    chinese = apply_to_columns([_spec("text-tags", makes=["tags"])], {"text": ["酒店很好", None]})
    assert chinese["tags"] == ["n d a", None]
    english = apply_to_columns([_spec("text-tags", makes=["tags"], language="en", with_words=True)], {"text": ["The lazy dog", ""]})
    assert english["tags"] == ["The/DT lazy/JJ dog/NN", ""]
    with pytest.raises(MofangError) as told:
        apply_to_columns([_spec("text-tags", makes=["tags"], language="de")], {"text": ["x"]})
    assert told.value.code == "tags-language-unknown"
