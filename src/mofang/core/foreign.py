"""Other shops' entries, folded from the signed documents that imported packages brought along.

An import is an entry of this shop; the documents are parts of what it made. Both tables can be made again from them, and
``mofang verify`` does so and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mofang.core.ancestry import Document, carried_name, is_carried, open_envelope, shop_label
from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.ledger import Entry

if TYPE_CHECKING:
    from mofang.core.shop import Shop

IMPORT = "import"  # the stage that stands in the entry of an imported package

COLUMNS = "shop, id, seq, at_us, kind, content, view"
SHOP_COLUMNS = "shop, name, currency, fingerprint, document"


@dataclass(frozen=True)
class ForeignShop:
    """Another shop as its packages introduced it."""

    id: str
    name: str
    currency: str
    fingerprint: str

    @property
    def title(self) -> str:
        """Its name, or the beginning of its id."""
        return shop_label(self.id, self.name)

    @property
    def label(self) -> str:
        """Its name and the beginning of its key's fingerprint: any shop may call itself by another's name."""
        return f"{self.title} {self.fingerprint[:9]}"


@dataclass(frozen=True)
class ForeignEntry:
    """An entry of another shop's ledger, as far as that shop showed it."""

    shop: str
    id: str
    seq: int
    at_us: int
    kind: str
    content: str
    view: dict[str, Any]

    @property
    def references(self) -> list[str]:
        """The entries of the same shop that it was made from."""
        return sorted({given["entry"] for given in self.view["inputs"]})


def _entry(row: tuple[Any, ...]) -> ForeignEntry:
    shop, id, seq, at_us, kind, content, view = row
    return ForeignEntry(shop, id, seq, at_us, kind, content, json.loads(view))


def foreign_shop(db: Database, shop: str) -> ForeignShop | None:
    """What is known of another shop, or None."""
    found = db.rows("select shop, name, currency, fingerprint from foreign_shop where shop=?", (shop,))
    return ForeignShop(*found[0]) if found else None


def known_shops(shop: Shop) -> list[ForeignShop]:
    """All other shops whose packages were imported here, or whose entries came along."""
    sql = "select shop, name, currency, fingerprint from foreign_shop order by name, shop"
    return [ForeignShop(*row) for row in shop.ledger.db.rows(sql)]


def foreign_entry(db: Database, shop: str, id: str) -> ForeignEntry | None:
    """One entry of another shop, or None."""
    found = db.rows(f"select {COLUMNS} from foreign_entry where shop=? and id=?", (shop, id))
    return _entry(found[0]) if found else None


def foreign_by_prefix(db: Database, prefix: str, limit: int = 2) -> list[ForeignEntry]:
    """Other shops' entries whose id begins so."""
    if not prefix:
        return []
    upper = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    sql = f"select {COLUMNS} from foreign_entry where id >= ? and id < ? order by id, shop limit ?"
    return [_entry(row) for row in db.rows(sql, (prefix, upper, limit))]


def foreign_entries(db: Database, shop: str) -> list[ForeignEntry]:
    """All known entries of another shop, oldest first."""
    return [_entry(row) for row in db.rows(f"select {COLUMNS} from foreign_entry where shop=? order by seq", (shop,))]


# Folding


def record(db: Database, own: str, documents: Iterable[tuple[str, Document]]) -> None:
    """Fold signed documents (their digests beside) into the tables, inside the caller's transaction.

    What this shop itself once signed is left out: its own ledger holds it. An entry that another document told before
    stays as it was; a later key of a shop takes the place of the earlier.
    """
    for shop, entries in _rows(own, documents):
        marks = ",".join("?" * len(shop))
        db.run(f"""insert into foreign_shop({SHOP_COLUMNS}) values({marks}) on conflict(shop) do update set
                   name=excluded.name, currency=excluded.currency, fingerprint=excluded.fingerprint,
                   document=excluded.document""", shop)
        db.many(f"""insert into foreign_entry({COLUMNS}, document) values(?,?,?,?,?,?,?,?)
                    on conflict(shop, id) do nothing""", entries)


def _rows(own: str, documents: Iterable[tuple[str, Document]]) -> Iterator[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    for digest, document in documents:
        shop = document["shop"]
        if shop["id"] == own:
            continue
        yield ((shop["id"], shop["name"], shop["currency"], shop["fingerprint"], digest),
               [(shop["id"], one["id"], one["seq"], one["at_us"], one["kind"], one["content"],
                 canonical(one["view"]).decode(), digest) for one in document["entries"]])


def contradictions(db: Database, documents: Sequence[Document]) -> None:
    """Refuse a document that tells of an entry otherwise than the same shop told before: ``ancestry-contradicts``."""
    for document in documents:
        shop = document["shop"]
        for one in document["entries"]:
            known = foreign_entry(db, shop["id"], one["id"])
            told = [known.view[name] == one["view"][name] for name in ("licences", "output", "inputs")] if known else []
            if known and (known.content != one["content"] or not all(told)):
                raise MofangError("ancestry-contradicts", shop=shop_label(shop["id"], shop["name"]), entry=one["id"])


def imports(shop: Shop) -> Iterator[Entry]:
    """The entries of this shop that brought packages in, oldest first."""
    return (entry for entry in shop.ledger.entries("done") if entry.body.get("stage") == IMPORT)


def documents_of(shop: Shop, entry: Entry) -> list[tuple[str, Document]]:
    """The signed documents that an import kept, earlier shops' first, the exporting shop's last."""
    last = entry.body["foreign"]["document"]
    digests = [part[2] for part in entry.body["output"]["parts"] if is_carried(part[0])]
    digests = [*sorted(digest for digest in digests if digest != last), last]
    return [(digest, open_envelope(shop.store.path(digest).read_bytes(), carried_name(digest))) for digest in digests]


def verify_foreign(shop: Shop) -> list[str]:
    """Both tables made again from the imports' signed documents, and compared; what does not fit, in words."""
    wrong: list[str] = []
    shops: dict[str, tuple[Any, ...]] = {}
    entries: dict[tuple[str, str], tuple[Any, ...]] = {}
    for entry in imports(shop):
        try:
            documents = documents_of(shop, entry)
        except (MofangError, OSError) as error:
            wrong.append(f"the ancestry of the import {entry.id} cannot be read: {error}")
            continue
        for about, rows in _rows(str(shop.settings["id"]), documents):
            shops[about[0]] = about
            for row in rows:
                entries.setdefault((row[0], row[1]), row)
    db = shop.ledger.db
    if set(shops.values()) != set(db.rows(f"select {SHOP_COLUMNS} from foreign_shop")):
        wrong.append("the table of other shops differs from the imported packages")
    if set(entries.values()) != set(db.rows(f"select {COLUMNS}, document from foreign_entry")):
        wrong.append("the table of other shops' entries differs from the imported packages")
    return wrong
