"""What a lessee's machine keeps of a lease: a chained record of use beside the file, and a mark of it in the user's own folder.

Each row's link is an HMAC over the row and the link before it, under a key that comes of the package's data key: who has not
taken the runner apart cannot write a row, change one or leave one out unseen. The mark says how far the record went, so that
a record that was deleted or put back to an earlier state is known. Whoever removes both starts anew, which a licence allows
for a few days after it was issued only, and which the seller sees when the record is sent home. Evident, not impossible:
docs/lease.md.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from mofang.core.canonical import canonical, sync_file, write_durably
from mofang.core.errors import MofangError
from mofang.core.secrets import secret_in
from mofang.trade.leases.licence import Licence, Signed, derived, machine_id

FOLDER = "MOFANG_LEASES"
INSTALLATION = "installation"
MACHINE_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
RECORD, RENEWAL, OPEN = ".use", ".licence", ".open"  # beside the lease's file, behind its name


class Row(NamedTuple):
    """A line of the record. ``begin``: a record's first; ``start``, ``use``, ``seen``, ``renewed`` and ``end`` as they say."""

    number: int
    at_us: int
    kind: str
    sequence: int
    requests: int
    units: int
    link: str


@dataclass(frozen=True)
class Mark:
    """How far a lease's record went, kept in the user's own folder."""

    signer: str
    sequence: int
    rows: int
    link: str
    at_us: int


@dataclass(frozen=True)
class Total:
    """All that a record says."""

    rows: int = 0
    link: str = ""
    at_us: int = 0
    sequence: int = 0
    begun: int = 0  # the sequence of the licence by which the record began
    requests: int = 0
    units: int = 0
    term: int = 0   # units under the newest licence


def home() -> Path:
    """The user's own folder of leases: MOFANG_LEASES, or ``~/.local/share/mofang/leases``."""
    return Path(os.environ.get(FOLDER) or Path.home() / ".local" / "share" / "mofang" / "leases")


def machine_fingerprint() -> bytes:
    """What stays the same on a machine and differs on others: its machine-id, else its network address."""
    for path in MACHINE_FILES:
        with suppress(OSError):
            if text := path.read_text().strip():
                return hashlib.sha256(f"mofang lease machine\0{text}".encode()).digest()
    return hashlib.sha256(f"mofang lease machine\0{uuid.getnode():x}".encode()).digest()


