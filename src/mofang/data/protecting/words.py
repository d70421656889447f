"""Addresses of machines and mailboxes, account numbers with letters, plates, passports, WeChat names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import numpy as np

from mofang.data.protecting import lists
from mofang.data.protecting.checks import IBAN_CHARS, is_iban
from mofang.data.protecting.nearby import OTHER_WORDS
from mofang.data.protecting.page import Page, pairs_of, set_bit
from mofang.data.protecting.spans import CHECKED, LIKELY, SURE, Span

MAIL = re.compile(
    r"(?<![A-Za-z0-9._%+/=-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}"
    r"[A-Za-z]{2,24}(?![A-Za-z0-9_@-]|\.[A-Za-z0-9])"
)
FILE_ENDINGS = frozenset(lists.words("file_endings"))
NO_PERSON = frozenset(lists.words("machine_mailboxes"))
IPV4 = re.compile(r"(?<![0-9A-Za-z.])(?:\d{1,3}\.){3}\d{1,3}(?![0-9A-Za-z]|\.\d)")
IPV6 = re.compile(r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![0-9A-Za-z:])")
VERSION_BEFORE = re.compile(
    r"(?:\bv|version|release|ver\.?|版本|版|section|§|chapter|第|[=><~^]=|[A-Za-z0-9_]-|[\w)]\s*[<>]|appendix|rev\.?|build|firmware|"
    r"oid|\bsec\.?|clause|node|figure|table|rule)[\s:：号是为]*$",
    re.IGNORECASE,
)
WELL_KNOWN = frozenset({"0.0.0.0", "1.1.1.1", "8.8.8.8", "1.0.0.1", "8.8.4.4"})
MACHINE_WORDS = re.compile(r"\bip\b|ipv[46]|address|host|server|client|listen|gateway|dns|ping|ssh|登录|地址|主机|服务器|来自|from", re.I)
IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![0-9A-Za-z])")
PROVINCE_SIGNS = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
PLATE = re.compile(
    rf"[{PROVINCE_SIGNS}][A-Z](?: ?[·•∙.-] ?| )?(?:[DF](?=[A-HJ-NP-Z0-9]{{5}}(?![A-Za-z0-9]))[A-HJ-NP-Z0-9]\d{{4}}|\d{{5}}[DF]|"
    r"(?=[A-Z0-9]*\d)[A-HJ-NP-Z0-9]{5}|(?=[A-Z0-9]*\d)[A-HJ-NP-Z0-9]{4}[学警港澳挂试超使领])(?![A-Za-z0-9])"
)
PLATE_BIT = 32
set_bit(PLATE_BIT, PROVINCE_SIGNS)
PASSPORT_WORDS = re.compile(r"护照|passport", re.IGNORECASE)
PERMIT_WORDS = re.compile(r"通行证|回乡证|台胞证|台湾居民|港澳居民|往来港澳|往来台湾|来往内地")
DOCUMENT = re.compile(r"(?<![0-9A-Za-z])[A-Z]{0,2}\d{6,10}(?![0-9A-Za-z])")
PASSPORT = re.compile(r"[EGDSPH]\d{8}|E[A-HJ-NP-Z]\d{7}|1[45]\d{7}|[A-Z]{1,2}\d{6,8}|\d{9}|[A-Z]\d{8}")
PERMIT = re.compile(r"[CWHMLT]\d{8}|C[A-HJ-NP-Z]\d{7}|[HM]\d{10}|\d{8}|[A-Z]\d{8}")
WECHAT_WORD = re.compile(r"(?:微信|薇信|威信|wechat|weixin|(?<![A-Za-z])(?:vx|wx|v信|V号))", re.IGNORECASE)
WECHAT = re.compile(
    r"\s?(?:号码|账号|帐号|号|id|ID|Id|同号)?(?:\s?(?:是|为|：|:|=)\s?|\s)?[\"'“(]?([A-Za-z][A-Za-z0-9_-]{5,19})(?![A-Za-z0-9_@]|\\.[A-Za-z])"
)
WECHAT_BIT = 64
_WECHAT = pairs_of(("微信", "薇信", "威信"))
set_bit(WECHAT_BIT, "微薇威")
WECHAT_SAYS = re.compile(r"号|id|是|为|:|=|加我?|联系", re.IGNORECASE)


def mails(page: Page) -> Iterator[Span]:
    """Mail addresses. Files such as ``icon@2x.png`` and machine accounts such as ``git@`` are none."""
    for found in mail_forms(page):
        local, _, domain = found[0].partition("@")
        if domain.rpartition(".")[2].lower() in FILE_ENDINGS or local.lower() in NO_PERSON or ".." in local or local[-1] == ".":
            continue
        yield Span(found.start(), found.end(), "email", SURE)


def mail_forms(page: Page) -> list[re.Match[str]]:
    """Whatever has the form of a mail address."""
    if page.mails is None:
        page.mails, last = [], 0
        for at in page.where("@").tolist():
            found = MAIL.search(page.text, max(at - 66, last, 0), at + 160)
            if found and found.start() < at < found.end():
                last = found.end()
                page.mails.append(found)
    return page.mails


def machines(page: Page) -> Iterator[Span]:
    """IPv4 and IPv6 addresses, public or private; version numbers and times are none."""
    for at in _four_parts(page):
        found = IPV4.search(page.text, max(at - 4, 0), at + 20)
        if found is None or any(int(part) > 255 or (part != "0" and part[0] == "0") for part in found[0].split(".")):
            continue
        if not _is_version(page, found):
            yield Span(found.start(), found.end(), "ip", SURE, _reach(found[0]))
    for at in _colons(page):
        low = at
        while low > at - 40 and page.text[low - 1] in _V6_SIGNS:
            low -= 1
        if page.text[low] == ":" and page.text[low + 1] != ":":  # IP:2001:db8::1
            low += 1
        if page.text[low - 1].isalnum() and page.text[low - 1].isascii():
            continue
        found = IPV6.match(page.text, low, at + 48)
        if found and _is_ipv6(found[0]):
            yield Span(found.start(), found.end(), "ip", SURE, _reach(found[0]))


def _four_parts(page: Page) -> list[int]:
    """Where a number begins that is followed by three more, each after a full stop."""
    digits, codes = page.digits, page.codes
    dots = digits[codes[digits + 1] == ord(".")] + 1
    dots = dots[page.is_digit(dots + 1)]
    if len(dots) < 3:
        return []
    first = np.flatnonzero(dots[2:] - dots[:-2] <= 8)
    return [int(one) - 1 for one in dots[first]]


def _is_version(page: Page, found: re.Match[str]) -> bool:
    text, before = found[0], page.before(found.start(), 14)
    parts = [int(one) for one in text.split(".")]
    if VERSION_BEFORE.search(before):
        return True
    if parts[0] == 0 and text != "0.0.0.0":
        return True
    small = sum(part < 20 for part in parts) >= 3 and parts[0] < 10 and text not in WELL_KNOWN
    return small and not MACHINE_WORDS.search(page.before(found.start(), 24))


def _colons(page: Page) -> list[int]:
    """Where an IPv6 address may stand: two colons together beside a hexadecimal sign, or seven colons close together."""
    pairs = page.places(":", after=":")
    near = (page.codes[pairs - 1] < 127) & (_HEX[page.codes[pairs - 1] & 127] | _HEX[page.codes[pairs + 2] & 127])
    found = {int(one) - 1 for one in pairs[near]}
    colons = page.where(":")
    if len(colons) >= 7:
        first = colons[np.flatnonzero(colons[6:] - colons[:-6] <= 30)]
        found |= {int(one) - 4 for one in first}
    return sorted(found)


_V6_SIGNS = frozenset("0123456789abcdefABCDEF:")
_HEX = np.zeros(128, bool)
_HEX[[ord(sign) for sign in "0123456789abcdefABCDEF"]] = True


def _is_ipv6(text: str) -> bool:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    groups = [group for group in text.split(":") if group]
    return len(groups) >= 3 and any(any(sign.isdigit() for sign in group) for group in groups) or address in _KNOWN_V6


_KNOWN_V6 = frozenset(map(ipaddress.IPv6Address, ("::1", "fe80::1", "ff02::1", "ff02::2")))


def _reach(text: str) -> str:
    return "public" if ipaddress.ip_address(text).is_global else "private"


def accounts(page: Page) -> Iterator[Span]:
    """IBANs: the country's length and the check sum decide."""
    digits = page.digits
    pairs = digits[page.is_capital(digits - 1) & page.is_capital(digits - 2)]
    for at in (pairs[page.is_digit(pairs + 1)] - 2).tolist():
        if page.text[at : at + 2] not in IBAN_CHARS:
            continue
        found = IBAN.match(page.text, at)
        if found is None:
            continue
        text, size = found[0], IBAN_CHARS[page.text[at : at + 2]]
        end = _end_of(text, size)
        if end and is_iban(text[:end].replace(" ", "")):
            yield Span(at, at + end, "iban", CHECKED)


