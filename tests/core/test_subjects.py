"""What a journal says about somebody is sealed under a key of theirs, and says nothing once that is destroyed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.core.subjects import forget, forget_many, open_, open_many, seal, seal_many
from mofang.core.tombstones import Tombstones, person_mark, spelled

BODY: dict[str, Any] = {"label": "好评", "span": [3, 9], "note": "张三 called"}


def test_a_body_comes_back_and_differs_each_time(shop: Shop) -> None:
    one, two = seal(shop, "r1", BODY), seal(shop, "r1", BODY)
    assert one != two and "张三" not in one
    assert open_(shop, "r1", one) == open_(shop.again(), "r1", two) == BODY


def test_a_forgotten_subject_says_nothing_while_the_chain_stays_whole(shop: Shop) -> None:
    texts = {name: seal(shop, name, BODY | {"who": name}) for name in ("r1", "r2")}
    shop.journals.record("notes", [NewRow("label", {"sealed": text, "record": name}) for name, text in texts.items()])
    assert shop.seal("notes") and forget(shop, "r1") and not forget(shop, "r1")
    assert open_(shop, "r1", texts["r1"]) is None and open_(shop, "r2", texts["r2"]) == BODY | {"who": "r2"}
    assert shop.verify() == []
    with pytest.raises(MofangError) as told:
        seal(shop, "r1", BODY)
    assert told.value.code == "subject-erased"
    assert forget_many(shop, ["r1", "r2", "never seen"]) == 1


def test_another_subjects_or_a_changed_text_is_refused(shop: Shop) -> None:
    text = seal(shop, "r1", BODY)
    seal(shop, "r2", BODY)
    for subject, wrong in (("r2", text), ("r1", text[:-8] + "AAAAAAAA"), ("r1", text[:20]), ("r1", "sealed1.***"), ("r1", "x")):
        with pytest.raises(MofangError) as told:
            open_(shop, subject, wrong)
        assert told.value.code == "sealed-changed"
    assert open_(shop, "unknown", text) is None


def test_many_at_once(shop: Shop) -> None:
    bodies = [(f"r{number % 700}", {"n": number}) for number in range(2000)]
    sealed = seal_many(shop, bodies)
    assert open_many(shop, [(subject, text) for (subject, _), text in zip(bodies, sealed, strict=True)]) == [b for _, b in bodies]


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_a_person_is_found_however_the_name_is_spelled(name: str) -> None:
    key = b"k" * 32
    assert person_mark(key, name) == person_mark(key, f"　{name}\t") and spelled(spelled(name)) == spelled(name)
    assert person_mark(key, "ＺＨＡＮＧ") == person_mark(key, " zhang")


def test_an_empty_shop_has_no_tombstones(shop: Shop) -> None:
    marks = Tombstones(shop)
    assert not marks and not marks.person("张三") and not marks.record("0" * 32)
