"""Erase: one person or record out of everything, and what was made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, pass_context
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.data.erasure.erase import Report

SHOWN = 12


@click.command()
@click.argument("person", required=False)
@click.option("--record", "records", multiple=True, help="The id of a record (repeat for several).")
@click.option("--column", "columns", multiple=True, help="The column in which the person stands (default: role person).")
@click.option("--expired", is_flag=True, help="Erase what is past the date until which it may be kept.")
@click.option("--why", default="", help="A short reason for the ledger that names nobody, such as a request's number.")
@click.option("--dry-run", is_flag=True, help="Only show what would go and what was made from it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@pass_context
def erase(context: Context, person: str | None, records: tuple[str, ...], columns: tuple[str, ...], expired: bool, why: str,
          dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase PERSON: every record of theirs, out of every artifact, journal and table, and never collected again.

    Lists the models, packages, files for others and bills that descend from the records: a row that is deleted is not
    removed from trained weights. Typed again, it goes on where it was cut off.
    """
    if expired:
        if person or records or columns:
            raise MofangError("erase-whom")
        from mofang.cli.retention import erase_expired

        erase_expired(context, why, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    from mofang.data.erasure.erase import erase as action

    shop = context.shop
    said: dict[str, Any] = {"person": (person,) if person else (), "record": records, "column": columns, "why": why}
    looked: Report = shop.act(action, **said, dry_run=True)
    if not dry_run:
        context.confirm(changes(looked), yes)
    report = looked if dry_run else shop.act(action, **said)
    if not dry_run:
        report.descent, report.sources = looked.descent, looked.sources
    if as_json:
        import orjson

        click.echo(orjson.dumps({**report.to_dict(), "dry_run": dry_run}, option=orjson.OPT_INDENT_2).decode())
        return
    told(context, report, dry_run=dry_run)


def changes(found: Report) -> list[str]:
    """What is asked about before anything is erased."""
    return [say("{records} records, {rows} rows in {n} artifacts are erased for good. This cannot be undone.",
                "将永久抹除 {records} 条记录，涉及 {n} 份数据中的 {rows} 行。此操作无法撤销。", records=f"{found.records:,}",
                rows=f"{found.rows:,}", n=len(found.artifacts))]


def told(context: Context, report: Report, *, dry_run: bool) -> None:
    """What went (or would go), what was made from it, and what to do now."""
    rows = [{"kind": one["kind"], "name": one["name"] or "–", "entry": one["entry"][:17], "rows": sum(one["rows"].values())}
            for one in report.artifacts]
    if rows:
        context.table(rows, {"kind": say("what", "内容"), "name": say("name", "名称"), "entry": say("run", "运行"),
                             "rows": say("rows", "行数")})
    for name, count in report.held.items():
        context.say("  {name}: {n}", "  {name}：{n}", name=_holder(name), n=f"{count:,}")
    for one in report.lost:
        context.say("  {kind} {entry}: cannot be read any more, its key is gone", "  {kind} {entry}：密钥已销毁，无法再读取",
                    kind=one["kind"], entry=one["entry"][:17])
    if dry_run:
        context.say("Would be erased: {records} records, {rows} rows. Nothing was changed.",
                    "将被抹除：{records} 条记录，{rows} 行。目前没有做任何改动。", records=f"{report.records:,}", rows=f"{report.rows:,}")
    else:
        context.say("Erased: {records} records, {rows} rows; {objects} old files are destroyed, "
                    "and their copies in backups unreadable",
                    "已抹除：{records} 条记录，{rows} 行；{objects} 个旧文件已销毁，备份中的副本也无法再读取", records=f"{report.records:,}",
                    rows=f"{report.rows:,}", objects=f"{report.objects:,}")
    _made_from(context, report)
    for source in report.sources[:SHOWN]:
        context.say("  The source itself is not the shop's: delete the person there too: {source}",
                    "  来源文件不归模坊管理，请也在那里删除此人：{source}", source=source)
    context.next(*report.descent.again[:3], "mofang verify")


def _made_from(context: Context, report: Report) -> None:
    found = report.descent
    if found.models or found.packages:
        context.say("A row that is deleted is not removed from weights that were trained on it. Made from these records:",
                    "删除一行数据，并不会把它从已训练好的模型权重中去除。以下内容由这些记录得到：")
    for line in (*found.packages, *found.models)[:SHOWN]:
        names = ", ".join(line["names"]) or line["entry"][:17]
        context.say("  {kind} {names}: train it again, then withdraw this one", "  {kind} {names}：请重新训练，然后停用这一版",
                    kind=line["kind"], names=names)
    more = len(found.packages) + len(found.models) - SHOWN
    if more > 0:
        context.say("  … and {n} more (--json lists all)", "  …另有 {n} 个（--json 可全部列出）", n=more)
    fitted = sorted({part for line in (*found.packages, *found.models) for part in line["fitted"]})
    if fitted:
        context.say("  Words and categories learnt from rows may still stand in their {parts}", "  从数据中学到的词语和类别可能仍在其 {parts} 中",
                    parts=", ".join(fitted))
    if found.people.get("customers"):
        context.say("  These customers have a key for it: {names}", "  以下客户持有可调用它的密钥：{names}",
                    names=", ".join(found.people["customers"][:SHOWN]))
    for lease in found.people.get("leases", [])[:SHOWN]:
        context.say("  leased out: {line}; it answers until then, and is not renewed once revoked",
                    "  已出租：{line}；在此之前仍会应答，终止后不再续期", line=lease)
    if found.people.get("labels"):
        context.say("  Labelling projects lose these tasks: {names}", "  以下标注项目将撤下相关任务：{names}",
                    names=", ".join(found.people["labels"][:SHOWN]))
    for line in found.exports[:SHOWN]:
        context.say("  {file} left this shop: tell whoever has it", "  {file} 已离开本模坊：请通知持有者", file=line["file"])
    for line in found.invoices[:SHOWN]:
        context.say("  invoice {number} billed answers of such a model; it stays as it is and names no record",
                    "  账单 {number} 收取了此类模型的应答费用；账单保持不变，其中没有任何记录内容", number=line["number"])


def _holder(name: str) -> str:
    words = {"sealed journal keys": "日志封存密钥", "uploaded files": "上传的文件", "cached files": "缓存文件",
             "rows in customers' own files": "客户自有文件中的记录",
             "unfinished runs": "未完成的运行", "objects of unfinished runs": "未完成运行的文件", "stored answers": "保存的应答",
             "files in backups": "备份中的文件"}
    return say(name, words.get(name, name))
