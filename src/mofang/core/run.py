"""One run of a stage: what the function may use, and the steps around it (memo, lease, start, parts, done or fail)."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import orjson

from mofang.core import lock, memo
from mofang.core.artifact import Artifact, Part
from mofang.core.canonical import canonical, sync_folder
from mofang.core.errors import MofangError, Pending
from mofang.core.identity import new_id, now_us
from mofang.core.language import say
from mofang.core.ledger import Entry
from mofang.core.personal import is_personal, is_private
from mofang.core.progress import Bar, announce, progress
from mofang.core.resume import note_resume
from mofang.core.stage import Spec, spec_of

if TYPE_CHECKING:
    from mofang.core.shop import Shop

A = TypeVar("A", bound=Artifact)
LEASE_S = 30.0
_current: ContextVar[Run | None] = ContextVar("current_run", default=None)


@dataclass
class Cost:
    """What a run used: seconds of wall clock and CPU, its process's peak memory, and energy as an estimate."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    peak_mb: float = 0.0

    WATTS_PER_CORE = 10.0  # an estimate; a laptop core draws 5 to 15 W under load

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, self.gpu_s + other.gpu_s,
                    max(self.peak_mb, other.peak_mb))

    def to_dict(self, rates: dict[str, Any]) -> dict[str, Any]:
        """The cost with money in micros, or None where no machine rate is set."""
        per_hour, per_kwh = rates.get("machine_hour_micros"), rates.get("kwh_micros") or 0
        energy_wh = self.cpu_s * self.WATTS_PER_CORE / 3600
        return {"wall_s": round(self.wall_s, 3), "cpu_s": round(self.cpu_s, 3), "gpu_s": round(self.gpu_s, 3),
                "peak_mb": round(self.peak_mb, 1), "energy_wh": round(energy_wh, 4),
                "micros": None if per_hour is None else round(self.wall_s * per_hour / 3600 + energy_wh / 1000 * per_kwh)}


def current_run() -> Run | None:
    """The innermost run under way here; workers of a training repeat its call (fit/loop/spread.py)."""
    return _current.get()


def used() -> tuple[float, float]:
    """CPU seconds of this process and its ended children, and peak memory in MB."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime, own.ru_maxrss / unit


@dataclass
class Run:
    """What a stage works with. Parts are sealed one by one, so a killed run resumes at the next part."""

    shop: Shop
    key: str
    spec: Spec
    settings: dict[str, Any]
    bound: list[list[Artifact]]
    scratch: Path
    nested: list[dict[str, Any]] = field(default_factory=list)
    nested_cost: Cost = field(default_factory=Cost)
    measures: dict[str, Any] = field(default_factory=dict)
    added_licences: set[str] = field(default_factory=set)
    elsewhere_cpu_s: float = 0.0  # of workers that are no children of this process
    _parts: dict[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        sealed = self.scratch / "parts.jsonl"
        for line in sealed.read_bytes().splitlines() if sealed.exists() else []:
            try:
                part = Part(*orjson.loads(line))
            except orjson.JSONDecodeError:  # the last line of a killed run may be torn
                break
            if self.shop.store.has(part.digest):
                self._parts[part.name] = part

    def _private(self, part: str) -> bool:
        """True if this part of what the run makes can hold personal data and the shop encrypts that."""
        personal = self.spec.output is not None and is_private(self.spec.output.kind, part)
        return self.shop.encrypts_all or (self.shop.encrypts and personal)

    @property
    def inputs(self) -> list[Artifact]:
        """All input artifacts in order."""
        return [one for values in self.bound for one in values]

    @property
    def input_licences(self) -> tuple[str, ...]:
        """The union of the inputs' licences."""
        return tuple(sorted({name for one in self.inputs for name in one.licences}))

    def licence(self, *names: str) -> None:
        """Add licences that this run brings in (a source's, a base model's)."""
        self.added_licences.update(names)

    def has(self, name: str) -> bool:
        """True if an earlier, killed attempt sealed this part already."""
        return name in self._parts

    def open_sealed(self, name: str) -> BinaryIO:
        """The bytes of a part that this run (or its killed predecessor) sealed; the caller closes it."""
        return self.shop.store.open(self._parts[name].digest)

    def sealed_path(self, name: str) -> Path:
        """The file of a part that this run (or its killed predecessor) sealed."""
        return self.shop.store.plain_path(self._parts[name].digest)

    @contextmanager
    def part(self, name: str, kind: str = "") -> Iterator[Path]:
        """Write one named part; when the block ends well, the file is durable and sealed under its digest."""
        self.shop.store.require_space()
        place = self.scratch / "writing" / name.replace("/", "--")
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        yield place
        digest, size_bytes = self.shop.store.keep(place, private=self._private(name))
        part = Part(name, kind or place.suffix.lstrip("."), digest, size_bytes)
        self._parts[name] = part
        self._remember(part)

    def _remember(self, part: Part) -> None:
        with (self.scratch / "parts.jsonl").open("ab") as file:
            file.write(canonical(part.to_list()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.scratch)

    def write_json(self, name: str, value: Any) -> None:
        """A JSON part."""
        with self.part(name) as path:
            path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))

    def write_bytes(self, name: str, data: bytes, kind: str = "") -> None:
        """A part from bytes in memory."""
        with self.part(name, kind) as path:
            path.write_bytes(data)

    def copy(self, name: str, part: Part) -> None:
        """Take a part of an input over as it is, without touching its bytes."""
        self._parts[name] = Part(name, part.kind, part.digest, part.size_bytes)
        self._remember(self._parts[name])

    def measure(self, **values: Any) -> None:
        """Record figures in the ledger entry; they must be JSON and hold no records."""
        self.measures.update(values)

    def result(self, kind: type[A]) -> A:
        """The artifact made of the sealed parts."""
        return kind(self.shop, "", tuple(sorted(self._parts.values())), "", (), self.measures)

    def call(self, function: Callable[..., Any], *artifacts: Any, **settings: Any) -> Any:
        """Run another stage inside this one: memoised on its own, its cost counted once."""
        made, cost = execute(self.shop, function, artifacts, settings)
        spec = spec_of(function)
        self.nested.append({"stage": spec.name, "version": spec.version, "entry": made.entry})
        self.nested_cost = self.nested_cost + cost
        self.licence(*self.shop.ledger.get(made.entry).body["added_licences"])
        return made

    def once(self, name: str, choose: Callable[[], Any]) -> Any:
        """The value of ``choose()``, stored durably at first: after a kill the same value comes back."""
        db = self.shop.ledger.db
        found = db.rows("select value from once where key=? and name=?", (self.key, name))
        if found:
            return orjson.loads(found[0][0])
        value = choose()
        with db.transaction():
            db.run("insert into once(key, name, value) values(?,?,?)", (self.key, name, canonical(value).decode()))
        return orjson.loads(canonical(value))

    @contextmanager
    def progress(self, en: str, zh: str, total: float | None = None) -> Iterator[Bar]:
        """A progress bar on the terminal."""
        with progress(say(en, zh), total) as bar:
            yield bar

    def announce(self, en: str, zh: str, **values: object) -> None:
        """Say on the terminal how long something will take, before it begins."""
        announce(say(en, zh, **values))

    def secret(self, name: str) -> bytes:
        """A 32-byte secret of the shop, made at first use."""
        return self.shop.secret(name)


