"""Make or refresh ``.venv`` beside this folder: everything pinned by the lock, torch chosen for this machine.

Standard library only, because it runs before anything is installed. It is idempotent: a stamp in ``.venv``
says what was installed, and an unchanged clone returns at once. Why so: docs/decisions/001 and 002.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))    # `-P` and zipapps leave it out
from sources import index_environment, torch_choices, uses_own_index

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "mofang-install.json"
LOCK = ROOT / "requirements" / "lock.txt"
FILES = ROOT / "requirements" / "files.txt"
# Each profile holds the one before it. `files` are packages taken for the files inside them, and no more.
PROFILES: dict[str, dict[str, tuple[str, ...]]] = {
    "serve": {"extras": ("serve",), "files": ("font",)},
    "image": {"extras": ("serve", "postgres"), "files": ("font",)},
    "full": {"extras": ("data", "train", "serve", "postgres", "test"), "files": ("font", "demo")},
    "cluster": {"extras": ("data", "train", "serve", "postgres", "test", "privacy", "ray", "spark"), "files": ("font", "demo")},
}
LOCALE = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""


def say(en: str, zh: str) -> None:
    """One line on the screen, in the language of the locale."""
    print(zh if LOCALE.startswith("zh") else en, file=sys.stderr, flush=True)


def stop(en: str, zh: str) -> NoReturn:
    """Say what happened and what to do, and end with status 1."""
    say(en, zh)
    raise SystemExit(1)


def main() -> None:
    """Bring ``.venv`` to the wanted profile, unless its stamp says that it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="full")
    parser.add_argument("--again", action="store_true", help="install even where the stamp says it is done")
    options = parser.parse_args()
    with one_at_a_time():
        before = read_stamp()
        wanted = max(options.profile, before.get("profile", "serve"), key=list(PROFILES).index)
        asked = os.environ.get("MOFANG_TORCH") or os.environ.get("UV_TORCH_BACKEND")
        torch = asked or before.get("torch", "")    # a build once chosen stays chosen
        torch = os.path.abspath(torch) if "/" in torch and "://" not in torch else torch
        stamp = {"profile": wanted, "torch": torch, "key": lock_key()}
        if stamp == before and not options.again:
            STAMP.touch()    # ./mofang compares its date with the lock's
            return
        install(wanted, torch)
        STAMP.write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def lock_key() -> str:
    """What the installed packages depend on: the locks, pyproject.toml and where the clone lies."""
    parts = [path.read_bytes() for path in (LOCK, FILES, ROOT / "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*parts, os.fsencode(ROOT)])).hexdigest()


def read_stamp() -> dict[str, str]:
    """The stamp of the last finished installation; empty where there is none or its Python is gone."""
    if not STAMP.exists() or not venv_works():
        return {}
    stamp: dict[str, str] = json.loads(STAMP.read_text(encoding="utf-8"))
    return stamp


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two first commands in two terminals must not fill the same folder at once."""
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another installation is running in this clone; waiting for it.",
                "这个目录里已有一次安装在进行，等待它结束。")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(profile: str, torch_setting: str) -> None:
    """Create the environment, choose torch, and install the locked set in one resolution."""
    begun = time.monotonic()
    say(f"Installing Mofang's packages ({profile}) into .venv; the first time takes one to three minutes.",
        f"正在把模坊的依赖（{profile}）装进 .venv；第一次需要一到三分钟。")
    environment = index_environment(dict(os.environ))
    uv = make_venv(environment)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = PROFILES[profile]["extras"]
    install_with = [uv, "pip", "install", "--python", str(VENV / "bin" / "python"),
                    *([] if sys.stderr.isatty() else ["--quiet"])]
    torch = choose_torch(uv, project, torch_setting, environment) if "train" in extras else []
    itself = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    call([*install_with, "--constraints", str(LOCK), "--editable", itself, *torch], environment)
    files = [one for extra in PROFILES[profile]["files"] for one in project["optional-dependencies"][extra]]
    call([*install_with, "--no-deps", "--constraints", str(FILES), *files], environment)
    seconds = time.monotonic() - begun
    say(f"Installed in {seconds:.0f} s.", f"安装完成，用时 {seconds:.0f} 秒。")


def venv_works() -> bool:
    """Whether ``.venv`` has a Python that starts and is new enough."""
    python = VENV / "bin" / "python"
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    tried = [str(python), "-c", probe]
    return python.exists() and subprocess.run(tried, check=False, capture_output=True).returncode == 0


def make_venv(environment: dict[str, str]) -> str:
    """Make ``.venv`` where there is none that works, and return the uv that fills it."""
    uv = uv_on_path()
    if VENV.exists() and not venv_works():
        if any(VENV.iterdir()) and not (VENV / "pyvenv.cfg").exists():
            stop(f"{VENV} is in the way and is no Python environment; move it away.",
                 f"{VENV} 已存在，但不是 Python 环境；请先把它移走。")
        shutil.rmtree(VENV)
    if uv:
        if not VENV.exists():
            call([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], environment)
        return uv
    inner = VENV / "bin" / "uv"
    if not inner.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)],
                              check=False, capture_output=True, text=True)
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            stop(f"{made.stdout}{made.stderr}\nPython {version} cannot make environments here. "
                 f"Debian, Ubuntu: sudo apt install python{version}-venv; or install uv.",
                 f"{made.stdout}{made.stderr}\n这里的 Python {version} 不能创建环境。"
                 f"Debian/Ubuntu：sudo apt install python{version}-venv；或先安装 uv。")
        call([str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv>=0.9"], environment)
    return str(inner)


def uv_on_path() -> str:
    """A uv that is there already and knows every option used here; else empty."""
    found = shutil.which("uv")
    if not found:
        return ""
    words = subprocess.run([found, "--version"], check=False, capture_output=True, text=True).stdout
    version = re.search(r"(\d+)\.(\d+)", words)
    return found if version and (int(version[1]), int(version[2])) >= (0, 9) else ""


def choose_torch(uv: str, project: dict[str, Any], setting: str, environment: dict[str, str]) -> list[str]:
    """The arguments that install the first build of torch that can be had here, best first."""
    pin = next(one for one in project["optional-dependencies"]["train"] if one.startswith("torch=="))
    choices = torch_choices(pin, setting, platform.system(), has_nvidia(), uses_own_index(environment))
    said = ""
    for choice in choices:
        tried = subprocess.run(
            [uv, "pip", "compile", "-", "--quiet", "--no-deps", "--no-header", "--no-annotate",
             "--python", str(VENV / "bin" / "python"), *choice.options],
            input=choice.requirement, check=False, capture_output=True, text=True, env=environment)
        if tried.returncode == 0:
            got = tried.stdout.split(";")[0].strip()
            say(f"  {got}: {choice.en}", f"  {got}：{choice.zh}")
            return [got, *choice.options, *replacing(got)]
        said = tried.stderr.strip() or said
    stop(f"{said}\n\nNo build of {pin} can be had here. Name an index that this machine reaches "
         "(UV_DEFAULT_INDEX or PIP_INDEX_URL), a folder of wheels (UV_FIND_LINKS or PIP_FIND_LINKS), "
         "or a build: MOFANG_TORCH=cpu | cu130 | URL of an index | path of a wheel. "
         "Then run the same command again.",
         f"{said}\n\n这里取不到 {pin} 的任何版本。请指明本机能访问的包索引"
         "（UV_DEFAULT_INDEX 或 PIP_INDEX_URL）、wheel 目录（UV_FIND_LINKS 或 PIP_FIND_LINKS），"
         "或用 MOFANG_TORCH=cpu | cu130 | 索引网址 | wheel 路径 选择版本，然后重新运行同一条命令。")


def replacing(wanted: str) -> list[str]:
    """Asks for a reinstall where another build is there: to a resolver 2.13.0+cpu satisfies ==2.13.0."""
    there = [path.name.removesuffix(".dist-info").replace("-", "==")
             for path in VENV.glob("lib/python*/site-packages/torch-*.dist-info")]
    return ["--reinstall-package", "torch"] if there and there != [wanted] else []


def has_nvidia() -> bool:
    """Whether the driver of an NVIDIA GPU answers on this machine (in WSL2 too)."""
    tool = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if not tool:
        return False
    answer = subprocess.run([tool, "-L"], check=False, capture_output=True, text=True)
    return answer.returncode == 0 and "GPU" in answer.stdout


def call(command: list[str], environment: dict[str, str]) -> None:
    """Run an installer that speaks for itself; where it fails, add what can be done."""
    if subprocess.run(command, check=False, env=environment).returncode:
        stop("\nThe packages could not be installed; the lines above name the first that failed. "
             "If they speak of a connection, name an index that this machine reaches: "
             "UV_DEFAULT_INDEX=URL or PIP_INDEX_URL=URL. "
             "Then run the same command again: it goes on where it stopped.",
             "\n依赖没有装完；上面几行说明了最先失败的一个。如果是网络连接问题，请指明本机能访问的包索引："
             "UV_DEFAULT_INDEX=网址 或 PIP_INDEX_URL=网址，然后重新运行同一条命令，它会接着装。")


if __name__ == "__main__":
    main()
