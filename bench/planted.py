"""Faults planted into the product, one at a time, each of which a named test of trade must see: a proof that cannot fail is none.

python bench/planted.py [NAME …]: copies the tree, changes one place, runs the one test, and says whether it failed as it must.
Exit status 1 where a fault passed unseen. That every place is still there is checked in ``make test``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Planted:
    """What is changed where, and which test must fail then."""

    name: str
    file: str
    before: str
    after: str
    test: str


FAULTS, MONEY = "tests/trade/test_billing_faults.py", "tests/trade/test_money_faults.py"
ACCOUNTS, REFUSALS = "tests/trade/test_proof_accounts.py", "tests/trade/test_proof_refusals.py"
FLIPPED, CLOCK = "tests/faults/test_flipped_bytes.py", "tests/trade/test_proof_clock.py"
REQUEST, BILLING, ACCOUNT = "trade/request", "trade/billing", "trade/accounts"

PLANTED = (
    Planted("an answer goes out though its row failed", f"{REQUEST}/meter.py", "return [MofangError(REFUSALS[self.state])] * len(group)",
            "return plan.outcomes", f"{FAULTS} -k test_04"),
    Planted("64 draws at an edge are all granted", f"{REQUEST}/commit.py", "while draws and short > available:", "while False:", f"{FAULTS} -k test_06"),
    Planted("a free model needs money", f"{REQUEST}/commit.py", "return -(-units * price.rate // PER_UNITS) if price else 0",
            "return max(1, -(-units * price.rate // PER_UNITS)) if price else 0", f"{FAULTS} -k test_08"),
    Planted("one customer's key is everybody's", f"{REQUEST}/replay.py", 'return f"{account}/{retry_key}"', "return retry_key", f"{FAULTS} -k test_10"),
    Planted("a repeated key is charged again", f"{REQUEST}/commit.py", "store_answers(self.db, answers, self.now_us) < len(kept)",
            "store_answers(self.db, answers, self.now_us) < 0", ACCOUNTS),
    Planted("a payment booked twice", f"{BILLING}/paid.py", "if one.reference == reference:", "if one.reference == 0:", f"{MONEY} -k fault_11"),
    Planted("a second worker claims the month again", f"{BILLING}/issuing.py", "            if known:\n                return known\n            if _earlier(shop.control, who.id) != fixed[\"earlier\"]:",
            "            if False:", f"{MONEY} -k fault_13"),
    Planted("two may try at once", "trade/telling/sending.py", "CLAIM_S = 120", "CLAIM_S = -1", f"{MONEY} -k fault_15_what"),
    Planted("two plans on one day", f"{ACCOUNT}/agreed.py", "one.last >= first)", "one.last > first)", f"{MONEY} -k fault_15_a_plan"),
    Planted("keys are thought to last for ever", "trade/telling/posting.py", "KEYS_LAST_US = 20 * 3600", "KEYS_LAST_US = 10**6 * 3600",
            f"{MONEY} -k fault_16"),
    Planted("parts of a micro are dropped", "core/money.py", "divmod(units * price + remainder, PER_UNITS)", "divmod(units * price, PER_UNITS)", ACCOUNTS),
    Planted("a note counts twice", f"{ACCOUNT}/customers.py", '(row.body["micros"], row.account))\n\n\ndef kept_days',
            '(row.body["micros"] * (1 + (row.kind == "credit-note")), row.account))\n\n\ndef kept_days', ACCOUNTS),
    Planted("a late row stands on two bills", f"{BILLING}/billed.py", "(month_billed and row.at_us < bill.from_us)", "row.at_us < bill.from_us",
            f"{CLOCK} -k goes_back"),
    Planted("a budget is not counted", f"{REQUEST}/commit.py", "    if one.budgets:\n", "    if False:\n", ACCOUNTS),
    Planted("any address may be reached", "data/remote/address.py", "return address.is_global and not any(", "return True or not any(",
            "tests/trade/test_proof_addresses.py -k forty"),
    Planted("any row fits its chain", "core/journal.py", "return row[10] == row_chain(previous, row[1:10])", "return True", f"{FLIPPED} -k every"),
    Planted("no file is looked at", "core/verify.py", "if checked[part[2]]:", "if False:", f"{FLIPPED} -k every"),
    Planted("no seal is looked at", "core/verify.py", 'wrong += _look("seals"', '_look("seals"', f"{FLIPPED} -k vanish"),
    Planted("a database's structure is not looked at", "core/verify.py", 'if one != "ok"]', 'if one == ""]', f"{FLIPPED} -k ledger"),
    Planted("a month that runs is billed", f"{BILLING}/issuing.py", "if not early and now_us()", "if early is None and now_us()", f"{REFUSALS} -k running"),
    Planted("a licence forbids nothing", "trade/leases/forbidding.py", "if one and FORBIDS.search(one)", "if one is None", f"{REFUSALS} -k forbids"),
    Planted("a credit has no end", f"{BILLING}/credits.py", 'if before_units + units > wanted["units"]:', 'if units > 10**9:', f"{REFUSALS} -k beyond"),
    Planted("a shop moves after its bills", "trade/settings.py", "    if made[0][0]:", "    if False:", f"{CLOCK} -k keeps_its_clock"),
    Planted("zones west of Greenwich are east", "core/clock.py", 'return -size if utc_offset[0] == "-" else size', "return size", f"{CLOCK} -k meet"),
    Planted("bills round up", "core/money.py", "up = 2 * rest > minor or (2 * rest == minor and whole % 2 == 1)", "up = rest > 0",
            "tests/trade/test_proof_replay.py"),
)


def place(one: Planted) -> Path:
    """The file that a fault is planted into."""
    return Path("src") / "mofang" / one.file


def main() -> int:
    """Plant each and run its test."""
    chosen = [one for one in PLANTED if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        for name in ("src", "tests", "bench", "tools", "docs"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        for one in chosen:
            file, began = tree / place(one), time.monotonic()
            text = file.read_text(encoding="utf-8")
            assert text.count(one.before) == 1, f"{one.name}: no such place in {one.file} any more"
            file.write_text(text.replace(one.before, one.after), encoding="utf-8")
            words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *one.test.split()]
            told = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=300)
            file.write_text(text, encoding="utf-8")
            seen = told.returncode == 1
            unseen += not seen
            said = next((line for line in reversed(told.stdout.splitlines()) if line.startswith("E  ")), told.stdout[-200:]).strip()
            print(f"{'seen  ' if seen else 'UNSEEN'}  {one.name}  ({one.test}, {time.monotonic() - began:.0f} s)  {said[:100]}", flush=True)
    print(f"planted {len(chosen)}  seen {len(chosen) - unseen}  unseen {unseen}")
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main())
