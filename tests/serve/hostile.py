"""Parcels that lie: each case is a name, what makes the file, and the code that must refuse it."""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.canonical import canonical
from tests.serve.parcels import Box, relink

Make = Callable[[Box, Path], Path]
Case = tuple[str, Make, str | tuple[str, ...]]


class _Shout:
    """What a pickle would run if anybody opened it."""

    def __reduce__(self) -> Any:
        return (Path("/tmp/mofang-hostile-pickle-was-run").touch, ())


PICKLE = pickle.dumps(_Shout(), protocol=4)


def cases() -> Iterator[Case]:
    """The whole corpus."""
    yield from _files()
    yield from _zips()
    yield from _signatures()
    yield from _ancestries()
    yield from _contents()
    yield from _graphs()


def _raw(change: Callable[[bytes], bytes]) -> Make:
    def make(box: Box, path: Path) -> Path:
        path.write_bytes(change(box.write(path).read_bytes()))
        return path

    return make


def _files() -> Iterator[Case]:
    yield "cut in the middle", _raw(lambda data: data[:len(data) * 3 // 5]), "parcel-unreadable"
    yield "cut by a byte", _raw(lambda data: data[:-1]), "parcel-unreadable"
    yield "empty", _raw(lambda _data: b""), "parcel-unreadable"
    yield "a text", _raw(lambda _data: "这不是模型包".encode() * 99), "parcel-unreadable"
    yield "a pickle", _raw(lambda _data: PICKLE), "parcel-unreadable"
    yield "a program before it", _raw(lambda data: b"#!/bin/sh\nrm -rf ~\nexit\n" + data), "parcel-unreadable"
    yield "no parts", _raw(lambda _data: b"PK\5\6" + bytes(18)), "parcel-part-missing"


def _more(name: str, data: bytes = b"x", **about: Any) -> Make:
    def make(box: Box, path: Path) -> Path:
        info = zipfile.ZipInfo(name)
        for key, value in about.items():
            setattr(info, key, value)
        return box.write(path, more=((info, data),))

    return make


def _overlapping(box: Box, path: Path) -> Path:
    """A thousand entries of the directory that share one part's bytes: small outside, huge inside."""
    box.write(path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("graph/model.onnx")
        begin, count = archive.start_dir, len(archive.infolist())
    size = info.file_size
    rows = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, info.CRC, size, size, len(name), 0, 0, 0, 0, 0, info.header_offset)
        + name for name in (f"graph/m{number}.onnx".encode() for number in range(1000)))
    directory = data[begin:data.rindex(b"PK\5\6")] + rows
    total = count + 1000
    path.write_bytes(data[:begin] + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, len(directory), begin, 0))
    return path


def _zips() -> Iterator[Case]:
    link = (stat.S_IFLNK | 0o777) << 16
    yield "climbs out", _more("../../evil.json"), "parcel-name"
    yield "climbs out inside", _more("graph/../../evil.onnx"), "parcel-name"
    yield "absolute", _more("/etc/cron.d/evil"), "parcel-name"
    yield "a drive", _more("C:/evil.json"), "parcel-name"
    yield "backslashes", _more("graph\\..\\..\\evil.onnx"), "parcel-name"
    yield "a hidden name", _more("encoder/.bashrc"), "parcel-name"
    yield "a module", _more("setup.py"), "parcel-name"
    yield "a name in Chinese letters", _more("encoder/词表.json"), "parcel-name"
    yield "a link", _more("graph/link.onnx", b"/etc/passwd", external_attr=link), "parcel-link"
    yield "a device", _more("graph/zero.onnx", external_attr=(stat.S_IFCHR | 0o666) << 16), "parcel-link"
    yield "twice", _more("package.json", b"{}"), "parcel-doubled"
    yield "twice in capitals", _more("Package.json", b"{}"), "parcel-doubled"
    yield "packed", lambda box, path: box.write(path, compress=zipfile.ZIP_DEFLATED), "parcel-packed"
    yield "a bomb", _bomb, "parcel-packed"
    yield "overlapping parts", _overlapping, "parcel-packed"
    yield "an unsigned part", _more("graph/more.onnx"), "parcel-part-unknown"
    yield "an unsigned note", _more("NOTE.md"), "parcel-part-unknown"


