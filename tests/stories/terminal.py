"""A terminal to type into: the real command line and the real server, each in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

START_S = 60.0


@dataclass(frozen=True)
class Done:
    """What one command printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)

    @property
    def code(self) -> str:
        """The code of the error it ended with, or ``ok``."""
        found = re.search(r"\[([a-z-]+)\]\s*$", self.err)
        return found[1] if found else "ok" if self.status == 0 else f"status {self.status}"


class Terminal:
    """A folder in which somebody types ``mofang …``. ``shop`` below it is the shop."""

    def __init__(self, folder: Path, language: str = "en") -> None:
        self.folder = folder
        self.language = language
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def shop(self) -> Path:
        """The shop's folder."""
        return self.folder / "shop"

    @property
    def environment(self) -> dict[str, str]:
        """A plain environment: no shop and no language from outside; compiled modules are kept."""
        left_out = ("PYTHONDONTWRITEBYTECODE", "MOFANG_SHOP", "LC_ALL", "LC_MESSAGES", "LANG", "COLUMNS")
        found = {name: value for name, value in os.environ.items() if name not in left_out}
        return {**found, "MOFANG_LANG": self.language, "PYTHONIOENCODING": "utf-8", "HF_HUB_OFFLINE": "1",
                "MOFANG_NO_JOBS": "1"}  # tests/web/test_keeping.py looks at servers with their keeper

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Type a command and do not wait for it."""
        return subprocess.Popen([sys.executable, "-m", "mofang", *words], cwd=self.folder, env=self.environment, text=True,
                                encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def type(self, *words: str, given: str = "", status: int | None = 0) -> Done:
        """Type a command and wait; ``status`` is how it must end (None: anyhow)."""
        running = self.start(*words, stdin=subprocess.PIPE)
        try:
            out, err = running.communicate(given, timeout=150)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
        done = Done(running.returncode, out, err)
        assert "Traceback" not in err, err
        assert status is None or done.status == status, f"mofang {' '.join(words)}: {done}"
        return done

    def token(self, customer: str, *more: str) -> str:
        """A new key's token."""
        shown = self.type("key", "new", customer, *more).out
        return next(word for word in shown.split() if word.startswith("mf_"))


class Inside(Terminal):
    """The same without a process for each command, which saves half a second each; servers are processes all the same."""

    def type(self, *words: str, given: str = "", status: int | None = 0) -> Done:
        """Call what ``python -m mofang`` calls, standing in the folder."""
        from mofang.cli.group import run

        out, err = io.StringIO(), io.StringIO()
        before, wanted, folder = dict(os.environ), self.environment, Path.cwd()
        os.environ.clear()
        os.environ.update(wanted)
        os.chdir(self.folder)
        streams = (contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
                   mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")))
        try:
            with streams[0], streams[1], streams[2]:
                ended = run(list(words))
        finally:
            os.environ.clear()
            os.environ.update(before)
            os.chdir(folder)
        done = Done(ended, out.getvalue(), err.getvalue())
        assert "Traceback" not in done.err, done.err
        assert status is None or done.status == status, f"mofang {' '.join(words)}: {done}"
        return done


@dataclass(frozen=True)
class Answer:
    """What the server sent back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, or ``ok``; an error without its words is a failure of the test."""
        if self.status == 200:
            return "ok"
        error = self.json["error"]
        assert error["what"] and error["fix"] and error["request_id"], error
        return str(error["code"])


class Server:
    """``mofang serve`` (or another command that listens) on a free port, ended by its own process id."""

    def __init__(self, terminal: Terminal, *words: str, command: str = "serve") -> None:
        self.process = terminal.start(command, *words, "--port", "0", start_new_session=True)
        self.watchdog = threading.Timer(START_S, self.process.kill)
        self.watchdog.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.watchdog.cancel()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, f"the server did not start: {line}{self.process.stderr.read() if self.process.stderr else ''}"
        self.address = found[0]

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        found = urlsplit(self.address)
        return found.hostname or "", found.port or 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM, as a supervisor does it; what has begun is finished first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return self.process.returncode

    def call(self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            named["authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may come while the body is still going out
                connection.request(method, path, data, named)
            response = connection.getresponse()
            return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def predict(self, model: str, body: Any, key: str, **headers: str) -> Answer:
        """Ask a model."""
        return self.call("POST", f"/v1/predict/{model}", body, key=key, **headers)


def ledger_rows(folder: Path, sql: str) -> list[Any]:
    """The first column of what the ledger holds, read beside Mofang while it writes."""
    place = folder / "shop" / "ledger.db"
    if not place.exists():
        return []
    reader = sqlite3.connect(f"file:{place}?mode=ro", uri=True, timeout=10)
    try:
        return [row[0] for row in reader.execute(sql)]
    except sqlite3.OperationalError:  # the tables are not made yet
        return []
    finally:
        reader.close()


def eventually(true: Any, seconds: float) -> bool:
    """Whether something becomes true within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())
