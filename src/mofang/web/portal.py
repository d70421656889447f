"""A customer's own page: ``/account`` on the serving address, for who holds a key and has no program at hand.

The key is pasted once and exchanged for a session cookie (``trade/accounts/sessions``), which only these pages are sent, no
script can read and no other site can use; it ends after an hour, and with its key within a second. What a key may not ask
is not shown. Everything that takes time is done on threads; a prediction never waits for a page.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.language import current_language, language_of, say, set_language
from mofang.trade.accounts.sessions import SESSION_S, form_token, session_of
from mofang.trade.request.desk import Desk, Reply, Who, check_scope
from mofang.trade.shown.own import own_bills, own_leases, own_use
from mofang.web import account, invoiced
from mofang.web.forms import Form, read_form
from mofang.web.guessing import Limit
from mofang.web.rendering import LANGUAGE_COOKIE, SAFE, STYLE, rendered
from mofang.web.routes import Exchange, Route

COOKIE = "mofang_account"
PATH = "/account"
LOGIN = PATH + "/login"
LOGIN_BYTES_MAX = 1 << 16
HTML = (b"content-type", b"text/html; charset=utf-8")
HSTS = (b"strict-transport-security", b"max-age=31536000")
FILE_KINDS = ("csv", "jsonl", "json", "tsv")
BILL_STATES = {"open": ("open", "未付"), "part": ("partly paid", "部分付款"), "paid": ("paid", "已付"), "credited": ("given back", "已退还")}
LEASE_STATES = {"early": ("not begun", "未开始"), "good": ("running", "有效"), "grace": ("in grace", "宽限期"), "ended": ("ended", "已到期"),
                "revoked": ("revoked", "已终止")}
CUSTOM_STATES = {"ordered": ("ordered", "已下单"), "queued": ("queued", "排队中"), "running": ("running", "训练中"),
                 "declined": ("no better than the base", "未达标"), "delivered": ("delivered", "已交付"),
                 "deleting": ("being deleted", "删除中"),
                 "deleted": ("deleted", "已删除")}
DONE = {"taken": ("The records were taken.", "记录已接收。"),
        "before": ("These records were here before; nothing changed.", "这些记录此前已上传，没有重复。")}
limit = Limit()  # wrong keys, by address; of this process
Handler = Callable[[Exchange], Awaitable[Reply | None]]


def cookies(call: Exchange) -> dict[str, str]:
    """What the browser keeps."""
    try:
        return {name: one.value for name, one in SimpleCookie(call.headers.get(b"cookie", b"")[:4096].decode("latin-1")).items()}
    except CookieError:
        return {}


def resumed(call: Exchange) -> Who:
    """Who asks: the one point where a page is let in. Raises ``session-over``."""
    _speak(call)
    return cast(Desk, call.desk).resume(cookies(call).get(COOKIE, ""))


def _speak(call: Exchange) -> None:
    chosen = cookies(call).get(LANGUAGE_COOKIE) or call.headers.get(b"accept-language", b"").decode("latin-1")
    set_language(language_of(chosen or "en"))


def _tls(call: Exchange) -> bool:
    return call.scope.get("scheme") == "https"


def _page(call: Exchange, body: bytes, status: int = 200) -> Reply:
    return Reply(status, body, (HTML, *SAFE, *((HSTS,) if _tls(call) else ())))


def _go(where: str, *headers: tuple[bytes, bytes]) -> Reply:
    return Reply(303, b"", ((b"location", where.encode()), *SAFE, *headers))


def _cookie(call: Exchange, name: str, value: str, seconds: int) -> tuple[bytes, bytes]:
    secure = "; Secure" if _tls(call) else ""
    return b"set-cookie", f"{name}={value}; Max-Age={seconds}; Path={PATH}; HttpOnly; SameSite=Strict{secure}".encode()


def refuse_page(error: MofangError, call: Exchange) -> Reply:
    """A refusal as a page, made without a template so that a flood of them costs nothing; who is not signed in is sent there."""
    if error.code == "session-over":
        return _go(LOGIN)
    _speak(call)
    what, fix = error.worded(current_language())
    text = (f'<!doctype html><html lang="{"zh-CN" if current_language() == "zh" else "en"}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(error.code)}</title>'
            f'<link rel="stylesheet" href="{PATH}/style.css"></head><body><main>'
            f'<div class="problem" role="alert"><h1>{escape(what)}</h1>'
            f'<p>{escape(fix)}</p><p><small>{escape(error.code)}</small></p></div>'
            f'<p><a href="{PATH}">{escape(say("Back to the account", "返回账户"))}</a></p></main></body></html>')
    return _page(call, text.encode(), error.status)


# Coming in


async def login_page(call: Exchange) -> Reply:
    """The form for a key."""
    _speak(call)
    return _page(call, await asyncio.to_thread(rendered, "portal/login.html", "CNY", problem=None))


async def login(call: Exchange) -> Reply:
    """Exchange a key for a session; wrong ones count against their address."""
    _speak(call)
    form = await _form(call, LOGIN_BYTES_MAX)
    desk, key = cast(Desk, call.desk), form.get("key", "")
    try:
        found = desk.admit(key.strip() if isinstance(key, str) else "")
    except MofangError as error:
        address = str((call.scope.get("client") or ("?",))[0])
        told = MofangError("too-many-tries") if error.code != "directory-stale" and limit.failed(address) else error
        call.statistics.refuse(told.code, told.status)
        return _page(call, await asyncio.to_thread(rendered, "portal/login.html", "CNY", problem=told), told.status)
    made = session_of(found.key, desk.directory.pepper, now_us())
    return _go(PATH, _cookie(call, COOKIE, made, SESSION_S))


async def leave(call: Exchange) -> Reply:
    """End the session in this browser."""
    await _own_form(call, LOGIN_BYTES_MAX)
    return _go(LOGIN, _cookie(call, COOKIE, "", 0))


async def language(call: Exchange) -> Reply:
    """The other language."""
    wanted = language_of(next(iter(account.asked(call).get("to", [])), "en"))
    return _go(PATH, _cookie(call, LANGUAGE_COOKIE, wanted, 31_536_000))


async def style(call: Exchange) -> Reply:
    """The style sheet; it may be kept for an hour."""
    kept = tuple(one for one in SAFE if one[0] != b"cache-control")
    return Reply(200, STYLE.read_bytes(), ((b"content-type", b"text/css"), *kept, (b"cache-control", b"max-age=3600")))


async def _form(call: Exchange, most: int) -> Form:
    """A form from a page of this address."""
    origin, host = (call.headers.get(name, b"").decode("latin-1").lower() for name in (b"origin", b"host"))
    if origin and origin not in (f"https://{host}", *(() if _tls(call) else (f"http://{host}",))):
        raise MofangError("form-foreign")
    length = call.headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > most:
        raise MofangError("body-too-large", most=most)
    return read_form(call.headers.get(b"content-type", b"").decode("latin-1"), await call.body())


async def _own_form(call: Exchange, most: int) -> Form:
    """The same, and with the token that the page was given."""
    form = await _form(call, most)
    wanted = form_token(cookies(call).get(COOKIE, ""), cast(Desk, call.desk).directory.pepper)
    if not hmac.compare_digest(str(form.get("form_token", "")).encode(), wanted.encode()):
        raise MofangError("form-foreign")
    return form


# Looking


async def own(call: Exchange) -> Reply:
    """The account on one page."""
    done = DONE.get(next(iter(account.asked(call).get("done", [])), ""))
    return _page(call, await asyncio.to_thread(_account, cast(Desk, call.desk), call.who, cookies(call)[COOKIE], done))


def _account(desk: Desk, who: Who, session: str, done: tuple[str, str] | None, problem: MofangError | None = None) -> bytes:
    picture, papers = desk.directory.picture, desk.accounts.papers
    key, customer = who.key, who.customer
    rooms = desk.own.told(customer) if desk.own is not None else []
    held = [picture.limits[scope] for scope in (f"{key.account}/", f"{key.account}/{key.id}") if scope in picture.limits]
    facts: dict[str, Any] = {
        "use": _allowed(lambda: own_use(desk.accounts.reader, customer, key, held, desk.accounts.utc_offset)),
        "bills": _allowed(lambda: own_bills(papers.shop, customer, key)) if papers else [],
        "leases": _allowed(lambda: own_leases(papers.shop, customer, key)) if papers else [],
        "customs": [one for one in rooms if not key.models or one["name"] in key.models],
        "sends": not key.scopes or "predict" in key.scopes}
    return rendered("portal/account.html", customer.currency, customer=customer, key=key,
                    token=form_token(session, desk.directory.pepper),
                    bill_states=BILL_STATES, lease_states=LEASE_STATES, custom_states=CUSTOM_STATES, kinds=FILE_KINDS,
                    done=say(*done) if done else "", problem=problem, **facts)


def _allowed(read: Callable[[], Any]) -> Any:
    """What a key may see; None where it is good for other things."""
    try:
        return read()
    except MofangError as error:
        if error.code != "key-may-not":
            raise
        return None


def private(handler: Handler) -> Handler:
    """A file of the API's, for a browser that showed a key; nobody keeps it on the way."""
    async def answered(call: Exchange) -> Reply | None:
        reply = await handler(call)
        return None if reply is None else Reply(reply.status, reply.body, (*reply.headers, *SAFE))

    return answered