def _bomb(box: Box, path: Path) -> Path:
    info = zipfile.ZipInfo("encoder/zeros.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    return box.write(path, more=((info, bytes(64 * 2**20)),))


def _signed_by_other(box: Box, path: Path) -> Path:
    return box.signed(box.parts["ancestry.json"]).write(path)


def _other_context(box: Box, path: Path) -> Path:
    about = json.loads(box.parts["signature.json"])
    box.parts["signature.json"] = canonical(about | {"context": "invoice"})
    return box.write(path)


def _without_signature(box: Box, path: Path) -> Path:
    box.parts["signature.json"] = b"{}"
    return box.write(path)


def _signatures() -> Iterator[Case]:
    yield "another shop's signature", _signed_by_other, "signature-wrong"
    yield "a signature for something else", _other_context, "signature-wrong"
    yield "no signature", _without_signature, "signature-wrong"
    yield "a part exchanged", lambda box, path: _put(box, "card.md", b"# Better\n").write(path), "parcel-part-changed"
    yield "a part of the same length", _same_length, "parcel-part-changed"
    yield "a sentence of the ancestry", _reword, "signature-wrong"


def _same_length(box: Box, path: Path) -> Path:
    card = box.parts["card.md"]
    return _put(box, "card.md", card[:-2] + b"!\n").write(path)


def _reword(box: Box, path: Path) -> Path:
    return _put(box, "ancestry.json", box.parts["ancestry.json"].replace(b"CC-BY-4.0", b"CC0-1.0  ")).write(path)


def _put(box: Box, name: str, data: bytes) -> Box:
    box.parts[name] = data
    return box


def _lie(change: Callable[[Box, Any], None]) -> Make:
    return lambda box, path: box.seal(lambda document: change(box, document)).write(path)


def _no_licence(box: Box, document: Any) -> None:
    for stage in ("snapshot", "train", "export", "evaluate", "package"):
        box.entry(document, stage)["view"]["licences"] = ["CC0-1.0"]


def _older(box: Box, document: Any) -> None:
    one = box.entry(document, "train")
    one["at_us"] -= 10**12


def _other_link(box: Box, document: Any) -> None:
    box.entry(document, "train")["previous"] = "0" * 64


def _without(stage: str) -> Callable[[Box, Any], None]:
    def change(box: Box, document: Any) -> None:
        document["entries"].remove(box.entry(document, stage))

    return change


def _circle(box: Box, document: Any) -> None:
    train, package = box.entry(document, "train"), box.entry(document, "package")
    train["view"]["inputs"][0] |= {"entry": package["id"], "within": "x"}


def _head(_box: Box, document: Any) -> None:
    document["head"]["seq"] += 1


def _other_input(box: Box, document: Any) -> None:
    box.entry(document, "export")["view"]["inputs"][0]["digest"] = "0" * 64


def _twice(box: Box, document: Any) -> None:
    document["entries"].append(dict(box.entry(document, "train")))


def _newer(box: Box, document: Any) -> None:
    """An entry after the package."""
    one = {**box.entry(document, "train"), "id": "run_later", "seq": 10**6}
    relink(one)
    document["entries"].append(one)


def _set(*path: Any, to: Any) -> Callable[[Box, Any], None]:
    def change(_box: Box, document: Any) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = to

    return change


def _ancestries() -> Iterator[Case]:
    yield "a licence dropped on the way", _lie(_no_licence), "ancestry-licence"
    yield "a source without its licence", _lie(lambda box, document: box.entry(document, "collect")["view"].update(
        licences=[])), "ancestry-licence"
    yield "a package without licences", _lie_of_package, "ancestry-licence"
    yield "another time", _lie(_older), "ancestry-broken"
    yield "another link", _lie(_other_link), "ancestry-broken"
    yield "no snapshot", _lie(_without("snapshot")), "ancestry-gap"
    yield "no package", _lie(_without("package")), "ancestry-broken"
    yield "a circle", _lie(_circle), "ancestry-broken"
    yield "another head", _lie(_head), "ancestry-broken"
    yield "another input", _lie(_other_input), "ancestry-broken"
    yield "an entry twice", _lie(_twice), "ancestry-broken"
    yield "an entry after the package", _lie(_newer), "ancestry-broken"
    yield "fields missing", _lie(lambda _box, document: document["entries"][0].pop("view")), "ancestry-broken"
    yield "entries that are a number", _lie(_set("entries", to=7)), "ancestry-broken"
    yield "a newer format", _lie(_set("ancestry", to=99)), "parcel-format"
    yield "a name that writes on the terminal", _lie(_set("shop", "name", to="\x1b[2J\x1b[1;31mBank")), "parcel-json"
    yield "a name that turns the writing round", _lie(_set("package", "name", to="\u202egnp.exe@1")), "parcel-json"
    yield "an earlier shop that is not there", _lie(_set("carried", to=["0" * 64])), "ancestry-gap"
    yield "another model's ancestry", lambda box, path: _put(box, "graph/model.onnx", box.parts["graph/model.onnx"][:-1] + b"\0").seal(
        lambda document: document["package"].update(digest="0" * 64)).write(path), "ancestry-other"
    yield "a list of parts that is none", lambda box, path: box.seal(_set_files).write(path), "ancestry-broken"
    yield "a cost that is a word", _lie(lambda box, document: box.entry(document, "train")["view"].update(
        cost={"own": "much", "total": "more"})), "ancestry-broken"
    yield "a cost beyond all money", _lie(lambda box, document: box.entry(document, "train")["view"]["cost"]["own"].update(
        micros=10**18)), "ancestry-broken"
    yield "money that nobody knows", _lie(_set("shop", "currency", to="XXX")), "currency-unknown"
    yield "a field too many", _lie(_set("run_this", to="rm -rf ~")), "ancestry-broken"
    yield "a time after the end of time", _lie(lambda box, document: box.entry(document, "train").update(at_us=10**18)), (
        "ancestry-broken")
    yield "deep JSON", lambda box, path: box.signed(b"[" * 10**6 + b"]" * 10**6).write(path), "parcel-json"
    yield "deep but parseable JSON", lambda box, path: box.signed(b"[" * 500 + b"]" * 500).write(path), "parcel-json"
    yield "JSON in another order", lambda box, path: box.signed(b" " + box.parts["ancestry.json"]).write(path), "parcel-json"
    for name in ("package.json", "canonical.jsonl", "card.md", "README.txt", "signature.json"):
        yield f"without {name}", _missing(name), "parcel-part-missing"
    yield "without a part of the encoder", _missing("encoder/idf.npy"), "parcel-part-missing"


def _set_files(document: Any) -> None:
    document["files"]["card.md"] = "yes"


def _missing(name: str) -> Make:
    def make(box: Box, path: Path) -> Path:
        del box.parts[name]
        return box.write(path)

    return make


def _described(box: Box, **change: Any) -> Box:
    return _put(box, "package.json", canonical({**json.loads(box.parts["package.json"]), **change}))


def _lie_of_package(box: Box, path: Path) -> Path:
    return _described(box, licences=[]).seal().write(path)


def _part(name: str, data: bytes) -> Make:
    return lambda box, path: _put(box, name, data).seal().write(path)


def _npy_of_objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([_Shout()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _safetensors(length: int, header: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + header


def _answers(change: Callable[[Any], None]) -> Make:
    def make(box: Box, path: Path) -> Path:
        lines = [json.loads(line) for line in box.parts["canonical.jsonl"].splitlines()]
        change(lines[-1])
        return _put(box, "canonical.jsonl", b"".join(canonical(line) + b"\n" for line in lines)).seal().write(path)

    return make


def _contents() -> Iterator[Case]:
    outside = json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 10**9]}}).encode()
    yield "a pickle as weights", _part("encoder/idf.npy", PICKLE), "parcel-pickle"
    yield "a pickle as a graph", _part("graph/model.onnx", PICKLE), "parcel-pickle"
    yield "an archive as a graph", _part("graph/model.onnx", b"PK\3\4" + bytes(99)), "parcel-pickle"
    yield "an array of objects", _part("encoder/idf.npy", _npy_of_objects()), "parcel-pickle"
    yield "an array that promises more", _part("encoder/idf.npy", _promising()), "parcel-pickle"
    yield "a program", _part("encoder/run.py", b"print()"), "parcel-part-unknown"
    yield "a library", _part("graph/custom.so", b"\x7fELF" + bytes(99)), "parcel-part-unknown"
    yield "a booster that is none", _part("graph/model.ubj", b"binf" + bytes(99)), "parcel-part-unknown"
    yield "weights whose header is huge", _part("graph/w.safetensors", _safetensors(2**62, b"{}")), "parcel-json"
    yield "weights that lie outside", _part("graph/w.safetensors", _safetensors(len(outside), outside)), "parcel-json"
    yield "a package that is a list", lambda box, path: _put(box, "package.json", b"[]").seal(files=False).write(path), (
        "parcel-part-changed")
    yield "a package without figures", lambda box, path: _described(box, evaluation={}).seal().write(path), "parcel-json"
    yield "a package of a newer format", lambda box, path: _described(box, format=99).seal().write(path), "package-format"
    yield "a package of an unknown task", lambda box, path: _described(box, task="mind_reading").seal().write(path), "task-unknown"
    yield "deep JSON in the encoder", _part("encoder/terms.json", b"[" * 900 + b"]" * 900), "parcel-json"
    yield "a card that writes on the terminal", _part("card.md", b"# Card \x1b]0;pwned\x07\n"), "parcel-json"
    yield "other probabilities", _answers(lambda line: line["outputs"]["probabilities"].reverse()), "parity-mismatch"
    yield "another answer", _answers(lambda line: line["answer"].update(label="other")), "parity-mismatch"
    yield "other arrays", _answers(lambda line: line.update(arrays="0" * 64)), "parity-mismatch"
    yield "no canonical requests", _part("canonical.jsonl", b""), "parity-mismatch"


