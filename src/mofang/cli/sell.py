"""Sell: customer, key, invoice."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from mofang.cli import terms
from mofang.cli.context import Context, Names, NewFile, listing, pass_context, when
from mofang.core.language import say


@click.group(cls=Names)
def customer() -> None:
    """Add, list and top up customers; alone, the list."""


@customer.command("new")
@click.argument("name")
@click.option("--credit", help="How much may be owed in a month, e.g. ¥1000 (prepaid customers: 0).")
@click.option("--test", is_flag=True, help="A test customer: gets test keys only, and never an invoice.")
@pass_context
def customer_new(context: Context, name: str, credit: str | None, test: bool) -> None:
    """Add a customer."""
    from mofang.trade.accounts import customers

    _show_customer(context, context.shop.act(customers.customer_new, name=name, test=test, currency=context.shop.currency,
                                             **({} if credit is None else {"credit": credit})))
    context.next(f"mofang key new {shlex.quote(name)}" + (" --test" if test else ""))


@customer.command("limit")
@click.argument("customer")
@click.argument("credit")
@pass_context
def customer_limit(context: Context, customer: str, credit: str) -> None:
    """Change how much a customer may owe in a month (0 makes it prepaid)."""
    from mofang.trade.accounts import customers

    _show_customer(context, context.shop.act(customers.customer_limit, customer=customer, credit=credit))


@customer.command("priority")
@click.argument("customer")
@click.argument("priority", type=click.Choice(["high", "normal", "low"]))
@pass_context
def customer_priority(context: Context, customer: str, priority: str) -> None:
    """Say whose requests go first where a server is busy."""
    from mofang.trade.accounts import customers

    made = context.shop.act(customers.customer_priority, customer=customer, priority=priority)
    context.say("Requests of {customer} wait in the line {priority}; running servers follow within a second.",
                "{customer} 的请求排在“{priority}”队列；运行中的服务在一秒内生效。", customer=made.name, priority=priority)


@customer.command("keep")
@click.argument("customer")
@click.option("--days", type=click.IntRange(0, 3660), required=True, help="For so many days; 0 keeps nothing from now on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def customer_keep(context: Context, customer: str, days: int, yes: bool) -> None:
    """Keep what a customer asks and is answered, encrypted, for some days. Otherwise nothing of it is kept."""
    from mofang.trade.accounts import customers

    asked = [say("The texts of {customer}'s requests will be kept for {days} days; their plan must say so.",
                 "将保存客户 {customer} 的请求内容 {days} 天；其合同必须写明这一点。", customer=customer, days=days)] if days else []
    made = context.confirm_act(asked, yes, customers.customer_keep, customer=customer, days=days)
    context.say("texts of {name}: kept for {days} days" if days else "texts of {name}: not kept",
                "{name} 的请求内容：保存 {days} 天" if days else "{name} 的请求内容：不保存", name=made.name, days=days)


def _show_customer(context: Context, made: Any) -> None:
    from mofang.core.money import format_micros

    context.say("customer {name}  {id}  credit {credit} a month", "客户 {name}  {id}  每月额度 {credit}", name=made.name,
                id=made.id, credit=format_micros(made.credit_micros, made.currency))


@customer.command("list")
@listing
@pass_context
def customer_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List customers with what they used and may still use."""
    from mofang.core.money import format_micros
    from mofang.trade.accounts.lists import accounts

    rows = [{"customer": one.name, "id": one.id, "credit": format_micros(one.credit_micros, one.currency),
             "used": format_micros(balance.month, one.currency),
             "charged": format_micros(balance.charged_month, one.currency),
             "left": format_micros(balance.available, one.currency)}
            for one, balance in accounts(context.shop)]
    words = {"customer": say("customer", "客户"), "id": "id", "credit": say("credit a month", "每月额度"),
             "used": say("used this month", "本月已用"), "charged": say("charged once", "一次性收费"), "left": say("left", "剩余")}
    context.table(rows, words, as_json=as_json, as_csv=as_csv)


