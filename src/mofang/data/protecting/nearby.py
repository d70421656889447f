"""Words beside a number that say what it is: a telephone number, a card, or only an order."""

from __future__ import annotations

import re

PHONE_WORDS = re.compile(
    r"手机|电话|座机|固话|传真|热线|联系|致电|拨打|来电|打给|打了$|短信|号码是|微信|支付宝|"
    r"\b(?:tel|telephone|phone|mobile|mob|cell|cellphone|call|fax|dial|text|sms|whatsapp|contact|ring|reach|wechat|wx|vx)\b",
    re.IGNORECASE,
)
CARD_WORDS = re.compile(
    r"卡|银行|账户|帐户|账号|帐号|转账|汇款|打款|收款|付款|尾号|"
    r"\b(?:card|cards|visa|mastercard|master|amex|american express|discover|jcb|unionpay|credit|debit|account|acct|pan|"
    r"bank|paid with|payment)\b",
    re.IGNORECASE,
)
OTHER_WORDS = re.compile(
    r"订单|单号|编号|流水|货号|型号|序列|运单|快递|条码|批号|批次|版本|学号|工号|发票|合同|案号|书号|商品|时间戳|账单号|统一社会信用|信用代码|"
    r"税号|QQ|群号|房间号|会议号|"
    r"\b(?:order|invoice|serial|sku|ref|reference|isbn|issn|ean|upc|doi|version|build|commit|ticket|tracking|batch|"
    r"parcel|part|model|item|bug|issue|timestamp|epoch|hash|checksum|md5|sha1|sha256|crc|id|uid|gid|pid|uuid|revision|rev|"
    r"rfc|patent|case|article|number of|product|asin|barcode|transaction|trace|session|port|offset|size|bytes|seed)\b",
    re.IGNORECASE,
)
IDENTITY_WORDS = re.compile(r"身份证|证件|公民|identity|\bid\b", re.IGNORECASE)
SSN_WORDS = re.compile(r"\bSSN\b|social security|社会安全|社保号", re.IGNORECASE)
BESIDE = 12  # signs between such a word and the number


def says(before: str, words: re.Pattern[str], reach: int = 24) -> bool:
    """True if such a word stands shortly before a number, and no word for another kind of number is nearer."""
    near = before[-reach:]
    last = _last(words, near)
    return last >= 0 and last >= _last(OTHER_WORDS, near[-20:], len(near[:-20]))


def says_other(before: str, words: re.Pattern[str], reach: int = 20) -> bool:
    """True if the word right before a number says that it counts orders, versions or other things."""
    near = before[-reach:]
    other = _last(OTHER_WORDS, near)
    return other >= len(near) - BESIDE and other > _last(words, near)


def _last(words: re.Pattern[str], text: str, shift: int = 0) -> int:
    found = -1
    for match in words.finditer(text):
        found = match.end() + shift
    return found
