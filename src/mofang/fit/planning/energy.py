"""Kilowatt-hours and carbon dioxide of a run: measured where the machine tells, else estimated and called so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.run import Cost

RAPL = Path("/sys/class/powercap")
PUE = {
    "cloud": (1.2, "assumed: between Google's 1.09 (2024 report) and Uptime Institute's survey mean of 1.56 (2024)"),
    "office": (1.0, "assumed: no cooling of its own"),
}

# kg of CO2 a kWh of the grid, with its source.
GRIDS: dict[str, tuple[float, str]] = {
    "cn": (0.5366, "China, average of 2022: Ministry of Ecology and Environment, 2024-12-26"),
    "cn-sichuan": (0.1404, "Sichuan, average of 2022: Ministry of Ecology and Environment, 2024-12-26"),
    "cn-yunnan": (0.1073, "Yunnan, average of 2022: Ministry of Ecology and Environment, 2024-12-26"),
    "us": (0.373, "United States, 2022: EPA eGRID2022 (as remembered, not looked up again)"),
    "eu": (0.242, "European Union, 2023: Ember European Electricity Review 2024 (as remembered, not looked up again)"),
    "world": (0.480, "World, 2023: Ember Global Electricity Review 2024 (as remembered, not looked up again)"),
}


@dataclass(frozen=True)
class Energy:
    """Energy of a run in kWh, its carbon dioxide in kg, and where each figure comes from."""

    kwh: float
    co2_kg: float
    measured: bool
    sources: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kwh": round(self.kwh, 6),
            "co2_kg": round(self.co2_kg, 6),
            "measured": self.measured,
            "sources": dict(self.sources),
        }


def energy(
    devices: int, watts: float, hours: float, *, grid: str = "cn", place: str = "cloud", watts_source: str = ""
) -> Energy:
    """devices x W x h x PUE / 1000 in kWh; x the grid's factor in kg of CO2. Raises ``plan-unknown-grid``."""
    if grid not in GRIDS:
        raise MofangError("plan-unknown-grid", name=grid, nearest=nearest(grid, GRIDS), known=", ".join(GRIDS))
    factor, source = GRIDS[grid]
    pue, why = PUE[place]
    kwh = devices * watts * hours * pue / 1000
    return Energy(
        kwh, kwh * factor, False, {"watts": watts_source, "pue": f"{pue:g}, {why}", "grid": f"{factor:g} kg/kWh, {source}"}
    )


def energy_here(cpu_s: float, grid: str = "cn") -> Energy:
    """Of work on this machine: its cores' watts as the ledger counts them, no PUE."""
    told = (
        "RAPL is readable here: the run's own figure will be measured" if rapl_packages() else "RAPL is not readable here"
    )
    source = f"estimated: {Cost.WATTS_PER_CORE:g} W for each busy core, as the ledger counts it; {told}"
    return energy(1, Cost.WATTS_PER_CORE, cpu_s / 3600, grid=grid, place="office", watts_source=source)


def rapl_packages(root: Path = RAPL) -> list[Path]:
    """The counters of energy (micro-joules) of the processor's packages that this user may read."""
    found = []
    for place in sorted(root.glob("intel-rapl:[0-9]")):
        try:
            int((place / "energy_uj").read_text())
        except (OSError, ValueError):
            continue
        found.append(place / "energy_uj")
    return found


def rapl_joules(counters: list[Path]) -> float:
    """What the counters stand at, in joules; two readings and their difference measure a stretch of work."""
    return sum(int(place.read_text()) for place in counters) / 1e6
