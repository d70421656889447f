"""Open a package whatever it holds: a predictor of records, or a generator of texts."""

from __future__ import annotations

from pathlib import Path

from mofang.core.artifact import Artifact
from mofang.engine.generation.opened import DECODER, Generator
from mofang.engine.predictor import Predictor, package_files


def open_package(source: str | Path | Artifact) -> Predictor | Generator:
    """The package, checked and replayed; raises what its kind raises."""
    return Generator(source) if any(name.startswith(f"{DECODER}/") for name in package_files(source)) else Predictor(source)
