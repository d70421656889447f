"""``mofang new``: a first look at records that nobody prepared, and a recipe of about thirty readable
lines."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.language import current_language, say
from mofang.data.finding import Finding, Remark
from mofang.data.languages import NAMES
from mofang.data.sniff import sniff
from mofang.data.sources import PACKAGE

LINE = 110
CLASSES_SHOWN = 8
INPUTS_SHOWN = 20
LEFT_OUT_SHOWN = 10
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Made:
    """What ``mofang new`` found and the recipe it wrote."""

    finding: Finding
    recipe: Path
    licence: str

    def to_dict(self) -> dict[str, Any]:
        """The finding and the recipe's path as JSON."""
        return {**self.finding.to_dict(), "recipe": str(self.recipe), "licence": self.licence}

    def lines(self) -> list[str]:
        """What was found, in words."""
        return [
            *describe(self.finding),
            *([_licence_line()] if self.licence == UNKNOWN else []),
            say(
                "Wrote {recipe}: each guess is one line of it, yours to edit.",
                "已写出 {recipe}：每个判断占一行，可随意修改。",
                recipe=self.recipe,
            ),
        ]


def write_recipe(
    path: str,
    *,
    out: str | None = None,
    name: str = "",
    task: str = "",
    label: str = "",
    inputs: str = "",
    encoding: str = "",
    delimiter: str = "",
    licence: str = "",
    origin: str = "",
) -> Made:
    """Look at a source and write its recipe; nothing is ever overwritten.

    On a terminal the licence and the origin are asked for; elsewhere the licence becomes ``unknown``.
    """
    wanted = tuple(piece.strip() for piece in inputs.split(",") if piece.strip())
    finding = sniff(
        path,
        name=name,
        task=task,
        label=label,
        inputs=wanted,
        encoding=encoding,
        delimiter=delimiter.replace("\\t", "\t"),
    )
    place = Path(out) if out else Path(f"{finding.name}.py")
    if place.exists():
        raise MofangError("recipe-exists", path=str(place))
    licence, origin = _ask(licence, origin)
    text = recipe_text(finding, place, licence, origin)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise MofangError("recipe-exists", path=str(place)) from None
    return Made(finding, place, licence)


def _ask(licence: str, origin: str) -> tuple[str, str]:
    """What was not given by flag is asked for, where somebody can answer."""
    if not licence and sys.stdin.isatty() and sys.stdout.isatty():
        import click

        licence = click.prompt(
            say(
                "Licence or terms of these records (own, CC-BY-4.0, …)",
                "这批数据的许可或条款（own 表示自有，或 CC-BY-4.0 等）",
            ),
            default=UNKNOWN,
        )
        origin = origin or click.prompt(
            say("Where do they come from?", "数据来自哪里？"), default="", show_default=False
        )
    return licence.strip() or UNKNOWN, origin.strip()


def _licence_line() -> str:
    return say(
        "The licence of the records is not stated; state it before you sell (--licence).",
        "还没有写明数据的许可；出售之前请补上（--licence）。",
    )


# The recipe


def recipe_text(finding: Finding, place: Path, licence: str, origin: str) -> str:
    """The recipe as Python: what was guessed stands one to a line, with a comment."""
    today = datetime.now(UTC).date().isoformat()
    task = finding.task.replace("_", " ")
    source = source_for(finding.source, place)
    collect = "\n".join(f"        {line}" for line in _collect_lines(finding, source, licence, origin))
    roles = tuple(name for name, _ in finding.inputs)
    shown = literal(roles) if len(literal(roles)) < 70 else "()"
    every = "" if shown != "()" else _comment("() means all input columns", "() 表示全部输入列")
    split = say("splits stay the same when records are added", "新增记录不会改变原有划分")
    choose = say("cheap to dear within the budget", "在预算内由廉到贵")
    shown_source = _plain(Path(finding.source).name)[:24]
    yours = say("Yours to edit.", "可随意修改。")
    return f'''"""{finding.name}: {task}, made by `mofang new {shown_source}` on {today}. {yours}"""

from mofang.recipe import Budget, Shop, baseline, clean, collect, evaluate, export, package, select, snapshot

NAME = {literal(finding.name)}


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
{collect}
    )
    cleaned = shop.run(clean, records{_clean_settings(finding)})
    data = shop.run(  # {split}
        snapshot, cleaned / "kept",
        task={literal(finding.task)},
        label={literal(finding.label)},
        inputs={shown},{every}
    )
    model = shop.run(select, data, budget_s=budget.seconds)  # {choose}
    graph = shop.run(export, model)
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
'''


