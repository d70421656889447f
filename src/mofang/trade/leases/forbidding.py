"""What licences and terms of the material behind a model say against handing the model to somebody else for money.

Only what is written down can be seen: names of licences and the ``terms`` of sources travel with every package. What is not
recognised is not refused; it stands in what a person is asked before a lease is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

FORBIDS = re.compile(
    r"(?<![a-z])nc(?![a-z])|non[- ]?(?:commercial|profit)|no(?:t for)?[- ]commercial|"
    r"(?:research|academic|evaluation|internal|education(?:al)?|personal|private)(?:[- ](?:use|purposes?))?[- ]only|"
    r"only for (?:non-commercial |academic |internal |personal )?(?:research|academic|evaluation|internal|educat|personal)|"
    r"no[- ]?(?:lease|leasing|redistribution|resale)|not (?:to be |for )?(?:sale|sold|leased?|redistribut|resold|resale)|"
    r"(?:do|may|must) not (?:be )?(?:sell|sold|leased?|redistribut|resell|resold)|"
    r"非(?:商业|商用|营利)|[不禁][得止可准]?(?:用于|作为|任何)*(?:商业|商用|营利|转让|转售|出租|出售|再分发|分发)|"
    r"[仅只][供限可能]?(?:用于|供|限|作)?(?:非商业|科学|学术|个人|内部|教学)?(?:研究|学习|学术|评估|内部|教学|个人)", re.I)


def forbidding(licences: Sequence[str], sources: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The licences and terms among these that forbid a lease, in order."""
    said = [*licences, *(str(one.get("terms", "")) for one in sources)]
    return sorted({one for one in said if one and FORBIDS.search(one)})
