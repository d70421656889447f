"""Where labelling stands, folded from the journal ``labels``: projects, tasks in blocks, leases, current answers, counters.

A task is its number in the project; its content stays in the records. Of each block of 1,024 tasks the table holds how
many people answered each task, how many hold it now, and for each person which of them were given: a batch of a million
tasks is one row of the journal and a thousand rows here, and nothing is ever counted again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.journal import Row, fold
from mofang.data.labelling.bits import (
    BLOCK,
    Bits,
    Counts,
    bits_from,
    bits_text,
    counts_from,
    counts_text,
    no_bits,
    place,
    unpacked,
)

JOURNAL = "labels"

TABLES = (
    """create table if not exists label_project(id text primary key, owner text not null, name text not null unique,
        body text not null, state text not null, guidelines bigint not null, overlap bigint not null,
        created_us bigint not null, tasks bigint not null, answers bigint not null, done bigint not null,
        skipped bigint not null, comments bigint not null, decided bigint not null, gold bigint not null,
        gone bigint not null)""",
    """create table if not exists label_guidelines(project text not null, version bigint not null, text text not null,
        person text not null, at_us bigint not null, primary key(project, version))""",
    """create table if not exists label_batch(project text not null, number bigint not null, kind text not null,
        entry text not null, records text not null, inside text not null, first bigint not null, rows bigint not null,
        at_us bigint not null, primary key(project, number))""",
    """create table if not exists label_block(project text not null, block bigint not null, size bigint not null,
        open bigint not null, counts text not null, out text not null, closed text not null, primary key(project, block))""",
    """create table if not exists label_seen(project text not null, person text not null, block bigint not null,
        seen text not null, answered text not null, primary key(project, person, block))""",
    """create table if not exists label_lease(project text not null, task bigint not null, person text not null,
        until_us bigint not null, primary key(project, task, person))""",
    "create index if not exists label_lease_person on label_lease(project, person)",
    "create index if not exists label_lease_until on label_lease(project, until_us)",
    """create table if not exists label_answer(project text not null, task bigint not null, person text not null,
        id text not null, at_us bigint not null, ms bigint not null, guidelines bigint not null, answer text not null,
        primary key(project, task, person))""",
    """create table if not exists label_rank(project text not null, rank bigint not null, task bigint not null,
        primary key(project, rank))""",
    "create index if not exists label_rank_task on label_rank(project, task)",
    """create table if not exists label_gold(project text not null, task bigint not null, answer text not null,
        primary key(project, task))""",
    """create table if not exists label_person(project text not null, person text not null, answers bigint not null,
        skipped bigint not null, ms bigint not null, timed bigint not null, gold bigint not null, gold_right bigint not null,
        proposed bigint not null, accepted bigint not null, last_us bigint not null, primary key(project, person))""",
    """create table if not exists label_decision(project text not null, task bigint not null, person text not null,
        id text not null, at_us bigint not null, answer text not null, primary key(project, task))""",
    """create table if not exists label_comment(id text primary key, project text not null, task bigint not null,
        person text not null, at_us bigint not null, text text not null)""",
    "create index if not exists label_comment_task on label_comment(project, task)",
)
PERSON = ("answers", "skipped", "ms", "timed", "gold", "gold_right", "proposed", "accepted")


@dataclass
class Block:
    """Up to 1,024 tasks: answers by task, how many hold it, and which are not for the ordinary queue."""

    size: int
    counts: Counts
    out: Counts
    closed: Bits
    changed: bool = False

    def available(self, overlap: int) -> Bits:
        """Tasks that one more person may be given."""
        here = np.arange(BLOCK) < self.size
        taken = self.counts.astype(np.int16) + self.out
        found: Bits = here & ~self.closed & (taken < overlap)
        return found


@dataclass
class Folding:
    """The blocks and counters touched by some rows; read once, written once."""

    db: Database
    blocks: dict[tuple[str, int], Block] = field(default_factory=dict)
    seen: dict[tuple[str, str, int], tuple[Bits, Bits]] = field(default_factory=dict)
    overlaps: dict[str, int] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    people: dict[tuple[str, str], dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))

    def overlap(self, project: str) -> int:
        """How many people answer each task."""
        if project not in self.overlaps:
            self.overlaps[project] = int(self.db.rows("select overlap from label_project where id=?", (project,))[0][0])
        return self.overlaps[project]

    def block(self, project: str, number: int) -> Block:
        """A block as it stands; a new one is empty."""
        key = (project, number)
        if key not in self.blocks:
            found = self.db.rows("select size, counts, out, closed from label_block where project=? and block=?", key)
            size, counts, out, closed = found[0] if found else (0, "", "", "")
            self.blocks[key] = Block(size, counts_from(counts), counts_from(out), bits_from(closed))
        self.blocks[key].changed = True
        return self.blocks[key]

    def given(self, project: str, person: str, number: int) -> tuple[Bits, Bits]:
        """Which tasks of a block a person was given, and which were answered."""
        key = (project, person, number)
        if key not in self.seen:
            sql = "select seen, answered from label_seen where project=? and person=? and block=?"
            found = self.db.rows(sql, key)
            self.seen[key] = (bits_from(found[0][0]), bits_from(found[0][1])) if found else (no_bits(), no_bits())
        return self.seen[key]

    def flush(self) -> None:
        """Write what changed."""
        blocks = [(project, number, one.size, int(one.available(self.overlap(project)).sum()), counts_text(one.counts),
                   counts_text(one.out), bits_text(one.closed) if one.closed.any() else "")
                  for (project, number), one in self.blocks.items() if one.changed]
        self.db.many("""insert into label_block values(?,?,?,?,?,?,?) on conflict(project, block) do update set
            size=excluded.size, open=excluded.open, counts=excluded.counts, out=excluded.out, closed=excluded.closed""", blocks)
        self.db.many("""insert into label_seen values(?,?,?,?,?) on conflict(project, person, block) do update set
            seen=excluded.seen, answered=excluded.answered""",
                     [(*key, bits_text(seen), bits_text(answered)) for key, (seen, answered) in self.seen.items()])
        for project, counts in self.counters.items():
            more = ", ".join(f"{name}={name}+?" for name in counts)
            self.db.run(f"update label_project set {more} where id=?", (*counts.values(), project))
        for (project, person), counts in self.people.items():
            last = counts.pop("last_us", 0)
            self.db.run("""insert into label_person values(?,?,0,0,0,0,0,0,0,0,0) on conflict(project, person) do nothing""",
                        (project, person))
            more = "".join(f", {name}={name}+?" for name in counts)
            self.db.run(f"""update label_person set last_us=case when last_us>? then last_us else ? end{more}
                where project=? and person=?""", (last, last, *counts.values(), project, person))
        self.blocks.clear()
        self.seen.clear()
        self.counters.clear()
        self.people.clear()


@fold(JOURNAL, tables=TABLES)
def fold_labels(db: Database, rows: list[Row]) -> None:
    """Projects, batches, leases, answers, decisions, comments: each row by its kind."""
    state = Folding(db)
    for row in rows:
        FOLDED[row.kind](state, row, row.body)
    state.flush()


def _project(state: Folding, row: Row, body: dict[str, Any]) -> None:
    state.db.run("insert into label_project values(?,?,?,?,?,?,?,?,0,0,0,0,0,0,0,0)",
                 (row.account, row.owner, body["name"], canonical(body["settings"]).decode(), "open", 0,
                  body["settings"]["overlap"], row.at_us))


def _guidelines(state: Folding, row: Row, body: dict[str, Any]) -> None:
    state.db.run("insert into label_guidelines values(?,?,?,?,?)",
                 (row.account, body["version"], body["text"], body["by"], row.at_us))
    state.db.run("update label_project set guidelines=? where id=?", (body["version"], row.account))


def _settings(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """Other settings: how many tasks are open follows from the overlap."""
    state.flush()
    known = json.loads(state.db.rows("select body from label_project where id=?", (row.account,))[0][0])
    known |= body["settings"]
    state.db.run("update label_project set body=?, overlap=? where id=?",
                 (canonical(known).decode(), known["overlap"], row.account))
    state.overlaps[row.account] = known["overlap"]
    done = 0
    for (number,) in state.db.rows("select block from label_block where project=? order by block", (row.account,)):
        block = state.block(row.account, number)
        done += int(((block.counts >= known["overlap"]) & ~block.closed).sum())
    state.db.run("update label_project set done=? where id=?", (done, row.account))


def _state(state: Folding, row: Row, body: dict[str, Any]) -> None:
    state.db.run("update label_project set state=? where id=?", (body["state"], row.account))


def _batch(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """Tasks from records, or an artifact of answers or proposals that is only referred to."""
    number = state.db.rows("select count(*) from label_batch where project=?", (row.account,))[0][0]
    state.db.run("insert into label_batch values(?,?,?,?,?,?,?,?,?)",
                 (row.account, number, row.kind, body["entry"], body.get("records", ""), body.get("inside", ""),
                  body.get("first", 0), body["rows"], row.at_us))
    if row.kind != "tasks":
        return
    state.counters[row.account]["tasks"] += body["rows"]
    task, last = body["first"], body["first"] + body["rows"]
    while task < last:
        number, at = place(task)
        here = min(BLOCK - at, last - task)
        state.block(row.account, number).size = at + here
        task += here


def _give(state: Folding, row: Row, body: dict[str, Any]) -> None:
    for task in body["tasks"]:
        number, at = place(task)
        state.given(row.account, body["person"], number)[0][at] = True
        state.block(row.account, number).out[at] += 1
        state.db.run("insert into label_lease values(?,?,?,?)", (row.account, task, body["person"], body["until_us"]))


def _end_lease(state: Folding, project: str, task: int, person: str) -> bool:
    ended = state.db.run("delete from label_lease where project=? and task=? and person=?", (project, task, person))
    number, at = place(task)
    if ended:
        state.block(project, number).out[at] -= 1
    return bool(ended)


def _back(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """Leases that ran out, or were given back: the task is there for everybody again."""
    for task, person in body["leases"]:
        if _end_lease(state, row.account, task, person):
            number, at = place(task)
            seen, answered = state.given(row.account, person, number)
            seen[at] = answered[at]


def _skip(state: Folding, row: Row, body: dict[str, Any]) -> None:
    _end_lease(state, row.account, body["task"], body["by"])
    number, at = place(body["task"])
    state.given(row.account, body["by"], number)[0][at] = True
    state.counters[row.account]["skipped"] += 1
    told = state.people[row.account, body["by"]]
    told["skipped"] += 1
    told["last_us"] = max(told["last_us"], row.at_us)


def _answer(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """A person's answer, or another one in its place; the first one is what gold and speed are measured by."""
    project, task, person = row.account, body["task"], body["by"]
    _end_lease(state, project, task, person)
    number, at = place(task)
    seen, answered = state.given(project, person, number)
    told = state.people[project, person]
    text = canonical(body["answer"]).decode()
    if not answered[at]:
        seen[at] = answered[at] = True
        _count(state, project, number, at)
        told["answers"] += 1
        told["ms"] += body["ms"]
        told["timed"] += 1 if body["ms"] else 0
        _compare(state, project, task, text, body.get("proposed"), told)
    told["last_us"] = max(told["last_us"], row.at_us)
    state.db.run("""insert into label_answer values(?,?,?,?,?,?,?,?) on conflict(project, task, person) do update set
        id=excluded.id, at_us=excluded.at_us, ms=excluded.ms, guidelines=excluded.guidelines, answer=excluded.answer""",
                 (project, task, person, row.id, row.at_us, body["ms"], body["guidelines"], text))


