"""An answer in a few words, and as cells of a table, whatever the task: for screens and spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from mofang.engine.task import Answer

NOTHING = "–"


def answer_words(answer: Answer) -> str:
    """One line: the label and its probability, the number, the spans, the text."""
    if "scores" in answer and "label" in answer:
        return f"{answer['label']}  {answer['scores'][answer['label']]:.3f}"
    if "labels" in answer:
        return ", ".join(map(str, answer["labels"])) or NOTHING
    if "value" in answer:
        return f"{answer['value']:g}"
    if "spans" in answer:
        return "  ".join(f"{one['text']} [{one['label']} {one['score']:.2f}]" for one in answer["spans"]) or NOTHING
    if "text" in answer:
        score = f"  {answer['score']:.3f}" if "score" in answer else ""
        return (str(answer["text"]) or NOTHING) + score
    return orjson.dumps(answer).decode()


def answer_heads(answer: Answer, labels: Sequence[str]) -> list[str]:
    """The heads of the columns that ``answer_cells`` fills."""
    if "scores" in answer and "label" in answer:
        return ["label", *(f"score {label}" for label in labels)]
    return list(answer)


def answer_cells(answer: Answer, labels: Sequence[str]) -> list[Any]:
    """An answer as the cells of one row; lists and objects as JSON."""
    if "scores" in answer and "label" in answer:
        return [answer["label"], *(answer["scores"][label] for label in labels)]
    return [orjson.dumps(value).decode() if isinstance(value, list | dict) else value for value in answer.values()]


def answer_scores(answer: Answer, most: int) -> list[tuple[str, float]]:
    """What an answer says of how sure it is, the surest first: of labels, of spans, or of the text itself."""
    if isinstance(answer.get("scores"), dict):
        found = [(str(name), float(score)) for name, score in answer["scores"].items()]
    elif "spans" in answer:
        found = [(f"{one['text']} [{one['label']}]", float(one["score"])) for one in answer["spans"]]
    else:
        found = [(str(answer["text"]) or NOTHING, float(answer["score"]))] if "score" in answer else []
    return sorted(found, key=lambda one: -one[1])[:most]
