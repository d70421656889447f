"""The command group: lists commands without importing them, and is the one boundary where errors become words."""

from __future__ import annotations

import errno
import importlib
import keyword
import os
import sys
from typing import Any

import click

from mofang.cli.child import handed
from mofang.cli.context import Context
from mofang.core.errors import MofangError
from mofang.core.language import current_language, language_of, say, set_language
from mofang.core.resume import typed

# name: (module, English, Chinese); the groups are the four headings of the help screen
COMMANDS: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = {
    ("Make", "制作"): {
        "new": ("make", "look at a file or folder and write a recipe for it", "查看文件或文件夹，为它写一份配方"),
        "run": ("make", "run a recipe: from records to a named model", "运行配方：从记录得到有名字的模型"),
        "plan": ("plan", "what a training will need: memory, time, money, energy", "训练之前：内存、用时、费用、能耗各需多少"),
        "show": ("make", "print a model's report again", "再看一次模型的报告"),
        "source": ("source", "register databases, APIs, web pages and stores to collect from", "登记要采集的数据库、接口、网页和存储"),
        "predict": ("make", "ask a model, without server or key", "直接询问模型，无需服务器和密钥"),
        "generate": ("ask", "have a generator write an answer", "让文本生成模型写出回答"),
        "search": ("ask", "find the texts that mean what a few words say", "按含义查找文本"),
        "label": ("label", "have people label records, and make one answer out of many", "请人标注记录，并把多人的回答合成一个"),
    },
    ("Sell", "销售"): {
        "serve": ("serve", "answer requests over HTTP, metered", "通过 HTTP 应答请求并计量"),
        "release": ("release", "put a version on sale: at once, as canary, in the shadow, A/B", "上线一个版本：直接、金丝雀、影子或 A/B"),
        "rollback": ("release", "go back to the release before", "回到上一个发布版"),
        "deploy": ("release", "which release answers, and what was seen of it", "由哪个发布版应答，以及观察到的情况"),
        "sell": ("offer", "sell a model to a customer: customer, price and key in one", "把模型卖给客户：客户、价格、密钥一步完成"),
        "customer": ("sell", "add, list and top up customers", "添加、查看客户，给客户充值"),
        "key": ("sell", "issue, list, rotate and revoke keys", "签发、查看、轮换和吊销密钥"),
        "member": ("member", "a customer's people, and what their keys are good for", "客户的成员，以及其密钥的用途"),
        "limit": ("limit", "how fast, how many at once, how much money a month", "限制速率、并发数和每月预算"),
        "price": ("offer", "set and list prices", "设定和查看价格"),
        "lease": ("lease", "lease a model for offline use, or run a leased one", "出租模型供离线使用，或运行租来的模型"),
        "remote": ("elsewhere", "sell models of engines elsewhere, behind our keys and meter", "出售别处引擎上的模型，由本店管密钥和计量"),
        "invoice": ("sell", "bill a customer for a period", "为客户出具一个周期的账单"),
        "solution": ("solution", "models, recipe, limits and support as one signed file", "模型、配方、限额和支持条款打包成一个签名文件"),
        "pay": ("books", "book a customer's payment", "登记客户付款"),
        "credit": ("books", "give back part of an invoice's line", "退还账单某一行的一部分"),
        "fapiao": ("fapiao", "fields for tax invoices, and their numbers", "发票所需字段与发票号码"),
        "outbox": ("outbox", "tell webhooks and Stripe of bills and payments", "向 Webhook 和 Stripe 通知账单与付款"),
        "usage": ("books", "a customer's use by day, key and model", "客户用量：按日、密钥和模型"),
        "customise": ("customise", "a customer's own model, taught from a release and own records", "用发布版和客户自己的记录训练其专属模型"),
    },
    ("Look back", "回看"): {
        "status": ("status", "the day on one screen (also: bare mofang)", "一屏看完今天（直接输入 mofang 也可）"),
        "models": ("look", "list named models", "列出有名字的模型"),
        "runs": ("look", "list runs, also failed and unfinished ones", "列出运行记录，含失败和未完成的"),
        "trace": ("look", "from a result back to data, licence and cost", "从结果追溯到数据、许可和成本"),
        "diff": ("data", "what changed between two sets of records or two snapshots", "两份记录或两个快照之间的变化"),
        "replay": ("replay", "repeat one answer on the release that gave it", "用当时的发布版重放一次应答"),
        "costs": ("money", "what was earned, what it cost, what is left", "收入、成本和毛利"),
        "reconcile": ("reconcile", "answered, metered, billed: do they agree?", "应答、计量、账单是否一致"),
        "jobs": ("jobs", "what runs by itself: when last, what it found", "自动运行的任务：上次何时运行、发现了什么"),
        "verify": ("look", "check the ledger, the journals and every file", "核对账本、日志和每一个文件"),
        "private": ("privacy", "counts and means with noise, on one privacy budget", "带噪声的计数和均值，共用一份隐私预算"),
        "reveal": ("privacy", "open a pseudonym, with its key", "用密钥还原一个假名"),
        "backup": ("keep", "copy the shop while it serves, and check the copy", "不停机备份模坊并核对副本"),
        "restore": ("keep", "make a shop out of a backup, equal in every byte", "从备份恢复模坊，逐字节一致"),
    },
    ("More", "更多"): {
        "demo": ("more", "a model's whole life on real reviews", "用真实评论走完模型的一生"),
        "export": ("travel", "write a model, or records, for another shop or other tools", "把模型或记录写成文件，带到另一个模坊或其他工具"),
        "package": ("travel", "write a model into the file that a server starts from", "把模型写成服务器可直接启动的文件"),
        "up": ("up", "from a model's file to a service that survives reboot", "从模型文件到重启后仍在运行的服务"),
        "import": ("travel", "take in a model from another shop's file", "导入另一个模坊的模型文件"),
        "fingerprint": ("travel", "this shop's key, to compare by telephone", "本店公钥的指纹，供对方核对"),
        "erase": ("erase", "erase a person out of everything, and see what was made from them", "从一切数据中抹除一个人，并列出由其数据得到的内容"),
        "sweep": ("keep", "remove what nobody needs, after showing it", "清理无用的文件，先列出再询问"),
        "matrix": ("more", "what works for which kind of model", "哪些功能适用于哪类模型"),
        "console": ("console", "the shop in a browser, and for people on other machines", "在浏览器里看模坊，也供其他机器上的人使用"),
        "invite": ("people", "let somebody work in this shop from another machine", "邀请他人从别的机器使用这个模坊"),
        "people": ("people", "list and remove people, and change what they may do", "查看、移除成员，更改其权限"),
        "join": ("people", "take up an invitation to a shop", "接受一个模坊的邀请"),
        "rates": ("money", "say what a machine hour costs", "设定机器每小时的成本"),
        "settings": ("money", "seller, tax number, time zone: what bills say of you", "卖方名称、税号、时区等账单设置"),
        "doctor": ("more", "say in words what is missing here", "用文字说明本机缺少什么"),
        "explain": ("more", "explain a word", "解释一个词"),
    },
}
STAGE = "stage"  # `mofang stage export`: a stage by its name, also where a command has the same one
PLACES = {name: place for group in COMMANDS.values() for name, place in group.items()}


