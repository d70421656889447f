"""Write ``requirements/lock.txt`` and ``requirements/files.txt`` afresh: ``make lock``.

One set of versions for every Python from 3.11 on and for Linux and macOS alike, each with its digests.
torch is left out: which build of it fits is known only on the machine (docs/decisions/002). What torch itself
asks for is in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sources import index_environment

ROOT = Path(__file__).resolve().parent.parent
TORCH_ASKS = ("filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions")
LOCKED = ("data", "train", "postgres", "privacy", "ray", "serve", "spark", "test")


def main() -> None:
    """Compile both files; further arguments go to uv (``--upgrade``, ``--upgrade-package NAME``)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    compile_lock("lock.txt", [f"-e .[{','.join(LOCKED)}]", *TORCH_ASKS],
                 ["--universal", "--no-emit-package", "mofang"])
    compile_lock("files.txt", [*extras["font"], *extras["demo"]], ["--no-deps"])


def compile_lock(name: str, requirements: list[str], options: list[str]) -> None:
    """One lock file from these requirements, keeping the versions that stand in it already."""
    uv = shutil.which("uv") or str(ROOT / ".venv" / "bin" / "uv")
    with tempfile.TemporaryDirectory() as folder:
        excluded = Path(folder) / "excluded.txt"
        excluded.write_text("torch\n", encoding="utf-8")
        subprocess.run(
            [uv, "pip", "compile", "-", "--quiet", *options, "--python-version", "3.11", "--generate-hashes",
             "--fork-strategy", "fewest", "--excludes", str(excluded), "--custom-compile-command=make lock",
             "--output-file", str(ROOT / "requirements" / name), *sys.argv[1:]],
            input="\n".join(requirements), text=True, cwd=ROOT, check=True,
            env=index_environment(dict(os.environ)))


if __name__ == "__main__":
    main()
