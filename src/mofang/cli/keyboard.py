"""Labelling by keyboard in a terminal: one key is one answer. Where there is no terminal, nothing waits."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from mofang.cli.context import Context
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.data.labelling import queue
from mofang.data.labelling.looking import next_tasks, told

BY_KEYS = ("classes", "several", "ratings", "pairs", "text")
ENDS = ("q", "\x03", "\x04", "")


@dataclass
class _Session:
    """What was answered since the beginning, for undo."""

    context: Context
    name: str
    answered: int = 0
    undo: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def _single_keys(on: bool) -> Iterator[None]:
    """Each key by itself, or whole lines for a while. What is typed ahead is kept, so fast fingers lose nothing."""
    try:
        import termios
        import tty
    except ModuleNotFoundError:  # Windows: click reads single keys by itself
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    changed = termios.tcgetattr(sys.stdin)
    flags = termios.ICANON | termios.ECHO
    changed[tty.LFLAG] = changed[tty.LFLAG] & ~flags if on else changed[tty.LFLAG] | flags
    termios.tcsetattr(sys.stdin, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _key() -> str:
    """One key; keys that send several signs, such as arrows, count as none."""
    if os.name == "nt":
        return click.getchar()
    place = sys.stdin.fileno()
    first = os.read(place, 1)
    if first == b"\x1b" or first >= b"\x80":
        while select.select([place], [], [], 0.01)[0] and os.read(place, 16):
            pass
        return "?"
    return first.decode("ascii")


def _ask(en: str, zh: str) -> str:
    with _single_keys(False):
        found: str = click.prompt(say(en, zh), default="", show_default=False)
    return found


def work(context: Context, name: str) -> None:
    """Ask task after task until nothing is left or the person quits. Raises ``label-terminal`` without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MofangError("label-terminal")
    shop = context.shop
    facts = told(shop, name)
    if facts["kind"] not in BY_KEYS:
        raise MofangError("label-work-kind", kind=facts["kind"])
    if facts["guidelines_text"]:
        click.echo(facts["guidelines_text"].rstrip() + "\n")
    session = _Session(context, name)
    try:
        with _single_keys(True):
            _ask_all(session, facts)
    finally:
        shop.act(queue.label_back, project=name)
    context.say("{count} answered", "本次作答 {count} 条", count=session.answered)
    context.next(f"mofang label show {name}")


def _ask_all(session: _Session, facts: dict[str, Any]) -> None:
    """Task after task."""
    shop, again, stop = session.context.shop, None, False
    while not stop:
        task = again or next(iter(next_tasks(shop, shop.actor, session.name)["tasks"]), None)
        if task is None:
            session.context.say("Nothing is left for you here.", "这里没有更多任务了。")
            return
        again, stop = _one(session, task, facts)


def _show(task: dict[str, Any], facts: dict[str, Any]) -> None:
    click.echo(click.style(f"\n[{task['task']}]", dim=True))
    for column, value in task["values"].items():
        lead = f"{column}: " if len(task["values"]) > 1 else ""
        click.echo(f"{lead}{_plain(str(value))}")
    keys = dict(facts["keys"])
    proposed = task.get("proposal")
    if proposed:
        score = f" {proposed['score']:.2f}" if proposed["score"] is not None else ""
        click.echo(
            click.style(
                say(
                    "proposed: {answer}{score}  (Enter takes it)",
                    "预标：{answer}{score}（回车采纳）",
                    answer=proposed["shown"],
                    score=score,
                ),
                fg="yellow",
            )
        )
    line = "  ".join(f"{key} {choice}" for key, choice in keys.items())
    click.echo(click.style(f"{line}  |  " + say("s skip  u undo  c remark  q quit", "s 跳过  u 撤销  c 备注  q 退出"), fg="cyan"))


def _plain(text: str) -> str:
    """A record's text without the signs that command a terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else "�" for one in text)


def _one(session: _Session, task: dict[str, Any], facts: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """Ask one task until it is answered or left; a task to ask again, and whether to stop."""
    shop, name = session.context.shop, session.name
    _show(task, facts)
    began = time.monotonic()
    chosen: list[str] = []
    while True:
        if facts["kind"] == "text":
            typed = _ask("answer (empty: skip)", "回答（留空跳过）")
            if typed:
                return _said(session, task, {"text": typed}, began)
            key = "s"
        else:
            key = _key()
        if key in ENDS:
            return None, True
        if key == "s":
            shop.act(queue.label_skip, project=name, task=task["task"])
            return None, False
        if key == "u" and session.undo:
            return session.undo.pop(), False
        if key == "c":
            text = _ask("remark", "备注")
            if text:
                shop.act(queue.label_comment, project=name, task=task["task"], text=text)
        elif key in facts["keys"] and facts["kind"] == "several":
            one = facts["keys"][key]
            chosen = [other for other in chosen if other != one] if one in chosen else [*chosen, one]
            click.echo("  " + ", ".join(chosen))
        elif key in ("\r", "\n", "x") and facts["kind"] == "several" and (chosen or key == "x" or not task.get("proposal")):
            return _said(session, task, {"labels": chosen}, began)
        elif key in ("\r", "\n") and task.get("proposal"):
            return _said(session, task, task["proposal"]["answer"], began)
        elif key in facts["keys"]:
            return _said(session, task, facts["answers_by_key"][key], began)


def _said(session: _Session, task: dict[str, Any], answer: dict[str, Any], began: float) -> tuple[None, bool]:
    """Write an answer down; go on to the next task."""
    ms = min(86_400_000, int((time.monotonic() - began) * 1000))
    session.context.shop.act(queue.label_answer, project=session.name, task=task["task"], answer=answer, ms=ms)
    session.answered += 1
    session.undo.append(task)
    click.echo(click.style("  → " + "|".join(str(one) for one in answer.values()), fg="green"))
    return None, False
