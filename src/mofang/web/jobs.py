"""Jobs: what a console does for people, each in a process of its own with that person's roles and in an empty folder.

A process gets a handover on its standard input and sends back what it prints, its progress and what it made. Its
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
from collections.abc import AsyncIterator, Callable, Coroutine
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
LINE_MAX = 1 << 24
IDLE_S = 20.0
CHILD = "mofang.cli.child"
Event = dict[str, Any]


@dataclass
class Worker:
    """One process that works for one person, and what it is at."""

    who: Who
    folder: Path
    process: asyncio.subprocess.Process
    job: Job | None = None
    ended: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    readers: list[asyncio.Task[None]] = field(default_factory=list)

    def interrupt(self, force: bool = False) -> None:
        """As Ctrl-C does; ``force`` ends it at once."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL if force else signal.SIGINT)


@dataclass
class Job:
    """One thing to be done for somebody."""

    id: str
    who: Who
    goes_on: bool
    worker: Worker | None = None
    cancelled: bool = False
    events: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(QUEUED_MAX))
    heard: bool = True

    async def put(self, event: Event | None) -> None:
        """Wait until the listener has room; without a listener, forget."""
        while self.heard:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.events.put(event), LOOK_S)
                return


class Jobs:
    """All jobs of a console, and the processes that do them."""

    def __init__(self, shop: Shop, may_stay: Callable[[str], bool], child: str = CHILD) -> None:
        self.shop = shop
        self.may_stay = may_stay
        self.child = child
        self.jobs: dict[str, Job] = {}
        self._idle: list[Worker] = []
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, who: Who, what: str, given: dict[str, Any], *, goes_on: bool = False, address: str = "", language: str = "en",
              width: int = 160, files: dict[str, str] | None = None, standard_input: str = "") -> Job:
        """Start a job. ``files`` maps the names it shall find to upload sets of the person."""
        if len(self.jobs) >= JOBS_MAX or sum(one.who.person == who.person for one in self.jobs.values()) >= JOBS_EACH_MAX:
            raise MofangError("console-busy", jobs=len(self.jobs))
        job = Job(new_id("job"), who, goes_on)
        handover = {"shop": str(self.shop.path), "person": who.person, "name": who.actor.name, "roles": sorted(who.actor.roles),
                    "language": language, "width": width, "address": address, "files": files or {}, "what": what, "given": given}
        line = orjson.dumps(handover) + b"\n"
        if what == "command":
            folder, lent = self._lend(who, files or {}, standard_input)
            work = self._command(job, line, folder, lent)
        else:
            work = self._stage(job, line)
        self.jobs[job.id] = job
        self._keep(work)
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
        if not job.goes_on and job.id in self.jobs:
            self._keep(self._end(job))

    def cancel(self, who: Who, id: str) -> None:
        """End somebody's own job, or anybody's for the owner: first as Ctrl-C does, then for good."""
        job = self.jobs.get(id)
        if job is None or (job.who.person != who.person and who.person != OWNER):
            raise MofangError("job-unknown", id=id)
        self._keep(self._end(job))

    async def close(self) -> None:
        """End everything, as Ctrl-C does, and wait."""
        self._closing.set()
        for job in list(self.jobs.values()):
            self._keep(self._end(job))
        for worker in self._idle:
            worker.interrupt(force=True)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lend(self, who: Who, files: dict[str, str], standard_input: str) -> tuple[Path, set[str]]:
        """A folder with what the person uploaded under the names that the command will use, and those names."""
        folder = self._folder()
        uploads = Uploads(self.shop, who.person)
        try:
            for name, set_id in {**files, **({"stdin": standard_input} if standard_input else {})}.items():
                require_name(name)
                about = uploads.require(set_id)
                if [one[0] for one in about["files"]] == [about["root"]]:  # a single file
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).symlink_to((uploads.files / about["files"][0][1]).resolve())
                else:
                    uploads.lay_out(set_id, folder / name)
        except BaseException:
            shutil.rmtree(folder)
            raise
        return folder, {path.relative_to(folder).as_posix() for path in folder.rglob("*")}

    def _folder(self) -> Path:
        folder = self.shop.path / "scratch" / new_id("job")
        folder.mkdir(parents=True, mode=0o700)
        return folder

    # Work

    async def _command(self, job: Job, line: bytes, folder: Path, lent: set[str]) -> None:
        """One command in a process of its own; the files that it wrote are sent before its status."""
        status = 70
        try:
            worker = await self._start(job, folder, line, last=True)
            status = await worker.ended.get()
            await asyncio.gather(*worker.readers)
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if job.heard and name not in lent and path.is_file() and not path.is_symlink():
                    await _send_file(job, name, path)
        finally:
            await self._finish(job, status)
            shutil.rmtree(folder, ignore_errors=True)

    async def _stage(self, job: Job, line: bytes) -> None:
        """One stage in a process that waits a while for the next, so that a recipe starts Python once."""
        status = 70
        try:
            worker = next((one for one in self._idle if one.process.returncode is None and one.who == job.who), None)
            if worker is None:
                worker = await self._start(job, self._folder(), line)
            else:
                self._idle.remove(worker)
                worker.job, job.worker = job, worker
                await _tell(worker, line)
            status = await worker.ended.get()
            worker.job = None
            if worker.process.returncode is None and status < 128:
                self._idle.append(worker)
                self._keep(self._retire(worker))
        finally:
            await self._finish(job, status)

    async def _finish(self, job: Job, status: int) -> None:
        self.jobs.pop(job.id, None)
        await job.put({"exit": status if status >= 0 else 128 - status})
        await job.put(None)

    async def _start(self, job: Job, folder: Path, line: bytes, last: bool = False) -> Worker:
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", START, self.child, str(writing), cwd=folder, env=environment(),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                pass_fds=(writing,), start_new_session=True)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        worker = job.worker = Worker(job.who, folder, process, job)
        lines = asyncio.StreamReader(limit=LINE_MAX)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb"))
        assert process.stdout is not None and process.stderr is not None
        for work in (_text(worker, "out", process.stdout), _text(worker, "err", process.stderr), _lines(worker, lines)):
            task = asyncio.get_running_loop().create_task(work)
            worker.readers.append(task)
        self._keep(self._watch(worker))
        await _tell(worker, line, last=last)
        if job.cancelled:
            worker.interrupt()
        return worker

    async def _watch(self, worker: Worker) -> None:
        """Somebody who was removed has nothing more done for them; when the process ends, its folder goes."""
        while worker.process.returncode is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(worker.process.wait(), LOOK_S)
            if not await asyncio.to_thread(self.may_stay, worker.who.person):
                worker.interrupt(force=True)
        await asyncio.gather(*worker.readers, return_exceptions=True)
        worker.ended.put_nowait(worker.process.returncode)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.job is None or worker.job.goes_on:
            shutil.rmtree(worker.folder, ignore_errors=True)

    async def _retire(self, worker: Worker) -> None:
        """A process that nobody gives work any more is let go."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), IDLE_S)
        if worker in self._idle and worker.job is None:
            self._idle.remove(worker)
            await _tell(worker, b"", last=True)

    async def _end(self, job: Job) -> None:
        job.cancelled = True
        if job.worker is not None:
            job.worker.interrupt()
        for _ in range(int(GRACE_S / 0.2)):
            await asyncio.sleep(0.2)
            if job.id not in self.jobs:
                return
        if job.worker is not None:
            job.worker.interrupt(force=True)


async def _tell(worker: Worker, line: bytes, last: bool = False) -> None:
    into = worker.process.stdin
    assert into is not None
    with suppress(ConnectionError):
        into.write(line)
        await into.drain()
        if last:
            into.close()


async def _text(worker: Worker, name: str, stream: asyncio.StreamReader) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while data := await stream.read(PIECE):
        text = decoder.decode(data)
        if text and worker.job is not None:
            await worker.job.put({name: text})


async def _lines(worker: Worker, stream: asyncio.StreamReader) -> None:
    while line := await stream.readline():
        event = orjson.loads(line)
        if "ended" in event:
            worker.ended.put_nowait(event["ended"])
        elif worker.job is not None:
            await worker.job.put(event)


async def _send_file(job: Job, name: str, path: Path) -> None:
    await job.put({"file": name, "size_bytes": path.stat().st_size})
    with path.open("rb") as file:
        while data := file.read(PIECE):
            await job.put({"data": base64.b64encode(data).decode()})


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
