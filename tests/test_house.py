"""The house itself: lock files, make targets, installer, doctor. No network."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mofang
from mofang import doctor
from mofang.core.language import current_language, set_language

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements/lock.txt", "requirements/files.txt")
GPU = re.compile(r"^(nvidia-|cuda-|triton\b|pytorch-triton|torch\b)", re.IGNORECASE)


def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def locked(name: str) -> dict[str, Requirement]:
    """Package name -> its line in the lock."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.rstrip("\\ ")) for line in lines if line and line[0] not in " #-"]
    assert found
    return {canonicalize_name(one.name): one for one in found}


def tool(name: str) -> ModuleType:
    """A module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"house_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module    # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LOCKS)
def test_lock_draws_in_no_cuda(name: str) -> None:
    assert [one for one in locked(name) if GPU.match(one)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_place(name: str) -> None:
    """An index, a folder or an address in the lock would hold on one machine only."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"(?m)://|--(?:index|extra|find|trusted)\S*|^-e .*|^[./~].*| @ ", text) == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_digests(name: str) -> None:
    blocks = re.split(r"(?m)^(?=\S)", (ROOT / name).read_text(encoding="utf-8"))
    packages = [block for block in blocks if block and not block.startswith("#")]
    assert [block.splitlines()[0] for block in packages if "--hash=sha256:" not in block] == []
    assert len(packages) == len([one for one in locked(name).values() if str(one.specifier).startswith("==")])


def test_lock_answers_pyproject() -> None:
    """Every dependency is locked at a version that pyproject.toml allows: `make lock` was not forgotten."""
    extras = project()["optional-dependencies"]
    libraries = [one for extra in ("train", "postgres", "ray", "test") for one in extras[extra]]
    libraries += project()["dependencies"]
    for name, lines in {LOCKS[0]: libraries, LOCKS[1]: extras["font"] + extras["demo"]}.items():
        lock = locked(name)
        for wanted in map(Requirement, lines):
            if wanted.name == "torch":
                assert str(wanted.specifier) == "==2.13.0"    # an open torch draws in CUDA
                continue
            version = str(lock[canonicalize_name(wanted.name)].specifier).removeprefix("==")
            assert wanted.specifier.contains(version, prereleases=True), wanted


def test_serving_needs_no_training_package() -> None:
    core = {Requirement(one).name for one in project()["dependencies"]}
    assert core.isdisjoint({"torch", "transformers", "scikit-learn", "onnx", "xgboost", "xgboost-cpu", "ray"})


def test_no_cuda_library_lies_beside_a_cpu_build() -> None:
    from importlib import metadata

    if "+cpu" not in metadata.version("torch"):
        pytest.skip("this machine took its own build of torch")
    names = {one.metadata["Name"] or "" for one in metadata.distributions()}
    assert [name for name in names if re.match(r"nvidia-(cu|nccl)|triton$", name)] == []


def test_versions_agree() -> None:
    assert project()["dynamic"] == ["version"]    # pyproject.toml reads it from the package
    assert re.fullmatch(r"\d+\.\d+\.\d+", mofang.__version__)
    changes = ROOT / "CHANGELOG.md"
    if changes.exists():
        assert mofang.__version__ in changes.read_text(encoding="utf-8")


def test_make_targets_and_executables() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z%-]+):", makefile))
    assert targets >= {"demo", "test", "test-cluster", "check", "bench", "bench-%", "lock", "clean"}
    for script in ("mofang", ".ci/run", "tools/install.sh"):
        assert os.access(ROOT / script, os.X_OK), script
        subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_readme_commands_exist(name: str) -> None:
    readme = ROOT / name
    if not readme.exists():
        pytest.skip(f"no {name} yet")
    text = readme.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"(?ms)```.*?```|`[^`\n]+`", text))
    asked = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b", code))
    assert {"demo", "test"} <= asked
    for target in asked:
        assert re.search(rf"(?m)^{target}:", makefile) or target.startswith("bench-"), target


def test_ci_calls_both_test_targets() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "for target in test test-cluster" in text


BEGIN = {"HOME": "/nowhere", "XDG_CONFIG_DIRS": "/nowhere", "PIP_CONFIG_FILE": os.devnull}


@pytest.mark.parametrize(("setting", "system", "gpu", "own", "expected"), [
    ("", "Linux", False, False, ["torch==9+cpu", "torch==9 --torch-backend cpu", "torch==9"]),
    ("", "Linux", False, True, ["torch==9+cpu", "torch==9"]),
    ("", "Linux", True, False, ["torch==9 --torch-backend auto", "torch==9,!=9+cpu", "torch==9"]),
    ("", "Linux", True, True, ["torch==9,!=9+cpu", "torch==9"]),
    ("", "Darwin", False, False, ["torch==9"]),
    ("cpu", "Linux", True, True, ["torch==9+cpu", "torch==9 --torch-backend cpu"]),
    ("cpu", "Darwin", False, False, ["torch==9"]),
    ("cu130", "Linux", False, True, ["torch==9 --torch-backend cu130"]),
    ("https://wheels.example/cpu", "Linux", False, False,
     ["torch==9 --index https://wheels.example/cpu --index-strategy unsafe-best-match"]),
    ("./wheels", "Linux", False, False, ["torch==9 --find-links ./wheels"]),
    ("https://wheels.example/torch.whl", "Linux", False, False, ["torch @ https://wheels.example/torch.whl"]),
])
def test_which_torch(setting: str, system: str, gpu: bool, own: bool, expected: list[str]) -> None:
    choices = tool("sources").torch_choices("torch==9", setting, system, gpu, own)
    assert [" ".join([one.requirement, *one.options]) for one in choices] == expected


