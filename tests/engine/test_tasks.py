"""One contract over every task: a new task is covered by adding its graph folder here."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from mofang.core.errors import MofangError
from mofang.data.snapshots.targets import target_of
from mofang.engine.measure import compare_outputs
from mofang.engine.outputs import stacked
from mofang.engine.predictor import Predictor
from mofang.engine.request import request_form
from mofang.engine.task import TASKS, task_named
from tests.engine.test_image import bomb

FOLDERS = {
    "text_classification": "text_graph",
    "image_classification": "image_graph",
    "table_classification": "table_graph",
    "text_regression": "number_graph",
    "text_multilabel": "several_graph",
    "pair_classification": "pair_graph",
    "pair_regression": "likeness_graph",
    "token_classification": "span_graph",
    "question_answering": "answer_graph",
}


ELSEWHERE = {"text_generation": "tests/fit/test_generation.py", "text_embedding": "tests/serve/test_search.py"}


@pytest.fixture(params=sorted(FOLDERS))
def predictor(request: pytest.FixtureRequest) -> Predictor:
    folder: Path = request.getfixturevalue(FOLDERS[request.param])
    return Predictor(folder)


def test_every_task_is_covered() -> None:
    assert {*FOLDERS, *ELSEWHERE} == set(TASKS)


def test_canonical_requests_are_valid_repeatable_and_answered(predictor: Predictor) -> None:
    task, signature = predictor.task, predictor.signature
    records = task.canonical(signature, predictor.encoder, 40, 1)
    assert len(records) == 40
    assert (
        records
        == task.canonical(signature, predictor.encoder, 40, 1)
        != task.canonical(signature, predictor.encoder, 40, 2)
    )
    body = {"records": [request_form(record) for record in records]}
    jsonschema.validate(body, task.request_schema(signature))
    parsed, many = task.parse(signature, body)
    assert parsed == records and many
    for answer in predictor.predict(records):
        jsonschema.validate(answer, task.answer_schema(signature))
        if task.target == "class":
            assert abs(sum(answer["scores"].values()) - 1) < 1e-4
            assert answer["label"] == max(answer["scores"], key=answer["scores"].get)


def test_schemas_are_schemas(predictor: Predictor) -> None:
    for schema in (
        predictor.task.request_schema(predictor.signature),
        predictor.task.answer_schema(predictor.signature),
    ):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_units_and_roles(predictor: Predictor) -> None:
    task = predictor.task
    assert task.unit and {each["role"] for each in predictor.signature["inputs"]} <= task.input_roles
    assert all(
        task.units(record) >= 1 for record in task.canonical(predictor.signature, predictor.encoder, 20, 0)
    )


def test_an_answer_is_the_same_alone_and_among_others(predictor: Predictor) -> None:
    records = predictor.task.canonical(predictor.signature, predictor.encoder, 40, 3)
    together = predictor.outputs(records)
    alone = stacked([predictor.outputs([record]) for record in records])
    assert compare_outputs(together, alone).max_abs_difference < 1e-5


def test_the_headline_hides_no_small_class() -> None:
    task = task_named("text_classification")
    assert task.headline({"a": 100, "b": 95}) == "accuracy"
    assert task.headline({"a": 100, "b": 20}) == "f1_macro"
    assert task.headline({"a": 27, "b": 27, "c": 27, "d": 19}) == "f1_macro", "rarer than a fifth"
    assert task.headline(dict.fromkeys("abcdefghij", 100)) == "accuracy", "a tenth of ten equal classes is not rare"


def test_a_long_text_counts_once_for_each_thousand_characters() -> None:
    task = task_named("text_classification")
    assert [task.units({"text": "好" * n}) for n in (1, 1000, 1001, 100_000)] == [1, 1, 2, 100]


def test_what_a_label_column_holds_is_said_alike_where_it_is_read_and_where_it_is_answered() -> None:
    assert {name: task_named(name).target for name in TASKS} == {name: target_of(name) for name in TASKS}


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(MofangError) as error:
        task_named("text_clasification")
    assert error.value.code == "task-unknown" and error.value.values["nearest"] == "text_classification"
    with pytest.raises(MofangError):
        task_named("../tasks/text_classification")


def test_many_images_that_decode_to_gigabytes_are_refused_by_their_headers(image_graph: Path) -> None:
    task, signature = task_named("image_classification"), Predictor(image_graph).signature
    one = request_form({"image": bomb(5_000)})
    assert task.parse(signature, {"records": [one] * 8})[1]
    with pytest.raises(MofangError) as error:
        task.parse(signature, {"records": [one] * 9})
    assert error.value.code == "images-too-large" and error.value.status == 413
