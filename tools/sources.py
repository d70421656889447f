"""Where packages and torch come from: the machine's own settings, read once and given to pip and uv alike.

pip and uv read different variables and files. A user who has set either has said where packages come from,
and that holds for both, and for torch too.
"""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from pathlib import Path

# pip's setting -> uv's variable, and how uv separates several values
PAIRS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}


@dataclass(frozen=True)
class TorchChoice:
    """One way to get torch: what to ask uv for, and the words that say so."""

    requirement: str
    options: tuple[str, ...]
    en: str
    zh: str


def torch_choices(pin: str, setting: str, system: str, gpu: bool, own_index: bool) -> list[TorchChoice]:
    """Builds of torch in the order to try them; ``pin`` is ``torch==X``, ``setting`` is ``MOFANG_TORCH``.

    Without a setting: macOS takes the registry's build, Linux with an NVIDIA GPU the CUDA build that fits its
    driver, every other Linux a CPU build wherever one is offered. PyTorch's own index is asked only where the
    user has named no index.
    """
    registry = TorchChoice(pin, (), "the package index's build", "包索引提供的版本")
    cpu_given = TorchChoice(f"{pin}+cpu", (), "a CPU build from your package index or wheels",
                            "来自你的包索引或 wheel 目录的 CPU 版")
    cpu_index = _backend(pin, "cpu")
    if "/" in setting or setting.endswith(".whl"):
        return [_named(pin, setting)]
    if system == "Darwin":
        return [registry]
    if setting == "cpu":
        return [cpu_given, cpu_index]
    if setting:
        return [_backend(pin, setting)]
    if gpu:
        cuda = TorchChoice(f"{pin},!={pin.removeprefix('torch==')}+cpu", (), "the package index's CUDA build",
                           "包索引提供的 CUDA 版")
        return [*([] if own_index else [_backend(pin, "auto")]), cuda, registry]
    heavy = TorchChoice(pin, (), "no CPU build is offered here; the package index's build may bring NVIDIA's "
                        "libraries (several GB). MOFANG_TORCH=cpu or MOFANG_TORCH=URL chooses another.",
                        "这里没有提供 CPU 版；包索引的版本可能带上 NVIDIA 的库（数 GB）。"
                        "可用 MOFANG_TORCH=cpu 或 MOFANG_TORCH=网址 另选。")
    return [cpu_given, *([] if own_index else [cpu_index]), heavy]


def _backend(pin: str, name: str) -> TorchChoice:
    """From PyTorch's own index, which uv knows by the name of the backend (cpu, cu130, auto)."""
    return TorchChoice(pin, ("--torch-backend", name), f"PyTorch's own index, {name}",
                       f"PyTorch 官方索引，{name}")


def _named(pin: str, place: str) -> TorchChoice:
    """From the index, folder of wheels or wheel that the user named."""
    words = (f"from {place}", f"来自 {place}")
    if place.endswith(".whl"):
        address = place if "://" in place else Path(place).resolve().as_uri()
        return TorchChoice(f"torch @ {address}", (), *words)
    if "://" not in place:
        return TorchChoice(pin, ("--find-links", place), *words)
    # Such an index also holds old copies of numpy and others, which must not hide the locked ones.
    return TorchChoice(pin, ("--index", place, "--index-strategy", "unsafe-best-match"), *words)


def index_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which pip and uv both follow what was set for either of them."""
    result = dict(environment)
    result.pop("UV_TORCH_BACKEND", None)    # chosen by torch_choices
    for old, new in (("UV_INDEX_URL", "UV_DEFAULT_INDEX"), ("UV_EXTRA_INDEX_URL", "UV_INDEX")):
        if old in result:
            result.setdefault(new, result.pop(old))
    pip = pip_settings(environment)
    for name, (variable, separator) in PAIRS.items():
        if name in pip and variable not in result:
            result[variable] = separator.join(pip[name].split())
            if name == "extra-index-url":    # pip takes the best version of all indexes, so uv must as well
                result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    for name in ("index-url", "find-links"):    # pip fetches uv itself
        variable, separator = PAIRS[name]
        if name not in pip and variable in result:
            # uv also takes name=URL
            values = [re.sub(r"^[\w.-]+=", "", one) for one in result[variable].split(separator)]
            result["PIP_" + name.upper().replace("-", "_")] = " ".join(values)
    result["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return result


def uses_own_index(environment: dict[str, str]) -> bool:
    """Whether the user has named an index (or none at all), so that PyTorch's own is not asked unbidden."""
    return any(environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_NO_INDEX"))


def pip_settings(environment: dict[str, str]) -> dict[str, str]:
    """pip's settings from its files and variables, the stronger last, as pip itself ranks them."""
    home = Path(environment.get("HOME", "/"))
    shared = environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    places = [*(Path(place) / "pip" / "pip.conf" for place in shared), Path("/etc/pip.conf")]
    places += [home / ".pip" / "pip.conf",
               home / "Library" / "Application Support" / "pip" / "pip.conf",
               Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"]
    named = environment.get("PIP_CONFIG_FILE")
    if named:
        places = [] if named == os.devnull else [*places, Path(named)]
    parser = configparser.RawConfigParser()
    parser.read([place for place in places if place.is_file()], encoding="utf-8")
    settings = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name in PAIRS:
        value = environment.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            settings[name] = value
    return settings
