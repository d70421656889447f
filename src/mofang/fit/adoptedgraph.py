"""An ONNX file from elsewhere as a graph of ours: weights brought in or kept in one file beside it, named inputs, one end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.engine.graphfile import DATA

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

GRAPH_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PIXEL_INPUT = "pixels"
APART_MIN = 1024  # bytes of a tensor that is kept beside
INLINE_MAX = 2**31 - 2**24  # bytes of weights inside a graph: protobuf ends at 2 GiB


def text_graph(place: Path, classes: int, gives: str) -> ModelProto:
    """A graph of token ids with "probabilities" at its end."""
    from onnx import TensorProto, helper

    model = _read(place)
    graph = model.graph
    inputs = _inputs(graph)
    names = [one.name for one in inputs]
    if not {"input_ids", "attention_mask"} <= set(names) <= set(GRAPH_INPUTS) or any(
            one.type.tensor_type.elem_type != TensorProto.INT64 for one in inputs):
        raise MofangError("adopt-unsuited", reason=f"its inputs are {', '.join(names) or '-'}, not input_ids and attention_mask")
    if "token_type_ids" in names:
        graph.input.remove(next(one for one in inputs if one.name == "token_type_ids"))
        graph.initializer.append(helper.make_tensor("mofang_zero", TensorProto.INT64, [], [0]))
        graph.node.insert(0, helper.make_node("Mul", ["input_ids", "mofang_zero"], ["token_type_ids"]))
    _finish(graph, classes, gives)
    return model


def image_graph(place: Path, classes: int, gives: str, size: Any) -> tuple[ModelProto, tuple[int, int, int]]:
    """A graph of pixels float32 [B, C, H, W] with "probabilities" at its end; and its C, H, W, where the graph leaves H and W
    open those of ``size``."""
    from onnx import TensorProto

    model = _read(place)
    graph = model.graph
    inputs = _inputs(graph)
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise MofangError("adopt-unsuited", reason=f"its inputs are {', '.join(one.name for one in inputs)}, not one of pixels")
    axes = [one.dim_value for one in inputs[0].type.tensor_type.shape.dim]
    said = size if isinstance(size, dict) else {"height": size, "width": size}
    given = [int(said.get(name) or 0) if isinstance(said.get(name) or 0, int) else 0 for name in ("height", "width")]
    found = tuple(own or other for own, other in zip(axes[1:], [0, *given], strict=False))
    if len(axes) != 4 or axes[0] > 0 or len(found) != 3 or found[0] not in (1, 3) or min(found) < 1:
        raise MofangError("adopt-unsuited", reason=f"its pixels have the axes {axes}: wanted are a free batch, 1 or 3 channels, "
                                                   "height and width")
    _rename(graph, inputs[0].name, PIXEL_INPUT)
    inputs[0].name = PIXEL_INPUT
    _finish(graph, classes, gives)
    return model, (found[0], found[1], found[2])


def lay_apart(graph: bytes | ModelProto, folder: Path) -> list[Path]:
    """Write ``model.onnx`` into the folder; weights beyond 2 GiB go into one file beside it, which the graph names."""
    import onnx

    place = folder / "model.onnx"
    if not isinstance(graph, bytes) and sum(len(one.raw_data) for one in graph.graph.initializer) > INLINE_MAX:
        onnx.save_model(graph, str(place), save_as_external_data=True, all_tensors_to_one_file=True,
                        location=f"{place.name}{DATA}", size_threshold=APART_MIN)
        return [place, folder / f"{place.name}{DATA}"]
    place.write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString(deterministic=True))
    return [place]


def _read(place: Path) -> ModelProto:
    import onnx

    try:
        model = onnx.load(str(place), load_external_data=False)
    except Exception as error:  # protobuf's own class is not public
        raise MofangError("graph-unreadable", name=place.name) from error
    _bring_in(model, place)
    return model


def _inputs(graph: GraphProto) -> list[Any]:
    fixed = {one.name for one in graph.initializer}
    return [one for one in graph.input if one.name not in fixed]


def _rename(graph: GraphProto, name: str, other: str) -> None:
    for node in graph.node:
        node.output[:] = [other if one == name else one for one in node.output]
        node.input[:] = [other if one == name else one for one in node.input]


def _finish(graph: GraphProto, classes: int, gives: str) -> None:
    """The first output as "probabilities", the others gone."""
    from onnx import TensorProto, helper

    last = graph.output[0].name
    while len(graph.output):
        graph.output.pop()
    if last == "probabilities":
        _rename(graph, last, "mofang_last")
        last = "mofang_last"
    graph.node.append(helper.make_node("Softmax", [last], ["probabilities"], axis=-1) if gives == "logits"
                      else helper.make_node("Identity", [last], ["probabilities"]))
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]))


def _bring_in(model: ModelProto, place: Path) -> None:
    """Weights that lie in files beside the graph; a path that leaves the folder is refused before it is opened."""
    from onnx import TensorProto
    from onnx import external_data_helper as outside

    folder = place.parent.resolve()
    for tensor in outside._get_all_tensors(model):
        if not outside.uses_external_data(tensor):
            continue
        said = next((one.value for one in tensor.external_data if one.key == "location"), "")
        target = folder / said
        plain = said and not Path(said).is_absolute() and ".." not in Path(said).parts and not target.is_symlink()
        if not plain or not target.is_file() or folder not in target.resolve().parents:
            raise MofangError("graph-external", name=said or place.name)
        outside.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
