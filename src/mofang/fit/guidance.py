"""How a model learns from more than its labels: the settings of ``train`` for a teacher and for unlabelled records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import Settings
from mofang.fit.family import Conditions, Family, Fitted
from mofang.fit.material import Material

if TYPE_CHECKING:
    from mofang.fit.teaching import Unlabelled
    from mofang.fit.train import Model


@dataclass(frozen=True, kw_only=True)
class Guidance(Settings):
    """What a teacher and unlabelled records count.

    ``temperature`` softens the teacher's answers, ``share`` is what they count beside the labels; ``confidence`` is the
    probability from which the model's own answer to an unlabelled record becomes its label, in ``rounds`` rounds; ``agree`` is
    the weight of two answers to an unlabelled record being alike under dropout.
    """

    temperature: Annotated[float, Field(gt=0, le=20)] = 2.0
    share: Annotated[float, Field(ge=0, le=1)] = 0.7
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    rounds: Annotated[int, Field(ge=0, le=10)] = 1
    agree: Annotated[float, Field(ge=0, le=10)] = 0.0


def learnt(
    run: Run, family: Family, material: Material, conditions: Conditions, teacher: Model | None, unlabelled: Artifact | None,
    guidance: Guidance,
) -> tuple[Fitted, dict[str, Any]]:
    """Fit with whatever there is beside the labels; the second value says what it was and what it changed."""
    if teacher is None and unlabelled is None:
        return family.fit(material, conditions), {}
    from mofang.fit.asking import fitted_answers, model_answers
    from mofang.fit.teaching import read_unlabelled, self_taught, softened, with_answers

    told: dict[str, Any] = {}
    others: Unlabelled | None = None
    if unlabelled is not None:
        others = read_unlabelled(unlabelled, material)
        told["unlabelled"] = {"rows": len(others.records), "left_out": others.left_out}
        _require_use(family, material, guidance, teacher is not None)
    if teacher is not None:
        _require_student(family)
        with run.progress("Asking the teacher", "询问教师模型"):
            said = model_answers(teacher, material, material.train.records)
            beyond = model_answers(teacher, material, others.records) if others and others.records else None
        told["teacher"] = {"entry": teacher.entry, "validation": teacher.measures.get("validation"),
                           "temperature": guidance.temperature, "share": guidance.share}
        material = softened(material, said, guidance.temperature, guidance.share)
        if others is not None and beyond is not None:
            material = with_answers(material, others, beyond, guidance.temperature)
    if others is not None:
        conditions = replace(conditions, unlabelled=others.records, agree=guidance.agree)
        told |= {"agree": guidance.agree} if guidance.agree else {}
    if teacher is None and others is not None and guidance.rounds and material.target == "class":
        fitted, rounds = self_taught(
            family, material, conditions, others, guidance.confidence, guidance.rounds, fitted_answers
        )
        return fitted, told | {"pseudo_labels": rounds | {"confidence": guidance.confidence}}
    return family.fit(material, conditions), told


def _require_student(family: Family) -> None:
    from mofang.fit.families import KINDS

    if not family.learns_shares:
        able = ", ".join(sorted(tag for tag, kind in KINDS.items() if kind.learns_shares))
        raise MofangError("teacher-unsuited", family=family.tag, families=able)


def _require_use(family: Family, material: Material, guidance: Guidance, taught: bool) -> None:
    """Refuse unlabelled records of which nothing would be learnt."""
    if guidance.agree and not family.learns_shares or guidance.agree and not family.loops:
        raise MofangError("unlabelled-unsuited", reason=f"{family.tag}, --agree {guidance.agree:g}")
    used = taught or guidance.agree or getattr(family, "masked_steps", 0)
    if not used and (material.target != "class" or not guidance.rounds):
        raise MofangError("unlabelled-unsuited", reason=f"{material.task}, --rounds {guidance.rounds}")
