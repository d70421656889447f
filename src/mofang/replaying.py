"""One answer, looked into: the same input on the release that answered it, compared with what was said then, and corrected.

Joins what the floors keep apart: the meter's row (trade), what answered (``repeating.py``), the label queue (data) and the
evidence of a running trial (serve).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from mofang.repeating import Answerer, Reading, answerer
from mofang.trade.kept import kept_of
from mofang.trade.looked import SECRET, Answered, Marks, answered

PROJECT = "corrections-of-{model}"
QUEUED = {"class": "classes", "classes": "several"}  # a model's target: the kind of question in the queue


def replay(shop: Shop, request: str, source: Path | None = None, correct: str | None = None, *,
           ask: bool = False) -> dict[str, Any]:
    """Repeat a request on the very package that answered it; an engine elsewhere is asked again only with ``ask``.

    ``equal`` is None where nothing was repeated or chance had a part in the answer. Raises ``request-unknown``,
    ``request-unmarked`` (answered before digests were written, or broken off), ``input-differs`` where the input is another
    one, ``text-not-kept`` where none was given and the customer's plan keeps none.
    """
    shop.require("money")
    found = answered(shop, request)
    if not found.input:
        raise MofangError("request-unmarked", request=found.request_id)
    then = answerer(shop, found, ask)
    marks = Marks(shop.secret(SECRET))
    records, how = _proved(shop, found, then, marks, source)
    answers, chance = then.repeat(records, how)
    equal = marks.of_answers(answers) == found.said if found.said and answers is not None else None
    told: dict[str, Any] = {
        "request_id": found.request_id, "model": found.model, "package": found.package, "at_us": found.at_us,
        "input": "same", "answers": answers or [], "repeated": answers is not None, "chance": chance,
        "equal": None if chance and not equal else equal, "queued": None}
    if correct is not None:
        told["queued"] = _queue(shop, found, then.predictor, records, answers or [], correct)
    return told


def _proved(shop: Shop, found: Answered, then: Answerer, marks: Marks, source: Path | None) -> Reading:
    """The records of then, proved by their digest, and how they were asked."""
    if source is None:
        kept = kept_of(shop, found.request_id)
        if kept is None:
            raise MofangError("text-not-kept", request=found.request_id)
        readings = iter([then.kept(kept["records"])])
    else:
        try:
            readings = then.readings(source.read_bytes())
        except OSError as error:
            raise MofangError("input-unreadable", path=str(source), reason=error.strerror or str(error)) from None
    for records, how in readings:
        if marks.of_records(records) == found.input:
            return records, how
    raise MofangError("input-differs", request=found.request_id, path=str(source or "-"))


def _queue(shop: Shop, found: Answered, predictor: Any, records: list[dict[str, Any]], answers: list[dict[str, Any]],
           correct: str) -> dict[str, Any]:
    """Put the record with its right answer into the label queue, and count the answer in a running trial."""
    from mofang.data.collect import collect
    from mofang.data.labelling.content import Contents
    from mofang.data.labelling.desk import label_add, label_adjudicate, label_new
    from mofang.engine.request import request_form
    from mofang.serve.deploy import deploy_judged

    kind = QUEUED.get(predictor.task.target) if predictor is not None else None
    if kind is None or len(records) != 1 or any(one["role"] == "image" for one in predictor.signature["inputs"]):
        raise MofangError("correction-not-queued", model=found.model)
    if correct not in predictor.labels:
        raise MofangError("correction-label", label=correct, labels=", ".join(predictor.labels),
                          nearest=nearest(correct, predictor.labels))
    base = found.model.partition("@")[0]
    project = PROJECT.format(model=base)
    with tempfile.TemporaryDirectory(dir=_scratch(shop), prefix="correct-") as folder:
        file = Path(folder) / "request.jsonl"
        file.write_text(json.dumps(request_form(records[0]), ensure_ascii=False) + "\n", encoding="utf-8")
        texts = tuple(one["name"] for one in predictor.signature["inputs"] if one["role"] == "text")
        made = shop.run(collect, source=str(file), licence="customer", origin=f"request {found.request_id}", text=texts)
    if not any(row[0] == project for row in _projects(shop)):
        shop.act(label_new, name=project, kind=kind, classes=tuple(predictor.labels), column=texts[0] if texts else "")
    added = shop.act(label_add, project=project, records=made.entry)
    task = added.first if added.tasks else int(Contents(shop, added.project).numbers(_ids(made))[0])
    answer = {"label": correct} if kind == "classes" else {"labels": [correct]}
    shop.act(label_adjudicate, project=project, task=task, answer=answer)
    right = answers[0].get("label") == correct or answers[0].get("labels") == [correct]
    shop.act(deploy_judged, request=found.request_id, release=found.model, right=right)
    return {"project": project, "task": task, "label": correct, "right": right}


def _projects(shop: Shop) -> list[tuple[Any, ...]]:
    from mofang.core.tables import tables_of

    return shop.control.rows("select name from label_project") if "label_project" in tables_of(shop.control) else []


def _ids(records: Any) -> list[str]:
    from mofang.data.records import RecordReader

    return [id for batch in RecordReader(records).batches(media=False, columns=[]) for id in batch.column("id")]


def _scratch(shop: Shop) -> Path:
    folder = shop.path / "scratch"
    folder.mkdir(exist_ok=True)
    return folder
