"""Package: a graph made ready to serve, or a package that is here already written into one signed file."""

from __future__ import annotations

from pathlib import Path

import click

from mofang.cli.context import Context, NewPlace, pass_context


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("model")
@click.option("--out", type=NewPlace(), help="Write the package MODEL into this file, signed (with --edge: into this folder).")
@click.option("--edge", is_flag=True, help="For a small device: a folder with the model, its words and a runner of plain Python.")
@click.pass_context
@pass_context
def package(context: Context, ctx: click.Context, model: str, out: Path | None, edge: bool) -> None:
    """Make a model ready to serve: MODEL is a graph, after it comes its evaluation; flags are those of the stage
    (mofang stage package --help). Or, of a package that is here already, --out FILE writes it into one signed file.

    A package's file holds no training records; a server starts from it (mofang up), another shop takes it in (mofang import).
    """
    if not out and not edge:
        from mofang.cli.stages import stage_command

        command = stage_command("package")
        assert command is not None
        with command.make_context("package", [model, *ctx.args], parent=ctx.parent) as inner:
            command.invoke(inner)
        return
    as_json = "--json" in ctx.args
    if [one for one in ctx.args if one != "--json"]:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(ctx.args)})", ctx)
    found = context.shop.find(model, "package")
    if edge:
        from mofang.serve.edge import write_edge

        made = write_edge(found, out or Path(f"{model.replace('@', '-')}-edge"))
        context.say("{path} answers with numpy and onnxruntime alone ({size} kB, {n} requests answered as here)",
                    "{path} 只需 numpy 和 onnxruntime 即可应答（{size} kB，{n} 条请求的答案与本机一致）",
                    path=made.path, size=round(made.size_bytes / 1e3), n=made.requests)
        context.next(f"python {made.path / 'run.py'} \"…\"")
        return
    from mofang.cli.travel import write_package

    assert out is not None
    write_package(context, model, out, as_json)
