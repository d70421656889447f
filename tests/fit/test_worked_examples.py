"""docs/worked-examples.md: every sum on the page is worked out again."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "worked-examples.md"


def test_every_sum_is_right() -> None:
    lines = PAGE.read_text(encoding="utf-8").replace("\n```", "\n").splitlines()  # a fence is no output
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    test = parser.get_doctest("\n".join(lines), {}, PAGE.name, str(PAGE), 0)
    runner.run(test)
    assert runner.failures == 0 and runner.tries > 20
