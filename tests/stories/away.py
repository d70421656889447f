"""A terminal on another machine: the same words typed, but the shop is behind a console on a loopback port."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.stories.terminal import Inside, Server, Terminal

AT_THE_SHOP = ("serve", "console")


class Away(Inside):
    """``home`` is the terminal at the shop; what can be typed only there is typed there."""

    def __init__(self, folder: Path, home: Terminal, address: str, config: Path, language: str = "en") -> None:
        super().__init__(folder, language)
        self.home = home
        self.address = address
        self.config = config

    @property
    def shop(self) -> Path:
        """Where the shop really lies."""
        return self.home.shop

    @property
    def environment(self) -> dict[str, str]:
        """An address for a shop, and a configuration folder of this person's own."""
        return {**super().environment, "MOFANG_SHOP": self.address, "XDG_CONFIG_HOME": str(self.config)}

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Type here, or at the shop."""
        if words[:1] and words[0] in AT_THE_SHOP:
            self.home.language = self.language
            return self.home.start(*words, **more)
        return super().start(*words, **more)


def invited(home: Terminal, folder: Path, address: str, name: str, *roles: str) -> Away:
    """Somebody who was invited and has joined, with an empty folder of one's own."""
    words = [word for role in roles for word in ("--role", role)]
    link = next(line for line in home.type("invite", name, *words, "--address", address).out.splitlines() if "/join#" in line)
    away = Away(folder, home, address, folder.parent / f"config of {name}")
    done = away.type("join", link)
    assert f"export MOFANG_SHOP={address}" in done.out, done
    saved = next((away.config / "mofang" / "shops").iterdir())
    assert saved.stat().st_mode & 0o777 == 0o600
    return away


class Company:
    """A copy of a founder's folder with a console over its shop, and the owner's terminal on another machine."""

    def __init__(self, made: Path, folder: Path) -> None:
        shutil.copytree(made, folder / "home")
        self.home = Inside(folder / "home")
        self.console = Server(self.home, command="console")
        self.folder = folder
        self.away = invited(self.home, folder / "away", self.console.address, "owner's laptop", "owner")
        for path in made.iterdir():
            if path.is_file():
                shutil.copy(path, self.away.folder / path.name)

    def close(self) -> None:
        """End the console."""
        self.console.stop()
        assert not [path for path in os.listdir(self.home.shop / "scratch") if path.startswith(("job", "console"))]
