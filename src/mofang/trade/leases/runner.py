"""A leased package, opened without shop and network: unlocked, checked, counted, and closed when its licence ends.

After it is open an answer (of a generator: each token) costs one comparison with the clock: a thread looks at the licence once a
minute and says until when answers may be given. Counts go to a small file once a second and to the record once a minute: a kill
loses a second of counting.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from mofang.core.canonical import canonical, write_durably
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.serve.boundary import attempt
from mofang.trade.leases.file import LeaseFile, Tick, no_tick, open_lease
from mofang.trade.leases.licence import (
    BEHIND_US,
    Licence,
    Signed,
    read_signed,
    unwrap_by_code,
    unwrap_by_machine,
)
from mofang.trade.leases.opening import Model, generates, open_model, plain_folder
from mofang.trade.leases.record import (
    OPEN,
    RENEWAL,
    Record,
    installation,
    keep_code,
    kept_code,
    report_mac,
    take_slot,
)

LOOK_S, TELL_S = 60.0, 1.0
LATE_S = 30.0     # beyond a look that is due; then answers stop
SEEN_US = 3_600_000_000
Clock = Callable[[], int]


@dataclass(frozen=True)
class Unlocked:
    """A lease that may be used now: the licence that holds, the data key, and the record of use."""

    file: LeaseFile
    known: Signed
    key: bytes
    record: Record

    @property
    def licence(self) -> Licence:
        """The licence that holds."""
        return self.known.licence


def unlock(path: Path, code: str = "", *, feature: str = "predict", clock: Clock = now_us) -> Unlocked:
    """Check everything that can be checked of a lease on this machine, and open its key. The record is not written yet.

    Raises ``lease-missing``, ``lease-unreadable``, ``lease-edited``, ``lease-other-machine``, ``lease-code-missing``,
    ``lease-code-wrong``, ``lease-signer``, ``lease-feature``, what ``Record.require_whole`` raises, ``lease-clock-back``,
    ``lease-early`` and ``lease-ended``.
    """
    file = open_lease(path)
    known = newest_licence(file)
    key = _key(known, code)
    record = Record(path, known, key)
    at_us = clock()
    record.require_whole(at_us)
    require_time(known.licence, at_us, record.known_us)
    if feature not in known.licence.features:
        raise MofangError("lease-feature", feature=feature, features=", ".join(known.licence.features))
    if code:
        keep_code(known.licence.id, code)
    return Unlocked(file, known, key, record)


def require_time(licence: Licence, at_us: int, known_us: int) -> None:
    """Refuse a clock that is behind what is known, and a licence that is not good now."""
    if at_us < known_us - BEHIND_US:
        raise MofangError("lease-clock-back", hours=f"{(known_us - at_us) / 3.6e9:.1f}")
    phase = licence.phase(max(at_us, known_us))
    if phase == "early":
        raise MofangError("lease-early", model=licence.model, on=day(licence.from_us))
    if phase == "ended":
        raise MofangError("lease-ended", model=licence.model, on=day(licence.until_us), ends=day(licence.ends_us))


def day(at_us: int) -> str:
    """A moment as people write it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_us // 1_000_000))


def newest_licence(file: LeaseFile) -> Signed:
    """The licence in the file, or the renewal that was accepted since."""
    beside = file.path.with_name(file.path.name + RENEWAL)
    if not beside.exists():
        return file.known
    later = read_signed(beside.read_bytes())
    require_same(file.known, later)
    return max(file.known, later, key=lambda one: one.licence.sequence)


def require_same(known: Signed, later: Signed) -> None:
    """Refuse a licence that is of another lease, another package, or by another shop."""
    if later.public_key != known.public_key:
        raise MofangError("lease-signer")
    one, other = known.licence, later.licence
    if (one.id, one.digest, one.parts) != (other.id, other.digest, other.parts):
        raise MofangError("lease-other", lease=other.id, wanted=one.id)


def _key(known: Signed, code: str) -> bytes:
    licence = known.licence
    if licence.machines:
        return unwrap_by_machine(known, *installation())
    code = code or kept_code(licence.id)
    if not code:
        raise MofangError("lease-code-missing", model=licence.model)
    return unwrap_by_code(known, code)


