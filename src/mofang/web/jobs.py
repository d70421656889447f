"""Jobs: what a console does for people, each in a process of its own with that person's roles and in an empty folder.

The process gets a handover on its standard input and sends back what it prints, its progress and what it made. Its
environment holds nothing of Mofang's but the language. A command ends when its caller hangs up; a run goes on, so that a
broken connection costs nothing: asking again waits for the same run. Either ends when its caller says so, or is removed.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.shop import Shop
from mofang.core.uploads import Uploads, require_name
from mofang.web.entrance import OWNER, Who

JOBS_MAX, JOBS_EACH_MAX = 16, 6
BEAT_S = 5.0
LOOK_S = 0.5
GRACE_S = 20.0  # from the first signal to the last
PIECE = 48 * 1024
QUEUED_MAX = 64
CHILD = ("mofang.cli.child",)
Event = dict[str, Any]


@dataclass
class Job:
    """One process at work for somebody."""

    id: str
    who: Who
    folder: Path
    goes_on: bool
    process: asyncio.subprocess.Process | None = None
    events: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(QUEUED_MAX))
    heard: bool = True

    def interrupt(self, force: bool = False) -> None:
        """As Ctrl-C does; ``force`` ends it at once."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL if force else signal.SIGINT)


class Jobs:
    """All processes of a console."""

    def __init__(self, shop: Shop, may_stay: Callable[[str], bool], child: Sequence[str] = CHILD) -> None:
        self.shop = shop
        self.may_stay = may_stay
        self.child = child
        self.jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, who: Who, what: str, given: dict[str, Any], *, goes_on: bool = False, address: str = "", language: str = "en",
              width: int = 160, files: dict[str, str] | None = None, standard_input: str = "") -> Job:
        """Start a process. ``files`` maps the names it shall find to upload sets of the person."""
        if len(self.jobs) >= JOBS_MAX or sum(one.who.person == who.person for one in self.jobs.values()) >= JOBS_EACH_MAX:
            raise MofangError("console-busy", jobs=len(self.jobs))
        id = new_id("job")
        folder = self.shop.path / "scratch" / id
        folder.mkdir(parents=True, mode=0o700)
        try:
            lent = self._lend(who, folder, files or {}, standard_input)
        except BaseException:
            shutil.rmtree(folder)
            raise
        job = Job(id, who, folder, goes_on)
        handover = {"shop": str(self.shop.path), "person": who.person, "name": who.actor.name, "roles": sorted(who.actor.roles),
                    "language": language, "width": width, "address": address, "files": files or {}, "what": what, "given": given}
        self.jobs[id] = job
        self._keep(self._work(job, orjson.dumps(handover), lent))
        self._keep(self._watch(job))
        return job

    async def events(self, job: Job) -> AsyncIterator[Event]:
        """What comes of a job, with a beat where nothing does; ends with ``exit``."""
        yield {"job": job.id}
        while True:
            try:
                event = await asyncio.wait_for(job.events.get(), BEAT_S)
            except TimeoutError:
                event = {"beat": 1}
            if event is None:
                return
            yield event

    def leave(self, job: Job) -> None:
        """Nobody listens any more: a run goes on by itself, a command ends."""
        job.heard = False
        while not job.events.empty():
            job.events.get_nowait()
        if not job.goes_on:
            self.cancel(job.who, job.id)

    def cancel(self, who: Who, id: str) -> None:
        """End somebody's own job, or anybody's for the owner: first as Ctrl-C does, then for good."""
        job = self.jobs.get(id)
        if job is None or (job.who.person != who.person and who.person != OWNER):
            raise MofangError("job-unknown", id=id)
        self._keep(self._end(job))

    async def close(self) -> None:
        """End everything, as Ctrl-C does, and wait."""
        for job in list(self.jobs.values()):
            self._keep(self._end(job))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lend(self, who: Who, folder: Path, files: dict[str, str], standard_input: str) -> set[str]:
        """Lay out what the person uploaded under the names that the command will use; returns those names."""
        uploads = Uploads(self.shop, who.person)
        for name, set_id in {**files, **({"stdin": standard_input} if standard_input else {})}.items():
            require_name(name)
            about = uploads.require(set_id)
            if [one[0] for one in about["files"]] == [about["root"]]:  # a single file
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to((uploads.files / about["files"][0][1]).resolve())
            else:
                uploads.lay_out(set_id, folder / name)
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}

    async def _work(self, job: Job, handover: bytes, lent: set[str]) -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        status = 70
        try:
            os.set_inheritable(writing, True)
            job.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", START, *self.child, str(writing), cwd=job.folder, env=environment(),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                pass_fds=(writing,), start_new_session=True, limit=1 << 20)
            os.close(writing)
            writing = -1
            lines = asyncio.StreamReader(limit=1 << 24)
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb"))
            reading = -1
            out, err, into = job.process.stdout, job.process.stderr, job.process.stdin
            assert out is not None and err is not None and into is not None
            with suppress(ConnectionError):
                into.write(handover)
                await into.drain()
                into.close()
            await asyncio.gather(self._text(job, "out", out), self._text(job, "err", err), self._lines(job, lines))
            transport.close()
            status = await job.process.wait()
            for path in sorted(job.folder.rglob("*")):
                name = path.relative_to(job.folder).as_posix()
                if job.heard and name not in lent and path.is_file() and not path.is_symlink():
                    await self._send_file(job, name, path)
        finally:
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)
            del self.jobs[job.id]
            shutil.rmtree(job.folder, ignore_errors=True)
            await self._put(job, {"exit": status if status >= 0 else 128 - status})
            await self._put(job, None)

    async def _put(self, job: Job, event: Event | None) -> None:
        """Wait until the listener has room; without a listener, forget."""
        while job.heard:
            with suppress(TimeoutError):
                await asyncio.wait_for(job.events.put(event), LOOK_S)
                return

    async def _text(self, job: Job, name: str, stream: asyncio.StreamReader) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while data := await stream.read(PIECE):
            if text := decoder.decode(data):
                await self._put(job, {name: text})

    async def _lines(self, job: Job, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            await self._put(job, orjson.loads(line))

    async def _send_file(self, job: Job, name: str, path: Path) -> None:
        await self._put(job, {"file": name, "size_bytes": path.stat().st_size})
        with path.open("rb") as file:
            while data := file.read(PIECE):
                await self._put(job, {"data": base64.b64encode(data).decode()})

    async def _watch(self, job: Job) -> None:
        """Somebody who was removed has nothing more done for them."""
        while job.id in self.jobs:
            await asyncio.sleep(LOOK_S)
            if not await asyncio.to_thread(self.may_stay, job.who.person):
                job.interrupt(force=True)

    async def _end(self, job: Job) -> None:
        job.interrupt()
        for _ in range(int(GRACE_S / 0.2)):
            await asyncio.sleep(0.2)
            if job.id not in self.jobs:
                return
        job.interrupt(force=True)


# The descriptor of the events gets its fixed number, then the child's module is run as ``python -m`` would; ``-P`` keeps
# the folder with uploaded files out of the search for modules.
START = """import os, runpy, sys
module, writing = sys.argv[1:3]
sys.argv[1:] = []
if int(writing) != 3:
    os.dup2(int(writing), 3)
    os.close(int(writing))
runpy.run_module(module, run_name="__main__", alter_sys=True)"""


def environment() -> dict[str, str]:
    """The environment of a child: this process's, without anything of Mofang's that a shell may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOFANG_") or name == "MOFANG_EXECUTOR"}
    return {**kept, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}
