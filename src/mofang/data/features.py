"""Features: what a model reads of a snapshot's records, made by operators that were fitted on the training part and that
serving runs again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field

from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.featuring.categories import CrossFit, Encode, fit_crosses, fit_encodings, fit_rare, give
from mofang.data.featuring.draws import draws_of
from mofang.data.featuring.history import DAY_S, Aggregate, earlier, parse_aggregates
from mofang.data.featuring.numbers import (
    Missing,
    Outliers,
    Scale,
    fit_bins,
    fit_missing,
    fit_outliers,
    fit_pairs,
    fit_scales,
)
from mofang.data.featuring.selection import KeepBy, select_features
from mofang.data.featuring.workbench import ROWS_MOST, Workbench
from mofang.data.featuring.written import fit_dates, fit_quantities
from mofang.data.operators import OPERATORS, apply_to_columns, apply_to_media
from mofang.data.operators.dates import date_of, days_of
from mofang.data.operators.values import level, number
from mofang.data.records import Batch, RecordReader, RecordWriter
from mofang.data.roles import ID, field
from mofang.data.snapshot import Snapshot
from mofang.data.snapshots.sides import PARTS, TRAIN
from mofang.data.snapshots.times import seconds_of

TASKS = ("table_classification", "table_regression")
CROSSED_LEVELS = 1000
FROM = "augmented_from"
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


@stage(version=1)
def features(
    run: Run,
    snapshot: Snapshot,
    *,
    dates: tuple[str, ...] = ("auto",),
    reference: str = "",
    units: tuple[str, ...] = ("auto",),
    ratios: tuple[str, ...] = (),
    differences: tuple[str, ...] = (),
    products: tuple[str, ...] = (),
    crosses: tuple[str, ...] = (),
    cross_buckets: Count = 0,
    bins: tuple[str, ...] = (),
    missing: Missing = "keep",
    constant: float = 0.0,
    outliers: Outliers = "keep",
    tail: Annotated[float, Field(ge=0, lt=0.5)] = 0.01,
    scale: Scale = "none",
    rare: Share = 0.0,
    encode: Encode = "auto",
    entity: str = "",
    time: str = "",
    aggregate: tuple[str, ...] = (),
    window_days: Annotated[float, Field(ge=0)] = 0.0,
    history: str = "request",
    correlated: Share = 1.0,
    keep_best: Count = 0,
    keep_by: KeepBy = "mutual-information",
    denoise: Literal[0, 3, 5, 7] = 0,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> Snapshot:
    """Make features of a table's columns: fitted on the training part, applied to all parts and to every request.

    Left alone it takes written dates apart, reads written quantities (``3.5kg``, ``1.2万``) as numbers, and drops
    constant columns and copies. Pairs are written ``income/debt``, ``a-b``, ``a*b``, crosses ``city*plan``, bins
    ``age:5``, aggregates ``amount:mean,count``: these are over rows of the same ``entity`` at a strictly earlier
    ``time``, and a request must give their values. Requests go on taking the raw columns. ``denoise`` takes single wrong
    pixels out of images (a median of that width).
    """
    about = snapshot.read_json("about.json")
    if "features" in about:
        raise MofangError("features-twice")
    columns = RecordReader(snapshot / "train").roles
    told = _aggregates(run, snapshot, about, entity, time, parse_aggregates(aggregate), window_days, history)
    inputs = _requested(about, told)
    bench = _bench(snapshot, about, told, columns)
    crossed = _fit(bench, about, run.settings) if about["task"] in TASKS else []
    made = Made(bench.pruned(), _media(columns, inputs, denoise), bench.features, crossed, told)
    _write(run, snapshot, about, made)
    run.write_json("about.json", _about(run, about, made, inputs, bench))
    if snapshot.has("rejected.parquet"):
        run.copy("rejected.parquet", snapshot.part("rejected.parquet"))
    run.measure(columns=len(inputs), features=len(bench.features), fitted_rows=len(bench.ids),
                operators=[spec["name"] for spec in (*made.media, *made.specs)], **bench.notes)
    return run.result(Snapshot)


def _requested(about: Mapping[str, Any], told: Told) -> list[dict[str, str]]:
    """What a request gives: the raw columns (a date as it is written), and the aggregates."""
    found = [{"name": one["name"], "role": "category" if one["role"] == "time" else one["role"]} for one in about["inputs"]]
    return [*found, *({"name": name, "role": "number"} for name in told.names)]


def _fit(bench: Workbench, about: Mapping[str, Any], given: Mapping[str, Any]) -> list[CrossFit]:
    """Fit one operator after the other, in the order in which they will be applied."""
    fit_dates(bench, given["dates"], given["reference"])
    fit_quantities(bench, given["units"])
    for how in ("ratio", "difference", "product"):
        fit_pairs(bench, how, given[f"{how}s"])
    fit_crosses(bench, given["crosses"], given["cross_buckets"], CROSSED_LEVELS)
    fit_bins(bench, given["bins"])
    fit_missing(bench, given["missing"], given["constant"])
    fit_outliers(bench, given["outliers"], given["tail"])
    fit_scales(bench, given["scale"])
    fit_rare(bench, given["rare"])
    crossed = fit_encodings(bench, given["encode"], about["labels"])
    select_features(bench, given["correlated"], given["keep_best"], given["keep_by"], given["seed"])
    return crossed


@dataclass(frozen=True)
class Told:
    """Aggregates of every row of every part: ``values[part][name]``."""

    values: Mapping[str, Mapping[str, Sequence[float | None]]]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """What was fitted: operators for values and for media, the features and their roles, what training rows get apart."""

    specs: list[dict[str, Any]]
    media: list[dict[str, Any]]
    features: dict[str, str]
    crossed: list[CrossFit]
    told: Told


def _aggregates(run: Run, snapshot: Snapshot, about: Mapping[str, Any], entity: str, time: str, wanted: list[Aggregate],
                window_days: float, history: str) -> Told:
    """Aggregates over strictly earlier rows of all parts together."""
    if not wanted:
        return Told({})
    if history != "request":
        raise MofangError("history-not-there", history=history)
    readers = {part: RecordReader(snapshot / part) for part in PARTS}
    roles = readers["train"].roles
    for name, what in ((entity, "entity"), (time, "time"), *((one.column, "aggregate") for one in wanted)):
        if name not in roles:
            raise MofangError("aggregate-column-missing", column=name, what=what, columns=", ".join(roles))
        if name == about["label"]:
            raise MofangError("aggregate-label", column=name)
    columns = list(dict.fromkeys([entity, time, *(one.column for one in wanted)]))
    entities: list[str | None] = []
    moments: list[float | None] = []
    values: dict[str, list[float | None]] = {one.column: [] for one in wanted}
    with run.progress("Looking back", "正在回看历史", sum(one.rows for one in readers.values())) as bar:
        for reader in readers.values():
            for batch in reader.batches(media=False, columns=columns):
                entities += map(level, batch.column(entity))
                moments += map(_seconds, batch.column(time))
                for name, found in values.items():
                    found += map(number, batch.column(name))
                bar.advance(len(batch))
    made: dict[str, Sequence[float | None]] = {}
    for name, found in values.items():
        kinds = [one.kind for one in wanted if one.column == name]
        told = earlier(entities, moments, found, kinds, window_days * DAY_S)
        made |= {Aggregate(name, kind).name: told[kind] for kind in kinds}
    taken = next((name for name in made if name in roles), "")
    if taken:
        raise MofangError("feature-name-taken", name=taken)
    run.measure(without_time=sum(one is None for one in moments))
    return Told(_by_part(made, readers), tuple(made))


def _by_part(made: Mapping[str, Sequence[float | None]], readers: Mapping[str, RecordReader]) -> dict[str, dict[str, Any]]:
    first, found = 0, {}
    for part, reader in readers.items():
        found[part] = {name: values[first: first + reader.rows] for name, values in made.items()}
        first += reader.rows
    return found


def _seconds(value: Any) -> float | None:
    """Seconds since 1970 of a written date, a time stamp, or a plain number that only tells the order."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    found = seconds_of(value)
    if found is None and (moment := date_of(value)) is not None:
        return days_of(moment) * DAY_S
    return found


