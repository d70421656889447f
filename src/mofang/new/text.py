"""The recipe as text: what was guessed stands one to a line, with a comment that says why."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mofang.core.language import say
from mofang.data.firstlook.finding import Finding
from mofang.data.sources.files import PACKAGE
from mofang.new.words import classes_shown, files_shown, language_name, left_out, why_split

LINE = 110
CLEANED = ("text_classification", "image_classification", "table_classification")  # places in others' texts would move
GENERATION = "text_generation"
UNKNOWN = "unknown"


def recipe_text(finding: Finding, place: Path, licence: str, origin: str) -> str:
    """The recipe as Python."""
    today = datetime.now(UTC).date().isoformat()
    task = finding.task.replace("_", " ")
    source = source_for(finding.source, place)
    given = 'cleaned / "kept"' if finding.task in CLEANED else "records"
    shown_source = plain(Path(finding.source).name)[:24]
    yours = say("Yours to edit.", "可随意修改。")
    return f'''"""{finding.name}: {task}, made by `mofang new {shown_source}` on {today}. {yours}"""

from mofang.recipe import Budget, Shop, {_imported(finding)}

NAME = {literal(finding.name)}


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
{_block(_collect_lines(finding, source, licence, origin))}
    )
{_cleaned(finding)}    data = shop.run(  # {say("an old row stays on its side when rows are added", "新增记录时，旧记录留在原来的一边")}
        snapshot, {given}, shop.last(NAME, "snapshot"),
{_block(_snapshot_lines(finding))}
    )
{_learnt(finding)}'''


def _imported(finding: Finding) -> str:
    names = {"baseline", "collect", "evaluate", "export", "package", "select", "snapshot"}
    if finding.task == GENERATION:
        names = {"collect", "snapshot", "train"}
    return ", ".join(sorted(names | ({"clean"} if finding.task in CLEANED else set())))


def _learnt(finding: Finding) -> str:
    """From the snapshot to the package, or to the generator."""
    choose = say("cheap to dear within the budget", "在预算内由廉到贵")
    if finding.task == GENERATION:
        return '    return shop.run(train, data, family="generator", seconds=budget.seconds)\n'
    validated = ', data / "validation"' if finding.task in CLEANED else ""
    return f'''    model = shop.run(select, data, budget_s=budget.seconds)  # {choose}
    graph = shop.run(export, model{validated}){_threshold(finding)}
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data))
    return shop.run(package, graph, evidence)
'''


def _block(lines: list[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)


def _cleaned(finding: Finding) -> str:
    if finding.task not in CLEANED:
        return ""
    settings = []
    if finding.map:
        aside = say("{n} records set aside", "另有 {n} 条留出", n=f"{finding.set_aside:,}") if finding.set_aside else ""
        settings += _setting("labels", finding.map, aside or say("one class in several spellings", "同一类别的不同写法"))
    if _repeats(finding):
        settings += _setting("duplicates", False, say("equal rows are no copies in so few columns", "列少，相同的行不算重复"))
    if not settings:
        return '    cleaned = shop.run(clean, records, shop.last(NAME, "cleaned"))\n'
    return f'    cleaned = shop.run(\n        clean, records, shop.last(NAME, "cleaned"),\n{_block(settings)}\n    )\n'


def _repeats(finding: Finding) -> bool:
    """Equal rows of a table with few columns are no copies of each other; texts and images are."""
    return finding.task == "table_classification" and finding.copies > 0.05 * finding.rows


def _snapshot_lines(finding: Finding) -> list[str]:
    names = tuple(_kept_name(name) for name, _ in finding.inputs)
    shown = names if len(literal(names)) < 70 else ()
    settings = [
        ("task", finding.task, ""),
        ("label", _kept_name(finding.label), ""),
        ("inputs", shown, "" if shown else say("() means all input columns", "() 表示全部输入列")),
        ("group", _kept_name(finding.group), plain(why_split(finding))),
        ("time", _kept_name(finding.time), plain(why_split(finding))),
    ]
    return [line for name, value, note in settings if value or name == "inputs" for line in _setting(name, value, note)]


def _kept_name(name: str) -> str:
    """A source's own column named id is called source_id once it is collected."""
    return "source_id" if name == "id" else name


