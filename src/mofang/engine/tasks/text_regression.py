"""Text regression: one number for each text."""

from __future__ import annotations

from typing import ClassVar

from mofang.engine.decode.numbers import Regression
from mofang.engine.tasks.text_classification import OneText


class TextRegression(OneText, Regression):
    """One number for each text."""

    name: ClassVar[str] = "text_regression"


TASK = TextRegression()
