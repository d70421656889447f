"""Settings that come in kinds: tagged frozen dataclasses (``--family resnet --family.depth 18``)."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, ClassVar, Self

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest


class Variant:
    """Base of a choice. A direct subclass names the choice (``Family``); its dataclass subclasses are the kinds."""

    tag: ClassVar[str] = ""
    version: ClassVar[int] = 1
    kinds: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Variant in cls.__bases__:
            cls.kinds = {}
        elif cls.tag:
            cls.kinds[cls.tag] = cls

    @classmethod
    def parse(cls, value: object) -> Self:
        """From an instance, a tag, or ``{"tag": …, setting: …}``; fields are checked by pydantic."""
        if isinstance(value, cls):
            return value
        given = {"tag": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or "tag" not in given:
            raise MofangError("variant-shape", choice=cls.__name__.lower(), kinds=", ".join(sorted(cls.kinds)))
        fields = dict(given)
        tag = str(fields.pop("tag"))
        fields.pop("version", None)
        if tag not in cls.kinds:
            raise MofangError("variant-unknown", choice=cls.__name__.lower(), tag=tag,
                              nearest=nearest(tag, cls.kinds), kinds=", ".join(sorted(cls.kinds)))
        kind = cls.kinds[tag]
        known = {field.name for field in dataclasses.fields(kind)}
        for name in fields:
            if name not in known:
                raise MofangError("setting-unknown", stage=tag, setting=name, nearest=nearest(name, known),
                                  settings=", ".join(sorted(known)) or "-")
        from pydantic import TypeAdapter

        made: Self = TypeAdapter(kind).validate_python({name: _pieces(kind, name, given) for name, given in fields.items()})
        return made

    def to_dict(self) -> dict[str, Any]:
        """Tag, version and the settings that are not the default; what the memo key and the ledger hold."""
        found: dict[str, Any] = {"tag": self.tag, "version": type(self).version}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        if dataclasses.is_dataclass(source):
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.to_dict())
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        if "__dataclass_fields__" in cls.__dict__:
            found: dict[str, Any] = handler(schema)
            return found
        from pydantic import TypeAdapter

        kinds = []
        for tag, kind in sorted(cls.kinds.items()):
            inner = TypeAdapter(kind).json_schema()
            kinds.append({"type": "object", "title": tag, "additionalProperties": False, "required": ["tag"],
                          "properties": {"tag": {"const": tag}, **inner.get("properties", {})}})
        return {"anyOf": [{"type": "string", "enum": sorted(cls.kinds)}, *kinds]}


def _pieces(kind: type[Any], name: str, given: object) -> object:
    """What was typed with commas, cut into the pieces of a setting that holds several."""
    if not isinstance(given, str):
        return given
    hint = typing.get_type_hints(kind)[name]
    return [piece.strip() for piece in given.split(",") if piece.strip()] if typing.get_origin(hint) is tuple else given
