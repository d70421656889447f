"""docs/texts.md is walked: what it types is typed, and prints what it shows."""

from __future__ import annotations

import random
from pathlib import Path

from tests.new.test_pages import walk
from tests.stories.terminal import Inside


def test_the_walk_through_texts(tmp_path: Path) -> None:
    chance, lines = random.Random(4), ["text,marks"]
    for number in range(150):
        great = chance.randint(0, 4)
        lines.append(f"note {number}: {' '.join(['great'] * great + ['awful'] * (4 - great))},{great}")
    (tmp_path / "notes.csv").write_text("\n".join(lines), encoding="utf-8")
    walk("texts.md", Inside(tmp_path), {})
