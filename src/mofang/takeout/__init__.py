"""The whole shop as a folder that needs no Mofang to read: plain files, explained by a README, listed with their digests.

Everything is read as of one moment while servers and runs go on. The same command again brings the folder up to date and
leaves alone what is there already; one that was cut off is gone on with. Secrets stay at home.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

import mofang
from mofang.core import lock
from mofang.core.copying import full_disk_told
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.language import say
from mofang.core.moment import moment
from mofang.core.progress import progress
from mofang.takeout.folder import Folder

if TYPE_CHECKING:
    from mofang.core.shop import Shop

TAKEOUT_FORMAT = 2  # 2: kinds and plans of prices and lines; payments, credits, charges, subscriptions
ABOUT = "about.json"
SETTINGS_TOLD = ("format", "id", "made_us", "currency", "rates", "seller", "utc_offset")


@dataclass(frozen=True)
class Taken:
    """What was written where; ``missing`` are files that the shop itself no longer has."""

    place: Path
    files: int
    size_bytes: int
    missing: tuple[str, ...]


def take_out(shop: Shop, place: Path) -> Taken:
    """Write everything into a folder of its own. Raises ``export-not-empty``, ``export-other-shop``, ``disk-full``."""
    from mofang.takeout.books import write_journals, write_ledger, write_trade
    from mofang.takeout.models import write_models, write_records

    if place.resolve().is_relative_to(shop.path):
        raise MofangError("export-inside-shop", place=place)
    _require_own(place, str(shop.settings["id"]))
    for journal in lock.locked().get("folds", {}):  # a young shop has not made the tables of all trades yet
        lock.import_fold(journal)
    shop.journals.make_tables()
    with full_disk_told(place), progress(say("Exporting", "导出中")) as bar:
        folder = Folder(place, bar)
        with moment(shop) as seen:
            about = {"format": TAKEOUT_FORMAT, "shop": shop.settings["id"], "mofang": mofang.__version__}
            folder.write(ABOUT, [orjson.dumps({**about, "whole": False}, option=orjson.OPT_INDENT_2)])
            head = write_ledger(folder, seen.ledger)
            write_journals(folder, seen.control)
            write_trade(folder, shop, seen.ledger, seen.control)
            write_models(folder, shop, seen.ledger)
            write_records(folder, shop, seen.ledger)
        told = {name: shop.settings[name] for name in SETTINGS_TOLD if name in shop.settings}
        folder.write("settings.json", [orjson.dumps(told, option=orjson.OPT_INDENT_2)])
        folder.write("README.md", [Path(__file__).with_name("README.md").read_bytes()])
        about |= {"whole": True, "at_us": now_us(), "head": head, "missing": folder.missing}
        folder.write(ABOUT, [orjson.dumps(about, option=orjson.OPT_INDENT_2)])
        folder.finish()
    return Taken(place, len(folder.digests), folder.size_bytes, tuple(folder.missing))


def _require_own(place: Path, shop: str) -> None:
    """A new or empty folder, or an earlier export of the same shop."""
    if not place.exists():
        return
    if not place.is_dir():
        raise MofangError("export-not-empty", place=place)
    names = {path.name for path in place.iterdir() if not path.name.startswith(".")}
    if not names:
        return
    try:
        about = orjson.loads((place / ABOUT).read_bytes())
        known = about["format"] in range(1, TAKEOUT_FORMAT + 1) and about["shop"]
    except (OSError, ValueError, KeyError, TypeError):
        raise MofangError("export-not-empty", place=place) from None
    if known != shop:
        raise MofangError("export-other-shop", place=place)
