"""Markup becomes the text that a reader would see, in bounded time."""

from __future__ import annotations

import time

import pytest

from mofang.data.cleaning.text.html import looks_like_html, to_text


def _words(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def test_blocks_end_lines_and_what_is_not_read_is_left_out() -> None:
    page = (
        "<!DOCTYPE html><html><head><title>Title</title><style>p {}</style><script>let x = '<p>';</script></head><body>"
        "<nav>Home | About</nav><h1>价格 &amp; 条件</h1><p>One <b>bold</b> word.</p><p>Two<br>lines</p>"
        "<ul><li>first</li><li>second</li></ul></body></html>"
    )
    text = to_text(page)
    assert _words(text)[:2] == ["价格 & 条件", "One bold word."]
    assert [" ".join(line.split()) for line in text.splitlines() if line.strip()][2:] == ["Two", "lines", "first", "second"]
    assert "Home" not in text and "let x" not in text and "p {}" not in text


@pytest.mark.parametrize(
    ("text", "is_markup"),
    [
        ("<p>Hello</p>", True),
        ("  <div class='a'>x</div>", True),
        ("Look: <a href='x'>here</a>, <b>now</b>", True),
        ("<?xml version='1.0'?>\n<html xmlns='x'><body>x</body></html>", True),
        ("if a < b and c > d then", False),
        ("List<String> names = new ArrayList<>();", False),
        ("The <b> tag makes text bold, and </b> ends it. " + "It is an old tag and rarely used today. " * 9, False),
        ("", False),
        ("中文，没有标记。", False),
    ],
)
def test_fragments_are_known_by_their_tags(text: str, is_markup: bool) -> None:
    assert looks_like_html(text) is is_markup
    assert (to_text(text) == text) is not is_markup


def test_capitals_and_entities_are_read_too() -> None:
    assert _words(to_text("<HTML><BODY><P>a&nbsp;b &#20013;</P><P>&lt;c&gt;</P></BODY></HTML>")) == ["a b 中", "<c>"]


@pytest.mark.parametrize(
    "inside",
    [
        "<div>" * 100_000 + "deep", "<div>" * 60_000 + "deep" + "</div>" * 60_000, "<b><p>" * 50_000 + "deep",
        "<a><table>" * 20_000 + "deep", "<" * 500_000 + "p>deep", "<p>deep</p><a " + " ".join(f"x{n}=1" for n in range(50_000)) + ">",
        "deep<!--" * 100_000, "&amp;" * 200_000 + "deep", "<svg>" * 20_000 + "deep", "<select><option>" * 50_000 + "deep",
    ],
)  # fmt: skip
def test_hostile_markup_takes_bounded_time(inside: str) -> None:
    begun_s = time.process_time()
    assert "deep" in to_text("<html><body>" + inside)
    assert time.process_time() - begun_s < 3
