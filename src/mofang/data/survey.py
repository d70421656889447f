"""Survey: the part of cleaning that reads every record. Its result is kept, so that other thresholds cost seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.cleaning.labelmap import label_map
from mofang.data.cleaning.looking import NOTES, Look, Near, Spelling
from mofang.data.cleaning.shards import Elsewhere, Piece, facts_schema, let_go, pieces_of, read_facts
from mofang.data.cleaning.values import cleaning_operators, repaired, schema_after
from mofang.data.cleaning.values import personal_kinds as kinds_meant
from mofang.data.cleaning.watching import Identify, Watch, own_rules
from mofang.data.records import RecordReader, Records
from mofang.data.roles import with_role

Layout = Literal["line", "paragraphs"]
Html = Literal["auto", "yes", "no"]
Columns = tuple[str, ...]


class Survey(Artifact):
    """Records in one spelling, and the figures of each: parts ``values/00000.parquet`` …, ``facts/00000.arrow`` …,
    ``about.json``."""

    kind = "survey"

    @property
    def pieces(self) -> int:
        """How many pieces the records were cut into."""
        return sum(part.name.startswith("values/") for part in self.parts)

    def facts(self, piece: int, columns: list[str] | None = None, hidden: bool = True) -> pa.Table:
        """The figures of one piece, a row a record; without those that are ``hidden``, if nobody is to see them."""
        with self.open(part_name("facts", piece)) as file:
            return read_facts(file.read(), columns, hidden)

    def values(self, piece: int, columns: list[str] | None = None) -> pa.Table:
        """The records of one piece, without their media."""
        with self.open(part_name("values", piece)) as file:
            return pq.read_table(file, columns=columns, use_threads=False, pre_buffer=False)


def part_name(what: str, piece: int) -> str:
    """The name of a piece's part."""
    return f"{what}/{piece:05}.{'arrow' if what == 'facts' else 'parquet'}"


@stage(version=2)
def survey(
    run: Run,
    records: Records,
    *,
    labels: str = "",
    html: Html = "no",
    layout: Layout = "line",
    units: Columns = (),
    dates: Columns = (),
    noise: bool = False,
    mask: bool = False,
    find_personal: bool = False,
    personal_kinds: Columns = (),
    identify: Identify = "",
    prefix: Annotated[int, Field(ge=50)] = 1000,
    quality: bool = False,
    repetition: bool = False,
    rules: Columns = (),
    near: Near = "",
    media: bool = False,
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000,
) -> Survey:
    """Bring records into one spelling and write down the figures of each, on which cleaning then decides.

    ``clean`` calls it by itself. It drops nothing, and it is kept: a second cleaning of the same records with other
    thresholds reads the figures alone. The work is done in pieces wherever the shop's executor runs, and a killed run
    goes on at the next piece.
    """
    reader = RecordReader(records)
    specs = cleaning_operators(
        reader.roles, html=html, layout=layout, units=units, dates=dates, noise=noise, mask=mask, kinds=personal_kinds
    )  # fmt: skip
    schema = schema_after(reader.schema, specs)
    spelling = Spelling(tuple(specs), tuple(with_role(reader.roles, "label")), label_map(labels) if labels else {})
    watch = Watch(
        texts=bool(identify) or quality or repetition or near == "words",
        repeats=repetition,
        identify=identify,
        prefix=prefix,
        words=near == "words",
        personal=tuple(kinds_meant(personal_kinds)) if find_personal else (),
        rules=own_rules(rules),
        pictures=tuple(with_role(reader.roles, "image")) if media else (),
        sounds=tuple(with_role(reader.roles, "audio")),
        max_pixels=max_pixels,
    )
    folder = run.scratch / "pieces"
    folder.mkdir(exist_ok=True)
    look = Look(Elsewhere(records), str(folder), schema, reader.roles, spelling, watch, near, max_pixels, tuple(repaired(specs)))
    pieces = pieces_of(records)
    let_go()
    with run.progress("Looking at records", "正在检查记录", reader.rows) as bar:
        for piece in _looked(run, look, pieces):
            bar.advance(piece.stop - piece.start)
    before = reader.about.get("operators", [])
    operators = before if before[-len(specs):] == specs else [*before, *specs]  # as they ran; the same ones twice change nothing
    notes = _notes(run, len(pieces))
    run.write_json("about.json", {**reader.about, "operators": operators, "pieces": len(pieces), "notes": notes})
    run.measure(rows=reader.rows, pieces=len(pieces))
    return run.result(Survey)


def _looked(run: Run, look: Look, pieces: list[Piece]) -> Iterator[Piece]:
    """Every piece in order: those a killed run had sealed at once, the others as the workers finish them."""
    done = [piece for piece in pieces if run.has(part_name("values", piece.number))]
    yield from done
    todo = pieces[len(done):]
    for piece, number in zip(todo, run.shop.executor.map(look, todo), strict=True):
        assert number == piece.number, "an executor changed the order"
        for what in ("facts", "values"):  # the values last: a piece that has them has both
            with run.part(part_name(what, number)) as place:
                (run.scratch / "pieces" / f"{what}-{number}").replace(place)
        yield piece


def _notes(run: Run, pieces: int) -> dict[str, Any]:
    """How many spellings of labels became one with another, and how many values of each column a repair could not read."""
    spellings: dict[str, str] = {}
    unread: Counter[str] = Counter()
    for piece in range(pieces):
        with run.open_sealed(part_name("facts", piece)) as file:
            notes: Any = orjson.loads(facts_schema(file.read()).metadata[NOTES])
        spellings |= notes["spellings"]
        unread.update(notes["unread"])
    return {"merged": len(spellings) - len(set(spellings.values())), "unread": {name: n for name, n in unread.items() if n}}
