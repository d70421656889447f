"""docs/features.md and docs/augment.md are walked: what they type is typed, and prints what they show."""

from __future__ import annotations

from pathlib import Path

from tests.data.test_features_gain import write_loans
from tests.new.test_pages import walk
from tests.stories.conftest import write_reviews
from tests.stories.terminal import Inside


def test_the_walk_through_features(tmp_path: Path) -> None:
    write_loans(tmp_path / "loans.csv", 300)
    walk("features.md", Inside(tmp_path), {})


def test_the_walk_through_variants(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 120)
    text = (tmp_path / "reviews.csv").read_text(encoding="utf-8").replace("评论,评价", "text,label", 1)
    (tmp_path / "reviews.csv").write_text(text, encoding="utf-8")
    walk("augment.md", Inside(tmp_path), {})
