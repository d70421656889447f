"""``stages.lock``: what every stage, variant and action is called, where it lives, and what its code was when last looked at.

A memo hit trusts a stage's version number. So the lock holds a hash of each component's static import closure
(docstrings and comments out): when the code changes, ``--check`` asks either for a new version or for a recorded
"same behaviour". The command line reads the same file to list commands without importing them.

``python -m mofang.core.lock --check | --update [--same "why"]``
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import mofang
from mofang.core.canonical import digest_of, sha256
from mofang.core.stage import STAGES, Spec
from mofang.core.variant import Variant

LOCK_FORMAT = 1
PACKAGE = Path(mofang.__file__).parent
LOCK = PACKAGE / "stages.lock"
FLOORS = ("data", "engine", "fit", "judge", "manage", "serve", "trade", "watch", "web")
PARSING = threading.Lock()  # Python 3.11 cannot build syntax trees in two threads at once
CORE_THAT_SHAPES_BYTES = ("mofang.core.clock", "mofang.core.metrics", "mofang.core.merkle", "mofang.core.money")


@cache
def locked() -> dict[str, Any]:
    """The lock as it lies in the package."""
    if not LOCK.exists():
        return {"format": LOCK_FORMAT, "stages": {}, "variants": {}, "actions": {}, "kinds": {}, "same": []}
    found: dict[str, Any] = json.loads(LOCK.read_text(encoding="utf-8"))
    return found


def version_of(stage: str) -> int | None:
    """A stage's version now; None for one this installation does not know."""
    if stage in STAGES:
        return STAGES[stage].version
    known = locked()["stages"].get(stage)
    return known["version"] if known else None


def code_of(spec: Spec) -> dict[str, str]:
    """What the ledger says about the code of a run. A user's own stage is hashed when it runs."""
    module = spec.function.__module__
    if module.startswith("mofang."):
        closure = locked()["stages"].get(spec.name, {}).get("closure", "")
        return {"mofang": mofang.__version__, "closure": closure}
    source = Path(spec.function.__code__.co_filename)
    if not source.exists():
        return {"mofang": mofang.__version__, "own": sha256(spec.function.__code__.co_code)}
    with PARSING:
        return {"mofang": mofang.__version__, "own": _own_code(source, source.stat().st_mtime_ns)}


@cache
def _own_code(source: Path, _changed_ns: int) -> str:
    return sha256(_without_docstrings(ast.parse(source.read_text(encoding="utf-8"))).encode())


def import_stage(name: str) -> Spec | None:
    """Import the module of one stage (and nothing else) and return its spec."""
    if name not in STAGES:
        known = locked()["stages"].get(name)
        if known is None:
            return None
        importlib.import_module(known["module"])
    return STAGES[name]


def import_kind(kind: str) -> None:
    """Import the module that declares an artifact kind."""
    module = locked()["kinds"].get(kind)
    if module:
        importlib.import_module(module)


def import_fold(journal: str) -> None:
    """Import the module that declares a journal's folded tables."""
    module = locked().get("folds", {}).get(journal)
    if module:
        importlib.import_module(module)


def import_holders() -> None:
    """Import every module that keeps something of a person outside the artifacts (``core/personal.py``)."""
    for module in sorted(set(locked().get("holders", {}).values())):
        importlib.import_module(module)


# Making and checking the lock


def survey() -> dict[str, Any]:
    """The lock as the code would write it now."""
    from mofang.core.action import ACTIONS
    from mofang.core.artifact import KINDS
    from mofang.core.journal import FOLDS
    from mofang.core.personal import FOLLOWERS, HOLDERS

    importlib.import_module("mofang.core.holders")
    for floor in FLOORS:
        for module in pkgutil.walk_packages([str(PACKAGE / floor)], f"mofang.{floor}."):
            importlib.import_module(module.name)
    variants = {kind for choice in Variant.__subclasses__() for kind in choice.kinds.values()}
    variants = {kind for kind in variants if kind.__module__.startswith("mofang.")}
    stages = {name: spec for name, spec in STAGES.items() if spec.function.__module__.startswith("mofang.")}
    apart = {spec.function.__module__ for spec in stages.values()} | {kind.__module__ for kind in variants}
    return {
        "format": LOCK_FORMAT,
        "stages": {name: {"module": spec.function.__module__, "version": spec.version, "doc": spec.doc.split("\n")[0],
                          "closure": closure(spec.function.__module__, apart)} for name, spec in sorted(stages.items())},
        "variants": {f"{_choice(kind)}:{kind.tag}": {"module": kind.__module__, "version": kind.version,
                                                     "closure": closure(kind.__module__, apart)}
                     for kind in sorted(variants, key=lambda one: (_choice(one), one.tag))},
        "actions": {name: {"module": spec.function.__module__, "doc": spec.doc.split("\n")[0]}
                    for name, spec in sorted(ACTIONS.items()) if spec.function.__module__.startswith("mofang.")},
        "kinds": {kind: cls.__module__ for kind, cls in sorted(KINDS.items()) if cls.__module__.startswith("mofang.")},
        "folds": {name: one.apply.__module__ for name, one in sorted(FOLDS.items())
                  if one.apply.__module__.startswith("mofang.")},
        "holders": {name: one.__module__ for name, one in sorted({**HOLDERS, **FOLLOWERS}.items())
                    if one.__module__.startswith("mofang.")},
    }


def _choice(kind: type[Variant]) -> str:
    return next(base.__name__.lower() for base in kind.__mro__ if Variant in base.__bases__)


def closure(module: str, apart: set[str]) -> str:
    """SHA-256 over the code of a module and all Mofang modules that it imports, other components left out."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in seen or path is None or (name != module and name in apart):
            continue
        if name.startswith("mofang.core") and name not in CORE_THAT_SHAPES_BYTES:
            continue
        seen[name], imported = _looked_at(path, path.stat().st_mtime_ns)
        waiting += imported
    return digest_of(seen)


@cache
def _looked_at(path: Path, _changed_ns: int) -> tuple[str, list[str]]:
    """Digest of a module's code, and what it imports; most modules are part of many closures."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return sha256(_without_docstrings(tree).encode()), _imports(tree)


def _file(module: str) -> Path | None:
    if not module.startswith("mofang."):
        return None
    base = PACKAGE.joinpath(*module.split(".")[1:])
    found = [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()]
    return found[0] if found else None


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def compare(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """Components whose code changed under the same version, in words."""
    wrong = []
    for group in ("stages", "variants"):
        for name, now in new[group].items():
            before = old[group].get(name)
            if before and before["closure"] != now["closure"] and before["version"] == now["version"]:
                wrong.append(f"{group[:-1]} {name} ({now['module']}): its code changed but its version did not")
    return wrong


def main(arguments: list[str]) -> int:
    """Check the lock, or write it anew."""
    old, new = locked(), survey()
    wrong = compare(new, old)
    if "--update" in arguments:
        if wrong and "--same" not in arguments:
            print("\n".join([*wrong, 'Raise the version, or say --update --same "why the result is the same".']))
            return 1
        same = list(old.get("same", []))
        if wrong:
            same.append({"why": arguments[arguments.index("--same") + 1], "components": wrong})
        LOCK.write_text(json.dumps({**new, "same": same[-20:]}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    stale = {name: old.get(name) for name in new} != new
    if wrong or stale:
        print("\n".join([*wrong, "stages.lock is behind the code: run `python -m mofang.core.lock --update`."]))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
