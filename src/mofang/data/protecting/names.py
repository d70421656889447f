"""Names of people, beside words that announce one: Chinese by a list of surnames, English by titles and signatures.

Only names in such places are found; a name in the middle of a sentence needs a model of the language, which is not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mofang.data.protecting import lists
from mofang.data.protecting.page import Page, pairs_of, set_bit
from mofang.data.protecting.spans import GUESSED, LIKELY, Span
from mofang.data.protecting.words import mail_forms

SURNAMES = lists.signs("surnames")
DOUBLE_SURNAMES = frozenset(lists.words("double_surnames"))
NOT_GIVEN = lists.signs("not_in_a_given_name")
FOLLOWS = lists.signs("after_a_whole_name")
BEFORE = lists.words("before_a_name")
AFTER = lists.words("after_a_name")
WEAK = frozenset(lists.words("weak_before_a_name"))
FIRST_BIT, LAST_BIT = 8, 16
_FIRST, _LAST = pairs_of(BEFORE), pairs_of(AFTER)
set_bit(FIRST_BIT, (word[0] for word in BEFORE))
set_bit(LAST_BIT, (word[0] for word in AFTER))


def _by_pair(known: Iterable[str]) -> dict[str, list[str]]:
    """Words by their first two signs, the longest first."""
    found: dict[str, list[str]] = {}
    for word in sorted(known, key=len, reverse=True):
        found.setdefault(word[:2], []).append(word)
    return found


_WORDS, _TITLES = _by_pair(BEFORE), _by_pair(AFTER)
VERBS = tuple(lists.words("verbs_after_a_name"))
LINK = re.compile(r"(?:叫做|叫|是|为)?[ ]?[:=]?[ ]?[\"“'《【\[]?")
MARKS = "：:"

_U, _L = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿāăąćčďđēęěğīıłńňőœřśşšťūůűźżž"
_WORD = rf"(?:[{_U}]['’]|Mc|Mac|De|Di|La|Le|Van|Fitz)?[{_U}][{_L}]+(?:[-'’][{_U}]?[{_L}]+)?"
_INITIAL = rf"[{_U}]\."
_PARTICLE = r"(?:van der|van den|van|von|de la|de|der|den|di|da|dos|del|la|le|bin|al|ter)"
FULL = rf"(?:{_WORD}|{_INITIAL})(?: (?:{_INITIAL}|{_PARTICLE})){{0,2}}(?: (?:{_WORD}|[{_U}]{{3,}})){{1,2}}"
TITLED = re.compile(
    rf"(?<![A-Za-z])(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor)\.? "
    rf"((?:{_INITIAL} ?){{0,2}}{_WORD}(?: (?:{_INITIAL} )?(?:{_PARTICLE} )?{_WORD}){{0,2}})"
)
NAMED = re.compile(rf"\s+({FULL}|{_WORD})(?![{_L}A-Za-z])")
WHOLE = re.compile(rf"[ \t]*({FULL})(?![A-Za-z{_L}])")
MAIL_BEFORE = re.compile(rf"({FULL})$")
LABEL = re.compile(
    r"(?:full name|\bname|\bauthors?|maintainers?|contact|"
    r"signed-off-by|reviewed-by|acked-by|reported-by|co-authored-by|written by|"
    r"patient|customer|passenger|recipient|attn|from|to|dear|cc|editor|translator|contributors?)\s*$",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"(?:regards|sincerely|thanks|cheers|best|yours|wishes|truly|faithfully|respectfully|cordially)$", re.IGNORECASE
)
SIGNED = re.compile(rf"\n+[ \t]*(?:-{{1,2}} ?)?({FULL}|{_WORD})[ \t]*(?:\n|\Z|\0|,)")
RIGHTS = re.compile(
    rf"(?:opyright:?|[cC©]\)?,?)\s+(?:(?:\([cC]\)|©)\s*)?(?:\d{{4}}(?:\s*[-–,]\s*\d{{2,4}})*,?\s+)?(?:by\s+)?"
    rf"({FULL})(?![A-Za-z{_L}])"
)
_CUT = re.compile(r"[\n,;:|>)\]*\t]")
NO_NAME = frozenset(word.lower() for word in lists.words("no_name"))


def names(page: Page) -> Iterator[Span]:
    """Names beside a word that announces them."""
    yield from _english(page)
    if page.wide:
        yield from _chinese(page)


def _chinese(page: Page) -> Iterator[Span]:
    text = page.text
    for place in page.pairs(FIRST_BIT, _FIRST).tolist():
        word = next((one for one in _WORDS[text[place : place + 2]] if text.startswith(one, place)), "")
        if not word:
            continue
        link = LINK.match(text, place + len(word))
        start = link.end() if link else place + len(word)
        size, firm = _size(text, start)
        marked = any(sign in text[place + len(word) : start] for sign in MARKS)
        if size and (firm or marked or word not in WEAK):
            yield Span(start, start + size, "name", LIKELY if marked or word == "我叫" else GUESSED)
    for place in page.pairs(LAST_BIT, _LAST).tolist():
        word = next((one for one in _TITLES[text[place : place + 2]] if text.startswith(one, place)), "")
        size = _size_before(text, place) if word else 0
        if size:
            yield Span(place - size, place, "name", LIKELY)
    for place in page.places("收").tolist():  # at the end of an address: 张三收
        size = 0 if _is_han(text[place + 1]) else _size_before(text, place)
        if size and not _is_han(text[place - size - 1]) and text[place - size - 1] != "\0":
            yield Span(place - size, place, "name", LIKELY)


def _size(text: str, start: int) -> tuple[int, bool]:
    """How many signs the Chinese name that begins here has (0: none does), and whether it surely ends there."""
    surname = 2 if text[start : start + 2] in DOUBLE_SURNAMES else 1 if text[start : start + 1] in SURNAMES else 0
    if not surname:
        return 0, False
    given = 0
    while given < 3 and _is_han(text[start + surname + given : start + surname + given + 1]):
        given += 1
    if given > 1 and text.startswith(VERBS, start + surname + 1):
        return (surname + 1, True) if text[start + surname] not in NOT_GIVEN else (0, False)
    long = given >= 2 and not set(text[start + surname : start + surname + 2]) & NOT_GIVEN
    if given == 2 and long:
        return surname + 2, True
    if given == 1:
        good = text[start + surname] not in NOT_GIVEN
        return (surname + 1 if good else 0), True
    if not given or text[start + surname] in NOT_GIVEN:
        return 0, False
    if long and text[start + surname + 2] in FOLLOWS:
        return surname + 2, True
    if text[start + surname + 1] in FOLLOWS:
        return surname + 1, True
    return (surname + 2, False) if long else (0, False)


def _size_before(text: str, end: int) -> int:
    """How many signs the Chinese name has that ends here: surname and at least one more."""
    for size in (4, 3, 2):
        piece = text[end - size : end]
        if len(piece) < size or not all(map(_is_han, piece)):
            continue
        if piece[0] == "谢" and text[end - size - 1] in "感多致":
            continue
        double = piece[:2] in DOUBLE_SURNAMES
        if double and size > 2 and not set(piece[2:]) & NOT_GIVEN:
            return size
        alone = size == 2 or piece[0] not in NOT_GIVEN or not _is_han(text[end - size - 1])
        if size < 4 and piece[0] in SURNAMES and not set(piece[1:]) & NOT_GIVEN and alone:
            return size
    return 0


def _is_han(sign: str) -> bool:
    return "\u4e00" <= sign <= "\u9fff"


def _english(page: Page) -> Iterator[Span]:
    text = page.text
    for place in _titles(page):
        if (found := TITLED.match(text, place)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)
    for place in page.words("ame is "):
        if text[place - 1] in "nN" and (found := NAMED.match(text, place + 6)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)
    yield from _labelled(page)
    for place in page.places("\n", before=",").tolist():
        if CLOSING.search(page.before(place - 1, 14)) and (found := SIGNED.match(text, place)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)
    for place in _rights(page):
        if (found := RIGHTS.match(text, place)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", GUESSED)
    for mail in mail_forms(page):
        before = page.before(mail.start(), 60)
        named = before.rstrip(" <([\"',")
        piece = _CUT.split(named)[-1]
        if len(named) < len(before.rstrip()) and (found := MAIL_BEFORE.search(piece)) and _may_be_name(found[1]):
            first = mail.start() - len(before) + len(named) - len(piece) + found.start(1)
            yield Span(first, first + len(found[1]), "name", LIKELY)


def _titles(page: Page) -> list[int]:
    found = [page.places("M", after="r"), page.places("M", after="s"), page.places("M", after="iss"), page.places("D", after="r")]
    return sorted(one for places in (*found, page.places("P", after="rof")) for one in places.tolist())


def _rights(page: Page) -> list[int]:
    found = [page.places("(", after="c)") + 1, page.places("(", after="C)") + 1, page.where("©")]
    return sorted({*(one for places in found for one in places.tolist()), *page.words("opyright")})


def _labelled(page: Page) -> Iterator[Span]:
    """Names after a label and a colon."""
    colons = page.places(":", after=" ")
    colons = colons[page.is_capital(colons + 2)]
    for place in colons[page.is_letter(colons - 1)].tolist():
        if LABEL.search(page.before(place, 18)) and (found := WHOLE.match(page.text, place + 1)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)


def _may_be_name(text: str) -> bool:
    return not any(word.strip(".,").lower() in NO_NAME for word in re.split(r"[\s-]", text))
