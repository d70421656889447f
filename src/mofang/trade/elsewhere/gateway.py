"""Engines elsewhere behind our keys and meter: which there are, and the connections to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mofang.data.remote.address import Allowed
from mofang.serve.upstream import Upstream
from mofang.trade.elsewhere.remotes import Remote
from mofang.trade.request.directory import Directory

SecretOf = Callable[[str], str]


class Gateway:
    """The remotes of a shop as they stand now (at most a quarter of a second old), each with its connections."""

    def __init__(self, directory: Directory, secret_of: SecretOf) -> None:
        self.directory, self._secret_of = directory, secret_of
        self._open: dict[str, tuple[Remote, str, Upstream]] = {}

    def find(self, name: str) -> tuple[Remote, Upstream] | None:
        """A remote and the way to it; None where there is none of this name. Raises ``secret-missing``."""
        remote = self.directory.picture.remotes.get(name)
        if remote is None:
            return None
        known = self._open.get(name)
        if known is None or known[0] != remote:
            secret = self._secret_of(remote.secret)
            allowed = Allowed(frozenset(remote.private))
            known = (replace(remote), secret, Upstream(remote.url, allowed, secret, remote.timeout_s))
            before = self._open.get(name)
            self._open[name] = known
            if before is not None:
                before[2].close()
        return remote, known[2]

    def names(self) -> list[str]:
        """The names of all remotes."""
        return list(self.directory.picture.remotes)

    def close(self) -> None:
        """Close the connections that are kept."""
        for _, _, upstream in self._open.values():
            upstream.close()