def _count(state: Folding, project: str, number: int, at: int) -> None:
    block, overlap = state.block(project, number), state.overlap(project)
    block.counts[at] = min(255, int(block.counts[at]) + 1)
    state.counters[project]["answers"] += 1
    if block.closed[at]:
        return
    if block.counts[at] == overlap:
        state.counters[project]["done"] += 1
    if block.counts[at] >= overlap:
        state.db.run("delete from label_rank where project=? and task=?", (project, number * BLOCK + at))


def _compare(state: Folding, project: str, task: int, text: str, proposed: Any, told: dict[str, int]) -> None:
    gold = state.db.rows("select answer from label_gold where project=? and task=?", (project, task))
    if gold:
        told["gold"] += 1
        told["gold_right"] += int(gold[0][0] == text)
    if proposed is not None:
        told["proposed"] += 1
        told["accepted"] += int(bool(proposed))


def _answers(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """Answers that were brought in, many at once: who answered which tasks; what they said lies in the artifact."""
    project, overlap = row.account, state.overlap(row.account)
    for person, (first, squeezed) in sorted(body["people"].items()):
        told = state.people[project, person]
        for offset, bits in enumerate(unpacked(squeezed)):
            number = first + offset
            seen, answered = state.given(project, person, number)
            new = bits & ~answered
            if not new.any():
                continue
            seen |= new
            answered |= new
            block = state.block(project, number)
            more = block.counts.astype(np.int16) + new
            state.counters[project]["done"] += int((new & ~block.closed & (more == overlap)).sum())
            block.counts[:] = np.minimum(more, 255).astype(np.uint8)
            told["answers"] += int(new.sum())
            state.counters[project]["answers"] += int(new.sum())
        told["last_us"] = max(told["last_us"], row.at_us)


def _close(state: Folding, project: str, task: int, counter: str) -> None:
    """Take a task out of the ordinary queue."""
    number, at = place(task)
    block = state.block(project, number)
    if block.closed[at]:
        return
    block.closed[at] = True
    state.counters[project][counter] += 1
    if block.counts[at] >= state.overlap(project):
        state.counters[project]["done"] -= 1
    state.db.run("delete from label_rank where project=? and task=?", (project, task))


def _gone(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """Tasks whose records were erased: nobody is given them any more."""
    for task in body["tasks"]:
        _close(state, row.account, task, "gone")
        state.db.run("delete from label_gold where project=? and task=?", (row.account, task))
        held = state.db.rows("select person from label_lease where project=? and task=?", (row.account, task))
        for (person,) in held:
            _end_lease(state, row.account, task, person)


def _gold(state: Folding, row: Row, body: dict[str, Any]) -> None:
    """Tasks whose answer is known: they leave the ordinary queue and are mixed in as checks."""
    for task, answer in body["tasks"]:
        _close(state, row.account, task, "gold")
        state.db.run("insert into label_gold values(?,?,?) on conflict(project, task) do update set answer=excluded.answer",
                     (row.account, task, canonical(answer).decode()))


def _order(state: Folding, row: Row, body: dict[str, Any]) -> None:
    if body["first"] == 0:
        state.db.run("delete from label_rank where project=?", (row.account,))
    state.db.many("insert into label_rank values(?,?,?)",
                  [(row.account, body["first"] + rank, task) for rank, task in enumerate(body["tasks"])])


def _decide(state: Folding, row: Row, body: dict[str, Any]) -> None:
    params = (row.account, body["task"])
    if not state.db.rows("select 1 from label_decision where project=? and task=?", params):
        state.counters[row.account]["decided"] += 1
    state.db.run("""insert into label_decision values(?,?,?,?,?,?) on conflict(project, task) do update set
        person=excluded.person, id=excluded.id, at_us=excluded.at_us, answer=excluded.answer""",
                 (*params, body["by"], row.id, row.at_us, canonical(body["answer"]).decode()))


def _comment(state: Folding, row: Row, body: dict[str, Any]) -> None:
    state.counters[row.account]["comments"] += 1
    state.db.run("insert into label_comment values(?,?,?,?,?,?)",
                 (row.id, row.account, body["task"], body["by"], row.at_us, canonical(body["said"]).decode()))


FOLDED = {"project": _project, "guidelines": _guidelines, "settings": _settings, "state": _state, "tasks": _batch,
          "answered": _batch, "proposed": _batch, "give": _give, "back": _back, "skip": _skip, "answer": _answer,
          "answers": _answers, "gold": _gold, "order": _order, "decide": _decide, "comment": _comment,
          "gone": _gone}
