"""From any result back to its source, licence and cost, and forwards to everything made from it.

Pure functions over ledger entries: nothing is stored for a trace, so a trace can never differ from the
ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mofang.core.ancestry import shop_label
from mofang.core.errors import MofangError
from mofang.core.foreign import (
    IMPORT,
    ForeignEntry,
    foreign_by_prefix,
    foreign_entries,
    foreign_entry,
    foreign_shop,
)
from mofang.core.language import say
from mofang.core.ledger import Entry, Ledger
from mofang.core.lineage import elsewhere_line as elsewhere_line
from mofang.core.lineage import lineage_cost as lineage_cost
from mofang.core.money import format_micros

if TYPE_CHECKING:
    from rich.tree import Tree

SOURCE_FACTS = (
    "source",
    "licence",
    "terms",
    "origin",
    "consent",
    "obtained",
    "retain",
    "retain_until",
    "person",
)  # settings of a stage that brings records in from outside
LONGEST_VALUE = 64  # a SHA-256 in full
SHORT_ID = 17  # of an id's 30 letters: the time to a millisecond and a little chance


@dataclass(frozen=True)
class Node:
    """One step of a trace: what was made, by which stage, below it the steps it was made from (or into)."""

    stage: str
    kind: str = ""
    entry: str = ""
    digest: str = ""
    within: str = ""
    name: str = ""
    at_us: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    cost: dict[str, Any] = field(default_factory=dict)
    again: bool = False
    shop: str = ""  # the other shop that this step was made in; empty for this one
    currency: str = ""  # of that shop's money
    below: tuple[Node, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The tree as JSON, without empty fields."""
        found = {name: value for name, value in self.__dict__.items() if value and name != "below"}
        return found | ({"below": [node.to_dict() for node in self.below]} if self.below else {})


def ancestors(ledger: Ledger, entry: str, within: str = "", seen: set[str] | None = None) -> Node:
    """What an entry was made from, down to the sources. What was shown before is named again, not repeated.

    Raises ``entry-unknown``. Share ``seen`` between calls to show one tree with several roots.
    """
    seen = set() if seen is None else seen
    found = ledger.get(entry)
    if entry in seen:
        return _node(ledger, found, within, again=True)
    seen.add(entry)
    below = []
    if brought := found.body.get("foreign"):
        below.append(foreign_ancestors(ledger, brought["shop"], brought["entry"], seen=seen))
    if found.body.get("returned"):  # an outer run that hands on what a nested run made
        below.append(ancestors(ledger, found.body["returned"], seen=seen))
    shown = {one.entry for node in below for one in walk(node)}
    for given in found.body.get("inputs", []):
        if given["entry"] not in shown or not below:
            below.append(ancestors(ledger, given["entry"], given.get("within", ""), seen))
    return _node(ledger, found, within, below=tuple(below))


def foreign_ancestors(ledger: Ledger, shop: str, entry: str, within: str = "", seen: set[str] | None = None) -> Node:
    """What an entry of another shop was made from, as far as that shop showed it; of its records it says who holds them.

    What came from this shop originally goes on in its own ledger. Raises ``entry-unknown``.
    """
    seen = set() if seen is None else seen
    found = foreign_entry(ledger.db, shop, entry)
    if found is None:
        return ancestors(ledger, entry, within, seen)
    if f"{shop}/{entry}" in seen:
        return _foreign_node(ledger, found, within, again=True)
    seen.add(f"{shop}/{entry}")
    below = []
    if found.view.get("returned"):
        below.append(foreign_ancestors(ledger, shop, found.view["returned"], seen=seen))
    shown = {one.entry for node in below for one in walk(node)}
    for given in found.view["inputs"]:
        if given["entry"] not in shown or not below:
            below.append(foreign_ancestors(ledger, shop, given["entry"], given["within"], seen))
    if brought := found.view.get("foreign"):
        below.append(foreign_ancestors(ledger, brought["shop"], brought["entry"], seen=seen))
    node = _foreign_node(ledger, found, within, below=tuple(below))
    if below:
        return node
    return replace(node, below=(Node(stage="records", facts={"held_by": node.shop}, shop=node.shop),))


def descendants(ledger: Ledger, entry: str, seen: set[str] | None = None) -> Node:
    """Everything that was made from an entry, directly or by way of others. Failed attempts made nothing."""
    seen = set() if seen is None else seen
    found = ledger.get(entry)
    if entry in seen:
        return _node(ledger, found, again=True)
    seen.add(entry)
    children = (ledger.get(child) for child in ledger.children(entry))
    made = [
        child
        for child in children
        if child.kind not in ("start", "fail") and child.body.get("decision") != "name"
    ]
    return _node(ledger, found, below=tuple(descendants(ledger, child.id, seen) for child in made))