def execute(shop: Shop, function: Callable[..., Any], artifacts: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, Cost]:
    """Run a stage, or reuse what an equal run made. Returns the artifact and the total cost of this call."""
    spec = spec_of(function)
    artifacts, given = spec.placed(artifacts, given)
    settings = spec.check(given)
    bound = memo.settled(shop, spec, settings, spec.bind(artifacts))
    identity = memo.identity(shop, spec, settings, bound)
    key = memo.key_of(identity)
    if spec.memo:
        known = memo.hit(shop, spec, key)
        if known:
            return _reuse(shop, spec, known, key, settings, bound), Cost()
    shop.require("train")
    with leased(shop, key) as waited:
        if waited and spec.memo and (known := memo.hit(shop, spec, key)):
            return _reuse(shop, spec, known, key, settings, bound), Cost()
        return _perform(shop, spec, key, identity, settings, bound)


def _perform(shop: Shop, spec: Spec, key: str, identity: dict[str, Any], settings: dict[str, Any],
             bound: list[list[Artifact]]) -> tuple[Artifact, Cost]:
    run = Run(shop, key, spec, settings, bound, shop.path / "scratch" / key)
    references = [one.reference() for one in run.inputs]
    said = {"stage": spec.name, "version": spec.version, "settings": spec.changed(settings), "inputs": references}
    note_resume(run.scratch)
    start = shop.ledger.append("start", key, shop.actor, said)
    began, (cpu_began, _), tombs = time.monotonic(), used(), _tombs(shop)
    try:
        token = _current.set(run)
        try:
            made = spec.call(run, bound, settings)
        finally:
            _current.reset(token)
        if tombs != _tombs(shop) and spec.output is not None and is_personal(spec.output.kind):
            raise MofangError("erased-meanwhile", stage=spec.name)
    except Pending:
        raise
    except Exception as error:  # the one boundary of a run: written down, then raised again
        code = error.code if isinstance(error, MofangError) else type(error).__name__
        shop.ledger.append("fail", key, shop.actor, {**said, "error": code, "start": start.id})
        raise
    cpu_ended, peak_mb = used()
    total = Cost(time.monotonic() - began, cpu_ended - cpu_began + run.elsewhere_cpu_s, 0.0, peak_mb)
    own = Cost(max(0.0, total.wall_s - run.nested_cost.wall_s), max(0.0, total.cpu_s - run.nested_cost.cpu_s), 0.0, peak_mb)
    assert spec.output is not None and isinstance(made, spec.output), f"{spec.name} must return {spec.output}"
    licences = tuple(sorted({*run.input_licences, *run.added_licences}))
    choices = {row[0]: orjson.loads(row[1])
               for row in shop.ledger.db.rows("select name, value from once where key=? order by name", (key,))}
    body = {
        **said,
        "start": start.id,
        "output": {"kind": made.kind, "digest": made.digest, "parts": [part.to_list() for part in made.parts]},
        "returned": made.entry,
        "licences": licences,
        "added_licences": sorted(run.added_licences),
        "measures": run.measures or made.measures,
        "nested": run.nested,
        "choices": choices,
        "code": lock.code_of(spec),
        "lineage": memo.lineage(shop, spec, settings, bound, licences, made.digest),
        "cost": {"own": own.to_dict(shop.rates), "total": total.to_dict(shop.rates)},
    }
    with shop.ledger.db.transaction():
        entry = shop.ledger.append_within("done", key, shop.actor, body)
        shop.ledger.db.run("delete from once where key=?", (key,))
    shutil.rmtree(run.scratch, ignore_errors=True)
    return shop.artifact(entry), total


