"""presidio with our recognisers: Chinese is found, nothing is downloaded, and zeros are not all cards."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster  # importing presidio takes seconds


def test_presidio_finds_what_we_find_and_asks_nobody() -> None:
    from mofang.data.protecting.presidio import find_with_presidio

    texts = ["手机13800138000", "身份证11010519491231002X号", "IBAN DE89370400440532013000, SSN 536-22-1234", ""]
    found = [[(text[one.start : one.end], one.kind) for one in spans]
             for text, spans in zip(texts, find_with_presidio(texts), strict=True)]
    assert found == [[("13800138000", "mobile")], [("11010519491231002X", "identity-card")],
                     [("DE89370400440532013000", "iban"), ("536-22-1234", "ssn")], []]


def test_our_recogniser_in_somebodys_own_registry() -> None:
    from mofang.data.protecting.presidio import recognizer

    one = recognizer("zh", frozenset({"mobile"}))
    (result,) = one.analyze("手机13800138000，a@b.cn", ["CN_MOBILE", "EMAIL_ADDRESS"], None)
    assert (result.entity_type, result.start, result.end) == ("CN_MOBILE", 2, 13)
