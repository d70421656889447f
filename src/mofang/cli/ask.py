"""Ask: a generator for words, an index for texts."""

from __future__ import annotations

import sys

import click

from mofang.cli.context import Context, pass_context
from mofang.core.errors import MofangError
from mofang.core.language import say

SHOWN_CHARACTERS = 160


@click.command()
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--max-tokens", type=click.IntRange(1, 100_000), default=128, show_default=True, help="How long an answer may be.")
@click.option("--temperature", type=click.FloatRange(0, 10), default=0.0, show_default=True,
              help="0 always takes the likeliest word.")
@click.option("--top-k", type=click.IntRange(0), default=0, show_default=True, help="Choose among so many words only (0: all).")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Choose among the likeliest words that hold this much of the probability.")
@click.option("--stop", multiple=True, help="End where this text would come (repeat for several).")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="The same seed, the same answer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def generate(context: Context, /, model: str, prompt: str | None, max_tokens: int, temperature: float, top_k: int, top_p: float,
             stop: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Ask a generator: PROMPT is words, a conversation as JSON, or - for standard input.

    MODEL is what `train`, `prefer` or `reinforce` made. For many prompts at once, `mofang stage generate MODEL RECORDS`.
    """
    from mofang.fit.generate import Writer
    from mofang.fit.generation.writer import Manner

    words = prompt if prompt not in (None, "-") else sys.stdin.read() if prompt == "-" or not sys.stdin.isatty() else ""
    if not words:
        raise MofangError("input-missing", model=model)
    manner = Manner(max_tokens, temperature, top_k, top_p, stop, seed)
    writer = Writer(context.shop.find(model, "model"))
    found, cut = writer.write(words, manner), writer.cut(words, manner)
    if as_json:
        import orjson

        click.echo(orjson.dumps({"text": found.text, "finish": found.finish, "tokens": len(found.ids), "cut": cut}).decode())
        return
    if cut:
        click.echo(say("The first {n} tokens of the prompt did not fit and were left out.", "提示开头的 {n} 个词元放不下，已略去。",
                       n=cut), err=True)
    click.echo(found.text)


@click.command()
@click.argument("name")
@click.argument("words")
@click.option("--top", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many texts to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@pass_context
def search(context: Context, name: str, words: str, top: int, as_json: bool) -> None:
    """Search an index: the texts that mean most nearly what WORDS say, with scores from -1 to 1."""
    from mofang.serve.search import Searcher

    hits = Searcher(context.shop.find(name, "index")).search(words, top)
    if as_json:
        import orjson

        for hit in hits:
            click.echo(orjson.dumps(hit).decode())
        return
    rows = [{"score": f"{hit.score:.3f}", "text": " ".join(hit.text.split())[:SHOWN_CHARACTERS]} for hit in hits]
    context.table(rows, {"score": say("score", "得分"), "text": say("text", "文本")})
