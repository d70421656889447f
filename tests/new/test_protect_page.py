"""docs/protect.md is walked: every command of its console blocks is typed, and what it prints is what the page shows."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from tests.new.test_pages import walk
from tests.stories.terminal import Inside


def write_customers(path: Path, rows: int = 240) -> None:
    """Customers with remarks that hold a name and a telephone."""
    generator = random.Random(5)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "remark", "age", "city", "joined", "rating"])
        for number in range(rows):
            city = generator.choice(["上海", "北京", "成都"]) if number % 40 else f"小镇{number}"
            said = generator.choice(["物流", "屏幕", "客服", "电池"]) + ("很好" if number % 2 else "很差")
            writer.writerow([f"C{number:04}", f"我叫王小明，电话1380013{number:04}，{said}", generator.randint(20, 59), city,
                             f"2023-{1 + number % 12:02}-15", "good" if number % 2 else "bad"])


def test_the_walk_from_customers_to_private_answers(tmp_path: Path) -> None:
    write_customers(tmp_path / "customers.csv")
    walk("protect.md", Inside(tmp_path), {})