def _end_of(text: str, size: int) -> int:
    """Where so many letters and digits of a text end, if a whole group ends there."""
    count = 0
    for place, sign in enumerate(text, 1):
        count += sign != " "
        if count == size:
            return place if place == len(text) or text[place] == " " else 0
    return 0


def plates(page: Page) -> Iterator[Span]:
    """Chinese number plates, of new-energy cars too."""
    if not page.wide:
        return
    signs = page.marked(PLATE_BIT)
    for place in signs[page.is_capital(signs + 1)].tolist():
        if found := PLATE.match(page.text, place):
            yield Span(found.start(), found.end(), "plate", SURE)


def documents(page: Page) -> Iterator[Span]:
    """Passports, and permits for travel between the mainland, Hong Kong, Macau and Taiwan, beside a word that says so."""
    digits = page.digits
    if len(digits) < 6:
        return
    runs = digits[np.flatnonzero(digits[5:] - digits[:-5] == 5)]
    first = runs[np.flatnonzero(np.diff(runs, prepend=-9) != 1)]
    for place in first:
        at = int(place)
        before = page.before(at, 36)
        permit, passport = bool(PERMIT_WORDS.search(before)), bool(PASSPORT_WORDS.search(before))
        if not (permit or passport):
            continue
        found = DOCUMENT.search(page.text, max(at - 2, 0), at + 12)
        if found is None or _other_follows(before):
            continue
        if permit and PERMIT.fullmatch(found[0]):
            yield Span(found.start(), found.end(), "permit", SURE)
        elif passport and PASSPORT.fullmatch(found[0]):
            yield Span(found.start(), found.end(), "passport", SURE)


