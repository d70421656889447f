"""Which columns a model learns from, and why each of the others is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mofang.data.columns import Profile, is_missing
from mofang.data.firstlook.finding import Given, Remark
from mofang.data.firstlook.grouping import IDS
from mofang.data.firstlook.leaks import filled_afterwards, first_word_tells, label_in_text, leaks
from mofang.data.firstlook.splitting import Split

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
DENSE = 1.5  # shuffled row numbers fill their range nearly
LONG_NUMBER = 8  # digits of a number that only names its row


@dataclass(frozen=True)
class Inputs:
    """What is known of the columns before the inputs are chosen: the task, personal data and rounded numbers (column to
    kind, column to count), and the split."""

    task: str
    personal: Mapping[str, str]
    rounded: Mapping[str, int]
    split: Split


@dataclass(frozen=True)
class Chosen:
    """(column, role) of the inputs, (column, reason) of what is left out, and what to say about them."""

    inputs: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[Remark, ...] = ()


def choose_inputs(
    found: Mapping[str, Profile],
    sample: Mapping[str, Sequence[Any]],
    labels: Sequence[str],
    label: str,
    given: Given,
    texts: Sequence[str],
    known: Inputs,
) -> Chosen:
    """The inputs: those asked for, or all that are no ids, no personal data and tell nothing that is known only
    afterwards; ``given.keep`` brings one back."""
    text_task = known.task == "text_classification"

    def role(name: str) -> str:
        return "text" if text_task else "number" if found[name].numeric else "category"

    if given.inputs:
        names = [*given.inputs, *(name for name in given.keep if name not in given.inputs)]
        beside = [(name, "not-asked-for") for name in sample if name not in (*names, label)]
        return Chosen(tuple((name, role(name)) for name in names), tuple(beside))
    reasons: dict[str, str] = {}
    for name, one in found.items():
        if name == label or name in given.keep:
            continue
        reason = _why_no_text(one, texts, known) if text_task else _why_not(one, sample[name], known)
        if reason:
            reasons[name] = reason
    chosen = [name for name in found if name != label and name not in reasons]
    remarks: list[Remark] = []
    told = _leaks(sample, labels, chosen, given, text_task, remarks)
    reasons |= {name: reason for name, reason in told.items() if name not in given.keep}
    if not text_task:
        others = [
            name
            for name, reason in reasons.items()
            if reason in ("constant", "time", "not-a-value", "free-text", "too-many-values")
        ]
        reasons |= dict.fromkeys(filled_afterwards(sample, labels, others), "afterwards")
    inputs = tuple((name, role(name)) for name in chosen if name not in reasons)
    return Chosen(inputs, tuple((name, reasons[name]) for name in found if name in reasons), tuple(remarks))


def _why_no_text(one: Profile, texts: Sequence[str], known: Inputs) -> str:
    if one.name in texts:
        return ""
    return _named(one, known) or (one.identifying and "id") or "not-text"


def _named(one: Profile, known: Inputs) -> str:
    """What a column is whatever the task: the group, the time, spoiled numbers, personal data."""
    if one.name == known.split.group:
        return "group"
    if one.name == known.split.time:
        return "order"
    if one.name in known.rounded:
        return "rounded"
    return "personal" if one.name in known.personal else ""


def _why_not(one: Profile, values: Sequence[Any], known: Inputs) -> str:
    """Why a table's column is left out, or nothing."""
    if one.distinct < 2:
        return "constant"
    if reason := _named(one, known):
        return reason
    if one.identifying or _only_numbers_rows(one, values):
        return "id"
    if one.pattern:
        return "time" if one.pattern == "date" else "not-a-value"
    if one.texty:
        return "free-text"
    if {value.strip().lower() for value, _ in one.top} <= SPLITS:
        return "a-split"
    return "" if one.role in ("number", "category") else "too-many-values"


def _only_numbers_rows(one: Profile, values: Sequence[Any]) -> bool:
    """True for whole numbers, all different, that only name their rows: shuffled row numbers, or long codes of one
    length."""
    if not one.numeric or one.whole_share < 1 or one.distinct_share < 0.99 or one.filled < 50:
        return False
    lengths = {len(str(value).strip().split(".")[0]) for value in values if not is_missing(value)}
    long = len(lengths) == 1 and min(lengths) >= LONG_NUMBER
    dense = one.span < DENSE * one.filled and one.span >= one.distinct - 1
    return long or dense or bool(IDS.search(one.name))


def _leaks(
    sample: Mapping[str, Sequence[Any]],
    labels: Sequence[str],
    chosen: Sequence[str],
    given: Given,
    text_task: bool,
    remarks: list[Remark],
) -> dict[str, str]:
    """Column to reason of what gives the label away; texts of which nothing else is left are only said."""
    asked = [name for name in chosen if name not in given.keep]
    if not text_task:
        found, nearly = leaks(sample, labels, asked)
        for name, gain in nearly.items():
            remarks.append(Remark("nearly-alone", {"name": name, "percent": round(100 * gain)}))
        if found and len(found) == len(chosen):
            remarks.append(Remark("all-tell", {"names": ", ".join(list(found)[:5])}))
            return {}
        for name, one in found.items():
            remarks.append(Remark(one.reason, {"name": name, "percent": round(100 * one.gain)}))
        return {name: one.reason for name, one in found.items()}
    told: dict[str, str] = {}
    missing, _ = leaks(sample, labels, [name for name in asked if any(map(is_missing, sample[name]))])
    for name in asked:
        written = label_in_text(sample[name], labels)
        if name in missing and missing[name].reason == "afterwards":
            told[name] = "afterwards"
        elif written or first_word_tells(sample[name], labels):
            told[name] = "says-the-label"
        else:
            continue
        if len(told) == len(chosen):
            del told[name]
            remarks.append(Remark("label-in-text" if written else "first-word", {"name": name}))
    return told
