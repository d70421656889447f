"""What a table of engines says of the machine it was measured on, and whether this is such a machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import mofang

# Libraries whose version may change an answer.
LIBRARIES = ("numpy", "onnxruntime", "openvino", "tokenizers", "xgboost-cpu", "xgboost")
FEATURES = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8", "fma",
                      "asimd", "asimddp", "bf16", "i8mm", "sve"})
CPUINFO = Path("/proc/cpuinfo")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts() -> dict[str, Any]:
    """Processor, its features that engines make use of, cores, and the versions of the libraries that answer."""
    return {"processor": platform.machine(), "system": platform.system(), "cores": cores(),
            "features": features(), "libraries": dict(_libraries()), "mofang": mofang.__version__}


def same_machine(described: Mapping[str, Any], names: tuple[str, ...] = ("processor", "system", "cores", "features", "libraries"),
                 ) -> bool:
    """True if this machine is like the one described; what an older package does not say is not compared."""
    here = machine_facts()
    return all(described[name] == here[name] for name in names if name in described)


def features() -> list[str]:
    """The processor's features by which engines choose how to compute, sorted; empty where the system does not say."""
    return list(_features(CPUINFO))


@cache
def _features(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    said = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return tuple(sorted(FEATURES & set(said.partition(":")[2].split())))


@cache
def _libraries() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
