"""Train one family on one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.personal import holds_personal_data, rewrites
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.augmenting.kinds import chosen_kinds, modality_of
from mofang.data.records import Records
from mofang.data.snapshot import Snapshot
from mofang.engine.task import read_columns, task_named
from mofang.fit import families
from mofang.fit.base import Base, folder_of
from mofang.fit.families.linear import Linear
from mofang.fit.family import Conditions, Family, Fitted, Variation
from mofang.fit.folds import cross_validated, score_of
from mofang.fit.guidance import Guidance, learnt
from mofang.fit.loop.learning import Learning
from mofang.fit.loop.machine import threads
from mofang.fit.loop.probe import choosing, known_choices, with_choices
from mofang.fit.material import Material, part_of, rated_on, read_material
from mofang.fit.planning.ahead import foresee

if TYPE_CHECKING:
    from mofang.core.shop import Shop

MODEL_FORMAT = 1
VALIDATION, SAMPLE = "validation.parquet", "sample.safetensors"  # rows of people; the sample is the first of validation
SAMPLE_RECORDS = "input/@record"


class Model(Artifact):
    """A trained model: its weights, ``encoder/``, about.json, validation.parquet, curves.json,
    sample.safetensors, and steps.jsonl where the loop trained it.
    """

    kind = "model"


holds_personal_data(kind=Model.kind, parts=(VALIDATION, SAMPLE))


@rewrites(Model.kind)
def without_rows(model: Artifact, erased: Callable[[object], bool]) -> dict[str, bytes | None]:
    """A model after an erasure: its encoded validation rows lose those of the erased. The weights stay what they learnt."""
    from safetensors.numpy import load, save

    with model.open(VALIDATION) as file:
        ids = pq.read_table(file, columns=["id"], use_threads=False, pre_buffer=False).column(0).to_pylist()
    with model.open(SAMPLE) as file:
        stored = load(file.read())
    rows = len(next(iter(stored.values())))
    records = stored.get(SAMPLE_RECORDS, np.arange(rows))  # which record a row is cut from
    kept = [row for row, record in enumerate(records.tolist()) if not erased(ids[record])]
    return {SAMPLE: save({name: array[kept] for name, array in stored.items()})}


def base_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """The content of the base model that a family starts from, so that another one is another run."""
    family: Family = settings["family"]
    return with_choices(shop, family.base_digest())


@stage(version=3, source_digest=base_digest)
def train(
    run: Run,
    snapshot: Snapshot,
    base: Base | None = None,
    teacher: Model | None = None,
    unlabelled: Records | None = None,
    *,
    family: Family = Linear(),
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    seconds: Annotated[float, Field(ge=0)] = 0.0,
    augment: tuple[str, ...] = (),
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5,
    part: Annotated[float, Field(gt=0, le=1)] = 1.0,
    rated: Annotated[int, Field(ge=0)] = 0,
    folds: Annotated[int, Field(ge=0, le=50)] = 0,
    learning: Learning = Learning(),
    guidance: Guidance = Guidance(),
) -> Model:
    """Train a model on the training part of a snapshot; the validation part stops and rates it.

    The test part is not read. The same seed gives the same weights, byte for byte, on the same machine with
    the same number of threads. ``seconds`` shortens the schedule to fit a time limit; 0 trains until the
    family's own end. A run that is killed goes on from its last checkpoint. ``augment`` names kinds of variants
    (``flip,crop``, ``synonym,noise``) that every epoch makes of the training rows anew, with this ``strength``; the
    validation rows are never varied. ``folds`` trains so many times on parts of the training part first and
    tells mean and spread of the headline. ``learning`` are the flags of the loop (``--optimizer``, ``--schedule`` …).
    A ``base`` (of ``pretrain``) is what a family that starts from pretrained weights starts from, in place of its own.
    ``part`` learns from this share of the training rows only, classes alike, and ``rated`` rates on at most so many of the
    validation rows (0: all of them), for a first impression.
    A ``teacher``, another model of the same question, says what else to learn of the training texts: its shares of each class,
    softened by ``temperature``, count ``share`` beside the labels. ``unlabelled`` records get the teacher's answers, or, without
    one, the model's own where it is sure (``confidence``, ``rounds``); what did not help on validation is not kept.
    """
    about = snapshot.read_json("about.json")
    _require_suited(about, family, augment)
    _require_loop(family, learning)
    start = _start(run, base, family)
    headline = task_named(about["task"]).headline(_counts(snapshot, about))
    run.measure(**foresee(run, snapshot, family, learning, start, folds, seconds, part))
    material = read_material(snapshot, headline)
    if part < 1:
        material = part_of(material, part, seed)
    if rated:
        material = rated_on(material, rated)
    variation = Variation(augment, strength) if augment else None
    conditions = Conditions(seed, seconds, run.scratch, run.progress, variation, start, learning=learning)
    with choosing(known_choices(run.shop)):
        crossed = cross_validated(run, family, material, conditions, folds) if folds else {}
        fitted, guided = learnt(run, family, material, conditions, teacher, unlabelled, guidance)
    run.licence(*fitted.licences)
    score = score_of(material, fitted)
    _write(run, material, fitted)
    told = _told(run, about, family, fitted, material) | {"headline": headline, "seed": seed, "seconds": seconds}
    told |= {"validation": {"metric": headline, "value": score}, **_beyond(about, variation, base)}
    told |= ({"folds": crossed} if crossed else {}) | ({"beside": guided} if guided else {})
    run.write_json("about.json", told)
    rows = {"train_rows": len(material.train), "validation_rows": len(material.validation)}
    run.measure(**({"beside": guided} if guided else {}))
    run.measure(metric=headline, validation=round(score, 6), **rows, threads=threads(), **fitted.notes, **fitted.measures)
    return run.result(Model)


def _told(run: Run, about: dict[str, Any], family: Family, fitted: Fitted, material: Material) -> dict[str, Any]:
    """What every model says about itself."""
    return {
        "format": MODEL_FORMAT,
        "task": about["task"],
        "inputs": about["inputs"],
        "label": about["label"],
        "labels": about["labels"],
        "operators": about.get("operators", []),
        "family": family.to_dict(),
        "architecture": fitted.architecture,
        "weights": sorted(fitted.weights),
        "encoder": {"name": fitted.encoder.name, "version": fitted.encoder.version},
        "licences": sorted({*run.input_licences, *fitted.licences}),
        "base_model": fitted.base_model,
        "threads": threads(),
        "notes": fitted.notes,
        "rows": {"train": len(material.train), "validation": len(material.validation)},
    }


def _start(run: Run, base: Base | None, family: Family) -> Path | None:
    """The folder of the base; refused where the family starts from nothing."""
    if base is None:
        return None
    if not family.takes_base:
        able = ", ".join(tag for tag, kind in sorted(families.KINDS.items()) if kind.takes_base)
        raise MofangError("base-unsuited", family=family.tag, families=able)
    return folder_of(base, run.scratch)


def _beyond(about: dict[str, Any], variation: Variation | None, base: Base | None) -> dict[str, Any]:
    """What only some models have: features of the raw columns, variants of the training rows, a base made here."""
    found = {"features": about["features"]} if "features" in about else {}
    if variation is not None:
        found["augment"] = {"kinds": list(variation.kinds), "strength": variation.strength}
    if base is not None:
        made = base.read_json("about.json")
        found["base"] = {"digest": base.digest, "licences": list(base.licences), "architecture": made["architecture"],
                         "objectives": made["objectives"]}
        found["base_model"] = f"base {base.digest[:12]}"
    return found


def _require_suited(about: dict[str, Any], family: Family, augment: Sequence[str] = ()) -> None:
    """Refuse a family that is not for the task, columns that the task cannot read, and variants that cannot be made."""
    task = about["task"]
    fitting = [tag for tag, kind in sorted(families.KINDS.items()) if task in kind.tasks]
    if task not in family.tasks:
        raise MofangError("family-unsuited", family=family.tag, task=task, families=", ".join(fitting))
    modality = modality_of([one["role"] for one in about["inputs"]])
    if augment and (not family.varies or modality not in ("text", "image") or "back-translate" in augment):
        able = ", ".join(tag for tag in fitting if families.KINDS[tag].varies)
        raise MofangError("augment-unsuited", family=family.tag, kinds=", ".join(augment), families=able)
    if augment:
        chosen_kinds(augment, modality)
    roles = task_named(task).input_roles
    wrong = [f"{one['name']} ({one['role']})" for one in read_columns(about) if one["role"] not in roles]
    if wrong:
        raise MofangError(
            "inputs-unsuited", columns=", ".join(wrong), task=task, roles=", ".join(sorted(roles))
        )


def _require_loop(family: Family, learning: Learning) -> None:
    """Refuse settings of the loop for a family that learns without it: nothing is dropped in silence."""
    if learning.chosen and not family.loops:
        able = ", ".join(tag for tag, kind in sorted(families.KINDS.items()) if kind.loops)
        raise MofangError("learning-unsuited", family=family.tag, settings=", ".join(learning.chosen), families=able)


def _counts(snapshot: Snapshot, about: dict[str, Any]) -> Counter[str]:
    """Training records per label; of targets without labels, none."""
    if about.get("target", "class") != "class":
        return Counter()
    with (snapshot / "train").open("values.parquet") as file:
        labels = pq.read_table(file, columns=[about["label"]], use_threads=False, pre_buffer=False).column(0)
    return Counter(labels.to_pylist())


def _write(run: Run, material: Material, fitted: Fitted) -> None:
    from safetensors.numpy import save

    for name, data in fitted.weights.items():
        run.write_bytes(name, data)
    for name, data in fitted.encoder.save().items():
        run.write_bytes(f"encoder/{name}", data)
    rows = material.validation
    with run.part(VALIDATION) as path:
        table: dict[str, Any] = {"id": rows.ids}
        if fitted.probabilities is not None and material.target == "class":
            table["label"] = [material.labels[place] for place in rows.labels]
            table["probabilities"] = pa.array(list(fitted.probabilities), pa.list_(pa.float32()))
        pq.write_table(pa.table(table), path, compression="zstd")
    sample = {f"input/{name}": array for name, array in fitted.sample.items()}
    run.write_bytes(SAMPLE, save({**sample, **fitted.sampled()}))
    run.write_json("curves.json", fitted.curves)
    if fitted.steps:
        run.write_bytes("steps.jsonl", b"".join(canonical(row) + b"\n" for row in fitted.steps))
