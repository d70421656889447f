"""Every mistake a user can make ends in one exception with a stable code, what happened and what to do now.

MofangError
└── Pending    the run waits for people; running it again continues

The wording of each code, in English and Chinese, stands in ``wording.toml`` of the floor that raises it.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from mofang.core.language import Language, current_language

PACKAGE = Path(__file__).resolve().parent.parent
NOTHING_NEAR = ("", "-", "–")  # what stands for the nearest name where there is none
_CLAUSE = re.compile(r"[;；,，]\s*[^;；,，.。?？]*\{nearest[^}]*\}[^;；,，.。?？]*(?=[;；,，.。?？])"
                     r"|(?<=[.。])\s?[^.。?？]*\{nearest[^}]*\}[^.。?？]*[.。?？]")


class MofangError(Exception):
    """What happened, which rule it met, and what to do now.

    ``code`` is stable: it is the HTTP body's code and the key of the wording. ``values`` fill the wording's
    placeholders and must never hold a secret. Where ``nearest`` is none, the clause that would name it is left out.
    """

    def __init__(self, code: str, **values: object) -> None:
        self.code = code
        self.values = values
        super().__init__(f"{self.what} {self.fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        """So that the error comes back whole from a worker process."""
        return _raised_elsewhere, (type(self), self.code, self.values)

    def worded(self, language: Language) -> tuple[str, str]:
        """What happened and what to do, in the given language."""
        entry = wordings()[self.code]
        what, fix = entry[language]
        if self.values.get("nearest") in NOTHING_NEAR:
            what, fix = _CLAUSE.sub("", what), _CLAUSE.sub("", fix)
        return _fill(what, self.values), _fill(fix, self.values)

    @property
    def what(self) -> str:
        """What happened, in the current language."""
        return self.worded(current_language())[0]

    @property
    def fix(self) -> str:
        """What to do now, in the current language."""
        return self.worded(current_language())[1]

    @property
    def status(self) -> int:
        """The HTTP status that carries this error."""
        return int(wordings()[self.code].get("status", 400))

    def to_dict(self) -> dict[str, str]:
        """The error as it stands in an HTTP body or in ``--json`` output."""
        return {"code": self.code, "what": self.what, "fix": self.fix}


def _raised_elsewhere(kind: type[MofangError], code: str, values: dict[str, object]) -> MofangError:
    return kind(code, **values)


class Pending(MofangError):
    """The run waits for people; running the same recipe again continues it."""


def _fill(text: str, values: dict[str, object]) -> str:
    shown = {name: _short(value) for name, value in values.items()}
    return text.format(**shown)


def _short(value: object) -> object:
    """A hostile cell of 10 MB must not become a 10 MB message."""
    return value[:300] + "…" if isinstance(value, str) and len(value) > 300 else value


@cache
def wordings() -> dict[str, dict[str, Any]]:
    """All codes of all floors with their wording; a code worded twice is our own mistake."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(PACKAGE.rglob("wording.toml")):
        for code, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            assert code not in found, f"{code} is worded twice, again in {path}"
            found[code] = entry
    return found
