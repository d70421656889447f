"""Rows that are for more than one class of one record: spans, answers, pairs, several labels, numbers of texts, generation.

Only what the values themselves prove is said, and where they prove two things, nothing: then the usual look goes on, which ends
unsure with its candidates, and ``--task`` decides. Confidently wrong is worse than unsure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from mofang.data.columns import Profile, is_missing, text_of
from mofang.data.firstlook.finding import Given
from mofang.data.firstlook.labels import name_score, strong
from mofang.data.snapshots.targets import QUESTIONS, reading, target_of

PROVEN = 0.95       # the share of values that must be what a task needs
ROWS_LEAST = 10
LABELS_MOST = 200
SEVERAL_LEAST = 0.05     # of the rows must name more than one label
CONTEXTS = re.compile(r"^(context|passage|paragraph|document|article|material|上下文|原文|段落|文章|材料)", re.I)
PROMPTS = re.compile(r"^(prompt|instruction|query|question|input|user|问题|提问|指令|输入)s?$", re.I)
COMPLETIONS = re.compile(r"^(completion|response|answer|output|reply|assistant|chosen|回答|答案|回复|输出)s?$", re.I)
TALKS = re.compile(r"^(messages|conversations?|dialogue|chat|对话|消息)$", re.I)
TWINS = tuple(re.compile(one, re.I) for one in (
    r"^(.*?)[_ ]?(?:a|b)$", r"^(.*?)[_ ]?(?:1|2)$", r"^(.*?)[_ ]?(?:一|二)$"))
COUPLES = ({"premise", "hypothesis"}, {"first", "second"}, {"query", "passage"}, {"query", "document"}, {"anchor", "positive"},
           {"前提", "假设"}, {"左", "右"})
TASKS = ("token_classification", "question_answering", "pair_classification", "pair_regression", "text_multilabel",
         "text_regression", "text_generation")


Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Aim:
    """What the rows are for: task, label column, inputs in order, and how often each label is named (empty: none are)."""

    task: str
    label: str
    inputs: tuple[str, ...]
    named: Counter[str] = field(default_factory=Counter)


def aim_of(columns: Columns, found: Mapping[str, Profile], texts: Sequence[str], given: Given) -> Aim | None:
    """The one aim that the values prove, or None. ``columns`` may hold lists and objects; ``texts`` are the columns of free
    text."""
    if given.task and given.task not in TASKS:
        return None
    wanted = (given.task,) if given.task else TASKS
    proofs: dict[str, Callable[[], Aim | None]] = {
        "token_classification": lambda: _spans(columns, texts, given), "question_answering": lambda: _answers(columns, given),
        "text_generation": lambda: _written(columns, found, given),
        "pair_classification": lambda: _pair(columns, found, given, False),
        "pair_regression": lambda: _pair(columns, found, given, True),
        "text_multilabel": lambda: _several(columns, texts, given),
        "text_regression": lambda: _number(columns, found, texts, given),
    }
    proven = [aim for task in wanted if (aim := proofs[task]()) is not None]
    if len(proven) > 1 and proven[0].task in ("token_classification", "question_answering"):
        return proven[0]      # places that hold in their texts come by no accident
    return proven[0] if len(proven) == 1 else None


def _spans(columns: Columns, texts: Sequence[str], given: Given) -> Aim | None:
    spans = [name for name, values in columns.items() if _share(values, _is_list_of("start", "end")) >= PROVEN]
    labels = [given.label] if given.label else spans
    for label in labels:
        for text in given.inputs or [name for name in columns if name != label and _is_words(columns[name])]:
            read = reading(target_of("token_classification"), (text,))
            cells = [read(written(value), {text: words}) for value, words in zip(columns[label], columns[text], strict=True)
                     if not is_missing(value)]
            good = [one for one in cells if not one.reason]
            if len(cells) >= ROWS_LEAST and len(good) >= PROVEN * len(cells):
                named = Counter(one["label"] for cell in good for one in orjson.loads(cell.written or "[]"))
                return Aim("token_classification", label, (text,), named) if named else None
    return None


def _answers(columns: Columns, given: Given) -> Aim | None:
    asks = [name for name in given.inputs or columns if name.strip().lower() in QUESTIONS]
    reads = [name for name in given.inputs or columns if CONTEXTS.match(name)]
    labels = [given.label] if given.label else [name for name in columns if name not in asks + reads and COMPLETIONS.match(name)]
    if len(asks) != 1 or len(reads) != 1 or len(labels) != 1:
        return None
    question, context, label = asks[0], reads[0], labels[0]
    read = reading(target_of("question_answering"), (context, question))
    rows = zip(columns[label], columns[context], columns[question], strict=True)
    cells = [read("" if is_missing(value) else written(value), {context: text, question: asked}) for value, text, asked in rows]
    good = sum(not one.reason for one in cells)
    answered = sum(bool(one.written) and '"text":""' not in (one.written or "") for one in cells if not one.reason)
    if len(cells) < ROWS_LEAST or good < PROVEN * len(cells) or answered < len(cells) / 4:
        return None
    return Aim("question_answering", label, (context, question))


def _written(columns: Columns, found: Mapping[str, Profile], given: Given) -> Aim | None:
    talks = [name for name in columns if TALKS.match(name) and _share(columns[name], _is_list_of("role", "content")) >= PROVEN]
    if len(talks) == 1 and given.label in ("", talks[0]):
        return Aim("text_generation", talks[0], (talks[0],))
    prompts = [name for name in given.inputs or columns if PROMPTS.match(name) and _is_words(columns[name])]
    answers = [given.label] if given.label else [name for name in columns if COMPLETIONS.match(name) and name in found]
    if len(prompts) != 1 or len(answers) != 1 or any(CONTEXTS.match(name) for name in columns):
        return None
    one = found.get(answers[0])
    if one is None or one.numeric or one.filled < ROWS_LEAST or (not given.task and one.distinct_share < 0.5):
        return None      # few different answers are classes
    return Aim("text_generation", answers[0], (prompts[0],))


def _pair(columns: Columns, found: Mapping[str, Profile], given: Given, number: bool) -> Aim | None:
    inputs = given.inputs if len(given.inputs) == 2 else _twins([name for name in found if _is_words(columns[name])])
    if len(inputs) != 2:
        return None
    labels = [given.label] if given.label else [name for name in found if name not in inputs and name_score(name, True) >= 2.0]
    one = found.get(labels[0]) if len(labels) == 1 else None
    if one is None or one.filled < ROWS_LEAST or one.distinct < 2:
        return None
    measured = one.numeric and (one.whole_share < 1 or one.distinct > 10)
    if number:
        return Aim("pair_regression", one.name, tuple(inputs)) if one.numeric and (measured or given.task) else None
    if measured or one.texty or one.distinct > min(50, one.filled // 4):
        return None
    return Aim("pair_classification", one.name, tuple(inputs), _counted(columns[one.name]))


def _twins(names: Sequence[str]) -> tuple[str, ...]:
    """Two columns whose names say that they stand beside each other: ``sentence1`` and ``sentence2``, premise and hypothesis."""
    plain = {name.strip().lower(): name for name in names}
    for couple in COUPLES:
        if couple <= plain.keys():
            return tuple(plain[one] for one in plain if one in couple)
    for pattern in TWINS:
        stems = [(name, match[1].lower()) for name in names if (match := pattern.match(name.strip()))]
        if len(stems) == 2 and stems[0][1] == stems[1][1]:
            return stems[0][0], stems[1][0]
    return ()


def _several(columns: Columns, texts: Sequence[str], given: Given) -> Aim | None:
    """Labels with bars between them, or lists of labels: each of few, and many of them met more than once."""
    usual = [one for one in columns if one not in given.inputs and not CONTEXTS.match(one)]
    for name in [given.label] if given.label else usual:
        inputs = given.inputs or tuple(one for one in texts if one != name)
        values = [value for value in columns[name] if not is_missing(value)]
        parts = [_parts(value) for value in values]
        several = sum(len(one) > 1 for one in parts if one)
        few = several < SEVERAL_LEAST * len(values) and not given.task
        if few or len(values) < ROWS_LEAST or not inputs or any(one is None for one in parts):
            continue
        counts = Counter(one for row in parts for one in dict.fromkeys(row or ()))
        if 2 <= len(counts) <= min(LABELS_MOST, len(values) // 4) and max(map(len, counts)) <= 40:
            return Aim("text_multilabel", name, tuple(inputs), counts)
    return None


def _parts(value: Any) -> list[str] | None:
    """The labels of one cell; None where it is no list of labels."""
    if isinstance(value, str) and not value.startswith("["):
        return [one.strip() for one in value.split("|") if one.strip()]
    listed = orjson.loads(value) if isinstance(value, str) and _is_json(value) else value
    if isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        return [one.strip() for one in listed if one.strip()]
    return None


def _number(columns: Columns, found: Mapping[str, Profile], texts: Sequence[str], given: Given) -> Aim | None:
    """One column of fractions or of very many numbers whose name says label or score, beside texts."""
    inputs = given.inputs or tuple(name for name in texts if name != given.label)
    names = [given.label] if given.label else [name for name in found if name not in inputs and name_score(name, True) >= 2.0]
    numbers = [found[name] for name in names if name in found and found[name].numeric and found[name].filled >= ROWS_LEAST]
    measured = [one for one in numbers if given.task or one.whole_share < 0.9 and one.distinct > 10 or one.distinct > 100]
    others = [name for name in names if name in found and not found[name].numeric and strong(name)]
    if len(measured) != 1 or others or not inputs:
        return None
    return Aim("text_regression", measured[0].name, tuple(inputs))


def _is_words(values: Sequence[Any]) -> bool:
    """Whether a column holds words: texts that are no numbers and not empty."""
    some = [value for value in values[:200] if not is_missing(value)]
    words = sum(isinstance(value, str) and any(sign.isalpha() for sign in value) and not _is_json(value) for value in some)
    return len(some) >= min(ROWS_LEAST, len(values)) and words >= 0.9 * len(some)


def _is_list_of(*keys: str) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        listed = orjson.loads(value) if isinstance(value, str) and _is_json(value) else value
        return isinstance(listed, list) and all(isinstance(one, dict) and set(keys) <= one.keys() for one in listed)
    return holds


def _share(values: Sequence[Any], holds: Callable[[Any], bool]) -> float:
    """The share of the values that are not missing of which this holds, 0 where there are too few."""
    some = [value for value in values[:2000] if not is_missing(value)]
    return sum(map(holds, some)) / len(some) if len(some) >= ROWS_LEAST else 0.0


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def written(value: Any) -> Any:
    """A value as collecting will write it: lists and objects as JSON."""
    return orjson.dumps(value).decode() if isinstance(value, list | dict) else value


def _counted(values: Sequence[Any]) -> Counter[str]:
    return Counter(str(text_of(value)).strip() for value in values if not is_missing(value))
