"""Where records come from and what may be done with them: licence, terms, legal basis, origin, dates.

These words travel in about.json and in the ledger entry. Nobody is refused for an unusual licence or basis: the law of a
place may know others. What looks like a slip is answered with a hint.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.nearest import nearest
from mofang.data.roles import with_role

# The common part of the SPDX licence list, and the words that people use where no public licence applies.
LICENCES = (
    "0BSD", "AFL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "C-UDA-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-3.0",
    "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "ECL-2.0", "EPL-2.0", "EUPL-1.2", "GFDL-1.3-or-later", "GPL-2.0-only",
    "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "HPND", "ISC", "LGPL-2.1-or-later", "LGPL-3.0-or-later", "MIT",
    "MIT-0", "MPL-2.0", "MulanPSL-2.0", "NCSA", "O-UDA-1.0", "ODbL-1.0", "ODC-By-1.0", "OGL-UK-3.0", "PDDL-1.0",
    "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "etalab-2.0",
)  # fmt: skip
OWN_WORDS = ("own", "proprietary", "public-domain", "licensed", "自有", "授权", "公有领域")

# GDPR article 6(1) and PIPL article 13(1).
BASES = {
    "consent": "GDPR 6(1)(a), PIPL 13(1)(1)",
    "contract": "GDPR 6(1)(b), PIPL 13(1)(2)",
    "human-resources": "PIPL 13(1)(2)",
    "legal-obligation": "GDPR 6(1)(c), PIPL 13(1)(3)",
    "vital-interests": "GDPR 6(1)(d), PIPL 13(1)(4)",
    "public-task": "GDPR 6(1)(e)",
    "news-reporting": "PIPL 13(1)(5)",
    "made-public": "PIPL 13(1)(6)",
    "legitimate-interests": "GDPR 6(1)(f)",
}
SAID = ("licence", "terms", "origin", "consent", "obtained", "retain_until", "person")  # of a source, in this order
PERIOD = re.compile(r"(\d{1,5}) ?(d|day|days|天|日|w|week|weeks|周|m|month|months|个月|月|y|year|years|年)")
DAYS = {"d": 1, "天": 1, "日": 1, "w": 7, "周": 7}


@dataclass(frozen=True)
class Provenance:
    """What is said of a source, checked; ``retain_until`` is a day or empty. ``hints`` are sentences about likely slips."""

    licence: str
    terms: str = ""
    consent: str = ""
    origin: str = ""
    obtained: str = ""
    retain_until: str = ""
    hints: tuple[tuple[str, str], ...] = ()

    def about(self) -> dict[str, str]:
        """What stands in about.json: always licence, origin and consent, the rest where it was said."""
        more = {"terms": self.terms, "obtained": self.obtained, "retain_until": self.retain_until}
        return {"licence": self.licence, "origin": self.origin, "consent": self.consent,
                **{name: value for name, value in more.items() if value}}


def sources_of(about: Mapping[str, Any], roles: Mapping[str, str]) -> list[dict[str, str]]:
    """What was said of each source behind records, from their about.json and the roles of their columns."""
    if "sources" in about:
        return [dict(one) for one in about["sources"]]
    said = {name: str(about[name]) for name in SAID if about.get(name)}
    people = ", ".join(with_role(roles, "person"))
    return [said | ({"person": people} if people else {})] if said else []


def united(several: Iterable[list[dict[str, str]]]) -> list[dict[str, str]]:
    """Sources of several records as one list without repeats, in the order in which they are met."""
    found: list[dict[str, str]] = []
    for sources in several:
        found += [one for one in sources if one not in found]
    return found


def provenance(licence: str, terms: str, consent: str, origin: str, obtained: str, retain: str, retain_until: str,
               person: str) -> Provenance:
    """Check what was said of a source.

    Raises ``date-unreadable``, ``obtained-later``, ``period-unreadable``, ``retain-from-when``, ``retain-twice``.
    """
    day = _day(obtained, "obtained")
    if day and day > datetime.date.today() + datetime.timedelta(days=1):  # a day of grace: time zones
        raise MofangError("obtained-later", day=obtained)
    if retain and retain_until:
        raise MofangError("retain-twice", retain=retain, day=retain_until)
    until = _day(retain_until, "retain-until")
    if retain:
        if day is None:
            raise MofangError("retain-from-when", retain=retain)
        until = after(day, retain)
    hints = [*_licence_hint(licence.strip()), *_basis_hint(consent.strip(), person)]
    return Provenance(licence.strip(), terms.strip(), consent.strip(), origin.strip(), day.isoformat() if day else "",
                      until.isoformat() if until else "", tuple(hints))


def _day(text: str, flag: str) -> datetime.date | None:
    if not text:
        return None
    plain = re.sub(r"[/.年月]", "-", text.strip()).rstrip("日").strip("-")
    try:
        return datetime.date(*(int(one) for one in plain.split("-")))
    except (ValueError, TypeError):
        raise MofangError("date-unreadable", flag=flag, value=text) from None


def after(day: datetime.date, period: str) -> datetime.date:
    """The day that lies a period such as ``365d``, ``18m`` or ``3 years`` after another; the last of a shorter month."""
    found = PERIOD.fullmatch(period.strip().lower())
    if not found:
        raise MofangError("period-unreadable", value=period)
    count, unit = int(found[1]), found[2][0] if found[2][0] in "dwmy" else found[2][-1]
    try:
        if unit in DAYS:
            return day + datetime.timedelta(days=count * DAYS[unit])
        months = day.month - 1 + count * (12 if unit in "y年" else 1)
        first = datetime.date(day.year + months // 12, months % 12 + 1, 1)
        following = (first + datetime.timedelta(days=31)).replace(day=1)
        return min(first + datetime.timedelta(days=day.day - 1), following - datetime.timedelta(days=1))
    except (ValueError, OverflowError):
        raise MofangError("period-unreadable", value=period) from None


def _licence_hint(licence: str) -> list[tuple[str, str]]:
    """A public licence's name in another spelling: which one is probably meant."""
    known = {one.lower(): one for one in LICENCES}
    if licence in LICENCES or licence.lower() in OWN_WORDS or licence.startswith("LicenseRef-"):
        return []
    pieces = re.split(r"\s+(?:and|or|with)\s+", licence, flags=re.I)
    if len(pieces) > 1 and all(not _licence_hint(one.strip("() ")) for one in pieces):
        return []
    plain = re.sub(r"[\s_]+", "-", licence.strip().lower())
    meant = known.get(plain) or known.get(re.sub(r"-v(?=\d)", "-", plain)) or _close(plain, known)
    if not meant:
        return []
    return [(f"There is no licence {licence!r} in the SPDX list; {meant} is probably meant. It is kept as you wrote it.",
             f"SPDX 许可证列表里没有“{licence}”，可能是 {meant}。这里按您写的保留。")]


def _close(plain: str, known: dict[str, str]) -> str:
    """The licence of nearly this name, if it begins alike."""
    found = nearest(plain, known)
    return known[found] if found in known and found[:3] == plain[:3] else ""


def _basis_hint(consent: str, person: str) -> list[tuple[str, str]]:
    if consent or not person:
        return []
    bases = ", ".join(BASES)
    english = f"The column {person!r} names people, and no legal basis is stated: say it with --consent ({bases}, or your words)."
    return [(english,
             f"“{person}”列指向个人，但没有写明处理依据：请用 --consent 写明（{bases}，或自己的文字）。")]


def shown(found: Provenance) -> list[str]:
    """The hints in the language of the screen."""
    return [say(en, zh) for en, zh in found.hints]
