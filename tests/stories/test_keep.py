"""A shop is backed up while it sells, restored elsewhere with its keys, carried out as plain files, and swept."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from mofang.cli.group import run
from tests.stories.terminal import Done, Server, Terminal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"
PASSPHRASE = "four words that differ"


class Near(Terminal):
    """Commands run in this process, which saves starting one for each; servers have their own."""

    def type(self, *words: str, given: str = "", status: int | None = 0) -> Done:
        """Type a command and wait."""
        assert not given
        out, err = io.StringIO(), io.StringIO()
        with (contextlib.chdir(self.folder), mock.patch.dict(os.environ, self.environment, clear=True),
              contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
            done = Done(run(list(words)), out.getvalue(), err.getvalue())
        assert status is None or done.status == status, f"mofang {' '.join(words)}: {done}"
        return done


class Locked(Near):
    """A terminal whose owner has put the passphrase into the environment."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "MOFANG_BACKUP_PASSPHRASE": PASSPHRASE}


def selling(terminal: Terminal) -> str:
    """A customer with a live key."""
    terminal.type("customer", "new", "Book Shop")
    terminal.type("price", "set", "reviews", "5.00/1000")
    return terminal.token("Book Shop")


def test_backed_up_while_selling_and_sold_on_elsewhere(terminal: Terminal) -> None:
    terminal = Locked(terminal.folder)
    key = selling(terminal)
    answered: list[str] = []
    over = threading.Event()
    with Server(terminal, "reviews") as server:

        def ask() -> None:
            while not over.is_set():
                found = server.predict("reviews", {"text": "房间很好"}, key)
                answered.append(found.json["request_id"] if found.status == 200 else found.code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        made = [terminal.type("backup", "kept", "--keys", "ring.json", "--keep", "2") for _ in range(3)]
        over.set()
        for thread in threads:
            thread.join()
        assert len(answered) == len(set(answered)) > 0 and all(one.startswith("req_") for one in answered), "none lost, none refused"
    assert "checked: every chain, table and file" in made[-1].out and "Keys are not in it" not in made[-1].out
    assert len(terminal.type("backup", "kept", "--list", "--json").json) == 2
    told = terminal.type("backup", "kept", "--json").json
    assert told["missing"] == told["wrong"] == [] and told["heads"]["ledger"][1]
    last = terminal.type("restore", "kept", "--into", "again", "--keys", "ring.json")
    assert "digest-equal" in last.out and "has no keys" not in last.out and "mofang --shop again verify" in last.out
    assert "verified" in terminal.type("--shop", "again", "verify").out
    elsewhere = Locked(terminal.folder / "elsewhere")
    (terminal.folder / "again").rename(elsewhere.folder / "shop")
    with Server(elsewhere, "reviews") as server:
        answer = server.predict("reviews", {"text": "房间很好"}, key)
        assert answer.code == "ok" and answer.json["model"] == "reviews@1", "the customer's old key opens the new shop"
    requests = elsewhere.type("invoice", "Book Shop", "--preview", "--json").json["lines"][0]["requests"]
    assert requests == len(answered) + 1, "everything answered before the last backup is on the bill"


def test_without_the_key_ring_the_words_say_so(terminal: Terminal) -> None:
    terminal = Near(terminal.folder)
    key = selling(terminal)
    terminal.type("backup", "kept")
    done = terminal.type("restore", "kept", "--into", "again")
    assert "has no keys" in done.out and "mofang restore --keys FILE" in done.out
    locked = Locked(terminal.folder)
    locked.type("backup", "kept", "--keys", "ring.json", "--quick")
    done = locked.type("--shop", "again", "restore", "--keys", "ring.json")
    assert "keys are back" in done.out
    with Server(terminal, "--host", "127.0.0.1") as server:
        assert server.predict("reviews", {"text": "房间很好"}, key).code == "ok"


@pytest.fixture
def kept(terminal: Terminal) -> Terminal:
    """A folder with one backup, its ring, and a few wrong things beside them."""
    locked = Locked(terminal.folder)
    selling(locked)
    locked.type("backup", "kept", "--keys", "ring.json")
    (terminal.folder / "full").mkdir()
    (terminal.folder / "full" / "letter.txt").write_text("mine")
    ring = json.loads((terminal.folder / "ring.json").read_text())
    for name, changed in {"future": {"format": 2}, "other": {"shop": "shop_other"},
                          "dear": {"scrypt": {**ring["scrypt"], "n": 2**30}}, "bent": {"nonce": "00" * 12}}.items():
        (terminal.folder / f"{name}.json").write_text(json.dumps({**ring, **changed}))
    (terminal.folder / "half.json").write_text(json.dumps(ring)[:99])
    return terminal


WRONG = [
    (("restore", "kept"), PASSPHRASE, "restore-not-empty"),
    (("restore", "kept", "--into", "full"), PASSPHRASE, "restore-not-empty"),
    (("restore", "kept", "--into", "x", "--at", "2001-01-01"), PASSPHRASE, "backup-too-young"),
    (("restore", "kept", "--into", "x", "--at", "newest"), PASSPHRASE, "backup-unknown"),
    (("restore", "shop", "--into", "x"), PASSPHRASE, "backup-missing"),
    (("restore", "kept", "--into", "x", "--keys", "ring.json"), "", "passphrase-missing"),
    (("restore", "kept", "--into", "x", "--keys", "ring.json"), "three words only", "passphrase-wrong"),
    (("restore", "kept", "--into", "x", "--keys", "bent.json"), PASSPHRASE, "passphrase-wrong"),
    (("restore", "kept", "--into", "x", "--keys", "none.json"), PASSPHRASE, "keys-file-missing"),
    (("restore", "kept", "--into", "x", "--keys", "half.json"), PASSPHRASE, "keys-file-unreadable"),
    (("restore", "kept", "--into", "x", "--keys", "dear.json"), PASSPHRASE, "keys-file-unreadable"),
    (("restore", "kept", "--into", "x", "--keys", "future.json"), PASSPHRASE, "keys-format"),
    (("restore", "kept", "--into", "x", "--keys", "other.json"), PASSPHRASE, "keys-other-shop"),
    (("restore", "kept", "--into", "x", "--database", "mysql://h/x"), PASSPHRASE, "database-not-postgresql"),
    (("restore",), PASSPHRASE, "restore-what"),
    (("backup", "shop/inside"), PASSPHRASE, "backup-inside-shop"),
    (("backup", "kept", "--keys", "kept/ring.json"), PASSPHRASE, "keys-not-apart"),
    (("backup", "kept", "--keys", "full/letter.txt"), PASSPHRASE, "keys-file-unreadable"),
    (("backup", "kept", "--keys", "new.json"), "short", "passphrase-short"),
    (("backup", "kept", "--keys", "new.json"), "", "passphrase-missing"),
    (("--shop", "nowhere", "backup"), PASSPHRASE, "shop-missing"),
    (("--shop", "nowhere", "sweep"), PASSPHRASE, "shop-missing"),
    (("export", "--all", "--out", "full"), PASSPHRASE, "export-not-empty"),
    (("export", "--all", "--out", "shop/out"), PASSPHRASE, "export-inside-shop"),
]


def test_each_mistake_is_a_plain_sentence(kept: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In both languages; nothing is written by any of them."""
    monkeypatch.chdir(kept.folder)
    monkeypatch.delenv("MOFANG_SHOP", raising=False)
    names = {path.name for path in kept.folder.iterdir()}
    for words, passphrase, code in WRONG:
        monkeypatch.setenv("MOFANG_BACKUP_PASSPHRASE", passphrase)
        for language in ("en", "zh"):
            assert run(["--lang", language, *words]) == 1, words
            told = capsys.readouterr().err
            assert f"[{code}]" in told and ("{" not in told), told
            assert bool(re.search("[\u4e00-\u9fff]", told)) == (language == "zh")
    assert {path.name for path in kept.folder.iterdir()} == names


def test_a_shop_that_was_put_into_git(terminal: Terminal) -> None:
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    terminal = Near(terminal.folder)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(terminal.folder)]
    selling(terminal)
    subprocess.run([*git, "init", "-q"], check=True)
    (terminal.folder / "shop" / ".gitignore").unlink()
    subprocess.run([*git, "add", "shop"], check=True)
    done = terminal.type("backup", "../kept")
    assert "are in git" in done.out and "git rm -r -f --cached" in done.out and ".gitignore was gone" in done.out
    assert (terminal.folder / "shop" / ".gitignore").read_text() == "*\n"
    subprocess.run([*git, "rm", "-r", "-f", "-q", "--cached", "shop"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    assert "in git" not in terminal.type("backup", "../kept", "--quick").out


def test_a_sweep_shows_asks_and_harms_nothing(copied: Callable[[str], Terminal]) -> None:
    terminal = Near(copied("zh").folder, "zh")
    shop = terminal.folder / "shop"
    stale = shop / "scratch" / ("a" * 64)
    stale.mkdir()
    (stale / "checkpoint").write_bytes(b"x" * 5000)
    for path in (stale / "checkpoint", stale):
        os.utime(path, (1, 1))
    shown = terminal.type("sweep", "--dry-run")
    assert "无人继续" in shown.out and "5.0 KB" in shown.out and stale.exists()
    assert terminal.type("sweep", status=1).code == "sweep-unconfirmed" and stale.exists()
    done = terminal.type("sweep", "--yes")
    assert "已清理" in done.out and not stale.exists()
    assert terminal.type("sweep", "--json").json == []
    assert terminal.type("verify", "--json").json["wrong"] == []
    assert "好评" in terminal.type("predict", "reviews", "房间很好，服务满意").out


# The page


def blocks(page: Path) -> list[str]:
    """The lines of a page's shell blocks."""
    found = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in found for line in block.splitlines() if line.strip()]


def test_the_page_can_be_typed(terminal: Terminal) -> None:
    """``docs/export.md``, line by line, with a folder here for the disk there."""
    terminal = Locked(terminal.folder)
    selling(terminal)
    said: list[str] = []
    for line in blocks(PAGE):
        words = shlex.split(line.replace("/mnt/disk", "disk"), comments=True)
        if words[0] == "mofang":
            said.append(terminal.type(*words[1:]).out)
        else:
            subprocess.run(["bash", "-c", line], cwd=terminal.folder, check=True, stdin=subprocess.DEVNULL, timeout=60)
    text = "\n".join(said)
    assert "digest-equal" in text and "reviews@1" in text and "begin with README.md" in text