@pytest.mark.parametrize(("given", "expected"), [
    ({"PIP_INDEX_URL": "https://a/simple"}, {"UV_DEFAULT_INDEX": "https://a/simple"}),
    ({"UV_DEFAULT_INDEX": "corp=https://a/simple"}, {"PIP_INDEX_URL": "https://a/simple"}),
    ({"UV_DEFAULT_INDEX": "https://a/simple?x=1"}, {"PIP_INDEX_URL": "https://a/simple?x=1"}),
    ({"UV_INDEX_URL": "https://a"}, {"UV_DEFAULT_INDEX": "https://a", "PIP_INDEX_URL": "https://a"}),
    ({"PIP_FIND_LINKS": "/a /b"}, {"UV_FIND_LINKS": "/a,/b"}),
    ({"UV_FIND_LINKS": "/a,/b"}, {"PIP_FIND_LINKS": "/a /b"}),
    ({"PIP_INDEX_URL": "https://a", "UV_DEFAULT_INDEX": "https://b"}, {"UV_DEFAULT_INDEX": "https://b"}),
    ({"PIP_EXTRA_INDEX_URL": "https://a https://b"},
     {"UV_INDEX": "https://a https://b", "UV_INDEX_STRATEGY": "unsafe-best-match"}),
])
def test_pip_and_uv_follow_the_same_settings(given: dict[str, str], expected: dict[str, str]) -> None:
    result = tool("sources").index_environment({**BEGIN, **given})
    assert {name: result.get(name) for name in expected} == expected


def test_pip_configuration_file_counts(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://a/%2Bsimple\nfind_links =\n  /w\n  /v\n", encoding="utf-8")
    given = {"HOME": "/nowhere", "XDG_CONFIG_DIRS": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path)}
    result = tool("sources").index_environment(given)
    assert result["UV_DEFAULT_INDEX"] == "https://a/%2Bsimple"
    assert result["UV_FIND_LINKS"] == "/w,/v"
    assert tool("sources").uses_own_index(result)
    assert not tool("sources").uses_own_index({"UV_FIND_LINKS": "/w"})


def test_installer_says_what_it_lacks(tmp_path: Path) -> None:
    """A Python that is too old ends in words, not in a traceback."""
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run([tmp_path / "bash", ROOT / "tools" / "install.sh"], env={"PATH": str(tmp_path)},
                          check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "3.11" in done.stderr and "Python 3.9.2" in done.stderr and "模坊" in done.stderr


def test_profiles_grow() -> None:
    profiles = list(tool("install").PROFILES.values())
    extras = project()["optional-dependencies"]
    for smaller, larger in pairwise(profiles):
        assert set(smaller["extras"]) <= set(larger["extras"])
        assert set(smaller["files"]) <= set(larger["files"])
    assert {name for one in profiles for kind in one.values() for name in kind} == set(extras)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_doctor_speaks(language: Any) -> None:
    before = current_language()
    set_language(language)
    try:
        findings = doctor.check()
    finally:
        set_language(before)
    assert len({one.name for one in findings}) == len(findings) >= 12
    assert all(one.words and (one.ok or one.fix) for one in findings)
    chinese = re.compile("[\u4e00-\u9fff]")
    assert any(chinese.search(one.words) for one in findings) == (language == "zh")
    python = next(one for one in findings if one.name == "Python")
    assert python.ok


def test_doctor_sees_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing packages, wrong versions, a missing font and a full disk each get their own words."""
    monkeypatch.setattr(doctor, "FONT", "zhplot/fonts/none.ttf")
    monkeypatch.setattr(doctor, "DISK_FREE_BYTES_MIN", 10**18)
    monkeypatch.setattr(doctor, "requirements", lambda: {
        "": [Requirement("no-such-package-of-mofang"), Requirement("packaging<1")]})
    found = {one.name: one for one in doctor.check(tmp_path / "not" / "yet")}
    core = found["Core and serving"]
    assert not core.ok and core.needed
    assert "no-such-package-of-mofang" in core.words and "packaging" in core.words
    assert not found["Font for invoices"].ok
    assert not found["Disk"].ok


def test_doctor_imports_nothing_heavy() -> None:
    code = "import json, sys\nfrom mofang import doctor\ndoctor.check()\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    heavy = {"torch", "sklearn", "transformers", "onnxruntime", "openvino", "snownlp", "mlxtend"}
    assert heavy & set(json.loads(done.stdout)) == set()
