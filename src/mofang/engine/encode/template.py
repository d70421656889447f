"""Chat templates: the Jinja text that turns messages into what a model reads, stored with the model and replayed.

A template comes with a model from anywhere, so it runs in Jinja's immutable sandbox, with a list of the filters and
methods that it may use and a budget: each step of a loop, each call and each longer text is counted, and one that goes on
for ever or grows without end is refused in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from mofang.core.errors import MofangError

Message = dict[str, str]

TEMPLATE_CHARACTERS_MAX = 50_000
STEPS_MAX = 100_000
CHARACTERS_MAX = 4_000_000
MESSAGES_MAX = 1_000
ROLES = ("system", "user", "assistant", "tool")
FILTERS = frozenset((
    "trim", "tojson", "length", "count", "default", "d", "upper", "lower", "capitalize", "title", "join", "list", "first",
    "last", "replace", "string", "int", "reverse", "selectattr", "rejectattr", "map", "items", "dictsort", "safe", "escape",
    "e",
))
METHODS = frozenset((
    "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "upper", "lower", "title", "capitalize",
    "replace", "items", "keys", "values", "get", "find", "count", "index", "removeprefix", "removesuffix", "append",
))
PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
TURNS = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MARKS = ("<|system|>", "<|user|>", "<|assistant|>")


class _Budget:
    """What one rendering may still do."""

    def __init__(self) -> None:
        self.left = STEPS_MAX

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise SecurityError(f"it takes more than {STEPS_MAX:,} steps")

    def each(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.spend()
            yield value


class _Counted(NodeTransformer):
    """Loops count their steps, and texts are joined where their length is looked at."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        texts = [nodes.Filter(one, "string", [], [], None, None) for one in node.nodes]
        joined: nodes.Expr = texts[0]
        for one in texts[1:]:
            joined = nodes.Add(joined, one)
        return joined


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a budget and without what a chat template does not need."""

    intercepted_binops = frozenset(["+", "*", "**", "%", "//"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.budget = _Budget()
        self.filters = {name: one for name, one in self.filters.items() if name in FILTERS}
        self.filters |= {"tojson": _to_json, "join": _joined, "replace": _replaced}
        self.filters["counted"] = self._each
        self.globals = {"range": self._range, "raise_exception": _refuse, "namespace": self.globals["namespace"]}

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.spend()
        return super().call(context, function, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        self.budget.spend()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self.budget.spend()
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.budget.spend()
        sized = [one for one in (left, right) if isinstance(one, str | list | tuple)]
        numbers = [one for one in (left, right) if isinstance(one, int)]
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"the sign {operator} is not allowed here")
        grown = sum(map(len, sized)) * (max(numbers, default=1) if operator == "*" else 1)
        if grown > CHARACTERS_MAX or any(abs(one) > 2**63 for one in numbers):
            raise SecurityError(f"a value grows beyond {CHARACTERS_MAX:,}")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        if getattr(value, "__name__", "") in ("format", "format_map") and isinstance(getattr(value, "__self__", None), str):
            raise SecurityError("format is not allowed here")
        if getattr(value, "__name__", "") == "replace" and isinstance(getattr(value, "__self__", None), str):
            return lambda old, new, count=-1: _replaced(value.__self__, old, new, count)
        return None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | list | tuple | dict) and callable(value) and attr not in METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def _each(self, values: Iterable[Any]) -> Iterator[Any]:
        return self.budget.each(values)

    def _range(self, *bounds: int) -> range:
        found = range(*bounds)
        self.budget.spend(len(found))
        return found


class ChatTemplate:
    """A chat template, checked and ready."""

    def __init__(self, text: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """Raises ``template-refused`` for what is no template, or uses what it may not."""
        self.text, self.tokens = text, {"bos_token": bos_token, "eos_token": eos_token}
        if len(text) > TEMPLATE_CHARACTERS_MAX:
            raise MofangError("template-refused", reason=f"it is longer than {TEMPLATE_CHARACTERS_MAX:,} signs")
        self._environment = _Environment()
        try:
            tree = self._environment.parse(_without_marks(text))
            _Counted().visit(tree)
            tree.set_environment(self._environment)
            self._template = self._environment.from_string(tree)
        except (TemplateError, RecursionError) as error:
            raise MofangError("template-refused", reason=_said(error)) from error

    def render(self, messages: Sequence[Message], *, begun: bool = True) -> str:
        """The text of messages; ``begun`` opens the turn of the assistant, for an answer to follow."""
        self._environment.budget = _Budget()
        pieces, characters = [], 0
        given = {"messages": [dict(one) for one in messages], "add_generation_prompt": begun, "tools": None, **self.tokens}
        try:
            for piece in self._template.generate(given):
                characters += len(piece)
                if characters > CHARACTERS_MAX:
                    raise SecurityError(f"it writes more than {CHARACTERS_MAX:,} signs")
                pieces.append(piece)
        except MofangError:
            raise
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            raise MofangError("template-refused", reason=_said(error)) from error
        return "".join(pieces)

    def turns(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The text of a conversation in pieces, and whether each is one that the assistant wrote.

        Raises ``template-unstable`` where a template writes an earlier turn differently once a later one follows, so
        that no training text would equal what is read when answers are asked for.
        """
        found: list[tuple[str, bool]] = []
        done = ""
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked, said = self.render(messages[:place]), self.render(messages[: place + 1], begun=False)
            if not asked.startswith(done) or not said.startswith(asked):
                raise MofangError("template-unstable", turn=place + 1)
            found += [(asked[len(done) :], False), (said[len(asked) :], True)]
            done = said
        return [(text, learnt) for text, learnt in found if text]


