"""What a check found: a score from 0 to 100, the facts behind it, and what to do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["good", "look", "bad", "none"]
GOOD_LEAST, LOOK_LEAST = 85.0, 60.0


@dataclass
class Check:
    """One check of a report. ``score`` is None where there was nothing to check, and ``why`` then says so.

    ``weight`` is how much it counts in the whole; ``rows`` is a small table to show; ``advice`` names the next step.
    """

    name: str
    title: tuple[str, str]
    score: float | None
    weight: float = 1.0
    why: tuple[str, str] = ("", "")
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    advice: tuple[str, str] = ("", "")
    pictures: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The score in one word."""
        if self.score is None:
            return "none"
        return "good" if self.score >= GOOD_LEAST else "look" if self.score >= LOOK_LEAST else "bad"

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON, without its pictures."""
        return {
            "name": self.name,
            "title": list(self.title),
            "score": None if self.score is None else round(self.score, 1),
            "verdict": self.verdict,
            "why": list(self.why),
            "facts": plain(self.facts),
            "rows": plain(self.rows),
            "advice": list(self.advice),
        }


def plain(value: Any) -> Any:
    """A value as JSON takes it: NumPy's numbers as Python's, and nothing for what is no number."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nothing(name: str, title: tuple[str, str], why: tuple[str, str]) -> Check:
    """A check that does not apply, with the reason."""
    return Check(name, title, None, 0.0, why)


def falling(share: float, good: float, bad: float) -> float:
    """A score that falls from 100 at ``good`` to 0 at ``bad``, in a straight line."""
    return float(min(max(100 * (bad - float(share)) / (bad - good), 0.0), 100.0))


def total(checks: list[Check]) -> float | None:
    """The weighted mean of the scores that there are."""
    scored = [(one.score, one.weight) for one in checks if one.score is not None]
    return sum(score * weight for score, weight in scored) / sum(weight for _, weight in scored) if scored else None