def source_for(source: str, place: Path) -> str:
    """The source as the recipe names it: relative to the recipe's own folder where it lies below."""
    if source.startswith(PACKAGE):
        return source
    absolute = Path(os.path.abspath(Path(source).expanduser()))
    folder = Path(os.path.abspath(place)).parent
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _collect_lines(finding: Finding, source: str, licence: str, origin: str) -> list[str]:
    settings: list[tuple[str, Any, str]] = [
        ("source", source or ".", _files(finding)),
        ("format", finding.format, ""),
    ]
    if finding.encoding not in ("", "utf-8"):
        settings.append(("encoding", finding.encoding, ""))
    if finding.delimiter not in ("", ","):
        settings.append(("delimiter", finding.delimiter, ""))
    if not finding.header and finding.format in ("csv", "pixels"):
        settings.append(
            (
                "header",
                "no",
                say("columns are named column_1, column_2, …", "列名依次为 column_1、column_2……"),
            )
        )
    if finding.label_file:
        settings.append(("label_file", finding.label_file, ""))
    settings.append(("label", finding.label, _plain(_classes(finding))))
    for setting, role in (("text", "text"), ("numbers", "number"), ("categories", "category")):
        names = tuple(name for name, one in finding.inputs if one == role)
        if names and finding.format not in ("lines", "documents"):
            settings.append(
                (
                    setting,
                    names,
                    ", ".join(_language(one) for one in finding.languages) if role == "text" else "",
                )
            )
    unknown = say("state it before you sell: own, CC-BY-4.0, …", "出售之前请写明：own（自有）、CC-BY-4.0 等")
    settings.append(("licence", licence, unknown if licence == UNKNOWN else ""))
    settings.append(("origin", origin, "" if origin else say("where the records come from", "数据来源")))
    lines = [line for name, value, note in settings for line in _setting(name, value, note)]
    return lines + [f"# {say('left out', '未使用')}: {_plain(text)}" for text in _wrapped(_left_out(finding))]


def literal(value: object) -> str:
    """A text or tuple of texts as Python writes it, in double quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    text = str(value)
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _setting(name: str, value: Any, note: str) -> list[str]:
    """``name=value,  # note``; a long tuple is broken over lines."""
    line = f"{name}={literal(value)},"
    if len(line) > LINE - 10 and isinstance(value, tuple):
        return [
            f"{name}=(",
            *(f"    {one}" for one in _wrapped([f"{literal(item)}," for item in value], " ")),
            "),",
        ]
    room = LINE - 12 - len(line)
    return [f"{line}  # {note[:room]}" if note and room > 12 else line]


def _wrapped(pieces: list[str], between: str = "; ") -> list[str]:
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) + len(between) < LINE - 24:
            lines[-1] += between + piece
        else:
            lines.append(piece)
    return lines


def _plain(text: str) -> str:
    """A column's name may hold anything; in a comment or docstring it must stay on its line and end
    nothing."""
    return (
        "".join(sign if sign.isprintable() else " " for sign in text).replace('"""', "'''").replace("\\", "/")
    )


def _comment(en: str, zh: str) -> str:
    return f"  # {say(en, zh)}"


def _clean_settings(finding: Finding) -> str:
    """Equal rows of a table with few columns are no copies of each other; texts and images are."""
    often = finding.task == "table_classification" and finding.copies > 0.05 * finding.rows
    return ", duplicates=False" if often else ""


# In words


def describe(finding: Finding) -> list[str]:
    """What was found, one line for each thing."""
    lines = [
        say(
            "{task}: {rows} records, {classes} classes",
            "{task}：{rows} 条记录，{classes} 个类别",
            task=_task(finding.task),
            rows=_rows(finding),
            classes=len(finding.classes),
        ),
        f"  {say('source: ', '来源：')}{finding.source} ({_files(finding)})",
        f"  {say('label: ', '标签：')}{finding.label} ({_classes(finding)})",
        f"  {say('inputs: ', '输入：')}{_some([name for name, _ in finding.inputs], INPUTS_SHOWN)}"
        + (f" ({', '.join(map(_language, finding.languages))})" if finding.languages else ""),
    ]
    if finding.left_out:
        lines.append(f"  {say('left out: ', '未使用：')}{say('; ', '；').join(_left_out(finding))}")
    if finding.unlabelled:
        lines.append(
            say(
                "  without a label: {n} records, set aside",
                "  没有标签：{n} 条记录，将单独留出",
                n=f"{finding.unlabelled:,}",
            )
        )
    if finding.copies:
        lines.append(say("  exact copies: {n} records", "  完全重复：{n} 条记录", n=f"{finding.copies:,}"))
    if finding.rejected:
        lines.append(
            say(
                "  cannot be read: {n} rows ({reasons}); a run counts and keeps them",
                "  无法读取：{n} 行（{reasons}）；运行时会计数并保留",
                n=f"{finding.rejected:,}",
                reasons=", ".join(f"{reason} {count:,}" for reason, count in finding.why_rejected),
            )
        )
    return [*lines, *(f"  {_remark(one)}" for one in finding.remarks)]