@lru_cache(maxsize=32)
def template_of(text: str, bos_token: str = "", eos_token: str = "") -> ChatTemplate:
    """The template with these words, checked once."""
    return ChatTemplate(text, bos_token=bos_token, eos_token=eos_token)


def read_messages(value: object, at: str = "messages") -> list[Message]:
    """A conversation out of JSON or a list: roles that are known, contents that are texts, at least one message."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise MofangError("messages-unreadable", at=at, reason=str(error)[:120]) from error
    if not isinstance(value, list) or not value:
        raise MofangError("messages-unreadable", at=at, reason="[{\"role\": …, \"content\": …}] is wanted")
    if len(value) > MESSAGES_MAX:
        raise MofangError("messages-too-many", at=at, count=len(value), most=MESSAGES_MAX)
    return [_message(one, f"{at}[{place}]") for place, one in enumerate(value)]


def is_conversation(text: str) -> bool:
    """Whether a value is written as messages and not as plain words."""
    return text.lstrip().startswith("[") and '"role"' in text


def _message(one: object, at: str) -> Message:
    if not isinstance(one, Mapping) or not isinstance(one.get("content"), str):
        raise MofangError("messages-unreadable", at=at, reason="{\"role\": …, \"content\": …} is wanted")
    if one.get("role") not in ROLES:
        raise MofangError("role-unknown", at=at, role=str(one.get("role"))[:40], roles=", ".join(ROLES))
    return {"role": str(one["role"]), "content": one["content"]}


def _without_marks(text: str) -> str:
    """transformers marks what the assistant writes with ``generation`` blocks; here that is found by comparing."""
    for name in ("generation", "endgeneration"):
        for begin in ("{%", "{%-"):
            for end in ("%}", "-%}"):
                text = text.replace(f"{begin} {name} {end}", "")
    return text


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)[:CHARACTERS_MAX]


def _joined(values: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    texts = [str(one if attribute is None else one[attribute]) for one in values]
    _bounded(sum(map(len, texts)) + len(str(between)) * len(texts))
    return str(between).join(texts)


def _replaced(text: Any, old: str, new: str, count: int | None = -1) -> str:
    found = str(text)
    _bounded(len(found) + found.count(str(old)) * len(str(new)))
    return found.replace(str(old), str(new), -1 if count is None else count)


def _bounded(characters: int) -> None:
    if characters > CHARACTERS_MAX:
        raise SecurityError(f"a value grows beyond {CHARACTERS_MAX:,}")


def _refuse(message: str) -> None:
    raise TemplateError(str(message)[:200])


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
