"""A shop that was put into git: records and secrets in a place that forgets nothing. Found, and said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PATIENCE_S = 10


def inside_git(shop: Path) -> bool:
    """Whether some folder above is a git work tree."""
    return any((folder / ".git").exists() for folder in (shop, *shop.parents))


def ignored_again(shop: Path) -> bool:
    """Write the shop's ``.gitignore`` where it is gone; True if it was."""
    place = shop / ".gitignore"
    if place.exists():
        return False
    place.write_text("*\n", encoding="utf-8")
    return inside_git(shop)


def files_in_git(shop: Path) -> list[str]:
    """The shop's files that git tracks in spite of ``.gitignore``; none where there is no git."""
    git = shutil.which("git")
    if git is None or not inside_git(shop):
        return []
    try:
        told = subprocess.run([git, "-C", str(shop), "ls-files", "-z", "."], capture_output=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return []
    return sorted(name for name in told.stdout.decode(errors="replace").split("\0") if name)
