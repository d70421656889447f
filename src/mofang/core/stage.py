"""A stage is a plain function: before the star artifacts, after the star settings, and the return type is what it makes.

From the signature follow the command's flags, the HTTP body's schema, the memo key and the ledger entry. There is no
second description of a stage anywhere.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.variant import Variant

F = TypeVar("F", bound=Callable[..., Any])
SourceDigest = Callable[[Any, dict[str, Any]], str]


class OnDisk:
    """Marks a text setting that names a place on the disk: from another machine only uploads may stand there."""


class NotInKey:
    """Marks a setting that changes no byte of what is made (how often a checkpoint is written): runs that differ in it alone
    are the same run. The ledger still says what was chosen.
    """


class Settings:
    """Base of settings that several stages share: each field of the frozen dataclass is a setting (and a flag) of its own.

    ``learning: Learning = Learning()`` in a signature gives the flags ``--optimizer``, ``--schedule`` and so on. Where the
    stage has a setting of the same name itself, that one stands and the group keeps its default.
    """


@dataclass(frozen=True)
class Input:
    """One artifact parameter."""

    name: str
    kind: type[Artifact]
    optional: bool = False
    many: bool = False


@dataclass(frozen=True)
class Setting:
    """One keyword parameter after the star."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """True if the signature gives no default."""
        return self.default is inspect.Parameter.empty

    @property
    def on_disk(self) -> bool:
        """True if the setting names a place on the disk."""
        return any(isinstance(one, OnDisk) for one in typing.get_args(self.annotation)[1:])

    @property
    def in_key(self) -> bool:
        """False if the setting changes no byte of what is made."""
        return not any(isinstance(one, NotInKey) for one in typing.get_args(self.annotation)[1:])

    @property
    def variant(self) -> type[Variant] | None:
        """The choice (such as Family), if the setting is one."""
        bare = typing.get_args(self.annotation)[0] if typing.get_origin(self.annotation) is typing.Annotated else self.annotation
        return bare if isinstance(bare, type) and issubclass(bare, Variant) else None


@dataclass(frozen=True)
class Spec:
    """What a stage's (or action's) signature says."""

    name: str
    function: Callable[..., Any]
    version: int
    doc: str
    inputs: tuple[Input, ...]
    settings: tuple[Setting, ...]
    output: type[Artifact] | None
    memo: bool = True
    keyed_on: Literal["digests", "references"] = "digests"
    depends: Literal["", "machine"] = ""
    source_digest: SourceDigest | None = field(default=None, repr=False)
    groups: dict[str, type[Settings]] = field(default_factory=dict, repr=False, compare=False)
    own: frozenset[str] = field(default=frozenset(), repr=False)

    def call(self, run: Any, bound: list[list[Artifact]], settings: dict[str, Any]) -> Any:
        """Run the function on checked settings; those that stand in a group reach it together."""
        given = dict(settings)
        for name, group in self.groups.items():
            names = {one.name for one in dataclasses.fields(group)} - self.own  # type: ignore[arg-type]
            given[name] = group(**{inner: given.pop(inner) for inner in sorted(names)})
        return self.function(run, *self.arguments(bound), **given)

    @cached_property
    def takes_previous(self) -> bool:
        """True if the last input is what the stage itself made before (``previous``), which it continues.

        Such a stage promises that nothing changes when it is given its own result and otherwise the same inputs.
        """
        last = self.inputs[-1] if self.inputs else None
        return last is not None and last.name == "previous" and last.optional and last.kind is self.output

    @cached_property
    def model(self) -> Any:
        """The pydantic model of the settings; unknown names are refused."""
        from pydantic import ConfigDict, create_model

        fields: Any = {s.name: (s.annotation, ... if s.required else s.default) for s in self.settings}
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, title=self.name, validate_default=False)
        return create_model(f"{self.name}_settings", __config__=config, **fields)

    def check(self, given: dict[str, Any]) -> dict[str, Any]:
        """The settings as the function takes them: checked, converted, defaults filled in."""
        from pydantic import ValidationError

        known = [setting.name for setting in self.settings]
        for name in given:
            if name not in known:
                raise MofangError("setting-unknown", stage=self.name, setting=name, nearest=nearest(name, known),
                                  settings=", ".join(known) or "-")
        for setting in self.settings:
            if setting.required and setting.name not in given:
                raise MofangError("setting-missing", stage=self.name, setting=setting.name,
                                  flag=setting.name.replace("_", "-"))
        try:
            checked = self.model.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(piece) for piece in first["loc"])
            raise MofangError("setting-refused", stage=self.name, setting=place, value=repr(first.get("input")),
                              rule=first["msg"]) from None
        return {name: getattr(checked, name) for name in known}

    def changed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings that differ from their defaults, as JSON: they alone are in the ledger."""
        found = {}
        dumped = self.model.model_construct(**settings).model_dump(mode="json")
        for setting in self.settings:
            if setting.required or settings[setting.name] != setting.default:
                found[setting.name] = dumped[setting.name]
        return found

    def keyed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Those of the changed settings that decide what is made: they alone are in the memo key and the lineage."""
        silent = {one.name for one in self.settings if not one.in_key}
        return {name: value for name, value in self.changed(settings).items() if name not in silent}

    def places(self, settings: dict[str, Any]) -> dict[str, str]:
        """Every place on the disk that these settings name, by ``setting`` or ``setting.field`` of a variant."""
        found = {one.name: str(settings[one.name]) for one in self.settings if one.on_disk and settings.get(one.name)}
        for name, value in settings.items():
            if isinstance(value, Variant):
                found |= {f"{name}.{inner}": text for inner, text in places_of(value).items()}
        return found

    def json_schema(self) -> dict[str, Any]:
        """JSON schema of the settings (HTTP body, form)."""
        found: dict[str, Any] = self.model.model_json_schema()
        found["description"] = self.doc
        return found

    def placed(self, artifacts: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Artifacts that were given by name (``teacher=model``) put in their places, and the settings without them."""
        named = {one.name: given[one.name] for one in self.inputs[len(artifacts):] if one.name in given}
        if not named:
            return artifacts, given
        last = max(place for place, one in enumerate(self.inputs) if one.name in named)
        behind = tuple(named.get(one.name) for one in self.inputs[len(artifacts):last + 1])
        return artifacts + behind, {name: value for name, value in given.items() if name not in named}

    def bind(self, artifacts: tuple[Any, ...]) -> list[list[Artifact]]:
        """The given artifacts sorted into the inputs; a wrong number or kind is refused."""
        given = list(artifacts)
        if len(given) > len(self.inputs):
            raise self._wrong(given)
        given += [None] * (len(self.inputs) - len(given))
        bound: list[list[Artifact]] = []
        for wanted, value in zip(self.inputs, given, strict=True):
            values = list(value) if isinstance(value, tuple | list) else [] if value is None else [value]
            single = wanted.many or len(values) == 1 or (wanted.optional and not values)
            if not single or any(not isinstance(one, wanted.kind) for one in values):
                raise self._wrong(given)
            bound.append(values)
        return bound

    def _wrong(self, given: list[Any]) -> MofangError:
        takes = ", ".join(f"{i.name}: {i.kind.kind}" for i in self.inputs) or "-"
        shown = ", ".join(getattr(one, "kind", type(one).__name__) for one in given if one is not None) or "-"
        return MofangError("input-wrong", stage=self.name, takes=takes, given=shown)

    def arguments(self, bound: list[list[Artifact]]) -> list[Any]:
        """The positional arguments for the function."""
        return [
            tuple(values) if wanted.many else (values[0] if values else None)
            for wanted, values in zip(self.inputs, bound, strict=True)
        ]


