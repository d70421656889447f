"""Which columns are texts to learn from: long or wordy ones, those whose name says so, and those that only
stand beside a table."""

from __future__ import annotations

import re

from mofang.data.columns import Profile

TEXT_NAMES = re.compile(
    r"^(text|content|review|comment|sentence|title|body|message|question|query|utterance|document|tweet|"
    r"headline|description|summary|sms|email|文本|内容|正文|标题|评论|句子|问题|描述|评价内容|留言|微博|摘要)",
    re.I,
)
TABLE_COLUMNS = 5  # so many numbers and categories for each short text make a table
SHORT_CHARS = 40


def text_columns(found: dict[str, Profile], label: str) -> list[str]:
    """The columns of free text; where values are too short to tell, the name decides."""
    texts = [name for name, one in found.items() if one.texty and not one.personal and name != label]
    if texts:
        return texts
    likely = [
        name
        for name, one in found.items()
        if name != label and TEXT_NAMES.match(name) and not one.numeric and not one.pattern and one.distinct_share > 0.1
    ]
    if likely:
        return likely
    rest = [one for one in found.values() if one.name != label and not one.personal and not one.pattern]
    open_ended = [
        one.name
        for one in rest
        if not one.numeric and one.distinct_share > 0.3 and not (one.identifying and one.mean_chars > 3)
    ]
    numbers = [one for one in rest if one.numeric and not one.identifying]
    words = open_ended and found[open_ended[0]].unspaced_share > 0.3 and found[open_ended[0]].distinct_share > 0.9
    return open_ended if len(open_ended) == 1 and len(numbers) <= (1 if words else 0) else []


def beside_a_table(found: dict[str, Profile], texts: list[str], label: str) -> bool:
    """True if a few short texts stand in what is else a table of numbers and categories."""
    others = [name for name, one in found.items() if name != label and one.role in ("number", "category")]
    if texts and all(found[name].missing > 0.5 * found[name].rows for name in texts) and len(others) >= TABLE_COLUMNS:
        return True  # remarks that somebody made now and then
    if any(TEXT_NAMES.match(name) or found[name].mean_chars > SHORT_CHARS for name in texts):
        return False
    return len(others) > TABLE_COLUMNS * len(texts)


def names_alone(found: dict[str, Profile], label: str) -> list[str]:
    """The one column of names, if all other columns are missing more often than not: then the name is what
    there is to learn from."""
    rest = {name: one for name, one in found.items() if name != label and not one.identifying}
    names = [name for name, one in rest.items() if one.personal == name and one.distinct_share > 0.3]
    if len(names) != 1 or any(one.missing < 0.5 * one.rows for name, one in rest.items() if name not in names):
        return []
    return names
