"""A first look at a folder of pictures: which folders are the classes, what keeps pictures together, how large they are
beside what the model sees, and whether the files themselves give the label away."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.cleaning.labelmap import plain_label
from mofang.data.columns import profiles
from mofang.data.firstlook.finding import Finding, Given, Remark, class_remarks
from mofang.data.firstlook.leaks import codes_of, codes_of_labels, gain_of
from mofang.data.firstlook.mapping import mapped, variants_map
from mofang.data.pixels import SIDEWAYS, UnusableImageError, open_header
from mofang.data.sources.files import SourceFile
from mofang.data.sources.formats import find_label_file

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
SIDE_MAX = 64  # engine/encode/image.py scales no larger unless it is told to
LOOKED = 120
SAME_FILES_LOOKED = 5_000
GROUPS_LEAST = 8
FRAMES = re.compile(r"(.*?[^\d])\d{1,6}$")
FRAMES_SHARE = 0.6
TELLING = 0.9
FACTS_LEAST = 60
SMALL_FILE = 4 * 2**20
PIXELS_MOST = 10**9
ORIENTATION, PLACE_TAKEN = 0x0112, 0x8825
GREY = ("L", "1", "I;16", "LA")


def look_at_pictures(source: str, files: list[SourceFile], given: Given) -> Finding:
    """Pictures: classes from the folders' names, or from the one label file beside them."""
    label_file = find_label_file(files)
    images = [file for file in files if file.kind == "images"]
    label = given.label or "label"
    if label_file:
        from mofang.data.readers.images import labels_by_image

        raw = labels_by_image(files, label_file, given.label)
    else:
        raw = [file.folder for file in images]
    labels = [plain_label(one) for one in raw]
    found = Counter(one for one in labels if one)
    if not found:
        raise MofangError("pictures-without-label", source=source, count=len(images))
    if not label_file:
        _require_clear_levels(images, found)
    _require_classes(label, found)
    map, merged = (given.map, []) if given.map else variants_map(found)
    classes, aside = mapped(found, map)
    if len(classes) < 2:
        raise MofangError("one-class", label=label, name=next(iter(classes), "-"))
    group, why, kept = _group(images, labels, given, bool(label_file))
    size, said = _sizes(images, labels)
    variants = (
        [Remark("variants" if map else "variants-alone", {"names": " = ".join(merged[0]), "count": len(merged)})]
        if merged
        else []
    )
    return Finding(
        source=source,
        name=given.name,
        task="image_classification",
        format="images",
        label=label,
        inputs=(("image", "image"),),
        rows=len(images),
        whole=len(images),
        complete=True,
        classes=tuple(classes.most_common()),
        found=tuple(found.most_common()),
        map=map,
        set_aside=aside,
        files=len(images),
        bytes=sum(file.size_bytes for file in images),
        label_file=label_file,
        group=group,
        split=why,
        length=size,
        pixels=said[0].values["pixels"] if said else 0.0,
        unlabelled=len(images) - found.total(),
        copies=_copies(images),
        remarks=(*own_split(images), *variants, *kept, *said, *class_remarks(classes)),
    )


def _require_classes(label: str, classes: Counter[str]) -> None:
    if len(classes) < 2:
        raise MofangError("one-class", label=label, name=next(iter(classes), "-"))
    if len(classes) > max(0.5 * classes.total(), 20):
        one = profiles({label: list(classes)})[label]
        raise MofangError("label-of-many-values", label=label, values=one.distinct, rows=classes.total())


def _require_clear_levels(images: Sequence[SourceFile], found: Counter[str]) -> None:
    """The innermost folder is the class; where the outer one looks like it (few, each with folders of its own), say so
    instead of learning to tell patients apart."""
    outer: dict[str, set[str]] = defaultdict(set)
    for file in images:
        parts = file.name.split("/")
        if len(parts) > 2 and parts[-3].lower() not in SPLITS:
            outer[parts[-3]].add(parts[-2])
    inner = Counter(name for names in outer.values() for name in names)
    if 2 <= len(outer) <= 50 and len(inner) >= 2.5 * len(outer) and max(inner.values()) == 1 and len(found) == len(inner):
        raise MofangError(
            "folder-levels", outer=", ".join(sorted(outer)[:5]), inner=", ".join(sorted(inner)[:5]), count=len(inner)
        )


