"""The form of an ancestry document: which fields there are, of what kind, and how large; nothing else is taken in.

What passes here can be shown, added up and printed without a further look.
"""

from __future__ import annotations

from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # before Python 3.12 pydantic needs these
)

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from mofang.core.errors import MofangError
from mofang.core.money import known

CLOSED = ConfigDict(extra="forbid", strict=True)
ENTRIES_MAX = 100_000

Id = Annotated[str, Field(pattern=r"^[a-z]{1,12}_[0-9a-z]{1,40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Link = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]  # the first entry of a ledger has none before it
Word = Annotated[str, Field(max_length=300)]
Number = Annotated[float, Field(ge=0, le=1e12)]
Licences = Annotated[list[Word], Field(max_length=1000)]
Free = dict[Word, Any]  # settings and figures: shown as text, never computed with


@with_config(CLOSED)
class ShopForm(TypedDict):
    """Who signed."""

    id: Id
    name: Annotated[str, Field(max_length=64)]
    currency: str
    fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{4}-){7}[0-9a-f]{4}$")]
    public_key: Sha256


@with_config(CLOSED)
class ReferenceForm(TypedDict):
    """An input."""

    entry: Id
    digest: Sha256
    within: Word
    kind: Word


@with_config(CLOSED)
class NestedForm(TypedDict):
    """A run inside a run."""

    stage: Word
    version: int
    entry: Id


@with_config(CLOSED)
class OutputForm(TypedDict):
    """What a run made."""

    kind: Word
    digest: Sha256


@with_config(CLOSED)
class SumForm(TypedDict):
    """What a run used."""

    wall_s: Number
    cpu_s: Number
    gpu_s: Number
    peak_mb: Number
    energy_wh: Number
    micros: Annotated[int, Field(ge=0, le=10**13)] | None


@with_config(CLOSED)
class CostForm(TypedDict):
    """A run's own cost, and that with its nested runs."""

    own: SumForm
    total: SumForm


@with_config(CLOSED)
class ForeignForm(TypedDict):
    """Which package of which shop an import brought in."""

    shop: Id
    name: Annotated[str, Field(max_length=64)]
    fingerprint: Word
    entry: Id
    content: Sha256
    document: Sha256


@with_config(CLOSED)
class ViewForm(TypedDict):
    """What another shop may see of an entry."""

    stage: Word
    version: int
    who: Annotated[str, Field(pattern=r"^who_[0-9a-f]{16}$")]
    settings: Free
    measures: Free
    inputs: list[ReferenceForm]
    nested: list[NestedForm]
    output: OutputForm
    licences: Licences
    added_licences: NotRequired[Licences]
    lineage: Word
    cost: NotRequired[CostForm]
    code: NotRequired[Free]
    returned: NotRequired[Id]
    of: NotRequired[Id]
    foreign: NotRequired[ForeignForm]


@with_config(CLOSED)
class EntryForm(TypedDict):
    """One entry: what its digest covers, its link, and its view."""

    seq: Annotated[int, Field(ge=1, le=2**62)]
    id: Id
    kind: Literal["done", "reuse", "seal"]
    key: Word
    owner: Word
    at_us: Annotated[int, Field(ge=0, le=253_000_000_000_000_000)]
    body: Sha256
    content: Sha256
    previous: Link
    chain: Sha256
    view: ViewForm


@with_config(CLOSED)
class PackageForm(TypedDict):
    """The package that the document is about."""

    entry: Id
    digest: Sha256
    name: Annotated[str, Field(pattern=r"^[^@\s]{1,64}@[1-9][0-9]{0,9}$")]


@with_config(CLOSED)
class HeadForm(TypedDict):
    """The ledger up to and with the package."""

    seq: int
    chain: Sha256


@with_config(CLOSED)
class DocumentForm(TypedDict):
    """The whole document."""

    ancestry: int
    shop: ShopForm
    package: PackageForm
    head: HeadForm
    entries: Annotated[list[EntryForm], Field(min_length=1, max_length=ENTRIES_MAX)]
    files: dict[Word, tuple[Word, Sha256, Annotated[int, Field(ge=0, le=2**62)]]]
    carried: Annotated[list[Sha256], Field(max_length=1000)]


@cache
def _adapter() -> TypeAdapter[DocumentForm]:
    return TypeAdapter(DocumentForm)


def check_form(data: bytes) -> None:
    """Refuse a document, given as JSON, that is filled in otherwise: ``ancestry-broken`` with the first place."""
    try:
        document = _adapter().validate_json(data)
    except ValidationError as error:
        place = ".".join(str(piece) for piece in error.errors()[0]["loc"])
        raise MofangError("ancestry-broken", entry=place) from None
    known(document["shop"]["currency"])