def installation() -> tuple[str, bytes]:
    """(The id to tell the seller, the X25519 private key behind it); made at first use, for this user on this machine."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    place = home()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = secret_in(place, INSTALLATION)
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    return machine_id(public, machine_fingerprint()), private


# The chain


def chain_key(key: bytes) -> bytes:
    """The key of a record's links, of a lease's data key."""
    return derived(key, b"record")


def linked(chain: bytes, licence: str, previous: str, row: Row) -> str:
    """The link of a row."""
    told = canonical([licence, previous, list(row[:-1])])
    return hmac.new(chain, told, "sha256").hexdigest()


def report_mac(chain: bytes, told: dict[str, Any]) -> str:
    """The mark of a report of use, so that no word of it can be changed on its way."""
    return hmac.new(chain, b"report" + canonical(told), "sha256").hexdigest()


def checked(lines: Iterable[bytes], chain: bytes, licence: str, total: Total | None = None) -> tuple[list[Row], Total]:
    """The rows of a record, and what they come to with those before. Raises ``lease-record-changed`` at the first that does
    not fit."""
    rows: list[Row] = []
    total = total or Total()
    for line in lines:
        try:
            told = orjson.loads(line)
            row = Row(*told)
            known = canonical(told) == line.rstrip(b"\n") and linked(chain, licence, total.link, row) == row.link
            numbers = (row.number, row.at_us, row.sequence, row.requests, row.units)
            follows = (all(type(one) is int and one >= 0 for one in numbers) and row.number == total.rows + 1
                       and (row.kind == "begin") == (row.number == 1))
        except (orjson.JSONDecodeError, TypeError):
            known = follows = False
        if not known or not follows:
            raise MofangError("lease-record-changed", row=total.rows + 1)
        total = Total(row.number, row.link, max(total.at_us, row.at_us), max(total.sequence, row.sequence),
                      total.begun or row.sequence, total.requests + row.requests, total.units + row.units,
                      row.units + (total.term if row.sequence <= total.sequence else 0))
        rows.append(row)
    return rows, total


class Record:
    """The record of one lease on this machine. Several processes may write to it, one line at a time."""

    def __init__(self, file: Path, known: Signed, key: bytes) -> None:
        self.file, self.known = file, known
        self.path = file.with_name(file.name + RECORD)
        self.chain = chain_key(key)
        self.mark_path = home() / f"{known.licence.id}.json"
        self.total = Total()
        self._end = 0  # bytes of the record that were read

    @property
    def licence(self) -> Licence:
        """The licence under which rows are written."""
        return self.known.licence

    def look(self) -> tuple[list[Row], Mark | None]:
        """Read the record and the mark. Raises ``lease-record-changed``."""
        self.total, self._end = Total(), 0
        return self._read_on(), self._mark()

    def _read_on(self) -> list[Row]:
        """The rows behind what was read, by this process or by another instance."""
        if not self.path.exists():
            if self._end:
                raise MofangError("lease-record-lost", path=str(self.path))
            return []
        with self.path.open("rb") as file:
            file.seek(self._end)
            rows, self.total = checked(file, self.chain, self.licence.id, self.total)
            self._end = file.tell()
        return rows

    def require_whole(self, at_us: int) -> None:
        """Refuse a record that was deleted, shortened or put back, a licence that a later one replaced, and another signer's.

        Raises ``lease-record-lost``, ``lease-older``, ``lease-signer``, ``lease-start-late``, ``lease-receipt-differs``.
        """
        rows, mark = self.look()
        licence, total = self.licence, self.total
        if mark is not None and mark.signer != self.known.public_key:
            raise MofangError("lease-signer")
        newest = max(total.sequence, mark.sequence if mark else 0)
        if licence.sequence < newest:
            raise MofangError("lease-older", sequence=licence.sequence, newest=newest)
        there = mark is not None and total.rows >= mark.rows and rows[mark.rows - 1].link == mark.link
        if there:
            self._require_receipt(rows)
            return
        if (mark is not None or rows) and not (licence.start_until_us and licence.sequence > newest):
            raise MofangError("lease-record-lost", path=str(self.path))
        if at_us >= licence.start_until_us:
            raise MofangError("lease-start-late", model=licence.model)
        self._begin_anew()

    def _require_receipt(self, rows: list[Row]) -> None:
        """What the seller has booked must stand in this record."""
        receipt = self.licence.receipt
        if receipt is None or self.total.begun == self.licence.sequence:
            return
        count, link, _ = receipt
        if count > len(rows) or rows[count - 1].link != link:
            raise MofangError("lease-receipt-differs", rows=count)

    def _begin_anew(self) -> None:
        if self.path.exists():
            os.replace(self.path, self.path.with_name(f"{self.path.name}.{self.licence.sequence}.old"))
        self.total, self._end = Total(), 0

    @property
    def known_us(self) -> int:
        """The latest time that is known to have been: by the record, the mark, the licence and its receipt."""
        mark, receipt = self._mark(), self.licence.receipt
        return max(self.total.at_us, mark.at_us if mark else 0, self.licence.issued_us, receipt[2] if receipt else 0)

    def append(self, kind: str, at_us: int, requests: int = 0, units: int = 0) -> None:
        """Write a row durably, then the mark."""
        with locked(self.mark_path.with_suffix(".lock")):
            self._read_on()
            with self.path.open("ab") as file:
                if not self.total.rows:
                    self._write(file, "begin", at_us, 0, 0)
                self._write(file, kind, at_us, requests, units)
                file.flush()
                os.fsync(file.fileno())
                self._end = file.tell()
            self.mark(at_us)

    def _write(self, file: Any, kind: str, at_us: int, requests: int, units: int) -> None:
        total = self.total
        bare = Row(total.rows + 1, at_us, kind, self.licence.sequence, requests, units, "")
        row = bare._replace(link=linked(self.chain, self.licence.id, total.link, bare))
        file.write(canonical(list(row)) + b"\n")
        self.total = replace(total, rows=row.number, link=row.link, at_us=max(total.at_us, at_us),
                             sequence=max(total.sequence, row.sequence), begun=total.begun or row.sequence,
                             requests=total.requests + requests, units=total.units + units,
                             term=units + (total.term if row.sequence <= total.sequence else 0))

    # The mark

    def mark(self, at_us: int) -> None:
        """Note how far the record went, and that it is this late."""
        before = self._mark()
        total = self.total
        late = max(at_us, before.at_us if before else 0)
        told = asdict(Mark(self.known.public_key, max(total.sequence, self.licence.sequence), total.rows, total.link, late))
        self.mark_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self.mark_path, canonical({"mark": told, "mac": self._mac(told)}))

    def _mark(self) -> Mark | None:
        if not self.mark_path.exists():
            return None
        data = self.mark_path.read_bytes()
        try:
            told = orjson.loads(data)
            good = canonical(told) == data and hmac.compare_digest(self._mac(told["mark"]), told["mac"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            good = False
        if not good:
            raise MofangError("lease-record-changed", row=str(self.mark_path))
        return Mark(**told["mark"])

    def _mac(self, told: dict[str, Any]) -> str:
        return hmac.new(self.chain, b"mark" + canonical(told), "sha256").hexdigest()


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """One process at a time; where the system has no such locks, none is needed for a single instance."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with place.open("a") as file:
        _flock(file, wait=True)
        yield


def take_slot(place: Path, slots: int) -> Any:
    """An instance's place, held as long as the file that is returned is open; None where all are taken."""
    return next((slot for number in range(slots) if (slot := take_slot_of(place, str(number))) is not None), None)


def take_slot_of(place: Path, number: str) -> Any:
    """The place of one instance; None where it is taken."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = place.with_suffix(f".{number}.slot").open("a")
    if _flock(file, wait=False):
        return file
    file.close()
    return None


def _flock(file: Any, *, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: untested, and several instances are not told apart
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def keep_code(licence: str, code: str) -> None:
    """Keep an unlock code that was right, readable by this user only."""
    place = home() / f"{licence}.code"
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(code)
    sync_file(place)


def kept_code(licence: str) -> str:
    """The unlock code that was kept; empty if none was."""
    place = home() / f"{licence}.code"
    return place.read_text() if place.exists() else ""