def foreign_descendants(ledger: Ledger, shop: str, entry: str, seen: set[str] | None = None) -> Node:
    """Everything known to be made from an entry of another shop: there, and here from the packages it became."""
    seen = set() if seen is None else seen
    known = {one.id: one for one in foreign_entries(ledger.db, shop)}
    found = known.get(entry)
    if found is None:
        return descendants(ledger, entry, seen)
    if f"{shop}/{entry}" in seen:
        return _foreign_node(ledger, found, again=True)
    seen.add(f"{shop}/{entry}")
    below = [foreign_descendants(ledger, shop, one.id, seen) for one in known.values() if entry in one.references]
    for other, id in _brought_by(ledger, shop, entry):
        below.append(foreign_descendants(ledger, other, id, seen) if other else descendants(ledger, id, seen))
    return _foreign_node(ledger, found, below=tuple(below))


def _brought_by(ledger: Ledger, shop: str, entry: str) -> Iterator[tuple[str, str]]:
    """The imports of this package: (shop, entry) of other shops, then ("", entry) of this one."""
    brought = {"shop": shop, "entry": entry}
    for row in ledger.db.rows("select shop from foreign_shop order by shop"):
        for one in foreign_entries(ledger.db, row[0]):
            if (one.view.get("foreign") or {}).items() >= brought.items():
                yield one.shop, one.id
    for own in ledger.entries("done"):
        if own.body.get("stage") == IMPORT and own.body["foreign"].items() >= brought.items():
            yield "", own.id


def find_foreign(ledger: Ledger, text: str) -> ForeignEntry | None:
    """An entry of another shop by the unique beginning of its id, or None; raises ``id-ambiguous``."""
    found = foreign_by_prefix(ledger.db, text) if "_" in text else []
    if len(found) > 1 and found[0].id != text:
        raise MofangError("id-ambiguous", id=text, first=found[0].id, second=found[1].id)
    return found[0] if found else None


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it."""
    yield node
    for one in node.below:
        yield from walk(one)


def _node(
    ledger: Ledger, entry: Entry, within: str = "", *, again: bool = False, below: tuple[Node, ...] = ()
) -> Node:
    body = entry.body
    settings = dict(body.get("settings", {}))
    facts = {name: settings.pop(name) for name in SOURCE_FACTS if name in settings}
    facts |= {name: body[name] for name in ("of", "journal", "number", "file") if body.get(name)}
    if brought := body.get("foreign"):
        facts |= {"from_shop": shop_label(brought["shop"], brought["name"]), "fingerprint": brought["fingerprint"]}
    output = body.get("output", {})
    return Node(
        stage=body.get("stage") or body.get("decision") or entry.kind,
        kind=output.get("kind", ""),
        entry=entry.id,
        within=within,
        digest=output.get("digest", ""),
        name=_name(ledger, entry.id),
        at_us=entry.at_us,
        settings=settings,
        facts=facts,
        licences=tuple(body.get("licences", ())),
        cost=body.get("cost", {}),
        again=again,
        below=below,
    )


def _foreign_node(
    ledger: Ledger,
    entry: ForeignEntry,
    within: str = "",
    *,
    again: bool = False,
    below: tuple[Node, ...] = (),
) -> Node:
    """A step that another shop made, marked with that shop."""
    shop = foreign_shop(ledger.db, entry.shop)
    assert shop is not None, "a foreign entry comes with its shop"
    made = Entry(entry.seq, entry.id, "done", "", "", entry.at_us, entry.view, "")
    node = _node(ledger, made, within, again=again, below=below)
    return replace(node, name="", shop=shop.label, currency=shop.currency)


def _name(ledger: Ledger, entry: str) -> str:
    found = ledger.db.rows(
        "select name, version from name where entry=? order by name, version desc", (entry,)
    )
    return f"{found[0][0]}@{found[0][1]}" if found else ""


# On the screen


def headline(node: Node) -> str:
    """One line for a step: what it is, its name, the id by which it can be asked for."""
    what = f"{node.kind or node.stage}{'/' + node.within if node.within else ''}"
    pieces = [what, node.name, node.entry[:SHORT_ID]]
    if node.kind and node.stage != node.kind:
        pieces.append(say("by {stage}", "由 {stage} 得到", stage=node.stage))
    if node.shop:
        pieces.append(f"@ {node.shop}")
    if node.again:
        pieces.append(say("(shown above)", "（见上）"))
    return "  ".join(piece for piece in pieces if piece)


def details(node: Node, currency: str = "CNY") -> list[str]:
    """The lines below a step's headline: facts, settings that were chosen, licences, cost."""
    if node.again:
        return []
    currency = node.currency or currency
    facts = [_fact(name, value, currency) for name, value in node.facts.items() if value not in ("", None)]
    lines = [*filter(None, [" · ".join(fact for fact in facts if len(fact) < LONGEST_VALUE)]),
             *(fact for fact in facts if len(fact) >= LONGEST_VALUE)]  # fmt: skip
    if node.settings:
        chosen = ", ".join(f"{name}={_shown(value)}" for name, value in node.settings.items())
        lines.append(say("settings: {chosen}", "设置：{chosen}", chosen=chosen))
    if node.licences and "licence" not in node.facts:
        lines.append(say("licences: {names}", "许可证：{names}", names=", ".join(node.licences)))
    if node.cost:
        lines.append(cost_line(node.cost["own"], node.cost["total"], currency))
    return lines


