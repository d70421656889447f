"""Text multi-label classification: any number of labels for each text."""

from __future__ import annotations

from typing import ClassVar

from mofang.engine.decode.several import Labelling
from mofang.engine.tasks.text_classification import OneText


class TextMultilabel(OneText, Labelling):
    """Any number of labels for each text."""

    name: ClassVar[str] = "text_multilabel"


TASK = TextMultilabel()
