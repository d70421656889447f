"""The privacy budget of each data set: how much may be told of it in all, and what has been told.

Answers about one data set add up (sequential composition: the epsilons are summed), whatever snapshot they were asked of,
so the budget belongs to what the records were collected from: by the source's name, and by the collected bytes, so that
neither a new snapshot nor a copy of the file starts afresh. Two sources that hold the same people are two data sets here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from mofang.core.action import Act, action
from mofang.core.artifact import Artifact
from mofang.core.canonical import digest_of
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.shop import Shop

JOURNAL = "privacy"
MICROS = 1_000_000
LARGEST = 100.0
TABLES = (
    """create table if not exists privacy_budget(dataset text primary key, name text not null, limit_micros bigint not null,
        spent_micros bigint not null, answers bigint not null)""",
)
Epsilon = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]


@dataclass(frozen=True)
class Budget:
    """What may be told of a data set, and what has been told, in millionths of epsilon."""

    dataset: str
    name: str
    limit_micros: int
    spent_micros: int
    answers: int

    @property
    def left_micros(self) -> int:
        """What is left to be told."""
        return max(0, self.limit_micros - self.spent_micros)


@fold(JOURNAL, tables=TABLES)
def fold_privacy(db: Database, rows: list[Row]) -> None:
    """Budgets set and answers charged, for each data set that an answer draws on. Opened pseudonyms change no table."""
    for row in rows:
        body = row.body
        for dataset in body.get("datasets", ()):
            if row.kind == "budget":
                db.run("""insert into privacy_budget values(?,?,?,0,0) on conflict(dataset) do update
                          set limit_micros=excluded.limit_micros, name=excluded.name""",
                       (dataset, body["name"], body["micros"]))
            elif row.kind == "charge":
                db.run("update privacy_budget set spent_micros=spent_micros+?, answers=answers+1 where dataset=?",
                       (body["micros"], dataset))


def micros_of(epsilon: float) -> int:
    """Epsilon in millionths, rounded up: what is charged is never less than what is told."""
    return -int((Decimal(repr(epsilon)) * -MICROS).to_integral_value(rounding="ROUND_FLOOR"))


def shown(micros: int) -> str:
    """Millionths of epsilon as a number for people."""
    return f"{Decimal(micros) / MICROS:f}"


def datasets_of(shop: Shop, artifacts: Sequence[Artifact]) -> dict[str, str]:
    """The data sets that artifacts were made from: an id for each source and one for its collected bytes, and a name."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [one.entry for one in artifacts]
    while waiting:
        id = waiting.pop()
        if id in seen:
            continue
        seen.add(id)
        entry = shop.ledger.get(id)
        if entry.references:
            waiting += entry.references
            continue
        source = str(entry.body.get("settings", {}).get("source", ""))
        name = source.rstrip("/").rpartition("/")[2] or entry.body.get("stage", "?")
        digests = [digest for part, _, digest, _ in entry.body["output"]["parts"] if part in ("values.parquet", "media.parquet")]
        found["bytes-" + digest_of({"output": digests or entry.body["output"]["digest"]})[:32]] = name
        if source:
            found["source-" + digest_of({"stage": entry.body["stage"], "source": source})[:32]] = name
    return dict(sorted(found.items()))


def budgets(db: Database, datasets: Sequence[str] = ()) -> list[Budget]:
    """The budgets of these data sets, or of all."""
    rows = db.rows("select dataset, name, limit_micros, spent_micros, answers from privacy_budget order by dataset")
    return [Budget(*row) for row in rows if not datasets or row[0] in datasets]


def budget_of(shop: Shop, datasets: Sequence[str]) -> Budget | None:
    """The budget that an answer about these data sets draws on: the one with the least left."""
    shop.journals.make_tables()
    found = budgets(shop.control, datasets)
    return min(found, key=lambda one: one.left_micros) if found else None


@action(may="people")
def privacy_budget(act: Act, *, datasets: tuple[str, ...], name: str, epsilon: Epsilon) -> Budget:
    """Say how much may be told of a data set in all. What was told already stays told."""
    if not datasets:
        raise MofangError("privacy-no-dataset", name=name)
    with act.shop.journals.db.transaction():
        act.record(JOURNAL)
        body = {"datasets": sorted(datasets), "name": name, "micros": micros_of(epsilon)}
        act.record(JOURNAL, NewRow("budget", body))
        found = budgets(act.shop.control, datasets)
    return min(found, key=lambda one: one.left_micros)


@action(may="people")
def pseudonym_open(act: Act, *, token: str, key: str = "people", why: str = "") -> tuple[str, str]:
    """Open a pseudonym: the kind and the value behind it. That it was opened, by whom and why is written down; the
    value is not."""
    from mofang.data.protecting.change import opened
    from mofang.data.protecting.ring import existing_key

    kind, value = opened(existing_key(act.shop, key), token)
    with act.transaction():
        act.record(JOURNAL, NewRow("open", {"token": token, "key": key, "why": why}))
    return kind, value


def charge(shop: Shop, datasets: dict[str, str], micros: int, question: dict[str, Any]) -> dict[str, Any]:
    """Take this much off the budget of every data set, or refuse: checked and written in one transaction, so that callers
    at the same time cannot spend more than there is."""
    shop.journals.make_tables()
    ids = sorted(datasets)
    with shop.journals.db.transaction():
        shop.journals.append(JOURNAL, [], "hand")  # waits for its turn
        known = budgets(shop.control, ids)
        name = next(iter(datasets.values()), "?")
        if not known:
            raise MofangError("privacy-no-budget", name=name)
        least = min(known, key=lambda one: one.left_micros)
        if micros > least.left_micros:
            raise MofangError("privacy-spent", name=name, asked=shown(micros), left=shown(least.left_micros),
                              limit=shown(least.limit_micros), answers=least.answers)
        missing = [one for one in ids if one not in {budget.dataset for budget in known}]
        if missing:  # grown records, or a copy: new bytes of a data set that has a budget share what is left of it
            shop.journals.append(JOURNAL, [
                NewRow("budget", {"datasets": missing, "name": name, "micros": least.limit_micros, "by": shop.actor.name}),
                NewRow("charge", {"datasets": missing, "micros": least.spent_micros, "asked": {"what": "before"},
                                  "by": shop.actor.name})], "hand")
        shop.journals.append(JOURNAL, [NewRow("charge", {"datasets": ids, "micros": micros, "asked": question,
                                                         "by": shop.actor.name})], "hand")
    return {"micros": micros, "left": shown(least.left_micros - micros), "limit": shown(least.limit_micros)}