def cost_line(own: dict[str, Any], total: dict[str, Any], currency: str = "CNY") -> str:
    """Own and total cost in seconds and money; without a machine rate the money says so."""
    if None in (own["micros"], total["micros"]):
        money = say("rate not set", "未设费率")
    else:
        money = f"{format_micros(own['micros'], currency)} / {format_micros(total['micros'], currency)}"
    return say(
        "cost, own / total: {own:.1f} / {total:.1f} s CPU, {money}",
        "成本（自身 / 合计）：CPU {own:.1f} / {total:.1f} 秒，{money}",
        own=own["cpu_s"],
        total=total["cpu_s"],
        money=money,
    )


LABELS = {
    "source": ("source", "来源"),
    "licence": ("licence", "许可证"),
    "origin": ("origin", "出处"),
    "terms": ("terms", "使用条款"),
    "consent": ("legal basis", "处理依据"),
    "obtained": ("obtained on", "取得日期"),
    "retain": ("kept for", "保留时长"),
    "retain_until": ("kept until", "保留至"),
    "person": ("column of persons", "个人所在列"),
    "of": ("reused from", "沿用自"),
    "journal": ("journal", "流水"),
    "number": ("number", "编号"),
    "rows": ("rows", "条数"),
    "model": ("model", "模型"),
    "units": ("units", "用量"),
    "requests": ("requests", "请求数"),
    "micros": ("charge", "金额"),
    "exact_micros": ("exact amount", "精确金额"),
    "amount_micros": ("amount", "金额"),
    "total_micros": ("total", "应付合计"),
    "customer": ("customer", "客户"),
    "period": ("period", "账期"),
    "merkle_root": ("Merkle root", "默克尔根"),
    "ledger": ("ledger head", "总账指纹"),
    "held_by": ("held by shop", "保存在模坊"),
    "from_shop": ("from shop", "来自模坊"),
    "fingerprint": ("key fingerprint", "公钥指纹"),
    "file": ("file", "文件"),
    "cost_elsewhere": ("cost in other shops", "其他模坊的成本"),
    "runs_behind": ("runs behind it", "背后的运行"),
    "cpu_s_behind": ("their CPU seconds", "其 CPU 秒数"),
    "cost_micros_behind": ("their cost", "其成本"),
    "what": ("what", "内容"),
    "charge": ("charge", "收费记录"),
    "subscription": ("subscription", "订阅记录"),
    "monthly_micros": ("a month", "每月"),
    "included": ("units in it", "含用量"),
    "days": ("days", "天数"),
    "days_of": ("of a month's", "当月天数"),
    "minimum_micros": ("minimum", "最低消费"),
    "base_micros": ("of", "基数"),
}


def _fact(name: str, value: Any, currency: str) -> str:
    shown = format_micros(value, currency) if "micros" in name and isinstance(value, int) else _shown(value)
    label = say(*LABELS[name]) if name in LABELS else name
    return say("{label}: {shown}", "{label}：{shown}", label=label, shown=shown)


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "tag" in value:  # a variant: its tag and what was chosen in it
        rest = ", ".join(
            f"{name}={_shown(one)}" for name, one in value.items() if name not in ("tag", "version")
        )
        return f"{value['tag']}({rest})" if rest else str(value["tag"])
    text = ", ".join(map(_shown, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def render(node: Node, currency: str = "CNY") -> Tree:
    """The trace as a rich tree for the terminal."""
    from rich.text import Text
    from rich.tree import Tree

    def label(one: Node) -> Text:
        text = Text(headline(one), style="dim" if one.again else "bold")
        for line in details(one, currency):
            text.append(f"\n{line}", style="not bold dim")
        return text

    def grow(tree: Tree, one: Node) -> Tree:
        for below in one.below:
            grow(tree.add(label(below)), below)
        return tree

    return grow(Tree(label(node)), node)


def plain(node: Node, currency: str = "CNY", indent: str = "") -> list[str]:
    """The trace as lines of text, for files and screens without drawing."""
    lines = [indent + headline(node)] + [f"{indent}    {line}" for line in details(node, currency)]
    for below in node.below:
        lines += plain(below, currency, indent + "  ")
    return lines