def _other_follows(before: str) -> bool:
    """True if between the document's word and the number another kind of number is announced."""
    last = max((found.end() for form in (PASSPORT_WORDS, PERMIT_WORDS) for found in form.finditer(before)), default=0)
    return bool(OTHER_WORDS.search(re.sub(r"(?i)\b(?:number|no|id)\b", "", before[last:])))


def wechat_names(page: Page) -> Iterator[Span]:
    """WeChat names after a word that says so."""
    starts = [page.pairs(WECHAT_BIT, _WECHAT)]
    for sign, before in (
        ("x", "v"), ("x", "w"), ("X", "V"), ("X", "W"), ("x", "V"), ("x", "W"), ("x", "ei"), ("信", "V"), ("信", "v"),
    ):
        starts.append(page.places(sign, before=before) - len(before))
    ascii_words: list[int] = [place for word in ("echat", "eChat", "ECHAT") for place in page.words(word)]
    last = 0
    for at in sorted({*ascii_words, *(one for places in starts for one in places.tolist())}):
        word = WECHAT_WORD.search(page.text, max(at - 2, 0), at + 7)
        if word is None:
            continue
        found = WECHAT.match(page.text, word.end())
        if found is None or found.start(1) < last:
            continue
        between = page.text[word.end() : found.start(1)]
        plain = word[0].isascii() or WECHAT_SAYS.search(between)
        if not plain and between or not _looks_chosen(found[1], between):
            continue
        last = found.end(1)
        yield Span(found.start(1), found.end(1), "wechat", LIKELY)


def _looks_chosen(text: str, between: str) -> bool:
    """True for a name that somebody chose: with a digit, a dash or an underscore, or plain letters after a sign such as :"""
    marked = any(sign.isdigit() or sign in "_-" for sign in text)
    return marked or bool(re.search(r"[:=是为号]|id", between, re.IGNORECASE))
