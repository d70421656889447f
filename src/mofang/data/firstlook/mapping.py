"""Maps of labels: ``4,5=positive;1,2=negative``; proposed where labels are stars or one label is written in several
ways."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

from mofang.data.cleaning.labelmap import label_map, plain_label, written_map

STAR_NAMES = re.compile(r"(?i:rating|star|score|overall|grade|point)|评分|星|打分|分数|评价|满意度|得分")
STAR = re.compile(r"([1-5])(?:\.0+)?\s*(?:stars?|星级?|分|颗星)?", re.I)
SIGNS = re.compile("[★⭐✩☆]{1,5}")
MAPPED_MOST = 60


def mapped(classes: Mapping[str, int], text: str) -> tuple[Counter[str], int]:
    """(classes after the map, records set aside because their label is on no left side)."""
    if not text:
        return Counter(classes), 0
    named = label_map(text)
    found: Counter[str] = Counter()
    aside = 0
    for label, count in classes.items():
        if label in named:
            found[named[label]] += count
        else:
            aside += count
    return found, aside


def stars_map(label: str, classes: Mapping[str, int], has_text: bool) -> str:
    """The map of stars to positive and negative, 3 set aside; nothing if the labels are no stars from 1 to 5."""
    stars = {name: found for name in classes if (found := _star(name))}
    if len(stars) != len(classes) or not {1, 5} <= set(stars.values()) or len(set(stars.values())) < 4:
        return ""
    plain = all(name.isdigit() for name in stars)
    if plain and not (has_text or STAR_NAMES.search(label)):
        return ""
    good = sorted((name for name, star in stars.items() if star >= 4), key=lambda name: (stars[name], name))
    bad = sorted((name for name, star in stars.items() if star <= 2), key=lambda name: (stars[name], name))
    return written_map({**dict.fromkeys(good, "positive"), **dict.fromkeys(bad, "negative")})


def _star(name: str) -> int:
    found = STAR.fullmatch(name.strip())
    if found:
        return int(found[1])
    return name.count("★") + name.count("⭐") if SIGNS.fullmatch(name.strip()) else 0


@cache
def _simplifier() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


def folded(name: str) -> str:
    """A label without what only its writing differs in: width, blanks, case, traditional or simplified signs, a full
    stop at its end."""
    plain = plain_label(name).casefold()
    plain = re.sub(r"[\s_\-]+", " ", plain).strip(" .。!！")
    if any("\u4e00" <= sign <= "\u9fff" for sign in plain):
        plain = _simplifier().convert(plain).replace(" ", "")
    return plain


def variants_map(classes: Mapping[str, int]) -> tuple[str, list[list[str]]]:
    """(the map that merges labels which differ only in their writing, the labels that it merges); both empty where none
    do, the map alone where there are too many labels to write one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[folded(name)].append(name)
    merged = [sorted(names, key=lambda one: -classes[one]) for fold, names in groups.items() if fold and len(names) > 1]
    if not merged:
        return "", []
    if len(classes) > MAPPED_MOST or any(not folded(name) for name in classes) or len(groups) < 2:
        return "", merged
    return written_map({name: max(names, key=lambda one: classes[one]) for names in groups.values() for name in names}), merged
