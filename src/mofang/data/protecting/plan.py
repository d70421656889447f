"""What protection does to each column of some records: settled once from the settings, the same for every batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.protecting import ring
from mofang.data.protecting.change import Change
from mofang.data.protecting.coarse import OTHER, coarse, given_pairs, kept_groups, positive
from mofang.data.protecting.spans import ALL_KINDS, KINDS
from mofang.data.roles import with_role

if TYPE_CHECKING:
    from mofang.core.run import Run
    from mofang.core.shop import Shop
    from mofang.data.records import RecordReader

SCANNED_ROLES = ("text", "category", "other")
PERIODS = ("month", "year")


@dataclass
class Plan:
    """Text columns and how their kinds are changed; other columns and what becomes of their values."""

    change: Change
    texts: tuple[str, ...]
    drop: tuple[str, ...]
    states: dict[str, dict[str, Any]]
    rare: dict[str, int]
    quasi: tuple[str, ...]
    k: int
    sensitive: str
    media: bool
    engine: str
    language: str
    key: dict[str, str] = field(default_factory=dict)

    def fit(self, run: Run, reader: RecordReader) -> None:
        """Count the categories that may be too rare, and say which stay."""
        if not self.rare:
            return
        counts: dict[str, Counter[str]] = {name: Counter() for name in self.rare}
        with run.progress("Counting categories", "正在统计类别", reader.rows) as bar:
            for batch in reader.batches(media=False, columns=list(self.rare)):
                for name, counter in counts.items():
                    counter.update(str(value) for value in batch.column(name) if value is not None)
                bar.advance(len(batch))
        for name, counter in counts.items():
            chinese = any("\u4e00" <= sign <= "\u9fff" for value in counter for sign in value)
            other = OTHER["zh" if self.language == "zh" or (self.language == "auto" and chinese) else "en"]
            self.states[name] = {"groups": kept_groups(counter, self.rare[name]), "other": other}

    def coarsened(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """These columns with their values less exact, or as pseudonyms."""
        return {name: coarse(values, self.states[name], self.change.key) if name in self.states else values
                for name, values in columns.items()}

    def operators(self) -> list[dict[str, Any]]:
        """What serving does to a request, so that the model sees what it saw in training."""
        found: list[dict[str, Any]] = []
        if self.texts:
            uses_key = "pseudonym" in {self.change.of(kind) for kind in self.change.kinds}
            state: dict[str, Any] = {"kinds": sorted(self.change.kinds), "how": dict(sorted(self.change.how.items())),
                                     "language": self.language} | ({} if self.engine == "own" else {"engine": self.engine})
            found.append({"name": "text-mask", "version": 1, "columns": list(self.texts),
                          "state": state | ({"key": self.key} if uses_key else {})})
        for name, known in sorted(self.states.items()):
            found.append({"name": "value-coarsen", "version": 1, "columns": [name],
                          "state": known | ({"key": self.key} if "pseudonym" in known else {})})
        return found

    def described(self) -> dict[str, Any]:
        """What was done to which column, for the report; no content and no key."""
        return {"texts": list(self.texts), "dropped": list(self.drop), "how": dict(self.change.how), "engine": self.engine,
                "kinds": sorted(self.change.kinds), "key": self.key.get("name", ""),
                "columns": {name: {what: state[what] for what in ("band", "dates", "pseudonym") if what in state}
                            or {"groups": len(state["groups"])} for name, state in sorted(self.states.items())}}


def how_of(given: Sequence[str]) -> dict[str, str]:
    """``mask,mobile=last4`` as a dictionary; one word alone stands for all other kinds."""
    found = {}
    for one in given:
        kind, sign, value = one.partition("=")
        found[kind.strip() if sign else "*"] = value.strip() if sign else kind.strip()
    return found


def plan_of(shop: Shop, reader: RecordReader, *, how: Sequence[str], kinds: Sequence[str], columns: Sequence[str], person: str,
            pseudonyms: Sequence[str], drop: Sequence[str], bands: Sequence[str], dates: Sequence[str], rare: Sequence[str],
            quasi: Sequence[str], k: int, sensitive: str, language: str, key: str, media: str, engine: str) -> Plan:  # fmt: skip
    """The plan that the settings of ``protect`` make for these records; a column that is not there is refused."""
    roles = reader.roles
    for kind in kinds:
        if kind not in KINDS:
            raise MofangError("personal-kind-unknown", kind=kind, nearest=nearest(kind, KINDS), kinds=", ".join(KINDS))
    people = with_role(roles, "person") if person != "keep" else []
    gone = tuple(dict.fromkeys([*drop, *(people if person == "drop" else [])]))
    states = _states(given_pairs(bands, "bands"), given_pairs(dates, "dates"))
    states |= {name: {"pseudonym": True} for name in (*pseudonyms, *people) if name not in gone}
    least = {name: int(positive(text, "rare")) for name, text in given_pairs(rare, "rare").items()}
    _require(roles, [*columns, *gone, *states, *least, *quasi, *([sensitive] if sensitive else [])])
    labels = with_role(roles, "label")
    taken = {*gone, *states, *least}
    texts = tuple(name for name in (columns or with_role(roles, SCANNED_ROLES)) if name not in taken)
    changed = how_of(how)
    needs = any("pseudonym" in state for state in states.values()) or "pseudonym" in changed.values()
    change = Change(changed, frozenset(kinds) or ALL_KINDS, {}, language, ring.key_of(shop, key) if needs else b"", engine)
    return Plan(change, texts, gone, states, least, tuple(quasi), k, sensitive or (labels[0] if labels and k else ""),
                media == "strip", engine, language, ring.told(shop, key) if needs else {})


def _states(bands: Mapping[str, str], dates: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    wrong = [period for period in dates.values() if period not in PERIODS]
    if wrong:
        raise MofangError("protect-pair", setting="dates", given=wrong[0])
    return {**{name: {"band": positive(width, "bands")} for name, width in bands.items()},
            **{name: {"dates": period} for name, period in dates.items()}}


def _require(roles: Mapping[str, str], names: Sequence[str]) -> None:
    for name in names:
        if name not in roles:
            raise MofangError("column-missing", column=name, columns=", ".join(roles), nearest=nearest(name, roles),
                              file="values.parquet")
