"""Files of an object store or a distributed file system (S3, HDFS, Google, Azure …) through fsspec: listed, compared by
ETag and size, and only the new ones streamed into the spool."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mofang.core.errors import MofangError
from mofang.data.remote.scheme import shown
from mofang.data.remote.secret import hidden

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job

COPY_BYTES = 2**20
FILES_MOST = 1_000_000
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "abfss": "adlfs",
            "hdfs": "pyarrow"}
MARKS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created", "modification_time")


def bring(job: Job) -> None:
    """Fetch the files that are new or changed; of the others the rows stay."""
    with _told(job):
        system, root = _system(job)
        listed = _listed(job, system, root)
        job.spool.keep_only(name for name, _, mark in listed if _mark(job, name) == mark)
        for name, path, mark in listed:
            if _mark(job, name) == mark:
                continue
            if int(mark["size"]) > job.definition.most_mb * 2**20:
                raise MofangError("answer-too-large", url=name, most=f"{job.definition.most_mb} MB")
            _copy(job, system, path, name, mark)


def _mark(job: Job, name: str) -> dict[str, Any] | None:
    known = job.spool.fresh.get(name) or job.spool.held.get(name)
    return known.mark if known else None


def _copy(job: Job, system: Any, path: str, name: str, mark: dict[str, Any]) -> None:
    with (
        job.spool.piece(name, mark) as place,
        place.open("wb") as file,
        system.open(path, "rb", block_size=8 * COPY_BYTES) as opened,
    ):
        while piece := opened.read(COPY_BYTES):
            file.write(piece)
            if file.tell() > int(mark["size"]):
                break
        if file.tell() != int(mark["size"]):
            raise MofangError("answer-cut", url=name, size=file.tell(), said=mark["size"])
    job.note(name[-60:])


def _listed(job: Job, system: Any, root: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(name below the root, path, mark) of every file, sorted. Raises ``source-missing``."""
    if re.search(r"[*?\[]", root):
        found = system.glob(root, detail=True)
        above = root[: re.search(r"[*?\[]", root).start()].rpartition("/")[0]  # type: ignore[union-attr]
    elif system.isfile(root):
        found, above = {root: system.info(root)}, root.rpartition("/")[0]
    else:
        found, above = system.find(root, detail=True), root.rstrip("/")
    files: list[tuple[str, str, dict[str, Any]]] = []
    for path, about in found.items():
        name = str(path).removeprefix(above).lstrip("/") or str(path).rpartition("/")[2]
        hidden_one = any(part.startswith((".", "_")) for part in name.split("/"))
        if about.get("type") == "directory" or hidden_one or not about.get("size"):
            continue
        files.append((name, str(path), {"size": int(about["size"]), **{one: str(about[one]) for one in MARKS if about.get(one)}}))
    if not files:
        raise MofangError("source-missing", source=shown(job.definition.url), nearest="-")
    return sorted(files)[:FILES_MOST]


def _system(job: Job) -> tuple[Any, str]:
    """The file system of the URL and the path in it; an endpoint or a host only where its address is allowed."""
    try:
        import fsspec
    except ImportError:
        raise MofangError("source-package-missing", kind="fsspec", package="mofang[data]") from None
    one = job.definition
    given: dict[str, Any] = job.options()
    scheme = one.scheme
    if "::" in one.url:  # one store within another: the inner one would be reached unchecked
        raise MofangError("url-unreadable", url=shown(one.url))
    for value in given.values():
        if "://" in value:
            _check(job, value)
    if scheme in ("s3", "s3a"):
        endpoint = given.pop("endpoint_url", "")
        if endpoint:
            given["endpoint_url"] = endpoint
        if job.secret and "secret" not in given:
            given["key"], _, given["secret"] = job.secret.partition(":")
        given.setdefault("anon", False)
        if isinstance(given["anon"], str):
            given["anon"] = given["anon"].lower() in ("1", "true", "yes")
    elif scheme in ("hdfs", "webhdfs"):
        _check(job, one.url)
    elif job.secret and not any("{secret}" in text for text in one.options):
        given["token"] = job.secret
    given |= {"use_listings_cache": False} if scheme != "hdfs" else {}
    try:
        system, root = fsspec.core.url_to_fs(one.url, **given)
    except (ImportError, ValueError) as error:
        if isinstance(error, ImportError) or "rotocol" in str(error):
            raise MofangError("source-package-missing", kind=scheme, package=PACKAGES.get(scheme, scheme)) from None
        raise
    system.invalidate_cache()
    return system, str(root)


def _check(job: Job, address: str) -> None:
    """The library connects by itself, so the name is checked before and not pinned (decision 017)."""
    parts = urlsplit(address)
    usual = {"https": 443, "http": 80, "hdfs": 8020, "webhdfs": 9870}.get(parts.scheme, 443)
    job.allowed.pinned(parts.hostname or "", parts.port or usual)


@contextmanager
def _told(job: Job) -> Iterator[None]:
    """What a store says, in our words."""
    url = shown(job.definition.url)
    try:
        yield
    except FileNotFoundError:
        raise MofangError("source-missing", source=url, nearest="-") from None
    except PermissionError:
        raise MofangError("source-forbidden", url=url, status=403) from None
    except ImportError as error:
        raise MofangError("source-package-missing", kind=job.definition.scheme,
                          package=PACKAGES.get(job.definition.scheme, str(error.name))) from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MofangError("store-failed", url=url, reason=hidden(error, job.secret)) from None