@customer.command("top-up")
@click.argument("customer")
@click.argument("amount")
@click.option("--reference", required=True, help="The payment's own reference; the same one is never booked twice.")
@pass_context
def customer_top_up(context: Context, customer: str, amount: str, reference: str) -> None:
    """Book a payment in advance."""
    from mofang.core.money import format_micros
    from mofang.trade.accounts import customers

    made = context.shop.act(customers.customer_top_up, customer=customer, amount=amount, reference=reference)
    context.say("{money} booked for {customer}{again}", "已为 {customer} 入账 {money}{again}", customer=customer,
                money=format_micros(made.micros, made.currency),
                again=say(" (already booked; nothing changed)", "（此前已入账，没有重复）") if made.repeated else "")


@customer.command("credit-note")
@click.argument("customer")
@click.argument("amount")
@click.option("--reason", required=True, help="Why; it stands on the next invoice. The same reason is never booked twice.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def customer_credit_note(context: Context, customer: str, amount: str, reason: str, yes: bool) -> None:
    """Give back part of what was charged: usable at once, and a line of the next invoice."""
    from mofang.core.money import format_micros, parse_amount
    from mofang.trade.accounts import customers

    shop = context.shop
    asked = say("{customer} gets {money} back: {reason}. It cannot be taken back.",
                "将向 {customer} 退还 {money}：{reason}。此操作无法撤销。", customer=customer, reason=reason,
                money=format_micros(parse_amount(amount, shop.currency), shop.currency))
    made = context.confirm_act([asked], yes, customers.credit_note, customer=customer, amount=amount, reason=reason)
    context.say("{money} given back to {customer}{again}", "已向 {customer} 退还 {money}{again}", customer=customer,
                money=format_micros(made.micros, shop.currency),
                again=say(" (already booked; nothing changed)", "（此前已登记，没有重复）") if made.repeated else "")
    context.next(f"mofang invoice {shlex.quote(customer)} --preview", "mofang customer")


terms.add_to(customer)


@click.group(cls=Names)
def key() -> None:
    """Issue, list, rotate and revoke keys; alone, the list."""


@key.command("new")
@click.argument("customer")
@click.option("--test", is_flag=True, help="A test key: metered, free, never invoiced.")
@click.option("--model", "models", multiple=True, help="Only this model (repeat for several).")
@click.option("--days", default=0.0, help="Ends by itself after so many days.")
@click.option("--label", default="", help="A note for yourself.")
@click.option("--may", "scopes", multiple=True, help="Good only for this: predict, usage, invoices (repeat for several).")
@click.option("--member", default="", help="Whose key it is; good for what the role allows, ends when they go.")
@pass_context
def key_new(context: Context, /, **settings: Any) -> None:
    """Give a customer a key. It is shown this once."""
    from mofang.trade.accounts import keys

    _show_key(context, context.shop.act(keys.key_new, **settings))


@key.command("rotate")
@click.argument("key")
@click.option("--overlap-days", default=7.0, show_default=True, help="How long the old key goes on working.")
@click.option("--lost", is_flag=True, help="The old key was lost or seen by others: it ends now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def key_rotate(context: Context, key: str, overlap_days: float, lost: bool, yes: bool) -> None:
    """Give a new key with the same rights; with --lost the old one ends now."""
    from mofang.trade.accounts import keys

    if lost:
        context.confirm([_key_ends(context, key)], yes)
    made = context.shop.act(keys.key_rotate, key=key, overlap_days=0 if lost else overlap_days)
    if lost:
        context.say("The old key ended now; running servers refuse it within a second.", "旧密钥已立即失效；运行中的服务在一秒内拒绝它。")
    _show_key(context, made)


def _show_key(context: Context, made: Any) -> None:
    from mofang.trade.accounts.lists import customer_names

    context.say("key {id} for {customer}", "密钥 {id}，客户 {customer}", id=made.id,
                customer=customer_names(context.shop)[made.account])
    click.echo(made.token)
    context.say("Keep it now: it is not stored and cannot be shown again.", "请立即保存：系统不保存明文，之后无法再次显示。")


def _key_ends(context: Context, key: str) -> str:
    """What ending a key now means, for whom."""
    from mofang.trade.accounts.keys import find_key
    from mofang.trade.accounts.lists import customer_names

    names = customer_names(context.shop)
    found = find_key(context.shop.control, key)
    return say("Key {id} of {customer} ends now, for good: requests with it are refused within a second.",
               "客户 {customer} 的密钥 {id} 将立即失效，无法恢复：使用它的请求在一秒内被拒绝。", id=found.id, customer=names[found.account])


@key.command("revoke")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def key_revoke(context: Context, key: str, yes: bool) -> None:
    """End a key now; running servers refuse it within a second."""
    from mofang.trade.accounts import keys

    context.confirm([_key_ends(context, key)], yes)
    made = context.shop.act(keys.key_revoke, key=key)
    context.say("key {id} is revoked", "密钥 {id} 已吊销", id=made.id)
    context.next("mofang key")


@key.command("list")
@listing
@pass_context
def key_list(context: Context, as_json: bool, as_csv: bool) -> None:
    """List keys (never their secrets)."""
    from mofang.trade.accounts.lists import all_keys, customer_names

    names = customer_names(context.shop)
    rows = [{"key": one.id, "customer": names[one.account], "kind": "test" if one.test else "live", "label": one.label,
             "models": ", ".join(one.models) or "*", "may": ", ".join(one.scopes) or "*",
             "member": one.member or "–", "made": when(one.created_us),
             "ends": when(one.expires_us) if one.expires_us else "–", "revoked": when(one.revoked_us) if one.revoked_us else "–"}
            for one in all_keys(context.shop)]
    words = {"key": say("key", "密钥"), "customer": say("customer", "客户"), "kind": say("kind", "种类"),
             "label": say("label", "备注"), "models": say("models", "模型"), "may": say("may", "用途"),
             "member": say("member", "成员"), "made": say("made", "签发"), "ends": say("ends", "到期"), "revoked": say("revoked", "吊销")}
    context.table(rows, words, as_json=as_json, as_csv=as_csv)
    if rows and not (as_json or as_csv):
        context.say("A key is shown once. Lost? Give a new one; with --lost the old one ends now:",
                    "密钥只显示一次。丢失了？换发新密钥；加上 --lost，旧密钥立即失效：")
        context.next("mofang key rotate KEY --lost", "mofang key revoke KEY")


@click.command()
@click.argument("customer", required=False)
@click.option("--period", help="The month, e.g. 2026-11 (default: this month).")
@click.option("--preview", is_flag=True, help="Show what the invoice would say; nothing is issued.")
@click.option("--early", is_flag=True, help="Bill a month that is not over; later use goes on the next invoice.")
@click.option("--clock-checked", is_flag=True, help="The clock is right, though the shop holds something from later.")
@click.option("--out", type=NewFile(), help="Where to write the PDF (or, NAME.json, the JSON).")
@listing
@pass_context
def invoice(context: Context, customer: str | None, period: str | None, preview: bool, early: bool, clock_checked: bool,
            out: Path | None, as_json: bool, as_csv: bool) -> None:
    """Bill a customer for a period. Without a CUSTOMER, list the invoices."""
    from mofang.cli.bill import list_invoices, show_document

    if customer is None:
        list_invoices(context, as_json, as_csv)
        return
    from mofang.core.canonical import canonical
    from mofang.core.identity import now_us
    from mofang.core.language import current_language
    from mofang.trade.billing import issuing as billing

    shop = context.shop
    language = shop.settings.get("invoice_language") or current_language()
    if preview:
        document, pdf = billing.invoice_preview(shop, customer, period or "", language)
        if out:
            out.write_bytes(canonical(document) if out.suffix == ".json" else pdf)
        show_document(context, document, out, as_json, as_csv)
        if not (as_json or as_csv):
            running = document["period"]["to_us"] > now_us()
            context.next(f"mofang invoice {shlex.quote(customer)} --period {document['period']['name']}" + " --early" * running)
        return
    claim = shop.act(billing.invoice_issue, customer=customer, period=period, language=language, early=early,
                     clock_checked=clock_checked)
    written = billing.save_pdf(shop, claim.number, out or Path(f"{claim.number}.pdf"))
    show_document(context, billing.invoice_document(shop, claim.number), written, as_json, as_csv)
    if not (as_json or as_csv):
        context.next(f"mofang trace {claim.number} 1")
