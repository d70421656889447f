"""Answers beside what was asked: on the screen, as JSON lines, or in a file that joins with the input by its row numbers."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from mofang.cli.context import Context
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.engine.said import answer_cells, answer_heads, answer_words

if TYPE_CHECKING:
    from mofang.engine.generation.opened import Generator
    from mofang.engine.predictor import Predictor

Write = Callable[[int | str, dict[str, Any]], None]


def ask(context: Context, model: str, predictor: Predictor | Generator, source: str, out: Path | None, as_json: bool) -> None:
    """Put everything that ``source`` holds to the model, a batch at a time."""
    from mofang.core.progress import progress
    from mofang.engine.intake import given_path, placed_from

    is_file = source != "-" and given_path(source) is not None
    batches = placed_from(predictor.signature, source, sys.stdin)
    written = 0
    with _writer(out, list(predictor.labels)) if out else _screen(context, is_file, as_json) as write, \
            progress(say("Answering", "作答中")) as bar:
        for batch in batches:
            for (place, _), answer in zip(batch, predictor.predict([record for _, record in batch]), strict=True):
                write(place, answer)
            written += len(batch)
            if out:
                bar.advance(len(batch))
                bar.note(f"{written:,}")
        if not written:
            raise MofangError("nothing-to-answer", given=say("standard input", "标准输入") if source == "-" else source)
    if out:
        click.echo(say("{n} answers in {path}", "{n} 条回答已写入 {path}", n=written, path=out), err=True)
    if sys.stderr.isatty() and not as_json:
        name = model.partition("@")[0]
        click.echo(say("Next:", "下一步：") + f"\n  mofang show {name}\n  mofang serve {name}", err=True)


@contextmanager
def _screen(context: Context, is_file: bool, as_json: bool) -> Iterator[Write]:
    """One line for each answer; those to a file begin with the row, or the image's name."""
    import orjson

    def write(place: int | str, answer: dict[str, Any]) -> None:
        if as_json:
            click.echo(orjson.dumps({**_placed(place), **answer} if is_file else answer).decode())
            return
        said = answer_words(answer)
        context.console.print(f"{place}  {said}" if is_file else said, markup=False)

    yield write


@contextmanager
def _writer(out: Path, labels: list[str]) -> Iterator[Write]:
    """The file, by its ending; it appears whole at the end, or not at all."""
    import orjson

    beside = out.with_name(f".{out.name}.{os.getpid()}")
    kind = out.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson", ".json"):
        raise MofangError("out-ending", path=str(out))
    try:
        # the mark at the beginning lets spreadsheets see that a CSV file is UTF-8
        with beside.open("w", encoding="utf-8-sig" if kind == ".csv" else "utf-8", newline="") as file:
            if kind == ".csv":
                yield _csv_rows(file, labels)
            else:
                yield lambda place, answer: _line(file, orjson.dumps({**_placed(place), **answer}).decode())
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)


def _csv_rows(file: IO[str], labels: list[str]) -> Write:
    writer = csv.writer(file, lineterminator="\n")
    first = True

    def write(place: int | str, answer: dict[str, Any]) -> None:
        nonlocal first
        if first:
            writer.writerow([*_placed(place), *answer_heads(answer, labels)])
            first = False
        writer.writerow([*_placed(place).values(), *answer_cells(answer, labels)])

    return write


def _line(file: IO[str], text: str) -> None:
    file.write(text + "\n")


def _placed(place: int | str) -> dict[str, int | str]:
    """``{"row": 3}``, or ``{"file": "a.png"}`` for an image."""
    return {"row": place} if isinstance(place, int) else {"file": place}
