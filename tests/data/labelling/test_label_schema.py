"""Every kind of answer: what fits is taken in one spelling, everything else is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.labelling.schema import KINDS, Schema, crosses_itself

SCHEMAS = {kind: Schema(kind, ("人", "地") if kind in ("classes", "several", "spans", "boxes", "polygons") else ()) for kind in KINDS}
SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_each_kind_is_taken(kind: str) -> None:
    schema = SCHEMAS[kind].check()
    assert schema.checked(schema.example(), chars=5, size=(20, 20))
    assert Schema.of(json.loads(json.dumps(schema.to_dict()))) == schema


WRONG: list[tuple[str, Any]] = [
    ("classes", {"label": "天"}), ("classes", {"label": 3}), ("classes", ["人"]), ("classes", {}), ("several", {"labels": "人"}),
    ("several", {"labels": ["天"]}), ("ratings", {"rating": 6}), ("ratings", {"rating": True}), ("ratings", {"rating": 3.0}),
    ("pairs", {"better": "c"}), ("text", {"text": 3}), ("text", {"text": "x" * 100_001}), ("text", {"text": "\ud800"}),
    ("spans", {"spans": [{"start": 0, "end": 6, "label": "人"}]}), ("spans", {"spans": [{"start": 2, "end": 2, "label": "人"}]}),
    ("spans", {"spans": [{"start": -1, "end": 2, "label": "人"}]}), ("spans", {"spans": [{"start": 0.5, "end": 2, "label": "人"}]}),
    ("spans", {"spans": [{"start": 0, "end": 2}]}), ("spans", {"spans": [{}] * 5001}),
    ("boxes", {"boxes": [{"x": 0, "y": 0, "width": 21, "height": 1, "label": "人"}]}),
    ("boxes", {"boxes": [{"x": 0, "y": 0, "width": 0, "height": 1, "label": "人"}]}),
    ("boxes", {"boxes": [{"x": float("nan"), "y": 0, "width": 1, "height": 1, "label": "人"}]}),
    ("polygons", {"polygons": [{"points": [[0, 0], [1, 1]], "label": "人"}]}),
    ("polygons", {"polygons": [{"points": [[0, 0], [10, 10], [10, 0], [0, 10]], "label": "人"}]}),
    ("polygons", {"polygons": [{"points": [[0, 0], [5, 5], [10, 10]], "label": "人"}]}),
    ("polygons", {"polygons": [{"points": [[0, 0], [10, 0], [10, 30]], "label": "人"}]}),
]


@pytest.mark.parametrize(("kind", "answer"), WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_is_refused(kind: str, answer: Any) -> None:
    with pytest.raises(MofangError) as error:
        SCHEMAS[kind].checked(answer, chars=5, size=(20, 20))
    assert error.value.code in ("label-answer", "label-class-unknown")


@given(kind=st.sampled_from(KINDS), answer=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["label", "labels", "spans", "boxes", "polygons", "points", "start", "end", "x", "y", "width", "height",
                         "rating", "better", "text"]), inner, max_size=5), max_leaves=12))
def test_no_answer_breaks_the_check(kind: str, answer: Any) -> None:
    try:
        checked = SCHEMAS[kind].checked(answer, chars=5, size=(20, 20))
    except MofangError:
        return
    assert SCHEMAS[kind].checked(checked, chars=5, size=(20, 20)) == checked, "the spelling of a spelling is itself"


def test_order_and_copies_make_no_difference() -> None:
    assert SCHEMAS["several"].checked({"labels": ["地", "人", "地"]}) == {"labels": ["人", "地"]}
    spans = [{"start": 3, "end": 4, "label": "人"}, {"start": 0, "end": 1, "label": "地"}]
    assert SCHEMAS["spans"].checked({"spans": [*spans, *spans]}, chars=5) == {"spans": spans[::-1]}


def test_polygons_that_cross_themselves() -> None:
    square = [(float(x), float(y)) for x, y in SQUARE]
    assert not crosses_itself(square) and not crosses_itself(square[::-1])
    assert not crosses_itself([(0, 0), (10, 0), (10, 10), (5, 2), (0, 10)])
    assert crosses_itself([(0, 0), (10, 0), (10, 10), (5, -2), (0, 10)])
    assert crosses_itself([*square, (0.0, 10.0)])


def test_one_key_for_each_choice() -> None:
    assert SCHEMAS["classes"].shortcuts() == {"1": "人", "2": "地"}
    assert Schema("ratings", lowest=0, highest=5).shortcuts() == {str(one): one for one in range(6)}
    many = Schema("classes", tuple(f"c{one}" for one in range(40))).shortcuts()
    assert len(many) == 29 and not set(many) & set("uscqhx"), "letters that mean something else are left out"


@pytest.mark.parametrize("bad", [Schema("nothing"), Schema("classes"), Schema("classes", ("a", "a")), Schema("classes", ("",)),
                                 Schema("ratings", lowest=5, highest=5), Schema("classes", tuple(map(str, range(501))))])
def test_questions_that_cannot_be_asked(bad: Schema) -> None:
    with pytest.raises(MofangError) as error:
        bad.check()
    assert error.value.fix
