"""Keep: backup, restore, sweep, and the whole shop as a folder that needs no Mofang (``export --all``)."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.context import Context, listing, pass_context, when
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from mofang.core.backup import Backup
    from mofang.core.sweep import Litter

PASSPHRASE = "MOFANG_BACKUP_PASSPHRASE"


@click.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--keys", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the key ring into this file, locked by a passphrase (asked twice, or MOFANG_BACKUP_PASSPHRASE).")
@click.option("--keep", type=click.IntRange(min=1), help="Afterwards keep only so many of the newest backups.")
@click.option("--quick", is_flag=True, help="Leave out the long checks: chains, balances, and files of earlier backups.")
@click.option("--list", "as_list", is_flag=True, help="List the backups in the folder instead of making one.")
@listing
@pass_context
def backup(context: Context, folder: Path | None, keys: Path | None, keep: int | None, quick: bool, as_list: bool,
           as_json: bool, as_csv: bool) -> None:
    """Copy the shop into FOLDER (default: beside the shop) while it goes on serving, and check the copy.

    Backups in one folder share their files, so each takes only the room of what is new. Keys are never in it: give
    --keys FILE too, or no customer's key can be checked after a restore.
    """
    from mofang.core.backup import make_backup

    shop = _shop_here(context)
    place = (folder or _usual_folder(shop)).resolve()
    if as_list:
        _list_backups(context, place, as_json, as_csv)
        return
    said = _ready_for_keys(shop.path, place, keys) if keys else ""
    made = make_backup(shop, place, quick=quick, keep=keep or 0)
    if keys:
        _lock_keys(context, shop, keys, said, quiet=as_json)
    if as_json:
        _json({name: made.about[name] for name in made.about if name not in ("tables", "files")} | {"place": str(made.place)})
    else:
        _told(context, shop.path, made, keys)
    if made.about["wrong"] or made.about["missing"]:
        click.get_current_context().exit(3)


def _told(context: Context, shop: Path, made: Backup, keys: Path | None) -> None:
    """What a backup did, what it is good for, and what it lacks."""
    about = made.about
    size_bytes = sum(size for size, _ in about["files"].values()) + sum(made.listed().values())
    context.say("Backup {name} in {place}", "备份 {name}，位于 {place}", name=made.name, place=made.place.parent)
    context.say("  {rows} rows, {files} files, {size}, in {seconds:.1f} s; writers waited {held:.1f} ms",
                "  {rows} 行，{files} 个文件，{size}，用时 {seconds:.1f} 秒；写入只等待了 {held:.1f} 毫秒", rows=f"{made.rows:,}",
                files=f"{len(made.listed()):,}", size=_size(size_bytes), seconds=about["seconds"], held=about["held_ms"])
    for one in about["wrong"]:
        context.console.print(f"✗ {one}", markup=False, style="red")
    for digest in about["missing"]:
        context.say("✗ file {digest}… is gone from the shop, or changed; it is in no backup here",
                    "✗ 文件 {digest}… 已从模坊丢失或被改动，这里的备份里也没有", digest=digest[:12])
    if about["wrong"] or about["missing"]:
        context.say("  The rest is backed up; see `mofang verify`.", "  其余内容已备份；详情见 `mofang verify`。")
    elif about["checked"] == "all":
        context.say("  checked: every chain, table and file; head {head}", "  已核对每条链、每张表、每个文件；链头 {head}",
                    head=about["heads"]["ledger"][1][:16])
    else:
        context.say("  checked quickly: tables and new files; chains and balances not", "  快速核对：表和新文件；未核对链和余额")
    if os.stat(made.place).st_dev == os.stat(shop).st_dev:
        context.say("  This is the same disk as the shop's: copy the whole folder to another one too.",
                    "  备份与模坊在同一块磁盘上：请把整个文件夹再复制到另一块磁盘。")
    if not keys:
        context.say("  Keys are not in it: without them no customer's key can be checked after a restore. Add --keys FILE.",
                    "  备份不含密钥：没有密钥，恢复后无法核对客户的密钥。请加上 --keys 文件。")
    _warn_of_git(context, shop)
    context.next(f"mofang restore {shlex.quote(str(made.place.parent))} --into {_elsewhere(shop)}")


def _elsewhere(shop: Path) -> str:
    return shlex.quote(f"{shop.name}-restored")


def _warn_of_git(context: Context, shop: Path) -> None:
    from mofang.core.watched import files_in_git, ignored_again

    if ignored_again(shop):
        context.say("  The shop's .gitignore was gone and is written again.", "  模坊的 .gitignore 曾被删除，现已重新写入。")
    found = files_in_git(shop)
    if found:
        context.say("✗ {n} files of the shop are in git, {first} among them: records and secrets do not belong there.",
                    "✗ 模坊有 {n} 个文件被放进了 git（例如 {first}）：记录和密钥不应放在那里。", n=len(found), first=found[0])
        context.say("  Take them out: git rm -r -f --cached {path}. If they were pushed, issue new keys: mofang key rotate.",
                    "  请移除：git rm -r -f --cached {path}。如果已经推送，请换发密钥：mofang key rotate。", path=shlex.quote(str(shop)))


def _list_backups(context: Context, place: Path, as_json: bool, as_csv: bool) -> None:
    from mofang.core.backup import survey

    whole, torn = survey(place)
    rows: list[dict[str, Any]] = [{
        "backup": one.name, "made": when(one.about["made_us"]), "entries": one.about["heads"]["ledger"][0], "rows": one.rows,
        "checked": one.about["checked"],
        "state": "shop-damaged" if one.about["missing"] or one.about["wrong"] else "whole",
    } for one in whole] + [{"backup": path.name, "state": error.code} for path, error in torn]
    context.table(rows, {"backup": say("backup", "备份"), "made": say("made", "时间"), "entries": say("entries", "账本条目"),
                         "rows": say("rows", "行数"), "checked": say("checked", "核对"), "state": say("state", "状态")},
                  as_json=as_json, as_csv=as_csv)


@click.command()
@click.argument("backup", required=False, type=click.Path(path_type=Path))
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="The new shop's folder (default: ./shop).")
@click.option("--at", default="", help="Which of several: a name, or the newest until a time (2026-11-22T10:30).")
@click.option("--keys", type=click.Path(dir_okay=False, path_type=Path), help="The file that backup --keys wrote.")
@click.option("--old-keys", is_flag=True, help="Take a key file of more than 30 days too.")
@click.option("--tombstones", type=click.Path(dir_okay=False, path_type=Path),
              help="The mofang-tombstones.json of the shop's backups, where these lie elsewhere: who was erased stays erased.")
@click.option("--database", default="", help="Put ledger and journals into this empty PostgreSQL database.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def restore(context: Context, backup: Path | None, into: Path | None, at: str, keys: Path | None, old_keys: bool,
            tombstones: Path | None, database: str, as_json: bool) -> None:
    """Make a shop out of a BACKUP in an empty place, every digest checked, and say that it is equal.

    BACKUP is a folder of backups (the newest is taken) or one of them. Without BACKUP, --keys FILE alone gives a restored
    shop its keys.
    """
    from mofang.cli.again import erase_again, tombs_of_restore
    from mofang.core.keyring import open_ring
    from mofang.core.restore import find_backup, restore_backup

    if backup is None:
        if keys is None:
            raise MofangError("restore-what")
        _give_keys(context, keys, old=old_keys)
        return
    found = find_backup(backup, at)
    ring = open_ring(keys, _passphrase(twice=False), str(found.about["shop"]["id"]), old=old_keys) if keys else None
    place = into or Path(_local(context) or "shop")
    tombs = tombs_of_restore(found.place.parent, ring or {}, tombstones)
    made = restore_backup(found, place, keys=ring, database=database)
    again = erase_again(made.shop, tombs, found.objects)
    if as_json:
        _json({"shop": str(made.shop), "backup": str(found.place), "equal": True, "tables": len(made.same),
               "rows": found.rows, "files": made.objects, "keys": len(ring or {}), "seconds": round(made.seconds, 3),
               "head": found.about["heads"]["ledger"][1], "missing": found.about["missing"], "erased": again})
        return
    context.say("Restored {name} into {place}: {rows} rows in {tables} tables and {files} files, in {seconds:.1f} s",
                "已把 {name} 恢复到 {place}：{tables} 张表共 {rows} 行，{files} 个文件，用时 {seconds:.1f} 秒", name=found.name,
                place=made.shop, rows=f"{found.rows:,}", tables=len(made.same), files=f"{made.objects:,}", seconds=made.seconds)
    context.say("  digest-equal: every file, the content of every table, and the heads; ledger head {head}",
                "  摘要一致：每个文件、每张表的内容和各链头；账本链头 {head}", head=found.about["heads"]["ledger"][1][:16])
    if found.about["missing"]:
        context.say("  {n} files were gone from the shop when it was backed up and are missing here too.",
                    "  有 {n} 个文件在备份时就已丢失，这里同样缺少。", n=len(found.about["missing"]))
    if again and sum(again.values()):
        context.say("  Who was erased since stays erased: {replaced} replaced, {rewritten} rewritten, {lost} unreadable",
                    "  此后被抹除的人仍保持抹除：替换 {replaced} 份数据，改写 {rewritten} 份，{lost} 份无法再读取", **again)
    if not ring:
        context.say("  It has no keys: customers' keys cannot be checked. If there is a key file: mofang restore --keys FILE",
                    "  其中没有密钥，无法核对客户的密钥。如有密钥文件：mofang restore --keys 文件")
    context.say("  What happened after {time} is not in it; let only one of the two shops go on selling.",
                "  {time} 之后发生的事不在其中；新旧两个模坊只能有一个继续销售。", time=when(found.about["made_us"]))
    context.next(f"mofang --shop {shlex.quote(str(place))} verify")


def _give_keys(context: Context, keys: Path, *, old: bool) -> None:
    from mofang.cli.again import erase_again
    from mofang.core.keyring import open_ring, put_ring
    from mofang.core.tombfile import tombs_in_ring, tombs_of

    shop = _shop_here(context)
    ring = open_ring(keys, _passphrase(twice=False), str(shop.settings["id"]), old=old)
    number = put_ring(shop.path, ring)
    tombs = tombs_of(shop)
    tombs.add(tombs_in_ring(ring))
    erase_again(shop.path, tombs, None, always=True)
    context.say("{n} keys are back in {path}; running servers must be started again.",
                "{n} 个密钥已放回 {path}；正在运行的服务需要重新启动。", n=number, path=shop.path)
    context.next("mofang serve")


def _shop_here(context: Context) -> Any:
    """The shop, which must be there already: a mistyped folder is not made into an empty shop."""
    if context.place is None:
        raise MofangError("shop-missing", path=context.shop_path or str(Path.cwd()))
    return context.shop


def _local(context: Context) -> str:
    """Where ``--shop`` points, if it is a folder."""
    if context.shop_path.startswith(("http://", "https://")):
        raise MofangError("shop-remote", address=context.shop_path)
    return context.shop_path


def _usual_folder(shop: Any) -> Path:
    """Where the last backup went, or a folder beside the shop."""
    from mofang.core.kept import read_kept

    last = read_kept(shop.path).get("backup")
    return Path(last["place"]).parent if last else shop.path.with_name(f"{shop.path.name}-backups")


def _passphrase(*, twice: bool) -> str:
    given = os.environ.get(PASSPHRASE, "")
    if given:
        return given
    if not sys.stdin.isatty():
        raise MofangError("passphrase-missing")
    again = say("Once more", "再输入一次") if twice else False
    words = say("Passphrase for the keys", "密钥文件的口令")
    asked: str = click.prompt(words, hide_input=True, confirmation_prompt=again, err=True)
    return asked


def _ready_for_keys(shop: Path, place: Path, keys: Path) -> str:
    """Everything that can be wrong with the key file is said before the backup begins."""
    from mofang.core.keyring import check_passphrase

    there = keys.resolve()
    if there.is_relative_to(shop) or there.is_relative_to(place.resolve()):
        raise MofangError("keys-not-apart", file=keys)
    if not os.access(there.parent, os.W_OK):
        raise MofangError("folder-not-writable", place=there.parent)
    return check_passphrase(_passphrase(twice=True))


def _lock_keys(context: Context, shop: Any, keys: Path, passphrase: str, *, quiet: bool) -> None:
    from mofang.core.keyring import lock_ring

    number = lock_ring(shop.path, shop.settings, keys.resolve(), passphrase)
    if not quiet:
        context.say("{n} keys are in {path}, locked by your passphrase: forgotten, they are lost. Keep it apart from backups.",
                    "{n} 个密钥已写入 {path}，由口令锁住；忘记口令就无法找回。请与备份分开保管。", n=number, path=keys)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--days", type=click.FloatRange(min=0), default=7.0, show_default=True,
              help="Give up unfinished runs that nobody continued for so many days.")
@listing
@pass_context
def sweep(context: Context, dry_run: bool, yes: bool, days: float, as_json: bool, as_csv: bool) -> None:
    """Remove what nobody needs: scratch of runs that are over, files that nothing mentions, torn pieces, old caches.

    Shows the sizes first and asks. What an entry, a running or a resumable run needs is never touched, nor any backup.
    """
    from mofang.core.progress import progress
    from mofang.core.sweep import litter
    from mofang.core.sweep import sweep as clear

    shop = _shop_here(context)
    with progress(say("Looking", "查看中")):
        found = litter(shop, days)
    rows = _by_kind(found)
    if as_json or as_csv or rows:
        context.table(rows, {"kind": say("what", "内容"), "number": say("number", "数量"), "size": say("size", "大小")},
                      as_json=as_json, as_csv=as_csv)
    if not found and not (as_json or as_csv):
        context.say("Nothing lies around in {path}.", "{path} 里没有可清理的内容。", path=shop.path)
        context.next("mofang")
    if dry_run or not found:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise MofangError("sweep-unconfirmed", size=_size(sum(one.size_bytes for one in found)))
        click.confirm(say("Remove all this? It cannot be undone.", "全部删除吗？删除后无法恢复。"), abort=True, err=True)
    with progress(say("Sweeping", "清理中")):
        done = clear(shop, found)
    if not (as_json or as_csv):
        context.say("{n} removed, {size} free again; {spared} had come to life and stayed", "已清理 {n} 项，释放 {size}；"
                    "{spared} 项又被用到，予以保留", n=done.removed, size=_size(done.size_bytes), spared=done.spared)
        context.next("mofang verify")


def _by_kind(found: list[Litter]) -> list[dict[str, Any]]:
    words = {"finished": say("scratch of finished runs", "已结束运行的临时文件"),
             "abandoned": say("scratch of unfinished runs that nobody continued", "无人继续的未完成运行的临时文件"),
             "unmentioned": say("files that nothing mentions", "没有任何条目提到的文件"),
             "torn": say("torn temporary files", "中断留下的临时文件"), "cache": say("old caches", "旧缓存"),
             "older": say("databases from before an update", "升级之前的旧数据库")}
    rows = []
    for kind, said in words.items():
        size_bytes = [one.size_bytes for one in found if one.kind == kind]
        if size_bytes:
            total = sum(size_bytes)
            rows.append({"kind": said, "number": len(size_bytes), "size": _size(total), "size_bytes": total})
    return rows


def export_all(context: Context, out: Path | None) -> None:
    """The whole shop as a folder of plain files, while it goes on serving; the same command again brings it up to date."""
    from mofang.cli.child import handed
    from mofang.core.kept import note_kept
    from mofang.takeout import take_out

    if handed() is not None:
        raise MofangError("command-at-server", command="export --all")
    shop = _shop_here(context)
    place = (out or shop.path.with_name(f"{shop.path.name}-export")).resolve()
    made = take_out(shop, place)
    note_kept(shop.path, "takeout", place=str(place))
    context.say("All of {shop} is in {place}: {n} files, {size}; begin with README.md", "{shop} 的全部内容已导出到 {place}："
                "{n} 个文件，{size}；请从 README.md 看起", shop=shop.path, place=place, n=f"{made.files:,}", size=_size(made.size_bytes))
    for one in made.missing:
        context.say("✗ missing in the shop: {what}", "✗ 模坊里缺少：{what}", what=one)
    context.say("  It holds no keys, but records and customers: treat it as you treat those.",
                "  其中没有密钥，但有记录和客户资料，请同样谨慎保管。")
    context.next(f"cd {shlex.quote(str(place))} && sha256sum -c SHA256SUMS --quiet")


def _json(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _size(size_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} B"
