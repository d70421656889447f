"""One answer, looked into: the same input on the very release that answered, and what people say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context, LentFile, pass_context
from mofang.core.language import say


@click.command()
@click.argument("request")
@click.option("--input", "source", type=LentFile(), help="The file that was sent: the request's JSON, or its plain text.")
@click.option("--correct", help="What the right answer is; it goes to the label queue and counts in canaries and A/B tests.")
@click.option("--ask", is_flag=True, help="Of an engine elsewhere: ask it again too, at the price that it takes of you.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def replay(context: Context, request: str, source: Path | None, correct: str | None, ask: bool, as_json: bool) -> None:
    """Repeat the answer to a REQUEST on the release that gave it, and say whether it is the same.

    The input is proved to be the one of then by its keyed digest. Without --input, what the customer's plan kept is used.
    """
    from mofang.replaying import replay as again

    found = again(context.shop, request, source, correct, ask=ask)
    if as_json:
        import orjson

        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())
        return
    _show(context, found)


def _show(context: Context, found: dict[str, Any]) -> None:
    from mofang.engine.said import answer_words

    context.say("request {request}, answered by {model} ({package})", "请求 {request}，由 {model} 应答（{package}）",
                request=found["request_id"], model=found["model"], package=found["package"])
    context.say("  input   the same as then (its keyed digest is equal)", "  输入    与当时相同（带密钥摘要一致）")
    for answer in found["answers"]:
        context.say("  answer  {words}", "  应答    {words}", words=_vector(answer) or answer_words(answer))
    if not found["repeated"]:
        context.say("  -       an engine elsewhere answered; it is not asked again without --ask, because that costs",
                    "  -       由其他引擎应答；再次询问会产生费用，需要加 --ask")
    elif found["equal"]:
        context.say("  equal   this is what was answered then", "  一致    与当时的应答相同")
    elif found["equal"] is None and found["chance"]:
        context.say("  ?       chance had a part in the answer of then, so that another one proves nothing",
                    "  ?       当时的应答含随机成分，内容不同不能说明问题")
    elif found["equal"] is None:
        context.say("  ?       what was answered then was not marked", "  ?       当时的应答没有留下摘要")
    else:
        context.say("  DIFFERS from what was answered then", "  不同    与当时的应答不同")
    queued = found["queued"]
    if queued:
        context.say("  label   {label} is in the project {project} ({state})", "  标注    {label} 已进入项目 {project}（{state}）",
                    label=queued["label"], project=queued["project"],
                    state=say("the model was right", "模型答对了") if queued["right"] else say("the model was wrong", "模型答错了"))
        context.next(f"mofang label show {queued['project']}", "mofang deploy status")
    else:
        context.next(f"mofang trace {found['request_id']}")


def _vector(answer: dict[str, Any]) -> str:
    """Of a vector its length: nobody reads the numbers."""
    return say("a vector of {n} numbers", "{n} 维向量", n=len(answer["embedding"])) if "embedding" in answer else ""
