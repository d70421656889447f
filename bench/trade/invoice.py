"""Bills of many rows: 10,000,000 usage rows of 1,000 customers at 20 price rules, in the form in which a shop seals them.

The rows are made straight into sealed stretches of 100,000, as ``mofang invoice`` seals them; customers and prices are made by the
product's own actions. One customer asked once in each stretch, the others as often as chance has it. DuckDB's own group-by over the same Parquet files (its JSON functions, as many threads as our one process has)
is the physical limit that a bill is held against: it sums, and neither checks a charge, nor hashes a row, nor prices a tier.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import Figure, middle

PEERS = Path(__file__).resolve().parents[2] / ".peers" / "trade"
PACKAGES = ("duckdb==1.4.2",)
ROWS = int(os.environ.get("MOFANG_BENCH_ROWS", "10000000"))  # fewer to look at a change; the figures that count are of ten million
CUSTOMERS, RULES, SEAL = 1_000, 20, 100_000
SMALL_ROWS, SMALL_CUSTOMERS = 200_000, 50
FORM = 2  # of the shop that is kept between runs
ISSUED = 20  # bills that are issued whole
MONTH, OFFSET = "2026-10", "+08:00"
SHOP = Path(tempfile.gettempdir()) / "mofang-bench-trade"
PLANS: tuple[dict[str, Any], ...] = (
    {"price": "5.00/1000"}, {"tiers": "0-1000:0.01, 1000-10000:0.008, 10000-:0.005"}, {"volume": "0-5000:0.01, 5000-:0.006"},
    {"package": "1000:4.00"}, {"price": "0.0337/1000"}, {"price": "2.00/1000", "included": 1000}, {"price": "1.00/1000", "minimum": "50"})
SQL = """select account, body->>'$.model' as model, body->>'$.package' as package, cast(body->>'$.price' as integer) as price,
    count(*), sum(cast(body->>'$.units' as bigint)), sum(cast(body->>'$.micros' as bigint)) from read_parquet(?)
    where kind='use' and (body->>'$.test')='false' group by all"""


def stocked(rows: int, customers: int) -> Path:
    """A shop with so many sealed rows; kept between runs while its size is the same."""
    from mofang.core.shop import Shop
    from mofang.trade.accounts.agreed import customer_agree
    from mofang.trade.accounts.customers import customer_new
    from mofang.trade.accounts.lists import open_books
    from mofang.trade.billing.issuing import seal_terms
    from mofang.trade.pricing.prices import price_set

    place = SHOP.with_name(f"{SHOP.name}-{rows}-{FORM}")
    if (place / "made").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    shop = Shop.open(place)
    open_books(shop)
    with shop.control.transaction():
        accounts = [shop.act(customer_new, name=f"Customer {number:04d}", credit="1000000").id for number in range(customers)]
        prices = [shop.act(price_set, model=f"model{number:02d}", **PLANS[number % len(PLANS)]) for number in range(RULES)]
        for account in accounts[::10]:
            shop.act(customer_agree, customer=account, discount="5%", tax="6%", tax_name="VAT")
    seal_terms(shop)
    for number, begin in enumerate(range(0, rows, SEAL), start=1):
        _seal(shop, number, begin, min(SEAL, rows - begin), accounts, [one.rate for one in prices])
    shop.repair_seals()
    files = [str(one.path("rows.parquet")) for one in shop.seals("usage")]
    (place / "files.json").write_text(json.dumps(files), encoding="utf-8")
    (place / "made").touch()
    return place


def _seal(shop: Any, number: int, begin: int, count: int, accounts: list[str], rates: list[int]) -> None:
    """One sealed stretch as ``Shop.seal`` writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mofang.core.artifact import Part, Sealed, manifest_digest
    from mofang.core.canonical import canonical
    from mofang.core.identity import new_id
    from mofang.core.journal import SEALED_FORM
    from mofang.trade.billing.billed import bounds

    chance = random.Random(number)
    from_us, to_us = bounds(MONTH, OFFSET)
    step = (to_us - from_us) // 110 // SEAL
    ids, times, whose, bodies, chains = [], [], [], [], []
    lonely = chance.randrange(count)
    for at in range(count):
        who, units = 0 if at == lonely else chance.randrange(1, len(accounts)), chance.randrange(1, 30)
        model = (who * 7 + (who + at) % 2) % RULES if who else 0
        id = f"req_{begin + at:026d}"
        ids.append(id)
        times.append(from_us + (begin + at) * step)
        whose.append(accounts[who])
        bodies.append(f'{{"key":"k{who}","micros":{units * rates[model] // 1_000_000},"model":"model{model:02d}@1","package":'
                      f'"run_pack{model:02d}","price":1,"rate":{rates[model]},"request_id":"{id}","test":false,"units":{units}}}')
        chains.append(hashlib.sha256(id.encode()).hexdigest())
    same = {"journal": "usage", "writer": "w_bench", "owner": "shop", "kind": "use"}
    table = pa.table({"journal": [same["journal"]] * count, "writer": [same["writer"]] * count, "seq": range(begin + 1, begin + count + 1),
                      "id": ids, "owner": [same["owner"]] * count, "at_us": times, "account": whose, "kind": [same["kind"]] * count,
                      "body": bodies, "chain": chains})
    with tempfile.TemporaryDirectory(dir=shop.path) as scratch:
        rows, about = Path(scratch) / "rows.parquet", Path(scratch) / "seal.json"
        pq.write_table(table, rows, **SEALED_FORM)
        about.write_bytes(canonical({"seal": 1, "journal": "usage", "number": number, "root": "", "ranges": {}, "rows": count}))
        parts = tuple(sorted((Part("rows.parquet", "parquet", *shop.store.keep(rows)), Part("seal.json", "json", *shop.store.keep(about)))))
    output = canonical({"kind": Sealed.kind, "digest": manifest_digest(parts), "parts": [part.to_list() for part in parts]}).decode()
    with shop.control.transaction():
        shop.control.run("insert into seal(journal, number, id, up_to, root, digest, entry) values(?,?,?,?,?,?,?)",
                         ("usage", number, new_id("seal"), canonical({"w_bench": begin + count}).decode(), "", output, ""))