def _task(task: str) -> str:
    names = {
        "text_classification": ("Text classification", "文本分类"),
        "image_classification": ("Image classification", "图像分类"),
        "table_classification": ("Table classification", "表格分类"),
    }
    return say(*names[task])


def _rows(finding: Finding) -> str:
    return (
        f"{finding.rows:,}" if finding.complete else say("more than {n}", "超过 {n}", n=f"{finding.rows:,}")
    )


def _files(finding: Finding) -> str:
    parts = [finding.format, *([finding.encoding] if finding.encoding else [])]
    if finding.format == "csv":
        parts.append(
            {
                ",": say("comma", "逗号"),
                "\t": say("tab", "制表符"),
                ";": say("semicolon", "分号"),
                "|": "|",
            }.get(finding.delimiter, finding.delimiter)
        )
    if finding.files > 1:
        parts.append(say("{n} files", "{n} 个文件", n=f"{finding.files:,}"))
    return ", ".join(parts)


def _classes(finding: Finding) -> str:
    shown = ", ".join(f"{name[:30]} {count:,}" for name, count in finding.classes[:CLASSES_SHOWN])
    rest = len(finding.classes) - CLASSES_SHOWN
    return shown + (say(" and {n} more", " 等另 {n} 类", n=rest) if rest > 0 else "")


def _language(code: str) -> str:
    en, zh = NAMES.get(code, (code, code))
    return zh if current_language() == "zh" else en


REASONS = {
    "id": ("an id", "编号"),
    "constant": ("always the same", "取值不变"),
    "personal": ("personal data", "疑似个人信息"),
    "time": ("a time", "时间"),
    "free-text": ("free text", "自由文本"),
    "not-text": ("no text", "不是文本"),
    "says-the-label": ("gives the label away", "直接透露标签"),
    "a-split": ("an earlier split", "原有划分"),
    "too-many-values": ("too many values", "取值过多"),
    "not-a-value": ("links or codes", "链接或代码"),
    "not-asked-for": ("not asked for", "未要求"),
}


def _left_out(finding: Finding) -> list[str]:
    """The columns that are left out, those of one reason together."""
    grouped: dict[str, list[str]] = {}
    for name, reason in finding.left_out:
        grouped.setdefault(reason, []).append(name)
    return [f"{_some(names, LEFT_OUT_SHOWN)} ({say(*REASONS[reason])})" for reason, names in grouped.items()]


def _some(names: list[str], most: int) -> str:
    """The first of many names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (say(" and {n} more", " 等另 {n} 个", n=rest) if rest > 0 else "")


REMARKS = {
    "personal-in-text": (
        "personal data: {count} of {looked} texts hold what looks like a phone, identity number or e-mail",
        "个人信息：{looked} 条文本中有 {count} 条疑似含手机号、身份证号或邮箱",
    ),
    "small-classes": (
        "classes with fewer than {rows} records: {count} ({names})",
        "不足 {rows} 条的类别：{count} 个（{names}）",
    ),
    "unequal": (
        "the rarest class, {name}, is {share} % of the records; macro-F1 will be the first figure",
        "最少的类别“{name}”只占 {share}%；将以宏平均 F1 为首要指标",
    ),
    "pixels": (
        "each row is a grey image of {side} × {side} pixels",
        "每一行是一张 {side} × {side} 的灰度图",
    ),
    "own-split": (
        "the folders {folders} are read together and split anew",
        "文件夹 {folders} 会合在一起读取，并重新划分",
    ),
    "stars": (
        "the labels look like stars; five neighbouring classes are hard to tell apart",
        "标签像是星级；五个相邻类别较难区分",
    ),
}


def _remark(remark: Remark) -> str:
    return say(*REMARKS[remark.code], **remark.values)
