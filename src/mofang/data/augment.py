"""Augment: variants of training records as a visible part of a snapshot; validation and test part stay as they are."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.augmenting.kinds import chance, chosen_kinds, modality_of, variant_id
from mofang.data.augmenting.sheets import image_sheet, sound_sheet, text_sheet
from mofang.data.operators import apply_to_columns
from mofang.data.pixels import UnusableImageError
from mofang.data.records import Batch, RecordReader, RecordWriter
from mofang.data.roles import ID, field
from mofang.data.snapshot import Snapshot

FROM, WITH = "augmented_from", "augmented_with"
TRIES = 4  # where a variant comes out as the record itself
PARTNERS = 16  # images of each class that others are mixed with
BATCH = 256


@stage(version=2)
def augment(
    run: Run,
    snapshot: Snapshot,
    *,
    kinds: tuple[str, ...] = (),
    times: Annotated[int, Field(ge=1, le=100)] = 1,
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5,
    classes: tuple[str, ...] = (),
    translator: str = "",
    sheet: Annotated[int, Field(ge=0, le=100)] = 12,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> Snapshot:
    """Add variants of the training records to a snapshot, with a contact sheet that shows them beside what they came from.

    Texts: synonym, swap, delete, noise, back-translate. Images: crop, flip, rotate, colour, cutout, mixup. Sounds: noise,
    speed, pitch, time-mask, frequency-mask. Tables: smote, which gives classes smaller than the largest up to ``times``
    new rows for each of their own. Left empty, the ``kinds`` that leave a record's meaning alone are taken: no flip, for
    a mirrored digit is another one. ``classes`` augments only these. Only the training part grows; each new record says
    in ``augmented_from`` what it was made of (and in ``augmented_with`` what it was mixed with).
    """
    about = snapshot.read_json("about.json")
    if "augmented" in about:
        raise MofangError("augment-twice")
    if about.get("target", "class") != "class":  # a changed text would leave its spans, numbers or answers behind
        raise MofangError("augment-target", task=about["task"])
    unknown = sorted(set(classes) - set(about["labels"]))
    if unknown:
        raise MofangError("augment-class-unknown", given=", ".join(unknown), labels=", ".join(about["labels"]))
    modality = modality_of([one["role"] for one in about["inputs"]])
    chosen = chosen_kinds(kinds, modality)
    plan = Plan(modality, chosen, times, strength, translator, seed, about["label"],
                tuple(one["name"] for one in about["inputs"] if modality in ("table", one["role"])), frozenset(classes))
    for part in snapshot.parts:
        if not part.name.startswith("train/") and part.name != "about.json":
            run.copy(part.name, part)
    made, shown = _grow(run, snapshot, about, plan, sheet)
    if shown:
        run.write_bytes(*_sheet(plan, shown))
    train = {name: count + made[name] for name, count in about["counts"]["train"]["classes"].items()}
    run.write_json("about.json", {
        **about,
        "counts": {**about["counts"], "train": {"rows": sum(train.values()), "classes": train}},
        "licences": list(run.input_licences),
        "augmented": {"kinds": list(chosen), "times": times, "strength": strength, "rows": made.total(), "seed": seed},
    })
    run.measure(kinds=list(chosen), added=made.total(), rows=sum(train.values()))
    return run.result(Snapshot)


@dataclass(frozen=True)
class Plan:
    """What variants are made of which columns, and how."""

    modality: str
    kinds: tuple[str, ...]
    times: int
    strength: float
    translator: str
    seed: int
    label: str
    columns: tuple[str, ...]
    classes: frozenset[str]

    def wants(self, label: Any) -> bool:
        """Whether records of this class are augmented."""
        return not self.classes or label in self.classes


@dataclass(frozen=True)
class Variants:
    """The variants of a batch; picklable, and each depends on its own record alone (and for mixup on a fixed pool)."""

    plan: Plan
    pool: Mapping[str, tuple[tuple[str, bytes], ...]]

    def __call__(self, batch: Batch) -> tuple[Batch, list[tuple[int, int, dict[str, Any]]]]:
        """The batch, and for each variant (row, number, its changed columns)."""
        made = []
        labels = batch.column(self.plan.label)
        ids = batch.column(ID)
        values = {name: batch.media.get(name) or batch.column(name) for name in self.plan.columns}
        for row in range(len(batch)):
            if not self.plan.wants(labels[row]):
                continue
            for number in range(1, self.plan.times + 1):
                one = {name: column[row] for name, column in values.items()}
                changed = self._changed(one, ids[row], labels[row], number)
                if changed:
                    made.append((row, number, changed))
        return batch, made

    def _changed(self, record: Mapping[str, Any], id: str, label: str, number: int) -> dict[str, Any]:
        for attempt in range(TRIES):
            mixed: list[str] = []
            found = {name: self._one(value, chance(self.plan.seed, number, id, name, attempt), label, mixed)
                     for name, value in record.items() if value}
            if any(found[name] is not None and found[name] != record[name] for name in found):
                changed = {name: value if value is not None else record[name] for name, value in found.items()}
                return changed | ({WITH: mixed[0]} if mixed else {})
        return {}

    def _one(self, value: Any, rng: Any, label: str, mixed: list[str]) -> Any:
        """One changed value, None where it stays as it is; the id of what it was mixed with is added to ``mixed``."""
        plan = self.plan
        if plan.modality == "text":
            from mofang.data.augmenting.texts import varied

            found = varied(value, plan.kinds, rng, plan.strength, plan.translator)
            return None if found == value else found
        if plan.modality == "image":
            return self._image(value, rng, label, mixed)
        return self._sound(value, rng)

    def _image(self, data: bytes, rng: Any, label: str, mixed: list[str]) -> bytes | None:
        from mofang.data.augmenting.images import pixels_of, png_bytes, varied

        def partner(rng: Any) -> Any:
            others = [one for one in self.pool.get(label, ()) if one[1] != data]
            if not others:
                return None
            id, other = others[int(rng.integers(0, len(others)))]
            mixed.append(id)
            return pixels_of(other)

        try:
            pixels = pixels_of(data)
            found = varied(pixels, self.plan.kinds, rng, self.plan.strength, partner)
        except UnusableImageError:
            return None
        return None if (found == pixels).all() else png_bytes(found)

    def _sound(self, data: bytes, rng: Any) -> bytes | None:
        from mofang.data.augmenting.sounds import varied
        from mofang.data.cleaning.media.sounds import UnusableSoundError
        from mofang.data.operators.media import samples_of, wav_bytes

        try:
            samples, rate = samples_of(data)
        except UnusableSoundError:
            return None
        return wav_bytes(varied(samples, self.plan.kinds, rng, self.plan.strength), rate) if len(samples) else None


def _grow(run: Run, snapshot: Snapshot, about: Mapping[str, Any], plan: Plan,
          sheet: int) -> tuple[Counter[str], list[list[dict[str, Any]]]]:
    """Write the training part: each record followed by its variants; made rows of a table stand at the end."""
    reader = RecordReader(snapshot / "train")
    schema = pa.schema([*reader.schema, field(FROM, "other"), field(WITH, "other")])
    kept = {name: value for name, value in reader.about.items() if name not in ("format", "columns", "rows")}
    counts: Counter[str] = Counter()
    shown = _Shown(_chosen(reader, plan, sheet))
    with RecordWriter(run, "train/", schema=schema, about=kept) as writer, run.progress("Augmenting", "正在增广", reader.rows) as bar:
        if plan.modality == "table":
            for batch in reader.batches():
                writer.write(_with(batch, schema, {}, None))
                bar.advance(len(batch))
            for batch, origins, others in _synthetic(reader, about, plan):
                writer.write(_with(batch, schema, {WITH: others}, [one[ID] for one in origins]))
                counts.update(batch.column(plan.label))
                if len(shown.found) < sheet:
                    shown.wanted |= {one[ID] for one in origins[: max(1, sheet // len(about["labels"]))]}
                shown.rows(origins, batch.rows())
        else:
            pool = _pool(reader, plan) if "mixup" in plan.kinds else {}
            for batch, made in run.shop.executor.map(Variants(plan, pool), reader.batches(BATCH)):
                grown, sources = _interleaved(batch, made, schema)
                writer.write(grown)
                bar.advance(len(batch))
                counts.update(label for label, source in zip(grown.column(plan.label), sources, strict=True) if source)
                places = [place for place, source in enumerate(sources) if source in shown.wanted]
                if places:
                    rows = dict(zip(batch.column(ID), range(len(batch)), strict=True))
                    shown.rows(batch.take([rows[str(sources[place])] for place in places]).rows(), grown.take(places).rows())
    return counts, list(shown.found.values())


def _interleaved(batch: Batch, made: Sequence[tuple[int, int, dict[str, Any]]],
                 schema: pa.Schema) -> tuple[Batch, list[str | None]]:
    """Each record followed by its variants, so that the order does not depend on how records came in batches."""
    none: dict[str, Any] = {}
    entries = sorted([*((row, 0, none) for row in range(len(batch))), *made], key=lambda one: one[:2])
    some, ids = batch.take([row for row, _, _ in entries]), batch.column(ID)
    sources = [ids[row] if number else None for row, number, _ in entries]
    new = {ID: [variant_id(ids[row], number) if number else ids[row] for row, number, _ in entries]}
    new[WITH] = [one.get(WITH) for _, _, one in entries]
    for name in {name for _, _, one in made for name in one} - {WITH}:
        values = some.media.get(name) or some.column(name)
        new[name] = [one.get(name, old) for (_, _, one), old in zip(entries, values, strict=True)]
    return _with(some, schema, new, sources), sources


def _with(batch: Batch, schema: pa.Schema, changed: Mapping[str, Sequence[Any]], sources: Sequence[str | None] | None) -> Batch:
    """A batch with some columns changed and the column that says what each record was made of."""
    media = {name: list(changed.get(name, values)) for name, values in batch.media.items()}
    arrays = []
    for one in schema:
        if one.name == FROM:
            arrays.append(pa.array(sources if sources is not None else [None] * len(batch), one.type))
        elif one.name == WITH and WITH not in changed:
            arrays.append(pa.nulls(len(batch), one.type))
        elif one.name in changed and one.name not in media:
            arrays.append(pa.array(changed[one.name], one.type))
        else:
            arrays.append(batch.table.column(one.name))
    return Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), media)


class _Shown:
    """A few records of every class and their variants, for the contact sheet."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self.wanted = wanted
        self.found: dict[str, list[dict[str, Any]]] = {}

    def rows(self, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> None:
        """Remember the pairs that are wanted, up to six variants of a record."""
        for one, other in zip(before, after, strict=True):
            if one[ID] not in self.wanted:
                continue
            found = self.found.setdefault(one[ID], [dict(one)])
            if len(found) <= 6:
                found.append(dict(other))


def _sheet(plan: Plan, shown: list[list[dict[str, Any]]]) -> tuple[str, bytes]:
    """The contact sheet's name and bytes."""
    if plan.modality in ("text", "table"):
        columns = [*plan.columns, plan.label]
        return "sheet.html", text_sheet([(rows[0], one) for rows in shown for one in rows[1:]], columns)
    column = plan.columns[0]
    if plan.modality == "image":
        from mofang.data.augmenting.images import pixels_of

        return "sheet.png", image_sheet([[pixels_of(one[column]) for one in rows] for rows in shown])
    from mofang.data.operators.media import samples_of

    return "sheet.png", sound_sheet([[samples_of(one[column])[0] for one in rows] for rows in shown])


def _chosen(reader: RecordReader, plan: Plan, most: int) -> frozenset[str]:
    """The ids of the records to show: of each class in turn, in an order that has nothing to do with the records'."""
    found: dict[str, list[tuple[bytes, str]]] = {}
    for batch in reader.batches(media=False, columns=[plan.label]):
        for id, label in zip(batch.column(ID), batch.column(plan.label), strict=True):
            if plan.wants(label):
                found.setdefault(label, []).append((hashlib.blake2b(id.encode(), digest_size=8).digest(), id))
        found = {label: heapq.nsmallest(most, ids) for label, ids in found.items()}
    ordered = sorted((place, label, id) for label, ids in found.items() for place, (_, id) in enumerate(ids))
    return frozenset(id for _, _, id in ordered[:most])


def _pool(reader: RecordReader, plan: Plan) -> dict[str, tuple[tuple[str, bytes], ...]]:
    """Of each class the few images that others may be mixed with, chosen by their ids."""
    found: dict[str, list[tuple[int, str, bytes]]] = {}
    column = plan.columns[0]
    for batch in reader.batches(BATCH):
        for id, label, data in zip(batch.column(ID), batch.column(plan.label), batch.media[column], strict=True):
            place = int.from_bytes(hashlib.blake2b(f"{plan.seed}\0{id}".encode(), digest_size=8).digest(), "big")
            heap = found.setdefault(label, [])
            heapq.heappush(heap, (-place, id, data))
            if len(heap) > PARTNERS:
                heapq.heappop(heap)
    return {label: tuple((id, data) for _, id, data in sorted(heap, reverse=True)) for label, heap in found.items()}


def _synthetic(
    reader: RecordReader, about: Mapping[str, Any], plan: Plan
) -> Iterator[tuple[Batch, list[dict[str, Any]], list[str]]]:
    """New rows of each class that is smaller than the largest, features made afresh of the new values."""
    from mofang.data.augmenting.tables import synthetic

    counts = about["counts"]["train"]["classes"]
    roles = {name: reader.roles[name] for name in plan.columns}
    specs = about["operators"][about["features"]["begin"]:] if "features" in about else []
    for label in sorted(one for one in counts if plan.wants(one) and counts[one] < max(counts.values())):
        rows = [row for batch in reader.batches() for row in batch.rows() if row[plan.label] == label]
        by_id = {row[ID]: row for row in rows}
        wanted = min(max(counts.values()), counts[label] * (1 + plan.times)) - counts[label]
        made = synthetic(rows, [row[ID] for row in rows], roles, wanted, plan.seed)
        for first in range(0, len(made), BATCH):
            some = made[first: first + BATCH]
            sources = [by_id[source] for source, _, _, _ in some]
            pairs = [(one, row) for (_, _, _, one), row in zip(some, sources, strict=True)]
            columns: dict[str, Any] = {name: [one.get(name, row[name]) for one, row in pairs] for name in rows[0]}
            columns[ID] = [variant_id(source, number) for source, number, _, _ in some]
            columns = dict(apply_to_columns(specs, columns))
            kept = {name: columns[name] for name in reader.schema.names}
            yield Batch(pa.RecordBatch.from_pydict(kept, schema=reader.schema), {}), sources, [other for _, _, other, _ in some]
