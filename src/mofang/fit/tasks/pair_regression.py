"""Families for a number of two texts: those of pair classification."""

from __future__ import annotations

from mofang.fit.tasks.pair_classification import BASELINE, candidates

__all__ = ["BASELINE", "candidates"]
