"""What encryption at rest costs: storing and reading 100 MB, and cleaning and splitting, with and without.

``python -m bench.store`` prints processor seconds (medians of five), which a busy machine changes less than wall time.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mofang.core.shop import Shop
from mofang.core.store import Store

SIZE_MB, ROWS, TIMES = 100, 60_000, 5


def seconds(do: Callable[[], Any]) -> float:
    """Processor seconds of this process."""
    began = time.process_time()
    do()
    return time.process_time() - began


def objects(folder: Path, private: bool) -> dict[str, float]:
    """Processor seconds to store and to read one object."""
    place, store = folder / "given", Store(folder / f"objects-{private}")
    place.write_bytes(os.urandom(SIZE_MB * 10**6))
    kept: list[str] = []
    stored = seconds(lambda: kept.append(store.keep(place, private=private)[0]))

    def read() -> None:
        with store.open(kept[0]) as file:
            while file.read(2**20):
                pass

    found = {"store_s": stored, "read_s": seconds(read)}
    store.remove(kept[0])
    return found


def stages(folder: Path, encrypt: str, source: Path) -> dict[str, float]:
    """Processor seconds of cleaning and splitting collected records."""
    from mofang.recipe import clean, collect, snapshot

    shop = Shop.open(folder / f"shop-{encrypt}-{time.monotonic_ns()}")
    shop.change_settings(encrypt=encrypt)
    records = shop.run(collect, source=str(source), licence="own", text=("text",), label="label")
    cut = {"task": "text_classification", "label": "label"}
    return {"clean_and_snapshot_s": seconds(lambda: shop.run(snapshot, shop.run(clean, records) / "kept", **cut))}


def main() -> None:
    """Print the medians as JSON."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "given.csv"
        lines = ("".join(chr(chance.randrange(0x4E00, 0x5E00)) for _ in range(150)) + f",{'ab'[row % 2]}" for row in range(ROWS))
        source.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
        told: dict[str, Any] = {"object_mb": SIZE_MB, "source_mb": round(source.stat().st_size / 1e6, 1)}
        for encrypt in ("off", "on"):
            runs = [objects(folder, encrypt == "on") | (stages(folder, encrypt, source) if turn < 3 else {}) for turn in range(TIMES)]
            told[encrypt] = {key: round(statistics.median(run[key] for run in runs if key in run), 3) for key in runs[0]}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
