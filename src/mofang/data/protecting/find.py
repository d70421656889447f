"""Find personal data in texts, Chinese and English: what ``protect``, ``clean``, ``new`` and the operators call.

The same text gives the same spans whatever stands beside it in a batch. What is not found is said openly: recall and
precision of every kind stand in bench/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mofang.data.protecting import numbers, words
from mofang.data.protecting.page import Page, pages
from mofang.data.protecting.spans import ALL_KINDS, KINDS, Span, settled

__all__ = ["ALL_KINDS", "KINDS", "Span", "find", "find_all", "finder"]

Finder = Callable[[Page], Iterator[Span]]
FINDERS: tuple[tuple[frozenset[str], Finder], ...] = (
    (numbers.MAKES, numbers.numbers),
    (frozenset({"email"}), words.mails),
    (frozenset({"ip"}), words.machines),
    (frozenset({"iban"}), words.accounts),
    (frozenset({"plate"}), words.plates),
    (frozenset({"passport", "permit"}), words.documents),
    (frozenset({"wechat"}), words.wechat_names),
)


def _finders(kinds: frozenset[str]) -> list[Finder]:
    """The finders of these kinds; those of addresses and names take long to load, so they come when they are wanted, and
    before the first page is made."""
    found = [finder for made, finder in FINDERS if made & kinds]
    if "address" in kinds:
        from mofang.data.protecting.places import addresses

        found.append(addresses)
    if "name" in kinds:
        from mofang.data.protecting.names import names

        found.append(names)
    return found


def find(text: str, kinds: frozenset[str] = ALL_KINDS) -> list[Span]:
    """The personal data of one text, in order and without overlaps."""
    return find_all([text], kinds)[0]


def find_all(texts: Sequence[str], kinds: frozenset[str] = ALL_KINDS) -> list[list[Span]]:
    """The personal data of many texts at once, which is much faster than one by one.

    All kinds that share a finder are looked for, so that what a number is does not depend on what was asked for.
    """
    found: list[list[Span]] = [[] for _ in texts]
    finders = _finders(kinds)
    for numbered, page in pages(texts):
        for look in finders:
            for span in look(page):
                home, start = page.home(span.start)
                found[numbered[home]].append(span._replace(start=start, end=start + span.end - span.start))
    return [[one for one in settled(spans) if one.kind in kinds] if spans else [] for spans in found]


def finder(engine: str) -> Callable[[Sequence[str], frozenset[str]], list[list[Span]]]:
    """What finds personal data: ``own`` (this module), or ``presidio`` with our finders and its own together."""
    if engine == "own":
        return find_all
    from mofang.data.protecting.presidio import find_with_presidio

    return find_with_presidio
