"""The day on one screen, as facts: what is live, what was earned, spent and is owed, what is unfinished, what to look at.

Every figure comes from a folded table, an index or a small file; nothing here reads all of anything.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mofang.core.clock import behind_us, day_of
from mofang.core.history import running, spent_since, unfinished
from mofang.core.identity import now_us
from mofang.core.kept import read_kept
from mofang.core.language import say
from mofang.core.money import format_micros, round_half_even_minor
from mofang.core.resume import resume_command
from mofang.core.watched import files_in_git
from mofang.trade.accounts.customers import Customer, customers
from mofang.trade.accounts.keys import Key, keys
from mofang.trade.accounts.limits import low_budgets
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.accounts.standing import unusual
from mofang.trade.billing.balance import balance_of
from mofang.trade.billing.claims import Claim, invoices_of
from mofang.trade.keeping.sight import Sight, sight
from mofang.trade.live import serving
from mofang.trade.pricing.earnings import Earned, earned_since
from mofang.trade.pricing.prices import price_at, prices

if TYPE_CHECKING:
    from mofang.core.shop import Shop

WEEK_US, HOUR_US = 7 * 86_400_000_000, 3_600_000_000
FAILS = 3  # in a row, before it is an alert
DISK_LOW_BYTES = 1_000_000_000
SILENT_S = 10
CARE = ("verify-old", "backup-never", "backup-old")


@dataclass(frozen=True)
class Alert:
    """Something to look at: a stable code, a sentence, and the command that mends it (empty if none does)."""

    code: str
    words: str
    command: str = ""


@dataclass
class Today:
    """One morning's facts. Money in micros; ``spent_*`` None while no machine rate is set."""

    models: list[str]
    live: list[dict[str, Any]]
    today: Earned
    month: Earned
    spent_today: int | None
    spent_month: int | None
    spent_s: float
    owed: int
    unbilled: int
    unfinished: list[dict[str, Any]]
    running: list[dict[str, Any]]
    disk_free_bytes: int
    verified: dict[str, Any] | None
    backed_up: dict[str, Any] | None
    jobs: Sight
    alerts: list[Alert] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON."""
        return {
            "models": self.models, "live": self.live, "requests_today": self.today.requests, "test_requests_today":
            self.today.test_requests, "earned_today_micros": self.today.micros, "requests_month": self.month.requests,
            "earned_month_micros": self.month.micros, "spent_today_micros": self.spent_today,
            "spent_month_micros": self.spent_month, "computed_month_s": self.spent_s, "owed_micros": self.owed,
            "unbilled_micros": self.unbilled, "unfinished": self.unfinished, "running": self.running,
            "alerts": [vars(one) for one in self.alerts], "disk_free_bytes": self.disk_free_bytes, "verified": self.verified,
            "backed_up": self.backed_up, "jobs": self.jobs.rows, "reconciled": self.jobs.reconciled, "next": self.next,
        }


def today_of(shop: Shop) -> Today:
    """Everything the screen shows. Nothing is changed, beside counts that catch up with the ledger."""
    from mofang.trade.pricing.costs import money_spent

    open_books(shop)
    day = day_of(now_us(), shop_offset(shop))
    books = Books(shop)
    names = {one.name: one for one in reversed(shop.names("package"))}
    kept, month = read_kept(shop.path), spent_since(shop.ledger, f"{day[:7]}-01", shop_offset(shop))
    found = Today(
        models=[str(one) for one in names.values()], live=serving(shop), today=earned_since(shop, day),
        month=earned_since(shop, f"{day[:7]}-01"),
        spent_today=money_spent(shop, spent_since(shop.ledger, day, shop_offset(shop)))[0],
        spent_month=money_spent(shop, month)[0], spent_s=round(month.wall_s, 1), owed=books.owed, unbilled=books.unbilled,
        unfinished=[{"stage": one.body["stage"], "entry": one.id, "at_us": one.at_us,
                     "resume": resume_command(shop.path / "scratch" / one.key)} for one in unfinished(shop.ledger)],
        running=[{"stage": one.body["stage"], "entry": one.id, "at_us": one.at_us} for one in running(shop.ledger)],
        disk_free_bytes=shutil.disk_usage(shop.path).free, verified=kept.get("verify"), backed_up=kept.get("backup"),
        jobs=sight(shop))
    found.alerts = [*_machine(shop, found), *_jobs(found.jobs), *books.alerts(sorted(names)), *_care(shop, found)]
    found.next = _next(found, books, sorted(names))
    return found


class Books:
    """Customers with what they owe, their keys and the prices, read once."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.customers: list[Customer] = customers(shop.control)
        self.claims: list[Claim] = invoices_of(shop.control)
        self.keys: list[Key] = keys(shop.control)
        self.priced = {one.model for one in prices(shop.control) if price_at([one], now_us())}
        self.month = day_of(now_us(), shop_offset(shop))[:7]
        self.balances = {one.id: balance_of(shop.control, one.id, now_us(), shop_offset(shop))
                         for one in self.customers if not one.test}
        billed: dict[str, int] = {}
        for claim in self.claims:
            notes = sum(micros for _, micros in claim.fixed.get("notes", ()))
            exact = claim.total_micros + notes if claim.exact_micros is None else claim.exact_micros
            billed[claim.account] = billed.get(claim.account, 0) + exact
        used = {account: balance.debited + balance.charged for account, balance in self.balances.items()}
        self.open = {account: max(0, round_half_even_minor(micros - billed.get(account, 0), shop.currency))
                     for account, micros in used.items()}

    @property
    def owed(self) -> int:
        """What was used or charged and neither paid in advance nor given back, of all customers."""
        return sum(round_half_even_minor(max(0, -balance.left), self.shop.currency)
                   for balance in self.balances.values())

    @property
    def unbilled(self) -> int:
        """What stands on no invoice yet."""
        return sum(self.open.values())

    def live_keys(self) -> list[Key]:
        """Keys that are billed and good now."""
        now = now_us()
        return [key for key in self.keys if not key.test and not key.revoked_us and (not key.expires_us or key.expires_us > now)]

    def alerts(self, models: list[str]) -> list[Alert]:
        """What stops a customer or a bill."""
        found = []
        free = sorted({model for key in self.live_keys() for model in models if model not in self.priced
                       and (not key.models or model in {one.partition("@")[0] for one in key.models})})
        for model in free:
            found.append(Alert("price-missing", say("There are live keys, but {model} has no price: it refuses them.",
                                                    "已有正式密钥，但 {model} 没有价格，会拒绝它们。", model=model),
                               f"mofang price set {model} 5.00/1000"))
        spent = [one.name for one in self.customers if one.id in self.balances and self.balances[one.id].debited
                 and self.balances[one.id].available + self.balances[one.id].held <= 0]
        if spent:
            found.append(Alert("credit-used-up", say("Money used up, so requests are refused: {names}.", "额度已用完，请求会被拒绝：{names}。",
                                                     names=say(", ", "、").join(spent[:3])),
                               f"mofang customer limit {shlex.quote(spent[0])} ¥…"))
        names = {one.id: one.name for one in self.customers}
        for claim in self.claims:
            if not claim.entry:
                found.append(Alert("invoice-unfinished", say("Invoice {number} was cut short.", "账单 {number} 尚未生成完。",
                                                             number=claim.number),
                                   f"mofang invoice {shlex.quote(names[claim.account])} --period {claim.period}"))
        for one in unusual(self.shop.control, shop_offset(self.shop)):
            found.append(Alert("volume-unusual", say("{name} has asked {n} times today; {usual} are usual.",
                                                     "{name} 今天已请求 {n} 次；平常为 {usual} 次。", name=one.customer,
                                                     n=f"{one.requests:,}", usual=f"{one.usual:,}"),
                               f"mofang usage {shlex.quote(one.customer)}"))
        return [*found, *self._low(), *self._over()]

    def _low(self) -> list[Alert]:
        """Budgets that passed their soft line this month."""
        names = {one.id: one.name for one in self.customers}
        low = [(names[one.account], one) for one in low_budgets(self.shop.control, self.month) if one.account in names]
        return [Alert("budget-low", say("The budget of {name}{key} runs low this month.", "{name}{key} 本月的预算即将用完。", name=name,
                                        key=f" ({one.key})" if one.key else ""), f"mofang limit show {shlex.quote(name)}")
                for name, one in low[:3]]

    def _over(self) -> list[Alert]:
        """Months that are over and stand on no invoice."""
        sql = """select distinct account, substr(day, 1, 7) from usage_day where test=0 and micros>0 and day<? order by 2, 1"""
        billed = {(claim.account, claim.period) for claim in self.claims}
        names = {one.id: one.name for one in self.customers if self.open.get(one.id)}
        late = [(names[account], month) for account, month in self.shop.control.rows(sql, (f"{self.month}-01",))
                if account in names and (account, month) not in billed]
        if not late:
            return []
        others = len({name for name, _ in late}) - 1
        more = say(" (and {n} other customers)", "（另有 {n} 位客户）", n=others) if others else ""
        name, month = late[0]
        words = say("{month} is over and not billed yet: {name}{more}.", "{month} 已结束，尚未出账：{name}{more}。", month=month,
                    name=name, more=more)
        return [Alert("month-not-billed", words, f"mofang invoice {shlex.quote(name)} --period {month}")]


