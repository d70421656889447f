"""Addresses of people: Chinese ones from the province down to the room, and streets with a house number in English.

No list of all streets is kept. A Chinese address is told by its levels (省, 市, 区, 路, 号), one of English by a number,
names in capitals and a word such as Street. Villages and houses that only their neighbours can place are missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from mofang.data.protecting import lists
from mofang.data.protecting.page import SIGN_BITS, Page, pairs_of, set_bit
from mofang.data.protecting.spans import GUESSED, LIKELY, SURE, Span

PROVINCE_NAMES = lists.words("provinces")
CITY_NAMES = lists.words("cities")
_NAMED = "|".join(sorted([*PROVINCE_NAMES, *CITY_NAMES], key=len, reverse=True))
_H = "(?:和平|(?![的了在是和与我你他她您住到去址寄送请至距离及或把被让给说这那个都就也很不没从将并但因所以])[\u4e00-\u9fff])"
_REGION = (
    rf"(?:(?:中国)?(?:{_NAMED})(?:壮族|回族|维吾尔)?(?:特别行政区|自治区|省|市|地区|州)?[ ,]?){{1,3}}"
)
_AREA = rf"(?:{_H}{{1,7}}?(?:自治州|自治县|开发区|高新区|新区|区|县|旗|市|盟)[ ,]?)"
_TOWN = rf"(?:{_H}{{1,6}}?(?:街道办事处|街道|镇|乡|苏木)[ ,]?)"
_WAYS = "大道|大街|中路|东路|西路|南路|北路|路|街|道|巷|弄|胡同|里弄|村|屯|庄|社区|小区|花园|花苑|苑|公寓|大厦|广场|工业园|科技园|产业园|园区|家园|新城|公馆|华府|中心|庭院|大院|工业区|校区|大楼"
_ROAD = rf"(?:(?:[0-9]{{1,3}}|[A-Z])?{_H}{{1,8}}?(?:{_WAYS})(?:[东西南北中]?[0-9一二三四五六七八九十]{{0,3}}段)?)"
_HOUSES = rf"(?:{_H}{{1,8}}?(?:{_WAYS}|园|城|府|湾|庭|里|坊|厂|院|楼))"
_NUMBER = (
    r"(?:[ ,]?(?:[0-9]{1,5}(?:[-之][0-9]{1,4})?|[A-Za-z][0-9]{0,3}|[甲乙丙丁东西南北]|[一二三四五六七八九十百]{1,4})"
    r"(?:号院|号楼|号|弄|栋|幢|座|单元|室|层|楼|户|组|队|房|门|区))"
)
_TAIL = rf"(?:(?:[ ,]?{_HOUSES})?(?:{_NUMBER})+(?:[ -]?[0-9]{{2,5}}(?:室|房|号)?(?![0-9年月.]))?)"
REGION = re.compile(_REGION)
_TAILS = rf"(?:{_TAIL}){{0,4}}"
_BELOW = (
    rf"(?:{_AREA}{{1,3}}{_TOWN}?|{_TOWN}){_ROAD}{{1,2}}{_TAILS}|(?:{_AREA}{{1,3}}{_TOWN})(?:{_TAIL}){{1,3}}"
    rf"|{_ROAD}{_NUMBER}(?:{_TAIL}){{0,3}}(?:[ -]?[0-9]{{2,5}}(?:室|房)?(?![0-9年月.]))?"
)
WITHIN = re.compile(
    rf"{_REGION}(?:{_AREA}{{0,2}}{_TOWN}?{_ROAD}{{1,2}}{_TAILS}|{_AREA}{{1,2}}{_TOWN}?(?:{_TAIL}){{1,3}}|{_BELOW})"
)
LOCAL = re.compile(_BELOW)
LEVEL = re.compile(r"省|市|区|县|旗|镇|乡|街道")
WORDS = re.compile(r"(?:地址|住址|住在|家住|现居|户籍|居住|寄到|送到|寄往|位于|收货|所在地)")
NOT_A_PLACE = re.compile(r"铁路|公路|网路|线路|思路|道路|电路|回路|门路|出路|套路|知道|频道|管道|味道|报道|渠道|农村|市中心|数据中心")
HOUSE_SIGNS = "号弄栋幢座室楼单组"
WAY_ENDS = "路街道巷弄村园区厦场寓苑庄里屯城院段号楼座庭同厂坊湾府馆心镇乡"
PLACES_BIT, HOUSE_BIT, WAY_BIT = 1, 2, 4
_ANNOUNCED = ("地址", "住址", "家住", "住在", "现居")
_PAIRS = pairs_of((*PROVINCE_NAMES, *CITY_NAMES, *_ANNOUNCED))
set_bit(PLACES_BIT, (chr(int(pair) >> 16) for pair in _PAIRS))
set_bit(HOUSE_BIT, HOUSE_SIGNS)
set_bit(WAY_BIT, WAY_ENDS)
REACH = 48

_CAPITAL = r"[A-Z][A-Za-z'’.-]*"
_STREETS = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|"
    "Square|Sq|Terrace|Parkway|Pkwy|Highway|Hwy|"
    "Crescent|Close|Circle|Cir|Trail|Alley|Quay"
)
ENGLISH = re.compile(
    rf"(?<![0-9A-Za-z.,$£€#/-])\d{{1,5}}[A-Za-z]?(?:[-/]\d{{1,4}})? (?:[NSEW]\.? )?"
    rf"(?:{_CAPITAL} |\d{{1,3}}(?:st|nd|rd|th) ){{1,4}}?"
    rf"(?:{_STREETS})\b(?:\.(?=,? [A-Z0-9#]))?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Room|Rm|#)\.? ?#?[0-9A-Za-z-]{1,6}\b"
    r"|,? (?:First|Second|Third|Fourth|Fifth) Floor)?"
    rf"(?:,?[ \n]{{1,2}}(?:{_CAPITAL}[ ]?){{1,3}},? ?(?:[A-Z]{{2}}\b|[A-Z][a-z]+)?"
    rf",? ?(?:\d{{5}}(?:-\d{{4}})?\b|[A-Z]{{1,2}}\d[A-Z0-9]? ?\d[A-Z]{{2}}\b))?"
)


def addresses(page: Page) -> Iterator[Span]:
    """Addresses, Chinese and English."""
    yield from _english(page)
    if page.wide:
        yield from _chinese(page)


def _chinese(page: Page) -> Iterator[Span]:
    last = 0
    for place in page.pairs(PLACES_BIT, _PAIRS).tolist():
        if place < last:
            continue
        if page.text[place : place + 2] in _ANNOUNCED:
            found = _announced(page.text, place + 2)
        else:
            found = WITHIN.match(page.text, place, place + 2 * REACH)
        if found and (span := _chinese_span(page, found)):
            last = span.end
            yield span
    last = 0
    for place in _numbered(page):
        start, end = page.bounds(place)
        for found in LOCAL.finditer(page.text, max(place - REACH, last, start), min(place + REACH, end)):
            if found.end() > place and (span := _chinese_span(page, found)):
                last = span.end
                yield span
                break


def _announced(text: str, start: int) -> re.Match[str] | None:
    """The address that follows a word such as 地址: from its region on, where one is named first."""
    for place in range(start, start + 5):
        if REGION.match(text, place):
            return WITHIN.match(text, place, place + 2 * REACH)
    return LOCAL.search(text, start, start + REACH)


def _numbered(page: Page) -> list[int]:
    """Where a house number stands: digits after the last sign of a street, and before 号, 弄, 室 and the like."""
    digits = page.digits
    if not len(digits):
        return []
    first = np.flatnonzero(np.diff(digits, prepend=-9) != 1)
    last = np.append(first[1:], len(digits)) - 1
    ends = (SIGN_BITS[page.codes[digits[last] + 1]] & HOUSE_BIT) != 0
    before = digits[first] - 1
    before = np.where(page.codes[before] == 32, before - 1, before)
    begins = (SIGN_BITS[page.codes[before]] & WAY_BIT) != 0
    return [int(one) for one in digits[first[ends & begins]]]


def _chinese_span(page: Page, found: re.Match[str]) -> Span | None:
    text = found[0].rstrip(" ,")
    if NOT_A_PLACE.search(text) or len(text) < 5:
        return None
    levels, numbered = len(LEVEL.findall(text)), any("0" <= sign <= "9" for sign in text)
    said = bool(WORDS.search(page.before(found.start(), 6)))
    if numbered and (levels or said):
        return Span(found.start(), found.start() + len(text), "address", SURE if levels > 1 else LIKELY)
    if levels >= 2 or said and levels:
        return Span(found.start(), found.start() + len(text), "address", LIKELY)
    return Span(found.start(), found.start() + len(text), "address", GUESSED) if numbered else None


def _english(page: Page) -> Iterator[Span]:
    digits = page.digits
    ends = digits[page.codes[digits + 1] == 32]
    ends = ends[page.is_capital(ends + 2)]
    last = 0
    for place in ends:
        at = int(place)
        low = at
        while low > 0 and at - low < 6 and page.text[low - 1].isdigit():
            low -= 1
        found = ENGLISH.match(page.text, max(low, last))
        if found:
            last = found.end()
            yield Span(found.start(), found.end(), "address", LIKELY)
