"""People: invite, list, remove, and join a shop on another machine."""

from __future__ import annotations

import shlex
from typing import Any

import click

from mofang.cli.child import handed
from mofang.cli.context import Context, Names, listing, pass_context, when
from mofang.core.language import say

ROLES = click.Choice(["look", "label", "train", "release", "money", "owner"])
ROLE_WORDS = {"look": "查看", "label": "标注", "train": "训练", "release": "发布", "money": "财务", "owner": "所有者"}
STATE_WORDS = {"invited": "已邀请", "joined": "已加入", "link expired": "邀请过期", "token expired": "令牌过期", "removed": "已移除"}


@click.command()
@click.argument("name")
@click.option("--role", "roles", type=ROLES, multiple=True, help="What the person may do (repeat for several).")
@click.option("--days", default=2.0, show_default=True, help="How long the link is good.")
@click.option("--token-days", default=365.0, show_default=True, help="How long the person's token is good after joining.")
@click.option("--address", default="", help="How the person reaches this shop, e.g. https://shop.example.com.")
@pass_context
def invite(context: Context, name: str, roles: tuple[str, ...], days: float, token_days: float, address: str) -> None:
    """Let somebody work in this shop from another machine: prints a link that works once.

    Inviting somebody again replaces a lost token; the roles stay, unless others are given.
    """
    from mofang.manage.people import person_invite
    from mofang.web.client import checked_address
    from mofang.web.console import running_address

    shop = context.shop
    lent = handed()
    known = address or (lent.address if lent else "") or running_address(shop)
    made = shop.act(person_invite, name=name, roles=roles, days=days, token_days=token_days)
    context.say("{name} may: {roles}. The link works once, until {until}:", "{name} 的角色：{roles}。链接只能用一次，有效期至 {until}：",
                name=made.name, roles=_shown(made.roles), until=when(made.ends_us))
    click.echo(f"{checked_address(known or 'http://127.0.0.1:8090')}/join#{made.token}")
    context.say("Send it to this person alone; it is not stored and cannot be shown again.",
                "请只发给本人；系统不保存链接，之后无法再次显示。")
    if not known:
        context.say("No console runs here yet; start one, and give --address if people reach it by another name.",
                    "这里还没有运行控制台；请先启动，如果别人用其他地址访问，请加 --address。")
        context.next("mofang console", "mofang people")
        return
    context.next("mofang people")


def _shown(roles: tuple[str, ...]) -> str:
    return ", ".join(say(role, ROLE_WORDS[role]) for role in roles)


@click.group(cls=Names)
def people() -> None:
    """List and remove people, and change what they may do; alone, the list."""


@people.command("list")
@listing
@pass_context
def people_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List people with their roles, and when they were last here."""
    from mofang.core.identity import now_us
    from mofang.manage.people import all_people
    from mofang.manage.visits import last_visit

    shop, now = context.shop, now_us()
    shop.require("people")
    rows: list[dict[str, Any]] = []
    for one in all_people(shop):
        state, last = one.state(now), last_visit(shop.journals, one.id)
        ends = one.expires_us if state == "joined" else one.invitation_us if state == "invited" else 0
        roles = list(one.roles) if as_json else _shown(one.roles)
        rows.append({"person": one.name, "roles": roles, "state": state if as_json or as_csv else say(state, STATE_WORDS[state]),
                     "ends": when(ends) if ends else "–", "last": when(last) if last else "–"})
    context.table(rows, {"person": say("person", "成员"), "roles": say("roles", "角色"), "state": say("state", "状态"),
                         "ends": say("good until", "有效期至"), "last": say("last here", "最近访问")}, as_json=as_json, as_csv=as_csv)
    if not rows and not (as_json or as_csv):
        context.next("mofang invite NAME --role look")


@people.command("remove")
@click.argument("name")
@pass_context
def people_remove(context: Context, name: str) -> None:
    """Shut somebody out now; running consoles refuse the token within a second."""
    from mofang.manage.people import person_remove

    made = context.shop.act(person_remove, name=name)
    context.say("{name} is removed: token and open link no longer work.", "{name} 已移除：令牌和未使用的链接都已失效。", name=made.name)
    context.next("mofang people")


@people.command("roles")
@click.argument("name")
@click.option("--role", "roles", type=ROLES, multiple=True, required=True, help="What the person may do (repeat for several).")
@pass_context
def people_roles(context: Context, name: str, roles: tuple[str, ...]) -> None:
    """Give somebody other roles, in place of those before."""
    from mofang.manage.people import person_roles

    made = context.shop.act(person_roles, name=name, roles=roles)
    context.say("{name} may: {roles}", "{name} 的角色：{roles}", name=made.name, roles=_shown(made.roles))
    context.next("mofang people")


@click.command()
@click.argument("link")
@pass_context
def join(context: Context, link: str) -> None:
    """Take up an invitation: from now on this user's commands may work in that shop."""
    from mofang.core import token as tokens
    from mofang.core.errors import MofangError
    from mofang.manage.people import INVITATION
    from mofang.web.client import Client, checked_address, save, saved, token_file

    place, _, invitation = link.strip().partition("#")
    address = checked_address(place.removesuffix("/join"))
    if tokens.id_in(invitation, INVITATION) is None:
        raise MofangError("invitation-unknown")
    kept = saved(address) if token_file(address).exists() else {}
    began = kept.get("begun", {}) if kept.get("begun", {}).get("invitation") == invitation[:19] else {}
    token = began.get("token") or tokens.new_token("person")[1]  # made here, so that a lost answer can be asked for again
    save(address, {**kept, "begun": {"invitation": invitation[:19], "token": token}})
    client = Client(address)
    try:
        made = client.ask("POST", "/api/join", {"invitation": invitation, "token": token})
    finally:
        client.close()
    file = save(address, {"address": address, "name": made["name"], "token": token})
    context.say("You are {name} in the shop at {address}: {roles}", "您已加入 {address} 的模坊，身份是 {name}，角色：{roles}",
                name=made["name"], address=address, roles=_shown(tuple(made["roles"])))
    context.say("Your token is good until {until} and lies in {file}, readable by you alone.",
                "令牌有效期至 {until}，保存在 {file}，只有您能读取。", until=when(made["expires_us"]), file=file)
    context.next(f"export MOFANG_SHOP={shlex.quote(address)}", "mofang status")
