"""The pages of a console: the day, models to try, runs, and those of ``money``. Plain HTML, in English and Chinese.

No script, no framework, nothing from outside; a strict content policy is set at the gate. A page may show what its
reader's roles allow and nothing else.
"""

from __future__ import annotations

import copy
import functools
import re
import shutil
import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from mofang.core.errors import MofangError
from mofang.core.history import recent, unfinished
from mofang.core.identity import permit_roles
from mofang.core.language import language_of, say
from mofang.core.money import format_micros
from mofang.core.shop import Shop
from mofang.trade.pricing.earnings import earned_today
from mofang.web.entrance import SESSION_S, Entrance, Who
from mofang.web.gate import COOKIE, MEGA, Route, Rules
from mofang.web.money import bills, customers, outbox, prices, sold
from mofang.web.rendering import LANGUAGE_COOKIE, STYLE, rendered

OPEN_MODELS, RUNS_SHOWN, SCORES_SHOWN = 3, 200, 20
ROUTES = (
    Route("GET", "/", "look", "The day on one page.", "一页看完今天。"),
    Route("GET", "/models", "look", "Models.", "模型列表。"),
    Route("GET", "/models/{name}", "look", "A form for one model.", "某个模型的试用表单。"),
    Route("POST", "/models/{name}", "look", "Ask a model; free and not metered.", "向模型提问；不收费、不计量。", 12 * MEGA),
    Route("GET", "/runs", "look", "The newest runs.", "最近的运行。"),
    Route("GET", "/runs/{id}", "look", "One run.", "某次运行。"),
    Route("GET", "/login", "anybody", "Where a personal token is pasted.", "粘贴个人令牌的页面。", written=False),
    Route("POST", "/login", "anybody", "Exchange a personal token for a session.", "用个人令牌换取会话。"),
    Route("GET", "/enter", "anybody", "Exchange the one-time link for a session.", "用一次性链接换取会话。"),
    Route("POST", "/leave", "joined", "End the session.", "结束会话。"),
    Route("GET", "/join", "anybody", "What to do with an invitation.", "如何使用邀请。", written=False),
    Route("GET", "/language", "anybody", "Change the language.", "切换语言。", written=False),
    Route("GET", "/style.css", "anybody", "The style sheet.", "样式表。", written=False),
    *customers.ROUTES, *bills.ROUTES, *prices.ROUTES, *sold.ROUTES, *outbox.ROUTES,
)
STATES = {"done": ("done", "完成"), "reused": ("reused", "沿用"), "failed": ("failed", "失败"), "running": ("running", "运行中"),
          "abandoned": ("broken off", "中断")}
KINDS_OF_ENTRY = {"done": "done", "reuse": "reused", "fail": "failed", "start": "running"}
ROLE_WORDS = {"look": ("look", "查看"), "label": ("label", "标注"), "train": ("train", "训练"), "release": ("release", "发布"),
              "money": ("money", "财务"), "everything": ("everything", "所有权限")}


MENU = (("/", "Today", "今天", "look"), ("/models", "Models", "模型", "look"), ("/runs", "Runs", "运行", "look"),
        ("/customers", "Money", "财务", "money"))
MONEY_MENU = (("/customers", "Customers", "客户", "money"), ("/invoices", "Invoices", "账单", "money"),
              ("/prices", "Prices", "价格", "money"), ("/costs", "Costs", "成本", "money"), ("/leases", "Leases", "租约", "money"),
              ("/customisations", "Own models", "定制", "money"), ("/solutions", "Solutions", "解决方案", "money"),
              ("/outbox", "Outbox", "通知", "money"), ("/reconcile", "Check", "对账", "money"))


