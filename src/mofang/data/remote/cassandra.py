"""Rows of Cassandra (or another database of its protocol), page by page with the paging state, which the spool keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mofang.core.errors import MofangError
from mofang.data.remote.rows import ROW_BYTES_MOST, size_of, write_rows
from mofang.data.remote.scheme import shown
from mofang.data.remote.secret import hidden
from mofang.data.remote.sql import READS, name_of

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job

PAGE_ROWS = 5000
PAGES_MOST = 10_000_000
PORT = 9042


def bring(job: Job) -> None:
    """Fetch all pages of the query; one that died goes on with the paging state behind its last page."""
    if job.spool.complete:
        job.spool.state = {}
    job.spool.complete = False
    if not job.state.get("done"):
        with _session(job) as (session, statement):
            _take(job, session, statement)
    job.spool.keep_only(name_of(number) for number in range(1, int(job.state["number"]) + 1))


def _take(job: Job, session: Any, statement: Any) -> None:
    state = job.state
    for _ in range(PAGES_MOST):
        told = state.get("paging")
        page = session.execute(statement, paging_state=bytes.fromhex(told) if told else None)
        names = list(page.column_names)
        rows = [tuple(row) for row in page.current_rows]
        good = [row for row in rows if size_of(row) <= ROW_BYTES_MOST]
        for place, row in enumerate(rows, 1):
            if size_of(row) > ROW_BYTES_MOST:
                job.refuse(f"page {int(state.get('number', 0)) + 1} row {place}", "row-too-large")
        state["paging"] = page.paging_state.hex() if page.paging_state else ""
        state["done"] = not state["paging"]
        state["number"] = int(state.get("number", 0)) + 1
        if good:
            with job.spool.piece(name_of(state["number"])) as path:
                write_rows(path, names, good)
        job.note(f"{state['number']}")
        if state["done"]:
            return


def _statement_text(job: Job) -> str:
    one = job.definition
    if not one.query:
        return f"select * from {one.table}"
    if not READS.match(one.query) or ";" in one.query.strip().rstrip(";"):
        raise MofangError("query-writes")
    return one.query.strip().rstrip(";")


@contextmanager
def _session(job: Job) -> Iterator[tuple[Any, Any]]:
    """A session on the keyspace of the URL, and the statement with its page size."""
    try:
        from cassandra import DriverException  # type: ignore[import-not-found, unused-ignore]
        from cassandra.auth import PlainTextAuthProvider  # type: ignore[import-not-found, unused-ignore]
        from cassandra.cluster import Cluster, NoHostAvailable  # type: ignore[import-not-found, unused-ignore]
        from cassandra.query import SimpleStatement, tuple_factory  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise MofangError("source-package-missing", kind="Cassandra", package="cassandra-driver") from None
    parts = urlsplit(job.definition.url)
    port = parts.port or PORT
    addresses = job.allowed.pinned(parts.hostname or "", port)
    login = PlainTextAuthProvider(unquote(parts.username or ""), job.secret) if parts.username else None
    cluster = Cluster(addresses, port=port, auth_provider=login)
    try:
        session = cluster.connect(parts.path.strip("/") or None)
        session.row_factory = tuple_factory
        yield session, SimpleStatement(_statement_text(job), fetch_size=PAGE_ROWS)
    except (NoHostAvailable, DriverException) as error:
        said = hidden(error, job.secret)
        code = "source-login" if "uthentication" in said or "credentials" in said else "database-refused"
        raise MofangError(code, url=shown(job.definition.url), reason=said, status="") from None
    finally:
        cluster.shutdown()
