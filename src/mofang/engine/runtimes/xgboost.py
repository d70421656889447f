"""XGBoost itself, for models of the xgboost family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays
from mofang.engine.runtimes import file_of, missing_package


class XgboostRuntime:
    """A booster read from XGBoost's own binary JSON, model.ubj."""

    name: ClassVar[str] = "xgboost"
    file: ClassVar[str] = "model.ubj"
    files: ClassVar[Mapping[str, str]] = {"fp32": file}

    def __init__(self, path: Path, threads: int) -> None:
        import xgboost

        self._booster = xgboost.Booster({"nthread": threads})
        try:
            self._booster.load_model(bytearray(path.read_bytes()))
        except xgboost.core.XGBoostError as error:
            reason = str(error).splitlines()[0]
            raise MofangError("engine-refuses", engine=self.name, reason=reason) from error
        self._booster.set_param({"nthread": threads})

    @classmethod
    def available(cls) -> str | None:
        """None, or that xgboost is not installed."""
        return missing_package("xgboost", "xgboost-cpu")

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], threads: int, precision: str = "fp32", streams: int = 1) -> Self:
        """Read model.ubj in the folder."""
        return cls(file_of(cls, folder, precision), threads)

    def run(self, arrays: Arrays) -> Arrays:
        """Class probabilities; NaN is a missing value."""
        found = np.asarray(self._booster.inplace_predict(arrays["features"], missing=np.nan), np.float32)
        if found.ndim == 1:
            found = np.stack([1 - found, found], axis=1)
        return {"probabilities": found}
