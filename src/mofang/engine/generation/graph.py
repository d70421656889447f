"""A decoder with its cache as one ONNX graph, written node by node from weights, in float32 or in blocks of 8 or 4 bits.

Inputs: ``input_ids`` int64 [B, L], ``where`` int64 [N, 2] (row and place of each wanted answer), ``seqlens_k`` int32 [B] (the
last place of each row), ``total_sequence_length`` int32 (of the longest), for GPT-2 ``position_ids`` int64 [B, L], and the
cache: ``past_key_0`` … float32 [B, heads, C, D]. Outputs: ``logits`` float32 [N, V] and ``present_key_0`` …, which may be the
same memory as the past: then nothing is copied from one step to the next, and rows of different length go together.

Attention, norms and weights in blocks are ONNX Runtime's own operators (``com.microsoft``); no other engine reads the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.generation.blocks import BLOCK, blocks_of
from mofang.engine.generation.shape import GELU, DecoderShape

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET, IR_VERSION, OWN = 21, 10, "com.microsoft"
BYTES_MAX = 2**31 - 2**20  # protobuf's own limit
INTEGERS = 4  # accuracy_level: activations as int8 beside weights in blocks


@dataclass(frozen=True)
class Precision:
    """How many bits the matrices, the head and the table of embeddings have; 32 is float32."""

    name: str
    matrices: int
    head: int
    table: int

    @property
    def kind(self) -> str:
        """fp32, int8 or int4: what most of its weights are."""
        return self.name.partition("-")[0]


PRECISIONS = {one.name: one for one in (
    Precision("fp32", 32, 32, 32), Precision("int8", 8, 8, 8), Precision("int4", 4, 4, 8), Precision("int4-head8", 4, 8, 8))}


def decoder_graph(shape: DecoderShape, weights: Mapping[str, Array], context: int, precision: str = "fp32", *,
                  rotations: tuple[Array, Array] | None = None, seen: Mapping[str, Array] | None = None) -> bytes:
    """The graph for weights named as in transformers' checkpoints, for at most ``context`` tokens.

    ``rotations`` are cosine and sine float32 [context, D / 2] of a base with rotations of its own; ``seen`` holds for names of
    matrices the sum of x xᵀ over sample inputs. Raises ``generator-unsupported`` for what is larger than a file may be.
    """
    graph = _Graph(shape, weights, PRECISIONS[precision], seen or {})
    if shape.kind == "llama":
        _llama(graph, context, rotations or _rotations(shape, context))
    else:
        _gpt2(graph)
    return graph.bytes()


def _rotations(shape: DecoderShape, context: int) -> tuple[Array, Array]:
    steps = np.arange(0, shape.head_width, 2, dtype=np.float64) / shape.head_width
    angles = np.outer(np.arange(context), shape.theta**-steps)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


class _Graph:
    """Nodes and constants as they are written."""

    def __init__(self, shape: DecoderShape, weights: Mapping[str, Array], precision: Precision,
                 seen: Mapping[str, Array]) -> None:
        self.shape, self.weights, self.precision, self.seen = shape, weights, precision, seen
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.more_inputs: list[str] = []
        self.size = 0

    def weight(self, name: str) -> Array:
        """A weight by its name; raises ``generator-unsupported`` where the checkpoint lacks it."""
        found = self.weights.get(name)
        if found is None:
            raise MofangError("generator-unsupported", part=f"a checkpoint without {name}")
        return found

    def constant(self, name: str, array: Array) -> str:
        """A constant of this name."""
        from onnx import numpy_helper

        self.size += array.nbytes
        if self.size > BYTES_MAX:
            raise MofangError("generator-unsupported", part="a graph of more than 2 GB")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str | list[str], *, own: bool = False, **attributes: Any) -> str:
        """One operator; its first output's name."""
        from onnx import helper

        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=OWN if own else "", **attributes))
        return outputs[0]

    def matrix(self, source: str, name: str, weights: Array, bits: int, bias: Array | None = None, seen: str = "") -> str:
        """source [.., K] times weights [N, K] transposed, plus bias [N]."""
        outputs, inputs = weights.shape
        made = f"{name}.y"
        if bits == 32:
            self.node("MatMul", [source, self.constant(name, weights.T.astype(np.float32))], made)
        else:
            hessian = self.seen.get(seen or name)
            fits = hessian is not None and len(hessian) == inputs  # not where heads were widened
            blocks = blocks_of(weights.astype(np.float32), bits, hessian if fits else None)
            parts = [self.constant(name, blocks.codes), self.constant(f"{name}.scales", blocks.scales.reshape(-1)),
                     self.constant(f"{name}.zeros", blocks.zeros.reshape(-1))]
            self.node("MatMulNBits", [source, *parts], made, own=True, K=inputs, N=outputs, bits=bits, block_size=BLOCK,
                      accuracy_level=INTEGERS)
        if bias is None:
            return made
        return self.node("Add", [made, self.constant(f"{name}.bias", bias.astype(np.float32))], f"{name}.z")

    def table(self, name: str, weights: Array) -> str:
        """Rows of a table by ``input_ids``."""
        made, bits = f"{name}.rows", self.precision.table
        if bits == 32 or weights.shape[1] % BLOCK:
            return self.node("Gather", [self.constant(name, weights.astype(np.float32)), "input_ids"], made, axis=0)
        blocks = blocks_of(weights.astype(np.float32), bits)
        parts = [self.constant(name, blocks.codes.reshape(len(weights), -1)), "input_ids",
                 self.constant(f"{name}.scales", blocks.scales), self.constant(f"{name}.zeros", blocks.zeros)]
        return self.node("GatherBlockQuantized", parts, made, own=True, gather_axis=0, quantize_axis=1, block_size=BLOCK,
                         bits=bits)

    def norm(self, source: str, name: str, out: str, plus: str = "") -> tuple[str, str]:
        """The normalised sum of ``source`` and ``plus``, and the sum itself."""
        rms = self.shape.kind == "llama"
        scale = [self.constant(f"{name}.weight", self.weight(f"{name}.weight").astype(np.float32))]
        if not rms:
            scale.append(self.constant(f"{name}.bias", self.weight(f"{name}.bias").astype(np.float32)))
        if not plus:
            operator = "SimplifiedLayerNormalization" if rms else "LayerNormalization"
            return self.node(operator, [source, *scale], out, axis=-1, epsilon=self.shape.epsilon), source
        operator, total = ("SkipSimplifiedLayerNormalization" if rms else "SkipLayerNormalization"), f"{out}.sum"
        self.node(operator, [source, plus, *scale], [out, "", "", total], own=True, epsilon=self.shape.epsilon)
        return out, total

    def attention(self, layer: int, parts: list[str], rotated: bool) -> str:
        """Attention over the cache and these queries, keys and values (or all three in the first)."""
        shape = self.shape
        cache = [f"past_key_{layer}", f"past_value_{layer}"]
        made = [f"attention_{layer}", f"present_key_{layer}", f"present_value_{layer}"]
        more: dict[str, Any] = {"scale": shape.attention_scale(layer)}
        if shape.window:
            more["local_window_size"] = shape.window
        turns = ["cosines", "sines"] if rotated else []
        return self.node("GroupQueryAttention", [*parts, *cache, "seqlens_k", "total_sequence_length", *turns], made, own=True,
                         num_heads=shape.heads, kv_num_heads=shape.kv_heads, do_rotary=int(rotated), **more)

    def head(self, source: str, weights: Array, seen: str) -> None:
        """The wanted places' logits."""
        chosen = self.node("GatherND", [source, "where"], "chosen")
        self.node("Identity", [self.matrix(chosen, "head", weights, self.precision.head, seen=seen)], "logits")

    def bytes(self) -> bytes:
        """The model, written down."""
        from onnx import TensorProto, helper

        shape = self.shape
        names = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        cached = ["batch", shape.kv_heads, "cache", shape.cache_width]

        def value(name: str, kind: int, dimensions: list[Any]) -> Any:
            return helper.make_tensor_value_info(name, kind, dimensions)

        inputs = [
            value("input_ids", TensorProto.INT64, ["batch", "length"]), value("where", TensorProto.INT64, ["wanted", 2]),
            value("seqlens_k", TensorProto.INT32, ["batch"]), value("total_sequence_length", TensorProto.INT32, []),
            *(value(name, TensorProto.INT64, ["batch", "length"]) for name in self.more_inputs),
            *(value(f"past_{name}", TensorProto.FLOAT, cached) for name in names),
        ]
        outputs = [value("logits", TensorProto.FLOAT, ["wanted", shape.vocabulary]),
                   *(value(f"present_{name}", TensorProto.FLOAT, cached) for name in names)]
        graph = helper.make_graph(self.nodes, "mofang", inputs, outputs, initializer=self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(OWN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mofang")
        return bytes(model.SerializeToString(deterministic=True))


def _llama(graph: _Graph, context: int, rotations: tuple[Array, Array]) -> None:
    """Llama, Mistral, Qwen: rotary positions, gated feed-forward, root-mean-square norms."""
    shape, bits = graph.shape, graph.precision.matrices
    for name, table in zip(("cosines", "sines"), rotations, strict=True):
        wide = np.full((context, shape.cache_width // 2), float(name == "cosines"), np.float32)
        wide[:, : shape.head_width // 2] = table[:context]
        graph.constant(name, wide)
    states = graph.table("embed_tokens", graph.weight("embed_tokens.weight"))
    plus = ""
    for layer in range(shape.layers):
        at = f"layers.{layer}"
        normed, states = graph.norm(states, f"{at}.input_layernorm", f"{at}.n1", plus)
        mixed = graph.attention(layer, _queries(graph, normed, f"{at}.self_attn"), rotated=True)
        out = f"{at}.self_attn.o_proj"
        back = _widened(graph.weight(f"{out}.weight").T, shape).T
        added = graph.matrix(mixed, out, back, bits, graph.weights.get(f"{out}.bias"))
        normed, states = graph.norm(states, f"{at}.post_attention_layernorm", f"{at}.n2", added)
        gate, up, down = (f"{at}.mlp.{one}_proj" for one in ("gate", "up", "down"))
        opened = graph.matrix(normed, gate, graph.weight(f"{gate}.weight"), bits)
        graph.node("Sigmoid", [opened], f"{at}.s")
        graph.node("Mul", [opened, f"{at}.s"], f"{at}.silu")
        raised = graph.matrix(normed, up, graph.weight(f"{up}.weight"), bits)
        graph.node("Mul", [f"{at}.silu", raised], f"{at}.gated")
        plus = graph.matrix(f"{at}.gated", down, graph.weight(f"{down}.weight"), bits)
    last, _ = graph.norm(states, "norm", "last", plus)
    head = graph.weights.get("head.weight")
    graph.head(last, graph.weight("embed_tokens.weight") if head is None else head, "head")


def _queries(graph: _Graph, source: str, at: str) -> list[str]:
    """Queries, keys and values: in one matrix where nothing happens to them before attention."""
    shape, bits = graph.shape, graph.precision.matrices
    names = [f"{at}.{one}_proj" for one in "qkv"]
    weights = [_widened(graph.weight(f"{name}.weight"), shape) for name in names]
    biases = [_widened(bias, shape) if (bias := graph.weights.get(f"{name}.bias")) is not None else None for name in names]
    if not shape.queries_normed:
        bias = None if biases[0] is None else np.concatenate([one for one in biases if one is not None])
        return [graph.matrix(source, f"{at}.qkv", np.concatenate(weights), bits, bias, seen=names[0]), "", ""]
    made = [graph.matrix(source, name, one, bits, bias, seen=names[0])
            for name, one, bias in zip(names, weights, biases, strict=True)]
    queries = _normed(graph, made[0], f"{at}.q_norm", shape.heads)
    return [queries, _normed(graph, made[1], f"{at}.k_norm", shape.kv_heads), made[2]]


def _widened(weights: Array, shape: DecoderShape) -> Array:
    """Weights [heads x D, ..] with zeros that bring each head to the cache's width; its halves, which rotate together, stay
    at the beginning of each half."""
    if shape.cache_width == shape.head_width:
        return weights
    parts = 2 if shape.kind == "llama" else 1
    rest = weights.shape[1:]
    apart = weights.reshape(-1, parts, shape.head_width // parts, *rest)
    wide = np.zeros((len(apart), parts, shape.cache_width // parts, *rest), weights.dtype)
    wide[:, :, : shape.head_width // parts] = apart
    return wide.reshape(-1, *rest)


def _normed(graph: _Graph, source: str, name: str, heads: int) -> str:
    """Each head normalised by itself (Qwen 3)."""
    apart = graph.constant(f"{name}.apart", np.array([0, 0, heads, graph.shape.head_width], np.int64))
    whole = graph.constant(f"{name}.whole", np.array([0, 0, heads * graph.shape.head_width], np.int64))
    scale = graph.constant(f"{name}.weight", graph.weight(f"{name}.weight").astype(np.float32))
    cut = graph.node("Reshape", [source, apart], f"{name}.cut")
    normed = graph.node("SimplifiedLayerNormalization", [cut, scale], f"{name}.n", axis=-1, epsilon=graph.shape.epsilon)
    return graph.node("Reshape", [normed, whole], f"{name}.joined")


def _gpt2(graph: _Graph) -> None:
    """GPT-2: learnt positions, layer norms with a bias, a plain feed-forward half."""
    shape, bits = graph.shape, graph.precision.matrices
    graph.more_inputs.append("position_ids")
    words = graph.table("wte", graph.weight("wte.weight"))
    graph.node("Gather", [graph.constant("wpe", graph.weight("wpe.weight").astype(np.float32)), "position_ids"], "places", axis=0)
    states, plus = graph.node("Add", [words, "places"], "entered"), ""
    for layer in range(shape.layers):
        at = f"h.{layer}"

        into, out, first, second = (f"{at}.{one}" for one in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"))
        weights = {name: graph.weight(f"{name}.weight").T for name in (into, out, first, second)}  # they are [in, out]
        biases = {name: graph.weight(f"{name}.bias") for name in weights}
        weights[into], biases[into] = _widened(weights[into], shape), _widened(biases[into], shape)
        weights[out] = _widened(weights[out].T, shape).T
        normed, states = graph.norm(states, f"{at}.ln_1", f"{at}.n1", plus)
        mixed = graph.attention(layer, [graph.matrix(normed, into, weights[into], bits, biases[into]), "", ""], rotated=False)
        added = graph.matrix(mixed, out, weights[out], bits, biases[out])
        normed, states = graph.norm(states, f"{at}.ln_2", f"{at}.n2", added)
        inner = graph.matrix(normed, first, weights[first], bits, biases[first])
        if shape.activation == "relu":
            active = graph.node("Relu", [inner], f"{at}.active")
        else:
            active = graph.node("Gelu", [inner], f"{at}.active", approximate=GELU[shape.activation])
        plus = graph.matrix(active, second, weights[second], bits, biases[second])
    last, _ = graph.norm(states, "ln_f", "last", plus)
    head = graph.weights.get("head.weight")
    graph.head(last, graph.weight("wte.weight") if head is None else head, "head")