def accept(path: Path, renewal: Path, *, clock: Clock = now_us) -> Signed:
    """Take a renewal that the seller sent: from now on it holds. Raises as ``unlock`` does, and ``lease-older``."""
    if not renewal.is_file():
        raise MofangError("lease-missing", path=str(renewal))
    file = open_lease(path)
    now, later = newest_licence(file), read_signed(renewal.read_bytes())
    require_same(file.known, later)
    if later.licence.sequence <= now.licence.sequence:
        raise MofangError("lease-older", sequence=later.licence.sequence, newest=now.licence.sequence)
    record = Record(path, later, _key(later, ""))
    at_us = clock()
    record.require_whole(at_us)
    require_time(later.licence, at_us, record.known_us)
    place = path.with_name(path.name + RENEWAL)
    write_durably(place, later.data)
    record.append("renewed", at_us)
    return later


def use_report(path: Path) -> dict[str, Any]:
    """The record of use as it is sent home. Raises ``lease-record-lost`` where there is none yet."""
    file = open_lease(path)
    known = newest_licence(file)
    record = Record(path, known, _key(known, ""))
    rows, _ = record.look()
    if not rows:
        raise MofangError("lease-record-lost", path=str(record.path))
    total = record.total
    told = {"format": 1, "lease": known.licence.id, "rows": [list(row) for row in rows], "requests": total.requests,
            "units": total.units, "link": total.link}
    return {**told, "mac": report_mac(record.chain, told)}