def _group(images: Sequence[SourceFile], labels: Sequence[str], given: Given, by_file: bool) -> tuple[str, str, list[Remark]]:
    """(the column of folders above the class if it keeps pictures together, why, what to say)."""
    if given.group:
        return given.group, "asked", []
    above = ["/".join(file.name.split("/")[: -1 if by_file else -2]) for file in images]
    own = [path for path in above if path and path.split("/")[-1].lower() not in SPLITS]
    sizes = Counter(own)
    if len(sizes) >= GROUPS_LEAST and len(own) > 0.9 * len(images) and max(sizes.values()) <= 0.3 * len(images):
        return "folder", f"folders {len(sizes)}", []
    films = Counter(
        f"{file.folder}/{found[1]}"
        for file in images
        if (found := FRAMES.fullmatch(file.name.rsplit("/", 1)[-1].rsplit(".", 1)[0]))
    )
    long = {name: count for name, count in films.items() if count >= 3}
    spread = len({name.split("/")[-1] for name in long}) >= max(GROUPS_LEAST, 2 * len(set(labels)))
    if spread and sum(long.values()) >= FRAMES_SHARE * len(images):
        names = ", ".join(sorted(name.split("/")[-1] for name in long)[:3])
        return "", "", [Remark("frames", {"names": names, "count": len(long)})]
    return "", "", []


def _sizes(images: Sequence[SourceFile], labels: Sequence[str]) -> tuple[float, list[Remark]]:
    """(values of an image at the model's size, what to say about sizes and about files that tell the label)."""
    step = max(len(images) // LOOKED, 1)
    facts: list[tuple[int, int, str, str]] = []
    named: list[str] = []
    placed: int = 0
    for file, label in list(zip(images, labels, strict=True))[::step]:
        with file.open() as opened:
            data = opened.read(SMALL_FILE)
        try:
            with open_header(data, PIXELS_MOST) as image:
                size = image.size[::-1] if image.getexif().get(ORIENTATION, 1) in SIDEWAYS else image.size
                facts.append((*size, str(image.format), image.mode))
                placed += bool(image.getexif().get_ifd(PLACE_TAKEN))
                named.append(label)
        except UnusableImageError:  # a run counts and keeps what does not decode
            continue
    if not facts:
        return 32.0 * 32, []
    width, height = median(one[0] for one in facts), median(one[1] for one in facts)
    shrink = min(1.0, SIDE_MAX / max(width, height))
    sees = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    values: dict[str, Any] = {"width": round(width), "height": round(height), "pixels": float(width * height)}
    if sees[0] == values["width"] and sees[1] == values["height"]:
        remarks = [Remark("image-whole", values)]
    else:
        remarks = [Remark("image-size", {**values, "to_width": sees[0], "to_height": sees[1]})]
    if placed:
        remarks.append(Remark("places", {"count": placed, "looked": len(facts)}))
    if told := _telling_fact([(fact, label) for fact, label in zip(facts, named, strict=True) if label]):
        remarks.append(Remark("files-tell", {"what": told}))
    return float(sees[0] * sees[1] * (1 if all(mode in GREY for *_, mode in facts) else 3)), remarks


def _telling_fact(facts: Sequence[tuple[tuple[int, int, str, str], str]]) -> str:
    """What of the files alone tells the label: width, height, format or mode; or nothing."""
    target = codes_of_labels([label for _, label in facts])
    if len(facts) < FACTS_LEAST or target.max() < 1:
        return ""
    names = ("width", "height", "format", "mode")
    return next(
        (
            name
            for place, name in enumerate(names)
            if gain_of([codes_of([fact[place] for fact, _ in facts])], target) >= TELLING
        ),
        "",
    )


def _copies(images: Sequence[SourceFile]) -> int:
    """How many pictures are the same file again, told by size and first bytes."""
    if len(images) > SAME_FILES_LOOKED:
        return 0
    by_size: dict[int, list[SourceFile]] = defaultdict(list)
    for file in images:
        by_size[file.size_bytes].append(file)
    copies = 0
    for alike in by_size.values():
        if len(alike) > 1:
            heads: Counter[Any] = Counter()
            for file in alike:
                with file.open() as opened:
                    heads[opened.read(65_536)] += 1
            copies += heads.total() - len(heads)
    return copies


def own_split(images: Sequence[SourceFile]) -> list[Remark]:
    """A remark if the pictures lie in folders such as train and test: all are read, and split anew."""
    tops = sorted({file.name.split("/")[0] for file in images if file.name.count("/") > 1})
    found = [top for top in tops if top.lower() in SPLITS]
    return [Remark("own-split", {"folders": ", ".join(found)})] if len(found) > 1 else []
