"""Engines that run a graph: one protocol, one module each, found by name.

A runtime that is not installed, or cannot load a graph, says why; it is left out of the table with that
reason. An engine may offer several precisions; int8 needs a file that packaging quantised, bf16 a processor that has it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, cast

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays
from mofang.engine.graphfile import DATA

RUNTIMES = {"onnx": "OnnxRuntime", "openvino": "OpenVinoRuntime", "xgboost": "XgboostRuntime", "torch": "TorchRuntime"}

Precision = Literal["fp32", "bf16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8", "int4")
LOSSY: tuple[Precision, ...] = ("bf16", "int8", "int4")


class Runtime(Protocol):
    """A loaded graph. `run` may be called from as many threads at a time as it was loaded with streams."""

    name: ClassVar[str]
    file: ClassVar[str]      # the file that it reads at full precision: model.onnx, model.ubj or program.json
    files: ClassVar[Mapping[str, str]]  # by precision, the file that it reads

    @classmethod
    def available(cls) -> str | None:
        """None, or why this machine cannot use it."""
        ...

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], threads: int, precision: str = "fp32", streams: int = 1) -> Self:
        """Load the graph in `folder`; raises MofangError engine-refuses with the reason.

        Each of ``streams`` calls at a time is given ``threads`` threads.
        """
        ...

    def run(self, arrays: Arrays) -> Arrays:
        """{"probabilities": float32 [B, K]} for the encoder's arrays."""
        ...


def runtime_named(name: str) -> type[Runtime]:
    """Find an engine by its name, importing only that module."""
    if name not in RUNTIMES:
        raise MofangError("engine-unknown", name=name, known=", ".join(sorted(RUNTIMES)))
    return cast(type[Runtime], getattr(import_module(f"mofang.engine.runtimes.{name}"), RUNTIMES[name]))


def file_of(runtime: type[Runtime], folder: Path, precision: str) -> Path:
    """The file that an engine reads at a precision; raises ``engine-refuses`` where it has none or it is not there."""
    name = runtime.files.get(precision)
    if name is None:
        raise MofangError("engine-refuses", engine=runtime.name, reason=f"it has no precision {precision}")
    if not (folder / name).exists():
        raise MofangError("engine-refuses", engine=runtime.name, reason=f"the graph has no {name}")
    if (folder / f"{name}{DATA}").is_symlink():
        for link in (folder / name, folder / f"{name}{DATA}"):
            _made_real(link)
    return folder / name


def _made_real(link: Path) -> None:
    """The file itself in the place of a link to it: engines read weights beside a graph only from the graph's own folder."""
    if not link.is_symlink():
        return
    target = link.resolve()
    link.unlink()
    try:
        os.link(target, link)
    except OSError:  # another disk
        shutil.copyfile(target, link)


def missing_package(module: str, package: str) -> str | None:
    """None if the module can be imported, else which package to install."""
    from importlib.util import find_spec

    return None if find_spec(module) else f"the package {package} is not installed"
