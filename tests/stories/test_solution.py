"""A solution: made, charged, carried on a stick, checked and opened where there is no shop; and every way to tamper with it."""

from __future__ import annotations

import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.solutions.file import checked, open_solution
from tests.stories.conftest import Made
from tests.stories.terminal import Inside

TERMS = "# 支持条款\n\nAnswers within two working days, for a year.\n"


@pytest.fixture(scope="module")
def bought(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A company with a solution in ``s.solution`` for 丙公司."""
    folder = tmp_path_factory.mktemp("solution") / "company"
    shutil.copytree(made.folder, folder)
    terminal = Inside(folder)
    (folder / "terms.md").write_text(TERMS, encoding="utf-8")
    terminal.type("customer", "new", "丙公司", "--credit", "30000")
    terminal.type("solution", "make", "评论分析", "--models", "reviews@1", "--recipe", "reviews.py", "--terms", "terms.md", "--to", "丙公司",
                  "--price", "20000.00", "--limit", "instances=2", "--out", "s.solution", "--yes")
    return terminal


def fingerprint(terminal: Inside) -> str:
    return next(word for word in terminal.type("fingerprint").out.split() if word.count("-") == 7)


def test_checked_and_opened_without_a_shop(bought: Inside, tmp_path: Path) -> None:
    signer, away = fingerprint(bought), Inside(tmp_path / "away")
    shutil.copy(bought.folder / "s.solution", away.folder)
    said = away.type("solution", "check", "s.solution", "--from", signer).out
    assert "评论分析" in said and "丙公司" in said and "instances: 2" in said and "¥20,000.00" in said and signer in said
    away.type("solution", "open", "s.solution", "--into", "here", "--from", signer)
    found = sorted(str(one.relative_to(away.folder / "here")) for one in (away.folder / "here").rglob("*") if one.is_file())
    assert found == ["README.txt", "models/reviews-1.mofang", "recipe.py", "signature.json", "solution.json", "terms.md"]
    assert (away.folder / "here" / "terms.md").read_text(encoding="utf-8") == TERMS and not away.shop.exists()
    assert away.type("solution", "open", "s.solution", "--into", "here", status=1).code == "solution-folder"
    assert away.type("solution", "check", "s.solution", "--from", "0000-" * 7 + "0000", status=1).code == "signer-other"
    done = away.type("import", "here/models/reviews-1.mofang", "--from", signer, "--yes", status=None)
    assert done.status == 0 and "reviews@1" in done.out, done
    assert away.type("predict", "reviews", "第3单，房间很好").status == 0


def test_charged_once_and_traced_to_the_models(bought: Inside) -> None:
    again = bought.type("solution", "make", "评论分析", "--models", "reviews@1", "--recipe", "reviews.py", "--terms", "terms.md", "--to",
                        "丙公司", "--price", "20000.00", "--limit", "instances=2", "--out", "s2.solution", "--yes", "--json").json
    assert again["repeated"] and again["charged_micros"] == 20_000_000_000
    shop = Shop.open(bought.shop, make=False)
    assert [(one.kind, one.micros, one.source_entry) for one in oneoffs(shop.control)] == [
        ("solution", 20_000_000_000, again["entry"])]
    first, second = (zipfile.ZipFile(bought.folder / name) for name in ("s.solution", "s2.solution"))
    assert first.read("solution.json").split(b'"README')[0] == second.read("solution.json").split(b'"README')[0]
    tree = bought.type("trace", again["entry"]).out
    assert "reviews@1" in tree and "own" in tree and "reviews.csv" in tree, tree
    assert bought.type("verify").status == 0


def test_refusals_change_nothing(bought: Inside) -> None:
    base = ["solution", "make", "x", "--models", "reviews@1", "--terms", "terms.md", "--to", "丙公司", "--price", "1.00", "--yes"]

    def refused(*changes: tuple[str, str]) -> str:
        words = list(base)
        for option, value in changes:
            if option in words:
                words[words.index(option) + 1] = value
            else:
                words += [option, value]
        return bought.type(*words, "--out", "never.solution", status=None).code

    (bought.folder / "bad.py").write_text("print('no recipe')\n", encoding="utf-8")
    (bought.folder / "cut.py").write_text("def main(:\n", encoding="utf-8")
    (bought.folder / "red.md").write_text("\x1b[31mred\n", encoding="utf-8")
    (bought.folder / "gb.md").write_bytes("条款".encode("gb18030"))
    for changes, code in ((("--price", "40000.00"), "solution-unpaid"), (("--price", "0"), "customise-price"),
                          (("--price", "0.001"), "customise-price"), (("--models", "nobody@1"), "name-unknown"),
                          (("--models", ","), "solution-models"), (("--to", "丁公司"), "customer-unknown"),
                          (("--recipe", "bad.py"), "solution-text"), (("--recipe", "cut.py"), "solution-text"),
                          (("--terms", "red.md"), "solution-text"), (("--terms", "gb.md"), "solution-text"),
                          (("--limit", "two"), "solution-limit"), (("--limit", "a=\n"), "solution-limit")):
        assert refused(changes) == code, (changes, code)
    shop = Shop.open(bought.shop, make=False)
    assert len(oneoffs(shop.control)) == 1 and not (bought.folder / "never.solution").exists()


def rezipped(source: Path, target: Path, change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(source) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        change(archive, files)
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, data)
    return target


def _put(name: str, data: bytes = b"x", **about: int) -> Callable[[zipfile.ZipFile, dict[str, bytes]], None]:
    def change(archive: zipfile.ZipFile, _files: dict[str, bytes]) -> None:
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.create_system, info.external_attr = 3, about.get("mode", 0o100644) << 16
        info.compress_type = about.get("packed", zipfile.ZIP_STORED)
        archive.writestr(info, data)

    return change


def test_hostile_archives(bought: Inside, tmp_path: Path) -> None:
    """Paths that climb, links, bombs, doubles, cut and swapped files: refused by a code, and nothing is laid anywhere."""
    source = bought.folder / "s.solution"
    swap = source.read_bytes()
    changes: dict[str, Callable[[zipfile.ZipFile, dict[str, bytes]], None]] = {
        "climb": _put("../evil"), "absolute": _put("/etc/evil"), "backslash": _put("..\\evil"), "drive": _put("C:evil"),
        "link": _put("recipe.py2", mode=0o120777), "linked terms": _put("models/a-1.mofang", mode=0o120777),
        "bomb": _put("models/b-1.mofang", b"\0" * (1 << 20), packed=zipfile.ZIP_DEFLATED), "other": _put("run.sh"),
        "extra model": _put("models/extra-1.mofang"), "double": _put("terms.md"), "case": _put("Terms.md"),
        "terms": lambda _a, files: files.update({"terms.md": b"free for all\n"}),
        "no terms": lambda _a, files: files.pop("terms.md") and None,
        "no signature": lambda _a, files: files.pop("signature.json") and None,
        "price": lambda _a, files: files.update({"solution.json": files["solution.json"].replace(b"20000000000", b"20000000001")}),
        "deep": lambda _a, files: files.update({"solution.json": b"[" * 5000 + b"]" * 5000}),
        "model": lambda _a, files: files.update({"models/reviews-1.mofang": files["models/reviews-1.mofang"][:-1]}),
    }
    for name, change in changes.items():
        bad = rezipped(source, tmp_path / "bad.solution", change)
        with pytest.raises(MofangError) as refused:
            open_solution(bad, tmp_path / "laid")
        assert refused.value.code in ("parcel-name", "parcel-link", "parcel-packed", "parcel-doubled", "parcel-part-missing",
                                      "parcel-part-changed", "signature-wrong", "parcel-json", "parcel-unreadable",
                                      "solution-unreadable"), (name, refused.value)
        assert not (tmp_path / "laid").exists() and sorted(one.name for one in tmp_path.iterdir()) == ["bad.solution"]
    for data in (b"", b"PK", swap[:-30], swap[: len(swap) // 2], b"x" + swap, swap + b"x", b"\0" * 1000):
        (tmp_path / "bad.solution").write_bytes(data)
        with pytest.raises(MofangError), checked(tmp_path / "bad.solution"):
            pass
    assert bought.type("solution", "check", "nowhere.solution", status=1).code == "solution-unreadable"


def test_every_flipped_bit_is_seen(bought: Inside, tmp_path: Path) -> None:
    data, chance = (bought.folder / "s.solution").read_bytes(), random.Random(4)
    places = [*range(0, 200, 3), *range(len(data) - 400, len(data), 3), *(chance.randrange(len(data)) for _ in range(150))]
    bad, missed = tmp_path / "bad.solution", []
    for place in places:
        bad.write_bytes(data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1:])
        try:
            with checked(bad):
                missed.append(place)
        except MofangError:
            continue
    assert not missed
