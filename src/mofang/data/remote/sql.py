"""Rows of an SQL database: streamed, read only, and by an ordered column only those beyond the last that was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.remote.rows import ROW_BYTES_MOST, kept, pieces, size_of, unkept, write_rows
from mofang.data.remote.scheme import shown
from mofang.data.remote.secret import hidden

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from mofang.data.remote.bring import Job

AT_ONCE = 1000
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql",
           "mariadb": "mariadb+pymysql"}
PACKAGES = {"mysql": "pymysql", "mariadb": "pymysql", "mssql": "pyodbc", "oracle": "oracledb", "postgresql": "psycopg[binary]",
            "duckdb": "duckdb-engine"}
PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}
READS = re.compile(r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(?\s*(select|with|values|table)\b", re.I | re.S)
LOGIN = re.compile(r"password|authentication|access denied|login failed|ORA-01017", re.I)
TABLE = re.compile(r"no such table: (?P<a>\S+)|relation \"(?P<b>[^\"]+)\" does not exist"
                   r"|[Tt]able '?(?P<c>[\w.]+)'? (?:doesn't|does not) exist|with name (?P<d>\S+) does not exist")
COLUMN = re.compile(r"no such column: (?P<a>\S+)|column \"?(?P<b>[\w.]+)\"? does not exist|[Uu]nknown column '(?P<c>[^']+)'")
HOST = re.compile(r"resolve|Name or service|getaddrinfo|Unknown host", re.I)
REFUSED = re.compile(r"refused|timed? ?out|could not connect|can't connect|unreachable", re.I)


def bring(job: Job) -> None:
    """Fetch the rows of the query or table in pieces.

    With ``newer_than`` they come in that column's order, a fetch that died goes on behind its last piece, and the next one
    takes only what lies beyond. Without, everything is fetched again and compared.
    """
    one, spool = job.definition, job.spool
    if not one.newer_than:
        spool.state = {}
    spool.complete = False
    with _told(job), _connected(job) as connection:
        _take(job, connection)
    if not one.newer_than:
        spool.keep_only(name_of(number) for number in range(1, int(job.state.get("number", 0)) + 1))


def name_of(number: int) -> str:
    """What a piece of rows is called."""
    return f"rows-{number:06}.parquet"


def _take(job: Job, connection: Connection) -> None:
    from sqlalchemy import text

    one, state = job.definition, job.state
    sql, values = _statement(job, connection)
    answer = connection.execute(text(sql), values)
    names = list(answer.keys())
    ordered = _place(names, one.newer_than) if one.newer_than else None
    rows: Iterator[Any] = (row for page in answer.yield_per(AT_ONCE).partitions() for row in page)
    for piece in pieces(_bounded(job, rows, ordered), ordered):
        number = int(state.get("number", 0)) + 1
        state["number"] = number
        if ordered is not None:
            state["last"] = kept(piece[-1][ordered])
        with job.spool.piece(name_of(number)) as path:
            write_rows(path, names, piece)
        job.note(f"{number}")


def _bounded(job: Job, rows: Iterator[Any], ordered: int | None) -> Iterator[Any]:
    """The rows that are not too large, and by an ordered column those that have a value in it; the others are named."""
    for number, row in enumerate(rows, 1):
        if size_of(row) > ROW_BYTES_MOST:
            job.refuse(f"row {number}", "row-too-large")
        elif ordered is not None and row[ordered] is None:
            job.refuse(f"row {number}", "ordered-value-missing")
        else:
            yield row


def _statement(job: Job, connection: Connection) -> tuple[str, dict[str, Any]]:
    """The one SELECT that is sent: the query as a subquery, so that it can be ordered and cut. ``query-writes``."""
    one = job.definition
    quoted = connection.dialect.identifier_preparer
    if one.query:
        query = one.query.strip().rstrip(";")
        if not READS.match(query) or ";" in re.sub(r"'[^']*'|\"[^\"]*\"", "", query):
            raise MofangError("query-writes")
        source = query.replace(":", "\\:") if "::" in query or re.search(r":\w", query) else query
        if not one.newer_than:
            return source, {}
        source = f"({source}) mofang_rows"
    else:
        source = ".".join(quoted.quote(piece) for piece in one.table.split("."))
        if not one.newer_than:
            return f"select * from {source}{_by_key(connection, one.table)}", {}
    column = quoted.quote(one.newer_than)
    last = job.state.get("last")
    beyond = f" where {column} > :mofang_last" if last else ""
    nulls = "" if last else f" where {column} is not null"
    order = f"select * from {source}{beyond or nulls} order by {column}"
    return order, {"mofang_last": unkept(last)} if last else {}


def _by_key(connection: Connection, table: str) -> str:
    """The order of the primary key, so that an unchanged table gives unchanged pieces."""
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    schema, _, name = table.rpartition(".")
    try:
        found = inspect(connection).get_pk_constraint(name, schema=schema or None).get("constrained_columns") or []
    except SQLAlchemyError:  # the SELECT itself says what is wrong
        return ""
    quoted = [connection.dialect.identifier_preparer.quote(one) for one in found]
    return f" order by {', '.join(quoted)}" if quoted else ""


def _place(names: list[str], column: str) -> int:
    plain = [name.lower() for name in names]
    if column.lower() not in plain:
        raise MofangError("ordered-column-missing", column=column, columns=", ".join(names), nearest=nearest(column, names))
    return plain.index(column.lower())


# Connecting


@contextmanager
def _connected(job: Job) -> Iterator[Connection]:
    """A connection that streams and, where the database offers it, cannot write."""
    engine = engine_of(job)
    try:
        with engine.connect() as plain:
            options: dict[str, Any] = {"stream_results": True, "max_row_buffer": AT_ONCE}
            if engine.dialect.name == "postgresql":
                options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
            connection = plain.execution_options(**options)
            if engine.dialect.name in ("mysql", "mariadb"):
                connection.exec_driver_sql("set transaction read only")
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def engine_of(job: Job) -> Engine:
    """The engine for a job's URL: SQLite opened read only, a host only where its address is allowed."""
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise MofangError("source-package-missing", kind="SQL", package="mofang[data]") from None
    try:
        url = make_url(job.definition.url)
    except ArgumentError:
        raise MofangError("url-unreadable", url=shown(job.definition.url)) from None
    name = url.get_backend_name()
    if name == "sqlite":
        path = _sqlite_file(url.database or "")
        return create_engine("sqlite://", creator=lambda: _open_sqlite(path), poolclass=NullPool)
    if url.drivername in DRIVERS:
        url = url.set(drivername=DRIVERS[url.drivername])
    name = {"postgres": "postgresql"}.get(name, name)
    given: dict[str, Any] = {}
    _require_plain(job, url, PORTS.get(name, 0))
    if url.host:
        addresses = job.allowed.pinned(url.host, url.port or PORTS.get(name, 0))
        if name == "postgresql":  # the name stays for TLS, the connection goes to the number that was checked
            given = {"hostaddr": ",".join(addresses[:1]), "connect_timeout": 15}
    if job.secret:
        url = url.set(password=job.secret)
    try:
        return create_engine(url, connect_args=given, poolclass=NullPool, hide_parameters=True)
    except (ImportError, NoSuchModuleError):
        raise MofangError("source-package-missing", kind=name, package=PACKAGES.get(name, name)) from None


