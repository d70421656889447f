"""ONNX graphs written node by node, for models small enough to say exactly what they compute.

Every graph ends in "probabilities", float32 [B, K], or for numbers in "number", float32 [B, 1], and has a dynamic batch
axis. Operators are those of ONNX opset 17, which ONNX Runtime and OpenVINO both run; trees use ai.onnx.ml 3, which only
ONNX Runtime runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET, TREES_OPSET, IR_VERSION = 17, 3, 8
OUTPUT, NUMBER = "probabilities", "number"
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}
ENDS = {"softmax": ("Softmax", OUTPUT), "sigmoid": ("Sigmoid", OUTPUT), "identity": ("Identity", NUMBER)}

End = Literal["softmax", "sigmoid", "identity"]  # one label, several, a number

Layer = tuple[Array, Array]      # weights float32 [in, out], bias float32 [out]


def linear_graph(weights: Array, bias: Array, end: End = "softmax") -> bytes:
    """A linear model over n-grams: softmax(sum over l of weights[ids[l]] * w[l] + bias), or another ``end``.

    `weights` is [V, K] with the padding row 0 zero, `bias` [K]; inputs are "ids" int64 [B, L] and "weights"
    float32 [B, L]. A logistic regression of two classes is given as K = 2 with the first column zero.
    """
    return _ngram_graph(weights, [], bias, "relu", end)


def averaged_graph(embeddings: Array, layers: Sequence[Layer], activation: str = "relu", end: End = "softmax") -> bytes:
    """Averaged n-gram embeddings and dense layers (fastText, Joulin et al. 2017, with a deeper head).

    `embeddings` is [V, D] with the padding row 0 zero; the weighted sum of a text's rows goes through
    `layers`, each (weights [in, out], bias [out]), with the activation ("relu", "tanh") between them and
    softmax (or another ``end``) at the end.
    """
    return _ngram_graph(embeddings, layers, None, activation, end)


def mean_graph(table: Array, bias: Array, end: End = "softmax") -> bytes:
    """The mean of a text's token rows and a bias: table [V, K], bias [K]; "input_ids" and "attention_mask", both int64 [B, L].

    A text without tokens is answered by the bias alone.
    """
    from onnx import TensorProto, helper

    constants = [_constant("table", table.astype(np.float32)), _constant("bias", bias.astype(np.float32)),
                 _constant("row", np.array([1], np.int64)), _constant("one", np.ones(1, np.float32))]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
             helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
             helper.make_node("Unsqueeze", ["mask", "row"], ["mask_row"]),
             helper.make_node("MatMul", ["mask_row", "rows"], ["sum_row"]),
             helper.make_node("Squeeze", ["sum_row", "row"], ["sum"]),
             helper.make_node("ReduceSum", ["mask", "row"], ["tokens"], keepdims=1),
             helper.make_node("Max", ["tokens", "one"], ["count"]),
             helper.make_node("Div", ["sum", "count"], ["mean"]),
             helper.make_node("Add", ["mean", "bias"], ["logits"]),
             _end("logits", end)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
              for name in ("input_ids", "attention_mask")]
    return _model(nodes, inputs, table.shape[1], constants, end=end)


def dense_graph(layers: Sequence[Layer], activation: str = "relu", name: str = "features", end: End = "softmax") -> bytes:
    """Dense layers over a table's features, float32 [B, F], with softmax (or another ``end``) at the end."""
    from onnx import TensorProto, helper

    nodes, constants, last = _dense(name, layers, activation)
    nodes.append(_end(last, end))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", layers[0][0].shape[0]])]
    return _model(nodes, inputs, layers[-1][0].shape[1], constants, end=end)


def trees_graph(booster: bytes | Mapping[str, Any], classes: int) -> bytes:
    """An XGBoost classifier as TreeEnsembleRegressor nodes: input "features" float32 [B, F].

    `booster` is XGBoost's own JSON (`save_raw("json")`), objective binary:logistic or multi:softprob, gbtree.
    A split is `x < threshold` in float32 and a missing value follows the split's default branch, as in
    XGBoost; base_score is a list from XGBoost 3.1 on and is a probability for binary:logistic. Raises
    MofangError graph-unsupported for what this does not cover (categorical splits, DART, vector leaves).
    """
    from onnx import TensorProto, helper

    learner = (json.loads(booster) if isinstance(booster, bytes) else booster)["learner"]
    objective = learner["objective"]["name"]
    binary = objective == "binary:logistic"
    if not binary and objective != "multi:softprob":
        raise MofangError("graph-unsupported", part=f"objective {objective}")
    if learner["gradient_booster"]["name"] != "gbtree":
        raise MofangError("graph-unsupported", part=f"booster {learner['gradient_booster']['name']}")
    assert classes == 2 if binary else classes > 1, f"{objective} with {classes} classes"
    outputs = 1 if binary else classes
    margins = _base_margins(learner["learner_model_param"]["base_score"], binary, outputs)
    features = int(learner["learner_model_param"]["num_feature"])
    model = learner["gradient_booster"]["model"]
    attributes: dict[str, Any] = _tree_attributes(model["trees"], model["tree_info"])
    nodes = [helper.make_node("TreeEnsembleRegressor", ["features"], ["margins"], domain="ai.onnx.ml",
                              n_targets=outputs, aggregate_function="SUM", post_transform="NONE",
                              base_values=margins, **attributes)]
    constants = []
    if binary:
        constants = [_constant("one", np.ones(1, np.float32))]
        nodes += [helper.make_node("Sigmoid", ["margins"], ["positive"]),
                  helper.make_node("Sub", ["one", "positive"], ["negative"]),
                  helper.make_node("Concat", ["negative", "positive"], [OUTPUT], axis=1)]
    else:
        nodes.append(helper.make_node("Softmax", ["margins"], [OUTPUT], axis=1))
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features])]
    return _model(nodes, inputs, classes, constants, trees=True)


