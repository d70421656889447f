"""When trainings end that choose their own end, and how many terms texts hold: as trainings on real data went."""

from __future__ import annotations

from mofang.fit.size import Size

TERMS_A_CHARACTER = {"zh": 0.21, "en": 0.06}

# Steps until the best pass, passes until then at most, passes without improvement that end it, what part of the family's
# own operations is needed, and the steps and passes that the family plans: as trainings on real data went.
STOPS = {
    "averaged": (140.0, 18.0, 2, 1.0, 1300.0, 4),
    "mlp": (350.0, 18.0, 8, 1.0, 1500.0, 10),
    "resnet": (450.0, 24.0, 6, 1.0, 750.0, 6),
    "rnn": (180.0, 8.0, 2, 1.0, 1500.0, 4),
    "encoder": (180.0, 6.0, 2, 1.1, 3000.0, 4),
    "pretrained": (60.0, 3.0, 2, 0.7, 800.0, 2),
}


def terms_of(size: Size) -> float:
    """N-grams that so many texts teach; before any limit."""
    return TERMS_A_CHARACTER.get(size.language, 0.06) * size.rows * size.length