def _machine(shop: Shop, found: Today) -> list[Alert]:
    """The clock, the disk, git, servers that say nothing."""
    alerts = []
    late = behind_us(shop.ledger.db, shop.control)
    if late:
        alerts.append(Alert("clock-behind", say(
            "This machine's clock is {hours:.1f} hours behind what the shop holds; no invoices until it is set.",
            "本机时钟比模坊已有的记录慢了 {hours:.1f} 小时；校准之前不出账单。", hours=late / 3.6e9)))
    if found.disk_free_bytes < DISK_LOW_BYTES:
        alerts.append(Alert("disk-low", say("Only {free:.2f} GB are free on the shop's disk.", "模坊所在磁盘只剩 {free:.2f} GB。",
                                            free=found.disk_free_bytes / 1e9), "mofang sweep --dry-run"))
    tracked = files_in_git(shop.path)
    if tracked:
        alerts.append(Alert("in-git", say("{n} files of the shop are in git; records and keys do not belong there.",
                                          "模坊有 {n} 个文件被 git 跟踪；记录和密钥不应放进 git。", n=len(tracked)),
                            f"git rm -r -f --cached {shlex.quote(str(shop.path))}"))
    for one in found.live:
        if one["silent_s"] > SILENT_S:
            alerts.append(Alert("server-silent", say(
                "The server at {address} has said nothing for {s:.0f} s.", "{address} 的服务已有 {s:.0f} 秒没有响应。",
                address=one["address"], s=one["silent_s"])))
    return alerts


