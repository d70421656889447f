"""Ask a generator: its answers to records of prompts, or to one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run, used
from mofang.core.stage import stage
from mofang.data.records import RecordReader, Records
from mofang.fit.train import Model

if TYPE_CHECKING:
    from mofang.fit.generation.writer import Manner, Written

BATCH_ROWS = 256


@holds_personal_data
class Generated(Artifact):
    """What a generator wrote: answers.parquet (id, text, finish, tokens, cut) and about.json."""

    kind = "generated"


@stage(version=1)
def generate(
    run: Run,
    model: Model,
    prompts: Records,
    *,
    prompt: str = "",
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 128,
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0,
    top_k: Annotated[int, Field(ge=0)] = 0,
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0,
    stop: tuple[str, ...] = (),
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> Generated:
    """Write an answer to every record: greedily (``temperature`` 0), or by chance among the likeliest words.

    The prompt stands in the column ``prompt`` (left out: the column that the model was trained with), as words or as a
    conversation in JSON. A prompt longer than the model's context loses its beginning; how much is said beside its answer.
    The same seed gives the same answers.
    """
    from mofang.fit.generation.opened import open_generator
    from mofang.fit.generation.renewed import read_rows
    from mofang.fit.generation.writer import Manner, kept
    from mofang.fit.planning.writing import Answers, foresee_writing

    began_s = used()[0]
    opened = open_generator(model)
    column = opened.encoder.columns[0]
    rows = [{column: row[prompt or column]} for row in read_rows(prompts, (prompt or column,))]
    ids = [one for batch in RecordReader(prompts).batches(media=False, columns=[]) for one in batch.column("id")]
    manner = Manner(max_tokens, temperature, top_k, top_p, tuple(stop), seed)
    most, asked = kept(manner, opened.context), [len(one) for one in opened.prompts(rows)]
    told = Answers(len(rows), sum(min(one, most) for one in asked) / max(1, len(rows)),
                   min(max_tokens, opened.context - 1), temperature > 0)
    run.measure(**foresee_writing(run, opened.about["architecture"]["config"], told, used()[0] - began_s))
    with run.progress("Writing", "生成中", total=len(rows)) as bar:
        answers = opened.answer(rows, manner, bar.advance)
    cut = [max(0, one - most) for one in asked]
    table = {
        "id": ids,
        "text": [one.text for one in answers],
        "finish": [one.finish for one in answers],
        "tokens": [len(one.ids) for one in answers],
        "cut": cut,
    }
    with run.part("answers.parquet") as path:
        pq.write_table(pa.table(table), path, compression="zstd")
    shortened = sum(one > 0 for one in cut)
    run.write_json("about.json", {"format": 1, "rows": len(answers), "cut": shortened, "model": model.digest})
    run.measure(rows=len(answers), tokens=sum(table["tokens"]), cut=shortened)
    return run.result(Generated)


class Writer:
    """A generator to talk to from Python: ``Writer(model).answer("…")``, or with a list of messages."""

    def __init__(self, model: Artifact) -> None:
        from mofang.fit.generation.opened import open_generator

        self.opened = open_generator(model)

    def answer(self, prompt: str | list[dict[str, str]], **manner: Any) -> Written:
        """What the model writes after a prompt or a conversation; settings as those of ``generate``."""
        from mofang.fit.generation.writer import Manner

        return self.write(prompt, Manner(**manner))

    def write(self, prompt: str | list[dict[str, str]], manner: Manner) -> Written:
        """The same with a manner.

        Raises ``text-empty`` for a prompt without words, ``role-unknown`` for a message of nobody.
        """
        from mofang.engine.task import task_named

        about = self.opened.about
        signature: Any = {name: about[name] for name in ("task", "inputs", "labels")}
        body = {"messages": prompt} if isinstance(prompt, list) else {"prompt": prompt}
        records, _ = task_named(about["task"]).parse(signature, body)
        return self.opened.answer(records, manner)[0]

    def cut(self, prompt: str | list[dict[str, str]], manner: Manner) -> int:
        """How many tokens of a prompt's beginning do not fit before an answer of this length."""
        import json

        from mofang.fit.generation.writer import kept

        text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
        ids = self.opened.prompts([{self.opened.encoder.columns[0]: text}])[0]
        return max(0, len(ids) - kept(manner, self.opened.context))
