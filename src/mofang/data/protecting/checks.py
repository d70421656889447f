"""Check sums and ranges of numbers that name a person: whether a number can be what it looks like.

GB 11643 (Chinese identity card), ISO/IEC 7812 (cards, Luhn), ISO 13616 (IBAN), GB 32100 (code of a Chinese company),
ISO 2108 (books), the rules of the US Social Security Administration and of ITU-T E.164.
"""

from __future__ import annotations

from datetime import date

from mofang.data.protecting import lists

IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
PROVINCES = frozenset(lists.words("province_codes"))
COMPANY_SIGNS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
COMPANY_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
# First digits (from, to) and the lengths that the issuers behind them give out.
CARD_RANGES: tuple[tuple[int, int, range | tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)), (51, 55, (16,)), (2221, 2720, (16,)), (34, 34, (15,)), (37, 37, (15,)), (62, 62, range(16, 20)),
    (8100, 8171, range(16, 20)), (6011, 6011, range(16, 20)), (644, 649, range(16, 20)), (65, 65, range(16, 20)),
    (3528, 3589, range(16, 20)), (300, 305, (14, 16)), (36, 36, (14, 16)), (38, 39, (14, 16)), (2200, 2204, range(16, 20)),
    (9558, 9558, (19,)), (6013, 6013, (19,)), (6029, 6029, (16,)), (5018, 5018, range(13, 20)), (5020, 5020, range(13, 20)),
    (5038, 5038, range(13, 20)), (5893, 5893, range(13, 20)), (6304, 6304, range(13, 20)), (6759, 6759, range(13, 20)),
    (6761, 6763, range(13, 20)), (6282, 6282, (16, 19)), (9111, 9111, (16,)), (9843, 9843, (16,)), (6858, 6858, (16, 19)),
)  # fmt: skip
IBAN_CHARS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18,
    "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31,
    "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29,
    "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
SSN_NEVER = frozenset({"078051120", "219099999", "457555462", "123456789"})  # printed in advertisements, or made up
COUNTRY_CODES = frozenset(lists.words("country_codes"))
MOBILE_STARTS = frozenset(
    [f"13{n}" for n in range(10)] + [f"14{n}" for n in range(10)] + [f"15{n}" for n in "012356789"]
    + [f"16{n}" for n in "1234567"] + [f"17{n}" for n in range(9)] + [f"18{n}" for n in range(10)]
    + [f"19{n}" for n in "0123456789"]
)  # fmt: skip
BIG_CITY_CODES = frozenset(["010", "020", "021", "022", "023", "024", "025", "027", "028", "029"])


def digits_of(text: str) -> str:
    """The digits of a text, without what stands between them."""
    return text if text.isdecimal() else "".join(sign for sign in text if "0" <= sign <= "9")


def is_identity_number(text: str) -> bool:
    """True for a Chinese identity number: a province, a date that exists, and the check sign (GB 11643); the old form of
    15 digits has no check sign."""
    if len(text) == 15:
        return text.isdecimal() and text[:2] in PROVINCES and _is_date("19" + text[6:12])
    if len(text) != 18 or not text[:17].isdecimal() or text[:2] not in PROVINCES or not _is_date(text[6:14]):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(text, IDENTITY_WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == text[17].upper()


def _is_date(text: str) -> bool:
    try:
        return 1850 <= date(int(text[:4]), int(text[4:6]), int(text[6:8])).year < 2100
    except ValueError:
        return False


def luhn_holds(digits: str) -> bool:
    """True if the digits carry the check sum of ISO/IEC 7812."""
    doubled = sum(sum(divmod(2 * int(one), 10)) for one in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + doubled) % 10 == 0


def is_card_number(digits: str) -> bool:
    """True for digits that a card issuer gives out: the first digits and the length are an issuer's, the check sum holds,
    and they are not mostly zeros."""
    return len(digits) >= 13 and len(set(digits)) > 1 and "0000000" not in digits and has_issuer(digits) and luhn_holds(digits)


def has_issuer(digits: str) -> bool:
    """True if an issuer of cards has numbers that begin so and are that long."""
    return any(
        low <= int(digits[: len(str(low))]) <= high and len(digits) in lengths for low, high, lengths in CARD_RANGES
    )


def is_iban(text: str) -> bool:
    """True for an IBAN without blanks: the country's length, and 1 modulo 97 (ISO 13616)."""
    if IBAN_CHARS.get(text[:2]) != len(text) or not text.isalnum() or not text.isascii():
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def is_company_code(text: str) -> bool:
    """True for the code of a Chinese company or body (GB 32100): public, and no personal data."""
    if len(text) != 18 or any(sign not in COMPANY_SIGNS for sign in text) or not text[2:8].isdecimal():
        return False
    total = sum(COMPANY_SIGNS.index(sign) * weight for sign, weight in zip(text, COMPANY_WEIGHTS, strict=False))
    return COMPANY_SIGNS[(31 - total % 31) % 31] == text[17]


def is_book_number(digits: str) -> bool:
    """True for an ISBN of 13 digits."""
    return len(digits) == 13 and digits[:3] in ("978", "979") and (
        sum(int(one) * (1, 3)[place % 2] for place, one in enumerate(digits)) % 10 == 0
    )


def is_ssn(digits: str) -> bool:
    """True for nine digits that the US Social Security Administration may have given out."""
    return (
        len(digits) == 9 and digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00"
        and digits[5:] != "0000" and digits not in SSN_NEVER and len(set(digits)) > 1
    )  # fmt: skip


def is_mobile(digits: str) -> bool:
    """True for eleven digits of a Chinese mobile network."""
    return len(digits) == 11 and digits[:3] in MOBILE_STARTS and len(set(digits[3:])) > 1


def is_landline(area: str, local: str) -> bool:
    """True for a Chinese area code with a local number as long as that area has them."""
    if area in BIG_CITY_CODES:
        return len(local) == 8 and local[0] in "23456789"
    return len(area) == 4 and "03" <= area[:2] <= "09" and len(local) in (7, 8) and local[0] in "2345678"


def is_north_american(digits: str) -> bool:
    """True for ten digits by the rules of the North American Numbering Plan."""
    return (
        len(digits) == 10 and digits[0] not in "01" and digits[3] not in "01" and digits[1:3] != "11"
        and digits[4:6] != "11" and len(set(digits)) > 2
    )  # fmt: skip


def is_international(digits: str) -> bool:
    """True for digits (after the plus) that begin with a country's code and are as long as E.164 allows."""
    if not 8 <= len(digits) <= 15 or len(set(digits)) < 3:
        return False
    if digits[0] == "1":
        return is_north_american(digits[1:])
    return any(digits[:size] in COUNTRY_CODES for size in (2, 3))