def places_of(variant: Variant) -> dict[str, str]:
    """The fields of a variant that name a place on the disk."""
    hints = typing.get_type_hints(type(variant), include_extras=True)
    return {name: str(getattr(variant, name)) for name, hint in hints.items()
            if any(isinstance(one, OnDisk) for one in typing.get_args(hint)[1:])}


STAGES: dict[str, Spec] = {}


def stage(*, version: int, memo: bool = True, keyed_on: Literal["digests", "references"] = "digests",
          depends: Literal["", "machine"] = "", source_digest: SourceDigest | None = None) -> Callable[[F], F]:
    """Make a function a stage. ``version`` rises when the same inputs would give other bytes."""

    def register(function: F) -> F:
        spec = read_signature(function, version=version, memo=memo, keyed_on=keyed_on, depends=depends,
                              source_digest=source_digest)
        assert spec.output is not None, f"stage {spec.name} must say which artifact it makes"
        function.spec = spec  # type: ignore[attr-defined]
        STAGES[spec.name] = spec
        return function

    return register


def read_signature(function: Callable[..., Any], **known: Any) -> Spec:
    """What a function's signature says: first parameter the run (or act), then inputs, star, settings."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    inputs = [_input(p.name, hints[p.name]) for p in parameters if p.kind is not p.KEYWORD_ONLY]
    settings: list[Setting] = []
    own = {p.name for p in parameters}
    groups: dict[str, type[Settings]] = {}
    for p in parameters:
        hint = hints[p.name]
        if p.kind is p.KEYWORD_ONLY and isinstance(hint, type) and issubclass(hint, Settings):
            groups[p.name] = hint
            settings += [one for one in _members(hint, p.default) if one.name not in own]
        elif p.kind is p.KEYWORD_ONLY:
            settings.append(Setting(p.name, hint, p.default))
    made = hints.get("return")
    output = made if isinstance(made, type) and issubclass(made, Artifact) else None
    name = getattr(function, "__name__", "stage")
    return Spec(name=name, function=function, doc=inspect.getdoc(function) or "", inputs=tuple(inputs),
                settings=tuple(settings), output=output, groups=groups, own=frozenset(own), **known)


def _members(group: type[Settings], default: Any) -> list[Setting]:
    hints = typing.get_type_hints(group, include_extras=True)
    fields = dataclasses.fields(group)  # type: ignore[arg-type]
    return [Setting(one.name, hints[one.name], getattr(default, one.name)) for one in fields]


def _input(name: str, annotation: Any) -> Input:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        bare = next(one for one in arguments if one is not type(None))
        return Input(name, bare, optional=True)
    if origin is tuple:
        return Input(name, arguments[0], many=True)
    assert isinstance(annotation, type) and issubclass(annotation, Artifact), f"{name}: artifacts stand before the star"
    return Input(name, annotation)


def spec_of(function: Any) -> Spec:
    """The spec of a stage or action, or a clear error for a plain function."""
    found = getattr(function, "spec", None)
    if not isinstance(found, Spec):
        raise MofangError("not-a-stage", name=getattr(function, "__name__", repr(function)))
    return found