def _tombs(shop: Shop) -> int:
    """How many tombstones there are: a run during which somebody was erased may have read them still."""
    return int(shop.ledger.db.rows("select count(*) from tombstone")[0][0])


def _reuse(shop: Shop, spec: Spec, known: Entry, key: str, settings: dict[str, Any], bound: list[list[Artifact]]) -> Artifact:
    """Reuse the bytes, but write down whose inputs, licences and time these are."""
    inputs = [one for values in bound for one in values]
    licences = tuple(sorted({*known.body["added_licences"], *(name for one in inputs for name in one.licences)}))
    body = {name: known.body[name] for name in ("stage", "version", "settings", "output", "returned", "added_licences",
                                                "measures", "nested", "code")}
    body |= {"inputs": [one.reference() for one in inputs], "licences": licences, "of": known.body.get("of", known.id),
             "lineage": memo.lineage(shop, spec, settings, bound, licences, known.body["output"]["digest"]),
             "cost": {"own": Cost().to_dict(shop.rates), "total": Cost().to_dict(shop.rates)}}
    return shop.artifact(shop.ledger.append("reuse", key, shop.actor, body))


@contextmanager
def leased(shop: Shop, key: str) -> Iterator[bool]:
    """Hold the key's lease while running; True if another holder was waited for. A dead holder's lease runs out."""
    holder, waited = f"{new_id('holder')} {socket.gethostname()} {os.getpid()}", False
    with progress(say("Waiting for the same run elsewhere", "正在等待另一处相同的运行")) as bar:
        while not _take(shop, key, holder):
            waited = True
            bar.advance(0)
            time.sleep(0.2)
    with _kept_up(shop, key, holder):
        yield waited


@contextmanager
def _kept_up(shop: Shop, key: str, holder: str) -> Iterator[None]:
    """Renew a lease that was taken until the block ends, then give it back."""
    stop = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(shop, key, holder, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with shop.ledger.db.transaction():
            shop.ledger.db.run("delete from lease where key=? and holder=?", (key, holder))


@contextmanager
def lease_if_free(shop: Shop, key: str) -> Iterator[bool]:
    """Hold a key's lease if nobody has it, so that no run of this key begins meanwhile; never waits."""
    holder = f"{new_id('holder')} {socket.gethostname()} {os.getpid()}"
    if not _take(shop, key, holder):
        yield False
        return
    with _kept_up(shop, key, holder):
        yield True


def lives(shop: Shop, key: str) -> bool:
    """Whether somebody is at work on the run with this key."""
    held = shop.ledger.db.rows("select holder from lease where key=? and until_us>=?", (key, now_us()))
    return bool(held) and not _is_dead(held[0][0])


def _take(shop: Shop, key: str, holder: str) -> bool:
    until_us = now_us() + int(LEASE_S * 1e6)
    sql = """insert into lease(key, holder, until_us) values(?,?,?) on conflict(key) do update
             set holder=excluded.holder, until_us=excluded.until_us where lease.until_us < ?"""
    db = shop.ledger.db
    with db.transaction():
        held = db.rows("select holder from lease where key=?", (key,))
        if held and _is_dead(held[0][0]):  # killed on this machine: no need to wait for its lease to run out
            db.run("delete from lease where key=? and holder=?", (key, held[0][0]))
        return db.run(sql, (key, holder, until_us, now_us())) == 1


def _is_dead(holder: str) -> bool:
    """True if the holder was a process of this machine that is gone; unknown elsewhere, so False."""
    _, host, process = holder.split(" ")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _heartbeat(shop: Shop, key: str, holder: str, stop: threading.Event) -> None:
    if stop.wait(LEASE_S / 3):  # most runs end before the first beat and need no second connection
        return
    db = shop.ledger.db.again()
    try:
        while True:
            with db.transaction():
                db.run("update lease set until_us=? where key=? and holder=?",
                       (now_us() + int(LEASE_S * 1e6), key, holder))
            if stop.wait(LEASE_S / 3):
                return
    finally:
        db.close()
