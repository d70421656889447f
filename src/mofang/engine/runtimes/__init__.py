"""Engines that run a graph: one protocol, one module each, found by name.

A runtime that is not installed, or cannot load a graph, says why; it is left out of the table with that
reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, cast

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays

RUNTIMES = {"onnx": "OnnxRuntime", "openvino": "OpenVinoRuntime", "xgboost": "XgboostRuntime"}


class Runtime(Protocol):
    """A loaded graph. `run` may be called from several threads."""

    name: ClassVar[str]
    file: ClassVar[str]      # the graph's file that it reads: model.onnx or model.ubj

    @classmethod
    def available(cls) -> str | None:
        """None, or why this machine cannot use it."""
        ...

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], threads: int) -> Self:
        """Load the graph in `folder`; raises MofangError engine-refuses with the reason."""
        ...

    def run(self, arrays: Arrays) -> Arrays:
        """{"probabilities": float32 [B, K]} for the encoder's arrays."""
        ...


def runtime_named(name: str) -> type[Runtime]:
    """Find an engine by its name, importing only that module."""
    if name not in RUNTIMES:
        raise MofangError("engine-unknown", name=name, known=", ".join(sorted(RUNTIMES)))
    return cast(type[Runtime], getattr(import_module(f"mofang.engine.runtimes.{name}"), RUNTIMES[name]))


def missing_package(module: str, package: str) -> str | None:
    """None if the module can be imported, else which package to install."""
    from importlib.util import find_spec

    return None if find_spec(module) else f"the package {package} is not installed"
