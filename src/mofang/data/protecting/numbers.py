"""Numbers that name a person: identity cards, telephones, bank cards, US social security numbers.

A place worth a look is seven digits within ten signs. What stands there is told by its form, its check sum or range, and
the words beside it; in Chinese no blank parts 手机 from 138…, so neighbours are looked at instead of word boundaries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from mofang.data.protecting import lists
from mofang.data.protecting.checks import (
    digits_of,
    is_book_number,
    is_card_number,
    is_company_code,
    is_identity_number,
    is_international,
    is_landline,
    is_mobile,
    is_north_american,
    is_ssn,
)
from mofang.data.protecting.nearby import (
    CARD_WORDS,
    IDENTITY_WORDS,
    PHONE_WORDS,
    SSN_WORDS,
    says,
    says_other,
)
from mofang.data.protecting.page import Page
from mofang.data.protecting.spans import CHECKED, LIKELY, NOT_PERSONAL, SURE, Span

MAKES = frozenset({"identity-card", "card", "ssn", "mobile", "landline", "phone"})
NEAR = 30  # signs before a number that are read for words
CLOSE = np.zeros(1 << 16, bool)  # signs that stand between the digits of one number
CLOSE[[ord(sign) for sign in " -.()/\u2010\u2011\u2012\u2013\u2014·"]] = True
DOT, PLUS_SIGN = ord("."), ord("+")

END = r"(?![0-9A-Za-z_]|[-.]\d)"
IDENTITY = re.compile(r"(?<![0-9])[1-8]\d{5}([ -]?)(?:18|19|20)\d{6}\1\d{3}[\dXx](?![0-9A-Za-z])")
OLD_IDENTITY = re.compile(r"(?<![0-9A-Za-z])[1-8]\d{14}(?![0-9A-Za-z])")
COMPANY = re.compile(r"(?<![0-9A-Za-z])[0-9A-HJ-NPQRTUWXY]{2}\d{6}[0-9A-HJ-NPQRTUWXY]{10}(?![0-9A-Za-z])")
CARD = re.compile(
    r"(?<![0-9A-Za-z.])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?"
    r"|3\d{3}([ -])\d{6}\2\d{4,5}|62\d{4}[ -]\d{10,13})"
    r"(?![0-9A-Za-z_]|[-.]\d)"
)
MOBILE = re.compile(r"(?<![0-9+])(?:[+(]{0,2}(?:00)?86\)?[- ]?)?1[3-9]\d(?:([- ]?)\d{4}\1\d{4})" + END)
LANDLINE = re.compile(
    r"(?<![0-9A-Za-z.+/])(\+?86[- ]?\(?0?|\()?(0?\d{2,3})(\)? ?-? ?)([2-9]\d{2,3}[- ]?\d{4})(?![0-9A-Za-z])"
)
PLUS = re.compile(r"(?<![0-9A-Za-z+])(?:\+|00)[1-9]\d{0,2}(?:[ .-]?\(0?\d{1,4}\))?(?:[ .-]?\d{1,5}){1,6}" + END)
AMERICAN = re.compile(
    r"(?<![0-9A-Za-z.])(?:\+?1[-. ]?)?(?:\(([2-9]\d\d)\) ?|([2-9]\d\d)([-. ]?))([2-9]\d\d)([-. ]?)(\d{4})"
    r"(?: ?(?:x|ext\.?) ?\d{1,5})?" + END
)
CALLED = re.compile(r"(?<![0-9A-Za-z.])\(?\d{2,5}\)?[ .-]?\d{3,4}(?:[ .-]?\d{2,4}){1,3}" + END)
SSN = re.compile(r"(?<![0-9A-Za-z.-])\d{3}([- ]?)\d{2}\1\d{4}" + END)
LETTERS_BEFORE = re.compile(r"[A-Za-z_]+$")
KNOWN_BEFORE = frozenset(lists.words("letters_before_a_number"))
IN_A_PATH = re.compile(r"(?:[A-Za-z0-9_]/|[?&#]|=)$")
CALLING_KEY = re.compile(r"(?:tel|phone|mobile|mob|cell|contact|whatsapp)\w*[\"']?\s*=\s*[\"']?$", re.IGNORECASE)


def numbers(page: Page) -> Iterator[Span]:
    """The numbers of persons on a page, and the numbers of companies and books that are none."""
    for start, end, count in _stretches(page):
        yield from _numbers_in(page, start, end, count)


def _stretches(page: Page) -> Iterator[tuple[int, int, int]]:
    """From where to where digits stand so close together that they may be one number, and how many; the long tails of
    decimal numbers are none."""
    digits, codes = page.digits, page.codes
    if len(digits) < 8:
        return
    first = np.flatnonzero(np.diff(digits, prepend=-9) != 1)
    size = np.diff(first, append=len(digits))
    start = digits[first]
    end = start + size
    left, right = codes[end[:-1]], codes[start[1:] - 1]
    joined = (start[1:] - end[:-1] <= 2) & CLOSE[left] & CLOSE[right]
    dotted = (left == DOT) | (right == DOT)
    joined &= ~dotted | ((size[:-1] <= 4) & (size[1:] <= 4) & (size[1:] >= 2))
    begins = np.flatnonzero(np.append(True, ~joined))
    counts = np.add.reduceat(size, begins)
    ends = end[np.append(begins[1:], len(first)) - 1]
    starts = start[begins]
    before = codes[starts - 1]
    worth = (counts >= 9) | ((before == PLUS_SIGN) & (counts >= 8))
    worth &= ~((before == DOT) & page.is_digit(starts - 2))
    yield from zip(starts[worth].tolist(), ends[worth].tolist(), counts[worth].tolist(), strict=True)


def _numbers_in(page: Page, start: int, end: int, count: int) -> Iterator[Span]:
    low, high = start - 3, min(end + 12, len(page.text))
    for form, least, read in FORMS:
        if count >= least:
            for found in form.finditer(page.text, max(low, 0), high):
                if found.start() >= end:  # the next stretch's own, and cut short here
                    break
                yield from read(page, found)


def _identity(page: Page, found: re.Match[str]) -> Iterator[Span]:
    text = found[0].replace(" ", "").replace("-", "")
    if is_identity_number(text) and _letters_fit(page, found.start()):
        yield Span(found.start(), found.end(), "identity-card", CHECKED)


def _old_identity(page: Page, found: re.Match[str]) -> Iterator[Span]:
    if is_identity_number(found[0]) and says(page.before(found.start(), NEAR), IDENTITY_WORDS, 12):
        yield Span(found.start(), found.end(), "identity-card", SURE)


def _company(page: Page, found: re.Match[str]) -> Iterator[Span]:
    if is_company_code(found[0]) and not is_identity_number(found[0]):
        yield Span(found.start(), found.end(), NOT_PERSONAL, CHECKED)


def _card(page: Page, found: re.Match[str]) -> Iterator[Span]:
    digits = digits_of(found[0])
    if is_book_number(digits):
        yield Span(found.start(), found.end(), NOT_PERSONAL, CHECKED)
        return
    if not is_card_number(digits):
        return
    before = page.before(found.start(), NEAR)
    grouped = len(found[0]) > len(digits)
    named = says(before, CARD_WORDS, NEAR) or bool(CARD_WORDS.search(page.after(found.end(), 10)))
    if named or (grouped and not says_other(before, CARD_WORDS)):
        yield Span(found.start(), found.end(), "card", CHECKED if named else SURE)


def _mobile(page: Page, found: re.Match[str]) -> Iterator[Span]:
    start = found.start()
    if not is_mobile(digits_of(found[0])[-11:]) or not _letters_fit(page, start):
        return
    before = page.before(start, NEAR)
    if says_other(before, PHONE_WORDS) or _inside_other(before):
        return
    yield Span(start, found.end(), "mobile", SURE)


def _landline(page: Page, found: re.Match[str]) -> Iterator[Span]:
    area = found[2] if found[2][0] == "0" else "0" + found[2]
    local = digits_of(found[4])
    abroad = "86" in (found[1] or "")
    if (found[2][0] != "0" and not abroad) or not is_landline(area, local):
        return
    before = page.before(found.start(), NEAR)
    parted = bool(found[3].strip()) or abroad
    if says(before, PHONE_WORDS) or (parted and not says_other(before, PHONE_WORDS) and not _inside_other(before)):
        yield Span(found.start(), found.end(), "landline", SURE)


def _plus(page: Page, found: re.Match[str]) -> Iterator[Span]:
    text = found[0]
    digits = digits_of(text)[2 if text.startswith("00") else 0 :]
    if not is_international(digits):
        return
    before = page.before(found.start(), NEAR)
    called = says(before, PHONE_WORDS)
    parted = any(sign in text for sign in " -.()")
    if text.startswith("00") and not called:
        return
    if called or (not says_other(before, PHONE_WORDS) and (parted or len(digits) >= 10)):
        kind = "mobile" if digits[:2] == "86" and is_mobile(digits[2:]) else "phone"
        yield Span(found.start(), found.end(), kind, SURE if called or parted else LIKELY)


def _american(page: Page, found: re.Match[str]) -> Iterator[Span]:
    area, between, second = found[1] or found[2], found[3], found[5]
    if not is_north_american(area + found[4] + found[6]) or (between is not None and between != second):
        return
    before = page.before(found.start(), NEAR)
    parted = found[1] is not None or between in ("-", ".")
    if says(before, PHONE_WORDS) or (parted and second and not says_other(before, PHONE_WORDS) and not _inside_other(before)):
        yield Span(found.start(), found.end(), "phone", SURE if found[1] or between == "-" else LIKELY)


def _called(page: Page, found: re.Match[str]) -> Iterator[Span]:
    """A number of any country after a word such as phone."""
    digits = digits_of(found[0])
    if 8 <= len(digits) <= 13 and len(set(digits)) > 2 and says(page.before(found.start(), NEAR), PHONE_WORDS, 14):
        yield Span(found.start(), found.end(), "phone", LIKELY)


def _ssn(page: Page, found: re.Match[str]) -> Iterator[Span]:
    if not is_ssn(digits_of(found[0])):
        return
    before = page.before(found.start(), NEAR)
    if says(before, SSN_WORDS, NEAR):
        yield Span(found.start(), found.end(), "ssn", SURE)
    elif found[1] == "-" and not says_other(before, SSN_WORDS, 24) and not says(before, PHONE_WORDS):
        yield Span(found.start(), found.end(), "ssn", LIKELY)


def _letters_fit(page: Page, start: int) -> bool:
    """True if no letter stands right before a number, or a word that announces it."""
    found = LETTERS_BEFORE.search(page.before(start, 14))
    return found is None or found[0].lower().strip("_") in KNOWN_BEFORE


def _inside_other(before: str) -> bool:
    """True if a number is a piece of something longer: a path, a query, a chain of numbers."""
    if before[-1:] in "-." and before[-2:-1].isalnum() and before[-2:-1].isascii():
        return True
    if before[-1:] == "/" and before[-2:-1].isdigit():
        return False
    return bool(IN_A_PATH.search(before)) and not CALLING_KEY.search(before)


Read = Callable[[Page, "re.Match[str]"], Iterator[Span]]
# Form, the least number of digits a stretch must have, and what reads it closely.
FORMS: tuple[tuple[re.Pattern[str], int, Read], ...] = (
    (IDENTITY, 17, _identity),
    (COMPANY, 17, _company),
    (OLD_IDENTITY, 15, _old_identity),
    (CARD, 13, _card),
    (MOBILE, 11, _mobile),
    (LANDLINE, 10, _landline),
    (PLUS, 8, _plus),
    (AMERICAN, 10, _american),
    (CALLED, 9, _called),
    (SSN, 9, _ssn),
)
