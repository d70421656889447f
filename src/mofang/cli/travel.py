"""Travel: a model leaves this shop in one file and enters another, with its ancestry signed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from mofang.cli.context import Context, LentFile, NewFile, NewPlace, pass_context
from mofang.core.errors import MofangError
from mofang.core.language import say


@click.command()
@click.argument("model", required=False)
@click.option("--all", "everything", is_flag=True, help="All of the shop, into a folder that needs no Mofang to read.")
@click.option("--out", type=NewPlace(), help="The file (default: NAME-VERSION.mofang here); for records or --all, the folder.")
@click.option("--format", "format", help="Of records or a snapshot: parquet, arrow, jsonl, csv, tfrecord, hdf5 or webdataset.")
@click.option("--part", "parts", multiple=True, help="Only this part of a snapshot, e.g. train; may be given several times.")
@click.option("--raw", is_flag=True, help="CSV: leave texts as they are where a spreadsheet would take one for a formula.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def export(context: Context, model: str | None, everything: bool, out: Path | None, format: str | None, parts: tuple[str, ...],
           raw: bool, as_json: bool) -> None:
    """Write a model into one file for another shop, with the signed ledger entries behind it; or records or a snapshot
    into a folder of files that other tools read (--format); or, --all, the whole shop.

    A model's file holds no training records. The other shop checks it, can sell it, and traces it back to here.
    """
    if everything == (model is not None):
        raise MofangError("export-which")
    if model is not None and (format or context.shop.find(model).kind in ("records", "cleaned", "snapshot")):
        from mofang.cli.data import export_data

        export_data(context, model, out, format or "parquet", parts, raw, as_json)
        return
    if everything:
        from mofang.cli.keep import export_all

        export_all(context, out)
        return
    assert model is not None
    sent = _send(context, model, out)
    if as_json:
        _json({"file": str(sent.path), "model": sent.name, "sha256": sent.digest, "size_bytes": sent.size_bytes,
               "fingerprint": sent.fingerprint, "entries": sent.entries})
        return
    context.say("{name} is in {path} ({size}), with {n} ledger entries, signed by this shop", "{name} 已写入 {path}"
                "（{size}），附 {n} 条账本条目和本店签名", name=sent.name, path=sent.path, size=_size(sent.size_bytes), n=sent.entries)
    context.say("  fingerprint  {fingerprint}", "  指纹  {fingerprint}", fingerprint=sent.fingerprint)
    context.say("Tell them the fingerprint over another way than the file. In the other shop:",
                "请用文件之外的途径把指纹告诉对方。在另一个模坊里：")
    context.next(f"mofang import {sent.path.name} --from {sent.fingerprint}")


@click.command()
@click.argument("model")
@click.option("--out", type=NewPlace(), help="The file (default: NAME-VERSION.mofang here).")
@click.option("--edge", is_flag=True, help="For a small device: a folder with the model, its words and a runner of plain Python.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def package(context: Context, model: str, out: Path | None, edge: bool, as_json: bool) -> None:
    """Write a model into the one file that a server starts from (mofang up); it holds no records.

    The stage of this name, which makes a package of a graph, is `mofang stage package`.
    """
    if edge:
        _edge(context, model, out, as_json)
        return
    sent = _send(context, model, out)
    if as_json:
        _json({"file": str(sent.path), "model": sent.name, "sha256": sent.digest, "size_bytes": sent.size_bytes,
               "fingerprint": sent.fingerprint, "entries": sent.entries})
        return
    context.say("{name} is in {path} ({size}), signed by this shop ({fingerprint})",
                "{name} 已写入 {path}（{size}），由本店签名（{fingerprint}）",
                name=sent.name, path=sent.path, size=_size(sent.size_bytes), fingerprint=sent.fingerprint)
    context.say("Copy it to the server and type there:", "复制到服务器，然后在那里输入：")
    context.next(f"mofang up {sent.path.name} --from {sent.fingerprint} --domain YOUR.DOMAIN --behind-proxy")


def _edge(context: Context, model: str, out: Path | None, as_json: bool) -> None:
    """A folder that answers without Mofang."""
    from mofang.core.progress import progress
    from mofang.serve.edge import write_edge
    from mofang.serve.parcel import package_named

    found, name = package_named(context.shop, model)
    with progress(say("Writing and checking", "正在写入并核对")):
        made = write_edge(found, out or Path(name.replace("@", "-") + "-edge"))
    if as_json:
        _json({"folder": str(made.path), "size_bytes": made.size_bytes, "requests": made.requests, "precision": made.precision})
        return
    context.say("{path} answers with numpy and onnxruntime alone ({size}, {precision}; {n} requests answered as here)",
                "{path} 只需 numpy 和 onnxruntime 即可应答（{size}，{precision}；{n} 条请求的答案与本机一致）", path=made.path,
                size=_size(made.size_bytes), precision=made.precision, n=made.requests)
    context.next(f'python {made.path}/run.py "…"')


def _send(context: Context, model: str, out: Path | None) -> Any:
    from mofang.core.progress import progress
    from mofang.serve.parcel import default_file, export_parcel, package_named

    package, name = package_named(context.shop, model)
    place = default_file(name) if out is None else out / default_file(name) if out.is_dir() else out
    NewFile().convert(place, None, None)
    total = sum(part.size_bytes for part in package.parts)
    with progress(say("Writing", "正在写入"), total) as bar:
        return export_parcel(context.shop, model, place, bar.advance)


@click.command("import")
@click.argument("file", type=LentFile())
@click.option("--name", help="The model's name here (default: its name there).")
@click.option("--from", "pinned", default="", metavar="FINGERPRINT", help="Take it only if this shop's key signed it.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def import_(context: Context, file: Path, name: str | None, pinned: str, yes: bool, as_json: bool) -> None:
    """Take in a model from another shop's FILE: everything is checked first, and nothing of it is run before that.

    It answers here exactly as it did there or is refused. The shop's key is remembered; another key is refused later.
    """
    facts, admitted = take_in(context, file, name, pinned, yes, quiet=as_json)
    if as_json:
        _json({**facts, "model": str(admitted.named), "entry": admitted.entry, "again": admitted.again,
               "remeasured": admitted.remeasured})
        return
    if admitted.again:
        context.say("This package was here already: {name}.", "这个模型包本来就在：{name}。", name=admitted.named)
    else:
        context.say("{name} is here.", "{name} 已导入。", name=admitted.named)
    if admitted.remeasured:
        context.say("It came from another machine; its engines were measured again here.", "它来自另一台机器；引擎已在本机重新测量。")
    model = admitted.named.name
    context.next(f"mofang predict {model} …", f"mofang sell {model} --to CUSTOMER --price 5.00/1000", f"mofang serve {model}",
                 f"mofang trace {model}")


def take_in(context: Context, file: Path, name: str | None, pinned: str, yes: bool, *,
            quiet: bool) -> tuple[dict[str, Any], Any]:
    """Check a file, show what it says of itself, ask, and take it in; what it said, and what it is here."""
    from mofang.core.progress import progress
    from mofang.serve.admit import admit, check_shops
    from mofang.serve.border import open_parcel
    from mofang.serve.trial import trial

    if not file.is_file():
        raise MofangError("parcel-missing", path=str(file))
    shop = context.shop
    scratch = shop.path / "scratch"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="import-") as folder:
        with progress(say("Checking the file", "正在检查文件"), file.stat().st_size) as bar:
            parcel = open_parcel(file, Path(folder), bar.advance)
            shops = check_shops(shop, parcel, pinned)
            shop.checked_name(name or parcel.name.partition("@")[0])
        with progress(say("Asking the model its canonical requests", "正在用标准请求核对模型")):
            tried = trial(parcel.folder)
        facts = _facts(parcel, shops, tried)
        if not quiet:
            _show(context, facts)
        wanted = name or parcel.name.partition("@")[0]
        context.confirm([say("It would be taken in as {name}.", "将导入为 {name}。", name=wanted)], yes)
        admitted = admit(shop, parcel, tried, name or "")
    return facts, admitted


def _facts(parcel: Any, shops: list[Any], tried: dict[str, Any]) -> dict[str, Any]:
    """What a person should know before saying yes."""
    from mofang.core.ancestry import SAID

    views = [one["view"] for document in (parcel.document, *parcel.carried) for one in document["entries"]]
    sources = [{name: one["settings"][name] for name in ("source", *SAID) if one["settings"].get(name)}
               for one in views if one["settings"].get("source")]
    return {
        "name": parcel.name, "shops": [{"shop": one.title, "id": one.id, "fingerprint": one.fingerprint, "known": known}
                                       for one, known in shops],
        "task": parcel.described["task"], "evaluation": parcel.described["evaluation"], "licences": list(parcel.licences),
        "sources": sources, "requests": tried["requests"], "engine": tried["engine"],
    }


def _show(context: Context, facts: dict[str, Any]) -> None:
    from mofang.cli.report import figure

    sender, *earlier = facts["shops"]
    context.say("{name} from shop {shop}", "{name}，来自模坊 {shop}", name=facts["name"], shop=sender["shop"])
    known = say("known here", "已认识") if sender["known"] else say("new here: compare it with what that shop tells you",
                                                              "第一次见：请与对方告知的指纹核对")
    context.say("  fingerprint  {fingerprint}  ({known})", "  指纹      {fingerprint}  （{known}）", known=known,
                fingerprint=sender["fingerprint"])
    for one in earlier:
        context.say("  rests on     shop {shop}  {fingerprint}", "  其上游    模坊 {shop}  {fingerprint}", **one)
    context.say("  test part    {figure}", "  测试集    {figure}", figure=figure(facts["evaluation"]))
    context.say("  licences     {names}", "  许可      {names}", names=", ".join(facts["licences"]) or "–")
    for one in facts["sources"]:
        context.say("  records      {words} (held by the shop that made it)", "  数据      {words}（保存在制作它的模坊）",
                    words=" · ".join(one.values()))
    context.say("  checked      {n} canonical requests answered as there, by {engine}",
                "  核对      {n} 条标准请求，回答与对方一致（{engine}）", n=facts["requests"], engine=facts["engine"])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def fingerprint(context: Context, as_json: bool) -> None:
    """Show the fingerprint of this shop's key, to be told to who imports from here; and those of the shops known here."""
    from mofang.core.ancestry import identity, shop_label
    from mofang.core.foreign import known_shops

    me, known = identity(context.shop), known_shops(context.shop)
    rows = [{"shop": one.title, "id": one.id, "fingerprint": one.fingerprint} for one in known]
    if as_json:
        _json({"id": me["id"], "name": me["name"], "fingerprint": me["fingerprint"], "known": rows})
        return
    context.console.print(f"{shop_label(me['id'], me['name'])}  {me['fingerprint']}", markup=False)
    if rows:
        context.table(rows, {"shop": say("known shop", "认识的模坊"), "fingerprint": say("fingerprint", "指纹"), "id": "id"})
    context.next("mofang export MODEL")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _json(facts: dict[str, Any]) -> None:
    import orjson

    click.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
