"""The engine's own code as plain files: what reads and answers here reads and answers there.

An encoder such as ``surroundings`` is more than an example should spell out anew, and a second writing of it would one day
differ. So its module goes along with the few it imports, each as it stands, its imports turned to its new neighbours.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mofang import engine
from mofang.engine.encode import ENCODERS, texts

FOLDER = "parts"
ENGINE = Path(engine.__file__).parent
WITH = {"pairs": "onnxruntime numpy tokenizers", "overlap": "onnxruntime numpy", "places": "onnxruntime numpy tokenizers",
        "prompts": "onnxruntime numpy tokenizers", "surroundings": "onnxruntime numpy",
        "windows": "onnxruntime numpy tokenizers"}  # encoders whose code goes along, and what it needs
IMPORT = re.compile(r"^from mofang\.([\w.]+) import (.+)$", re.MULTILINE)
AROUND = '''"""What the files beside this one share."""

class MofangError(ValueError):
    """A refusal: its code, and what it is about."""

    def __init__(self, code, **values):
        super().__init__(code, values)

Record, Files = dict, dict

'''


def encoder_parts(name: str) -> dict[str, str]:
    """The files of an encoder: its module and what that imports, by their places in the export."""
    return parts_of((f"engine.encode.{name}",))


def parts_of(modules: Iterable[str]) -> dict[str, str]:
    """These modules of the engine (``engine.decode.spans``) and what they import, by their places in the export."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        place = f"{FOLDER}/{module.rpartition('.')[2]}.py"
        if place in found:
            continue
        source = (ENGINE.parent / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        found[place] = IMPORT.sub(lambda line: f"from {FOLDER}.{_new(line[1])} import {line[2]}", source)
        waiting += [line[1] for line in IMPORT.finditer(source) if _new(line[1]) != "around"]
    joined = inspect.getsource(texts)
    for typed in (": Iterable[Mapping[str, Any]]", ": Sequence[str]", " -> list[str]"):
        joined = joined.replace(typed, "")
    return {**found, f"{FOLDER}/around.py": AROUND + joined}


def _new(module: str) -> str:
    """Where a module's names come from in the export."""
    if module in ("core.errors", "engine.encode"):
        return "around"
    assert re.fullmatch(r"engine\.(encode\.|decode\.)?\w+", module), module
    return module.rpartition(".")[2]


def filled_with(name: str) -> Mapping[str, str]:
    """What the template ``engine.txt`` is filled with."""
    return {"module": name, "encoder": ENCODERS[name]}
