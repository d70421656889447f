"""What an answer says, apart from how sure it is: for comparing two releases, and an answer with itself later.

Probabilities change in their last digits with the batch an engine happens to form; what is said does not.
"""

from __future__ import annotations

from typing import Any

GRADES = frozenset(("score", "scores", "confidence", "probability", "probabilities"))
NEAR = 0.05


def said(answer: Any) -> Any:
    """An answer without its grades, numbers to four digits; an answer of grades alone stays whole."""
    if isinstance(answer, dict):
        kept = {name: value for name, value in answer.items() if name not in GRADES} or answer
        return {name: said(value) for name, value in kept.items()}
    if isinstance(answer, list | tuple):
        return [said(one) for one in answer]
    if isinstance(answer, float):
        return float(f"{answer:.4g}")
    return answer


def alike(one: Any, other: Any) -> bool:
    """Whether two answers say the same; numbers within five per cent of each other do."""
    return _near(said(one), said(other))


def _near(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_near(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_near, one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and abs(one - other) <= NEAR * max(abs(one), abs(other), 1e-9)
    return bool(one == other)
