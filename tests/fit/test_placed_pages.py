"""docs/entities.md, docs/questions.md and docs/pairs.md are walked on rows that are made here."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fit.placing import MAKE, written
from tests.new.test_pages import walk
from tests.stories.terminal import Inside

PAGES = {"entities.md": ("token_classification", "sentences"), "questions.md": ("question_answering", "questions"),
         "pairs.md": ("pair_classification", "pairs")}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_page_is_true(page: str, tmp_path: Path) -> None:
    task, name = PAGES[page]
    chance = random.Random(7)
    written(tmp_path, [MAKE[task](chance, number) for number in range(120)], name)
    walk(page, Inside(tmp_path), {})