def every_bill(place: Path, fresh: bool) -> tuple[str, int]:
    """The documents of all customers, digested; ``fresh`` forgets what was counted before."""
    from mofang.core.canonical import canonical
    from mofang.core.shop import Shop
    from mofang.trade.accounts.customers import customers
    from mofang.trade.billing.invoices import document_of
    from mofang.trade.billing.issuing import TERMS
    from mofang.trade.billing.tally import FOLDER, Tallies

    if fresh:
        shutil.rmtree(place / FOLDER, ignore_errors=True)
    shop = Shop.open(place)
    usage, terms = tuple(shop.seals("usage")), tuple(one for name in TERMS for one in shop.seals(name))
    tallies, digest, lines = Tallies.of(shop), hashlib.sha256(), 0
    for one in customers(shop.control):
        document = document_of(usage, terms, customer=one.id, period=MONTH, number=f"INV-{one.id}", issued_us=1, head=(1, "x"),
                               earlier=(), seller="Bench", utc_offset=OFFSET, tallies=tallies)
        digest.update(canonical(document))
        lines += len(document["lines"])
    return digest.hexdigest(), lines


def prepare() -> Path:
    """The peer's own environment, made once; its interpreter."""
    made = PEERS / "made.json"
    if not made.exists() or json.loads(made.read_text()) != list(PACKAGES):
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS)], check=True, timeout=120)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(PEERS / "bin" / "python"), *PACKAGES], check=True, timeout=600)
        made.write_text(json.dumps(list(PACKAGES)))
    return PEERS / "bin" / "python"


def duck(place: Path) -> int:
    """DuckDB's own group-by over the rows of the seals; runs in its own environment, without Mofang."""
    import duckdb

    files = json.loads((place / "files.json").read_text(encoding="utf-8"))
    return len(duckdb.connect(config={"threads": 1}).execute(SQL, [files]).fetchall())


def child(what: str, place: Path) -> dict[str, Any]:
    """One measurement in a process of its own: seconds, processor seconds, peak memory."""
    python = str(prepare()) if what == "duck" else sys.executable
    said = subprocess.run([python, __file__, what, str(place)], capture_output=True, text=True, check=True, env=os.environ)
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def invoice(rounds: int, small: bool) -> list[Figure]:
    """All bills of a month, from sealed rows to documents with their lines, roots and totals (pages are set apart), beside DuckDB's
    own group-by over the same files, one thread each, a process each, in turn. The first figure counts every row; ``again`` makes
    all bills once more from what was counted, and every byte must be the same."""
    place = stocked(SMALL_ROWS if small else ROWS, SMALL_CUSTOMERS if small else CUSTOMERS)
    ours, theirs, again = [], [], []
    for _ in range(rounds):
        ours.append(child("fresh", place))
        theirs.append(child("duck", place))
        again.append(child("again", place))
    assert len({one["digest"] for one in (*ours, *again)}) == 1, "not the same bytes"
    rows = SMALL_ROWS if small else ROWS
    (mine, spread), (duck_s, _), (more, more_spread) = (middle([one["cpu_s"] for one in some]) for some in (ours, theirs, again))
    peak, _ = middle([one["peak_mb"] for one in ours])
    return [
        Figure(f"CPU s, all bills of {rows:,} rows, {ours[0]['lines']:,} lines; peer DuckDB group-by", mine, duck_s, ("<=", 3.0), None, spread),
        Figure("wall s, the same", middle([one["wall_s"] for one in ours])[0], middle([one["wall_s"] for one in theirs])[0]),
        Figure("peak memory, MB", peak, None, ("<=", 1000.0)),
        Figure("CPU s, all bills again from what was counted, same bytes", more, None, None, None, more_spread),
    ]