def _promising() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(4, np.float32))
    return stream.getvalue().replace(b"(4,)", b"(4000000000000,)"[:4])[:-4]


def _graph(change: Callable[[Any], None]) -> Make:
    def make(box: Box, path: Path) -> Path:
        import onnx

        model = onnx.load_from_string(box.parts["graph/model.onnx"])
        change(model)
        return _put(box, "graph/model.onnx", model.SerializeToString()).seal().write(path)

    return make


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def _external_inside(model: Any) -> None:
    """In an attribute's tensor of a branch inside a node, where nobody looks."""
    from onnx import helper, numpy_helper

    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "inner")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../shop/keys/signing.key"
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["probabilities"], ["never"], then_branch=inner, else_branch=inner))


def _custom(model: Any) -> None:
    model.graph.node[0].domain = "com.evil"


def _custom_opset(model: Any) -> None:
    model.opset_import.add().domain = "com.microsoft.extensions"


def _endless(model: Any) -> None:
    model.graph.node[0].op_type = "Loop"


def _function(model: Any) -> None:
    model.functions.add().name = "evil"


def _greedy(model: Any) -> None:
    """A few bytes that ask for four thousand gigabytes."""
    from onnx import helper, numpy_helper

    shape = numpy_helper.from_array(np.array([10**12], np.int64), "shape_of_much")
    model.graph.initializer.append(shape)
    node = model.graph.node[-1]
    output = node.output[0]
    node.output[0] = "before"
    model.graph.node.extend([
        helper.make_node("ConstantOfShape", ["shape_of_much"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["sum_of_much"], keepdims=0),
        helper.make_node("Add", ["before", "sum_of_much"], [output])])


def _graphs() -> Iterator[Case]:
    yield "weights in another file", _graph(_external), "graph-external"
    yield "weights in another file, deep inside", _graph(_external_inside), "graph-external"
    yield "an operator of its own", _graph(_custom), "graph-custom"
    yield "operators of another domain", _graph(_custom_opset), "graph-custom"
    yield "a loop", _graph(_endless), "graph-custom"
    yield "a function", _graph(_function), "graph-custom"
    yield "no graph", _part("graph/model.onnx", b"\x08\x08"), "graph-unreadable"
    yield "a graph cut off", lambda box, path: _put(box, "graph/model.onnx", box.parts["graph/model.onnx"][:-9]).seal().write(path), (
        "graph-unreadable")
    yield "a graph of noise", _part("graph/model.onnx", bytes(range(1, 250)) * 9), ("graph-unreadable", "graph-custom")
    yield "a graph that asks for all memory", _graph(_greedy), ("engine-none", "parcel-trial", "engine-refuses")
