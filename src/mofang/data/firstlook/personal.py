"""Personal data in texts and columns, told by form and check sum.

Chinese writes no blanks, so a word boundary does not stand between 手机 and 138…: digits and letters around a match
are looked at instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from mofang.data.columns import Profile, is_missing, text_of
from mofang.data.operators import normalise
from mofang.data.protecting.checks import digits_of, is_identity_number, luhn_holds

PHONE = re.compile(
    r"(?<![\d.])(?:(?:\+|00)?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![\d.]?\d)|(?<!\d)0\d{2,3}-\d{7,8}(?!\d)"
    r"|(?<![\d+])\+\d{1,3}[- ]\(?\d{2,4}\)?[- ]\d{3,4}[- ]\d{3,4}(?!\d)"
)
IDENTITY = re.compile(r"(?<![\dA-Za-z])[1-9]\d{5}(?:18|19|20)\d{9}[\dXx](?![\dA-Za-z])")
MAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
CARD = re.compile(r"(?<![\d.])(?:62|4\d|5[1-5])\d{2}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}(?:[- ]?\d{1,3})?(?!\d)")
MACHINE = re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])")
ADDRESS = re.compile(r"[省市区县镇乡村州].*[路街道巷弄号室栋楼幢]")
SURNAMES = set(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦"
    "付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧司诸上"
)
ADDRESS_NAMES = re.compile(r"(?i:(^|[_\W])(address|street|full_?name|contact)($|[_\W]))|住址|地址|收货人|联系人|姓名")
COLUMN_SHARE = 0.6
NAME_SHARE = 0.85
NAMES_LEAST = 15


def is_card_number(text: str) -> bool:
    """True if the digits carry the check sum of a bank card (Luhn)."""
    digits = digits_of(text)
    return len(digits) >= 15 and luhn_holds(digits)


FORMS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("identity number", IDENTITY, is_identity_number),
    ("e-mail", MAIL, bool),
    ("bank card", CARD, is_card_number),
    ("phone", PHONE, bool),
)


def personal_in(text: str) -> str:
    """The first kind of personal data that stands in a text: identity number, e-mail, bank card or phone; or
    nothing."""
    if len(text) < 6 or not ("@" in text or any(sign.isdigit() for sign in text)):
        return ""
    text = normalise(text)
    for kind, form, check in FORMS:
        if any(check(found) for found in form.findall(text)):
            return kind
    return ""


def personal_column(values: Sequence[Any]) -> str:
    """The kind of personal data that most values of a column are, or nothing: also addresses of people and of
    machines, and Chinese names."""
    texts = [normalise(text) for value in values if not is_missing(value) and (text := text_of(value))]
    if not texts:
        return ""
    for kind, form, check in (*FORMS, ("address of a machine", MACHINE, bool)):
        whole = sum(bool(form.fullmatch(text)) and check(text) for text in texts)
        if whole >= COLUMN_SHARE * len(texts):
            return kind
    if (
        _share(texts, lambda text: 8 <= len(text) <= 60 and bool(ADDRESS.search(text))) >= NAME_SHARE
        and len(set(texts)) >= NAMES_LEAST
    ):
        return "address"
    named = _share(
        texts, lambda text: 2 <= len(text) <= 4 and text[0] in SURNAMES and all("\u4e00" <= sign <= "\u9fff" for sign in text)
    )
    return "name" if named >= NAME_SHARE and len(set(texts)) >= NAMES_LEAST else ""


def _share(texts: Sequence[str], rule: Callable[[str], bool]) -> float:
    return sum(map(rule, texts)) / len(texts)


def named_personal(one: Profile) -> str:
    """The column's own name, if that says that it holds names or addresses of people and its values are short texts."""
    words = 0 < one.mean_chars < 60 and one.max_chars < 200 and not one.numeric and one.distinct > 20
    return one.name if words and ADDRESS_NAMES.search(one.name) else ""
