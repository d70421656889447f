"""Makes the small shop that stands for the format released now: ``python -m tests.formats.make``. Never remake an old one."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from mofang.core.journal import NewRow
from mofang.core.migrate import newest
from mofang.core.shop import Shop
from mofang.serve.admit import admit, check_shops
from mofang.serve.border import open_parcel
from mofang.serve.trial import trial
from tests.core.kernel_stages import count, split
from tests.serve.parcels import make_model, send

HERE = Path(__file__).parent


def bring(shop: Shop, folder: Path) -> None:
    """A package from another shop, for the tables of other shops' entries."""
    other = Shop.open(folder / "other")
    make_model(other, folder)
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    parcel = open_parcel(send(other, folder / "reviews.mofang"), unpacked)
    check_shops(shop, parcel)
    admit(shop, parcel, trial(unpacked))


def main() -> None:
    """Write shop-N.tar.gz."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "shop"
        shop = Shop.open(place)
        halves = shop.run(split, shop.run(count), order={"tag": "falling", "stride": 3})
        shop.name("halves", halves)
        shop.run(split, shop.run(count))
        shop.journals.record("notes", [NewRow("said", {"text": "你好"}, account="cus_1")])
        shop.seal("notes")
        shop.journals.record("notes", [NewRow("said", {"text": "again"}, account="cus_1")])
        bring(shop, Path(folder))
        assert shop.verify() == []
        for database in (shop.ledger.db, shop.control):
            database.rows("pragma wal_checkpoint(truncate)")
            database.close()
        with tarfile.open(HERE / f"shop-{newest()}.tar.gz", "w:gz") as archive:
            archive.add(place, "shop")


if __name__ == "__main__":
    main()
