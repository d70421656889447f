"""Engines elsewhere that are sold here: a name for an OpenAI-compatible address and the model there. Each change is a row of the
journal ``remotes``; the secret of the other side lies in the key ring, by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.nearest import nearest
from mofang.data.remote.address import read_private
from mofang.data.remote.definition import NAME, require_no_secret
from mofang.trade.pricing.prices import price_set

if TYPE_CHECKING:
    from mofang.core.shop import Shop

JOURNAL = "remotes"
TABLES = ("""create table if not exists remote(name text primary key, row text not null, body text not null,
    at_us bigint not null, by text not null)""",)
TIMEOUT_S_MAX = 3600.0
TOKENS_MAX = 10_000_000


@dataclass(frozen=True)
class Remote:
    """An engine elsewhere: ``url`` up to and with ``/v1``, its own name of the ``model``, the ``secret`` that it wants.

    ``private`` lists what may be reached besides public addresses, as HOST:PORT. ``most_tokens`` is what is reserved for an
    answer whose length nobody bounds. ``row`` is the journal row that a bill names.
    """

    name: str
    url: str
    model: str
    secret: str = ""
    private: tuple[str, ...] = ()
    timeout_s: float = 120.0
    most_tokens: int = 4096
    row: str = ""


@fold(JOURNAL, tables=TABLES)
def fold_remotes(db: Database, rows: list[Row]) -> None:
    """Remotes as they stand now."""
    for row in rows:
        if row.kind == "add":
            db.run("""insert into remote(name, row, body, at_us, by) values(?,?,?,?,?) on conflict(name) do update
                      set row=excluded.row, body=excluded.body, at_us=excluded.at_us, by=excluded.by""",
                   (row.body["name"], row.id, json.dumps(row.body["remote"], sort_keys=True), row.at_us, row.body.get("by", "")))
        elif row.kind == "remove":
            db.run("delete from remote where name=?", (row.body["name"],))


@action(may="money")
def remote_add(act: Act, *, name: str, url: str, model: str, price: str = "", output: int = 0, secret: str = "",
               allow_private: tuple[str, ...] = (), timeout_s: float = 120.0, most_tokens: int = 4096) -> Remote:
    """Sell a model of an OpenAI-compatible engine elsewhere under a name here, or change it.

    ``url`` is its base address, such as ``https://host/v1``. Only public addresses are reached, and machines of one's own that
    ``allow_private`` names. With ``price`` (and ``output``) its price per token is set too.
    """
    if not NAME.fullmatch(name) or "@" in name:
        raise MofangError("name-invalid", name=name)
    if any(one.name == name for one in act.shop.names("package")):
        raise MofangError("remote-name-taken", name=name)
    made = Remote(name, _address(url), model.strip(), secret, tuple(map(read_private, allow_private)), timeout_s, most_tokens)
    if not made.model or not 0 < timeout_s <= TIMEOUT_S_MAX or not 0 < most_tokens <= TOKENS_MAX:
        raise MofangError("remote-settings", most_s=TIMEOUT_S_MAX, most_tokens=TOKENS_MAX)
    with act.transaction():
        for journal in (JOURNAL, "prices"):
            act.record(journal)  # its turn, and its tables
        if price:
            price_set(act, model=name, price=price, currency=act.shop.currency, output=output)
        body = {key: value for key, value in asdict(made).items() if key not in ("name", "row")}
        row = act.record(JOURNAL, NewRow("add", {"name": name, "remote": body}))[0]
    return Remote(**{**asdict(made), "row": row.id})


@action(may="money")
def remote_remove(act: Act, *, name: str) -> Remote:
    """Sell it no more; what was used keeps its price."""
    found = named(act.shop, name)
    with turn(act, JOURNAL):
        act.record(JOURNAL, NewRow("remove", {"name": name}))
    return found


def remotes(db: Database) -> list[Remote]:
    """All remotes by name."""
    found = []
    for name, row, body, _, _ in db.rows("select name, row, body, at_us, by from remote order by name"):
        told = json.loads(body)
        found.append(Remote(name=name, row=row, **{**told, "private": tuple(told["private"])}))
    return found


def named(shop: Shop, name: str) -> Remote:
    """One remote. Raises ``remote-unknown`` with the nearest."""
    shop.journals.make_tables()
    known = {one.name: one for one in remotes(shop.control)}
    if name not in known:
        raise MofangError("remote-unknown", name=name, nearest=nearest(name, known))
    return known[name]


def remote_then(shop: Shop, row: str) -> Remote | None:
    """The remote as a journal row registered it, though it may be changed or gone by now; None where it is no such row."""
    found = shop.control.rows("select body from journal where id=? and journal=? and kind='add'", (row, JOURNAL))
    if not found:
        return None
    body = json.loads(found[0][0])
    return Remote(name=body["name"], row=row, **{**body["remote"], "private": tuple(body["remote"]["private"])})


def sold_release(shop: Shop, model: str) -> str:
    """What a name stands for: the remote itself, or the package's version. Raises ``name-unknown`` with the nearest."""
    shop.journals.make_tables()
    return model if any(one.name == model for one in remotes(shop.control)) else str(shop.named(model, "package"))


def sold_name(shop: Shop, model: str) -> str:
    """The name by which prices go: of a remote, or of a package of this shop. Raises ``name-unknown`` with the nearest."""
    shop.journals.make_tables()
    return model if any(one.name == model for one in remotes(shop.control)) else shop.named(model, "package").name


def _address(url: str) -> str:
    """A base address without a secret, a query or a stroke at its end. Raises ``remote-address``."""
    require_no_secret(url)
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or any(sign in url.strip() for sign in " \r\n\t\\"):
        raise MofangError("remote-address", url=url)
    return url.strip().rstrip("/")
