"""The export of a whole shop: plain files that explain themselves, equal to the shop, without a secret."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.takeout import take_out
from tests.many import Many, make_many


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Many:
    """A shop with customers, usage, runs and invoices."""
    return make_many(tmp_path_factory.mktemp("busy") / "shop", usage=900, runs=60)


@pytest.fixture(scope="module")
def taken(busy: Many, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export."""
    made = take_out(Shop.open(busy.path), tmp_path_factory.mktemp("taken") / "out")
    assert made.missing == ()
    return made.place


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_anybody_can_check_it(taken: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS", "--quiet"], cwd=taken, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    listed = {line.split("  ", 1)[1] for line in (taken / "SHA256SUMS").read_text().splitlines()}
    assert listed == {str(path.relative_to(taken)) for path in taken.rglob("*") if path.is_file()} - {"SHA256SUMS"}


def test_the_readme_names_everything_that_is_there(taken: Path) -> None:
    text = (taken / "README.md").read_text(encoding="utf-8")
    for path in set(taken.iterdir()) - {taken / "README.md"}:
        assert path.name in text, path.name
    assert "## 中文" in text


def test_the_ledger_is_the_ledger(taken: Path, busy: Many) -> None:
    """Its chain is computed as the README says, with nothing but SHA-256."""
    chain, lines = "", [json.loads(line) for line in (taken / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        chain = hashlib.sha256(f"{chain}:{line['content']}".encode()).hexdigest()
        assert line["chain"] == chain
    assert [len(lines), chain] == list(Shop.open(busy.path).ledger.head()) == json.loads((taken / "about.json").read_text())["head"]


def test_the_trade_is_the_shops(taken: Path, busy: Many) -> None:
    uses = table(taken / "usage.csv")
    assert len(uses) == busy.usage and {row["account"] for row in uses} <= set(busy.accounts.values())
    assert len((taken / "journals" / "usage.jsonl").read_text().splitlines()) == len(table(taken / "journals" / "usage.csv"))
    assert {row["name"] for row in table(taken / "customers.csv")} == set(busy.accounts)
    assert len(table(taken / "keys.csv")) == len(busy.tokens)
    invoices = table(taken / "invoices.csv")
    assert {row["number"] for row in invoices} == set(busy.invoices) and {row["state"] for row in invoices} == {"issued"}
    for number in busy.invoices:
        assert (taken / "invoices" / f"{number}.pdf").read_bytes().startswith(b"%PDF")
        total = sum(int(row["amount_micros"]) for row in table(taken / "invoice-lines.csv") if row["number"] == number)
        assert str(total) == next(row["total_micros"] for row in invoices if row["number"] == number)
    assert {f"{row['name']}@{row['version']}" for row in table(taken / "names.csv")} == {one.name for one in
                                                                                   (taken / "models").iterdir()}


def test_no_secret_leaves(taken: Path, busy: Many) -> None:
    secrets = [token.encode() for token in busy.tokens.values()]
    for path in (busy.path / "keys").iterdir():
        secrets += [path.read_bytes(), path.read_bytes().hex().encode()]
    for path in taken.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [secret for secret in secrets if secret in data], path


def test_again_only_what_is_new_is_written(busy: Many, taken: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        return {str(path.relative_to(taken)): (path.stat().st_ino, path.read_bytes()) for path in taken.rglob("*") if path.is_file()}

    before = state()
    torn = taken / "models" / ".new-half"
    torn.write_bytes(b"half")
    shutil.copy(taken / "invoices" / f"{busy.invoices[0]}.pdf", spoiled := taken / "invoices" / f"{busy.invoices[1]}.pdf")
    take_out(Shop.open(busy.path), taken)
    after = state()
    assert not torn.exists()
    changed = {name for name in after if after[name][1] != before[name][1]}
    assert changed <= {"about.json", "SHA256SUMS"} and after.keys() == before.keys(), "what was spoiled is right again"
    assert all(after[name][0] == before[name][0] for name in after
               if name.startswith(("models/", "invoices/", "records/")) and name != str(spoiled.relative_to(taken))
               and not name.endswith(".py"))


def test_places_that_will_not_do(busy: Many, taken: Path, tmp_path: Path) -> None:
    shop = Shop.open(busy.path)
    (tmp_path / "letter.txt").write_text("mine")
    for place, code in ((tmp_path, "export-not-empty"), (tmp_path / "letter.txt", "export-not-empty"),
                        (busy.path / "out", "export-inside-shop")):
        with pytest.raises(MofangError) as refused:
            take_out(shop, place)
        assert refused.value.code == code
    with pytest.raises(MofangError) as refused:
        take_out(Shop.open(tmp_path / "other"), taken)
    assert refused.value.code == "export-other-shop"


def test_a_full_disk_is_said_and_the_same_command_goes_on(busy: Many, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, left = os.replace, [40]

    def fills_up(source: str | Path, target: str | Path) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(source, target)

    monkeypatch.setattr(os, "replace", fills_up)
    with pytest.raises(MofangError) as refused:
        take_out(Shop.open(busy.path), tmp_path / "out")
    assert refused.value.code == "disk-full" and not (tmp_path / "out" / "SHA256SUMS").exists()
    assert json.loads((tmp_path / "out" / "about.json").read_text())["whole"] is False
    made = take_out(Shop.open(busy.path), tmp_path / "out")
    assert made.files == len((tmp_path / "out" / "SHA256SUMS").read_text().splitlines())


def test_a_file_that_is_gone_is_said(busy: Many, tmp_path: Path) -> None:
    shutil.copytree(busy.path, tmp_path / "shop")
    shop = Shop.open(tmp_path / "shop")
    part = shop.artifact(shop.ledger.get(shop.names("package")[0].entry)).parts[0]
    shop.store.path(part.digest).unlink()
    made = take_out(shop, tmp_path / "out")
    assert any(name.endswith(part.name) for name in made.missing)


def test_records_are_parquet(tmp_path: Path) -> None:
    from mofang.data.collect import collect

    (tmp_path / "r.csv").write_text("text,label\n好,a\n坏,b\n", encoding="utf-8")
    shop = Shop.open(tmp_path / "shop")
    shop.run(collect, source=str(tmp_path / "r.csv"), text=("text",), label="label", licence="own")
    take_out(shop, tmp_path / "out")
    row = table(tmp_path / "out" / "records.csv")[0]
    assert row["kind"] == "records" and row["licences"] == "own"
    assert pq.read_table(tmp_path / "out" / row["folder"] / "values.parquet").column("text").to_pylist() == ["好", "坏"]