def _end(last: str, end: End) -> NodeProto:
    from onnx import helper

    operator, name = ENDS[end]
    axis: dict[str, Any] = {"axis": 1} if end == "softmax" else {}
    return helper.make_node(operator, [last], [name], **axis)


def _ngram_graph(table: Array, layers: Sequence[Layer], bias: Array | None, activation: str, end: End) -> bytes:
    """The weighted sum of table rows as a product of matrices, [B, 1, L] times [B, L, D]: no [B, L, D] is
    written."""
    from onnx import TensorProto, helper

    axis = _constant("axis", np.array([1], np.int64))
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
             helper.make_node("Unsqueeze", ["weights", "axis"], ["weights_row"]),
             helper.make_node("MatMul", ["weights_row", "rows"], ["sum_row"]),
             helper.make_node("Squeeze", ["sum_row", "axis"], ["sum"])]
    constants = [_constant("table", table.astype(np.float32)), axis]
    last, classes = "sum", table.shape[1]
    if bias is not None:
        constants.append(_constant("bias", bias.astype(np.float32)))
        nodes.append(helper.make_node("Add", ["sum", "bias"], ["logits"]))
        last = "logits"
    if layers:
        more, weights, last = _dense("sum", layers, activation)
        nodes, constants, classes = nodes + more, constants + weights, layers[-1][0].shape[1]
    nodes.append(_end(last, end))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"]),
              helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "length"])]
    return _model(nodes, inputs, classes, constants, end=end)


def _dense(source: str, layers: Sequence[Layer],
           activation: str) -> tuple[list[NodeProto], list[TensorProto], str]:
    from onnx import helper

    nodes, constants, last = [], [], source
    for number, (weights, bias) in enumerate(layers):
        constants += [_constant(f"w{number}", weights.astype(np.float32)),
                      _constant(f"b{number}", bias.astype(np.float32))]
        nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"dense{number}"]))
        last = f"dense{number}"
        if number < len(layers) - 1:
            nodes.append(helper.make_node(ACTIVATIONS[activation], [last], [f"active{number}"]))
            last = f"active{number}"
    return nodes, constants, last


def _base_margins(base_score: str, binary: bool, outputs: int) -> list[float]:
    """One margin per output from base_score, written "5E-1" up to XGBoost 3.0 and "[5E-1]" or "[a,b,c]"
    after."""
    parsed = json.loads(base_score)
    scores = parsed if isinstance(parsed, list) else [parsed]
    if binary:
        scores = [math.log(score / (1 - score)) for score in scores]
    return [float(score) for score in (scores * outputs if len(scores) == 1 else scores)]


def _tree_attributes(trees: Sequence[Mapping[str, Any]], classes: Sequence[int]) -> dict[str, list[Any]]:
    """The flat attribute lists of TreeEnsembleRegressor, one entry per node and one per leaf."""
    names = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values",
             "nodes_truenodeids", "nodes_falsenodeids", "nodes_missing_value_tracks_true", "target_treeids",
             "target_nodeids", "target_ids", "target_weights")
    lists: dict[str, list[Any]] = {name: [] for name in names}
    for tree_id, (tree, output) in enumerate(zip(trees, classes, strict=True)):
        if tree.get("categories_nodes") or int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise MofangError("graph-unsupported", part="categorical splits or vector leaves")
        for node, left in enumerate(tree["left_children"]):
            leaf, value = left == -1, tree["split_conditions"][node]
            lists["nodes_treeids"].append(tree_id)
            lists["nodes_nodeids"].append(node)
            lists["nodes_featureids"].append(0 if leaf else tree["split_indices"][node])
            lists["nodes_modes"].append("LEAF" if leaf else "BRANCH_LT")
            lists["nodes_values"].append(0.0 if leaf else float(np.float32(value)))
            lists["nodes_truenodeids"].append(0 if leaf else left)
            lists["nodes_falsenodeids"].append(0 if leaf else tree["right_children"][node])
            lists["nodes_missing_value_tracks_true"].append(0 if leaf else int(tree["default_left"][node]))
            if leaf:
                lists["target_treeids"].append(tree_id)
                lists["target_nodeids"].append(node)
                lists["target_ids"].append(output)
                lists["target_weights"].append(float(np.float32(value)))
    return lists


def _constant(name: str, array: Array) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def _model(nodes: Sequence[NodeProto], inputs: Sequence[Any], classes: int, constants: Sequence[TensorProto],
           *, trees: bool = False, end: End = "softmax") -> bytes:
    from onnx import TensorProto, checker, helper

    output = helper.make_tensor_value_info(ENDS[end][1], TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(nodes, "mofang", inputs, [output], initializer=constants)
    opsets = [helper.make_opsetid("", OPSET)]
    if trees:
        opsets.append(helper.make_opsetid("ai.onnx.ml", TREES_OPSET))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mofang")
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
