"""More: demo, matrix, doctor, explain."""

from __future__ import annotations

from pathlib import Path

import click

from mofang.cli.context import Context, listing, pass_context
from mofang.core.errors import MofangError
from mofang.core.language import current_language, say


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-shop"), show_default=True,
              help="Where the demo keeps its shop.")
@click.option("--budget", default="100s", show_default=True, help="Time for the search of the best model.")
@pass_context
def demo(context: Context, folder: Path, budget: str) -> None:
    """A model's whole life on real Chinese reviews: from two text files to a paid answer and a traced invoice."""
    from mofang.demo import run_demo

    run_demo(folder, budget, context.console)


@click.command()
@listing
@pass_context
def matrix(context: Context, as_json: bool, as_csv: bool) -> None:
    """Every verb by every task: what works, and why the rest does not yet. Read from the code itself."""
    from mofang.matrix import matrix_rows

    rows, tasks = matrix_rows()
    context.table(rows, {"verb": say("verb", "功能"), **{task: task.replace("_", " ") for task in tasks}},
                  as_json=as_json, as_csv=as_csv)


@click.command()
@listing
@pass_context
def doctor(context: Context, as_json: bool, as_csv: bool) -> None:
    """Say in words what this machine lacks for what."""
    from mofang.doctor import check

    rows = [{"ok": "✓" if one.ok else "✗", "name": one.name, "words": one.words, "fix": "" if one.ok else one.fix}
            for one in check()]
    context.table(rows, {"ok": "", "name": say("what", "项目"), "words": say("found", "情况"), "fix": say("what to do", "怎么办")},
                  as_json=as_json, as_csv=as_csv)


@click.command()
@click.argument("word", required=False)
@pass_context
def explain(context: Context, word: str | None) -> None:
    """Explain a word of the screen or of the workshop; without a WORD, list them."""
    from mofang.glossary import WORDS, find_word

    if word is None:
        for one in WORDS:
            context.console.print(f"{one.en:<12}{one.zh}", markup=False)
        return
    found = find_word(word)
    if found is None:
        from mofang.core.nearest import nearest

        raise MofangError("word-unknown", word=word, nearest=nearest(word, [one.en for one in WORDS]))
    context.console.print(f"{found.en} {found.zh}", markup=False, style="bold")
    context.console.print(found.meaning_zh if current_language() == "zh" else found.meaning_en, markup=False)
