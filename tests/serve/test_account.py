"""As whom a service runs: whoever typed the command, also before sudo; never root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.serve.account import Account, become, check_reach, chosen
from tests.stories.terminal import Inside

root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
UP = ("up", "r.mofang", "--domain", "api.example.com", "--behind-proxy", "--yes")


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """A machine with systemd, as far as the command can see, and a file to begin with."""
    monkeypatch.setattr("mofang.serve.unit.has_systemd", lambda: True)
    monkeypatch.delenv("SUDO_USER", raising=False)
    made = Inside(tmp_path)
    (tmp_path / "r.mofang").write_bytes(b"no parcel")
    return made


@root
def test_under_sudo_it_is_whoever_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "nobody")
    found = chosen("")
    assert found is not None and (found.name, found.uid != 0) == ("nobody", True)
    for name in ("root", "", "nobody-of-this-name"):
        monkeypatch.setenv("SUDO_USER", name)
        assert chosen("") is None
    for name in ("root", "nobody-of-this-name"):
        with pytest.raises(MofangError) as refused:
            chosen(name)
        assert refused.value.code == "up-no-account"


@root
def test_what_is_written_meanwhile_is_the_accounts_and_children_cannot_come_back(tmp_path: Path) -> None:
    account = chosen("nobody")
    assert account is not None
    tmp_path.chmod(0o777)
    home, script = os.environ.get("HOME"), "import os; os.setresuid(0, 0, 0)"
    with become(account):
        assert os.getuid() == os.geteuid() == account.uid and os.environ["HOME"] == str(account.home)
        done = subprocess.run(["sh", "-c", "id -u; id -ru; id -G"], capture_output=True, text=True, check=True).stdout.split()
        assert set(done[:2]) == {str(account.uid)} and "0" not in done[2:]
        back = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False) if os.access(sys.executable, os.X_OK) else None
    assert back is None or back.returncode != 0
    assert os.geteuid() == 0 and os.environ.get("HOME") == home


@root
def test_up_as_root_is_refused_and_so_is_what_the_account_cannot_reach(terminal: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    said = terminal.type(*UP, status=1)
    assert said.code == "up-as-root" and "--run-as" in said.err and not terminal.shop.exists()
    assert terminal.type(*UP, "--run-as", "root", status=1).code == "up-no-account"
    terminal.folder.chmod(0o700)
    monkeypatch.setenv("SUDO_USER", "nobody")
    said = terminal.type(*UP, status=1)
    assert said.code == "up-out-of-reach" and "nobody" in said.err and not terminal.shop.exists() and os.geteuid() == 0


def test_reach_is_looked_at_before_anything_is_written(tmp_path: Path) -> None:
    account = Account("me", os.geteuid(), os.getegid(), tmp_path)
    check_reach(account, tmp_path / "new" / "shop", Path(sys.executable), None)
    with pytest.raises(MofangError) as refused:
        check_reach(account, tmp_path / "shop", tmp_path / "missing.pem")
    assert refused.value.code == "up-out-of-reach" and "missing.pem" in str(refused.value.values)
