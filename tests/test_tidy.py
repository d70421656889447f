"""Style as a test: floors, sizes, names, bans."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mofang

PACKAGE = Path(mofang.__file__).parent
FLOORS = ("core", "data", "engine", "fit", "judge", "manage", "serve", "trade", "watch", "web")
ROOT_ABOVE_ALL = {"cli", "client", "demo", "doctor", "glossary", "matrix", "new", "recipe", "takeout", "wire", "__main__"}
FILES = sorted(PACKAGE.rglob("*.py"))
LINES_MOST = 400
COLUMNS_MOST = 130
FUNCTION_LINES_MOST = 60
BROAD_ALLOWED = {"core/run.py", "cli/group.py", "serve/boundary.py"}  # named boundaries: a run, the command line, a server's thread
HEAVY = {"torch", "sklearn", "transformers", "onnx", "onnxruntime", "openvino", "xgboost", "pandas", "PIL", "ray", "psycopg"}


def module_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


def type_checking(tree: ast.Module) -> set[int]:
    """Lines under ``if TYPE_CHECKING``."""
    return {
        line for node in ast.walk(tree) if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_keeps_the_rules(path: Path) -> None:
    """All rules that look at one file: it is read and parsed once for all of them."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    a_floor_imports_only_floors_to_its_left(path, tree)
    sizes_names_and_bans(path, text, tree)
    heavy_libraries_are_imported_where_they_are_used(path, tree)
    public_names_have_docstrings(path, tree)
    if module_of(path).startswith(("cli/", "web/")):
        faces_hold_no_sql_and_no_money(path, text, tree)


def a_floor_imports_only_floors_to_its_left(path: Path, tree: ast.Module) -> None:
    floor = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, line in imports(tree):
        pieces = name.split(".")
        if pieces[0] != "mofang" or len(pieces) < 2:
            continue
        if floor in FLOORS:
            assert pieces[1] not in ROOT_ABOVE_ALL, f"{path}:{line}: {floor} must not import {name}"
            if pieces[1] in FLOORS:
                assert FLOORS.index(pieces[1]) <= FLOORS.index(floor), f"{path}:{line}: {floor} must not import {name}"


def sizes_names_and_bans(path: Path, text: str, tree: ast.Module) -> None:
    assert text.count("\n") <= LINES_MOST, f"{path}: two rooms would be clearer"
    long = [number for number, line in enumerate(text.splitlines(), 1) if len(line) > COLUMNS_MOST]
    assert not long, f"{path}:{long[0]}: a line of over {COLUMNS_MOST} signs"
    assert path.stem not in {"utils", "helpers", "common", "manager"}
    assert ast.get_docstring(tree), f"{path}: say what this room is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MOST, f"{path}:{node.lineno}: {node.name} has {length} lines"
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"}
            swallowed = broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            assert not swallowed or module_of(path) in BROAD_ALLOWED, f"{path}:{node.lineno}: a broad except hides errors"
        if isinstance(node, ast.Attribute) and node.attr in {"load", "loads"}:
            assert getattr(node.value, "id", "") not in {"pickle", "joblib"}, f"{path}:{node.lineno}: no pickle is loaded"


def heavy_libraries_are_imported_where_they_are_used(path: Path, tree: ast.Module) -> None:
    skipped = type_checking(tree)
    rooms = ("networks", "loop", "generation", "vectors")  # of torch: imported by functions of the others only
    networks = path.relative_to(PACKAGE).parts[:2] in {("fit", room) for room in rooms}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and node.lineno not in skipped and not networks:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not {name.split(".")[0] for name in names} & HEAVY, f"{path}:{node.lineno}: import it inside the function"


def faces_hold_no_sql_and_no_money(path: Path, text: str, tree: ast.Module) -> None:
    for name, line in imports(tree):
        assert name.split(".")[0] not in {"sqlite3", "fsspec", "torch"}, f"{path}:{line}"
    assert not [word for word in (".rows(", ".db.", "Database(") if word in text], f"{path}: a face asks the floors, not the tables"


def public_names_have_docstrings(path: Path, tree: ast.Module) -> None:
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        assert not public or ast.get_docstring(node), f"{path}:{node.lineno}: say what {getattr(node, 'name', '')} is for"


def test_stages_lock_is_current() -> None:
    from mofang.core import lock

    assert lock.main(["--check"]) == 0
