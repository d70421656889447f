"""What licences and terms of the material behind a model say against handing the model to somebody else for money.

Only what is written down can be seen: names of licences and the ``terms`` of sources travel with every package. What is not
recognised is not refused; it stands in what a person is asked before a lease is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

FORBIDS = re.compile(r"(?<![a-z])nc(?![a-z])|non-?commercial|research[- ]only|academic[- ]only|evaluation[- ]only|"
                     r"internal[- ]only|no-?(?:lease|redistribution)|not for (?:sale|lease|redistribution)|"
                     r"非商业|非营利|[不禁]得?止?(?:商用|转让|出租|再分发)|仅[供限](?:研究|学习|评估|内部)", re.I)


def forbidding(licences: Sequence[str], sources: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The licences and terms among these that forbid a lease, in order."""
    said = [*licences, *(str(one.get("terms", "")) for one in sources)]
    return sorted({one for one in said if one and FORBIDS.search(one)})
