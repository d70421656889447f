"""Settings that a person gave from outside a recipe (``mofang run --miss-cost 10``): they stand in for the recipe's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Settings = Mapping[str, Mapping[str, Any]]  # by stage

_given: ContextVar[Settings] = ContextVar("given", default={})  # noqa: B039 (never changed in place)


@contextmanager
def given(settings: Settings) -> Iterator[None]:
    """Inside this block these settings hold for every call of their stage."""
    token = _given.set(settings)
    try:
        yield
    finally:
        _given.reset(token)


def with_given(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings for a stage, with those that were given from outside in their place."""
    return {**settings, **_given.get().get(stage, {})}
