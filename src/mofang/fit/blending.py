"""One answer of two models' shares of each class: their logarithms are added, as for experts who saw different things."""

from __future__ import annotations

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.graphs import IR_VERSION, OPSET, OUTPUT

LEAST = 1e-7  # of a share, before its logarithm


def blended(wide: Array, deep: Array, weight: float, sharpness: float) -> Array:
    """softmax(sharpness * (log wide + weight * log deep)), float32 [N, K] in and out."""
    logits = sharpness * (np.log(np.maximum(wide, LEAST)) + weight * np.log(np.maximum(deep, LEAST)))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def blended_graph(wide: bytes, deep: bytes, weight: float, sharpness: float) -> bytes:
    """Both graphs in one file, their inputs under their own names; the output is what ``blended`` makes of theirs."""
    import onnx
    from onnx import compose, helper, numpy_helper

    parts = []
    for head, data in (("wide/", wide), ("deep/", deep)):
        model = compose.add_prefix(onnx.load_model_from_string(data), head, rename_inputs=False)
        for one in [*model.graph.input, *model.graph.value_info]:
            for dim in one.type.tensor_type.shape.dim:  # axes of the same name would have to be of the same length
                if dim.dim_param and dim.dim_param != "batch":
                    dim.dim_param = head.replace("/", "_") + dim.dim_param
        del model.graph.value_info[:]
        parts.append(model.graph)
    constants = {"least": LEAST, "weight": weight, "sharpness": sharpness}
    held = [numpy_helper.from_array(np.array([value], np.float32), f"blend/{name}") for name, value in constants.items()]
    nodes = [node for graph in parts for node in graph.node]
    for head in ("wide", "deep"):
        nodes += [helper.make_node("Max", [f"{head}/{OUTPUT}", "blend/least"], [f"blend/{head}-shares"]),
                  helper.make_node("Log", [f"blend/{head}-shares"], [f"blend/{head}-logs"])]
    nodes += [helper.make_node("Mul", ["blend/deep-logs", "blend/weight"], ["blend/weighted"]),
              helper.make_node("Add", ["blend/wide-logs", "blend/weighted"], ["blend/sum"]),
              helper.make_node("Mul", ["blend/sum", "blend/sharpness"], ["blend/logits"]),
              helper.make_node("Softmax", ["blend/logits"], [OUTPUT], axis=1)]
    output = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", None])
    inputs = [one for graph in parts for one in graph.input]
    made = helper.make_graph(nodes, "blend", inputs, [output], [one for graph in parts for one in graph.initializer] + held)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="mofang")
    return bytes(model.SerializeToString(deterministic=True))