def _require_plain(job: Job, url: Any, port: int) -> None:
    """A URL's query may name hosts too, or a file that does: those are checked, these refused. A path is a local socket."""
    for name, value in url.query.items():
        for text in value if isinstance(value, tuple) else (value,):
            if name.lower() in ("service", "servicefile", "passfile", "odbc_connect", "dsn", "options"):
                raise MofangError("source-settings", settings=f"?{name}=")
            for host in text.split(",") if name.lower() in ("host", "hostaddr", "server", "unix_socket") else ():
                if not host.startswith("/"):
                    job.allowed.pinned(host.partition(":")[0], int(host.partition(":")[2] or url.port or port))


def _sqlite_file(database: str) -> Path:
    path = Path(database).expanduser().resolve()
    if not database or not path.is_file():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise MofangError("database-missing", path=database, nearest=nearest(path.name, beside))
    return path


def _open_sqlite(path: Path) -> Any:
    import sqlite3

    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)
    connection.execute("pragma query_only=on")
    return connection


@contextmanager
def _told(job: Job) -> Iterator[None]:
    """What a database says, in our words and without the password."""
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise MofangError("source-package-missing", kind="SQL", package="mofang[data]") from None
    try:
        yield
    except SQLAlchemyError as error:
        raise _worded(job, hidden(getattr(error, "orig", None) or error, job.secret)) from None


def _worded(job: Job, said: str) -> MofangError:
    url = shown(job.definition.url)
    if found := TABLE.search(said):
        table = next(one for one in found.groups() if one)
        return MofangError("table-missing", table=table, nearest=nearest(table, _tables(job)))
    if found := COLUMN.search(said):
        return MofangError("ordered-column-missing", column=next(one for one in found.groups() if one), columns="-", nearest="-")
    for rule, code in ((HOST, "host-unknown"), (LOGIN, "source-login"), (REFUSED, "connection-failed")):
        if rule.search(said):
            return MofangError(code, url=url, host=url, port="", status="")
    return MofangError("database-refused", url=url, reason=said)


def _tables(job: Job) -> list[str]:
    """The names of all tables, for the nearest."""
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    engine = engine_of(job)
    try:
        return list(inspect(engine).get_table_names())
    except SQLAlchemyError:
        return []
    finally:
        engine.dispose()