class Leased:
    """A leased package that answers: ``model`` is its predictor or generator. Close it, so that the last counts are written."""

    def __init__(self, path: Path, code: str = "", *, clock: Clock = now_us, monotonic: Callable[[], float] = time.monotonic,
                 tick: Tick = no_tick) -> None:
        self.clock, self.monotonic = clock, monotonic
        self.unlocked = unlock(path, code, clock=clock)
        licence = self.unlocked.licence
        self._slot = take_slot(self.unlocked.record.mark_path, licence.instances)
        if self._slot is None:
            raise MofangError("lease-instances", most=licence.instances)
        self._open = path.with_name(f"{path.name}{OPEN}-{Path(self._slot.name).suffixes[-2].strip('.')}")
        with ExitStack() as undo:
            undo.callback(self._slot.close)
            self._recover()
            with plain_folder(sum(size for _, size, _ in licence.parts)) as folder:
                self.unlocked.file.unpack(self.unlocked.key, folder, tick)
                self.model: Model = open_model(folder)
            undo.pop_all()
        self.requests = self.units = 0
        self._written = (0, 0)   # of these, in the record
        self._told = (0, 0)      # of these, in the small file
        self.refusal: MofangError | None = None
        self.notice = ""         # what is told beside answers: in the grace, when it ends
        self._began = (clock(), monotonic())
        self.until_s = 0.0
        self.record.append("start", self.at_us())
        self._seen_us = self.at_us()
        self.look()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)
        self._thread.start()

    @property
    def licence(self) -> Licence:
        """What was agreed."""
        return self.unlocked.licence

    @property
    def record(self) -> Record:
        """What was used."""
        return self.unlocked.record

    def check(self) -> None:
        """Refuse where the licence does not hold; otherwise one comparison. Raises what ended it."""
        if self.monotonic() >= self.until_s:
            raise self.refusal or MofangError("lease-unwatched")

    def count(self, units: int, requests: int = 1) -> None:
        """One request was answered; or, without a request, so many units more of one. Called by one thread."""
        self.requests += requests
        self.units += units

    def predict(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer records under the licence, and count them: of a generator the tokens that it read and wrote."""
        self.check()
        model = self.model
        if not generates(model):
            answers = model.predict(records)
            self.count(model.units(records))
            return answers
        from mofang.engine.generation.opened import write
        from mofang.engine.generation.sampling import Sampling

        prompts = [model.prompt(one) for one in records]
        written = write(model.rows(), prompts, Sampling(), tick=self.check)
        self.count(sum(map(len, prompts)) + sum(len(ids) for _, ids in written))
        return [{"text": text} for text, _ in written]

    def at_us(self) -> int:
        """The time now: never earlier than it was known to be."""
        return max(self.clock(), self.record.known_us)

    def _take_renewal(self) -> None:
        """A renewal that was accepted while this runs holds from now on."""
        newest = newest_licence(self.unlocked.file)
        if newest.licence.sequence > self.licence.sequence:
            _key(newest, "")
            self.unlocked = replace(self.unlocked, known=newest)
            self.record.known = newest

    def look(self) -> None:
        """Look at clock and licence, and say until when answers may be given."""
        attempt(self._take_renewal)
        began_us, began_s = self._began
        expected_us = began_us + int((self.monotonic() - began_s) * 1e6)
        try:
            require_time(self.licence, self.clock(), max(self.record.known_us, expected_us))
        except MofangError as refusal:
            self.refusal, self.until_s = refusal, 0.0
            return
        late_us = max(self.at_us(), expected_us)
        left_s = (self.licence.ends_us - late_us) / 1e6
        self.notice = f"ends {day(self.licence.ends_us)}" if self.licence.phase(late_us) == "grace" else ""
        self.refusal = MofangError("lease-ended", model=self.licence.model, on=day(self.licence.until_us),
                                   ends=day(self.licence.ends_us)) if left_s < LOOK_S + LATE_S else None
        self.until_s = self.monotonic() + min(left_s, LOOK_S + LATE_S)

    def state(self) -> dict[str, Any]:
        """What is told of the lease: model, customer, until when, how it stands, and what was used."""
        licence, total = self.licence, self.record.total
        phase = licence.phase(self.at_us()) if self.monotonic() < self.until_s else (
            self.refusal.code if self.refusal else "ended")
        return {"lease": licence.id, "model": licence.model, "customer": licence.customer, "until": day(licence.until_us),
                "ends": day(licence.ends_us), "state": phase, "sequence": licence.sequence, "quota": licence.quota,
                "requests": total.requests + self.requests - self._written[0],
                "units": total.units + self.units - self._written[1]}

    def close(self) -> None:
        """Write what is not written yet, and give the place back."""
        self._ending.set()
        self._thread.join()
        self._book("end")
        self._open.unlink(missing_ok=True)
        self._slot.close()

    # Counting

    def _work(self) -> None:
        looked_s = self.monotonic()
        while not self._ending.wait(TELL_S):
            attempt(self._tell)
            if self.monotonic() - looked_s >= LOOK_S:
                looked_s = self.monotonic()
                attempt(partial(self._book, "use"))
                attempt(self.look)

    def _tell(self) -> None:
        counted = (self.requests, self.units)
        if counted == self._told:
            return
        told = {"at_us": self.at_us(), "requests": counted[0] - self._written[0], "units": counted[1] - self._written[1],
                "link": self.record.total.link}
        beside = self._open.with_name(self._open.name + ".new")
        beside.write_bytes(canonical({**told, "mac": report_mac(self.record.chain, told)}))
        os.replace(beside, self._open)
        self._told = counted

    def _book(self, kind: str) -> None:
        """Counts go into the record; without any, that it is this late."""
        requests, units = self.requests, self.units
        at_us = self.at_us()
        if (requests, units) != self._written or kind == "end" or at_us - self._seen_us > SEEN_US:
            kind = kind if (requests, units) != self._written or kind == "end" else "seen"
            self.record.append(kind, at_us, requests - self._written[0], units - self._written[1])
            self._written, self._seen_us = (requests, units), at_us
            self._open.unlink(missing_ok=True)
        else:
            self.record.mark(at_us)

    def _recover(self) -> None:
        """What a process that was killed had counted, and not booked."""
        if not self._open.exists():
            return
        try:
            told = orjson.loads(self._open.read_bytes())
            good = hmac.compare_digest(told.pop("mac"), report_mac(self.record.chain, told))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            good = False
        if not good:
            raise MofangError("lease-record-changed", row=str(self._open))
        self.record.look()
        if told["link"] == self.record.total.link:  # else it was booked before the kill came
            self.record.append("use", max(told["at_us"], self.record.total.at_us), told["requests"], told["units"])
        self._open.unlink()
