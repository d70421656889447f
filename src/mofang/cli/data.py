"""Records and snapshots seen from outside: written as files, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from mofang.cli.child import handed
from mofang.cli.context import Context, pass_context, short
from mofang.core.errors import MofangError
from mofang.core.language import say

SHOWN = 10


def export_data(context: Context, name: str, out: Path | None, format: str, parts: tuple[str, ...], raw: bool,
                as_json: bool) -> None:
    """Write the records of an artifact into a folder, and say how they come back."""
    from mofang.core.progress import progress
    from mofang.data.exporting.files import export_records, record_parts
    from mofang.data.records import RecordReader

    if handed() is not None:
        raise MofangError("export-data-elsewhere")
    artifact = context.shop.find(name)
    place = out or Path(name.replace("/", "-").replace("@", "-"))
    rows = sum(RecordReader(one).rows for part, one in record_parts(artifact).items() if not parts or part in parts)
    with progress(say("Writing", "正在写入"), rows) as bar:
        done = export_records(artifact, place, format, name=name, raw=raw, parts=parts, advance=bar.advance)
    if as_json:
        _json({"folder": str(done.place), "format": format, "rows": done.rows, "files": done.files,
               "size_bytes": done.size_bytes})
        return
    told = ", ".join(f"{part} {count:,}" for part, count in done.rows.items())
    context.say("{name} is in {place}: {told} rows, {files} files, {size:.1f} MB", "{name} 已写入 {place}：{told} 行，{files} 个文件，"
                "{size:.1f} MB", name=name, place=done.place, told=told, files=done.files, size=done.size_bytes / 1e6)
    if format == "csv" and not raw:
        context.say("  Texts that a spreadsheet would run as a formula begin with an apostrophe (--raw leaves them alone).",
                    "  会被表格软件当成公式的文本前加了撇号（--raw 则保持原样）。")
    context.next(f"mofang collect --source {done.place}")


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def diff(context: Context, before: str, after: str, as_json: bool) -> None:
    """Say what changed between two sets of records or two snapshots: new, gone, relabelled, on another side.

    BEFORE and AFTER are names (reviews-data@1) or ids. Every changed record stands in changes.parquet of the result.
    """
    from mofang.data.diff import diff as compare

    shop = context.shop
    made = shop.run(compare, shop.find(before), shop.find(after))
    report: dict[str, Any] = made.read_json("report.json")
    if as_json:
        _json({"before": before, "after": after, "entry": made.entry, **report})
        return
    context.say("{before}: {old:,} records → {after}: {new:,} records", "{before}：{old:,} 条记录 → {after}：{new:,} 条记录",
                before=before, after=after, old=report["rows"]["before"], new=report["rows"]["after"])
    context.table([{"change": word, "records": report[change]} for change, word in (
        ("added", say("new", "新增")), ("removed", say("gone", "消失")), ("relabelled", say("other label", "标签改变")),
        ("moved", say("other part", "换了部分")))], {"change": say("change", "变化"), "records": say("records", "记录数")})
    if report["edited_at_most"]:
        context.say("  At most {n:,} of the new ones are edited old ones: a record is known by what it says.",
                    "  新增中至多有 {n:,} 条是改动过的旧记录：记录以其内容识别。", n=report["edited_at_most"])
    _classes(context, report["classes"])
    for change, names in report["columns"].items():
        if names:
            context.say("  columns {change}: {names}", "  列 {change}：{names}", change=change, names=", ".join(names))
    if report["licences"]["before"] != report["licences"]["after"]:
        old, new = (", ".join(report["licences"][side]) or "-" for side in ("before", "after"))
        context.say("  licences: {before} → {after}", "  许可：{before} → {after}", before=old, after=new)
    context.next(f"mofang trace {short(made.entry)}")


def _classes(context: Context, classes: dict[str, dict[str, int]]) -> None:
    old, new = classes["before"], classes["after"]
    changed = sorted(({*old, *new}), key=lambda name: -abs(new.get(name, 0) - old.get(name, 0)))
    rows = [{"class": name, "before": old.get(name, 0), "after": new.get(name, 0)} for name in changed
            if old.get(name, 0) != new.get(name, 0)]
    if rows:
        context.table(rows[:SHOWN], {"class": say("class", "类别"), "before": say("before", "之前"), "after": say("after", "之后")})


def _json(found: dict[str, Any]) -> None:
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