def _jobs(found: Sight) -> list[Alert]:
    """What jobs found, jobs that fail again and again, and what nobody took."""
    alerts = []
    if found.reconciled is not None and found.reconciled["wrong"]:
        alerts.append(Alert("reconcile-differs", say("Answers, usage and bills differ in {n} places.", "应答、计量与账单有 {n} 处不符。",
                                                     n=found.reconciled["wrong"]), "mofang reconcile"))
    for one in found.jobs.values():
        if one.fails >= FAILS:
            alerts.append(Alert("job-failing", say("The job {job} has failed {n} times in a row ({code}).",
                                                   "任务 {job} 已连续失败 {n} 次（{code}）。", job=one.name, n=one.fails, code=one.said),
                                "mofang jobs"))
    for end in found.outbox:
        if end.given_up:
            alerts.append(Alert("outbox-given-up", say("{name} has not taken {n} events after the last try.",
                                                       "{name} 有 {n} 条通知在最后一次尝试后仍未接收。", name=end.endpoint, n=end.given_up),
                                f"mofang outbox send --again {shlex.quote(end.endpoint)}"))
        elif end.waiting and now_us() - end.oldest_us > HOUR_US:
            alerts.append(Alert("outbox-late", say("{name} has not been told {n} events, the oldest for {hours:.0f} hours.",
                                                   "{name} 有 {n} 条通知未送达，最早的已 {hours:.0f} 小时。", name=end.endpoint, n=end.waiting,
                                                   hours=(now_us() - end.oldest_us) / HOUR_US), "mofang jobs"))
    return alerts


def _care(shop: Shop, found: Today) -> list[Alert]:
    """The last check and the last backup."""
    alerts, now = [], now_us()
    if found.verified and found.verified.get("wrong"):
        alerts.append(Alert("verify-wrong", say("The last check found {n} things that do not fit.", "上次核对发现 {n} 处不符。",
                                                n=found.verified["wrong"]), "mofang verify"))
    old = now - int(shop.settings.get("made_us", now)) > WEEK_US
    if (found.verified is None and old) or (found.verified and now - int(found.verified["at_us"]) > WEEK_US):
        alerts.append(Alert("verify-old", say("The books were not checked for more than a week.", "账目已超过一周没有核对。"),
                            "mofang verify"))
    if found.backed_up is None and (old or found.month.requests):
        alerts.append(Alert("backup-never", say("There is no backup yet.", "还没有任何备份。"), "mofang backup"))
    elif found.backed_up and now - int(found.backed_up["at_us"]) > WEEK_US:
        alerts.append(Alert("backup-old", say("The last backup is older than a week.", "最近一次备份已超过一周。"), "mofang backup"))
    return alerts


def _next(found: Today, books: Books, models: list[str]) -> list[str]:
    """At most three commands, the most pressing first."""
    wanted = list(dict.fromkeys(one["resume"] for one in reversed(found.unfinished) if one["resume"]))[:1]
    wanted += [one.command for one in found.alerts if one.command and one.code not in CARE]
    sold = bool(books.live_keys())
    if not models:
        wanted.append("mofang new YOUR-FILE")
    else:
        name = next((model for model in models if model in books.priced), models[0])
        if not sold:
            wanted += [f"mofang predict {name} …", f"mofang sell {name} --to CUSTOMER --price 5.00/1000"]
        if not found.live:
            wanted.append(f"mofang serve {name}")
    wanted += [one.command for one in found.alerts if one.code in CARE]
    if sold:
        wanted.append("mofang costs")
    return list(dict.fromkeys(wanted))[:3] or ["mofang verify"]


def money(micros: int | None, currency: str) -> str:
    """An amount, or that nobody has said what compute costs."""
    if micros is None:
        return say("rate not set", "未设费率")
    return format_micros(round_half_even_minor(micros, currency), currency)
