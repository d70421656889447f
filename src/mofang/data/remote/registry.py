"""Registered sources: a name for an address and what is asked of it, so that nobody types it again, and nobody elsewhere can
name an address of his own. Each change is a row of the journal ``sources``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.nearest import nearest
from mofang.data.remote.address import read_private
from mofang.data.remote.definition import NAME, Definition, Kind, Pages, Paging, require_no_secret
from mofang.data.remote.scheme import HUB, SCHEME, SOURCE
from mofang.data.remote.secret import drop_secret, keep_secret

if TYPE_CHECKING:
    from mofang.core.shop import Shop

JOURNAL = "sources"
TABLES = ("""create table if not exists source(name text primary key, body text not null, at_us bigint not null,
    by text not null)""",)
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Registered:
    """A source under its name, when it was registered and by whom."""

    name: str
    definition: Definition
    at_us: int
    by: str


@fold(JOURNAL, tables=TABLES)
def fold_sources(db: Database, rows: list[Row]) -> None:
    """Sources as they stand now; secrets are only noted in the journal, by name."""
    for row in rows:
        if row.kind == "add":
            db.run("""insert into source(name, body, at_us, by) values(?,?,?,?) on conflict(name) do update
                      set body=excluded.body, at_us=excluded.at_us, by=excluded.by""",
                   (row.body["name"], json.dumps(row.body["source"], sort_keys=True), row.at_us, row.body.get("by", "")))
        elif row.kind == "remove":
            db.run("delete from source where name=?", (row.body["name"],))


@action(may="people")
def source_add(
    act: Act,
    *,
    name: str,
    url: str,
    kind: Kind = "",
    query: str = "",
    table: str = "",
    newer_than: str = "",
    items: str = "",
    paging: Paging = "",
    page_name: str = "",
    size_name: str = "",
    page_size: int = 100,
    cursor: str = "",
    since: str = "",
    growing: bool = False,
    headers: Texts = (),
    secret: str = "",
    allow_private: Texts = (),
    rate: float = 0.0,
    pages: Pages = "",
    depth: int = 2,
    limit: int = 1000,
    split: str = "",
    config: str = "",
    options: Texts = (),
    most_mb: int = 8192,
) -> Registered:
    """Register a source under a name, or change it: its address, what is asked of it, and its secret by name."""
    given = {one: value for one, value in locals().items() if one not in ("act", "name")}
    if not NAME.fullmatch(name):
        raise MofangError("name-invalid", name=name)
    require_no_secret(url, name)
    for text in (*headers, *options):
        if "{secret}" not in text and secret_like(text):
            raise MofangError("header-with-secret", place="{secret}", text=text.partition(":" if text in headers else "=")[0])
    definition = Definition(**{**given, "allow_private": tuple(map(read_private, allow_private))})
    _require_sense(definition)
    with turn(act, JOURNAL):
        row = act.record(JOURNAL, NewRow("add", {"name": name, "source": definition.changed()}))[0]
    return Registered(name, definition, row.at_us, act.actor.name)


def secret_like(text: str) -> bool:
    """True for a header or option whose value is a secret as a rule."""
    plain = text.lower().replace("-", "_")
    head = plain.partition(":")[0].partition("=")[0].strip()
    return head in ("authorization", "cookie", "password", "secret", "token", "x_api_key", "api_key", "key",
                    "aws_secret_access_key", "proxy_authorization", "x_auth_token", "private_token", "sas_token", "account_key")


def _require_sense(one: Definition) -> None:
    """Settings that contradict each other are said before anything is asked. Raises ``source-settings``."""
    nature = one.nature
    wrong = ""
    if nature in ("sql", "cassandra") and bool(one.query) == bool(one.table):
        wrong = "--query / --table"
    elif one.paging == "cursor" and not one.cursor:
        wrong = "--paging cursor / --cursor"
    elif one.since and not one.newer_than:
        wrong = "--since / --newer-than"
    elif nature not in ("sql", "api") and one.newer_than:
        wrong = f"--newer-than / {nature}"
    elif one.page_size < 1 or one.limit < 1 or one.depth < 0 or one.rate < 0 or one.most_mb < 1:
        wrong = "--page-size / --limit / --depth / --rate / --most-mb"
    elif any("=" not in text for text in one.options) or any(":" not in text for text in one.headers):
        wrong = "--option / --header"
    if wrong:
        raise MofangError("source-settings", settings=wrong)


@action(may="people")
def source_remove(act: Act, *, name: str) -> Registered:
    """Take a registered source away; what was collected from it stays."""
    found = registered(act.shop, name)
    with turn(act, JOURNAL):
        act.record(JOURNAL, NewRow("remove", {"name": name}))
    return found


def set_secret(shop: Shop, name: str, value: str) -> None:
    """Keep a secret's value in the key ring, and note who did so, not what; an empty value takes it away."""
    shop.require("people")
    shop.journals.make_tables()
    if value:
        keep_secret(shop, name, value)
    else:
        drop_secret(shop, name)
    Act(shop, shop.actor).record(JOURNAL, NewRow("secret", {"name": name, "kept": bool(value)}))


def sources_of(shop: Shop) -> list[Registered]:
    """All registered sources by name."""
    shop.journals.make_tables()
    found = shop.control.rows("select name, body, at_us, by from source order by name")
    return [Registered(name, Definition.stored(json.loads(body)), at_us, by) for name, body, at_us, by in found]


def registered(shop: Shop, name: str) -> Registered:
    """One registered source. Raises ``source-unknown`` with the nearest."""
    known = {one.name: one for one in sources_of(shop)}
    if name not in known:
        raise MofangError("source-unknown", name=name, nearest=nearest(name, known))
    return known[name]


def definition_of(shop: Shop, source: str) -> Definition:
    """What a ``--source`` names: a registered source, or an address without a password and with all defaults."""
    if source.startswith(SOURCE):
        return registered(shop, source.removeprefix(SOURCE)).definition
    require_no_secret(source)
    assert source.startswith(HUB) or SCHEME.match(source)
    one = Definition(source)
    if one.nature in ("sql", "cassandra"):
        raise MofangError("source-needs-query", url=source.partition("?")[0])
    return one
