"""As whom a service runs: never as root, and what an installation writes belongs to that account from the beginning."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mofang.core.errors import MofangError


@dataclass(frozen=True)
class Account:
    """An account of this machine."""

    name: str
    uid: int
    gid: int
    home: Path


def named(name: str) -> Account | None:
    """The account of a name; None where there is none, or it is root's."""
    import pwd

    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(found.pw_name, found.pw_uid, found.pw_gid, Path(found.pw_dir)) if found.pw_uid else None


def chosen(wanted: str) -> Account | None:
    """The account that a service runs as: the one that was named, else who typed the command, also before ``sudo``.

    None where that is root itself. Raises ``up-no-account``.
    """
    if wanted:
        account = named(wanted)
        if account is None:
            raise MofangError("up-no-account", name=wanted)
        return account
    if os.geteuid():
        import pwd

        return named(pwd.getpwuid(os.geteuid()).pw_name)
    return named(os.environ.get("SUDO_USER", ""))


@contextmanager
def become(account: Account | None) -> Iterator[None]:
    """Do something as an account, children included; root can come back, nobody else needs to. None: as who one is."""
    if account is None or os.geteuid():
        yield
        return
    home, groups = os.environ.get("HOME"), os.getgroups()
    os.initgroups(account.name, account.gid)
    os.setresgid(account.gid, account.gid, 0)
    os.setresuid(account.uid, account.uid, 0)
    os.environ["HOME"] = str(account.home)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
        os.environ.update({"HOME": home} if home is not None else {})


def check_reach(account: Account, shop: Path, *read: Path | None) -> None:
    """Refuse where an account cannot read what its service reads, or write its shop; to be called as that account.

    Raises ``up-out-of-reach``.
    """
    place = shop
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    wrong = [path for path in read if path is not None and not os.access(path, os.R_OK)]
    wrong += [] if os.access(place, os.R_OK | os.W_OK | os.X_OK) else [place]
    if wrong:
        raise MofangError("up-out-of-reach", name=account.name, path=str(wrong[0]))