def _threshold(finding: Finding) -> str:
    if len(finding.classes) != 2 or finding.task not in CLEANED:
        return ""
    return "  # " + say("miss_cost=5: a miss costs five false alarms", "miss_cost=5：漏报一个抵五个误报")


def source_for(source: str, place: Path) -> str:
    """The source as the recipe names it: relative to the recipe's own folder where it lies below."""
    if source.startswith(PACKAGE):
        return source
    absolute = Path(os.path.abspath(Path(source).expanduser()))
    folder = Path(os.path.abspath(place)).parent
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _collect_lines(finding: Finding, source: str, licence: str, origin: str) -> list[str]:
    header = say("columns are named column_1, column_2, …", "列名依次为 column_1、column_2……")
    no_header = not finding.header and finding.format in ("csv", "pixels", "excel")
    settings: list[tuple[str, Any, str]] = [
        ("source", source or ".", plain(files_shown(finding))),
        ("format", finding.format, ""),
        ("sheet", finding.sheet, ""),
        ("encoding", "" if finding.encoding == "utf-8" else finding.encoding, ""),
        ("delimiter", "" if finding.delimiter == "," else finding.delimiter, ""),
        ("header", "no" if no_header else "", header),
        ("label_file", finding.label_file, ""),
        ("label", "" if finding.label in dict(finding.inputs) else finding.label,
         plain(classes_shown(finding.found or finding.classes))),
        *_inputs(finding),
        ("group", finding.group, ""),
        ("time", finding.time, ""),
        (
            "licence",
            licence,
            say("state it before you sell: own, CC-BY-4.0, …", "出售之前请写明：own（自有）、CC-BY-4.0 等")
            if licence == UNKNOWN
            else "",
        ),
        ("origin", origin, "" if origin else say("where the records come from", "数据来源")),
    ]
    lines = [
        line for name, value, note in settings if value or name in ("licence", "origin") for line in _setting(name, value, note)
    ]
    shown = [f"# {say('left out', '未使用')}: {plain(text)}" for text in wrapped(left_out(finding))]
    if shown:
        shown.append(
            f"# {say('(mofang new … --keep COLUMN brings one back)', '（mofang new … --keep 列名 可把某一列加回来）')}"
        )
    return lines + shown


def _inputs(finding: Finding) -> list[tuple[str, Any, str]]:
    if finding.format in ("lines", "documents"):
        return []
    languages = ", ".join(language_name(one) for one in finding.languages)
    found = []
    for setting, role in (("text", "text"), ("numbers", "number"), ("categories", "category")):
        names = tuple(name for name, one in finding.inputs if one == role)
        found.append((setting, names, languages if role == "text" else ""))
    return found


def literal(value: object) -> str:
    """A text or tuple of texts as Python writes it, in double quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, bool):
        return repr(value)
    text = str(value)
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _setting(name: str, value: Any, note: str) -> list[str]:
    """``name=value,  # note``; a long tuple is broken over lines."""
    line = f"{name}={literal(value)},"
    if len(line) > LINE - 10 and isinstance(value, tuple):
        return [
            f"{name}=(",
            *(f"    {one}" for one in wrapped([f"{literal(item)}," for item in value], " ")),
            "),",
        ]
    room = LINE - 12 - len(line)
    return [f"{line}  # {note[:room]}" if note and room > 12 else line]


def wrapped(pieces: list[str], between: str = "; ") -> list[str]:
    """Pieces joined to lines that fit."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) + len(between) < LINE - 24:
            lines[-1] += between + piece
        else:
            lines.append(piece)
    return lines


def plain(text: str) -> str:
    """A column's name may hold anything; in a comment or docstring it must stay on its line and end nothing."""
    return "".join(sign if sign.isprintable() else " " for sign in text).replace('"""', "'''").replace("\\", "/")