class Pages:
    """The handlers; blocking ones run on threads, each with a connection of its own."""

    def __init__(self, shop: Shop, entrance: Entrance, rules: Rules) -> None:
        self._shop = shop
        self._threads = threading.local()
        self.entrance = entrance
        self.rules = rules
        self.predictor = functools.lru_cache(OPEN_MODELS)(self._open)

    def add_to(self, app: FastAPI) -> None:
        """Answer every route of the table."""
        handlers: tuple[Callable[..., Any], ...] = (
            self.status, self.models, self.model, self.ask, self.runs, self.run, self.login_page,
            self.login, self.enter, self.leave, self.join, self.language, self.style,
            *customers.Customers(self).handlers(), *bills.Bills(self).handlers(), *prices.Prices(self).handlers(),
            *sold.Sold(self).handlers(), *outbox.Outbox(self).handlers())
        for route, handler in zip(ROUTES, handlers, strict=True):
            app.add_api_route(route.path, handler, methods=[route.method], response_model=None)

    def shop(self) -> Shop:
        """The shop, on this thread's own connection."""
        if not hasattr(self._threads, "shop"):
            self._threads.shop = self._shop.again()
        found: Shop = self._threads.shop
        return found

    def acting(self, request: Request) -> Shop:
        """The same, acting for whoever asks: what is done is done with that person's roles, and written down under that name."""
        shop = copy.copy(self.shop())
        shop.actor = request.state.who.actor
        return shop

    # Coming in

    def login_page(self, request: Request) -> Response:
        """The form for a token."""
        return self.page("login.html", request)

    def login(self, request: Request) -> Response:
        """A pasted token."""
        token = str(request.state.form.get("token", "")).strip()
        return self._let_in(self.entrance.login(token, request.state.address))

    def enter(self, request: Request, once: str = "") -> Response:
        """The owner's one-time link."""
        return self._let_in(self.entrance.enter(once[:100], request.state.address))

    def leave(self, request: Request) -> Response:
        """End of the session."""
        self.entrance.leave(request.state.session)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=self.rules.secure)
        return answer

    def _let_in(self, session: str) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session, max_age=int(SESSION_S), path="/", httponly=True, samesite="strict",
                          secure=self.rules.secure)
        return answer

    def join(self, request: Request) -> Response:
        """What to type."""
        return self.page("join.html", request)

    def language(self, to: str = "en", back: str = "/") -> Response:
        """The other language, on the same page."""
        answer = RedirectResponse(back if re.fullmatch(r"/([\w@.-]+/?)*", back) else "/", 303)
        answer.set_cookie(LANGUAGE_COOKIE, language_of(to), max_age=31_536_000, path="/", httponly=True, samesite="strict",
                          secure=self.rules.secure)
        return answer

    def style(self) -> Response:
        """The style sheet; it may be kept for an hour."""
        return Response(STYLE.read_bytes(), media_type="text/css", headers={"cache-control": "max-age=3600"})

    # Looking

    def status(self, request: Request) -> Response:
        """The day."""
        shop, who = self.shop(), request.state.who
        today = earned_today(shop) if permit_roles(who.actor, "money") else None
        roles = say(", ", "、").join(say(*ROLE_WORDS[one]) for one in sorted(who.actor.roles))
        return self.page("status.html", request, models=self._models(newest=True), today=today, roles=roles,
                          open_runs=unfinished(shop.ledger)[-5:], free=shutil.disk_usage(shop.path).free)

    def models(self, request: Request) -> Response:
        """All versions of all models."""
        return self.page("models.html", request, models=self._models())

    def runs(self, request: Request) -> Response:
        """The newest runs."""
        states = {name: say(*words) for name, words in STATES.items()}
        return self.page("runs.html", request, runs=recent(self.shop().ledger, RUNS_SHOWN), states=states)

    def run(self, request: Request, id: str) -> Response:
        """One entry of the ledger that is a run."""
        shop = self.shop()
        entry = shop.ledger.get(id[:60])
        if entry.kind not in KINDS_OF_ENTRY or entry.owner != shop.actor.owner:
            raise MofangError("entry-unknown", entry=id[:60])
        state = say(*STATES[KINDS_OF_ENTRY[entry.kind]])
        return self.page("run.html", request, entry=entry, state=state, facts=self._facts(request.state.who, entry.body))

    def _facts(self, who: Who, body: dict[str, Any]) -> list[tuple[str, str]]:
        facts = []
        if body.get("licences"):
            facts.append((say("licences", "许可"), ", ".join(body["licences"])))
        cost = body.get("cost", {}).get("total")
        if cost:
            facts.append((say("seconds", "秒"), f"{cost['wall_s']:.1f}"))
            facts.append((say("peak memory", "内存峰值"), f"{cost['peak_mb']:.0f} MB"))
            if permit_roles(who.actor, "money"):
                known = cost["micros"] is not None
                facts.append((say("cost", "成本"), format_micros(cost["micros"], self._shop.currency) if known
                              else say("rate not set", "未设费率")))
        return facts

    # Trying

    def model(self, request: Request, name: str) -> Response:
        """The form that a model's signature asks for."""
        named, inputs = self._signature(name)
        return self.page("model.html", request, name=named, inputs=inputs, given={}, answer=None, scores=[], problem=None)

    def ask(self, request: Request, name: str) -> Response:
        """One answer."""
        from mofang.engine.request import parse_records, request_form
        from mofang.engine.said import answer_scores, answer_words

        named, inputs = self._signature(name)
        given = request.state.form
        answer, problem = None, None
        try:
            predictor = self.predictor(named)
            record = {one["name"]: _value(given.get(one["name"], ""), one["role"]) for one in inputs}
            answer = predictor.predict(parse_records(predictor.signature, request_form(record))[0])[0]
        except MofangError as error:
            problem = error
        scores = answer_scores(answer, SCORES_SHOWN) if answer else []
        said = answer.get("label") or answer_words(answer) if answer else ""
        shown = {key: value for key, value in given.items() if isinstance(value, str)}
        page = self.page("model.html", request, name=named, inputs=inputs, given=shown, answer=answer, said=said, scores=scores,
                          problem=problem)
        page.status_code = problem.status if problem else 200
        return page

    def _signature(self, name: str) -> tuple[str, list[Any]]:
        named = str(self.shop().named(name[:100], kind="package"))
        return named, list(self.predictor(named).signature["inputs"])

    def _open(self, name: str) -> Any:
        from mofang.engine.opening import open_package

        return open_package(self._shop.again().find(name, kind="package"))

    def _models(self, newest: bool = False) -> list[dict[str, str]]:
        shop, rows, seen = self.shop(), [], set()
        for one in shop.names("package"):
            if newest and one.name in seen:
                continue
            seen.add(one.name)
            artifact = shop.artifact(shop.ledger.get(one.entry))
            rows.append({"name": str(one), "figure": _figure(artifact), "licences": ", ".join(artifact.licences)})
        return rows

    # Rendering

    def page(self, template: str, request: Request, **values: Any) -> Response:
        """A page of a template, for whoever asks."""
        text = self._rendered(template, request.state.who, request.url.path, **values)
        return Response(text, media_type="text/html; charset=utf-8")

    def _rendered(self, template: str, who: Who | None, path: str = "/", **values: Any) -> bytes:
        def permits(may: str) -> bool:
            return who is not None and permit_roles(who.actor, may)

        here = "/" + path.split("/")[1]
        return rendered(template, self._shop.currency, who=who, menu=_worded(MENU), money_menu=_worded(MONEY_MENU),
                        permits=permits, in_money=here in {one[0] for one in MONEY_MENU}, path=path, here=here, **values)

    def error(self, error: MofangError, who: Who | None) -> bytes:
        """A page that says what happened and what to do."""
        return self._rendered("problem.html", who, problem=error)


def _value(given: str | bytes, role: str) -> Any:
    """A field of a form as a request would write it."""
    if role == "image":
        return given if isinstance(given, bytes) else b""
    text = given if isinstance(given, str) else ""
    if role == "number" and text.strip():
        from mofang.data.columns import number_of

        try:
            return number_of(text)
        except ValueError:
            return text  # refused in words where requests are read
    return text if role == "text" else text.strip() or None


def _figure(package: Any) -> str:
    """The first test figure of a package; a dash where its file is gone."""
    try:
        evaluation = package.read_json("package.json")["evaluation"]
        found = evaluation["metrics"][evaluation["headline"]]
    except (MofangError, ValueError, KeyError):
        return "–"
    words = {"accuracy": say("accuracy", "准确率"), "f1_macro": say("macro-F1", "宏平均 F1")}
    interval = "" if found.get("low") is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"{words.get(evaluation['headline'], evaluation['headline'])} {found['value']:.3f}{interval}"


def _worded(menu: tuple[tuple[str, str, str, str], ...]) -> list[tuple[str, str, str]]:
    return [(path, say(en, zh), may) for path, en, zh, may in menu]