async def add(call: Exchange) -> Reply:
    """Take a file of the customer's own records; the same one again is taken once."""
    desk, name = cast(Desk, call.desk), call.params["customisation"]
    form = await _own_form(call, 1 << 40)  # the server's own bound holds
    file, kind = form.get("file", b""), str(form.get("kind", ""))
    if desk.own is None:
        raise MofangError("customise-unknown", name=name, nearest="-")
    check_scope(call.who.key, name)
    if kind not in FILE_KINDS or not isinstance(file, bytes):
        raise MofangError("form-unreadable")
    try:
        told = await asyncio.to_thread(desk.own.add, call.who.customer, name, file, kind)
    except MofangError as error:
        call.statistics.refuse(error.code, error.status)
        page = await asyncio.to_thread(_account, desk, call.who, cookies(call)[COOKIE], None, error)
        return _page(call, page, error.status)
    return _go(f"{PATH}?done={'before' if told['repeated'] else 'taken'}")


ROUTES = (
    Route("GET", PATH, "session", own, "A page: the caller's own use, balance, limits, bills, leases and models.",
          "网页：调用方自己的用量、余额、限制、账单、租约与定制。", refuse=refuse_page),
    Route("GET", LOGIN, "open", login_page, "A page: where a key is pasted.", "网页：粘贴密钥。", refuse=refuse_page),
    Route("POST", LOGIN, "open", login, "Exchange a key for a session of an hour.", "用密钥换取一小时的会话。", refuse=refuse_page),
    Route("POST", PATH + "/leave", "session", leave, "End the session.", "结束会话。", refuse=refuse_page),
    Route("GET", PATH + "/usage.csv", "session", private(account.used_file), "A month's use, as `/v1/usage.csv` gives it.",
          "某月用量，与 `/v1/usage.csv` 一致。", refuse=refuse_page),
    Route("GET", PATH + "/invoices/{number}/{kind}", "session", private(invoiced.file), "One of the caller's invoices as a file.",
          "调用方的某张账单文件。", refuse=refuse_page),
    Route("POST", PATH + "/customisations/{customisation}", "session", add,
          "Send a file of own records for a model of one's own.", "为自己的定制模型上传记录。", refuse=refuse_page),
    Route("GET", PATH + "/language", "open", language, "Change the language.", "切换语言。", refuse=refuse_page),
    Route("GET", PATH + "/style.css", "open", style, "The style sheet.", "样式表。", refuse=refuse_page),
)