class Mofang(click.Group):
    """Commands by name; stages come from stages.lock, so that only the chosen one is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from mofang.core.lock import locked

        return [*PLACES, STAGE, *locked()["stages"]]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in PLACES:
            module = importlib.import_module(f"mofang.cli.{PLACES[name][0]}")
            command: click.Command = getattr(module, f"{name}_" if keyword.iskeyword(name) else name)
            return self._kept(self._spoken(command))
        from mofang.cli.stages import stage_command, stages_group

        found = stages_group() if name == STAGE else stage_command(name)
        return found and self._kept(found)

    def _kept(self, command: click.Command) -> click.Command:
        """Inside a console's child the command sees only what its person lent it."""
        lent = handed()
        if lent is None:
            return command
        from mofang.cli.guarded import guarded

        return guarded(command, lent)

    def get_help(self, ctx: click.Context) -> str:
        """The help screen in the language of the screen."""
        spoken = self._spoken(self)
        assert isinstance(spoken, Mofang)
        return super(Mofang, spoken).get_help(ctx)

    def _spoken(self, command: click.Command) -> click.Command:
        if current_language() == "en":
            return command
        from mofang.cli.chinese import in_chinese

        return in_chinese(command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from mofang.core.nearest import nearest

            raise MofangError("command-unknown", command=args[0], nearest=nearest(args[0], self.list_commands(ctx)))
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name is not None and handed() is None and _shop_named(ctx.params.get("shop_path")).remote:
            from mofang.cli.remote import place_of

            command = place_of(command, name, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from mofang.core.lock import locked

        for (en, zh), commands in COMMANDS.items():
            with formatter.section(say(en, zh)):
                formatter.write_dl([(name, say(place[1], place[2])) for name, place in commands.items()])
        stages = ", ".join(f"{STAGE} {name}" if name in PLACES else name for name in locked()["stages"])
        with formatter.section(say("Single stages", "单个阶段")):
            formatter.write_text(stages or "-")


def _chosen_language() -> str:
    for name in ("MOFANG_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return os.environ[name]
    return "en"


def _speak(_ctx: click.Context, _option: click.Parameter, chosen: Any) -> None:
    """``--lang`` holds for the help screen too, so it is looked at before everything else."""
    if chosen:
        set_language(chosen)


@click.group(cls=Mofang, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--shop", "shop_path", metavar="FOLDER|URL",
              help="The shop's folder (default: ./shop, searched upwards; MOFANG_SHOP), or the address of one elsewhere.")
@click.option("--lang", type=click.Choice(["en", "zh"]), is_eager=True, expose_value=False, callback=_speak,
              help="Language of the screen (default: the locale's; MOFANG_LANG).")
@click.option("--verbose", is_flag=True, help="Show a traceback for unexpected errors.")
@click.version_option(package_name="mofang", message="mofang %(version)s")
@click.pass_context
def cli(ctx: click.Context, shop_path: str | None, verbose: bool) -> None:
    """Mofang 模坊: from your own records to a model that you can sell."""
    ctx.obj = _shop_named(shop_path, verbose, ctx.invoked_subcommand or "")
    if ctx.invoked_subcommand is not None:
        return
    from mofang.cli.status import status

    if ctx.obj.remote:
        from mofang.cli.remote import forward

        ctx.exit(forward(ctx.obj, ["status"], status.make_context("status", [], parent=ctx)))
    ctx.invoke(status)


def _shop_named(shop_path: str | None, verbose: bool = False, command: str = "") -> Context:
    """The shop that was named; in a console's child the one it was handed, whatever else is said."""
    lent = handed()
    return Context(lent.shop if lent else shop_path or os.environ.get("MOFANG_SHOP") or "", verbose, command)


def run(arguments: list[str]) -> int:
    """Run the command line; the exit status. 1 for a user's mistake, 2 for wrong usage, 130 after Ctrl-C."""
    lent = handed()
    set_language(language_of(lent.language if lent else _chosen_language()))
    typed(arguments)
    try:
        found = cli.main(arguments, prog_name="mofang", standalone_mode=False)
        return found if isinstance(found, int) else 0
    except MofangError as error:
        _complain(error.what, error.fix, error.code, "--json" in arguments)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        _complain(say("Stopped.", "已停止。"),
                  say("Nothing is lost; the same command continues: mofang {words}", "没有丢失任何内容；同一条命令会继续：mofang {words}",
                      words=" ".join(arguments)), "stopped", False)
        return int(getattr(stop.__cause__ or stop, "status", 130))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `mofang runs | head`
        return 0
    except Exception as error:  # the one boundary of this face: our own mistake, said as such
        if _is_disk_full(error):
            full = MofangError("disk-full", place=getattr(error, "filename", None) or os.getcwd())
            _complain(full.what, full.fix, full.code, "--json" in arguments)
            return 1
        from mofang.core.database import is_damage

        if is_damage(error):
            damaged = MofangError("database-damaged", place="ledger.db, meter.db", detail=str(error).partition(" with text ")[0])
            _complain(damaged.what, damaged.fix, damaged.code, "--json" in arguments)
            return 1
        if "--verbose" in arguments:
            raise
        _complain(say("Mofang itself made a mistake: {kind}: {text}", "这是模坊自身的错误：{kind}：{text}",
                      kind=type(error).__name__, text=str(error)[:300]),
                  say("Run it again with `mofang --verbose …` and report what it prints.",
                      "请用 `mofang --verbose …` 再运行一次，并把输出报告给我们。"), "internal", "--json" in arguments)
        return 70


def _is_disk_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error)


def _complain(what: str, fix: str, code: str, as_json: bool) -> None:
    if as_json:
        import orjson

        click.echo(orjson.dumps({"error": {"code": code, "what": what, "fix": fix}}).decode())
        return
    lead = click.style("✗ ", fg="red") if sys.stderr.isatty() else "✗ "
    click.echo(f"{lead}{what}\n→ {fix}  [{code}]", err=True)
