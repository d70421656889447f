"""One file over HTTP: asked for only if it changed, continued where a broken connection left it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from mofang.core.errors import MofangError
from mofang.data.remote.asking import Asking
from mofang.data.remote.fetch import Answer
from mofang.data.remote.scheme import shown
from mofang.data.sources.files import ENDINGS, ending_of, is_archive

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job

CONDITIONS = (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))
TYPES = {
    "text/csv": ".csv", "application/json": ".json", "application/x-ndjson": ".jsonl", "application/jsonl": ".jsonl",
    "text/plain": ".txt", "text/html": ".html", "application/pdf": ".pdf", "application/zip": ".zip",
    "application/vnd.apache.parquet": ".parquet", "application/x-parquet": ".parquet", "image/png": ".png",
    "image/jpeg": ".jpg", "text/tab-separated-values": ".tsv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}


def bring(job: Job) -> None:
    """Fetch the file into one piece, unless the source says that it is as it was."""
    spool, url = job.spool, job.definition.url
    known = spool.pieces if spool.complete else []
    mark = known[0].mark if known else {}
    asked = {header: mark[name] for header, name in CONDITIONS if mark.get(name)}
    with Asking(job) as asking, asking.get(url, asked, accept=(200, 304)) as answer:
        if answer.status == 304 and known:
            return
        spool.keep_only([_take(job, asking, answer)])


def _take(job: Job, asking: Asking, answer: Answer) -> str:
    """Write the answer, and say its name; after a cut go on by range while the file is the same one (RFC 9110, 14)."""
    mark = marks(answer.headers)
    name = name_of(answer.url, answer.headers)
    with job.spool.piece(name, mark) as path, path.open("wb") as file:
        for _ in range(asking.attempts):
            try:
                for piece in answer.pieces():
                    file.write(piece)
                    job.note(f"{file.tell() / 2**20:.1f} MB")
                return name
            except MofangError as error:
                plain = answer.headers.get("content-encoding", "") in ("", "identity")
                if error.code != "answer-cut" or not mark.get("etag", "").startswith('"') or not plain:
                    raise
                file.flush()
                asking.wait()
                with asking.get(job.definition.url, {"Range": f"bytes={file.tell()}-", "If-Range": mark["etag"]},
                                accept=(200, 206)) as rest:
                    if rest.status == 200:
                        file.seek(0)
                        file.truncate()
                    try:
                        for piece in rest.pieces():
                            file.write(piece)
                        return name
                    except MofangError as again:
                        if again.code != "answer-cut":
                            raise
        raise MofangError("answer-cut", url=shown(job.definition.url), size=file.tell(), said="-")


def marks(headers: httpx.Headers) -> dict[str, str]:
    """What an answer says of its own version: ETag and Last-Modified."""
    found = {"etag": headers.get("etag", ""), "modified": headers.get("last-modified", "")}
    return {name: value[:300] for name, value in found.items() if value}


def name_of(url: str, headers: httpx.Headers) -> str:
    """What a fetched file is called: the last piece of its path, with an ending that says what it holds."""
    base = unquote(urlsplit(url).path.rpartition("/")[2])
    base = re.sub(r"[^\w.()\-]+", "-", base).strip("-.") or "file"
    if ending_of(base) in ENDINGS or is_archive(base):
        return base[-150:]
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return base[-150:] + TYPES.get(kind, "")
