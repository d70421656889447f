"""The messages of the Open Inference Protocol over gRPC, made when the process starts: no generated code, no compiler.

Field numbers and types are those of KServe's ``grpc_predict_v2.proto``. They lie in a pool of their own, so that a client
library that brings the same names may live in the same process, and work with protobuf 6 and 7 alike.
"""

from __future__ import annotations

from functools import cache
from typing import Any

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"
PARAMETER, CONTENTS = "InferParameter", "InferTensorContents"

# message: (field, number, type); a type ending in [] repeats, {} is a map from strings to it, ? is one of a choice
FIELDS: dict[str, tuple[tuple[str, int, str], ...]] = {
    PARAMETER: (("bool_param", 1, "bool?"), ("int64_param", 2, "int64?"), ("string_param", 3, "string?"),
                ("double_param", 4, "double?"), ("uint64_param", 5, "uint64?")),
    CONTENTS: (("bool_contents", 1, "bool[]"), ("int_contents", 2, "int32[]"), ("int64_contents", 3, "int64[]"),
               ("uint_contents", 4, "uint32[]"), ("uint64_contents", 5, "uint64[]"), ("fp32_contents", 6, "float[]"),
               ("fp64_contents", 7, "double[]"), ("bytes_contents", 8, "bytes[]")),
    "ServerLiveRequest": (), "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (), "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")), "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "string[]")),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelMetadataResponse.TensorMetadata": (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64[]")),
    "ModelMetadataResponse": (("name", 1, "string"), ("versions", 2, "string[]"), ("platform", 3, "string"),
                              ("inputs", 4, "ModelMetadataResponse.TensorMetadata[]"),
                              ("outputs", 5, "ModelMetadataResponse.TensorMetadata[]")),
    "ModelInferRequest.InferInputTensor": (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64[]"),
                                           ("parameters", 4, "InferParameter{}"), ("contents", 5, CONTENTS)),
    "ModelInferRequest.InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, "InferParameter{}")),
    "ModelInferRequest": (("model_name", 1, "string"), ("model_version", 2, "string"), ("id", 3, "string"),
                          ("parameters", 4, "InferParameter{}"), ("inputs", 5, "ModelInferRequest.InferInputTensor[]"),
                          ("outputs", 6, "ModelInferRequest.InferRequestedOutputTensor[]"), ("raw_input_contents", 7, "bytes[]")),
    "ModelInferResponse.InferOutputTensor": (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64[]"),
                                             ("parameters", 4, "InferParameter{}"), ("contents", 5, CONTENTS)),
    "ModelInferResponse": (("model_name", 1, "string"), ("model_version", 2, "string"), ("id", 3, "string"),
                           ("parameters", 4, "InferParameter{}"), ("outputs", 5, "ModelInferResponse.InferOutputTensor[]"),
                           ("raw_output_contents", 6, "bytes[]")),
}
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


@cache
def messages() -> dict[str, Any]:
    """Message classes by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="mofang/open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(FIELDS, key=lambda name: name.count(".")):
        outer, _, inner = name.partition(".")
        made[name] = made[outer].nested_type.add(name=inner) if inner else file.message_type.add(name=outer)
    for name, fields in FIELDS.items():
        for field, number, kind in fields:
            _add(descriptor_pb2, made[name], name, (field, number, kind))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in FIELDS}


def _add(pb: Any, message: Any, name: str, about: tuple[str, int, str]) -> None:
    field, number, kind = about
    plain = kind.rstrip("[]{}?")
    one = message.field.add(name=field, number=number, label=pb.FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith("{}"):  # a map is a repeated message of key and value
        entry = message.nested_type.add(name="".join(word.title() for word in field.split("_")) + "Entry")
        entry.options.map_entry = True
        _add(pb, entry, f"{name}.{entry.name}", ("key", 1, "string"))
        _add(pb, entry, f"{name}.{entry.name}", ("value", 2, plain))
        one.type, one.type_name = pb.FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{name}.{entry.name}"
    elif plain in FIELDS:
        one.type, one.type_name = pb.FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
    else:
        one.type = getattr(pb.FieldDescriptorProto, f"TYPE_{plain.upper()}")
    if kind.endswith(("[]", "{}")):
        one.label = pb.FieldDescriptorProto.LABEL_REPEATED
    elif kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        one.oneof_index = 0