def trace(rounds: int, small: bool) -> list[Figure]:
    """A random line of an issued bill, up to its seals, package and cost and down to its requests (count, root, first page), in ms.
    And the bill of a customer that asked once in each stretch of 100,000 rows, whose first page of ten requests lies in ten files."""
    place = stocked(SMALL_ROWS if small else ROWS, SMALL_CUSTOMERS if small else CUSTOMERS)
    told = [child("trace", place) for _ in range(max(1, rounds))]
    took, lonely = ([ms for one in told for ms in one[name]] for name in ("ms", "lonely_ms"))
    value, spread = middle(took)
    alone, alone_spread = middle(lonely)
    return [Figure(f"trace of a line, ms, {SMALL_ROWS if small else ROWS:,} rows", value, None, ("<=", 200.0), None, spread),
            Figure("the slowest of them, ms", max(took), None, ("<=", 200.0)),
            Figure("trace of a customer with one row in 100,000, ms", alone, None, ("<=", 200.0), None, alone_spread)]


def traces(place: Path) -> dict[str, list[float]]:
    """Twenty lines of five bills, and the line of the customer with few rows five times."""
    from mofang.core.shop import Shop
    from mofang.trade.accounts.customers import customers
    from mofang.trade.billing.issuing import invoice_document, invoice_issue
    from mofang.trade.billing.proofs import trace_line

    shop, chance = Shop.open(place), random.Random(5)
    lonely, *others = sorted(customers(shop.control), key=lambda one: one.name)

    def took(who: Any, times: int) -> list[float]:
        number = shop.act(invoice_issue, customer=who.id, period=MONTH, clock_checked=True).number
        lines = [one["line"] for one in invoice_document(shop, number)["lines"] if one["kind"] == "usage"]
        found = []
        for _ in range(times):
            began = time.perf_counter()
            trace_line(shop, number, chance.choice(lines), requests=10)
            found.append((time.perf_counter() - began) * 1000)
        return found

    return {"ms": [ms for one in chance.sample(others, 5) for ms in took(one, 4)], "lonely_ms": took(lonely, 5)}


def issue(rounds: int, small: bool) -> list[Figure]:
    """Bills issued whole, one after another, of customers that have none yet: claim, seals, document, page, entry in the ledger;
    what was used is counted already. Bills differ in their bytes, so each is made once."""
    place = stocked(SMALL_ROWS if small else ROWS, SMALL_CUSTOMERS if small else CUSTOMERS)
    told = child("issue", place)
    return [Figure(f"a bill issued whole, ms CPU, of {told['bills']}", told["cpu_ms"]), Figure("ms by the clock", told["wall_ms"])]


def issues(place: Path) -> dict[str, Any]:
    """So many bills; the first pays for what is read once, and is not counted."""
    from mofang.core.shop import Shop
    from mofang.trade.accounts.customers import customers
    from mofang.trade.billing.claims import invoices_of
    from mofang.trade.billing.issuing import invoice_issue

    shop = Shop.open(place)
    billed = {one.account for one in invoices_of(shop.control)}
    first, *some = [one for one in customers(shop.control) if one.id not in billed][: ISSUED + 1]
    shop.act(invoice_issue, customer=first.id, period=MONTH, clock_checked=True)
    began, used = time.perf_counter(), time.process_time()
    for one in some:
        shop.act(invoice_issue, customer=one.id, period=MONTH, clock_checked=True)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    return {"bills": len(some), "cpu_ms": cpu * 1000 / len(some), "wall_ms": wall * 1000 / len(some)}


PARTS = {"invoice": invoice, "issue": issue, "trace": trace}


def main(what: str, place: Path) -> None:
    """One measurement, told as JSON."""
    began, used = time.perf_counter(), time.process_time()
    told: dict[str, Any] = {}
    if what == "duck":
        told["groups"] = duck(place)
    elif what == "trace":
        told |= traces(place)
    elif what == "issue":
        told |= issues(place)
    else:
        told["digest"], told["lines"] = every_bill(place, what == "fresh")
    told |= {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - used,
             "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