def _bench(snapshot: Snapshot, about: Mapping[str, Any], told: Told, columns: Mapping[str, str]) -> Workbench:
    """Training rows to fit on: all, or every so many-th of very many."""
    reader = RecordReader(snapshot / "train")
    names = [one["name"] for one in about["inputs"] if columns[one["name"]] not in ("image", "audio")]
    stride = max(1, -(-reader.rows // ROWS_MOST))
    source = [FROM] if FROM in columns else []  # a made record counts in the fold of what it was made of
    values: dict[str, list[Any]] = {name: [] for name in (ID, *source, about["label"], *names)}
    first = 0
    for batch in reader.batches(media=False, columns=[*names, *source, about["label"]]):
        places = range(-first % stride, len(batch), stride)
        for name, found in values.items():
            column = batch.column(name)
            found += [column[place] for place in places]
        first += len(batch)
    ids, labels = origins(values), values.pop(about["label"])
    roles = {one["name"]: one["role"] for one in about["inputs"]}
    aggregates = {name: list(one[::stride]) for name, one in told.values.get("train", {}).items()}
    taken = frozenset({*columns, *aggregates})
    held: dict[str, Sequence[Any]] = {**{name: values[name] for name in names}, **aggregates}
    return Workbench(held, roles | dict.fromkeys(aggregates, "number"), ids, labels, taken)


def origins(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The ids of records, of a made record that of what it was made of."""
    made = columns.get(FROM, [None] * len(columns[ID]))
    return [source or id for id, source in zip(columns[ID], made, strict=True)]


def _media(columns: Mapping[str, str], inputs: Sequence[Mapping[str, str]], denoise: int) -> list[dict[str, Any]]:
    images = [one["name"] for one in inputs if columns.get(one["name"]) == "image"]
    if not denoise:
        return []
    if not images:
        raise MofangError("feature-column-missing", column="image", what="denoise", nearest="-", columns=", ".join(columns))
    version = OPERATORS["image-denoise"][0]
    return [{"name": "image-denoise", "version": version, "columns": images, "state": {"size": denoise}}]


def _write(run: Run, snapshot: Snapshot, about: Mapping[str, Any], made: Made) -> None:
    """Every part with its raw columns and, beside them, what the model reads."""
    readers = {part: RecordReader(snapshot / part) for part in PARTS}
    with run.progress("Making features", "正在构造特征", sum(one.rows for one in readers.values())) as bar:
        for side, (part, reader) in enumerate(readers.items()):
            new = [name for name in made.features if name not in reader.roles]
            extra = [*(name for name in made.told.names if name not in new), *new]
            roles = made.features | dict.fromkeys(made.told.names, "number")
            schema = pa.schema([*reader.schema, *(field(name, roles[name]) for name in extra)])
            kept = {name: value for name, value in reader.about.items() if name not in ("format", "columns", "rows")}
            kept["operators"] = [*about.get("operators", []), *made.media, *made.specs]
            with RecordWriter(run, f"{part}/", schema=schema, about=kept) as writer:
                first = 0
                for batch in reader.batches():
                    writer.write(_changed(batch, made, part, first, schema, cross=side == TRAIN))
                    first += len(batch)
                    bar.advance(len(batch))


def _changed(batch: Batch, made: Made, part: str, first: int, schema: pa.Schema, *, cross: bool) -> Batch:
    columns: dict[str, Any] = {name: batch.column(name) for name in batch.table.schema.names}
    columns |= {name: values[first: first + len(batch)] for name, values in made.told.values.get(part, {}).items()}
    columns = dict(apply_to_columns(made.specs, columns))
    if cross:
        for fit in made.crossed:
            if set(fit.to) <= set(columns):
                give(columns, fit, origins(columns))
    raw = set(batch.table.schema.names)
    arrays = [batch.table.column(one.name) if one.name in raw else _array(columns[one.name], one) for one in schema]
    return Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), apply_to_media(made.media, batch.media))


def _array(values: Sequence[Any], wanted: pa.Field) -> pa.Array:
    plain = [number(one) if wanted.type == pa.float64() else level(one) for one in values]
    return pa.array(plain, wanted.type)


def _about(run: Run, about: Mapping[str, Any], made: Made, inputs: list[dict[str, str]], bench: Workbench) -> dict[str, Any]:
    before = [*about.get("operators", []), *made.media]
    found = {**about, "inputs": inputs, "operators": [*before, *made.specs], "licences": list(run.input_licences)}
    raw = {one["name"]: one["role"] for one in inputs}
    if made.specs or made.features != raw:
        found["features"] = {"columns": [{"name": name, "role": role} for name, role in made.features.items()],
                             "begin": len(before), "draws": draws_of(bench, inputs)}
    return found
