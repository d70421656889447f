"""Members: a customer's people and what keys of theirs are good for."""

from __future__ import annotations

import shlex

import click

from mofang.cli.context import Context, Names, listing, pass_context
from mofang.core.language import say


@click.group(cls=Names)
def member() -> None:
    """A customer's people and their roles; alone, the list."""


@member.command("add")
@click.argument("customer")
@click.argument("name")
@click.option("--role", type=click.Choice(["owner", "developer", "accounts"]), default="developer", show_default=True,
              help="What keys of theirs are good for.")
@pass_context
def member_add(context: Context, customer: str, name: str, role: str) -> None:
    """Add one of a customer's people, or change the role."""
    from mofang.trade.accounts import members

    made = context.shop.act(members.member_add, customer=customer, name=name, role=role)
    context.say("{name} of {customer}: {role}, keys good for {scopes}", "{customer} 的 {name}：{role}，密钥可用于 {scopes}",
                name=made.name, customer=customer, role=made.role, scopes=", ".join(members.ROLES[made.role]))
    context.next(f"mofang key new {shlex.quote(customer)} --member {shlex.quote(name)}")


@member.command("remove")
@click.argument("customer")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def member_remove(context: Context, customer: str, name: str, yes: bool) -> None:
    """Take a member away; all keys of theirs end now."""
    from mofang.trade.accounts import members

    asked = say("All keys of {name} end now, for good.", "{name} 的所有密钥将立即失效，无法恢复。", name=name)
    gone = context.confirm_act([asked], yes, members.member_remove, customer=customer, name=name)
    context.say("{name} is gone, {count} keys ended", "已移除 {name}，{count} 个密钥失效", name=gone.name, count=len(gone.keys))


@member.command("list")
@listing
@pass_context
def member_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List the people of all customers."""
    from mofang.trade.accounts.lists import all_members

    rows = [{"customer": who, "member": one.name, "role": one.role, "keys": count}
            for who, one, count in all_members(context.shop)]
    context.table(rows, {"customer": say("customer", "客户"), "member": say("member", "成员"), "role": say("role", "角色"),
                         "keys": say("keys", "密钥")}, as_json=as_json, as_csv=as_csv)
